# A data directory that is missing or full, and too little memory, are errors
# of the call or job, not of the server; a LATIN1 database converts its texts.

use strict;
use warnings FATAL => 'all';

use Alol;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_node('faults');
create_model($node, 'tiny');
create_pairs($node);
my ($out, $err);

# A directory that cannot be made.
my $file = PostgreSQL::Test::Utils::tempdir() . '/file';
append_to_file($file, 'in the way');
$node->append_conf('postgresql.conf', "alol.data_directory = '$file/alol'\n");
$node->reload;
wait_until($node, "SELECT current_setting('alol.data_directory') = '$file/alol' FROM (SELECT alol_version()) AS v");
isnt($node->psql('postgres', "SELECT alol_logprob('tiny', 'a', 'b')", stdout => \$out, stderr => \$err),
	0, 'without its directory a call fails');
like($err, qr/\Q$file\E/, 'and names it');
my ($status, $job) = (0, '');
$status = $node->psql('postgres', "SELECT alol_train('pairs', 'tiny', 'nowhere', reward => '"
	  . reward_sql() . "', steps => 3)", stdout => \$job, stderr => \$err);
if ($status == 0)
{
	wait_until($node, "SELECT state = 'failed' FROM alol_jobs WHERE job = $job");
	$err = $node->safe_psql('postgres', "SELECT concat_ws(' ', error, detail) FROM alol_jobs WHERE job = $job");
}
like($err, qr/\Q$file\E/, 'a job fails in the same way');
$node->append_conf('postgresql.conf', "alol.data_directory = ''\n");
$node->reload;
wait_until($node, "SELECT current_setting('alol.data_directory') = '' FROM (SELECT alol_version()) AS v");
like($node->safe_psql('postgres', "SELECT alol_logprob('tiny', 'a', 'b')"), qr/^-/,
	'with its directory everything works again');

# The cache is a cache: what is lost from it comes from the database again.
my $cached = 0;
foreach my $path (split /\n/, `find "@{[$node->data_dir]}" -name '*.safetensors'`)
{
	unlink $path;
	$cached++;
}
cmp_ok($cached, '>', 0, 'weights lie in the cache');
like($node->safe_psql('postgres', "SELECT alol_logprob('tiny', 'a', 'b')"), qr/^-/,
	'a cache that was emptied is filled again');

# Memory: refused with both numbers, before the machine has to kill.
$node->append_conf('postgresql.conf', "alol.memory_limit = '16MB'\n");
$node->reload;
wait_until($node, "SELECT current_setting('alol.memory_limit') = '16MB' FROM (SELECT alol_version()) AS v");
$node->safe_psql('postgres', q(SELECT alol_model_create('large', '{"model_type": "llama",
	"vocab_size": 4096, "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4,
	"num_attention_heads": 8, "max_position_embeddings": 128}')));
$job = $node->safe_psql('postgres', q(SELECT alol_sft('pairs', 'large', 'larger', steps => 3)));
wait_until($node, "SELECT state = 'failed' FROM alol_jobs WHERE job = $job");
$err = $node->safe_psql('postgres', "SELECT concat_ws(' ', error, detail) FROM alol_jobs WHERE job = $job");
like($err, qr/memory/, 'a job beyond alol.memory_limit is refused');
like($err, qr/\d.*16/, 'with both numbers') or diag($err);
$node->append_conf('postgresql.conf', "alol.memory_limit = 0\n");
$node->reload;

# A LATIN1 database.
$node->safe_psql('postgres', q(CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0));
$node->safe_psql('latin', 'CREATE EXTENSION alol');
is($node->safe_psql('latin', <<'SQL'), "t\nt", 'texts are converted');
SET client_encoding = 'UTF8';
SELECT alol_model_create('tiny', '{"model_type": "llama", "vocab_size": 320,
	"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
	"max_position_embeddings": 128, "tie_word_embeddings": true}') = 'tiny';
SELECT alol_detokenize('tiny', alol_tokenize('tiny', 'déjà vu')) = 'déjà vu';
SQL
$node->stop;
done_testing();
