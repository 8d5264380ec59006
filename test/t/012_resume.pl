# Two sessions that resume one job start it once; queued jobs run one by one;
# what two transactions want one gets; a job that finds no worker slot waits.

use strict;
use warnings FATAL => 'all';

use Alol;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('resume', conf => "alol.max_jobs = 1\n");
create_model($node, 'tiny');
create_pairs($node);

my $job = start_job($node, output => q('often'), steps => 1000000,
	options => q('{"checkpoint_every": 20}'));
wait_until($node, "SELECT step > 30 FROM alol_jobs WHERE job = $job");
is($node->safe_psql('postgres', "SELECT alol_cancel($job)"), 't', 'a job is cancelled');
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);

my @runs;
foreach my $i (1 .. 4)
{
	my ($in, $out, $err) = ('', '', '');
	push @runs, { out => \$out, err => \$err, handle => IPC::Run::start(
			[ 'psql', '-XAtq', '-d', $node->connstr('postgres'),
				'-c', "SELECT alol_resume($job)" ],
			\$in, \$out, \$err) };
}
$_->{handle}->finish foreach @runs;
my $started = grep { ${ $_->{out} } =~ /^t/ } @runs;
cmp_ok($started, '>=', 1, 'somebody resumed it');
wait_until($node, "SELECT state = 'running' AND phase = 'training' FROM alol_jobs WHERE job = $job");
is(scalar engines_of($node), 1, 'and it runs once');
wait_until($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type LIKE 'alol%job%'", 20);
pass('a worker that another session started for it finds it taken and ends');

# The next job waits behind alol.max_jobs.
my $next = start_job($node, output => q('next'), steps => 30);
is($node->safe_psql('postgres', "SELECT state FROM alol_jobs WHERE job = $next"),
	'queued', 'the next job waits');
$node->safe_psql('postgres', "SELECT alol_cancel($job)");
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $next");
pass('and runs when the first has ended');

# A queued job can be cancelled, and one that is over cannot.
$job = start_job($node, output => q('front'), steps => 1000000);
wait_until($node, "SELECT state = 'running' FROM alol_jobs WHERE job = $job");
my $behind = start_job($node, output => q('behind'), steps => 30);
is($node->safe_psql('postgres', "SELECT alol_cancel($behind)"), 't', 'a queued job is cancelled');
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $behind", 5);
is($node->safe_psql('postgres', "SELECT alol_cancel($next)"), 'f', 'one that is over is not');
$node->safe_psql('postgres', "SELECT alol_cancel($job)");
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);

# Five jobs at once run one after another.
$node->safe_psql('postgres', 'SELECT ' . join ', ', map {
	"alol_train('pairs', 'tiny', 'row$_', 'nll', steps => 5)" } 1 .. 5);
wait_until($node, "SELECT count(*) = 5 FROM alol_jobs WHERE output LIKE 'row%' AND state = 'succeeded'");
is($node->safe_psql('postgres', "SELECT count(*) FROM alol_jobs a JOIN alol_jobs b "
		  . "ON a.job < b.job AND a.finished_at > b.started_at AND b.finished_at > a.started_at "
		  . "WHERE a.output LIKE 'row%' AND b.output LIKE 'row%'"),
	'0', 'five jobs run one by one');
is($node->safe_psql('postgres', "SELECT string_agg(output, ' ' ORDER BY started_at) "
		  . "FROM alol_jobs WHERE output LIKE 'row%'"),
	'row1 row2 row3 row4 row5', 'in the order in which they were started');

# What two transactions want at once, one gets.  The first waits, in its
# transaction, for a lock that we hold.
sub psql_start
{
	my ($sql) = @_;
	my ($in, $out, $err) = ('', '', '');
	return { out => \$out, err => \$err, handle => IPC::Run::start(
			[ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d',
				$node->connstr('postgres'), '-c', $sql ],
			\$in, \$out, \$err) };
}

sub wait_for_query
{
	my ($mark, $wait) = @_;
	wait_until($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE "
		  . "'%/* $mark */%' AND pid <> pg_backend_pid() AND $wait");
	return;
}

sub race
{
	my ($first, $second) = @_;
	my $keeper = psql_start('BEGIN; SELECT pg_advisory_xact_lock(1); SELECT pg_sleep(600) /* keeper */');
	wait_for_query('keeper', "wait_event = 'PgSleep'");
	my $one = psql_start("BEGIN; $first; SELECT pg_advisory_xact_lock(1) /* first */; COMMIT");
	wait_for_query('first', "wait_event = 'advisory'");
	my $two = psql_start("$second /* second */");
	wait_for_query('second', "wait_event_type = 'Lock'");
	$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE query LIKE '%/* keeper */%' AND pid <> pg_backend_pid()));
	$_->{handle}->finish foreach $keeper, $one, $two;
	is(${ $one->{err} }, '', 'the first transaction gets what it wants');
	return ${ $two->{err} };
}

my $train = "SELECT alol_train('pairs', 'tiny', '%s', 'nll', steps => 5)";
like(race(sprintf($train, 'contested'), sprintf($train, 'contested')),
	qr/alol_job_output/, 'the name of an output is given once');
create_model($node, 'wanted');
like(race("SELECT alol_train('pairs', 'wanted', 'from_wanted', 'nll', steps => 100000)",
		"SELECT alol_model_drop('wanted')"),
	qr/model "wanted" is used by job/, 'a model that a job has just begun with stays');
$job = start_job($node, output => q('hindered'), steps => 1000000);
$behind = start_job($node, output => q('unwanted'), steps => 5);
$node->safe_psql('postgres', q(SELECT alol_cancel(job) FROM alol_jobs WHERE output = 'from_wanted'));
wait_until($node, "SELECT state = 'running' FROM alol_jobs WHERE job = $job");

# A cancel whose transaction is open holds up the start of its job.
{
	my $keeper = psql_start("BEGIN; SELECT alol_cancel($behind); SELECT pg_sleep(600) /* keeper */");
	wait_for_query('keeper', "wait_event = 'PgSleep'");
	$node->safe_psql('postgres', "SELECT alol_cancel($job)");
	wait_until($node, q(SELECT count(*) = 1 FROM pg_stat_activity
		WHERE backend_type = 'alol job' AND wait_event_type = 'Lock'));
	my $other = start_job($node, output => q('other'), steps => 5);
	is($node->safe_psql('postgres', "SELECT alol_wait($other)"), 'succeeded',
		'while a job waits for a cancel to be committed others run');
	$node->safe_psql('postgres', q(SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE query LIKE '%/* keeper */%' AND pid <> pg_backend_pid()));
	$keeper->{handle}->finish;
	is($node->safe_psql('postgres', "SELECT alol_wait($behind)"), 'succeeded',
		'a cancel that is rolled back lets its job start');
}

# A slot that becomes free in one database is one for another's job.
$node->safe_psql('postgres', 'CREATE DATABASE elsewhere');
$node->safe_psql('elsewhere', 'CREATE EXTENSION alol');
$node->safe_psql('elsewhere', q(SELECT alol_model_create('tiny', '{"model_type": "llama",
	"vocab_size": 320, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
	"num_attention_heads": 4, "max_position_embeddings": 64}')));
$job = start_job($node, output => q('here'), steps => 1000000);
wait_until($node, "SELECT state = 'running' FROM alol_jobs WHERE job = $job");
$node->safe_psql('elsewhere', q(SELECT alol_sft('SELECT ''a'' AS prompt, ''b'' AS response',
	'tiny', 'there', steps => 3)));
wait_until($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'alol job'");
is($node->safe_psql('elsewhere', 'SELECT state FROM alol_jobs'), 'queued',
	'a job waits for that of another database');
$next = start_job($node, output => q('third'), steps => 30);
wait_until($node, "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'alol job'");
$node->safe_psql('postgres', "SELECT alol_cancel($job)");
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $next");
wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs", 60, 'elsewhere');
pass('and runs when that has ended');

# Every worker slot of the server is taken (logical replication has one): the
# job waits for another.
$node->append_conf('postgresql.conf', "max_worker_processes = 2\nalol.max_jobs = 4\n");
$node->restart;
$job = start_job($node, output => q('slot'), steps => 1000000);
wait_until($node, "SELECT state = 'running' FROM alol_jobs WHERE job = $job");
$next = start_job($node, output => q('later'), steps => 30);
is($node->safe_psql('postgres', "SELECT state || ', ' || phase FROM alol_jobs WHERE job = $next"),
	'queued, waiting for a worker slot', 'without a worker slot a job waits');
$node->safe_psql('postgres', "SELECT alol_cancel($job)");
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);
is($node->safe_psql('postgres', "SELECT alol_wait($next, '60 s')"), 'succeeded',
	'a session that waits for it starts it');
$node->stop;
done_testing();
