-- compare.sql: trains the reference policy by every method and says how good
-- each result is on prompts that no model has seen.
--
-- Needs tables training, validation and unseen, model supervised, and
--   reward   the reward as alol_train takes it: an expression over the row, or
--            several with names as JSON
-- and, where most prompts of training have one response only,
--   ranked   a table or SELECT for the methods that compare responses

\ir score.sql

-- The value of the reference policy is the same for all, so it is fitted once.
SELECT alol_train_value('validation', 'supervised', 'expected', :'reward',
	seed => 1, options => :'options'::jsonb || '{"value_samples": 4}') AS value_job \gset
CALL alol_follow(:value_job);

-- a_lol_kl takes probability from rows whose advantage is below beta, without
-- end: beta must be small beside the advantages, whatever the reward's scale.
SELECT coalesce(0.1 * percentile_cont(0.5) WITHIN GROUP (ORDER BY advantage), 0.1) AS kl_beta
FROM alol_score('scored', reward => :'reward', value => 'expected', options => :'cut')
WHERE advantage > 0 \gset

-- Sixteen responses a step, so dpo and pro take eight pairs.
\if :{?ranked}
\else
	\set ranked scored
\endif
CREATE TABLE method (place serial, name text, batch_size int, source text, steps int);
INSERT INTO method (name, batch_size, source, steps)
SELECT name, 16, 'scored', :steps FROM unnest('{nll,wbc,r_gold,r_lol,a_lol,
	a_lol_ref_free,a_lol_seq,a_lol_kl}'::text[]) AS name
UNION ALL SELECT name, 8, :'ranked', :steps FROM unnest('{dpo,pro}'::text[]) AS name
UNION ALL SELECT 'ppo', 16, 'scored', :ppo_steps
	WHERE :ppo_steps > 0;

CREATE TABLE run (place int, method text, seed int, model text, job bigint,
	evaluation bigint);
INSERT INTO run VALUES (0, 'reference', 0, 'supervised');
INSERT INTO run (place, method, seed, model, job)
SELECT place, name, seed, name || '_' || seed,
	alol_train(source, 'supervised', name || '_' || seed, name, :'reward',
		value => CASE WHEN name ~ '^a_lol' THEN 'expected' END,
		steps => steps, batch_size => batch_size, learning_rate => :rate,
		validation => 'validation', seed => seed,
		options => :'options'::jsonb || jsonb_build_object(
			'evaluate_every', greatest(1, steps / 5),
			'beta', CASE name WHEN 'a_lol_kl' THEN :kl_beta ELSE 0.1 END))
FROM method, unnest(:'seeds'::int[]) AS seed
ORDER BY seed, place;
SELECT format('CALL alol_follow(%s)', job) FROM run WHERE job > 0 ORDER BY job \gexec

UPDATE run SET evaluation = alol_evaluate('unseen', model, :'reward',
	options => :'options'::jsonb || '{"key_column": "key"}');
SELECT format('CALL alol_follow(%s)', evaluation) FROM run ORDER BY evaluation \gexec
\ir results.sql
