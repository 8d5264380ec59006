-- inference.sql: generating and scoring text with a model.

CREATE FUNCTION @extschema@.alol_version() RETURNS text
	AS 'MODULE_PATHNAME', 'alol_version'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.alol_version() IS
	'version of the alol library that this session has loaded';
