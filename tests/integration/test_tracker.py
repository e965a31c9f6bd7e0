"""test_tracker.py -- rekindle-tracker from outside: real sockets, real files, hostile clients.

	REKINDLE_BUILD=DIR python3 tests/integration/test_tracker.py [-v] [Class.test]

DIR has rekindle-tracker and rekindle; the default is the top of the source tree.
Python's standard library only.
"""

import collections
import contextlib
import ctypes
import email
import email.policy
import html
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("REKINDLE_BUILD") or TOP)
SANITIZED = b"__asan_init" in open(os.path.join(BUILD, "rekindle-tracker"), "rb").read()

PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
APPLE = "Mozilla/5.0"
DESTINATION = "https://shop.example/a%20b;c?u=1&v=%C3%A9#top"
GIF = bytes.fromhex("47494638396101000100800100000000ffffff21f90401000001002c00000000010001000002024c01003b")

MESSAGE = """From: Shop <news@shop.example>
To: %s
Subject: spring
MIME-Version: 1.0
Content-Type: text/html; charset=utf-8

<html><body><p><a href="%s">see</a></p></body></html>
"""


class Answer:
	def __init__(self, head, body):
		lines = head.decode("latin-1").split("\r\n")
		self.version, status, self.reason = lines[0].split(" ", 2)
		self.status = int(status)
		self.fields = {}
		for line in lines[1:]:
			name, value = line.split(":", 1)
			assert name.lower() not in self.fields, "%s twice" % name
			self.fields[name.lower()] = value.strip()
		self.body = body

	def __repr__(self):
		return "<%d %s %r>" % (self.status, self.fields, self.body[:200])


class Client:
	"""One connection.  Bytes in, answers out, nothing in between."""

	def __init__(self, port, host="127.0.0.1", timeout=30):
		self.sock = socket.create_connection((host, port), timeout=timeout)
		self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		self.rest = b""

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.sock.close()

	def send(self, data):
		self.sock.sendall(data.encode() if isinstance(data, str) else data)

	def answer(self, head=False):
		"""The next answer; None at the end of the connection."""
		while b"\r\n\r\n" not in self.rest:
			more = self.sock.recv(65536)
			if not more:
				assert self.rest == b"", "half an answer: %r" % self.rest
				return None
			self.rest += more
		top, _, self.rest = self.rest.partition(b"\r\n\r\n")
		answer = Answer(top, b"")
		want = 0 if head or answer.status == 100 else int(answer.fields["content-length"])
		while len(self.rest) < want:
			more = self.sock.recv(65536)
			assert more, "half a body"
			self.rest += more
		answer.body, self.rest = self.rest[:want], self.rest[want:]
		return answer

	def ended(self):
		"""The server has hung up, in good order."""
		return self.rest == b"" and self.sock.recv(1) == b""


def request(path, method="GET", agent=PERSON, fields="", body=b""):
	if isinstance(body, str):
		body = body.encode()
	length = "Content-Length: %d\r\n" % len(body) if body or method == "POST" else ""
	return ("%s %s HTTP/1.1\r\nHost: t.example\r\nUser-Agent: %s\r\n%s%s\r\n" % (method, path, agent, fields, length)).encode() + body


class Case(unittest.TestCase):
	settings = {}

	def setUp(self):
		self.dir = tempfile.mkdtemp(prefix="test_tracker.")
		self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
		os.mkdir(self.path("data"))
		self.now = {"tracking_url": "http://t.example", "privacy_profile": "classic", "data_dir": self.path("data"),
			"key_file": self.path("keys"), "http_listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0", "threads": "2",
			"facts_size": "64M", "state_size": "64M", "max_repeats": "0"}
		self.now.update(self.settings)
		self.configure()
		self.cli("key", "new")
		self.process = None
		self.addCleanup(self.kill)
		self.start()

	def path(self, name):
		return os.path.join(self.dir, name)

	def configure(self, **changes):
		self.now.update(changes)
		with open(self.path("conf"), "w") as f:
			f.write("".join("%s = %s\n" % item for item in self.now.items()))

	def cli(self, *args, input=None, code=0):
		done = subprocess.run([os.path.join(BUILD, "rekindle"), "-c", self.path("conf"), *args], input=input,
			capture_output=True, text=True, timeout=60)
		if code is not None:
			self.assertEqual(done.returncode, code, done.stdout + done.stderr)
		return done

	def start(self):
		log = open(self.path("log"), "a")
		self.mark = log.tell()
		self.process = subprocess.Popen([os.path.join(BUILD, "rekindle-tracker"), "-c", self.path("conf")], stderr=log,
			stdout=log)
		log.close()
		self.wait(lambda: " started" in self.log() or self.process.poll() is not None)
		self.assertIn(" started", self.log())
		self.ports = [int(p) for p in re.findall(r"listening on http \S+:(\d+)$", self.log(), re.M)]
		self.port = self.ports[0]
		admin = re.search(r"listening on admin 127\.0\.0\.1:(\d+)$", self.log(), re.M)
		self.admin = int(admin[1]) if admin else None

	def log(self):
		with open(self.path("log")) as f:
			f.seek(self.mark)
			return f.read()

	def stop(self):
		"""TERM, and a good end."""
		self.process.send_signal(signal.SIGTERM)
		self.assertEqual(self.process.wait(60), 0, self.log())
		self.process = None

	def kill(self):
		if self.process is not None and self.process.poll() is None:
			self.process.kill()
			self.process.wait()

	def tearDown(self):
		if self.process is not None:
			self.assertIsNone(self.process.poll(), self.log())
			self.stop()
		self.assertNotRegex(self.log(), r"Sanitizer|runtime error")

	def wait(self, what, timeout=60):
		end = time.monotonic() + timeout
		while not what():
			self.assertLess(time.monotonic(), end, "in vain; log:\n" + self.log())
			time.sleep(0.02)

	def urls(self, to="ann@reader.example", destination=DESTINATION, campaign="spring"):
		"""Paths of the pixel, the link and the unsubscription of a message to somebody."""
		done = self.cli("tag", "--to", to, "--campaign", campaign, input=MESSAGE % (to, html.escape(destination)))
		mail = email.message_from_string(done.stdout, policy=email.policy.default)
		page = mail.get_content()

		def one(pattern, text):
			found = re.search(r"http://t\.example(%s)" % pattern, text)
			return found and found[1]

		return (one(r"/o/[\w-]+\.gif", page), one(r"/c/[\w-]+", page), one(r"/u/[\w-]+", str(mail["List-Unsubscribe"])))

	def touches(self, kind=None):
		lines = self.cli("export", code=None).stdout.splitlines()
		return [t for t in map(json.loads, lines) if kind is None or t["type"] == kind]

	def ask(self, data, port=None, head=False):
		with Client(port or self.port) as c:
			c.send(data)
			return c.answer(head)

	def get(self, path, **more):
		return self.ask(request(path, **more))

	def metric(self, name):
		body = self.ask(request("/metrics"), self.admin).body.decode()
		return int(re.search(r"^%s (\d+)$" % re.escape(name), body, re.M)[1])


class Hits(Case):
	settings = {"http_listen": "127.0.0.1:0 [::1]:0"} if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6") else {}

	def test_pixel(self):
		answer = self.get(self.urls()[0])
		self.assertEqual((answer.status, answer.body), (200, GIF))
		self.assertEqual(answer.fields["content-type"], "image/gif")
		self.assertEqual(answer.fields["cache-control"], "no-store")
		self.assertNotIn("set-cookie", answer.fields)
		self.assertNotIn("server", answer.fields)
		self.assertEqual([(t["type"], t["verdict"]) for t in self.touches()], [("opened", "human")])

	def test_click(self):
		answer = self.get(self.urls()[1])
		self.assertEqual((answer.status, answer.fields["location"], answer.body), (302, DESTINATION, b""))
		self.assertEqual(answer.fields["referrer-policy"], "no-referrer")
		self.assertEqual(answer.fields["x-robots-tag"], "noindex")
		touch, = self.touches()
		self.assertEqual((touch["type"], touch["verdict"], touch["url"]), ("clicked", "human", DESTINATION))

	def test_machines_are_served_and_told_apart(self):
		pixel, link, _ = self.urls()
		self.assertEqual(self.get(pixel, agent=APPLE).status, 200)
		self.assertEqual(self.get(link, agent="curl/8.0").fields["location"], DESTINATION)
		self.assertEqual(self.get(link, fields="Sec-Purpose: prefetch;prerender\r\n").fields["location"], DESTINATION)
		self.assertEqual([t["verdict"] for t in self.touches()], ["privacy-open", "scanner", "prefetch"])

	def test_head_is_answered_and_not_counted(self):
		pixel, link, leave = self.urls()
		with Client(self.port) as c:
			for path, status in ((pixel, 200), (link, 302), (leave, 200), ("/nothing", 404)):
				c.send(request(path, "HEAD"))
				self.assertEqual(c.answer(head=True).status, status)
		self.assertEqual(self.touches(), [])

	def test_forged_and_foreign(self):
		pixel, link, leave = self.urls()
		token = link[3:]
		for path in ("/c/" + token[:-1], "/c/" + token + "A", "/c/" + token[:9] + ("B" if token[9] != "B" else "C") + token[10:],
			"/c/" + pixel[3:-4], "/o/%s.gif" % token, "/u/" + token, "/c/" + leave[3:], "/c/", "/c/" + "A" * 4000,
			"/c/https://evil.example/", "/o/x.gif?src=http://127.0.0.1/"):
			answer = self.get(path)
			self.assertEqual(answer.status, 404, path)
			self.assertNotIn("location", answer.fields)
		self.assertEqual(self.touches(), [])

	def test_plain_pages(self):
		for path, has in (("/", b"links"), ("/healthz", b"ok\n"), ("/robots.txt", b"Disallow: /"), ("/favicon.ico", b"GIF89a")):
			answer = self.get(path)
			self.assertEqual(answer.status, 200)
			self.assertIn(has, answer.body)
		for path in ("/metrics", "/readyz"):
			self.assertEqual(self.get(path).status, 404)

	def test_admin(self):
		self.get(self.urls()[0])
		self.assertEqual(self.ask(request("/readyz"), self.admin).body, b"ready\n")
		self.assertEqual(self.metric('rekindle_hits_total{kind="open",verdict="human"}'), 1)
		self.assertEqual(self.metric("rekindle_touches_durable_total"), 1)
		self.wait(lambda: self.metric("rekindle_fold_lag") == 0)

	@unittest.skipUnless(settings, "no IPv6")
	def test_ipv6(self):
		with Client(self.ports[1], "::1") as c:
			c.send(request("/healthz"))
			self.assertEqual(c.answer().status, 200)

	def test_a_second_tracker_on_the_same_port(self):
		self.configure(http_listen="127.0.0.1:%d" % self.port)
		done = subprocess.run([os.path.join(BUILD, "rekindle-tracker"), "-c", self.path("conf")], capture_output=True,
			text=True, timeout=60)
		self.assertEqual(done.returncode, 1)
		self.assertIn("127.0.0.1:%d: bind: Address already in use" % self.port, done.stderr)


class Rush(Case):
	settings = {"threads": "1"}

	def test_many_who_connect_for_one_hit_each(self):
		pixel, link, _ = self.urls()
		rounds, at_once = 20, 200
		for _ in range(rounds):
			with contextlib.ExitStack() as stack:
				clients = [stack.enter_context(Client(self.port)) for _ in range(at_once)]
				for n, client in enumerate(clients):
					client.send(request((pixel, link)[n % 2], fields="Connection: close\r\n"))
				for n, client in enumerate(clients):
					self.assertEqual(client.answer().status, (200, 302)[n % 2])
					self.assertTrue(client.ended())
		each = rounds * at_once // 2
		self.assertEqual(collections.Counter(t["type"] for t in self.touches()), {"opened": each, "clicked": each})


class Unsubscribe(Case):
	ONE_CLICK = "List-Unsubscribe=One-Click"
	FORM = "Content-Type: application/x-www-form-urlencoded\r\n"

	def test_get_shows_a_page_and_changes_nothing(self):
		leave = self.urls()[2]
		answer = self.get(leave)
		page = answer.body.decode()
		self.assertEqual(answer.status, 200)
		self.assertRegex(page, r'<html lang="en" dir="ltr">')
		self.assertIn('<form method="post">', page)
		self.assertNotIn("<script", page)
		self.assertIn("style-src 'self';", answer.fields["content-security-policy"])
		style = self.get(urllib.parse.urljoin(leave, re.search(r'<link rel="stylesheet" href="(.*?)">', page)[1]))
		self.assertEqual(style.status, 200)
		self.assertEqual(style.fields["content-type"], "text/css; charset=utf-8")
		self.assertIn("default-src 'none'", answer.fields["content-security-policy"])
		self.get(leave + "?" + self.ONE_CLICK)
		self.assertEqual(self.touches(), [])

	def left(self, to):
		self.wait(lambda: "unsubscribed" in self.cli("why", to, code=None).stdout)

	def test_one_click(self):
		answer = self.get(self.urls()[2], method="POST", fields=self.FORM, body=self.ONE_CLICK)
		self.assertEqual(answer.status, 200)
		self.assertNotIn("location", answer.fields)
		self.assertNotIn("set-cookie", answer.fields)
		self.assertEqual([t["type"] for t in self.touches()], ["left"])
		self.left("ann@reader.example")

	def test_one_click_multipart(self):
		body = '--b1\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--b1--\r\n'
		answer = self.get(self.urls("bob@reader.example")[2], method="POST", body=body,
			fields="Content-Type: multipart/form-data; boundary=b1\r\n")
		self.assertEqual(answer.status, 200)
		self.left("bob@reader.example")

	def test_the_button(self):
		"""As a browser would: what the form on the page says, sent to the page's own address."""
		leave = self.urls("eve@reader.example")[2]
		page = self.get(leave).body.decode()
		name, value = re.search(r'<button type="submit" name="([^"]*)" value="([^"]*)"', page).groups()
		answer = self.get(leave, method="POST", fields=self.FORM, body="%s=%s" % (name, value))
		self.assertEqual(answer.status, 200)
		self.left("eve@reader.example")

	def test_expect(self):
		with Client(self.port) as c:
			head, _, body = request(self.urls()[2], "POST", fields=self.FORM + "Expect: 100-continue\r\n",
				body=self.ONE_CLICK).partition(b"\r\n\r\n")
			c.send(head + b"\r\n\r\n")
			self.assertEqual(c.answer().status, 100)
			c.send(body)
			self.assertEqual(c.answer().status, 200)

	def test_refusals(self):
		leave = self.urls()[2]
		for method, path, body, status in (("POST", leave, "", 400), ("POST", leave, "List-Unsubscribe=No", 400),
			("POST", leave + "A", self.ONE_CLICK, 404), ("PUT", leave, self.ONE_CLICK, 405)):
			answer = self.get(path, method=method, fields=self.FORM, body=body)
			self.assertEqual(answer.status, status)
		self.assertEqual(answer.fields["allow"], "GET, HEAD, POST, OPTIONS")
		self.assertEqual(self.touches(), [])


class Protocol(Case):
	def test_keep_alive(self):
		with Client(self.port) as c:
			for _ in range(20):
				c.send(request("/healthz"))
				self.assertEqual(c.answer().body, b"ok\n")
			c.send(request("/healthz", fields="Connection: close\r\n"))
			answer = c.answer()
			self.assertEqual(answer.fields["connection"], "close")
			self.assertTrue(c.ended())

	def test_http_1_0(self):
		with Client(self.port) as c:
			c.send("GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
			self.assertEqual(c.answer().fields["connection"], "keep-alive")
			c.send("GET /healthz HTTP/1.0\r\n\r\n")
			self.assertEqual(c.answer().fields["connection"], "close")
			self.assertTrue(c.ended())

	def test_pipelined_in_order(self):
		"""Answers that wait for the disk and answers that do not, in one burst."""
		pixel, link, leave = self.urls()
		post = request(leave, "POST", fields=Unsubscribe.FORM, body=Unsubscribe.ONE_CLICK)
		burst = [(request(pixel), 200), (request("/nothing"), 404), (request(link), 302), (post, 200), (request("/healthz"), 200)]
		with Client(self.port) as c:
			c.send(b"".join(data for data, _ in burst) * 10)
			for _ in range(10):
				for _, status in burst:
					self.assertEqual(c.answer().status, status)
		self.assertEqual(len(self.touches()), 30)

	def test_more_pipelined_than_any_buffer(self):
		pixel = self.urls()[0]
		with Client(self.port) as c:
			sender = threading.Thread(target=c.send, args=(request(pixel) * 1000,))
			sender.start()
			for _ in range(1000):
				self.assertEqual(c.answer().status, 200)
			sender.join()
		self.assertEqual(len(self.touches()), 1000)

	def test_byte_by_byte(self):
		link = self.urls()[1]
		with Client(self.port) as c:
			for byte in request(link):
				c.send(bytes([byte]))
			self.assertEqual(c.answer().fields["location"], DESTINATION)
			for byte in request("/u/x", "POST", body=Unsubscribe.ONE_CLICK):
				c.send(bytes([byte]))
			self.assertEqual(c.answer().status, 404)

	def test_half_closed(self):
		with Client(self.port) as c:
			c.send(request(self.urls()[0]))
			c.sock.shutdown(socket.SHUT_WR)
			self.assertEqual(c.answer().status, 200)
			self.assertTrue(c.ended())

	def test_hostile(self):
		line = "GET / HTTP/1.1\r\nHost: t\r\n"
		rows = (
			("garbage", "\x16\x03\x01\x02\x00", 400),
			("a bare LF", "GET / HTTP/1.1\nHost: t\n\n", 400),
			("no Host", "GET / HTTP/1.1\r\n\r\n", 400),
			("two Hosts", line + "Host: t\r\n\r\n", 400),
			("a folded line", line + "X: a\r\n b\r\n\r\n", 400),
			("a space before the colon", line + "X : a\r\n\r\n", 400),
			("NUL", line + "X: \0\r\n\r\n", 400),
			("both lengths", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
			("two lengths", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
			("a signed length", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: +3\r\n\r\nabc", 400),
			("a coding that nobody knows", "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
			("too large a body", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4097\r\n\r\n" + "a" * 4097, 413),
			("an endless line", "GET /" + "a" * 100000, 414),
			("an endless head", line + "X: " + "a" * 100000, 431),
			("too many fields", line + "X: a\r\n" * 100 + "\r\n", 431),
			("an unknown method", "BREW / HTTP/1.1\r\nHost: t\r\n\r\n", 501),
			("another version", "GET / HTTP/3.0\r\nHost: t\r\n\r\n", 505),
			("an unmet expectation", line + "Expect: x\r\n\r\n", 417),
		)
		for says, data, status in rows:
			with self.subTest(says), Client(self.port) as c:
				try:
					# A second request behind it must never be answered.
					c.send(data.encode("latin-1") + request("/healthz"))
				except OSError:
					pass
				answer = c.answer()
				self.assertEqual((answer.status, answer.fields["connection"]), (status, "close"))
				self.assertTrue(c.ended())
		self.assertEqual(self.get("/healthz").status, 200)

	def test_reset_while_the_touch_is_written(self):
		pixel = self.urls()[0]
		for _ in range(100):
			with Client(self.port) as c:
				c.send(request(pixel))
				c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
		self.assertEqual(self.get(pixel).status, 200)

	def test_crowd(self):
		"""64 connections at once: every answered hit is recorded once."""
		pixel, n = self.urls()[0], 50
		failures = []

		def visit():
			try:
				with Client(self.port, timeout=60) as c:
					for _ in range(n):
						c.send(request(pixel))
						assert c.answer().status == 200
			except Exception as e:
				failures.append(e)

		threads = [threading.Thread(target=visit) for _ in range(64)]
		for t in threads:
			t.start()
		for t in threads:
			t.join()
		self.assertEqual(failures, [])
		self.stop()
		self.assertEqual(len(self.touches("opened")), 64 * n)


class Limits(Case):
	settings = {"request_within": "700ms", "idle_timeout": "1500ms", "max_connections": "20", "threads": "1"}

	def test_a_request_has_one_deadline(self):
		"""A byte now and then does not buy more time."""
		with Client(self.port) as c:
			began = time.monotonic()
			c.send("GET / HTTP/1.1\r\nX: ")
			c.sock.settimeout(0.1)
			answer = None
			while answer is None:
				self.assertLess(time.monotonic() - began, 30)
				try:
					c.send("a")
					answer = c.answer()
				except socket.timeout:
					pass
			self.assertEqual(answer.status, 408)
			self.assertGreater(time.monotonic() - began, 0.6)

	def test_a_body_that_never_comes(self):
		with Client(self.port) as c:
			c.send("POST /u/x HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc")
			self.assertEqual(c.answer().status, 408)
			self.assertTrue(c.ended())

	def test_idle(self):
		with Client(self.port) as never, Client(self.port) as once:
			once.send(request("/healthz"))
			self.assertEqual(once.answer().status, 200)
			self.assertTrue(never.ended())
			self.assertTrue(once.ended())

	def test_the_oldest_idle_one_makes_room(self):
		clients = []
		try:
			for _ in range(25):
				c = Client(self.port)
				clients.append(c)
				c.send(request("/healthz"))
				self.assertEqual(c.answer().status, 200)
			for c in clients[:5]:
				self.assertTrue(c.ended())
			clients[5].send(request("/healthz"))
			self.assertEqual(clients[5].answer().status, 200)
			self.assertEqual(self.metric("rekindle_connections_turned_away_total"), 0)
		finally:
			for c in clients:
				c.sock.close()

	def test_half_a_request_keeps_no_place(self):
		clients = []
		try:
			for _ in range(20):
				clients.append(Client(self.port))
				clients[-1].send("GET /")
			self.wait(lambda: self.metric("rekindle_connections") > 20)
			with Client(self.port) as c:
				c.send(request("/healthz"))
				self.assertEqual(c.answer().status, 200)
			self.assertTrue(clients[0].ended())
			# Whoever is cut off may have been a reader: that is told.
			self.assertGreater(self.metric("rekindle_connections_turned_away_total"), 0)
			self.assertIn("max_connections reached; clients are turned away", self.log())
		finally:
			for c in clients:
				c.sock.close()

	def test_no_descriptors(self):
		"""accept(2) fails: no spinning, and back in business when there are some again."""
		self.assertEqual(self.get("/healthz").status, 200)
		used = len(os.listdir("/proc/%d/fd" % self.process.pid))
		was = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
		resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (used + 2, was[1]))
		clients = []
		try:
			for _ in range(6):
				clients.append(Client(self.port))
				clients[-1].send("GET /")
			ticks = self.ticks()
			time.sleep(0.5)
			self.assertLess(self.ticks() - ticks, 20, "busy while there is nothing to do")
			resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, was)
			time.sleep(0.3)
			self.assertEqual(self.get("/healthz").status, 200)
		finally:
			for c in clients:
				c.sock.close()

	def ticks(self):
		with open("/proc/%d/stat" % self.process.pid) as f:
			fields = f.read().rpartition(")")[2].split()
		return int(fields[11]) + int(fields[12])


class Full(Case):
	"""No room for touches, neither in their file nor in the journal."""

	settings = {"facts_size": "1M", "journal_size": "64k"}

	def fill(self):
		"""In large steps, then in single ones, until not even one touch fits."""
		line = '{"type":"sent","address":"r%d@fill.example","at":"2026-11-01T00:00:00Z","stream":"default","campaign":"fill"}\n'
		for n in (20000, 100, 10, 1):
			while self.cli("import", input="".join(line % i for i in range(n)), code=None).returncode == 0:
				pass

	def leave(self, url):
		return self.get(url, method="POST", fields=Unsubscribe.FORM, body=Unsubscribe.ONE_CLICK)

	def hit_until_none_is_recorded(self, pixel):
		def refused():
			self.assertEqual(self.get(pixel).body, GIF)
			return self.metric("rekindle_hits_unrecorded_total") > 0
		self.wait(refused)

	def test_full(self):
		pixel, link, leave = self.urls()
		self.fill()
		self.hit_until_none_is_recorded(pixel)
		self.assertEqual(self.get(pixel).body, GIF)
		self.assertEqual(self.get(link).fields["location"], DESTINATION)
		with Client(self.port) as c:
			answer = None
			while answer is None or answer.status == 200:
				c.send(request(leave, "POST", fields=Unsubscribe.FORM, body=Unsubscribe.ONE_CLICK))
				answer = c.answer()
		self.assertEqual(answer.status, 503)
		self.assertIn("retry-after", answer.fields)
		self.assertEqual(self.ask(request("/readyz"), self.admin).status, 503)
		self.assertGreaterEqual(self.metric("rekindle_hits_unrecorded_total"), 2)
		self.assertEqual(self.metric("rekindle_writer_failing"), 1)


class AlmostFull(Full):
	"""The file of touches is full, and the journal has room: what is promised is kept once there is room."""

	settings = {"facts_size": "1M"}

	def test_full(self):
		_, link, leave = self.urls()
		self.fill()
		self.assertEqual(self.leave(leave).status, 200)
		self.wait(lambda: self.metric("rekindle_writer_failing") == 1)
		self.assertEqual(self.ask(request("/readyz"), self.admin).status, 503)
		self.assertEqual(self.get(link).fields["location"], DESTINATION)
		self.assertEqual(self.leave(leave).status, 200)
		self.assertNotIn("left", [t["type"] for t in self.touches()])
		self.process.kill()
		self.process.wait()
		self.configure(facts_size="64M")
		self.start()
		self.assertIn("left", [t["type"] for t in self.touches()])


class Tight(Full):
	"""What strangers can send without end stops before what somebody says."""

	settings = {"facts_size": "2M"}

	def test_full(self):
		pixel, link, leave = self.urls()
		line = '{"type":"sent","address":"fill@fill.example","at":"2026-11-01T00:00:00Z","stream":"default","campaign":"fill"}\n'

		def used():
			return self.metric("rekindle_facts_used_bytes") / self.metric("rekindle_facts_limit_bytes")
		before, n = used(), 16500
		while before < 0.76: # full at 0.875
			self.cli("import", input=n * line)
			self.wait(lambda: used() > before)
			before, n = used(), 300
		self.hit_until_none_is_recorded(pixel)
		self.assertEqual(self.get(link).fields["location"], DESTINATION)
		self.assertEqual(self.leave(leave).status, 200)
		self.wait(lambda: "left" in [t["type"] for t in self.touches()])
		self.assertEqual(self.metric("rekindle_writer_failing"), 0)
		self.assertNotIn("clicked", [t["type"] for t in self.touches()])
		self.configure(facts_size="64M")
		self.process.send_signal(signal.SIGHUP)

		def recorded():
			self.get(link)
			return "clicked" in [t["type"] for t in self.touches()]
		self.wait(recorded)


class Repeats(Case):
	settings = {"max_repeats": 5}

	def test_the_same_again_and_again(self):
		pixel, link, leave = self.urls()
		for _ in range(20):
			self.assertEqual(self.get(pixel).body, GIF)
			self.assertEqual(self.get(link).fields["location"], DESTINATION)
			answer = self.get(leave, method="POST", fields=Unsubscribe.FORM, body=Unsubscribe.ONE_CLICK)
			self.assertEqual(answer.status, 200)
		self.get(self.urls("bob@reader.example")[0])
		self.get(self.urls(campaign="summer")[0])
		seen = collections.Counter((t["type"], t["who"], t["campaign_id"]) for t in self.touches())
		ann = {kind: n for (kind, *_), n in seen.items() if n > 1}
		for kind in ("opened", "clicked"): # of each thread
			self.assertIn(ann[kind], range(5, 5 * len(os.sched_getaffinity(0)) + 1))
		self.assertEqual(ann["left"], 20)
		self.assertEqual(self.metric("rekindle_hits_repeated_total"), 40 - ann["opened"] - ann["clicked"])
		self.assertEqual(sorted(seen.values())[:-3], [1, 1], "somebody else, and another campaign")


class Late(Case):
	settings = {"answer_within": "0"}

	def test_answers_do_not_wait(self):
		pixel, link, _ = self.urls()
		with Client(self.port) as c:
			for _ in range(50):
				c.send(request(pixel) + request(link))
				self.assertEqual(c.answer().body, GIF)
				self.assertEqual(c.answer().fields["location"], DESTINATION)
			self.assertEqual(self.metric("rekindle_answers_late_total"), 100)
		self.stop()
		self.assertEqual(len(self.touches()), 100)

	def test_what_was_kept_survives_the_end_of_the_daemon(self):
		pixel, link, _ = self.urls()
		with Client(self.port) as c:
			c.send(50 * (request(pixel) + request(link)))
			for _ in range(50):
				self.assertEqual(c.answer().body, GIF)
				self.assertEqual(c.answer().fields["location"], DESTINATION)
			self.wait(lambda: self.metric("rekindle_touches_durable_total") == 100)
			self.process.kill()
		self.process.wait()
		self.start()
		self.assertEqual(len(self.touches()), 100)

	def test_unsubscribes_among_hits_are_answered(self):
		"""Whose flush ends with what nobody waits for."""
		pixel, _, leave = self.urls()
		over = threading.Event()

		def flood():
			with Client(self.port) as c:
				while not over.is_set():
					c.send(20 * request(pixel))
					for _ in range(20):
						c.answer()
		flooding = threading.Thread(target=flood)
		flooding.start()
		try:
			for _ in range(100):
				answer = self.get(leave, method="POST", fields=Unsubscribe.FORM, body=Unsubscribe.ONE_CLICK)
				self.assertEqual(answer.status, 200)
		finally:
			over.set()
			flooding.join()

	def test_an_unsubscribe_waits_all_the_same(self):
		pixel, _, leave = self.urls()
		with Client(self.port) as c:
			c.send(20 * request(pixel) + request(leave, "POST", fields=Unsubscribe.FORM, body=Unsubscribe.ONE_CLICK))
			for _ in range(20):
				self.assertEqual(c.answer().body, GIF)
			self.assertEqual(c.answer().status, 200)
			self.process.kill()
		self.process.wait()
		self.start()
		self.assertIn("left", [t["type"] for t in self.touches()])


class Stalled(Case):
	"""Somebody else holds the lock of facts: nothing can be written."""

	def hold(self):
		try:
			lmdb = ctypes.CDLL("liblmdb.so.0")
		except OSError:
			self.skipTest("no liblmdb.so.0")
		env, txn = ctypes.c_void_p(), ctypes.c_void_p()
		nosubdir, notls = 0x4000, 0x200000
		self.assertEqual(lmdb.mdb_env_create(ctypes.byref(env)), 0)
		self.assertEqual(lmdb.mdb_env_open(env, self.path("data/facts.mdb").encode(), nosubdir | notls, 0o640), 0)
		self.assertEqual(lmdb.mdb_txn_begin(env, None, 0, ctypes.byref(txn)), 0)

		def release():
			lmdb.mdb_txn_abort(txn)
			lmdb.mdb_env_close(env)

		return release

	def test_the_journal_takes_it(self):
		pixel, link, leave = self.urls()
		release = self.hold()
		try:
			self.assertEqual(self.get(pixel).body, GIF)
			self.assertEqual(self.get(link).fields["location"], DESTINATION)
			answer = self.get(leave, method="POST", fields=Unsubscribe.FORM, body=Unsubscribe.ONE_CLICK)
			self.assertEqual(answer.status, 200)
			self.assertEqual(self.metric("rekindle_answers_late_total"), 0)
		finally:
			release()
		self.wait(lambda: len(self.touches()) == 3)


class StalledLong(Stalled):
	"""And the journal is full."""

	settings = {"journal_size": "64k"}

	def test_the_journal_takes_it(self):
		pixel, link, leave = self.urls()
		release, before = self.hold(), 0
		try:
			with Client(self.port) as c:
				while self.metric("rekindle_answers_late_total") == 0:
					for _ in range(20):
						c.send(request(pixel))
						self.assertEqual(c.answer().body, GIF)
						before += 1
			late = self.metric("rekindle_answers_late_total")
			self.assertEqual(self.get(pixel).body, GIF)
			self.assertEqual(self.get(link).fields["location"], DESTINATION)
			began = time.monotonic()
			answer = self.get(leave, method="POST", fields=Unsubscribe.FORM, body=Unsubscribe.ONE_CLICK)
			self.assertEqual(answer.status, 503)
			self.assertIn("retry-after", answer.fields)
			self.assertGreater(time.monotonic() - began, 4.5)
			self.assertEqual(self.metric("rekindle_answers_late_total"), late + 3)
		finally:
			release()
		self.wait(lambda: len(self.touches()) == before + 3)


class StalledUnheeded(Stalled):
	"""The journal is full, and nobody waits for it."""

	settings = {"journal_size": "64k", "answer_within": "0"}

	def test_the_journal_takes_it(self):
		pixel, _, _ = self.urls()
		release, sent, steps = self.hold(), 0, set()

		def waiting():
			return self.metric("rekindle_touches_waiting")
		try:
			with Client(self.port) as c:
				def hits(n):
					c.send(n * request(pixel))
					for _ in range(n):
						self.assertEqual(c.answer().body, GIF)
					return n
				while waiting() < 1000:
					sent += hits(100)
				# Those who come one by one wait together, not each in memory of its own.
				for _ in range(100):
					before = waiting()
					sent += hits(1)
					for _ in range(10):
						steps.add(waiting())
						if max(steps) > before:
							break
			self.assertLess(len(steps), 40)
		finally:
			release()
		self.wait(lambda: len(self.touches()) == sent)


class Life(Case):
	settings = {"request_within": "9m"}  # it is not what ends anything here

	def refuses(self):
		try:
			with socket.create_connection(("127.0.0.1", self.port), timeout=5):
				return False
		except OSError:
			return True

	def test_requests_in_flight_are_finished(self):
		with Client(self.port) as busy, Client(self.port) as idle:
			data = request(self.urls()[1])
			busy.send(data[:20])
			idle.send(request("/healthz"))
			idle.answer()
			time.sleep(0.1)
			self.process.send_signal(signal.SIGTERM)
			self.assertTrue(idle.ended())
			# Each loop closes its own listeners; the last one a moment later.
			self.wait(self.refuses)
			busy.send(data[20:])
			answer = busy.answer()
			self.assertEqual((answer.status, answer.fields["connection"]), (302, "close"))
		self.assertEqual(self.process.wait(60), 0)
		self.process = None
		self.assertEqual(len(self.touches("clicked")), 1)

	def test_a_slow_client_does_not_hold_up_the_end(self):
		with Client(self.port) as c:
			c.send("GET /")
			time.sleep(0.1)
			self.stop()

	def test_reload(self):
		with Client(self.port) as kept:
			kept.send(request("/healthz"))
			kept.answer()
			pixel, link, _ = self.urls()
			self.configure(links="off", http_listen="127.0.0.1:1")
			self.cli("key", "rotate")
			newer = self.urls("zoe@reader.example")[0]
			self.process.send_signal(signal.SIGHUP)
			self.wait(lambda: "reloaded" in self.log())
			self.assertIn("http_listen has changed", self.log())
			self.wait(lambda: self.get(newer).status == 200)
			self.assertEqual(self.get(pixel).status, 200)
			self.assertEqual(self.get(link).fields["location"], DESTINATION)
			kept.send(request("/healthz"))
			self.assertEqual(kept.answer().status, 200)
		self.assertEqual(self.touches("clicked"), [])

	def keys(self, change):
		"""Writes the key file anew, as somebody with an editor would."""
		with open(self.path("keys")) as f:
			lines = f.readlines()
		with open(self.path("keys"), "w") as f:
			f.writelines(change(lines))

	def test_a_key_that_is_added_needs_no_reload(self):
		older, link, _ = self.urls()
		self.configure(links="off")  # which does need one
		self.cli("key", "rotate")
		newer = self.urls("zoe@reader.example")[0]
		self.wait(lambda: self.get(newer).status == 200)
		self.assertEqual((self.get(older).status, self.get(link).status), (200, 302))
		self.assertEqual(len(self.touches("clicked")), 1)
		self.assertRegex(self.log(), r"used from now on: key B\n")

	def test_a_key_file_that_cannot_be_read_is_tried_again(self):
		limit = resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE)
		open_now = len(os.listdir("/proc/%d/fd" % self.process.pid))
		resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, (open_now, limit[1]))
		self.cli("key", "rotate")
		self.wait(lambda: "not read again" in self.log())
		resource.prlimit(self.process.pid, resource.RLIMIT_NOFILE, limit)
		newer = self.urls("zoe@reader.example")[0]
		self.wait(lambda: self.get(newer).status == 200)
		self.assertEqual(self.log().count("not read again"), 1)

	def test_a_key_that_is_removed_goes_with_a_reload(self):
		older = self.urls()[0]
		self.cli("key", "rotate")
		self.keys(lambda lines: [line for line in lines if not line.startswith("token A ")])
		newer = self.urls("zoe@reader.example")[0]
		self.wait(lambda: self.get(newer).status == 200)
		self.assertRegex(self.log(), r"used until a reload: key A\n")
		self.keys(lambda lines: ["identity\n"])
		self.wait(lambda: "not read again" in self.log())
		self.keys(lambda lines: [])
		self.assertEqual((self.get(older).status, self.get(newer).status), (200, 200))
		self.assertNotIn("settings: reloaded", self.log())

	def test_a_key_that_was_removed_is_gone_after_a_reload(self):
		older = self.urls()[0]
		self.cli("key", "rotate")
		self.keys(lambda lines: [line for line in lines if not line.startswith("token A ")])
		self.process.send_signal(signal.SIGHUP)
		self.wait(lambda: self.get(older).status == 404)
		self.assertEqual(self.get(self.urls("zoe@reader.example")[0]).status, 200)

	def test_a_bad_reload_changes_nothing(self):
		self.configure(privacy_profile="nonsense")
		self.process.send_signal(signal.SIGUSR1)
		self.wait(lambda: "privacy_profile" in self.log())
		self.assertEqual(self.get("/healthz").status, 200)

	def test_it_does_not_start_with_faults(self):
		self.configure(privacy_profile="nonsense", answer_within="soon")
		done = subprocess.run([os.path.join(BUILD, "rekindle-tracker"), "-c", self.path("conf")], capture_output=True,
			text=True, timeout=60)
		self.assertEqual(done.returncode, 1)
		self.assertRegex(done.stderr, r"conf:\d+: .*nonsense")
		self.assertRegex(done.stderr, r"conf:\d+: .*soon")
		self.assertNotIn("listening", done.stderr)

	def test_kill(self):
		"""What was answered is there, once."""
		pixel = self.urls()[0]
		answered = 0
		with Client(self.port) as c:
			for _ in range(200):
				c.send(request(pixel))
				answered += c.answer().status == 200
			self.process.kill()
			self.process.wait()
		self.start()
		self.assertEqual(self.get(pixel).status, 200)
		self.assertEqual(len(self.touches("opened")), answered + 1)


class Withdrawal(Case):
	"""Under classic everybody is tracked until they say no."""

	def test_deny(self):
		pixel, link, leave = self.urls()
		self.get(pixel)
		who = self.touches("opened")[0]["who"]
		self.cli("consent", "deny", "ann@reader.example")
		self.assertEqual((self.get(pixel).status, self.get(link).status), (200, 302))
		self.assertEqual([len(self.touches(k)) for k in ("opened", "clicked", "consented")], [1, 0, 2])
		self.assertEqual(json.loads(self.cli("consent", "show", "ann@reader.example", "--json").stdout)["who"], who)
		# What the recipient asks for is no tracking.
		self.ask(request(leave, "POST", body=b"List-Unsubscribe=One-Click",
			fields="Content-Type: application/x-www-form-urlencoded\r\n"))
		self.assertEqual(len(self.touches("left")), 1)


class Privacy(Case):
	settings = {"privacy_profile": "eu"}

	def test_eu(self):
		pixel, link, _ = self.urls()
		self.get(pixel)
		self.get(link)
		days = [t for t in self.touches() if t["mode"] == "dayonly"]
		rest = [t for t in self.touches() if t["mode"] != "dayonly"]
		self.assertTrue(days)
		for t in days:
			self.assertEqual(t["type"], "opened")
			self.assertTrue(t["at"].endswith("T00:00:00Z") or len(t["at"]) == 10, t)
			self.assertNotIn("campaign_id", t)
			self.assertNotIn("verdict", t)
		self.assertEqual(sorted((t["type"], t["mode"]) for t in rest), [("clicked", "anonymous"), ("opened", "anonymous")])
		for t in rest:
			self.assertNotIn("who", t)
			self.assertNotIn("address", t)
			self.assertNotIn("sent", t)


if __name__ == "__main__":
	unittest.main()
