#!/usr/bin/env python3
"""Judges a tagged message without any code of ours.

usage: judge.py BEFORE AFTER --tracking-url URL [--list]

Reads both messages with Python's email package and their HTML with
html.parser and html5lib, and demands that nothing differs but what tagging may
change:

- header fields: X-Rekindle-*, List-Unsubscribe and List-Unsubscribe-Post may
  come, control fields (X-Rekindle-*, --control NAME) may go, the transfer
  encoding of an HTML part may become quoted-printable, the MTA may add its own
  fields on top (--mta);
- the structure of the parts, and the decoded bytes of all but HTML parts;
- HTML: the same tokens once the pixel is taken out, and in <a> and <area> the
  value of href where it became a URL below URL/c/, and opt-out attributes;
  in comments nothing, but in conditional ones for Outlook the same of links,
  <v:...> and <w:...> among them, and no pixel;
- the document that a browser makes of it (html5lib), read in the charset that
  the part declares: the same but for the same things, and a link that opted out
  has its old href.

The two parsers are strangers to each other, which is the point: html.parser
looks at bytes and knows no document, html5lib at characters and repairs.

--list prints "old destination TAB tracked URL" for each changed link, and the
pixel's URL, for tests that go on to fetch them.  Exit status 1: they differ.
"""
import argparse
import binascii
import codecs
import email
import email.policy
import html.parser
import os
import re
import sys
import xml.etree.ElementTree

try:
    import html5lib
    import html5lib._tokenizer
except ImportError:
    # The package python3-html5lib is for Debian's own Python, and another one may stand before it in PATH.
    if os.path.realpath(sys.executable) == os.path.realpath("/usr/bin/python3"):
        raise
    os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])

# Attributes that opt out, and the value that does it; None: any.
OPT_OUT = {"data-no-track": None, "clicktracking": "off", "disable-tracking": None, "data-msys-clicktrack": "0",
           "mautic:disable-tracking": None, "data-skip-click": None, "data-mg-notrack": None}
MTA = {"received", "return-path", "delivered-to", "x-original-to", "x-mail-args", "x-rcpt-args", "x-helo-args",
       "x-client-addr", "x-client-proto"}
CONDITIONAL = re.compile(r"(?is)(\[if\b[^][<>]*\b(?:mso|vml|ie|outlook)\b[^][<>]*\]>)(.*)(<!\[endif\])")
# What browsers take instead of the charset that is named (WHATWG), where Python has another codec of this name.
CODECS = {"us-ascii": "cp1252", "ascii": "cp1252", "iso-8859-1": "cp1252", "latin1": "cp1252", "iso-8859-9": "cp1254",
          "gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs", "shift_jis": "cp932", "euc-kr": "cp949",
          "ks_c_5601-1987": "cp949", "tis-620": "cp874", "iso-8859-11": "cp874"}
# Elements that a browser opens anew around what comes behind their unclosed fellows.
FORMATTING = set("a b big code em font i nobr s small strike strong tt u".split())
TREE = html5lib.getTreeBuilder("etree", implementation=xml.etree.ElementTree, fullTree=True)


def content(part):
    """A leaf's bytes without its transfer encoding.  Python keeps blanks at the end of quoted lines, which RFC 2045 takes away."""
    if str(part.get("Content-Transfer-Encoding", "")).strip().lower() != "quoted-printable":
        return part.get_payload(decode=True)
    del part["Content-Transfer-Encoding"]  # or else Python decodes it, and in text that is not ASCII the charset as well
    return binascii.a2b_qp(re.sub(rb"[ \t]+(?=\r?\n|\Z)", b"", part.get_payload(decode=True)))


def decoded(data, charset):
    """The characters of a part; the same for the same bytes, whatever they are."""
    charset = (charset or "").lower()
    try:
        return data.decode(codecs.lookup(CODECS.get(charset, charset)).name, "replace")
    except (LookupError, UnicodeError, ValueError):
        pass
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def destination(href):
    """What the URL parser of a browser starts from."""
    return re.sub("[\t\r\n]", "", href).strip("".join(map(chr, range(0x21))))


def document(text):
    """The tree as browsers build it, as a list: ("start", name, {attribute: value}), ("end", name), ("text", characters) ..."""
    found = []
    todo = [html5lib.HTMLParser(tree=TREE).parse(text)]
    while todo:
        node = todo.pop()
        if isinstance(node, tuple):
            if node[0] != "text" or not found or found[-1][0] != "text":
                found.append(node)
            else:
                found[-1] = ("text", found[-1][1] + node[1])
            continue
        if not isinstance(node.tag, str):
            found.append(("comment", node.text or ""))
            continue
        name = node.tag.rpartition("}")[2]
        found.append(("start", name, dict(node.attrib)))
        todo.append(("end", name))
        for child in reversed(node):
            if child.tail:
                todo.append(("text", child.tail))
            todo.append(child)
        if node.text:
            todo.append(("text", node.text))
    return found


def markup(text):
    """The tags alone, in order, without a tree: what is inside a conditional comment is no document."""
    found = []
    kinds = html5lib.constants.tokenTypes
    for token in html5lib._tokenizer.HTMLTokenizer(text):
        if token["type"] in (kinds["StartTag"], kinds["EndTag"]):
            found.append(("start" if token["type"] == kinds["StartTag"] else "end", token["name"], dict(token["data"])))
        elif token["type"] in (kinds["Characters"], kinds["SpaceCharacters"]):
            if found and found[-1][0] == "text":
                found[-1] = ("text", found[-1][1] + token["data"])
            else:
                found.append(("text", token["data"]))
        elif token["type"] != kinds["ParseError"]:
            found.append((token["type"], token["name"] if "name" in token else token["data"]))
    return found


def opts_out(attributes):
    return any(n in OPT_OUT and OPT_OUT[n] in (None, v.strip().lower()) for n, v in attributes.items())


def text_of(part, data):
    """Latin-1 keeps every byte apart, and markup is ASCII in most charsets; in some it is not."""
    charset = (part.get_content_charset() or "").lower()
    if charset.startswith(("iso-2022-", "utf-16", "utf-32", "utf-7")):
        try:
            return data.decode(charset)
        except UnicodeDecodeError:
            pass
    return data.decode("latin-1")


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
        self.destinations = []  # (destination, tracked URL) as a browser sees them
        self.seen = self.dropped = 0  # pixels in documents, and documents that can have none
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
            if "MIME-Version" not in before:
                new = [(n, v) for n, v in new if (n.lower(), v.strip()) != ("mime-version", "1.0")]
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
        old, new = content(before), content(after)
        if before.get_content_type() == "text/html":
            self.html_parts += 1
            self.html(where, Tokens(text_of(before, old)).list, Tokens(text_of(after, new)).list)
            if old != new:
                charset = before.get_content_charset()
                self.document(where, document(decoded(old, charset)), document(decoded(new, charset)))
            return None
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
            # What html.parser takes for one thing in <![ ]> html5lib knows better: that judges it.
            if b[0] == a[0] == "unknown":
                continue
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

    # -- what a browser makes of it --

    def document(self, where, old, new):
        without, seen = self.without_pixel(new)
        self.seen += seen
        # A frameset has no room for a picture; browsers drop it.
        self.dropped += any(node[:2] == ("start", "frameset") for node in old)
        if not self.same(where, old, without[0]) and not self.same(where, old, without[1]):
            for b, a in zip(old, without[0]):
                if b != a and not self.is_same(b, a, ("a", "area")):
                    return self.fault(f"{where}: the document differs: {b!r:.300} became {a!r:.300}")
            return self.fault(f"{where}: the document differs: {len(old)} nodes became {len(without[0])}")
        return None

    def without_pixel(self, nodes):
        """
        The list twice, and how many pixels were in it: once as if they had never come, and once without the
        formatting elements either that were open before them and that browsers repeat around them.
        """
        found, pruned, seen = [], [], 0
        i = 0
        while i < len(nodes):
            node = nodes[i]
            if node[:2] == ("start", "img") and node[2].get("src", "").startswith(self.url + "/o/"):
                seen += 1
                i += 2
                while i < len(nodes) and nodes[i][0] == "end" and nodes[i][1] in FORMATTING and \
                        pruned and pruned[-1][:2] == ("start", nodes[i][1]):
                    pruned.pop()
                    found.append(nodes[i])
                    i += 1
                continue
            for kept in (found, pruned):
                if node[0] == "text" and kept and kept[-1][0] == "text":
                    kept[-1] = ("text", kept[-1][1] + node[1])
                else:
                    kept.append(node)
            i += 1
        return (found, pruned), seen

    def same(self, where, old, new):
        pairs = []
        if len(old) != len(new):
            return False
        for b, a in zip(old, new):
            if b != a and not self.is_same(b, a, ("a", "area"), pairs):
                return False
        self.destinations += pairs
        return True

    def is_same(self, old, new, names, pairs=None):
        """The same node, but for what tagging may change; notes where a link leads."""
        pairs = [] if pairs is None else pairs
        if old[0] == new[0] == "comment":
            before, after = CONDITIONAL.fullmatch(old[1]), CONDITIONAL.fullmatch(new[1])
            if not before or not after or before[1] != after[1] or before[3] != after[3]:
                return False
            old, new = (markup(m[2].replace("<!--", "&lt;!--")) for m in (before, after))
            return len(old) == len(new) and all(
                b == a or self.is_same(b, a, names + ("v:", "w:"), pairs) for b, a in zip(old, new))
        if old[0] != "start" or old[:2] != new[:2] or not (old[1] in names or old[1].startswith(("v:", "w:")) and "v:" in names):
            return False
        before, after = ({n: v for n, v in node[2].items() if n not in OPT_OUT and n != "href"} for node in (old, new))
        if before != after or any(n in OPT_OUT and old[2].get(n) != v for n, v in new[2].items()):
            return False
        href, to = old[2].get("href"), new[2].get("href")
        if href == to:
            return True
        if href is None or to is None or opts_out(old[2]) or not to.startswith(self.url + "/c/"):
            return False
        if not re.match("(?i)https?://", destination(href)):
            return False
        pairs.append((destination(href), to))
        return True

    def pairs(self):
        """{destination: tracked URL}, one for one."""
        found = {}
        for old, new in self.destinations:
            if found.setdefault(old, new) != new:
                self.fault(f"two tracked URLs for {old:.200}")
        if len(set(found.values())) != len(found):
            self.fault("two destinations have the same tracked URL")
        return found


def judged(before, after, tracking_url, control=("X-Campaign", "X-Stream"), mta=False):
    """A Judge that has seen both messages, which are bytes; its faults say what is wrong."""
    judge = Judge(argparse.Namespace(tracking_url=tracking_url, control=control, mta=mta))
    # Line ends are the transport's business: compare with one kind.
    messages = [email.message_from_bytes(data.replace(b"\r\n", b"\n"), policy=email.policy.compat32.clone(linesep="\n"))
                for data in (before, after)]
    judge.part("message", messages[0], messages[1], top=True)
    if len(judge.pixels) > 1:
        judge.fault(f"{len(judge.pixels)} pixels")
    if not judge.dropped and judge.seen != len(judge.pixels):
        judge.fault(f"{judge.seen} pixels that a browser sees, {len(judge.pixels)} that are there")
    judge.pairs()
    return judge


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
    with open(args.before, "rb") as before, open(args.after, "rb") as after:
        judge = judged(before.read(), after.read(), args.tracking_url, args.control, args.mta)
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


if __name__ == "__main__":
    sys.exit(main())
