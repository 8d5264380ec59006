# alol_score beside everything else in a session: cursors, savepoints,
# read-only transactions, parallel plans, rewards that ask models themselves.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = start_node('score');
create_model($node, 'tiny');
create_pairs($node);
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE written (x int);
CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS
	'INSERT INTO written VALUES (1) RETURNING x';
CREATE TABLE many AS SELECT i AS key, 'prompt ' || i AS prompt,
	repeat('word ', 10) AS response FROM generate_series(1, 100000) AS i;
SQL

# A LIMIT ends the scoring: all of the table would take minutes.
my $begin = time;
is($node->safe_psql('postgres',
		q(SELECT max(row_number) FROM (SELECT * FROM alol_score('many', 'tiny') LIMIT 5) AS s)),
	'5', 'LIMIT over a large table');
cmp_ok(time - $begin, '<', 20, 'costs little more than its rows');
is($node->safe_psql('postgres',
		q(SELECT count(*) FROM (SELECT (alol_score('many', 'tiny')).* LIMIT 5) AS s)),
	'5', 'also in the select list');

# A cursor reads on from where it was, and after a rollback to a savepoint it
# goes on or says why not.
is($node->safe_psql('postgres', <<'SQL'), "1\n2\n20", 'a cursor over alol_score');
BEGIN;
DECLARE c CURSOR FOR SELECT row_number FROM alol_score('pairs', reward => 'reward');
FETCH 1 FROM c;
CREATE TEMP TABLE beside AS SELECT 0;
FETCH 1 FROM c;
MOVE 17 IN c;
FETCH 1 FROM c;
COMMIT;
SQL
my ($out, $err) = ('', '');
$node->psql('postgres', <<'SQL', stdout => \$out, stderr => \$err, on_error_stop => 0);
BEGIN;
DECLARE c CURSOR FOR SELECT row_number FROM alol_score('pairs', reward => 'reward');
SAVEPOINT a;
FETCH 1 FROM c;
ROLLBACK TO a;
MOVE 100 IN c;
FETCH 1 FROM c;
ROLLBACK;
SELECT 'alive';
SQL
like($out, qr/alive/, 'a rollback under an open cursor hurts nobody');
unlike($err, qr/server closed|terminat/, 'and no backend');

# The transaction is writable again, whatever happened inside.
is($node->safe_psql('postgres', <<'SQL'), "off\n1", 'a caught error leaves the transaction writable');
BEGIN;
DO $$ BEGIN
	PERFORM * FROM alol_score('pairs', reward => 'writes()');
EXCEPTION WHEN read_only_sql_transaction THEN NULL; END $$;
SHOW transaction_read_only;
INSERT INTO written VALUES (2);
COMMIT;
SELECT count(*) FROM written;
SQL
is($node->safe_psql('postgres', <<'SQL'), "240", 'it works in a read-only transaction');
BEGIN READ ONLY;
SELECT count(*) FROM alol_score('pairs', 'tiny', reward => 'reward');
COMMIT;
SQL

# Model calls inside the reward use the same engine.
is($node->safe_psql('postgres', <<'SQL'), 't', 'a reward may ask a model');
SELECT max(abs(s.reward - s.logprob)) < 1e-4 FROM alol_score(
	'SELECT * FROM pairs ORDER BY id LIMIT 40', 'tiny',
	reward => 'alol_logprob(''tiny'', prompt, response)') AS s
SQL
is($node->safe_psql('postgres', <<'SQL'), 't', 'or alol_score itself');
SELECT sum(s.reward) = 3 * 240 FROM alol_score('SELECT id FROM pairs WHERE id <= 3',
	reward => '(SELECT count(*) FROM alol_score(''pairs''))') AS s
SQL

# So it is in a job, where the engine that trains also answers the reward.
my $job = start_job($node, output => q('asked'), steps => 4,
	reward => q('exp(alol_logprob(''tiny'', prompt, response) / 100)'),
	options => q('{"max_response_tokens": 16, "evaluate_every": 2}'));
wait_until($node, "SELECT state NOT IN ('queued', 'running') FROM alol_jobs WHERE job = $job");
is($node->safe_psql('postgres', "SELECT state, error FROM alol_jobs WHERE job = $job"),
	'succeeded|', 'a job with a reward that asks a model');
is($node->safe_psql('postgres', <<"SQL"), 't', 'its rewards are those of a plain query');
SELECT max(abs(a.reward - exp(alol_logprob('tiny', p.prompt, p.response) / 100))) < 1e-5
FROM alol_advantages AS a JOIN pairs AS p ON p.id = a.row_number WHERE a.job = $job
SQL

# Parallel plans beside it.
is($node->safe_psql('postgres', <<'SQL'), '240', 'beside a parallel plan');
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
SELECT count(*) FROM many JOIN alol_score('pairs') AS s ON s.row_number = many.key;
SQL

# Statistics of diversity may run in parallel.
is($node->safe_psql('postgres', <<'SQL'), '1|1000000', 'text scores run in workers');
SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0; SET max_parallel_workers_per_gather = 2;
SELECT max(alol_distinct('a b', 1)), sum(alol_word_count(response)) FROM many;
SQL

# A cancel inside the reward stops at once.
$begin = time;
$node->psql('postgres', q(SET statement_timeout = '1s';
	SELECT count(*) FROM alol_score('pairs', reward => 'CASE WHEN pg_sleep(5) IS NULL THEN 0 ELSE 1 END')),
	stdout => \$out, stderr => \$err);
like($err, qr/statement timeout/, 'a timeout acts inside a reward');
cmp_ok(time - $begin, '<', 4, 'in time');
is($node->safe_psql('postgres', 'SELECT count(*) FROM written'), '1', 'nothing else was written');
$node->stop;
done_testing();
