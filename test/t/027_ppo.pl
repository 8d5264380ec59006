# Method ppo: a tiny model learns what its reward wants, of all weights and of an
# adapter; however its job ends on the way, the result is bit-identical; what
# cannot be is refused in the caller's session.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('ppo', conf => "alol.max_jobs = 2\n");
create_model($node, 'tiny');

sub sql { return $node->safe_psql('postgres', @_); }

# Prompts alone.
sql(q(CREATE TABLE asked AS SELECT i AS id, 'say ' || i || ': ' AS prompt
	FROM generate_series(1, 64) AS i));

# One that says letters or digits, as often the ones as the others.
sql(q(SELECT alol_sft('SELECT prompt, repeat((ARRAY[''a'', ''7''])[n], 8) AS response
	FROM asked, generate_series(1, 2) n', 'tiny', 'schooled', steps => 150, learning_rate => 1e-2)));
wait_until($node, q(SELECT state = 'succeeded' FROM alol_jobs WHERE output = 'schooled'));

# How many of a response's bytes are letters.
my $reward = q(length(regexp_replace(response, '[^a-z]', '', 'g')) / 8.0);

sub begin
{
	my ($model, $output, $arguments, $options, $hold) = @_;
	my $call = <<"SQL";
alol_train('asked', '$model', '$output', 'ppo', \$r\$$reward\$r\$,
	batch_size => 16, $arguments, options => '{"max_response_tokens": 8,
		"evaluation_prompts": 4, $options}')
SQL
	return start_held($node, $hold, $call) if defined $hold;
	return sql("SELECT $call");
}

sub finish
{
	my ($job) = @_;
	is(sql("SELECT alol_wait($job)"), 'succeeded', "job $job ends well")
	  or diag(sql("SELECT error, detail, hint FROM alol_jobs WHERE job = $job"));
	return;
}

# The mean reward of the responses of some steps.
sub mean_reward
{
	my ($job, $where) = @_;
	return sql("SELECT avg(value) FROM alol_metrics WHERE job = $job
		AND metric = 'env/reward_mean' AND step $where");
}

foreach my $case ([ 'tiny', 'full', 'learning_rate => 5e-3' ],
	[ 'schooled', 'adapter', 'learning_rate => 1e-3, lora_rank => 8' ])
{
	my ($model, $name, $arguments) = @$case;
	my $job = begin($model, $name, "steps => 40, $arguments", '"checkpoint_every": 10');
	finish($job);
	cmp_ok(mean_reward($job, '> 35'), '>', 1.4 * mean_reward($job, '<= 2'),
		"$name: new responses earn more");
	is(sql("SELECT count(DISTINCT metric) FROM alol_metrics WHERE job = $job AND metric IN (
		'objective/kl', 'objective/kl_coef', 'ppo/loss/policy', 'ppo/loss/value',
		'ppo/policy/clipfrac', 'ppo/returns/mean', 'ppo/val/var_explained', 'loss', 'grad_norm')"),
		'9', 'metrics have their names');
	is(sql("SELECT value FROM alol_metrics WHERE job = $job AND step = 1
		AND metric = 'objective/kl'"), '0', 'the policy begins as the reference');
	cmp_ok(sql("SELECT value FROM alol_metrics WHERE job = $job AND step = 40
		AND metric = 'objective/kl'"), '>', 0, 'and leaves it');
	cmp_ok(sql("SELECT count(*) FROM alol_samples WHERE job = $job"), '>', 0,
		'samples are kept');
}

# Whatever happens to it.
my $long = 'steps => 60, learning_rate => 2e-3';
my $brisk = '"checkpoint_every": 10, "mini_batch_size": 6, "ppo_epochs": 2';
foreach my $case ([ 'all', $long ], [ 'lora', "$long, lora_rank => 4" ])
{
	my ($name, $arguments) = @$case;
	my $options = $brisk . ($name eq 'lora' ? ', "lora_dropout": 0.1' : '');
	my $reached = sub {
		my $job = begin('tiny', @_, 15);
		let_run($node, $job, 40);
		return $job;
	};

	finish(begin('tiny', "${name}_whole", $arguments, $options));
	my $job = $reached->("${name}_cancelled", $arguments, $options);
	is(sql("SELECT alol_cancel($job)"), 't', 'a job is cancelled');
	hold_at($node, $job);
	wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);
	sql("SELECT alol_resume($job)");
	finish($job);
	$job = $reached->("${name}_killed", $arguments, $options);
	kill 'KILL', engines_of($node);
	hold_at($node, $job);
	finish($job);
	like(sql("SELECT notice FROM alol_jobs WHERE job = $job"),
		qr/engine exited on signal 9; the job goes on from step \d+/, 'the job says what happened');
	is(sql("SELECT count(DISTINCT hash) FROM alol_model WHERE name LIKE '${name}\\_%'"),
		'1', 'the models are bit-identical');
	is(sql("SELECT count(DISTINCT total) FROM (SELECT sum(m.value ORDER BY m.step) AS total
		FROM alol_metrics m JOIN alol_jobs j ON m.job = j.job
		WHERE output LIKE '${name}\\_%' AND metric = 'objective/kl_coef' GROUP BY j.job) AS t"),
		'1', 'and so are the coefficients of their KL');
}

# A reward that is null for what the model says.
my $job = sql(q(SELECT alol_train('asked', 'tiny', 'none', 'ppo',
	'CASE WHEN length(response) > 1000 THEN 1 END', steps => 2)));
wait_until($node, "SELECT state = 'failed' FROM alol_jobs WHERE job = $job");
like(sql("SELECT error FROM alol_jobs WHERE job = $job"),
	qr/the reward of a new response to the prompt of row \d+ is null/,
	'a null reward ends the job, and its row is named');

$node->stop;
done_testing();
