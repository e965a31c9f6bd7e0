#!/bin/sh
# check.sh -- everything that has to be true before a change goes in.
#
#	./check.sh         about a quarter of an hour on two processors
#	./check.sh --long  fuzzes and kills for much longer
#	./check.sh STAGE ...  only these: gcc clang asan fuzz tsan integration dist lint
#
# One line per stage; what a failed stage said is printed, and all of it is in
# build-check/.  Ends with "N passed, N failed".  Installs missing Debian
# packages (tests/packages.sh).  FUZZ_SECONDS: for each fuzzer; otherwise those
# of what strangers write mail with get a minute, the others less.
# KILL_TOUCHES: how many the kill tests send.
set -eu
cd "$(dirname "$0")"
top=$PWD
. tests/packages.sh

fuzz_seconds=${FUZZ_SECONDS:-}
touches=${KILL_TOUCHES:-100000}
stages="gcc clang asan fuzz tsan integration dist lint"
case ${1-} in
--long)
	fuzz_seconds=${FUZZ_SECONDS:-600}
	touches=${KILL_TOUCHES:-2000000}
	shift
	;;
-*)
	sed -n 's/^# \{0,1\}//; 2,11p' "$0" >&2
	exit 2
	;;
esac
[ $# -eq 0 ] || stages=$*

if [ -e config.status ]; then
	echo "This tree is configured in place, and then it cannot be built elsewhere; say: make distclean" >&2
	exit 1
fi

need build run check
logs=$top/build-check
rm -rf "$logs"
mkdir -p "$logs"

# configured DIR OPTIONS...: an out-of-tree build, made anew when the build files changed.
configured() {
	dir=$top/$1
	shift
	mkdir -p "$dir"
	cd "$dir"
	if [ ! -e config.status ] || [ "$top/configure" -nt config.status ]; then
		"$top/configure" "$@" || return 1
	fi
	make -j2 || return 1
}

unit() {
	# What failed tests said is in Automake's own file; its counts have been printed already.
	make -j2 check || { [ -e test-suite.log ] && sed '/^# /d' test-suite.log; return 1; }
}

# integration TOUCHES BUILD [TEST ...]: all of them unless named
integration() {
	touches_now=$1
	shift
	as_root env KILL_TOUCHES="$touches_now" "$top/tests/run.sh" "$@"
}

# What a sanitizer has something to say about: not the judging of what `rekindle tag' writes, whose messages and
# documents the unit tests and the fuzzers read in here too.  Threads are the daemons' alone.
memory="test_tracker.py test_tls.py test_http.py test_ask.py test_cli.py test_milter.py"
threads="test_tracker.py test_milter.py test_kill.py test_robots.py test_caps.py"

stage_gcc() {
	configured build-check-gcc CC=gcc CFLAGS="-g -O2" --enable-werror && unit
}

# The programs as they ship; with the sanitizers the tests are built by it too, and run.
stage_clang() {
	configured build-check-clang CC=clang CFLAGS="-g -O2" --enable-werror
}

# The fuzzers are built here too, so that one tree serves both.
stage_asan() {
	configured build-check-asan CC=clang CFLAGS="-g -O1" --enable-werror --enable-sanitizers=address,undefined \
		--enable-fuzzers && unit && integration $((touches / 10)) "$top/build-check-asan" $memory
}

stage_tsan() {
	configured build-check-tsan CC=clang CFLAGS="-g -O1" --enable-werror --enable-sanitizers=thread &&
		TSAN_OPTIONS="suppressions=$top/tests/tsan.supp" make -j2 check TESTS="tests/unit/test_store tests/unit/test_journal tests/unit/test_writer tests/unit/test_fold" &&
		integration $((touches / 10)) "$top/build-check-tsan" $threads
}

stage_integration() {
	configured build-check-gcc CC=gcc CFLAGS="-g -O2" --enable-werror && integration "$touches" "$top/build-check-gcc"
}

stage_dist() {
	configured build-check-gcc CC=gcc CFLAGS="-g -O2" --enable-werror &&
		make -j2 distcheck DISTCHECK_CONFIGURE_FLAGS="CC=gcc" || return 1
	root=$logs/root
	make install DESTDIR="$root" && find "$root" -type f | sort && "$root/usr/local/bin/rekindle" -V || return 1
	for file in sbin/rekindle-milter sbin/rekindle-tracker share/man/man1/rekindle.1 share/man/man5/rekindle.conf.5; do
		[ -e "$root/usr/local/$file" ] || { echo "$file was not installed"; return 1; }
	done
	docs=$root/usr/local/share/doc/rekindle
	for link in $(grep -ohE '\]\([^):#]+\)' "$docs"/*.md | tr -d ']()'); do
		[ -e "$docs/$link" ] || { echo "what is installed has no $link, where a link leads"; return 1; }
	done
	make uninstall DESTDIR="$root" || return 1
	left=$(find "$root" -type f)
	[ -z "$left" ] || { echo "uninstall leaves: $left"; return 1; }
}

stage_lint() {
	cd "$top"
	mandoc -Tlint -Wwarning man/*.[0-9] || return 1
	for script in $(find *.sh .ci/run tests -name '*.sh' -o -path .ci/run 2>/dev/null); do
		sh -n "$script" || return 1
	done
	python3 - $(find tests -name '*.py') <<'PY' || return 1
import ast, sys
for name in sys.argv[1:]:
    ast.parse(open(name).read(), name)
PY
	tests/layers.sh
}

# Beside the stages that follow, with what they leave of the processors: the fuzzers take as long anyway.  Linux
# shares those out between sessions first, and this one is of its own so that it can be stopped as a whole.
fuzzing=
begin_fuzz() {
	[ -e "$top/build-check-asan/config.status" ] || run asan
	fuzz_begin=$(date +%s)
	setsid sh -c 'echo 19 >/proc/self/autogroup || :; exec nice -n 19 "$@"' sh \
		"$top/tests/fuzz.sh" "$top/build-check-asan" "$logs" "$fuzz_seconds" >"$logs/fuzz.log" 2>&1 &
	fuzzing=$!
}

end_fuzz() {
	status=0
	wait "$fuzzing" || status=$?
	fuzzing=
	tell fuzz "$status" $(($(date +%s) - fuzz_begin))
}

stop_fuzz() {
	[ -z "$fuzzing" ] || kill -- "-$fuzzing" 2>/dev/null || :
}
trap stop_fuzz EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

passed=0 failed=0
run() {
	begin=$(date +%s)
	status=0
	("stage_$1") >"$logs/$1.log" 2>&1 || status=$?
	tell "$1" "$status" $(($(date +%s) - begin))
}

# tell STAGE STATUS SECONDS
tell() {
	log=$logs/$1.log
	status=$2 seconds=$3
	# Automake's counts (one block per `make check`) and our own last lines; a stage that counts nothing is one test.
	ok=$(awk '/^# PASS: /{n += $3} /^== all$/{all = 1} /^[0-9]+ passed, [0-9]+ failed$/ && all{n += $1; all = 0} END{print n + 0}' "$log")
	bad=$(awk '/^# (FAIL|ERROR|XPASS): /{n += $3} /^== all$/{all = 1} /^[0-9]+ passed, [0-9]+ failed$/ && all{n += $3; all = 0} END{print n + 0}' "$log")
	if [ $status -eq 0 ]; then
		[ "$ok" -gt 0 ] || ok=1
		printf 'ok      %-12s %4d s  %d passed\n' "$1" "$seconds" "$ok"
	else
		[ "$bad" -gt 0 ] || bad=1
		printf 'FAILED  %-12s %4d s  %d passed, %d failed; which, and then the end of %s:\n' "$1" "$seconds" "$ok" "$bad" "$log"
		grep -E '^(FAIL|ERROR|FAILED)[: ]|^[A-Za-z]*Error: |: exit status |warning: |error: ' "$log" | head -n 30 | sed 's/^/    /' || :
		tail -n 80 "$log" | sed 's/^/    /'
	fi
	passed=$((passed + ok))
	failed=$((failed + bad))
}

started=$(date +%s)
if ! { [ configure -nt configure.ac ] && [ Makefile.in -nt Makefile.am ] || ./autogen.sh; } >"$logs/autogen.log" 2>&1; then
	cat "$logs/autogen.log"
	echo "0 passed, 1 failed"
	exit 1
fi
for stage in $stages; do
	case $stage in
	fuzz) begin_fuzz ;;
	gcc | clang | asan | tsan | integration | dist | lint) run "$stage" ;;
	*) echo "There is no stage $stage; there are: gcc clang asan fuzz tsan integration dist lint" >&2; exit 2 ;;
	esac
done
[ -z "$fuzzing" ] || end_fuzz
echo "$(($(date +%s) - started)) seconds"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
