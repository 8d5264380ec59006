-- Chats: prompts by a model's template, responses to them, jobs on them.
\unset ECHO
\set QUIET 1
SET client_min_messages = error;
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP true

CREATE EXTENSION IF NOT EXISTS alol;
CREATE SCHEMA chat_test;
SET search_path = chat_test, public;

-- A model that is exported, given a template, and loaded again.
SELECT alol_model_create('chat_bare', '{"model_type": "llama",
	"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 2, "num_attention_heads": 4,
	"max_position_embeddings": 128}', seed => 5) \gset
SELECT current_setting('data_directory') || '/pgsql_tmp_alol/temporary/'
	|| pg_backend_pid() || '.chat' AS directory \gset
SELECT alol_model_export('chat_bare', :'directory') \gset
CREATE TABLE template (line text);
INSERT INTO template VALUES
	('{%- for m in messages %}'),
	('{%- if m.role not in ["system", "user", "assistant"] %}'
		|| '{{ raise_exception("no role " ~ m.role) }}{% endif %}'),
	('{{ m.role }}: {{ m.content | trim }};'),
	('{%- endfor %}'),
	('{%- if add_generation_prompt %}'),
	('answer:{% endif %}');
SELECT format('COPY template TO %L', :'directory' || '/chat_template.jinja')
	AS copy \gset
:copy;
SELECT alol_model_load('chat', :'directory') \gset

SELECT plan(52);

-- Prompts
SELECT is(alol_chat_prompt('chat', '[{"role": "user", "content": " Hi! "}]'),
	'user: Hi!;answer:', 'a chat becomes a prompt by the template');
SELECT is(alol_chat_prompt('chat', '[{"role": "system", "content": "Be"},
		{"role": "user", "content": "Grüße"}, {"role": "assistant",
		"content": "🐈"}]', false), 'system: Be;user: Grüße;assistant: 🐈;',
	'without the beginning of an answer where it is not wanted');
SELECT is(alol_chat_prompt(NULL, '[]'), NULL, 'NULL model gives NULL');
SELECT is(alol_chat_prompt('chat', NULL), NULL, 'NULL messages give NULL');
SELECT throws_ok($$SELECT alol_chat_prompt('chat',
		'[{"role": "robot", "content": "x"}]')$$, '22023', 'no role robot',
	'a template''s refusal comes in its own words');
SELECT throws_ok($$SELECT alol_chat_prompt('chat_bare',
		'[{"role": "user", "content": "x"}]')$$, '0A000',
	'the model has no chat template', 'a model without a template says so');
SELECT throws_ok($$SELECT alol_chat_prompt('nobody', '[{"role": "user",
		"content": "x"}]')$$, '42704', 'model "nobody" does not exist',
	'the model exists');

-- Messages
CREATE FUNCTION refused(messages jsonb, message text) RETURNS SETOF text
LANGUAGE sql AS $$
	SELECT throws_ok(format('SELECT alol_chat_prompt(''nobody'', %L)',
		messages), '22023', message, messages::text)
	UNION ALL SELECT throws_ok(format('SELECT alol_chat(''nobody'', %L)',
		messages), '22023', message, messages::text) $$;
SELECT refused('{}', 'messages must be an array of objects, not an object');
SELECT refused('"x"', 'messages must be an array of objects, not a scalar');
SELECT refused('[]', 'messages must not be empty');
SELECT refused('[{"role": "user", "content": "x"}, 5]',
	'message 2 must be an object, not 5');
SELECT refused('[{"content": "x"}]', 'message 1 has no "role"');
SELECT refused('[{"role": "user"}]', 'message 1 has no "content"');
SELECT refused('[{"role": "user", "content": null}]',
	'message 1 has no "content"');
SELECT refused('[{"role": 1, "content": "x"}]',
	'role of message 1 must be a string, not 1');
SELECT refused('[{"role": "user", "content": ["x"]}]',
	'content of message 1 must be a string, not ["x"]');

-- Responses. The template brings no special token, nor has the tokenizer one.
SELECT is(alol_chat('chat', '[{"role": "user", "content": "Hi"}]', 12),
	alol_generate('chat', 'user: Hi;answer:', 12),
	'the response to a chat is that to its prompt');
SELECT is(alol_chat('chat', '[{"role": "user", "content": "Hi"}]', 12,
		num_beams => 3),
	alol_generate('chat', 'user: Hi;answer:', 12, num_beams => 3),
	'by a beam search, too');
SELECT is(alol_chat('chat', '[{"role": "user", "content": "Hi"}]', 12, 1.0,
		seed => 4),
	alol_generate('chat', 'user: Hi;answer:', 12, 1.0, seed => 4),
	'and when it is drawn');
SELECT is(alol_chat('chat', NULL), NULL, 'NULL messages give NULL');
SELECT throws_ok($$SELECT alol_chat('chat', '[{"role": "user", "content": ""}]',
		max_tokens => 0)$$, '22023', 'max_tokens must be at least 1, not 0',
	'parameters are those of alol_generate()');
SELECT volatility_is('alol_chat', 'volatile');
SELECT volatility_is('alol_chat_prompt', 'stable');

-- Sources of chats
CREATE TABLE chats AS SELECT i AS key, jsonb_build_array(jsonb_build_object(
		'role', 'user', 'content', 'say ' || i % 10)) AS prompt,
	repeat(chr(97 + i % 26), 2 + i % 5) AS response, i % 3 / 2.0 AS reward
FROM generate_series(1, 60) i;
CREATE TABLE texts AS SELECT key, alol_chat_prompt('chat', prompt) AS prompt,
	response, reward FROM chats;
SELECT results_eq($$SELECT logprob FROM alol_score('chats', 'chat')$$,
	$$SELECT logprob FROM alol_score('texts', 'chat')$$,
	'chats are scored like their prompts');
SELECT results_eq($$SELECT prompt FROM alol_score('chats', 'chat')$$,
	$$SELECT prompt::text FROM chats$$, 'and shown as they are');
SELECT results_eq($$SELECT logprob FROM alol_score(
		'SELECT prompt::json, response FROM chats', 'chat')$$,
	$$SELECT logprob FROM alol_score('texts', 'chat')$$, 'json is as good');
SELECT throws_ok($$SELECT * FROM alol_score('SELECT ''[{"role": "user"}]''::jsonb
		AS prompt, ''x'' AS response', 'chat')$$, '22023',
	'message 1 has no "content"', 'messages of a source are checked');
SELECT throws_ok($$SELECT * FROM alol_score('chats', 'chat_bare')$$, '0A000',
	'the model has no chat template', 'and need a template');

-- Jobs on chats are those on their prompts: the same rows, the same losses.
CREATE FUNCTION settings() RETURNS jsonb LANGUAGE sql AS
$$ SELECT '{"max_response_tokens": 8, "value_epochs": 2, "evaluate_every": 2,
	"generation": {"num_beams": 2, "max_tokens": 6, "stop": ["zz"]}}'::jsonb $$;
SELECT alol_train('chats', 'chat', 'chat_a', 'a_lol', 'length(response) / 20.0',
	steps => 4, batch_size => 4, validation => 'SELECT DISTINCT prompt FROM chats',
	options => settings()) AS a,
	alol_train('texts', 'chat', 'chat_b', 'a_lol', 'length(response) / 20.0',
	steps => 4, batch_size => 4, validation => 'SELECT DISTINCT prompt FROM texts',
	options => settings()) AS b \gset
SELECT is(alol_wait(:a), 'succeeded', 'a job on chats ends well');
SELECT is(alol_wait(:b), 'succeeded', 'as does one on texts');
SELECT results_eq('SELECT row_number, ref_logprob, tokens FROM alol_advantages
		WHERE job = ' || :a || ' ORDER BY 1',
	'SELECT row_number, ref_logprob, tokens FROM alol_advantages
		WHERE job = ' || :b || ' ORDER BY 1', 'their rows have the same tokens');
SELECT ok((SELECT count(*) > 0 AND bool_and(prompt::jsonb @> '[{"role": "user"}]')
	FROM alol_samples WHERE job = :a), 'samples show the messages');
SELECT alol_train('SELECT ''[{"role": "user", "content": "Hi"}]''::jsonb AS prompt,
	''good '' || i AS chosen, ''bad '' || i AS rejected FROM generate_series(1, 4) i',
	'chat', 'chat_pairs', 'dpo', steps => 1,
	validation => 'SELECT DISTINCT prompt FROM chats') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'pairs have chats as prompts, too');
SELECT ok(bool_and(abs(ref_logprob - alol_logprob('chat', p, 'good ' || row_number)
	- alol_logprob('chat', p, 'bad ' || row_number)) < 1e-4),
	'and are what the template makes of them')
FROM alol_advantages, alol_chat_prompt('chat',
	'[{"role": "user", "content": "Hi"}]') AS p WHERE job = :job;
SELECT alol_sft('SELECT ''[{"role": "user"}]''::jsonb AS prompt, ''x'' AS response
	FROM chats', 'chat', 'chat_c', steps => 1) AS job \gset
SELECT throws_matching('SELECT alol_wait(' || :job || ')',
	'message 1 has no "content"', 'a job with a bad chat names what is missing');
SELECT matches(context, 'row 1 of the source', 'and its row')
	FROM alol_job WHERE id = :job;
SELECT alol_sft('chats', 'chat_bare', 'chat_d', steps => 1) AS job \gset
SELECT throws_matching('SELECT alol_wait(' || :job || ')',
	'the model has no chat template', 'a job needs a template, too');

-- Pairs and evaluations
SELECT alol_train('SELECT prompt, response AS chosen, ''no'' AS rejected FROM
	chats', 'chat', 'chat_e', 'dpo', steps => 1, batch_size => 4) AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'pairs may have chats');
SELECT alol_evaluate('SELECT * FROM chats LIMIT 5', 'chat',
	'length(alol_chat_prompt(''chat'', prompt)) + length(response)',
	options => '{"generation": {"num_beams": 3, "max_tokens": 6}}') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'evaluations, too');
SELECT results_eq('SELECT response FROM alol_samples WHERE job = ' || :job
		|| ' ORDER BY prompt',
	'SELECT alol_chat(''chat'', prompt, 6, num_beams => 3) FROM chats
		WHERE key <= 5 ORDER BY prompt::text',
	'whose responses are those of alol_chat()');

-- A classifier reads what the template makes of a chat.
CREATE TABLE judged AS SELECT format('[{"role": "user", "content": "say %s"}]', i)::jsonb AS prompt,
	CASE i % 2 WHEN 0 THEN 'yes' ELSE 'no' END || i AS response, i % 2 AS label
FROM generate_series(1, 60) i;
SELECT alol_train_reward('judged', 'chat', 'chat_judge', steps => 3, learning_rate => 1e-3) AS a,
	alol_train_reward('SELECT alol_chat_prompt(''chat'', prompt) AS prompt, response, label FROM judged',
		'chat', 'chat_reader', steps => 3, learning_rate => 1e-3, validation => 'SELECT
		alol_chat_prompt(''chat'', prompt) AS prompt, response, label FROM judged WHERE label = 1') AS b,
	alol_train_reward('judged', 'chat', 'chat_judge_too', steps => 3, learning_rate => 1e-3,
		validation => 'SELECT * FROM judged WHERE label = 1') AS c \gset
SELECT is(concat_ws(' ', alol_wait(:a), alol_wait(:b), alol_wait(:c)), 'succeeded succeeded succeeded',
	'a reward is trained on chats');
SELECT is((SELECT count(DISTINCT hash) FROM alol_model WHERE name IN ('chat_reader', 'chat_judge_too')),
	1::bigint, 'and is the same as one trained on their texts');
SELECT ok(alol_reward('chat_judge', alol_chat_prompt('chat', prompt), response) BETWEEN 0 AND 1,
	'which it is asked about') FROM judged LIMIT 1;

SELECT * FROM finish();

SELECT count(alol_job_drop(job)) FROM alol_jobs \gset
SELECT count(alol_model_drop(name)) FROM alol_models
	WHERE name LIKE 'chat%' AND kind = 'value' \gset
SELECT count(alol_model_drop(name)) FROM alol_models
	WHERE name LIKE 'chat%' \gset
DROP SCHEMA chat_test CASCADE;
