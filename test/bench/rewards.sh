#!/usr/bin/env bash
# rewards.sh - what SQL adds to rewards of a model: a query and a job that ask
# alol_reward() once a row, beside the engine alone.
#
#	test/bench/rewards.sh [MODEL...]
#
# MODEL is a Hugging Face directory, of an encoder or a decoder, of which a
# classifier is made; always measured is an encoder of 5 million parameters.
# ROWS (2000) rows of about WORDS (40) words, ROUNDS (5) times in turn, and of
# each the least counts.  The engine alone is given all texts at once; a query
# is alol_score() in a session that has used the model before, its backend and
# its engine together; a job is one of method wbc up to its last reward, with
# the start of its engine.  Processor time is what to look at where other work
# shares the machine, seconds of the clock where none does.  In an installation
# and on a server of its own; called by root, as an unprivileged user, who must
# be able to read the models.
set -euo pipefail
. "$(dirname "$0")/../../tools/lib.sh"

if [ "$(id -u)" = 0 ]; then
	paths=()
	for model in "$@"; do paths+=("$(realpath "$model")"); done
	run_unprivileged ../test/bench/rewards.sh "${paths[@]}"
fi

rows=${ROWS:-2000}
words=${WORDS:-40}
rounds=${ROUNDS:-5}
cd "$top"
work=$(mktemp -d "${TMPDIR:-/tmp}/alol-rewards-XXXXXX")
finish() {
	server_stop "$work/server"
	rm -rf "$work"
}
trap finish EXIT

private_tree "$work/tree"
make -s -j"$(nproc)" PG_CONFIG="$PG_CONFIG" all install engine-bench > /dev/null
server_start "$work/server"
# As the extension starts its engines.
export GOMP_SPINCOUNT=2000
sql() { psql -qXAt -v ON_ERROR_STOP=1 "$@"; }

sql > /dev/null << SQL
CREATE EXTENSION alol;
SET client_min_messages = warning;
SELECT setseed(0.5);
CREATE TABLE dictionary AS SELECT i AS word, string_agg(chr(97 + floor(26 * random())::int), '') AS text
FROM generate_series(1, 4000) i, generate_series(1, 2 + i % 8) GROUP BY i;
CREATE TABLE texts AS SELECT row, string_agg(text, ' ') FILTER (WHERE place <= $words / 4) AS prompt,
	string_agg(text, ' ') FILTER (WHERE place > $words / 4) AS response
FROM (SELECT row, place, 1 + floor(4000 * random() ^ 2)::int AS word FROM generate_series(1, $rows) row,
	generate_series(1, $words / 2 + row * 7 % ($words + 1)) place) AS drawn
JOIN dictionary USING (word) GROUP BY row;
CREATE TABLE opinions AS SELECT response, row % 2 AS label FROM texts WHERE response IS NOT NULL LIMIT 40;
SELECT alol_model_create('policy', '{"model_type": "llama", "vocab_size": 320,
	"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
	"num_attention_heads": 4, "max_position_embeddings": 64}');
SELECT alol_model_create('encoder', '{"model_type": "bert", "vocab_size": 8000,
	"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 4,
	"num_attention_heads": 4, "max_position_embeddings": 256}', corpus => 'SELECT response FROM texts');
SQL
sql -c "COPY (SELECT coalesce(prompt, ''), coalesce(response, '') FROM texts ORDER BY row) TO STDOUT" \
	> "$work/texts"

# Within a string of SQL.
texts="SELECT coalesce(prompt, '''') AS prompt, coalesce(response, '''') AS response FROM texts ORDER BY row"

# used PID...: processor time that these and their children have used, seconds,
# in steps of a hundredth.
cat > "$work/used" << 'SH'
#!/bin/bash
for pid in "$@" $(pgrep -d ' ' -P "$(echo "$@" | tr ' ' ,)"); do
	sed 's/.*) //' "/proc/$pid/stat"
done | awk -v hz="$(getconf CLK_TCK)" '{ sum += $12 + $13 + $14 + $15 } END { print sum / hz }'
SH
chmod +x "$work/used"

# clock START END, lines of seconds and processor seconds: both, spent.
clock() { awk 'NR == 1 { t = $1; u = $2 } NR == 2 { printf "%.4f %.2f\n", $1 - t, $2 - u }'; }

# by_query CRITIC: a query over all rows.
by_query() {
	sql << SQL | clock
SELECT alol_reward('$1', 'a', 'b') \\g /dev/null
SELECT pg_backend_pid() AS pid \\gset
\\setenv BACKEND :pid
\\! echo \$(date +%s.%N) \$($work/used \$BACKEND)
SELECT sum(reward) FROM alol_score('$texts', reward => 'alol_reward(''$1'', prompt, response)') \\g /dev/null
\\! echo \$(date +%s.%N) \$($work/used \$BACKEND)
SQL
}

# by_job CRITIC: a job, whose processes are the last of the postmaster's.
by_job() {
	local postmaster before after
	postmaster=$(head -n 1 "$work/server/data/postmaster.pid")
	before=$(sed 's/.*) //' "/proc/$postmaster/stat")
	sql << SQL > "$work/job"
SET client_min_messages = error;
SELECT alol_train('$texts', 'policy', 'out', 'wbc',
	reward => 'alol_reward(''$1'', prompt, response)', steps => 1, validation => 'SELECT ''a'' AS prompt',
	options => '{"evaluation_prompts": 0, "sample_prompts": 0, "max_prompt_tokens": 4, "max_response_tokens": 4}') AS job \\gset
CALL alol_follow(:job);
SELECT extract(epoch FROM m.at - j.started_at) FROM alol_jobs j JOIN alol_metrics m USING (job)
WHERE job = :job AND metric = 'rows/total';
SELECT alol_job_drop(:job), alol_model_drop('out') \\g /dev/null
SQL
	after=$(sed 's/.*) //' "/proc/$postmaster/stat")
	echo "$(cat "$work/job")" "$(echo "$before $after" | awk -v hz="$(getconf CLK_TCK)" \
		'{ n = NF / 2; print ($(n + 14) + $(n + 15) - $14 - $15) / hz }')"
}

# least COLUMN FILE: the least number of a column.
least() { awk -v c="$1" 'NR == 1 || $c < least { least = $c } END { print least }' "$2"; }

# line WHAT COLUMN: of what was measured, and the ratios.
line() {
	printf '%-24s %-10s' "$name" "$1"
	echo "$(least "$2" "$work/engine") $(least "$2" "$work/query") $(least "$2" "$work/job")" |
		awk '{ printf "%10.2f %10.2f %10.2f %12.3f %10.3f\n", $1, $2, $3, $2 / $1, $3 / $1 }'
}

# measure MODEL NAME: makes a classifier of it, and measures that.
measure() {
	local name=$2 i
	sql > /dev/null << SQL
SET client_min_messages = error;
SELECT alol_train_reward('opinions', '$1', 'critic', steps => 1, learning_rate => 1e-4) AS job \\gset
CALL alol_follow(:job);
SELECT alol_model_export('critic', '$work/critic');
SQL
	rm -f "$work"/{engine,query,job}s
	for i in $(seq "$rounds"); do
		build/engine/bench/reward_bench "$work/critic" "$work/texts" >> "$work/engines"
		by_query critic >> "$work/querys"
		by_job critic >> "$work/jobs"
	done
	mv "$work/engines" "$work/engine"
	mv "$work/querys" "$work/query"
	mv "$work/jobs" "$work/job"
	line clock 1
	line processor 2
	sql -c "SELECT alol_model_drop('critic')" > /dev/null
	rm -rf "$work/critic"
}

echo "# $rows rows, seconds (least of $rounds), and times the engine's"
printf '%-24s %-10s%10s %10s %10s %12s %10s\n' model of engine query job query/engine job/engine
measure encoder 'encoder of 5 M'
for model in "$@"; do
	sql -c "SELECT alol_model_load('given', '$model')" > /dev/null
	measure given "$(basename "$model")"
	sql -c "SELECT alol_model_drop('given')" > /dev/null
done
