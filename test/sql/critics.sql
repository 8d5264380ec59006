-- Classifiers made out of tables: objectives, labels, rows that do not serve.
\unset ECHO
\set QUIET 1
SET client_min_messages = error;
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_STOP true

CREATE EXTENSION IF NOT EXISTS alol;
CREATE SCHEMA critic_test;
SET search_path = critic_test, public;

CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE TABLE texts AS SELECT i AS key, 'about ' || i AS prompt,
	CASE WHEN i % 2 = 0 THEN 'good ' ELSE 'bad ' END ||
		(ARRAY['film', 'book', 'song'])[1 + i % 3] || ' ' || i AS response,
	CASE WHEN i % 2 = 0 THEN 'pos' ELSE 'neg' END AS label,
	10 - 20 * (i % 2) AS number, (i % 2)::float8 - 0.5 AS score,
	i % 2 = 0 AS truth,
	(CASE WHEN i % 2 = 0 THEN 'glad' ELSE 'sad' END)::mood AS mood,
	point(i, i) AS place
FROM generate_series(1, 120) i;
CREATE TABLE pairs AS SELECT 'about ' || i AS prompt, 'good song ' || i AS
	chosen, 'bad song ' || i AS rejected FROM generate_series(1, 60) i;
CREATE TABLE ranked AS SELECT 'about ' || key / 3 AS prompt, response,
	score + key % 3 AS label FROM texts;
SELECT alol_model_create('critic_llama', '{"model_type": "llama",
	"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 2, "num_attention_heads": 4,
	"num_key_value_heads": 2, "max_position_embeddings": 64}'),
	alol_model_create('critic_bert', '{"model_type": "bert",
	"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 1, "num_attention_heads": 4,
	"max_position_embeddings": 64}') \gset

CREATE FUNCTION call(arguments text) RETURNS text LANGUAGE sql AS
$$ SELECT 'SELECT alol_train_reward(' || arguments || ')' $$;
-- How a job ends, and what it says.
CREATE FUNCTION outcome(job bigint) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN alol_wait(job);
EXCEPTION WHEN OTHERS THEN
	RETURN sqlstate || regexp_replace(sqlerrm, '^job \d+ failed:', '');
END $$;
CREATE FUNCTION notices(job bigint) RETURNS text LANGUAGE sql AS
$$ SELECT string_agg(n ->> 'message', '; ' ORDER BY n ->> 'message') FROM alol_job,
	jsonb_array_elements(notices) n WHERE id = job
	AND n ->> 'message' !~ 'kept|better|constant' $$;
CREATE FUNCTION last(job bigint, metric text) RETURNS float8 LANGUAGE sql AS
$$ SELECT value FROM alol_metrics m WHERE m.job = $1 AND m.metric = $2
	ORDER BY step DESC LIMIT 1 $$;
CREATE FUNCTION config(name text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	path text := current_setting('data_directory') ||
		'/pgsql_tmp_alol/temporary/' || pg_backend_pid() || '.' || name;
BEGIN
	PERFORM alol_model_export(name, path);
	RETURN pg_read_file(path || '/config.json')::jsonb;
END $$;

SELECT plan(79);

-- Calls that cannot work.
SELECT throws_ok(call($$NULL, 'critic_llama', 'o'$$), '22004',
	'source must not be null');
SELECT throws_ok(call($$'texts', NULL, 'o'$$), '22004',
	'model must not be null');
SELECT throws_ok(call($$'texts', 'critic_llama', NULL$$), '22004',
	'output must not be null');
SELECT throws_ok(call($$'texts', 'critic_llama', 'o', label => NULL$$),
	'22004', 'label must not be null');
SELECT throws_ok(call($$'texts', 'critic_llama', 'o', objective => NULL$$),
	'22004', 'objective must not be null');
SELECT throws_ok(call($$'texts', 'critic_lama', 'o'$$), '42704',
	'model "critic_lama" does not exist');
SELECT throws_ok(call($$'texts', 'critic_llama', 'critic_bert'$$), '42710',
	'model "critic_bert" exists already');
SELECT throws_ok(call($$'texts', 'critic_llama', 'o', 'sentiment'$$), '42703',
	'source has no column "sentiment"');
SELECT throws_ok(call($$'texts', 'critic_llama', 'o',
	objective => 'clasification'$$), '22023',
	'objective "clasification" does not exist');
SELECT throws_ok(call($$'texts', 'critic_llama', 'o', objective => 'a_lol'$$),
	'22023', 'objective "a_lol" does not exist');
SELECT throws_ok($$SELECT alol_train('texts', 'critic_llama', 'o',
	'classification')$$, '22023', 'method "classification" does not exist',
	'an objective is no method');
SELECT throws_ok(call($$'SELECT label FROM texts', 'critic_llama', 'o'$$),
	'42703', 'source has no column "response"');
SELECT throws_ok(call($$'SELECT prompt AS response, key AS prompt, label
	FROM texts', 'critic_llama', 'o'$$), '42804',
	'source column "prompt" must be text, not integer');
SELECT throws_ok(call($$'texts', 'critic_llama', 'o',
	options => '{"prompt_column": "question"}'$$), '42703',
	'source has no column "question"', 'a named prompt column must be there');
SELECT throws_ok(call($$'texts', 'critic_llama', 'o', lora_rank => 0,
	options => '{"quantize": "nf4"}'$$), '22023',
	'quantize "nf4" needs an adapter to train');
SELECT throws_ok(call($$'texts', 'critic_llama', 'o', 'score',
	'classification'$$), '42804', 'source column "score" has type double '
	'precision, of which classification makes no classes');
SELECT throws_ok(call($$'texts', 'critic_llama', 'o', 'place'$$), '42804',
	'source column "place" must be an integer, text or boolean, not point');
SELECT throws_ok(call($$'texts', 'critic_llama', 'o', 'label', 'regression'$$),
	'42804', 'source column "label" must be a number, not text');
SELECT throws_ok(call($$'texts', 'critic_llama', 'o', 'label', 'pairwise'$$),
	'42804', 'source column "label" must be a number, not text');
SELECT throws_ok(call($$'SELECT response, score AS label FROM texts',
	'critic_llama', 'o', objective => 'pairwise'$$), '42703',
	'source has no column "prompt"', 'rows are compared within a prompt');
SELECT throws_ok(call($$'pairs', 'critic_llama', 'o',
	validation => 'ranked'$$), '22023',
	'one of source and validation has pairs, the other rows');
SELECT throws_ok(call($$'texts', 'critic_llama', 'o',
	options => '{"clip_range": 0.5}'$$), '22023',
	'unknown option "clip_range"', 'options of policies are none');
SELECT throws_ok(call($$'texts', 'critic_llama', 'o', epochs => 0$$), '22023',
	'epochs must be greater than 0 and at most 1000000, not 0');
SELECT is_empty($$SELECT FROM alol_jobs WHERE output = 'o'$$,
	'none of these made a job');

-- The objective follows from the columns.
CREATE FUNCTION chosen(job bigint) RETURNS text LANGUAGE sql AS
$$ SELECT method FROM alol_job WHERE id = job $$;
BEGIN;
SELECT is(chosen(alol_train_reward(source, 'critic_bert',
	'o' || row_number() OVER (), label)), objective, source || '.' || label ||
	' is of ' || objective)
FROM (VALUES ('texts', 'label', 'classification'),
	('texts', 'number', 'classification'), ('texts', 'truth', 'classification'),
	('texts', 'mood', 'classification'), ('texts', 'score', 'regression'),
	('pairs', 'none', 'pairwise'), ('ranked', 'label', 'regression'))
	AS v (source, label, objective);
SELECT is(chosen(alol_train_reward('texts', 'critic_bert', 'o8', 'number',
	'regression')), 'regression', 'unless it is said');
SELECT ok((SELECT settings FROM alol_job WHERE output = 'o8') @> '{"method":
	"regression", "label": "number", "learning_rate": 2e-5, "lora_rank": 0,
	"weight_decay": 0.01, "schedule": "linear", "keep_best": true}',
	'the settings have their defaults');
ROLLBACK;

-- Text labels, of a decoder.
SELECT alol_train_reward('texts', 'critic_llama', 'critic_a', epochs => 4,
	learning_rate => 5e-3) AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'a decoder learns text labels');
SELECT results_eq($$SELECT kind, architecture, base, stored, job FROM
	alol_models WHERE name = 'critic_a'$$, $$SELECT 'classifier', 'llama',
	NULL, 'database', $$ || :job || '::bigint', 'it is a classifier');
SELECT results_eq('SELECT kind, state, method, step, steps FROM alol_jobs
	WHERE job = ' || :job, $$SELECT 'reward', 'succeeded', 'classification',
	29::bigint, 29::bigint$$, 'of a job of its kind');
SELECT is(last(:job, 'rows/held_out'), 6::float8,
	'a twentieth of the prompts is held out');
SELECT is(last(:job, 'rows/selected'), 114::float8, 'and not trained on');
SELECT cmp_ok(last(:job, 'loss'), '<', 0.2::float8, 'the loss falls');
SELECT cmp_ok(last(:job, 'evaluation/accuracy'), '>', 0.8::float8,
	'it is right about the held-out rows');
SELECT bag_eq('SELECT DISTINCT metric FROM alol_metrics WHERE job = ' || :job,
	$$VALUES ('loss'), ('grad_norm'), ('learning_rate'), ('epoch'),
	('num_tokens'), ('accuracy'), ('rows/total'), ('rows/held_out'),
	('rows/skipped'), ('rows/selected'), ('evaluation/loss'),
	('evaluation/accuracy'), ('evaluation/auc'), ('evaluation/ece'),
	('evaluation/brier'), ('evaluation/baseline_accuracy')$$, 'its metrics');
SELECT is(notices(:job), 'labels are "neg" (60), "pos" (60)', 'its labels');
SELECT cmp_ok(avg(alol_reward('critic_a', prompt, response)) FILTER
	(WHERE label = 'pos'), '>', 0.5 + avg(alol_reward('critic_a', prompt,
	response)) FILTER (WHERE label = 'neg'), 'it rewards what is pos')
FROM texts;
SELECT is(config('critic_a') - ARRAY['vocab_size', 'hidden_size',
	'intermediate_size', 'num_hidden_layers', 'num_attention_heads',
	'num_key_value_heads', 'max_position_embeddings', 'bos_token_id',
	'eos_token_id', 'dtype', 'model_type'], '{"architectures":
	["LlamaForSequenceClassification"], "id2label": {"0": "neg", "1": "pos"},
	"label2id": {"neg": 0, "pos": 1}, "pad_token_id": null,
	"problem_type": "single_label_classification"}',
	'its config.json says what it is');

-- Integers, of an encoder; single texts, and rows of no use.
SELECT alol_train_reward($$SELECT NULL::text AS prompt, response, number
	FROM texts UNION ALL SELECT NULL, 'a', 10 UNION ALL SELECT NULL, NULL, 77
	UNION ALL SELECT NULL, 'b', NULL$$, 'critic_bert', 'critic_b', 'number',
	steps => 3) AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'an encoder learns integers');
SELECT is(notices(:job), '2 rows are skipped: 1 with a null text, 1 with a '
	'null label; labels are "-10" (60), "10" (61)',
	'what is NULL is left out and counted');
SELECT config('critic_b') AS config \gset
SELECT is(:'config'::jsonb -> 'id2label', '{"0": "-10", "1": "10"}',
	'integers are in their order');
SELECT is(:'config'::jsonb -> 'architectures',
	'["BertForSequenceClassification"]', 'of the encoder''s class');
SELECT is(array_length(alol_logits('critic_b', NULL, 'a'), 1), 2,
	'two labels, two outputs');

-- Numbers, by an adapter that is merged; on rows of one's own.
SELECT alol_train_reward('texts', 'critic_llama', 'critic_c', 'score',
	epochs => 10, learning_rate => 1e-2, lora_rank => 4,
	validation => 'SELECT * FROM texts WHERE key <= 20') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'an adapter learns numbers');
SELECT results_eq($$SELECT kind, base, parameters FROM alol_models WHERE name =
	'critic_c'$$, $$SELECT 'classifier', NULL, parameters - 300 * 32 + 32 FROM
	alol_models WHERE name = 'critic_llama'$$, 'and is one whole model');
SELECT is(last(:job, 'rows/held_out'), 20::float8, 'all validation rows');
SELECT is(last(:job, 'rows/selected'), 120::float8, 'and all of the source');
SELECT cmp_ok(last(:job, 'evaluation/pearson'), '>', 0.8::float8,
	'it is right about them');
SELECT ok(count(*) = 6 AND bool_and(metric IN ('evaluation/loss',
	'evaluation/mse', 'evaluation/r2', 'evaluation/pearson',
	'evaluation/spearman', 'evaluation/baseline_mse')), 'its metrics')
FROM alol_metrics WHERE job = :job AND metric LIKE 'evaluation/%' AND step = 0;

-- Pairs, and what classifies already goes on.
SELECT alol_train_reward($$SELECT * FROM pairs UNION ALL
	SELECT 'same', 'x', 'x' UNION ALL SELECT 'half', 'x', NULL$$, 'critic_a',
	'critic_d', epochs => 4, learning_rate => 5e-3) AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'a classifier learns pairs');
SELECT is(notices(:job), '2 rows are skipped: 1 with a null text, 1 with two '
	'equal texts', 'equal ones are left out and counted');
SELECT is(last(:job, 'evaluation/accuracy'), 1::float8, 'it orders them');
SELECT is(last(:job, 'rows/selected') + last(:job, 'rows/held_out'), 60::float8,
	'a pair is one row');
SELECT is(array_length(alol_logits('critic_d', 'about', 'good'), 1), 1,
	'it has one output');
SELECT alol_train_reward('ranked', 'critic_bert', 'critic_e',
	objective => 'pairwise', steps => 3, batch_size => 4,
	options => '{"optimizer": "adamw8bit"}') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'ranked rows make pairs');
SELECT cmp_ok(last(:job, 'rewards/accuracies'), '<=', 1::float8,
	'whose order is measured');

-- Jobs that cannot work.
SELECT alol_train_reward($$SELECT * FROM texts WHERE label = 'pos'$$,
	'critic_bert', 'o') AS job \gset
SELECT is(outcome(:job), '22023 label has one value only: "pos" in all 60 rows',
	'one class is none');
SELECT alol_train_reward($$SELECT *, 1.5 AS same FROM texts$$, 'critic_bert',
	'o', 'same') AS job \gset
SELECT is(outcome(:job), '22023 label has one value only: 1.5 in all 120 rows',
	'nor does a constant teach anything');
SELECT alol_train_reward($$SELECT response, CASE WHEN key = 7 THEN 'NaN' ELSE
	score END AS label FROM texts ORDER BY key$$, 'critic_bert', 'o') AS job \gset
SELECT is(outcome(:job), '22003 label of row 7 is NaN', 'NaN names its row');
SELECT alol_train_reward($$SELECT response, NULL::text AS label FROM texts$$,
	'critic_bert', 'o') AS job \gset
SELECT is(outcome(:job), '22023 no row has a label and a text', 'no labels');
SELECT alol_train_reward($$SELECT 'p' || key AS prompt, response, score
	FROM texts$$, 'critic_bert', 'o', 'score', 'pairwise') AS job \gset
SELECT is(outcome(:job),
	'02000 no prompt has two responses with different labels',
	'lone responses make no pairs');
SELECT alol_train_reward($$SELECT 'p' AS prompt, 'x' AS chosen, 'x' AS
	rejected$$, 'critic_bert', 'o') AS job \gset
SELECT is(outcome(:job), '02000 no row is left to train on', 'nor equal texts');
SELECT alol_train_reward('SELECT * FROM texts WHERE false', 'critic_bert',
	'o') AS job \gset
SELECT is(outcome(:job), '02000 source has no rows', 'nor none at all');
SELECT is_empty($$SELECT FROM alol_models WHERE name = 'o'$$,
	'none of these made a model');

-- A label that only the validation has says nothing.
SELECT alol_train_reward('texts', 'critic_bert', 'critic_f', steps => 1,
	validation => $$SELECT response, label FROM texts WHERE key < 9
		UNION ALL SELECT 'meh', 'so so'$$) AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'a label more in the validation');
SELECT is(notices(:job), '1 rows are skipped: 1 with a label that the source '
	'does not have; labels are "neg" (60), "pos" (60)', 'is left out');

-- Nothing to learn: as many labels as rows.
SELECT alol_train_reward('texts', 'critic_bert', 'critic_h', 'key', steps => 1)
	AS job \gset
SELECT alol_wait(:job) \gset
SELECT ok(notice ~ ('is not better than a constant answer on 6 held-out rows: '
	'evaluation/accuracy is 0, that of the constant 0'),
	'a classifier that is no better than a constant says so')
FROM alol_jobs WHERE job = :job;

-- What cannot become one, and what can go on.
SELECT alol_train_value('texts', 'critic_llama', 'critic_value',
	'length(response)') AS job \gset
SELECT alol_wait(:job) \gset
SELECT throws_ok(call($$'texts', 'critic_value', 'o'$$), '22023',
	'model "critic_value" is a value model, of which no classifier can be '
	'made');
SELECT alol_train('texts', 'critic_llama', 'critic_adapter', 'nll',
	steps => 2, lora_rank => 4) AS job \gset
SELECT alol_wait(:job) \gset
SELECT alol_train_reward('texts', 'critic_adapter', 'critic_g', steps => 2)
	AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'an adapter is gone on with');
SELECT results_eq($$SELECT kind, base FROM alol_models
	WHERE name = 'critic_g'$$, $$SELECT 'classifier', NULL$$,
	'and merged into a model of its own');

-- Over quantized weights.
SELECT alol_train_reward('texts', 'critic_llama', 'critic_quantized', steps => 3, lora_rank => 4,
	options => '{"quantize": "q8_0"}') AS job \gset
SELECT is(alol_wait(:job), 'succeeded', 'an adapter is trained over quantized weights');
SELECT ok(notice LIKE '%are quantized to q8_0 while it is trained; it will be merged into the model%',
	'which are merged with it as they were') FROM alol_jobs WHERE job = :job;
SELECT ok(alol_reward('critic_quantized', NULL, 'x') BETWEEN 0 AND 1, 'into a classifier');

SELECT finish();
SELECT count(alol_job_drop(job)) FROM alol_jobs WHERE model LIKE 'critic%' \gset
SELECT count(alol_model_drop(name)) FROM alol_models WHERE name LIKE 'critic%'
	AND kind IN ('value', 'adapter') \gset
SELECT count(alol_model_drop(name)) FROM alol_models WHERE name LIKE 'critic%'
	\gset
DROP SCHEMA critic_test CASCADE;
