# What jobs compute on: GPUs that are there and those that are not, that fail in
# mid-job or have too little memory.  The GPUs are test/module's.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

$ENV{PG_CONFIG} //= 'pg_config';
plan skip_all => 'no module can be put beside the engine' unless install_module();

set_faults();
my $node = start_node('devices', conf => "alol.max_jobs = 2\nalol.threads = 1\n");
create_model($node, 'tiny');
create_pairs($node);
my $start = sql('SELECT pg_postmaster_start_time()');

sub sql { return $node->safe_psql('postgres', @_); }

# A short job; options as JSON members.
sub begin
{
	my ($output, $options, $steps) = @_;
	$options //= '';
	return start_job($node, output => "'$output'", steps => $steps // 60, batch_size => 8,
		validation => q('SELECT prompt FROM pairs WHERE id <= 40'),
		options => qq('{"checkpoint_every": 5, "max_response_tokens": 16,
			"evaluation_prompts": 4, "evaluate_every": 30 $options}'));
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

# ALTER SYSTEM knows a setting once the library is loaded.
sub configure
{
	my ($change) = @_;
	sql("LOAD 'alol'; ALTER SYSTEM $change;");
	sql('SELECT pg_reload_conf()');
	return;
}

sub hash_of { return sql("SELECT hash FROM alol_model WHERE name = '$_[0]'"); }

# There is a GPU.
is(sql("SELECT string_agg(device || ' ' || name || ' ' || memory_total || ' ' || compute_capability, ', ')
		FROM alol_devices() WHERE device <> 'cpu'"),
	'cuda:0 Test GPU 0 1073741824 0.0, cuda:1 Test GPU 1 1073741824 0.1', 'the GPUs are listed');
is(sql("SELECT count(*) FROM alol_devices() WHERE device = 'cpu'"), '1', 'and the CPU');
my $whole = begin('whole');
ends($whole, 'succeeded');
is(column($whole, 'device'), 'cuda:0', 'a job takes the first GPU');
is(sql("SELECT length(alol_generate('whole', 'say', 4)) >= 0"), 't', 'and sessions use it');
my $plain = begin('plain', ', "device": "cpu"');
ends($plain, 'succeeded');
is(column($plain, 'device'), 'cpu', 'another is told to use the CPU');
is(sql("SELECT max(abs(a.value - b.value)) < 1e-4 FROM alol_metrics a JOIN alol_metrics b
		USING (step, metric) WHERE a.job = $whole AND b.job = $plain AND metric = 'loss'"), 't',
	'both see the same losses');

# Two at once share what there is.
my $one = begin('one', '', 100000);
wait_until($node, "SELECT step > 5 FROM alol_jobs WHERE job = $one");
my $two = begin('two', '', 100000);
wait_until($node, "SELECT step > 5 FROM alol_jobs WHERE job = $two");
is(column($one, 'device') . ' ' . column($two, 'device'), 'cuda:0 cuda:1', 'two jobs, two GPUs');
sql("SELECT alol_cancel($_)") foreach $one, $two;
wait_until($node, "SELECT bool_and(state = 'cancelled') FROM alol_jobs WHERE job IN ($one, $two)");

# It fails in mid-job, and fails again when the job is started once more.
set_faults(fail_at => 6000);
my $lost = begin('lost', '', 300);
ends($lost, 'failed');
is(column($lost, 'error'), 'cuda:0: unspecified launch failure', 'the device says what it has');
like(column($lost, 'notice'),
	qr/cuda:0: unspecified launch failure; the job goes on from step \d+/, 'it was tried twice');
cmp_ok(sql("SELECT checkpoint FROM alol_job WHERE id = $lost"), '>=', 5, 'it came so far');
wait_until($node, "SELECT " . scalar(engines_of($node)) . " <= 1");
set_faults();
is(sql("SELECT alol_resume($lost)"), 't', 'it is resumed');
ends($lost, 'succeeded');
is(column($lost, 'device'), 'cuda:0', 'on the same device');
my $undisturbed = begin('undisturbed', '', 300);
ends($undisturbed, 'succeeded');
is(hash_of('lost'), hash_of('undisturbed'), 'bit-identical to a job without a fault');

# The process dies with it.
set_faults(die_at => 6000);
my $died = begin('died', '', 300);
ends($died, 'failed');
like(column($died, "concat_ws(' ', error, detail)"),
	qr/engine exited on signal 6 .*cuda:0 fell off the bus/s, 'last words are kept');

# Asked to, it goes on on the CPU, and says what that means.
is(sql("SELECT alol_resume($died, 'cpu')"), 't', 'it is resumed on the CPU');
ends($died, 'succeeded');
is(column($died, 'device'), 'cpu', 'there it ran');
like(column($died, 'notice'),
	qr/was computed with cuda, .*this run goes on with 1 thread, cpu, .*results will differ by rounding/,
	'and says that it is not bit-identical');

# The configuration may change, too.
set_faults(fail_at => 6000);
my $moved = begin('moved', '', 300);
ends($moved, 'failed');
configure("SET alol.device = 'cpu'");
sql("SELECT alol_resume($moved)");
ends($moved, 'succeeded');
is(column($moved, 'device'), 'cpu', 'by the configuration, on the CPU');
configure('RESET alol.device');

# What is not there, or cannot be used.
sub fails_to_start
{
	my ($device, $pattern, $claim) = @_;
	my $wanted = qq('{"device": "$device"}');
	my $call = "alol_sft('pairs', 'tiny', 'never', steps => 1, options => ";
	my ($out, $err);
	isnt($node->psql('postgres', "SELECT $call$wanted)", stdout => \$out, stderr => \$err), 0, $claim);
	like($err, $pattern, 'the caller is told');
	is(sql(q(SELECT count(*) FROM alol_jobs WHERE output = 'never')), '0', 'and has no job');

	# It may also be gone when the job begins.
	my $job = sql("SELECT ${call}'{}')");
	ends($job, 'succeeded');
	sql("SELECT alol_model_drop('never')");
	sql("UPDATE alol_job SET state = 'failed', is_spooled = false WHERE id = $job");
	sql("SELECT alol_resume($job, '$device')");
	ends($job, 'failed');
	like(column($job, 'error'), $pattern, 'so does the job');
	sql("SELECT alol_job_drop($job)");
	return;
}
set_faults();
fails_to_start('cuda:5', qr/device "cuda:5" is not available: this server has 2 GPUs/,
	'a GPU that is not there');
set_faults(no_driver => 1);
fails_to_start('cuda', qr/"cuda" is not available: no GPU: no driver is loaded(?:\n|$)/,
	'no driver');
my ($out, $err);
$node->psql('postgres', "SET alol.device = 'cuda'; SELECT alol_generate('tiny', 'a', 2)",
	stdout => \$out, stderr => \$err);
like($err, qr/device "cuda" is not available: no GPU: no driver is loaded/, 'nor for a session');
foreach my $fault (qw(crash crash_loaded))
{
	set_faults($fault => 1);
	fails_to_start('cuda', qr/the driver crashed with signal 6/, "a driver that crashes: $fault");
}
set_faults(other_version => 1);
fails_to_start('cuda', qr/is of version 0\.0\.1, the engine of version \d/, 'a module of another version');
set_faults(other_layout => 1);
my $free = begin('free');
ends($free, 'succeeded');
is(column($free, 'device'), 'cpu', 'free to choose, a job goes on without');
like(column($free, 'notice'), qr/no GPU: .* is of another build/, 'and tells why');
$node->psql('postgres', 'SELECT FROM alol_devices()', stderr => \$err);
like($err, qr/NOTICE:  no GPU: .* is of another build/, 'as does the list');
set_faults(memory => 1);
my $little = begin('little', ', "device": "cuda"');
ends($little, 'failed');
like(column($little, 'error'), qr/needs [\d.]+ MiB more memory on cuda:0, which has [\d.]+ MiB free of 1\.0 MiB/,
	'too little memory');

is(sql('SELECT pg_postmaster_start_time()'), $start, 'the server never restarted');
unlike(slurp_file($node->logfile), qr/terminating any other active server/, 'no backend crashed');
$node->stop;
done_testing();
