# Twenty sessions on one model: all get their answer, the number of engines is
# bounded, idle ones go, and the weights lie in the cache once.

use strict;
use warnings FATAL => 'all';

use Alol;
use IPC::Run;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('sessions', conf => "alol.max_session_engines = 3\nalol.threads = 1\n");
create_model($node, 'tiny');
my $sql = "SET alol.engine_idle_timeout = '1s'; "
  . "SELECT alol_logprob('tiny', 'a', 'b'); SELECT pg_sleep(0.3)";

my @runs;
foreach my $i (1 .. 20)
{
	my ($in, $out, $err) = ('', '', '');
	push @runs, { out => \$out, err => \$err, handle => IPC::Run::start(
			[ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', $sql ],
			\$in, \$out, \$err) };
}
my $most = 0;
while (grep { $_->{handle}->pumpable } @runs)
{
	my @engines = engines_of($node);
	$most = @engines if @engines > $most;
	$_->{handle}->pumpable and $_->{handle}->pump_nb foreach @runs;
	select(undef, undef, undef, 0.05);
}
$_->{handle}->finish foreach @runs;
my %answers = map { (split /\n/, ${ $_->{out} })[0] // ${ $_->{err} }, 1 } @runs;
is(join(' ', keys %answers), $node->safe_psql('postgres', "SELECT alol_logprob('tiny', 'a', 'b')"),
	'all sessions get the same answer');
cmp_ok($most, '<=', 3, 'no more engines than alol.max_session_engines');
cmp_ok($most, '>=', 2, 'but more than one at a time');
ok(wait_gone(5, engines_of($node)), 'an engine ends with its session');

# Idle engines end in sessions that stay.
my ($in, $out, $err) = ('', '', '');
my $idle = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres') ],
	\$in, \$out, \$err);
$in = "SET alol.engine_idle_timeout = '1s'; SELECT alol_logprob('tiny', 'a', 'b');\n";
$idle->pump until $out =~ /\n/;
my @engines = engines_of($node);
is(scalar @engines, 1, 'a session has its engine');
ok(wait_gone(10, @engines), 'which ends when idle');
($out, $in) = ('', "SELECT alol_logprob('tiny', 'a', 'b');\n");
$idle->pump until $out =~ /\n/ || $err;
like($out, qr/^-/, 'and is started anew at the next call');
$in = "\\q\n";
$idle->finish;
$node->stop;
done_testing();
