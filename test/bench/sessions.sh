#!/usr/bin/env bash
# sessions.sh - what a model costs each of several sessions: time to the first
# answer, and memory shared with the others and of its own.
#
#	test/bench/sessions.sh MODEL [SESSIONS]
#
# MODEL is a Hugging Face directory or a GGUF file, SESSIONS is 5.  In an
# installation and on a server of its own; called by root, as an unprivileged
# user, who must be able to read the model.
set -euo pipefail
. "$(dirname "$0")/../../tools/lib.sh"

[ $# -ge 1 ] || die "usage: $0 MODEL [SESSIONS]"
[ "$(id -u)" != 0 ] ||
	run_unprivileged ../test/bench/sessions.sh "$(realpath "$1")" "${@:2}"

model=$1
sessions=${2:-5}
cd "$top"
work=$(mktemp -d "${TMPDIR:-/tmp}/alol-sessions-XXXXXX")
finish() {
	exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-
	server_stop "$work/server"
	rm -rf "$work"
}
trap finish EXIT

private_tree "$work/tree"
make -s -j"$(nproc)" PG_CONFIG="$PG_CONFIG" all install > /dev/null
server_start "$work/server" "alol.max_session_engines = $sessions"
psql -qX -c "CREATE EXTENSION alol" -c "SET client_min_messages = warning" \
	-c "DO \$\$ BEGIN PERFORM alol_model_load('model', '$model'); END \$\$"

# Each session answers twice and then stays until its input ends.
ask="SELECT alol_logprob('model', 'The capital of France is', ' Paris.')"
for i in $(seq "$sessions"); do
	mkfifo "$work/in$i"
	psql -qXAt -f "$work/in$i" > "$work/out$i" 2>&1 &
	exec {input}> "$work/in$i"
	{
		echo '\timing on'
		echo "$ask;"
		echo "$ask;"
	} >&"$input"
	until [ "$(grep -c '^Time' "$work/out$i")" = 2 ] ||
		grep -q ERROR "$work/out$i"; do
		sleep 0.05
	done
	! grep ERROR "$work/out$i" || exit 1
done

# memory PID: shared and private resident memory, and its share of all.
memory() {
	awk '/^Pss:/ { pss = $2 } /^Shared/ { shared += $2 }
		/^Private/ { private += $2 }
		END { printf "%9.1f %9.1f %9.1f", shared / 1024, private / 1024,
			pss / 1024 }' "/proc/$1/smaps_rollup"
}

echo "# $(basename "$model"), $sessions sessions, MiB of each session's engine"
echo "session  first answer, ms  second, ms    shared   private  share of all"
# Engines are children of the backends, in the order of the sessions.
backends=$(pgrep -d , -P "$(head -n 1 "$work/server/data/postmaster.pid")")
mapfile -t pids < <(pgrep -x alol-engine -P "$backends" | sort -n)
for i in $(seq "$sessions"); do
	read -r first second < <(sed -n 's/^Time: \([0-9.]*\).*/\1/p' \
		"$work/out$i" | xargs)
	printf '%7d %17.1f %11.1f %s\n' "$i" "$first" "$second" \
		"$(memory "${pids[$((i - 1))]}")"
done
