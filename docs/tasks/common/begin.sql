-- begin.sql: what every recipe starts with: settings, sizes, the raw rows.
--
-- Set by whoever calls a recipe, with psql -v:
--   data    the directory of the raw rows; without it the recipe makes up a few
--           rows of the same shape
--   size    small or full (the default), or a file like small.sql without .sql
--   samples false: no prompts and responses beside the tables
--   model   a directory or GGUF file on the server: the policy starts from this
--           language model, and not from random weights
\set ON_ERROR_STOP on
\set QUIET on
\pset footer off
\pset pager off
\pset null ''
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS alol;

\if :{?size}
\else
	\set size full
\endif
\set sizes :size .sql
\ir :sizes

\if :{?samples}
\else
	\set samples true
\endif
\if :{?data}
	\set made_up false
\else
	\set made_up true
	\ir made_up.sql
\endif
CREATE TABLE raw (content jsonb);

-- What jobs have in common: how much of a row they read, how they generate.
SELECT jsonb_build_object(
	'max_prompt_tokens', :prompt_tokens, 'max_response_tokens', :response_tokens,
	'generation', jsonb_build_object('max_tokens', :response_tokens,
		'temperature', 1, 'top_p', 0.95)) AS options,
	jsonb_build_object('max_prompt_tokens', :prompt_tokens,
		'max_response_tokens', :response_tokens) AS cut \gset

-- What a job says last of each of its metrics.
CREATE VIEW last_metric AS
SELECT DISTINCT ON (job, metric) job, metric, value
FROM alol_metrics ORDER BY job, metric, step DESC;
