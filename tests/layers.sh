#!/bin/sh
# layers.sh -- the layers of the design, as includes: arrows point down only, and each library has one home.
#
# Every module has a number below.  A file may include a header of its own
# module, of any lower layer, and of its own layer where the row says so.
set -eu
cd "${top_srcdir:-$(dirname "$0")/..}"

# layer modules
layers='
0 common/span common/scan common/buf common/mem common/text common/csv common/log common/clock
1 common/codec common/conf common/keys common/addr common/ip common/who common/pack common/pack_text common/siv common/token common/privacy common/page common/page_builtin common/bounce common/maillog common/report common/listing
1 common/robot common/datafile common/robots common/robots_text common/receivers common/receivers_text common/brake common/pace common/trail common/touch common/profile common/engage common/caps common/series common/verdict
2 common/store common/store_* common/journal common/writer common/fold common/fold_thread common/setup common/throttle common/proc common/bind
3 milter/message milter/tag milter/links milter/fields milter/url milter/plain milter/mime milter/charset milter/html milter/charref milter/splice milter/select milter/split milter/answer milter/recent
3 tracker/http tracker/form tracker/hit tracker/leave tracker/proxy tracker/tls tracker/budget tracker/accesslog cli/print
4 milter/filter milter/mail milter/judge milter/record milter/brakes milter/ask milter/queue milter/follow milter/journald milter/main tracker/listen tracker/handover tracker/basket tracker/loop tracker/conn tracker/admin tracker/main cli/main cli/cli cli/cmd_*
'

# header: the files (shell patterns) that may include it
homes='
lmdb.h: common/store_env.h
libmilter/*: milter/filter.c milter/filter.h milter/main.c
event2/*: milter/ask.c tracker/loop.[ch] tracker/basket.[ch] tracker/conn.[ch] tracker/main.c
event.h:
evhttp.h:
openssl/*: common/siv.c common/addr.c tracker/tls.c
idn2.h: common/addr.c
unicase.h: common/addr.c
unictype.h: common/addr.c
uninorm.h: common/addr.c
unistr.h: common/addr.c
systemd/*: milter/journald.c
jansson.h: cli/cmd_import.c
iconv.h: milter/charset.[ch]
syslog.h: common/log.c milter/main.c
'

# What a pure module has no business with: clocks, sockets, files, threads, logs.
pure='common/span common/scan common/buf common/text common/csv common/listing common/codec common/keys common/addr common/ip common/pack common/siv common/token common/privacy common/page common/bounce common/maillog common/report common/robot common/datafile common/robots common/receivers common/brake common/pace common/trail
	common/receivers common/brake common/pace common/touch common/profile common/engage common/caps common/series common/verdict milter/message milter/mime milter/charset milter/html milter/charref milter/splice
	milter/tag milter/links milter/fields milter/url milter/plain milter/select milter/split milter/answer tracker/http tracker/form tracker/hit tracker/leave tracker/proxy tracker/budget'
effects='time.h sys/time.h unistd.h fcntl.h sys/socket.h netdb.h poll.h pthread.h sys/stat.h dirent.h common/log.h'
# ... with these exceptions: inet_pton is arithmetic, text breaks times down, pack makes its model once and remembers
# what it packed.
allowed=' common/text.c:time.h common/pack.c:pthread.h '

faults=$(mktemp)
trap 'rm -f "$faults"' EXIT
fault() {
	echo "$1: $2" >>"$faults"
}

layer_of() {
	module=${1%.[ch]}
	while read -r number modules; do
		for m in $modules; do
			case $module in
			$m) echo "$number"; return ;;
			esac
		done
	done <<EOT
$layers
EOT
}

files=$(find common milter tracker cli -name '*.[ch]' | sort)
[ -n "$files" ] || { echo "layers.sh: no source files in $PWD" >&2; exit 1; }

set -f	# patterns in the tables are for `case`
for file in $files; do
	part=${file%%/*}
	layer=$(layer_of "$file")
	if [ -z "$layer" ]; then
		fault "$file:1" "has no layer; give it one in tests/layers.sh"
		continue
	fi
	includes=$(sed -n 's/^[ 	]*#[ 	]*include[ 	]*[<"]\([^>"]*\)[>"].*/\1/p' "$file" | sort -u)
	for include in $includes; do
		at="$file:$(grep -n "include[ 	]*[<\"]$include[>\"]" "$file" | head -n 1 | cut -d : -f 1)"
		case $include in
		common/* | milter/* | tracker/* | cli/*)
			other=${include%%/*}
			below=$(layer_of "$include")
			if [ -z "$below" ]; then
				fault "$at" "$include has no layer"
			elif [ "$below" -gt "$layer" ]; then
				fault "$at" "layer $layer includes layer $below: $include"
			fi
			case $part:$other:$file:$include in
			"$part:$part:"* | *:common:*) ;;
			cli:milter:cli/cmd_tag.c:milter/message.h | cli:milter:cli/cmd_tag.c:milter/select.h | cli:milter:cli/cmd_tag.c:milter/fields.h) ;;
			*) fault "$at" "$part includes $other: $include" ;;
			esac
			;;
		*/*.h | *.h)
			[ -e "$part/$include" ] && fault "$at" "say \"$part/$include\", so that the layer shows"
			;;
		esac

		while IFS=: read -r header where; do
			[ -n "$header" ] || continue
			case $include in
			$header)
				home=no
				for w in $where; do
					case $file in
					$w) home=yes ;;
					esac
				done
				[ $home = yes ] || fault "$at" "$include has its home elsewhere:${where:- nowhere}"
				;;
			esac
		done <<EOT
$homes
EOT

		for m in $pure; do
			[ "${file%.[ch]}" = "$m" ] || continue
			for effect in $effects; do
				case "$include $allowed" in
				"$effect "*" $file:$effect "*) ;;
				"$effect "*) fault "$at" "a pure module includes $include" ;;
				esac
			done
		done
	done
done

if [ -s "$faults" ]; then
	cat "$faults"
	exit 1
fi
echo "layers.sh: $(echo "$files" | wc -l) files, every arrow points down"
