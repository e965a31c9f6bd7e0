"""test_durability.py -- what DESIGN.md promises for when things fail, on real disks that really fail.

	REKINDLE_BUILD=DIR python3 tests/integration/test_durability.py [-v] [Class.test]

Disks are tmpfs, and ext4 on loop devices, of a few megabytes; that takes
root.  Where mounting is impossible the tests that need it say so and are
skipped.  kill -9 is in test_kill.py.
"""

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import milterclient
import rig
import test_tracker
from test_tracker import DESTINATION, GIF, SANITIZED, Client, request

IMPORTED = '{"type":"sent","address":"r%d@fill.example","at":"%s","stream":"default","campaign":"fill"}\n'

NEWSLETTER = """From: Shop <news@shop.example>\r
To: ann@example.com\r
Subject: spring\r
X-Rekindle-Campaign: spring\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
\r
<html><body><p><a href="https://shop.example/">see</a></p></body></html>\r
"""


def run(*command):
	return subprocess.run(command, capture_output=True, text=True, timeout=60)


def mount(test, where, kind, size):
	"""An empty disk of that many megabytes; ext4 on a loop device, whose name is returned, or tmpfs."""
	if kind == "tmpfs":
		done = run("mount", "-t", "tmpfs", "-o", "size=%dm" % size, "none", where)
	else:
		image = where.rstrip("/") + ".img"
		with open(image, "wb") as f:
			f.truncate(size << 20)
		done = run("mkfs.ext4", "-q", "-F", "-m", "0", image)
		if done.returncode == 0:
			done = run("mount", "-o", "loop,errors=remount-ro", image, where)
	if done.returncode != 0:
		print("skipped: no %s can be mounted here: %s" % (kind, done.stderr.strip()), flush=True)
		raise unittest.SkipTest("cannot mount")

	def end():
		for _ in range(100):
			if run("umount", where).returncode == 0:
				return
			time.sleep(0.05)
		run("umount", "-l", where)

	test.addCleanup(end)
	return run("findmnt", "-no", "SOURCE", where).stdout.strip()


class Case(test_tracker.Case):
	medium = None                # (kind, megabytes) of the disk that data_dir is on
	settings = {"lock_dir": "/nonexistent", "journal_size": "64k"}
	device = None

	def start(self):
		if self.medium and self.device is None:
			self.device = mount(self, self.path("data"), *self.medium)
			self.addCleanup(self.kill)
		super().start()

	def page(self, name):
		return self.ask(request(name), self.admin)

	def ready(self):
		return self.page("/readyz").status == 200

	def hits_are_answered(self, urls):
		"""Whatever is wrong: at once, and right."""
		began = time.monotonic()
		self.assertEqual(self.get(urls[0]).body, GIF)
		self.assertEqual(self.get(urls[1]).fields["location"], DESTINATION)
		self.assertLess(time.monotonic() - began, 30, "answer_within is 250 ms")

	def leave(self, urls):
		return self.get(urls[2], method="POST", fields=test_tracker.Unsubscribe.FORM,
			body=test_tracker.Unsubscribe.ONE_CLICK)

	def fill(self, port=None):
		"""With touches, until not even one fits, into the journal neither."""
		leave = self.urls("fill@reader.example")[2]
		line = IMPORTED % (0, "2026-11-01T00:00:00Z")
		self.cli("import", input="".join(line.replace("r0@", "r%d@" % i) for i in range(20000)), code=None)
		with Client(port or self.port) as c:
			while self.metric("rekindle_touches_lost_total") == 0:
				for _ in range(20): # hits stop before that
					c.send(request(leave, "POST", fields=test_tracker.Unsubscribe.FORM, body=test_tracker.Unsubscribe.ONE_CLICK))
					c.answer()

	def milter(self):
		log = self.path("milter.log")

		def listens():
			with open(log) as f:
				return "listening" in f.read()

		with open(log, "w") as f:
			process = subprocess.Popen([os.path.join(test_tracker.BUILD, "rekindle-milter"), "-c", self.path("conf")], stderr=f)
		self.addCleanup(lambda: (process.kill(), process.wait()))
		self.wait(listens)
		return process


class DiskFull(Case):
	medium = ("ext4", 16)
	settings = dict(Case.settings, facts_size="1G", state_size="1G")

	def test_full_and_not_full_any_more(self):
		urls = self.urls()
		self.hits_are_answered(urls)
		self.assertEqual(self.page("/readyz").body, b"ready\n")
		self.fill_the_disk()
		self.fill()
		self.hits_are_answered(urls)
		answer = self.leave(urls)
		self.assertEqual(answer.status, 503)
		self.assertIn("retry-after", answer.fields)
		page = self.page("/readyz")
		self.assertEqual(page.status, 503)
		self.assertIn(b"touches cannot be written\n", page.body)
		self.assertGreaterEqual(self.metric("rekindle_hits_unrecorded_total"), 2)
		self.assertGreaterEqual(self.metric("rekindle_touches_lost_total"), 3)
		self.wait(lambda: b"the disk of data_dir is nearly full" in self.page("/readyz").body)
		self.assertRegex(self.log(), r"warning: store: facts\.mdb: cannot write: No space left on device")
		self.assertIn("is nearly full", self.log())

		# Nobody asks for anything, and yet it recovers.
		os.unlink(self.path("data/filler"))
		self.wait(self.ready)
		self.assertIn("touches are recorded again", self.log())
		before = len(self.touches("clicked"))
		self.hits_are_answered(urls)
		self.assertEqual(len(self.touches("clicked")), before + 1)
		self.assertEqual(self.leave(urls).status, 200)

	def fill_the_disk(self):
		with open(self.path("data/filler"), "wb", buffering=0) as f:
			try:
				while f.write(bytes(65536)):
					pass
			except OSError:
				pass

	def test_what_cannot_be_remembered_is_not_held(self):
		"""Nothing would release it: the MTA keeps it, and tries again."""
		self.stop()
		self.configure(milter_socket="inet:127.0.0.1:%d" % rig.free_port(), enforce="on")
		with open(self.path("conf"), "a") as f:
			f.write("[policy]\ncap_new = 1/16h\non_capped = hold\n")
		self.start()
		milter = self.milter()
		held = []
		with milterclient.Milter(self.now["milter_socket"]) as mta:
			mta.negotiate()
			mta.connect("127.0.0.1")
			self.assertNotIn("quarantine", mta.message(NEWSLETTER).kinds())
			self.fill_the_disk()
			self.fill()
			for i in range(5000):
				outcome = mta.message(NEWSLETTER, queue_id="4F2X%d" % i)
				self.assertIn("quarantine", outcome.kinds())
				if outcome.verdict != "continue":
					break
				held.append("4F2X%d" % i)
			self.assertEqual(outcome.verdict, "tempfail")
			os.unlink(self.path("data/filler"))
			self.wait(self.ready)
			self.wait(lambda: mta.message(NEWSLETTER, queue_id="5F2X").verdict == "continue")
		milter.terminate()
		self.assertEqual(milter.wait(60), 0)
		known = [one["queue_id"] for one in json.loads(self.cli("release", "--dry-run", "--json", code=None).stdout)]
		self.assertEqual(sorted(known), sorted(held + ["5F2X"]))

	def test_it_starts_on_a_full_disk(self):
		"""One that was full before the files were made, too."""
		urls = self.urls()
		self.stop()
		for name in os.listdir(self.path("data")):
			if os.path.isfile(self.path("data/" + name)):
				os.unlink(self.path("data/" + name))
		with open(self.path("data/filler"), "wb", buffering=0) as f:
			try:
				while f.write(bytes(65536)):
					pass
				while f.write(b"x"):
					pass
			except OSError:
				pass
		self.start()
		self.hits_are_answered(urls)
		self.assertEqual(self.page("/readyz").status, 503)
		os.unlink(self.path("data/filler"))
		self.wait(self.ready)
		self.hits_are_answered(urls)
		self.assertEqual(len(self.touches("clicked")), 1)


class MapFull(Case):
	settings = dict(Case.settings, facts_size="1M", state_size="32M")  # there is room for the sums of all that

	def test_warned_full_and_raised_without_a_restart(self):
		urls = self.urls()
		other = Tracker(self)
		self.fill()
		self.wait(lambda: b"facts.mdb" in self.page("/readyz").body)
		self.assertRegex(self.log(), r"warning: store: facts\.mdb: \d+ of 1 MB are used; raise facts_size and reload")
		self.assertEqual(self.page("/readyz").status, 503)
		self.hits_are_answered(urls)

		# One of them is told; the other one finds out in a second or two.
		def tight():
			self.ask(request(urls[1]), other.port)
			return "room for unsubscribes and mail only" in other.log()
		self.wait(tight)
		self.configure(facts_size="16M")
		self.process.send_signal(signal.SIGHUP)
		self.wait(self.ready)
		self.assertIn("store: facts.mdb: may now grow to 16 MB", self.log())
		self.wait(lambda: self.metric("rekindle_facts_limit_bytes") == 16 << 20)

		def recorded(port):
			before = len(self.touches("clicked"))
			self.assertEqual(self.ask(request(urls[1]), port).fields["location"], DESTINATION)
			return len(self.touches("clicked")) == before + 1
		for port in (other.port, self.port):
			self.wait(lambda port=port: recorded(port))
		self.wait(lambda: self.metric("rekindle_fold_lag") == 0)
		other.stop()

	def test_a_delivery_that_cannot_be_recorded_is_read_again(self):
		"""The log waits for the store, also over a restart, and so does what is known of its queue ids."""
		self.stop()
		log = self.path("mail.log")
		with open(log, "w") as f:
			f.write("2026-11-23T05:28:50.123456+01:00 mx postfix/qmgr[6]: 4F2XABCDEE: removed\n")
		self.configure(milter_socket="inet:127.0.0.1:%d" % rig.free_port(), mail_log=log)
		self.start()
		milter = self.milter()
		with milterclient.Milter(self.now["milter_socket"]) as mta:
			mta.negotiate()
			mta.connect("127.0.0.1")
			self.assertEqual(mta.message(NEWSLETTER, queue_id="4F2XABCDEF").verdict, "continue")
		self.wait(lambda: os.path.getsize(self.path("data/queue-ids")) > 64)
		self.wait(lambda: [t["type"] for t in self.touches()] == ["sent"])
		self.fill()
		with milterclient.Milter(self.now["milter_socket"]) as mta:
			mta.negotiate()
			mta.connect("127.0.0.1")
			while "touches are lost" not in open(self.path("milter.log")).read():
				self.assertEqual(mta.message(NEWSLETTER, queue_id="5F2XABCDEF").verdict, "continue")
		line = ("2026-11-23T05:28:51.123456+01:00 mx postfix/smtp[7]: %s: to=<ann@example.com>, relay=mx.example.com[192.0.2.1]:25,"
			" delay=1, delays=0/0/0/1, dsn=%s, status=%s\n")
		with open(log, "a") as f:
			# Together too much for what is left in the journal.
			f.write(line % ("4F2XABCDEF", "2.0.0", "sent (250 ok)") + line % ("6F2XABCDEF", "5.1.1", "bounced (550 5.1.1 unknown)") * 900)
		self.wait(lambda: "the log waits" in open(self.path("milter.log")).read())
		milter.terminate()
		self.assertEqual(milter.wait(60), 0)
		self.configure(facts_size="64M", state_size="64M")
		self.process.send_signal(signal.SIGHUP)
		self.wait(self.ready)
		self.assertEqual(self.touches("delivered"), [])
		self.milter()
		self.wait(lambda: len(self.touches("delivered")) == 1)
		self.assertEqual(self.touches("delivered")[0]["campaign"], "spring")

	def test_others_follow_a_larger_file(self):
		"""The file outgrows the map of a process that only reads it, between two of its lookups."""
		self.configure(facts_size="64M", state_size="64M")
		self.process.send_signal(signal.SIGHUP)
		self.wait(lambda: "state.mdb: may now grow to 64 MB" in self.log())
		self.configure(facts_size="1M", state_size="4M")
		other = Tracker(self)
		self.configure(facts_size="64M", state_size="64M")
		lines = "".join(IMPORTED % (i, "2026-11-01T00:00:00Z") for i in range(30000))
		self.cli("import", input=lines)
		urls = self.urls()
		# Nothing waits before it is in the store as well.
		self.wait(lambda: self.metric("rekindle_state_size_bytes") > 4 << 20)
		self.wait(lambda: self.metric("rekindle_fold_lag") == 0)
		for _ in range(3):
			self.assertEqual(self.ask(request(urls[1]), other.port).fields["location"], DESTINATION)
		self.assertEqual(len(self.touches("clicked")), 3)
		other.stop()
		self.assertNotIn("cannot read", other.log())


class Tracker:
	"""A second tracker on the same store, with ports and a file of settings of its own."""

	def __init__(self, case):
		self.case = case
		self.conf = case.path("conf2")
		with open(case.path("conf")) as f, open(self.conf, "w") as g:
			g.write(f.read())
		self.log_file = case.path("log2")
		self.start()
		case.addCleanup(self.kill)

	def start(self):
		with open(self.log_file, "w") as log:
			self.process = subprocess.Popen([os.path.join(test_tracker.BUILD, "rekindle-tracker"), "-c", self.conf], stderr=log)
		self.case.wait(lambda: " started" in self.log() or self.process.poll() is not None)
		self.port = int(re.search(r"listening on http \S+:(\d+)$", self.log(), re.M)[1])

	def log(self):
		with open(self.log_file) as f:
			return f.read()

	def kill(self):
		if self.process.poll() is None:
			self.process.kill()
			self.process.wait()

	def stop(self):
		self.process.terminate()
		self.case.assertEqual(self.process.wait(60), 0, self.log())
		self.case.assertNotRegex(self.log(), r"Sanitizer|runtime error")


class ReadOnly(Case):
	medium = ("ext4", 24)

	def test_an_error_turns_the_disk_read_only(self):
		urls = self.urls()
		self.hits_are_answered(urls)
		run("sync", "-f", self.path("data"))
		try:
			with open("/sys/fs/ext4/%s/trigger_fs_error" % os.path.basename(self.device), "w") as f:
				f.write("test\n")
		except OSError as e:
			print("skipped: no error can be made: %s" % e, flush=True)
			self.skipTest("no trigger_fs_error")
		self.hits_are_answered(urls)
		self.assertEqual(self.leave(urls).status, 503)
		self.assertEqual(self.page("/readyz").status, 503)
		self.assertIn("Read-only file system", self.log())

	def test_it_starts_on_a_read_only_disk_and_recovers(self):
		urls = self.urls()
		self.hits_are_answered(urls)
		self.stop()
		self.assertEqual(run("mount", "-o", "remount,ro", self.path("data")).returncode, 0)
		self.start()
		self.hits_are_answered(urls)
		self.assertEqual(self.leave(urls).status, 503)
		page = self.page("/readyz")
		self.assertEqual(page.status, 503)
		self.assertIn(b"facts.mdb cannot be opened\n", page.body)
		self.assertIn("store: facts.mdb: cannot be opened: Read-only file system; links work, nothing is recorded", self.log())
		self.assertEqual(run("mount", "-o", "remount,rw", self.path("data")).returncode, 0)
		self.wait(self.ready)
		self.hits_are_answered(urls)
		self.assertEqual(self.leave(urls).status, 200)
		self.assertEqual(len(self.touches("clicked")), 2)


class Damaged(Case):
	settings = {"lock_dir": "/nonexistent", "journal_size": "1M"}

	def test_links_work_without_a_file_that_is_no_database(self):
		urls = self.urls()
		self.hits_are_answered(urls)
		self.wait(lambda: self.metric("rekindle_fold_lag") == 0)
		# Without the sums nobody knows who said no to being tracked; whoever says it now is heard.
		for name, heard in ("facts.mdb", 503), ("state.mdb", 200):
			with self.subTest(name):
				clicks = len(self.touches("clicked"))
				self.stop()
				path = os.path.join(self.path("data"), name)
				shutil.copy(path, path + ".good")
				with open(path, "r+b") as f:
					f.write(b"\xff" * 8192)
				self.start()
				self.hits_are_answered(urls)
				self.assertEqual(self.leave(urls).status, heard)
				page = self.page("/readyz")
				self.assertEqual((page.status, b"%s cannot be opened\n" % name.encode() in page.body), (503, True), page.body)
				self.assertIn("error: store: %s: is damaged: " % name, self.log())
				# Nobody makes a new one behind our back: its numbers would be those of touches that were summed up.
				os.remove(path)
				self.hits_are_answered(urls)
				self.assertEqual((self.page("/readyz").status, os.path.exists(path)), (503, False))
				self.stop()
				os.rename(path + ".good", path)
				self.start()
				self.wait(self.ready)
				self.hits_are_answered(urls)
				self.wait(lambda: len(self.touches("clicked")) == clicks + 1)
		self.assertEqual(len(self.touches("left")), 1)
		self.stop()
		with open(os.path.join(self.path("data"), "facts.mdb"), "r+b") as f:
			f.write(b"\xff" * 8192)
		done = self.cli("why", "ann@reader.example", code=3)
		self.assertIn("facts.mdb", done.stderr)
		self.configure(milter_socket="inet:127.0.0.1:%d" % rig.free_port())
		milter = subprocess.run([os.path.join(test_tracker.BUILD, "rekindle-milter"), "-c", self.path("conf")], capture_output=True, text=True)
		self.assertEqual((milter.returncode, "facts.mdb" in milter.stderr), (1, True), milter)


class Stalled(Case):
	"""fsfreeze: every write waits, as on a disk or a path to it that hangs."""

	medium = ("ext4", 64)

	def setUp(self):
		# In memory, and not below data_dir.
		self.locks = tempfile.mkdtemp(prefix="test_durability.")
		self.addCleanup(os.rmdir, self.locks)
		mount(self, self.locks, "tmpfs", 64)
		self.settings = {"lock_dir": self.locks, "journal_size": "64k", "milter_socket": "inet:127.0.0.1:%d" % rig.free_port()}
		super().setUp()

	def test_answers_do_not_wait_for_a_disk_that_hangs(self):
		urls = self.urls()
		self.hits_are_answered(urls)
		self.wait(lambda: self.metric("rekindle_fold_lag") == 0)
		late = self.metric("rekindle_answers_late_total")
		self.assertEqual(run("fsfreeze", "-f", self.path("data")).returncode, 0)
		try:
			for _ in range(3):
				self.hits_are_answered(urls)
			self.assertEqual(self.metric("rekindle_answers_late_total"), late + 6)
			self.wait(lambda: b"the store does not answer: the disk hangs" in self.page("/readyz").body)
			self.assertEqual(self.page("/readyz").status, 503)
		finally:
			run("fsfreeze", "-u", self.path("data"))
		self.wait(self.ready)
		self.wait(lambda: len(self.touches()) == 8)
		kinds = [t["type"] for t in self.touches()]
		self.assertEqual({k: kinds.count(k) for k in set(kinds)}, {"opened": 4, "clicked": 4})

	def test_mail_goes_on_when_the_disk_does(self):
		"""Recipients are decided about meanwhile; and each message is sent and recorded once."""
		milter = self.milter()
		verdicts = []
		with milterclient.Milter(self.settings["milter_socket"]) as mta, milterclient.Milter(self.settings["milter_socket"]) as other:
			for session in (mta, other):
				session.negotiate()
				session.connect("127.0.0.1")
			self.assertEqual(mta.message(NEWSLETTER).verdict, "continue")
			self.wait(lambda: self.metric("rekindle_fold_lag") == 0)
			self.assertEqual(run("fsfreeze", "-f", self.path("data")).returncode, 0)
			try:
				sender = threading.Thread(target=lambda: verdicts.append(mta.message(NEWSLETTER).verdict))
				sender.start()
				self.assertEqual(other.message(NEWSLETTER, upto="body").verdict, "continue")
			finally:
				run("fsfreeze", "-u", self.path("data"))
			sender.join(30)
			self.assertEqual(verdicts, ["continue"])
		milter.terminate()
		self.assertEqual(milter.wait(60), 0)
		self.assertEqual([t["type"] for t in self.touches()], ["sent"] * 2)


class Clock(Case):
	settings = dict(Case.settings, answer_within="10s")

	def start(self):
		"""The tracker's clock is what a file says; how time passes (CLOCK_MONOTONIC) is as it is."""
		library = "/usr/lib/%s-linux-gnu/faketime/libfaketimeMT.so.1" % os.uname().machine
		if SANITIZED or not os.path.exists(library):
			print("skipped: no libfaketime, or a sanitizer", flush=True)
			self.skipTest("no libfaketime")
		self.set("+0")
		change = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": self.path("clock"), "FAKETIME_NO_CACHE": "1",
			"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
		os.environ.update(change)
		try:
			super().start()
		finally:
			for name in change:
				del os.environ[name]

	def set(self, text):
		with open(self.path("clock.new"), "w") as f:
			f.write(text + "\n")
		os.rename(self.path("clock.new"), self.path("clock"))

	def summed_up(self):
		self.wait(lambda: self.metric("rekindle_fold_lag") == 0)

	def test_a_clock_that_jumps(self):
		urls = self.urls()
		with Client(self.port) as kept:
			for i, clock in enumerate(("+0", "-2d", "-3650d", "+3650d", "+0")):
				self.set(clock)
				kept.send(request(urls[0]))
				self.assertEqual(kept.answer().body, GIF)
				self.hits_are_answered(urls)
				self.summed_up()
				# Facts are still there, those from the future and those from long ago.
				self.wait(lambda: self.metric("rekindle_touches_durable_total") == 3 * (i + 1))
				time.sleep(1.1)  # the fold's thread tidies once more
				kept.send(request("/healthz"))
				self.assertEqual(kept.answer().status, 200)
		self.assertEqual(self.metric("rekindle_answers_late_total"), 0)
		self.stop()
		self.assertEqual(sorted(t["type"] for t in self.touches()), ["clicked"] * 5 + ["opened"] * 10)
		self.process = None


class Together(Case):
	"""Two trackers and a milter on one store, and people who ask it things; one of them dies now and then."""

	settings = dict(Case.settings, milter_socket="inet:127.0.0.1:%d" % rig.free_port(), answer_within="10s", record_within="10s")

	def test_each_touch_once(self):
		urls = self.urls()
		other = Tracker(self)
		milter = self.milter()
		counts, problems = {"clicked": 0, "opened": 0, "sent": 0}, []
		lock = threading.Lock()

		def add(what):
			with lock:
				counts[what] += 1

		def visit(port, path, what):
			with Client(port, timeout=60) as c:
				for _ in range(150):
					c.send(request(path))
					assert c.answer().status in (200, 302)
					add(what)

		def send():
			with milterclient.Milter(self.settings["milter_socket"]) as mta:
				mta.negotiate()
				mta.connect("127.0.0.1")
				for i in range(40):
					assert mta.message(NEWSLETTER, rcpts=["r%d@example.com" % i]).verdict == "continue"
					add("sent")

		def ask():
			for _ in range(5):
				self.cli("campaign", code=None)

		def guarded(what, *args):
			try:
				what(*args)
			except BaseException as e:
				problems.append(e)

		work = [(visit, self.port, urls[0], "opened"), (visit, other.port, urls[1], "clicked"), (visit, self.port, urls[1], "clicked"),
			(visit, other.port, urls[0], "opened"), (send,), (ask,)]
		threads = [threading.Thread(target=guarded, args=w) for w in work]
		for thread in threads:
			thread.start()
		for thread in threads:
			thread.join()
		self.assertEqual(problems, [])
		other.kill()
		milter.terminate()
		self.assertEqual(milter.wait(60), 0)
		self.wait(lambda: self.metric("rekindle_fold_lag") == 0)
		kinds = [t["type"] for t in self.touches()]
		self.assertEqual({k: kinds.count(k) for k in counts}, counts)
		shown = self.cli("campaign", "show", "spring", "--json").stdout
		self.assertRegex(shown, r'"opens":\s*%d\b' % counts["opened"])
		self.assertRegex(shown, r'"clicks":\s*%d\b' % counts["clicked"])


READER = """
import ctypes, sys, time
lmdb = ctypes.CDLL("liblmdb.so.0")
env, txn = ctypes.c_void_p(), ctypes.c_void_p()
assert lmdb.mdb_env_create(ctypes.byref(env)) == 0
assert lmdb.mdb_env_open(env, sys.argv[1].encode(), 0x4000 | 0x200000, 0o640) == 0
assert lmdb.mdb_txn_begin(env, None, 0x20000, ctypes.byref(txn)) == 0
print("reading", flush=True)
time.sleep(600)
"""


class Readers(Case):
	"""A process that reads keeps all that was there when it began; one that never ends is told of, one that died is forgotten."""

	def reader(self, name):
		try:
			ctypes.CDLL("liblmdb.so.0")
		except OSError:
			self.skipTest("no liblmdb.so.0")
		process = subprocess.Popen([sys.executable, "-c", READER, self.path("data/" + name)], stdout=subprocess.PIPE, text=True)
		self.addCleanup(lambda: (process.kill(), process.wait(), process.stdout.close()))
		self.assertEqual(process.stdout.readline(), "reading\n")
		return process

	def held(self, name):
		return self.metric("rekindle_%s_reader_seconds" % name)

	def test_stopped_and_killed(self):
		urls = self.urls()
		self.hits_are_answered(urls)
		self.wait(lambda: self.metric("rekindle_fold_lag") == 0)
		stopped, killed = self.reader("facts.mdb"), self.reader("state.mdb")
		stopped.send_signal(signal.SIGSTOP)
		self.hits_are_answered(urls)
		self.wait(lambda: self.held("facts") >= 2 and self.held("state") >= 2)
		killed.kill()
		killed.wait()
		self.wait(lambda: self.held("state") == 0)
		self.wait(lambda: b"warning: a process has been reading for long" in self.page("/readyz").body)
		self.assertEqual(self.page("/readyz").status, 200)
		self.assertRegex(self.log(), r"warning: store: facts\.mdb: process %d has been reading for \d+ seconds; no space is freed"
			% stopped.pid)
		self.assertNotIn("store: state.mdb: process", self.log())
		stopped.kill()
		stopped.wait()
		self.wait(lambda: self.held("facts") == 0)
		self.assertEqual(self.page("/readyz").body, b"ready\n")

	def test_freed_space_is_used_again_after_a_killed_reader(self):
		"""The sums of the same people over and over: without the reader's slot being cleared state would grow for ever."""
		pixel = self.urls()[0]
		killed = self.reader("state.mdb")
		killed.kill()
		killed.wait()
		sizes = []
		with Client(self.port) as c:
			for _ in range(4):
				for _ in range(20):
					c.send(request(pixel))
					c.answer()
				self.wait(lambda: self.metric("rekindle_fold_lag") == 0)
				sizes.append(self.metric("rekindle_state_size_bytes"))
		self.assertLess(sizes[-1], sizes[0] + 20 * 4096, sizes)


def all_at_once(file, classes):
	"""Each class in a process of its own: most of their time is waiting."""
	children = [subprocess.Popen([sys.executable, file, c.__name__], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
		for c in classes]
	passed = failed = 0
	for c, child in zip(classes, children):
		out = child.communicate()[0]
		print("== %s\n%s" % (c.__name__, out), end="", flush=True)
		ran = re.search(r"^Ran (\d+) tests? in", out, re.M)
		bad = sum(map(int, re.findall(r"(?:failures|errors)=(\d+)", out.splitlines()[-1])))
		bad = bad or int(child.returncode != 0)
		passed += (int(ran[1]) if ran else 0) - bad
		failed += bad
	print("%d passed, %d failed" % (max(passed, 0), failed))
	sys.exit(failed > 0)


if __name__ == "__main__":
	if len(sys.argv) == 1:
		all_at_once(__file__, [DiskFull, MapFull, ReadOnly, Damaged, Stalled, Clock, Together, Readers])
	unittest.main()
