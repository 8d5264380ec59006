# Jobs of dpo, dpo_ref_free and pro on rows of the golden set have its losses
# and gradient norms, step by step, from pairs as from ranked rows.

use strict;
use warnings FATAL => 'all';

use Alol;
use File::Basename;
use File::Spec;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;

my $golden = File::Spec->rel2abs(dirname(__FILE__) . '/../golden');
my $node = start_node('values');

sub sql { return $node->safe_psql('postgres', @_); }

# The golden values of a model, with its rows in table NAME.
sub load
{
	my ($name) = @_;
	my $values = decode_json(slurp_file("$golden/preferences/$name/golden.json"));

	sql("SELECT alol_model_load('$name', '$golden/training/$name')");
	sql("SELECT alol_model_load('${name}_reference', '$golden/training/$name/reference', "
		  . qq(options => '{"tokenizer": "$name"}'\)));
	sql("CREATE TABLE $name (key int, prompt text, response text, reward float8)");
	foreach my $i (0 .. $#{ $values->{rows} })
	{
		my $row = $values->{rows}[$i];
		sql(sprintf("INSERT INTO $name VALUES (%d, \$p\$%s\$p\$, \$p\$%s\$p\$, %s)",
				$i, $row->{prompt}, $row->{response}, $row->{reward}));
	}
	sql(<<"SQL");
CREATE TABLE ${name}_pairs AS SELECT prompt, (array_agg(response ORDER BY reward DESC, key))[1] AS chosen,
	(array_agg(response ORDER BY reward, key DESC))[1] AS rejected FROM $name GROUP BY prompt
SQL
	return $values;
}

# Three steps on all groups at once, as the golden ones were made.
sub train
{
	my ($name, $method, $source) = @_;
	my $job = sql(<<"SQL");
SELECT alol_train('$source', '$name', '${source}_$method', '$method', steps => 3, batch_size => 3,
	learning_rate => 1e-3, validation => 'SELECT ''a'' AS prompt', options => '{
		"reference": "${name}_reference", "schedule": "constant", "weight_decay": 0,
		"adam_eps": 1e-6, "max_grad_norm": 1, "sample_prompts": 0}')
SQL
	is(sql("SELECT alol_wait($job)"), 'succeeded', "$method of $name on $source");
	return $job;
}

sub check
{
	my ($job, $steps) = @_;
	foreach my $metric ('loss', 'grad_norm')
	{
		my @got = split /\n/, sql("SELECT value FROM alol_metrics WHERE job = $job "
			  . "AND metric = '$metric' ORDER BY step");
		my $worst = 0;
		foreach my $i (0 .. 2)
		{
			my $want = $steps->[$i]{$metric};
			my $error = abs($got[$i] - $want) / (1 + abs($want));
			$worst = $error if $error > $worst;
		}
		cmp_ok($worst, '<', 2e-5, "$metric of job $job");
	}
	return;
}

foreach my $name ('gpt2', 'llama')
{
	my $values = load($name);
	foreach my $method ('dpo', 'dpo_ref_free', 'pro')
	{
		my $steps = $values->{methods}{$method}{steps};
		check(train($name, $method, $name), $steps);
		check(train($name, $method, "${name}_pairs"), $steps) if $method ne 'pro';
	}
}

$node->stop;
done_testing();
