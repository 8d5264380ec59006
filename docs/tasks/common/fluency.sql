-- fluency.sql: model fluent, which says how acceptable a sentence is, from the
-- labels of CoLA.  A small model learns little from eight thousand sentences:
-- so each also comes with its words in disorder, as an unacceptable one.
\set file cola_train.jsonl.gz
\ir load.sql
CREATE TABLE sentence AS
SELECT content ->> 'text' AS response, (content ->> 'label')::int AS label FROM raw;
INSERT INTO sentence
SELECT string_agg(word, ' ' ORDER BY md5(word || response)), 0
FROM sentence, regexp_split_to_table(response, '\s+') AS word
WHERE label = 1 GROUP BY response;
\set file cola_dev.jsonl.gz
\ir load.sql
CREATE TABLE sentence_dev AS
SELECT content ->> 'text' AS response, (content ->> 'label')::int AS label FROM raw;

\set judge fluent
SELECT alol_train_reward('sentence', 'supervised', :'judge', epochs => :judge_epochs,
	learning_rate => :rate, validation => 'sentence_dev', seed => 1) AS job \gset
CALL alol_follow(:job);
\ir judged.sql
