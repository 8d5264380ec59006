-- score.sql: computes the rewards of all rows of training once, and not again
-- in each of some thirty jobs.
--
-- From :reward (an expression, or several with names as JSON) it makes
--   part     the parts of the reward, expression by name
--   scored   training with what its rows earn: part by part in column earned,
--            and the response that it holds for in column written
--   :reward  the same reward, which now reads what is known and asks the models
--            about every other response
SELECT :'reward' ~ '^\s*{' AS has_parts \gset
\if :has_parts
CREATE TABLE part AS SELECT key AS name, value AS expression FROM jsonb_each_text(:'reward');
\else
CREATE TABLE part AS SELECT 'reward' AS name, :'reward' AS expression;
\endif

CREATE TABLE earned AS
SELECT row_number, jsonb_object_agg(name, reward) AS earned
FROM part, alol_score('training', reward => expression)
GROUP BY row_number;

CREATE TABLE scored AS
SELECT t.*, response AS written, earned
FROM (SELECT *, row_number() OVER () FROM training) AS t JOIN earned USING (row_number)
ORDER BY row_number;
ALTER TABLE validation ADD written text, ADD earned jsonb;
ALTER TABLE unseen ADD written text, ADD earned jsonb;

SELECT jsonb_object_agg(name, format('CASE WHEN response = written '
	'THEN (earned ->> %L)::float8 ELSE %s END', name, expression)) AS reward
FROM part \gset
