# What a job stands on can go away under it: its database, the extension, its
# owner or the owner's right to log in.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('drop');
create_model($node, 'tiny');
create_pairs($node);

sub running_job
{
	my ($name) = @_;
	my $job = start_job($node, output => "'$name'", steps => 1000000);
	wait_until($node, "SELECT state = 'running' AND step > 10 FROM alol_jobs WHERE job = $job");
	return $job;
}

# DROP EXTENSION.
running_job('under_extension');
my @engines = engines_of($node);
my ($out, $err) = ('', '');
my $status = $node->psql('postgres', "SET lock_timeout = '5s'; DROP EXTENSION alol CASCADE",
	stdout => \$out, stderr => \$err);
is($status, 0, 'the extension is dropped under a running job') or diag($err);
ok(wait_gone(20, @engines), 'whose engine ends');
$node->safe_psql('postgres', 'CREATE EXTENSION alol');
create_model($node, 'tiny');

# DROP DATABASE.
$node->safe_psql('postgres', 'CREATE DATABASE other TEMPLATE template0');
$node->safe_psql('other', "CREATE EXTENSION alol");
$node->safe_psql('other', q(SELECT alol_model_create('tiny', '{"model_type": "llama", "vocab_size": 320,
	"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
	"max_position_embeddings": 128, "tie_word_embeddings": true}')));
my $job = $node->safe_psql('other', q(SELECT alol_train(
	'SELECT ''a'' || i AS prompt, repeat(''b'', i) AS response FROM generate_series(1, 60) AS i',
	'tiny', 'x', reward => '4.0 / (4 + length(response))', steps => 1000000)));
wait_until($node, "SELECT state = 'running' AND step > 5 FROM alol_jobs WHERE job = $job", 60, 'other');
@engines = engines_of($node);
is(scalar @engines, 1, 'a job runs in another database');
$status = $node->psql('postgres', 'DROP DATABASE other WITH (FORCE)',
	stdout => \$out, stderr => \$err);
is($status, 0, 'the database is dropped under it') or diag($err);
ok(wait_gone(10, @engines), 'and its engine is gone');

# The owner loses LOGIN in mid-job: the job goes on; interrupted, it cannot.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE alol_owner LOGIN;
GRANT SELECT ON pairs TO alol_owner;
SELECT alol_allow('alol_owner');
SELECT alol_model_grant('tiny', 'alol_owner');
SQL
$job = $node->safe_psql('postgres', "SELECT alol_train('pairs', 'tiny', 'owned', "
	  . "reward => '" . reward_sql() . "', steps => 1000000, options => '{\"checkpoint_every\": 20}')",
	extra_params => [ '-U', 'alol_owner' ]);
wait_until($node, "SELECT step > 30 FROM alol_jobs WHERE job = $job");
$node->safe_psql('postgres', 'ALTER ROLE alol_owner NOLOGIN');
my $step = $node->safe_psql('postgres', "SELECT step FROM alol_jobs WHERE job = $job");
wait_until($node, "SELECT step > $step + 10 FROM alol_jobs WHERE job = $job");
pass('a job goes on when its owner may not log in any more');
$node->safe_psql('postgres', "SELECT alol_cancel($job)");
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);
$node->psql('postgres', "SELECT alol_resume($job)", stdout => \$out, stderr => \$err);
wait_until($node, "SELECT state <> 'running' AND state <> 'queued' FROM alol_jobs WHERE job = $job", 30);
like($err . $node->safe_psql('postgres', "SELECT coalesce(error, '') FROM alol_jobs WHERE job = $job"),
	qr/LOGIN|log in/i, 'but cannot be resumed, and says why');

# Renamed in mid-job, it stays the owner.
$node->safe_psql('postgres', 'ALTER ROLE alol_owner LOGIN');
is($node->safe_psql('postgres', "SELECT alol_resume($job)"), 't', 'with LOGIN it is resumed');
wait_until($node, "SELECT state = 'running' AND step > $step + 20 FROM alol_jobs WHERE job = $job");
$node->safe_psql('postgres', 'ALTER ROLE alol_owner RENAME TO alol_proprietor');
is($node->safe_psql('postgres', "SELECT owner FROM alol_jobs WHERE job = $job"),
	'alol_proprietor', 'a renamed owner owns its job');
$step = $node->safe_psql('postgres', "SELECT step FROM alol_jobs WHERE job = $job");
wait_until($node, "SELECT step > $step + 10 FROM alol_jobs WHERE job = $job");

# Dropped in mid-job: the job ends and says so.
$node->safe_psql('postgres', 'DROP OWNED BY alol_proprietor; DROP ROLE alol_proprietor');
$node->psql('postgres', "SELECT alol_cancel($job)", stdout => \$out, stderr => \$err);
wait_until($node, "SELECT state NOT IN ('running', 'queued') FROM alol_jobs WHERE job = $job", 20);
$node->psql('postgres', "SELECT alol_resume($job)", stdout => \$out, stderr => \$err);
wait_until($node, "SELECT state NOT IN ('running', 'queued') FROM alol_jobs WHERE job = $job", 30);
like($err, qr/role "\d+" cannot run a job.*the role that owns the job does not exist any more/s,
	'a job whose owner is gone is not resumed, and says why');

# Nor is a model stored for nobody.
$node->safe_psql('postgres', <<'SQL');
CREATE ROLE alol_passing LOGIN;
GRANT SELECT ON pairs TO alol_passing;
SELECT alol_allow('alol_passing');
SELECT alol_model_grant('tiny', 'alol_passing');
SQL
$job = start_held($node, 30, "alol_sft('pairs', 'tiny', 'orphan', steps => 60, options => '{\"checkpoint_every\": 20}')",
	'alol_passing');
wait_held($node, $job);
$node->safe_psql('postgres', 'DROP OWNED BY alol_passing; DROP ROLE alol_passing');
hold_at($node, $job);
wait_until($node, "SELECT state = 'failed' FROM alol_jobs WHERE job = $job", 60);
is($node->safe_psql('postgres', "SELECT error FROM alol_jobs WHERE job = $job"),
	'the role that owns the job does not exist any more', 'a job that ends after its owner fails');
is($node->safe_psql('postgres', "SELECT count(*) FROM alol_model WHERE name = 'orphan'"), '0',
	'without a model');
$node->stop;
done_testing();
