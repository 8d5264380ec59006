-- Adapters: trained by jobs, used like models, and tied to their base.
\unset ECHO
\set QUIET 1
SET client_min_messages = error;
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP true

CREATE EXTENSION IF NOT EXISTS alol;
CREATE SCHEMA lora_test;
SET search_path = lora_test, public;

CREATE TABLE pairs AS SELECT i AS key, 'say ' || i % 20 || ': ' AS prompt,
	repeat(chr(97 + i % 26), 2 + i % 5) || ' ' || i AS response,
	(1 + i % 7) / 8.0 AS reward FROM generate_series(1, 60) i;
CREATE TABLE advantages AS SELECT prompt, response, reward,
	reward - 0.4 AS advantage FROM pairs;
SELECT alol_model_create('lora_base', '{"model_type": "llama",
	"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 2, "num_attention_heads": 4,
	"num_key_value_heads": 2, "max_position_embeddings": 64}'),
	alol_model_create('lora_gpt2', '{"model_type": "gpt2",
	"vocab_size": 300, "n_embd": 32, "n_layer": 2, "n_head": 4,
	"n_positions": 64}') \gset

CREATE FUNCTION call(arguments text) RETURNS text LANGUAGE sql AS
$$ SELECT 'SELECT alol_train(''advantages'', ' || arguments || ')' $$;
CREATE FUNCTION settings(job bigint) RETURNS jsonb LANGUAGE sql AS
$$ SELECT settings FROM alol_job WHERE id = job $$;
CREATE FUNCTION directory(name text) RETURNS text LANGUAGE sql AS
$$ SELECT current_setting('data_directory') || '/pgsql_tmp_alol/temporary/'
	|| pg_backend_pid() || '.' || name $$;

SELECT plan(71);

-- What a call asks for.
BEGIN;
SELECT alol_train('advantages', 'lora_base', 'o') AS job \gset
SELECT is(settings(:job) -> 'lora_rank', '0', 'a small model is trained whole');
SELECT ok(settings(:job) @> '{"learning_rate": 2e-5, "schedule": "linear",
	"weight_decay": 0.01, "max_grad_norm": 1.0, "adam_eps": 1e-8}',
	'with the defaults for all weights');
UPDATE alol_model SET parameters = 500000001 WHERE name = 'lora_base';
SELECT alol_train('advantages', 'lora_base', 'o2') AS job \gset
SELECT is(settings(:job) -> 'lora_rank', '64',
	'one of more than 500 million parameters by an adapter of rank 64');
SELECT ok(settings(:job) @> '{"learning_rate": 2e-4, "schedule": "constant",
	"weight_decay": 0, "max_grad_norm": 0.3, "adam_eps": 1e-6,
	"lora_alpha": 16, "lora_dropout": 0.05, "lora_targets": "all-linear"}',
	'with the defaults for adapters');
SELECT alol_train('advantages', 'lora_base', 'o3', lora_rank => 0) AS job \gset
SELECT is(settings(:job) -> 'lora_rank', '0', 'unless told otherwise');
SELECT alol_train('advantages', 'lora_base', 'o4', learning_rate => 1e-3,
	options => '{"schedule": "linear", "max_grad_norm": null}') AS job \gset
SELECT ok(settings(:job) @> '{"learning_rate": 1e-3, "schedule": "linear",
	"max_grad_norm": null}', 'and what is given holds');
ROLLBACK;

SELECT throws_ok(call($$'lora_base', 'o', lora_rank => 4,
	options => '{"lora_alpha": 0}'$$), '22023',
	'option "lora_alpha" must be greater than 0 and at most 1000000, not 0');
SELECT throws_ok(call($$'lora_base', 'o', lora_rank => 4,
	options => '{"lora_dropout": 1}'$$), '22023',
	'option "lora_dropout" must be at least 0 and less than 1, not 1');
SELECT throws_ok(call(format($$'lora_base', 'o', lora_rank => 4,
	options => '{"lora_targets": %s}'$$, targets)), '22023', format(
	'option "lora_targets" must be "all-linear", an expression or an array '
	'of names, not %s', targets))
FROM unnest(ARRAY['7', '""', '[]', '[7]', '{}']) targets;
SELECT throws_ok(call($$'lora_base', 'o', lora_rank => 4,
	options => '{"quantize": "nf5"}'$$), '22023', 'option "quantize" must be '
	'none, q8_0, nf4 or nf4_double, not "nf5"');
SELECT throws_ok(call($$'lora_base', 'o', options => '{"quantize": "nf4"}'$$),
	'22023', 'quantize "nf4" needs an adapter to train');

-- A job makes an adapter.
SELECT alol_train('advantages', 'lora_base', 'lora_a', steps => 4,
	batch_size => 4, lora_rank => 4, learning_rate => 1e-2,
	options => '{"lora_alpha": 6, "lora_targets": ["q_proj", "up_proj"]}')
	AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'an adapter is trained');
SELECT results_eq($$SELECT kind, architecture, parameters, dtype, base, stored,
	bytes < 20000, job FROM alol_models WHERE name = 'lora_a'$$,
	'SELECT ''adapter'', ''llama'', ' || 2 * 4 * ((32 + 32) + (32 + 64)) ||
	'::bigint, ''fp32'', ''lora_base'', ''database'', true, ' || :job ||
	'::bigint', 'it is stored with itself alone, and knows its base');
SELECT is_empty('SELECT FROM alol_advantages JOIN advantages ON row_number =
	substring(response FROM ''[0-9]+$'')::int WHERE job = ' || :job ||
	' AND abs(ref_logprob - alol_logprob(''lora_base'', prompt, response))
		> 1e-4', 'the reference is the base');
SELECT isnt(alol_logprob('lora_a', 'say 1: ', 'b'),
	alol_logprob('lora_base', 'say 1: ', 'b'), 'it says something else');
SELECT isnt(alol_generate('lora_a', 'say 1: ', max_tokens => 4), NULL,
	'it generates');
SELECT is(alol_tokenize('lora_a', 'say 1'), alol_tokenize('lora_base', 'say 1'),
	'by its base''s tokenizer');

-- Out and in again, alone and merged.
SELECT alol_model_export('lora_a', directory('peft'), 'peft'),
	alol_model_export('lora_a', directory('merged')) \gset
SELECT is((SELECT array_agg(f ORDER BY f) FROM pg_ls_dir(directory('peft')) f),
	'{adapter_config.json,adapter_model.safetensors}', 'PEFT''s files');
SELECT is(alol_model_load('lora_again', directory('peft'),
	options => '{"base": "lora_base", "store": "database"}'), 'lora_again',
	'what was exported can be loaded');
SELECT is(alol_logprob('lora_again', 'say 1: ', 'b'),
	alol_logprob('lora_a', 'say 1: ', 'b'), 'and is the same');
SELECT is(alol_model_load('lora_merged', directory('merged')), 'lora_merged',
	'so can the merged model');
SELECT results_eq($$SELECT kind, base, parameters FROM alol_models
	WHERE name = 'lora_merged'$$, $$SELECT 'lm', NULL, parameters
	FROM alol_models WHERE name = 'lora_base'$$,
	'which is one with weights of its own');
SELECT cmp_ok(abs(alol_logprob('lora_merged', 'say 1: ', 'b') -
	alol_logprob('lora_a', 'say 1: ', 'b')), '<', 1e-4::float8,
	'and says the same');

SELECT is(alol_generate('lora_merged', prompt, max_tokens => 8),
	alol_generate('lora_a', prompt, max_tokens => 8), 'word by word')
	FROM pairs WHERE key = 1;

-- Merged into weights of 16 bits it loses nothing either.
SELECT alol_model_export('lora_base', directory('half'), options =>
	'{"dtype": "bf16"}'), alol_model_load('lora_half', directory('half')),
	alol_model_load('lora_halved', directory('peft'),
		options => '{"base": "lora_half"}'),
	alol_model_export('lora_halved', directory('whole')),
	alol_model_load('lora_whole', directory('whole')) \gset
SELECT results_eq($$SELECT name, dtype FROM alol_models
	WHERE name IN ('lora_half', 'lora_whole') ORDER BY 1$$,
	$$VALUES ('lora_half', 'bf16'), ('lora_whole', 'fp32')$$,
	'a base of 16 bits');
SELECT cmp_ok(abs(alol_logprob('lora_whole', 'say 1: ', 'b') -
	alol_logprob('lora_halved', 'say 1: ', 'b')), '<', 1e-4::float8,
	'is merged with the adapter''s small numbers');

-- An adapter goes on as it is.
SELECT throws_ok(call($$'lora_a', 'o', lora_rank => 8$$), '22023',
	'lora_rank must be 4, that of adapter "lora_a", not 8');
SELECT throws_ok(call($$'lora_a', 'o', lora_rank => 0$$), '22023',
	'lora_rank must be 4, that of adapter "lora_a", not 0');
SELECT throws_ok(call($$'lora_a', 'o', options => '{"lora_alpha": 16}'$$),
	'22023', 'option "lora_alpha" cannot be 16');
SELECT throws_ok(call($$'lora_again', 'o',
	options => '{"lora_targets": ["q_proj"]}'$$), '22023',
	'option "lora_targets" cannot be ["q_proj"]');
SELECT is_empty($$SELECT FROM alol_jobs WHERE output = 'o'$$,
	'none of these made a job');
SELECT alol_train('advantages', 'lora_a', 'lora_b', steps => 2, lora_rank => 4,
	batch_size => 4, options => '{"lora_dropout": 0}') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'its training goes on');
SELECT results_eq($$SELECT kind, base, parameters FROM alol_models
	WHERE name = 'lora_b'$$, $$SELECT kind, base, parameters FROM alol_models
	WHERE name = 'lora_a'$$, 'into one over the same base');
SELECT is_empty('SELECT FROM alol_advantages JOIN advantages ON row_number =
	substring(response FROM ''[0-9]+$'')::int WHERE job = ' || :job ||
	' AND abs(ref_logprob - alol_logprob(''lora_a'', prompt, response))
		> 1e-4', 'the reference is the adapter as it was');
SELECT is((SELECT value FROM alol_metrics WHERE job = :job
	AND metric = 'ratio/mean' AND step = 1), 1::float8,
	'the first ratio is exactly 1');
SELECT isnt(alol_logprob('lora_b', 'say 1: ', 'b'),
	alol_logprob('lora_a', 'say 1: ', 'b'), 'it has learnt');

-- Every method; GPT-2, whose weights lie the other way round.
CREATE FUNCTION train(arguments text) RETURNS bigint LANGUAGE plpgsql AS
$$ DECLARE job bigint; BEGIN EXECUTE call(arguments) INTO job; RETURN job;
END $$;
SELECT array_agg(train(format($$'lora_gpt2', 'lora_%1$s', '%1$s', steps => 2,
	batch_size => 4, lora_rank => 3, learning_rate => 1e-2$$, method)))
	AS jobs FROM unnest(ARRAY['nll', 'wbc', 'r_gold', 'r_lol', 'a_lol',
	'a_lol_ref_free', 'a_lol_seq', 'a_lol_kl', 'dpo', 'dpo_ref_free', 'pro'])
	method \gset
SELECT is(alol_wait(job), 'succeeded', (SELECT method FROM alol_jobs j
	WHERE j.job = jobs.job)) FROM unnest(:'jobs'::bigint[]) AS jobs(job);
SELECT is(count(DISTINCT alol_logprob(name, 'say 1: ', 'b')), 11::bigint,
	'all have learnt something else') FROM alol_models
	WHERE base = 'lora_gpt2';

-- Over quantized weights; the adapter serves over those that are stored.
SELECT array_agg(train(format($$'lora_base', 'lora_%1$s', steps => 2,
	batch_size => 4, lora_rank => 3, learning_rate => 1e-2,
	options => '{"quantize": "%1$s"}'$$, quantize))) AS jobs
	FROM unnest(ARRAY['q8_0', 'nf4', 'nf4_double']) quantize \gset
SELECT is(alol_wait(job), 'succeeded', (SELECT j.output FROM alol_jobs j
	WHERE j.job = jobs.job)) FROM unnest(:'jobs'::bigint[]) AS jobs(job);
SELECT matches((SELECT notice FROM alol_jobs WHERE output = 'lora_nf4'),
	'are quantized to nf4 while it is trained', 'which is said');
SELECT is(value, 1::float8, 'the first ratio is exactly 1')
	FROM alol_metrics JOIN alol_jobs USING (job)
	WHERE output = 'lora_nf4' AND metric = 'ratio/mean' AND alol_metrics.step = 1;
SELECT isnt(ref_logprob, alol_logprob('lora_base', prompt, response),
	'the reference has the same quantized weights')
	FROM alol_advantages a JOIN alol_jobs j USING (job) JOIN advantages ON
	row_number = substring(response FROM '[0-9]+$')::int
	WHERE output = 'lora_nf4' AND row_number = 1;
SELECT isnt(alol_logprob('lora_nf4', 'say 1: ', 'b'),
	alol_logprob('lora_base', 'say 1: ', 'b'), 'the adapter is one');

-- Evaluated as any policy.
SELECT alol_evaluate('SELECT prompt FROM pairs WHERE key < 5', 'lora_a',
	'length(response)::float8', options => '{"max_response_tokens": 4}')
	AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'an adapter is evaluated');

-- Value models of adapters, and references.
SELECT alol_train_value('SELECT prompt FROM pairs', 'lora_a', 'lora_value',
	'length(response) / 100.0', options =>
	'{"max_response_tokens": 8, "value_epochs": 3}') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'an adapter is a policy to value');
SELECT results_eq($$SELECT kind, base FROM alol_models
	WHERE name = 'lora_value'$$, $$VALUES ('value', 'lora_a')$$,
	'and the base of its value model');
SELECT alol_train('pairs', 'lora_a', 'lora_c', value => 'lora_value',
	steps => 2, batch_size => 4, options => '{"max_response_tokens": 8}')
	AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'which training uses');
SELECT is_empty('SELECT FROM alol_advantages JOIN pairs ON row_number = key
	WHERE job = ' || :job || $$ AND abs(alol_advantages.value -
		alol_value('lora_value', prompt)) > 1e-6$$,
	'with the values of alol_value');
SELECT throws_ok($$SELECT alol_train('pairs', 'lora_base', 'o',
	value => 'lora_value')$$, '22023',
	'value model "lora_value" is of model "lora_a", not of "lora_base"');
SELECT alol_train('advantages', 'lora_base', 'lora_d', steps => 2,
	batch_size => 4, lora_rank => 2, options => '{"reference": "lora_a"}')
	AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'an adapter is a reference');
SELECT is_empty('SELECT FROM alol_advantages JOIN advantages ON row_number =
	substring(response FROM ''[0-9]+$'')::int WHERE job = ' || :job ||
	' AND abs(ref_logprob - alol_logprob(''lora_a'', prompt, response))
		> 1e-4', 'for a job on its base');
SELECT alol_train('advantages', 'lora_base', 'lora_e', steps => 1,
	lora_rank => 2, options => '{"lora_targets": ["c_attn"]}') AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '22023', 'job ' || :job ||
	' failed: lora_targets "c_attn" names no linear layer of the model',
	'targets are those of the model');

-- A base under an adapter stays; whoever may use the adapter uses its base.
SELECT throws_ok($$SELECT alol_model_drop('lora_base')$$, '2BP01',
	'model "lora_base" is used by model "lora_a"');
CREATE ROLE alol_lora_ann;
SELECT alol_allow('alol_lora_ann'), alol_model_grant('lora_a', 'alol_lora_ann')
	\gset
GRANT USAGE ON SCHEMA lora_test TO alol_lora_ann;
SET ROLE alol_lora_ann;
SELECT isnt(alol_logprob('lora_a', 'say 1: ', 'b'), NULL,
	'who may use an adapter may use it with its base');
SELECT throws_ok($$SELECT alol_logprob('lora_base', 'say 1: ', 'b')$$, '42501',
	'permission denied for model "lora_base"', 'but the base not alone');
RESET ROLE;

SELECT * FROM finish();

SELECT alol_disallow('alol_lora_ann') \gset
SELECT count(alol_job_drop(job)) FROM alol_jobs \gset
SELECT count(alol_model_drop(name)) FROM alol_models WHERE name LIKE 'lora%'
	AND kind = 'value' \gset
SELECT count(alol_model_drop(name)) FROM alol_models WHERE name LIKE 'lora%'
	AND kind = 'adapter' \gset
SELECT count(alol_model_drop(name)) FROM alol_models WHERE name LIKE 'lora%' \gset
DROP SCHEMA lora_test CASCADE;
DROP ROLE alol_lora_ann;
