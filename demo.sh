#!/bin/sh
# demo.sh -- Rekindle at work, on a mail server of its own in a temporary directory.
#
#	./demo.sh         build, show everything, clean up
#	./demo.sh --keep  leave it running afterwards for a look around
#
# Touches nothing of this machine's own mail.  Needs Debian 12; what is
# missing is installed with apt-get (see tests/packages.sh).
set -eu
cd "$(dirname "$0")"
. tests/packages.sh

case ${1-} in
"" | --keep) ;;
*) sed -n 's/^# \{0,1\}//; 2,8p' "$0" >&2; exit 2 ;;
esac

need build run

if [ -e config.status ]; then
	build=$PWD	# configured in place already
else
	build=$PWD/build-demo
fi
mkdir -p "$build"
log=$build/demo-build.log
echo "Building in $build"
if ! (
	{ [ configure -nt configure.ac ] && [ Makefile.in -nt Makefile.am ] || ./autogen.sh; } &&
	cd "$build" && { [ -e config.status ] || "$OLDPWD/configure"; } && make -j2 rekindle rekindle-milter rekindle-tracker
) >"$log" 2>&1; then
	tail -n 40 "$log" >&2
	echo "The build failed; all of it is in $log" >&2
	exit 1
fi

as_root env PYTHONDONTWRITEBYTECODE=1 REKINDLE_BUILD="$build" python3 tests/demo.py "$@"
