-- Sources and rewards: what is one query or one expression, and what is not.
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
SELECT plan(103);

CREATE SCHEMA "Odd.Name";
CREATE TABLE pairs (key int, prompt text, response text, reward float8,
	"Mixed Case" numeric, happy bool, label text);
INSERT INTO pairs SELECT i, 'p' || i, 'r' || i, i, i * 2, i % 2 = 0, 'x'
	FROM generate_series(1, 5) i;
CREATE TABLE "Odd.Name"."Pairs" AS TABLE pairs;
CREATE VIEW pairs_view AS SELECT * FROM pairs;
CREATE MATERIALIZED VIEW pairs_stored AS SELECT * FROM pairs;
CREATE VIEW locking AS SELECT * FROM pairs FOR UPDATE;
CREATE SEQUENCE numbers;
CREATE TABLE written (x int);
CREATE FUNCTION writes() RETURNS int LANGUAGE sql VOLATILE AS
	$$ INSERT INTO written VALUES (1) RETURNING x $$;
CREATE FUNCTION unlocks() RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN
	SET transaction_read_only = off;
	INSERT INTO written VALUES (1); RETURN 1; END $$;

-- How many rows a source has, and the sum of a reward over pairs.
CREATE FUNCTION rows(source text) RETURNS bigint LANGUAGE sql AS
	$$ SELECT count(*) FROM alol_score(source) $$;
CREATE FUNCTION total(reward text) RETURNS float8 LANGUAGE sql AS
	$$ SELECT sum(s.reward) FROM alol_score('pairs', reward => $1) s $$;

-- What a source may be
SELECT is(rows('pairs'), 5::bigint, 'a table');
SELECT is(rows('public.pairs'), 5::bigint, 'a qualified table');
SELECT is(rows('PAIRS'), 5::bigint, 'names fold to lower case');
SELECT is(rows('"Odd.Name"."Pairs"'), 5::bigint, 'quoted names do not');
SELECT is(rows(' pairs '), 5::bigint, 'with spaces around');
SELECT is(rows('pairs_view'), 5::bigint, 'a view');
SELECT is(rows('pairs_stored'), 5::bigint, 'a materialized view');
SELECT is(rows('SELECT * FROM pairs WHERE key > 2'), 3::bigint, 'a SELECT');
SELECT is(rows('SELECT * FROM pairs;'), 5::bigint, 'with a semicolon');
SELECT is(rows(E'SELECT * FROM pairs; -- the end\n'), 5::bigint,
	'and a comment after it');
SELECT is(rows('SELECT * FROM pairs -- no semicolon'), 5::bigint,
	'or a comment alone');
SELECT is(rows('/* ; */ TABLE pairs'), 5::bigint, 'TABLE');
SELECT is(rows('VALUES (1, 2), (3, 4)'), 2::bigint, 'VALUES');
SELECT is(rows('(SELECT * FROM pairs)'), 5::bigint, 'parentheses');
SELECT is(rows('SELECT 1 UNION ALL SELECT 2'), 2::bigint, 'UNION');
SELECT is(rows('WITH x AS (SELECT * FROM pairs) SELECT * FROM x'), 5::bigint,
	'WITH');
SELECT is(rows('SELECT '';'' AS prompt'), 1::bigint,
	'a semicolon in a string is no end');
CREATE TEMP TABLE passing AS TABLE pairs;
SELECT is(rows('passing'), 5::bigint,
	'alol_score reads temporary tables of its session');

-- What it may not be
CREATE FUNCTION refused(source text, state text, message text, claim text)
	RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN
	RETURN NEXT throws_ok(format('SELECT * FROM alol_score(%L)', source),
		state, message, claim); END $$;
SELECT refused('nowhere', '42P01', 'source "nowhere" does not exist',
	'a missing table is named');
SELECT refused('SELECT * FROM nowhere', '42P01',
	'relation "nowhere" does not exist', 'also in a SELECT');
SELECT refused('', '22023', 'source is empty', 'an empty text');
SELECT refused(' -- nothing', '22023', 'source is empty', 'a comment alone');
SELECT refused('a.b.c.d', '42601', 'source "a.b.c.d" has too many dots',
	'too many dots');
SELECT refused('numbers', '42809', 'source "numbers" is not a table or view',
	'a sequence');
SELECT refused('SELECT 1; SELECT 2', '42601',
	'source must be one statement, not 2', 'two statements');
SELECT refused('SELECT 1; DROP TABLE pairs', '42601',
	'source must be one statement, not 2', 'a second statement of any kind');
SELECT refused('pairs; DROP TABLE pairs', '42601', NULL,
	'a name with a statement behind it');
SELECT refused('DELETE FROM pairs', '42601',
	'source must be a table, a view or one SELECT statement', 'DELETE');
SELECT refused('DROP TABLE pairs', '42601',
	'source must be a table, a view or one SELECT statement', 'DROP');
SELECT refused('COPY pairs TO ''/tmp/x''', '42601',
	'source must be a table, a view or one SELECT statement', 'COPY');
SELECT refused('EXPLAIN SELECT 1', '42601',
	'source must be a table, a view or one SELECT statement', 'EXPLAIN');
SELECT refused('EXECUTE x', '42601',
	'source must be a table, a view or one SELECT statement', 'EXECUTE');
SELECT refused('SELECT * INTO y FROM pairs', '42601',
	'source must not have INTO', 'INTO');
SELECT refused('SELECT 1 INTO y UNION SELECT 2', '42601',
	'source must not have INTO', 'INTO in a UNION');
SELECT refused('CREATE TABLE y AS SELECT 1', '42601',
	'source must be a table, a view or one SELECT statement',
	'CREATE TABLE AS');
SELECT refused('WITH x AS (DELETE FROM pairs RETURNING *) SELECT * FROM x',
	'0A000', 'source must not modify data', 'a WITH that deletes');
SELECT refused('SELECT * FROM pairs FOR UPDATE', '0A000',
	'source must not lock rows', 'FOR UPDATE');
SELECT refused('SELECT * FROM (SELECT * FROM pairs FOR SHARE) x', '0A000',
	'source must not lock rows', 'FOR SHARE in a subquery');
SELECT refused('locking', '0A000', NULL, 'a view that locks');
SELECT refused('SELECT $1', '42P02', 'there is no parameter $1',
	'a parameter');
SELECT refused('SELECT', '42P01', NULL, 'the word SELECT is a name, missing');
SELECT refused('SELECT FROM pairs', '42611', 'source has no columns',
	'no columns');
SELECT refused('SELECT * FROM', '42601', NULL, 'an unfinished query');
SELECT refused('SELECT ''', '42601', NULL, 'an unfinished string');
SELECT refused('SELECT /* 1', '42601', NULL, 'an unfinished comment');
SELECT refused('SELECT ROW(1, 2) AS r', '42611',
	'source column "r" has pseudo-type record', 'a record column');
SELECT refused('SELECT 1 AS prompt, 2 AS prompt', '42701',
	'source has more than one column "prompt"', 'a column twice');
SELECT refused('SELECT ''a'' AS prompt, ''b'' AS reward', '42804',
	'reward must be a number, not text', 'a reward that is text');
SELECT refused('SELECT 1 AS reward, ''b'' AS value', '42804',
	'source column "value" must be a number, not text', 'a value that is text');
SELECT refused('SELECT 1 AS reward, ''b'' AS advantage', '42804',
	'source column "advantage" must be a number, not text',
	'an advantage that is text');

-- The query runs read-only
SELECT refused('SELECT writes() AS reward', '25006',
	'cannot execute INSERT in a read-only transaction',
	'a function that writes');
SELECT refused('SELECT unlocks() AS reward', '25001', NULL,
	'one that asks for more');
SELECT refused('SELECT nextval(''numbers'') AS reward', '25006',
	'cannot execute nextval() in a read-only transaction', 'nextval()');
SELECT is(current_setting('transaction_read_only'), 'off',
	'and afterwards our transaction writes again');
SELECT lives_ok('INSERT INTO written VALUES (2)', 'as one can see');
SELECT is((SELECT array_agg(x) FROM written), ARRAY[2],
	'nothing else was written');

-- What a reward may be
SELECT is(total(NULL), 15.0::float8, 'NULL: the column reward');
SELECT is(total('reward'), 15.0::float8, 'a column');
SELECT is(total('"reward"'), 15.0::float8, 'quoted');
SELECT is(total('Mixed Case'), 30.0::float8, 'a column as it is spelt');
SELECT is(total('"Mixed Case" / 2'), 15.0::float8, 'or as SQL wants it');
SELECT is(total('happy'), 2.0::float8, 'true is 1');
SELECT is(total('happy::int::smallint'), 2.0::float8, 'small integers');
SELECT is(total('key::bigint'), 15.0::float8, 'large ones');
SELECT is(total('reward::float4'), 15.0::float8, 'single precision');
SELECT is(total('alol_row.reward'), 15.0::float8, 'a qualified column');
SELECT is(total('1'), 5.0::float8, 'a constant');
SELECT is(total('1 -- one'), 5.0::float8, 'with a comment');
SELECT is(total('(SELECT max(key) FROM pairs)'), 25.0::float8,
	'a subquery, with an aggregate of its own');
SELECT is(total('SELECT max(key) FROM pairs'), 25.0::float8,
	'also without parentheses');
SELECT is(total('(SELECT sum(q.key) FROM pairs q WHERE q.key <= alol_row.key)'),
	35.0::float8, 'that looks at the row');
SELECT is(total('CASE WHEN key > 3 THEN 1.5 ELSE 0 END'), 3.0::float8, 'CASE');
SELECT is(total('nullif(key, 3)'), 12.0::float8, 'NULL for some rows');
SELECT is(total('{"a": "key", "b": "happy", "c": "reward"}'), 32.0::float8,
	'named components, summed');
SELECT is(total('{"a": "nullif(key, 3)", "b": "1"}'), 16.0::float8,
	'a NULL component makes the reward NULL');
SELECT is((SELECT array_agg(s.reward::text) FROM alol_score('VALUES (1)',
	reward => '''NaN''::float8') s), ARRAY['NaN'], 'NaN comes through');

-- What it may not be
CREATE FUNCTION refused_reward(reward text, state text, message text,
	claim text) RETURNS SETOF text LANGUAGE plpgsql AS $$ BEGIN
	RETURN NEXT throws_ok(format('SELECT * FROM alol_score(''pairs'', '
		'reward => %L)', reward), state, message, claim); END $$;
SELECT refused_reward('', '22023', 'reward is empty', 'an empty reward');
SELECT refused_reward('respons', '42703', 'column "respons" does not exist',
	'a missing column is named');
SELECT refused_reward('response', '42804', 'reward must be a number, not text',
	'text');
SELECT refused_reward('now()', '42804',
	'reward must be a number, not timestamp with time zone', 'a time');
SELECT refused_reward('NULL', '42804', 'reward must be a number, not text',
	'NULL itself');
SELECT refused_reward('1, 2', '42804', 'reward must be a number, not record',
	'two values');
SELECT refused_reward('1) , (2', '42601', 'reward must be one SQL expression',
	'two values that break out');
SELECT refused_reward('1); DROP TABLE pairs; SELECT (1', '42601',
	'reward must be one SQL expression', 'statements that break out');
SELECT refused_reward('1) FROM pairs WHERE (true', '42601',
	'reward must be one SQL expression', 'clauses that break out');
SELECT refused_reward('1) UNION SELECT (2', '42601',
	'reward must be one SQL expression', 'a UNION that breaks out');
SELECT refused_reward('1) ORDER BY (2', '42601',
	'reward must be one SQL expression', 'an ORDER BY that breaks out');
SELECT refused_reward('1 /*', '42601', NULL, 'an unfinished comment');
SELECT refused_reward('''', '42601', NULL, 'an unfinished string');
SELECT refused_reward('$$', '42601', NULL, 'an unfinished dollar quote');
SELECT refused_reward('avg(reward)', '0A000',
	'reward must not use aggregate functions', 'an aggregate');
SELECT refused_reward('reward - avg(reward)', '42803',
	'reward must not use aggregate functions', 'an aggregate beside a column');
SELECT refused_reward('rank() OVER (ORDER BY reward)', '0A000',
	'reward must not use window functions', 'a window function');
SELECT refused_reward('generate_series(1, 2)', '0A000',
	'reward must not use set-returning functions', 'a set');
SELECT refused_reward('(SELECT avg(reward) FROM alol_row)', '0A000',
	'reward must not use "alol_row" as a table', 'its row as a table');
SELECT refused_reward('alol_row.*', '42601', NULL, 'all columns');
SELECT refused_reward('{}', '22023', 'reward has no components',
	'no components');
SELECT refused_reward('{"a": 1}', '22023',
	'reward "a" must be a string that holds an SQL expression',
	'a component that is no expression');
SELECT refused_reward('{"a": "1", "b": "label"}', '42804',
	'reward "b" must be a number, not text', 'a component of another type');
SELECT refused_reward('{"a": ', '22P02', NULL, 'broken JSON');
SELECT refused_reward('writes()', '25006',
	'cannot execute INSERT in a read-only transaction', 'one that writes');
SELECT throws_ok('SELECT * FROM alol_score(''SELECT 1 AS a'', reward => ''b'')',
	'42703', NULL, 'a column of another table');
SELECT throws_ok($$DO 'BEGIN PERFORM alol_score(''pairs'',
	reward => ''1 / (key - 3)''); END'$$, '22012', 'division by zero',
	'errors of the expression come through');

SELECT * FROM finish();
ROLLBACK;
