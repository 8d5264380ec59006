# Models and finished jobs are dumped and restored like any data; a job that
# runs stays where it is.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('dump');
$node->safe_psql('postgres', 'CREATE ROLE alol_trainer LOGIN SUPERUSER');
create_model($node, 'tiny', 'alol_trainer');
create_pairs($node);
my $job = $node->safe_psql('postgres', "SET ROLE alol_trainer; SELECT alol_train('pairs', 'tiny', "
	  . "'trained', reward => '" . reward_sql() . "', steps => 20)");
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $job");
my $running = start_job($node, output => q('running'), steps => 1000000);
wait_until($node, "SELECT state = 'running' FROM alol_jobs WHERE job = $running");
my $probe = "SELECT alol_logprob('trained', 'say 1: ', 'bbb 1')";
my $before = $node->safe_psql('postgres', $probe);
my $metrics = $node->safe_psql('postgres', "SELECT count(*), sum(value) FROM alol_metrics WHERE job = $job");

my $file = PostgreSQL::Test::Utils::tempdir() . '/dump';
command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('postgres') ],
	'a database with a running job is dumped');
$node->safe_psql('postgres', "SELECT alol_cancel($running)");

# Elsewhere, where the owner is missing.
my $other = new_node('elsewhere');
$other->start;
$other->safe_psql('postgres', 'CREATE DATABASE restored');
my @restore = ('pg_restore', '--exit-on-error', '--single-transaction',
	'-d', $other->connstr('restored'), $file);
my ($stdout, $stderr) = ('', '');
IPC::Run::run(\@restore, '>', \$stdout, '2>', \$stderr);
like($stderr, qr/role "alol_trainer" does not exist/, 'a missing role is named');
$other->safe_psql('postgres', 'CREATE ROLE alol_trainer LOGIN SUPERUSER');
command_ok(\@restore, 'with the role it is restored');

is($other->safe_psql('restored', $probe), $before, 'the model gives the same numbers');
is($other->safe_psql('restored', "SELECT owner FROM alol_models WHERE name = 'trained'"),
	'alol_trainer', 'and has its owner');
is($other->safe_psql('restored', "SELECT state FROM alol_jobs WHERE job = $job"),
	'succeeded', 'the finished job came along');
is($other->safe_psql('restored', "SELECT count(*), sum(value) FROM alol_metrics WHERE job = $job"),
	$metrics, 'with its metrics');
is($other->safe_psql('restored', "SELECT count(*) FROM alol_jobs WHERE job = $running"),
	'0', 'the running one did not');

# Sequences too: new models and jobs get new ids.
$other->safe_psql('restored', "SELECT alol_model_rename('tiny', 'small')");
my $new = $other->safe_psql('restored', "SELECT alol_train('pairs', 'small', 'again', "
	  . "reward => '" . reward_sql() . "', steps => 5)");
cmp_ok($new, '>', $job, 'a new job gets a new id');
wait_until($other, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $new", 60, 'restored');
pass('and runs');

# A copy of the database made as a template has its own jobs and models.
$other->safe_psql('postgres', 'CREATE DATABASE copy TEMPLATE restored');
is($other->safe_psql('copy', $probe), $before, 'a template copy gives the same numbers');
$node->stop;
$other->stop;
done_testing();
