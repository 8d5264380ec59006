# Two policies are evaluated and compared; an evaluation that is cancelled stops
# within a second, and resumed it gives what an uninterrupted one does.

use strict;
use warnings FATAL => 'all';

use Alol;
use Test::More;
use Time::HiRes qw(time);

my $node = start_node('evaluate', conf => "alol.threads = 1\n");
create_model($node, 'tiny');
create_pairs($node);

sub sql { return $node->safe_psql('postgres', @_); }

sub evaluate
{
	my ($source, $model, $options) = @_;
	return sql("SELECT alol_evaluate('$source', '$model', '" . reward_sql()
		  . "', seed => 3, options => '$options')");
}

# Fewer characters are worth more: a policy learns to be short.
sql(q(SELECT alol_sft('SELECT prompt, ''b'' AS response FROM pairs', 'tiny',
	'short', steps => 60, learning_rate => 1e-2)));
wait_until($node, q(SELECT state = 'succeeded' FROM alol_jobs WHERE output = 'short'));
my $brief = '{"max_response_tokens": 8}';
my $long = evaluate('SELECT id AS key, * FROM pairs', 'tiny', $brief);
my $short = evaluate('SELECT id AS key, * FROM pairs ORDER BY id DESC', 'short', $brief);
is(sql("SELECT alol_wait($long)"), 'succeeded', 'a policy is evaluated');
is(sql("SELECT alol_wait($short)"), 'succeeded', 'and another');
is(sql("SELECT ci_low > 0 AND wins > losses AND prompts = 240
	FROM alol_compare($short, $long) WHERE metric = 'reward'"),
	't', 'what was trained to be short is better at it, beyond the noise');
is(sql("SELECT difference < 0 AND wins = 0 FROM alol_compare($short, $long)
	WHERE metric = 'tokens'"), 't', 'as it is shorter');

# Long enough to be met at work.
my $many = 'SELECT prompt || n AS prompt FROM pairs, generate_series(1, 20) n';
my $drawn = '{"max_response_tokens": 100, "generation": {"temperature": 1}}';
my $job = evaluate($many, 'tiny', $drawn);
ok(wait_until($node, "SELECT phase = 'evaluating' AND progress > 0 AND progress < 1
	AND eta > '0' FROM alol_jobs WHERE job = $job"), 'an evaluation shows how far it is');
is(sql("SELECT alol_cancel($job)"), 't', 'it is cancelled');
my $begin = time;
wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);
cmp_ok(time - $begin, '<', 2, 'at once');
is(scalar engines_of($node), 0, 'and leaves no engine');
my $done = sql("SELECT count(*) FROM alol_evaluations WHERE job = $job");
is($done % 64, 0, 'whole chunks are kept');
cmp_ok($done, '<', 4800, 'but not all');
is(sql("SELECT alol_resume($job)"), 't', 'it is resumed');
wait_until($node, "SELECT count(*) > $done FROM alol_evaluations WHERE job = $job");
my @engines = engines_of($node);
kill 'KILL', @engines;
is(sql("SELECT alol_wait($job)"), 'succeeded', 'and ends well, though its engine was killed');
my $whole = evaluate($many, 'tiny', $drawn);
is(sql("SELECT alol_wait($whole)"), 'succeeded', 'as one does that nothing happens to');
is(sql("SELECT count(*) FROM (SELECT row_number, response, reward, tokens
	FROM alol_evaluations WHERE job = $job INTERSECT SELECT row_number, response,
	reward, tokens FROM alol_evaluations WHERE job = $whole) s"),
	'4800', 'with the same responses');
is(sql("SELECT count(*) FROM (SELECT metric, value FROM alol_metrics WHERE job = $job
	EXCEPT SELECT metric, value FROM alol_metrics WHERE job = $whole) s"), '0',
	'and the same metrics');
$node->stop;
done_testing();
