"""test_proxy.py -- rekindle-tracker where others stand before it: proxies, sockets in the file system, systemd, its successor.

	REKINDLE_BUILD=DIR python3 tests/integration/test_proxy.py [-v] [Class.test]

haproxy and nginx are real, and so is systemd-socket-activate where it is installed.
"""

import os
import re
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import unittest

import rig
from test_tls import TlsCase, TlsClient, client_context
from test_tracker import BUILD, GIF, SANITIZED, Case, Client, request

TRACKER = os.path.join(BUILD, "rekindle-tracker")
SIGN = b"\r\n\r\n\0\r\nQUIT\n"


def free_port():
	with socket.socket() as s:
		s.bind(("127.0.0.1", 0))
		return s.getsockname()[1]


def v2(family, addresses, command=0x21, more=b""):
	return SIGN + struct.pack("!BBH", command, family, len(addresses) + len(more)) + addresses + more


def v2_of(address):
	kind = socket.AF_INET6 if ":" in address else socket.AF_INET
	raw = socket.inet_pton(kind, address)
	return v2(0x21 if ":" in address else 0x11, raw + raw + struct.pack("!HH", 1234, 443))


class UnixClient(Client):
	def __init__(self, path):
		self.sock = socket.socket(socket.AF_UNIX)
		self.sock.settimeout(30)
		self.sock.connect(path)
		self.rest = b""


class ProxyCase(Case):
	"""Mode full, so that a touch says where it came from."""

	def pixel(self):
		"""Always another one, so that nothing can be taken for a repetition."""
		if not hasattr(self, "campaigns"):
			self.cli("consent", "grant", "ann@reader.example")
			self.campaigns = 0
		self.campaigns += 1
		return self.urls(campaign="spring%d" % self.campaigns)[0]

	def net(self):
		"""The network of the last touch."""
		return self.touches("opened")[-1].get("net")

	def open_by(self, client, before=b"", fields=""):
		"""An opened pixel; the network that was kept of it."""
		client.send(before + request(self.pixel(), fields=fields))
		self.assertEqual(client.answer().body, GIF)
		return self.net()


class ProxyProtocol(ProxyCase):
	settings = {"proxy_protocol_from": "127.0.0.2"}

	def client(self, address="127.0.0.2"):
		c = Client.__new__(Client)
		c.sock = socket.create_connection(("127.0.0.1", self.port), timeout=30, source_address=(address, 0))
		c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		c.rest = b""
		return c

	def test_headers(self):
		for says, header, want in (
			("version 1", b"PROXY TCP4 192.0.2.7 203.0.113.1 1234 443\r\n", "192.0.2.0/24"),
			("version 1, IPv6", b"PROXY TCP6 2001:db8:1:2::7 ::1 1234 443\r\n", "2001:db8:1::/48"),
			("version 1, unknown", b"PROXY UNKNOWN\r\n", "127.0.0.0/24"),
			("version 2", v2_of("192.0.2.7"), "192.0.2.0/24"),
			("version 2, IPv6", v2_of("2001:db8:1:2::7"), "2001:db8:1::/48"),
			("version 2, local", v2(0, b"", 0x20), "127.0.0.0/24"),
			("version 2, with more behind it", v2(0x11, v2_of("192.0.2.7")[16:], more=b"\4\3\xe8" + b"x" * 1000), "192.0.2.0/24"),
		):
			with self.subTest(says), self.client() as c:
				self.assertEqual(self.open_by(c, header), want)
				self.assertEqual(self.open_by(c), want)

	def test_a_byte_at_a_time(self):
		for header in b"PROXY TCP4 192.0.2.7 203.0.113.1 1234 443\r\n", v2_of("192.0.2.7"):
			with self.client() as c:
				for byte in header:
					c.send(bytes([byte]))
				self.assertEqual(self.open_by(c), "192.0.2.0/24")

	def test_what_is_no_header(self):
		for says, data in (
			("none at all", request("/healthz")),
			("garbage", b"\0" * 100),
			("half of one sign", b"PROXYTCP4 192.0.2.7 203.0.113.1 1234 443\r\n"),
			("a name", b"PROXY TCP4 localhost 203.0.113.1 1234 443\r\n"),
			("no end of the line", b"PROXY TCP4 " + b"1" * 97),
			("longer than we take", SIGN + b"\x21\x11\xff\xff" + b"x" * 5000),
			("a command that is to come", v2(0x11, b"x" * 12, 0x22)),
		):
			with self.subTest(says), self.client() as c:
				try:
					c.send(data)
					self.assertEqual(c.sock.recv(100), b"")
				except ConnectionError:
					pass
		with self.client() as c:
			self.assertEqual(self.open_by(c, b"PROXY UNKNOWN\r\n"), "127.0.0.0/24")

	def test_only_from_the_proxy(self):
		with Client(self.port) as c:
			c.send(b"PROXY TCP4 192.0.2.7 203.0.113.1 1234 443\r\n" + request("/healthz"))
			self.assertEqual(c.answer().status, 400)
		with Client(self.port) as c:
			self.assertEqual(self.open_by(c), "127.0.0.0/24")
		self.assertEqual(self.ask(request("/readyz"), self.admin).status, 200)

	def test_a_header_that_does_not_end(self):
		self.configure(request_within="300ms")
		self.process.send_signal(signal.SIGHUP)
		self.wait(lambda: "settings: reloaded" in self.log())
		with self.client() as c:
			c.send(b"PROXY TCP4 192.0.2")
			self.assertTrue(c.ended())


class Forwarded(ProxyCase):
	settings = {"forwarded_from": "127.0.0.0/8, 10.0.0.0/8"}

	def test_the_field(self):
		with Client(self.port) as c:
			self.assertEqual(self.open_by(c), "127.0.0.0/24")
			self.assertEqual(self.open_by(c, fields="X-Forwarded-For: 192.0.2.7\r\n"), "192.0.2.0/24")
			self.assertEqual(self.open_by(c, fields="X-Forwarded-For: 2001:db8:1::7\r\n"), "2001:db8:1::/48")
			self.assertEqual(self.open_by(c, fields="X-Forwarded-For: 198.51.100.1, 192.0.2.7\r\n"), "192.0.2.0/24")
			self.assertEqual(self.open_by(c, fields="X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 192.0.2.7, 10.0.0.1\r\n"),
				"192.0.2.0/24")
			self.assertEqual(self.open_by(c, fields="Forwarded: for=192.0.2.7\r\n"), "127.0.0.0/24")
			# Of one request, and not of the connection.
			self.assertEqual(self.open_by(c), "127.0.0.0/24")

	def test_changed_by_a_reload(self):
		with Client(self.port) as c:
			self.assertEqual(self.open_by(c, fields="X-Forwarded-For: 192.0.2.7\r\n"), "192.0.2.0/24")
			self.configure(forwarded_header="forwarded")
			self.process.send_signal(signal.SIGHUP)
			self.wait(lambda: "settings: reloaded" in self.log())
			self.wait(lambda: self.open_by(c, fields="X-Forwarded-For: 192.0.2.7\r\n") == "127.0.0.0/24")
			self.assertEqual(self.open_by(c, fields='Forwarded: for="[2001:db8:1::7]:80";proto=https\r\n'), "2001:db8:1::/48")

	def test_from_nobody_else(self):
		self.configure(forwarded_from="10.0.0.0/8")
		self.stop()
		self.start()
		with Client(self.port) as c:
			self.assertEqual(self.open_by(c, fields="X-Forwarded-For: 192.0.2.7\r\n"), "127.0.0.0/24")


class BehindTls(TlsCase, ProxyCase):
	settings = {"proxy_protocol_from": "127.0.0.1"}

	def test_the_header_is_before_the_handshake(self):
		"""And not a byte more than it is taken."""
		for header in b"PROXY TCP4 192.0.2.7 203.0.113.1 1234 443\r\n", v2_of("192.0.2.7"):
			with socket.create_connection(("127.0.0.1", self.tls), timeout=30) as plain:
				plain.sendall(header)
				c = Client.__new__(Client)
				c.rest = b""
				with client_context().wrap_socket(plain, server_hostname="t.example") as c.sock:
					self.assertEqual(self.open_by(c), "192.0.2.0/24")


class Proxies(ProxyCase):
	"""The programs that people use."""

	def proxy(self, program, *arguments):
		process = subprocess.Popen([program, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
		self.addCleanup(process.wait)
		self.addCleanup(process.terminate)

	def reach(self, port):
		def listens():
			try:
				socket.create_connection(("127.0.0.1", port), 5).close()
				return True
			except OSError:
				return False
		self.wait(listens)

	@unittest.skipUnless(shutil.which("haproxy"), "no haproxy")
	def test_haproxy(self):
		ports = {name: free_port() for name in ("send-proxy", "send-proxy-v2", "forwarded", "unix")}
		self.stop()
		self.configure(http_listen="127.0.0.1:0, unix:" + self.path("http.sock"), proxy_protocol_from="127.0.0.2",
			forwarded_from="127.0.0.3, unix")
		self.start()
		with open(self.path("haproxy.cfg"), "w") as f:
			f.write("global\n\tlog 127.0.0.1 local0\ndefaults\n\tmode http\n\ttimeout connect 5s\n\ttimeout client 20s\n\ttimeout server 20s\n")
			for name, port in ports.items():
				f.write("listen l%d\n\tbind 127.0.0.1:%d\n" % (port, port))
				if name == "unix":
					f.write("\toption forwardfor\n\tserver s unix@%s\n" % self.path("http.sock"))
				elif name == "forwarded":
					f.write("\toption forwardfor\n\tserver s 127.0.0.1:%d source 127.0.0.3\n" % self.port)
				else:
					f.write("\tmode tcp\n\tserver s 127.0.0.1:%d %s source 127.0.0.2 check inter 100ms\n" % (self.port, name))
		self.proxy("haproxy", "-db", "-f", self.path("haproxy.cfg"))
		for name, port in ports.items():
			self.reach(port)
			with self.subTest(name):
				c = Client.__new__(Client)
				c.rest = b""
				with socket.create_connection(("127.0.0.1", port), timeout=30, source_address=("127.1.2.3", 0)) as c.sock:
					for _ in range(2):
						self.assertEqual(self.open_by(c), "127.1.2.0/24")

	@unittest.skipUnless(shutil.which("nginx"), "no nginx")
	def test_nginx_at_a_unix_socket(self):
		port, path = free_port(), self.path("http.sock")
		os.chmod(self.dir, 0o755)
		self.stop()
		self.configure(http_listen="127.0.0.1:0, unix:" + path, socket_mode="0666", forwarded_from="unix")
		self.start()
		with open(self.path("nginx.conf"), "w") as f:
			f.write("""daemon off; master_process off; pid %s; error_log %s;
				events {}
				http { access_log off;
					%s
					upstream tracker { server unix:%s; keepalive 4; }
					server { listen 127.0.0.1:%d; location / { proxy_pass http://tracker; proxy_http_version 1.1;
						proxy_set_header Connection ""; proxy_set_header Host $host;
						proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; } } }""" % (
				self.path("nginx.pid"), self.path("nginx.log"),
				" ".join("%s_temp_path %s;" % (n, self.path(n)) for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")), path, port))
		self.proxy("nginx", "-c", self.path("nginx.conf"), "-e", self.path("nginx.log"))
		self.reach(port)
		c = Client.__new__(Client)
		c.rest = b""
		with socket.create_connection(("127.0.0.1", port), timeout=30, source_address=("127.1.2.3", 0)) as c.sock:
			for lie in "", "X-Forwarded-For: 198.51.100.1\r\n":
				self.assertEqual(self.open_by(c, fields=lie), "127.1.2.0/24")


class UnixSocket(ProxyCase):
	def start(self):
		self.file = self.path("http.sock")
		if "unix" not in self.now["http_listen"]:
			self.configure(http_listen="127.0.0.1:0, unix:" + self.file, proxy_protocol_from="unix", socket_mode="0640")
		super().start()

	def test_it_answers_and_goes_with_us(self):
		self.assertEqual(stat.S_IMODE(os.stat(self.file).st_mode), 0o640)
		for _ in range(4):
			with UnixClient(self.file) as c:
				self.assertEqual(self.open_by(c, v2_of("192.0.2.7")), "192.0.2.0/24")
		self.stop()
		self.assertFalse(os.path.exists(self.file))
		self.start()

	def test_the_name_goes_before_the_socket(self):
		"""A file where nobody listens is free for the next tracker, whose socket must not be removed then."""
		refused = None if SANITIZED else rig.refusal_at_end(self.process, self.file)
		if refused is None:
			self.skipTest("strace cannot be used")
		self.assertIsInstance(refused, FileNotFoundError)
		self.start()

	def test_what_a_killed_one_left_is_no_obstacle(self):
		self.kill()
		self.assertTrue(os.path.exists(self.file))
		self.start()
		with UnixClient(self.file) as c:
			c.send(b"PROXY UNKNOWN\r\n" + request("/healthz"))
			self.assertEqual(c.answer().status, 200)

	def test_of_two_that_start_at_once_one_has_it(self):
		"""Both find what a killed one left, and none removes what the other one has just made."""
		self.kill()
		found = None if SANITIZED else rig.one_of_two([TRACKER, "-c", self.path("conf")])
		if found is None:
			self.start()
			self.skipTest("strace cannot be used")
		said, other = found
		try:
			self.assertIn("cannot listen on unix:%s: bind: Address already in use" % self.file, said)
			with UnixClient(self.file) as c:
				c.send(b"PROXY UNKNOWN\r\n" + request("/healthz"))
				self.assertEqual(c.answer().status, 200)
		finally:
			os.killpg(other.pid, signal.SIGKILL)
			other.wait()
		self.start()

	def test_a_file_that_is_not_ours_stays(self):
		self.stop()
		with open(self.file, "w") as f:
			f.write("precious")
		done = subprocess.run([TRACKER, "-c", self.path("conf")], capture_output=True, text=True, timeout=60)
		self.assertIn("cannot listen on unix:%s: bind: Address already in use" % self.file, done.stderr)
		with open(self.file) as f:
			self.assertEqual(f.read(), "precious")
		os.unlink(self.file)
		self.start()

	def test_a_directory_that_is_missing_is_named(self):
		self.stop()
		before = self.now["http_listen"]
		self.configure(http_listen="127.0.0.1:0,\n\tunix:/nonexistent/t.sock")
		with open(self.path("conf")) as f:
			line = 1 + f.read().splitlines().index("\tunix:/nonexistent/t.sock")
		done = subprocess.run([TRACKER, "-c", self.path("conf")], capture_output=True, text=True, timeout=60)
		self.configure(http_listen=before)
		self.assertEqual(done.returncode, 1)
		self.assertIn("%s:%d: http_listen: cannot listen on unix:/nonexistent/t.sock: bind: No such file or directory: "
			"there is no directory /nonexistent; make it" % (self.path("conf"), line), done.stderr)
		self.start()

	def test_a_second_tracker_does_not_take_it_away(self):
		done = subprocess.run([TRACKER, "-c", self.path("conf")], capture_output=True, text=True, timeout=60)
		self.assertEqual(done.returncode, 1)
		self.assertIn("Address already in use", done.stderr)
		with UnixClient(self.file) as c:
			c.send(b"PROXY UNKNOWN\r\n" + request("/healthz"))
			self.assertEqual(c.answer().status, 200)


# What systemd does: sockets from 3 on, and the names in the environment.
LAUNCHER = """
import fcntl, os, socket, sys
names, tracker, conf = sys.argv[1:]
held = []
for name in names.split(":"):
	s = socket.socket(socket.AF_INET6 if name == "https" else socket.AF_INET)
	s.bind(("::1" if name == "https" else "127.0.0.1", 0))
	if name != "deaf":
		s.listen()
	held.append(fcntl.fcntl(s.fileno(), fcntl.F_DUPFD, 20))
	s.close()
for i, fd in enumerate(held):
	os.dup2(fd, 3 + i, inheritable=True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(held)), LISTEN_FDNAMES=names.replace("deaf", "http"))
os.execv(tracker, [tracker, "-c", conf])
"""


class Activation(TlsCase):
	def launch(self, names):
		with open(self.path("log"), "a") as log:
			self.mark = log.tell()
			self.process = subprocess.Popen([sys.executable, "-c", LAUNCHER, names, TRACKER, self.path("conf")], stderr=log, stdout=log)
		self.wait(lambda: " started" in self.log() or self.process.poll() is not None)

	def given(self, kind):
		found = re.search(r"listening on %s \S+:(\d+), from systemd$" % kind, self.log(), re.M)
		return found and int(found[1])

	def test_sockets_by_name(self):
		self.stop()
		self.launch("http:https:admin:http")
		self.assertIn(" started", self.log())
		self.assertEqual(len(re.findall("from systemd", self.log())), 4)
		self.assertEqual(len(re.findall("listening on", self.log())), 4, "the settings' own addresses are not for us then")
		for _ in range(4):
			self.assertEqual(self.ask(request("/healthz"), self.given("http")).status, 200)
		with socket.create_connection(("::1", self.given("https"))) as plain:
			with client_context().wrap_socket(plain, server_hostname="t.example") as s:
				s.sendall(request("/healthz", fields="Connection: close\r\n"))
				self.assertIn(b"200 OK", s.recv(4096))
		self.assertEqual(self.ask(request("/readyz"), self.given("admin")).status, 200)

	def test_only_some(self):
		self.stop()
		self.launch("http")
		self.assertIn(" started", self.log())
		self.assertIsNotNone(self.given("http"))
		self.assertRegex(self.log(), r"(?m)listening on https 127\.0\.0\.1:\d+$")

	def test_names_that_say_nothing(self):
		self.stop()
		for names, want in (("rekindle-tracker.socket", r"`rekindle-tracker\.socket': write FileDescriptorName=http, https or admin"),
			("deaf", "`http': not a stream socket that listens")):
			self.launch(names)
			self.assertEqual(self.process.wait(60), 1)
			self.assertRegex(self.log(), want)
		self.process = None

	@unittest.skipUnless(shutil.which("systemd-socket-activate"), "no systemd-socket-activate")
	def test_systemd_itself(self):
		self.stop()
		port = free_port()
		with open(self.path("log"), "a") as log:
			self.mark = log.tell()
			self.process = subprocess.Popen(["systemd-socket-activate", "-l", "127.0.0.1:%d" % port, "--fdname=http", TRACKER, "-c",
				self.path("conf")], stderr=log, stdout=log)
		self.wait(lambda: "Listening on" in self.log())
		self.assertEqual(self.ask(request("/healthz"), port).status, 200)
		self.assertEqual(self.given("http"), port)


class Hammer(threading.Thread):
	"""Asks without end; every answer has to come, and to be right."""

	def __init__(self, connect, keep):
		super().__init__(daemon=True)
		self.connect, self.keep = connect, keep
		self.done, self.fault, self.halt = 0, None, False

	def run(self):
		data = request("/healthz", fields="" if self.keep else "Connection: close\r\n")
		client = None
		try:
			while not self.halt:
				client = client or self.connect()
				client.send(data)
				answer = client.answer()
				assert answer is not None and answer.body == b"ok\n", answer
				self.done += 1
				if answer.fields.get("connection") == "close":
					client.sock.close()
					client = None
		except Exception as e:
			self.fault = repr(e)
		finally:
			if client:
				client.sock.close()


class Takeover(TlsCase):
	def start(self):
		if "unix" not in self.now["http_listen"]:
			self.configure(http_listen="127.0.0.1:0, unix:" + self.path("http.sock"))
		super().start()

	def succeed(self, threads="2"):
		"""Another process takes over; the old one, which has ended well."""
		old = self.process
		self.configure(threads=threads)
		with open(self.path("log"), "a") as log:
			self.mark = log.tell()
			self.process = subprocess.Popen([TRACKER, "-c", self.path("conf"), "--takeover"], stderr=log, stdout=log)
		self.wait(lambda: "took over from process %d" % old.pid in self.log())
		return old

	def test_nothing_fails_meanwhile(self):
		"""Old and new clients, with and without TLS, from 2 loops to 3, to 1, and to 2 again."""
		path = self.path("http.sock")
		hammers = [Hammer(connect, keep) for keep in (False, True) for connect in
			(lambda: Client(self.port), lambda: TlsClient(self.tls), lambda: UnixClient(path))]
		for h in hammers:
			h.start()
		self.wait(lambda: all(h.done > 20 or h.fault for h in hammers))
		for threads in "3", "1", "2":
			old = self.succeed(threads)
			self.assertEqual(old.wait(60), 0, self.log())
			before = [h.done for h in hammers]
			self.wait(lambda: all(h.done > n + 20 or h.fault for h, n in zip(hammers, before)))
		for h in hammers:
			h.halt = True
		for h in hammers:
			h.join(20)
		self.assertEqual([h.fault for h in hammers], [None] * len(hammers))
		self.assertEqual(len(re.findall("taken over$", self.log(), re.M)), 4)
		self.assertTrue(os.path.exists(path))

	def test_who_was_idle_is_served_once_more(self):
		"""And the old one waits for them no longer than for requests."""
		self.configure(request_within="1s")
		self.process.send_signal(signal.SIGHUP)
		self.wait(lambda: "settings: reloaded" in self.log())
		with Client(self.port) as a, Client(self.port) as b:
			for c in a, b:
				c.send(request("/healthz"))
				self.assertEqual(c.answer().status, 200)
			old = self.succeed()
			# The successor says so before the other one has begun to stop.
			close = None
			while close is None:
				a.send(request("/healthz"))
				answer = a.answer()
				self.assertEqual(answer.status, 200)
				close = answer.fields.get("connection")
			self.assertEqual(close, "close")
			self.assertTrue(b.ended())
			self.assertEqual(old.wait(60), 0)

	def test_hits_of_both_are_kept(self):
		pixels = [self.urls("ann%d@reader.example" % i)[0] for i in range(4)]
		with Client(self.port) as c:
			c.send(request(pixels[0]))
			self.assertEqual(c.answer().body, GIF)
			old = self.succeed()
			c.send(request(pixels[1]))
			self.assertEqual(c.answer().body, GIF)
		self.assertEqual(self.get(pixels[2]).body, GIF)
		self.assertEqual(old.wait(60), 0)
		self.assertEqual(self.get(pixels[3]).body, GIF)
		self.assertEqual(len(self.touches("opened")), 4)

	def test_an_address_that_is_no_longer_wanted(self):
		self.configure(http_listen="127.0.0.1:0")
		old = self.succeed()
		self.assertEqual(old.wait(60), 0)
		self.assertEqual(self.get("/healthz").status, 200)
		with self.assertRaises(ConnectionRefusedError):
			UnixClient(self.path("http.sock"))

	def test_a_successor_that_fails(self):
		good = dict(self.now)
		for fault in {"tls_cert": "/nothing", "tls_key": "/nothing"}, {"admin_listen": "192.0.2.1:1"}:
			self.configure(**fault)
			done = subprocess.run([TRACKER, "-c", self.path("conf"), "--takeover"], capture_output=True, text=True, timeout=60)
			self.assertEqual(done.returncode, 1)
			self.assertEqual(self.get("/healthz").status, 200)
			with UnixClient(self.path("http.sock")) as c:
				c.send(request("/healthz"))
				self.assertEqual(c.answer().status, 200)
			self.configure(**good)
		self.assertEqual(self.succeed().wait(60), 0)
		self.assertEqual(self.get("/healthz").status, 200)

	def test_nobody_to_take_over_from(self):
		"""Also after a kill, whose socket is still there."""
		self.kill()
		with open(self.path("log"), "a") as log:
			self.mark = log.tell()
			self.process = subprocess.Popen([TRACKER, "-c", self.path("conf"), "--takeover"], stderr=log, stdout=log)
		self.wait(lambda: " started" in self.log())
		self.assertIn("there is nothing to take over", self.log())
		port = int(re.search(r"listening on http 127\.0\.0\.1:(\d+)$", self.log(), re.M)[1])
		self.assertEqual(self.ask(request("/healthz"), port).status, 200)

	def test_strangers_get_nothing(self):
		self.assertEqual(stat.S_IMODE(os.stat(self.path("data/tracker.sock")).st_mode), 0o600)


if __name__ == "__main__":
	unittest.main()
