"""rig.py -- a mail server in a temporary directory: Postfix, the daemons, a sink, and the hands of a tester.

	import rig

	def test_a_link_redirects():
		with rig.Rig(settings={"privacy_profile": "classic"}) as r:
			r.start()                                  # tracker, milter, Postfix
			reply = r.send(RAW, rcpts=["ann@example.com"])
			assert reply.ok, reply
			mail = r.sink.wait_for(1)[0]               # .sender .rcpts .raw .header() .text()
			answer = r.get(rig.links(mail.text("text/html"))[0], agent=rig.PERSON)
			assert answer.status == 302

	if __name__ == "__main__":
		rig.main(globals())

Nothing is shared with the machine's own mail: own directories, free ports,
own Postfix master.  All of it ends with the `with` block, also when that ends
by an exception or a signal; when a test fails all logs are printed.  A daemon
that ends badly or has something to say by a sanitizer fails the test.
Needs root (Postfix does) and Python's standard library only.
"""

import atexit
import base64
import contextlib
import email
import email.policy
import html
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.parse

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(os.environ.get("REKINDLE_BUILD") or TOP)
OWNER = "daemon"  # whom the daemons run as: exists everywhere and owns nothing
POSTFIX_DAEMONS = "/usr/lib/postfix/sbin"

sys.path.insert(0, os.path.join(TOP, "tests", "data"))  # newsletter.py

# The user agents that matter.
PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
APPLE = "Mozilla/5.0"
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"
SCANNER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36 Barracuda Sentinel (EE)"

SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:|SUMMARY: \w+Sanitizer")


# ---- small things ----

def wait_until(predicate, timeout=60, what=None):
	"""Polls until predicate() is true and returns what it returned; AssertionError when it never is."""
	end = time.monotonic() + timeout
	pause = 0.005
	while True:
		value = predicate()
		if value:
			return value
		if time.monotonic() > end:
			raise AssertionError("waited %g s in vain for %s" % (timeout, what or predicate))
		time.sleep(pause)
		pause = min(pause * 1.5, 0.1)


def free_port():
	"""Below the range that the kernel hands out to clients, so that nobody gets it by chance before we use it."""
	while True:
		port = random.randint(20000, 32000)
		with socket.socket() as s:
			try:
				s.bind(("127.0.0.1", port))
				return port
			except OSError:
				continue


def traced(pid):
	"""All threads of it."""
	def one(task):
		try:
			with open("/proc/%d/task/%s/status" % (pid, task)) as f:
				return "TracerPid:\t0\n" not in f.read()
		except OSError:
			return True  # it has ended
	return all(map(one, os.listdir("/proc/%d/task" % pid)))


def refusal_at_end(process, path, wake=None):
	"""
	Tells a daemon to end, with strace holding up whatever removes a file:
	what a client hears from then on at its socket in the file system, first.
	None, and nothing is told, where strace is not there or may not.  wake: a
	socket at which libmilter is called, or it takes five seconds to notice.
	"""
	def call(where):
		with socket.socket(socket.AF_UNIX) as s:
			s.connect(where)

	if shutil.which("strace") is None:
		return None
	with subprocess.Popen(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=/^unlink", "-e", "inject=/^unlink:delay_enter=200000",
			"-p", str(process.pid)]) as tracer:
		wait_until(lambda: tracer.poll() is not None or traced(process.pid), what="strace")
		if tracer.poll() is not None:
			return None
		process.send_signal(signal.SIGTERM)
		while True:
			if wake is not None:
				with contextlib.suppress(OSError):
					call(wake)
			try:
				call(path)
			except BlockingIOError:
				pass
			except OSError as refused:
				process.wait(60)
				return refused


def one_of_two(command, **popen):
	"""
	Starts the same daemon twice, with strace holding up whatever removes a
	file: what the one says that ends, of the other the process, which its
	caller kills with its group.  None where strace is not there or may not.
	"""
	if shutil.which("strace") is None or subprocess.run(["strace", "-qq", "-o", "/dev/null", "true"], stderr=subprocess.DEVNULL).returncode != 0:
		return None
	slowly = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=/^unlink", "-e", "inject=/^unlink:delay_enter=300000", *command]
	logs = [tempfile.TemporaryFile("w+") for _ in range(2)]
	both = [subprocess.Popen(slowly, stderr=log, start_new_session=True, **popen) for log in logs]

	def said(log):
		log.seek(0)
		return log.read()
	try:
		wait_until(lambda: any(p.poll() is not None for p in both) or all("started" in said(log) for log in logs), 20, "one of two to end")
		assert any(p.poll() is not None for p in both), "both have started"
		ended = 0 if both[0].poll() is not None else 1
		wait_until(lambda: "started" in said(logs[1 - ended]), 20, "the other one to start")
		return said(logs[ended]), both.pop(1 - ended)
	except AssertionError:
		raise AssertionError("\n".join(map(said, logs))) from None
	finally:
		for log in logs:
			log.close()
		for p in both:
			with contextlib.suppress(ProcessLookupError):
				os.killpg(p.pid, signal.SIGKILL)
			p.wait()


def links(page):
	"""The href of every <a> and <area>, as a browser would follow it."""
	return [html.unescape(m[2]) for m in re.finditer(r"""(?is)<(?:a|area|[vw]:\w+)\s[^>]*?href\s*=\s*(["'])(.*?)\1""", page)]


def tracked(page):
	"""The links that go to our tracker."""
	return [url for url in links(page) if re.search(r"/c/[\w-]+$", url)]


def pixel(page):
	"""The address of the one pixel."""
	found = [url for url in images(page) if re.search(r"/o/[\w-]+\.gif$", url)]
	assert len(found) == 1, "%d pixels" % len(found)
	return found[0]


def untagged(page, hrefs):
	"""The page as it was: tracked links replaced by the hrefs (as written in the markup, in order), the pixel taken out."""
	hrefs = iter(hrefs)
	page = re.sub(r"""https?://[^\s"'<>]*/c/[\w-]+""", lambda _: next(hrefs), page)
	assert next(hrefs, None) is None, "fewer links were tracked than there are"
	page, pixels = re.subn(r"""<img\s[^>]*/o/[\w-]+\.gif[^>]*>""", "", page)
	assert pixels == 1, "%d pixels" % pixels
	return page.replace("\r\n", "\n")


def images(page):
	return [html.unescape(m[2]) for m in re.finditer(r"""(?is)<img\s[^>]*?src\s*=\s*(["'])(.*?)\1""", page)]


# ---- the sink: where Postfix delivers ----

class Mail:
	"""One message as it arrived: envelope and bytes."""

	def __init__(self, sender, rcpts, raw, mail_args, rcpt_args):
		self.sender = sender
		self.rcpts = rcpts
		self.raw = raw              # CRLF, dots removed
		self.mail_args = mail_args  # "BODY=8BITMIME SMTPUTF8"
		self.rcpt_args = rcpt_args
		head, _, self.body = raw.partition(b"\r\n\r\n")
		self.head = head + b"\r\n"

	@property
	def parsed(self):
		return email.message_from_bytes(self.raw, policy=email.policy.default)

	def header(self, name):
		"""The first field of this name, unfolded, or None."""
		value = self.parsed.get(name)
		return None if value is None else str(value)

	def headers(self, name):
		return [str(v) for v in self.parsed.get_all(name, [])]

	def decoded(self, kind):
		"""The first part of this media type, transfer encoding removed, as bytes; None when there is none."""
		for part in self.parsed.walk():
			if part.get_content_type() == kind:
				return part.get_payload(decode=True)
		return None

	def text(self, kind="text/html"):
		raw = self.decoded(kind)
		return None if raw is None else raw.decode("utf-8", "surrogateescape")


class Sink:
	"""An SMTP server that keeps everything in memory.  Announces what Postfix would otherwise convert mail for."""

	def __init__(self):
		self.mails = []
		self.changed = threading.Condition()
		sink = self

		class Handler(socketserver.StreamRequestHandler):
			disable_nagle_algorithm = True

			def handle(self):
				try:
					sink._serve(self.rfile, self.wfile)
				except (OSError, ValueError):
					pass  # the client is gone

		class Server(socketserver.ThreadingTCPServer):
			daemon_threads = True
			request_queue_size = 128

		self.server = Server(("127.0.0.1", 0), Handler)
		self.port = self.server.server_address[1]
		threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

	def _serve(self, rfile, wfile):
		def reply(text):
			wfile.write(text.encode() + b"\r\n")
			wfile.flush()

		sender, rcpts, mail_args, rcpt_args = None, [], "", []
		reply("220 sink.test.invalid ESMTP")
		for line in rfile:
			line = line.rstrip(b"\r\n")
			verb = line.split(b" ", 1)[0].upper()
			path = re.search(rb"<(.*?)>\s*(.*)$", line)
			if verb == b"EHLO":
				reply("250-sink.test.invalid\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n250 SIZE 0")
			elif verb == b"MAIL" and path:
				sender, mail_args, rcpts, rcpt_args = path[1].decode(), path[2].decode(), [], []
				reply("250 2.1.0 ok")
			elif verb == b"RCPT" and path:
				rcpts.append(path[1].decode())
				rcpt_args.append(path[2].decode())
				reply("250 2.1.5 ok")
			elif verb == b"DATA":
				reply("354 go on")
				lines = []
				for data in rfile:
					if data == b".\r\n":
						break
					lines.append(data[1:] if data.startswith(b".") else data)
				else:
					return
				with self.changed:
					self.mails.append(Mail(sender, rcpts, b"".join(lines), mail_args, rcpt_args))
					self.changed.notify_all()
				reply("250 2.0.0 kept")
			elif verb == b"QUIT":
				reply("221 2.0.0 bye")
				return
			elif verb in (b"HELO", b"RSET", b"NOOP"):
				reply("250 2.0.0 ok")
			else:
				reply("500 5.5.2 what?")

	def wait_for(self, n, timeout=60):
		"""Waits until n messages are there in total and returns all of them."""
		with self.changed:
			if not self.changed.wait_for(lambda: len(self.mails) >= n, timeout):
				raise AssertionError("waited %g s for %d messages, %d came" % (timeout, n, len(self.mails)))
			return list(self.mails)

	def take(self, n, timeout=60):
		"""Waits for n messages and removes and returns all that are there."""
		with self.changed:
			self.wait_for(n, timeout)
			mails, self.mails = self.mails, []
			return mails

	def of(self, rcpt):
		"""The messages for one recipient."""
		with self.changed:
			return [m for m in self.mails if rcpt in m.rcpts]

	def close(self):
		self.server.shutdown()
		self.server.server_close()


# ---- a Dovecot auth server, as far as Postfix's smtpd speaks with one ----

class Auth:
	"""Every login is right, unless its password is "wrong"."""

	def __init__(self):
		class Handler(socketserver.StreamRequestHandler):
			def say(self, *fields):
				self.wfile.write("\t".join(fields).encode() + b"\n")

			def handle(self):
				self.say("VERSION", "1", "2")
				self.say("MECH", "PLAIN", "plaintext")
				self.say("SPID", "1")
				self.say("CUID", "1")
				self.say("COOKIE", "00112233445566778899aabbccddeeff")
				self.say("DONE")
				for line in self.rfile:
					verb, *fields = line.decode().rstrip("\n").split("\t")
					if verb != "AUTH":
						continue
					resp = [f[len("resp="):] for f in fields if f.startswith("resp=")]
					if not resp:
						self.say("FAIL", fields[0])
						continue
					_, user, password = base64.b64decode(resp[0]).decode().split("\0")
					self.say("FAIL" if password == "wrong" else "OK", fields[0], "user=" + user)

		class Server(socketserver.ThreadingTCPServer):
			daemon_threads = True

		self.server = Server(("127.0.0.1", 0), Handler)
		self.port = self.server.server_address[1]
		threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

	def close(self):
		self.server.shutdown()
		self.server.server_close()


# ---- an SMTP client that keeps every reply ----

class Reply:
	def __init__(self, lines):
		self.lines = lines
		self.code = int(lines[-1][:3]) if lines and lines[-1][:3].isdigit() else 0  # 0: the server hung up

	@property
	def ok(self):
		return 200 <= self.code < 400

	def __str__(self):
		return " | ".join(self.lines) or "(connection closed)"

	__repr__ = __str__


class Sent(Reply):
	"""The last reply, and the one to each recipient."""

	def __init__(self, last, rcpt):
		super().__init__(last.lines)
		self.rcpt = rcpt  # address -> Reply


class Smtp:
	def __init__(self, port, host="127.0.0.1", timeout=60, hello=True):
		self.sock = socket.create_connection((host, port), timeout=timeout)
		self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		self.file = self.sock.makefile("rb")
		self.transcript = []
		self.greeting = self.reply()
		if hello:
			self.command("EHLO client.test.invalid")

	def reply(self):
		lines = []
		while True:
			line = self.file.readline().decode("utf-8", "replace").rstrip("\r\n")
			if line == "":
				break
			lines.append(line)
			if line[3:4] != "-":
				break
		self.transcript += ["< " + l for l in lines]
		return Reply(lines)

	def command(self, text):
		self.transcript.append("> " + text)
		self.sock.sendall(text.encode() + b"\r\n")
		return self.reply()

	def login(self, user, password="secret"):
		return self.command("AUTH PLAIN " + base64.b64encode(("\0%s\0%s" % (user, password)).encode()).decode())

	def data(self, raw):
		"""After an accepted DATA: the message, with its dots doubled."""
		raw = re.sub(rb"\r?\n", b"\r\n", raw)
		if not raw.endswith(b"\r\n"):
			raw += b"\r\n"
		self.transcript.append("> (%d bytes)" % len(raw))
		self.sock.sendall(re.sub(rb"(?m)^\.", b"..", raw) + b".\r\n")
		return self.reply()

	def send(self, raw, sender, rcpts, options=""):
		"""One transaction.  Recipients that are refused are in .rcpt; the session can be used again."""
		if isinstance(raw, str):
			raw = raw.encode()
		rcpt = {}
		last = self.command("MAIL FROM:<%s>%s" % (sender, options and " " + options))
		if last.ok:
			for address in rcpts:
				rcpt[address] = last = self.command("RCPT TO:<%s>" % address)
		if any(r.ok for r in rcpt.values()):
			last = self.command("DATA")
			if last.ok:
				return Sent(self.data(raw), rcpt)
		if last.code:
			self.command("RSET")
		return Sent(last, rcpt)

	def close(self):
		try:
			self.sock.sendall(b"QUIT\r\n")
			self.sock.settimeout(2)
			self.reply()
		except OSError:
			pass
		self.file.close()
		self.sock.close()

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.close()


# ---- HTTP ----

class Answer:
	def __init__(self, response, body):
		self.status = response.status
		self.headers = response.headers
		self.location = response.headers.get("Location")
		self.body = body

	def __repr__(self):
		return "%d %s" % (self.status, self.location or "")


# ---- processes ----

class Daemon:
	"""A program of ours in the foreground, its standard error in a file."""

	def __init__(self, rig, name):
		self.rig, self.name = rig, name
		self.process = None
		self.log_file = os.path.join(rig.dir, "log", name + ".log")
		open(self.log_file, "a").close()
		self.mark = 0  # where the log of the present process begins

	@property
	def log(self):
		with open(self.log_file, errors="replace") as f:
			return f.read()

	@property
	def pid(self):
		return self.process.pid

	@property
	def running(self):
		return self.process is not None and self.process.poll() is None

	def spawn(self, arguments=()):
		assert not self.running, self.name + " runs already"
		self.mark = os.path.getsize(self.log_file)
		with open(self.log_file, "ab") as log:
			self.process = subprocess.Popen(
				[self.rig.program(self.name), "-c", self.rig.conf_file, *arguments], stdin=subprocess.DEVNULL,
				stdout=log, stderr=log, cwd="/", start_new_session=True, env=self.rig.env(), **self.rig.identity())

	def log_now(self):
		"""What the present process has logged."""
		with open(self.log_file, "rb") as f:
			f.seek(self.mark)
			return f.read().decode("utf-8", "replace")

	def wait_log(self, pattern, timeout=60):
		"""Waits until the present process has logged this (a regular expression); the match."""
		def look():
			found = re.search(pattern, self.log_now())
			if not found and not self.running:
				raise AssertionError("%s ended with %s:\n%s" % (self.name, self.process.poll(), self.log_now()))
			return found
		return wait_until(look, timeout, "%s to log %r" % (self.name, pattern))

	def signal(self, number):
		self.process.send_signal(number)

	def kill(self):
		"""kill -9, and gone when this returns."""
		if self.running:
			os.killpg(self.process.pid, signal.SIGKILL)
		self.process.wait()

	def stop(self, timeout=60):
		"""TERM; it has to end by itself and with status 0."""
		if self.process is None:
			return
		if self.running:
			self.signal(signal.SIGTERM)
		try:
			status = self.process.wait(timeout)
		except subprocess.TimeoutExpired:
			self.kill()
			raise AssertionError("%s did not stop within %g s of SIGTERM" % (self.name, timeout)) from None
		self.process = None
		assert status == 0, "%s ended with status %d" % (self.name, status)


class Postfix:
	"""An instance of its own; nothing of /etc/postfix but the map types."""

	def __init__(self, rig, main, master, listeners, split=False):
		self.rig = rig
		self.split = split
		self.etc = os.path.join(rig.dir, "etc")
		self.spool = os.path.join(rig.dir, "spool")
		self.log_file = os.path.join(rig.dir, "log", "mail.log")
		self.main, self.master, self.listeners = main, master, dict({"smtp": ""}, **listeners)
		self.ports = {}
		self.process = None
		for d in (self.etc, self.spool):
			os.makedirs(d, exist_ok=True)
		data = os.path.join(rig.dir, "postfix")
		os.makedirs(data, exist_ok=True)
		shutil.chown(data, "postfix")

	def settings(self):
		rig = self.rig
		settings = {
			"compatibility_level": "3.6",
			"queue_directory": self.spool,
			"data_directory": os.path.join(rig.dir, "postfix"),
			"command_directory": "/usr/sbin",
			"daemon_directory": POSTFIX_DAEMONS,
			"shlib_directory": "/usr/lib/postfix",
			"meta_directory": "/etc/postfix",
			"maillog_file": self.log_file,
			"maillog_file_prefixes": rig.dir,
			"mail_owner": "postfix",
			"setgid_group": "postdrop",
			"myhostname": "mx.test.invalid",
			"mydomain": "test.invalid",
			"mydestination": "",
			"inet_interfaces": "127.0.0.1",
			"inet_protocols": "ipv4",
			"mynetworks": "127.0.0.0/8",
			"smtpd_relay_restrictions": "permit_mynetworks, reject",
			"alias_maps": "",
			"alias_database": "",
			"local_recipient_maps": "",
			"default_transport": "smtp:[127.0.0.1]:%d" % rig.sink.port,
			"relay_transport": "smtp:[127.0.0.1]:%d" % rig.sink.port,
			"default_database_type": "lmdb",
			"smtpd_peername_lookup": "no",
			"smtp_dns_support_level": "disabled",
			"disable_dns_lookups": "yes",
			"biff": "no",
			"smtpd_client_connection_count_limit": "0",
			"smtpd_client_connection_rate_limit": "0",
			"in_flow_delay": "0",
			"queue_run_delay": "5s",
			"minimal_backoff_time": "5s",
			"milter_default_action": "tempfail",
			"milter_command_timeout": "30s",
			"milter_content_timeout": "60s",
		}
		if rig.milter_address:
			settings["smtpd_milters"] = rig.milter_address
			settings["non_smtpd_milters"] = rig.milter_address
		if rig.auth:
			settings.update({
				"smtpd_sasl_auth_enable": "yes",
				"smtpd_sasl_type": "dovecot",
				"smtpd_sasl_path": "inet:127.0.0.1:%d" % rig.auth.port,
			})
		settings.update(self.main)
		return settings

	def recipe(self, name):
		"""conf/postfix-split.NAME to the letter, but for the ports."""
		if not self.split:
			return ""
		with open(os.path.join(TOP, "conf", "postfix-split." + name)) as f:
			text = f.read()
		assert name != "master.cf" or (text.count("\nsubmission "), text.count(":10589")) == (1, 3), text
		return self.to_our_ports(text)

	def to_our_ports(self, text):
		"""What a split's settings call submission and 10589."""
		if self.split:
			text = re.sub(r"(?m)^submission ", "127.0.0.1:%d " % self.ports["front"], text)
			text = re.sub(r"(127\.0\.0\.1\]?:)10589\b", r"\g<1>%d" % self.ports["back"], text)
		return text

	def write(self):
		master = self.recipe("master.cf")
		with open(os.path.join(self.etc, "main.cf"), "w") as f:
			for name, value in self.settings().items():
				f.write(self.to_our_ports("%s = %s\n" % (name, value)))
			f.write(self.recipe("main.cf"))
		with open(os.path.join(self.etc, "master.cf"), "w") as f:
			for name, options in self.listeners.items():
				f.write("127.0.0.1:%d inet n - n - - smtpd %s\n" % (self.ports[name], options))
			for service, private, wakeup, limit, command in (
					("pickup", "n", "60", "1", "pickup"), ("cleanup", "n", "-", "0", "cleanup"),
					("qmgr", "n", "300", "1", "qmgr"), ("rewrite", "-", "-", "-", "trivial-rewrite"),
					("bounce", "-", "-", "0", "bounce"), ("defer", "-", "-", "0", "bounce"),
					("trace", "-", "-", "0", "bounce"), ("verify", "-", "-", "1", "verify"),
					("flush", "n", "1000?", "0", "flush"), ("proxymap", "-", "-", "-", "proxymap"),
					("smtp", "-", "-", "-", "smtp"), ("relay", "-", "-", "-", "smtp"), ("showq", "n", "-", "-", "showq"),
					("error", "-", "-", "-", "error"), ("retry", "-", "-", "-", "error"),
					("discard", "-", "-", "-", "discard"), ("anvil", "-", "-", "1", "anvil"),
					("scache", "-", "-", "1", "scache")):
				if not re.search(r"(?m)^%s\s+unix\s" % service, master):
					f.write("%s unix %s - n %s %s %s\n" % (service, private, wakeup, limit, command))
			f.write("postlog unix-dgram n - n - 1 postlogd\n")
			f.writelines(line + "\n" for line in self.master)
			f.write(master)

	def start(self):
		for _ in range(5):
			self.ports = {name: free_port() for name in [*self.listeners, *(["front", "back"] if self.split else [])]}
			self.write()
			subprocess.run(["postfix", "-c", self.etc, "check"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
			with open(self.log_file + ".master", "ab") as log:
				# -d: in the foreground, so that it and all its children are one process group of ours.
				self.process = subprocess.Popen(
					[os.path.join(POSTFIX_DAEMONS, "master"), "-c", self.etc, "-d"], stdin=subprocess.DEVNULL,
					stdout=log, stderr=log, start_new_session=True, env=dict(os.environ, MAIL_CONFIG=self.etc))
			if self.wait_ready():
				return
			self.stop()
		raise AssertionError("Postfix does not start:\n" + self.log + open(self.log_file + ".master").read())

	def wait_ready(self):
		end = time.monotonic() + 20
		for port in self.ports.values():
			while True:
				if self.process.poll() is not None or time.monotonic() > end:
					return False
				try:
					socket.create_connection(("127.0.0.1", port), 5).close()
					break
				except OSError:
					time.sleep(0.02)
		return True

	@property
	def log(self):
		try:
			with open(self.log_file, errors="replace") as f:
				return f.read()
		except FileNotFoundError:
			return ""

	def command(self, *arguments, input=None):
		"""postconf, postqueue, postsuper, mailq ... for this instance."""
		return subprocess.run(arguments, input=input, capture_output=True, env=dict(os.environ, MAIL_CONFIG=self.etc))

	def queue(self):
		"""What `postqueue -j` says, as a list."""
		out = self.command("postqueue", "-j").stdout.decode()
		return [json.loads(line) for line in out.splitlines() if line]

	def flush(self):
		"""Tries all deferred mail now."""
		self.command("postqueue", "-f")

	def stop(self):
		if self.process is None:
			return
		self.process.terminate()
		try:
			self.process.wait(60)
		except subprocess.TimeoutExpired:
			pass
		try:
			os.killpg(self.process.pid, signal.SIGKILL)  # children that linger
		except ProcessLookupError:
			pass
		self.process.wait()
		self.process = None


# ---- the rig ----

_open_rigs = []


def _close_all():
	for r in list(_open_rigs):
		r.close()


def _on_signal(number, _frame):
	sys.exit(128 + number)  # unwinds the stack, so every `with` block cleans up


class Rig:
	"""
	settings   the general section of rekindle.conf: name -> value (str, number, bool or list);
	           None leaves out one of the rig's defaults
	streams    [stream NAME] sections: name -> settings
	policy     the [policy] section
	main       more settings for Postfix's main.cf
	master     more lines for master.cf
	listeners  more smtpd listeners: name -> "-o option=value ..."; their port is port(name)
	sasl       True: logins work (see Auth)
	milter     "unix" (in Postfix's queue directory), "inet", or None: Postfix uses no milter
	split      True: Postfix as conf/postfix-split.*.cf would have it, with listeners "front" and "back"
	"""

	def __init__(self, settings=None, streams=None, policy=None, main=None, master=(), listeners=None, sasl=False,
			milter="unix", split=False):
		if os.geteuid() != 0:
			raise SystemExit("the integration tests need root: Postfix's master does")
		for number in (signal.SIGTERM, signal.SIGHUP):
			if threading.current_thread() is threading.main_thread():
				signal.signal(number, _on_signal)
		os.umask(0o022)
		self.dir = tempfile.mkdtemp(prefix="rekindle-test.", dir="/tmp")
		_open_rigs.append(self)
		try:
			self._build(settings, streams, policy, main, master, listeners, sasl, milter, split)
		except BaseException:
			self.close()
			raise

	def _build(self, settings, streams, policy, main, master, listeners, sasl, milter, split):
		self.daemons = {}
		self.sink = self.auth = self.postfix = None
		os.chmod(self.dir, 0o755)
		for name in ("bin", "log"):
			os.mkdir(os.path.join(self.dir, name))
		self.conf_dir = os.path.join(self.dir, "conf")
		self.data_dir = os.path.join(self.dir, "data")
		for path in (self.conf_dir, self.data_dir):
			os.mkdir(path, 0o755)
			shutil.chown(path, OWNER, OWNER)
		self.conf_file = os.path.join(self.conf_dir, "rekindle.conf")
		self.key_file = os.path.join(self.conf_dir, "keys")
		self.sink = Sink()
		self.auth = Auth() if sasl else None
		self.milter_port = free_port()
		spool = os.path.join(self.dir, "spool")
		# As on a real server: made by the administrator, group postfix by the set-group-id bit.
		socket_dir = os.path.join(spool, "rekindle")
		os.makedirs(socket_dir)
		shutil.chown(socket_dir, OWNER, "postfix")
		os.chmod(socket_dir, 0o2750)
		self.milter_socket = os.path.join(socket_dir, "milter.sock")
		self.milter_address = {"unix": "unix:rekindle/milter.sock", "inet": "inet:127.0.0.1:%d" % self.milter_port,
			None: None}[milter]
		self.http_port = free_port()
		self.settings = {
			"data_dir": self.data_dir,
			"key_file": self.key_file,
			"tracking_url": "http://127.0.0.1:%d" % self.http_port,
			"privacy_profile": "classic",
			"milter_socket": self.milter_address if milter == "inet" else "unix:" + self.milter_socket,
			"http_listen": "127.0.0.1:%d" % self.http_port,
			# An answer means: durable.
			"answer_within": "10s",
			"record_within": "10s",
			# Most tests ask for the same again and again.
			"max_repeats": 0,
		}
		if split:
			self.settings.update(split_front="rekindle-front", split_back="rekindle-back")
		self.settings.update(settings or {})
		self.streams = streams or {}
		# Most tests send to the same few recipients again and again, and look at something else.
		# And nobody shall be in the control group by chance.
		self.policy = dict({"cap_new": "off", "cap_engaged": "off", "cap_semi": "off", "holdout": 0}, **(policy or {}))
		self.postfix = Postfix(self, main or {}, master, listeners or {}, split)
		self.write_conf()

	# -- files and identity --

	def program(self, name):
		"""Our copy of it: the checkout may be in a directory that only root can enter."""
		copy = os.path.join(self.dir, "bin", name)
		if not os.path.exists(copy):
			shutil.copy(os.path.join(BUILD, name), copy)
		return copy

	def identity(self):
		return {"user": OWNER, "group": OWNER, "extra_groups": []}

	def env(self, **sanitizers):
		"""Sanitizers end a program with a status of their own.  Options of the caller's environment come last and win."""
		env = dict(os.environ, TZ="UTC", LC_ALL="C.UTF-8")
		options = {"ASAN_OPTIONS": ["exitcode=99"], "TSAN_OPTIONS": ["exitcode=99", "suppressions=" + self.suppressions()],
			"UBSAN_OPTIONS": ["print_stacktrace=1"]}
		for name, values in options.items():
			env[name] = ":".join(values + [sanitizers.get(name, ""), os.environ.get(name, "")])
		return env

	def suppressions(self):
		copy = os.path.join(self.dir, "bin", "tsan.supp")
		if not os.path.exists(copy):
			shutil.copy(os.path.join(TOP, "tests", "tsan.supp"), copy)
		return copy

	def write_conf(self, **changes):
		"""Writes rekindle.conf again, with changed general settings."""
		def text(value):
			if isinstance(value, bool):
				return "yes" if value else "no"
			if isinstance(value, (list, tuple)):
				return ", ".join(map(str, value))
			return str(value)

		def section(settings):
			return "".join("%s = %s\n" % (k, text(v)) for k, v in settings.items() if v is not None)

		self.settings.update(changes)
		out = section(self.settings)
		for name, settings in self.streams.items():
			out += "\n[stream %s]\n%s" % (name, section(settings))
		if self.policy:
			out += "\n[policy]\n" + section(self.policy)
		with open(self.conf_file, "w") as f:
			f.write(out)

	def make_keys(self):
		if not os.path.exists(self.key_file):
			made = self.cli("key", "new")
			assert made.code == 0, made
			shutil.chown(self.key_file, OWNER, OWNER)

	# -- starting and stopping --

	def start(self):
		"""Everything."""
		self.start_tracker()
		if self.milter_address:
			self.start_milter()
		self.start_postfix()

	def start_postfix(self):
		self.postfix.start()

	def daemon(self, name):
		if name not in self.daemons:
			self.daemons[name] = Daemon(self, name)
		return self.daemons[name]

	@property
	def milter(self):
		return self.daemon("rekindle-milter")

	@property
	def tracker(self):
		return self.daemon("rekindle-tracker")

	def start_milter(self):
		self.make_keys()
		milter = self.milter
		milter.spawn()

		def listens():
			if not milter.running:
				raise AssertionError("rekindle-milter ended with %s:\n%s" % (milter.process.poll(), milter.log_now()))
			try:
				if (self.settings["milter_socket"] or "").startswith("inet"):
					socket.create_connection(("127.0.0.1", self.milter_port), 5).close()
				else:
					with socket.socket(socket.AF_UNIX) as s:
						s.connect(self.milter_socket)
				return True
			except OSError:
				return False
		wait_until(listens, 30, "rekindle-milter to listen")
		return milter

	def start_tracker(self):
		self.make_keys()
		tracker = self.tracker
		tracker.spawn()
		found = tracker.wait_log(r"listening on http \S+:(\d+)")
		self.http_port = int(found[1])
		return tracker

	# -- hands --

	def port(self, listener="smtp"):
		return self.postfix.ports[listener]

	def smtp(self, listener="smtp", login=None):
		session = Smtp(self.port(listener))
		if login:
			reply = session.login(login)
			assert reply.ok, reply
		return session

	def send(self, raw, rcpts=("ann@example.com",), sender="news@example.org", listener="smtp", login=None, options=""):
		"""One message by SMTP.  The last reply; see Sent."""
		with self.smtp(listener, login) as session:
			return session.send(raw, sender, rcpts, options)

	def sendmail(self, raw, rcpts=("ann@example.com",), sender="news@example.org"):
		"""One message by sendmail(1): through pickup and cleanup, without smtpd."""
		if isinstance(raw, str):
			raw = raw.encode()
		done = subprocess.run(["sendmail", "-C", self.postfix.etc, "-i", "-f", sender, "--", *rcpts], input=raw.replace(b"\r\n", b"\n"),
			capture_output=True)
		assert done.returncode == 0, done

	def get(self, url, agent=PERSON, method="GET", headers=None, body=None, timeout=30):
		"""Asks the tracker, whatever host the URL names.  agent None: no User-Agent."""
		parts = urllib.parse.urlsplit(url)
		target = parts.path + ("?" + parts.query if parts.query else "")
		connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
		try:
			connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
			connection.putheader("Host", parts.netloc or "127.0.0.1:%d" % self.http_port)
			if agent is not None:
				connection.putheader("User-Agent", agent)
			for name, value in (headers or {}).items():
				connection.putheader(name, value)
			if body is not None:
				connection.putheader("Content-Length", str(len(body)))
			connection.endheaders(body)
			response = connection.getresponse()
			return Answer(response, response.read())
		finally:
			connection.close()

	def cli(self, *arguments, input=None, root=False):
		"""rekindle -c FILE ARGUMENTS: .code .out .err .json.  A command that ends need not free what it had: no leak detection."""
		if isinstance(input, str):
			input = input.encode()
		done = subprocess.run([self.program("rekindle"), "-c", self.conf_file, *map(str, arguments)], input=input or b"",
			capture_output=True, cwd="/", env=self.env(ASAN_OPTIONS="detect_leaks=0"), timeout=300, **({} if root else self.identity()))
		return Told(arguments, done)

	def logs(self):
		"""All of them, for people."""
		out = []
		log_dir = os.path.join(self.dir, "log")
		for name in sorted(os.listdir(log_dir)):
			with open(os.path.join(log_dir, name), errors="replace") as f:
				lines = f.read().splitlines()
			out.append("---- %s (%d lines)" % (name, len(lines)))
			out += lines[-80:]
		with open(self.conf_file) as f:
			out.append("---- rekindle.conf\n" + f.read())
		return "\n".join(out)

	# -- the end --

	def __enter__(self):
		return self

	def __exit__(self, kind, *_):
		failed = kind is not None and not issubclass(kind, (SystemExit, KeyboardInterrupt))
		trouble = []
		try:
			trouble = self.stop_daemons()
			if failed or trouble:
				print(self.logs(), flush=True)
		finally:
			self.close()
		if trouble and not failed:
			raise AssertionError("; ".join(trouble))

	def stop_daemons(self):
		"""Stops Postfix, then the daemons, all at once; what went wrong as sentences."""
		trouble = []
		if self.postfix:
			self.postfix.stop()
		running = [d for d in self.daemons.values() if d.running]
		for d in running:
			d.signal(signal.SIGTERM)
		for d in self.daemons.values():
			if d.process is not None and not d.running and d not in running and d.process.returncode != -signal.SIGKILL:
				trouble.append("%s had ended with %d" % (d.name, d.process.returncode))
		for d in running:
			try:
				d.stop()
			except AssertionError as e:
				trouble.append(str(e))
		trouble += ["%s: a sanitizer complains" % d.name for d in self.daemons.values() if SANITIZER.search(d.log)]
		return trouble

	def close(self):
		"""Whatever is left goes at once."""
		if self not in _open_rigs:
			return
		_open_rigs.remove(self)
		for d in getattr(self, "daemons", {}).values():
			if d.process is not None:
				d.kill()
		for part in (getattr(self, "postfix", None) and self.postfix.stop, self.sink and self.sink.close,
				self.auth and self.auth.close):
			if part:
				part()
		shutil.rmtree(self.dir, ignore_errors=True)


class Told:
	"""What the command line program said."""

	def __init__(self, arguments, done):
		self.arguments = arguments
		self.code = done.returncode
		self.out = done.stdout.decode("utf-8", "replace")
		self.err = done.stderr.decode("utf-8", "replace")
		assert not SANITIZER.search(self.err), self
		assert self.code >= 0, self

	@property
	def json(self):
		try:
			return json.loads(self.out)
		except ValueError:
			raise AssertionError("not JSON: %s" % self) from None

	@property
	def json_lines(self):
		return [json.loads(line) for line in self.out.splitlines() if line]

	def __iter__(self):  # code, out, err = r.cli(...)
		return iter((self.code, self.out, self.err))

	def __str__(self):
		return "rekindle %s -> %d\n%s%s" % (" ".join(map(str, self.arguments)), self.code, self.out, self.err)

	__repr__ = __str__


atexit.register(_close_all)


# ---- running tests ----

def main(module):
	"""
	Runs every function test_* of a module (or those named on the command
	line), in order; says how it went.  Ends with "N passed, N failed" and the
	exit status that goes with it.
	"""
	tests = [(n, f) for n, f in module.items() if n.startswith("test_") and callable(f)]
	if sys.argv[1:]:
		tests = [(n, f) for n, f in tests if n in sys.argv[1:]]
	passed = failed = 0
	for name, test in tests:
		begin = time.monotonic()
		try:
			test()
		except Exception:
			traceback.print_exc(file=sys.stdout)
			print("FAILED  %s (%.1f s)" % (name, time.monotonic() - begin), flush=True)
			failed += 1
		else:
			print("ok      %s (%.1f s)" % (name, time.monotonic() - begin), flush=True)
			passed += 1
	print("%d passed, %d failed" % (passed, failed), flush=True)
	sys.exit(0 if failed == 0 and passed > 0 else 1)
