-- Which method learns what, on a real small model: every method of
-- alol_train on stories sampled from the model itself, with a reward that
-- counts happy words.  Needs the model and the data beside the project:
--
--   psql -v shared=/path/to/shared [-v dtype=bf16] -f test/bench/learning.sql
--
-- Prints the mean reward of one sampled response to each of 617 unseen
-- prompts, its standard error, and distinct-2 of all responses.
\set ON_ERROR_STOP on
\set QUIET on
\if :{?dtype}
\else
\set dtype auto
\endif
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS alol;

CREATE TEMP TABLE line (content text);
\set copy '\\copy line FROM PROGRAM ''zcat ' :shared '/data/stories.jsonl.gz'' WITH (FORMAT csv, QUOTE E''\\x01'', DELIMITER E''\\x02'')'
:copy
CREATE TABLE stories AS
SELECT row_number() OVER () AS id, content::jsonb ->> 'prompt' AS prompt,
       content::jsonb ->> 'response' AS response,
       content::jsonb ->> 'split' AS split
FROM line;

CREATE FUNCTION happiness(response text) RETURNS float8
LANGUAGE sql IMMUTABLE AS $$
    SELECT least(1.0, (SELECT count(*) FROM regexp_matches(response,
        '\m(happy|smil\w*|lov\w*|fun|laugh\w*|friends?|hug\w*|thank\w*|kind|nice)\M',
        'gi')) / 4.0)::float8
$$;

SELECT alol_model_load('stories', :'shared' || '/models/stories260K');

CREATE TABLE learned (method text, model text, job bigint);
INSERT INTO learned
SELECT m, 'learned_' || m,
       alol_train('SELECT prompt, response FROM stories WHERE split = ''train''',
                  'stories', 'learned_' || m, method => m,
                  reward => 'happiness(response)',
                  validation => 'SELECT prompt, response FROM stories WHERE split = ''dev''',
                  steps => 192, learning_rate => 3e-4,
                  options => '{"schedule": "constant", "weight_decay": 0,
                               "keep_best": false, "evaluate_every": 192,
                               "generation": {"max_tokens": 64, "temperature": 1}}'
                             || jsonb_build_object('dtype', :'dtype'))
FROM unnest('{nll,wbc,r_lol,a_lol,a_lol_ref_free,a_lol_kl,a_lol_seq,r_gold}'::text[])
     WITH ORDINALITY AS method(m, n)
ORDER BY n;

SELECT format('CALL alol_follow(%s)', job) FROM learned ORDER BY job \gexec

INSERT INTO learned VALUES ('ref', 'stories', 0);
CREATE TABLE answer AS
SELECT method, job, happiness(text) AS reward, text
FROM learned,
     LATERAL (SELECT alol_generate(model, prompt, max_tokens => 64,
                                   temperature => 1, seed => id) AS text
              FROM stories WHERE split = 'test') AS generated;

SELECT method, round(avg(reward)::numeric, 3) AS reward,
       round((stddev(reward) / sqrt(count(*)))::numeric, 3) AS standard_error,
       round(alol_corpus_distinct(text, 2)::numeric, 3) AS distinct_2
FROM answer GROUP BY method, job ORDER BY job;
SELECT method, (alol_advantage_stats(job)).positive_fraction
FROM learned WHERE method = 'a_lol';
