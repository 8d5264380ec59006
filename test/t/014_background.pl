# A job outlives its session, holds no snapshot while it trains, and its
# progress can be read; a launcher goes on with it after a restart.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('background');
create_model($node, 'tiny');
create_pairs($node);

my $job = start_job($node, output => q('alone'), steps => 1000000,
	options => q('{"checkpoint_every": 20}'));
wait_until($node, "SELECT step > 30 FROM alol_jobs WHERE job = $job");
pass('the job goes on when its session has ended');
my $worker = "SELECT %s FROM pg_stat_activity WHERE pid = (SELECT pid FROM alol_jobs WHERE job = $job)";
# It writes metrics in short transactions, so a look may hit one; not ten.
my $idle = 0;
foreach my $i (1 .. 10)
{
	$idle++ if $node->safe_psql('postgres',
		sprintf($worker, 'backend_xmin IS NULL AND backend_xid IS NULL')) eq 't';
}
cmp_ok($idle, '>=', 5, 'while it trains it holds no snapshot');
is($node->safe_psql('postgres', "SELECT count(*) > 20 FROM alol_metrics WHERE job = $job AND metric = 'loss'"),
	't', 'its metrics can be read');
is($node->safe_psql('postgres', "SELECT state = 'running' AND progress BETWEEN 0 AND 1 "
		  . "AND tokens_per_second > 0 AND loss IS NOT NULL AND steps = 1000000 "
		  . "FROM alol_jobs WHERE job = $job"), 't', 'and its progress');
is($node->safe_psql('postgres', "SELECT count(*) BETWEEN 200 AND 239 "
		  . "AND bool_or(selected) AND bool_and(selected = (advantage > 0)) FROM alol_advantages WHERE job = $job"),
	't', 'and every row\'s advantage, but for those held out');
my $waited = $node->safe_psql('postgres', "SELECT alol_wait($job, '1 s')");
is($waited, 'running', 'alol_wait comes back after its timeout');

# The table changes under the job: a resumed job sees the very same rows.
$node->safe_psql('postgres', "SELECT alol_cancel($job)");
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);
$node->safe_psql('postgres', 'DROP TABLE pairs');
is($node->safe_psql('postgres', "SELECT alol_resume($job)"), 't', 'it needs its table no more');
wait_until($node, "SELECT state = 'running' AND step > 60 FROM alol_jobs WHERE job = $job");

# With the library preloaded a restart goes on by itself.
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'alol'\n");
$node->stop('immediate');
$node->start;
wait_until($node, "SELECT state = 'running' AND phase = 'training' FROM alol_jobs WHERE job = $job");
pass('the launcher restarts an interrupted job');
$node->safe_psql('postgres', "SELECT alol_cancel($job)");
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);
$node->safe_psql('postgres', "SELECT alol_job_drop($job)");
is($node->safe_psql('postgres', "SELECT (SELECT count(*) FROM alol_metrics WHERE job = $job) "
		  . "+ (SELECT count(*) FROM alol_advantages WHERE job = $job) "
		  . "+ (SELECT count(*) FROM alol_jobs WHERE job = $job)"),
	'0', 'alol_job_drop forgets all of it');
$node->stop;
done_testing();
