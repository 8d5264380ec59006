# An immediate shutdown leaves no engine behind; the interrupted job, resumed,
# ends with the very weights of one that was never interrupted.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('immediate', conf => "alol.threads = 1\n");
create_model($node, 'tiny');
create_pairs($node);

my %settings = (steps => 400, seed => 3,
	options => q('{"checkpoint_every": 50, "evaluate_every": 100, "evaluation_prompts": 4}'));
my $whole = start_job($node, output => q('whole'), %settings);
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $whole", 180);

my $job = start_job($node, output => q('broken'), %settings, hold => 75);
let_run($node, $job, 200);
my @engines = engines_of($node);
ok(@engines >= 1, 'there is an engine');
$node->stop('immediate');
ok(wait_gone(5, @engines), 'no engine outlives the server');

$node->start;
hold_at($node, $job);
is($node->safe_psql('postgres', "SELECT state FROM alol_jobs WHERE job = $job"),
	'interrupted', 'after the restart the job is interrupted');
is(scalar engines_of($node), 0, 'reading a view starts nothing');
is($node->safe_psql('postgres', "SELECT alol_resume($job)"), 't', 'it is resumed');
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $job", 180);

is($node->safe_psql('postgres', "SELECT count(DISTINCT hash) FROM alol_model "
		  . "WHERE name IN ('whole', 'broken')"),
	'1', 'its weights are those of the uninterrupted job, bit by bit');
is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT step, metric, value "
		  . "FROM alol_metrics WHERE job = $whole AND metric = 'loss' EXCEPT "
		  . "SELECT step, metric, value FROM alol_metrics WHERE job = $job) AS d"),
	'0', 'and so are its losses');

# A fast shutdown in the middle of a job is quick, too.
$job = start_job($node, output => q('fast'), steps => 1000000);
wait_until($node, "SELECT step > 20 FROM alol_jobs WHERE job = $job");
@engines = engines_of($node);
my $begin = time;
$node->stop('fast');
cmp_ok(time - $begin, '<', 10, 'a fast shutdown does not wait for the job');
ok(wait_gone(2, @engines), 'nor does its engine stay');
done_testing();
