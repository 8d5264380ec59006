-- evaluation.sql: how good a policy is, and which of two is better.

-- One row a prompt of an evaluation. The response is in alol_sample, step 0,
-- with the row's number.
CREATE TABLE @extschema@.alol_evaluation (
	job bigint NOT NULL,
	owner regrole NOT NULL,
	row_number bigint NOT NULL,
	row_key text,
	reward float8,
	components jsonb,
	words int NOT NULL,
	tokens int NOT NULL,             -- generated, the end included
	ended bool NOT NULL,             -- by itself, not by a limit
	ref_logprob float8,              -- of the source's own response
	ref_tokens int,
	PRIMARY KEY (job, row_number)
);
COMMENT ON TABLE @extschema@.alol_evaluation IS
	'what evaluations measured of each row; read the view alol_evaluations instead';
ALTER TABLE @extschema@.alol_evaluation ENABLE ROW LEVEL SECURITY;

SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_evaluation',
	'WHERE job IN (SELECT id FROM @extschema@.alol_job WHERE state IN (''succeeded'', ''failed'', ''cancelled''))');

CREATE VIEW @extschema@.alol_evaluations WITH (security_barrier) AS
SELECT e.job, e.row_number, e.row_key, s.prompt, s.response, e.reward,
	e.components, e.words, e.tokens, e.ended, e.ref_logprob, e.ref_tokens
FROM @extschema@.alol_evaluation e
LEFT JOIN @extschema@.alol_sample s
	ON s.job = e.job AND s.step = 0 AND s.number = e.row_number
WHERE pg_catalog.pg_has_role(e.owner, 'MEMBER');
COMMENT ON VIEW @extschema@.alol_evaluations IS
	'response, reward and lengths of each row that your evaluations measured';
GRANT SELECT ON @extschema@.alol_evaluations TO PUBLIC;

CREATE FUNCTION @extschema@.alol_evaluate(source text, model text,
		reward text DEFAULT NULL, seed bigint DEFAULT 0,
		options jsonb DEFAULT '{}')
	RETURNS bigint
	AS 'MODULE_PATHNAME', 'alol_evaluate'
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_evaluate(text, text, text, bigint,
	jsonb) IS
	'starts a job that lets a model answer the prompts of source and measures reward, length and diversity of the answers, and perplexity of the source''s own; returns the job''s id';

CREATE FUNCTION @extschema@.alol_compare(job_a bigint, job_b bigint,
		seed bigint DEFAULT 0, OUT metric text, OUT a float8, OUT b float8,
		OUT difference float8, OUT ci_low float8, OUT ci_high float8,
		OUT wins bigint, OUT ties bigint, OUT losses bigint,
		OUT prompts bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'alol_compare'
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE COST 10000 ROWS 10;
COMMENT ON FUNCTION @extschema@.alol_compare(bigint, bigint, bigint) IS
	'two evaluations of the same prompts: each metric of a and of b, a - b with its 95 % interval (paired bootstrap), and at how many prompts a is better; of diversity, which no single prompt has, the two and their difference';
