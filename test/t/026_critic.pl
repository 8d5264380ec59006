# A classifier made of a table is the same whether or not its job was killed and
# resumed on the way; then it is the reward of a policy's training, and dumped.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('critic');
create_model($node, 'tiny');
create_pairs($node);
$node->safe_psql('postgres', q(CREATE TABLE opinions AS SELECT
	'say ' || i % 40 || ': ' AS prompt,
	CASE WHEN i % 2 = 0 THEN repeat('bb', 1 + i % 4) ELSE repeat('yz', 1 + i % 5) END
		|| ' ' || i % 9 AS response,
	CASE WHEN i % 2 = 0 THEN 'good' ELSE 'bad' END AS label
	FROM generate_series(1, 400) i));

sub train_reward
{
	my ($output, $rank, $hold) = @_;
	my $call = "alol_train_reward('opinions', 'tiny', '$output', steps => 500, batch_size => 8, "
	  . "learning_rate => 5e-3, lora_rank => $rank, seed => 3, "
	  . q(options => '{"checkpoint_every": 50, "evaluate_every": 100, "lora_dropout": 0.2}') . ')';
	return start_held($node, $hold, $call) if defined $hold;
	return $node->safe_psql('postgres', "SELECT $call");
}

# Two jobs that differ by nothing but what happens to them; all weights, and
# an adapter with the head.
foreach my $rank (0, 4)
{
	my $whole = train_reward("whole$rank", $rank);
	wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $whole");

	my $broken = train_reward("broken$rank", $rank, 75);
	break_off_and_resume($node, $broken, "rank $rank");

	is($node->safe_psql('postgres', "SELECT count(DISTINCT hash), count(*) FROM alol_model "
			  . "WHERE name IN ('whole$rank', 'broken$rank')"),
		'1|2', 'and makes the same classifier, bit by bit');
	is($node->safe_psql('postgres', "SELECT count(*) FROM (SELECT metric, step, value FROM alol_metrics "
			  . "WHERE job = $whole EXCEPT SELECT metric, step, value FROM alol_metrics "
			  . "WHERE job = $broken) AS other"),
		'0', 'by the same steps and evaluations');
	is($node->safe_psql('postgres', "SELECT value > 0.9 FROM alol_metrics WHERE job = $whole "
			  . "AND metric = 'evaluation/accuracy' AND step = 500"), 't', 'that has learned');
}

# It rewards a policy.
my $job = start_job($node, output => q('pleasing'), method => q('a_lol'), steps => 20,
	reward => q('alol_reward(''whole0'', prompt, response)'));
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $job");
is($node->safe_psql('postgres', "SELECT count(*) > 0 AND bool_and(abs(a.reward - "
		  . "alol_reward('whole0', p.prompt, p.response)) < 1e-5) FROM alol_advantages a "
		  . "JOIN (SELECT row_number() OVER () AS row_number, * FROM pairs) p USING (row_number) "
		  . "WHERE job = $job"), 't', 'a policy is trained for its reward');

# It goes where the database goes.
my $probe = "SELECT alol_logits('whole4', 'say 1: ', 'bbb 1')";
my $before = $node->safe_psql('postgres', $probe);
my $file = PostgreSQL::Test::Utils::tempdir() . '/dump';
command_ok([ 'pg_dump', '-Fc', '-f', $file, $node->connstr('postgres') ], 'it is dumped');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $file ],
	'and restored');
is($node->safe_psql('restored', $probe), $before, 'and gives the same numbers');
$node->stop;
done_testing();
