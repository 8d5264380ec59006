# An adapter is the same whether or not its job was killed and resumed on the
# way; it keeps its base from being dropped, and is dumped with it.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('adapter');
create_model($node, 'tiny');
create_pairs($node);

# Two jobs that differ by nothing but what happens to them.
my %call = (steps => 500, lora_rank => 4, batch_size => 8, learning_rate => 1e-3,
	options => q('{"checkpoint_every": 50, "evaluate_every": 100, "lora_dropout": 0.2}'));
my $whole = start_job($node, output => q('whole'), %call);
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $whole");

my $broken = start_job($node, output => q('broken'), %call, hold => 75);
break_off_and_resume($node, $broken);

is($node->safe_psql('postgres', "SELECT count(DISTINCT hash), count(*) FROM alol_model "
		  . "WHERE name IN ('whole', 'broken')"),
	'1|2', 'and makes the same adapter, bit by bit');
is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT metric, step, value FROM alol_metrics "
		  . "WHERE job = $whole AND metric IN ('loss', 'grad_norm', 'evaluation/reward') EXCEPT "
		  . "SELECT metric, step, value FROM alol_metrics WHERE job = $broken) AS other"),
	'0', 'by the same steps');

# The base stays while an adapter needs it.
my ($status, $out, $err) = $node->psql('postgres', "SELECT alol_model_drop('tiny')");
like($err, qr/model "tiny" is used by model "broken"/, 'a base is not dropped');
my $running = start_job($node, model => q('whole'), output => q('further'), steps => 1000000);
wait_until($node, "SELECT state = 'running' FROM alol_jobs WHERE job = $running");
($status, $out, $err) = $node->psql('postgres', "SELECT alol_model_drop('whole')");
like($err, qr/model "whole" is used by job $running/, 'nor an adapter that a job goes on with');
$node->safe_psql('postgres', "SELECT alol_cancel($running)");
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $running", 5);

# Both are dumped, and belong together elsewhere.
my $probe = "SELECT alol_logprob('whole', 'say 1: ', 'bbb 1')";
my $before = $node->safe_psql('postgres', $probe);
my $file = PostgreSQL::Test::Utils::tempdir() . '/dump';
command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('postgres') ], 'they are dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $file ],
	'and restored');
is($node->safe_psql('restored', $probe), $before, 'the adapter gives the same numbers');
is($node->safe_psql('restored', "SELECT base FROM alol_models WHERE name = 'whole'"),
	'tiny', 'over its base');
is($node->safe_psql('restored', "SELECT alol_model_drop('whole'), alol_model_drop('broken'), "
		  . "alol_model_drop('tiny') IS NOT NULL"), '||t', 'the base goes last');
$node->stop;
done_testing();
