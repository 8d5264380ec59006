# A policy that has learned enough becomes the reference: value, scores and
# training come once more, and give the same whatever happens on the way.

use strict;
use warnings FATAL => 'all';

use Alol;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('refresh', conf => "alol.threads = 1\n");
create_model($node, 'tiny');
create_pairs($node);

sub sql { return $node->safe_psql('postgres', @_); }

# Once a job has a new reference it waits for lock 42 in the phase of the gate.
sql(<<'SQL');
CREATE TABLE gate (phase text);
INSERT INTO gate VALUES ('none');
CREATE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM public.gate WHERE phase = new.phase) AND EXISTS (
		SELECT FROM public.alol_metrics m WHERE m.job = new.job AND metric = 'reference/reward') THEN
		PERFORM pg_advisory_xact_lock_shared(42);
	END IF;
	RETURN new;
END $$;
CREATE TRIGGER gate BEFORE INSERT OR UPDATE ON alol_job_progress
FOR EACH ROW EXECUTE FUNCTION wait_at_gate();
SQL

my $keeper;
sub shut
{
	my ($phase) = @_;
	sql("UPDATE gate SET phase = '$phase'");
	my ($in, $out, $err) = ('', '', '');
	$keeper = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c',
			'BEGIN; SELECT pg_advisory_xact_lock(42); SELECT pg_sleep(600) /* keeper */' ],
		\$in, \$out, \$err);
	wait_until($node, q(SELECT count(*) = 1 FROM pg_stat_activity
		WHERE query LIKE '%/* keeper */%' AND wait_event = 'PgSleep'));
	return;
}

sub unlock
{
	sql(q(UPDATE gate SET phase = 'none'));
	sql(q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE query LIKE '%/* keeper */%' AND pid <> pg_backend_pid()));
	$keeper->finish;
	return;
}

# New responses are worth more from evaluation to evaluation, rows what they
# always were.
sql(<<'SQL');
CREATE FUNCTION risen() RETURNS float8 LANGUAGE sql STABLE AS $$
	SELECT 0.1 + 0.05 * count(*) FROM alol_metrics JOIN alol_jobs USING (job)
	WHERE pid = pg_backend_pid() AND metric = 'evaluation/reward'
$$;
SQL
my $reward = q($$CASE WHEN response = stored THEN (id % 7) / 7.0 ELSE risen() END$$);

sub begin
{
	my ($method, $rank) = @_;
	return start_job($node, source => q('SELECT id, prompt, response, response AS stored FROM pairs'),
		output => "'${method}_${rank}_' || nextval('alol_job_id')", method => "'$method'", steps => 40,
		batch_size => 4, lora_rank => $rank, learning_rate => 3e-3, reward => $reward,
		options => q('{"max_response_tokens": 8, "evaluate_every": 4, "value_epochs": 3,
			"checkpoint_every": 3, "evaluation_prompts": 2, "generation": {"temperature": 1},
			"refresh_reference": 0.07, "lora_dropout": 0}'));
}

# What came of a job, as one text.
sub outcome
{
	my ($job) = @_;
	return sql(<<"SQL");
SELECT (SELECT hash FROM alol_model WHERE alol_model.job = $job),
	(SELECT md5(string_agg(concat_ws(' ', metric, step, value), ',' ORDER BY metric, step))
	FROM alol_metrics WHERE job = $job AND metric NOT IN ('learning_rate')),
	(SELECT md5(string_agg(concat_ws(' ', row_number, reward, value, advantage, ref_logprob,
		tokens, selected), ',' ORDER BY row_number)) FROM alol_advantages WHERE job = $job)
SQL
}

foreach my $kind ([ 'a_lol', 0 ], [ 'a_lol_seq', 4 ], [ 'a_lol_ref_free', 0 ], [ 'dpo', 4 ])
{
	my ($method, $rank) = @$kind;
	my $has_value = $method ne 'dpo';
	my $what = $method . ($rank > 0 ? ' of an adapter' : '');
	my $whole = begin(@$kind);
	is(sql("SELECT alol_wait($whole)"), 'succeeded', "$what ends well");
	is(sql("SELECT string_agg(concat_ws(' ', step, round(value::numeric, 6)), ', ' ORDER BY step) "
			  . "FROM alol_metrics WHERE job = $whole AND metric = 'reference/reward'"),
		'8 0.200000, 16 0.300000, 24 0.400000, 32 0.500000',
		'its reference is refreshed at each step that earns so much more');
	is(sql("SELECT count(*) > 0 FROM alol_metrics WHERE job = $whole AND metric = 'reference/value_mse'"),
		$has_value ? 't' : 'f', $has_value ? 'the value is fitted again' : 'there is no value');
	if ($has_value)
	{
		is(sql(<<"SQL"), 't', 'and the rows kept are those with an advantage now');
SELECT (SELECT count(*) FROM alol_advantages WHERE job = $whole AND selected) =
	(SELECT value FROM alol_metrics WHERE job = $whole AND metric = 'reference/rows'
	ORDER BY step DESC LIMIT 1) AND (SELECT bool_and(selected = (advantage > 0)
	AND abs(advantage - (reward - value)) < 1e-9) FROM alol_advantages WHERE job = $whole)
SQL
	}
	my $ratio = $method eq 'a_lol_ref_free' || $method eq 'dpo' ? undef : 'ratio/mean';
	is(sql(<<"SQL"), 't', 'the policy and its new reference begin as one') if defined $ratio;
SELECT bool_and(abs(m.value - 1) < 1e-4) FROM alol_metrics r JOIN alol_metrics m
ON m.job = r.job AND m.step = r.step + 1 AND m.metric = '$ratio'
WHERE r.job = $whole AND r.metric = 'reference/reward'
SQL
	my $expected = outcome($whole);

	foreach my $phase ($has_value ? ('value', 'scoring', 'training') : ('scoring', 'training'))
	{
		shut($phase);
		my $job = begin(@$kind);
		my $at_gate = "SELECT count(*) = 1 FROM pg_stat_activity a JOIN alol_jobs j "
		  . "USING (pid) WHERE j.job = $job AND a.wait_event_type = 'Lock'";
		wait_until($node, $at_gate);
		sql("SELECT alol_cancel($job)");
		wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);
		sql("SELECT alol_resume($job)");
		wait_until($node, $at_gate);
		kill 'KILL', engines_of($node);
		unlock();
		is(sql("SELECT alol_wait($job)"), 'succeeded',
			"$what, cancelled, resumed and killed in phase $phase, ends well");
		is(outcome($job), $expected, 'and the same way');
	}
}

# Where the rows teach the new reference nothing the job has done its work.
my $end = start_job($node, source => q('SELECT id, prompt, response, response AS stored FROM pairs'),
	output => q('end'), steps => 40, learning_rate => 1e-3,
	reward => q($$CASE WHEN response = stored THEN 0.12 + id / 1e4 ELSE risen() END$$),
	options => q('{"max_response_tokens": 8, "evaluate_every": 4, "value_epochs": 3,
		"evaluation_prompts": 2, "refresh_reference": 0.07}'));
is(sql("SELECT alol_wait($end)"), 'succeeded', 'a job ends where no row is better than its reference');
like(sql("SELECT notice FROM alol_jobs WHERE job = $end"),
	qr/\b0 of 228 rows have a positive advantage over the policy of step 8 \(0\.0 %\): training ends here/,
	'and says so');
is(sql("SELECT concat_ws(' ', j.step, j.steps, max(m.step)) FROM alol_jobs j JOIN alol_metrics m USING (job) "
		  . "WHERE job = $end GROUP BY j.step, j.steps"),
	'8 8 8', 'after the step that beat all of them');
is(sql(q(SELECT count(*) FROM alol_jobs WHERE state <> 'succeeded')), '0', 'all of them');
$node->stop;
done_testing();
