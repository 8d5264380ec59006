-- Rights: nothing that starts an engine is open, nothing of another is seen.
\unset ECHO
\set QUIET 1
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only true
\pset pager off
\set ON_ERROR_ROLLBACK 1
\set ON_ERROR_STOP true

BEGIN;
CREATE EXTENSION IF NOT EXISTS alol;
SELECT plan(57);
CREATE ROLE alol_ann;
CREATE ROLE alol_bob;
CREATE FUNCTION config() RETURNS jsonb LANGUAGE sql AS $$ SELECT
	'{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
	"num_hidden_layers": 1, "num_attention_heads": 4, "vocab_size": 300,
	"max_position_embeddings": 64}'::jsonb $$;

-- What PUBLIC may call
SELECT set_eq($$SELECT p.proname::text FROM pg_proc p
		JOIN pg_depend d ON d.classid = 'pg_proc'::regclass
			AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'alol'
		WHERE has_function_privilege('public', p.oid, 'EXECUTE')
		AND p.provolatile <> 'i'$$,
	ARRAY['alol_job_state'],
	'PUBLIC may call what is immutable, and what the views need');
SELECT is(count(*), 0::bigint, 'no base table is open to anyone')
	FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass
		AND d.objid = c.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'alol'
	WHERE c.relkind IN ('r', 'S') AND (c.relacl IS NOT NULL
		AND EXISTS (SELECT FROM aclexplode(c.relacl) a
			WHERE a.grantee <> c.relowner));
SELECT is(count(*) FILTER (WHERE NOT c.relrowsecurity), 0::bigint,
	'every base table has row security')
	FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass
		AND d.objid = c.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'alol'
	WHERE c.relkind = 'r';
SELECT is(count(*) FILTER (WHERE NOT 'security_barrier=true' =
		ANY (coalesce(c.reloptions, '{}'))), 0::bigint,
	'every view is a barrier')
	FROM pg_class c JOIN pg_depend d ON d.classid = 'pg_class'::regclass
		AND d.objid = c.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'alol'
	WHERE c.relkind = 'v';
SELECT is(string_agg(p.oid::regprocedure::text, ', '), NULL,
	'every function has a comment')
	FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass
		AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'alol'
	WHERE obj_description(p.oid, 'pg_proc') IS NULL;

SET ROLE alol_ann;
SELECT throws_ok(call, '42501', NULL, call || ' is closed') FROM unnest(ARRAY[
	$$SELECT alol_model_create('x', '{}')$$,
	$$SELECT alol_model_load('x', '/tmp')$$,
	$$SELECT alol_model_export('x', '/tmp/x')$$,
	$$SELECT alol_model_rename('x', 'y')$$,
	$$SELECT alol_model_drop('x')$$,
	$$SELECT alol_model_grant('x', NULL)$$,
	$$SELECT alol_model_revoke('x', NULL)$$,
	$$SELECT alol_generate('x', 'y')$$,
	$$SELECT alol_logprob('x', 'y', 'z')$$,
	$$SELECT * FROM alol_token_logprobs('x', 'y', 'z')$$,
	$$SELECT alol_value('x', 'y')$$,
	$$SELECT alol_tokenize('x', 'y')$$,
	$$SELECT alol_detokenize('x', '{1}')$$,
	$$SELECT * FROM alol_devices()$$,
	$$SELECT alol_allow('alol_ann')$$,
	$$SELECT alol_disallow('alol_ann')$$,
	$$SELECT * FROM alol_model$$,
	$$SELECT * FROM alol_model_file$$,
	$$INSERT INTO alol_model_acl VALUES (1, 0)$$,
	$$SELECT nextval('alol_model_id')$$]) call;
SELECT lives_ok('SELECT * FROM alol_models', 'alol_models is open');
RESET ROLE;

-- alol_allow
SELECT lives_ok($$SELECT alol_allow('alol_ann'), alol_allow('alol_bob')$$,
	'alol_allow opens it all');
SELECT throws_ok($$SELECT alol_allow(NULL)$$, '22004', 'role must not be null',
	'to a role');
SELECT throws_ok($$SELECT alol_allow(4294967295::oid::regrole)$$, '42704',
	'role with OID 4294967295 does not exist', 'that exists');
SELECT throws_ok($$SELECT alol_disallow(4294967295::oid::regrole)$$, '42704',
	'role with OID 4294967295 does not exist', 'alol_disallow, too');
SET ROLE alol_ann;
SELECT is(alol_model_create('ann''s', config()), 'ann''s',
	'an allowed role makes models');
SELECT isnt(alol_generate('ann''s', 'x', 3), NULL, 'and uses them');
SELECT throws_ok($$SELECT alol_allow('alol_bob')$$, '42501', NULL,
	'but does not allow others');
SELECT throws_ok($$SELECT alol_model_load('x', '/tmp')$$, '42501',
	'permission denied to load a model from the server',
	'loading needs pg_read_server_files');
SELECT throws_ok($$SELECT alol_model_export('ann''s', '/tmp/x')$$, '42501',
	'permission denied to export a model to the server',
	'exporting needs pg_write_server_files');
SELECT is(owner::text, 'alol_ann', 'who made it owns it') FROM alol_models;
RESET ROLE;

-- Another role
SET ROLE alol_bob;
SELECT is_empty('SELECT * FROM alol_models', 'another role does not see it');
SELECT throws_ok($$SELECT alol_generate('ann''s', 'x')$$, '42501',
	'permission denied for model "ann''s"', 'nor uses it');
SELECT throws_ok($$SELECT alol_model_drop('ann''s')$$, '42501', NULL,
	'nor drops it');
SELECT throws_ok($$SELECT alol_model_create('ann''s', config())$$, '42710',
	'model "ann''s" exists already', 'nor takes its name');
SELECT throws_ok($$SELECT alol_generate('anns', 'x')$$, '42704',
	'model "anns" does not exist', 'nor learns of it');
RESET ROLE;

SET ROLE alol_ann;
SELECT throws_ok($$SELECT alol_model_grant('ann''s',
	4294967295::oid::regrole)$$, '42704', 'invalid role OID: 4294967295',
	'a model is shared with a role that exists');
SELECT alol_model_grant('ann''s', 'alol_bob') \g /dev/null
SELECT is(shared_with, '{alol_bob}', 'a model can be shared') FROM alol_models;
SET ROLE alol_bob;
SELECT isnt(alol_generate('ann''s', 'x', 3), NULL, 'then the other uses it');
SELECT throws_ok($$SELECT alol_model_rename('ann''s', 'x')$$, '42501',
	'must be owner of model "ann''s"', 'but does not rename it');
SELECT throws_ok($$SELECT alol_model_drop('ann''s')$$, '42501',
	'must be owner of model "ann''s"', 'nor drop it');
SELECT throws_ok($$SELECT alol_model_grant('ann''s', NULL)$$, '42501',
	'must be owner of model "ann''s"', 'nor share it on');
SET ROLE alol_ann;
SELECT alol_model_revoke('ann''s', 'alol_bob') \g /dev/null
SELECT alol_model_grant('ann''s', NULL) \g /dev/null
SELECT is(shared_with, '{public}', 'or be shared with everyone')
	FROM alol_models;
SET ROLE alol_bob;
SELECT isnt(alol_generate('ann''s', 'x', 3), NULL, 'who then use it');
SET ROLE alol_ann;
SELECT alol_model_revoke('ann''s', NULL) \g /dev/null
SET ROLE alol_bob;
SELECT is_empty('SELECT * FROM alol_models', 'until it is taken back');
RESET ROLE;

-- Jobs: another's is not there
CREATE TABLE alol_rows AS SELECT 'p' || i AS prompt, 'r' AS response
	FROM generate_series(1, 9) i;
GRANT SELECT ON alol_rows TO alol_ann;
ALTER ROLE alol_ann LOGIN;
SET ROLE alol_ann;
SELECT alol_sft('alol_rows', 'ann''s', 'ann''s second') AS job \gset
SELECT is(state, 'queued', 'a role sees its job') FROM alol_jobs;
SET ROLE alol_bob;
SELECT is_empty('SELECT * FROM alol_jobs', 'another one does not');
-- The owner would be told that it is queued.
SELECT is(alol_job_state(:job, 'running'), 'running',
	'nor can it ask for more than it says itself');
RESET ROLE;

-- A member of the owner is the owner
GRANT alol_ann TO alol_bob;
SET ROLE alol_bob;
SELECT is(count(*), 1::bigint, 'a member of the owner sees it')
	FROM alol_models;
RESET ROLE;

-- search_path: objects of the same name elsewhere change nothing
CREATE SCHEMA alol_trap;
CREATE TABLE alol_trap.alol_model AS SELECT 1 AS id;
CREATE FUNCTION alol_trap.pg_has_role(oid, text) RETURNS bool LANGUAGE sql
	AS 'SELECT true';
GRANT USAGE ON SCHEMA alol_trap TO PUBLIC;
REVOKE alol_ann FROM alol_bob;
SELECT set_config('search_path', 'alol_trap, ' || current_setting('search_path')
	|| ', pg_catalog', true) \g /dev/null
SET ROLE alol_bob;
SELECT is_empty('SELECT * FROM alol_models', 'a search_path opens nothing');
SET ROLE alol_ann;
SELECT isnt(alol_generate('ann''s', 'x', 3), NULL, 'nor breaks anything');
RESET ROLE;
SELECT alol_disallow('alol_ann') \g /dev/null
SET ROLE alol_ann;
SELECT throws_ok($$SELECT alol_generate('ann''s', 'x')$$, '42501', NULL,
	'alol_disallow closes it again');
RESET ROLE;

SELECT * FROM finish();
ROLLBACK;
