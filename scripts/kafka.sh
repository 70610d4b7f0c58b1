#!/usr/bin/env bash
# Prints the folder with Apache Kafka (its jars in libs/, and a Java that runs them as java) and gets one first when there is none:
#   KAFKA_HOME, .tools/kafka        what is there is used;
#   otherwise                       Maven fetches the jars by their coordinates into .tools/kafka.
# Java 17 or newer and Maven are used if they are there. Where one is missing, root on Debian or Ubuntu installs it with apt-get; an
# ordinary user there has the packages downloaded and unpacked into .tools/java. EKC_NO_SYSTEM_JAVA=1 does as if the system had none
# and could not be given one. Only the folder goes to standard output.
set -euo pipefail
export LC_ALL=C

readonly kafka=4.1.1 log4j=2.24.3 oldest=17
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root tools=$root/.tools

say() { printf 'kafka.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Runs a program that may be unpacked and not installed: with the libraries and settings beside it.
unpacked() { # program, arguments
	local usr=$tools/java/usr libs
	if [[ $1 != "$tools"/* ]]; then
		"$@"
		return
	fi
	libs=$(printf '%s:' "$usr"/lib/*-linux-gnu*)
	LD_LIBRARY_PATH=$libs "$@"
}

java_version() { # program
	unpacked "$1" -version 2>&1 | sed -n 's/.* version "\([0-9][0-9]*\).*/\1/p' | head -n 1
}

usable_java() { # program
	local version
	version=$(java_version "$1") || return 1
	[[ -n $version && $version -ge $oldest ]]
}

# Prints the first Java that will do, fails when there is none.
find_java() {
	local program
	for program in "$tools"/java/usr/lib/jvm/*/bin/java; do
		if [[ -x $program ]] && usable_java "$program"; then
			printf '%s\n' "$program"
			return 0
		fi
	done
	[[ -z ${EKC_NO_SYSTEM_JAVA:-} ]] || return 1
	for program in "${JAVA_HOME:-/nonexistent}/bin/java" "$(command -v java || true)" /usr/lib/jvm/*/bin/java; do
		if [[ -x $program ]] && usable_java "$program"; then
			readlink -f "$program"
			return 0
		fi
	done
	return 1
}

find_maven() {
	local program
	for program in "$tools/java/usr/share/maven/bin/mvn" "$([[ -n ${EKC_NO_SYSTEM_JAVA:-} ]] || command -v mvn || true)"; do
		if [[ -n $program && -x $program ]]; then
			printf '%s\n' "$program"
			return 0
		fi
	done
	return 1
}

install_packages() { # packages
	say "this machine lacks ${*}: installing Debian's packages"
	export DEBIAN_FRONTEND=noninteractive
	local install=(apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends)
	"${install[@]}" "$@" >&2 || { apt-get update -qq >&2 && "${install[@]}" "$@" >&2; }
}

# What the packages' own scripts would have done: links that lead out of the folder lead into it, and Java gets its certificates.
settle() { # folder with unpacked packages
	local link target java certificate
	while IFS= read -r -d '' link; do
		target=$(readlink "$link")
		[[ ! -e $1$target ]] || ln -sfn "$1$target" "$link"
	done < <(find "$1" -type l -lname '/*' -print0)
	java=$(find "$1/usr/lib/jvm" -path '*/bin/java' -print -quit)
	[[ -n $java ]] || return 1
	if [[ -e /etc/ssl/certs/java/cacerts ]]; then
		rm -f "${java%/bin/java}/lib/security/cacerts"
		cp -L /etc/ssl/certs/java/cacerts "${java%/bin/java}/lib/security/cacerts"
		return
	fi
	[[ -r /etc/ssl/certs/ca-certificates.crt ]] || return 0
	say "giving Java the machine's certificates: a minute or three"
	mkdir "$1/pem"
	awk -v dir="$1/pem" '/BEGIN CERTIFICATE/ { n++ } { print > (dir "/" n ".pem") }' /etc/ssl/certs/ca-certificates.crt
	rm -f "${java%/bin/java}/lib/security/cacerts"
	for certificate in "$1"/pem/*.pem; do
		unpacked "${java%/java}/keytool" -importcert -noprompt -storetype JKS -storepass changeit -keystore "${java%/bin/java}/lib/security/cacerts" \
			-alias "$(basename "$certificate")" -file "$certificate" >/dev/null 2>&1 || true
	done
	rm -rf -- "$1/pem"
}

unpack_packages() { # packages
	local apt=() work name deb
	if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
		return 1
	fi
	mkdir -p "$tools" || return 1
	work=$(mktemp -d "$tools/java.XXXXXX") || return 1
	# shellcheck disable=SC2064 # the folder of this run
	trap "rm -rf -- '$work'" EXIT
	mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial" "$work/deb"
	[[ $(id -u) != 0 ]] || apt+=(-o APT::Sandbox::User=root)
	if ! apt-cache "${apt[@]}" show "$1" >/dev/null 2>&1; then
		say "the machine's package lists do not offer $1: fetching fresh ones into $tools"
		apt+=(-o "Dir::State=$work/state" -o Dir::State::status=/var/lib/dpkg/status -o "Dir::Cache=$work/cache")
		apt-get "${apt[@]}" update -qq >&2 || return 1
	fi
	say "this machine lacks ${*}, and this user cannot install: unpacking Debian's packages into $tools/java"
	# The packages and the libraries they stand on; of the rest only what is made of Java.
	while IFS= read -r name; do
		case $name in
		libc6 | libgcc-s1 | libcrypt1 | ca-certificates-java | java-common) continue ;;
		*-java | maven | openjdk-*-jre-headless) printf '%s\0' "$name" ;;
		lib*) [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || printf '%s\0' "$name" ;;
		esac
	done < <(apt-cache "${apt[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances \
		"$@" | sed -n 's/^\([a-z][^: ]*\)$/\1/p' | sort -u) |
		(cd "$work/deb" && xargs -0 -r apt-get "${apt[@]}" download -qq >&2) || return 1
	for deb in "$work"/deb/*.deb; do
		dpkg -x "$deb" "$work/new"
	done
	rm -rf -- "$tools/java"
	mv "$work/new" "$tools/java"
	settle "$tools/java"
}

# Java first: what is there already need not be fetched.
readonly ask="Ask an administrator for: apt-get install openjdk-17-jre-headless maven"
get_programs() {
	local missing=()
	find_java >/dev/null || missing+=(openjdk-17-jre-headless)
	find_maven >/dev/null || missing+=(maven)
	[[ ${#missing[@]} -gt 0 ]] || return 0
	if [[ $(id -u) == 0 && -z ${EKC_NO_SYSTEM_JAVA:-} ]] && command -v apt-get >/dev/null; then
		install_packages "${missing[@]}"
	else
		unpack_packages openjdk-17-jre-headless maven
	fi
	find_java >/dev/null && find_maven >/dev/null
}

fetch_jars() {
	local work java maven repository=()
	mkdir -p "$tools" || return 1
	work=$(mktemp -d "$tools/kafka.XXXXXX") || return 1
	# shellcheck disable=SC2064 # the folder of this run
	trap "rm -rf -- '$work'" EXIT
	java=$(find_java) && maven=$(find_maven) || return 1
	say "fetching Apache Kafka $kafka with Maven into $tools/kafka"
	cat >"$work/pom.xml" <<POM
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>ekc</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$kafka</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-core</artifactId><version>$log4j</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$log4j</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-1.2-api</artifactId><version>$log4j</version></dependency>
  </dependencies>
</project>
POM
	[[ -w $(getent passwd "$(id -u)" | cut -d: -f6) ]] || repository=("-Dmaven.repo.local=$work/repository") # no home to keep it in
	JAVA_HOME=${java%/bin/java} unpacked "$maven" "${repository[@]}" -q -B -f "$work/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
		-DoutputDirectory="$work/new/libs" >&2 || return 1
	[[ -n $(find "$work/new/libs" -name 'kafka_2.13-*.jar' 2>/dev/null) ]] || return 1
	link_java "$work/new"
	rm -rf -- "$tools/kafka"
	mv "$work/new" "$tools/kafka"
}

# A Java that was unpacked needs its libraries named each time.
link_java() { # folder
	local java
	java=$(find_java) || return 1
	rm -f "$1/java"
	if [[ $java == "$tools"/* ]]; then
		printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s" "$@"\n' "$(printf '%s:' "$tools"/java/usr/lib/*-linux-gnu*)" "$java" >"$1/java"
		chmod 755 "$1/java"
	else
		ln -s "$java" "$1/java"
	fi
}

has_kafka() { # folder
	local jars=("$1"/libs/kafka_*.jar)
	[[ -e ${jars[0]} ]]
}

if [[ -n ${KAFKA_HOME:-} ]]; then
	has_kafka "$KAFKA_HOME" || die "KAFKA_HOME is $KAFKA_HOME, and there is no libs/kafka_*.jar there. Set it right, or unset it"
	find_java >/dev/null || die "there is no Java $oldest or newer. $ask"
	printf '%s\n' "$KAFKA_HOME"
	exit 0
fi
if has_kafka "$tools/kafka" && usable_java "$tools/kafka/java"; then
	printf '%s\n' "$tools/kafka"
	exit 0
fi
get_programs || die "there is no Java $oldest or newer with Maven on this machine, and none could be fetched. $ask"
fetch_jars || die "Apache Kafka $kafka could not be fetched with Maven: see above. Or unpack a distribution of Apache Kafka and set KAFKA_HOME"
printf '%s\n' "$tools/kafka"
