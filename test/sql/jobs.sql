-- Jobs: calls that cannot work make none; what a job does, shows and leaves.
\unset ECHO
\set QUIET 1
SET client_min_messages = error;
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP true

CREATE EXTENSION IF NOT EXISTS alol;
CREATE SCHEMA jobs_test;
SET search_path = jobs_test, public;

CREATE TABLE pairs AS SELECT i AS key, 'say ' || i % 20 || ': ' AS prompt,
	repeat(chr(97 + i % 26), 2 + i % 5) || ' ' || i AS response,
	(i % 7) / 7.0 AS reward FROM generate_series(1, 100) i;
SELECT alol_model_create('jobs_policy', '{"model_type": "llama",
	"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 2, "num_attention_heads": 4,
	"num_key_value_heads": 2, "max_position_embeddings": 64}'),
	alol_model_create('jobs_other', '{"model_type": "llama",
	"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 1, "num_attention_heads": 4,
	"max_position_embeddings": 64}') \gset

SELECT plan(98);

-- Calls that cannot work.
CREATE FUNCTION call(arguments text) RETURNS text LANGUAGE sql AS
$$ SELECT 'SELECT alol_train(' || arguments || ')' $$;

SELECT throws_ok(call($$NULL, 'jobs_policy', 'o'$$), '22004',
	'source must not be null');
SELECT throws_ok(call($$'pairs', NULL, 'o'$$), '22004',
	'model must not be null');
SELECT throws_ok(call($$'pairs', 'jobs_policy', NULL$$), '22004',
	'output must not be null');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', NULL$$), '22004',
	'method must not be null');
SELECT throws_ok(call($$'nothing', 'jobs_policy', 'o'$$), '42P01',
	'source "nothing" does not exist');
SELECT throws_ok(call($$'pairs', 'jobs_polici', 'o'$$), '42704',
	'model "jobs_polici" does not exist');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'jobs_other'$$), '42710',
	'model "jobs_other" exists already');
SELECT throws_ok(call($$'pairs', 'jobs_policy', ''$$), '22023',
	'name of a model is empty');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', 'a_lolly'$$), '22023',
	'method "a_lolly" does not exist');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', 'ppo'$$), '22023',
	'reward says nothing of new responses');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', epochs => 0$$), '22023',
	'epochs must be greater than 0 and at most 1000000, not 0');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', epochs => 'NaN'$$),
	'22023', 'epochs must be greater than 0 and at most 1000000, not NaN');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', epochs => 'Infinity'$$),
	'22023', 'epochs must be greater than 0 and at most 1000000, not Infinity');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', steps => 0$$), '22023',
	'steps must be at least 1, not 0');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', batch_size => 0$$),
	'22023', 'batch_size must be from 1 to 65536, not 0');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', learning_rate => 0$$),
	'22023', 'learning_rate must be greater than 0 and at most 1, not 0');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', learning_rate => 'NaN'$$),
	'22023', 'learning_rate must be a number');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', lora_rank => -1$$),
	'22023', 'lora_rank must be from 0 to 65536, not -1');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', lora_rank => 65537$$),
	'22023', 'lora_rank must be from 0 to 65536, not 65537');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o',
	options => '{"clip_rang": 1}'$$), '22023', 'unknown option "clip_rang"');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o',
	options => '{"settings": ["role"]}'$$), '22023',
	'setting "role" cannot be passed to a job');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o',
	options => '{"settings": ["max_connections"]}'$$), '22023',
	'setting "max_connections" cannot be passed to a job');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o',
	options => '{"reference": "nobody"}'$$), '42704',
	'model "nobody" does not exist');
SELECT throws_ok(call($$'SELECT prompt FROM pairs', 'jobs_policy', 'o'$$),
	'42703', 'source has no column "response"');
SELECT throws_ok(call($$'SELECT prompt, response FROM pairs', 'jobs_policy',
	'o'$$), '42703', NULL, 'a_lol needs a reward');
SELECT throws_ok(call($$'SELECT prompt, response FROM pairs', 'jobs_policy',
	'o', 'wbc'$$), '42703', NULL, 'wbc needs a reward');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', reward => 'response'$$),
	'42804', 'reward must be a number, not text');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o',
	reward => 'length(response), 2'$$), NULL, NULL,
	'a reward is one expression');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', validation => 'nothing'$$),
	'42P01', 'validation "nothing" does not exist');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', reward => 'key / 100.0',
	validation => 'SELECT prompt FROM pairs'$$), '42703', NULL,
	'the reward must make sense for the validation, too');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o', value => 'jobs_policy'$$),
	'42809', 'value "jobs_policy" is a language model, not a value model');
SELECT throws_ok(call($$'SELECT prompt, response, 1.0 AS reward, ''x'' AS value
	FROM pairs', 'jobs_policy', 'o'$$), NULL, NULL,
	'a value column must be a number');
SELECT throws_ok(call($$'SELECT prompt, response, ''x'' AS advantage
	FROM pairs', 'jobs_policy', 'o'$$), NULL, NULL,
	'an advantage column must be a number');
CREATE TEMPORARY TABLE temporary_pairs AS SELECT * FROM pairs;
SELECT throws_ok(call($$'temporary_pairs', 'jobs_policy', 'o'$$), '0A000',
	'source uses temporary objects');
SELECT throws_ok($$SELECT alol_train_value('pairs', 'jobs_policy', 'o',
	reward => 'no_column')$$, '42703', NULL, 'a value needs a reward');
SELECT throws_ok($$SELECT alol_wait(NULL)$$, '22004', 'job must not be null');
SELECT is_empty('SELECT * FROM alol_jobs', 'none of these made a job');

-- Read-only transactions and those that are taken back.
BEGIN READ ONLY;
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'o'$$), '25006',
	'cannot execute alol_train() in a read-only transaction');
ROLLBACK;
BEGIN;
SELECT alol_train('pairs', 'jobs_policy', 'taken_back') AS job \gset
SELECT is((SELECT state FROM alol_jobs WHERE job = :job), 'queued',
	'a job is seen in its own transaction');
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '55000',
	'job ' || :job || ' starts when this transaction is committed',
	'but cannot be waited for there');
SELECT throws_ok(call($$'pairs', 'jobs_policy', 'taken_back'$$), '42710',
	'model "taken_back" exists already');
SELECT throws_ok($$SELECT alol_model_drop('jobs_policy')$$, '55006',
	'model "jobs_policy" is used by job ' || :job, 'a model in use stays');
ROLLBACK;
SELECT is_empty('SELECT * FROM alol_jobs', 'a rollback takes the job back');
BEGIN;
SAVEPOINT before;
SELECT alol_train('pairs', 'jobs_policy', 'taken_back') AS job \gset
ROLLBACK TO before;
COMMIT;
SELECT is_empty('SELECT * FROM alol_jobs', 'so does one to a savepoint');
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '42704',
	'job ' || :job || ' does not exist', 'there is nothing to wait for');

-- A job from start to end.
SELECT alol_train('pairs', 'jobs_policy', 'jobs_trained', steps => 4,
	batch_size => 4, learning_rate => 1e-3,
	reward => '{"short": "1 - length(response) / 100.0", "half": "0.5"}',
	options => '{"max_response_tokens": 8, "evaluation_prompts": 4,
		"sample_prompts": 2, "value_epochs": 3}') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'alol_wait returns the state');
SELECT is(alol_wait(:job, '1 second'), 'succeeded', 'again, at once');
SELECT results_eq('SELECT kind, state, phase, step, steps, progress,
		owner = current_user::regrole, source, model, output, method, error,
		pid FROM alol_jobs WHERE job = ' || :job,
	$$VALUES ('train', 'succeeded', NULL::text, 4::bigint, 4::bigint, 1::float8,
		true, 'pairs', 'jobs_policy', 'jobs_trained', 'a_lol', NULL::text,
		NULL::int)$$, 'alol_jobs shows what was done');
SELECT ok(created_at <= started_at AND started_at <= finished_at
	AND tokens_per_second > 0 AND loss IS NOT NULL AND memory_bytes > 0
	AND device = 'cpu', 'and when and how')
FROM alol_jobs WHERE job = :job;
SELECT is((SELECT array_agg(step ORDER BY step) FROM alol_metrics
	WHERE job = :job AND metric = 'loss'), '{1,2,3,4}', 'a loss a step');
SELECT cmp_ok((SELECT count(*) FROM alol_metrics WHERE job = :job
	AND metric IN ('grad_norm', 'learning_rate', 'epoch', 'num_tokens', 'kl',
		'clip_ratio', 'rewards/mean', 'advantage/mean', 'ratio/mean',
		'ratio/ess') AND step = 1), '=', 10::bigint,
	'and the metrics of SQL.md');
SELECT is((SELECT value FROM alol_metrics WHERE job = :job
	AND metric = 'ratio/mean' AND step = 1), 1::float8,
	'the first ratio is exactly 1');
SELECT is((SELECT count(*) FROM alol_advantages WHERE job = :job), 95::bigint,
	'a line for each row but the twentieth that is held out');
SELECT is((SELECT value FROM alol_metrics WHERE job = :job
	AND metric = 'rows/held_out'), 5::float8, 'which is counted');
SELECT is_empty($$SELECT prompt FROM pairs JOIN alol_advantages ON key =
	row_number JOIN alol_jobs USING (job) WHERE output = 'jobs_trained'
	INTERSECT SELECT prompt FROM pairs WHERE key NOT IN (SELECT row_number
	FROM alol_advantages JOIN alol_jobs USING (job)
	WHERE output = 'jobs_trained')$$,
	'rows with the same prompt go together');
SELECT is_empty('SELECT 1 FROM alol_advantages WHERE job = ' || :job ||
	' AND (row_key <> row_number::text OR tokens < 1 OR ref_logprob > 0
		OR abs(advantage - (reward - value)) > 1e-12
		OR selected <> (advantage > 0))',
	'advantage is reward minus value, and decides');
SELECT is_empty('SELECT 1 FROM alol_advantages JOIN pairs ON row_number = key
	WHERE job = ' || :job || ' AND abs(alol_advantages.reward - (1.5 - length(response) / 100.0))
		> 1e-9', 'rewards are those of the rows');
SELECT is_empty('SELECT 1 FROM alol_advantages WHERE job = ' || :job ||
	$$ AND abs((components ->> 'short')::float8 + (components ->>
		'half')::float8 - reward) > 1e-9$$, 'and the sum of their components');
SELECT results_eq('SELECT rows, positive, positive_fraction, mean,
		array_length(deciles, 1), deciles[1] = min, deciles[11] = max
		FROM alol_advantage_stats(' || :job || ')',
	'SELECT count(*), count(*) FILTER (WHERE selected),
		avg(selected::int)::float8, avg(advantage), 11, true, true
		FROM alol_advantages WHERE job = ' || :job, 'alol_advantage_stats');
SELECT is((SELECT count(DISTINCT prompt) FROM alol_samples WHERE job = :job),
	1::bigint, 'samples of the one prompt that is held out');
SELECT ok(bool_and(reward IS NOT NULL), 'with their rewards')
FROM alol_samples WHERE job = :job;
SELECT is((SELECT job FROM alol_models WHERE name = 'jobs_trained'),
	:job::bigint, 'the model knows its job');
SELECT isnt(alol_logprob('jobs_trained', 'say 1: ', 'b'),
	alol_logprob('jobs_policy', 'say 1: ', 'b'), 'and is another one');

-- What is over.
SELECT is(alol_cancel(:job), false, 'what is over is not cancelled');
SELECT is(alol_resume(:job), false, 'nor resumed');
SELECT lives_ok('SELECT alol_job_drop(' || :job || ')', 'but dropped');
SELECT is_empty('SELECT job FROM alol_jobs UNION ALL SELECT job FROM
	alol_metrics UNION ALL SELECT job FROM alol_samples UNION ALL SELECT job
	FROM alol_advantages', 'with all it had');
SELECT throws_ok('SELECT ' || f || '(' || :job || ')', '42704',
	'job ' || :job || ' does not exist', f || ' names a job that is not there')
FROM unnest(ARRAY['alol_wait', 'alol_cancel', 'alol_resume', 'alol_job_drop',
	'alol_advantage_stats']) f;
SELECT throws_ok('CALL alol_follow(' || :job || ')', '42704',
	'job ' || :job || ' does not exist', 'and alol_follow');

-- Value models, columns instead of them, and supervised training.
SELECT alol_train_value('SELECT prompt FROM pairs', 'jobs_policy',
	'jobs_value', 'length(response) / 100.0', options =>
	'{"max_response_tokens": 8, "value_epochs": 3}') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'alol_train_value needs only prompts');
SELECT results_eq($$SELECT kind, base, job FROM alol_models
	WHERE name = 'jobs_value'$$, 'SELECT ''value'', ''jobs_policy'', ' || :job ||
	'::bigint', 'and makes a value model of the policy');
SELECT throws_ok(call($$'pairs', 'jobs_other', 'o', value => 'jobs_value'$$),
	'22023',
	'value model "jobs_value" is of model "jobs_policy", not of "jobs_other"');
SELECT alol_train('pairs', 'jobs_policy', 'jobs_a', value => 'jobs_value',
	steps => 2, options => '{"max_response_tokens": 8}') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'a value model is used');
SELECT is_empty('SELECT 1 FROM alol_advantages JOIN pairs ON row_number = key
	WHERE job = ' || :job || $$ AND abs(alol_advantages.value - alol_value('jobs_value', prompt))
		> 1e-6$$, 'and gives what alol_value gives');
SELECT is_empty($$SELECT 1 FROM alol_score('SELECT * FROM pairs UNION ALL
	SELECT key, prompt, NULL, NULL FROM pairs WHERE key < 4', 'jobs_policy',
	value => 'jobs_value') WHERE value IS NULL
	OR abs(value - alol_value('jobs_value', prompt)) > 1e-6
	OR abs(logprob - alol_logprob('jobs_policy', prompt, response)) > 1e-4$$,
	'as alol_score does, which has it with the log-probabilities');
SELECT alol_train('SELECT prompt, response, reward, 0.4 AS value FROM pairs',
	'jobs_policy', 'jobs_b', steps => 2) AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'a value column replaces it');
SELECT is((SELECT count(*) FROM alol_advantages WHERE job = :job
	AND value <> 0.4), 0::bigint, 'with its values');
SELECT alol_train('SELECT prompt, response, reward - 0.5 AS advantage
	FROM pairs', 'jobs_policy', 'jobs_c', steps => 2) AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'an advantage column replaces both');
SELECT is((SELECT count(*) FROM alol_advantages WHERE job = :job), 100::bigint,
	'and nothing is held out');
SELECT is((SELECT count(*) FROM alol_advantages WHERE job = :job AND selected),
	(SELECT count(*) FROM pairs WHERE reward > 0.5),
	'its positive rows are trained on');
SELECT alol_sft('SELECT prompt, response FROM pairs', 'jobs_policy', 'jobs_d',
	epochs => 0.5, batch_size => 10, options => '{"optimizer": "adamw8bit"}')
	AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'alol_sft needs no reward');
SELECT results_eq('SELECT method, steps, options ->> ''optimizer''
	FROM alol_jobs WHERE job = ' || :job, $$VALUES ('nll', 5::bigint,
	'adamw8bit')$$, 'is nll, of ceil(epochs * rows / batch_size) steps');

-- Another reference than the model itself.
SELECT alol_train('pairs', 'jobs_policy', 'jobs_q', reward =>
	'length(response) / 50.0', steps => 2, options => '{"max_response_tokens":
	8, "reference": "jobs_other"}') AS job \gset
SELECT alol_train('pairs', 'jobs_other', 'jobs_r', reward =>
	'length(response) / 50.0', steps => 2, options => '{"max_response_tokens":
	8}') AS other \gset
SELECT is(alol_wait(:job) || ' ' || alol_wait(:other), 'succeeded succeeded',
	'a job may name its reference');
SELECT results_eq('SELECT row_number, value, ref_logprob FROM alol_advantages
	WHERE job = ' || :job || ' ORDER BY 1', 'SELECT row_number, value,
	ref_logprob FROM alol_advantages WHERE job = ' || :other || ' ORDER BY 1',
	'which gives r and V as if it were the model');

-- Rows that are no use, and jobs that fail.
SELECT alol_train('SELECT CASE key WHEN 1 THEN NULL ELSE prompt END AS prompt,
		CASE key WHEN 2 THEN NULL WHEN 3 THEN '''' ELSE response END AS response,
		CASE key WHEN 4 THEN NULL ELSE reward - 0.3 END AS reward FROM pairs',
	'jobs_policy', 'jobs_e', 'wbc', steps => 1,
	validation => 'SELECT prompt FROM pairs') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'NULLs are no failure');
SELECT is((SELECT value FROM alol_metrics WHERE job = :job
	AND metric = 'rows/skipped'), 4::float8, 'but skipped and counted');
SELECT matches((SELECT notice FROM alol_jobs WHERE job = :job),
	'rows have a reward of 0 or less and are left out by method wbc',
	'and rewards that are not positive left out');
SELECT alol_train('SELECT key, prompt, response, CASE key WHEN 7 THEN ''NaN''
	ELSE reward END AS reward FROM pairs', 'jobs_policy', 'jobs_f', 'wbc')
	AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '22003',
	'job ' || :job || ' failed: reward of row 7 (key "7") is NaN',
	'a reward that is NaN fails the job and names the row');
SELECT alol_train('SELECT prompt, response, 1e400 AS reward FROM pairs',
	'jobs_policy', 'jobs_f', 'wbc') AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '22003',
	'job ' || :job || ' failed: reward of row 1 is Infinity',
	'as does one that is beyond a double');
SELECT alol_train('SELECT prompt, response, 5 AS reward FROM pairs',
	'jobs_policy', 'jobs_g') AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '22023', NULL,
	'a constant reward fails the job');
SELECT matches((SELECT error FROM alol_jobs WHERE job = :job),
	'the reward is constant: it is 5', 'and says so');
SELECT alol_train('SELECT prompt, response, -1 AS reward FROM pairs',
	'jobs_policy', 'jobs_h', 'r_lol') AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', NULL, 'job ' || :job ||
	' failed: none of 95 rows has a positive reward',
	'so does a source with nothing to learn from');
SELECT is((SELECT detail FROM alol_jobs WHERE job = :job),
	'The reward has the mean -1, from -1 to -1.', 'with the statistics');
SELECT alol_train('SELECT prompt, response, reward FROM pairs WHERE false',
	'jobs_policy', 'jobs_i', 'wbc') AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '02000',
	'job ' || :job || ' failed: source has no rows', 'and an empty one');

SELECT * FROM finish();

SELECT count(alol_job_drop(job)) FROM alol_jobs \gset
SELECT count(alol_model_drop(name)) FROM alol_models WHERE name LIKE 'jobs%'
	AND kind = 'value' \gset
SELECT count(alol_model_drop(name)) FROM alol_models WHERE name LIKE 'jobs%' \gset
DROP SCHEMA jobs_test CASCADE;
