-- Rows, rewards and labels that teach nothing, or are none: what jobs say.
\unset ECHO
\set QUIET 1
SET client_min_messages = error;
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP true

CREATE EXTENSION IF NOT EXISTS alol;
CREATE SCHEMA bad_test;
SET search_path = bad_test, public;

CREATE TABLE pairs AS SELECT i AS key, 'say ' || i % 20 || ': ' AS prompt,
	repeat(chr(97 + i % 26), 2 + i % 5) || ' ' || i AS response
FROM generate_series(1, 60) i;
SELECT alol_model_create('bad_policy', '{"model_type": "llama",
	"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 1, "num_attention_heads": 4,
	"max_position_embeddings": 64}') \gset

-- What came of a job: its error with all that belongs to it, or what it said.
CREATE PROCEDURE train(OUT job bigint, method text, reward text,
	source text DEFAULT 'pairs') LANGUAGE plpgsql AS $$
BEGIN
	job := alol_train(source, 'bad_policy', 'bad_' || nextval('alol_job_id'),
		method, reward, steps => 1, batch_size => 4, options =>
		'{"max_response_tokens": 8, "value_epochs": 2}');
	COMMIT;
	BEGIN
		PERFORM alol_wait(job);
	EXCEPTION WHEN OTHERS THEN
		NULL;
	END;
END $$;
CREATE FUNCTION outcome(job bigint) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' | ', state, error, detail, hint, notice)
	FROM alol_job LEFT JOIN LATERAL (SELECT string_agg(n ->> 'message', ' | ')
		FROM jsonb_array_elements(notices) n) AS n (notice) ON true
	WHERE id = outcome.job $$;

SELECT no_plan();

-- A reward that is the same everywhere.
CALL train(NULL, 'a_lol', '0.5 + 0 * length(response)') \gset
SELECT matches(outcome(:job), '^failed \| the reward is constant: it is 0.5 ',
	'a constant reward is one within [0, 1], too');
CALL train(NULL, 'wbc', '3') \gset
SELECT matches(outcome(:job), '^succeeded .*the reward of all rows is 3: it prefers no response',
	'where it does no harm a warning tells');
CALL train(NULL, 'dpo', '3') \gset
SELECT matches(outcome(:job), '^failed \| no prompt has two responses with different rewards \| '
	'Of 19 prompts 0 have one response and 19 responses with equal rewards',
	'and pairs need one that differs');

-- Nothing is better than the reference.
CALL train(NULL, 'a_lol', 'CASE WHEN response ~ ''^[a-z]+ \d+$'' THEN key / 1e3 ELSE 0.9 END') \gset
SELECT matches(outcome(:job), '^failed \| none of 57 rows has a positive advantage \| '
	'The advantage has the mean -0.8\d*, from -0.898 to -0.84. The rows'' reward has the mean '
	'0.03\d*, the value, what the reference policy earns itself, 0.9. \| Method a_lol trains on '
	'rows with a positive advantage only. See alol_advantages of job \d+ for each row''s.',
	'no positive advantage is told with where it comes from');
SELECT is((SELECT positive FROM alol_advantage_stats(:job)), 0::bigint,
	'and the rows are there to be looked at');
CALL train(NULL, 'a_lol_seq', NULL, 'SELECT prompt, response, -key AS advantage FROM pairs') \gset
SELECT matches(outcome(:job), '^failed \| none of 60 rows has a positive advantage \| '
	'The advantage has the mean -30.5, from -60 to -1. \| ', 'given ones have no parts');

-- The value's range is that of the rewards.
CALL train(NULL, 'a_lol', '10 * length(response)') \gset
SELECT matches(outcome(:job), '^succeeded', 'rewards may be of any size');
SELECT ok(min(value) > 1 AND min(reward) >= 40, 'and the value is of theirs')
FROM alol_advantages WHERE job = :job;
CALL train(NULL, 'a_lol', '-length(response)') \gset
SELECT ok(max(value) < 0, 'of either sign') FROM alol_advantages WHERE job = :job;

-- Rankings.
CALL train(NULL, 'pro', 'key', 'SELECT key, key || '' is'' AS prompt, response FROM pairs') \gset
SELECT matches(outcome(:job), '^failed .*Of 57 prompts 57 have one response and 0 ',
	'prompts with one response make no list');
CALL train(NULL, 'dpo', 'CASE WHEN key % 20 < 10 THEN 1 ELSE key END') \gset
SELECT matches(outcome(:job), '^succeeded .*19 prompts make \d+ pairs; without are 0 '
	'with one response, \d+ with equal rewards', 'equal rewards are counted');

-- Expressions that raise.
CALL train(NULL, 'wbc', '1.0 / (key - 17)', 'SELECT key, prompt, response FROM pairs') \gset
SELECT matches(outcome(:job), '^failed \| division by zero \| The reward of row 17 \(key "17"\) raised it.',
	'an error names its row');
CALL train(NULL, 'a_lol', 'CASE WHEN response ~ ''^[a-z]+ \d+$'' THEN 0.5 ELSE length(response) / 0 END') \gset
SELECT matches(outcome(:job), '^failed \| division by zero \| The reward of the generated response to '
	'the prompt of row \d+ \(key "\d+"\) raised it.', 'also of a new response');
CALL train(NULL, 'a_lol', '{"fine": "0.5", "broken": "(''x'' || key)::int"}') \gset
SELECT matches(outcome(:job), 'invalid input syntax for type integer: "x\d+" \| .*reward.*broken.*row',
	'and of a component');

-- Numbers that are none.
SELECT alol_train('pairs', 'bad_policy', 'bad_o', 'wbc', 'NULL::float8',
	steps => 1) AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '02000', 'job ' || :job ||
	' failed: no row is left to train on', 'NULL rewards leave no row');
SELECT alol_train('pairs', 'bad_policy', 'bad_o', 'a_lol', 'NULL::float8',
	steps => 1) AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '02000', NULL,
	'nor a target of the value');
CALL train(NULL, 'r_lol', '''-Infinity''::float8') \gset
SELECT matches(outcome(:job), '^failed \| reward of row \d+ \(key "\d+"\) is -Infinity', 'minus infinity is no reward');
CALL train(NULL, 'a_lol', '0.5', 'SELECT *, CASE key WHEN 30 THEN ''NaN'' ELSE 0::float8 END AS value FROM pairs') \gset
SELECT matches(outcome(:job), '^failed \| value of row 30 is not a finite number', 'nor NaN a value');

-- Labels.
SELECT alol_train_reward('SELECT response, CASE WHEN key % 10 > 0 THEN key % 3 - 1 END AS label
	FROM pairs', 'bad_policy', 'bad_critic', steps => 1) AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'labels may be negative numbers');
SELECT matches(outcome(:job), 'labels are "-1" \(\d+\), "0" \(\d+\), "1" \(\d+\) \| 6 rows are skipped: '
	'6 with a null label', 'and NULL ones are skipped');
SELECT alol_train_reward('SELECT i::text AS response, i AS label FROM generate_series(1, 100001) i',
	'bad_policy', 'bad_many', steps => 1, validation => 'SELECT ''1'' AS response, 1 AS label') AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', '54000', 'job ' || :job ||
	' failed: label has more than 100000 distinct values', 'there is an end of labels');
SELECT alol_train_reward('SELECT response, NULL::int AS label FROM pairs', 'bad_policy', 'bad_none')
	AS job \gset
SELECT throws_ok('SELECT alol_wait(' || :job || ')', NULL, 'job ' || :job ||
	' failed: no row has a label and a text', 'and they must be there');

-- Evaluations.
SELECT alol_evaluate('SELECT prompt FROM pairs WHERE false', 'bad_policy', 'length(response)')
	AS nothing \gset
SELECT throws_ok('SELECT alol_wait(' || :nothing || ')', '02000', 'job ' || :nothing ||
	' failed: source has no rows', 'an empty source');
SELECT alol_evaluate('SELECT prompt FROM pairs WHERE key < 4', 'bad_policy', 'length(response)',
	options => '{"max_response_tokens": 4}') AS a, alol_evaluate('SELECT prompt FROM pairs WHERE '
	'key > 9 LIMIT 3', 'bad_policy', 'length(response)', options => '{"max_response_tokens": 4}') AS b \gset
SELECT is(alol_wait(:a) || alol_wait(:b), 'succeededsucceeded', 'two evaluations');
SELECT throws_ok(format('SELECT * FROM alol_compare(%s, %s)', :a, :b), NULL,
	format('jobs %s and %s have no row in common', :a, :b), 'of other prompts are not compared');
SELECT throws_ok(format('SELECT * FROM alol_compare(%s, %s)', :a, :nothing), '55000',
	format('job %s has not succeeded: it is failed', :nothing), 'nor with one that failed');
SELECT throws_ok(format('SELECT * FROM alol_compare(%s, %s)', :a, :job), NULL, NULL,
	'nor with another kind of job');
SELECT throws_ok(format('SELECT * FROM alol_compare(%s, 999999)', :a), '42704',
	'job 999999 does not exist', 'nor with none');
SELECT * FROM finish();

SELECT count(alol_job_drop(job)) FROM alol_jobs \gset
SELECT count(alol_model_drop(name)) FROM alol_models WHERE name LIKE 'bad%' \gset
DROP SCHEMA bad_test CASCADE;
