# Jobs that want the memory of one GPU: who finds too little because of another
# waits in the queue until that ends; who can never have enough fails at once.

use strict;
use warnings FATAL => 'all';

use Alol;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

$ENV{PG_CONFIG} //= 'pg_config';
plan skip_all => 'no module can be put beside the engine' unless install_module();

# Enough for one job, too little for two.
my $enough = 2;

set_faults(memory => $enough);
my $node = start_node('memory', conf => "alol.max_jobs = 4\nalol.threads = 1\n");
create_model($node, 'tiny');
create_pairs($node);

sub sql { return $node->safe_psql('postgres', @_); }

sub begin
{
	my ($output, $hold, $device) = @_;
	$device //= 'cuda:0';
	return start_job($node, output => "'$output'", steps => 40, method => q('nll'), batch_size => 8,
		options => qq('{"checkpoint_every": 10, "max_response_tokens": 16, "device": "$device"}'),
		defined $hold ? (hold => $hold) : ());
}

sub column
{
	my ($job, $column) = @_;
	return sql("SELECT $column FROM alol_jobs WHERE job = $job");
}

sub reaches
{
	my ($job, $state) = @_;
	wait_until($node, "SELECT state = '$state' FROM alol_jobs WHERE job = $job", 60);
	pass("job $job: $state");
	return;
}

sub waits
{
	my ($job) = @_;
	wait_until($node, "SELECT state = 'queued' AND phase = 'waiting for memory on cuda:0' "
		  . "FROM alol_jobs WHERE job = $job", 60);
	wait_until($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'alol job'");
	pass("job $job waits");
	return;
}

# The second waits, and has nothing while it does.
my $first = begin('first', 15);
wait_held($node, $first);
my $second = begin('second');
waits($second);
my $numbers = qr/needs [\d.]+ MiB more memory on cuda:0, which has [\d.]+ MiB free of $enough\.0 MiB/;
like(column($second, 'detail'), $numbers, 'the job tells what it needs and what there is');
like(column($second, 'notice'), qr/$numbers: the job waits until others give memory back/, 'so does its notice');
is(scalar engines_of($node), 1, 'it has no engine');
is(sql("SELECT alol_wait($second, '3 s')"), 'queued', 'one can wait for it');
is(sql("SELECT count(*) FROM alol_job WHERE id = $second AND waits_since < extract(epoch FROM now() - interval '2 s') * 1e6"),
	'1', 'it is not tried again while nothing changes');
my $aside = begin('aside', undef, 'cpu');
reaches($aside, 'succeeded');

# It goes on by itself.
hold_at($node, $first);
reaches($first, 'succeeded');
reaches($second, 'succeeded');
is(column($second, 'detail'), '', 'and has nothing to complain of');

# So does one that only generates.
$first = begin('before', 15);
wait_held($node, $first);
my $measured = sql(q(SELECT alol_evaluate('SELECT * FROM pairs LIMIT 4', 'tiny', 'length(response)',
	options => '{"device": "cuda:0", "max_response_tokens": 8}')));
waits($measured);
hold_at($node, $first);
reaches($_, 'succeeded') foreach $first, $measured;

# It can be cancelled, resumed, and moved.
$first = begin('long', 15);
wait_held($node, $first);
my $cancelled = begin('cancelled');
waits($cancelled);
is(sql("SELECT alol_resume($cancelled)"), 'f', 'one that waits need not be resumed');
is(sql("SELECT alol_cancel($cancelled)"), 't', 'one that waits is cancelled');
reaches($cancelled, 'cancelled');
is(sql("SELECT alol_resume($cancelled)"), 't', 'and resumed');
waits($cancelled);
sql("SELECT alol_cancel($cancelled)");
is(sql("SELECT alol_resume($cancelled, 'cpu')"), 't', 'or resumed elsewhere');
reaches($cancelled, 'succeeded');

# What can never be is told at once.
set_faults(memory => 0);
my $never = begin('never');
reaches($never, 'failed');
like(column($never, 'error'), qr/needs [\d.]+ MiB more memory on cuda:0, which has 0\.0 MiB free of 0\.0 MiB/,
	'one that never fits fails, with both numbers');
set_faults(memory => $enough);

# Who is cancelled makes room, too; and of two that wait for it each gets it.
my @both = map { begin($_) } 'either', 'other';
waits($_) foreach @both;
sql("SELECT alol_cancel($first)");
hold_at($node, $first);
reaches($_, 'succeeded') foreach @both;

# The wait outlives the server.
$first = begin('longer', 15);
wait_held($node, $first);
my $patient = begin('patient');
waits($patient);
$node->stop('immediate');
$node->start;
is(column($patient, 'state'), 'queued', 'after a crash it still waits');
is(sql("SELECT alol_wait($patient, '60 s')"), 'succeeded', 'until somebody looks after the queue');

# Nor does it need to know where the other is.
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
hold_at($node, $first);
sql("SELECT alol_wait(job) FROM alol_jobs WHERE state = 'running'");
$first = begin('here', 15);
wait_held($node, $first);
$node->safe_psql('elsewhere', 'CREATE EXTENSION alol');
create_pairs_in('elsewhere');
wait_until($node, "SELECT state = 'queued' AND phase LIKE 'waiting for memory%' FROM alol_jobs", 60, 'elsewhere');
hold_at($node, $first);
reaches($first, 'succeeded');
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs", 60, 'elsewhere');
pass('a job of another database waits and goes on likewise');

# Two that start at once, again and again.
foreach my $round (1 .. 3)
{
	my $call = "alol_train('pairs', 'tiny', '%s$round', 'nll', steps => 20, options => '{\"device\": \"cuda:0\"}')";
	my ($one, $two) = split /\|/, sql(sprintf "SELECT $call, $call", 'one', 'two');
	is(sql("SELECT alol_wait($one)") . sql("SELECT alol_wait($two)"), 'succeededsucceeded',
		'two that start at once both end well');
}
$node->stop;
done_testing();

sub create_pairs_in
{
	my ($database) = @_;
	$node->safe_psql($database, q(SELECT alol_model_create('tiny', '{"model_type": "llama", "vocab_size": 320,
		"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
		"num_key_value_heads": 2, "max_position_embeddings": 128, "tie_word_embeddings": true}')));
	$node->safe_psql($database, q(SELECT alol_sft('SELECT ''say'' AS prompt, ''aaa bbb'' AS response', 'tiny', 'there',
		steps => 20, options => '{"device": "cuda:0"}')));
	return;
}
