-- settings.sql: what the results depend on: the rate, the value, and where the
-- reward has its zero.  After compare.sql.
CREATE TABLE valued AS
SELECT s.*, value FROM scored s
JOIN alol_score('SELECT * FROM scored ORDER BY row_number', value => 'expected', options => :'cut') USING (row_number);
-- The reward of the worst tenth of the rows becomes zero: what is worse is left
-- out by methods that weigh rows by reward.
SELECT percentile_cont(0.1) WITHIN GROUP (ORDER BY reward) AS worst,
	avg(value) AS mean_value
FROM alol_score('valued', reward => :'reward', value => 'expected', options => :'cut') \gset

CREATE TABLE variant (place serial, what text, methods text[], source text, reward jsonb, rate float8);
INSERT INTO variant (what, methods, source, reward, rate) VALUES
('as in the table', '{nll,wbc,r_lol,a_lol,a_lol_seq,dpo}', 'valued', :'reward', :rate),
('a third of the rate', '{nll,a_lol,a_lol_seq,dpo}', 'valued', :'reward', :rate / 3.0),
('3 times the rate', '{nll,a_lol,a_lol_seq,dpo}', 'valued', :'reward', :rate * 3.0),
('10 times the rate', '{nll,a_lol,a_lol_seq,dpo}', 'valued', :'reward', :rate * 10.0),
('the mean as value', '{a_lol,a_lol_seq}',
	format('SELECT s.*, %s AS value FROM scored s', :mean_value), :'reward', :rate),
('reward less its first decile', '{wbc,r_lol,a_lol,a_lol_seq}',
	format('SELECT s.*, v.value - %s AS value FROM scored s JOIN valued v USING (row_number)', :worst),
	:'reward'::jsonb || jsonb_build_object('shift', format('- (%s)::float8', :worst)), :rate);

CREATE TABLE varied AS
SELECT place, what, method, seed, format('varied_%s_%s_%s', place, method, seed) AS model,
	alol_train(source, 'supervised', format('varied_%s_%s_%s', place, method, seed), method,
		reward::text, steps => :steps, learning_rate => rate, validation => 'validation', seed => seed,
		batch_size => CASE method WHEN 'dpo' THEN 8 ELSE 16 END,
		options => :'options'::jsonb || jsonb_build_object('evaluate_every', greatest(1, :steps / 5))) AS job,
	NULL::bigint AS evaluation
FROM variant, unnest(methods) AS method, unnest(:'curve_seeds'::int[]) AS seed;
SELECT format('CALL alol_follow(%s)', job) FROM varied ORDER BY job \gexec
UPDATE varied SET evaluation = alol_evaluate('unseen', model, :'reward', options => :'options');
SELECT format('CALL alol_follow(%s)', evaluation) FROM varied ORDER BY evaluation \gexec

\echo
\echo '## What the gain over the reference depends on'
\echo '```'
SELECT what, method, avg(difference)::numeric(6, 4) AS gain
FROM varied, alol_compare(evaluation, (SELECT evaluation FROM run WHERE place = 0)) AS c
WHERE metric = 'reward' GROUP BY place, what, method
ORDER BY place, array_position('{nll,wbc,r_lol,a_lol,a_lol_seq,dpo}', method) \crosstabview
\echo '```'
