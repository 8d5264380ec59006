# Alol.pm
#		What the server tests share: a server with alol, a tiny model, a table
#		of pairs, and ways to wait for things and to find engines.

package Alol;

use strict;
use warnings FATAL => 'all';

use Exporter 'import';
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(start_node new_node create_model create_pairs wait_until
  start_job start_held hold_at wait_held let_run engines_of is_alive wait_gone
  reward_sql last_line break_off_and_resume install_module set_faults);

# A cluster, not yet started, with settings that suit tests.
sub new_node
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(extra => [ '--encoding=' . ($options{encoding} // 'UTF8'),
			'--locale=' . ($options{locale} // 'C') ], %options);
	$node->append_conf('postgresql.conf', <<'CONF');
max_worker_processes = 12
log_statement = none
CONF
	return $node;
}

# A running server with the extension in database postgres.
sub start_node
{
	my ($name, %options) = @_;
	my $node = new_node($name, %options);
	$node->append_conf('postgresql.conf', $options{conf}) if $options{conf};
	$node->start;
	$node->safe_psql('postgres', 'CREATE EXTENSION alol');
	return $node;
}

# A language model of some thousand parameters; its tokens are bytes.
sub create_model
{
	my ($node, $name, $user) = @_;
	$node->safe_psql('postgres', <<"SQL", extra_params => [ $user ? ('-U', $user) : () ]);
SELECT alol_model_create('$name', '{"model_type": "llama", "vocab_size": 320,
	"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
	"num_attention_heads": 4, "num_key_value_heads": 2,
	"max_position_embeddings": 128, "tie_word_embeddings": true}', seed => 1)
SQL
	return;
}

# pairs(id, prompt, response, reward): 240 short rows.
sub create_pairs
{
	my ($node, $table) = @_;
	$table //= 'pairs';
	$node->safe_psql('postgres', <<"SQL");
CREATE TABLE $table AS
SELECT i AS id, 'say ' || (i % 40) || ': ' AS prompt,
	repeat(chr(97 + i % 26), 2 + i % 5) || ' ' || i AS response,
	(i % 7) / 7.0 AS reward
FROM generate_series(1, 240) AS i
SQL
	return;
}

# A reward that can be computed for any response.
sub reward_sql { return '4.0 / (4 + length(response))'; }

# Polls until a query gives t; dies with the query when it does not in time.
sub wait_until
{
	my ($node, $query, $seconds, $database) = @_;
	my $end = time + ($seconds // 180);
	my $result = '';
	while (time < $end)
	{
		$result = $node->safe_psql($database // 'postgres', $query);
		return 1 if $result eq 't';
		sleep 0.1;
	}
	die "waited in vain for: $query\nit gave: $result\n"
	  . $node->safe_psql($database // 'postgres',
		'SELECT job, state, phase, step, error, detail FROM alol_jobs');
}

# Starts a job on pairs and returns its id; arguments of alol_train by name, and
# where it is held, if it is.
sub start_job
{
	my ($node, %arguments) = @_;
	my $hold = delete $arguments{hold};
	my %all = (source => q('pairs'), model => q('tiny'),
		reward => "'" . reward_sql() . "'", %arguments);
	my $call = 'alol_train('
	  . join(', ', map { "$_ => $all{$_}" } grep { defined $all{$_} } sort keys %all) . ')';
	return start_held($node, $hold, $call) if defined $hold;
	return $node->safe_psql('postgres', "SELECT $call");
}

# Starts a job that is held: whoever is to do something in the midst of it has
# time for that, however fast the machine is.  Its worker waits before it
# records the losses of this step and later ones, and with it, at its next
# checkpoint at the latest, the engine.  As this role, if one is named.
sub start_held
{
	my ($node, $step, $call, $role) = @_;
	my $is_there = $node->safe_psql('postgres', q(SELECT to_regclass('hold') IS NOT NULL));
	$node->safe_psql('postgres', <<'SQL') if $is_there eq 'f';
CREATE TABLE hold (job bigint PRIMARY KEY, step bigint NOT NULL);
GRANT SELECT, INSERT ON hold TO PUBLIC;
CREATE FUNCTION hold_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	WHILE EXISTS (SELECT FROM public.hold AS h
			WHERE h.job = NEW.job AND h.step <= NEW.step) LOOP
		PERFORM pg_sleep(0.02);
	END LOOP;
	RETURN NEW;
END $$;
CREATE TRIGGER hold BEFORE INSERT ON alol_metric FOR EACH ROW
	WHEN (NEW.metric = 'loss') EXECUTE FUNCTION hold_on();
SQL
	return (split /\n/, $node->safe_psql('postgres', ($role ? "SET SESSION AUTHORIZATION $role; " : '')
		  . "INSERT INTO hold SELECT $call, $step RETURNING job"))[-1];
}

# From now on it is held at another step, or (undef) not any more.
sub hold_at
{
	my ($node, $job, $step) = @_;
	$node->safe_psql('postgres', defined $step
		? "UPDATE hold SET step = $step WHERE job = $job"
		: "DELETE FROM hold WHERE job = $job");
	return;
}

sub wait_held
{
	my ($node, $job) = @_;
	wait_until($node, "SELECT count(*) = 1 FROM pg_stat_activity JOIN alol_jobs USING (pid) "
		  . "WHERE job = $job AND wait_event = 'PgSleep'");
	return;
}

# Waits until the job is held and lets it go, not beyond a later step; returns
# at a random moment on the way there.
sub let_run
{
	my ($node, $job, $step) = @_;
	wait_held($node, $job);
	hold_at($node, $job, $step);
	sleep rand 0.05;
	return;
}

sub parents
{
	my %parent;
	foreach my $file (glob '/proc/[0-9]*/stat')
	{
		open(my $handle, '<', $file) or next;
		my $line = <$handle> // next;
		$parent{$1} = $3 if $line =~ /^(\d+) \((.*)\) \S (\d+)/s;
	}
	return %parent;
}

# The pids of the engines under a running server.
sub engines_of
{
	my ($node) = @_;
	my $postmaster = (split /\n/, slurp_file($node->data_dir . '/postmaster.pid'))[0];
	my %parent = parents();
	my @engines;
	foreach my $pid (keys %parent)
	{
		open(my $handle, '<', "/proc/$pid/comm") or next;
		my $name = <$handle> // next;
		my $backend = $parent{$pid};
		push @engines, $pid
		  if $name eq "alol-engine\n"
		  && ($parent{$backend} // 0) == $postmaster;
	}
	@engines = sort { $a <=> $b } @engines;
	return @engines;
}

# Kills the engine of a job that is held, cancels it when it has gone on, restarts
# the server and lets it go on to its end, beyond step 400: two tests.
sub break_off_and_resume
{
	my ($node, $job, $what) = @_;
	let_run($node, $job, 200);
	kill 'KILL', engines_of($node);
	hold_at($node, $job, 300);
	wait_until($node, "SELECT notice LIKE '%goes on from step%' FROM alol_jobs WHERE job = $job");
	pass(join ', ', 'a job whose engine is killed goes on', $what // ());
	let_run($node, $job, 400);
	$node->safe_psql('postgres', "SELECT alol_cancel($job)");
	# What a cancelled job has measured is recorded, too, and would be held.
	hold_at($node, $job);
	wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);
	$node->restart;
	is($node->safe_psql('postgres', "SELECT alol_resume($job)"), 't', 'a cancelled one is resumed');
	wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $job");
	return;
}

# A process that is there and not a zombie.
sub is_alive
{
	my ($pid) = @_;
	open(my $handle, '<', "/proc/$pid/stat") or return 0;
	my $line = <$handle> // return 0;
	return $line !~ /\) Z /;
}

# True when all these processes are gone within so many seconds.
sub wait_gone
{
	my ($seconds, @pids) = @_;
	my $end = time + $seconds;
	while (time < $end)
	{
		return 1 unless grep { is_alive($_) } @pids;
		sleep 0.05;
	}
	return 0;
}

# Where engines look for a module of devices.
sub module_path
{
	my $library = qx($ENV{PG_CONFIG} --pkglibdir);
	chomp $library;
	return "$library/alol_cuda.so";
}

# Puts the module for tests (test/module), whose GPUs are the CPU, beside the
# engine until the test ends; false where that cannot be.
my $has_module = 0;
sub install_module
{
	my $path = module_path();
	my $built = 'build/engine/test/module/alol_cuda.so';
	return 0 if -e $path;
	system("make -s PG_CONFIG=$ENV{PG_CONFIG} test-module >/dev/null 2>&1") == 0
	  or return 0;
	system("cp $built $path 2>/dev/null") == 0 or return 0;
	$has_module = 1;
	return 1;
}

# What the module finds wrong from now on: words and numbers.
sub set_faults
{
	my (%faults) = @_;
	open(my $file, '>', module_path() . '.faults') or die "faults: $!";
	print $file "$_ $faults{$_}\n" foreach sort keys %faults;
	close $file;
	return;
}

END
{
	unlink map { module_path() . $_ } '', '.faults', '.memory' if $has_module;
}

sub last_line
{
	my ($text) = @_;
	return (split /\n/, $text)[-1];
}

1;
