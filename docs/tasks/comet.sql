-- comet.sql: common sense, what comes before and after everyday events.
--
--   psql -v data=DIRECTORY -f docs/tasks/comet.sql
--
-- Raw rows (comet_atomic.jsonl.gz): a head, a relation, and what people wrote
-- as its tails.  The reward is that of a critic that learns to tell true triples
-- from those with the tail of another head.  Who has the critic and the policy
-- of the paper loads them instead:
--
--   SELECT alol_model_load('critic', '/srv/models/comet-critic');
--   psql -v model=/srv/models/comet-distill ...
\ir common/begin.sql

\set file comet_atomic.jsonl.gz
\ir common/load.sql
CREATE TABLE rows AS
SELECT md5(content::text) || '/' || n AS key,
	format('%s %s:', content ->> 'head', content ->> 'relation') AS prompt, ' ' || trim(tail) AS response
FROM raw, jsonb_array_elements_text(content -> 'tails') WITH ORDINALITY AS t (tail, n)
WHERE trim(tail) NOT IN ('none', '');
-- Texts are short here: more of them.
SELECT 3 * :rows AS rows \gset
\ir common/split.sql

\echo '# Common sense'
\ir common/policy.sql

-- False triples have the tail of another head and relation, the next in an
-- order without meaning.  (With tails of the same relation a critic as small as
-- this learns nothing at all.)
CREATE FUNCTION triples(part regclass) RETURNS TABLE (prompt text, response text, label int)
LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format('SELECT prompt, response, 1 FROM %1$s UNION ALL '
		'SELECT prompt, lead(response) OVER (ORDER BY md5(prompt || key)), 0 FROM %1$s', part);
END $$;
CREATE TABLE triple AS SELECT * FROM triples('training');
CREATE TABLE triple_dev AS SELECT * FROM triples('validation');
\set judge critic
SELECT alol_train_reward('triple', 'supervised', :'judge', epochs => 2 * :judge_epochs,
	learning_rate => :rate, seed => 1, validation => 'triple_dev') AS job \gset
CALL alol_follow(:job);
\ir common/judged.sql

\set reward 'coalesce(alol_reward(''critic'', prompt, response), 0)'
\ir common/compare.sql
\ir common/curves.sql
\ir common/settings.sql
