-- reddit.sql: responses that several judges like, learned from good responses
-- (:good true) or from bad ones.
--
-- The Reddit comments of the paper are not free to pass on.  In their place are
-- conversations of hha_pairs.jsonl.gz: the response that the reward model liked
-- better of two is good (upvoted), the other bad (downvoted).  Five parts are
-- summed, as in the paper: fluency (labels of CoLA), safety (pairs of
-- the harmless subset), liking (pairs of the helpful subset, for upvotes),
-- engagement (asking back, a rule) and informativeness (TF-IDF).  Who has the
-- judges of the paper loads them instead:
--
--   SELECT alol_model_load('safe', '/srv/models/toxicity');
--   SELECT alol_model_load('liked', '/srv/models/DialogRPT-updown');
\ir begin.sql

\set file hha_pairs.jsonl.gz
\ir load.sql
CREATE TABLE talk AS
SELECT content ->> 'id' AS key, content ->> 'subset' AS subset,
	format(E'%s\nAnswer:', right(content -> 'messages' -> -1 ->> 'content', 300)) AS prompt,
	' ' || (content -> 'responses' ->> better) AS good,
	' ' || (content -> 'responses' ->> (1 - better)) AS bad
FROM raw, CAST((content -> 'rewards' ->> 0)::float8 < (content -> 'rewards' ->> 1)::float8 AS int) AS better;
CREATE TABLE rows AS
SELECT key, subset, prompt, CASE WHEN :good THEN good ELSE bad END AS response, good, bad FROM talk;
\ir split.sql

\if :good
\echo '# Responses that several judges like, learned from good ones'
\else
\echo '# Responses that several judges like, learned from bad ones'
\endif
\ir policy.sql

\set judge safe
SELECT alol_train_reward('SELECT prompt, good AS chosen, bad AS rejected FROM training
	WHERE subset = ''harmless_base''', 'supervised', :'judge', epochs => 2 * :judge_epochs,
	learning_rate => :rate, seed => 1, validation => 'SELECT prompt, good AS chosen,
	bad AS rejected FROM validation WHERE subset = ''harmless_base''') AS job \gset
CALL alol_follow(:job);
\ir judged.sql
\set judge liked
SELECT alol_train_reward('SELECT prompt, good AS chosen, bad AS rejected FROM training
	WHERE subset = ''helpful_base''', 'supervised', :'judge', epochs => 2 * :judge_epochs,
	learning_rate => :rate, seed => 1, validation => 'SELECT prompt, good AS chosen,
	bad AS rejected FROM validation WHERE subset = ''helpful_base''') AS job \gset
CALL alol_follow(:job);
\ir judged.sql
\ir fluency.sql
SELECT alol_tfidf_fit('talk', 'SELECT good || bad FROM training') \gset
\ir sample.sql

\set reward '{"fluency": "coalesce(alol_reward(''fluent'', NULL, response), 0)", "safety": "alol_reward(''safe'', prompt, response)", "liking": "alol_reward(''liked'', prompt, response)", "engagement": "(response ~ ''[?]'')::int", "informative": "alol_tfidf(''talk'', response)"}'
\ir compare.sql
