# Jobs that several ranks share: they end with the same models, cancel within a
# second, and leave no process behind, however they end.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

my $node = start_node('ranks', conf => "alol.threads = 1\n");
create_model($node, 'tiny');
create_pairs($node);
my $start = sql('SELECT pg_postmaster_start_time()');

sub sql { return $node->safe_psql('postgres', @_); }

sub begin
{
	my ($output, $device, $steps, %hold) = @_;
	return start_job($node, output => "'$output'", steps => $steps // 40, batch_size => 8,
		learning_rate => 1e-3, validation => q('SELECT prompt FROM pairs WHERE id <= 40'),
		options => qq('{"checkpoint_every": 10, "max_response_tokens": 16,
			"evaluation_prompts": 4, "evaluate_every": 1000000, "device": "$device"}'), %hold);
}

sub column
{
	my ($job, $column) = @_;
	return sql("SELECT $column FROM alol_jobs WHERE job = $job");
}

sub ends
{
	my ($job, $state) = @_;
	wait_until($node, "SELECT state IN ('failed', 'succeeded') FROM alol_jobs WHERE job = $job");
	is(column($job, 'state'), $state, "job $job: $state") or diag(column($job, 'error'));
	return;
}

sub hash_of { return sql("SELECT hash FROM alol_model WHERE name = '$_[0]'"); }

# The children of engines are ranks.
sub ranks_of
{
	my @ranks;
	foreach my $engine (engines_of($node))
	{
		open(my $file, '<', "/proc/$engine/task/$engine/children") or next;
		push @ranks, split ' ', <$file> // '';
	}
	return @ranks;
}

# The same losses as one, the same bits again.
my $one = begin('one', 'cpu');
ends($one, 'succeeded');
my $two = begin('two', 'cpu:2');
ends($two, 'succeeded');
is(column($two, 'device'), 'cpu:2', 'it says that they are two');
is(sql("SELECT count(*) || ' ' || bool_and(abs(a.value - b.value) < 1e-3) FROM alol_metrics a
		JOIN alol_metrics b USING (step, metric)
		WHERE a.job = $one AND b.job = $two AND metric IN ('loss', 'grad_norm', 'logps/policy')"),
	'120 true', 'two ranks see what one sees');
ends(begin('two_again', 'cpu:2'), 'succeeded');
is(hash_of('two'), hash_of('two_again'), 'they make the same bits again');

# A rank that dies: tried once more, then the job fails and is resumed.
my $long = begin('long', 'cpu:2', 120, hold => 15);
foreach my $step (50, 90)
{
	let_run($node, $long, $step);
	my @ranks = ranks_of();
	is(scalar @ranks, 1, 'there is one rank more');
	kill 'KILL', @ranks;
	hold_at($node, $long, $step + 20);
	wait_until($node, "SELECT notice LIKE '%goes on from step%' FROM alol_jobs WHERE job = $long");
	ok(wait_gone(5, @ranks), 'and it is killed');
}
hold_at($node, $long);
ends($long, 'failed');
is(column($long, 'error'), 'rank 1 (cpu:1) exited on signal 9', 'the job says who died');
is(scalar(engines_of($node)), 0, 'no engine is left');
sql("SELECT alol_resume($long)");
ends($long, 'succeeded');
ends(begin('undisturbed', 'cpu:2', 120), 'succeeded');
is(hash_of('long'), hash_of('undisturbed'), 'it goes on to the same bits');

# On fewer ranks it goes on, and says so.
my $moved = begin('moved', 'cpu:2', 100000);
wait_until($node, "SELECT step > 20 FROM alol_jobs WHERE job = $moved");
my @all = (engines_of($node), ranks_of());
is(scalar @all, 2, 'an engine and a rank');
my $started = time;
sql("SELECT alol_cancel($moved)");
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $moved", 5);
ok(wait_gone(2, @all), 'a cancelled job leaves no process');
sql("SELECT alol_resume($moved, 'cpu')");
wait_until($node, "SELECT notice LIKE '%2 ranks by sockets%results will differ by rounding%' "
	  . "FROM alol_jobs WHERE job = $moved");
pass('on one rank it goes on, and says so');

# The server crashes.
sql("SELECT alol_cancel($moved)");
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $moved", 5);
my $crashed = begin('crashed', 'cpu:2', 100000);
wait_until($node, "SELECT step > 20 FROM alol_jobs WHERE job = $crashed");
@all = (engines_of($node), ranks_of());
is(sql('SELECT pg_postmaster_start_time()'), $start, 'the server never restarted');
$node->stop('immediate');
ok(wait_gone(5, @all), 'a crash of the server leaves no process');
$node->start;
sql("SELECT alol_job_drop($crashed)");

# Classifiers, and what is left to one device.
my $judge = sql(q(SELECT alol_train_reward('SELECT prompt, response, reward AS label FROM pairs', 'tiny', 'judge',
	objective => 'regression', steps => 20, options => '{"device": "cpu:2"}')));
ends($judge, 'succeeded');
is(column($judge, 'device'), 'cpu:2', 'two ranks train a classifier');
my $value = sql(q(SELECT alol_train_value('pairs', 'tiny', 'worth', reward => '1.0 / length(response)',
	options => '{"device": "cpu:2", "value_epochs": 2}')));
ends($value, 'succeeded');
is(column($value, 'device'), 'cpu', 'a value is fitted on one device');

$node->stop;
done_testing();
