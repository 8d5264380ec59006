-- demo.sql: the main job, from a table of texts to a better model.
--
-- PostgreSQL describes its own functions: pg_proc has the signatures,
-- pg_description the texts.  A small model learns to describe functions from
-- them; then a reward in SQL asks for informative descriptions, and A-LoL
-- turns model, rows and reward into a model that earns more of it.

\set QUIET on
\pset footer off
\pset border 1
SET client_min_messages = notice;
SET work_mem = '64MB';
CREATE EXTENSION alol;

\echo
\echo '== 1. The data: a prompt is the signature of a function, a response its description'
CREATE TABLE description AS
SELECT row_number() OVER (ORDER BY md5(signature)) AS id,
	signature || ' -- ' AS prompt, response
FROM (SELECT format('%s returns %s', p.oid::regprocedure,
			pg_get_function_result(p.oid)) AS signature,
		d.description AS response
	FROM pg_proc p
	JOIN pg_description d ON d.objoid = p.oid
		AND d.classoid = 'pg_proc'::regclass AND d.objsubid = 0
	WHERE p.pronamespace = 'pg_catalog'::regnamespace) AS s
ORDER BY 1 LIMIT 3200;

-- By the hash of the signature: 256 prompts are never trained on, 256 more
-- serve to fit the value and to pick the best step.
CREATE VIEW unseen AS SELECT * FROM description WHERE id <= 256;
CREATE VIEW validation AS SELECT * FROM description WHERE id BETWEEN 257 AND 512;
CREATE VIEW training AS SELECT * FROM description WHERE id > 512;

SELECT (SELECT count(*) FROM training) AS training,
	(SELECT count(*) FROM validation) AS validation,
	(SELECT count(*) FROM unseen) AS unseen;
SELECT prompt, response FROM training ORDER BY id LIMIT 6;

\echo '== 2. The policy: a small transformer is created, with a tokenizer from these texts'
SELECT alol_model_create('blank', '{
	"model_type": "llama", "vocab_size": 3072, "hidden_size": 192,
	"intermediate_size": 512, "num_hidden_layers": 4,
	"num_attention_heads": 6, "num_key_value_heads": 3,
	"max_position_embeddings": 192, "tie_word_embeddings": true}',
	seed => 1, corpus => 'SELECT prompt || response FROM training') \gset
SELECT name, architecture, parameters, stored FROM alol_models;

\echo '== 3. Supervised: it learns to describe functions as the catalogue does'
SELECT alol_sft('training', 'blank', 'supervised', epochs => 5,
	batch_size => 16, learning_rate => 1e-3, validation => 'validation',
	options => '{"evaluate_every": 100000}') AS job \gset
CALL alol_follow(:job);

\echo
\echo '== 4. The reward, in SQL: say something, and not what is said everywhere'
-- 0 for the catalogue's phrases that tell nothing; otherwise up to 1 for eight
-- words, less what is repeated.
CREATE FUNCTION informative(response text) RETURNS float8
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT CASE
		WHEN response ~* '^(i/o|internal|implementation of|.* (support|function)$)' THEN 0
		ELSE least(1, alol_word_count(response) / 8.0)
			* (1 - alol_repetition(response, 1)) END
$$;
SELECT informative(response)::numeric(4, 2) AS reward, response
FROM (VALUES ('I/O'), ('implementation of + operator'), ('square root'),
	('number of bytes in the text, without padding at its end')) AS v (response);

\echo '== 5. A-LoL: reward, value of the policy, advantage; train on what is better than expected'
SELECT alol_train('training', 'supervised', 'informed',
	method => 'a_lol', reward => 'informative(response)',
	validation => 'validation', epochs => 8, learning_rate => 7e-4,
	seed => 1) AS job \gset
CALL alol_follow(:job);

\echo
\echo 'The advantages: positive where the description beats what the policy would earn there'
SELECT rows, positive, positive_fraction::numeric(4, 2) AS fraction,
	mean::numeric(5, 2), stddev::numeric(5, 2), min::numeric(5, 2),
	max::numeric(5, 2), reward_mean::numeric(5, 2) AS reward,
	value_mean::numeric(5, 2) AS value
FROM alol_advantage_stats(:job);
(SELECT reward::numeric(4, 2), value::numeric(4, 2),
		advantage::numeric(5, 2), selected, left(prompt, 40) AS prompt,
		left(response, 44) AS response
	FROM alol_advantages a JOIN (SELECT row_number() OVER () AS row_number,
		prompt, response FROM training) AS t USING (row_number)
	WHERE job = :job ORDER BY advantage DESC LIMIT 3)
UNION ALL
(SELECT reward::numeric(4, 2), value::numeric(4, 2),
		advantage::numeric(5, 2), selected, left(prompt, 40), left(response, 44)
	FROM alol_advantages a JOIN (SELECT row_number() OVER () AS row_number,
		prompt, response FROM training) AS t USING (row_number)
	WHERE job = :job ORDER BY advantage LIMIT 3);

\echo '== 6. Before and after: responses to 256 signatures that no model has seen'
CREATE TABLE answer AS
SELECT id, model, alol_generate(model, prompt, max_tokens => 40) AS response
FROM unseen, (VALUES ('supervised'), ('informed')) AS m (model);

SELECT CASE model WHEN 'supervised' THEN 'before' ELSE 'after' END AS "when",
	model, avg(informative(response))::numeric(5, 3) AS reward,
	(stddev(informative(response)) / sqrt(count(*)))::numeric(5, 3)
		AS standard_error,
	avg(alol_word_count(response))::numeric(4, 1) AS words,
	alol_corpus_distinct(response, 2)::numeric(4, 2) AS distinct_2
FROM answer GROUP BY model ORDER BY 1 DESC;

SELECT left(b.response, 40) AS before, left(a.response, 60) AS after,
	left(u.prompt, 44) AS prompt
FROM unseen u
JOIN answer b ON b.id = u.id AND b.model = 'supervised'
JOIN answer a ON a.id = u.id AND a.model = 'informed'
ORDER BY u.id LIMIT 10;

WITH difference AS (
	SELECT informative(a.response) - informative(b.response) AS d
	FROM answer b JOIN answer a USING (id)
	WHERE b.model = 'supervised' AND a.model = 'informed')
SELECT avg(d)::numeric(5, 3) AS gain,
	(stddev(d) / sqrt(count(*)))::numeric(5, 3) AS error,
	avg(d) > 4 * stddev(d) / sqrt(count(*)) AS improved
FROM difference \gset
\echo 'The reward of the same prompts grew by' :gain 'with a standard error of' :error
\if :improved
\echo 'A-LoL improved the policy, far beyond the noise.'
\else
DO $$ BEGIN RAISE 'the policy did not improve beyond the noise'; END $$;
\endif
