-- imdb.sql: film reviews that go on in praise.
--
--   psql -v data=DIRECTORY -f docs/tasks/imdb.sql
--
-- A prompt is a sentence of a review, the response the sentence that follows.
-- The reward is the sum of sentiment (labels of SST-2 and of the reviews) and
-- fluency (labels of CoLA).  Who has better judges loads them instead:
--
--   SELECT alol_model_load('sentiment', '/srv/models/distilbert-imdb');
--   SELECT alol_model_load('fluent', '/srv/models/roberta-large-cola');
\ir common/begin.sql

\set file imdb.jsonl.gz
\ir common/load.sql
CREATE TABLE sentences AS
SELECT content ->> 'id' AS review, (content ->> 'sentiment')::int AS label, n, text
FROM raw, regexp_split_to_table(regexp_replace(content ->> 'review', '<br />|\\"', ' ', 'g'),
	'(?<=[.!?])\s+') WITH ORDINALITY AS s (text, n)
WHERE alol_word_count(text) BETWEEN 4 AND 30;
CREATE TABLE rows AS
SELECT review || '/' || a.n AS key, trim(a.text) AS prompt, ' ' || trim(b.text) AS response
FROM sentences a JOIN sentences b USING (review) WHERE b.n = a.n + 1;
\ir common/split.sql

\echo '# Film reviews that go on in praise'
\ir common/policy.sql

-- SST-2 has small letters and spaces around what is no letter; so has what is
-- judged.
CREATE FUNCTION plain(text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
	SELECT trim(regexp_replace(regexp_replace(lower($1), '([^\w\s])', ' \1 ', 'g'), '\s+', ' ', 'g'))
$$;
\set file sst2_train.jsonl.gz
\ir common/load.sql
CREATE TABLE opinion AS
SELECT plain(content ->> 'text') AS response, (content ->> 'label')::int AS label FROM raw
UNION ALL
(SELECT plain(text), label FROM sentences JOIN place ON place.prompt = trim(text)
	WHERE place.n > :tested + :held_out ORDER BY place.n LIMIT :rows);
\set file sst2_dev.jsonl.gz
\ir common/load.sql
CREATE TABLE opinion_dev AS
SELECT plain(content ->> 'text') AS response, (content ->> 'label')::int AS label FROM raw;
\set judge sentiment
SELECT alol_train_reward('opinion', 'supervised', :'judge', epochs => :judge_epochs,
	learning_rate => :rate, validation => 'opinion_dev', seed => 1) AS job \gset
CALL alol_follow(:job);
\ir common/judged.sql
\ir common/fluency.sql
\ir common/sample.sql

\set reward '{"sentiment": "coalesce(alol_reward(''sentiment'', NULL, plain(response)), 0)", "fluency": "coalesce(alol_reward(''fluent'', NULL, response), 0)"}'
\ir common/compare.sql
