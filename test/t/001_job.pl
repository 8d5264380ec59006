# The main job from a call to a better model; and whatever ends it on the way,
# it goes on to bit-identical weights and the same metrics.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('job', conf => "alol.max_jobs = 2\n");
create_model($node, 'tiny');
create_pairs($node);

sub sql { return $node->safe_psql('postgres', @_); }

# The same work under another name.
sub begin
{
	my ($output, %hold) = @_;
	return start_job($node, output => "'$output'", steps => 500, batch_size => 8,
		learning_rate => 1e-3, validation => q('SELECT prompt FROM pairs WHERE id <= 40'),
		options => q('{"checkpoint_every": 50, "max_response_tokens": 16,
			"evaluation_prompts": 8, "evaluate_every": 100}'), %hold);
}

# In the midst of it.
sub begin_and_reach
{
	my ($output) = @_;
	my $job = begin($output, hold => 75);
	let_run($node, $job, 200);
	return $job;
}

sub finish
{
	my ($job) = @_;
	is(sql("SELECT alol_wait($job)"), 'succeeded', "job $job ends well");
	return;
}

# Undisturbed.
my $whole = begin('whole');
finish($whole);
is(sql("SELECT count(*) FROM alol_metrics WHERE job = $whole AND metric = 'loss'"),
	'500', 'a loss a step');
is(sql("SELECT string_agg(step::text, ' ' ORDER BY step) FROM alol_metrics "
		  . "WHERE job = $whole AND metric = 'evaluation/reward'"),
	'0 100 200 300 400 500', 'evaluations before the first step, between and at the end');
is(sql("SELECT count(*) FROM alol_advantages WHERE job = $whole"), '240',
	'with a validation of its own nothing of the source is held out');

# Cancelled and resumed.
my $job = begin_and_reach('cancelled');
is(sql("SELECT alol_cancel($job)"), 't', 'cancelled');
hold_at($node, $job);
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);
is(sql("SELECT alol_resume($job)"), 't', 'resumed');
finish($job);

# The engine is killed: once it is started anew, then the job fails.
$job = begin_and_reach('killed');
kill 'KILL', engines_of($node);
hold_at($node, $job, 300);
let_run($node, $job, 400);
like(sql("SELECT notice FROM alol_jobs WHERE job = $job"),
	qr/engine exited on signal 9; the job goes on from step \d+/, 'the job says what happened');
kill 'KILL', engines_of($node);
hold_at($node, $job);
wait_until($node, "SELECT state = 'failed' FROM alol_jobs WHERE job = $job", 10);
is(sql("SELECT error FROM alol_jobs WHERE job = $job"), 'engine exited on signal 9',
	'the second time it fails');
my ($out, $err);
isnt($node->psql('postgres', "SELECT alol_wait($job)", stdout => \$out, stderr => \$err), 0,
	'waiting for it raises');
like($err, qr/job $job failed: engine exited on signal 9/, 'its error');
sql("SELECT alol_resume($job)");
finish($job);

# The worker is terminated.
$job = begin_and_reach('terminated');
my $worker = sql("SELECT pid FROM alol_jobs WHERE job = $job");
sql("SELECT pg_terminate_backend($worker)");
wait_until($node, "SELECT state = 'interrupted' FROM alol_jobs WHERE job = $job", 10);
hold_at($node, $job);
is(sql("SELECT alol_wait($job)"), 'interrupted', 'nobody waits for a job that does not run');
sql("SELECT alol_resume($job)");
finish($job);

# The server crashes.  Whoever starts the next job gives this one a chance.
$job = begin_and_reach('crashed');
$node->stop('immediate');
$node->start;
hold_at($node, $job);
is(sql("SELECT state FROM alol_jobs WHERE job = $job"), 'interrupted', 'a crash interrupts');
my $other = begin('other');
finish($other);
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $job");

is(sql("SELECT count(DISTINCT hash) FROM alol_model WHERE name <> 'tiny'"), '1',
	'all six models are bit-identical');
is(sql("SELECT count(DISTINCT (n, total)) FROM (SELECT count(*) AS n, "
		  . "sum(value ORDER BY step) AS total FROM alol_metrics WHERE metric = 'loss' GROUP BY job) AS l"),
	'1', 'and so are their losses');
is(sql("SELECT count(DISTINCT total) FROM (SELECT string_agg(response, '' ORDER BY step, prompt, response) "
		  . "AS total FROM alol_samples GROUP BY job) AS s"), '1', 'and their samples');
my $jobs = $node->data_dir . '/pgsql_tmp_alol/jobs';
is_deeply([ glob "$jobs/*" ], [], 'no files of theirs are left');

$node->stop;
done_testing();
