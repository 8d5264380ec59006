-- inference.sql: generating and scoring text with a model.

CREATE FUNCTION @extschema@.alol_version() RETURNS text
	AS 'MODULE_PATHNAME', 'alol_version'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.alol_version() IS
	'version of the alol library that this session has loaded';

CREATE FUNCTION @extschema@.alol_devices(
		OUT device text, OUT name text,
		OUT memory_total bigint, OUT memory_free bigint,
		OUT compute_capability text, OUT isa text, OUT memory_limit bigint)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'alol_devices'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED COST 100000 ROWS 2;
COMMENT ON FUNCTION @extschema@.alol_devices() IS
	'what the engine can compute on here: one row a GPU and one for the CPU, memory in bytes; memory_limit is what one engine may use';
