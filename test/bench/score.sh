#!/usr/bin/env bash
# score.sh - what SQL adds to the engine's time: alol_score() over many rows,
# and calls one at a time.
#
#	test/bench/score.sh [MODEL]
#
# MODEL is a Hugging Face directory or a GGUF file; without it the rows are
# scored by a created model of 0.3 million parameters.  ROWS (100000).  While
# the backend works the engine waits for it, so what SQL adds is the backend's
# processor time over the rest.  A call's cost is that of a model of one layer
# of 8, whose own time is next to nothing.  In an installation and on a server
# of its own; called by root, as an unprivileged user.
set -euo pipefail
. "$(dirname "$0")/../../tools/lib.sh"

if [ "$(id -u)" = 0 ]; then
	paths=()
	for model in "$@"; do paths+=("$(realpath "$model")"); done
	run_unprivileged ../test/bench/score.sh "${paths[@]}"
fi

rows=${ROWS:-100000}
calls=2000
cd "$top"
work=$(mktemp -d "${TMPDIR:-/tmp}/alol-score-XXXXXX")
finish() {
	server_stop "$work/server"
	rm -rf "$work"
}
trap finish EXIT

private_tree "$work/tree"
make -s -j"$(nproc)" PG_CONFIG="$PG_CONFIG" all install > /dev/null
server_start "$work/server"

create='{"model_type": "llama", "vocab_size": 512, "hidden_size": 64,
	"intermediate_size": 172, "num_hidden_layers": 5, "num_attention_heads": 8,
	"num_key_value_heads": 4, "max_position_embeddings": 512}'
tiny='{"model_type": "llama", "vocab_size": 300, "hidden_size": 8,
	"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1,
	"max_position_embeddings": 64}'
psql -qXAt > /dev/null << SQL
CREATE EXTENSION alol;
SET client_min_messages = warning;
CREATE TABLE rows AS SELECT 'There was a girl of ' || i || ' years.' AS prompt,
	' She liked to play with her friend' || repeat(' and smile', i % 8) || '.' AS response
FROM generate_series(1, $rows) AS i;
SELECT alol_model_create('tiny', '$tiny');
$(if [ $# -ge 1 ]; then
	echo "SELECT alol_model_load('model', '$(realpath "$1")');"
else
	echo "SELECT alol_model_create('model', '$create', corpus => 'SELECT prompt || response FROM rows LIMIT 2000');"
fi)
SQL

# \! in a session sees what its own backend has used.
psql -qXAt > "$work/out" << SQL
SELECT count(logprob) FROM alol_score('SELECT * FROM rows LIMIT 100', policy => 'model');
SELECT pg_backend_pid() AS pid \gset
\setenv BACKEND :pid
\! cut -d ' ' -f 14,15 /proc/\$BACKEND/stat
\timing on
SELECT count(logprob) FROM alol_score('rows', policy => 'model');
\! cut -d ' ' -f 14,15 /proc/\$BACKEND/stat
SELECT count(alol_logprob('tiny', 'a', 'b' || i)) FROM generate_series(1, 100) AS i;
SELECT count(alol_logprob('tiny', 'a', 'b' || i)) FROM generate_series(1, $calls) AS i;
SQL

awk -v rows="$rows" -v calls="$calls" -v hertz="$(getconf CLK_TCK)" '
	/^Time/ { time[++times] = $2 / 1000; next }
	NF == 2 { used[++reads] = ($1 + $2) / hertz }
	END {
		backend = used[2] - used[1]
		printf "alol_score of %d rows: %.2f s, of which SQL %.2f s: ", rows, time[1], backend
		printf "%.1f %% of the rest\n", 100 * backend / (time[1] - backend)
		printf "one alol_logprob of a tiny model: %.0f microseconds\n", 1e6 * time[3] / calls
	}' "$work/out"
