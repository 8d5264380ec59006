# A job reads its source once: what happens to the table afterwards, and what
# if the file with its rows is damaged, or a type is not what it was.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('spool');
create_model($node, 'tiny');
create_pairs($node);
$node->safe_psql('postgres', <<'SQL');
CREATE TYPE mood AS (grade int, word text);
CREATE TABLE typed AS SELECT *, 0.1 AS value, ROW(id, 'x')::mood AS mood, repeat('wide', 100000) AS wide FROM pairs;
SQL

# Starts a long job on typed, and stops it once it trains.
sub interrupted_job
{
	my ($output) = @_;
	my $job = start_job($node, source => q('typed'), output => "'$output'",
		reward => q('length(response) / 20.0 + (mood).grade * 0.0'), steps => 100000,
		options => q('{"checkpoint_every": 5, "evaluate_every": 50000, "evaluation_prompts": 2}'));
	wait_until($node, "SELECT step > 10 OR state = 'failed' FROM alol_jobs WHERE job = $job");
	$node->safe_psql('postgres', "SELECT alol_cancel($job)");
	wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 10);
	return $job;
}

sub spool_of
{
	my ($job) = @_;
	my $uuid = $node->safe_psql('postgres', "SELECT uuid FROM alol_job WHERE id = $job");
	my @found = glob $node->data_dir . "/*/*/*-$uuid/source.spool";
	@found = glob $node->data_dir . "/*/*-$uuid/source.spool" unless @found;
	return $found[0];
}

my $job = interrupted_job('one');
my $spool = spool_of($job);
ok(-f $spool, 'the rows are in a file');
cmp_ok(-s $spool, '<', 10_000_000, 'without columns that nobody reads');

# The table may go: the job has its rows.
$node->safe_psql('postgres', 'ALTER TABLE typed RENAME TO hidden');
is($node->safe_psql('postgres', "SELECT alol_resume($job)"), 't', 'it is resumed');
wait_until($node, "SELECT step > 30 OR state = 'failed' FROM alol_jobs WHERE job = $job");
is($node->safe_psql('postgres', "SELECT state FROM alol_jobs WHERE job = $job"),
	'running', 'and goes on without its table');
$node->safe_psql('postgres', "SELECT alol_cancel($job)");
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 10);

# A type that changed in between would be read wrongly.
sub fails_with
{
	my ($pattern, $claim) = @_;
	$node->safe_psql('postgres', "SELECT alol_resume($job)");
	wait_until($node, "SELECT state = 'failed' FROM alol_jobs WHERE job = $job", 20);
	like($node->safe_psql('postgres', "SELECT error FROM alol_jobs WHERE job = $job"),
		$pattern, $claim);
}
$node->safe_psql('postgres', 'ALTER TYPE mood ADD ATTRIBUTE more int CASCADE');
fails_with(qr/the type of column "mood" has changed/, 'a changed type is refused');

# Damage is found, wherever it is.
$node->safe_psql('postgres', 'ALTER TABLE hidden RENAME TO typed');
$job = interrupted_job('two');
$spool = spool_of($job);
my $whole = slurp_file($spool);

sub write_spool
{
	my ($content) = @_;
	open(my $handle, '>:raw', $spool) or die "$spool: $!";
	print $handle $content;
	close $handle;
}
write_spool(substr($whole, 0, length($whole) - 100));
fails_with(qr/spool file ".*" is damaged/, 'a truncated file is refused');
write_spool('');
fails_with(qr/spool file ".*" is damaged/, 'an empty file is refused');
my $changed = $whole;
substr($changed, 40, 1) ^= "\x01";
write_spool($changed);
fails_with(qr/spool file ".*" is damaged/, 'a changed header is refused');
$changed = $whole;
substr($changed, int(length($whole) / 2), 1) ^= "\x10";
write_spool($changed);
fails_with(qr/spool file ".*" is damaged/, 'a changed row is refused');
write_spool($whole);
$node->safe_psql('postgres', "SELECT alol_resume($job)");
wait_until($node, "SELECT step > 20 OR state = 'failed' FROM alol_jobs WHERE job = $job");
is($node->safe_psql('postgres', "SELECT state FROM alol_jobs WHERE job = $job"),
	'running', 'the whole file is read again');
$node->safe_psql('postgres', "SELECT alol_cancel($job)");
$node->stop;
done_testing();
