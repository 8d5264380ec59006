# A job that multiplies bf16 begins where its reference is, and ends with the
# same bits whether or not it was killed and resumed on the way.

use strict;
use warnings FATAL => 'all';

use Alol;
use Test::More;

my $node = start_node('bf16');
create_model($node, 'tiny');
create_pairs($node);

my %call = (steps => 500, batch_size => 8, learning_rate => 1e-3,
	options => q('{"dtype": "bf16", "checkpoint_every": 50, "evaluate_every": 250}'));
my $whole = start_job($node, output => q('whole'), %call);
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $whole");
is($node->safe_psql('postgres', "SELECT value FROM alol_metrics "
		  . "WHERE job = $whole AND metric = 'ratio/mean' ORDER BY step LIMIT 1"),
	'1', 'at the first step the policy is the reference');

my $broken = start_job($node, output => q('broken'), %call, hold => 75);
break_off_and_resume($node, $broken);
is($node->safe_psql('postgres', "SELECT count(DISTINCT hash), count(*) FROM alol_model "
		  . "WHERE name IN ('whole', 'broken')"),
	'1|2', 'a resumed job makes the same model, bit by bit');

# fp32 is something else, but not far.
$call{options} =~ s/bf16/fp32/;
my $exact = start_job($node, output => q('exact'), %call);
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $exact");
my $first = "FROM alol_metrics AS rough JOIN alol_metrics AS exact USING (metric, step) "
  . "WHERE rough.job = $whole AND exact.job = $exact AND metric = 'grad_norm' AND step <= 5";
is($node->safe_psql('postgres', "SELECT count(*), bool_and(rough.value <> exact.value "
		  . "AND abs(rough.value / exact.value - 1) < 0.05) $first"),
	'5|t', 'its gradients are near those of fp32');

my $evaluation = $node->safe_psql('postgres', "SELECT alol_evaluate('pairs', 'whole', '"
	  . reward_sql() . q[', options => '{"dtype": "bf16"}')]);
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $evaluation");
pass('and it is evaluated likewise');
$node->stop;
done_testing();
