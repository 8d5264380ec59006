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

SELECT plan(29);

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

SELECT lives_ok('SELECT alol_job_drop(' || :other || ')', 'it can be dropped');
SELECT is_empty('SELECT 1 FROM alol_evaluation WHERE job = ' || :other,
	'with all it had');

SELECT * FROM finish();

SELECT count(alol_job_drop(job)) FROM alol_jobs \gset
SELECT count(alol_model_drop(name)) FROM alol_models
	WHERE name LIKE 'evaluation%' \gset
DROP SCHEMA evaluation_test CASCADE;
