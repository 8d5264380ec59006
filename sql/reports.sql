-- reports.sql: what jobs did, to be looked at.

CREATE FUNCTION @extschema@.alol_plot(job bigint, metric text DEFAULT 'loss')
	RETURNS text
	AS 'MODULE_PATHNAME', 'alol_plot'
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE COST 1000;
COMMENT ON FUNCTION @extschema@.alol_plot(bigint, text) IS
	'a metric of a job by step, as a small chart for the terminal';

CREATE FUNCTION @extschema@.alol_report(VARIADIC jobs bigint[]) RETURNS text
	AS 'MODULE_PATHNAME', 'alol_report'
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE COST 10000;
COMMENT ON FUNCTION @extschema@.alol_report(bigint[]) IS
	'jobs as one self-contained HTML page: curves, advantages, samples and settings, side by side';
