-- results.sql: the tables of results, from table run.

-- Of each prompt the mean over the seeds: its spread over the prompts, and that
-- of the seeds' means, are the two standard errors.
CREATE VIEW outcome AS
WITH by_prompt AS (
	SELECT place, method, row_number, avg(reward) AS reward
	FROM run JOIN alol_evaluations e ON e.job = run.evaluation
	GROUP BY 1, 2, 3), by_seed AS (
	SELECT place, method, seed, avg(reward) AS reward
	FROM run JOIN alol_evaluations e ON e.job = run.evaluation
	GROUP BY 1, 2, 3)
SELECT place, method, avg(p.reward) AS reward,
	stddev(p.reward) / sqrt(count(*)) AS error_prompts,
	(SELECT stddev(s.reward) / sqrt(count(*)) FROM by_seed s
		WHERE s.place = p.place) AS error_seeds
FROM by_prompt p GROUP BY place, method;

-- Against the reference policy, prompt by prompt: means over the seeds, and of
-- how many of them the whole interval is above (below) zero.
CREATE TABLE gain AS
SELECT place, avg(difference) AS gain, avg(ci_low) AS low, avg(ci_high) AS high,
	count(*) FILTER (WHERE ci_low > 0) AS better,
	count(*) FILTER (WHERE ci_high < 0) AS worse, count(*) AS seeds
FROM run, alol_compare(evaluation, (SELECT evaluation FROM run WHERE place = 0)) c
WHERE place > 0 AND metric = 'reward'
GROUP BY place;

CREATE VIEW measure AS
SELECT place, method, metric, avg(value) AS value
FROM run JOIN alol_metrics m ON m.job = run.evaluation
GROUP BY 1, 2, 3;

CREATE VIEW thrown_away AS
SELECT place, avg(1 - positive_fraction) AS share
FROM run, alol_advantage_stats(job) WHERE method ~ '^a_lol' GROUP BY place;

-- The step whose policy was kept: the best of the evaluations on validation.
CREATE VIEW kept AS
SELECT place, avg(step) AS step FROM (
	SELECT DISTINCT ON (job) place, step FROM run JOIN alol_metrics USING (job)
	WHERE metric = 'evaluation/reward' ORDER BY job, value DESC, step) AS best
GROUP BY place;

\echo
\echo '## Rows'
\echo '```'
SELECT (SELECT count(*) FROM training) AS training,
	(SELECT count(*) FROM validation) AS validation,
	(SELECT count(*) FROM unseen) AS unseen,
	(SELECT parameters FROM alol_models WHERE name = 'supervised') AS parameters,
	:supervised_steps AS "supervised steps",
	:steps AS "steps a method", :rate AS rate, :kl_beta::numeric(8, 5) AS "beta of a_lol_kl", :'seeds' AS seeds;
\echo '```'
\echo
\echo '## The value of the reference policy'
\echo '```'
-- Of its own held-out prompts it keeps the best epoch; what it says of unseen
-- ones beside the reward of one response to each is harder.
SELECT substr(metric, 7) AS "on validation", value::numeric(10, 5) FROM last_metric
WHERE job = :value_job AND metric IN ('value/mse', 'value/baseline_mse', 'value/r2', 'value/prompts')
ORDER BY metric;
SELECT avg((e.reward - value) ^ 2)::numeric(10, 5) AS "mse on unseen",
	var_pop(e.reward)::numeric(10, 5) AS "mse of the mean",
	(1 - avg((e.reward - value) ^ 2) / var_pop(e.reward))::numeric(6, 3) AS r2,
	corr(e.reward, value)::numeric(6, 3) AS correlation
FROM run JOIN alol_evaluations e ON e.job = evaluation
JOIN alol_score('unseen', value => 'expected', options => :'cut') USING (row_number) WHERE place = 0;
\echo '```'
\echo
\echo '## Rewards of unseen prompts'
\echo '```'
SELECT e.method, e.reward::numeric(6, 4), error_prompts::numeric(6, 4) AS "± prompts",
	error_seeds::numeric(6, 4) AS "± seeds", gain::numeric(6, 4), low::numeric(6, 4),
	high::numeric(6, 4), better || ' of ' || seeds AS "seeds better", worse,
	step::int AS "best step", (100 * share)::numeric(4, 1) AS "thrown away, %"
FROM outcome e LEFT JOIN gain USING (place) LEFT JOIN kept USING (place)
LEFT JOIN thrown_away USING (place)
ORDER BY place;
\echo '```'
\echo
\echo '## What the responses are like'
\echo '```'
SELECT method, max(value) FILTER (WHERE metric = 'distinct_1')::numeric(5, 3) AS "distinct-1",
	max(value) FILTER (WHERE metric = 'distinct_2')::numeric(5, 3) AS "distinct-2",
	max(value) FILTER (WHERE metric = 'distinct_3')::numeric(5, 3) AS "distinct-3",
	max(value) FILTER (WHERE metric = 'words')::numeric(5, 1) AS words,
	max(value) FILTER (WHERE metric = 'ended')::numeric(4, 2) AS ended,
	max(value) FILTER (WHERE metric = 'perplexity')::numeric(8, 2) AS "perplexity of references"
FROM measure GROUP BY place, method ORDER BY place;
\echo '```'
\if :has_parts
\echo
\echo '## The parts of the reward'
\echo '```'
SELECT method, substr(metric, 8) AS part, value::numeric(6, 4) FROM measure
WHERE metric LIKE 'reward/%' AND metric <> 'reward/stddev'
ORDER BY place, metric \crosstabview
\echo '```'
\endif
\if :samples
\echo
\echo '## Samples'
\echo '```'
SELECT right(regexp_replace(prompt, '\s+', ' ', 'g'), 60) AS prompt, method,
	left(regexp_replace(e.response, '\s+', ' ', 'g'), 90) AS response, e.reward::numeric(4, 2)
FROM run JOIN alol_evaluations e ON e.job = evaluation
WHERE method IN ('reference', 'a_lol') AND seed <= 1 AND row_number <= 4
ORDER BY row_number, place;
\echo '```'
\endif
