-- Inference: values, NULLs and limits of the functions that ask a model.
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
SELECT plan(57);

CREATE TABLE documents AS SELECT i, 'the cat number ' || i || ' sat on mat '
	|| i * i AS document FROM generate_series(1, 300) i;
SELECT is(alol_model_create('m', '{"model_type": "llama", "hidden_size": 32,
	"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
	"num_key_value_heads": 2, "vocab_size": 400,
	"max_position_embeddings": 64}', 7,
	'SELECT document FROM documents ORDER BY i'), 'm', 'a model is made');

-- alol_tokenize, alol_detokenize
SELECT is(alol_detokenize('m', alol_tokenize('m', t)), t,
	format('detokenize(tokenize(%s)) is the text', to_json(t)))
	FROM unnest(ARRAY['the cat', '', ' ', E'a\n\tb  c', 'Grüße 猫 🐈', E'\x01'])
	t;
SELECT is(alol_tokenize('m', ''), '{}', 'the empty text has no tokens');
SELECT is(alol_tokenize('m', NULL), NULL, 'NULL text gives NULL');
SELECT is(alol_tokenize(NULL, 'x'), NULL, 'NULL model gives NULL');
SELECT is(alol_detokenize('m', NULL), NULL, 'NULL ids give NULL');
SELECT is(alol_detokenize('m', '{}'), '', 'no tokens are the empty text');
SELECT throws_ok($$SELECT alol_detokenize('m', '{1,NULL}')$$, '22004',
	'token id 2 is null', 'a NULL id is an error');
SELECT throws_ok($$SELECT alol_detokenize('m', '{-1}')$$, '22023',
	'token id must be at least 0, not -1', 'a negative id is an error');
SELECT throws_like($$SELECT alol_detokenize('m', '{100000}')$$, '%100000%',
	'an id beyond the vocabulary is an error');
SELECT throws_ok($$SELECT alol_detokenize('m', '{{1,2},{3,4}}')$$, '22023',
	'token ids must be an array of one dimension, not 2', 'as is a matrix');
SELECT is(alol_detokenize('m', (alol_tokenize('m', '猫'))[:1]), U&'\FFFD',
	'a part of a character is U+FFFD');

-- alol_logprob, alol_token_logprobs
SELECT cmp_ok(alol_logprob('m', 'the cat', ' sat on mat'), '<', 0::float8,
	'a log-probability is negative');
SELECT ok(abs(alol_logprob('m', 'the cat', ' sat on mat') - sum(logprob)) < 1e-9,
	'it is the sum of its tokens''')
	FROM alol_token_logprobs('m', 'the cat', ' sat on mat');
SELECT is(array_agg(token_id ORDER BY position)
		FILTER (WHERE position < (SELECT count(*) FROM
			alol_token_logprobs('m', 'the cat', ' sat on mat'))),
	alol_tokenize('m', ' sat on mat'),
	'the tokens are those of the response, and EOS')
	FROM alol_token_logprobs('m', 'the cat', ' sat on mat');
SELECT is(convert_from(string_agg(bytes, '' ORDER BY position), 'UTF8'),
	' Grüße', 'the bytes of the tokens are those of the response')
	FROM (SELECT * FROM alol_token_logprobs('m', 'x', ' Grüße')
		ORDER BY position LIMIT (SELECT count(*) - 1
			FROM alol_token_logprobs('m', 'x', ' Grüße'))) t;
SELECT is(count(*), 1::bigint, 'an empty response has its EOS alone')
	FROM alol_token_logprobs('m', 'the cat', '');
SELECT is(alol_logprob('m', 'the cat', NULL), NULL, 'NULL response gives NULL');
SELECT is(alol_logprob('m', NULL, 'x'), NULL, 'NULL prompt gives NULL');
SELECT is(alol_logprob(NULL, 'x', 'x'), NULL, 'NULL model gives NULL');
SELECT is(count(*), 0::bigint, 'a NULL response has no rows')
	FROM alol_token_logprobs('m', 'x', NULL);
SELECT throws_like($$SELECT alol_logprob('m', repeat('a b ', 100), 'x')$$,
	'%64%', 'a text beyond the context is an error with both numbers');
SELECT results_eq($$SELECT alol_logprob('m', 'p', d.document)
		FROM documents d WHERE i <= 20 ORDER BY i$$,
	$$SELECT (SELECT sum(logprob)
		FROM alol_token_logprobs('m', 'p', d.document))
		FROM documents d WHERE i <= 20 ORDER BY i$$,
	'it works in any SELECT');

-- alol_generate
SELECT is(alol_generate('m', 'the cat', max_tokens => 8),
	alol_generate('m', 'the cat', max_tokens => 8), 'greedy is repeatable');
SELECT is(alol_generate('m', 'the cat', 8, 1.0, seed => 3),
	alol_generate('m', 'the cat', 8, 1.0, seed => 3), 'a seed is repeatable');
SELECT cmp_ok(count(DISTINCT alol_generate('m', 'the cat', 8, 2.0)), '>',
	1::bigint, 'without a seed responses differ')
	FROM generate_series(1, 5);
SELECT is(alol_generate('m', 'the cat', 8, 1.0, top_k => 1),
	alol_generate('m', 'the cat', 8), 'top_k 1 is greedy');
SELECT is(alol_generate('m', 'the cat', 8, 1.0, top_p => 1e-6),
	alol_generate('m', 'the cat', 8), 'a tiny top_p is greedy');
SELECT cmp_ok(length(alol_generate('m', 'the cat', max_tokens => 1)), '<=',
	length(alol_generate('m', 'the cat', max_tokens => 20)),
	'max_tokens is a limit');
SELECT ok(position(left(alol_generate('m', 'the cat', 20), 2) IN
	alol_generate('m', 'the cat', 20,
		stop => ARRAY[left(alol_generate('m', 'the cat', 20), 2)])) = 0,
	'the response ends before a stop text');
SELECT is(alol_generate(NULL, 'x'), NULL, 'NULL model gives NULL');
SELECT is(alol_generate('m', NULL), NULL, 'NULL prompt gives NULL');
SELECT is(alol_generate('m', 'the cat', NULL, NULL, NULL, NULL, NULL, NULL,
	NULL, NULL), alol_generate('m', 'the cat'),
	'a NULL parameter is its default');
SELECT throws_ok($$SELECT alol_generate('m', 'x', max_tokens => 0)$$, '22023',
	'max_tokens must be at least 1, not 0', 'max_tokens 0 is an error');
SELECT throws_ok($$SELECT alol_generate('m', 'x', temperature => -0.5)$$,
	'22023', 'temperature must be a finite number of at least 0, not -0.5',
	'a negative temperature is an error');
SELECT throws_ok($$SELECT alol_generate('m', 'x', temperature => 'NaN')$$,
	'22023', 'temperature must be a finite number of at least 0, not NaN',
	'NaN is no temperature');
SELECT throws_ok($$SELECT alol_generate('m', 'x', top_p => 0)$$, '22023',
	'top_p must be above 0 and at most 1, not 0', 'top_p 0 is an error');
SELECT throws_ok($$SELECT alol_generate('m', 'x', top_p => 1.5)$$, '22023',
	'top_p must be above 0 and at most 1, not 1.5', 'as is one above 1');
SELECT throws_ok($$SELECT alol_generate('m', 'x', top_k => -1)$$, '22023',
	'top_k must be at least 0, not -1', 'a negative top_k is an error');
SELECT throws_ok($$SELECT alol_generate('m', 'x', num_beams => 0)$$, '22023',
	'num_beams must be at least 1, not 0', 'no beam is an error');
SELECT throws_ok($$SELECT alol_generate('m', 'x', num_beams => 129)$$, '22023',
	'num_beams must be at most 128, not 129', 'beams have a limit');
SELECT throws_ok($$SELECT alol_generate('m', 'x', temperature => 1,
		num_beams => 2)$$, '22023',
	'num_beams 2 does not go with temperature 1', 'beams do not draw');
SELECT cmp_ok(alol_logprob('m', 'the cat',
		alol_generate('m', 'the cat', 1, num_beams => 3)), '>=',
	alol_logprob('m', 'the cat', alol_generate('m', 'the cat', 1)) - 1e-6,
	'three beams find one token no worse than a greedy one');
SELECT throws_ok($$SELECT alol_generate('m', 'x', repetition_penalty => 0)$$,
	'22023', 'repetition_penalty must be a finite number above 0, not 0',
	'a penalty of 0 is an error');
SELECT throws_ok($$SELECT alol_generate('m', 'x', stop => '{a,""}')$$, '22023',
	'a stop text is empty', 'an empty stop text is an error');
SELECT throws_ok($$SELECT alol_generate('no such', 'x')$$, '42704',
	'model "no such" does not exist', 'the model exists');

-- alol_value
SELECT throws_ok($$SELECT alol_value('m', 'x')$$, '42809',
	'model "m" is a language model, not a value model',
	'alol_value wants a value model');
SELECT is(alol_value('m', NULL), NULL, 'NULL prompt gives NULL');

-- the engine
SELECT is(count(*), 1::bigint, 'one of the devices is the CPU')
	FROM alol_devices() WHERE device = 'cpu' AND memory_total > 0
	AND memory_limit > 0;
SELECT matches(alol_version(), '^\d+\.\d+\.\d+$', 'a version has three parts');
SELECT volatility_is('alol_generate', 'volatile');
SELECT volatility_is('alol_logprob', 'stable');

SELECT * FROM finish();
ROLLBACK;
