#!/usr/bin/env bash
# tasks.sh - the recipes of docs/tasks at full size, on real rows.
#
#	make bench-tasks                          all of them
#	make bench-tasks TASKS="hha imdb"         some
#	make bench-tasks ROWS=DIRECTORY           raw rows (../shared/data)
#
# In an installation and on a server of its own; called by root, as an
# unprivileged user, who must be able to read the rows.  Writes
# docs/tasks/results/TASK.md and its README.md, all of it: nothing in there is
# typed by hand.
set -euo pipefail
. "$(dirname "$0")/../../tools/lib.sh"

data=$(realpath "${ROWS:-$top/../shared/data}")
[ -d "$data" ] || die "no directory $data: ROWS names that of the raw rows"
if [ $# -eq 0 ]; then
	set -- "$top"/docs/tasks/*.sql
fi
export ROWS=$data RESULTS=${RESULTS:-$top/docs/tasks/results}
mkdir -p "$RESULTS"

# summary DIRECTORY: all tables that lie there as one, in its README.md.
summary() {
	local recipe file files=()
	for recipe in "$top"/docs/tasks/*.sql; do
		file=$1/$(basename "$recipe" .sql).md
		[ ! -e "$file" ] || files+=("$file")
	done
	[ ${#files[@]} -gt 0 ] || return 0
	{
		echo "# Gains over the reference policy"
		echo
		echo "Mean reward of unseen prompts less that of the reference policy; a star where" \
			"the 95 % interval of every seed is above zero. Written by \`make bench-tasks\`."
		echo
		awk -f "$top/test/bench/tasks_summary.awk" "${files[@]}"
	} > "$1/README.md"
}

# Root hands over a directory that the other user may write.
if [ "$(id -u)" = 0 ]; then
	results=$RESULTS
	RESULTS=$(mktemp -d "${TMPDIR:-/tmp}/alol-results-XXXXXX")
	chown "$(unprivileged_user)" "$RESULTS"
	status=0
	(run_unprivileged ../test/bench/tasks.sh "$@") || status=$?
	find "$RESULTS" -name '*.md' ! -name README.md -exec cp {} "$results" \;
	rm -rf "$RESULTS"
	summary "$results"
	exit "$status"
fi

cd "$top"
work=$(mktemp -d "${TMPDIR:-/tmp}/alol-tasks-XXXXXX")
finish() {
	server_stop "$work/server"
	rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

private_tree "$work/tree"
make -s -j"$(nproc)" PG_CONFIG="$PG_CONFIG" all install > "$work/make.log" 2>&1 || {
	tail -n 40 "$work/make.log" >&2
	die "the build failed"
}

# Small models: a job for each processor is faster than a thread for each.
server_start "$work/server" "fsync = off" "alol.max_jobs = $(nproc)" \
	"alol.threads = 1"

# What a table of results is worth nothing without.
machine() {
	echo
	echo "Written by \`make bench-tasks TASKS=$1\`, $(date -u '+%Y-%m-%d %H:%M UTC')," \
		"in $2 seconds on $(nproc) processors ($(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1))."
	echo "Other work on the machine: load $(cut -d ' ' -f 1 /proc/loadavg) at the end."
}

status=0
for recipe in "$@"; do
	task=$(basename "$recipe" .sql)
	say "$task ..."
	begin=$SECONDS
	psql -q -X -d postgres -c "CREATE DATABASE alol_task_$task"
	# No samples: the raw rows are not ours to pass on.
	if psql -X -d "alol_task_$task" -v data="$data" -v samples=false \
		-f "docs/tasks/$task.sql" \
		> "$work/$task.md" 2> "$work/$task.err"; then
		machine "$task" $((SECONDS - begin)) >> "$work/$task.md"
		cp "$work/$task.md" "$RESULTS/$task.md"
		say "$task took $((SECONDS - begin)) seconds"
	else
		tail -n 20 "$work/$task.err" >&2
		say "$task failed"
		status=1
	fi
	psql -q -X -d postgres -c "DROP DATABASE alol_task_$task WITH (FORCE)"
done
summary "$RESULTS"
exit "$status"
