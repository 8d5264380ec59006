# On a standby models answer, views and scores work; what writes is refused.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = start_node('primary', allows_streaming => 1);
create_model($primary, 'tiny');
create_pairs($primary);
my $job = start_job($primary, output => q('trained'), steps => 10);
wait_until($primary, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $job");
my $probe = "SELECT alol_logprob('trained', 'say 1: ', 'bbb 1')";
my $expected = $primary->safe_psql('postgres', $probe);

$primary->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'backup', has_streaming => 1);
ok(!-e $standby->data_dir . "/pgsql_tmp_alol" || !glob($standby->data_dir . '/pgsql_tmp_alol/*/*'),
	'a base backup leaves the cache behind')
  or diag(join ' ', glob($standby->data_dir . '/pgsql_tmp_alol/*'));
$standby->start;
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));

is($standby->safe_psql('postgres', $probe), $expected, 'a trained model answers on a standby');
is($standby->safe_psql('postgres', "SELECT state FROM alol_jobs WHERE job = $job"),
	'succeeded', 'jobs can be read');
is($standby->safe_psql('postgres', "SELECT count(*) FROM alol_score('pairs', 'tiny', reward => 'reward')"),
	'240', 'rows can be scored');
is($standby->safe_psql('postgres', "SELECT alol_distinct('a b a b', 1)"), '0.5', 'texts too');
is($standby->safe_psql('postgres', "SELECT alol_plot($job) ~ 'at step 10' AND alol_report($job) ~ '</html>'"),
	't', 'and reports written');
foreach my $call ("alol_evaluate('pairs', 'tiny')", "alol_train('pairs', 'tiny', 'x', reward => 'reward')",
	"alol_model_rename('tiny', 'x')", "alol_model_drop('tiny')",
	"alol_resume($job)", "alol_job_drop($job)",
	"alol_cancel($job)", "alol_model_grant('tiny', NULL)",
	"alol_model_export('tiny', '/nowhere')", "alol_model_create('x', '{}')")
{
	my ($out, $err) = ('', '');
	isnt($standby->psql('postgres', "SELECT $call", stdout => \$out, stderr => \$err), 0,
		"$call is refused");
	like($err, qr/recovery|read-only/, 'as the server does');
}

# A job that runs on the primary is seen, and is not taken for interrupted.
$job = start_job($primary, output => q('long'), steps => 1000000);
wait_until($primary, "SELECT state = 'running' AND step > 5 FROM alol_jobs WHERE job = $job");
$primary->wait_for_catchup($standby, 'replay', $primary->lsn('insert'));
like($standby->safe_psql('postgres', "SELECT state FROM alol_jobs WHERE job = $job"),
	qr/running|interrupted/, 'a running job is visible');
$primary->safe_psql('postgres', "SELECT alol_cancel($job)");

# Promoted, it trains.
$standby->promote;
$job = start_job($standby, output => q('promoted'), steps => 10);
wait_until($standby, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $job");
pass('after promotion jobs run');
$standby->stop;
$primary->stop;
done_testing();
