# The source and the reward run as the job's owner, see what the owner would
# see, and cannot write; nobody's search_path turns our code against us.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('path');
create_model($node, 'tiny');
create_pairs($node);
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE alol_alice LOGIN;
CREATE ROLE alol_mallory LOGIN;
SELECT alol_allow('alol_alice'), alol_allow('alol_mallory');
SELECT alol_model_grant('tiny', NULL);
CREATE SCHEMA alol_alice AUTHORIZATION alol_alice;
CREATE SCHEMA alol_mallory AUTHORIZATION alol_mallory;
GRANT CREATE ON SCHEMA public TO alol_mallory;
CREATE TABLE alol_alice.pairs AS SELECT id, 'alol_alice ' || prompt AS prompt, response, reward FROM pairs;
ALTER TABLE alol_alice.pairs OWNER TO alol_alice;
ALTER ROLE alol_alice SET search_path = alol_alice, public;
-- Row security: alol_alice sees a part of this table.
CREATE TABLE secured AS SELECT * FROM pairs;
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY part ON secured FOR SELECT TO alol_alice USING (id <= 100);
GRANT SELECT ON secured TO alol_alice;
GRANT SELECT ON public.pairs TO PUBLIC;
SQL

sub as_role
{
	my ($role, $sql, %options) = @_;
	my ($out, $err) = ('', '');
	$node->psql('postgres', $sql, stdout => \$out, stderr => \$err,
		extra_params => [ '-U', $role ], on_error_stop => 1);
	return ($out, $err);
}
my $call = "'tiny', '%s', reward => '" . reward_sql() . "', steps => 3";

# The caller's search_path counts, wherever it was set.
my ($job) = as_role('alol_alice', "SELECT alol_train('pairs', " . sprintf($call, 'by_role') . ')');
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $job");
is($node->safe_psql('postgres', "SELECT count(*) FROM alol_samples WHERE job = $job AND prompt LIKE 'alol_alice %'")
	  > 0 ? 'alol_alice' : 'public', 'alol_alice', 'the search_path of ALTER ROLE is used');
($job) = as_role('alol_alice', "SET search_path = public; SELECT alol_train('pairs', "
	  . sprintf($call, 'by_session') . ')');
$job = last_line($job);
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $job");
is($node->safe_psql('postgres', "SELECT count(*) FROM alol_samples WHERE job = $job AND prompt LIKE 'alol_alice %'"),
	'0', 'the search_path of the session wins over it');

# Row security holds in the worker.
($job) = as_role('alol_alice', "SELECT alol_train('secured', " . sprintf($call, 'secured') . ')');
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $job");
cmp_ok($node->safe_psql('postgres', "SELECT count(*) FROM alol_advantages WHERE job = $job"),
	'<=', 100, 'row security holds in a job');

# What the owner may not read, its job may not.
my ($out, $err) = as_role('alol_mallory', "SELECT alol_train('alol_alice.pairs', " . sprintf($call, 'm') . ')');
like($err, qr/permission denied/, 'a table one may not read is refused at once');
($out, $err) = as_role('alol_mallory', q(SELECT count(*) FROM alol_jobs WHERE owner = 'alol_alice'::regrole));
is($out, '0', 'jobs of others are not seen');
foreach my $function ('alol_cancel', 'alol_resume', 'alol_job_drop')
{
	($out, $err) = as_role('alol_mallory', "SELECT $function($job)");
	like($err, qr/does not exist|permission denied|must be/, "$function refuses a stranger");
}
foreach my $table (qw(alol_model alol_model_file alol_job alol_metric alol_advantage))
{
	($out, $err) = as_role('alol_mallory', "SELECT * FROM $table LIMIT 1");
	like($err, qr/permission denied/, "$table is closed");
}

# A source or a reward that writes fails.
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE written (x int);
GRANT ALL ON written TO alol_alice;
CREATE FUNCTION writes(x text) RETURNS float8 LANGUAGE plpgsql AS $$
BEGIN INSERT INTO written VALUES (1); RETURN length(x); END $$;
SQL
($job, $err) = as_role('alol_alice', "SELECT alol_train('pairs', 'tiny', 'writes', reward => 'writes(response)', steps => 3)");
wait_until($node, "SELECT state = 'failed' FROM alol_jobs WHERE job = $job");
like($node->safe_psql('postgres', "SELECT error FROM alol_jobs WHERE job = $job"),
	qr/read-only transaction/, 'a reward cannot write');
($job, $err) = as_role('alol_alice', "SELECT alol_train('SELECT prompt, response, writes(response) AS reward FROM pairs', 'tiny', 'writes', reward => 'reward', steps => 3)");
wait_until($node, "SELECT state = 'failed' FROM alol_jobs WHERE job = $job") if $job;
like($err . ($job ? $node->safe_psql('postgres', "SELECT error FROM alol_jobs WHERE job = $job") : ''),
	qr/read-only transaction/, 'nor can a source');
is($node->safe_psql('postgres', 'SELECT count(*) FROM written'), '0', 'nothing was written');

# alol_mallory's functions and operators in front of pg_catalog's are not ours.
as_role('alol_mallory', <<'SQL');
CREATE TABLE alol_mallory.stolen (who text);
CREATE FUNCTION alol_mallory.pg_has_role(oid, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION alol_mallory.pg_has_role(regrole, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION alol_mallory.now() RETURNS timestamptz LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO alol_mallory.stolen VALUES (current_user); RETURN pg_catalog.now(); END $$;
CREATE FUNCTION alol_mallory.eq(text, text) RETURNS bool LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO alol_mallory.stolen VALUES (current_user); RETURN true; END $$;
CREATE OPERATOR alol_mallory.= (LEFTARG = text, RIGHTARG = text, FUNCTION = alol_mallory.eq);
GRANT USAGE ON SCHEMA alol_mallory TO PUBLIC;
GRANT INSERT ON alol_mallory.stolen TO PUBLIC;
SQL
my $path = 'SET search_path = alol_mallory, pg_catalog, public; ';
($out, $err) = as_role('alol_mallory', $path . "SELECT count(*) FROM alol_jobs WHERE job > 0");
is(last_line($out), '0', 'views show no more with another search_path');
($out, $err) = as_role('alol_mallory', $path . "SELECT alol_train('public.pairs', "
	  . sprintf($call, 'tricked') . ')');
$job = last_line($out);
wait_until($node, "SELECT state NOT IN ('queued', 'running') FROM alol_jobs WHERE job = $job");
$node->safe_psql('postgres', $path . "SELECT count(*) FROM alol_jobs; "
	  . "SELECT alol_model_rename('tiny', 'tiny2')");
is($node->safe_psql('postgres', "SELECT count(*) FROM alol_mallory.stolen WHERE who <> 'alol_mallory'"),
	'0', 'no code of alol_mallory ran as somebody else');

# A setting of a library that is not loaded can be set to anything by anyone;
# where a job's SQL loads the library it is worth no more than that.
$node->safe_psql('postgres', <<'SQL');
CREATE FUNCTION conflict() RETURNS text LANGUAGE plpgsql STABLE AS
	$$ BEGIN RETURN current_setting('plpgsql.variable_conflict'); END $$;
SQL
($out, $err) = as_role('alol_mallory', "SET plpgsql.variable_conflict = 'use_column'; "
	  . "SELECT alol_train('public.pairs', 'tiny2', 'settings', 'wbc', reward => "
	  . "'CASE conflict() WHEN ''error'' THEN 1 ELSE 0 END', steps => 3, "
	  . q(options => '{"settings": ["plpgsql.variable_conflict"]}') . ')');
$job = last_line($out);
wait_until($node, "SELECT state NOT IN ('queued', 'running') FROM alol_jobs WHERE job = $job");
is($node->safe_psql('postgres', "SELECT min(reward) FROM alol_advantages WHERE job = $job"),
	'1', 'no role gets a setting through a job that it has no right to');
$node->stop;
done_testing();
