#!/usr/bin/env python3
"""Judges a tagged message without any code of ours.

usage: judge.py BEFORE AFTER --tracking-url URL [--list]

Reads both messages with Python's email package and their HTML with
html.parser, and demands that nothing differs but what tagging may change:

- header fields: X-Rekindle-*, List-Unsubscribe and List-Unsubscribe-Post may
  come, control fields (X-Rekindle-*, --control NAME) may go, the transfer
  encoding of an HTML part may become quoted-printable, the MTA may add its own
  fields on top (--mta);
- the structure of the parts, and the decoded bytes of all but HTML parts;
- HTML: the same tokens once the pixel is taken out, and in <a> and <area> the
  value of href where it became a URL below URL/c/, and opt-out attributes;
  in comments nothing, but in conditional ones for Outlook the same of links,
  <v:...> and <w:...> among them, and no pixel.

--list prints "old destination TAB tracked URL" for each changed link, and the
pixel's URL, for tests that go on to fetch them.  Exit status 1: they differ.
"""
import argparse
import email
import email.policy
import html.parser
import re
import sys

OPT_OUT = {"data-no-track", "clicktracking", "disable-tracking", "data-msys-clicktrack", "mautic:disable-tracking",
           "data-skip-click", "data-mg-notrack"}
MTA = {"received", "return-path", "delivered-to", "x-original-to", "x-mail-args", "x-rcpt-args", "x-helo-args",
       "x-client-addr", "x-client-proto"}
CONDITIONAL = re.compile(r"(?is)(\[if\b[^][<>]*\b(?:mso|vml|ie|outlook)\b[^][<>]*\]>)(.*)(<!\[endif\])")


class Tokens(html.parser.HTMLParser):
    """Tokens in order; adjacent text joined."""

    def __init__(self, text):
        super().__init__(convert_charrefs=False)
        self.list = []
        self.feed(text)
        self.close()

    def text(self, data):
        if self.list and self.list[-1][0] == "text":
            data = self.list.pop()[1] + data
        self.list.append(("text", data))

    def handle_starttag(self, tag, attrs):
        self.list.append(("start", tag, attrs))

    def handle_startendtag(self, tag, attrs):
        self.list.append(("start/", tag, attrs))

    def handle_endtag(self, tag):
        self.list.append(("end", tag))

    def handle_data(self, data):
        self.text(data)

    def handle_entityref(self, name):
        self.text("&" + name)

    def handle_charref(self, name):
        self.text("&#" + name)

    def handle_comment(self, data):
        self.list.append(("comment", data))

    def handle_decl(self, decl):
        self.list.append(("decl", decl))

    def handle_pi(self, data):
        self.list.append(("pi", data))

    def unknown_decl(self, data):
        self.list.append(("unknown", data))


class Judge:
    def __init__(self, args):
        self.url = args.tracking_url.rstrip("/")
        self.control = {name.lower() for name in args.control}
        self.mta = MTA if args.mta else set()
        self.faults = []
        self.links = []
        self.pixels = []
        self.parts = self.html_parts = 0

    def fault(self, text):
        self.faults.append(text)

    def headers(self, where, before, after, top):
        old = [(n, v) for n, v in before.raw_items() if not self.may_go(n, top)]
        new = [(n, v) for n, v in after.raw_items() if not self.may_come(n, top)]
        if top and before.get("List-Unsubscribe") is None:
            new = [(n, v) for n, v in new if n.lower() not in ("list-unsubscribe", "list-unsubscribe-post")]
        if before.get_content_type() == "text/html" and after.get("Content-Transfer-Encoding") == "quoted-printable":
            old = [(n, v) for n, v in old if n.lower() != "content-transfer-encoding"]
            new = [(n, v) for n, v in new if n.lower() != "content-transfer-encoding"]
        if old != new:
            gone = [item for item in old if item not in new]
            come = [item for item in new if item not in old]
            self.fault(f"{where}: header fields differ: gone {gone}, new {come}" if gone or come
                       else f"{where}: header fields in another order")

    def may_go(self, name, top):
        name = name.lower()
        return top and (name.startswith("x-rekindle-") or name in self.control or name in self.mta)

    def may_come(self, name, top):
        name = name.lower()
        return top and (name.startswith("x-rekindle-") or name in self.mta)

    def part(self, where, before, after, top=False):
        self.headers(where, before, after, top)
        if before.preamble != after.preamble or before.epilogue != after.epilogue:
            self.fault(f"{where}: text around the parts differs")
        if before.is_multipart() != after.is_multipart():
            return self.fault(f"{where}: one has parts, the other has none")
        if before.is_multipart():
            old, new = before.get_payload(), after.get_payload()
            if len(old) != len(new):
                return self.fault(f"{where}: {len(old)} parts became {len(new)}")
            for i, (b, a) in enumerate(zip(old, new), 1):
                self.part(f"{where}.{i}", b, a)
            return None
        self.parts += 1
        old, new = before.get_payload(decode=True), after.get_payload(decode=True)
        if before.get_content_type() == "text/html":
            self.html_parts += 1
            # Latin-1 keeps every byte apart, whatever the charset; markup is ASCII.
            return self.html(where, Tokens(old.decode("latin-1")).list, Tokens(new.decode("latin-1")).list)
        if old != new:
            self.fault(f"{where}: {before.get_content_type()} content differs")
        return None

    def is_pixel(self, token):
        if token[0] not in ("start", "start/") or token[1] != "img":
            return False
        src = dict(token[2]).get("src") or ""
        if not src.startswith(self.url + "/o/"):
            return False
        self.pixels.append(src)
        return True

    def html(self, where, old, new):
        merged = []
        for token in new:
            if self.is_pixel(token):
                continue
            if merged and token[0] == "text" and merged[-1][0] == "text":
                token = ("text", merged.pop()[1] + token[1])
            merged.append(token)
        if len(old) != len(merged):
            self.fault(f"{where}: {len(old)} HTML tokens became {len(merged)}")
        for b, a in zip(old, merged):
            if b != a and not self.is_link(b, a) and not self.is_conditional(b, a):
                return self.fault(f"{where}: HTML differs: {b!r:.300} became {a!r:.300}")
        return None

    def is_conditional(self, old, new):
        """The same conditional comment, but for links."""
        if old[0] != "comment" or new[0] != "comment":
            return False
        before, after = CONDITIONAL.fullmatch(old[1]), CONDITIONAL.fullmatch(new[1])
        if not before or not after or before[1] != after[1] or before[3] != after[3]:
            return False
        # No comment can start in a comment; the parser must not see one.
        old, new = (Tokens(m[2].replace("<!--", "&lt;!--")).list for m in (before, after))
        return len(old) == len(new) and all(b == a or self.is_link(b, a, ("v:", "w:")) for b, a in zip(old, new))

    def is_link(self, old, new, prefixes=()):
        if old[:2] != new[:2] or old[0] not in ("start", "start/"):
            return False
        if old[1] not in ("a", "area") and not old[1].startswith(prefixes):
            return False
        left = [(n, v) for n, v in old[2] if n not in OPT_OUT]
        opted_out = len(left) < len(old[2])
        right = [(n, v) for n, v in new[2] if n not in OPT_OUT]
        if len(left) != len(right):
            return False
        first = True
        for (n, v), (m, u) in zip(left, right):
            if n == m == "href" and first and v != u:
                if opted_out and len(right) == len(new[2]):
                    return False
                if not (u or "").startswith(self.url + "/c/"):
                    return False
                self.links.append((v, u))
            elif (n, v) != (m, u):
                return False
            first = first and n != "href"
        return True


def main():
    parser = argparse.ArgumentParser(description="compare a message before and after tagging")
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--tracking-url", required=True)
    parser.add_argument("--control", action="append", default=["X-Campaign", "X-Stream"], metavar="NAME",
                        help="a header field that may go")
    parser.add_argument("--mta", action="store_true", help="the MTA's own header fields may come")
    parser.add_argument("--list", action="store_true", help="print changed links and the pixel")
    args = parser.parse_args()
    judge = Judge(args)
    messages = []
    for path in (args.before, args.after):
        with open(path, "rb") as f:
            # Line ends are the transport's business: compare with one kind.
            data = f.read().replace(b"\r\n", b"\n")
        messages.append(email.message_from_bytes(data, policy=email.policy.compat32.clone(linesep="\n")))
    judge.part("message", messages[0], messages[1], top=True)
    if len(judge.pixels) > 1:
        judge.fault(f"{len(judge.pixels)} pixels")
    for text in judge.faults:
        print(f"judge: {text}", file=sys.stderr)
    if args.list:
        for old, new in judge.links:
            print(f"{old}\t{new}")
        for url in judge.pixels:
            print(f"pixel\t{url}")
    else:
        print(f"{judge.parts} parts, {judge.html_parts} of HTML, {len(judge.links)} links, {len(judge.pixels)} pixels: "
              + ("different" if judge.faults else "the same"))
    return 1 if judge.faults else 0


sys.exit(main())
