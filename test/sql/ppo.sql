-- Method ppo: what its jobs take, what they refuse, and what is seen of them.
\unset ECHO
\set QUIET 1
SET client_min_messages = error;
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP true

CREATE EXTENSION IF NOT EXISTS alol;
CREATE SCHEMA ppo_test;
SET search_path = ppo_test, public;
SELECT * FROM no_plan();

SELECT alol_model_create('ppo_policy', '{"model_type": "llama",
	"vocab_size": 320, "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 1, "num_attention_heads": 4,
	"max_position_embeddings": 64}', seed => 3) \gset
CREATE TABLE prompts AS SELECT i AS key, 'say ' || i || ': ' AS prompt,
	0.5 AS wish FROM generate_series(1, 20) AS i
	UNION ALL VALUES (21, NULL, 0.5);

CREATE FUNCTION call(reward text, options jsonb DEFAULT '{}',
	source text DEFAULT 'prompts') RETURNS text LANGUAGE sql AS $$
	SELECT format('SELECT alol_train(%L, ''ppo_policy'', ''o'', ''ppo'', %L, '
		'options => %L)', source, reward, options)
	$$;
CREATE FUNCTION refused(options jsonb) RETURNS text LANGUAGE sql AS
	$$ SELECT call('length(response)', options) $$;

-- What cannot work.
SELECT throws_ok(call('wish'), '22023', 'reward says nothing of new responses');
SELECT throws_ok(call(NULL), '42703', 'source has no column "reward"');
SELECT throws_ok(call(NULL, source => 'SELECT prompt, 1.0 AS reward FROM prompts'),
	'22023', 'reward says nothing of new responses');
SELECT throws_ok(call('{"a": "length(response)", "b": "wish"}'), '22023',
	'reward says nothing of new responses', 'nor may a part of it');
SELECT throws_ok(call('length(response)', source => 'SELECT key FROM prompts'),
	'42703', 'source has no column "prompt"');
SELECT throws_ok(refused('{"ppo_epochs": 0}'), '22023',
	'option "ppo_epochs" must be at least 1 and at most 1000, not 0');
SELECT throws_ok(refused('{"lam": 1.5}'), '22023',
	'option "lam" must be at least 0 and at most 1, not 1.5');
SELECT throws_ok(refused('{"target_kl": 0}'), '22023');
SELECT throws_ok(refused('{"mini_batch_size": 0}'), '22023');
SELECT throws_ok(refused('{"score_norm": 1}'), '22023');
SELECT throws_ok(refused('{"score_clip": 0}'), '22023',
	'option "score_clip" must be greater than 0 and at most 1000000, not 0');
SELECT throws_ok(refused('{"early_stopping_kl": -1}'), '22023');
SELECT throws_ok(refused('{"vf_coeff": 1}'), '22023',
	'unknown option "vf_coeff"');
SELECT throws_ok(refused('{"device": "cpu:2"}'), '0A000',
	'method "ppo" trains on one device, not on "cpu:2"');
SELECT throws_ok(refused('{"generation": {"num_beams": 4}}'), '22023',
	'option "generation.num_beams" does not go with a method that draws its own responses');
SELECT throws_ok(refused('{"generation": {"temperature": 0}}'), '22023',
	'option "generation.temperature" does not go with a method that draws its own responses');
SELECT is((SELECT count(*) FROM alol_jobs WHERE method = 'ppo'), 0::bigint,
	'nothing of this is a job');

-- What can.
CREATE FUNCTION train(output text, options jsonb, source text DEFAULT 'prompts',
	more_steps int DEFAULT 3, rank int DEFAULT NULL) RETURNS bigint
	LANGUAGE sql AS $$
	SELECT alol_train(source, 'ppo_policy', 'ppo_' || output, 'ppo',
		'{"long": "length(response) / 8.0", "wish": "wish * length(response)"}',
		steps => more_steps, batch_size => 4, learning_rate => 1e-3,
		lora_rank => rank, options => options || '{"max_response_tokens": 8}')
	$$;
CREATE FUNCTION metric_of(job bigint, name text, at_step int DEFAULT 1) RETURNS float8
	LANGUAGE sql AS $$
	SELECT value FROM alol_metrics m WHERE m.job = metric_of.job
		AND metric = name AND step = at_step
	$$;
SELECT train('a', '{}') AS a \gset
SELECT is(alol_wait(:a), 'succeeded', 'a source of prompts is enough');
SELECT is((SELECT array_agg(s.settings -> k ORDER BY k) FROM alol_job s,
	unnest('{clip_range,lora_dropout,target_kl,vf_coef}'::text[]) k WHERE s.id = :a),
	ARRAY['0.2', '0', '6', '0.1']::jsonb[], 'with the defaults of ppo');
SELECT is((SELECT array_agg(s.settings -> k ORDER BY k) FROM alol_job s,
	unnest('{gamma,init_kl_coef,kl_horizon,lam,ppo_epochs}'::text[]) k WHERE s.id = :a),
	ARRAY['1', '0.2', '10000', '0.95', '4']::jsonb[], 'as published');
SELECT is(metric_of(:a, 'rows/selected', 0), 19.0::float8, 'all prompts but one held out');
SELECT is(metric_of(:a, 'rows/skipped', 0), 1.0::float8, 'and that which is null');
SELECT is(metric_of(:a, 'objective/kl'), 0.0::float8, 'the policy begins as the reference');
SELECT is(metric_of(:a, 'objective/kl_coef'), 0.2::float8, 'at the given coefficient');
SELECT ok(metric_of(:a, 'objective/kl_coef', 2) < 0.2, 'which falls below the target');
SELECT ok(metric_of(:a, 'env/reward_mean') > 0, 'new responses have rewards');
SELECT ok(metric_of(:a, 'evaluation/reward', 3) > 0, 'and so have held-out prompts');
SELECT ok((SELECT count(*) > 0 FROM alol_samples WHERE job = :a), 'samples are kept');

-- Another reference than the policy; an adapter; prompts with a column of
-- advantages, which says nothing here.
SELECT train('b', '{"reference": "ppo_a", "ppo_epochs": 1, "mini_batch_size": 2}') AS b \gset
SELECT is(alol_wait(:b), 'succeeded', 'a reference of its own');
SELECT isnt(metric_of(:b, 'objective/kl'), 0.0::float8, 'from which the policy differs');
SELECT train('c', '{"quantize": "q8_0"}',
	'SELECT *, 1.0 AS advantage FROM prompts', 2, 2) AS c \gset
SELECT is(alol_wait(:c), 'succeeded', 'an adapter over quantized weights');
SELECT is(metric_of(:c, 'objective/kl'), 0.0::float8, 'whose reference has them, too');
SELECT is(metric_of(:c, 'rows/held_out', 0), 1.0::float8, 'a prompt is held out');
SELECT is((SELECT kind FROM alol_models WHERE name = 'ppo_c'), 'adapter',
	'the model is an adapter');
SELECT ok(alol_generate('ppo_c', 'say: ', max_tokens => 4) IS NOT NULL,
	'which says something');
SELECT alol_train('prompts', 'ppo_c', 'ppo_d', 'ppo', 'length(response)',
	steps => 2, batch_size => 4, options => '{"max_response_tokens": 8,
		"score_norm": false, "clip_range": null}') AS d \gset
SELECT is(alol_wait(:d), 'succeeded', 'an adapter goes on');
SELECT is(metric_of(:d, 'objective/kl'), 0.0::float8, 'from what it was');
SELECT is(metric_of(:d, 'ppo/policy/clipfrac', 2), 0.0::float8,
	'without a range nothing is clipped');
SELECT alol_train('prompts', 'ppo_policy', 'ppo_e', 'ppo', 'length(response)',
	steps => 2, batch_size => 4, learning_rate => 1e-2, options =>
	'{"max_response_tokens": 8, "score_norm": false, "score_scaling": true,
		"score_clip": 0.5, "early_stopping_kl": 1e-6}') AS e \gset
SELECT is(alol_wait(:e), 'succeeded', 'scores may be scaled and clipped');
SELECT ok(metric_of(:e, 'ppo/epochs') BETWEEN 1 AND 4 AND
	metric_of(:d, 'ppo/epochs') = 4, 'and a step may end early');
SELECT ok(report LIKE '%<svg%' AND report LIKE '%<b>' || title || '</b>%', title)
FROM alol_report(:a, :d) AS report, unnest('{Rollout reward, Policy loss,
	Value loss, Clipped tokens, KL of a step, KL coefficient}'::text[]) AS title;
SELECT * FROM finish();

SELECT count(alol_job_drop(job)) FROM alol_jobs WHERE model LIKE 'ppo%' \gset
SELECT count(alol_model_drop(name)) FROM alol_models WHERE name LIKE 'ppo%'
	AND kind = 'adapter' \gset
SELECT count(alol_model_drop(name)) FROM alol_models WHERE name LIKE 'ppo%' \gset
DROP SCHEMA ppo_test CASCADE;
