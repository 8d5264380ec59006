# Jobs of dpo from pairs and from ranked rows, and one of pro: whatever ends
# them on the way, they go on to bit-identical weights; an interrupted scoring
# is done again.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('preferences', conf => "alol.max_jobs = 2\n");
create_model($node, 'tiny');
create_pairs($node, 'ranked');

sub sql { return $node->safe_psql('postgres', @_); }

sql(q(CREATE TABLE preferred AS SELECT id, prompt, response AS chosen,
	'no ' || id AS rejected FROM ranked));

# The same work under another name.
sub begin
{
	my ($method, $source, $output, $hold) = @_;
	my $call = <<"SQL";
alol_train('$source', 'tiny', '${method}_${source}_$output', '$method', steps => 200,
	batch_size => 4, learning_rate => 1e-3, options => '{"checkpoint_every": 20,
		"max_response_tokens": 16, "pairs": "all"}')
SQL
	return start_held($node, $hold, $call) if defined $hold;
	return sql("SELECT $call");
}

# In the midst of it.
sub begin_and_reach
{
	my $job = begin(@_, 30);
	let_run($node, $job, 120);
	return $job;
}

sub finish
{
	my ($job) = @_;
	is(sql("SELECT alol_wait($job)"), 'succeeded', "job $job ends well");
	return;
}

foreach my $case ([ 'dpo', 'preferred' ], [ 'dpo', 'ranked' ], [ 'pro', 'ranked' ])
{
	finish(begin(@$case, 'whole'));

	my $job = begin_and_reach(@$case, 'cancelled');
	is(sql("SELECT alol_cancel($job)"), 't', "@$case is cancelled");
	hold_at($node, $job);
	wait_until($node, "SELECT state = 'cancelled' FROM alol_jobs WHERE job = $job", 5);
	sql("SELECT alol_resume($job)");
	finish($job);

	$job = begin_and_reach(@$case, 'killed');
	kill 'KILL', engines_of($node);
	hold_at($node, $job);
	finish($job);
	like(sql("SELECT notice FROM alol_jobs WHERE job = $job"),
		qr/engine exited on signal 9; the job goes on from step \d+/, 'the job says what happened');
}
is(sql(q(SELECT string_agg(hashes::text, ' ') FROM (SELECT count(DISTINCT hash) AS hashes
	FROM alol_model m JOIN alol_jobs j ON m.job = j.job GROUP BY method, source) AS c)),
	'1 1 1', 'the models of each case are bit-identical');
is(sql(q(SELECT string_agg(totals::text, ' ') FROM (SELECT count(DISTINCT total) AS totals
	FROM (SELECT method, source, sum(m.value ORDER BY m.step) AS total
		FROM alol_metrics m JOIN alol_jobs j ON m.job = j.job WHERE metric = 'loss'
		GROUP BY j.job, method, source) AS l GROUP BY method, source) AS c)),
	'1 1 1', 'and so are their losses');
is(sql(q(SELECT count(*) || ' ' || count(*) FILTER (WHERE selected) FROM alol_advantages)),
	'2052 2052', 'and the rows that are selected');

# The worker is terminated in the middle of scoring.
sql('CREATE FUNCTION slow(float8) RETURNS float8 LANGUAGE sql VOLATILE '
	  . q(AS 'SELECT $1 FROM pg_sleep(0.005)'));
my $job = sql(q(SELECT alol_train('ranked', 'tiny', 'interrupted', 'pro', 'slow(reward)', steps => 5)));
wait_until($node, "SELECT phase = 'scoring' FROM alol_jobs WHERE job = $job");
sql("SELECT pg_terminate_backend(pid) FROM alol_jobs WHERE job = $job");
wait_until($node, "SELECT state = 'interrupted' FROM alol_jobs WHERE job = $job", 10);
sql("SELECT alol_resume($job)");
finish($job);
is(sql("SELECT count(*) || ' ' || count(*) FILTER (WHERE selected) FROM alol_advantages WHERE job = $job"),
	'228 228', 'an interrupted scoring is done again');

$node->stop;
done_testing();
