-- sample.sql: where a prompt has one response in training, the methods that
-- compare responses (dpo, pro) get a second one from the reference policy:
-- table ranked has both, for as many prompts as their steps take.
CREATE TABLE asked AS
SELECT * FROM (SELECT DISTINCT ON (prompt) * FROM training ORDER BY prompt, key) AS p
ORDER BY md5(prompt) LIMIT 8 * :steps;
SELECT alol_evaluate('asked', 'supervised', seed => 1, options => jsonb_set(
	:'options'::jsonb, '{generation,temperature}', '1')) AS job \gset
CALL alol_follow(:job);
CREATE TABLE ranked AS
SELECT * FROM asked
UNION ALL
SELECT (jsonb_populate_record(a, jsonb_build_object('response', e.response))).*
FROM (SELECT *, row_number() OVER () FROM asked) AS n
JOIN asked a USING (key) JOIN alol_evaluations e USING (row_number)
WHERE e.job = :job AND length(e.response) > 0;
ALTER TABLE ranked ADD written text, ADD earned jsonb;
\set ranked ranked
