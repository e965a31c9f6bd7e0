#!/usr/bin/env python3
"""Writes the table of named character references in milter/charref.c anew.

The names are Python's html.entities.html5, which is the table of the WHATWG
standard.  Everything between the two marks in the C file is replaced.

usage: make-charref.py [milter/charref.c]
"""
import html.entities
import sys

START = "/* table: made by tests/tools/make-charref.py */\n"
END = "/* end of the table */\n"


def c_string(text):
    return '"' + "".join(f"\\x{b:02x}" for b in text.encode()) + '"'


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else "milter/charref.c"
    with open(path, encoding="ascii") as f:
        before, rest = f.read().split(START)
    after = rest.split(END)[1]
    # Byte order: a name stands directly before all longer ones that begin with it.
    names = sorted(html.entities.html5.items(), key=lambda item: item[0].encode())
    rows = "".join(f'\t{{ "{name}", {c_string(text)} }},\n' for name, text in names)
    with open(path, "w", encoding="ascii") as f:
        f.write(before + START + rows + END + after)


main()
