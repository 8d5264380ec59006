-- Pairs and ranked lists: dpo, dpo_ref_free and pro. What jobs take, what they
-- refuse, how rows are grouped, and what is seen of them.
\unset ECHO
\set QUIET 1
SET client_min_messages = error;
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP true

CREATE EXTENSION IF NOT EXISTS alol;
CREATE SCHEMA preferences_test;
SET search_path = preferences_test, public;
SELECT * FROM no_plan();

SELECT alol_model_create('preferences_policy', '{"model_type": "llama",
	"vocab_size": 320, "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 1, "num_attention_heads": 4,
	"max_position_embeddings": 64}', seed => 3) \gset

CREATE TABLE pairs AS SELECT i AS key, 'say ' || (i % 20) || ': ' AS prompt,
	repeat('a', 2 + i % 4) AS chosen, repeat('b', 2 + i % 3) AS rejected
	FROM generate_series(1, 40) AS i;
-- Ten prompts with the rewards 0, 1/4, 1/4 and 1; one with a single response;
-- one with equal rewards.
CREATE TABLE ranked AS SELECT i AS key, 'say ' || (i % 10) || ': ' AS prompt,
	repeat(chr(97 + i / 10), 2 + i % 3) AS response,
	(ARRAY[0, 0.25, 0.25, 1])[1 + i / 10]::float8 AS reward
	FROM generate_series(0, 39) AS i
	UNION ALL VALUES (40, 'alone: ', 'x', 0.5), (41, 'equal: ', 'y', 0.5),
		(42, 'equal: ', 'z', 0.5);

-- Trains without holding anything out.
CREATE FUNCTION train(source text, method text, output text,
	options jsonb DEFAULT '{}', reward text DEFAULT NULL) RETURNS bigint
	LANGUAGE sql AS $$
	SELECT alol_train(source, 'preferences_policy', 'preferences_' || output,
		method, reward, steps => 3, batch_size => 4, learning_rate => 1e-3,
		validation => 'SELECT prompt FROM preferences_test.ranked LIMIT 2',
		options => options || '{"max_response_tokens": 8}')
	$$;
CREATE FUNCTION metric_of(job bigint, name text) RETURNS float8
	LANGUAGE sql AS $$
	SELECT value FROM alol_metrics m WHERE m.job = metric_of.job
		AND metric = name ORDER BY step LIMIT 1
	$$;

-- What cannot work.
CREATE FUNCTION call(source text, method text, more text DEFAULT '')
	RETURNS text LANGUAGE sql AS $$
	SELECT format('SELECT alol_train(%L, ''preferences_policy'', ''o'', %L%s)',
		source, method, more)
	$$;
SELECT throws_ok(call('SELECT prompt FROM pairs', 'dpo'), '42703',
	'source has neither column "chosen" nor column "response"');
SELECT throws_ok(call('SELECT prompt, chosen FROM pairs', 'dpo_ref_free'),
	'42703', 'source has neither column "rejected" nor column "response"');
SELECT throws_ok(call('SELECT prompt, chosen, 1 AS rejected FROM pairs',
	'dpo'), '42804', 'source column "rejected" must be text, not integer');
SELECT throws_ok(call('SELECT chosen, rejected FROM pairs', 'dpo'), '42703',
	'source has no column "prompt"');
SELECT throws_ok(call('SELECT prompt, response FROM ranked', 'dpo'), '42703',
	'source has no column "reward"', 'rows are compared by reward');
SELECT throws_ok(call('SELECT prompt, response FROM ranked', 'pro'), '42703',
	'source has no column "reward"', 'and ranked');
SELECT throws_ok(call('pairs', 'pro'), '42703',
	'source has no column "response"', 'pro takes no pairs without rewards');
SELECT throws_ok(call('pairs', 'nll'), '42703',
	'source has no column "response"', 'nor do methods of single responses');
SELECT throws_ok(call('pairs', 'dpo',
	$$, options => '{"chosen_column": "better"}'$$), '42703',
	'source has no column "better"');
SELECT throws_ok(call('pairs', 'dpo', $$, reward => 'nothing'$$), '42703',
	NULL, 'the reward of new responses is checked');
SELECT throws_ok(call('ranked', 'dpo', $$, options => '{"pairs": "some"}'$$),
	'22023', 'option "pairs" must be best_worst, adjacent or all, not "some"');
SELECT throws_ok(call('ranked', 'pro', $$, options => '{"max_list": 1}'$$),
	'22023', 'option "max_list" must be at least 2 and at most 1024, not 1');
SELECT throws_ok(call('ranked', 'pro', $$, options => '{"sft_weight": -1}'$$),
	'22023', NULL, 'sft_weight is not negative');
SELECT is_empty('SELECT * FROM alol_jobs', 'none of these made a job');

-- Pairs of the source.
SELECT train('pairs', 'dpo', 'a') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'dpo trains on pairs');
SELECT results_eq('SELECT count(*), bool_and(selected), count(reward),
		count(value), count(advantage) FROM alol_advantages WHERE job = ' || :job,
	'SELECT 40::bigint, true, 0::bigint, 0::bigint, 0::bigint',
	'a line a pair, without rewards');
SELECT is_empty('SELECT 1 FROM alol_advantages JOIN pairs ON row_key = key::text
	WHERE job = ' || :job || $$ AND (abs(ref_logprob
		- alol_logprob('preferences_policy', prompt, chosen)
		- alol_logprob('preferences_policy', prompt, rejected)) > 1e-4
		OR tokens <> length(chosen) + length(rejected) + 2)$$,
	'with the tokens and the log-probability of both responses');
SELECT is(metric_of(:job, 'groups/total'), 40::float8, 'each is a pair');
SELECT ok(abs(metric_of(:job, 'loss') - ln(2)) < 1e-12,
	'the first loss is that of no margin');
SELECT is(array_agg(DISTINCT metric ORDER BY metric), '{logps/chosen,
	logps/policy,logps/reference,logps/rejected,rewards/accuracies,
	rewards/chosen,rewards/margins,rewards/rejected}', 'metrics have TRL''s names')
FROM alol_metrics WHERE job = :job AND step = 1
	AND (metric LIKE 'logps/%' OR metric LIKE 'rewards/%');
SELECT is_empty('SELECT 1 FROM (SELECT step, max(value) FILTER (WHERE metric =
		''rewards/chosen'') - max(value) FILTER (WHERE metric =
		''rewards/rejected'') - max(value) FILTER (WHERE metric =
		''rewards/margins'') AS rest FROM alol_metrics WHERE job = ' || :job ||
	' GROUP BY step) AS s WHERE abs(rest) > 1e-9',
	'the margin is chosen minus rejected');
SELECT is((SELECT count(*) FROM alol_metrics WHERE job = :job
	AND metric = 'evaluation/reward'), 0::bigint, 'without a reward no evaluation');
SELECT is(settings ->> 'sampling', 'uniform', 'pairs are shuffled')
FROM alol_job WHERE id = :job;

-- What is held out is measured, and tells the best step where no reward does.
CREATE FUNCTION held_metrics(job bigint) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(DISTINCT metric, ',' ORDER BY metric) FROM alol_metrics
	WHERE job = held_metrics.job AND metric LIKE 'eval\_%' $$;
SELECT is(held_metrics(:job), NULL, 'a validation without responses measures nothing');
SELECT alol_train('pairs', 'preferences_policy', 'preferences_held', 'dpo',
	steps => 4, batch_size => 8, learning_rate => 3e-3) AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'dpo holds pairs out');
SELECT is(held_metrics(:job), 'eval_logps/chosen,eval_logps/rejected,eval_loss,'
	'eval_rewards/accuracies,eval_rewards/chosen,eval_rewards/margins,'
	'eval_rewards/rejected', 'and measures them by TRL''s names');
SELECT ok(abs(value - ln(2)) < 1e-4, 'at first without a margin')
FROM alol_metrics WHERE job = :job AND metric = 'eval_loss' AND step = 0;
SELECT ok(notice ~ (CASE WHEN best.step > 0 THEN 'the weights of step ' || best.step ||
	' are kept: eval_loss ' ELSE 'no step was better on held-out rows' END) OR best.step = 4,
	'the least loss is kept')
FROM alol_jobs, LATERAL (SELECT step FROM alol_metrics m WHERE m.job = :job
	AND metric = 'eval_loss' ORDER BY value, step LIMIT 1) AS best
WHERE alol_jobs.job = :job;
SELECT alol_train('SELECT * FROM ranked', 'preferences_policy', 'preferences_held_lists', 'pro',
	steps => 2, batch_size => 2, validation => 'ranked') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'pro takes lists of its validation');
SELECT ok(held_metrics(:job) LIKE '%eval_loss%', 'and measures them');

SELECT train('SELECT prompt, chosen AS good, rejected AS bad FROM pairs', 'dpo',
	'b', '{"chosen_column": "good", "rejected_column": "bad"}',
	'1.0 / (1 + length(response))') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'columns have other names by options');
SELECT is((SELECT count(*) FROM alol_metrics WHERE job = :job
	AND metric = 'evaluation/reward'), 4::bigint,
	'a reward of new responses picks the best step');
SELECT is((SELECT count(reward) FROM alol_advantages WHERE job = :job),
	0::bigint, 'but is not asked of pairs');
SELECT train('SELECT prompt, CASE key WHEN 1 THEN NULL WHEN 2 THEN '''' ELSE
	chosen END AS chosen, CASE key WHEN 3 THEN NULL WHEN 4 THEN '''' ELSE
	rejected END AS rejected FROM pairs', 'dpo_ref_free', 'c') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'half a pair is no failure');
SELECT is(metric_of(:job, 'rows/skipped'), 4::float8, 'but skipped');
SELECT is(metric_of(:job, 'groups/total'), 36::float8, 'and counted');
SELECT is((SELECT count(ref_logprob) FROM alol_advantages WHERE job = :job),
	0::bigint, 'dpo_ref_free does not ask the reference');
SELECT matches((SELECT notice FROM alol_jobs WHERE job = :job),
	'4 of 40 rows are skipped: 2 with a null response, 2 with a response of no tokens',
	'the notice tells why');

-- Pairs from rows with rewards.
SELECT train('ranked', 'dpo', 'd') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'dpo makes pairs of rows');
SELECT matches((SELECT notice FROM alol_jobs WHERE job = :job),
	'12 prompts make 10 pairs; without are 1 with one response, 1 with equal rewards',
	'and says of how many');
SELECT results_eq('SELECT row_key::int FROM alol_advantages WHERE selected AND
	job = ' || :job || ' ORDER BY 1', 'SELECT key FROM ranked WHERE reward
	IN (0, 1) ORDER BY 1', 'the best and the worst of each prompt');
SELECT is_empty('SELECT 1 FROM alol_advantages JOIN ranked ON row_key = key::text
	WHERE job = ' || :job || $$ AND (alol_advantages.reward <> ranked.reward OR
		advantage IS NOT NULL OR abs(ref_logprob
		- alol_logprob('preferences_policy', prompt, response)) > 1e-4)$$,
	'every row has its reward and log-probability');
SELECT count(train('ranked', 'dpo', 'pairs_' || kind,
	jsonb_build_object('pairs', kind)))
FROM unnest(ARRAY['adjacent', 'all']) AS kind \gset
SELECT is(alol_wait(job), 'succeeded', 'there are ' || output) FROM alol_jobs
WHERE output LIKE 'preferences_pairs%' ORDER BY output;
SELECT results_eq($$SELECT output, metric_of(job, 'groups/total'),
		metric_of(job, 'groups/equal_pairs'), metric_of(job, 'rows/selected')
	FROM alol_jobs WHERE output LIKE 'preferences_pairs%' ORDER BY 1$$,
	$$VALUES ('preferences_pairs_adjacent', 20::float8, 10::float8, 40::float8),
	('preferences_pairs_all', 50, 10, 40)$$,
	'neighbours by reward, or all of different rewards');
SELECT train('SELECT prompt, response, 1 AS chosen FROM ranked', 'dpo', 'e',
	reward => 'length(response)') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'one column of pairs is no pair');

-- Lists.
SELECT train('ranked', 'pro', 'f') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'pro ranks rows');
SELECT matches((SELECT notice FROM alol_jobs WHERE job = :job),
	'12 prompts make 10 lists', 'by prompt');
SELECT is(metric_of(:job, 'rows/selected'), 40::float8, 'all but three');
SELECT is(metric_of(:job, 'tau/max'), 1::float8, 'the largest difference is told');
SELECT is((SELECT count(ref_logprob) FROM alol_advantages WHERE job = :job),
	0::bigint, 'pro has no reference');
SELECT train('ranked', 'pro', 'g', '{"max_list": 3}', 'length(response) * 20')
	AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'by an expression, shorter lists');
SELECT cmp_ok(metric_of(:job, 'rows/selected'), '<=', 3 * metric_of(:job,
	'groups/total'), 'of at most three');
SELECT matches((SELECT notice FROM alol_jobs WHERE job = :job),
	'rewards of one list differ by up to 40, and method pro takes differences '
	'as temperatures, which should not be above 10', 'large rewards are told');

-- Nothing to compare.
SELECT train('SELECT prompt, response, 0.5 AS reward FROM ranked', 'dpo', 'h')
	AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '02000', 'job ' || :job ||
	' failed: no prompt has two responses with different rewards',
	'without differences there is nothing to learn');
SELECT is((SELECT detail FROM alol_jobs WHERE job = :job),
	'Of 12 prompts 1 have one response and 11 responses with equal rewards. '
	'The reward has the mean 0.5, from 0.5 to 0.5.', 'with the statistics');
SELECT is(alol_resume(:job), true, 'resumed');
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '02000', NULL,
	'it fails as before');
SELECT train('SELECT prompt, NULL::text AS chosen, rejected FROM pairs', 'dpo',
	'i') AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '02000', 'job ' || :job ||
	' failed: no row is left to train on', 'nor from halves alone');

-- Learning: chosen responses rise over rejected ones, and good over bad.
SELECT alol_train('pairs', 'preferences_policy', 'preferences_learnt', 'dpo',
	steps => 60, batch_size => 8, learning_rate => 3e-3,
	options => '{"schedule": "constant"}') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'dpo learns');
SELECT cmp_ok(avg(value), '>', 0.5::float8, 'margins grow')
FROM alol_metrics WHERE job = :job AND metric = 'rewards/margins' AND step > 50;
SELECT cmp_ok(avg((alol_logprob('preferences_learnt', prompt, chosen)
	- alol_logprob('preferences_policy', prompt, chosen)
	> alol_logprob('preferences_learnt', prompt, rejected)
	- alol_logprob('preferences_policy', prompt, rejected))::int), '>=', 0.9,
	'for nearly all pairs')
FROM pairs;
SELECT alol_train('ranked', 'preferences_policy', 'preferences_ranked', 'pro',
	steps => 60, batch_size => 5, learning_rate => 3e-3, options =>
	'{"schedule": "constant", "sft_weight": 0}') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'pro learns');
SELECT cmp_ok(corr(reward, alol_logprob('preferences_ranked', prompt, response)
	/ (length(response) + 1)), '>', corr(reward,
	alol_logprob('preferences_policy', prompt, response)
	/ (length(response) + 1)) + 0.2, 'to rank responses as the rewards do')
FROM ranked;

SELECT * FROM finish();

SELECT count(alol_job_drop(job)) FROM alol_jobs \gset
SELECT count(alol_model_drop(name)) FROM alol_models
	WHERE name LIKE 'preferences%' \gset
DROP SCHEMA preferences_test CASCADE;
