#!/usr/bin/env python3
"""Writes tests/data/messages/*.eml and, beside them, EXPECT: what tagging has to do to each.

usage: make-messages.py [DIRECTORY]

The figures in EXPECT are counted from the rules, never from the program: a
newsletter counts its links while it is made of them, and of the odd messages
each says by hand what is right.  The same bytes every time.
"""
import base64
import hashlib
import os
import quopri
import random
import re
import sys
import unicodedata
import urllib.parse

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MESSAGES = {}  # name -> (bytes or None for a file that was written by hand, expectation)


def tagged(links, places=None, pixel=True):
	"""links: different destinations.  places: hrefs that change."""
	return "tagged links=%d places=%d pixel=%s" % (links, links if places is None else places, "yes" if pixel else "no")


def untouched(why):
	return "untouched " + why


def add(name, raw, expect):
	assert name not in MESSAGES, name
	MESSAGES[name] = raw, expect


# ---- by hand ----

for name, expect in (
		("chinese-gb18030", tagged(2)), ("forwarded", tagged(1)), ("inline-pgp", untouched("inline PGP")),
		("japanese-iso-2022-jp", tagged(1)), ("latin2-8bit", tagged(2)), ("lf-only", tagged(1)),
		("macedonian-qp", tagged(3)), ("minified", tagged(60)), ("nested", tagged(2)),
		("newsletter-base64", tagged(4, 5)), ("newsletter-qp", tagged(16, 22)), ("odd-html", tagged(6)),
		("signed", untouched("multipart/signed")), ("single-7bit", tagged(2)), ("unclosed", tagged(1))):
	add(name, None, expect)


# ---- odd ones: each has one thing that is strange, byte by byte ----

def head(name, fields):
	"""The usual fields, and then those of this message, as they are."""
	return ("From: Example News <news@example.com>\n"
		"To: reader@example.net\n"
		"Subject: %s\n"
		"Date: Fri, 20 Nov 2026 09:00:00 +0100\n"
		"Message-ID: <%s@news.example.com>\n%s\n" % (
			name.replace("-", " ").capitalize(), hashlib.sha256(name.encode()).hexdigest()[:16], fields.strip("\n"))).encode()


def odd(name, expect, fields, body, eol=b"\r\n"):
	"""Line feeds become eol, in the header always; a body of bytes is taken as it is."""
	if isinstance(body, str):
		body = body.encode().replace(b"\n", eol)
	add(name, (head(name, fields) + b"\n").replace(b"\n", eol) + body, expect)


HTML = "MIME-Version: 1.0\nContent-Type: text/html; charset=utf-8"


def html(name, expect, body, fields=HTML, eol=b"\r\n"):
	"""A message that is one HTML page."""
	odd("html-" + name, expect, fields, body, eol)


def page(text):
	return "<html><head><title>News</title></head><body>\n%s\n</body></html>\n" % text


def url(path, **more):
	"""As it is written in markup."""
	query = {"utm_source": "newsletter", "utm_medium": "email", "utm_campaign": "odd", **more}
	return "https://www.example.com/" + path + "?" + urllib.parse.urlencode(query).replace("&", "&amp;")


def a(path, text="Read on", **more):
	return '<p><a href="%s">%s</a></p>' % (url(path, **more), text)


def mixed(kind, boundary, *parts, preamble="", epilogue="", close=True, parameters=""):
	"""Fields and body of a multipart: parts are "fields, blank line, content" without the line break at their end."""
	return ("MIME-Version: 1.0\nContent-Type: multipart/%s;\n\tboundary=\"%s\"%s" % (kind, boundary, parameters),
		preamble + "".join("--%s\n%s\n" % (boundary, part) for part in parts)
		+ ("--%s--\n" % boundary if close else "") + epilogue)


PLAIN_PART = "Content-Type: text/plain; charset=us-ascii\n\nThe same as text: https://www.example.com/text\n"


def html_part(text, fields="Content-Type: text/html; charset=utf-8"):
	return fields + "\n\n" + text


# -- structure --

def nest(depth, text):
	"""This many multiparts around one HTML part."""
	part = html_part(page(text))
	for i in range(depth):
		part = "Content-Type: multipart/mixed; boundary=\"level-%d.\"\n\n--level-%d.\n%s\n--level-%d.--" % (i, i, part, i)
	return "MIME-Version: 1.0\n" + part.split("\n\n", 1)[0], part.split("\n\n", 1)[1] + "\n"


odd("mime-depth-limit", tagged(1), *nest(50, a("deep")))
odd("mime-depth-over", untouched("no text/html part"), *nest(51, a("too-deep")))
odd("mime-preamble-epilogue", tagged(1), *mixed("alternative", "b1", PLAIN_PART, html_part(page(a("inside"))),
	preamble="<html><body>%s</body></html>\n--b1x\n -- b1\n--b\n" % a("preamble"),
	epilogue="\n\n<html><body>%s</body></html>\n--b1\nContent-Type: text/html\n\n%s\n--b1--\n" % (a("epilogue"), a("after"))))
odd("mime-no-boundary", untouched("broken MIME"), "MIME-Version: 1.0\nContent-Type: multipart/alternative",
	"--x\n" + html_part(page(a("lost"))) + "\n--x--\n")
odd("mime-empty-boundary", untouched("broken Content-Type"), 'MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=""',
	"--\n" + html_part(page(a("lost"))) + "\n----\n")
odd("mime-duplicate-boundary", untouched("broken Content-Type"),
	'MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary="one"; boundary="two"',
	"--one\n" + html_part(page(a("one"))) + "\n--one--\n--two\n" + html_part(page(a("two"))) + "\n--two--\n")
odd("mime-boundary-never-comes", untouched("broken MIME"), 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="here"',
	"--there\n" + html_part(page(a("there"))) + "\n--there--\n")
odd("mime-boundary-equals", tagged(1), *mixed("alternative", "=_eq=", PLAIN_PART, html_part(
	'<p>Soft =\nbreaks <a href=3D"https://www.example.com/eq?a=3D1&amp;b=\n=3D2">before</a> =\n--=3D_eq\n--=3D_eq=3D</p>',
	"Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable")))
odd("mime-boundary-unquoted", tagged(1), "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=----=_Part_7=;charset=utf-8",
	"------=_Part_7=\n" + PLAIN_PART + "\n------=_Part_7=\n" + html_part(page(a("unquoted"))) + "\n------=_Part_7=--\n")
odd("mime-boundary-odd-characters", tagged(1), *mixed("alternative", "'()+_,-./:=? x", PLAIN_PART, html_part(page(a("characters")))))
odd("mime-boundary-blanks-behind", tagged(1), "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=b2",
	"--b2 \t \n" + PLAIN_PART + "\n--b2\t\n" + html_part(page(a("blanks"))) + "\n--b2--  \nrest")
odd("mime-boundary-prefix", tagged(1), *mixed("mixed", "ab", "Content-Type: multipart/alternative; boundary=abc\n\n--abc\n"
	+ PLAIN_PART + "\n--abc\n" + html_part(page(a("inner")) + "--a\n--abcd\n--ab-") + "\n--abc--", html_part(page(a("outer")))))
odd("mime-boundary-same-twice", untouched("ambiguous boundary"), *mixed("mixed", "same", "Content-Type: multipart/alternative; boundary=same\n\n--same\n"
	+ PLAIN_PART, html_part(page(a("first"))), html_part(page(a("second")))))
odd("mime-inner-not-closed", tagged(2), *mixed("mixed", "out", "Content-Type: multipart/related; boundary=in\n\n--in\n"
	+ html_part(page(a("inner"))), html_part(page(a("outer")))))
odd("mime-no-closing-boundary", tagged(2), *mixed("mixed", "open", html_part(page(a("one"))), html_part("<p>" + a("two")), close=False))
odd("mime-part-without-newline", tagged(1), "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=nn",
	"--nn\n\nplain\n--nn\nContent-Type: text/html\n\n<a href='https://www.example.com/nn?no=newline'>no newline</a>\n--nn--")
odd("mime-cut-in-a-tag", tagged(1), "MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary=cut",
	"--cut\nContent-Type: text/html\n\n<p><a href='https://www.example.com/whole'>whole</a> <a href='https://www.example.com/ha")
odd("mime-html-ends-at-boundary", tagged(1), *mixed("mixed", "bb", html_part("<p><a href=https://www.example.com/x>x</a><a href=\"https://www.example.com/cut"),
	"Content-Type: text/plain\n\nnothing closes it"))
odd("mime-parameters-like-types", tagged(1), *mixed("related", "par", html_part(page(a("related")),
	'Content-Type: text/html; charset=utf-8; name="multipart/signed"; x-type="application/pkcs7-mime"'),
	'Content-Type: application/octet-stream; name="text/html"\nContent-Disposition: attachment; filename="a; text/html; charset=utf-8"\n\n<a href="https://www.example.com/no">no</a>',
	'Content-Type: text/plain; name="x.html"; note="Content-Type: text/html"\n\n<a href="https://www.example.com/no">no</a>',
	parameters=';\n\ttype="text/html"; start="<boundary=other>"; comment="; boundary=wrong"'))
odd("mime-rfc2231-boundary", tagged(1), 'MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary*0="long-boundary";\n boundary*1*=%2Dgoes; boundary*2="-on"',
	"--long-boundary-goes-on\n" + PLAIN_PART + "\n--long-boundary-goes-on\n" + html_part(page(a("rfc2231")),
		"Content-Type: text/html; charset*=us-ascii'en'utf%2D8") + "\n--long-boundary-goes-on--\n")
odd("mime-rfc2231-broken", untouched("broken Content-Type"),
	'MIME-Version: 1.0\nContent-Type: multipart/alternative; boundary*0="a"; boundary*2="b"', "--ab\n" + html_part(page(a("hole"))) + "\n--ab--\n")
odd("mime-folded", tagged(1), 'MIME-Version:\n 1.0\n (produced by an old\n program)\nContent-Type:\n\tmultipart/alternative\n\t;\n\tboundary\n =\n "fold"\n ;charset=us-ascii\n (nobody (really\) nobody) reads this; boundary="no")',
	"--fold\n" + PLAIN_PART + "\n--fold\nContent-Transfer-Encoding\n: not a field, so nobody knows\n\n<a href='https://www.example.com/x'>x</a>\n"
	"--fold\nContent-Type: text/html;\n\tcharset=utf-8\nContent-Transfer-Encoding:\n\t7bit\n\n" + page(a("folded")) + "\n--fold--\n")
odd("mime-duplicate-type", untouched("duplicate MIME header"), "MIME-Version: 1.0\nContent-Type: text/html\nContent-Type: text/plain", page(a("which")))
odd("mime-duplicate-type-in-a-part", untouched("duplicate MIME header"), *mixed("mixed", "dup",
	html_part(page(a("which")), "Content-Type: text/html\nContent-type: multipart/signed; boundary=x"),
	html_part(page(a("encoding")), "Content-Type: text/html\nContent-Transfer-Encoding: 8bit\nContent-Transfer-Encoding: base64"),
	html_part(page(a("good")))))
odd("mime-no-type", untouched("no text/html part"), "MIME-Version: 1.0", page(a("text")))
odd("mime-no-mime-version", tagged(1), "Content-Type: text/html; charset=utf-8", page(a("no-version")))
odd("mime-broken-type", untouched("broken Content-Type"), "MIME-Version: 1.0\nContent-Type: html", page(a("html")))
odd("mime-unclosed-quote", untouched("broken Content-Type"), 'MIME-Version: 1.0\nContent-Type: text/html; charset="utf-8', page(a("quote")))
odd("mime-shouted-type", tagged(1), "MIME-Version: 1.0\nCONTENT-TYPE: TEXT/HTML ; CHARSET = UTF-8 ;; \nContent-Transfer-Encoding: 8BIT", page(a("shouted")))
odd("mime-broken-part-header", tagged(1), *mixed("mixed", "bph",
	"Content-Type: text/html\nthis is no field\nContent-Transfer-Encoding: 7bit\n\n" + page(a("broken")), html_part(page(a("sound")))))
odd("mime-no-part-header", tagged(1), *mixed("mixed", "nph", "\n" + page(a("plain")), html_part(page(a("typed")))))
odd("mime-header-without-blank-line", tagged(1), *mixed("mixed", "nbl", "Content-Type: text/html", html_part(page(a("there")))))
odd("mime-many-parts", tagged(3), *mixed("mixed", "many", *["Content-Type: text/plain\n\nPart %d of many." % i if i % 100
	else html_part(page(a("part/%d" % i))) for i in range(1, 312)]))
odd("mime-too-many-parts", untouched("too many parts"), 'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="m"',
	"--m\nContent-Type: text/html\n\n" + page(a("first")) + "--m\n\n" * 10000 + "--m--\n", b"\n")
odd("mime-empty-parts", tagged(1), *mixed("mixed", "empty", "", "Content-Type: text/html\n", "Content-Type: text/html\n\n \n\t\n",
	html_part(page(a("full"))), "Content-Type: text/html\nContent-Transfer-Encoding: base64\n", ""))
odd("mime-empty-html", untouched("nothing to tag"), HTML, "")
odd("mime-blank-html", untouched("nothing to tag"), HTML, "\n \t\n\n")
odd("mime-header-only", untouched("no text/html part"), "MIME-Version: 1.0", b"")
odd("mime-digest", untouched("multipart/digest"), *mixed("digest", "dig", "\nFrom: a@example.org\nSubject: One\nContent-Type: text/html\n\n" + page(a("one")),
	"Content-Type: message/rfc822\n\nSubject: Two\nContent-Type: text/html\n\n" + page(a("two"))))
odd("mime-xhtml-type", untouched("no text/html part"), "MIME-Version: 1.0\nContent-Type: application/xhtml+xml", page(a("xhtml")))
odd("mime-lf-only-deep", tagged(2), *mixed("mixed", "lf", "Content-Type: multipart/alternative; boundary=lf2\n\n--lf2\n" + PLAIN_PART + "\n--lf2\n"
	+ html_part(page(a("lf"))) + "\n--lf2--", html_part(page(a("long/" + "line" * 200)))), b"\n")
odd("mime-binary-attachment-between", tagged(2), "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=bin",
	("--bin\n" + html_part(page(a("before"))) + "\n--bin\nContent-Type: application/octet-stream\nContent-Transfer-Encoding: binary\n\n").replace("\n", "\r\n").encode()
	+ bytes(range(256)) * 4 + b"\r\n--bin" + ("\n" + html_part(page(a("after"))) + "\n--bin--\n").replace("\n", "\r\n").encode())
odd("mime-several-html", tagged(4, 5), *mixed("mixed", "sev", html_part(page(a("one") + a("both"))), html_part("<p>No body here" + a("two") + a("both")),
	"Content-Type: multipart/alternative; boundary=sev2\n\n--sev2\n" + PLAIN_PART + "\n--sev2\n" + html_part(page(a("three"))) + "\n--sev2--"))
odd("bytes-nul", untouched("NUL in text"), HTML, page(a("nul")).replace("on</a>", "o\0n</a>").encode().replace(b"\n", b"\r\n"))
odd("bytes-nul-in-another-part", tagged(1), "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=nul",
	("--nul\nContent-Type: text/html\n\n<p>\0 <a href='https://www.example.com/nul'>x</a>\n--nul\n" + html_part(page(a("clean")))
	+ "\n--nul--\n").replace("\n", "\r\n").encode())
odd("bytes-bare-lf", tagged(1), HTML, page("One line\nand " + a("bare-lf")).encode())
odd("bytes-mixed-line-ends", tagged(2), HTML, b"<p>one\r\n<p>two\n" + a("mixed").encode() + b"\n<p>three\r\n" + a("ends").encode() + b"\n")
odd("bytes-bare-cr", tagged(1), HTML, page("One line\rand " + a("bare-cr") + "\r").encode().replace(b"\n", b"\r\n"))
odd("bytes-controls", tagged(1), HTML, page("Bell \7, backspace \b, form feed \f, delete \x7f and " + a("controls")))

# -- header fields --

odd("header-duplicates", tagged(1), "Subject: a second one\nTo: other@example.net\nX-A: 1\nx-a: 2\nX-A: 3\nList-Unsubscribe: <mailto:leave@example.com>\nList-Unsubscribe: <https://www.example.com/leave?second>\n" + HTML,
	page('<a href="https://www.example.com/leave?second">Unsubscribe</a> ' + a("duplicates")))
odd("header-8bit", tagged(1), "X-Note: Grüße из 東京\n\tund Zürich\n" + HTML, page(a("eight")))
odd("header-long-line", tagged(1), "X-Long: %s\nX-Longer: %s\n" % ("x" * 990, "y z" * 1500) + HTML, page(a("long")))
odd("header-empty-and-folded", tagged(1), "X-Empty:\nX-Blank: \nX-Fold:\n\tone\n  two\n \tthree\nX-Tab:\tvalue\nX-None:value\nX-Colons: a: b: c\n" + HTML, page(a("folded")))
odd("header-many", tagged(1), "".join("Received: from h%d.example.org by h%d.example.org; Fri, 20 Nov 2026 09:00:00 +0100\n" % (i, i + 1) for i in range(400)) + HTML, page(a("many")))
add("header-ends-the-message", head("header-ends-the-message", HTML).replace(b"\n", b"\r\n"), untouched("nothing to tag"))

# -- what is never touched --

PGP = "-----BEGIN PGP %s-----\n\niHUEARYIAB0WIQTexampleexampleexampleexampleex\n=abcd\n-----END PGP %s-----\n"
odd("never-signed-pgp", untouched("multipart/signed"), *mixed("signed", "sp", html_part(page(a("signed"))),
	"Content-Type: application/pgp-signature; name=signature.asc\n\n" + PGP % ("SIGNATURE", "SIGNATURE"),
	parameters='; micalg=pgp-sha512;\n\tprotocol="application/pgp-signature"'))
odd("never-signed-smime", untouched("multipart/signed"), *mixed("SIGNED", "ss", "Content-Type: multipart/alternative; boundary=ss2\n\n--ss2\n"
	+ PLAIN_PART + "\n--ss2\n" + html_part(page(a("signed"))) + "\n--ss2--",
	"Content-Type: application/pkcs7-signature; name=smime.p7s\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=smime.p7s\n\nMIIexample==",
	parameters='; micalg=sha-256; protocol="application/pkcs7-signature"'))
odd("never-signed-inside", tagged(1), *mixed("mixed", "list", "Content-Type: multipart/signed; boundary=si; micalg=pgp-sha256;\n protocol=\"application/pgp-signature\"\n\n--si\n"
	+ html_part(page(a("signed"))) + "\n--si\nContent-Type: application/pgp-signature\n\n" + PGP % ("SIGNATURE", "SIGNATURE") + "--si--",
	html_part("<p>The list's footer: " + a("list", "leave the list"))))
odd("never-encrypted", untouched("multipart/encrypted"), *mixed("encrypted", "enc", "Content-Type: application/pgp-encrypted\n\nVersion: 1",
	"Content-Type: application/octet-stream\n\n" + PGP % ("MESSAGE", "MESSAGE"), parameters='; protocol="application/pgp-encrypted"'))
odd("never-smime-enveloped", untouched("attachment"), "MIME-Version: 1.0\nContent-Type: application/pkcs7-mime; smime-type=enveloped-data; name=smime.p7m\n"
	"Content-Transfer-Encoding: base64\nContent-Disposition: inline; filename=smime.p7m", "MIAGCSqGSIb3DQEHA6CAMIACAQAxggFA\n")
odd("never-smime-opaque", untouched("application/pkcs7-mime"), "MIME-Version: 1.0\nContent-Type: application/x-pkcs7-mime; smime-type=signed-data\nContent-Transfer-Encoding: base64",
	base64.encodebytes(page(a("opaque")).encode()).decode())
odd("never-pgp-in-html", untouched("inline PGP"), HTML, page("<pre>\n" + PGP % ("SIGNED MESSAGE", "SIGNED MESSAGE") + "</pre>" + a("pgp")))
odd("never-pgp-in-base64-text", untouched("inline PGP"), *mixed("alternative", "pb", "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n"
	+ base64.encodebytes((PGP % ("MESSAGE", "MESSAGE")).encode()).decode().strip(), html_part(page(a("pgp")))))
odd("never-pgp-words-only", tagged(1), HTML, page("A key starts with the words -----BEGIN PGP PUBLIC KEY BLOCK-----, read " + a("pgp")))
odd("never-rfc822", untouched("message/*"), "MIME-Version: 1.0\nContent-Type: message/rfc822", "Subject: inner\nContent-Type: text/html\n\n" + page(a("inner")))
odd("never-partial", untouched("message/*"), 'MIME-Version: 1.0\nContent-Type: message/partial; number=1; total=2; id="x@example.com"',
	"Subject: inner\nContent-Type: text/html\n\n" + page(a("inner")))
odd("never-rfc822-attached", tagged(1), *mixed("mixed", "fw", html_part(page(a("cover"))),
	"Content-Type: message/rfc822\n\nSubject: inner\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=fwi\n\n--fwi\nContent-Type: text/html\n\n"
	+ page(a("inner")) + "--fwi\nContent-Type: image/gif\nContent-Transfer-Encoding: base64\n\nR0lGODlhAQABAAAAACw=\n--fwi--"))
odd("never-attachments", tagged(1), *mixed("mixed", "att", html_part(page(a("letter"))),
	html_part(page(a("no")), "Content-Type: text/html\nContent-Disposition: attachment; filename=page.html"),
	html_part(page(a("no")), "Content-Disposition: ATTACHMENT\nContent-Type: text/html; name=page.htm"),
	html_part(page(a("no")), "Content-Type: text/html\nContent-Disposition:\n\t(odd) x-unknown; filename=page.html"),
	"Content-Type: text/csv; charset=utf-8\nContent-Disposition: attachment; filename*=utf-8''%C3%BCbersicht.csv\n\nurl\nhttps://www.example.com/csv",
	"Content-Type: application/pdf\nContent-Transfer-Encoding: base64\nContent-Disposition: attachment\n\n" + base64.encodebytes(b"%PDF-1.7\n" + bytes(range(200))).decode().strip(),
	"Content-Type: application/zip; name==?utf-8?b?xZE=?=\nContent-Transfer-Encoding: base64\n\nUEsFBgAAAAAAAAAAAAAAAAAAAAAAAA==",
	"Content-Type: text/x-vcard\nContent-Disposition: attachment; filename=a.vcf\n\nBEGIN:VCARD\nURL:https://www.example.com/\nEND:VCARD"))
odd("never-html-attachment-alone", untouched("attachment"), HTML + "\nContent-Disposition: attachment; filename=report.html", page(a("report")))
odd("never-inline-html-with-name", untouched("attachment"), HTML + "\nContent-Disposition: inline; filename=letter.html", page(a("letter")))
odd("never-calendar", tagged(1), *mixed("alternative", "cal", PLAIN_PART, html_part(page("<p>You are invited on Thursday at seven." + a("event", "Answer"))),
	"Content-Type: text/calendar; charset=utf-8; method=REQUEST\n\nBEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//Example//EN\nMETHOD:REQUEST\nBEGIN:VEVENT\n"
	"UID:1@example.com\nDTSTAMP:20261120T080000Z\nDTSTART:20261126T180000Z\nSUMMARY:Evening\nX-ALT-DESC;FMTTYPE=text/html:<a href=\"https://www.example.com/c\">x</a>\n"
	"URL:https://www.example.com/event?id=1\nEND:VEVENT\nEND:VCALENDAR"))
odd("never-calendar-alone", untouched("no text/html part"), "MIME-Version: 1.0\nContent-Type: text/calendar; method=CANCEL", "BEGIN:VCALENDAR\nEND:VCALENDAR\n")
odd("never-delivery-report", untouched("multipart/report"), *mixed("report", "rep", "\nYour message could not be delivered.",
	"Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.org\n\nFinal-Recipient: rfc822; gone@example.org\nAction: failed\nStatus: 5.1.1",
	"Content-Type: message/rfc822\n\nSubject: News\nContent-Type: text/html\n\n" + page(a("returned")), parameters="; report-type=delivery-status"))
odd("never-read-receipt", untouched("multipart/report"), *mixed("report", "mdn", html_part(page(a("receipt"))),
	"Content-Type: message/disposition-notification\n\nFinal-Recipient: rfc822;reader@example.net\nDisposition: manual-action/MDN-sent-manually; displayed",
	parameters='; report-type="disposition-notification"'))
odd("never-auto-replied", untouched("Auto-Submitted"), HTML + "\nAuto-Submitted: auto-replied", page(a("away")))
odd("never-auto-generated", untouched("Auto-Submitted"), HTML + "\nAuto-submitted:\n\tauto-generated; type=x (no)", page(a("cron")))
odd("never-auto-no", tagged(1), HTML + "\nAuto-Submitted: No (written by people)", page(a("people")))
odd("never-dkim-signed", untouched("signed"), HTML + "\nDKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed; d=example.com; s=m;\n\th=from:to:subject;\n"
	"\tbh=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=;\n\tb=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAx", page(a("signed")))
odd("never-arc", untouched("signed"), "ARC-Seal: i=1; a=rsa-sha256; cv=none; d=example.org; s=a; t=1763625600; b=MTIz\n"
	"ARC-Message-Signature: i=1; a=rsa-sha256; d=example.org; s=a; h=from; bh=MTIz; b=MTIz\nARC-Authentication-Results: i=1; mx.example.org; dkim=none\n" + HTML, page(a("arc")))
odd("never-amp", tagged(2), *mixed("alternative", "amp", PLAIN_PART,
	'Content-Type: text/x-amp-html; charset=utf-8\n\n<!doctype html><html ⚡4email data-css-strict><head><meta charset="utf-8"><script async src="https://cdn.ampproject.org/v0.js"></script>'
	"<style amp4email-boilerplate>body{visibility:hidden}</style></head><body>%s<amp-img src=\"https://img.example.com/a.png\" width=1 height=1></amp-img></body></html>" % a("amp"),
	html_part(page(a("one") + a("two")))))
odd("never-text-only", untouched("no text/html part"), "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8; format=flowed",
	"Today: <a href=\"https://www.example.com/\">not a link</a>\nhttps://www.example.com/today?utm_source=newsletter\n")
odd("never-plain-and-enriched", untouched("no text/html part"), *mixed("alternative", "enr", PLAIN_PART,
	"Content-Type: text/enriched\n\n<bold>News</bold> https://www.example.com/"))

# -- transfer encodings --

PAGE = page("<h1>Wool — spun, dyed & knitted</h1><p>Forty shades of grey, and one that is not.</p>%s\n<p>Søren’s sheep say hello. <a href='https://www.example.com/sheep?name=Søren&amp;lang=da'>Meet them</a>"
	% a("wool", id="=3D=20=", sig="ab=="))


def encoded(name, expect, encoding, body, eol=b"\r\n", charset="utf-8"):
	odd("encoding-" + name, expect, "MIME-Version: 1.0\nContent-Type: text/html; charset=%s\nContent-Transfer-Encoding: %s" % (charset, encoding), body, eol)


def qp(text, width=76, lower=False, also="", charset="utf-8"):
	"""Quoted-printable of our own: any width, and any characters encoded that need not be."""
	out = []
	for line in text.encode(charset).split(b"\n"):
		now = ""
		for i, byte in enumerate(line):
			c = chr(byte)
			if byte < 32 or byte > 126 or c == "=" or c in also or (c == " " and i == len(line) - 1):
				c = ("=%02x" if lower else "=%02X") % byte
			if len(now) + len(c) >= width:
				out.append(now + "=")
				now = ""
			now += c
		out.append(now)
	return "\n".join(out)


def b64(data, width=76):
	data = base64.b64encode(data.encode() if isinstance(data, str) else data).decode()
	return "\n".join(data[i:i + width] for i in range(0, len(data), width)) + "\n"


encoded("8bit", tagged(2), "8bit", PAGE)
encoded("7bit-with-8bit-bytes", tagged(2), "7bit", PAGE)
encoded("binary", tagged(2), "binary", PAGE)
encoded("binary-odd-lines", untouched("binary with odd line breaks"), "binary", PAGE.encode().replace(b"\n", b"\r\n", 2) + b"\r")
encoded("binary-lf", tagged(2), "BINARY", PAGE, b"\n")
encoded("8bit-long-lines", tagged(3), "8bit", page("é" * 600 + a("long") + "ü" * 700) + a("short") + "\n" + a("third") + "ä" * 480)
encoded("qp", tagged(2), "quoted-printable", qp(PAGE))
encoded("qp-narrow", tagged(2), "quoted-printable", qp(PAGE, 20))
encoded("qp-wide", tagged(2), "quoted-printable", qp(PAGE, 900))
encoded("qp-lower-case", tagged(2), "quoted-printable", qp(PAGE, lower=True))
encoded("qp-everything", tagged(2), "Quoted-Printable", qp(PAGE, also="abcdefghijklmnopqrstuvwxyz<>/:\"'&;?"))
encoded("qp-lf", tagged(2), "quoted-printable", qp(PAGE), b"\n")
encoded("qp-soft-break-everywhere", tagged(1), "quoted-printable", "<p><a=\n =\nh=\nre=\nf=\n=3D=\n\"ht=\ntps:=\n//www.example=\n.com/soft?a=\n=3D1&=\namp;b=\n=3D2\"=\n>go</=\na>\n")
encoded("qp-equals-not-encoded", untouched("broken quoted-printable"), "quoted-printable", '<p><a href="https://www.example.com/?id=42&amp;x=zz">go</a></p>\n')
# "=AB" was meant to be "=AB" and is a byte; in a charset other than UTF-8 nobody can say which destination that is.
encoded("qp-swallowed-by-equals", tagged(0), "quoted-printable", "<p><a href=3D\"https://www.example.com/?id=3D42&amp;v=ABC\">go</a></p>\n", charset="windows-1252")
encoded("qp-broken-escape", untouched("broken quoted-printable"), "quoted-printable", qp(PAGE).replace("=E2=80=94", "=E2=8=94"))
encoded("qp-cut-escape", untouched("broken quoted-printable"), "quoted-printable", qp(PAGE) + "=3")
encoded("qp-ends-in-soft-break", tagged(2), "quoted-printable", qp(PAGE) + "the end=\n")
encoded("qp-ends-in-equals", tagged(2), "quoted-printable", qp(PAGE) + "the end=")
encoded("qp-trailing-blanks", tagged(1), "quoted-printable", "<p>blanks \t \nbehind=20\n and a soft break= \t\n <a href=3D'https://www.example.com/blanks'  \n>go</a>  \n")
encoded("qp-encoded-line-breaks", tagged(2), "quoted-printable", "<p>=0D=0A<a href=3D\"https://www.example.com/a=0D=0A/b?c=3D=0Ad\">go</a>=0A<a=0Dhref=3D'https://www.example.com/e=09'>go</a>\n")
encoded("qp-8bit-inside", tagged(2), "quoted-printable", PAGE.replace("=", "=3D"))
encoded("qp-long-lines", tagged(2), "quoted-printable", PAGE.replace("=", "=3D").replace("Forty", "Forty " + "x" * 1500))
encoded("base64", tagged(2), "base64", b64(PAGE))
encoded("base64-one-line", tagged(2), "base64", b64(PAGE, 5000))
encoded("base64-odd-lengths", tagged(2), "base64", "".join(c + ("\n" if i in (1, 2, 9, 51, 52, 200, 333) else "") for i, c in enumerate(b64(PAGE, 5000))))
encoded("base64-blanks", tagged(2), "base64", "\n \t" + b64(PAGE, 60).replace("\n", " \t\n") + "\n\n")
encoded("base64-no-padding", tagged(1), "base64", b64("<p>" + a("padding") + "!" * ((2 - len(a("padding"))) % 3)).replace("=", ""))
encoded("base64-too-much-padding", untouched("broken base64"), "base64", b64("<p>" + a("padding")).rstrip("=\n") + "====\n")
encoded("base64-goes-on-behind-padding", untouched("broken base64"), "base64", b64("<p>%s " % a("one") + "x" * ((1 - len(a("one"))) % 3)) + b64("<p>" + a("two")))
encoded("base64-stray-characters", untouched("broken base64"), "base64", b64(PAGE).replace("\n", "!\n", 1))
encoded("base64-url-alphabet", untouched("broken base64"), "base64", b64("<p>???>>>" + a("url")).replace("/", "_").replace("+", "-"))
encoded("base64-text-behind", untouched("broken base64"), "base64", b64(PAGE) + "-- \nSent by a list. It adds this.\n")
encoded("base64-crlf-inside", tagged(2), "base64", b64(PAGE.replace("\n", "\r\n")))
encoded("base64-lf-message", tagged(2), "BASE64", b64(PAGE), b"\n")
# Without a line break of its own such a part goes by the message's.
odd("encoding-one-line-parts-lf", tagged(3), *mixed("mixed", "one-line",
	html_part(b64(PAGE, 5000).strip(), "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64"),
	html_part(qp(a("quoted"), 900), "Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable")), eol=b"\n")
encoded("base64-cr-inside", tagged(1), "base64", b64("<p>old Macintosh\r<p>" + a("cr") + "\r"))
encoded("base64-wrong-count", untouched("broken base64"), "base64", b64(PAGE)[:76 * 5 + 5] + "A\n")
encoded("unknown", untouched("unknown transfer encoding"), "x-uuencode", "begin 644 a.html\n#/'`^\n`\nend\n")
encoded("8-bit-misspelled", untouched("unknown transfer encoding"), "8-bit", PAGE)
encoded("comment", tagged(2), "(as it is) 8bit", PAGE)
odd("encoding-on-multipart", untouched("broken MIME"), *(lambda fields, body: (fields + "\nContent-Transfer-Encoding: base64", body))(
	*mixed("alternative", "em", PLAIN_PART, html_part(page(a("em"))))))
odd("encoding-8bit-on-multipart", tagged(2), *(lambda fields, body: (fields + "\nContent-Transfer-Encoding: 8bit", body))(
	*mixed("alternative", "em", PLAIN_PART, html_part(PAGE))))
odd("encoding-all-of-them", tagged(4), *mixed("mixed", "all", html_part(page(a("seven")), "Content-Type: text/html"),
	html_part(qp(page(a("quoted"))), "Content-Type: text/html\nContent-Transfer-Encoding: quoted-printable"),
	html_part(b64(page(a("sixtyfour"))).rstrip(), "Content-Type: text/html\nContent-Transfer-Encoding: base64"),
	html_part(page(a("eight") + "éß"), "Content-Transfer-Encoding: 8bit\nContent-Type: text/html; charset=utf-8")))

# -- charsets: each with a text that its bytes are for --


def charset(name, expect, text, codec=None, label=None, encoding="8bit", meta=True):
	"""One page in one charset, with links in ASCII and one whose query is not (which only UTF-8 keeps the same for all readers)."""
	label = label or name
	body = '<!DOCTYPE html>\n<html><head>%s<title>%s</title></head>\n<body><p>%s</p>\n<p><a href="%s">%s</a></p>\n</body></html>\n' % (
		'<meta http-equiv="Content-Type" content="text/html; charset=%s">' % label if meta else "", text.split(".")[0][:40], text,
		url("charset/" + name, text="yes"), text.split(" ")[0])
	body = body.replace("\n", "\r\n").encode(codec or name)
	if encoding == "base64":
		body = b64(body).replace("\n", "\r\n").encode()
	if encoding == "quoted-printable":
		body = qp(body.decode("latin-1").replace("\r\n", "\n"), charset="latin-1").replace("\n", "\r\n").encode()
	odd("charset-" + name, expect, "MIME-Version: 1.0\nContent-Type: text/html%s\nContent-Transfer-Encoding: %s" % (
		"; charset=" + label if label != "none" else "", encoding), body)


def cp1258(text):
	"""Vietnamese with the tone marks behind the letters, where this codec has no letter with its tone."""
	out = ""
	for c in text:
		mark = [m for m in unicodedata.normalize("NFD", c)[1:] if m not in "\u0302\u0306\u031b"]
		base = "".join(m for m in unicodedata.normalize("NFD", c) if m not in mark)
		out += c if c in "àáâãèéêìíóôùúăđơưÀÁÂÃÈÉÊÌÍÓÔÙÚĂĐƠƯ" else unicodedata.normalize("NFC", base) + "".join(mark)
	return out


charset("utf-8", tagged(1), "Zażółć gęślą jaźń. Příliš žluťoučký kůň. 日本語 한국어 العربية 😀", encoding="quoted-printable")
charset("utf-8-bom", tagged(1), "Ein Zeichen steht ganz vorn. Man sieht es nicht.", "utf-8-sig", "utf-8", "base64", meta=False)
charset("iso-8859-1", tagged(1), "Où est passé l'été ? Le café ferme à huit heures. Größe, Straße, señor.")
charset("iso-8859-2", tagged(1), "Vážení čtenáři, přinášíme zprávy z města. Pěkný den přeje vaše knihovna.", encoding="quoted-printable")
charset("iso-8859-5", tagged(1), "Скъпи читатели, тази седмица библиотеката е отворена до девет.", label="ISO-8859-5")
charset("iso-8859-7", tagged(1), "Αγαπητοί φίλοι, η έκθεση ανοίγει την Παρασκευή στις επτά.", encoding="base64")
charset("iso-8859-9", tagged(1), "Sevgili okur, İstanbul'da güz başladı; çay şimdiden demlendi, ığdır kayısısı da geldi.")
charset("iso-8859-15", tagged(1), "Le prix est de 18 €. Cœur, Œuvre, Ÿ.", encoding="quoted-printable")
charset("windows-1250", tagged(1), "Szanowni Państwo, zapraszamy na targi książki w Łodzi.", "cp1250")
charset("windows-1251", tagged(1), "Шановні читачі, їжаки повернулися до саду. Ґанок відчинено.", "cp1251", encoding="base64")
charset("windows-1252", tagged(1), "“Smart quotes” – and a dash — for 5 €… naïve café.", "cp1252")
charset("windows-1253", tagged(1), "Καλημέρα σας, ο καφές είναι έτοιμος. Ώρα για διάβασμα.", "cp1253")
charset("windows-1254", tagged(1), "Merhaba, bu hafta şarkılar ve öyküler var. Işık söndü.", "cp1254", encoding="quoted-printable")
charset("windows-1255", tagged(1), "שלום לכולם, הספרייה פתוחה השבוע עד תשע בערב.", "cp1255")
charset("windows-1256", tagged(1), "مرحبا بكم في مكتبة الحي، نفتح اليوم حتى التاسعة.", "cp1256")
charset("windows-1257", tagged(1), "Mieli skaitytojai, ateina ruduo: žvakės, šaltis ir ąžuolai.", "cp1257")
charset("windows-1258", tagged(1), cp1258("Chào bạn, thư viện mở cửa đến chín giờ tối."), "cp1258")
charset("koi8-r", tagged(1), "Дорогие читатели, на этой неделе выставка работает до восьми.")
charset("koi8-u", tagged(1), "Любі друзі, їдемо в гори: ґазда чекає.", encoding="base64")
charset("gb2312", tagged(1), "各位读者好，图书馆本周开放到晚上九点。")
charset("gbk", tagged(1), "敬愛的讀者，镕基路的书店搬家了。", encoding="quoted-printable")
charset("gb18030", tagged(1), "𠮷野家新店开张，㐀㐁字也能写。", encoding="base64")
charset("big5", tagged(1), "親愛的讀者，許功蓋的新書上架了，成功大學也有賣。")
charset("shift-jis", tagged(1), "表示できない能力ソフトの予定。申し込みは十日まで。", "shift_jis", "Shift_JIS")
charset("euc-jp", tagged(1), "読者の皆さま、今週の展示は金曜日までです。", "euc_jp", encoding="base64")
charset("euc-kr", tagged(1), "독자 여러분 안녕하세요, 도서관은 아홉 시까지 엽니다.", "euc_kr")
charset("ks-c-5601", tagged(1), "뷁이라는 글자도 있습니다. 안녕하세요.", "cp949", "ks_c_5601-1987")
charset("tis-620", tagged(1), "สวัสดีผู้อ่านทุกท่าน สัปดาห์นี้ห้องสมุดเปิดถึงสามทุ่ม", "tis_620")
charset("ibm866", tagged(1), "Старая программа всё ещё пишет письма.", "cp866")
charset("macintosh", tagged(1), "Ein “altes” Programm schreibt noch Briefe: Größe 5 €.", "mac_roman")
# Markup is not where ASCII has it: nothing is found there, so nothing is touched.
charset("iso-2022-jp", tagged(1), "読者の皆さま、今週の展示は金曜日までです。", "iso2022_jp", "ISO-2022-JP", "7bit")
charset("iso-2022-jp-base64", tagged(1), "カタカナのソフト。", "iso2022_jp", "iso-2022-jp", "base64")
charset("iso-2022-kr", untouched("charset does not convert back"), "독자 여러분 안녕하세요.", "iso2022_kr", "iso-2022-kr", "7bit")
charset("utf-16-bom", tagged(1), "Δύο bytes για κάθε γράμμα.", "utf-16", "utf-16", "base64")
charset("utf-16le", tagged(1), "Two bytes for each letter.", "utf-16-le", "utf-16le", "base64")
charset("utf-16be", tagged(1), "Два байта на букву.", "utf-16-be", "UTF-16BE", "base64")
charset("utf-32", tagged(1), "Four of them.", "utf-32", "utf-32", "base64")
charset("utf-7", untouched("charset does not convert back"), "Grüße aus der Vergangenheit.", "utf-7", "utf-7", "7bit")
charset("hz-gb-2312", untouched("unknown charset"), "各位读者好。", "hz", "HZ-GB-2312", "7bit")
charset("ebcdic", untouched("unknown charset"), "From a large computer.", "cp037", "ibm037", "base64", meta=False)
charset("unknown", untouched("unknown charset"), "Nobody knows this one.", "ascii", "x-user-defined")
charset("single-quoted", untouched("unknown charset"), "A common mistake of scripts.", "ascii", "'utf-8'")
charset("none-utf-8", tagged(1), "Ningún juego de caracteres declarado, y sin embargo es éste.", "utf-8", "none", meta=False)
charset("none-latin1", tagged(1), "Ningún juego de caracteres declarado, y el meta dice otra cosa.", "latin-1", "none", meta=False)
charset("ascii-with-8bit", tagged(1), "Das ist gewiß kein ASCII.", "latin-1", "us-ascii", meta=False)
charset("lying-utf-8", tagged(1), "Das ist gewiß kein UTF-8.", "latin-1", "utf-8", meta=False)
charset("lying-latin1", tagged(1), "Das ist gewiß UTF-8.", "utf-8", "iso-8859-1", meta=False)
charset("lying-about-escapes", untouched("escape sequences in text"), "読者の皆さま。", "iso2022_jp", "iso-8859-1", "7bit", meta=False)
charset("lying-about-utf-16", untouched("NUL in text"), "Two bytes each.", "utf-16-le", "utf-8", "base64", meta=False)
charset("meta-differs", tagged(1), "Заглавието казва едно, страницата друго.", "cp1251", "windows-1251", meta=False)

# -- HTML --

VML = """<!--[if mso]>
<v:roundrect xmlns:v="urn:schemas-microsoft-com:vml" xmlns:w="urn:schemas-microsoft-com:office:word" href="%(u)s" style="height:44px;v-text-anchor:middle;width:220px;" arcsize="9%%" stroke="f" fillcolor="#c0392b">
<w:anchorlock/>
<center style="color:#ffffff;font-family:Arial,sans-serif;font-size:16px;">%(t)s</center>
</v:roundrect>
<![endif]-->
<!--[if !mso]><!-- --><a href="%(u)s" style="background:#c0392b;color:#fff;padding:12px 28px">%(t)s</a><!--<![endif]-->
"""
NO = "https://www.example.com/no"

html("plain", tagged(1), page(a("plain")))
html("vml-buttons", tagged(2, 4), page(VML % {"u": url("button", n="1"), "t": "To the shop"} + VML % {"u": url("button", n="2"), "t": "Your basket"}))
html("vml-picture", tagged(1), page('<!--[if gte mso 9]><v:rect href="%s" style="width:600px;height:300px" stroke="false"><v:fill type="frame" src="https://img.example.com/hero.jpg" />'
	'<v:textbox inset="0,0,0,0"><![endif]--><div>Hero</div><!--[if gte mso 9]></v:textbox></v:rect><![endif]-->' % url("hero")))
html("mso-table", tagged(2, 3), page('<!--[if (mso)|(IE)]><table role="presentation"><tr><td align="center"><a href="%s" style="color:#fff">Book</a></td></tr></table><![endif]-->'
	'<!--[if !mso]><!--><a href="%s">Book</a><!--<![endif]--><!--[if mso 16]><a href=%s>Sixteen</a><![endif]-->' % (url("book"), url("book"), "https://www.example.com/sixteen")))
html("comments", tagged(1), page('<!-- <a href="%s">x</a> --><!--[if gte nothing 9]><a href="%s">x</a><![endif]--><!--><p>--><!---><p>x--><!-- -- > <a href="%s">x</a> --!>%s<!-- <!-- <a href="%s"> -->'
	% (NO, NO, NO, a("after-comments"), NO)))
html("comment-not-closed", tagged(1), "<html><body>" + a("before") + "<!-- and then <a href='%s'>no</a></body></html>" % NO)
html("word", tagged(2), '<html xmlns:v="urn:schemas-microsoft-com:vml" xmlns:o="urn:schemas-microsoft-com:office:office" xmlns:w="urn:schemas-microsoft-com:office:word" xmlns="http://www.w3.org/TR/REC-html40"><head>'
	'<meta name=Generator content="Microsoft Word 15 (filtered medium)"><!--[if !mso]><style>v\\:* {behavior:url(#default#VML);}</style><![endif]--><style><!--\n/* Font Definitions */\n@font-face\n\t{font-family:"Cambria Math";}\n'
	'a:link, span.MsoHyperlink\n\t{color:#0563C1;}\n--></style><!--[if gte mso 9]><xml><o:shapedefaults v:ext="edit" spidmax="1026" /></xml><![endif]--></head><body lang=EN-GB link="#0563C1" vlink="#954F72">'
	'<div class=WordSection1><p class=MsoNormal>Dear all,<o:p></o:p></p><p class=MsoNormal><span lang=EN-US>the minutes are <a href="%s">here</a>, and <a\nhref="https://www.example.com/minutes/2026">last year&#8217;s</a> too.<o:p>&nbsp;</o:p></span></p></div></body></html>'
	% url("minutes"))
html("base-href", tagged(1), "<html><head><base href=\"https://www.example.com/letters/\" target=\"_blank\"></head><body><a href=\"2026/11\">relative</a> <a href=\"/top\">relative</a> <a href=\"?q=1\">relative</a> "
	+ a("absolute") + "</body></html>")
html("area-map", tagged(3, 4), page('<img src="cid:plan@example.com" usemap="#plan"><map name="plan"><area shape="rect" coords="0,0,80,60" href="%s" alt="North"><AREA SHAPE=circle COORDS="90,90,20" HREF=\'%s\' />'
	'<area shape=default nohref><area href="#none"><area shape=poly coords=1,1,2,2,3,1 href=%s></map><a href="%s">North</a>' % (url("north"), url("east"), "https://www.example.com/south", url("north"))))
html("unquoted", tagged(5), page('<a href=https://www.example.com/a>a</a><a href=https://www.example.com/b?x=1&amp;y=2 class=x>b</a><a href=https://www.example.com/c/>slash</a>'
	'<a target=_blank href = https://www.example.com/d>d</a><a href=\nhttps://www.example.com/e\n>e</a>'))
html("single-quoted", tagged(3), page("<a href='https://www.example.com/a?q=\"quoted\"'>a</a><a class='x' href='https://www.example.com/b?q=it&#39;s'>b</a><a href=\"https://www.example.com/c?q=it's\">c</a>"))
html("upper-case", tagged(4), "<HTML><HEAD><TITLE>LOUD</TITLE></HEAD><BODY BGCOLOR=WHITE><CENTER><FONT FACE=ARIAL SIZE=+2><A HREF=\"HTTPS://WWW.EXAMPLE.COM/A\">GO</A> <A Href='Http://Www.Example.Com/b'>go</A> <a hREF=HTTPS://www.example.com/C>go</a>"
	" <MAP><AREA HREF=\"https://www.example.com/D\"></MAP></FONT></CENTER></BODY ></HTML>")
html("spread-over-lines", tagged(2), page('<a\n\tclass="button"\n\n\tstyle="color: #fff;\n\t\tpadding: 4px"\n\thref\n\t=\n\t"%s"\n\ttitle="a > b\nc < d"\n>here</a\n> and <a href="\n\n\t%s\n">there</a>' % (url("lines"), url("inside"))))
html("duplicate-href", tagged(2), page('<a href="%s" href="%s">first</a> <a HREF=https://www.example.com/one class=a href=%s class=b>first</a> <a href="" href="%s">empty first</a>' % (url("first"), NO, NO, NO)))
html("entities", tagged(18), page("\n".join('<a href="https://www.example.com/%d%s">%d</a>' % (i, text, i) for i, text in enumerate((
	"?a=1&b=2", "?a=1&amp;b=2", "?a=1&#38;b=2", "?a=1&#x26;b=2", "?a=1&AMP;b=2", "?a=1&amp", "?a=1&ampb=2", "?a=1&copy=2&para=3&times=4&lt=5",
	"?a=1&copy;2&hellip;", "?a=&notit;&notin;", "?a=&lt;b&gt;&quot;c&quot;&apos;d&apos;", "?a=&amp;amp;", "?a=&#38;amp;", "?a=&eacute;&#233;&#xE9;&Eacute", "?a=&#x80;&#150;&#xD800;&#0;",
	"&sol;b&quest;c&equals;d&num;e", "?&nbsp;&nosuchthing;&;&#;&#x;", "?a=%26amp%3B&amp;b=&percnt;20")))))
html("entities-in-the-scheme", tagged(3), page("<a href=\"https&colon;//www.example.com/a\">a</a> <a href='&#104;&#x74;tps&#58;&sol;&sol;www&period;example&period;com/b'>b</a> <a href=\"&Tab;&NewLine;https://www.example.com/c&#10;&#13;&#9;\">c</a>"))
html("white-space-in-urls", tagged(4), page("<a href=\"  https://www.example.com/a  \">a</a> <a href='\n\thttps://www.example.com/long\n\t/path\t/b\n'>b</a> <a href=\"ht\ntp\ts://www.exa\nmple.com/c\">c</a> <a href=\"https://www.example.com/with space/d?e=f g\">d</a>"))
html("svg", tagged(2), page('<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20"><style><![CDATA[ a { fill: red } ]]></style><a href="%s"><circle r="4" /></a><a xlink:href="%s"><rect/></a></svg><math><mi>x</mi><mo>=</mo><mn>1</mn></math>'
	% (url("svg"), NO) + a("after")))
html("svg-cdata", tagged(1), page('<svg><desc><![CDATA[ 1 > 0, <a href="%s">not a link</a> ]]></desc></svg><math><annotation><![CDATA[ > <a href="%s">nor this</a> ]]></annotation></math>' % (NO, NO) + a("after")))
html("cdata-in-html", tagged(2), page("<![CDATA[ comment until here > %s ]]>" % a("cdata") + a("after")))
html("template-noscript", tagged(4), "<html><head><noscript><style>p { color: red }</style></noscript></head><body><template><p>%s</p></template><noscript>%s<img src='https://img.example.com/x.gif'></noscript>%s<noscript>%s</noscript></body></html>"
	% (a("template"), a("noscript"), a("body"), a("again")))
html("raw-elements", tagged(1), page("<script>var s = \"<a href='%s'>\"; // </body>\n</script><style>/* <a href='%s'> */</style><textarea><a href='%s'></textarea><title><a href='%s'></title><xmp><a href='%s'></xmp><iframe><a href='%s'></iframe>"
	"<script><!-- <script> <a href='%s'></script> --></script><noembed><a href='%s'></noembed>" % ((NO,) * 8) + a("real")))
html("plaintext", tagged(1), page(a("before") + "<plaintext><a href='%s'>no more markup</a></body></html>" % NO))
html("style-never-closed", tagged(1), "<html><body>%s<style>p { color: red }\n<p>%s</p></body></html>" % (a("before"), a("inside")))
html("truncated", tagged(1), "<html><body><table><tr><td>" + a("whole") + '<p><a class="b" href="https://www.example.com/cu')
html("truncated-head", untouched("nothing to tag"), "<htm  thats all folks")
# Neither has a body yet, and a pixel would begin one around the title.
html("truncated-title", untouched("nothing to tag"), "<html><head><title>News")
html("truncated-title-behind-mark", untouched("nothing to tag"), "\ufeff<html><head><title>News")
html("truncated-entity", tagged(1), "<p>" + a("x") + "<b>bold &am")
html("truncated-comment", tagged(1), "<p>" + a("x") + "</p>\n<!-- the end is mis")
html("truncated-end-tag", tagged(1), "<html><body><p>" + a("x") + "</p></bod")
html("truncated-less-than", tagged(1), "<p>" + a("x") + "\n</")
html("fragment", tagged(1), "Hello, <a href=https://www.example.com/fragment>no tags around me</a>")
html("words-only", tagged(0), "No markup at all, and still a page: https://www.example.com/ & so on.")
html("no-body-tag", tagged(1), "<html><head><title>x</title></head><p>%s</html>\n" % a("no-body"))
html("two-body-ends", tagged(2), "<html><body><p>One, from the shop.%s</p></body></html>\n<html><body><p>Two, from the list's footer. %s</p></body></html>\n" % (a("one"), a("two")))
html("body-end-in-odd-places", tagged(1), '<html><body><p title="</body>">%s<!-- </body> --><textarea></body></textarea><script>"</body>"</script></body \n></html>\n<p>behind</p>' % a("x"))
html("open-formatting", tagged(2), "<html><body><font color=red><b><i>Sale! %s<p>and <u>more %s</body></html>" % (a("sale"), a("more")))
html("nested-links", tagged(3), page('<a href="%s">outer <a href="%s">inner</a> text</a><table><a href="%s"><tr><td>foster</td></tr></a></table>' % (url("outer"), url("inner"), url("foster"))))
html("block-in-link", tagged(1), page('<a href="%s"><table><tr><td><h2>All of it</h2><img src="%s" alt=""></td></tr></table></a>' % (url("block"), NO)))
html("minified-50k", tagged(150), "<!doctype html><html><head><meta charset=utf-8><title>Catalogue</title></head><body>" + "".join(
	'<div class=c><a href="%s"><img src=https://img.example.com/%d.jpg width=120 height=120 alt="Article %d"></a><b>%d.%02d</b><span>%s</span></div>'
	% (url("article/%04d-%s" % (i * 37, ("wool", "linen", "silk")[i % 3]), pos=i), i, i, 9 + i % 40, i % 100, "One size, washed by hand, dried in the shade. Number %d of a series." % i) for i in range(150)) + "</body></html>")
html("500-links", tagged(500), page("<ul>\n" + "\n".join('<li><a href="https://www.example.com/index/%03d?from=letter">Entry %d</a>' % (i, i) for i in range(500)) + "\n</ul>"))
html("same-link-50-times", tagged(1, 50), page("\n".join(a("same", "%d" % i) for i in range(50))))
html("near-twins", tagged(8), page("".join('<a href="%s">x</a>' % u for u in ("https://www.example.com", "https://www.example.com/", "https://www.example.com/?", "https://www.example.com/#", "https://www.example.com/?a=1",
	"https://www.example.com/?A=1", "http://www.example.com/", "https://WWW.example.com/"))))
html("merge-tags", tagged(4), page("\n".join('<a href="%s">x</a>' % u for u in (
	"*|UNSUB|*", "{{unsubscribe_url}}", "{{{ unsubscribe }}}", "%%unsubscribe%%", "[[unsubscribe]]", "{% unsubscribe_link %}", "%recipient.unsub%", "{$unsubscribe}", "-unsubscribe-", "&lt;%= url %&gt;", "#unsub#", "@@url@@", "[unsub_link]",
	"https://www.example.com/{{ user.id }}", "https://www.example.com/?e=*|EMAIL|*", "https://%%host%%/", "https://www.example.com/?c=[[code]]", "https://{{host}}/a", "https://www.example.com/?n=%%=v(@name)=%%",
	"https://www.example.com/?discount=20%25&amp;b=%2A", "https://www.example.com/?a[]=1&amp;a[]=2", "https://www.example.com/a*b|c", "https://www.example.com/?half={{open"))))
html("opt-out", tagged(4), page("\n".join("<a %s>x</a>" % t for t in (
	'href="%s" data-no-track' % url("out/1"), 'data-no-track="true" href="%s"' % url("out/2"), 'clicktracking=off href="%s"' % url("out/3"), 'href="%s" CLICKTRACKING="Off"' % url("out/4"),
	'disable-tracking=true href="%s"' % url("out/5"), 'href="%s" data-msys-clicktrack="0"' % url("out/6"), 'mautic:disable-tracking="true" href="%s"' % url("out/7"), 'data-skip-click href="%s"' % url("out/8"),
	'href="%s" data-mg-notrack=""' % url("out/9"), "class=b\n   data-no-track\n   href='%s'\n   id=c" % url("out/10"),
	'href="%s" clicktracking="on"' % url("in/1"), 'href="%s" data-msys-clicktrack="1"' % url("in/2"), 'href="%s" data-no-tracking="yes"' % url("in/3"), 'href="%s&amp;data-no-track=1"' % url("in/4")))))
html("opt-out-area", tagged(1), page('<map name=m><area href="%s" data-no-track><area href="%s" /></map><p data-no-track>data-no-track</p>' % (url("out"), url("in"))))
html("visible-urls", tagged(3), page("\n".join('<a href="%s">%s</a>' % (url("visible/%d" % i), text) for i, text in enumerate((
	"https://www.example.com/", "http://example.org", "www.example.com", "example.com", "example.com/path?x=y", " <b>www.<i>example</i>.com</b> ", "сајт.мкд", "&nbsp;https://www.example.com&nbsp;",
	"Visit www.example.com", "example", "1.000.50")))))
html("idn", tagged(6), page("\n".join('<a href="%s">x</a>' % u for u in ("https://библиотека.example.org/книги?град=скопје", "https://xn--80abmy0agn7e.example.org/", "https://www.example.com/日本語/ページ?検索=本#章", "https://bücher.example.net:8443/für/alle",
	"https://www.example.com/%E6%9C%AC?q=%D0%B0", "https://مكتبة.example.org/كتب"))))
html("idn-in-latin1", tagged(1), page('<a href="https://www.example.com/caf\xe9">stays</a> <a href="https://www.example.com/caf&eacute;">stays</a> <a href="https://www.example.com/caf%E9">goes</a>').encode("latin-1").replace(b"\n", b"\r\n"),
	"MIME-Version: 1.0\nContent-Type: text/html; charset=iso-8859-1\nContent-Transfer-Encoding: 8bit")
html("idn-broken-utf-8", tagged(1), page('<a href="https://www.example.com/caf\xe9">stays</a> <a href="https://www.example.com/caf%C3%A9">goes</a>').encode("latin-1").replace(b"\n", b"\r\n"))
html("other-schemes", tagged(1), page("\n".join('<a href="%s">x</a>' % u for u in ("mailto:desk@example.com?subject=Hi&amp;body=https://www.example.com/", "MAILTO:Desk@Example.com", "tel:+38923111222", "TEL:112", "sms:+491711234567?body=yes",
	"data:text/html,&lt;p&gt;x", "cid:part1@example.com", "javascript:void(0)", "JavaScript:alert('https://www.example.com/')", "#top", "#", "/relative", "../up", "page.html", "?q=1", "//www.example.com/", "", " ", "ftp://ftp.example.com/", "fb://profile/1",
	"geo:41.99,21.43", "webcal://www.example.com/c.ics", "blob:https://www.example.com/1", "view-source:https://www.example.com/", "www.example.com", "https://", "http:///", "https://?x", "whatsapp://send?text=https://www.example.com", url("one"))) + '\n<a name="x">anchor</a> <a>nothing</a> <a href>no value</a> <a href=>none</a>'))
html("fragments", tagged(2), page('<a href="#a">a</a><a href="https://www.example.com/page#section-2">b</a><a href="https://www.example.com/#/route?x=1">c</a>'))
html("odd-hosts", tagged(7), page("\n".join('<a href="%s">x</a>' % u for u in ("http://user:secret@www.example.com:8080/", "https://192.0.2.7/x", "https://[2001:db8::7]:8443/x", "https://www.example.com./", "https://localhost/x", "https://a_b.example.com/",
	"https://www.example.com?x=1"))))
html("backslashes", tagged(2), page('<a href="https://www.example.com/a\\b">a</a> <a href="https://www.example.com\\c">b</a>'))
random.seed(7)
NOISE = "".join(random.choice("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") for _ in range(2500))
# A sealed destination is a third longer, and what is over 2,000 characters then is not made; nor is one that was longer before.
html("long-links", tagged(2), page("\n".join('<a href="https://www.example.com/?token=%s">%d</a>' % (t, i) for i, t in enumerate((NOISE[:400], NOISE[:1000], NOISE[:1900], NOISE, "ab" * 1010)))))
html("doctypes", tagged(1), '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN"\n "http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd" [\n]>\n<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en"><body>%s</body></html>' % a("xhtml"))
html("doctype-four", tagged(2, 3), '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01 Transitional//EN" "http://www.w3.org/TR/html4/loose.dtd">\n<HTML><BODY>' + a("four") + a("four") + "<P>" + a("more", lang="fr") + "</BODY></HTML>")
html("frames", tagged(0), '<html><head><title>x</title></head><frameset cols="50%,50%"><frame src="https://www.example.com/left"><frame src="https://www.example.com/right"><noframes><body><a href="https://www.example.com/no">no frames</a></body></noframes></frameset></html>')
html("dark-mode", tagged(1), '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark"><style>:root { color-scheme: light dark; }\n'
	"@media (prefers-color-scheme: dark) { .bg { background: #111 !important } a[href^=\"https://www.example.com\"] { color: #9cf } }\n[data-ogsc] .x { color: #fff }</style></head><body class=bg>%s</body></html>" % a("dark"))
html("links-in-the-head", tagged(1), '<html><head><link rel=canonical href="https://www.example.com/"><a href="%s">in the head</a><meta http-equiv=refresh content="9;url=https://www.example.com/"></head><body>%s</body></html>' % (NO, a("body")))
html("not-links", tagged(1), page('<img src="%s"><link href="%s"><form action="%s"><button formaction="%s">x</button></form><blockquote cite="%s">x</blockquote><td background="%s"><abbr href="%s">x</abbr><v:rect href="%s">not for Outlook here</v:rect>' % ((NO,) * 8) + a("only")))
html("attribute-soup", tagged(3), page('<a =x href="%s">a</a> <a "href"="%s" href=\'%s\'>b</a> <a/href="%s"/>c</a> <a data-href="%s" href2="%s">no</a> <ahref="%s">no</a>' % (url("soup/1"), NO, url("soup/2"), url("soup/3"), NO, NO, NO)))
html("our-own-links", tagged(1), page('<a href="https://t.example.org/c/AbCdEf">ours</a> <a href="https://t.example.org/u/AbCdEf">ours</a> <a href="https://t.example.org/about">not made by us</a>'))
html("untracked-domain", tagged(2), page('<a href="https://untracked.example.com/">x</a> <a href="https://www.untracked.example.com:8443/?x">x</a> <a href="https://my-untracked.example.com/">x</a> <a href="https://untracked.example.com.example.org/">x</a>'))
html("unsubscribe-target", tagged(1), page('<a href="https://www.example.com/leave?u=7&amp;l=2">Unsubscribe</a> ' + a("other")),
	"List-Unsubscribe: <mailto:leave@example.com?subject=7>,\n <https://www.example.com/leave?u=7&l=2>\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\n" + HTML)
html("right-to-left", tagged(1), '<html dir="rtl" lang="he"><body><bdo dir="ltr">%s</bdo>\u202eabc\u202c שלום&rlm; &lrm;</body></html>' % a("rtl"))
html("lone-cr-entities", tagged(1), page("&#13;&#10;&#0;&#xFFFF; %s &#128;" % a("entities")))
html("line-separators", tagged(1), page("\u2028 \u2029 \u0085 \ufeff \u00ad%s" % a("separators")))
html("select-and-forms", tagged(1), page("<form><select><option>one<option>two</select><input value='</body>'></form>" + a("form")))
html("deep-tables", tagged(1), "<html><body>" + "<table><tr><td>" * 120 + a("deep") + "</td></tr></table>" * 120 + "</body></html>")
html("text-behind-html", tagged(2), "<html><body>%s</body></html>\n\n%s -- footer of a list" % (a("in"), a("behind")))


# ---- newsletters ----

# What stands around the text: read on, view online, unsubscribe, preferences, why you get this, privacy, follow us.
AROUND = {
	"en": ("Read more", "View in browser", "Unsubscribe", "Manage preferences", "You receive this letter because you signed up on our website.", "Privacy policy", "Follow us"),
	"de": ("Weiterlesen", "Im Browser ansehen", "Abmelden", "Einstellungen ändern", "Sie erhalten diese Nachricht, weil Sie unseren Newsletter bestellt haben.", "Datenschutz", "Folgen Sie uns"),
	"fr": ("Lire la suite", "Voir dans le navigateur", "Se désabonner", "Gérer mes préférences", "Vous recevez cette lettre car vous vous êtes inscrit sur notre site.", "Confidentialité", "Suivez-nous"),
	"es": ("Seguir leyendo", "Ver en el navegador", "Darse de baja", "Mis preferencias", "Recibe este boletín porque se suscribió en nuestra página.", "Aviso de privacidad", "Síganos"),
	"it": ("Continua a leggere", "Apri nel browser", "Annulla l’iscrizione", "Le tue preferenze", "Ricevi questa lettera perché ti sei iscritto sul nostro sito.", "Privacy", "Seguici"),
	"pt": ("Ler mais", "Ver no navegador", "Cancelar a subscrição", "Preferências", "Recebe esta mensagem porque subscreveu a nossa lista.", "Privacidade", "Siga-nos"),
	"nl": ("Lees verder", "Bekijk online", "Uitschrijven", "Voorkeuren", "U ontvangt deze brief omdat u zich hebt aangemeld.", "Privacy", "Volg ons"),
	"sv": ("Läs mer", "Visa i webbläsaren", "Avsluta prenumerationen", "Inställningar", "Du får brevet för att du har anmält dig på vår sida.", "Integritet", "Följ oss"),
	"pl": ("Czytaj dalej", "Zobacz w przeglądarce", "Wypisz się", "Ustawienia", "Otrzymujesz tę wiadomość, ponieważ zapisałeś się do newslettera.", "Polityka prywatności", "Obserwuj nas"),
	"cs": ("Číst dál", "Zobrazit v prohlížeči", "Odhlásit odběr", "Nastavení", "Tento dopis dostáváte, protože jste se přihlásili k odběru.", "Ochrana údajů", "Sledujte nás"),
	"hu": ("Tovább", "Megnyitás böngészőben", "Leiratkozás", "Beállítások", "Azért kapja ezt a levelet, mert feliratkozott hírlevelünkre.", "Adatvédelem", "Kövessen minket"),
	"mk": ("Прочитај повеќе", "Отвори во прелистувач", "Одјави се", "Поставки", "Ја добивате оваа порака бидејќи се пријавивте на нашата страница.", "Приватност", "Следете нè"),
	"sr": ("Прочитајте више", "Отворите у прегледачу", "Одјава", "Подешавања", "Добијате ово писмо јер сте се пријавили на нашем сајту.", "Приватност", "Пратите нас"),
	"bg": ("Прочетете още", "Вижте в браузъра", "Отписване", "Настройки", "Получавате това писмо, защото сте се абонирали на нашия сайт.", "Поверителност", "Последвайте ни"),
	"ru": ("Читать дальше", "Открыть в браузере", "Отписаться", "Настройки рассылки", "Вы получили это письмо, потому что подписались на рассылку.", "Конфиденциальность", "Мы в сетях"),
	"uk": ("Читати далі", "Відкрити у браузері", "Відписатися", "Налаштування", "Ви отримали цей лист, бо підписалися на нашу розсилку.", "Приватність", "Стежте за нами"),
	"el": ("Διαβάστε περισσότερα", "Προβολή στον περιηγητή", "Διαγραφή", "Προτιμήσεις", "Λαμβάνετε αυτό το μήνυμα επειδή εγγραφήκατε στη σελίδα μας.", "Απόρρητο", "Ακολουθήστε μας"),
	"tr": ("Devamını oku", "Tarayıcıda görüntüle", "Abonelikten çık", "Tercihler", "Bu iletiyi sitemize kaydolduğunuz için aldınız.", "Gizlilik", "Bizi izleyin"),
	"he": ("להמשך קריאה", "צפייה בדפדפן", "הסרה מרשימת התפוצה", "העדפות", "קיבלתם הודעה זו כי נרשמתם באתר שלנו.", "פרטיות", "עקבו אחרינו"),
	"ar": ("اقرأ المزيد", "عرض في المتصفح", "إلغاء الاشتراك", "التفضيلات", "وصلتك هذه الرسالة لأنك اشتركت في موقعنا.", "الخصوصية", "تابعونا"),
	"fa": ("ادامه مطلب", "نمایش در مرورگر", "لغو اشتراک", "تنظیمات", "این نامه را دریافت کرده‌اید چون در سایت ما ثبت‌نام کرده‌اید.", "حریم خصوصی", "ما را دنبال کنید"),
	"hi": ("आगे पढ़ें", "ब्राउज़र में देखें", "सदस्यता समाप्त करें", "पसंद बदलें", "आपको यह पत्र इसलिए मिला क्योंकि आपने हमारी साइट पर पंजीकरण किया था।", "गोपनीयता", "हमसे जुड़ें"),
	"th": ("อ่านต่อ", "เปิดในเบราว์เซอร์", "ยกเลิกการรับข่าวสาร", "ตั้งค่า", "คุณได้รับอีเมลนี้เพราะสมัครรับข่าวสารจากเว็บไซต์ของเรา", "ความเป็นส่วนตัว", "ติดตามเรา"),
	"vi": ("Đọc tiếp", "Xem trong trình duyệt", "Hủy đăng ký", "Tùy chọn", "Bạn nhận được thư này vì đã đăng ký trên trang của chúng tôi.", "Quyền riêng tư", "Theo dõi chúng tôi"),
	"zh": ("阅读全文", "在浏览器中查看", "退订", "订阅设置", "您收到此邮件是因为您在我们的网站上订阅了通讯。", "隐私政策", "关注我们"),
	"tw": ("閱讀全文", "在瀏覽器中檢視", "取消訂閱", "訂閱設定", "您收到這封信是因為您在我們的網站訂閱了電子報。", "隱私權政策", "追蹤我們"),
	"ja": ("続きを読む", "ブラウザで表示", "配信停止", "登録内容の変更", "このメールは、当サイトで配信を希望された方にお送りしています。", "プライバシーポリシー", "フォローする"),
	"ko": ("더 읽기", "웹에서 보기", "수신 거부", "구독 설정", "이 메일은 홈페이지에서 구독을 신청하신 분께 보내드립니다.", "개인정보 처리방침", "팔로우"),
	"id": ("Baca selengkapnya", "Lihat di peramban", "Berhenti berlangganan", "Preferensi", "Anda menerima surat ini karena mendaftar di situs kami.", "Privasi", "Ikuti kami"),
}
RIGHT_TO_LEFT = ("he", "ar", "fa")
# language, name of the campaign, sender, host; then subject (S), preheader (P), heading (H), text (T), articles (*), goods ($), button (C), address (A).
TEXTS = """
== en harvest | Orchard & Vale | orchard.example.com
S The last apples, and what to do with them
P Six varieties, one press, and a Saturday in the rain
H The press runs until Sunday
T Frost is forecast for the weekend, so whatever is still hanging has to come down. Bring boxes; we have ladders, gloves and soup.
* How to store russets until March | Wrap each one in newspaper, stalk upwards, and never let two of them touch. A cellar is good, a shed is better.
* Why our cider is cloudy this year | The short answer is pectin. The long answer has a wasp in it, and a broken filter.
* Volunteers wanted for the grafting day | No skill needed but a steady hand. We supply the knives, the wax and the plasters.
$ Mixed crate, 8 kg | £14.50
$ Pressed juice, 3 litres | £9.00
$ Pruning saw, folding | £21.95
C Reserve a crate
A Orchard & Vale, Mill Lane, Ledbury
== en transit | City Cycling Office | cycling.example.org
S Bridge closed: your way to work from Monday
P Two detours, one ferry, and a breakfast on us
H Three weeks without the Iron Bridge
T From Monday at six the bridge is closed for cyclists in both directions. Here is how everybody gets across all the same.
* The northern detour | Flat, lit and eleven minutes longer. Mind the tram rails at Corn Street, cross them at a right angle.
* The ferry takes forty bikes | It runs every twelve minutes and is free with any season ticket. Cargo bikes go last on, first off.
* Free breakfast at the landing | Tuesday and Thursday, from half past six, while the rolls last.
C See the map
A City Cycling Office, 2 Harbour Square
== en museum | Museum of Small Things | small.example.net
S "Buttons" opens on Friday
P Nine hundred buttons, and the coats they fell off
H What holds a century together
T Our new show begins with a drawer that nobody had opened since 1911. Members see it first, on Thursday evening.
* A button factory remembers | Three women who worked the presses in the fifties tell how mother-of-pearl smells when it is cut.
* For children: sew one on | Every Sunday at eleven. Needles are blunt, thread is provided, parents may watch.
* The catalogue | 144 pages, printed in our basement, with a real button on each cover.
$ Catalogue | €24
$ Tin of odd buttons | €6.50
C Book a slot
A Museum of Small Things, 7 Thimble Row
== en cloud | Latchkey Software | latchkey.example.com
S Release notes: 4.2 is faster, and two things are gone
P Read the part about backups before you upgrade
H Latchkey 4.2
T Start-up takes a third of the time it took, searches take a tenth, and the old export is no more. Upgrading needs one minute of downtime.
* What happens to old backups | They stay readable until the end of next year. After that you need the converter, which is part of this release.
* The new search explained | It keeps an index of its own, costs two per cent more disk, and finds accents.
* Webinar on Wednesday | Forty minutes, ten of them for questions. The recording goes online the day after.
C Upgrade now
A Latchkey Software Ltd
== de garten | Gärtnerei Lindenhof | lindenhof.example.org
S Zwiebeln jetzt setzen: Tulpen, Krokusse, Schneeglöckchen
P Was vor dem ersten Frost noch in die Erde muss
H Der Frühling beginnt im November
T Liebe Gartenfreunde, solange der Boden offen ist, dürfen Blumenzwiebeln in die Erde. Wir zeigen, wie tief, wie weit und in welcher Gesellschaft.
* So tief wie dreimal hoch | Die alte Regel stimmt noch immer: Eine Zwiebel von vier Zentimetern kommt zwölf Zentimeter tief, bei schwerem Boden etwas weniger.
* Gegen Wühlmäuse hilft Draht | Körbe aus verzinktem Draht halten zehn Jahre. Knoblauch dazwischen schadet nicht, nützt aber wenig.
* Öffnungszeiten im Winter | Ab Dezember sind wir nur noch freitags und samstags für Sie da, dafür mit Glühwein.
$ 50 Krokusse, gemischt | 7,90 €
$ 10 Tulpen „Königin der Nacht“ | 5,50 €
$ Zwiebelpflanzer | 12,95 €
C Zum Sortiment
A Gärtnerei Lindenhof, Am Weiher 3
== de bahn | Reisebüro Übersee | uebersee.example.com
S Mit dem Nachtzug nach Süden – ab 39 €
P Zürich, Wien, Rom: einschlafen und ankommen
H Über Nacht ans Meer
T Wer abends einsteigt, frühstückt am nächsten Morgen unter Palmen. Die neuen Fahrpläne sind da, und die ersten Kontingente sind günstig.
* Liegewagen oder Schlafwagen? | Im Liegewagen reist man zu sechst und lernt Leute kennen. Im Schlafwagen schläft man.
* Fahrräder dürfen mit | Auf den meisten Strecken gibt es acht Plätze. Bitte früh buchen, in den Ferien sind sie schnell weg.
* Was tun, wenn der Zug ausfällt? | Sie fahren mit dem nächsten, ohne Aufpreis. Wir sagen Ihnen Bescheid, bevor es der Bahnsteig tut.
C Verbindungen suchen
A Reisebüro Übersee GmbH, Große Straße 11
== de buecher | Buchhandlung Eselsohr | eselsohr.example.net
S Fünf Bücher für lange Abende
P Unsere Empfehlungen, gelesen und für gut befunden
H Gelesen, geliebt, weiterempfohlen
T Draußen ist es dunkel, drinnen ist Platz auf dem Sofa. Diese Bücher haben uns in den letzten Wochen wachgehalten.
* Ein Haus am Fluss | Drei Generationen, ein Hochwasser und ein Klavier, das niemand spielen will. Ruhig erzählt, mit großem Sog.
* Kleine Geschichte des Pfeffers | Warum ganze Flotten wegen eines Gewürzes untergingen. Schlau, knapp und sehr komisch.
* Lesung am Donnerstag | Die Autorin liest, wir schenken aus. Beginn um halb acht, Eintritt fünf Euro.
$ Ein Haus am Fluss | 24,00 €
$ Kleine Geschichte des Pfeffers | 18,00 €
C Jetzt vorbestellen
A Buchhandlung Eselsohr, Kirchgasse 8
== fr marche | Le Panier du Canal | panier.example.org
S Cette semaine : poireaux, coings et un fromage qui sent fort
P Les paniers se retirent jeudi de 17 h à 19 h 30
H Ce qu’il y a dans le panier
T Chers adhérents, la pluie a fait du bien aux poireaux et beaucoup de mal aux allées. Prévoyez des bottes si vous venez à la ferme samedi.
* Que faire des coings ? | De la gelée, bien sûr, mais aussi un tajine. Comptez deux heures de cuisson et ne les épluchez surtout pas.
* Portrait : Élodie, bergère | Quarante brebis, un chien têtu et un tracteur plus vieux qu’elle. Nous l’avons suivie pendant une journée.
* Assemblée générale | Elle aura lieu le 3 décembre à la salle des fêtes. Apportez une chaise et un gâteau.
$ Panier complet | 18,50 €
$ Tomme de brebis | 9,80 €
C Réserver mon panier
A Le Panier du Canal, 4 quai de l’Écluse
== fr cinema | Ciné-club L’Œil ouvert | oeil.example.com
S Trois films, un débat et du café
P La programmation de décembre est en ligne
H Décembre en noir et blanc
T Nous finissons l’année comme nous l’avons commencée : avec des copies restaurées, un vrai projectionniste et des fauteuils qui grincent.
* Le voleur d’horloges | Tourné en onze jours avec des acteurs non professionnels, ce petit film a changé beaucoup de choses.
* Rencontre avec la monteuse | Elle raconte comment on enlève vingt minutes sans que personne ne s’en aperçoive.
* Carte d’abonnement | Dix séances pour quarante euros, valable un an et transmissible.
C Voir les horaires
A Ciné-club L’Œil ouvert, 12 rue du Théâtre
== fr voyage | Sentiers & Refuges | sentiers.example.net
S Neige annoncée : vos refuges ouverts cet hiver
P Raquettes, ski de randonnée et soupe à l’oignon
H La montagne se mérite
T Quatorze refuges restent gardés cet hiver. Réservez tôt, prévenez si vous renoncez, et n’oubliez pas la lampe frontale.
* Lire un bulletin d’avalanche | Le chiffre ne dit pas tout : regardez l’altitude, l’exposition et ce qui a changé depuis hier.
* La trousse qui sauve | Couverture, sifflet, ruban adhésif. Trois objets que l’on oublie et que l’on regrette.
$ Nuit en dortoir | 24 €
$ Demi-pension | 52 €
C Réserver une nuit
A Sentiers & Refuges, Chambéry
== es cocina | La Cocina de Inés | cocina.example.org
S Croquetas: el secreto está en la espera
P Una receta de la abuela y tres errores que todos cometemos
H Paciencia y buena leche
T Querida lectora, querido lector: esta semana hablamos de croquetas. La masa se hace la víspera, se enfría despacio y no admite prisas.
* La bechamel perfecta | Se tuesta la harina dos minutos, ni uno más, y la leche se añade caliente. Si salen grumos, no pasa nada: batidora.
* ¿Aceite de oliva o de girasol? | Para freír, oliva suave a 180 grados. Cuatro croquetas cada vez, que si no se enfría.
* Taller el sábado | Quedan seis plazas. Traiga delantal y un recipiente para llevarse lo que sobre.
$ Taller de croquetas | 35 €
$ Sartén de hierro | 42,90 €
C Apuntarse al taller
A La Cocina de Inés, calle del Olmo 5
== es faro | Faro Digital | faro.example.com
S El otoño llega a la costa: cinco paseos con niños
P Acantilados, faros y chocolate caliente
H Mar, viento y bufanda
T No hace falta que brille el sol para salir. Hemos recorrido la costa con tres niños, un perro y ningún plan.
* Del puerto al faro | Cuatro kilómetros de ida, con barandilla casi todo el camino. Lleve prismáticos: en noviembre pasan alcatraces.
* La playa de las conchas | Con marea baja se llega andando a la isla. Consulte la tabla, que luego sube rápido.
* Dónde merendar | El quiosco de Begoña abre hasta las siete y hace el mejor chocolate de la ría.
C Descargar los mapas
A Faro Digital, paseo Marítimo s/n
== es escuela | Escuela de Idiomas Ñandú | nandu.example.net
S ¡Últimas plazas para los cursos de enero!
P Portugués, árabe y lengua de signos
H Aprender un idioma en invierno
T Los grupos son pequeños, las profesoras tienen paciencia y el café corre de nuestra cuenta. La prueba de nivel dura veinte minutos.
* Árabe desde cero | En doce semanas leerá rótulos, pedirá té y entenderá la respuesta.
* Conversación los viernes | Sin libro y sin notas. Solo hablar, equivocarse y volver a hablar.
$ Curso trimestral | 240 €
$ Prueba de nivel | gratis
C Reservar plaza
A Escuela de Idiomas Ñandú
== it forno | Forno Aurora | forno.example.org
S Il panettone è in forno
P Lievito madre, trentasei ore e niente fretta
H Si comincia a dicembre, si impasta a novembre
T Cari amici, il primo panettone dell’anno è uscito stamattina ed è già finito. Il prossimo potete prenotarlo da oggi.
* Perché si appende a testa in giù | Appena sfornato è così soffice che cadrebbe su se stesso. Dodici ore appeso, e resta alto.
* Canditi fatti da noi | Arance di Sicilia, scorza spessa, nove giorni nello sciroppo. Chi non li ama non li ha assaggiati.
* Corso di lievito madre | Due sabati, dieci persone, e a casa porti il tuo barattolo.
$ Panettone classico, 1 kg | 34,00 €
$ Panettone al cioccolato | 36,00 €
C Prenota il tuo
A Forno Aurora, via dei Mulini 9
== it teatro | Teatro Minimo | teatro.example.com
S Stasera si recita a soggetto (e anche domani)
P La stagione continua: abbonamenti aperti fino a venerdì
H Sessanta posti, nessuno dietro una colonna
T Il nostro teatro è piccolo, ma ci sta dentro una città intera. Ecco cosa succede questa settimana sul palco e dietro le quinte.
* La bottega del caffè | Una commedia di quasi trecento anni che sembra scritta ieri al bar qui sotto.
* Prove aperte | Mercoledì alle diciotto si entra gratis, si guarda e si tace.
C Acquista i biglietti
A Teatro Minimo, vicolo Stretto 1
== pt mar | Cais da Ribeira | ribeira.example.org
S Sardinhas não, mas há polvo
P O que chega à lota em novembro
H O mar no outono
T Caros amigos, o tempo das sardinhas acabou, mas o outono traz polvo, robalo e linguado. Passem pela banca antes das dez.
* Como amaciar o polvo | Congele-o dois dias, cozinhe-o com uma cebola e não acrescente sal. Não há outro segredo.
* Conversas com pescadores | O senhor Américo sai às três da manhã há cinquenta anos. Pedimos-lhe que nos explicasse porquê.
* Caldeirada de sexta-feira | Para comer no cais ou para levar. Reserve até quinta ao meio-dia.
$ Polvo, por quilo | 14,90 €
$ Robalo de mar | 19,50 €
C Encomendar
A Cais da Ribeira, banca 12
== pt livros | Livraria Saudável | livraria.example.com
S Lançamento: poemas à beira da estação
P Quinta-feira às 19h, com música e pão de queijo
H Poesia na plataforma 3
T A escritora viajou um ano inteiro de trem e anotou o que ouviu. O resultado são cem poemas curtos e uma longa amizade com o maquinista.
* Leia três poemas | São curtos como um túnel. O segundo foi escrito em pé, entre Bauru e Araçatuba.
* Promoção de coleção | Na compra de dois títulos, o terceiro sai pela metade do preço.
$ Poemas da plataforma | R$ 49,90
$ Caderno de viagem | R$ 28,00
C Confirmar presença
A Livraria Saudável, rua das Acácias 77
== nl fiets | Fietsmakerij De Spaak | spaak.example.org
S Licht op je fiets? De klok is verzet
P Gratis lampcontrole, en koffie terwijl je wacht
H Gezien worden
T Het is weer donker om vijf uur. Kom langs, dan kijken wij je verlichting na; een nieuw lampje kost minder dan een bon.
* Naafdynamo of batterij? | Een dynamo vergeet je nooit op te laden. Een batterijlamp vergeet je altijd.
* Winterklaar in zes stappen | Ketting, remmen, banden, licht, bel, handschoenen. In die volgorde.
$ Lampenset | € 24,95
$ Winterbeurt | € 59,00
C Maak een afspraak
A De Spaak, Oudegracht 14
== sv skog | Skogsnytt | skog.example.net
S Kantareller i november – går det?
P Svampsäsongen är längre än du tror
H Trattkantarellernas tid
T Hej på dig! När de gula har frusit bort står de bruna kvar, ofta hundratals på samma ställe. Ta med korg och ficklampa.
* Så torkar du svamp | Fyrtio grader, öppen lucka och tålamod. Förvara i glasburk, aldrig i plast.
* Ät inte den här | Den spetsiga spindelskivlingen växer på samma plats. Lär dig skillnaden innan du plockar.
$ Svampkniv med borste | 149 kr
$ Flätad korg | 395 kr
C Hitta närmaste kurs
A Skogsnytt, Örebro
== pl ksiegarnia | Księgarnia pod Żurawiem | zuraw.example.org
S Jesienna wyprzedaż: książki od 9,90 zł
P Tylko do niedzieli, także w sklepie stacjonarnym
H Złota jesień, złote ceny
T Drodzy Czytelnicy, robimy miejsce na nowości. Ponad trzysta tytułów czeka na nowy dom, niektóre po raz ostatni.
* Reportaże z drogi | Autor przejechał rowerem z Łodzi do Gruzji. Wrócił z trzema zeszytami i złamanym palcem.
* Wieczór z tłumaczką | Jak przetłumaczyć słowo, którego nie ma? W czwartek o osiemnastej, wstęp wolny.
* Klub dla najmłodszych | Czytamy, rysujemy, pieczemy pierniki. Prosimy o wcześniejsze zapisy.
$ Źródła i ujścia | 29,90 zł
$ Dzień, w którym spadł śnieg | 24,50 zł
C Przejdź do wyprzedaży
A Księgarnia pod Żurawiem, ul. Świętojańska 6
== pl gory | Szlaki i Schroniska | szlaki.example.com
S Pierwszy śnieg w Tatrach – co spakować
P Raczki, termos i zdrowy rozsądek
H Zima przyszła wcześniej
T Na szlakach powyżej tysiąca pięciuset metrów leży już śnieg. Sprawdź komunikat, zostaw wiadomość, dokąd idziesz, i zawróć, gdy trzeba.
* Raczki czy raki? | Na utwardzony szlak wystarczą raczki. Na grań idzie się w rakach i z czekanem albo wcale.
* Schronisko miesiąca | Szarlotka, piec kaflowy i kot, który zna wszystkich przewodników.
C Sprawdź warunki
A Szlaki i Schroniska, Zakopane
== cs pivovar | Pivovar U Tří štik | stiky.example.org
S Svatomartinské je naražené
P Příběh jednoho sudu a pozvánka na pátek
H Příliš žluté? Ne, tak akorát
T Milí přátelé, letošní speciál zrál devět týdnů a chutná po medu a trochu po kouři. Čepujeme od pátku, dokud neteče poslední.
* Jak se pozná dobrá pěna | Má držet tvar a vonět chlebem. Když zmizí dřív než vtip, je něco špatně.
* Exkurze do sklepa | Každou sobotu ve dvě, oblečte se teple, dole je osm stupňů.
$ Dárkový soudek 5 l | 389 Kč
$ Sklenice s erbem | 95 Kč
C Rezervovat stůl
A Pivovar U Tří štik, Říční 2
== hu piac | Őstermelői Piac | piac.example.net
S Libasült, birsalma és egy jó hír
P Szombaton hajnaltól délig várjuk Önöket
H Márton-napi vásár
T Kedves Vásárlóink! Megérkezett az újbor, sül a liba, és a tűzoltózenekar is eljön. Hozzanak kosarat, mert a szatyor elfogyott.
* Birsalmasajt házilag | Főzzük puhára, törjük át, és keverjük türelemmel, míg el nem válik az edény falától.
* Új termelőink | Öt család csatlakozott hozzánk: méz, sajt, gomba, savanyúság és fűszerpaprika.
$ Libazsír, üveges | 1 850 Ft
$ Akácméz, fél kiló | 2 400 Ft
C Nézze meg a kínálatot
A Őstermelői Piac, Fő tér
"""
TEXTS += """
== mk biblioteka | Градска библиотека „Ѓорѓи“ | biblioteka.example.org
S Ноќ на книгата: отворено до полноќ
P Читање, чај и џез во старата читална
H Една ноќ, илјада страници
T Почитувани читатели, во петокот библиотеката нема да се затвори во осум. Ќе читаме наглас, ќе слушаме џез и ќе пиеме чај од планинска мајчина душица.
* Ѕвезди над читалната | Астрономскиот клуб ќе постави телескоп на покривот. Ако е облачно, ќе раскажуваат приказни за соѕвездијата.
* Нови книги на македонски | Пристигнаа шеесет наслови, меѓу нив три романи за кои се чека од летото. Резервирајте навреме.
* Работилница за деца | Во сабота правиме џебни книги од стари весници. Ножиците ги даваме ние, идеите ги носите вие.
C Резервирај место
A Градска библиотека, ул. „Ѓорѓи Пулевски“ 4
== mk vinarija | Винарија Ќерамидница | vino.example.com
S Младото вино е готово
P Дегустација во сабота, автобус од плоштадот
H Од грозје до чаша за осум недели
T Драги пријатели, годинешната берба беше мала, но слатка. Првото вино веќе е во шишиња и мириса на цреши.
* Зошто вранец? | Сорта што сака сонце и не се плаши од ветар. Кај нас расте уште од времето на дедо ни.
* Патот на виното | Три винарии, едно попладне и возач што не пие. Тргнуваме во десет од плоштадот.
$ Вранец, 0,75 л | 420 ден.
$ Жолта ракија, 0,5 л | 690 ден.
$ Подарок пакет | 1.150 ден.
C Нарачај
A Винарија Ќерамидница, Кавадарци
== mk planina | Планинарско друштво Љуботен | planina.example.net
S Недела: на врвот, ако дозволи времето
P Поаѓаме во шест, се враќаме пред мрак
H Последното искачување за оваа година
T Здраво, планинари! Снегот веќе ја покри Шара, па ова е последна прилика без крампони. Понесете топла облека и термос.
* Опрема што заборавате | Батериска ламба, резервни чорапи и свирче. Тежат помалку од половина килограм, а вредат многу повеќе.
* Извештај од минатата недела | Четириесет и двајца учесници, едно изгубено куче и еден најден пријател.
C Пријави се за турата
A ПД Љуботен, Тетово
== mk teatar | Театар „Џинот“ | teatar.example.org
S Премиера: „Човекот што ја чуваше реката“
P Билетите се во продажба од денес
H Завесата се крева во осум
T Новата претстава зборува за последниот воденичар и за една река што одбива да пресуши. Музиката е во живо, а на сцената тече вистинска вода.
* Разговор со режисерката | Ѓурѓица Џамбазова објаснува зошто актерите три месеци учеле да молчат.
* Ученички попуст | Со ученичка книшка влезот е сто денари, секој вторник и среда.
$ Партер | 400 ден.
$ Балкон | 300 ден.
C Купи билет
A Театар „Џинот“, Велес
== mk zadruga | Задруга Љубојно | zadruga.example.com
S Ајвар, мед и орев: есенската понуда
P Рачно печено, без брзање
H Мириса на пиперки
T Почитувани, ајварот се печеше три дена на дрва и се мешаше со дрвена лажица. Имаме уште двесте тегли, а потоа дури следната есен.
* Како се лупи печена пиперка | Се покрива со крпа, се чека четврт час и кожата се симнува сама.
* Нашите пчели зимуваат | Кошниците ги преместивме подолу, каде што ветрот е помек. Медот од костен е најтемен досега.
$ Ајвар, 680 г | 260 ден.
$ Мед од костен | 480 ден.
$ Ореви, 1 кг | 350 ден.
C Купи од селото
A Задруга Љубојно, Преспа
== sr radio | Радио Ћошак | radio.example.net
S Од понедељка: нова јутарња емисија
P Вести, џез и разговори уз кафу
H Буђење у шест, али полако
T Драги слушаоци, јутарњи програм добија нове гласове. Ђорђе и Љиљана читају новине да не бисте морали ви.
* Шта слушамо ове недеље | Плоча на којој свира цела породица Њагуловић, снимљена у дневној соби.
* Ваше приче | Пошаљите нам причу о својој улици. Најлепше читамо суботом у девет.
C Слушајте уживо
A Радио Ћошак, Чачак
== bg chitalishte | Читалище „Съгласие“ | saglasie.example.org
S Курсове по народни танци за възрастни
P Започваме във вторник, обувките са без значение
H Хоро за начинаещи
T Скъпи приятели, пролетта е далеч, но краката искат да се движат. Записванията вървят, а първият урок е безплатен.
* Защо ръченицата е трудна | Защото сърцето брои до седем, а умът до осем. След третия урок се разбират.
* Изложба на носии | Двадесет и две носии от цялата околия, някои от които не са излизали от сандъка от сто години.
$ Абонамент за месец | 35 лв.
C Запишете се
A Читалище „Съгласие“, Габрово
== ru kniga | Книжный магазин «Ёлка» | elka.example.org
S Ночные чтения: приходите с фонариком
P В пятницу мы выключим свет и будем читать вслух
H Читаем в темноте
T Дорогие друзья! В эту пятницу магазин работает до полуночи. Свет погаснет в девять, и останутся только голоса, фонарики и чай с имбирём.
* Что будем читать | Рассказы о подъездах, дворах и снеге. Каждый не длиннее десяти минут, последний очень страшный.
* Новинки недели | Шесть книг, которые мы сами не смогли отложить. Одну из них прочли прямо на складе.
* Клуб юных сыщиков | Для детей от восьми лет: ищем пропавшую обложку. Съёмка разрешена, подсказки запрещены.
$ Сборник «Снег во дворе» | 540 ₽
$ Фонарик для чтения | 390 ₽
C Забронировать место
A «Ёлка», Большая Садовая, 3
== ru dacha | Журнал «Грядка» | gryadka.example.com
S Что ещё можно посеять под зиму
P Чеснок, морковь и немного смелости
H Грядка не спит
T Здравствуйте! Пока земля не промёрзла, работы хватает. Чеснок сажают за три недели до морозов, а морковь сухими семенами в мёрзлую землю.
* Укрывать ли розы | Укрывать, но не спешить: подпревают они чаще, чем вымерзают. Ждём устойчивых минус пяти.
* Погреб без плесени | Известь, серная шашка и две недели сквозняка. Потом можно нести картошку.
$ Чеснок «Комсомолец», 1 кг | 320 ₽
$ Спанбонд, 10 м | 450 ₽
C Календарь работ
A Редакция «Грядки», Тверь
== ru teatr | Театр на Фонарной | fonarnaya.example.net
S Замена спектакля 28 ноября
P Вместо «Чайки» играем «Вишнёвый сад», билеты действительны
H «Чайка» заболела
T Уважаемые зрители! Исполнительница главной роли простудилась, поэтому 28 ноября мы играем «Вишнёвый сад». Билеты действительны, обмен возможен до среды.
* Как обменять билет | В кассе с одиннадцати до восьми или на сайте, в два щелчка и без комиссии.
* Экскурсия за кулисы | Покажем машину ветра, суфлёрскую будку и кота Станиславского.
C Обменять билет
A Театр на Фонарной
== ru muzej | Музей железных дорог | parovoz.example.org
S Паровоз выходит на линию
P Рейс выходного дня, вагон с печкой и пирожки
H Последний рейс сезона
T В воскресенье наш старейший паровоз повезёт гостей до Лесной и обратно. В пути час сорок, в вагоне топится печь, проводница разливает чай.
* Как его чинили | Девять месяцев, двенадцать добровольцев и один котёл, который пришлось искать по всей стране.
* Детям | Можно бросить лопату угля и дать гудок. Перчатки выдаём, уши советуем закрыть.
$ Билет взрослый | 900 ₽
$ Билет детский | 450 ₽
C Купить билет
A Музей железных дорог, депо № 2
== uk pekarnya | Пекарня «Їжачок» | yizhachok.example.org
S Хліб на заквасці: печемо щосереди
P Новий графік і рецепт гарбузового пирога
H Пахне щойно спеченим
T Любі друзі! Відтепер житній хліб буде і в середу. Ґрунтуємося на старому рецепті: вода, борошно, сіль і дві доби терпіння.
* Гарбузовий пиріг | Запечіть гарбуз зі шкіркою, тоді він солодший. Дрібка мускату, жменя горіхів, і все.
* Майстер-клас для родин | Ліпимо жайворонків у неділю об одинадцятій. Фартухи маємо, настрій беріть свій.
$ Житній, 900 г | 62 грн
$ Пиріг, шматок | 48 грн
C Замовити
A «Їжачок», вул. Європейська, 9
== uk arhiv | Міський архів | arhiv.example.com
S Ваші світлини шукають імена
P Допоможіть упізнати людей на старих фотографіях
H Хто ці люди?
T Ми оцифрували вісімсот знімків із передмістя. На звороті рідко є підпис, тож просимо вашої допомоги: може, це ваша прабабуся.
* Альбом весільного фотографа | Сто сорок пар, чотири мости і жодного прізвища. Почніть звідси.
* Як зберігати плівки | Прохолодно, сухо і в папері. Поліетилен псує їх швидше за сонце.
C Переглянути світлини
A Міський архів, пл. Ринок, 1
== el elia | Ελαιώνας Καλλιρρόης | elia.example.org
S Το καινούργιο λάδι έφτασε
P Πρώιμη συγκομιδή, οξύτητα 0,3
H Πικρό, πράσινο, φρέσκο
T Αγαπητοί φίλοι, μαζέψαμε τις πρώτες ελιές πριν από τις βροχές. Το λάδι πικρίζει λίγο στον λαιμό, όπως πρέπει.
* Γιατί πικρίζει το καλό λάδι | Φταίνε οι πολυφαινόλες. Όσο πιο πράσινη η ελιά, τόσο πιο ζωηρή η γεύση.
* Επίσκεψη στο ελαιοτριβείο | Κάθε Σάββατο στις έντεκα. Φέρτε ψωμί, το λάδι είναι δικό μας.
* Συνταγή: λαδερά του Νοέμβρη | Πράσα με δαμάσκηνα, αργά στην κατσαρόλα, με ένα ποτήρι κρασί.
$ Δοχείο 5 λίτρων | 49,00 €
$ Φιάλη 500 ml | 8,50 €
C Παραγγείλετε
A Ελαιώνας Καλλιρρόης, Μεσσηνία
== el nisi | Ακτοπλοΐα Αιγαίου Πελάγους | ploia.example.com
S Απαγορευτικό: ποια δρομολόγια αλλάζουν
P Ισχυροί βοριάδες έως την Πέμπτη
H Εννέα μποφόρ στο Αιγαίο
T Λόγω των ανέμων τα πλοία της Τετάρτης δεν θα αναχωρήσουν. Τα εισιτήρια ισχύουν για οποιοδήποτε επόμενο ταξίδι.
* Πώς αλλάζω ημερομηνία | Στην ιστοσελίδα με τον κωδικό του εισιτηρίου, χωρίς χρέωση, ως τη Δευτέρα.
* Φάρμακα και τρόφιμα | Για επείγουσες αποστολές τηλεφωνήστε στο λιμεναρχείο του νησιού σας.
C Δείτε τα δρομολόγια
A Ακτοπλοΐα Αιγαίου Πελάγους, Πειραιάς
== tr cay | Çay Bahçesi Işıl | cay.example.org
S Güz hasadı: taze çay geldi
P Rize'den, elle toplanmış, gölgede kurutulmuş
H Demlik hazır mı?
T Sevgili dostlar, son hasat bu hafta bitti. Çay koyu, kokusu ılık, rengi tavşan kanı. İlk yüz siparişe ince belli bardak hediye.
* İyi demlemenin üç kuralı | Su kaynar kaynamaz dökülmez, çay kaşıkla ezilmez, demlik on beş dakikadan önce açılmaz.
* Üreticilerimizle tanışın | Gülşen Hanım otuz yıldır aynı yamaçta çalışıyor. Ona en zor ayı sorduk: «Mayıs, çünkü acele eder.»
$ Güz çayı, 500 g | 185 TL
$ İnce belli bardak, altılı | 240 TL
C Sipariş ver
A Çay Bahçesi Işıl, Rize
== tr sinema | Sokak Sineması | sinema.example.com
S Cumartesi gecesi: üç kısa film, bir söyleşi
P Giriş ücretsiz, battaniye sizden
H Duvara yansıyan hikâyeler
T Bu hafta perdemiz eski un fabrikasının duvarı. Yağmur yağarsa içeri giriyoruz, yağmazsa yıldızların altındayız.
* Bir vapur hikâyesi | Yönetmen, aynı iskeleyi bir yıl boyunca her sabah çekmiş. Sonuç: on iki dakikalık bir şiir.
* Genç kurguculara çağrı | Beş dakikalık filminizi gönderin, seçilenleri birlikte izleyelim.
C Yerini ayır
A Sokak Sineması, Eskişehir
== tr pazar | Köy Pazarı | pazar.example.net
S Tarhana, pekmez, ceviz: kış hazırlığı
P Çarşamba gününe kadar verilen siparişler cuma kapınızda
H Kiler dolsun
T Merhaba! Köyde güneş çekildi, kazanlar kaynadı. Bu ay listemizde on dört ürün var; hepsinin üreticisinin adı etiketinde yazıyor.
* Tarhana nasıl saklanır | Bez torbada, serin ve karanlık yerde. Cam kavanoz terletir.
* Yeni: Ağın leblebisi | Odun ateşinde iki kez kavruluyor, çıtırlığı oradan geliyor.
$ Ev tarhanası, 1 kg | 210 TL
$ Üzüm pekmezi | 175 TL
C Alışverişe başla
A Köy Pazarı Kooperatifi
== he sifria | הספרייה העירונית | sifria.example.org
S ערב שירה ביום חמישי בשמונה
P משוררים קוראים, והקהל מוזמן להקשיב
H מילים עם תה
T שלום לקוראות ולקוראים, השבוע אנחנו מזיזים את המדפים ומפנים מקום לכיסאות. חמישה משוררים יקראו משיריהם, והתה עלינו.
* ספרים חדשים על המדף | ארבעים כותרים הגיעו השבוע, ובהם רומן שחיכינו לו שנתיים.
* שעת סיפור לילדים | בכל יום שלישי בארבע וחצי. הבובות כבר מתאמנות.
* שעות הפתיחה בחג | הספרייה תיסגר ביום ראשון בצהריים ותיפתח שוב ביום שלישי.
C הזמינו מקום
A הספרייה העירונית, רחוב הדקל 5
== he ganan | משתלת הגליל | mashtela.example.com
S הגשם הגיע: מה שותלים עכשיו
P רקפות, חצבים ותבלינים לאדן החלון
H האדמה צמאה
T אחרי הגשם הראשון האדמה רכה והשורשים שמחים. זה הזמן לשתול פקעות ועצי פרי, ולהניח לטבע להשקות.
* איך מרווים עציץ יבש | טובלים אותו בדלי למשך עשר דקות, עד שהבועות נעלמות.
* סדנת קומפוסט | ביום שישי בעשר בבוקר, חינם, עם כפפות.
$ רקפת באדנית | 29 ₪
$ עץ לימון צעיר | 120 ₪
C למבצעי החורף
A משתלת הגליל, כרמיאל
== ar maktaba | مكتبة الحي القديم | maktaba.example.org
S كتب الشتاء وصلت
P خمسون عنوانًا جديدًا وأمسية مع الحكواتي
H شتاءٌ دافئ بين الصفحات
T أصدقاءنا الأعزاء، وصلت هذا الأسبوع دفعة جديدة من الكتب، بعضها طال انتظاره. تعالوا نقرأ معًا ونشرب الشاي بالنعناع.
* الحكواتي يعود | مساء الخميس في السابعة يحكي لنا أبو سليم قصة البحّار الذي نسي اسمه.
* كتاب الشهر | رواية عن بيت في حلب وأربعة إخوة ومفتاح لا يفتح بابًا.
* ورشة الخط العربي | ستة دروس للمبتدئين، والحبر والقصب علينا.
$ رواية المفتاح | ٤٥ درهمًا
$ دفتر بغلاف جلدي | ٦٠ درهمًا
C احجز مقعدك
A مكتبة الحي القديم، شارع النخيل
== ar tamr | مزارع الواحة | waha.example.com
S موسم التمور: المجهول والخلاص
P شحن مجاني حتى نهاية الأسبوع
H من النخلة إلى مائدتكم
T انتهى القطاف قبل أيام، والتمر هذا العام كبير الحبة قليل الرطوبة. نرسله إليكم في علب من سعف النخيل.
* كيف يُحفظ التمر؟ | في مكان بارد وجاف، بعيدًا عن الشمس. وفي الثلاجة يبقى لينًا عامًا كاملًا.
* زيارة المزرعة | كل يوم جمعة بعد العصر، والقهوة جاهزة دائمًا.
$ مجهول فاخر، كيلو | ٨٥ ريالًا
$ خلاص، كيلو | ٤٠ ريالًا
$ دبس التمر | ٢٥ ريالًا
C اطلب الآن
A مزارع الواحة، الأحساء
== ar safar | رحلات الأندلس | rihla.example.net
S سبعة أيام بين قرطبة وغرناطة
P المقاعد محدودة والحجز يغلق يوم الأحد
H على خطى ابن بطوطة
T نسافر في الربيع مع مرشد يعرف كل حجر. نمشي قليلًا ونتوقف كثيرًا، ونأكل حيث يأكل أهل المدينة.
* ماذا تضع في حقيبتك | حذاء مريح ومعطف خفيف وكتاب واحد. الباقي تجده هناك.
* أسئلة شائعة عن التأشيرة | تستغرق ثلاثة أسابيع تقريبًا، ونحن نساعدكم في الأوراق.
C تفاصيل الرحلة
A رحلات الأندلس، الرباط
== ar akhbar | نشرة المدينة | madina.example.org
S أعمال الطرق هذا الأسبوع
P تحويلات السير ومواعيد الحافلات
H وسط المدينة مغلق ليلًا
T تُجرى أعمال صيانة في شارع الملك بين العاشرة مساءً والخامسة صباحًا حتى يوم الأربعاء.
* الطرق البديلة | يُنصح باستعمال الجسر الشمالي، وقد زيد عدد الإشارات فيه.
* الحافلات | يتحوّل مسار الخطين ٧ و١٢، والتذاكر المعتادة صالحة.
C خريطة التحويلات
A بلدية المدينة
== fa chai | چای‌خانهٔ نارنج | narenj.example.org
S عطر بهارنارنج در آبان
P دمنوش‌های تازه و یک داستان کوتاه
H یک استکان آرامش
T دوستان عزیز، پاییز رسیده و سماور می‌جوشد. این هفته سه دمنوش تازه داریم که برگ‌هایشان را خودمان خشک کرده‌ایم.
* چگونه چای را دم کنیم | آب را پیش از جوش بردارید، پنج دقیقه صبر کنید و در قوری را باز نکنید.
* شب شعر پنجشنبه | از ساعت هفت، با تار و حافظ. ورود برای همه آزاد است.
$ بهارنارنج، ۱۰۰ گرم | ۱۸۰٬۰۰۰ تومان
C سفارش دهید
A چای‌خانهٔ نارنج، شیراز
== hi mela | हस्तशिल्प मेला | mela.example.org
S सर्दियों का मेला इस शनिवार से
P सौ कारीगर, दस राज्य और गरम जलेबी
H हाथ का हुनर, मन की बात
T प्रिय मित्रो, इस बार मेले में कच्छ की कढ़ाई, बस्तर का लोहा और मधुबनी के रंग एक साथ मिलेंगे। प्रवेश निःशुल्क है।
* कारीगर से मिलिए | रुक्मिणी देवी चालीस साल से पश्मीना बुनती हैं। वे बताती हैं कि असली शॉल कैसे पहचानें।
* बच्चों की कार्यशाला | मिट्टी के खिलौने बनाना सीखें, हर रविवार सुबह ग्यारह बजे।
* कैसे पहुँचें | मेट्रो से उतरकर पाँच मिनट पैदल। पार्किंग कम है, कृपया साझा सवारी लें।
$ ऊनी शॉल | ₹ 1,850
$ मिट्टी का दीया, बारह | ₹ 240
C टिकट पाएँ
A हस्तशिल्प मेला, रामलीला मैदान
== hi rasoi | रसोई की चिट्ठी | rasoi.example.com
S सरसों का साग, मक्के की रोटी
P सर्दी की तीन आसान रेसिपी
H धीमी आँच पर
T नमस्ते! ठंड आ गई है और बाज़ार हरे पत्तों से भर गया है। आज हम साग को वैसे पकाएँगे जैसे दादी पकाती थीं, दो घंटे तक।
* साग में कड़वाहट क्यों आती है | क्योंकि सरसों अकेली पड़ जाती है। थोड़ा पालक और बथुआ मिलाइए, फिर देखिए।
* गुड़ खरीदते समय | गहरा रंग अच्छा है, चमक नहीं। सूँघकर देखिए, गन्ने की महक आनी चाहिए।
C पूरी विधि देखें
A रसोई की चिट्ठी, अमृतसर
== th talad | ตลาดริมน้ำ | talad.example.org
S ส้มโอหวานมาแล้ว พร้อมของฝากปลายปี
P สั่งวันนี้ ส่งถึงบ้านวันศุกร์
H ของดีจากสวนริมคลอง
T สวัสดีค่ะ สัปดาห์นี้ชาวสวนตัดส้มโอรุ่นแรกของปี เนื้อแน่น หวานอมเปรี้ยว เราคัดมาให้เฉพาะลูกที่หนักมือ
* วิธีเลือกส้มโอ | เลือกลูกที่หนัก ผิวเรียบ ขั้วยังเขียว แล้วทิ้งไว้ให้ลืมต้นสักสามวัน
* เที่ยวตลาดวันอาทิตย์ | เรือออกทุกครึ่งชั่วโมง มีก๋วยเตี๋ยวเรือ ขนมครก และดนตรีไทย
$ ส้มโอ สองลูก | 180 บาท
$ กล้วยตากอบน้ำผึ้ง | 95 บาท
C สั่งซื้อ
A ตลาดริมน้ำ นครปฐม
== th nangsue | ร้านหนังสือตรอกเล็ก | trok.example.com
S หนังสือน่าอ่านหน้าหนาว
P ห้าเล่มที่เจ้าของร้านนอนดึกเพราะมัน
H อ่านเล่มไหนดี
T อากาศเริ่มเย็นแล้ว เราจัดมุมอ่านหนังสือไว้ใต้ต้นลีลาวดี มีกาแฟ มีแมวสองตัว และมีเวลาให้ทั้งบ่าย
* บ้านบนเขา | นิยายเกี่ยวกับพี่น้องที่แบ่งบ้านกันด้วยเส้นชอล์ก อ่านจบแล้วอยากโทรหาพี่
* พบนักเขียน | วันเสาร์บ่ายสองโมง ไม่ต้องจองล่วงหน้า มาก่อนได้นั่งก่อน
C ดูรายการทั้งหมด
A ร้านหนังสือตรอกเล็ก เชียงใหม่
== vi ca-phe | Cà phê Góc Phố | gocpho.example.org
S Mùa cà phê mới từ Lâm Đồng
P Rang mộc, giao trong ngày
H Hạt mới, chuyện cũ
T Chào bạn, lứa cà phê đầu mùa đã về đến kho. Hạt nhỏ nhưng thơm, hậu vị ngọt như mía. Chúng tôi rang mỗi sáng thứ Ba và thứ Sáu.
* Pha phin cho đúng | Nước chín mươi hai độ, nén nhẹ tay, và đừng vội. Giọt đầu tiên phải đợi đủ hai phút.
* Gặp người trồng cà phê | Ông Ẩn giữ vườn này từ năm 1987. Ông bảo cây cũng cần được hỏi thăm.
$ Cà phê hạt, 500 g | 165.000 ₫
$ Phin nhôm | 45.000 ₫
C Đặt hàng
A Cà phê Góc Phố, Đà Lạt
== vi sach | Tủ sách Chị Na | china.example.net
S Sách cho bé: đọc trước giờ ngủ
P Mười cuốn mỏng, dày tiếng cười
H Đọc thêm một trang nữa thôi!
T Các bố mẹ thân mến, tháng này chúng tôi chọn những cuốn sách có thể đọc xong trước khi con ngủ, hoặc trước khi bố ngủ.
* Con mèo không chịu ướt | Truyện tranh về một trận mưa và một chiếc ô quá nhỏ.
* Giờ kể chuyện Chủ nhật | Chín giờ sáng, có bánh quy, có cả đàn ghi-ta.
C Xem tủ sách
A Tủ sách Chị Na, Hà Nội
"""
TEXTS += """
== zh shudian | 小书店 | shudian.example.org
S 十一月新书：六本适合冬天的书
P 周五晚上七点，作者来店里聊天
H 天冷了，读书吧
T 各位读者，北风已经到了，店里的暖气也开了。这个月我们选了六本书，有厚的，有薄的，也有适合在被窝里看的。
* 河边的旧房子 | 三代人，一场大水，一架谁也不肯弹的钢琴。读到一半我们就忘了关店。
* 和译者聊天 | 一个没有对应词的词怎么翻译？周五晚上，她会带来五种译法。
* 旧书换新书 | 带三本旧书来，换一本新书走。书里请不要夹现金，去年夹了两次。
$ 河边的旧房子 | ¥ 58.00
$ 冬天的厨房 | ¥ 42.00
C 预约座位
A 小书店，槐树街十二号
== zh chaye | 云上茶园 | chayuan.example.com
S 秋茶上市，前一百名送茶杯
P 海拔一千二百米，手工采摘
H 一杯秋天
T 亲爱的茶友，今年秋天雨少，茶叶长得慢，香气反而更足。我们只留下了最嫩的两片叶子。
* 泡茶的水温 | 绿茶八十度，乌龙九十五度。没有温度计也不要紧，看水里的气泡就知道。
* 茶农的一天 | 老陈四点半起床，五点上山。他说，露水干了就晚了。
$ 秋白毫，100 克 | ¥ 128.00
$ 粗陶茶杯 | ¥ 36.00
$ 试饮装 | ¥ 19.90
C 立即购买
A 云上茶园，福建武夷山
== zh bowuguan | 城市博物馆 | bowuguan.example.net
S 新展览：一百年前的明信片
P 免费开放，请提前预约
H 寄给未来的信
T 本馆收藏的四百张明信片首次展出。有人报平安，有人讨债，也有人只写了一个字。
* 寻找收信人 | 如果您认识照片上的人，请告诉我们。已经有七个家庭找到了自己的祖父母。
* 亲子活动 | 周六上午十点，一起写一张寄给明年自己的明信片。
C 预约参观
A 城市博物馆，人民路一号
== zh ruanjian | 拾光软件 | shiguang.example.org
S 版本 3.8 更新说明
P 同步更快，耗电更少，还修了四十二个问题
H 更新内容
T 您好，新版本已经发布。启动时间缩短了一半，离线编辑终于可用，深色模式不再刺眼。
* 如何升级 | 打开设置，点击“检查更新”。数据会自动备份，整个过程不到一分钟。
* 即将停止支持的系统 | 明年三月起，旧系统将不再收到更新。请尽早安排。
C 下载新版本
A 拾光软件有限公司
== zh lvxing | 慢游旅行 | manyou.example.com
S 坐绿皮火车去看雪
P 四天三晚，硬卧，带一本书
H 慢一点，再慢一点
T 高铁三小时，绿皮车二十六小时。我们选择后者，因为窗外有雪，车厢里有故事，餐车里有热汤面。
* 行李清单 | 拖鞋、保温杯、充电宝、扑克牌。别带太多，上铺没有地方放。
* 旅伴招募 | 还剩六个铺位。请简单介绍自己，并告诉我们您打不打呼噜。
$ 四天三晚 | ¥ 1,680
C 报名
A 慢游旅行，哈尔滨
== tw caishi | 阿嬤的菜市場 | caishi.example.org
S 本週到貨：柿餅、紫蘇與新米
P 週三前下單，週五送到家
H 秋天的味道
T 親愛的朋友，新竹的風把柿子吹成了柿餅，池上的新米也碾好了。數量不多，先訂先得。
* 柿餅怎麼保存 | 放進冷凍庫可以吃到明年。上面那層白霜不是發霉，是糖。
* 認識我們的農友 | 林媽媽種紫蘇二十年，她說蟲先吃，人再吃，剩下的才拿來賣。
* 料理教室 | 週六下午兩點，一起做麻油雞飯。請自備圍裙和好胃口。
$ 柿餅一盒 | NT$ 350
$ 池上新米，兩公斤 | NT$ 260
C 馬上訂購
A 阿嬤的菜市場，臺北市
== tw juchang | 巷口小劇場 | juchang.example.com
S 年末公演《許願池》開始售票
P 早鳥票八折，只到星期日
H 許一個願
T 一個成功的商人每天往許願池裡丟一枚硬幣，卻從來不許願。這齣戲有四位演員、一桶水和很多沉默。
* 導演的話 | 排練三個月，我們刪掉了一半的台詞，觀眾反而聽得更清楚。
* 交通與停車 | 捷運二號出口，步行四分鐘。劇場沒有停車場，但有腳踏車架。
$ 早鳥票 | NT$ 480
$ 一般票 | NT$ 600
C 立即購票
A 巷口小劇場
== tw tushu | 獨立書房 | dushu.example.net
S 讀書會：一起讀完那本很厚的書
P 十二週，每週五十頁，不會的人互相幫忙
H 厚書俱樂部
T 那本書在您的書架上站了幾年？我們陪您讀完它。每週三晚上七點半，有茶、有餅乾、有爭論。
* 第一週讀什麼 | 只讀前五十頁，而且允許跳過戰爭場面，之後再回來。
* 線上參加 | 住得遠也沒關係，鏡頭可以不開，麥克風請先關上。
C 我要報名
A 獨立書房，臺南市
== ja honya | 本屋みちくさ | michikusa.example.org
S 十一月の新刊と、夜ふかしの会
P 金曜の夜は十一時まで開けています
H 夜の本屋へようこそ
T いつもご利用ありがとうございます。日が短くなりましたので、今月は金曜日だけ夜遅くまで店を開けます。温かいお茶を用意してお待ちしています。
* 川のそばの家 | 三世代の家族と、誰も弾こうとしないピアノの物語。静かに始まり、最後まで目が離せません。
* 翻訳者を囲む会 | 言葉にできない言葉をどう訳すのか。五つの案を持ってきてくださるそうです。
* 古本市のお知らせ | 来週の土曜日、店の前の小道で開きます。雨の場合は中止です。
$ 川のそばの家 | 1,980円
$ 文庫カバー 藍 | 880円
C 席を予約する
A 本屋みちくさ 京都市左京区
== ja onsen | 湯の里だより | yunosato.example.com
S 紅葉が見ごろです
P 平日限定の日帰りプランができました
H 山が赤くなりました
T 先週の冷え込みで、谷の紅葉が一気に進みました。露天風呂から眺める朝の霧は、この時期だけのものです。
* 見ごろはいつまで | 例年ですと月末まで。風の強い日が続くと早まりますので、お早めにどうぞ。
* 送迎バスの時刻 | 駅前を十時と十四時に出発します。ご予約の際にお申し込みください。
$ 日帰り 昼食付 | 6,500円
$ 一泊二食付 | 18,700円
C 空室を見る
A 湯の里旅館組合
== ja yasai | やまと農園 | yamato.example.net
S 今週の野菜セット：大根、里芋、春菊
P 木曜日までのご注文は土曜日にお届けします
H 霜が降りて、甘くなりました
T 冬の野菜は寒さに当たると甘くなります。今週は大根が主役です。葉もついたままお送りしますので、ぜひ炒めて召し上がってください。
* 大根を使い切る | 上は生で、中は煮て、先は漬物に。皮はきんぴらになります。
* 畑の日記 | 猪が里芋の畑に来ました。表の柵を直し、能力の高い犬を一匹雇う予定です。
$ 野菜セット 小 | 1,800円
$ 野菜セット 大 | 2,900円
$ 手作り味噌 | 950円
C 注文する
A やまと農園 奈良県
== ja gakki | 音の工房 | otonokobo.example.org
S ギター弦交換の無料講習会
P 十二月五日、店内にて。先着八名様
H 弦を替えると音が変わる
T 最後に弦を替えたのはいつですか。講習会では、工房の職人が巻き方から丁寧にご説明します。道具はお貸しします。
* 湿度と楽器 | 冬は乾燥に注意が必要です。ケースの中に湿度計を入れておくと安心です。
* 中古品の新着 | 七十年代のソプラノウクレレが入りました。傷はありますが、よく鳴ります。
C 講習会に申し込む
A 音の工房 浜松市
== ja tetsudo | 鉄道の旅 | tetsudo.example.com
S 冬のローカル線、全線時刻表つき
P ストーブ列車、雪見列車、そして駅弁
H 雪を見に行く
T 十二月からストーブ列車が走ります。石炭の匂いと、するめを焼く匂いと、窓の外の白い畑。急がない方におすすめします。
* おすすめの三路線 | どれも一両編成です。座席は進行方向左側が海側になります。
* 駅弁の話 | 鱈の駅弁は一日三十個だけ。売り切れたら、隣の駅まで行くほかありません。
C 時刻表を見る
A 鉄道の旅編集部
== ko chaekbang | 골목책방 | chaekbang.example.org
S 11월의 책 다섯 권
P 금요일 저녁, 작가와 함께 읽습니다
H 책 읽기 좋은 밤
T 독자 여러분 안녕하세요. 날이 추워져서 책방에 난로를 들였습니다. 고양이가 먼저 자리를 잡았지만, 의자는 아직 남아 있습니다.
* 강가의 집 | 삼대에 걸친 가족과 아무도 치지 않는 피아노 이야기입니다. 조용히 시작해서 밤을 새우게 합니다.
* 번역가와의 대화 | 옮길 수 없는 말을 어떻게 옮길까요? 목요일 저녁 일곱 시에 함께 이야기합니다.
* 헌책 나눔 | 다 읽은 책 세 권을 가져오시면 새 책 한 권을 드립니다.
$ 강가의 집 | 16,800원
$ 독서 노트 | 7,500원
C 자리 예약하기
A 골목책방, 전주시
== ko gimjang | 햇살농장 | haessal.example.com
S 김장 배추 예약을 받습니다
P 절임 배추는 11월 28일에 발송합니다
H 올해 배추가 답니다
T 서리를 두 번 맞은 배추라 속이 꽉 차고 답니다. 소금은 삼 년 묵은 천일염만 씁니다.
* 김장 잘하는 법 | 무는 굵게 썰고, 젓갈은 아끼고, 사람은 많이 부르세요.
* 농장 소식 | 강아지가 네 마리 태어났습니다. 이름을 지어 주세요.
$ 절임 배추 20 kg | 42,000원
$ 고춧가루 1 kg | 33,000원
C 예약하기
A 햇살농장, 해남군
== ko yeonghwa | 작은영화관 | yeonghwa.example.net
S 이번 주 상영작과 감독과의 만남
P 조조 상영은 오천 원입니다
H 불이 꺼지면 시작됩니다
T 좌석은 서른아홉 개뿐이지만 화면은 큽니다. 이번 주에는 섬마을 학교의 마지막 한 해를 기록한 영화를 준비했습니다.
* 마지막 수업 | 학생 두 명, 선생님 한 명, 그리고 배를 기다리는 긴 오후.
* 토요일 감독과의 만남 | 상영이 끝난 뒤 삼십 분 동안 이야기를 나눕니다.
C 예매하기
A 작은영화관, 강릉시
== id kopi | Kedai Kopi Pagi | kedai.example.org
S Panen raya: kopi Gayo sudah tiba
P Disangrai tiap Selasa, dikirim hari itu juga
H Secangkir dari dataran tinggi
T Halo, kawan kopi! Panen tahun ini terlambat dua minggu, tetapi rasanya lebih manis. Kami membelinya langsung dari empat belas keluarga petani.
* Cara menyeduh tanpa alat | Gelas, sendok, air panas, dan sabar empat menit. Ampasnya akan turun sendiri.
* Cerita dari kebun | Pak Ridwan menanam pohon pelindung sejak 2003. Sekarang burung-burung kembali.
$ Gayo, 250 g | Rp 85.000
$ Saringan kain | Rp 30.000
C Pesan sekarang
A Kedai Kopi Pagi, Takengon
"""


class Letter:
	"""One newsletter's words."""

	def __init__(self, lines):
		self.lang, rest = lines[0].split(" ", 1)
		self.name, self.brand, self.host = (s.strip() for s in rest.split("|"))
		self.items, self.goods = [], []
		for line in lines[1:]:
			kind, text = line[0], line[2:]
			if kind in "*$":
				(self.items if kind == "*" else self.goods).append(tuple(s.strip() for s in text.split("|")))
			else:
				setattr(self, {"S": "subject", "P": "pre", "H": "head", "T": "text", "C": "cta", "A": "address"}[kind], text)
		self.more, self.web, self.leave, self.prefs, self.why, self.privacy, self.follow = AROUND[self.lang]
		self.number = int(hashlib.sha256(self.name.encode()).hexdigest()[:6], 16)
		self.dir = ' dir="rtl"' if self.lang in RIGHT_TO_LEFT else ""
		self.code = {"zh": "zh-Hans", "tw": "zh-Hant", "sr": "sr-Cyrl"}.get(self.lang, self.lang)
		self.side = "right" if self.dir else "left"


def letters():
	return [Letter(block.strip().split("\n")) for block in TEXTS.split("\n== ")[1:]]


def esc(text):
	return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")


def slug(text, raw=False):
	"""The last part of a path, as content systems make it of a title."""
	words = re.sub(r"[^\w\s-]", "", text.lower().replace("’", ""))
	latin = unicodedata.normalize("NFKD", words).encode("ascii", "ignore").decode()
	if len(latin.replace(" ", "")) * 2 > len(words.replace(" ", "")):
		words = latin
	words = "-".join(words.split())[:28].strip("-")
	return words if raw else urllib.parse.quote(words)


NATIVE_HOST = {"mk": "весник", "ru": "книги", "el": "νέα", "ar": "كتب", "he": "ספרים", "zh": "书店", "tw": "書店", "ja": "本屋", "ko": "책방", "th": "ร้าน",
	"hi": "मेला", "de": "bücher", "fr": "théâtre", "tr": "çay", "uk": "їжа", "vi": "sách", "bg": "танци", "fa": "چای"}


class Links:
	"""Makes the links of one newsletter and counts them.  style: how this sender's system writes URLs; amp: how its templates write "&"."""

	def __init__(self, letter, style, amp="&amp;"):
		self.letter, self.style, self.amp = letter, style, amp
		self.seen, self.places = set(), 0

	def again(self, url):
		"""One more place with this URL."""
		self.seen.add(url)
		self.places += 1
		return url.replace("&", self.amp)

	def __call__(self, path, place):
		n = self.letter
		host, raw = n.host, self.style == "raw"
		key = hashlib.sha256((n.name + path).encode()).hexdigest()
		words = "/".join(slug(p, raw) for p in path.split("/"))
		if raw:
			host = NATIVE_HOST.get(n.lang, "www") + "." + host
		if self.style == "click":
			url = "https://click.%s/f/a/%s~~/%s~/%s?cid=%d&mid=%s&to=%s" % (host, base64.urlsafe_b64encode(bytes.fromhex(key[:32])).decode().rstrip("="), key[32:44], place, n.number,
				key[44:54], urllib.parse.quote("https://www.%s/%s" % (n.host, urllib.parse.unquote(words)), safe=""))
		elif self.style == "shop":
			url = "https://shop.%s/%s/%s-%d.html?ref=nl&pos=%s#details" % (host, n.lang, words, int(key[:4], 16), place)
		elif self.style == "php":
			url = "http://%s/index.php?id=%d&L=1&cHash=%s&tx_news[item]=%d&pk_campaign=%s" % (host, n.number % 900, key[:32], int(key[:3], 16), n.name)
		else:
			url = "https://%s%s/%s?utm_source=newsletter&utm_medium=email&utm_campaign=%s-2026-11&utm_content=%s" % ("" if raw else "www.", host, words, n.name, place)
		return self.again(url)

	def leave(self):
		"""Where List-Unsubscribe leads as well: it stays."""
		return self.letter.unsubscribe.replace("&", self.amp)


def vml(n, k, path, place, text, colour="#2d6a4f"):
	"""A button as Outlook wants it, and as all others do."""
	href = k(path, place)
	k.again(href.replace(k.amp, "&"))
	return """<div align="center"><!--[if mso]><v:roundrect xmlns:v="urn:schemas-microsoft-com:vml" xmlns:w="urn:schemas-microsoft-com:office:word" href="{u}" style="height:42px;v-text-anchor:middle;width:210px;" arcsize="10%" stroke="f" fillcolor="{c}"><w:anchorlock/><center style="color:#ffffff;font-family:sans-serif;font-size:16px;"><![endif]-->
<!--[if !mso]><!--><a href="{u}" target="_blank" style="text-decoration:none;display:inline-block;color:#ffffff;background-color:{c};border-radius:4px;padding:10px 24px;mso-border-alt:none"><span style="font-size:16px">{t}</span></a><!--<![endif]-->
<!--[if mso]></center></v:roundrect><![endif]--></div>""".format(u=href, c=colour, t=esc(text))


def social(n, k, names=("mastodon", "video", "photo"), size=32):
	return "".join('<a href="%s" title="%s"><img src="https://img.%s/icons/%s@2x.png" width="%d" height="%d" alt="%s" style="border:0"></a>&nbsp;' % (
		k.again("https://%s.example.net/@%s%s" % (name, n.host.split(".")[0], "?lang=" + n.lang if name == "video" else "")), name, n.host, name, size, size, name.capitalize()) for name in names)


# Templates of many kinds of programs.  Each takes the words and the links, and gives a page.

def blocks(n, k):
	"""XHTML, tables in tables, a block for each thing: the large self-service platforms."""
	items = "".join("""<table border="0" cellpadding="0" cellspacing="0" width="100%%" class="TextBlock" style="min-width:100%%;border-collapse:collapse;">
<tbody class="TextBlockOuter"><tr><td valign="top" class="TextBlockInner" style="padding-top:9px;mso-line-height-rule:exactly;">
<h3 style="text-align:%s;"><a href="%s" target="_blank" style="color:#222222;">%s</a></h3>
%s&nbsp;<a href="%s" target="_blank">%s&nbsp;&raquo;</a>
</td></tr></tbody></table>
<table class="DividerBlock" width="100%%"><tr><td style="border-top:2px solid #EAEAEA;"><span></span></td></tr></table>
""" % (n.side, k(title, "title%d" % i), esc(title), esc(text), k(title, "more%d" % i), n.more) for i, (title, text) in enumerate(n.items))
	return """<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:v="urn:schemas-microsoft-com:vml" xmlns:o="urn:schemas-microsoft-com:office:office" xml:lang="%s"%s>
<head>
<!--[if gte mso 15]><xml><o:OfficeDocumentSettings><o:AllowPNG/><o:PixelsPerInch>96</o:PixelsPerInch></o:OfficeDocumentSettings></xml><![endif]-->
<meta http-equiv="Content-Type" content="text/html; charset=%s" />
<title>%s</title>
<style type="text/css">
	p { margin:10px 0; padding:0; } table { border-collapse:collapse; }
	#outlook a { padding:0; } .ReadMsgBody { width:100%%; }
	@media only screen and (max-width: 480px) { .columnWrapper { max-width:100%% !important; width:100%% !important; } }
</style></head>
<body>
<!--*|IF:PREVIEW|*--><span class="mcnPreviewText" style="display:none; font-size:0px; max-height:0px; overflow:hidden; mso-hide:all;">%s</span><!--*|END:IF|*-->
<center><table align="center" border="0" cellpadding="0" cellspacing="0" height="100%%" width="100%%" id="bodyTable"><tr><td align="center" valign="top">
<table border="0" cellpadding="0" cellspacing="0" width="600" class="templateContainer">
<tr><td id="templatePreheader" align="%s"><a href="%s" target="_blank">%s</a></td></tr>
<tr><td id="templateHeader"><a href="%s"><img alt="%s" src="https://img.%s/header.png" width="564" style="max-width:1128px;" class="Image" /></a></td></tr>
<tr><td id="templateBody"><h1>%s</h1><p>%s</p>
%s</td></tr>
<tr><td class="ButtonBlock" align="center"><table style="border-radius:3px;background-color:#2BAADF;"><tr><td class="ButtonContent" style="padding:15px;"><a class="Button " title="%s" href="%s" target="_blank" style="font-weight:bold;color:#FFFFFF;">%s</a></td></tr></table></td></tr>
<tr><td id="templateFooter">%s<br /><em>&copy; 2026 %s</em><br />%s<br />%s<br />
<a href="%s">%s</a> | <a href="%s">%s</a></td></tr>
</table></td></tr></table></center>
</body>
</html>
""" % (n.code, n.dir, n.charset, esc(n.subject), esc(n.pre), n.side, k("archive/" + n.name, "browser"), n.web, k("", "logo"), esc(n.brand), n.host, esc(n.head), esc(n.text), items,
		esc(n.cta), k(n.cta, "button"), esc(n.cta), social(n, k), esc(n.brand), esc(n.why), esc(n.address), k("preferences", "footer"), n.prefs, k.leave(), n.leave)


def compiled(n, k):
	"""Sections of div with ghost tables for Outlook: what template compilers write."""
	def section(inner, colour="#ffffff"):
		return ('<!--[if mso | IE]><table align="center" border="0" cellpadding="0" cellspacing="0" class="" role="presentation" style="width:600px;" width="600" bgcolor="%s" ><tr><td style="line-height:0px;font-size:0px;mso-line-height-rule:exactly;"><![endif]-->\n'
			'<div style="background:%s;margin:0px auto;max-width:600px;"><table align="center" border="0" cellpadding="0" cellspacing="0" role="presentation" style="width:100%%;"><tbody><tr><td style="direction:%s;padding:20px 0;text-align:center;">\n'
			'<!--[if mso | IE]><table role="presentation" border="0" cellpadding="0" cellspacing="0"><tr><td class="" style="vertical-align:top;width:600px;" ><![endif]-->\n'
			'<div class="mj-column-per-100 mj-outlook-group-fix" style="font-size:0px;text-align:%s;display:inline-block;width:100%%;">%s</div>\n'
			'<!--[if mso | IE]></td></tr></table><![endif]-->\n</td></tr></tbody></table></div>\n<!--[if mso | IE]></td></tr></table><![endif]-->\n' % (colour, colour, "rtl" if n.dir else "ltr", n.side, inner))

	def text(inner, size=14):
		return '<div style="font-family:Ubuntu, Helvetica, Arial, sans-serif;font-size:%dpx;line-height:1.5;color:#000000;">%s</div>' % (size, inner)

	def button(path, place, label):
		return ('<table border="0" role="presentation" style="border-collapse:separate;line-height:100%%;"><tr><td align="center" bgcolor="#414141" role="presentation" style="border:none;border-radius:3px;cursor:auto;mso-padding-alt:10px 25px;" valign="middle">'
			'<a href="%s" style="display:inline-block;background:#414141;color:#ffffff;padding:10px 25px;mso-padding-alt:0px;border-radius:3px;" target="_blank"> %s </a></td></tr></table>' % (k(path, place), esc(label)))
	body = section(text('<a href="%s" class="link-nostyle" style="color:#888">%s</a>' % (k("web", "top"), n.web), 11), "#f4f4f4")
	body += section('<a href="%s" target="_blank"><img alt="%s" height="auto" src="https://img.%s/hero.jpg" style="border:0;display:block;width:100%%;" width="600" /></a>' % (k("", "hero"), esc(n.head), n.host) + text("<h1>%s</h1>%s" % (esc(n.head), esc(n.text))))
	for i, (title, words) in enumerate(n.items):
		body += section(text("<h2>%s</h2><p>%s</p>" % (esc(title), esc(words))) + button(title, "mj%d" % i, n.more))
	for i, (title, price) in enumerate(n.goods):
		body += section(text('<a href="%s">%s</a>: <b>%s</b>' % (k("shop/" + title, "goods%d" % i), esc(title), esc(price))))
	body += section(text('%s<br/>%s · <a href="%s">%s</a> · <a href="%s">%s</a> · <a href="mailto:hello@%s?subject=%s">hello@%s</a>' % (
		esc(n.why), esc(n.address), k.leave(), n.leave, k("privacy", "footer"), n.privacy, n.host, urllib.parse.quote(n.subject), n.host), 11), "#f4f4f4")
	return """<!doctype html><html lang="%s" dir="%s" xmlns="http://www.w3.org/1999/xhtml" xmlns:v="urn:schemas-microsoft-com:vml" xmlns:o="urn:schemas-microsoft-com:office:office"><head><title>%s</title><!--[if !mso]><!--><meta http-equiv="X-UA-Compatible" content="IE=edge"><!--<![endif]--><meta name="viewport" content="width=device-width,initial-scale=1"><style type="text/css">#outlook a { padding:0; }
      body { margin:0;padding:0;-webkit-text-size-adjust:100%%; }
      p { display:block;margin:13px 0; }</style><!--[if mso]>
    <noscript><xml><o:OfficeDocumentSettings><o:AllowPNG/><o:PixelsPerInch>96</o:PixelsPerInch></o:OfficeDocumentSettings></xml></noscript>
    <![endif]--><!--[if lte mso 11]><style type="text/css">.mj-outlook-group-fix { width:100%% !important; }</style><![endif]--></head><body style="word-spacing:normal;background-color:#f4f4f4;"><div style="display:none;font-size:1px;color:#ffffff;line-height:1px;max-height:0px;opacity:0;overflow:hidden;">%s</div><div>
%s</div></body></html>
""" % (n.code, "rtl" if n.dir else "auto", esc(n.subject), esc(n.pre), body)


def capitals(n, k):
	"""Written by hand long ago, and never changed since: capitals, FONT, no quotes where none are needed."""
	rows = "".join('<TR><TD WIDTH=20%% BGCOLOR=#EEEEEE ALIGN=CENTER><IMG SRC=http://img.%s/%d.gif WIDTH=80 HEIGHT=80 BORDER=0 ALT="">\n<TD><FONT FACE="Verdana, Arial" SIZE=2><B>%s</B><BR>\n%s <A HREF=%s\nTARGET=_blank>%s</A></FONT>\n' % (
		n.host, i, esc(title), esc(text), k(title, str(i)), n.more) for i, (title, text) in enumerate(n.items))
	goods = "".join('<LI><A HREF=%s>%s</A> <FONT COLOR=RED>%s</FONT>\n' % (k("shop/" + title, "li%d" % i), esc(title), esc(price)) for i, (title, price) in enumerate(n.goods))
	return """<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01 Transitional//EN">
<HTML LANG=%s%s>
<HEAD><META HTTP-EQUIV="Content-Type" CONTENT="text/html; charset=%s"><TITLE>%s</TITLE></HEAD>
<BODY BGCOLOR=#FFFFFF TEXT=#000000 LINK=#0000CC VLINK=#551A8B>
<CENTER>
<A HREF="%s"><IMG SRC="http://img.%s/banner.gif" WIDTH=468 HEIGHT=60 ALT="%s" USEMAP="#banner" BORDER=0></A>
<MAP NAME="banner"><AREA SHAPE=RECT COORDS="0,0,234,60" HREF="%s"><AREA SHAPE=RECT COORDS="234,0,468,60" HREF='%s'></MAP>
<H1><FONT COLOR=#003366>%s</FONT></H1>
</CENTER>
<P>%s
<TABLE WIDTH=600 BORDER=0 CELLPADDING=4>
%s</TABLE>
<UL>
%s</UL>
<P ALIGN=CENTER><A HREF = "%s"><B>&gt;&gt; %s &lt;&lt;</B></A>
<HR SIZE=1 NOSHADE>
<FONT SIZE=1>%s<BR>%s<BR>
<A HREF="%s">%s</A> | <A HREF="MAILTO:webmaster@%s">webmaster@%s</A> | <A HREF="http://%s/">www.%s</A></FONT>
</BODY>
</HTML>
""" % (n.code, n.dir.upper(), n.charset, esc(n.subject), k("", "banner"), n.host, esc(n.brand), k("left", "map"), k("right", "map"), esc(n.head), esc(n.text), rows, goods, k(n.cta, "cta"), esc(n.cta),
		esc(n.why), esc(n.address), k.leave(), n.leave, n.host, n.host, n.host, n.host)


def framework(n, k):
	"""A grid framework: wrappers, spacers, center with data-parsed, and non-breaking spaces by number."""
	def row(cells):
		return '<table class="row"><tbody><tr>%s</tr></tbody></table>\n<table class="spacer"><tbody><tr><td height="16" style="font-size:16px;line-height:16px">&#xA0;</td></tr></tbody></table>\n' % "".join(
			'<th class="small-12 large-%d columns%s"><table><tbody><tr><th>%s</th></tr></tbody></table></th>' % (12 // len(cells), " first" if i == 0 else " last" if i == len(cells) - 1 else "", cell) for i, cell in enumerate(cells))
	body = row(['<h1 class="text-center">%s</h1><p class="lead">%s</p>' % (esc(n.head), esc(n.text))])
	for i, (title, text) in enumerate(n.items):
		body += row(['<a\n  href="%s"\n  class="thumbnail"><img src="https://img.%s/t/%d.jpg" alt="%s"></a>' % (k(title, "img%d" % i), n.host, i, esc(title)),
			'<h4>%s</h4><p>%s</p><a class="more" href=\'%s\'>%s &rarr;</a>' % (esc(title), esc(text), k(title, "row%d" % i), n.more)])
	if n.goods:
		body += row(['<center data-parsed=""><a href="%s" class="float-center" align="center"><strong>%s</strong></a><br>%s</center>' % (k("p/" + title, "grid"), esc(title), esc(price)) for title, price in n.goods])
	body += row(['<table class="button large expand"><tr><td><table><tr><td><center data-parsed=""><a href="%s" align="center" class="float-center">%s</a></center></td></tr></table></td><td class="expander"></td></tr></table>' % (k(n.cta, "big"), esc(n.cta))])
	body += row(['<p class="text-center"><small>%s %s<br>\n<a href="%s">%s</a> &bull; <a href="%s">%s</a> &bull; <a href="%s">%s</a> &bull; <a href="https://www.%s">https://www.%s</a></small></p>' % (
		esc(n.why), esc(n.address), k("web", "foot"), n.web, k("settings", "foot"), n.prefs, k.leave(), n.leave, n.host, n.host)])
	return """<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-strict.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" lang="%s" xml:lang="%s"%s>
<head><meta http-equiv="Content-Type" content="text/html; charset=%s"><meta name="viewport" content="width=device-width"><title>%s</title>
<style>@media only screen{html{min-height:100%%;background:#f3f3f3}}@media only screen and (max-width:596px){.small-float-center{margin:0 auto!important}}</style></head>
<body style="margin:0;background:#f3f3f3"><span class="preheader" style="color:#f3f3f3;display:none!important;mso-hide:all!important">%s%s</span>
<table class="body" data-made-with-foundation=""><tr><td class="float-center" align="center" valign="top"><center data-parsed="">
<table class="wrapper header" align="center"><tr><td class="wrapper-inner"><a href="%s"><img src="https://img.%s/logo.svg" alt="%s"></a></td></tr></table>
<table align="center" class="container float-center"><tbody><tr><td>
%s</td></tr></tbody></table></center></td></tr></table>
<!-- prevent Gmail on iOS font size manipulation --><div style="display:none;white-space:nowrap;font:15px courier;line-height:0">%s</div></body></html>
""" % (n.code, n.code, n.dir, n.charset, esc(n.subject), esc(n.pre), "&#847;&zwnj;&nbsp;" * 20, k("", "logo"), n.host, esc(n.brand), body, " &nbsp;" * 30)


def containers(n, k):
	"""A drag-and-drop editor's: nl-container, VML buttons, icons."""
	body = "".join("""<table align="center" width="100%%" border="0" cellpadding="0" cellspacing="0" role="presentation" class="row row-%d" style="mso-table-lspace: 0pt; mso-table-rspace: 0pt;"><tbody><tr><td>
<table class="row-content stack" align="center" border="0" cellpadding="0" cellspacing="0" role="presentation" style="color: #000000; width: 640px;" width="640"><tbody><tr>
<td class="column column-1" width="50%%"><div class="alignment" align="center"><a href="%s" target="_blank" style="outline:none" tabindex="-1"><img src="https://img.%s/%s.webp" style="display: block; height: auto; border: 0; width: 320px;" width="320" alt="%s" title="%s"></a></div></td>
<td class="column column-2" width="50%%"><h2>%s</h2><div style="font-size: 14px; mso-line-height-alt: 21px;"><p style="margin: 0;">%s</p></div>%s</td></tr></tbody></table></td></tr></tbody></table>
""" % (i + 2, k(title, "picture"), n.host, slug(title) or i, esc(title), esc(title), esc(title), esc(text), vml(n, k, title, "button", n.more)) for i, (title, text) in enumerate(n.items))
	return """<!DOCTYPE html>
<html xmlns:v="urn:schemas-microsoft-com:vml" xmlns:o="urn:schemas-microsoft-com:office:office" lang="%s"%s>
<head>
	<title></title>
	<meta http-equiv="Content-Type" content="text/html; charset=%s">
	<meta name="viewport" content="width=device-width, initial-scale=1.0"><!--[if mso]><xml><o:OfficeDocumentSettings><o:PixelsPerInch>96</o:PixelsPerInch><o:AllowPNG/></o:OfficeDocumentSettings></xml><![endif]-->
	<style>
		* { box-sizing: border-box; }
		a[x-apple-data-detectors] { color: inherit !important; text-decoration: inherit !important; }
		#MessageViewBody a { color: inherit; text-decoration: none; }
		@media (max-width:660px) { .row-content { width: 100%% !important; } .stack .column { width: 100%%; display: block; } }
	</style>
</head>
<body class="body" style="background-color: #ffffff; margin: 0; padding: 0;">
	<div style="display:none;">%s</div>
	<table class="nl-container" width="100%%" border="0" cellpadding="0" cellspacing="0" role="presentation"><tbody><tr><td>
<h1 style="text-align: center;"><span class="tinyMce-placeholder">%s</span></h1><p style="text-align: %s">%s</p>
%s
%s
<div class="social-table" align="center">%s</div>
<p style="font-size:12px">%s<br>%s</p><p style="font-size:12px"><a style="text-decoration: underline; color: #8a3b8f;" title="%s" href="%s" target="_blank" rel="noopener">%s</a>&nbsp;|&nbsp;<a href="%s" target="_blank" rel="noopener">%s</a></p>
	</td></tr></tbody></table><!-- End -->
</body>
</html>
""" % (n.code, n.dir, n.charset, esc(n.pre), esc(n.head), n.side, esc(n.text), body, vml(n, k, n.cta, "main", n.cta, "#8a3b8f"), social(n, k, ("photo", "video")), esc(n.why), esc(n.address), n.leave, k.leave(), n.leave, k("online", "end"), n.web)


def office(n, k):
	"""Written in Word and sent by mail merge."""
	items = "".join('<p class=MsoNormal style=\'margin-left:36.0pt;text-indent:-18.0pt;mso-list:l0 level1 lfo1\'><![if !supportLists]><span style=\'font-family:Symbol\'>·<span style=\'font:7.0pt "Times New Roman"\'>&nbsp;&nbsp; </span></span><![endif]><b>%s</b>. <span lang=%s>%s\n<a href="%s"><span style=\'color:#0563C1\'>%s</span></a><o:p></o:p></span></p>\n' % (
		esc(title), n.code, esc(text), k(title, "p%d" % i), n.more) for i, (title, text) in enumerate(n.items))
	goods = "".join("<tr style='mso-yfti-irow:%d'><td width=300 valign=top style='border:solid windowtext 1.0pt;padding:0cm 5.4pt'><p class=MsoNormal><a\nhref=\"%s\">%s</a><o:p></o:p></p></td><td width=100><p class=MsoNormal align=right>%s<o:p></o:p></p></td></tr>\n" % (
		i, k("order/" + title, "row"), esc(title), esc(price)) for i, (title, price) in enumerate(n.goods))
	return """<html xmlns:v="urn:schemas-microsoft-com:vml" xmlns:o="urn:schemas-microsoft-com:office:office" xmlns:w="urn:schemas-microsoft-com:office:word" xmlns:m="http://schemas.microsoft.com/office/2004/12/omml" xmlns="http://www.w3.org/TR/REC-html40"><head><meta http-equiv=Content-Type content="text/html; charset=%s"><meta name=Generator content="Microsoft Word 15 (filtered medium)"><!--[if !mso]><style>v\\:* {behavior:url(#default#VML);}
o\\:* {behavior:url(#default#VML);}
.shape {behavior:url(#default#VML);}
</style><![endif]--><style><!--
/* Style Definitions */
p.MsoNormal, li.MsoNormal, div.MsoNormal
	{margin:0cm;font-size:11.0pt;font-family:"Calibri",sans-serif;mso-fareast-language:EN-US;}
@page WordSection1
	{size:612.0pt 792.0pt;margin:72.0pt 72.0pt 72.0pt 72.0pt;}
--></style><!--[if gte mso 9]><xml>
<o:shapedefaults v:ext="edit" spidmax="1026" />
</xml><![endif]--></head><body lang=%s link="#0563C1" vlink="#954F72" style='word-wrap:break-word'%s><div class=WordSection1>
<p class=MsoTitle>%s<o:p></o:p></p>
<p class=MsoNormal>%s<o:p></o:p></p>
<p class=MsoNormal><o:p>&nbsp;</o:p></p>
%s<table class=MsoTableGrid border=1 cellspacing=0 cellpadding=0 style='border-collapse:collapse;border:none'>
%s</table>
<p class=MsoNormal><b><a href="%s" title="&quot;%s&quot;"><span style='font-size:14.0pt'>%s</span></a></b><o:p></o:p></p>
<p class=MsoNormal><span style='font-size:8.0pt'>%s<br>%s<br><a href="%s">%s</a>, <a href="mailto:office@%s">office@%s</a>, <a href="https://%s/">%s</a><o:p></o:p></span></p>
</div></body></html>
""" % (n.charset, n.code, n.dir, esc(n.head), esc(n.text), items, goods, k(n.cta, "link"), esc(n.pre), esc(n.cta), esc(n.why), esc(n.address), k.leave(), n.leave, n.host, n.host, n.host, n.host)


def essay(n, k):
	"""One writer's letter: few styles, footnotes, fragments, buttons for hearts and comments."""
	paragraphs = "".join('<p>%s<a data-component-name="FootnoteAnchorToDOM" id="footnote-anchor-%d" href="#footnote-%d" target="_self" class="footnote-anchor">%d</a></p>\n<p><em>%s</em> <a href="%s" rel="nofollow ugc noopener">%s</a>.</p>\n' % (
		esc(text), i, i, i, esc(title), k(title, "note%d" % i), n.more) for i, (title, text) in enumerate(n.items, 1))
	notes = "".join('<div class="footnote"><a id="footnote-%d" href="#footnote-anchor-%d">%d</a><div><p>%s</p></div></div>\n' % (i, i, i, esc(title)) for i, (title, _) in enumerate(n.items, 1))
	return """<html lang=%s%s><head><title>%s</title></head><body class="email-body" style="font-kerning: auto;">
<img src="https://img.%s/open.gif" alt="" width="1" height="1" border="0" style="height:1px !important;width:1px !important;">
<div class="preview" style="display:none;font-size:1px;">%s</div><div style="display:none">&#847; &#847; &#847; &#847;</div>
<table role="presentation" width="550"><tr><td><div class="post-header"><h1 class="post-title"><a href="%s" style="color:#363737;text-decoration:none">%s</a></h1><h3>%s</h3>
<div class="meta"><a href="%s"><img src="https://img.%s/face.jpg" width="36" height="36" alt=""> %s</a></div>
<div class="buttons"><a href="%s"><svg xmlns="http://www.w3.org/2000/svg" width="18" height="18" viewBox="0 0 24 24"><title>Heart</title><path d="M20.84 4.61a5.5 5.5 0 0 0-7.78 0L12 5.67"></path></svg></a> <a href="%s">❤</a></div></div>
<div dir="auto" class="body markup"><p>%s</p>
%s<p class="button-wrapper" data-attrs="{&quot;url&quot;:&quot;https://www.%s/&quot;,&quot;text&quot;:&quot;x&quot;}"><a class="button primary" href="%s"><span>%s</span></a></p>
%s</div>
<div class="footer"><p>%s &middot; %s</p><p><a href="%s">%s</a></p></div></td></tr></table></body></html>
""" % (n.code, n.dir, esc(n.subject), n.host, esc(n.pre), k("p/" + n.name, "title"), esc(n.head), esc(n.pre), k("author", "face"), n.host, esc(n.brand), k("like", "heart"), k("comments", "heart"), esc(n.text), paragraphs, n.host,
		k(n.cta, "button"), esc(n.cta), notes, esc(n.address), esc(n.why), k.leave(), n.leave)


def clouded(n, k):
	"""An enterprise platform: an attribute on each line, aliases, opt-outs of its own kind, padding for Outlook."""
	def link(path, place, text, alias):
		return '<a\n    alias="%s"\n    conversion="true"\n    data-linkto="https://"\n    href="%s"\n    style="color:#005FB2;text-decoration:none;"\n    title="%s"\n  >%s</a>' % (esc(alias), k(path, place), esc(alias), text)
	blocks = "".join('<tr><td align="%s" style="padding:0px 0px 24px" class="slot-%d"><!-- slot %d -->\n<h2>%s</h2>%s\n<!--[if mso]><i style="letter-spacing: 25px; mso-font-width: -100%%; mso-text-raise: 30pt">&nbsp;</i><![endif]-->%s<!--[if mso]><i style="mso-font-width: -100%%">&nbsp;</i><![endif]-->\n</td></tr>\n' % (
		n.side, i, i, link(title, "headline%d" % i, esc(title), title), esc(text), link(title, "cta%d" % i, "<b>%s</b>" % n.more, n.more)) for i, (title, text) in enumerate(n.items))
	goods = "".join('<th class="product" width="190">%s<br>%s</th>' % (link("product/" + title, "p%d" % i, '<img data-assetid="%d" src="https://image.%s/lib/fe9/m/1/%d.png" alt="%s" width="190" style="display:block">' % (n.number + i, n.host, i, esc(title)), title), esc(price)) for i, (title, price) in enumerate(n.goods))
	return """<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd"><html xmlns="http://www.w3.org/1999/xhtml" lang="%s"%s><head>
  <meta name="x-apple-disable-message-reformatting" /><meta name="format-detection" content="telephone=no,date=no,address=no,email=no" />
  <style type="text/css">.stylingblock-content-wrapper a { color:#005FB2 } @-ms-viewport { width: device-width }</style>
  <!--[if mso]><style type="text/css">body, table, td, a { font-family: Arial, Helvetica, sans-serif !important; }</style><![endif]-->
  </head><body bgcolor="#F0F0F0" text="#4a4a4a"><div style="font-size:0; line-height:0;"><img src="https://pixel.%s/open.aspx?ffcb10-fe9" width="1" height="1" alt=""></div>
  <div id="preheader" style="font-size:1px;display:none;visibility:hidden;">%s</div>
  <table width="100%%" border="0" cellpadding="0" cellspacing="0"><tr><td align="center">%s<h1>%s</h1><p>%s</p></td></tr>
%s<tr><td><table class="tb_properties"><tr>%s</tr></table></td></tr>
<tr><td align="center">%s</td></tr>
<tr><td style="font-size:11px">%s %s | <a href="%s" alias="Unsubscribe" conversion="false">%s</a> | <a data-msys-clicktrack="0" href="https://www.%s/imprint">%s</a> | <a href="tel:+38922700100">+389 2 2700 100</a></td></tr></table>
  <custom name="opencounter" type="tracking"></custom></body></html>
""" % (n.code, n.dir, n.host, esc(n.pre), link("view", "vawp", n.web, "View as web page"), esc(n.head), esc(n.text), blocks, goods, link(n.cta, "main", '<span style="mso-text-raise: 15pt;">%s</span>' % esc(n.cta), n.cta),
		esc(n.why), esc(n.address), k.leave(), n.leave, n.host, n.privacy)


def shop(n, k):
	"""A shop's: a product grid two wide, single quotes, a background for Outlook, icons."""
	goods = n.goods or [(title, "") for title, _ in n.items]
	grid = ""
	for i in range(0, len(goods), 2):
		grid += "<tr valign='top'>\n" + "".join("<td width='50%%' class='prod' align='center'><a href='%s'><img src='https://cdn.%s/img/%s_600x.jpg?v=%d' width='260' height='260' alt='%s' border='0'></a>\n<p class='t'><a href='%s' style='color:inherit'>%s</a></p><p class='p'>%s</p></td>\n" % (
			k("products/" + title, "grid"), n.host, slug(title)[:40], n.number, esc(title).replace("'", "&#39;"), k("products/" + title, "grid"), esc(title), esc(price)) for title, price in goods[i:i + 2]) + "</tr>\n"
	stories = "".join("<tr><td colspan='2'><h3>%s</h3><p>%s <a href='%s'>%s</a></p></td></tr>\n" % (esc(title), esc(text), k("blogs/" + title, "blog"), n.more) for title, text in n.items)
	hero = k(n.cta, "hero")
	k.again(hero.replace(k.amp, "&"))
	return """<!DOCTYPE html><html lang='%s'%s><head><meta charset='%s'><meta name='color-scheme' content='light dark'><title>%s</title>
<style>.t{font-weight:700}.p{color:#b00020}@media(max-width:600px){.prod{display:block!important;width:100%%!important}}@media(prefers-color-scheme:dark){body{background:#121212!important}}</style></head>
<body><div style='display:none;max-height:0'>%s</div>
<table width='600' align='center'><tr><td colspan='2' background='https://cdn.%s/bg.jpg' bgcolor='#222222' height='300' valign='top'>
<!--[if gte mso 9]><v:rect xmlns:v="urn:schemas-microsoft-com:vml" fill="true" stroke="false" href='%s' style="width:600px;height:300px;"><v:fill type="tile" src="https://cdn.%s/bg.jpg" color="#222222" /><v:textbox inset="0,0,0,0"><![endif]-->
<div><h1 style='color:#fff'>%s</h1><a href='%s' style='color:#fff'>%s</a></div>
<!--[if gte mso 9]></v:textbox></v:rect><![endif]--></td></tr>
<tr><td colspan='2'>%s</td></tr>
%s%s<tr><td colspan='2' align='center'>%s</td></tr>
<tr><td colspan='2' class='footer'>%s<br>%s<br><a href='%s'>%s</a> <a href='%s'>%s</a> <a href='%s'>%s</a></td></tr></table></body></html>
""" % (n.code, n.dir.replace('"', "'"), n.charset, esc(n.subject), esc(n.pre), n.host, hero, n.host, esc(n.head), hero, esc(n.cta), esc(n.text), grid, stories, social(n, k, ("photo", "mastodon", "video", "pins"), 24),
		esc(n.why), esc(n.address), k("account/preferences", "f"), n.prefs, k.leave(), n.leave, k("pages/privacy", "f"), n.privacy)


def digest(n, k):
	"""A feed as a letter, squeezed into one line."""
	entries = "".join('<article><h2><a href="%s">%s</a></h2><p>%s <a class=more href="%s">[&hellip;]</a></p><p class=tags><a href="%s" rel=tag>#%s</a> <a href="%s">%s</a></p></article>' % (
		k(title, "feed"), esc(title), esc(text), k(title, "feed"), k("tag/%d" % i, "tag"), i, k.again("https://www.%s/?p=%d&replytocom=%d#respond" % (n.host, n.number + i, i)), n.follow) for i, (title, text) in enumerate(n.items))
	return '<!doctype html><html lang=%s%s><meta charset=%s><title>%s</title><style>body{font:16px/1.5 serif}a{color:#06c}</style><body><p style="display:none">%s</p><header><a href="%s"><b>%s</b></a></header><h1>%s</h1><p>%s</p>%s<p><a href="%s">%s</a><p><small>%s %s <a href="%s">%s</a> <a href="https://www.%s/feed/">www.%s/feed/</a></small></body></html>\n' % (
		n.code, n.dir, n.charset, esc(n.subject), esc(n.pre), k("", "head"), esc(n.brand), esc(n.head), esc(n.text), entries, k(n.cta, "end"), esc(n.cta), esc(n.why), esc(n.address), k.leave(), n.leave, n.host, n.host)


def modern(n, k):
	"""No tables: main, article, picture, dark mode, variables; for people who read in a web client."""
	cards = "".join('\t\t<article class="card" aria-labelledby="t%d">\n\t\t\t<picture><source media="(prefers-color-scheme: dark)" srcset="https://img.%s/%d-dark.avif"><img src="https://img.%s/%d.avif" alt="" loading="lazy"></picture>\n\t\t\t<h2 id="t%d">%s</h2>\n\t\t\t<p>%s</p>\n\t\t\t<p><a\n\t\t\t\tclass="more"\n\t\t\t\thref="%s"\n\t\t\t>%s<span aria-hidden="true"> ›</span></a></p>\n\t\t</article>\n' % (
		i, n.host, i, n.host, i, i, esc(title), esc(text), k(title, "card-%d" % i), n.more) for i, (title, text) in enumerate(n.items))
	prices = "".join('\t\t\t<tr><th scope="row"><a href="%s">%s</a></th><td>%s</td></tr>\n' % (k("goods/" + title, "list"), esc(title), esc(price)) for title, price in n.goods)
	return """<!DOCTYPE html>
<html lang="%s"%s>
<head>
	<meta charset="%s">
	<meta name="viewport" content="width=device-width">
	<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">
	<title>%s</title>
	<style>
		:root { color-scheme: light dark; --ink: #223; }
		@media (prefers-color-scheme: dark) { :root { --ink: #eef; } .card > a { color: #9cf } }
		[data-ogsc] .card { background: #111 !important; }
		u + .body .gmail-only { display: block !important }
	</style>
</head>
<body class="body">
	<div hidden>%s</div>
	<main>
		<nav><a href="#content">↓</a> <a href="%s">%s</a></nav>
		<h1 id="content">%s</h1>
		<p>%s</p>
%s		<table>
%s		</table>
		<p><a class="button" role="button" href="%s">%s</a></p>
	</main>
	<footer>
		<p>%s</p><address>%s</address>
		<ul><li><a href="%s">%s</a></li><li><a href="%s">%s</a></li><li><a href="sms:+38970123456?body=STOP">SMS</a></li></ul>
		<p>%s: %s</p>
	</footer>
</body>
</html>
""" % (n.code, n.dir, n.charset, esc(n.subject), esc(n.pre), k("letters/" + n.name, "nav"), n.web, esc(n.head), esc(n.text), cards, prices, k(n.cta, "button"), esc(n.cta), esc(n.why), esc(n.address), k.leave(), n.leave, k("privacy", "footer"), n.privacy,
		n.follow, social(n, k, ("mastodon",), 20))


def rows(n, k):
	"""Another platform: ghost tables, wrapped links, whole pictures as links, and the site's menu on top."""
	menu = "".join('<td class="hlb-subblk" style="padding:0 12px"><a href="%s" style="color:#333;text-decoration:none">%s</a></td>' % (k("menu/%d" % i, "menu"), esc(title.split(" ")[0])) for i, (title, _) in enumerate(n.items))
	body = "".join('<!--[if true]><table border="0" cellpadding="0" cellspacing="0" width="600" align="center"><tr><td><![endif]-->\n<div class="kl-row colstack"><div class="kl-column"><div style="padding:18px"><a href="%s"><span style="display:block"><h3 style="margin:0">%s</h3></span></a><div>%s</div></div>\n'
		'<div align="center"><!--[if mso]><table><tr><td bgcolor="#000000" style="padding:12px 30px"><a href="%s" style="color:#ffffff"><font color="#ffffff">%s</font></a></td></tr></table><![endif]--><!--[if !mso]><!-- --><a class="kl-button" href="%s">%s</a><!--<![endif]--></div></div></div>\n<!--[if true]></td></tr></table><![endif]-->\n' % (
			k(title, "h"), esc(title), esc(text), k(title, "b"), n.more, k(title, "b"), n.more) for title, text in n.items)
	goods = " ".join('<A HREF="%s"><IMG SRC="https://img.%s/p/%d.png" ALT="%s, %s"></A>' % (k("p/" + title, "g"), n.host, i, esc(title), esc(price)) for i, (title, price) in enumerate(n.goods))
	return """<!DOCTYPE html>
<html lang="%s"%s><head><meta http-equiv="content-type" content="text/html; charset=%s"/><title>%s</title></head>
<body data-preview="%s"><div class="root-container" style="background:#fafafa">
<table class="menu" align="center"><tr>%s</tr></table>
<a href="%s"><img src="https://img.%s/full.gif" width="600" usemap="#m" alt="%s"/></a>
<h1>%s</h1><p>%s</p>
%s<div>%s</div>
%s
<div class="footer">%s<br/>%s<br/><a class="unsubscribe-link" href="%s">%s</a>. <a href="%s">%s</a></div>
</div><div style="display:none"><a href="mailto:bounce@%s">.</a></div></body></html>
<!-- %s: <a href="https://www.%s/no-link">x</a> -->
""" % (n.code, n.dir, n.charset, esc(n.subject), esc(n.pre), menu, k("", "full"), n.host, esc(n.brand), esc(n.head), esc(n.text), body, goods, vml(n, k, n.cta, "v", n.cta, "#000000"),
		esc(n.why), esc(n.address), k.leave(), n.leave, k("web", "w"), n.web, n.host, n.name, n.host)


TEMPLATES = (blocks, compiled, capitals, framework, containers, office, essay, clouded, shop, digest, modern, rows)
# The charset of those that are not in UTF-8: label, Python's codec.
CHARSETS = {
	"cinema": ("iso-8859-15", "iso-8859-15"), "faro": ("ISO-8859-1", "iso-8859-1"), "teatro": ("windows-1252", "cp1252"), "mar": ("iso-8859-1", "iso-8859-1"), "ksiegarnia": ("iso-8859-2", "iso-8859-2"),
	"pivovar": ("windows-1250", "cp1250"), "piac": ("ISO-8859-2", "iso-8859-2"), "vinarija": ("windows-1251", "cp1251"), "teatar": ("ISO-8859-5", "iso-8859-5"), "radio": ("iso-8859-5", "iso-8859-5"),
	"chitalishte": ("windows-1251", "cp1251"), "dacha": ("koi8-r", "koi8-r"), "teatr": ("windows-1251", "cp1251"), "arhiv": ("koi8-u", "koi8-u"), "nisi": ("iso-8859-7", "iso-8859-7"), "sinema": ("iso-8859-9", "iso-8859-9"),
	"pazar": ("windows-1254", "cp1254"), "ganan": ("windows-1255", "cp1255"), "tamr": ("windows-1256", "cp1256"), "akhbar": ("iso-8859-6", "iso-8859-6"), "nangsue": ("tis-620", "tis_620"), "sach": ("windows-1258", "cp1258"),
	"chaye": ("gb2312", "gb2312"), "bowuguan": ("GBK", "gbk"), "lvxing": ("gb18030", "gb18030"), "juchang": ("Big5", "big5"), "onsen": ("iso-2022-jp", "iso2022_jp"), "yasai": ("Shift_JIS", "shift_jis"),
	"tetsudo": ("EUC-JP", "euc_jp"), "gakki": ("ISO-2022-JP", "iso2022_jp"), "gimjang": ("euc-kr", "euc_kr"), "yeonghwa": ("iso-2022-kr", "iso2022_kr"), "bahn": ("us-ascii", "ascii"),
}
STYLES = ("utm", "click", "raw", "shop", "utm", "php")
AMPERSANDS = ("&amp;", "&amp;", "&#38;", "&amp;", "&", "&#x26;")
ENCODINGS = ("quoted-printable", "base64", "8bit", "qp-python", "base64-60", "qp-lower")
STRUCTURES = ("alternative", "html", "alternative", "related", "alternative", "mixed", "alternative-related", "invitation")
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9\nawAAAABJRU5ErkJggg=="


def plain(n):
	lines = [n.head, "=" * 40, "", n.text, ""]
	for title, text in n.items:
		lines += ["* " + title, "  " + text, "  https://www.%s/%s" % (n.host, slug(title)), ""]
	lines += ["- %s: %s" % good for good in n.goods]
	return "\n".join(lines + ["", n.cta + ": https://www.%s/" % n.host, "", "-- ", n.address, n.why, n.leave + ": " + n.unsubscribe, ""])


def transfer(data, how):
	"""Bytes with LF as lines of a part, and the name of the encoding."""
	if how.startswith("base64"):
		return "base64", b64(data.replace(b"\n", b"\r\n"), 60 if how.endswith("60") else 76).rstrip().encode()
	if how == "qp-python":
		return "quoted-printable", quopri.encodestring(data)
	if how in ("quoted-printable", "qp-lower"):
		return "quoted-printable", qp(data.decode("latin-1"), lower=how == "qp-lower", charset="latin-1").encode()
	return ("8bit" if any(b > 127 for b in data) else "7bit"), data


def word(text, charset, codec):
	"""An encoded word or more (RFC 2047), folded; Q for what is mostly ASCII."""
	if all(" " <= c <= "~" for c in text):
		return text
	if "2022" in charset or codec == "ascii":
		charset, codec = "utf-8", "utf-8"
	out, now = [], ""
	for c in text:
		if len((now + c).encode(codec, "replace")) > 36:
			out.append(now)
			now = ""
		now += c
	out.append(now)
	latin = sum(c < "\x80" for c in text) * 2 > len(text)
	return "\n ".join("=?%s?%s?=" % (charset, "Q?" + "".join(chr(b) if chr(b).isalnum() and b < 128 else "_" if b == 32 else "=%02X" % b for b in w.encode(codec, "replace"))
		if latin else "B?" + base64.b64encode(w.encode(codec, "replace")).decode()) for w in out)


def part(kind, n, text, how):
	encoding, data = transfer(text, how)
	return ("Content-Type: text/%s; charset=%s\nContent-Transfer-Encoding: %s\n\n" % (kind, '"%s"' % n.charset if n.number % 3 == 0 else n.charset, encoding)).encode() + data


def multi(kind, boundary, parts, parameters=""):
	return ("Content-Type: multipart/%s;\n\tboundary=\"%s\"%s\n\n" % (kind, boundary, parameters)).encode() + b"".join(
		b"--" + boundary.encode() + b"\n" + p + b"\n" for p in parts) + b"--" + boundary.encode() + b"--\n"


def newsletter(i, n):
	n.charset, codec = CHARSETS.get(n.name, ("utf-8" if i % 3 else "UTF-8", "utf-8"))
	template, structure, how = TEMPLATES[(i * 5 + i // 12) % 12], STRUCTURES[i % 8], ENCODINGS[(i + i // 6) % 6]
	style = STYLES[(i + i // 7) % 6]
	if codec != "utf-8" and style == "raw":
		style = "utm"
	if "2022" in n.charset or codec == "ascii":
		how = "8bit"  # all of it is seven bits
	n.unsubscribe = "https://www.%s/unsubscribe?u=%x&l=%s&s=%s" % (n.host, n.number, n.name, hashlib.md5(n.name.encode()).hexdigest()[:12])
	k = Links(n, style, AMPERSANDS[(i + i // 5) % 6])
	page, text = template(n, k), plain(n)
	if codec == "cp1258":
		page, text = cp1258(page), cp1258(text)
	page, text = page.encode(codec, "xmlcharrefreplace"), text.encode(codec, "replace")
	page = part("html", n, page, how)
	text = part("plain", n, text, how if how != "base64-60" else "quoted-printable")
	picture = ("Content-Type: image/png; name=\"logo.png\"\nContent-ID: <logo@%s>\nContent-Transfer-Encoding: base64\nContent-Disposition: inline; filename=logo.png\n\n%s" % (n.host, PICTURE)).encode()
	mark = ("----=_Part_%d_%d.1763625600" % (n.number, i), "_----------=_%d" % n.number, "=_%x=" % n.number, "b1_%s" % hashlib.md5(n.name.encode()).hexdigest(), "%d.%s" % (n.number, n.host))[i % 5]
	if structure == "html":
		body = page
	elif structure == "alternative":
		body = multi("alternative", mark, [text, page])
	elif structure == "related":
		body = multi("related", mark, [multi("alternative", mark + "a", [text, page]), picture], ';\n\ttype="multipart/alternative"')
	elif structure == "alternative-related":
		body = multi("alternative", mark, [text, multi("related", mark + "r", [page, picture], '; type="text/html"')])
	elif structure == "mixed":
		body = multi("mixed", mark, [multi("alternative", mark + "-alt", [text, page]), b"Content-Type: application/pdf; name=\"%s.pdf\"\nContent-Disposition: attachment;\n\tfilename*0*=utf-8''%s;\n\tfilename*1=\".pdf\"\nContent-Transfer-Encoding: base64\n\n" % (
			n.name.encode(), urllib.parse.quote(n.head[:12]).encode()) + base64.encodebytes(b"%PDF-1.4\n" + hashlib.sha512(n.name.encode()).digest() * 4).rstrip()])
	else:
		body = multi("mixed", mark, [multi("alternative", mark + "i", [text, page, ("Content-Type: text/calendar; charset=utf-8; method=PUBLISH\nContent-Transfer-Encoding: 8bit\n\nBEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//Example//%s\nMETHOD:PUBLISH\nBEGIN:VEVENT\nUID:%d@%s\n"
			"DTSTAMP:20261120T080000Z\nDTSTART:20261204T190000Z\nSUMMARY:%s\nURL:https://www.%s/event\nEND:VEVENT\nEND:VCALENDAR" % (n.code, n.number, n.host, n.head, n.host)).encode()])])
	fields = ["Received: from mta%d.%s (mta%d.%s [192.0.2.%d])\n\tby mx.example.net (Postfix) with ESMTPS id %X\n\tfor <reader@example.net>; Fri, 20 Nov 2026 09:00:0%d +0100 (CET)" % (i % 9, n.host, i % 9, n.host, i + 1, n.number, i % 10)] if i % 4 == 0 else []
	fields += ["Date: Fri, 20 Nov 2026 %02d:%02d:00 +0%d00" % (6 + i % 12, i % 60, i % 9), "From: %s <news@%s>" % (word(n.brand, n.charset, codec), n.host), "Reply-To: hello@%s" % n.host if i % 3 else None,
		"To: reader@example.net", "Message-ID: <%d.%x.%s@mail.%s>" % (n.number, i * 7919, n.name, n.host), "Subject: " + word(n.subject, n.charset, codec),
		"List-Id: %s <%s.lists.%s>" % (word(n.brand, n.charset, codec), n.name, n.host) if i % 2 else None,
		"List-Unsubscribe: <%s>,\n <mailto:leave@%s?subject=unsubscribe%%20%x>" % (n.unsubscribe, n.host, n.number), "List-Unsubscribe-Post: List-Unsubscribe=One-Click" if i % 3 else None,
		"Precedence: bulk" if i % 5 == 0 else None, "X-Mailer: %s %d.%d" % (("Letterbox", "PHPMailer", "Campaigner", "MailMachine")[i % 4], 1 + i % 7, i % 10),
		"Feedback-ID: %d:%s:%s:%s" % (n.number, n.name, n.lang, n.host.split(".")[0]) if i % 3 == 1 else None,
		"X-Report-Abuse: Please report abuse for this campaign here:\n https://www.%s/abuse?u=%x&id=%s\n (or write to abuse@%s, who read everything and answer within a day or two)" % (n.host, n.number, n.name, n.host) if i % 6 == 2 else None,
		"MIME-Version: 1.0"]
	raw = "\n".join(f for f in fields if f).encode() + b"\n" + body
	if i % 11 != 7:  # some are handed in by programs of this machine
		raw = raw.replace(b"\n", b"\r\n")
	add("news-%s-%s" % (n.lang, n.name), raw, untouched("charset does not convert back") if "2022-kr" in n.charset.lower() else tagged(len(k.seen), k.places))


for i, n in enumerate(letters()):
	newsletter(i, n)


def main():
	directory = sys.argv[1] if len(sys.argv) > 1 else os.path.join(TOP, "tests", "data", "messages")
	expect = ["# What tagging does to each message: written by tests/tools/make-messages.py, which says why."]
	for name in sorted(MESSAGES):
		raw, what = MESSAGES[name]
		if raw is not None:
			with open(os.path.join(directory, name + ".eml"), "wb") as f:
				f.write(raw)
		expect.append("%s.eml: %s" % (name, what))
	with open(os.path.join(directory, "EXPECT"), "w") as f:
		f.write("\n".join(expect) + "\n")


if __name__ == "__main__":
	main()
