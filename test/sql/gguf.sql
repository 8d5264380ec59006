-- GGUF files: written, read back, stored, and other types of numbers.
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
SELECT plan(30);

CREATE FUNCTION file(name text) RETURNS text LANGUAGE sql AS $$
	SELECT current_setting('data_directory') || '/pgsql_tmp_alol/temporary/'
		|| pg_backend_pid() || '.' || name || '.gguf'
	$$;
CREATE TABLE documents AS SELECT 'the cat number ' || i || ' sat on mat '
	|| i * i AS document FROM generate_series(1, 200) i;
CREATE TABLE family AS SELECT * FROM (VALUES
	('llama', '{"model_type": "llama", "hidden_size": 64,
		"intermediate_size": 96, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2,
		"rope_theta": 5000, "max_position_embeddings": 128}'::jsonb),
	('qwen2', '{"model_type": "qwen2", "hidden_size": 64,
		"intermediate_size": 96, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2,
		"tie_word_embeddings": true, "max_position_embeddings": 128}'),
	('qwen3', '{"model_type": "qwen3", "hidden_size": 64, "head_dim": 32,
		"intermediate_size": 96, "num_hidden_layers": 2,
		"num_attention_heads": 4, "num_key_value_heads": 2,
		"max_position_embeddings": 128}'),
	('gpt2', '{"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4,
		"n_positions": 128}'),
	('gpt_neox', '{"model_type": "gpt_neox", "hidden_size": 64,
		"intermediate_size": 96, "num_hidden_layers": 2,
		"num_attention_heads": 4, "rotary_pct": 0.5,
		"max_position_embeddings": 128}')) AS v (name, config);
SELECT count(alol_model_create(name, config ||
	'{"vocab_size": 320, "initializer_range": 0.2}', 1, 'documents'))
	FROM family \g /dev/null
CREATE FUNCTION differs(a text, b text) RETURNS float8 LANGUAGE sql AS $$
	SELECT max(abs(alol_logprob(a, 'the cat', document) -
		alol_logprob(b, 'the cat', document)))
	FROM (SELECT document FROM documents LIMIT 5) AS d $$;

-- Every family goes to a file and comes back.
SELECT is(alol_model_export(name, file(name), 'gguf'), file(name),
	name || ' is written to a file') FROM family;
SELECT is(alol_model_load(name || ' again', file(name)), name || ' again',
	name || ' is read back') FROM family;
SELECT results_eq($$SELECT m.name, m.kind, m.architecture, m.dtype, m.stored,
		m.path FROM alol_models m JOIN family f ON m.name = f.name || ' again'
		ORDER BY 1$$,
	$$SELECT name || ' again', 'lm', name, 'fp32', 'path', file(name)
		FROM family ORDER BY 1$$, 'as what it was');
SELECT cmp_ok(differs(name, name || ' again'), '<', 1e-3::float8,
	name || ' says the same') FROM family;
SELECT results_eq($$SELECT alol_tokenize(name || ' again', 'the cat 12 sat!')
		FROM family ORDER BY name$$,
	$$SELECT alol_tokenize(name, 'the cat 12 sat!') FROM family ORDER BY name$$,
	'in the same tokens');

-- Other types of numbers.
SELECT is(alol_model_load('llama ' || dtype, alol_model_export('llama',
		file(dtype), 'gguf', jsonb_build_object('dtype', dtype))),
	'llama ' || dtype, 'numbers may be ' || dtype)
	FROM unnest(ARRAY['f16', 'bf16', 'q8_0']) AS dtype;
SELECT results_eq($$SELECT name, dtype FROM alol_models
		WHERE name LIKE 'llama %' AND name NOT LIKE '%again' ORDER BY name$$,
	$$VALUES ('llama bf16', 'bf16'), ('llama f16', 'fp16'),
		('llama q8_0', 'q8_0')$$, 'which alol_models shows');
SELECT ok(differs('llama', 'llama f16') < differs('llama', 'llama bf16')
	AND differs('llama', 'llama bf16') < 10,
	'and which are nearer the more bits they have');

-- In the database.
SELECT is(alol_model_load('kept', file('q8_0'),
	options => '{"store": "database"}'), 'kept', 'a file can be stored');
SELECT is(differs('kept', 'llama q8_0'), 0::float8, 'and says the same there');
SELECT throws_like(format($$SELECT alol_model_export('llama', %L, 'gguf')$$,
	file('llama')), '"%" exists already', 'no file is overwritten');
SELECT throws_like(format($$SELECT alol_model_load('x', %L)$$,
	current_setting('data_directory') || '/PG_VERSION'),
	'%PG_VERSION%', 'a file that is no model is an error');

-- What a file of blocks becomes when it is trained, or written again.
SELECT is(alol_model_load('plain', alol_model_export('kept', file('plain'),
	'gguf', '{"dtype": "f32"}')), 'plain', 'blocks are written as floats');
SELECT cmp_ok(differs('kept', 'plain'), '<', 1e-3::float8,
	'with the same values');

-- A directory of shorter numbers.
SELECT is(alol_model_load('short', alol_model_export('llama',
	replace(file('short'), '.gguf', ''), options => '{"dtype": "bf16"}')),
	'short', 'a directory may have shorter numbers, too');
SELECT is(differs('short', 'llama bf16'), 0::float8,
	'which are those of a file of the same type');

SELECT * FROM finish();
ROLLBACK;
