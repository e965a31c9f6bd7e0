"""test_http.py -- HTTP/1.1 by the book, seen from outside: what is answered, what is refused, and what it costs.

	REKINDLE_BUILD=DIR python3 tests/integration/test_http.py [-v] [Class.test]

The judge is h11 (package python3-h11): whatever the tracker answers, h11 has to
have read the same requests in the same bytes, down to the body, because the
answers must be the ones to h11's requests.  A row is sent whole, in two pieces
and one byte at a time.
"""

import ctypes
import os
import random
import re
import resource
import socket
import struct
import subprocess
import sys
import unittest

try:
	import h11
except ImportError:
	# The package is for Debian's own Python, and another one may stand before it in PATH.
	if os.path.realpath(sys.executable) == os.path.realpath("/usr/bin/python3"):
		raise
	os.execv("/usr/bin/python3", ["/usr/bin/python3", *sys.argv])

from test_tracker import SANITIZED, Answer, Case, Client, request

# Behind every row: answered exactly when the connection is still in step.
PROBE = b"GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n"
REFUSALS = (400, 408, 413, 414, 417, 431, 501, 505)
ONE_CLICK = b"List-Unsubscribe=One-Click"
COMMON = {"cache-control": "no-store", "referrer-policy": "no-referrer", "x-robots-tag": "noindex", "x-content-type-options": "nosniff"}


def judge(data):
	"""What h11 reads: [(method, target, body)].  It stops at the first thing that it does not like."""
	found = []
	while data:
		c = h11.Connection(h11.SERVER, max_incomplete_event_size=100000)
		# RFC 9112 section 2.2 forgives an empty line, which h11 does not.
		c.receive_data(data[2:] if data.startswith(b"\r\n") else data)
		data = b""
		try:
			while True:
				event = c.next_event()
				if isinstance(event, h11.Request):
					now, body = event, b""
				elif isinstance(event, h11.Data):
					body += bytes(event.data)
				elif isinstance(event, h11.EndOfMessage):
					found.append((now.method.decode(), now.target.decode(), body))
					# h11 never keeps a connection with HTTP/1.0, and we do when we are asked to.
					keep = any(n == b"connection" and b"keep-alive" in v.lower() for n, v in now.headers)
					if c.their_state is not h11.MUST_CLOSE or (now.http_version == b"1.0" and keep):
						data = c.trailing_data[0]
					break
				else:
					break
		except h11.RemoteProtocolError:
			break
	return found


def answers(raw, methods):
	"""All answers in these bytes; methods says which of them had HEAD."""
	found = []
	while raw:
		head, end, raw = raw.partition(b"\r\n\r\n")
		assert end, "half an answer: %r" % head
		answer = Answer(head, b"")
		if answer.status == 100:
			continue
		n = int(answer.fields["content-length"])
		if len(found) < len(methods) and methods[len(found)] == "HEAD" and answer.status not in REFUSALS:
			n = 0
		answer.body, raw = raw[:n], raw[n:]
		assert len(answer.body) == n, "half a body"
		found.append(answer)
	return found


class Rows(Case):
	settings = {"threads": "1", "request_within": "5s", "log_level": "error"}

	def start(self):
		# At level error there is no line about the ports; ask for them first.
		self.now["log_level"] = "info"
		self.configure()
		super().start()

	def talk(self, data, pieces=None):
		"""Sends data, in pieces, and reads to the end of the connection."""
		with socket.create_connection(("127.0.0.1", self.port), timeout=60) as s:
			s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
			try:
				for piece in pieces or [data]:
					s.sendall(piece)
				s.shutdown(socket.SHUT_WR)
			except OSError:
				pass  # refused on the way
			got = b""
			while True:
				try:
					more = s.recv(65536)
				except ConnectionResetError:
					return got
				if not more:
					return got
				got += more

	def expected(self, method, target, body):
		"""The status of our answer to this request; a body, where one tells requests apart."""
		path = re.sub(r"^https?://[^/?]*", "", target, flags=re.I).partition("?")[0] or "/"
		path = re.sub(r"%(2[DdEe]|3[0-9]|4[1-9A-Fa-f]|5[0-9AaFf]|6[1-9A-Fa-f]|7[0-9AaEe])", lambda m: chr(int(m[1], 16)), path)
		leave = path.startswith("/u/")
		if method == "OPTIONS":
			return 200, b""
		if method not in ("GET", "HEAD") and not (method == "POST" and leave):
			return 405, b"Method not allowed.\n"
		if path == self.leave and method == "POST":
			return (200 if body == ONE_CLICK else 400), None
		plain = {"/healthz": b"ok\n", "/robots.txt": b"User-agent: *\nDisallow: /\n"}
		if path in plain:
			return 200, plain[path]
		if path in ("/", "/favicon.ico", self.pixel, self.leave):
			return 200, None
		if path == self.link:
			return 302, b""
		return 404, b"Not found.\n"

	def agree(self, says, data, raw):
		"""Every answer is the one to what the judge read there; the last may be a refusal instead."""
		asked = judge(data)
		got = answers(raw, [method for method, _, _ in asked])
		for i, answer in enumerate(got):
			status, body = self.expected(*asked[i]) if i < len(asked) else (0, None)
			if answer.status != status and answer is got[-1] and answer.status in REFUSALS:
				self.assertEqual(answer.fields["connection"], "close")
				break
			self.assertEqual(answer.status, status, "%s: %r" % (says, data))
			if body is not None and asked[i][0] != "HEAD":
				self.assertEqual(answer.body, body, "%s: %r" % (says, data))
		return got

	def setUp(self):
		super().setUp()
		self.pixel, self.link, self.leave = self.urls()


def post(path, body, fields="", chunks=None):
	if chunks is None:
		fields += "Content-Length: %d\r\n" % len(body)
	else:
		fields += "Transfer-Encoding: chunked\r\n"
		body = chunks
	return ("POST %s HTTP/1.1\r\nHost: t\r\nContent-Type: application/x-www-form-urlencoded\r\n%s\r\n" % (path, fields)).encode() + body


def chunked(body, size, extension=b"", trailers=b""):
	out = b""
	for i in range(0, len(body), size):
		piece = body[i:i + size]
		out += b"%x%s\r\n%s\r\n" % (len(piece), extension, piece)
	return out + b"0" + extension + b"\r\n" + trailers + b"\r\n"


class Book(Rows):
	LINE = b"GET /healthz HTTP/1.1\r\nHost: t\r\n"

	def rows(self):
		"""(what it says, bytes, the statuses of the answers, after which the connection is in step).
		A status alone is a refusal: nothing behind it is answered."""
		line, u = self.LINE, self.leave
		yes = lambda *fields: line + b"".join(f + b"\r\n" for f in fields) + b"\r\n"
		te = lambda *values: b"POST %s HTTP/1.1\r\nHost: t\r\n" % u.encode() + b"".join(
			b"Transfer-Encoding: %s\r\n" % v for v in values) + b"\r\n1\r\na\r\n0\r\n\r\n"
		cl = lambda *values: b"POST %s HTTP/1.1\r\nHost: t\r\n" % u.encode() + b"".join(
			b"Content-Length: %s\r\n" % v for v in values) + b"\r\nabc"
		body = lambda raw: post(u, b"", chunks=raw)
		start = lambda text: text + b"\r\nHost: t\r\n\r\n"
		good = chunked(ONE_CLICK, 5)
		return (
			# what everybody does
			("GET", yes(), [200]),
			("HEAD", start(b"HEAD /healthz HTTP/1.1"), [200]),
			("HEAD of nothing", start(b"HEAD /nothing HTTP/1.1"), [404]),
			("OPTIONS", start(b"OPTIONS /healthz HTTP/1.1"), [200]),
			("OPTIONS of the server", start(b"OPTIONS * HTTP/1.1"), [200]),
			("POST where there is nothing to post", post("/healthz", b"abc"), [405]),
			("POST to a link", post(self.link, b"abc"), [405]),
			("a pixel", start(b"GET %s HTTP/1.1" % self.pixel.encode()), [200]),
			("a pixel in absolute form", start(b"GET http://other:8025%s?x HTTP/1.1" % self.pixel.encode()), [200]),
			("a link with escapes of letters", start(b"GET /%%63/%s HTTP/1.1" % self.escaped(self.link[3:])), [302]),
			("a link with an escaped slash", start(b"GET /c%%2f%s HTTP/1.1" % self.link[3:].encode()), [404]),
			("a link escaped twice", start(b"GET /%%2563/%s HTTP/1.1" % self.link[3:].encode()), [404]),
			("a link behind dots", start(b"GET /x/../c/%s HTTP/1.1" % self.link[3:].encode()), [404]),
			("absolute form without a path", start(b"GET http://t HTTP/1.1"), [200]),
			("a later minor version", start(b"GET /healthz HTTP/1.9"), [200]),
			("three at once", yes() + start(b"HEAD / HTTP/1.1") + start(b"GET /robots.txt HTTP/1.1"), [200, 200, 200]),
			("HTTP/1.0 that would stay", b"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", [200]),
			# bodies
			("a length", post(u, ONE_CLICK), [200]),
			("a length, other content", post(u, ONE_CLICK[:-1] + b"x"), [400]),
			("a length with zeros in front", cl(b"0003"), [400]),
			("the largest body", post(u, b"a" * 4096), [400]),
			("chunks", post(u, b"", chunks=good), [200]),
			("one chunk for each byte", post(u, b"", chunks=chunked(ONE_CLICK, 1)), [200]),
			("extensions and trailers", post(u, b"", chunks=chunked(ONE_CLICK, 7, b';a="b c";d', b"X: y\r\nContent-Length: 4\r\n")), [200]),
			("chunks, other content", post(u, b"", chunks=chunked(ONE_CLICK + b"x", 5)), [400]),
			("the largest body in chunks", post(u, b"", chunks=chunked(b"a" * 4096, 100)), [400]),
			("chunks, and one more request", post(u, b"", chunks=good) + post(u, ONE_CLICK), [200, 200]),
			("a body that looks like a request", post(u, PROBE), [400]),
			("the same in chunks", post(u, b"", chunks=chunked(PROBE, 1000)), [400]),
			("no body at all", b"POST %s HTTP/1.1\r\nHost: t\r\n\r\n" % u.encode(), [400]),
			("Expect, and the body at once", post(u, ONE_CLICK, "Expect: 100-continue\r\n"), [200]),
			("an empty line in front", b"\r\n" + yes(), [200]),
			# sizes
			("a byte too much", post(u, b"a" * 4097), 413),
			("a length beyond any number", cl(b"9" * 40), 413),
			("chunks with a byte too much", post(u, b"", chunks=chunked(b"a" * 4097, 100)), 413),
			("a chunk beyond any number", body(b"fffffffffffffff\r\n"), 413),
			("more frame than content", body(chunked(b"a" * 4096, 1)), 413),
			("an endless extension", body(b"1;" + b"a" * 10000), 413),
			("endless trailers", body(b"0\r\n" + b"X: y\r\n" * 3000), 413),
			("an endless line", b"GET /" + b"a" * 20000, 414),
			("a line of the greatest length", start(b"GET /" + b"a" * (4608 - 14) + b" HTTP/1.1"), [404]),
			("a byte more", start(b"GET /" + b"a" * (4608 - 13) + b" HTTP/1.1"), 414),
			("an endless field", line + b"X: " + b"a" * 20000, 431),
			("an endless name", line + b"X" * 20000, 431),
			("too many fields", yes(*[b"X: y"] * 64), 431),
			# two lengths, or a length that is none
			("both lengths", post(u, b"", "Content-Length: 4\r\n", chunks=good), 400),
			("both lengths, the other way round", b"POST %s HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" % u.encode(), 400),
			("two lengths", cl(b"3", b"4"), 400),
			("one length twice", cl(b"3", b"3"), 400),
			("a list of lengths", cl(b"3, 3"), 400),
			("a plus", cl(b"+3"), 400),
			("a minus", cl(b"-3"), 400),
			("hexadecimal", cl(b"0x3"), 400),
			("a fraction", cl(b"3.0"), 400),
			("a space within", cl(b"1 3"), 400),
			("quoted", cl(b'"3"'), 400),
			("an empty length", cl(b""), 400),
			("a length behind a vertical tab", cl(b"\x0b3"), 400),
			("a length with a space before the colon", b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length : 3\r\n\r\nabc", 400),
			("a length with a NUL in its name", b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length\0: 3\r\n\r\nabc", 400),
			("a GET with a body", yes(b"Content-Length: 3"), 400),
			("a GET in chunks", yes(b"Transfer-Encoding: chunked"), 400),
			# codings
			("gzip in front", te(b"gzip, chunked"), 501),
			("gzip in front, in a line of its own", te(b"gzip", b"chunked"), 501),
			("gzip behind", te(b"chunked, gzip"), 400),
			("identity", te(b"identity"), 400),
			("chunked and identity", te(b"chunked", b"identity"), 400),
			("chunked twice", te(b"chunked, chunked"), 400),
			("xchunked", te(b"xchunked"), 400),
			("quoted chunked", te(b'"chunked"'), 400),
			("chunked behind a vertical tab", te(b"\x0bchunked"), 400),
			("chunked before a form feed", te(b"chunked\x0c"), 400),
			("chunked before a semicolon", te(b"chunked;"), 400),
			("a folded coding", te(b"\r\n chunked"), 400),
			("an empty coding", te(b""), 400),
			("an empty coding in front", te(b"", b"chunked"), 400),
			("an empty coding behind", te(b"chunked", b""), 400),
			("chunked with a bare CR behind", te(b"chunked\rX: y"), 400),
			("chunks of HTTP/1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
			# chunks
			("a chunk size with a sign", body(b"+1\r\na\r\n0\r\n\r\n"), 400),
			("with 0x", body(b"0x1\r\na\r\n0\r\n\r\n"), 400),
			("with an underscore", body(b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"), 400),
			("behind a space", body(b" 1\r\na\r\n0\r\n\r\n"), 400),
			("before a space", body(b"1 \r\na\r\n0\r\n\r\n"), 400),
			("before a tab and an extension", body(b"1\t;a\r\na\r\n0\r\n\r\n"), 400),
			("no size", body(b"\r\na\r\n0\r\n\r\n"), 400),
			("a size that ends with LF", body(b"1\na\r\n0\r\n\r\n"), 400),
			("an extension that ends with LF", body(b"1;a\nb\r\n0\r\n\r\n"), 400),
			("a CR in an extension", body(b"1;a\rb\r\na\r\n0\r\n\r\n"), 400),
			("data that ends late", body(b"1\r\nab\r\n0\r\n\r\n"), 400),
			("data that ends with LF", body(b"1\r\na\n0\r\n\r\n"), 400),
			("an end with LF", body(b"0\r\n\n"), 400),
			("a folded trailer", body(b"0\r\nX: y\r\n z\r\n\r\n"), 400),
			("a trailer without a colon", body(b"0\r\nGET / HTTP/1.1\r\n\r\n"), 400),
			# lines
			("a bare LF", b"GET / HTTP/1.1\nHost: t\n\n", 400),
			("a bare LF among CRLF", line + b"X: y\nZ: a\r\n\r\n", 400),
			("a bare LF at the end", line + b"\n", 400),
			("a bare CR", line + b"X: y\rZ: a\r\n\r\n", 400),
			("CR CR LF", line + b"X: y\r\r\n\r\n", 400),
			("a folded line", yes(b"X: a", b" b"), 400),
			("a folded line with a tab", yes(b"X: a", b"\tb"), 400),
			("a folded first line", b"GET / HTTP/1.1\r\n Host: t\r\n\r\n", 400),
			("a space before the colon", yes(b"X : y"), 400),
			("a tab before the colon", yes(b"X\t: y"), 400),
			("no name", yes(b": y"), 400),
			("no colon", yes(b"X"), 400),
			("a name in brackets", yes(b"(X): y"), 400),
			("a name beyond ASCII", yes(b"X\xc3\xa9: y"), 400),
			("NUL in a value", yes(b"X: a\0b"), 400),
			("an escape character", yes(b"X: \x1b[31m"), 400),
			("DEL", yes(b"X: \x7f"), 400),
			("two empty lines in front", b"\r\n\r\n" + yes(), 400),
			("a space in front", b" " + yes(), 400),
			# the first line
			("garbage", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
			("HTTP/0.9", b"GET /\r\n\r\n", 400),
			("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
			("HTTP/3.0", start(b"GET / HTTP/3.0"), 505),
			("a version of two digits", start(b"GET / HTTP/1.10"), 400),
			("a version in small letters", start(b"GET / http/1.1"), 400),
			("a version without a digit", start(b"GET / HTTP/1."), 400),
			("a space behind the version", start(b"GET / HTTP/1.1 "), 400),
			("two spaces", start(b"GET  / HTTP/1.1"), 400),
			("a tab for a space", start(b"GET\t/ HTTP/1.1"), 400),
			("a space in the target", start(b"GET /a b HTTP/1.1"), 400),
			("an unknown method", start(b"BREW / HTTP/1.1"), 501),
			("a method in small letters", start(b"get / HTTP/1.1"), 501),
			("TRACE", start(b"TRACE / HTTP/1.1"), 405),
			("PUT", b"PUT / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc", 405),
			("CONNECT", start(b"CONNECT t:443 HTTP/1.1"), 405),
			("CONNECT to a path", start(b"CONNECT / HTTP/1.1"), 400),
			("asterisk with GET", start(b"GET * HTTP/1.1"), 400),
			("no slash", start(b"GET healthz HTTP/1.1"), 400),
			("another scheme", start(b"GET file:///etc/passwd HTTP/1.1"), 400),
			("a user in the target", start(b"GET http://t@u/ HTTP/1.1"), 400),
			("a fragment", start(b"GET /#a HTTP/1.1"), 400),
			("half an escape", start(b"GET /%4 HTTP/1.1"), 400),
			("bytes beyond ASCII", start(b"GET /\xc3\xa9 HTTP/1.1"), 400),
			("NUL in the target", start(b"GET /\0 HTTP/1.1"), 400),
			# the rest
			("no Host", b"GET / HTTP/1.1\r\n\r\n", 400),
			("two Hosts", yes(b"Host: u"), 400),
			("a Host with a path", b"GET / HTTP/1.1\r\nHost: t/u\r\n\r\n", 400),
			("a Host with a comma and a space", b"GET / HTTP/1.1\r\nHost: t, u\r\n\r\n", 400),
			("a Host with a user", b"GET / HTTP/1.1\r\nHost: t@u\r\n\r\n", 400),
			("a Host with a bad port", b"GET / HTTP/1.1\r\nHost: t:8o\r\n\r\n", 400),
			("an expectation that nobody knows", yes(b"Expect: 200-ok"), 417),
		)

	@staticmethod
	def escaped(text):
		return "".join("%%%02x" % ord(c) for c in text).encode()

	def check(self, says, data, want, pieces):
		with self.subTest(says):
			got = self.agree(says, data + PROBE, self.talk(data, pieces + [PROBE]))
			self.assertEqual([a.status for a in got], [want] if isinstance(want, int) else want + [200], got)
			self.assertEqual(got[-1].fields.get("connection"), "close")

	def test_whole(self):
		for says, data, want in self.rows():
			self.check(says, data, want, [data])

	def test_in_two(self):
		for says, data, want in self.rows():
			cut = len(data) // 2
			self.check(says, data, want, [data[:cut], data[cut:]])

	def test_byte_by_byte(self):
		for says, data, want in self.rows():
			if len(data) < 3000:
				self.check(says, data, want, [bytes([b]) for b in data])

	def test_mutations(self):
		"""A thousand variations: the judge reads what we read, or one of us refuses."""
		seed = int(os.environ.get("SEED", "1"))
		dice = random.Random(seed)
		pieces = (b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"0", b"1", b"\0", b",", b"chunked", b"Content-Length: 3\r\n",
			b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n", b"\x0b", b";", b"\xff")
		rows = [data for _, data, _ in self.rows() if len(data) < 3000]
		answered = 0
		for _ in range(1000):
			data = dice.choice(rows) + dice.choice(rows)
			for _ in range(dice.randint(1, 3)):
				at, to = dice.randint(0, len(data)), dice.randint(0, 3)
				data = data[:at] + (dice.choice(pieces) if dice.random() < 0.7 else b"") + data[at + to:]
			answered += len(self.agree("seed %d" % seed, data, self.talk(data)))
		self.assertGreater(answered, 500)


class Answers(Rows):
	def test_fields(self):
		"""On everything: nobody keeps it, nobody lists it, nobody learns of it; no cookie, no version."""
		asked = (request("/"), request("/robots.txt"), request("/favicon.ico"), request("/nothing"), request(self.pixel), request(self.link),
			request(self.leave), request(self.leave, "POST", body=ONE_CLICK), request(self.link, "POST"), request("/", "OPTIONS"),
			b"GET / HTTP/1.1\r\n\r\n", request("/", "BREW"), b"GET / HTTP/9.9\r\nHost: t\r\n\r\n")
		for data in asked:
			answer = self.ask(data)
			for name, value in COMMON.items():
				self.assertEqual(answer.fields.get(name), value, data)
			self.assertNotIn("set-cookie", answer.fields)
			self.assertNotIn("server", answer.fields)
			self.assertNotIn("x-powered-by", answer.fields)
			self.assertRegex(answer.fields["date"], r"^\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT$")
			self.assertNotRegex(repr(answer), r"(?i)rekindle|libevent|openssl|\d+\.\d+\.\d+")
			if answer.fields.get("content-type", "").startswith("text/"):
				self.assertIn("default-src 'none'", answer.fields["content-security-policy"])
				self.assertIn("frame-ancestors 'none'", answer.fields["content-security-policy"])

	def test_head_is_get_without_the_body(self):
		for path in ("/", "/robots.txt", "/favicon.ico", "/nothing", self.pixel, self.link, self.leave):
			get, head = self.get(path), self.ask(request(path, "HEAD"), head=True)
			get.fields.pop("date"), head.fields.pop("date")
			self.assertEqual((head.status, head.fields), (get.status, get.fields), path)

	def test_options(self):
		for path, allow in ((self.link, "GET, HEAD, OPTIONS"), (self.leave, "GET, HEAD, POST, OPTIONS"), ("*", "GET, HEAD, POST, OPTIONS")):
			answer = self.ask(request(path, "OPTIONS"))
			self.assertEqual((answer.status, answer.fields["allow"], answer.body), (200, allow, b""))
		self.assertEqual(self.ask(request(self.link, "DELETE")).fields["allow"], "GET, HEAD, OPTIONS")
		self.assertEqual(self.touches(), [])

	def test_continue(self):
		"""Said to those who wait, and not to those who began."""
		for body in (post(self.leave, ONE_CLICK, "Expect: 100-continue\r\n"),
			post(self.leave, b"", "Expect: 100-continue\r\n", chunks=chunked(ONE_CLICK, 9))):
			head, _, rest = body.partition(b"\r\n\r\n")
			with Client(self.port) as c:
				c.send(head + b"\r\n\r\n")
				self.assertEqual(c.answer().status, 100)
				c.send(rest)
				self.assertEqual(c.answer().status, 200)
				c.send(body)
				self.assertEqual(c.answer().status, 200)


class Patience(Case):
	settings = {"request_within": "1s", "idle_timeout": "4s", "max_connections": "2000", "threads": "1"}

	def memory(self):
		"""What the process itself holds, in bytes."""
		with open("/proc/%d/status" % self.process.pid) as f:
			return int(re.search(r"RssAnon:\s+(\d+) kB", f.read())[1]) * 1024

	def test_slow_ones(self):
		"""A thousand who send a byte now and then: 408 for each in its time, small memory, and others are served meanwhile."""
		before = self.memory()
		clients = [Client(self.port) for _ in range(1000)]
		try:
			for c in clients:
				c.send("POST /u/x HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1")
			self.wait(lambda: self.metric("rekindle_connections") > 1000)
			self.assertLess((self.memory() - before) / 1000, 10000 if SANITIZED else 2500)
			self.assertEqual(self.get("/healthz").status, 200)
			for c in clients:
				self.assertEqual(c.answer().status, 408)
				self.assertTrue(c.ended())
		finally:
			for c in clients:
				c.sock.close()
		self.assertEqual(self.metric("rekindle_requests_timeout_total"), 1000)

	def test_one_who_does_not_read(self):
		"""What it asked for stays in its own pocket: we hold one answer, and hang up in time."""
		before = self.memory()
		data = request("/nothing") * 200
		with Client(self.port, timeout=0.5) as c:
			c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
			with self.assertRaises(OSError):
				while True:
					c.send(data)
			self.wait(lambda: self.metric("rekindle_connections") == 1)
			self.assertLess(self.memory() - before, 4 * 1024 * 1024)

	def test_resets(self):
		"""At every point of a request, and behind it."""
		data = request("/u/x", "POST", body=ONE_CLICK)
		for at in range(1, len(data) + 1):
			with Client(self.port) as c:
				c.send(data[:at])
				c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
		self.wait(lambda: self.metric("rekindle_connections") == 1)
		self.assertEqual(self.get("/healthz").status, 200)


class Vanished(Case):
	"""Peers behind a link that is cut: nothing comes any more, not even the end of the connection."""

	settings = {"threads": "1", "request_within": "2s", "idle_timeout": "3s", "http_listen": "0.0.0.0:0"}
	HERE, THERE = "198.18.77.1", "198.18.77.2"  # RFC 2544: of no real network

	def setUp(self):
		name = "rk%d" % os.getpid()
		self.link = name + "a"
		try:
			self.ip("netns", "add", name)
		except subprocess.CalledProcessError:
			print("skipped: no networks of our own here", flush=True)
			self.skipTest("no network namespaces")
		self.addCleanup(self.ip, "netns", "del", name)
		self.ip("link", "add", self.link, "type", "veth", "peer", "name", name + "b", "netns", name)
		self.addCleanup(self.ip, "link", "del", self.link)
		self.ip("addr", "add", self.HERE + "/30", "dev", self.link)
		self.ip("link", "set", self.link, "up")
		self.ip("-n", name, "addr", "add", self.THERE + "/30", "dev", name + "b")
		self.ip("-n", name, "link", "set", name + "b", "up")
		self.there = "/run/netns/" + name
		super().setUp()

	def ip(self, *words):
		subprocess.run(["ip", *words], check=True)

	def connect(self):
		"""A connection whose end is in the other network, where a socket stays that was made there."""
		enter = ctypes.CDLL(None, use_errno=True).setns
		with open("/proc/thread-self/ns/net") as home, open(self.there) as there:
			self.assertEqual(enter(there.fileno(), 0), 0)
			try:
				s = socket.socket()
			finally:
				self.assertEqual(enter(home.fileno(), 0), 0)
		self.addCleanup(s.close)
		s.settimeout(20)
		s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
		s.connect((self.HERE, self.port))
		return s

	def test_they_are_not_waited_for(self):
		"""In the middle of a request, between two, and with answers under way: each has its deadline."""
		half, idle, deaf = self.connect(), self.connect(), self.connect()
		half.sendall(b"GET /healthz HTTP/1.1\r\nHost")
		idle.sendall(request("/healthz"))
		self.assertIn(b"200", idle.recv(100))
		deaf.setblocking(False)
		with self.assertRaises(BlockingIOError):  # nobody reads the answers, so nobody takes requests any more
			while True:
				deaf.send(request("/nothing") * 20)
		self.wait(lambda: self.metric("rekindle_connections") == 4)  # one asks
		self.ip("link", "set", self.link, "down")
		self.wait(lambda: self.metric("rekindle_connections") == 1)
		self.assertEqual(self.get("/healthz").status, 200)


class Crowded(Case):
	settings = {"max_connections": "20", "threads": "1"}

	def test_the_refused_make_room(self):
		"""They have their answer, and are only waited for."""
		clients = []
		try:
			for _ in range(20):
				clients.append(Client(self.port))
				clients[-1].send("no request\n")
				self.assertEqual(clients[-1].answer().status, 400)
			self.assertEqual(self.get("/healthz").status, 200)
		finally:
			for c in clients:
				c.sock.close()


	def test_the_administrator_takes_nobody_s_place(self):
		"""Who has come beside the strangers who fill all places; the next stranger is served all the same."""
		clients = []
		try:
			for port in [self.port] * 20 + [self.admin] * 2:
				clients.append(Client(port))
				clients[-1].send(request("/healthz"))
				self.assertEqual(clients[-1].answer().status, 200)
			self.assertEqual(self.get("/healthz").status, 200)
		finally:
			for c in clients:
				c.sock.close()


class Idle(Case):
	N = 10000
	settings = {"max_connections": str(N), "idle_timeout": "5m", "threads": "1"}

	def setUp(self):
		was = resource.getrlimit(resource.RLIMIT_NOFILE)
		resource.setrlimit(resource.RLIMIT_NOFILE, (2 * self.N, max(was[1], 2 * self.N)))
		self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, was)
		super().setUp()

	def test_ten_thousand(self):
		"""Idle ones cost next to nothing, and the oldest makes room for the one too many."""
		memory = lambda: Patience.memory(self)
		self.get("/healthz")
		before = memory()
		clients = []
		try:
			for i in range(self.N):
				c = Client(self.port)
				clients.append(c)
				c.send(request("/healthz"))
				if i % 100 == 99:
					for c in clients[i - 99:]:
						self.assertEqual(c.answer().status, 200)
			self.assertEqual(self.metric("rekindle_connections"), self.N + 1)
			each = (memory() - before) / self.N
			print("%.0f bytes for an idle connection" % each)
			if not SANITIZED:
				self.assertLess(each, 512)
			# Not the oldest connection but the longest idle one.
			clients[0].send(request("/healthz"))
			self.assertEqual(clients[0].answer().status, 200)
			self.assertEqual(self.get("/healthz").status, 200)
			self.assertTrue(clients[1].ended())
			for c in (clients[0], clients[2], clients[-1]):
				c.send(request("/healthz"))
				self.assertEqual(c.answer().status, 200)
		finally:
			for c in clients:
				c.sock.close()


if __name__ == "__main__":
	unittest.main()
