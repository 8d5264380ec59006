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

# The same is learned: rewards at the end are near each other, and far from those
# at the beginning.
is($node->safe_psql('postgres', "SELECT abs(b.value - a.value) < 0.1 * (a.value - z.value) "
		  . "FROM alol_metrics AS a, alol_metrics AS b, alol_metrics AS z "
		  . "WHERE a.job = $exact AND b.job = $whole AND z.job = $exact "
		  . "AND a.step = 500 AND b.step = 500 AND z.step = 0 "
		  . "AND (a.metric, b.metric, z.metric) = "
		  . "('evaluation/reward', 'evaluation/reward', 'evaluation/reward')"),
	't', 'and the same is learned');

# Advantages stand in the same order, with values that differ by prompt and are
# fitted anew.
my %ranked;
foreach my $dtype ('fp32', 'bf16')
{
	my $job = start_job($node, output => "'$dtype'", steps => 1,
		reward => q('(ascii(substr(prompt, 5, 1)) - 48) / 20.0 + 2.0 / (4 + length(response))'),
		validation => q('SELECT DISTINCT prompt FROM pairs'),
		options => qq('{"dtype": "$dtype", "keep_best": false}'));
	wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $job");
	$ranked{$dtype} = "(SELECT row_number, value, rank() OVER (ORDER BY advantage) "
	  . "+ count(*) OVER (PARTITION BY advantage) / 2.0 AS place "
	  . "FROM alol_advantages WHERE job = $job) AS $dtype";
}
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT fp32.value) >= 40, "
		  . "corr(fp32.place, bf16.place) >= 0.999 "
		  . "FROM $ranked{fp32} JOIN $ranked{bf16} USING (row_number)"),
	'240|t|t', 'advantages are ranked alike');

my $evaluation = $node->safe_psql('postgres', "SELECT alol_evaluate('pairs', 'whole', '"
	  . reward_sql() . q[', options => '{"dtype": "bf16"}')]);
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $evaluation");
pass('and it is evaluated likewise');
$node->stop;
done_testing();
