# A database that is not in UTF-8: text is converted on its way to the engine
# and back, and what the encoding lacks is an error that names it.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('latin');
$node->safe_psql('postgres', q(CREATE DATABASE latin TEMPLATE template0
	ENCODING 'LATIN1' LOCALE 'C'));

# chr(228) is a-umlaut, 196 its capital, 233 e-acute, 160 a no-break space.
sub latin
{
	my ($sql) = @_;
	return $node->safe_psql('latin', "SET client_encoding = 'UTF8'; $sql");
}
latin('CREATE EXTENSION alol');
is(latin(q(SELECT alol_ngrams(chr(196) || 'rger' || chr(160) || 'B', 1)::text)),
	"{\xc3\xa4rger,b}", 'words are those of Unicode');
is(latin(q(SELECT alol_distinct(chr(196) || ' ' || chr(228), 1))), '0.5',
	'capitals are equal to small letters');
latin(q(CREATE TABLE pairs AS SELECT i AS id, 'caf' || chr(233) || ' ' || i AS prompt,
	repeat(chr(228), 3) || i AS response, i / 20.0 AS reward FROM generate_series(1, 20) AS i));
is(latin(q(SELECT alol_tfidf_fit('d', 'SELECT prompt FROM pairs'))), '20', 'TF-IDF is fitted');
is(latin(q(SELECT alol_tfidf('d', 'CAF' || chr(201)) > 0)), 't', 'and finds a term in capitals');

latin(q(SELECT alol_model_create('tiny', '{"model_type": "llama", "vocab_size": 257,
	"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
	"num_attention_heads": 2, "max_position_embeddings": 64}', seed => 1)));
is(latin(q(SELECT alol_detokenize('tiny', alol_tokenize('tiny', chr(228))) = chr(228))), 't',
	'a text comes back from its tokens');
is(latin(q(SELECT array_length(alol_tokenize('tiny', chr(228)), 1))), '2',
	'which are those of its UTF-8');
is(latin(q(SELECT count(*) FROM alol_score('pairs', 'tiny', reward => 'strpos(response, chr(228))')
	WHERE logprob < 0 AND reward = 1)), '20', 'tables are scored');

# The bytes of U+0431, which LATIN1 does not have.
my ($out, $err) = ('', '');
$node->psql('latin', q(SELECT alol_detokenize('tiny', (SELECT array_agg(get_byte(b, i) ORDER BY i)
	FROM (SELECT '\xd0b1'::bytea AS b) AS x, generate_series(0, 1) AS i))),
	stdout => \$out, stderr => \$err);
like($err, qr/0xd0 0xb1.* has no equivalent in encoding "LATIN1"/,
	'a character that the encoding lacks is named');
is(latin('SELECT 1'), '1', 'and no more');

# A job from end to end.
my $job = latin(q(SELECT alol_train('pairs', 'tiny', 'better',
	reward => 'least(1, length(response) / 20.0)', steps => 3,
	options => '{"max_response_tokens": 16}')));
wait_until($node, "SELECT state IN ('succeeded', 'failed') FROM alol_jobs WHERE job = $job",
	60, 'latin');
my $state = latin("SELECT concat_ws(': ', state, error) FROM alol_jobs WHERE job = $job");
# The untrained model may well generate what LATIN1 does not have.
like($state, qr/^succeeded$|has no equivalent in encoding/, 'a job runs');

# Charts make do with ASCII.
latin("INSERT INTO alol_metric SELECT $job, 'postgres'::regrole, i, 'falling', -i, now()
	FROM generate_series(1, 9) AS i");
like(latin("SELECT alol_plot($job, 'falling')"), qr/\A[\x20-\x7e\n]*\*[\x20-\x7e\n]*\z/,
	'a chart is drawn in ASCII');
my $report = latin("UPDATE alol_job SET model = chr(228) || '<' WHERE id = $job;
	SELECT alol_report($job)");
like($report, qr/\A[\x20-\x7e\n\t]*&#228;&lt;[\x20-\x7e\n\t]*\z/, 'so is a report');
$node->stop;
done_testing();
