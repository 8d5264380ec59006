-- hha.sql: a helpful and harmless assistant.
--
--   psql -v data=DIRECTORY -f docs/tasks/hha.sql
--
-- Raw rows (hha_pairs.jsonl.gz): conversations that end with a question, each
-- with two responses and the logits that a reward model of 1.4 billion
-- parameters gave them.  That model judges the published results; here a small
-- one learns from its logits.  Who has it loads it instead, and a policy of a
-- useful size:
--
--   SELECT alol_model_load('judge', '/srv/models/my-reward-model');
--   SELECT alol_model_load('supervised', '/srv/models/SmolLM2-135M');
\ir common/begin.sql

\set file hha_pairs.jsonl.gz
\ir common/load.sql

-- A conversation as text, up to where the assistant speaks next; of a long one
-- the end, which is what a small context holds.  A model with a chat template
-- takes the messages as they are: prompt jsonb.
CREATE FUNCTION conversation(messages jsonb) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
	SELECT right(string_agg(CASE m ->> 'role' WHEN 'user' THEN E'\nHuman: '
			ELSE E'\nAssistant: ' END || (m ->> 'content'), '' ORDER BY n), 400)
		|| E'\nAssistant:'
	FROM jsonb_array_elements(messages) WITH ORDINALITY AS e (m, n)
$$;

CREATE TABLE rows AS
SELECT (content ->> 'id') || '/' || i AS key, content ->> 'subset' AS subset, prompt,
	' ' || (content -> 'responses' ->> i) AS response,
	(content -> 'rewards' ->> i)::float8 AS logit
FROM raw, conversation(content -> 'messages') AS prompt, generate_series(0, 1) AS i
WHERE length(content -> 'responses' ->> i) > 0;
\ir common/split.sql

\echo '# Helpful and harmless assistant'
\ir common/policy.sql

-- The judge: the policy's body with a head of one output, fitted to the logits
-- of all rows whose prompts are not put aside; alol_reward gives its sigmoid,
-- which is the reward of the paper.
CREATE TABLE judged AS
SELECT rows.prompt, response, logit AS label FROM rows JOIN place USING (prompt)
WHERE n > :tested + :held_out;
\set judge judge
SELECT alol_train_reward('judged', 'supervised', :'judge', objective => 'regression', epochs => :judge_epochs,
	learning_rate => :rate, validation => 'SELECT prompt, response, logit AS label FROM validation',
	seed => 1) AS job \gset
CALL alol_follow(:job);
\ir common/judged.sql

\set reward 'alol_reward(''judge'', prompt, response)'
\ir common/compare.sql

\echo
\echo '## Rewards by kind of prompt'
\echo '```'
SELECT method, subset, avg(reward)::numeric(6, 4)
FROM run JOIN alol_evaluations e ON e.job = evaluation JOIN unseen ON key = row_key
GROUP BY place, method, subset ORDER BY place, subset \crosstabview
\echo '```'
