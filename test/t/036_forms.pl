# What engines make of a model's weights is made once and mapped by all, comes
# back when it was lost or damaged, goes with the model, and changes no number.

use strict;
use warnings FATAL => 'all';

use Alol;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('forms');
my $cache = $node->data_dir . '/pgsql_tmp_alol/cache';
create_model($node, 'tiny');
create_pairs($node);

# Trains an adapter in so many bits and returns the hash of its file.
my $count = 0;
sub learn
{
	my ($dtype) = @_;
	my $output = 'output' . ++$count;
	my $job = start_job($node, output => "'$output'", steps => 12, batch_size => 8,
		lora_rank => 4, reward => 'NULL', method => q('nll'),
		options => qq('{"dtype": "$dtype"}'));
	wait_until($node, "SELECT state = 'succeeded' FROM alol_jobs WHERE job = $job");
	my $hash = $node->safe_psql('postgres', "SELECT hash FROM alol_model WHERE name = '$output'");
	$node->safe_psql('postgres', "SELECT alol_model_drop('$output')");
	return $hash;
}

# Files of forms in the cache, by names.
sub forms
{
	return join ' ', sort map { s|.*/||r } glob "$cache/*/*.form";
}

# ---------------------------------------------- of a model in the database
my $exact = learn('fp32');
is(forms(), '', 'products of fp32 read weights as they are stored');
my $rough = learn('bf16');
is(forms(), 'bf16.form', 'those of bf16 have a file');
isnt($rough, $exact, 'and other results');
is(learn('bf16'), $rough, 'a job that maps them learns the same');

my ($place) = glob "$cache/*/bf16.form";
my $size = -s $place;
truncate $place, 5000;
is(learn('bf16'), $rough, 'a file that was cut changes nothing');
is(-s $place, $size, 'as it is made again');
open(my $file, '+<', $place) or die "$place: $!";
sysseek $file, $size / 2, 0;
syswrite $file, 'something else';
close $file;
is(learn('bf16'), $rough, 'nor does one that was written to');
unlink $place;
is(learn('bf16'), $rough, 'or is gone');
is(-s $place, $size, 'and it is there again');
system('rm', '-rf', $cache) == 0 or die 'rm failed';
is(learn('bf16'), $rough, 'nor does it matter that the whole cache is gone');
is(-s $place, $size, 'which comes back');

# Where there can be no file.
unlink $place, "$place.tmp";
mkdir "$place.tmp" or die "$place.tmp: $!";
is(learn('bf16'), $rough, 'what cannot be kept is made in memory, with the same results');
ok(!-e $place, 'without a file');
like(slurp_file($node->logfile), qr/LOG: .*alol-engine: .*bf16\.form\.tmp/, 'and the log says why');
rmdir "$place.tmp";

# ------------------------------------------------- of a model at a path
my $gguf = PostgreSQL::Test::Utils::tempdir() . '/tiny.gguf';
my $probe = "SELECT alol_logprob('file', 'say 1: ', 'bbb 1');";
$node->safe_psql('postgres',
	qq(SELECT alol_model_export('tiny', '$gguf', 'gguf', '{"dtype": "f16"}')));
$node->safe_psql('postgres', "SELECT alol_model_load('file', '$gguf')");
my $old = "$cache/path-" . '0' x 64;
mkdir $old or die "$old: $!";
utime time - 40 * 86400, time - 40 * 86400, $old;
my @sessions;
foreach my $i (1 .. 2)
{
	my ($in, $out) = ("$probe\n", '');
	my $handle = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
		\$in, \$out);
	$handle->pump until $out =~ /\n/;
	push @sessions, { in => \$in, out => \$out, handle => $handle };
}
is(${ $sessions[1]{out} }, ${ $sessions[0]{out} }, 'two sessions give the same number');
my @shares;
foreach my $pid (engines_of($node))
{
	my %of = (Rss => 0, Pss => 0);
	my $is_form = 0;
	foreach my $line (split /\n/, slurp_file("/proc/$pid/smaps"))
	{
		$is_form = $line =~ /rows\.form$/ if $line =~ /^[0-9a-f]+-/;
		$of{$1} += $2 if $is_form && $line =~ /^(Rss|Pss): +(\d+)/;
	}
	push @shares, $of{Rss} > 0 ? $of{Pss} / $of{Rss} : 1;
}
is(scalar(grep { $_ < 0.6 } @shares), 2, 'and share the memory of what was made for both');
foreach my $session (@sessions)
{
	${ $session->{in} } = "\\q\n";
	$session->{handle}->finish;
}
my ($rows) = glob "$cache/path-*/rows.form";
ok(!-e $old, 'what nobody has used for long is swept when another place is made');
my $answer = $node->safe_psql('postgres', $probe);
is("$answer\n", ${ $sessions[0]{out} }, 'as does a third');
truncate $rows, 10;
is($node->safe_psql('postgres', $probe), $answer, 'and one that finds it cut');
cmp_ok(-s $rows, '>', 4096, 'which makes it again');
unlink $rows;
mkdir "$rows.tmp" or die "$rows.tmp: $!";
is($node->safe_psql('postgres', $probe), $answer, 'and one that must do without');
ok(!-e $rows, 'which makes none');
rmdir "$rows.tmp";
is($node->safe_psql('postgres', $probe), $answer, 'and the next');

# ------------------------------------------------------------ their end
$node->safe_psql('postgres', "SELECT alol_model_load('twin', '$gguf')");
$node->safe_psql('postgres', "SELECT alol_model_drop('file')");
ok(-e $rows, 'what another model has, too, stays');
$node->safe_psql('postgres', "SELECT alol_model_drop('twin')");
ok(!-e $rows =~ s|/[^/]*$||r, 'what is made of a model at a path goes with it');
$node->safe_psql('postgres', "SELECT alol_model_drop('tiny')");
is(join(' ', glob "$cache/*"), '', 'as does that of one in the database');
$node->stop;
done_testing();
