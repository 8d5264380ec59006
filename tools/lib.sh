# lib.sh - what tools/check and tools/demo share; to be sourced by bash.
#
# PostgreSQL finds its libraries and its extensions relative to its own
# executable.  So a tree that holds copies of the programs and links to all
# the rest is an installation of its own: alol goes in there, and the system's
# PostgreSQL is never touched, by root or by anyone else.

# The top of the checkout that holds this file.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { echo "$(basename "$0"): $*"; }
die() {
	echo "$(basename "$0"): $*" >&2
	exit 1
}

# Who builds and runs servers when root calls: initdb refuses root.
unprivileged_user() {
	if id postgres > /dev/null 2>&1; then
		echo postgres
	else
		echo nobody
	fi
}

# copy_checkout DIRECTORY: the sources as they are now, without what was built.
copy_checkout() {
	if git -C "$top" rev-parse > /dev/null 2>&1; then
		(cd "$top" && git ls-files -z --cached --others --exclude-standard |
			while IFS= read -r -d '' file; do
				[ -e "$file" ] && printf '%s\0' "$file"
			done | tar -c --null -T -) | tar -x -C "$1"
	else
		tar -c -C "$top" --exclude=./build --exclude=./tmp_check . |
			tar -x -C "$1"
	fi
}

# run_unprivileged SCRIPT ARGUMENT...: called by root, runs the script again
# as the unprivileged user, in a copy of the checkout (the checkout itself may
# lie where that user cannot read).  Exits with the script's status.  The copy
# is removed unless the script leaves a file "keep" beside it.
run_unprivileged() {
	local user copy status
	user=$(unprivileged_user)
	copy=$(mktemp -d "${TMPDIR:-/tmp}/alol-XXXXXX")
	mkdir "$copy/source"
	# git trusts only its owner's directories; for root, any checkout is its.
	GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0='*' \
		copy_checkout "$copy/source"
	chown -R "$user" "$copy"
	status=0
	(cd "$copy/source" && runuser -u "$user" -- env HOME="$copy" \
		TMPDIR="$copy" ALOL_KEEP="$copy/keep" \
		ALOL_SHARED="${ALOL_SHARED:-$top/../shared}" \
		"./tools/$1" "${@:2}") || status=$?
	[ -e "$copy/keep" ] || rm -rf "$copy"
	exit "$status"
}

# private_tree DIRECTORY: makes an installation of PostgreSQL there and puts
# it first: PG_CONFIG and PATH.
private_tree() {
	local tree=$1 system directory bin
	system=${PG_CONFIG:-pg_config}
	command -v "$system" > /dev/null ||
		die "no $system: install PostgreSQL with its headers (tools/deps)"
	bin=$("$system" --bindir)
	[ -x "$bin/postgres" ] || die "no server in $bin (tools/deps)"
	for directory in "$("$system" --pkglibdir)" "$("$system" --sharedir)" \
		"$("$system" --includedir)" "$("$system" --includedir-server)"; do
		[ ! -d "$directory" ] || [ -e "$tree$directory" ] || {
			mkdir -p "$tree$(dirname "$directory")"
			cp -rs "$directory" "$tree$directory"
		}
	done
	# Real copies: a link would lead the programs back to where it points.
	[ -e "$tree$bin/postgres" ] || {
		mkdir -p "$tree$(dirname "$bin")"
		cp -rL "$bin" "$tree$bin"
	}
	# An alol of the system must not be taken for the one to be tested.
	rm -f "$tree$("$system" --pkglibdir)"/alol* \
		"$tree$("$system" --sharedir)"/extension/alol*
	export PG_CONFIG="$tree$bin/pg_config" PATH="$tree$bin:$PATH"
	unset PGHOST PGPORT PGUSER PGDATABASE PGDATA PGOPTIONS PGSERVICE \
		PGPASSWORD PGCLIENTENCODING
}

# server_start DIRECTORY [SETTING...]: a cluster of its own, reached through a
# socket in the directory only.  Sets PGHOST, PGUSER and PGDATABASE.
server_start() {
	local directory=$1 setting
	shift
	mkdir -p "$directory"
	initdb --auth=trust --username=postgres --encoding=UTF8 --locale=C.UTF-8 \
		--no-sync -D "$directory/data" > "$directory/initdb.log" 2>&1 || {
		cat "$directory/initdb.log" >&2
		die "initdb failed"
	}
	{
		echo "listen_addresses = ''"
		echo "unix_socket_directories = '$directory'"
		for setting in "$@"; do
			echo "$setting"
		done
	} >> "$directory/data/postgresql.conf"
	pg_ctl -D "$directory/data" -l "$directory/server.log" -w -t 60 start \
		> /dev/null || {
		tail -n 20 "$directory/server.log" >&2
		die "the server did not start"
	}
	export PGHOST=$directory PGUSER=postgres PGDATABASE=postgres
}

# server_stop DIRECTORY: quietly, also when it was never started.
server_stop() {
	if [ -e "$1/data/postmaster.pid" ]; then
		pg_ctl -D "$1/data" -m fast -w stop > /dev/null || true
	fi
}
