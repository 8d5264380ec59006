-- Evaluation: what a policy's own answers are worth, and which policy's more.
\unset ECHO
\set QUIET 1
SET client_min_messages = error;
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP true

CREATE EXTENSION IF NOT EXISTS alol;
CREATE SCHEMA evaluation_test;
SET search_path = evaluation_test, public;

CREATE TABLE prompts AS SELECT 'k' || i AS key, 'say ' || i || ': ' AS prompt,
	repeat(chr(97 + i % 26), 2 + i % 5) AS response
FROM generate_series(1, 100) i;
SELECT alol_model_create('evaluation_a', '{"model_type": "llama",
	"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 2, "num_attention_heads": 4,
	"num_key_value_heads": 2, "max_position_embeddings": 64}', seed => 1),
	alol_model_create('evaluation_b', '{"model_type": "llama",
	"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 1, "num_attention_heads": 4,
	"max_position_embeddings": 64}', seed => 2) \gset

SELECT plan(49);

-- Calls that cannot work.
CREATE FUNCTION call(arguments text) RETURNS text LANGUAGE sql AS
$$ SELECT 'SELECT alol_evaluate(' || arguments || ')' $$;
SELECT throws_ok(call($$NULL, 'evaluation_a'$$), '22004',
	'source must not be null');
SELECT throws_ok(call($$'prompts', NULL$$), '22004', 'model must not be null');
SELECT throws_ok(call($$'prompts', 'evaluation_c'$$), '42704',
	'model "evaluation_c" does not exist');
SELECT throws_ok(call($$'SELECT response FROM prompts', 'evaluation_a'$$),
	'42703', 'source has no column "prompt"');
SELECT throws_ok(call($$'prompts', 'evaluation_a', 'length(key)'$$), '22023',
	NULL, 'a reward must be of the response');
SELECT throws_ok(call($$'prompts', 'evaluation_a', 'no_column'$$), '42703',
	NULL, 'and of columns that are there');
SELECT throws_ok(call($$'prompts', 'evaluation_a', 'length(response)',
	options => '{"batch_sise": 4}'$$), '22023',
	'unknown option "batch_sise"');
SELECT throws_ok(call($$'prompts', 'evaluation_a', 'length(response)',
	options => '{"generation": {"temperature": -1}}'$$), '22023', NULL,
	'options of generation are checked');
BEGIN READ ONLY;
SELECT throws_ok(call($$'prompts', 'evaluation_a'$$), '25006',
	'cannot execute alol_evaluate() in a read-only transaction');
ROLLBACK;
SELECT is_empty('SELECT * FROM alol_jobs', 'none of these made a job');

-- What is measured. Greedy responses are those of alol_generate().
SELECT alol_evaluate('prompts', 'evaluation_a',
	'{"length": "length(response) / 100.0", "half": "0.5"}',
	options => '{"max_response_tokens": 8}') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'an evaluation ends well');
SELECT results_eq('SELECT kind, state, phase, progress, output, method,
		detail FROM alol_jobs WHERE job = ' || :job,
	$$VALUES ('evaluate', 'succeeded', NULL::text, 1::float8, NULL::text,
		NULL::text, NULL::text)$$, 'alol_jobs shows it');
SELECT results_eq('SELECT e.row_number, row_key, e.prompt, e.response FROM
	alol_evaluations e WHERE job = ' || :job || ' ORDER BY 1',
	$$SELECT row_number() OVER (), key, prompt,
		alol_generate('evaluation_a', prompt, 8) FROM prompts$$,
	'every prompt has the greedy response');
SELECT is((SELECT count(*) FROM alol_samples s JOIN alol_evaluations e
		USING (job, prompt, response, reward) WHERE job = :job AND step = 0),
	100::bigint, 'which is a sample');
SELECT is_empty('SELECT 1 FROM alol_evaluations WHERE job = ' || :job ||
	$$ AND (abs(reward - length(response) / 100.0 - 0.5) > 1e-12
		OR (components ->> 'half')::float8 <> 0.5
		OR words <> alol_word_count(response) OR tokens NOT BETWEEN 1 AND 8)$$,
	'rewards, components and lengths are those of the response');
SELECT is_empty('SELECT 1 FROM alol_evaluations e JOIN prompts p
		ON p.key = e.row_key WHERE job = ' || :job ||
	$$ AND (abs(ref_logprob - alol_logprob('evaluation_a', p.prompt,
			p.response)) > 1e-4 OR ref_tokens <> length(p.response) + 1)$$,
	'the source''s own responses are measured whole, the end included');
SELECT results_eq($$SELECT metric, round(value::numeric, 9) FROM alol_metrics
		WHERE step = 0 AND metric !~ 'rows/|stddev' AND job = $$ || :job ||
		$$ ORDER BY metric COLLATE "C"$$,
	$$SELECT metric, round(value::numeric, 9)
	FROM (SELECT avg(reward) AS r, avg(words) AS w, avg(tokens) AS t,
			avg(ended::int) AS e, exp(-sum(ref_logprob) / sum(ref_tokens)) AS p,
			avg((components ->> 'length')::float8) AS l,
			alol_corpus_distinct(response, 1) AS d1,
			alol_corpus_distinct(response, 2) AS d2,
			alol_corpus_distinct(response, 3) AS d3
		FROM alol_evaluations WHERE job = $$ || :job || $$) s,
	LATERAL (VALUES ('reward', r), ('words', w), ('tokens', t), ('ended', e),
		('perplexity', p), ('reward/half', 0.5), ('reward/length', l),
		('distinct_1', d1), ('distinct_2', d2), ('distinct_3', d3))
		AS v (metric, value)
	WHERE value IS NOT NULL ORDER BY metric COLLATE "C"$$,
	'metrics sum up what the rows have');

-- Without a reward, without responses, without prompts.
SELECT alol_evaluate('SELECT prompt FROM prompts LIMIT 3', 'evaluation_a',
	options => '{"max_response_tokens": 4}') AS other \gset
SELECT is(alol_wait(:other), 'succeeded', 'neither reward nor responses');
SELECT is((SELECT array_agg(metric ORDER BY metric) FROM alol_metrics
	WHERE job = :other AND metric ~ 'reward|perplexity'), NULL,
	'are measured where there are none');
SELECT alol_evaluate('SELECT nullif(prompt, ''say 2: '') AS prompt,
		CASE WHEN key = ''k3'' THEN 1 END AS three FROM prompts LIMIT 5',
	'evaluation_a', 'length(response) + three - three',
	options => '{"max_response_tokens": 4}') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'NULLs are no failure');
SELECT is((SELECT array_agg(row_number ORDER BY row_number)
	FROM alol_evaluations WHERE job = :job), '{1,3,4,5}',
	'a row without a prompt is skipped');
SELECT is((SELECT value FROM alol_metrics WHERE job = :job
	AND metric = 'rows/skipped'), 1::float8, 'and counted');
SELECT is((SELECT notice FROM alol_jobs WHERE job = :job),
	'1 of 5 rows are skipped: their prompt is NULL or empty' || chr(10) ||
	'the reward of 3 of 4 responses is NULL: they are left out of its mean',
	'as is what has no reward');
SELECT alol_evaluate('SELECT NULL::text AS prompt', 'evaluation_a') AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '02000', 'job ' || :job ||
	' failed: no row of the source has a prompt: all 1 are NULL or empty',
	'nothing to evaluate is a failure');
SELECT alol_evaluate('prompts', 'evaluation_a', 'length(response) / 0.0e0')
	AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '22012', NULL,
	'so is a reward that raises');

-- An expression that raises names its row.
SELECT alol_evaluate('prompts', 'evaluation_a', '{"ok": "1", "bad":
	"length(response) / (substr(key, 2)::int - 77)"}', options =>
	'{"max_response_tokens": 4}') AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '22012',
	'job ' || :job || ' failed: division by zero', 'a reward that raises');
SELECT is((SELECT detail FROM alol_jobs WHERE job = :job),
	'The reward "bad" of the generated response to the prompt of row 77 '
	'(key "k77") raised it.', 'names its row');
SELECT alol_train('SELECT prompt, response FROM prompts', 'evaluation_a',
	'evaluation_x', 'wbc', reward => '1 / (7 - length(response) / 6 * 7)')
	AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '22012', NULL,
	'so does one of rows');
SELECT is((SELECT detail FROM alol_jobs WHERE job = :job),
	'The reward of row 4 raised it.', 'in training');
CREATE FUNCTION why(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
BEGIN
	EXECUTE statement;
	RETURN 'nothing';
EXCEPTION WHEN others THEN
	GET STACKED DIAGNOSTICS result = PG_EXCEPTION_DETAIL;
	RETURN result;
END $$;
SELECT is(why($$SELECT * FROM alol_score('prompts', reward =>
	'(''{"a": '' || (CASE key WHEN ''k70'' THEN ''x'' ELSE ''1'' END) || ''}'')::json ->> ''a'' IS NULL')$$),
	E'Token "x" is invalid.\nThe reward of row 70 (key "k70") raised it.',
	'and in alol_score, behind what the error said itself');
SELECT is(why($$SELECT * FROM alol_score('prompts', reward =>
	'1 / (alol_logprob(''evaluation_a'', prompt, response) * 0 + (key <> ''k5'')::int)')$$),
	'The reward of row 5 (key "k5") raised it.',
	'where models are asked in batches, too');

-- Random, yet the same again.
SELECT count(alol_evaluate('prompts', 'evaluation_a', 'length(response)',
	seed => s, options => '{"max_response_tokens": 8,
		"generation": {"temperature": 1}}')) FROM unnest(ARRAY[7, 7, 8]) s \gset
SELECT count(alol_wait(job)) FROM alol_jobs WHERE kind = 'evaluate'
	AND state IN ('queued', 'running') \gset
SELECT is(count(DISTINCT responses), 2::bigint,
	'responses follow from the seed')
FROM (SELECT string_agg(response, '|' ORDER BY row_number) AS responses
	FROM alol_evaluations e JOIN alol_jobs j USING (job)
	WHERE settings -> 'generation' <> '{}' GROUP BY job) s;
SELECT cmp_ok(count(DISTINCT response), '>', 90::bigint,
	'and every row draws its own') FROM alol_evaluations e
	JOIN alol_jobs j USING (job)
	WHERE settings -> 'generation' <> '{}' AND settings ->> 'seed' = '8';

-- Which is better. Hand-made rewards take the place of those measured.
SELECT alol_evaluate('prompts', 'evaluation_a', 'length(response)',
	options => '{"max_response_tokens": 4}') AS a \gset
SELECT alol_evaluate('SELECT * FROM prompts ORDER BY key DESC', 'evaluation_b',
	'length(response)', options => '{"max_response_tokens": 4}') AS b \gset
SELECT alol_evaluate('SELECT prompt FROM prompts LIMIT 2', 'evaluation_a',
	'length(response)', options => '{"max_response_tokens": 4}') AS c \gset
SELECT alol_evaluate('SELECT prompt FROM prompts OFFSET 1', 'evaluation_b',
	'length(response)', options => '{"max_response_tokens": 4}') AS d \gset
SELECT alol_sft('SELECT prompt, response FROM prompts', 'evaluation_a',
	'evaluation_t', steps => 1) AS t \gset
SELECT throws_ok('SELECT alol_compare(0, ' || :a || ')', '42704',
	'job 0 does not exist', 'alol_compare needs jobs');
SELECT throws_ok('SELECT alol_compare(' || :t || ', ' || :a || ')', '42809',
	'job ' || :t || ' is not an evaluation', 'that evaluate');
SELECT count(alol_wait(j)) FROM unnest(ARRAY[:a, :b, :c, :d, :t]) j \gset

CREATE FUNCTION compared(a bigint, b bigint, metric text, OUT a float8,
	OUT b float8, OUT difference numeric, OUT ci_low float8,
	OUT ci_high float8, OUT wins int, OUT ties int, OUT losses int,
	OUT prompts int) LANGUAGE sql AS $$
	SELECT c.a, c.b, round(c.difference::numeric, 9), c.ci_low, c.ci_high,
		c.wins, c.ties, c.losses, c.prompts
	FROM alol_compare($1, $2) c WHERE c.metric = $3
$$;
SELECT results_eq('SELECT metric FROM alol_compare(' || :a || ', ' || :b || ')',
	$$VALUES ('reward'), ('perplexity'), ('words'), ('tokens'),
		('distinct_1'), ('distinct_2'), ('distinct_3')$$,
	'there is a line for each metric that both have');
SELECT is_empty($$SELECT 1 FROM alol_compare($$ || :a || ', ' || :b || $$) c
	JOIN alol_metrics ma ON ma.metric = c.metric AND ma.job = $$ || :a || $$
	JOIN alol_metrics mb ON mb.metric = c.metric AND mb.job = $$ || :b || $$
	WHERE abs(a - ma.value) > 1e-9 OR abs(b - mb.value) > 1e-9
		OR abs(difference - (a - b)) > 1e-12
		OR ci_low > difference OR ci_high < difference OR prompts <> 100
		OR (wins IS NULL) <> (c.metric ~ 'distinct')
		OR (ci_low IS NULL) <> (c.metric ~ 'distinct')$$,
	'with the numbers of the jobs, and an interval around their difference');

CREATE FUNCTION set_rewards(job bigint, value text) RETURNS void
LANGUAGE plpgsql AS $$ BEGIN
	EXECUTE format('UPDATE alol_evaluation SET reward = %s WHERE job = %s',
		value, job);
END $$;
SELECT set_rewards(:a, $$substr(row_key, 2)::int / 10$$) \gset
SELECT set_rewards(:b, $$substr(row_key, 2)::int / 10
	+ CASE WHEN row_key = 'k100' THEN 3 WHEN row_key LIKE 'k_' THEN -1
		ELSE 0 END$$) \gset
SELECT results_eq(format($$SELECT a, b, difference, wins, ties, losses, prompts
	FROM compared(%s, %s, 'reward')$$, :a, :b),
	$$VALUES (4.6::float8, 4.54::float8, 0.06, 9, 90, 1, 100)$$,
	'rows are paired by their keys');
SELECT set_rewards(:b, $$substr(row_key, 2)::int / 10 + 2$$) \gset
SELECT results_eq(format($$SELECT difference, ci_low, ci_high, wins, losses
	FROM compared(%s, %s, 'reward')$$, :a, :b),
	$$VALUES (-2.0, -2::float8, -2::float8, 0, 100)$$,
	'a difference that is the same everywhere is certain');
SELECT set_rewards(:b, $$substr(row_key, 2)::int / 10
	+ sin(substr(row_key, 2)::int)$$) \gset
SELECT is_empty(format($$SELECT 1 FROM compared(%s, %s, 'reward'),
	(SELECT stddev_pop(sin(i)) / sqrt(100) AS se FROM generate_series(1, 100) i) s
	WHERE abs(ci_low - (difference - 1.96 * se)) > 0.1 * se
		OR abs(ci_high - (difference + 1.96 * se)) > 0.1 * se$$, :a, :b),
	'of many prompts the interval is that of the normal distribution');
SELECT results_eq(format('SELECT * FROM alol_compare(%s, %s)', :a, :b),
	format('SELECT * FROM alol_compare(%s, %s)', :a, :b),
	'the same call gives the same interval');
SELECT isnt((SELECT ci_low FROM alol_compare(:a, :b) WHERE metric = 'reward'),
	(SELECT ci_low FROM alol_compare(:a, :b, 1) WHERE metric = 'reward'),
	'another seed another');
SELECT set_rewards(:b, $$CASE WHEN row_number <= 50 THEN reward END$$) \gset
SELECT results_eq(format($$SELECT prompts, wins + ties + losses
	FROM compared(%s, %s, 'reward')$$, :a, :b), 'VALUES (50, 50)',
	'a NULL is paired with nothing');
SELECT set_rewards(:c, 'row_number') \gset
SELECT set_rewards(:a, '1') \gset
SELECT results_eq(format($$SELECT * FROM compared(%s, %s, 'reward')$$, :a, :c),
	$$VALUES (1::float8, 1.5::float8, -0.5, -1::float8, 0::float8, 0, 1, 1, 2)$$,
	'without keys rows are paired by number');
SELECT throws_ok('SELECT alol_compare(' || :c || ', ' || :d || ')', '02000',
	'jobs ' || :c || ' and ' || :d || ' have no row in common',
	'but not where their prompts differ');

CREATE ROLE evaluation_stranger;
SELECT alol_allow('evaluation_stranger') \gset
SET ROLE evaluation_stranger;
SELECT throws_ok('SELECT public.alol_compare(' || :a || ', ' || :b || ')', '42704',
	'job ' || :a || ' does not exist', 'another''s jobs are not compared');
SELECT is_empty('SELECT 1 FROM public.alol_evaluations', 'nor seen');
RESET ROLE;
SELECT alol_disallow('evaluation_stranger') \gset
DROP ROLE evaluation_stranger;

SELECT lives_ok('SELECT alol_job_drop(' || :other || ')', 'it can be dropped');
SELECT is_empty('SELECT 1 FROM alol_evaluation WHERE job = ' || :other,
	'with all it had');

SELECT * FROM finish();

SELECT count(alol_job_drop(job)) FROM alol_jobs \gset
SELECT count(alol_model_drop(name)) FROM alol_models
	WHERE name LIKE 'evaluation%' \gset
DROP SCHEMA evaluation_test CASCADE;
