# Whoever stops waiting stops the work: cancelled queries and jobs, clients
# that vanish, LIMIT.

use strict;
use warnings FATAL => 'all';

use Alol;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = start_node('cancel');
create_model($node, 'tiny');
create_pairs($node);

sub psql_start
{
	my ($sql) = @_;
	my ($in, $out, $err) = ('', '', '');
	return { out => \$out, err => \$err, handle => IPC::Run::start(
			[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
				$node->connstr('postgres'), '-c', $sql ],
			\$in, \$out, \$err) };
}

# Long enough that only a cancel ends it in time.
my $long = q(SELECT sum(length(alol_generate('tiny', 'x' || i, 100, 1.0))) /* long */
	FROM generate_series(1, 100000) AS i);
my $active = q(SELECT count(*) = 1 FROM pg_stat_activity
	WHERE query LIKE '%/* long */%' AND pid <> pg_backend_pid() AND state = 'active');
my $gone = q(SELECT count(*) = 0 FROM pg_stat_activity
	WHERE query LIKE '%/* long */%' AND pid <> pg_backend_pid() AND state = 'active');

my $run = psql_start($long);
wait_until($node, $active);
wait_until($node, 'SELECT true');
my $begin = time;
$node->safe_psql('postgres', q(SELECT pg_cancel_backend(pid) FROM pg_stat_activity
	WHERE query LIKE '%/* long */%' AND pid <> pg_backend_pid()));
$run->{handle}->finish;
cmp_ok(time - $begin, '<', 3, 'a cancelled query stops');
like(${ $run->{err} }, qr/canceling statement due to user request/, 'and says so');

# The client is killed: the query must not run on.
$run = psql_start($long);
wait_until($node, $active);
sleep 1;
$run->{handle}->kill_kill;
ok(wait_until($node, $gone, 5), 'a killed client\'s query ends');

# A statement timeout acts as well.
my ($out, $err) = ('', '');
$begin = time;
$node->psql('postgres', "SET statement_timeout = '1s'; $long",
	stdout => \$out, stderr => \$err);
like($err, qr/statement timeout/, 'a statement timeout acts');
cmp_ok(time - $begin, '<', 4, 'in time');

# After a cancel the session's engine is usable, or a new one is.
my $both = $node->safe_psql('postgres', <<'SQL');
SET statement_timeout = '500ms';
DO $$ BEGIN
	PERFORM alol_generate('tiny', 'x' || i, 100, 1.0) FROM generate_series(1, 100000) AS i;
EXCEPTION WHEN query_canceled THEN NULL; END $$;
SET statement_timeout = 0;
SELECT alol_logprob('tiny', 'a', 'b') < 0;
SQL
is($both, 't', 'the session goes on after a cancelled call');

# LIMIT ends alol_score early.
is($node->safe_psql('postgres',
		q(SELECT count(*) FROM (SELECT * FROM alol_score('pairs', 'tiny', reward => 'reward') LIMIT 3) AS s)),
	'3', 'LIMIT over alol_score');

# Nor does the wait for a job whose client is killed go on.
my $waited = start_job($node, output => q('waited'), steps => 1000000);
$run = psql_start("SELECT alol_wait($waited) /* long */");
wait_until($node, $active);
$run->{handle}->kill_kill;
ok(wait_until($node, $gone, 5), 'a killed client waits for no job');
$node->safe_psql('postgres', "SELECT alol_cancel($waited)");
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $waited", 5);

# A job stops within a second, and an open transaction around alol_cancel
# holds nothing up.
my $job = start_job($node, output => q('stopped'), steps => 1000000,
	options => q('{"checkpoint_every": 20}'));
wait_until($node, "SELECT step > 40 FROM alol_jobs WHERE job = $job");
$run = psql_start("BEGIN; SELECT alol_cancel($job); SELECT pg_sleep(30) /* open */; COMMIT");
$begin = time;
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 10);
cmp_ok(time - $begin, '<', 3, 'a job stops at once, though its canceller\'s transaction is open');
is(scalar(grep { is_alive($_) } engines_of($node)), 0, 'no engine is left');
is($node->safe_psql('postgres', "SELECT alol_resume($job)"), 't',
	'it can even be resumed while that transaction is open');
$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%/* open */%' AND pid <> pg_backend_pid()));
$run->{handle}->finish;
wait_until($node, "SELECT state = 'running' AND step > 60 FROM alol_jobs WHERE job = $job");
$node->safe_psql('postgres', "SELECT alol_cancel($job)");
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);

# A cancel does not cancel the one before it.
$job = start_job($node, output => q('often'), steps => 1000000,
	options => q('{"checkpoint_every": 20}'));
wait_until($node, "SELECT step > 20 FROM alol_jobs WHERE job = $job");
$node->safe_psql('postgres', "SELECT count(alol_cancel($job)) FROM generate_series(1, 3000)");
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);
unlike(slurp_file($node->logfile), qr/"alol job" .* exited with exit code 1$/m,
	'a worker writes down that it was cancelled, however often');

# Waiting on a job of the same transaction would wait for ever.
$node->psql('postgres', q(SELECT alol_wait(alol_train('pairs', 'tiny', 'same', reward => 'reward', steps => 1))),
	stderr => \$err);
like($err, qr/same transaction|this transaction|not yet committed/i,
	'alol_wait(alol_train()) is refused');
is($node->safe_psql('postgres', q(SELECT count(*) FROM alol_jobs WHERE output = 'same')),
	'0', 'and leaves no job');
$node->stop;
done_testing();
