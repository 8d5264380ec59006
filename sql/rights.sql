-- rights.sql: who may call what.
--
-- What starts an engine, writes a file or changes a model or job is closed to
-- PUBLIC; alol_allow() opens all of it to a role. Open to everyone are the
-- functions that compute from their arguments alone (IMMUTABLE) and those
-- that the views call with their reader's rights.

CREATE FUNCTION @extschema@.alol_allow(role regrole)
	RETURNS void
	LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	routine regprocedure;
BEGIN
	FOR routine IN SELECT @extschema@.alol_closed_routines(role) LOOP
		EXECUTE format('GRANT EXECUTE ON ROUTINE %s TO %s', routine, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.alol_allow(regrole) IS
	'lets a role use models and jobs: EXECUTE on all that is closed to PUBLIC';

CREATE FUNCTION @extschema@.alol_disallow(role regrole)
	RETURNS void
	LANGUAGE plpgsql VOLATILE CALLED ON NULL INPUT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	routine regprocedure;
BEGIN
	FOR routine IN SELECT @extschema@.alol_closed_routines(role) LOOP
		EXECUTE format('REVOKE EXECUTE ON ROUTINE %s FROM %s', routine, role);
	END LOOP;
END
$$;
COMMENT ON FUNCTION @extschema@.alol_disallow(regrole) IS
	'takes back what alol_allow gave';

-- Raises unless the role is one, and the caller may grant them all: GRANT
-- itself would only warn.
CREATE FUNCTION @extschema@.alol_closed_routines(role regrole)
	RETURNS SETOF regprocedure
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF role IS NULL OR role = 0 THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed',
			MESSAGE = 'role must not be null';
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles WHERE oid = role) THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_object',
			MESSAGE = format('role with OID %s does not exist', role);
	END IF;
	IF NOT (SELECT pg_has_role(extowner, 'USAGE')
			FROM pg_extension WHERE extname = 'alol') THEN
		RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
			MESSAGE = 'must be owner of extension alol';
	END IF;
	RETURN QUERY SELECT p.oid::regprocedure
		FROM pg_proc p
		JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
			AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'alol'
		WHERE NOT has_function_privilege('public', p.oid, 'EXECUTE')
			AND p.proname NOT IN
				('alol_allow', 'alol_disallow', 'alol_closed_routines')
		ORDER BY p.oid;
END
$$;
COMMENT ON FUNCTION @extschema@.alol_closed_routines(regrole) IS
	'the routines that alol_allow opens; for the owner of the extension';

DO $$
DECLARE
	routine regprocedure;
BEGIN
	FOR routine IN SELECT p.oid::regprocedure
		FROM pg_proc p
		JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
			AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'alol'
		-- A text score may be an aggregate, whose parts are then open, too.
		WHERE p.provolatile <> 'i'
			AND NOT EXISTS (SELECT FROM pg_depend v
				WHERE v.classid = 'pg_rewrite'::regclass
				AND v.refclassid = 'pg_proc'::regclass AND v.refobjid = p.oid)
	LOOP
		EXECUTE format('REVOKE ALL ON ROUTINE %s FROM PUBLIC', routine);
	END LOOP;
END
$$;

-- The view alol_jobs calls it with its reader's rights.
GRANT EXECUTE ON FUNCTION @extschema@.alol_job_state(bigint, text) TO PUBLIC;
