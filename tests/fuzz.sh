#!/bin/sh
# fuzz.sh -- runs every fuzzer of one build directory.
#
#	tests/fuzz.sh BUILD LOGS [SECONDS]
#
# SECONDS for each; otherwise those of what strangers write mail with get a
# minute, the others less.  Each starts from its corpus, in a copy below LOGS:
# what it finds is not committed by accident.  Prints a line for each, what a
# failed one said, and ends with "N passed, N failed" behind "== all", as run.sh does.
set -eu
top=$(cd "$(dirname "$0")/.." && pwd)
build=$(cd "$1" && pwd)
logs=$2/corpus
seconds=${3-}
mkdir -p "$logs"
out=$logs/.out
cd "$build"

find tests/fuzz -name 'fuzz_*' -type f -perm -u+x | sort | xargs -P 2 -I '{}' sh -c '
	program=$1 top=$2 corpus=$3/${1##*/} seconds=$4
	name=${1##*/}
	mkdir -p "$corpus"
	if [ -d "$top/tests/fuzz/corpus/$name" ]; then cp -r "$top/tests/fuzz/corpus/$name/." "$corpus"; fi
	case $seconds:$name in
	:fuzz_mime | :fuzz_html | :fuzz_codec | :fuzz_message) seconds=60 ;;
	:*) seconds=2 ;;
	esac
	case $name in
	fuzz_mime | fuzz_message) seeds=$top/tests/data/messages ;;
	fuzz_report) seeds=$top/tests/data/reports ;;
	fuzz_page) seeds=$top/conf/pages ;;
	*) seeds= ;;
	esac
	dict=$top/tests/fuzz/$name.dict
	set --
	if [ -e "$dict" ]; then set -- -dict="$dict"; fi
	if "$program" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=2048 -artifact_prefix="$corpus-" "$@" "$corpus" $seeds \
		>"$corpus.log" 2>&1; then
		echo "ok      $name: $(tail -n 1 "$corpus.log")"
	else
		echo "FAILED  $name"
		tail -n 60 "$corpus.log"
	fi' sh '{}' "$top" "$logs" "$seconds" >"$out" 2>&1
cat "$out"
passed=$(grep -c '^ok  ' "$out") || :
failed=$(grep -c '^FAILED  ' "$out") || :
echo "== all"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
