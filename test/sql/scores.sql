-- Text scores: values, NULLs, limits; alol_score without and with a model.
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
SELECT plan(81);

-- n-grams
SELECT is(alol_ngrams('The quick  Brown fox', 2),
	ARRAY['the quick', 'quick brown', 'brown fox'],
	'n-grams are lower-cased words, joined by one space, in order');
SELECT is(alol_ngrams('a b a', 1), ARRAY['a', 'b', 'a'],
	'repeated n-grams stay');
SELECT is(alol_ngrams('one two', 3), '{}'::text[],
	'fewer words than n have no n-gram');
SELECT is(alol_ngrams('', 1), '{}'::text[], 'no words, no n-grams');
SELECT is(alol_ngrams(NULL, 1), NULL, 'n-grams of NULL are NULL');
SELECT is(alol_ngrams('a', NULL), NULL, 'n NULL gives NULL');
SELECT throws_ok('SELECT alol_ngrams(''a'', 0)', '22023',
	'n must be at least 1, not 0', 'alol_ngrams refuses n = 0');
SELECT throws_ok('SELECT alol_ngrams(''a'', -3)', '22023',
	'n must be at least 1, not -3', 'alol_ngrams refuses a negative n');
SELECT is(alol_ngrams(E'\t a\n\r\x0b\fb ', 1), ARRAY['a', 'b'],
	'every white space splits, also at the ends');
SELECT is(alol_ngrams('a b', 2147483647), '{}'::text[],
	'the largest n is no trouble');
SELECT is(array_length(alol_ngrams(repeat('word ', 10000), 2), 1), 9999,
	'long texts have all of their n-grams');

-- Unicode, where the database can hold it
SELECT is(alol_ngrams(U&'\00C4rger \0395\03A5\03A1\03A9 \0414\0410', 1),
	ARRAY[U&'\00E4rger', U&'\03B5\03C5\03C1\03C9', U&'\0434\0430'],
	'lower case is Unicode''s, whatever the locale');
SELECT is(alol_ngrams(U&'a\00A0b\2003c\3000d', 1), ARRAY['a', 'b', 'c', 'd'],
	'white space is Unicode''s');
SELECT is(alol_ngrams(U&'\023A\01C5', 1), ARRAY[U&'\2C65\01C6'],
	'lower case may take more bytes');
SELECT is(alol_word_count(U&'\D83D\DE00 \D83D\DE00'), 2,
	'characters beyond the first plane are whole');

-- Diversity of one text
SELECT is(alol_distinct('a b a b a', 1), 0.4::float8, 'Distinct-1');
SELECT is(alol_distinct('a b a b a', 2), 0.5::float8, 'Distinct-2');
SELECT is(alol_distinct('A a', 1), 0.5::float8, 'case does not count');
SELECT is(alol_distinct('all words differ', 1), 1.0::float8,
	'distinct words give 1');
SELECT is(alol_distinct('a', 2), NULL, 'no n-gram, no share');
SELECT is(alol_distinct('', 1), NULL, 'nor in an empty text');
SELECT is(alol_distinct(NULL, 1), NULL, 'alol_distinct of NULL is NULL');
SELECT throws_ok('SELECT alol_distinct(''a'', 0)', '22023',
	'n must be at least 1, not 0', 'alol_distinct refuses n = 0');
SELECT is(alol_distinct('ab c', 2), 1.0::float8,
	'words are joined by a space and not run together');

SELECT is(alol_repetition('a b a b a', 1), 0.6::float8,
	'repetition is 1 - distinct');
SELECT is(alol_repetition('', 1), 0.0::float8, 'nothing repeats nothing');
SELECT is(alol_repetition('a', 2), 0.0::float8, 'nor does a text too short');
SELECT is(alol_repetition(NULL, 1), NULL, 'alol_repetition of NULL is NULL');
SELECT throws_ok('SELECT alol_repetition(''a'', 0)', '22023',
	'n must be at least 1, not 0', 'alol_repetition refuses n = 0');

SELECT is(alol_word_count('  two words '), 2, 'words are counted');
SELECT is(alol_word_count(''), 0, 'an empty text has none');
SELECT is(alol_word_count(NULL), NULL, 'alol_word_count of NULL is NULL');

-- All rows together
SELECT is(alol_corpus_distinct(t, 1), 0.75::float8,
	'the aggregate counts over all rows')
	FROM (VALUES ('a b'), ('a c'), (NULL)) v (t);
SELECT is(alol_corpus_distinct(t, 2), 1.0::float8,
	'no n-gram crosses two rows') FROM (VALUES ('a b'), ('c d')) v (t);
SELECT is(alol_corpus_distinct(t, 3), NULL, 'no n-gram at all gives NULL')
	FROM (VALUES ('a b'), ('c')) v (t);
SELECT is(alol_corpus_distinct(t, 1), NULL, 'no rows give NULL')
	FROM (SELECT 'a' WHERE false) v (t);
SELECT throws_ok('SELECT alol_corpus_distinct(t, 0) FROM (VALUES (''a'')) v(t)',
	'22023', 'n must be at least 1, not 0', 'the aggregate refuses n = 0');
SELECT throws_ok(
	'SELECT alol_corpus_distinct(t, n) FROM (VALUES (''a'', 1), (''b'', 2)) v(t, n)',
	'22023', 'n must be the same in all rows, not 1 and 2',
	'the aggregate refuses to mix n');
SELECT is(alol_corpus_distinct(t, 1), 0.5::float8, 'groups are apart')
	FROM (VALUES (1, 'a a'), (2, 'b b')) v (g, t) GROUP BY g LIMIT 1;

-- TF-IDF, with the numbers of scikit-learn's TfidfVectorizer
CREATE TABLE documents AS
	SELECT 'The quick brown fox no ' || i || ' jumps_over the_fence' AS t
	FROM generate_series(1, 3) i UNION ALL SELECT 'fox hunting in winter';
SELECT is(alol_tfidf_fit('news', 'documents'), 4::bigint,
	'fitting returns the number of documents');
SELECT is(round(alol_tfidf('news', 'fox hunting fox')::numeric, 12),
	0.141389061373, 'few known terms count k / 10');
SELECT is(alol_tfidf('news', 'unknown words'), 0.0::float8,
	'no known term gives 0');
SELECT is(alol_tfidf('news', ''), 0.0::float8, 'nor does an empty text');
SELECT is(alol_tfidf('news', NULL), NULL, 'alol_tfidf of NULL is NULL');
SELECT is(round(alol_tfidf('news',
		'Quick BROWN fox, hunting: in winter!')::numeric, 12),
	0.395582336298, 'five and more count in full');
SELECT is(alol_tfidf_fit('news', 'SELECT ''only''::text'), 1::bigint,
	'fitting again replaces');
SELECT is(alol_tfidf('news', 'fox'), 0.0::float8, 'what was learnt is gone');
SELECT is((SELECT array_agg((name, documents, terms)::text)
		FROM alol_tfidf_models), ARRAY['(news,1,1)'],
	'the view shows one''s models');
SELECT throws_ok('SELECT alol_tfidf(''olds'', ''x'')', '42704',
	'you own no TF-IDF model "olds"', 'an unknown name is named');
SELECT throws_ok('SELECT alol_tfidf_fit('''', ''documents'')', '42602',
	'name must have 1 to 63 bytes, not 0', 'a name is needed');
SELECT throws_ok('SELECT alol_tfidf_fit(''x'', ''SELECT 1'')', '42804',
	'first column of source must be text, not integer',
	'the first column must be text');
SELECT lives_ok(
	'SELECT alol_tfidf_fit(''x'', ''SELECT repeat(''''long'''', 10000)'')',
	'a term beyond what an index holds is no trouble');
SELECT ok(alol_tfidf('x', repeat('long', 10000)) > 0, 'and is found');
CREATE ROLE alol_ida;
SELECT alol_allow('alol_ida');
SET ROLE alol_ida;
SELECT throws_ok('SELECT alol_tfidf(''news'', ''x'')', '42704',
	'you own no TF-IDF model "news"', 'another role does not see it');
SELECT throws_ok('SELECT alol_tfidf_fit(''news'', ''SELECT ''''x''''::text'')',
	'42501', 'TF-IDF model "news" belongs to another role',
	'nor can it replace it');
SELECT is_empty('SELECT * FROM alol_tfidf_models', 'nor is it in the view');
RESET ROLE;
SELECT lives_ok('SELECT alol_tfidf_drop(''news'')', 'dropping works');
SELECT throws_ok('SELECT alol_tfidf_drop(''news'')', '42704',
	'you own no TF-IDF model "news"', 'once');

-- alol_score
CREATE TABLE pairs AS SELECT i AS key, 'prompt ' || i AS prompt,
	'response ' || i AS response, i / 100.0 AS reward
	FROM generate_series(1, 200) i;
SELECT is((SELECT array_agg(s ORDER BY row_number) FROM (SELECT row_number,
		row_key, prompt, response, reward, value, advantage, logprob
		FROM alol_score('pairs') LIMIT 2) s)::text,
	'{"(1,1,\"prompt 1\",\"response 1\",0.01,,,)",'
	'"(2,2,\"prompt 2\",\"response 2\",0.02,,,)"}',
	'what was not asked for is NULL');
SELECT is((SELECT array_agg(row_number) = array_agg(201 - row_key::bigint)
		FROM alol_score('SELECT * FROM pairs ORDER BY key DESC')), true,
	'rows keep the order of the source');
SELECT is((SELECT sum(reward) FROM alol_score('pairs',
		reward => 'alol_word_count(response) + key')), 20500.0::float8,
	'a reward is any expression');
SELECT is((SELECT sum(reward) FROM alol_score('pairs',
		reward => '{"a": "key", "b": "alol_word_count(response)"}')),
	20500.0::float8, 'components are summed');
SELECT is((SELECT array_agg((reward, value, advantage)::text) FROM alol_score(
		'SELECT *, 0.25 AS value FROM pairs WHERE key = 50')),
	ARRAY['(0.5,0.25,0.25)'], 'a column value gives the advantage');
SELECT is((SELECT array_agg(reward) FROM alol_score(
		'VALUES (1, ''p'', ''r'')', reward => 'column1 > 0')), ARRAY[1.0::float8],
	'a boolean reward is 1 or 0, and rows need no other column');

-- with LIMIT
CREATE FUNCTION look(int) RETURNS int VOLATILE LANGUAGE plpgsql AS $$ BEGIN
	PERFORM set_config('alol_test.seen',
		(coalesce(nullif(current_setting('alol_test.seen', true), ''), '0')::int
		+ 1)::text, true);
	RETURN $1;
END $$;
SELECT is((SELECT count(*) FROM (SELECT * FROM alol_score('pairs',
		reward => 'look(key)') LIMIT 3) s), 3::bigint, 'LIMIT');
SELECT cmp_ok(current_setting('alol_test.seen')::int, '<=', 16,
	'a LIMIT stops the scoring early');
SELECT is((SELECT count(*) FROM pg_cursors WHERE statement ~ 'FROM public.pairs'
		AND name ~ 'unnamed'), 0::bigint, 'and leaves no cursor open');

-- with a model
SELECT alol_model_create('alol_score_test', '{"model_type": "gpt2",
	"vocab_size": 257, "n_embd": 32, "n_layer": 1, "n_head": 2,
	"n_positions": 64}', 1);
SELECT is((SELECT max(abs(logprob - alol_logprob('alol_score_test', prompt,
		response))) < 1e-4 FROM alol_score('pairs', 'alol_score_test')
		WHERE row_number <= 40), true,
	'log-probabilities are those of alol_logprob');
SELECT is((SELECT array_agg(logprob IS NULL ORDER BY row_number) FROM alol_score(
		'VALUES (''a'', ''b''), (NULL, ''b''), (''a'', NULL)',
		'alol_score_test', options => '{"prompt_column": "column1",
		"response_column": "column2"}')), ARRAY[false, true, true],
	'a NULL prompt or response has none');
SELECT throws_like($$SELECT * FROM alol_score(
		'SELECT repeat(''a'', 100) AS prompt, ''b'' AS response',
		'alol_score_test')$$,
	'%is longer than 64%', 'nothing is cut in silence');
SELECT lives_ok($$SELECT * FROM alol_score(
		'SELECT repeat(''a'', 100) AS prompt, ''b'' AS response',
		'alol_score_test', options => '{"max_prompt_tokens": 50}')$$,
	'but on demand');
SELECT throws_ok($$SELECT * FROM alol_score('pairs', value => 'alol_score_test')$$,
	NULL, 'value "alol_score_test" is a language model, not a value model',
	'a value model is a value model');

-- Model calls inside rewards go in batches; nothing else may change by that.
CREATE FUNCTION scored(reward text) RETURNS float8[] LANGUAGE sql AS
	$$ SELECT array_agg(s.reward ORDER BY row_number)
	FROM alol_score('SELECT * FROM pairs WHERE key <= 40', reward => $1) s $$;
CREATE FUNCTION called(reward text) RETURNS float8[] LANGUAGE plpgsql AS $$
	DECLARE result float8[]; BEGIN EXECUTE 'SELECT array_agg(' || reward
	|| ' ORDER BY key) FROM pairs WHERE key <= 40' INTO result;
	RETURN result; END $$;
-- A batch is another shape of products: it differs by rounding.
CREATE FUNCTION equal(a float8[], b float8[]) RETURNS bool LANGUAGE sql AS
	$$ SELECT count(*) = 40 AND bool_and(coalesce(abs(x - y) < 1e-4,
		x IS NULL AND y IS NULL)) FROM unnest(a, b) AS u (x, y) $$;
SELECT is(equal(scored(r), called(r)), true, r) FROM (VALUES
	($$alol_logprob('alol_score_test', prompt, response)$$),
	($$alol_logprob('alol_score_test', prompt, response) + random() * 0$$),
	($$ln(alol_logprob('alol_score_test', prompt, response) + 100)$$),
	($$sqrt(-11 - alol_logprob('alol_score_test', prompt, response))$$),
	($$alol_logprob('alol_score_test', nullif(prompt, 'prompt 7'), response)$$),
	($$CASE WHEN alol_logprob('alol_score_test', prompt, 'a') > -5
		THEN alol_logprob('alol_score_test', prompt, repeat('too long', 20))
		ELSE alol_logprob('alol_score_test', prompt, 'b') END$$)) v (r);
SELECT throws_ok($$SELECT * FROM alol_score('pairs',
	reward => 'alol_logprob(''nobody'', prompt, response)')$$, NULL,
	'model "nobody" does not exist', 'a missing model in a reward');
SELECT throws_like($$SELECT * FROM alol_score('pairs', reward =>
	'alol_logprob(''alol_score_test'', prompt, repeat(response, 20))')$$,
	'%is longer than 64%', 'a text that is too long in a reward');
SELECT throws_ok('SELECT * FROM alol_score(NULL)', '22004',
	'source must not be null', 'a source is needed');

SELECT * FROM finish();
ROLLBACK;
