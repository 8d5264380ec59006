-- reports.sql: what jobs did, to be looked at.

CREATE FUNCTION @extschema@.alol_plot(job bigint, metric text DEFAULT 'loss')
	RETURNS text
	AS 'MODULE_PATHNAME', 'alol_plot'
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION @extschema@.alol_plot(bigint, text) IS
	'a metric of a job by step, as a small chart for the terminal';
