-- jobs.sql: jobs, what they report, and what can be done with them.

-- As with models, C code alone writes these tables. Row security without a
-- policy is the second lock; the children carry their owner.

CREATE SEQUENCE @extschema@.alol_job_id;

CREATE TABLE @extschema@.alol_job (
	id bigint PRIMARY KEY DEFAULT nextval('@extschema@.alol_job_id'),
	uuid uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
	owner regrole NOT NULL,
	kind text NOT NULL CHECK (kind IN ('train', 'value', 'evaluate', 'reward')),
	state text NOT NULL DEFAULT 'queued' CHECK (state IN
		('queued', 'running', 'succeeded', 'failed', 'cancelled')),
	source text NOT NULL,
	model text NOT NULL,             -- names as they were at the call
	output text,                     -- NULL: the job makes no model
	method text,
	reward text,
	value text,
	validation text,
	model_id bigint NOT NULL,        -- what the names stood for
	value_id bigint,
	reference_id bigint,
	options jsonb NOT NULL,          -- as given
	settings jsonb NOT NULL,         -- all of them, with their final values
	session jsonb NOT NULL,          -- the caller's search_path and so on
	is_spooled bool NOT NULL DEFAULT false, -- its rows are in its directory
	checkpoint bigint NOT NULL DEFAULT 0,   -- step of the last one
	starts int NOT NULL DEFAULT 0,   -- by themselves, since then
	notices jsonb NOT NULL DEFAULT '[]',
	device text,
	waits_for text,                  -- queued: a device on which it lacks memory
	waits_since bigint,              -- when it found so, in us since 1970
	sqlstate text,
	error text,
	detail text,
	hint text,
	context text,
	created_at timestamptz NOT NULL DEFAULT now(),
	started_at timestamptz,
	finished_at timestamptz,
	pid int
);
COMMENT ON TABLE @extschema@.alol_job IS
	'jobs; read the view alol_jobs instead';
CREATE INDEX alol_job_live ON @extschema@.alol_job (id)
	WHERE state IN ('queued', 'running');
-- Of two jobs started at once only one can make a model of this name.
CREATE UNIQUE INDEX alol_job_output ON @extschema@.alol_job (output)
	WHERE state IN ('queued', 'running');

-- One narrow row a job, written at most once a second.
CREATE TABLE @extschema@.alol_job_progress (
	job bigint PRIMARY KEY,
	owner regrole NOT NULL,
	phase text NOT NULL,
	done bigint,                     -- in this phase
	total bigint,
	seconds_left float8,             -- of this phase
	step bigint,
	steps bigint,
	tokens_per_second float8,
	loss float8,
	memory_bytes bigint
) WITH (fillfactor = 50);
COMMENT ON TABLE @extschema@.alol_job_progress IS
	'how far jobs are; read the view alol_jobs instead';

CREATE TABLE @extschema@.alol_metric (
	job bigint NOT NULL,
	owner regrole NOT NULL,
	step bigint NOT NULL,
	metric text NOT NULL,
	value float8 NOT NULL,
	at timestamptz NOT NULL,
	PRIMARY KEY (job, metric, step)
);
COMMENT ON TABLE @extschema@.alol_metric IS
	'metrics of jobs; read the view alol_metrics instead';

CREATE TABLE @extschema@.alol_sample (
	job bigint NOT NULL,
	owner regrole NOT NULL,
	step bigint NOT NULL,
	number int NOT NULL,             -- of the evaluation prompt
	prompt text NOT NULL,
	response text NOT NULL,
	reward float8,
	PRIMARY KEY (job, step, number)
);
COMMENT ON TABLE @extschema@.alol_sample IS
	'texts that jobs generated; read the view alol_samples instead';

CREATE TABLE @extschema@.alol_advantage (
	job bigint NOT NULL,
	owner regrole NOT NULL,
	row_number bigint NOT NULL,
	row_key text,
	reward float8,
	components jsonb,
	value float8,
	advantage float8,
	ref_logprob float8,
	tokens int,
	selected bool NOT NULL,
	PRIMARY KEY (job, row_number)
);
COMMENT ON TABLE @extschema@.alol_advantage IS
	'the rows of jobs; read the view alol_advantages instead';

ALTER TABLE @extschema@.alol_job ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.alol_job_progress ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.alol_metric ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.alol_sample ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.alol_advantage ENABLE ROW LEVEL SECURITY;

-- A job that is not over lives on this server alone: it is not dumped.
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_job_id', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_job',
	'WHERE state IN (''succeeded'', ''failed'', ''cancelled'')');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_job_progress',
	'WHERE job IN (SELECT id FROM @extschema@.alol_job WHERE state IN (''succeeded'', ''failed'', ''cancelled''))');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_metric',
	'WHERE job IN (SELECT id FROM @extschema@.alol_job WHERE state IN (''succeeded'', ''failed'', ''cancelled''))');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_sample',
	'WHERE job IN (SELECT id FROM @extschema@.alol_job WHERE state IN (''succeeded'', ''failed'', ''cancelled''))');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_advantage',
	'WHERE job IN (SELECT id FROM @extschema@.alol_job WHERE state IN (''succeeded'', ''failed'', ''cancelled''))');

CREATE FUNCTION @extschema@.alol_job_state(job bigint, state text)
	RETURNS text
	AS 'MODULE_PATHNAME', 'alol_job_state'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_job_state(bigint, text) IS
	'a job''s state as its row has it, or interrupted if nobody works on it any more';

CREATE VIEW @extschema@.alol_jobs WITH (security_barrier) AS
SELECT j.id AS job, j.kind, s.state,
	CASE s.state
		WHEN 'queued' THEN CASE WHEN j.waits_for IS NULL
			THEN 'waiting for a worker slot'
			ELSE 'waiting for memory on ' || coalesce(j.device, j.waits_for) END
		WHEN 'succeeded' THEN NULL
		ELSE p.phase END AS phase,
	p.step, p.steps,
	CASE WHEN s.state = 'succeeded' THEN 1::float8
		WHEN p.steps > 0 THEN coalesce(p.step, 0)::float8 / p.steps
		WHEN j.kind IN ('value', 'evaluate') AND p.total > 0
			THEN coalesce(p.done, 0)::float8 / p.total
		ELSE 0::float8 END AS progress,
	CASE WHEN s.state = 'running' AND (p.steps > 0 OR j.kind IN ('value', 'evaluate'))
		THEN make_interval(secs => p.seconds_left) END AS eta,
	p.tokens_per_second, p.loss, j.owner, j.source, j.model, j.output,
	j.method, j.reward, j.options, j.device, p.memory_bytes, j.error,
	j.created_at, j.started_at, j.finished_at,
	CASE WHEN s.state = 'running' THEN j.pid END AS pid,
	j.detail,
	(SELECT string_agg(n ->> 'message', E'\n')
		FROM jsonb_array_elements(j.notices) n) AS notice,
	j.settings
FROM @extschema@.alol_job j
LEFT JOIN @extschema@.alol_job_progress p ON p.job = j.id
CROSS JOIN LATERAL (SELECT @extschema@.alol_job_state(j.id, j.state) AS state
	OFFSET 0) s
WHERE pg_catalog.pg_has_role(j.owner, 'MEMBER');
COMMENT ON VIEW @extschema@.alol_jobs IS
	'your jobs, how far they are and what they said';

CREATE VIEW @extschema@.alol_metrics WITH (security_barrier) AS
SELECT job, step, metric, value, at
FROM @extschema@.alol_metric
WHERE pg_catalog.pg_has_role(owner, 'MEMBER');
COMMENT ON VIEW @extschema@.alol_metrics IS
	'one row a metric and step of your jobs, while they run, too';

CREATE VIEW @extschema@.alol_samples WITH (security_barrier) AS
SELECT job, step, prompt, response, reward
FROM @extschema@.alol_sample
WHERE pg_catalog.pg_has_role(owner, 'MEMBER')
ORDER BY job, step, number;
COMMENT ON VIEW @extschema@.alol_samples IS
	'what the policy of your jobs answered to evaluation prompts, by step';

CREATE VIEW @extschema@.alol_advantages WITH (security_barrier) AS
SELECT job, row_number, row_key, reward, components, value, advantage,
	ref_logprob, tokens, selected
FROM @extschema@.alol_advantage
WHERE pg_catalog.pg_has_role(owner, 'MEMBER');
COMMENT ON VIEW @extschema@.alol_advantages IS
	'reward, value, advantage and the reference''s log-probability of each row that your jobs scored; of a pair, of both responses together';

GRANT SELECT ON @extschema@.alol_jobs, @extschema@.alol_metrics,
	@extschema@.alol_samples, @extschema@.alol_advantages TO PUBLIC;

CREATE FUNCTION @extschema@.alol_job_check(job bigint)
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'alol_job_check'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_job_check(bigint) IS
	'raises unless the job exists and is yours; returns its id';

CREATE FUNCTION @extschema@.alol_advantage_stats(job bigint,
		OUT rows bigint, OUT positive bigint, OUT positive_fraction float8,
		OUT mean float8, OUT stddev float8, OUT min float8, OUT max float8,
		OUT deciles float8[], OUT reward_mean float8, OUT value_mean float8,
		OUT correlation float8)
	LANGUAGE SQL VOLATILE STRICT PARALLEL UNSAFE
BEGIN ATOMIC
	WITH checked AS MATERIALIZED (
		SELECT @extschema@.alol_job_check(alol_advantage_stats.job) AS id
	)
	SELECT count(a.advantage),
		count(*) FILTER (WHERE a.advantage > 0),
		count(*) FILTER (WHERE a.advantage > 0)::float8
			/ nullif(count(a.advantage), 0),
		avg(a.advantage), stddev_samp(a.advantage),
		min(a.advantage), max(a.advantage),
		percentile_cont(ARRAY[0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9,
			1]) WITHIN GROUP (ORDER BY a.advantage),
		avg(a.reward), avg(a.value), corr(a.reward, a.value)
	FROM checked
	LEFT JOIN @extschema@.alol_advantages a
		ON a.job = checked.id AND a.advantage IS NOT NULL;
END;
COMMENT ON FUNCTION @extschema@.alol_advantage_stats(bigint) IS
	'how the advantages of a job are spread; correlation is that of reward and value';

CREATE FUNCTION @extschema@.alol_wait(job bigint, timeout interval DEFAULT NULL)
	RETURNS text
	AS 'MODULE_PATHNAME', 'alol_wait'
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_wait(bigint, interval) IS
	'waits for a job, showing its progress; returns its state, or raises its error';

CREATE PROCEDURE @extschema@.alol_follow(job bigint,
		timeout interval DEFAULT NULL)
	AS 'MODULE_PATHNAME', 'alol_follow'
	LANGUAGE C;
COMMENT ON PROCEDURE @extschema@.alol_follow(bigint, interval) IS
	'waits for a job as alol_wait() does, without holding a snapshot';

CREATE FUNCTION @extschema@.alol_cancel(job bigint) RETURNS bool
	AS 'MODULE_PATHNAME', 'alol_cancel'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_cancel(bigint) IS
	'stops a job at once and keeps its last checkpoint; false if it is over';

CREATE FUNCTION @extschema@.alol_resume(job bigint, device text DEFAULT NULL)
	RETURNS bool
	AS 'MODULE_PATHNAME', 'alol_resume'
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_resume(bigint, text) IS
	'lets a failed, cancelled or interrupted job go on from its last checkpoint, on another device if one is named; false if there is nothing to resume';

CREATE FUNCTION @extschema@.alol_job_drop(job bigint) RETURNS void
	AS 'MODULE_PATHNAME', 'alol_job_drop'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_job_drop(bigint) IS
	'forgets a finished job, its metrics, samples and advantages';
