# A killed engine is an error of its query or job, never of the server.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = start_node('kill');
create_model($node, 'tiny');
create_pairs($node);
my $start = $node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()');

# A session's engine. psql's \! kills it between two queries.
my $script = PostgreSQL::Test::Utils::tempdir() . '/kill.pl';
append_to_file($script, <<'PERL');
foreach (glob '/proc/[0-9]*/stat')
{
	open(my $handle, '<', $_) or next;
	my ($pid, $parent) = <$handle> =~ /^(\d+) \(alol-engine\) \S (\d+)/ or next;
	print "killed\n" if $parent == $ENV{BACKEND} && kill 'KILL', $pid;
}
PERL
my ($out, $err) = ('', '');
$node->psql('postgres', <<"SQL", stdout => \$out, stderr => \$err, on_error_stop => 0);
SELECT length(alol_generate('tiny', 'a', 4)) >= 0;
SELECT pg_backend_pid() AS pid \\gset
\\setenv BACKEND :pid
\\! perl $script
SELECT length(alol_generate('tiny', 'a', 4)) >= 0;
SELECT length(alol_generate('tiny', 'a', 4)) >= 0;
SELECT 'still here';
SQL
like($out, qr/^t\n/, 'the session has an engine');
like($out, qr/killed/, 'and it is killed');
like($out, qr/t\nstill here$/, 'the session gets another');

# The engine of the job that is not the one given, once it is there.
sub other_engine
{
	my ($first) = @_;
	my @others;
	my $end = time + 60;
	while (time < $end && @others == 0)
	{
		sleep 0.05;
		@others = grep { $_ != $first } engines_of($node);
	}
	return @others;
}

# A job's engine: it is started once more by itself, then the job fails.
my $job = start_job($node, output => q('killed'), steps => 1000000,
	options => q('{"checkpoint_every": 20, "evaluate_every": 1000000}'));
wait_until($node, "SELECT step > 40 FROM alol_jobs WHERE job = $job");
my @first = engines_of($node);
is(scalar @first, 1, 'a job has one engine');
kill 'KILL', @first;
wait_until($node, "SELECT notice LIKE '%goes on from step%' FROM alol_jobs WHERE job = $job");
ok(wait_gone(5, @first), 'it is killed');
my @second = other_engine($first[0]);
is(scalar @second, 1, 'another engine goes on');
kill 'KILL', @second;
wait_until($node, "SELECT state = 'failed' FROM alol_jobs WHERE job = $job");
like($node->safe_psql('postgres',
		"SELECT concat_ws(' ', error, detail) FROM alol_jobs WHERE job = $job"),
	qr/signal 9/, 'the job says why it failed');
is(scalar engines_of($node), 0, 'no engine is left');

my $step = $node->safe_psql('postgres', "SELECT step FROM alol_jobs WHERE job = $job");
is($node->safe_psql('postgres', "SELECT alol_resume($job)"), 't', 'it is resumed');
wait_until($node, "SELECT state = 'running' AND step > $step + 20 "
	  . "FROM alol_jobs WHERE job = $job");
pass('and goes on from where it was');
$node->safe_psql('postgres', "SELECT alol_cancel($job)");
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);

# However short its tries were, it is known how far it came.
$job = start_job($node, output => q('short'), steps => 1000, hold => 30,
	options => q('{"checkpoint_every": 20, "evaluate_every": 1000000}'));
wait_held($node, $job);
@first = engines_of($node);
kill 'KILL', @first;
hold_at($node, $job);
kill 'KILL', other_engine($first[0]);
wait_until($node, "SELECT state = 'failed' FROM alol_jobs WHERE job = $job");
cmp_ok($node->safe_psql('postgres', "SELECT coalesce(step, 0) FROM alol_jobs WHERE job = $job"),
	'>=', 20, 'a job that failed at once tells its last step');

is($node->safe_psql('postgres', 'SELECT pg_postmaster_start_time()'), $start,
	'the server never restarted');
unlike(slurp_file($node->logfile), qr/terminating any other active server/,
	'no backend crashed');
$node->stop;
done_testing();
