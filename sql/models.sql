-- models.sql: models, their files, and who may use them.

\echo Use "CREATE EXTENSION alol" to load this file. \quit

-- Nobody but the extension's owner reads or writes the tables: C code does,
-- after it has checked the rights. Row security without a policy is the
-- second lock.

CREATE SEQUENCE @extschema@.alol_model_id;

CREATE TABLE @extschema@.alol_model (
	id bigint PRIMARY KEY DEFAULT nextval('@extschema@.alol_model_id'),
	name text NOT NULL UNIQUE
		CHECK (name <> '' AND octet_length(name) <= 63),
	owner regrole NOT NULL,
	kind text NOT NULL
		CHECK (kind IN ('lm', 'adapter', 'classifier', 'encoder', 'value')),
	architecture text NOT NULL,
	parameters bigint NOT NULL,
	dtype text NOT NULL,
	context int NOT NULL,
	vocabulary int NOT NULL,
	bytes bigint NOT NULL,
	path text,                       -- a directory or file on the server, or
	hash text,                       -- of the content of alol_model_file
	files jsonb,                     -- [{"name", "bytes", "sha256"}] of these
	base bigint,                     -- the model under this one
	tokenizer bigint,                -- the model whose tokenizer this one uses
	rank int,                        -- of an adapter
	job bigint,                      -- that made it
	created_at timestamptz NOT NULL DEFAULT now(),
	CHECK ((path IS NULL) <> (hash IS NULL)),
	CHECK ((hash IS NULL) = (files IS NULL))
);
COMMENT ON TABLE @extschema@.alol_model IS
	'models; read the view alol_models instead';

CREATE TABLE @extschema@.alol_model_file (
	model bigint NOT NULL,
	name text NOT NULL,
	chunk int NOT NULL,
	data bytea NOT NULL,
	PRIMARY KEY (model, name, chunk)
);
-- Weights do not compress; EXTERNAL also reads a slice without the whole.
ALTER TABLE @extschema@.alol_model_file ALTER COLUMN data SET STORAGE EXTERNAL;
COMMENT ON TABLE @extschema@.alol_model_file IS
	'the files of models that are stored in the database, in chunks of 1 MiB';

CREATE TABLE @extschema@.alol_model_acl (
	model bigint NOT NULL,
	role regrole NOT NULL,           -- 0: everyone
	PRIMARY KEY (model, role)
);
COMMENT ON TABLE @extschema@.alol_model_acl IS
	'whom a model is shared with';

ALTER TABLE @extschema@.alol_model ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.alol_model_file ENABLE ROW LEVEL SECURITY;
ALTER TABLE @extschema@.alol_model_acl ENABLE ROW LEVEL SECURITY;

SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_model_id', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_model', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_model_file', '');
SELECT pg_catalog.pg_extension_config_dump('@extschema@.alol_model_acl', '');

CREATE VIEW @extschema@.alol_models WITH (security_barrier) AS
SELECT m.name, m.owner, m.kind, m.architecture, m.parameters, m.dtype,
	b.name AS base,
	CASE WHEN m.path IS NULL THEN 'database' ELSE 'path' END AS stored,
	m.path, m.bytes,
	(SELECT array_agg(CASE a.role::oid WHEN 0 THEN 'public'
			ELSE a.role::text END ORDER BY a.role::oid)
		FROM @extschema@.alol_model_acl a WHERE a.model = m.id
			AND (a.role::oid = 0 OR EXISTS (SELECT
				FROM pg_catalog.pg_roles r WHERE r.oid = a.role))
		) AS shared_with,
	m.created_at, m.job
FROM @extschema@.alol_model m
LEFT JOIN @extschema@.alol_model b ON b.id = m.base
WHERE pg_catalog.pg_has_role(m.owner, 'MEMBER')
	OR EXISTS (SELECT FROM @extschema@.alol_model_acl a
		WHERE a.model = m.id AND CASE a.role::oid WHEN 0 THEN true
			ELSE pg_catalog.pg_has_role(a.role, 'MEMBER') END);
COMMENT ON VIEW @extschema@.alol_models IS
	'the models that you own or that are shared with you';
GRANT SELECT ON @extschema@.alol_models TO PUBLIC;

CREATE FUNCTION @extschema@.alol_model_load(name text, path text,
		kind text DEFAULT 'auto', options jsonb DEFAULT '{}')
	RETURNS text
	AS 'MODULE_PATHNAME', 'alol_model_load'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_model_load(text, text, text, jsonb) IS
	'registers a Hugging Face directory, a GGUF file or (with option "base") a PEFT adapter directory on the server as a model';

CREATE FUNCTION @extschema@.alol_model_create(name text, config jsonb,
		seed bigint DEFAULT 0, corpus text DEFAULT NULL)
	RETURNS text
	AS 'MODULE_PATHNAME', 'alol_model_create'
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_model_create(text, jsonb, bigint, text) IS
	'makes a model with random weights from the content of a config.json; corpus is a table or SELECT to train its tokenizer on';

CREATE FUNCTION @extschema@.alol_model_export(name text, path text,
		format text DEFAULT 'safetensors', options jsonb DEFAULT '{}')
	RETURNS text
	AS 'MODULE_PATHNAME', 'alol_model_export'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_model_export(text, text, text, jsonb) IS
	'writes a model to the server: safetensors (a new or empty directory that transformers opens; an adapter is merged), peft (an adapter alone) or gguf (a new file); option dtype: auto, f32, f16, bf16, q8_0; returns the path';

CREATE FUNCTION @extschema@.alol_model_rename(name text, new_name text)
	RETURNS void
	AS 'MODULE_PATHNAME', 'alol_model_rename'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_model_rename(text, text) IS
	'gives a model that you own another name';

CREATE FUNCTION @extschema@.alol_model_drop(name text)
	RETURNS void
	AS 'MODULE_PATHNAME', 'alol_model_drop'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_model_drop(text) IS
	'forgets a model that you own; refused while a job or another model uses it';

CREATE FUNCTION @extschema@.alol_model_grant(name text, role regrole)
	RETURNS void
	AS 'MODULE_PATHNAME', 'alol_model_grant'
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_model_grant(text, regrole) IS
	'lets a role (NULL: everyone) use a model that you own';

CREATE FUNCTION @extschema@.alol_model_revoke(name text, role regrole)
	RETURNS void
	AS 'MODULE_PATHNAME', 'alol_model_revoke'
	LANGUAGE C VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.alol_model_revoke(text, regrole) IS
	'takes back what alol_model_grant gave';

