-- curves.sql: reward over steps, on the rows as they are and with the responses
-- of half of the rows shuffled.  After compare.sql.
CREATE TABLE half_shuffled AS
WITH numbered AS (
	SELECT s.*, md5(key) < '8' AS moves,
		row_number() OVER (PARTITION BY md5(key) < '8' ORDER BY md5(key || 'a')) AS n,
		count(*) OVER (PARTITION BY md5(key) < '8') AS total
	FROM scored s)
SELECT a.key, a.prompt, CASE WHEN a.moves THEN b.response ELSE a.response END AS response,
	CASE WHEN NOT a.moves THEN a.written END AS written, a.earned
FROM numbered a JOIN numbered b ON b.moves = a.moves AND b.n = a.n % a.total + 1;

CREATE TABLE curve AS
SELECT data, method, alol_train(CASE data WHEN 'as is' THEN 'scored' ELSE 'half_shuffled' END,
	'supervised', format('curve_%s_%s_%s', data, method, seed), method, :'reward',
	value => CASE method WHEN 'a_lol' THEN 'expected' END, steps => :curve_steps,
	learning_rate => :rate, validation => 'validation', seed => seed,
	options => :'options'::jsonb || jsonb_build_object('schedule', 'constant',
		'keep_best', false, 'evaluate_every', greatest(1, :curve_steps / 10))) AS job
FROM unnest('{as is,half shuffled}'::text[]) AS data, unnest('{nll,wbc,a_lol}'::text[]) AS method,
	unnest(:'curve_seeds'::int[]) AS seed;
SELECT format('CALL alol_follow(%s)', job) FROM curve ORDER BY job \gexec

CREATE VIEW curve_point AS
SELECT data, method, step, 100.0 * step / :supervised_steps AS share,
	avg(value) AS reward
FROM curve JOIN alol_metrics USING (job) WHERE metric = 'evaluation/reward'
GROUP BY 1, 2, 3, 4;
\echo
\echo '## Reward over steps, and with half of the responses shuffled'
\echo '```'
SELECT share::numeric(5, 1) AS "steps, % of supervised",
	format('%s, %s', method, data) AS line, reward::numeric(6, 4)
FROM curve_point
ORDER BY step, data, method DESC \crosstabview
\echo '```'
\echo
\echo '## Where the curves have their peak'
\echo '```'
SELECT DISTINCT ON (data, method) data, method, reward::numeric(6, 4) AS peak,
	step, share::numeric(5, 1) AS "% of supervised"
FROM curve_point
ORDER BY data, method, reward DESC, step;
\echo '```'
