# A job whose moments are bytes learns as one with exact ones, and ends with the
# same bits whether or not it was killed and resumed on the way.

use strict;
use warnings FATAL => 'all';

use Alol;
use Test::More;

my $node = start_node('adamw8bit');
create_pairs($node);
# Maps of 4096 numbers, from where on bytes are used.
$node->safe_psql('postgres', <<'SQL');
SELECT alol_model_create('wide', '{"model_type": "llama", "vocab_size": 320,
	"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1,
	"num_attention_heads": 4, "max_position_embeddings": 128}', seed => 1)
SQL

my %call = (model => q('wide'), steps => 500, batch_size => 4, learning_rate => 1e-3,
	options => q('{"optimizer": "adamw8bit", "checkpoint_every": 50, "evaluate_every": 500}'));
my $whole = start_job($node, output => q('whole'), %call);
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $whole");

my $broken = start_job($node, output => q('broken'), %call, hold => 75);
break_off_and_resume($node, $broken);
is($node->safe_psql('postgres', "SELECT count(DISTINCT hash), count(*) FROM alol_model "
		  . "WHERE name IN ('whole', 'broken')"),
	'1|2', 'a resumed job makes the same model, bit by bit');
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT options ->> 'optimizer', ' ') "
		  . "FROM alol_jobs WHERE job IN ($whole, $broken)"),
	'adamw8bit', 'the jobs say by which optimizer');

# The first update is that of exact moments, the second is not.
$call{options} =~ s/adamw8bit/adamw/;
my $exact = start_job($node, output => q('exact'), %call);
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $exact");
my $losses = 'FROM alol_metrics AS coded JOIN alol_metrics AS exact USING (metric, step) '
  . "WHERE coded.job = $whole AND exact.job = $exact AND metric = 'loss'";
is($node->safe_psql('postgres', "SELECT bool_and(coded.value = exact.value) $losses AND step <= 2"),
	't', 'it begins as with exact moments');
is($node->safe_psql('postgres', "SELECT bool_or(coded.value <> exact.value) $losses AND step > 2"),
	't', 'goes another way');
is($node->safe_psql('postgres', 'SELECT abs(avg(coded.value) / avg(exact.value) - 1) < 0.1 '
		  . "$losses AND step > 300"),
	't', 'and arrives where they do');
$node->stop;
done_testing();
