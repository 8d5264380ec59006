-- dialogue.sql: answers that keep to what is known.
--
--   psql -v data=DIRECTORY -f docs/tasks/dialogue.sql
--
-- Raw rows (begin_wow.jsonl.gz): a piece of knowledge, a message, the answer of
-- one of four models, and whether all of the answer follows from the knowledge.
-- The reward is the sum of faithfulness (learned from these labels), fluency
-- (labels of CoLA) and informativeness (TF-IDF).  Who has better judges loads
-- them instead:
--
--   SELECT alol_model_load('faithful', '/srv/models/faithcritic');
--   SELECT alol_model_load('fluent', '/srv/models/roberta-large-cola');
\ir common/begin.sql

\set file begin_wow.jsonl.gz
\ir common/load.sql
CREATE TABLE rows AS
SELECT md5(content::text) AS key, knowledge,
	-- The knowledge last: of a long prompt the end is kept.
	format(E'%s\nKnown: %s\nAnswer:', content ->> 'message', knowledge) AS prompt,
	' ' || (content ->> 'response') AS response,
	(content ->> 'begin_label' = 'Fully attributable')::int AS label
FROM raw, CAST(content ->> 'knowledge' AS text) AS knowledge;
\ir common/split.sql

\echo '# Answers that keep to what is known'
\ir common/policy.sql

-- An answer beside the knowledge of another row does not follow from it: that
-- tells a small model, which has no idea of language yet, what to look at.
CREATE TABLE faithfulness AS
SELECT knowledge AS prompt, response, label FROM training
UNION ALL
SELECT lead(knowledge) OVER (ORDER BY md5(response)), response, 0 FROM training WHERE label = 1;
\set judge faithful
SELECT alol_train_reward('faithfulness', 'supervised', :'judge', epochs => 2 * :judge_epochs,
	learning_rate => :rate, seed => 1, validation =>
	'SELECT knowledge AS prompt, response, label FROM validation') AS job \gset
CALL alol_follow(:job);
\ir common/judged.sql
\ir common/fluency.sql
SELECT alol_tfidf_fit('dialogue', 'SELECT response FROM training') \gset
\ir common/sample.sql

\set reward '{"faithful": "coalesce(alol_reward(''faithful'', knowledge, response), 0)", "fluency": "coalesce(alol_reward(''fluent'', NULL, response), 0)", "informative": "alol_tfidf(''dialogue'', response)"}'
\ir common/compare.sql
