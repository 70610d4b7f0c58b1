#!/usr/bin/env bash
# Prints the folder with the programs of a usable PostgreSQL (15 or newer) and gets one first when there is none:
#   PGBIN, .tools/postgres, Debian's folders, PATH      what is there is used;
#   root on Debian or Ubuntu                            apt-get install postgresql, without making or starting a cluster;
#   an ordinary user there                              the packages are downloaded and unpacked into .tools/postgres.
# EKC_NO_SYSTEM_POSTGRES=1 does as if the system had none and could not be given one. Only the folder goes to standard output.
set -euo pipefail
export LC_ALL=C

readonly oldest=15
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root tools=$root/.tools

say() { printf 'postgres.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# The libraries of packages that were unpacked and not installed.
libraries() { # bin
	local usr=${1%/lib/postgresql/*} dir
	[[ $usr != "$1" && $usr != /usr ]] || return 0
	for dir in "$usr"/lib/*-linux-gnu*; do
		[[ -d $dir ]] && printf '%s:' "$dir"
	done
	return 0
}

major() { # bin
	LD_LIBRARY_PATH=$(libraries "$1") "$1/postgres" --version 2>/dev/null | sed -n 's/.*(PostgreSQL) \([0-9][0-9]*\).*/\1/p'
}

usable() { # bin
	local version
	[[ -x $1/postgres && -x $1/initdb ]] || return 1
	version=$(major "$1") || return 1
	[[ -n $version && $version -ge $oldest ]]
}

candidates() {
	printf '%s\n' "$tools"/postgres/usr/lib/postgresql/*/bin | sort -rV
	[[ -z ${EKC_NO_SYSTEM_POSTGRES:-} ]] || return 0
	printf '%s\n' /usr/lib/postgresql/*/bin | sort -rV
	local path
	if path=$(command -v postgres); then
		dirname "$(readlink -f "$path")"
	fi
}

# Prints the first usable folder, fails when there is none.
find_bin() {
	local bin
	while IFS= read -r bin; do
		if usable "$bin"; then
			printf '%s\n' "$bin"
			return 0
		fi
	done < <(candidates)
	return 1
}

# Prints the version the package lists offer, fails when it is too old or there are no lists.
offered() { # options of apt
	local version
	version=$(apt-cache "$@" depends postgresql 2>/dev/null | sed -n 's/.*Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1)
	[[ -n $version && $version -ge $oldest ]] && printf '%s\n' "$version"
}

install_packages() {
	say "this machine has no PostgreSQL: installing Debian's package postgresql (no cluster is made, nothing is started)"
	export DEBIAN_FRONTEND=noninteractive
	local install=(apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends)
	if ! offered >/dev/null; then
		apt-get update -qq >&2 || say "the package lists could not be fetched"
		offered >/dev/null || return 1
	fi
	# Its configuration must be there before the server's package looks into it.
	"${install[@]}" postgresql-common >&2 || { apt-get update -qq >&2 && "${install[@]}" postgresql-common >&2; } || return 1
	local conf=/etc/postgresql-common/createcluster.conf kept
	kept=$(mktemp) || return 1
	if grep -qs '^include_dir.*createcluster\.d' "$conf"; then
		conf=/etc/postgresql-common/createcluster.d/ekc.conf
		mkdir -p "${conf%/*}" || return 1
	fi
	[[ ! -e $conf ]] || cp "$conf" "$kept" || return 1
	printf 'create_main_cluster = false\n' >>"$conf"
	local result=0
	"${install[@]}" postgresql >&2 || result=1
	if [[ -s $kept ]]; then cat "$kept" >"$conf"; else rm -f "$conf"; fi
	rm -f "$kept"
	return $result
}

# Names of the libraries that programs in this folder do not find.
missing() { # bin
	LD_LIBRARY_PATH=$(libraries "$1") ldd "$1"/{postgres,initdb,psql,pg_dump} "${1%/bin}"/lib/plpgsql.so 2>/dev/null |
		sed -n 's/^[[:space:]]*\([^ ]*\) => not found$/\1/p' | sort -u
}

unpack() { # folder with packages, folder to unpack into
	local deb
	for deb in "$1"/*.deb; do
		dpkg -x "$deb" "$2"
	done
}

# Takes over the libraries that are missing, and those these then miss; the machine's own ones stay in use.
add_missing() { # folder with unpacked packages, bin
	local name found dir again=1
	while [[ -n $again ]]; do
		again=
		while IFS= read -r name; do
			found=$(find "$1" -path "*-linux-gnu*/$name" -print -quit)
			[[ -n $found ]] || continue
			dir=${2%/lib/postgresql/*}/lib/$(basename "$(dirname "$found")")
			mkdir -p "$dir" && cp -L "$found" "$dir/$name" && again=1
		done < <(missing "$2")
	done
}

unpack_packages() {
	local apt=() version work bin lost name
	if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
		return 1
	fi
	mkdir -p "$tools" || return 1
	work=$(mktemp -d "$tools/postgres.XXXXXX") || return 1
	# shellcheck disable=SC2064 # the folder of this run
	trap "rm -rf -- '$work'" EXIT
	mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/deb"
	[[ $(id -u) != 0 ]] || apt+=(-o APT::Sandbox::User=root)
	if ! version=$(offered "${apt[@]}"); then
		say "the machine's package lists do not offer PostgreSQL $oldest or newer: fetching fresh ones into $tools"
		apt+=(-o "Dir::State=$work/state" -o Dir::State::status=/var/lib/dpkg/status -o "Dir::Cache=$work/cache")
		apt-get "${apt[@]}" update -qq >&2 || return 1
		version=$(offered "${apt[@]}") || return 1
	fi
	say "this machine has no PostgreSQL and this user cannot install one: unpacking Debian's packages into $tools/postgres"
	(cd "$work/deb" && apt-get "${apt[@]}" download -qq "postgresql-$version" "postgresql-client-$version" libpq5 >&2) || return 1
	unpack "$work/deb" "$work/new" || return 1
	bin=$work/new/usr/lib/postgresql/$version/bin
	lost=$(missing "$bin")
	if [[ -n $lost ]]; then
		say "fetching the libraries that are missing: ${lost//$'\n'/ }"
		mkdir "$work/libs"
		# Everything it stands on that is a library and not installed; LLVM only compiles queries, which is switched off.
		while IFS= read -r name; do
			[[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || printf '%s\0' "$name"
		done < <(apt-cache "${apt[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces \
			--no-enhances "postgresql-$version" libpq5 | sed -n 's/^\(lib[^: ]*\)$/\1/p' | grep -Ev '^lib(llvm|perl|c6$)' | sort -u) |
			(cd "$work/libs" && xargs -0 -r apt-get "${apt[@]}" download -qq >&2) || return 1
		unpack "$work/libs" "$work/libs" || return 1
		add_missing "$work/libs" "$bin"
		lost=$(missing "$bin")
		[[ -z $lost ]] || die "PostgreSQL was unpacked, but these libraries are not to be had: ${lost//$'\n'/ }." \
			"Ask an administrator for: apt-get install postgresql"
	fi
	[[ -e /usr/share/zoneinfo/UTC ]] || die "there is no /usr/share/zoneinfo. Ask an administrator for: apt-get install tzdata"
	usable "$bin" || die "PostgreSQL $version was unpacked, but does not run here. Ask an administrator for: apt-get install postgresql"
	rm -rf -- "$tools/postgres"
	mv "$work/new" "$tools/postgres"
}

if [[ -n ${PGBIN:-} ]]; then
	usable "$PGBIN" || die "PGBIN is $PGBIN, and there is no PostgreSQL $oldest or newer there. Set it right, or unset it"
	printf '%s\n' "$PGBIN"
	exit 0
fi
find_bin && exit 0
if [[ $(id -u) == 0 && -z ${EKC_NO_SYSTEM_POSTGRES:-} ]] && command -v apt-get >/dev/null; then
	install_packages && find_bin && exit 0
else
	unpack_packages && find_bin && exit 0
fi
die "no usable PostgreSQL on this machine, and none could be fetched. Install PostgreSQL $oldest or newer (Debian, Ubuntu: apt-get" \
	"install postgresql; Fedora: dnf install postgresql-server; Alpine: apk add postgresql), or set PGBIN to the folder that holds" \
	"initdb and postgres"
