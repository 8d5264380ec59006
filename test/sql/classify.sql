-- Classifiers: rewards and raw outputs, alone and in batches.
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
SELECT plan(32);

CREATE FUNCTION config(changes jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql
AS $$ SELECT '{"model_type": "llama", "hidden_size": 32,
	"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
	"num_key_value_heads": 2, "vocab_size": 300, "initializer_range": 0.3,
	"max_position_embeddings": 64}'::jsonb || changes $$;
SELECT count(alol_model_create(name, config(changes))) FROM (VALUES
	('policy', '{}'::jsonb),
	('one', '{"architectures": ["LlamaForSequenceClassification"],
		"num_labels": 1}'),
	('three', '{"architectures": ["LlamaForSequenceClassification"],
		"id2label": {"0": "bad", "1": "fair", "2": "good"}}')) AS v (name, changes)
\g /dev/null
CREATE TABLE talk AS SELECT i AS key, 'Question ' || i % 7 AS prompt,
	' answer ' || i AS response FROM generate_series(1, 40) AS i;

SELECT results_eq($$SELECT name, kind, architecture FROM alol_models
		WHERE name IN ('one', 'three', 'policy') ORDER BY name$$,
	$$VALUES ('one', 'classifier', 'llama'), ('policy', 'lm', 'llama'),
		('three', 'classifier', 'llama')$$, 'classifiers are a kind of their own');

-- values
SELECT is(array_length(alol_logits('one', 'a', 'b'), 1), 1,
	'one output where there is one label');
SELECT is(array_length(alol_logits('three', 'a', 'b'), 1), 3,
	'and one a label');
SELECT cmp_ok(abs(alol_reward('one', 'a', 'b') -
		1 / (1 + exp(-(alol_logits('one', 'a', 'b'))[1]))), '<', 1e-12::float8,
	'the reward of one output is its sigmoid');
SELECT is(alol_reward('one', 'a', 'b', 0), alol_reward('one', 'a', 'b'),
	'which is label 0');
SELECT cmp_ok(abs(alol_reward('three', 'a', 'b', i) -
		(SELECT exp(x[i + 1]) / (exp(x[1]) + exp(x[2]) + exp(x[3]))
		FROM alol_logits('three', 'a', 'b') AS x)), '<', 1e-12::float8,
	'the reward of label ' || i || ' is its softmax probability')
	FROM generate_series(0, 2) AS i;
SELECT is(alol_reward('three', 'a', 'b'), alol_reward('three', 'a', 'b', 2),
	'the last label is the default');
SELECT is(alol_logits('three', NULL, 'ab'), alol_logits('three', 'a', 'b'),
	'a decoder reads prompt and response as one text');
SELECT isnt(alol_logits('three', 'a', 'b'), alol_logits('three', 'a', 'c'),
	'another response has other outputs');
SELECT is(alol_logits('one', NULL, repeat('long ', 50)),
	alol_logits('one', NULL, repeat('long ', 50) || 'and longer'),
	'what is beyond the context is cut');

-- NULL
SELECT is(alol_reward('one', 'a', NULL), NULL, 'a NULL response has no reward');
SELECT is(alol_logits('one', 'a', NULL), NULL, 'and no outputs');
SELECT is(alol_reward(NULL, 'a', 'b'), NULL, 'as has a NULL model');
SELECT is(alol_reward('three', 'a', 'b', NULL), alol_reward('three', 'a', 'b'),
	'a NULL label is the default');
SELECT is(alol_logits('one', '', ''), NULL, 'a text of no token has no outputs');

-- limits
SELECT throws_ok($$SELECT alol_reward('three', 'a', 'b', 3)$$, '22023',
	'label must be from 0 to 2, not 3', 'a label beyond the last is an error');
SELECT throws_ok($$SELECT alol_reward('three', 'a', 'b', -1)$$, '22023',
	'label must be from 0 to 2, not -1', 'as is a negative one');
SELECT throws_ok($$SELECT alol_reward('policy', 'a', 'b')$$, '42809',
	'model "policy" is a language model, not a classifier',
	'a language model gives no rewards');
SELECT throws_ok($$SELECT alol_generate('one', 'a')$$, '42809',
	'model "one" is a classifier, not a language model',
	'and a classifier no responses');
SELECT throws_ok($$SELECT alol_logprob('one', 'a', 'b')$$, '42809',
	'model "one" is a classifier, not a language model',
	'nor log-probabilities');
SELECT throws_ok($$SELECT alol_sft('talk', 'one', 'x')$$, '42809',
	'model "one" is a classifier, not a language model',
	'it is no policy to train');
SELECT throws_ok($$SELECT alol_reward('no such', 'a', 'b')$$, '42704',
	'model "no such" does not exist', 'a classifier exists');
SELECT is(alol_detokenize('one', alol_tokenize('one', 'to and fro')),
	'to and fro', 'its tokens can be seen');

-- batches; a product of many rows rounds otherwise than one of few
CREATE FUNCTION same_in_batches(reward text) RETURNS bool LANGUAGE plpgsql
AS $$
DECLARE
	same bool;
BEGIN
	EXECUTE format('SELECT count(*) = 40 AND bool_and(abs(s.reward - t.own)
			< 1e-5)
		FROM alol_score(''TABLE talk'', reward => %L) AS s
		JOIN (SELECT key::text, %s AS own FROM talk) AS t
			ON t.key = s.row_key', reward, reward) INTO same;
	RETURN same;
END $$;
SELECT ok(same_in_batches('alol_reward(''three'', prompt, response)'),
	'alol_score gives the same rewards in batches');
SELECT ok(same_in_batches('alol_reward(''one'', NULL, response) +
		(alol_logits(''three'', prompt, response))[3]'),
	'several calls in one expression, too');
SELECT ok(same_in_batches('CASE WHEN alol_reward(''one'', prompt, response)
		> 0.4 THEN alol_reward(''three'', prompt, response, 0) ELSE 0 END'),
	'and calls that depend on other calls');
SELECT throws_ok($$SELECT reward FROM alol_score('talk',
		reward => 'alol_reward(''three'', prompt, response, 7)')$$, '22023',
	NULL, 'a bad label is an error there, too');

-- rights
CREATE ROLE alol_test_reader;
SELECT alol_allow('alol_test_reader') \g /dev/null
SET ROLE alol_test_reader;
SELECT throws_ok($$SELECT alol_reward('one', 'a', 'b')$$, '42501',
	'permission denied for model "one"', 'another''s classifier is closed');
RESET ROLE;
SELECT alol_model_grant('one', 'alol_test_reader') \g /dev/null
SET ROLE alol_test_reader;
SELECT lives_ok($$SELECT alol_reward('one', 'a', 'b')$$,
	'until it is granted');
RESET ROLE;
SELECT alol_disallow('alol_test_reader') \g /dev/null
SET ROLE alol_test_reader;
SELECT throws_ok($$SELECT alol_reward('one', 'a', 'b')$$, '42501', NULL,
	'and the function allowed');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
