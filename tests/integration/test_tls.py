"""test_tls.py -- rekindle-tracker with TLS of its own: names, versions, tickets, new certificates, bad ones, slow clients.

	REKINDLE_BUILD=DIR python3 tests/integration/test_tls.py [-v] [Class.test]
"""

import ctypes
import ctypes.util
import os
import signal
import socket
import ssl
import subprocess
import threading
import unittest
import warnings

from test_tracker import BUILD, DESTINATION, GIF, Case, Client, request


def make_certificate(directory, name, *names, passphrase=None):
	"""NAME.pem and NAME.key, P-256, self-signed."""
	cert, key = (os.path.join(directory, name + suffix) for suffix in (".pem", ".key"))
	subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", key, "-out", cert,
		"-subj", "/CN=" + name, "-addext", "subjectAltName=" + ",".join("DNS:" + n for n in names or (name,)), "-days", "30",
		*(["-passout", "pass:" + passphrase] if passphrase else ["-nodes"])], check=True, capture_output=True)
	return cert, key


class TlsClient(Client):
	"""A Client behind Python's ssl.  sock.cert has the names of the certificate."""

	def __init__(self, port, name="t.example", context=None, session=None, timeout=30):
		super().__init__(port, timeout=timeout)
		self.plain = self.sock
		if context is None:
			context = client_context()
		try:
			self.sock = context.wrap_socket(self.sock, server_hostname=name, session=session, suppress_ragged_eofs=False)
		except BaseException:
			self.plain.close()
			raise

	def certificate(self):
		"""DER."""
		return self.sock.getpeercert(binary_form=True)


def client_context(version=None, alpn=("http/1.1",)):
	context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
	context.check_hostname = False
	context.verify_mode = ssl.CERT_NONE
	if version is not None:
		context.minimum_version = context.maximum_version = version
	if alpn:
		context.set_alpn_protocols(list(alpn))
	return context


def der_of(path):
	with open(path) as f:
		return ssl.PEM_cert_to_DER_cert(f.read())


class TlsCase(Case):
	names = {"first": ("t.example",), "second": ("l.example.net", "*.wild.example")}

	def start(self):
		if "tls_cert" not in self.now:
			for name, alternatives in self.names.items():
				make_certificate(self.dir, name, *alternatives)
			self.configure(https_listen="127.0.0.1:0", tls_cert=", ".join(self.path(n + ".pem") for n in self.names),
				tls_key=", ".join(self.path(n + ".key") for n in self.names))
		super().start()
		self.tls = int(self.log().split("listening on https 127.0.0.1:")[1].split("\n")[0])

	def reload(self, word="tls: certificates reloaded"):
		before = self.log().count(word)
		self.process.send_signal(signal.SIGHUP)
		self.wait(lambda: self.log().count(word) > before)


class Talk(TlsCase):
	def test_hits_in_both_versions(self):
		pixel, link, _ = self.urls()
		for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
			with TlsClient(self.tls, context=client_context(version)) as c:
				self.assertEqual(c.sock.version(), version.name.replace("_", "."))
				self.assertEqual(c.sock.selected_alpn_protocol(), "http/1.1")
				for _ in range(2):
					c.send(request(pixel))
					self.assertEqual(c.answer().body, GIF)
				c.send(request(link))
				self.assertEqual(c.answer().fields["location"], DESTINATION)
		self.assertEqual([t["type"] for t in self.touches()], ["opened", "opened", "clicked"] * 2)

	def test_old_versions_are_refused(self):
		warnings.simplefilter("ignore", DeprecationWarning)  # Python thinks so too
		for version in ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1:
			context = client_context()
			context.set_ciphers("ALL:@SECLEVEL=0")
			context.minimum_version = ssl.TLSVersion.TLSv1
			context.maximum_version = version
			with self.assertRaisesRegex(ssl.SSLError, "(?i)protocol version"):
				TlsClient(self.tls, context=context)

	def test_openssl_agrees(self):
		"""Only ciphers with forward secrecy and authentication; no compression, no renegotiation."""
		done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % self.tls, "-servername", "t.example", "-tls1_2",
			"-alpn", "http/1.1"], input="R\n", capture_output=True, text=True, timeout=60)
		self.assertRegex(done.stdout, r"Cipher +: ECDHE-ECDSA-(AES|CHACHA)")
		self.assertRegex(done.stdout, r"Compression: NONE")
		self.assertRegex(done.stderr, r"no renegotiation")
		done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % self.tls, "-tls1_2", "-cipher", "AES128-SHA:ECDHE-ECDSA-AES128-SHA"],
			input="", capture_output=True, text=True, timeout=60)
		self.assertIn("handshake failure", done.stderr)

	def test_another_protocol_is_refused(self):
		with self.assertRaisesRegex(ssl.SSLError, "(?i)application.protocol"):
			TlsClient(self.tls, context=client_context(alpn=("h2",)))
		with TlsClient(self.tls, context=client_context(alpn=("h2", "http/1.1"))) as c:
			self.assertEqual(c.sock.selected_alpn_protocol(), "http/1.1")
		with TlsClient(self.tls, context=client_context(alpn=())) as c:
			self.assertIsNone(c.sock.selected_alpn_protocol())

	def test_certificates_by_name(self):
		first, second = der_of(self.path("first.pem")), der_of(self.path("second.pem"))
		for name, want in (("t.example", first), ("l.example.net", second), ("L.Example.NET", second), ("a.wild.example", second),
			("a.b.wild.example", first), ("somebody.else", first), (None, first)):
			with TlsClient(self.tls, name) as c:
				self.assertEqual(c.certificate(), want, name)
				c.send(request("/healthz"))
				self.assertEqual(c.answer().body, b"ok\n")

	def test_the_end_is_told(self):
		"""close_notify, so that nobody can cut an answer short unseen."""
		with TlsClient(self.tls) as c:
			c.send(request("/healthz", fields="Connection: close\r\n"))
			self.assertEqual(c.answer().status, 200)
			self.assertTrue(c.ended())

	def test_a_record_of_many_requests(self):
		"""More than there is room for behind half a request: what OpenSSL holds, no socket tells of."""
		one = request("/healthz", fields="X: %s\r\n" % ("x" * 20))
		n = 16000 // len(one)
		with TlsClient(self.tls) as c:
			c.send(one[:10])
			c.send((one * n)[10:])
			for _ in range(n):
				self.assertEqual(c.answer().body, b"ok\n")

	def test_a_record_of_many_hits(self):
		"""The same, when each has to wait for the disk."""
		one = request(self.urls()[0])
		n = 16000 // len(one)
		with TlsClient(self.tls) as c:
			c.send(one[:10])
			c.send((one * n)[10:])
			for _ in range(n):
				self.assertEqual(c.answer().body, GIF)
		self.assertEqual(len(self.touches()), n)

	def test_half_a_record(self):
		"""The loop sleeps until the rest is there, whatever OpenSSL holds of it."""
		incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
		tls = client_context().wrap_bio(incoming, outgoing, server_hostname="t.example")
		with Client(self.tls) as c:
			while True:
				try:
					tls.do_handshake()
					break
				except ssl.SSLWantReadError:
					c.send(outgoing.read())
					incoming.write(c.sock.recv(65536))
			tls.write(request("/healthz"))
			record = outgoing.read()
			c.send(record[:-10])
			# Both loops have a turn, in the order of what came.
			for _ in range(20):
				with TlsClient(self.tls) as other:
					other.send(request("/healthz"))
					self.assertEqual(other.answer().body, b"ok\n")
			self.wait(lambda: self.loops() == ["S", "S"])
			c.send(record[-10:])
			answer = b""
			while not answer.endswith(b"ok\n"):
				incoming.write(c.sock.recv(65536))
				try:
					answer += tls.read(65536)
				except ssl.SSLWantReadError:
					pass  # that was a ticket

	def loops(self):
		"""What the kernel says of each loop's thread; S: it sleeps."""
		found = []
		for task in os.listdir("/proc/%d/task" % self.process.pid):
			with open("/proc/%d/task/%s/stat" % (self.process.pid, task)) as f:
				name, _, rest = f.read().partition("(")[2].rpartition(")")
			if name.startswith("loop "):
				found.append(rest.split()[0])
		return found

	def test_a_byte_in_each_record(self):
		with TlsClient(self.tls) as c:
			for byte in request("/healthz"):
				c.send(bytes([byte]))
			self.assertEqual(c.answer().body, b"ok\n")

	def test_a_body_that_waits_for_100(self):
		with TlsClient(self.tls) as c:
			c.send(request("/u/x", "POST", fields="Expect: 100-continue\r\n", body="a=b")[:-3])
			self.assertEqual(c.answer().status, 100)
			c.send("a=b")
			self.assertEqual(c.answer().status, 404)

	def test_no_tls_at_all(self):
		for data in b"GET / HTTP/1.1\r\nHost: t\r\n\r\n", b"\x16\x03\x01\x02\x00" + b"\0" * 600, b"\x80" * 20000:
			with Client(self.tls) as c:
				try:
					c.send(data)
					while c.sock.recv(4096):
						pass
				except ConnectionError:
					pass
		self.wait(lambda: self.metric("rekindle_tls_handshakes_failed_total") == 3)
		with TlsClient(self.tls) as c:
			c.send(request("/healthz"))
			self.assertEqual(c.answer().status, 200)


class Deadline(TlsCase):
	settings = {"request_within": "500ms", "idle_timeout": "30s"}

	def test_a_handshake_that_does_not_end(self):
		"""Not one byte, and a hello that comes a byte at a time; others stay."""
		incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
		hello = client_context().wrap_bio(incoming, outgoing)
		with self.assertRaises(ssl.SSLWantReadError):
			hello.do_handshake()
		hello = outgoing.read()
		with TlsClient(self.tls) as good, Client(self.tls) as silent, Client(self.tls) as slow:
			sent = 0
			try:
				while sent < len(hello) - 1:
					slow.send(hello[sent:sent + 1])
					sent += 1
					slow.sock.settimeout(0.02)
					try:
						if slow.sock.recv(1) == b"":
							break
					except TimeoutError:
						pass
			except ConnectionError:
				pass
			self.assertLess(sent, len(hello) - 1, "a slow handshake was suffered to its end")
			self.assertTrue(silent.ended())
			good.send(request("/healthz"))
			self.assertEqual(good.answer().status, 200)
		self.assertEqual(self.metric("rekindle_tls_handshakes_failed_total"), 2)

	def test_clients_that_hang_up(self):
		for cut in 0, 1, 100:
			with Client(self.tls) as c:
				c.send((b"\x16\x03\x01\x00\xc8" + b"\1" + b"\0" * 199)[:cut])
		self.wait(lambda: self.metric("rekindle_connections") == 1)


class Crowd(TlsCase):
	settings = {"max_connections": "3", "threads": "1"}

	def test_who_does_not_shake_hands_makes_room(self):
		crowd = [Client(self.tls) for _ in range(3)]
		try:
			for c in crowd:
				c.send(b"\x16")
			self.wait(lambda: self.metric("rekindle_connections") == 4)
			with TlsClient(self.tls) as c:
				c.send(request("/healthz"))
				self.assertEqual(c.answer().status, 200)
			self.assertTrue(crowd[0].ended())
		finally:
			for c in crowd:
				c.sock.close()


class Alone(TlsCase):
	settings = {"threads": "1"}

	def test_the_last_answer_to_one_who_guesses(self):
		"""It arrives, whatever has been sent since, and the end is in good order."""
		guess = request("/c/AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfGhIjKlMnOpQrStUv")
		with TlsClient(self.tls) as c:
			while True:
				c.send(guess)
				answer = c.answer()
				self.assertEqual(answer.status, 404)
				if "connection" in answer.fields:
					break
		with TlsClient(self.tls) as c:
			# Two records that are there at once; OpenSSL takes one from the socket.
			c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
			c.send(guess)
			c.send(guess)
			c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
			answer = c.answer()
			self.assertEqual(answer.fields["connection"], "close")
			self.assertTrue(c.ended())
			with socket.socket(fileno=os.dup(c.sock.fileno())) as plain:
				plain.settimeout(10)  # the end of the stream comes after that of TLS
				self.assertEqual(plain.recv(1), b"")  # and no reset

	def flood(self, over):
		"""Nothing but KeyUpdate messages, which Python's ssl cannot send."""
		lib = ctypes.CDLL(ctypes.util.find_library("ssl"))
		for f in lib.TLS_client_method, lib.SSL_CTX_new, lib.SSL_new:
			f.restype = ctypes.c_void_p
		ctx = ctypes.c_void_p(lib.SSL_CTX_new(ctypes.c_void_p(lib.TLS_client_method())))
		tls = ctypes.c_void_p(lib.SSL_new(ctx))
		with socket.create_connection(("127.0.0.1", self.tls)) as s:
			s.settimeout(None)
			lib.SSL_set_fd(tls, s.fileno())
			good = lib.SSL_connect(tls) == 1
			while good and not over.is_set():
				good = lib.SSL_key_update(tls, 0) == 1 and lib.SSL_do_handshake(tls) == 1
				self.updates += good
		lib.SSL_free(tls)
		lib.SSL_CTX_free(ctx)

	def test_key_updates_without_end(self):
		"""Whoever sends them has turns like others, and not the loop."""
		self.updates = 0
		over = threading.Event()
		floods = [threading.Thread(target=self.flood, args=(over,)) for _ in range(2)]
		for t in floods:
			t.start()
		try:
			self.wait(lambda: self.updates > 1000)
			for _ in range(50):
				self.assertEqual(self.get("/healthz").status, 200)
		finally:
			over.set()
			for t in floods:
				t.join()


class Resumption(TlsCase):
	def resumed(self, version, session=None):
		"""Whether it was, and the next session."""
		with TlsClient(self.tls, context=self.contexts[version], session=session) as c:
			c.send(request("/healthz"))
			self.assertEqual(c.answer().status, 200)
			return c.sock.session_reused, c.sock.session

	def test_tickets_are_good_for_another_connection_and_after_a_reload(self):
		self.contexts = {v: client_context(v) for v in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)}
		for version in self.contexts:
			reused, session = self.resumed(version)
			self.assertFalse(reused)
			reused, session = self.resumed(version, session)
			self.assertTrue(reused, version)
			self.reload()
			reused, session = self.resumed(version, session)
			self.assertTrue(reused, version)

	def test_tickets_are_not_good_for_another_process(self):
		"""The keys are in memory only."""
		self.contexts = {ssl.TLSVersion.TLSv1_2: client_context(ssl.TLSVersion.TLSv1_2)}
		_, session = self.resumed(ssl.TLSVersion.TLSv1_2)
		self.stop()
		self.start()
		self.assertFalse(self.resumed(ssl.TLSVersion.TLSv1_2, session)[0])


class Renewal(TlsCase):
	def test_a_new_certificate(self):
		old = der_of(self.path("first.pem"))
		with TlsClient(self.tls) as before:
			before.send(request("/healthz"))
			self.assertEqual(before.answer().status, 200)
			make_certificate(self.dir, "first", "t.example")
			self.reload()
			with TlsClient(self.tls) as after:
				self.assertEqual(after.certificate(), der_of(self.path("first.pem")))
				self.assertNotEqual(after.certificate(), old)
				before.send(request("/healthz"))
				self.assertEqual(before.answer().status, 200)
				self.assertEqual(before.certificate(), old)

	def test_a_bad_new_certificate(self):
		"""The old one stays, and so do all others; the log says which line of the settings to look at."""
		old = der_of(self.path("second.pem"))
		with open(self.path("conf")) as f:
			line = 1 + [l.split(" ")[0] for l in f].index("tls_cert")
		with open(self.path("second.pem"), "w") as f:
			f.write("half a file")
		self.reload("the old certificates stay")
		self.assertRegex(self.log(), r"conf:%d: tls_cert: \S+/second\.pem: not a certificate" % line)
		with TlsClient(self.tls, "l.example.net") as c:
			self.assertEqual(c.certificate(), old)
		make_certificate(self.dir, "second", "l.example.net")
		self.reload()
		with TlsClient(self.tls, "l.example.net") as c:
			self.assertEqual(c.certificate(), der_of(self.path("second.pem")))


class Faults(TlsCase):
	"""What is said at the start.  All faults at once, each with the line of the setting, the file and the reason."""

	def refused(self, **changes):
		self.configure(**changes)
		done = subprocess.run([os.path.join(BUILD, "rekindle-tracker"), "-c", self.path("conf")], capture_output=True, text=True, timeout=60)
		self.assertEqual(done.returncode, 1, done.stderr)
		return done.stderr

	def write(self, name, text):
		with open(self.path(name), "w") as f:
			f.write(text)
		return self.path(name)

	def test_reasons(self):
		cert, key = self.path("first.pem"), self.path("first.key")
		make_certificate(self.dir, "secret", "t.example", passphrase="opensesame")
		with open(cert) as f, open(key) as g:
			pem, key_pem = f.read(), g.read()
		broken = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
		for says, cert_file, key_file, want in (
			("no file", self.path("nothing"), key, r"tls_cert: \S+/nothing: No such file or directory"),
			("no key file", cert, self.path("nothing"), r"tls_key: \S+/nothing: No such file or directory"),
			("a directory", self.dir, key, r"tls_cert: \S+: Is a directory"),
			("an empty file", self.write("empty", ""), key, r"tls_cert: \S+/empty: not a certificate: no start line"),
			("something else", key, key, r"tls_cert: \S+/first\.key: not a certificate: no start line"),
			("a certificate for a key", cert, cert, r"tls_key: \S+/first\.pem: not a private key"),
			("the key of another", cert, self.path("second.key"),
				r"tls_key: \S+/second\.key: is not the key of this certificate: key values mismatch"),
			("a key that asks for a passphrase", self.path("secret.pem"), self.path("secret.key"),
				r"tls_key: \S+/secret\.key: is encrypted; take the passphrase off"),
			("a broken chain", self.write("chain", pem + broken), key, r"tls_cert: \S+/chain: the chain behind the certificate is broken"),
			("too large", self.write("large", pem + "\n" * 300000), key, r"tls_cert: \S+/large: larger than \d+ bytes"),
		):
			with self.subTest(says):
				said = self.refused(tls_cert=cert_file, tls_key=key_file)
				self.assertRegex(said, r"(?m)/conf:\d+: " + want)
		said = self.refused(tls_cert="/nothing/a, /nothing/b", tls_key="%s, %s" % (key, key))
		self.assertIn("/nothing/a: No such file", said)
		self.assertIn("/nothing/b: No such file", said)
		self.assertIn("needs a certificate", self.refused(tls_cert="", tls_key=""))

	def test_what_root_alone_can_read_is_refused_at_the_start(self):
		"""And not three months later, when it has been renewed."""
		if os.geteuid() != 0:
			self.skipTest("needs root")
		self.stop()
		for path, _, files in os.walk(self.dir):
			for name in [path] + [os.path.join(path, f) for f in files]:
				os.chown(name, 1, 1)
		os.chmod(self.path("first.key"), 0o600)
		os.chown(self.path("first.key"), 0, 0)
		self.assertRegex(self.refused(), r"tls_key: \S+/first\.key: Permission denied")
		os.chown(self.path("first.key"), 1, 1)
		self.start()

	def test_an_expired_certificate_is_used_and_told(self):
		self.stop()
		subprocess.run(["openssl", "x509", "-in", self.path("first.pem"), "-signkey", self.path("first.key"), "-days", "-1",
			"-out", self.path("old.pem")], check=True, capture_output=True)
		os.rename(self.path("old.pem"), self.path("first.pem"))
		self.start()
		self.assertRegex(self.log(), r"first\.pem has expired")


if __name__ == "__main__":
	unittest.main()
