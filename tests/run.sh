#!/bin/sh
# run.sh -- runs integration tests against the programs of one build directory.
#
#	tests/run.sh BUILD [test_kill.py ...]	all of them unless named
#
# Prints what each one says and ends with "N passed, N failed".  Needs root.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
shift
cd "$top/tests/integration"
# The longest first, so that both processors have something to do to the end.
[ $# -gt 0 ] || set -- test_corpus.py test_transport.py $(ls test_*.py | grep -vxE 'test_(corpus|transport)\.py')
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# Three at a time: most of their time is waiting.
printf '%s\n' "$@" | PYTHONDONTWRITEBYTECODE=1 REKINDLE_BUILD=$build xargs -P 3 -I '{}' sh -c '
	begin=$(date +%s)
	if python3 "$2" >"$1/$2" 2>&1; then :; else echo "$2: exit status $?" >>"$1/$2"; fi
	echo $(($(date +%s) - begin)) >"$1/.$2.seconds"' sh "$out" '{}'

# What went well is one line each; what did not is told whole, at the end, where a reader looks first.
passed=0 failed=0 told=$out/.failed
: >"$told"
for test in "$@"; do
	# The rig's last line or unittest's; a test that never came to its last line is one failure.
	counts=$(awk '
		/^[0-9]+ passed, [0-9]+ failed$/ { good = $1; bad = $3; end = 1 }
		/^Ran [0-9]+ tests? in / { good = $2; bad = 0; end = 1 }
		/^FAILED \(/ { n = split($0, part, /[^0-9]+/); for (i = 1; i <= n; i++) bad += part[i]; good -= bad }
		/: exit status [0-9]+$/ { if (!bad) bad = 1 }
		END { print good + 0, (end ? bad : 1) + 0 }' "$out/$test")
	echo "$test: ${counts% *} passed, ${counts#* } failed, $(cat "$out/.$test.seconds") s"
	# What a test measured is worth a line too.
	grep -E '^[0-9].* (answered|messages), ' "$out/$test" | sed 's/^/	/' || :
	[ "${counts#* }" -eq 0 ] || { echo "== $test"; cat "$out/$test"; } >>"$told"
	passed=$((passed + ${counts% *}))
	failed=$((failed + ${counts#* }))
done
cat "$told"
echo "== all"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
