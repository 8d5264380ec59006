-- Every architecture is made with random weights and answers.
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
SELECT plan(24);

CREATE FUNCTION config(model_type text, changes jsonb DEFAULT '{}')
RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"hidden_size": 32,
	"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
	"num_key_value_heads": 2, "vocab_size": 300, "initializer_range": 0.3,
	"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4,
	"max_position_embeddings": 64}'::jsonb || changes
	|| jsonb_build_object('model_type', model_type) $$;
CREATE TABLE decoders (name text, changes jsonb);
INSERT INTO decoders VALUES ('mistral', '{"sliding_window": 4}'),
	('qwen2', '{"use_sliding_window": true, "max_window_layers": 1}'),
	('qwen3', '{"head_dim": 12}'), ('gpt_neox', '{"rotary_pct": 0.5}');
CREATE TABLE classifiers (name text, class text, changes jsonb);
INSERT INTO classifiers VALUES ('bert', 'Bert', '{}'),
	('roberta', 'Roberta', '{}'), ('distilbert', 'DistilBert', '{}'),
	('deberta-v2', 'DebertaV2', '{"relative_attention": true,
		"position_buckets": 8, "pos_att_type": ["c2p", "p2c"]}'),
	('mistral', 'Mistral', '{}'), ('gpt_neox', 'GPTNeoX', '{}');

-- language models
SELECT is(alol_model_create(name, config(name, changes)), name,
	'a ' || name || ' is made') FROM decoders;
SELECT results_eq($$SELECT name, kind, architecture FROM alol_models
		WHERE name IN (SELECT name FROM decoders) ORDER BY name$$,
	$$SELECT name, 'lm', name FROM decoders ORDER BY name$$,
	'they are language models');
SELECT cmp_ok(alol_logprob(name, 'A question?', ' An answer.'), '<', 0::float8,
	'a ' || name || ' scores responses') FROM decoders;
SELECT is(alol_generate(name, 'A question?', max_tokens => 12),
	alol_generate(name, 'A question?', max_tokens => 12),
	'a ' || name || ' generates') FROM decoders;

-- classifiers
SELECT is(array_length(alol_logits(alol_model_create('judge ' || name,
		config(name, changes || jsonb_build_object('architectures',
		jsonb_build_array(class || 'ForSequenceClassification'),
		'num_labels', 3))), 'A question?', ' An answer.'), 1), 3,
	'a ' || name || ' classifies') FROM classifiers;
SELECT is((SELECT count(*) FROM alol_models WHERE kind = 'classifier'),
	6::bigint, 'they are classifiers');

-- kinds
SELECT is(alol_model_create('body', config('bert')), 'body',
	'a body without a head is made');
SELECT is((SELECT kind FROM alol_models WHERE name = 'body'), 'encoder',
	'it is an encoder');
SELECT throws_like($$SELECT alol_model_create('x',
		config('mistral', '{"sliding_window": 0}'))$$,
	'%"sliding_window" must be between 1 and%', 'a window holds a token');
SELECT throws_like($$SELECT alol_model_create('x', config('t5'))$$,
	'%"t5" is not supported%', 'other architectures are refused by name');

SELECT * FROM finish();
ROLLBACK;
