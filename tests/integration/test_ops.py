"""test_ops.py -- what an administrator sees and relies on: numbers, readiness, the access log, rights and limits.

	REKINDLE_BUILD=DIR python3 tests/integration/test_ops.py [-v] [Class.test]

Prometheus' own Python client reads the metrics, systemd-analyze the units.
"""

import os
import pwd
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

# Debian's packages, when python3 is another one than Debian's.
sys.path.append("/usr/lib/python3/dist-packages")
from prometheus_client.parser import text_string_to_metric_families

import milterclient
import rig
import test_durability
import test_tracker
from test_tracker import BUILD, DESTINATION, GIF, TOP, Client, request

# Apache's combined format, with what may stand in each place.
LINE = re.compile(r'(?P<peer>\S+) - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "(?P<request>[^"]*)" (?P<status>\d{3}) \d+ "-" "(?P<agent>[^"]*)"$')


class Metrics(test_tracker.Case):
	def families(self):
		answer = self.ask(request("/metrics"), self.admin)
		self.assertEqual(answer.fields["content-type"], "text/plain; version=0.0.4; charset=utf-8")
		return {f.name: f for f in text_string_to_metric_families(answer.body.decode())}

	def value(self, name, **labels):
		sample, = (s for f in self.families().values() for s in f.samples if s.name == name and s.labels == labels)
		return sample.value

	def test_the_format(self):
		self.get(self.urls()[0])
		text = self.ask(request("/metrics"), self.admin).body.decode()
		for name, family in self.families().items():
			self.assertRegex(name, r"^rekindle_[a-z_]+$")
			self.assertIn(family.type, ("counter", "gauge"), name)
			self.assertRegex(family.documentation, r"^[A-Z0-9].*\.$", name)
			self.assertTrue(family.samples, name)
			for sample in family.samples:
				self.assertGreaterEqual(sample.value, 0)
				if family.type == "counter":
					self.assertEqual(sample.name, name + "_total")
		# One HELP and one TYPE for each, before its samples.
		names = re.findall(r"^# TYPE (\S+) ", text, re.M)
		self.assertEqual(names, re.findall(r"^# HELP (\S+) ", text, re.M))
		self.assertEqual(len(names), len(set(names)))

	def test_the_manual_lists_them_all(self):
		with open(os.path.join(TOP, "man/rekindle-tracker.8")) as f:
			manual = re.findall(r"rekindle_[a-z_]+", re.search(r"^\.Ss Metrics$(.*?)^\.S[hs] ", f.read(), re.M | re.S)[1])
		told = {s.name for f in self.families().values() for s in f.samples}
		self.assertEqual(sorted(manual), sorted(told))

	def test_they_count(self):
		pixel, link, leave = self.urls()
		rows = (
			("rekindle_hits_total", {"kind": "open", "verdict": "human"}, lambda: self.get(pixel)),
			("rekindle_hits_total", {"kind": "click", "verdict": "scanner"}, lambda: self.get(link, agent="curl/8.0")),
			("rekindle_tokens_refused_total", {}, lambda: self.get(link + "A")),
			("rekindle_not_found_total", {}, lambda: self.get("/nothing")),
			("rekindle_requests_malformed_total", {}, lambda: self.ask(b"nonsense\r\n\r\n")),
			("rekindle_unsubscribes_total", {}, lambda: self.get(leave, method="POST", body=test_tracker.Unsubscribe.ONE_CLICK,
				fields=test_tracker.Unsubscribe.FORM)),
			("rekindle_touches_durable_total", {}, lambda: self.get(pixel)),
			("rekindle_writer_batches_total", {}, lambda: self.get(pixel)),
			("rekindle_requests_total", {}, lambda: None),
			("rekindle_connections_accepted_total", {}, lambda: None),
		)
		for name, labels, act in rows:
			with self.subTest(name):
				before = self.value(name, **labels)
				act()
				self.assertEqual(self.value(name, **labels), before + 1)
		self.assertEqual(self.value("rekindle_build_info", version=self.version()), 1)

	def version(self):
		told = subprocess.run([os.path.join(BUILD, "rekindle-tracker"), "-V"], capture_output=True, text=True).stdout
		return told.split()[1]

	def test_health(self):
		self.assertEqual(self.ask(request("/healthz"), self.admin).body, b"ok\n")
		self.assertEqual(self.ask(request("/readyz"), self.admin).body, b"ready\n")
		self.assertEqual(self.ask(request("/readyz", "HEAD"), self.admin, head=True).status, 200)
		for page in ("/metrics", "/readyz"):
			self.assertEqual(self.get(page).status, 404, "not for the world")


class AccessLog(test_tracker.Case):
	def setUp(self):
		self.logs = tempfile.mkdtemp(prefix="test_ops.")
		self.addCleanup(shutil.rmtree, self.logs, ignore_errors=True)
		self.file = os.path.join(self.logs, "access")
		self.settings = {"access_log": self.file}
		super().setUp()

	def lines(self, n, file=None):
		"""Waits for n lines and returns them, taken to pieces."""
		def read():
			try:
				with open(file or self.file) as f:
					return f.read().splitlines()
			except FileNotFoundError:
				return []
		self.wait(lambda: len(read()) >= n)
		found = [LINE.match(line) for line in read()]
		self.assertEqual(len(found), n, read())
		self.assertNotIn(None, found, read())
		return [m.groupdict() for m in found]

	def test_without_persons_and_tokens(self):
		pixel, link, leave = self.urls()
		self.get(pixel + "?email=ann@reader.example")
		self.get(link, fields="Referer: https://mail.example/inbox/ann\r\n")
		self.get(leave)
		self.get(link + "A")
		self.get("/robots.txt")
		self.ask(b"nonsense\r\n\r\n")
		got = [(line["peer"], line["request"], line["status"], line["agent"]) for line in self.lines(6)]
		self.assertEqual(got, [("-", "GET /o/-.gif HTTP/1.1", "200", "-"), ("-", "GET /c/- HTTP/1.1", "302", "-"),
			("-", "GET /u/- HTTP/1.1", "200", "-"), ("127.0.0.0", "GET /c/* HTTP/1.1", "404", "firefox"),
			("127.0.0.0", "GET /robots.txt HTTP/1.1", "200", "firefox"), ("127.0.0.0", "-", "400", "-")])
		# What somebody chooses there does not change where that was.
		self.get(leave, method="POST", body="", fields=test_tracker.Unsubscribe.FORM)
		self.get(leave, method="POST", body="choice=keep", fields=test_tracker.Unsubscribe.FORM)
		self.assertEqual([(line["request"], line["status"]) for line in self.lines(8)[6:]],
			[("POST /u/- HTTP/1.1", "400"), ("POST /u/- HTTP/1.1", "200")])
		# Who agreed to everything is seen as closely as the touch itself.
		self.cli("consent", "grant", "ann@reader.example", "--source", "test", code=None)
		self.get(link)
		last = self.lines(9)[8]
		with open(self.file) as f:
			text = f.read()
		for secret in ("ann", "mail.example", "127.0.0.1", pixel[3:20], link[3:20], leave[3:20], "Gecko"):
			self.assertNotIn(secret, text)
		full = [t for t in self.touches("clicked") if t["mode"] == "full"]
		self.assertEqual((last["peer"], last["agent"]), ("127.0.0.0", "firefox") if full else ("-", "-"))
		self.assertEqual(self.metric("rekindle_access_log_lines_total"), 9)

	def test_rotation(self):
		self.get("/robots.txt")
		self.lines(1)
		os.rename(self.file, self.file + ".1")
		self.get("/robots.txt")
		self.lines(2, self.file + ".1")
		self.process.send_signal(signal.SIGHUP)
		self.wait(lambda: os.path.exists(self.file))
		self.get("/robots.txt")
		self.lines(1)
		self.lines(2, self.file + ".1")
		# Off, and on again with another name, without a restart.
		self.configure(access_log="")
		self.process.send_signal(signal.SIGUSR1)
		self.wait(lambda: self.log().count("reloaded") == 2)
		self.get("/robots.txt")
		self.configure(access_log=self.file + ".new")
		self.process.send_signal(signal.SIGHUP)
		self.wait(lambda: os.path.exists(self.file + ".new"))
		self.get("/robots.txt")
		self.lines(1, self.file + ".new")
		self.lines(1)

	def test_what_was_answered_is_there_after_a_stop(self):
		with Client(self.port) as c:
			for _ in range(500):
				c.send(request("/robots.txt"))
				c.answer()
		self.stop()
		self.lines(500)

	def test_a_full_disk_loses_lines_and_nothing_else(self):
		test_durability.mount(self, self.logs, "tmpfs", 1)
		self.process.send_signal(signal.SIGHUP)
		self.wait(lambda: os.path.exists(self.file))
		with open(os.path.join(self.logs, "filler"), "wb", buffering=0) as f:
			try:
				while f.write(bytes(4096)):
					pass
			except OSError:
				pass
		pixel = self.urls()[0]
		n = 0
		with Client(self.port) as c:
			while self.metric("rekindle_access_log_lost_total") == 0:
				for _ in range(100):
					c.send(request("/robots.txt"))
					self.assertEqual(c.answer().status, 200)
				n += 100
		self.assertEqual(self.get(pixel).body, GIF)
		self.assertEqual(len(self.touches("opened")), 1)
		self.assertIn("access_log: lines are lost: No space left on device", self.log())
		# Nobody waits, and when there is room it goes on; only a line that was cut is no line.
		self.wait(lambda: self.metric("rekindle_access_log_lost_total") + self.metric("rekindle_access_log_lines_total") == n + 1)
		os.unlink(os.path.join(self.logs, "filler"))
		self.get("/robots.txt")
		self.wait(lambda: self.metric("rekindle_access_log_lost_total") + self.metric("rekindle_access_log_lines_total") == n + 2)
		with open(self.file) as f:
			good = [line for line in f.read().splitlines() if LINE.match(line)]
		self.assertEqual(len(good), self.metric("rekindle_access_log_lines_total"))
		self.assertIn("/robots.txt", good[-1])
		self.kill()
		self.process = None

	def test_a_file_that_cannot_be_opened(self):
		self.configure(access_log="/nonexistent/log")
		self.process.send_signal(signal.SIGHUP)
		self.wait(lambda: re.search(r"/conf:\d+: access_log: /nonexistent/log: No such file or directory; the old file stays", self.log()))
		self.assertEqual(self.get("/robots.txt").status, 200)


class Guessing(test_tracker.Case):
	BURST = 60

	def setUp(self):
		self.logs = tempfile.mkdtemp(prefix="test_ops.")
		self.addCleanup(shutil.rmtree, self.logs, ignore_errors=True)
		self.settings = {"access_log": os.path.join(self.logs, "access"), "threads": "1"}
		super().setUp()

	def test_a_guesser_pays_and_nobody_else(self):
		pixel, link, leave = self.urls()
		bad = link[:-2] + ("AA" if link[-2:] != "AA" else "BB")
		with Client(self.port) as patient:
			patient.send(request(link))
			patient.answer()
			kept = closed = 0
			for _ in range(4 * self.BURST):
				answer = self.get(bad)
				self.assertEqual((answer.status, answer.body), (404, b"Not found.\n"))
				closed += answer.fields.get("connection") == "close"
				kept += "connection" not in answer.fields
				# From the same address, among all that: a good link, on the connection that is open, and on a new one.
				patient.send(request(link))
				answer = patient.answer()
				self.assertEqual(answer.fields["location"], DESTINATION)
				self.assertNotIn("connection", answer.fields)
			self.assertGreaterEqual(kept, self.BURST)
			self.assertGreater(closed, self.BURST)
			for path, status in ((pixel, 200), (link, 302), (leave, 200)):
				self.assertEqual(self.get(path).status, status)
		self.assertEqual(self.metric("rekindle_tokens_refused_total"), 4 * self.BURST)
		self.assertEqual(self.metric("rekindle_tokens_over_budget_total"), closed)
		self.assertEqual(len(self.touches("clicked")), 4 * self.BURST + 2)
		self.stop()
		with open(self.settings["access_log"]) as f:
			self.assertEqual(f.read().count(" 404 "), kept)

	def test_other_pages_cost_nothing(self):
		with Client(self.port) as c:
			for _ in range(3 * self.BURST):
				c.send(request("/wp-login.php"))
				answer = c.answer()
				self.assertEqual(answer.status, 404)
				self.assertNotIn("connection", answer.fields)


class Daemons(unittest.TestCase):
	"""Copies of the programs, with files that belong to their user."""

	def setUp(self):
		self.dir = tempfile.mkdtemp(prefix="test_ops.")
		self.addCleanup(shutil.rmtree, self.dir, ignore_errors=True)
		os.chmod(self.dir, 0o755)
		os.mkdir(self.path("data"))
		shutil.chown(self.path("data"), rig.OWNER, rig.OWNER)
		for name in ("rekindle-tracker", "rekindle-milter", "rekindle"):
			shutil.copy(os.path.join(BUILD, name), self.path(name))
		self.configure()
		subprocess.run([self.path("rekindle"), "-c", self.path("conf"), "key", "new"], check=True, capture_output=True)
		shutil.chown(self.path("keys"), rig.OWNER, rig.OWNER)

	def path(self, name):
		return os.path.join(self.dir, name)

	def configure(self, **more):
		settings = dict({"tracking_url": "http://t.example", "privacy_profile": "classic", "data_dir": self.path("data"),
			"key_file": self.path("keys"), "http_listen": "127.0.0.1:0", "milter_socket": "inet:127.0.0.1:%d" % rig.free_port()}, **more)
		with open(self.path("conf"), "w") as f:
			f.writelines("%s = %s\n" % item for item in settings.items())
		self.settings = settings

	def told(self, name):
		with open(self.path(name + ".log")) as f:
			return f.read()

	def start(self, name, *before, says, **popen):
		log = open(self.path(name + ".log"), "w+")
		self.addCleanup(log.close)
		process = subprocess.Popen([*before, self.path(name), "-c", self.path("conf")], stderr=log, **popen)
		self.addCleanup(lambda: (process.kill(), process.wait()))

		def look():
			self.text = self.told(name)
			assert process.poll() is None, self.text
			return re.search(says, self.text)
		self.found = rig.wait_until(look, 20, name)
		return process


class Rights(Daemons):
	"""What the daemons may do once they run."""

	def check_harmless(self, process):
		owner = pwd.getpwnam(rig.OWNER)
		for thread in os.listdir("/proc/%d/task" % process.pid):
			with open("/proc/%d/task/%s/status" % (process.pid, thread)) as f:
				got = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
			self.assertEqual(set(got["Uid"].split()), {str(owner.pw_uid)})
			self.assertEqual(set(got["Gid"].split()), {str(owner.pw_gid)})
			for name in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
				self.assertEqual(int(got[name], 16), 0, name)
			self.assertEqual(got["NoNewPrivs"], "1")

	def test_started_by_root(self):
		for name, says in (("rekindle-tracker", " started"), ("rekindle-milter", "listening")):
			with self.subTest(name):
				process = self.start(name, says=says)
				self.check_harmless(process)
				process.terminate()
				self.assertEqual(process.wait(60), 0)

	def test_what_root_alone_can_read_is_refused_at_the_start(self):
		"""A reload would fail."""
		for name in ("rekindle-tracker", "rekindle-milter"):
			for file in ("conf", "keys"):
				with self.subTest(name, file=file):
					was = os.stat(self.path(file))
					os.chown(self.path(file), 0, 0)
					os.chmod(self.path(file), 0o600)
					process = subprocess.Popen([self.path(name), "-c", self.path("conf")], stderr=subprocess.PIPE, text=True)
					self.addCleanup(process.kill)
					said = process.communicate(timeout=60)[1]
					self.assertEqual(process.returncode, 1, said)
					self.assertIn(self.path(file) + ": Permission denied", said)
					self.assertIn("a reload would fail", said)
					os.chown(self.path(file), was.st_uid, was.st_gid)
					os.chmod(self.path(file), was.st_mode & 0o777)

	def test_where_the_locks_are_not_is_told(self):
		os.mkdir(self.path("locks"))  # of root's
		for lock_dir, reason in ((self.path("locks"), "Permission denied"),
				("/nonexistent", "No such file or directory; make it, owned by the user that the daemons run as")):
			self.configure(lock_dir=lock_dir)
			for name in ("rekindle-tracker", "rekindle-milter"):
				with self.subTest(name, lock_dir=lock_dir):
					process = self.start(name, says=" started")
					self.assertRegex(self.text, r"warning: %s:7: lock_dir: locks are in data_dir, where .*: %s: %s\n"
						% (self.path("conf"), lock_dir, reason))
					process.terminate()
					self.assertEqual(process.wait(60), 0)
		self.configure(lock_dir=self.path("locks"))
		shutil.chown(self.path("locks"), rig.OWNER)
		self.start("rekindle-tracker", says=" started")
		self.assertNotIn("lock_dir", self.text)

	def test_a_socket_made_by_root(self):
		owner = pwd.getpwnam(rig.OWNER)
		for mode, group in ((0o755, owner.pw_gid), (0o2755, 7)):
			with self.subTest(oct(mode)):
				os.makedirs(self.path("sockets"), exist_ok=True)
				os.chown(self.path("sockets"), 0, 7)
				os.chmod(self.path("sockets"), mode)
				self.configure(http_listen="unix:" + self.path("sockets/http"))
				for _ in range(2):  # what it may not remove it replaces
					process = self.start("rekindle-tracker", says=" started")
					made = os.stat(self.path("sockets/http"))
					self.assertEqual((made.st_uid, made.st_gid, made.st_mode & 0o777), (owner.pw_uid, group, 0o660))
					process.terminate()
					self.assertEqual(process.wait(60), 0)

	def test_started_with_a_capability_for_low_ports(self):
		"""As the unit does it (AmbientCapabilities)."""
		port = next(p for p in range(1023, 700, -1) if self.is_free(p))
		self.configure(http_listen="127.0.0.1:%d" % port)
		process = self.start("rekindle-tracker", "setpriv", "--reuid", rig.OWNER, "--regid", rig.OWNER, "--clear-groups",
			"--inh-caps", "-all,+net_bind_service", "--ambient-caps", "-all,+net_bind_service", says=" started")
		self.check_harmless(process)
		with Client(port) as c:
			c.send(request("/healthz"))
			self.assertEqual(c.answer().body, b"ok\n")
		process.terminate()
		self.assertEqual(process.wait(60), 0)

	def is_free(self, port):
		with socket.socket() as s:
			try:
				s.bind(("127.0.0.1", port))
				return True
			except OSError:
				return False

	def test_descriptors_for_all_connections(self):
		self.configure(max_connections=12000)
		process = self.start("rekindle-tracker", says=" started",
			preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 20000)))
		with open("/proc/%d/limits" % process.pid) as f:
			self.assertGreaterEqual(int(re.search(r"^Max open files\s+(\d+)", f.read(), re.M)[1]), 12128)
		self.assertNotIn("descriptors", self.text)
		process.terminate()
		self.assertEqual(process.wait(60), 0)
		# Fewer than it takes: said, and it starts.
		process = self.start("rekindle-tracker", says=" started", user=rig.OWNER, group=rig.OWNER, extra_groups=[],
			preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 2000)))
		self.assertIn("max_connections = 12000 needs 12128 descriptors, but only 2000 are allowed", self.text)
		process.terminate()
		self.assertEqual(process.wait(60), 0)


class Units(Daemons):
	"""systemd's own tools about our units."""

	def analyze(self, *arguments):
		try:
			return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)
		except FileNotFoundError:
			print("skipped: no systemd-analyze", flush=True)
			self.skipTest("no systemd-analyze")

	def units(self):
		for name in ("rekindle-tracker", "rekindle-milter"):
			with open(os.path.join(TOP, "conf", name + ".service.in")) as f:
				text = f.read()
			with open(self.path(name + ".service"), "w") as f:
				f.write(text.replace("@sbindir@", self.dir))
			yield name, self.path(name + ".service"), text

	def test_exposure(self):
		for name, unit, _ in self.units():
			told = self.analyze("security", "--offline=true", "--threshold=20", unit)
			self.assertEqual(told.returncode, 0, told.stdout + told.stderr)
			self.assertRegex(told.stdout, r"Overall exposure level for %s\.service: [01]\.\d" % name)

	def test_nothing_unknown(self):
		for _, unit, _ in self.units():
			told = self.analyze("verify", "--man=no", unit)
			self.assertNotRegex(told.stderr, r"\.service:\d+: (Unknown|Failed|Invalid)", told.stderr)

	def allowed(self, unit):
		"""What SystemCallFilter= comes to."""
		out = set()
		for value in re.findall(r"^SystemCallFilter=(.*)$", unit, re.M):
			names = value.lstrip("~").split()
			some = set()
			while names:
				name = names.pop()
				if name.startswith("@"):
					told = self.analyze("syscall-filter", name).stdout
					names += [line.strip() for line in told.splitlines()[1:] if re.match(r"\s+[@\w-]+$", line)]
				else:
					some.add(name)
			out = out - some if value.startswith("~") else out | some
		return out

	def test_system_calls(self):
		"""All that a whole life takes is in the filter of the unit."""
		if test_durability.SANITIZED or shutil.which("strace") is None:
			print("skipped: no strace, or a sanitizer", flush=True)
			self.skipTest("no strace")
		os.mkdir(self.path("log"))
		shutil.chown(self.path("log"), rig.OWNER, rig.OWNER)
		self.configure(access_log=self.path("log/access"), admin_listen="127.0.0.1:0")
		for name, unit, text in self.units():
			trace = self.path("log/" + name)
			process = self.start(name, "strace", "-f", "-qq", "-u", rig.OWNER, "-o", trace, says="started, version|listening on inet")
			if name == "rekindle-tracker":
				self.tracker_life()
			else:
				self.milter_life()
			child, = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
			os.kill(int(child), signal.SIGUSR1)
			rig.wait_until(lambda: "reloaded" in self.told(name), 20, "the reload")
			os.kill(int(child), signal.SIGTERM)
			self.assertEqual(process.wait(60), 0)
			with open(trace) as f:
				lines = f.read().splitlines()
			# What runs before our main is systemd's: its filter is set right before execve.
			used = {m[1] for m in (re.match(r"\d+ +(\w+)\(", line) for line in lines) if m}
			allowed = self.allowed(text)
			self.assertIn("fdatasync", used)
			self.assertIn("read", allowed)
			self.assertEqual(used - allowed, set(), name)

	def tracker_life(self):
		ports = [int(p) for p in re.findall(r"listening on \w+ 127\.0\.0\.1:(\d+)", self.text)]
		mail = subprocess.run([self.path("rekindle"), "-c", self.path("conf"), "tag", "--to", "ann@reader.example", "--campaign",
			"spring"], input=test_tracker.MESSAGE % ("ann@reader.example", DESTINATION), capture_output=True, text=True).stdout
		path = re.search(r"http://t\.example(/o/[\w-]+\.gif)", mail)[1]
		for port, page in ((ports[0], path), (ports[0], "/robots.txt"), (ports[1], "/metrics"), (ports[1], "/readyz")):
			with Client(port) as c:
				c.send(request(page))
				self.assertEqual(c.answer().status, 200)
		time.sleep(1.2)  # the fold and the access log have had their turn

	def milter_life(self):
		with milterclient.Milter(self.settings["milter_socket"]) as mta:
			mta.negotiate()
			mta.connect("127.0.0.1")
			self.assertEqual(mta.message(test_durability.NEWSLETTER).verdict, "continue")
		time.sleep(1.2)


if __name__ == "__main__":
	if len(sys.argv) == 1:
		test_durability.all_at_once(__file__, [Metrics, AccessLog, Guessing, Rights, Units])
	unittest.main()
