-- Options, and what alol_train refuses of its sources: no job is left.
\unset ECHO
\set QUIET 1
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_ROLLBACK 1
\set ON_ERROR_STOP true

BEGIN;
CREATE EXTENSION IF NOT EXISTS alol;
SELECT plan(76);

CREATE TABLE pairs AS SELECT i AS key, 'prompt ' || i AS prompt,
	'response ' || i AS response, i / 100.0 AS reward, 'x' AS label,
	'{}'::jsonb AS messages FROM generate_series(1, 20) i;
SELECT ok(alol_model_create('alol_options_test', '{"model_type": "gpt2",
	"vocab_size": 257, "n_embd": 32, "n_layer": 1, "n_head": 2,
	"n_positions": 64}', 1) IS NOT NULL, 'a model');

CREATE FUNCTION refused(options jsonb, message text, state text = '22023')
	RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN
	RETURN NEXT throws_ok(format('SELECT alol_train(''pairs'', '
		'''alol_options_test'', ''alol_options_out'', options => %L)',
		options), state, message, options::text); END $$;
CREATE FUNCTION refused_source(source text, message text, state text,
	claim text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN
	RETURN NEXT throws_ok(format('SELECT alol_train(%L, '
		'''alol_options_test'', ''alol_options_out'')', source),
		state, message, claim); END $$;

-- Keys
SELECT refused('[]', 'options must be a JSON object');
SELECT refused('3', 'options must be a JSON object');
SELECT refused('{"clip_rnge": 1}', 'unknown option "clip_rnge"');
SELECT refused('{"": 1}', 'unknown option ""');
SELECT refused('{"Beta": 0.1}', 'unknown option "Beta"');
SELECT refused('{"generation": {"temprature": 1}}',
	'unknown option "generation.temprature"');

-- Types
SELECT refused('{"beta": "0.1"}',
	'option "beta" must be a number, not "0.1"');
SELECT refused('{"beta": true}', 'option "beta" must be a number, not true');
SELECT refused('{"beta": [0.1]}', 'option "beta" must be a number, not [0.1]');
SELECT refused('{"max_prompt_tokens": 1.5}',
	'option "max_prompt_tokens" must be an integer, not 1.5');
SELECT refused('{"keep_best": 1}',
	'option "keep_best" must be true or false, not 1');
SELECT refused('{"prompt_column": 1}',
	'option "prompt_column" must be a string that is not empty, not 1');
SELECT refused('{"prompt_column": ""}',
	'option "prompt_column" must be a string that is not empty, not ""');
SELECT refused('{"sampling": "both"}',
	'option "sampling" must be priority or uniform, not "both"');
SELECT refused('{"sampling": "priority,uniform"}',
	'option "sampling" must be priority or uniform, not "priority,uniform"');
SELECT refused('{"schedule": 1}',
	'option "schedule" must be constant, linear or cosine, not 1');
SELECT refused('{"settings": "work_mem"}',
	'option "settings" must be an array of strings, not "work_mem"');
SELECT refused('{"settings": [1]}',
	'option "settings" must be an array of strings, not [1]');
SELECT refused('{"generation": 1}',
	'option "generation" must be an object, not 1');

-- Ranges
SELECT refused('{"max_prompt_tokens": 0}',
	'option "max_prompt_tokens" must be at least 1 and at most 2147483647, not 0');
SELECT refused('{"max_response_tokens": 1e30}',
	'option "max_response_tokens" must be at least 1 and at most 2147483647, not '
	|| 1e30::numeric);
SELECT refused('{"max_response_tokens": 1e400}',
	'option "max_response_tokens" must be at least 1 and at most 2147483647, not '
	|| '1e400'::numeric);
SELECT refused('{"clip_range": -0.1}',
	'option "clip_range" must be at least 0 and at most 1000000, not -0.1');
SELECT refused('{"adam_beta1": 1}',
	'option "adam_beta1" must be at least 0 and less than 1, not 1');
SELECT refused('{"adam_eps": 0}',
	'option "adam_eps" must be greater than 0 and at most 1, not 0');
SELECT refused('{"gold_floor": 1.01}',
	'option "gold_floor" must be at least 0 and at most 1, not 1.01');
SELECT refused('{"value_learning_rate": 0}',
	'option "value_learning_rate" must be greater than 0 and at most 10, not 0');
SELECT refused('{"evaluate_every": 0}',
	'option "evaluate_every" must be at least 1 and at most 2147483647, not 0');
SELECT refused('{"log_every": 0}',
	'option "log_every" must be at least 1 and at most 2147483647, not 0');
SELECT refused('{"value_samples": 0}',
	'option "value_samples" must be at least 1 and at most 1024, not 0');
SELECT refused('{"generation": {"top_p": 0}}',
	'option "generation.top_p" must be greater than 0 and at most 1, not 0');
SELECT refused('{"generation": {"num_beams": 129}}',
	'option "generation.num_beams" must be at least 1 and at most 128, not 129');
SELECT refused('{"generation": {"num_beams": 2, "temperature": 0.5}}',
	'option "generation.num_beams" does not go with a temperature above 0');
SELECT refused('{"generation": {"num_beams": 2}, "value_samples": 2}',
	'option "generation.num_beams" does not go with value_samples above 1');
SELECT refused('{"generation": {"stop": "x"}}',
	'option "generation.stop" must be an array of strings, not "x"');
SELECT refused('{"dtype": "fp16"}',
	'option "dtype" must be auto, fp32 or bf16, not "fp16"');

SELECT refused('{"device": "gpu"}', 'option "device" must be auto, cpu, '
	'cpu:N for N ranks, cuda, cuda:N, cuda:N-M or cuda:all, not "gpu"');

SELECT refused(jsonb_build_object('device', repeat('x', 600)),
	'option "device" must be auto, cpu, cpu:N for N ranks, cuda, cuda:N, '
	'cuda:N-M or cuda:all, not "' || repeat('x', 496) || '...');

SELECT refused('{"quantize": "nf4"}',
	'quantize "nf4" needs an adapter to train');
SELECT refused('{"optimizer": "adam"}',
	'option "optimizer" must be adamw or adamw8bit, not "adam"');

-- A better reference must be found by a reward, and change something.
SELECT refused('{"refresh_reference": 0}',
	'option "refresh_reference" must be greater than 0 and at most 1000000, not 0');
SELECT refused('{"refresh_reference": -0.1}',
	'option "refresh_reference" must be greater than 0 and at most 1000000, not -0.1');
SELECT refused('{"refresh_reference": true}',
	'option "refresh_reference" must be a number, not true');
SELECT refused('{"refresh_reference": 0.1}',
	'option "refresh_reference" does not go with a stored reward');
CREATE FUNCTION refused_refresh(method text, source text, options jsonb,
	message text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN
	RETURN NEXT throws_ok(format('SELECT alol_train(%L, '
		'''alol_options_test'', ''alol_options_out'', %L, '
		'''length(response)'', options => %L)', source, method,
		options || '{"refresh_reference": 0.1}'), '22023',
		'option "refresh_reference" does not go with ' || message,
		concat_ws(' ', 'no refresh with', message)); END $$;
SELECT refused_refresh(method, 'pairs', '{}', 'method ' || method)
FROM unnest('{nll, wbc, r_gold, dpo_ref_free, pro, ppo}'::text[]) AS method;
SELECT refused_refresh('a_lol', 'pairs',
	'{"reference": "alol_options_test"}', 'option "reference"');
SELECT refused_refresh('a_lol', 'pairs', '{"evaluation_prompts": 0}',
	'evaluation_prompts 0');
SELECT refused_refresh('a_lol_ref_free',
	'SELECT *, 0.5 AS value FROM pairs', '{}', 'column "value" of the source');
SELECT refused_refresh('a_lol', 'SELECT *, 0.5 AS advantage FROM pairs', '{}',
	'column "advantage" of the source');

-- Names in options
SELECT refused('{"prompt_column": "question"}',
	'source has no column "question"', '42703');
SELECT refused('{"response_column": "answer"}',
	'source has no column "answer"', '42703');
SELECT refused('{"key_column": "id"}', 'source has no column "id"', '42703');
SELECT refused('{"prompt_column": "key"}',
	'source column "key" must be text, not integer', '42804');
SELECT throws_matching($$SELECT alol_train('pairs', 'alol_options_test',
	'alol_options_out', options => '{"reference": "nobody"}')$$,
	'model "nobody" does not exist', 'the reference must be there');

-- Sources that a job cannot read
SELECT refused_source('nowhere', 'source "nowhere" does not exist', '42P01',
	'a missing table');
SELECT refused_source('SELECT prompt FROM pairs',
	'source has no column "response"', '42703', 'a missing column');
SELECT refused_source('SELECT prompt, response FROM pairs',
	'source has no column "reward"', '42703', 'no reward');
SELECT refused_source('SELECT prompt, response, label AS reward FROM pairs',
	'reward must be a number, not text', '42804', 'a reward that is text');
SELECT refused_source('SELECT prompt, response, label AS advantage FROM pairs',
	'source column "advantage" must be a number, not text', '42804',
	'an advantage that is text');
CREATE TEMP TABLE passing AS TABLE pairs;
CREATE FUNCTION pg_temp.passing(text) RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT refused_source('passing', 'source uses temporary objects', '0A000',
	'a temporary table');
SELECT refused_source('SELECT * FROM pairs WHERE EXISTS (TABLE passing)',
	'source uses temporary objects', '0A000', 'deep inside');
SELECT refused_source('SELECT *, pg_temp.passing(label) FROM pairs',
	'source uses temporary objects', '0A000', 'a temporary function');
SELECT refused_source('SELECT *, ''passing''::regclass AS c FROM pairs',
	'source uses temporary objects', '0A000', 'the name of a temporary table');
SELECT throws_ok($$SELECT alol_train('pairs', 'alol_options_test',
	'alol_options_out', reward => 'pg_temp.passing(label)')$$, '0A000',
	'reward uses temporary objects', 'a temporary function in the reward');
SELECT throws_ok($$SELECT alol_train('pairs', 'alol_options_test',
	'alol_options_out', validation => 'nowhere')$$, '42P01',
	'validation "nowhere" does not exist', 'a missing validation table');

-- Rights are the caller's
CREATE ROLE alol_eve;
SELECT lives_ok('SELECT alol_allow(''alol_eve'')', 'a role without the table');
SELECT lives_ok('SELECT alol_model_grant(''alol_options_test'', ''alol_eve'')',
	'but with the model');
SET ROLE alol_eve;
SELECT refused_source('pairs', 'permission denied for table pairs', '42501',
	'no right to read the table');
SELECT throws_ok('SELECT * FROM alol_score(''pairs'')', '42501',
	'permission denied for table pairs', 'nor in alol_score');
SELECT throws_ok($$SELECT * FROM alol_score('SELECT 1', reward =>
	'(SELECT max(key) FROM pairs)')$$, '42501',
	'permission denied for table pairs', 'nor in its reward');
RESET ROLE;

SELECT is((SELECT count(*) FROM alol_jobs WHERE output = 'alol_options_out'),
	0::bigint, 'no job came of it');

SELECT * FROM finish();
ROLLBACK;
