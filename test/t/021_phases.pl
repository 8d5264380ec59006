# Whatever happens to a job in whatever phase, it ends at once or goes on, and
# the model is always the same.

use strict;
use warnings FATAL => 'all';

use Alol;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('phases', conf => "restart_after_crash = on\nalol.threads = 1\n");
create_model($node, 'tiny');
create_pairs($node);

sub sql { return $node->safe_psql('postgres', @_); }

# A job that comes to the phase of the gate waits there for lock 42.
sql(<<'SQL');
CREATE TABLE gate (phase text);
INSERT INTO gate VALUES ('none');
CREATE FUNCTION pass(value float8) RETURNS float8 LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM gate JOIN alol_job_progress USING (phase)
		JOIN alol_job ON id = job WHERE pid = pg_backend_pid()) THEN
		PERFORM pg_advisory_xact_lock_shared(42);
	END IF;
	RETURN value;
END $$;
CREATE VIEW gated AS SELECT id AS key, prompt, response FROM pairs
WHERE pass(id) < 100;
SQL

# Closes the gate of a phase; the one of saving is in the way of the model.
my $keeper;
sub shut
{
	my ($phase) = @_;
	my $lock = $phase eq 'saving' ? 'LOCK TABLE alol_model_file IN SHARE MODE'
	  : 'SELECT pg_advisory_xact_lock(42)';
	sql("UPDATE gate SET phase = '$phase'");
	my ($in, $out, $err) = ('', '', '');
	$keeper = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'),
			'-c', "BEGIN; $lock; SELECT pg_sleep(600) /* keeper */" ], \$in, \$out, \$err);
	wait_until($node, q(SELECT count(*) = 1 FROM pg_stat_activity
		WHERE query LIKE '%/* keeper */%' AND wait_event = 'PgSleep'));
	return;
}

sub unlock
{
	sql(q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE query LIKE '%/* keeper */%' AND pid <> pg_backend_pid()));
	$keeper->finish;
	return;
}

sub begin
{
	my ($output) = @_;
	return start_job($node, source => q('gated'), output => "'$output'", steps => 20,
		batch_size => 4, reward => q('pass(4.0 / (4 + length(response)))'),
		options => q('{"max_response_tokens": 8, "evaluation_prompts": 4,
			"evaluate_every": 10, "value_epochs": 3, "checkpoint_every": 5}'));
}

sub wait_at_gate
{
	my ($job) = @_;
	wait_until($node, "SELECT count(*) = 1 FROM pg_stat_activity a JOIN alol_jobs j "
		  . "USING (pid) WHERE j.job = $job AND a.wait_event_type = 'Lock'");
	return;
}

sub finish
{
	my ($job, $what) = @_;
	is(sql("SELECT alol_wait($job)"), 'succeeded', $what);
	is(sql('SELECT count(DISTINCT hash) FROM alol_model WHERE job IS NOT NULL'), '1',
		'with the same weights');
	return;
}

finish(begin('whole'), 'a job that nothing happens to ends well');

foreach my $phase (qw(loading value scoring evaluating saving))
{
	shut($phase);
	my $job = begin($phase);
	wait_at_gate($job);
	is(sql("SELECT phase FROM alol_jobs WHERE job = $job"), $phase, "a job is $phase");
	is(sql("SELECT alol_cancel($job)"), 't', 'and cancelled');
	wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);
	is(scalar engines_of($node), 0, 'no engine is left');
	is(sql("SELECT alol_resume($job)"), 't', 'it is resumed');
	wait_at_gate($job);

	# Saving, it has done with its engine.
	my @engines = engines_of($node);
	is(scalar @engines, $phase eq 'saving' ? 0 : 1, 'to the same place');
	kill 'KILL', @engines;
	unlock();
	finish($job, @engines ? 'with another engine it ends well' : 'it ends well');
}

# A worker is killed: the server lets go of all its processes, as it must, and
# starts anew; the job is interrupted, and no engine outlives its worker.
shut('evaluating');
my $job = begin('crashed');
wait_at_gate($job);
my @engines = engines_of($node);
my $worker = sql("SELECT pid FROM alol_jobs WHERE job = $job");
kill 'KILL', $worker;
ok(wait_gone(5, $worker, @engines), 'a killed worker takes its engine along');
$keeper->finish;
ok($node->poll_query_until('postgres', 'SELECT true'), 'the server is there again');
is(sql("SELECT state FROM alol_jobs WHERE job = $job"), 'interrupted', 'the job is interrupted');
sql("UPDATE alol_job SET starts = 3 WHERE id = $job");
sql("SELECT alol_sft('pairs', 'tiny', 'supervised', steps => 1)");
wait_until($node, q(SELECT state = 'succeeded' FROM alol_jobs WHERE output = 'supervised'));
is(sql("SELECT state FROM alol_jobs WHERE job = $job"), 'interrupted',
	'after three starts without a checkpoint nothing starts it by itself');
sql("SELECT alol_model_drop('supervised')");
is(sql("SELECT alol_resume($job)"), 't', 'and resumed');
finish($job, 'to its end');

# A worker that is told to end lets its engine go within a second.
shut('evaluating');
$job = begin('terminated');
wait_at_gate($job);
@engines = engines_of($node);
sql("SELECT pg_terminate_backend(pid) FROM alol_jobs WHERE job = $job");
ok(wait_gone(3, @engines), 'nor does an engine outlive a worker that is told to end');

# What a job needs and is gone is said when it is resumed.
unlock();
sql(<<'SQL');
UPDATE alol_job SET state = 'failed' WHERE state = 'running';
SELECT alol_model_rename('tiny', 'small');
SELECT alol_model_drop('small');
SQL
my ($out, $err);
isnt($node->psql('postgres', "SELECT alol_resume($job)", stdout => \$out, stderr => \$err), 0,
	'a job whose model was dropped cannot be resumed');
like($err, qr/job $job cannot go on: its model "tiny" was dropped/, 'and says so');
$node->stop;
done_testing();
