#!/bin/sh
# packages.sh -- the one list of Debian packages.  Sourced by demo.sh and check.sh:
#	need build run ...	installs what is missing of these groups, and only that
set -eu

packages_build="gcc libc6-dev make autoconf automake pkg-config liblmdb-dev libssl-dev libevent-dev libidn2-dev libunistring-dev
	libjansson-dev libmilter-dev libsystemd-dev"
packages_run="python3 postfix postfix-lmdb postfix-pcre"
packages_check="clang libclang-rt-dev llvm libcmocka-dev mandoc xz-utils openssl opendkim python3-dkim python3-html5lib python3-h11
	haproxy nginx-light e2fsprogs iproute2 libfaketime python3-prometheus-client strace systemd systemd-journal-remote chromium"
packages_bench="opendkim libgumbo-dev libxml2-dev nginx-light lighttpd h2o"

# As root, or by way of sudo, or not at all.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		echo "This needs root (or sudo): $*" >&2
		return 1
	fi
}

installed() {
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

need() {
	missing=""
	for group in "$@"; do
		eval "list=\$packages_$group"
		for package in $list; do
			installed "$package" || missing="$missing $package"
		done
	done
	[ -n "$missing" ] || return 0
	if ! command -v apt-get >/dev/null; then
		echo "Packages are missing, and this is no Debian:$missing" >&2
		return 1
	fi
	echo "Installing what is missing:$missing"
	log=$(mktemp)
	# Postfix without a configuration: the machine's own mail stays as it is.
	case $missing in
	*postfix*) echo "postfix postfix/main_mailer_type select No configuration" | as_root debconf-set-selections ;;
	esac
	install="as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends"
	# Package lists may be old or absent; then fetch them and try once more.
	if ! $install $missing >"$log" 2>&1 && ! { as_root apt-get update && $install $missing; } >"$log" 2>&1; then
		cat "$log" >&2
		echo "Could not install:$missing" >&2
		return 1
	fi
	rm -f "$log"
}
