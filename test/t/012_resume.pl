# Two sessions that resume one job start it once; queued jobs run one by one;
# a job that finds no worker slot waits for one.

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
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity "
		  . "WHERE backend_type LIKE 'alol%job%'"), '1', 'and it runs once');
is(scalar engines_of($node), 1, 'with one engine');

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
