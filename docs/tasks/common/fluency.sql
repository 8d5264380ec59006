-- fluency.sql: model fluent, which says how acceptable a sentence is, from the
-- labels of CoLA.  They are hard for a small model, which eight thousand
-- sentences do not teach a grammar; so each acceptable sentence also comes with
-- its words in disorder, as one that is not.
CREATE FUNCTION with_disorder() RETURNS TABLE (response text, label int) LANGUAGE sql AS $$
	SELECT content ->> 'text', (content ->> 'label')::int FROM raw
	UNION ALL
	SELECT string_agg(word, ' ' ORDER BY md5(word || text)), 0
	FROM raw, CAST(content ->> 'text' AS text) AS text, regexp_split_to_table(text, '\s+') AS word
	WHERE content ->> 'label' = '1' GROUP BY text
$$;
\set file cola_train.jsonl.gz
\ir load.sql
CREATE TABLE sentence AS SELECT * FROM with_disorder();
\set file cola_dev.jsonl.gz
\ir load.sql
CREATE TABLE sentence_dev AS SELECT * FROM with_disorder();

\set judge fluent
SELECT alol_train_reward('sentence', 'supervised', :'judge', epochs => :judge_epochs,
	learning_rate => :rate, validation => 'sentence_dev', seed => 1) AS job \gset
CALL alol_follow(:job);
\ir judged.sql
