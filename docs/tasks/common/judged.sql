-- judged.sql: what the job :job that made a judge says of held-out rows.
\echo
\echo '## Judge' :judge 'on held-out rows'
\echo '```'
SELECT metric, value::numeric(10, 4) FROM last_metric
WHERE job = :job AND metric LIKE 'evaluation/%' ORDER BY metric;
\echo '```'
