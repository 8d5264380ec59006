-- Models: made, stored, listed, renamed, dropped; loaded and exported.
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
SELECT plan(66);

CREATE FUNCTION config(changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql
AS $$ SELECT '{"model_type": "llama", "hidden_size": 32,
	"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
	"num_key_value_heads": 2, "vocab_size": 300,
	"max_position_embeddings": 64}'::jsonb || changes $$;

CREATE TABLE documents AS SELECT i, 'the cat number ' || i || ' sat on mat '
	|| i * i AS document FROM generate_series(1, 300) i;

-- alol_model_create
SELECT is(alol_model_create('bytes', config()), 'bytes',
	'alol_model_create returns the name');
SELECT is(alol_model_create('words', config('{"vocab_size": 400}'), 7,
	'SELECT document FROM documents ORDER BY i'), 'words',
	'a corpus may be a SELECT');
SELECT is(alol_model_create('gpt', '{"model_type": "gpt2", "n_embd": 32,
	"n_layer": 1, "n_head": 2, "vocab_size": 300, "n_positions": 64}'), 'gpt',
	'gpt2 is a family, too');
SELECT results_eq($$SELECT name, owner::text, kind, architecture, dtype, base,
		stored, path, shared_with, job FROM alol_models
		WHERE name IN ('bytes', 'words', 'gpt') ORDER BY name$$,
	format($$VALUES
		('bytes', %1$L, 'lm', 'llama', 'fp32', NULL::text, 'database',
			NULL::text, NULL::text[], NULL::bigint),
		('gpt', %1$L, 'lm', 'gpt2', 'fp32', NULL, 'database', NULL, NULL, NULL),
		('words', %1$L, 'lm', 'llama', 'fp32', NULL, 'database', NULL, NULL,
			NULL)$$, current_user::regrole::text),
	'alol_models shows what was made');
SELECT cmp_ok(parameters, '>', 10000::bigint, 'parameters are counted')
	FROM alol_models WHERE name = 'bytes';
SELECT cmp_ok(bytes, '>=', 4 * parameters, 'bytes are those of the files')
	FROM alol_models WHERE name = 'bytes';
SELECT is(created_at, now(), 'created_at is the time of the transaction')
	FROM alol_models WHERE name = 'bytes';
SELECT cmp_ok(array_length(alol_tokenize('words', 'the cat number 1'), 1), '<',
	10, 'a tokenizer trained on the corpus knows its words');
SELECT is(array_length(alol_tokenize('bytes', 'the cat number 1'), 1), 16,
	'without a corpus tokens are bytes');

SELECT is(alol_model_create('again', config('{"vocab_size": 400}'), 7,
	'SELECT document FROM documents ORDER BY i'), 'again', 'made once more');
SELECT is((SELECT hash FROM alol_model WHERE name = 'again'),
	(SELECT hash FROM alol_model WHERE name = 'words'),
	'the same config, seed and corpus give the same model');
SELECT is(alol_model_create('other', config(), 1), 'other', 'another seed');
SELECT isnt((SELECT hash FROM alol_model WHERE name = 'other'),
	(SELECT hash FROM alol_model WHERE name = 'bytes'), 'gives another model');

SELECT throws_ok($$SELECT alol_model_create('bytes', config())$$, '42710',
	'model "bytes" exists already', 'a name is taken once');
SELECT throws_ok($$SELECT alol_model_create('', config())$$, '22023',
	'name of a model is empty', 'a name is not empty');
SELECT throws_ok($$SELECT alol_model_create(repeat('x', 64), config())$$,
	'42622', 'name of a model has 64 bytes, at most 63 are possible',
	'a name has at most 63 bytes');
SELECT lives_ok($$SELECT alol_model_create(repeat('x', 63), config())$$,
	'63 bytes are a name');
SELECT throws_ok($$SELECT alol_model_create(NULL, config())$$, '22004',
	'name and config of a model must not be null', 'a name is not null');
SELECT throws_ok($$SELECT alol_model_create('x', NULL)$$, '22004',
	'name and config of a model must not be null', 'a config is not null');
SELECT throws_ok($$SELECT alol_model_create('x', '[]')$$, '22023',
	'config must be a JSON object', 'a config is an object');
SELECT throws_like($$SELECT alol_model_create('x', '{"model_type": "xyz"}')$$,
	'%xyz%', 'an unknown family is an error that names it');
SELECT throws_like($$SELECT alol_model_create('x',
		config('{"hidden_size": -1}'))$$,
	'%hidden_size%', 'a bad size is an error that names it');
SELECT throws_like($$SELECT alol_model_create('x',
		config('{"num_key_value_heads": 3}'))$$,
	'%3%', 'heads that do not fit each other are an error');
SELECT throws_ok($$SELECT alol_model_create('x', config(), 0,
		'SELECT 1/0')$$, '22012', NULL,
	'an error in the corpus is that error');
SELECT throws_ok($$SELECT alol_model_create('x', config(), 0,
		'no_such_table')$$, '42P01', NULL, 'the corpus must exist');
SELECT throws_ok($$SELECT alol_model_create('x', config(), 0,
		'DELETE FROM documents RETURNING document')$$, NULL, NULL,
	'the corpus cannot write');
CREATE TABLE written (what text);
CREATE FUNCTION writes(what text) RETURNS text LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO written VALUES (what); RETURN what; END $$;
SELECT throws_ok($$SELECT alol_model_create('writing', config(), 0,
	'SELECT writes(''x'') FROM generate_series(1, 3)')$$, '25006', NULL,
	'nor through a function');
SELECT is((SELECT count(*) FROM documents), 300::bigint, 'nothing is deleted');
SELECT is((SELECT count(*) FROM alol_models WHERE name = 'x'), 0::bigint,
	'no failure leaves a model');

-- alol_model_rename
SELECT lives_ok($$SELECT alol_model_rename('other', 'renamed')$$,
	'a model gets another name');
SELECT is((SELECT count(*) FROM alol_models WHERE name = 'renamed'), 1::bigint,
	'which alol_models shows');
SELECT throws_ok($$SELECT alol_model_rename('renamed', 'bytes')$$, '42710',
	'model "bytes" exists already', 'but no name that is taken');
SELECT throws_ok($$SELECT alol_model_rename('renamed', '')$$, '22023',
	'name of a model is empty', 'nor an empty one');
SELECT throws_ok($$SELECT alol_model_rename('no such', 'x')$$, '42704',
	'model "no such" does not exist', 'what is renamed exists');
SELECT lives_ok($$SELECT alol_model_rename(NULL, 'x')$$, 'NULL does nothing');

-- alol_model_load and alol_model_export, in a directory that is swept
CREATE FUNCTION directory(name text) RETURNS text LANGUAGE sql AS $$
	SELECT current_setting('data_directory') || '/pgsql_tmp_alol/temporary/'
		|| pg_backend_pid() || '.' || name
	$$;
SELECT is(alol_model_export('words', directory('exported')),
	directory('exported'),
	'alol_model_export returns the path');
SELECT throws_like(format($$SELECT alol_model_export('words', %L)$$,
	directory('exported')),
	'"%" exists and is not an empty directory', 'it never overwrites');
SELECT throws_ok($$SELECT alol_model_export('words', 'relative')$$, '42602',
	'path "relative" is not absolute', 'its path is absolute');
SELECT throws_ok($$SELECT alol_model_export('words', '/no/such/place')$$,
	'58P01', NULL, 'its parent directory exists');
SELECT throws_ok($$SELECT alol_model_export('words', '/tmp/x', 'zip')$$,
	'22023', 'format must be "safetensors", "peft" or "gguf", not "zip"',
	'its format is one of three');
SELECT throws_ok($$SELECT alol_model_export('words', '/tmp/x', 'peft')$$,
	'42809', 'model "words" is a language model, not an adapter',
	'PEFT is for adapters');
SELECT throws_ok($$SELECT alol_model_export('words', '/tmp/x',
	options => '{"dtyp": "f16"}')$$, '22023', 'unknown option "dtyp"',
	'an unknown option is an error');
SELECT throws_ok($$SELECT alol_model_export('words', '/tmp/x',
	options => '{"dtype": "q8_0"}')$$, '22023',
	'option "dtype" must be "auto", "f32", "f16" or "bf16", not "q8_0"',
	'blocks are for GGUF');
SELECT throws_ok($$SELECT alol_model_export('words', '/tmp/x', 'gguf',
	'{"dtype": "q2"}')$$, '22023', 'option "dtype" must be "auto", "f32", '
	'"f16" or "bf16", or "q8_0" in GGUF, not "q2"', 'as is an unknown type');
SELECT throws_like(format($$SELECT alol_model_export('words', %L, 'gguf')$$,
	current_setting('data_directory') || '/PG_VERSION'),
	'"%PG_VERSION" exists already', 'a file is not overwritten either');

SELECT is(alol_model_load('loaded',
	directory('exported')), 'loaded',
	'what was exported can be loaded');
SELECT is(alol_model_load('copied', directory('exported'),
	'lm', '{"store": "database"}'), 'copied', 'or copied into the database');
SELECT results_eq($$SELECT name, stored, path IS NOT NULL FROM alol_models
		WHERE name IN ('loaded', 'copied') ORDER BY 1$$,
	$$VALUES ('copied', 'database', false), ('loaded', 'path', true)$$,
	'alol_models tells which');
SELECT results_eq(
	$$SELECT alol_generate('loaded', 'the cat', max_tokens => 8),
		alol_generate('copied', 'the cat', max_tokens => 8)$$,
	$$SELECT alol_generate('words', 'the cat', max_tokens => 8),
		alol_generate('words', 'the cat', max_tokens => 8)$$,
	'all three say the same');
SELECT is(alol_model_load('borrowed',
	directory('exported'),
	options => '{"tokenizer": "words"}'), 'borrowed',
	'a tokenizer can be another model''s');
SELECT throws_ok($$SELECT alol_model_drop('words')$$, '2BP01',
	'model "words" is used by model "borrowed"',
	'which cannot be dropped any more');
SELECT throws_ok($$SELECT alol_model_load('x', '/no/such/place')$$, '58P01',
	'could not open "/no/such/place": No such file or directory',
	'a path must exist');
SELECT throws_ok($$SELECT alol_model_load('x', 'relative')$$, '42602',
	'path "relative" is not absolute', 'and be absolute');
SELECT throws_like(format($$SELECT alol_model_load('x', %L)$$,
	current_setting('data_directory') || '/PG_VERSION'),
	'%PG_VERSION%', 'and a directory or a GGUF file');
SELECT throws_like(format($$SELECT alol_model_load('x', %L)$$,
	current_setting('data_directory') || '/base'),
	'%config.json%', 'with a model in it');
SELECT throws_ok($$SELECT alol_model_load('x', '/tmp', 'xyz')$$, '22023',
	'kind must be "auto", "lm", "classifier", "encoder" or "adapter", not "xyz"',
	'kind is one of five');
SELECT throws_like(format($$SELECT alol_model_load('x', %L, 'classifier')$$,
	directory('exported')), '"%" holds a language model, not a classifier',
	'and the one that is there');
SELECT throws_like(format($$SELECT alol_model_load('x', %L,
	options => '{"base": "loaded"}')$$, directory('exported')),
	'"%" holds a language model, which has no base', 'only adapters have a base');
SELECT throws_ok($$SELECT alol_model_load('x', '/tmp',
	options => '{"stor": "path"}')$$, '22023', 'unknown option "stor"',
	'an unknown option is an error');
SELECT throws_ok($$SELECT alol_model_load('x', '/tmp',
	options => '{"store": "disk"}')$$, '22023',
	'option "store" must be "path" or "database", not "disk"',
	'as is an unknown store');
SELECT throws_ok($$SELECT alol_model_load('x', '/tmp',
	options => '{"store": 1}')$$, '22023', 'option "store" must be text',
	'or one of another type');
SELECT throws_ok($$SELECT alol_model_load('x', '/tmp',
	options => '{"tokenizer": "no such"}')$$, '42704',
	'model "no such" does not exist', 'a tokenizer''s model exists');

-- alol_model_drop
SELECT lives_ok($$SELECT alol_model_drop(name) FROM unnest(ARRAY['borrowed',
	'loaded', 'copied', 'words', 'again', 'renamed', 'gpt', 'bytes']) name$$,
	'models can be dropped');
SELECT is((SELECT count(*) FROM alol_model_file f
	WHERE NOT EXISTS (SELECT FROM alol_model m WHERE m.id = f.model)),
	0::bigint, 'and leave no files behind');
SELECT throws_ok($$SELECT alol_model_drop('bytes')$$, '42704',
	'model "bytes" does not exist', 'once');
SELECT lives_ok($$SELECT alol_model_drop(NULL)$$, 'NULL drops nothing');

SELECT * FROM finish();
ROLLBACK;
