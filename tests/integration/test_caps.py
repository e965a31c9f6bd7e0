#!/usr/bin/env python3
"""test_caps.py -- frequency caps in the milter: exact, however many messages come at once, and after a kill."""

import os
import socket
import struct
import threading
import unittest

import rig
from milterclient import ALL_ACTIONS, DELRCPT, Milter
from test_milter import Case, mail

SANITIZED = b"__asan_init" in open(os.path.join(rig.BUILD, "rekindle-milter"), "rb").read()


class Base(Case):
	policy = {"cap_new": "1/16h", "cap_engaged": "1/16h", "cap_semi": "off"}
	people = 0

	@classmethod
	def somebody(cls):
		Base.people += 1
		return "p%d@example.com" % Base.people

	def mail(self, stream="default", **more):
		return mail(extra=[("X-Rekindle-Stream", stream)], **more)

	def send(self, who, stream="default", **more):
		return self.dial().message(self.mail(stream), rcpts=[who] if isinstance(who, str) else who, **more)

	def goes(self, *arguments, **more):
		outcome = self.send(*arguments, **more)
		self.assertEqual(("continue", []), (outcome.verdict, outcome.deleted), outcome.reply)
		return outcome

	def is_capped(self, *arguments, **more):
		outcome = self.send(*arguments, **more)
		self.assertEqual("reject", outcome.verdict)
		self.assertRegex(outcome.reply, r"^550 5\.7\.1 recipient had enough messages for now; the next one may come \d{4}-")
		return outcome


class Caps(Base):
	streams = {
		"seven": {"cap_new": "7/7d"},
		"off": {"cap_new": "off", "cap_engaged": "off", "cap_less": "1/30d"},
		"own": {"cap_new": "off", "stream_cap_new": "1/1h"},
		"other": {"cap_new": "off", "stream_cap_new": "1/1h"},
		"watch": {"enforce": "observe"},
		"receipts": {"transactional": "yes"},
		"again": {"cap_new": "off", "cap_engaged": "off"},
	}
	settings = {"max_message": "32M"}

	def at_once(self, n, who, stream):
		"""n connections, all at the end of their message before any of them says so: how many went."""
		barrier = threading.Barrier(n)
		said = []

		def one(mta):
			outcome = mta.message(self.mail(stream), rcpts=[who], upto="body")
			barrier.wait()
			said.append(mta.end_of_message(outcome, "Q")[0])

		threads = [threading.Thread(target=one, args=(mta,)) for mta in self.crowd[:n]]
		for t in threads:
			t.start()
		for t in threads:
			t.join()
		self.assertEqual(n, len(said))
		self.assertEqual({"continue", "reject"}, set(said))
		return said.count("continue")

	def gather(self, n):
		self.crowd = [self.dial() for _ in range(n)]

	def test_of_eight_at_once_one_goes(self):
		self.gather(8)
		for _ in range(60):
			self.assertEqual(1, self.at_once(8, self.somebody(), "default"))

	def test_of_twenty_at_once_seven_go(self):
		self.gather(20)
		for _ in range(10):
			self.assertEqual(7, self.at_once(20, self.somebody(), "seven"))

	def test_the_next_one_is_refused_before_anything_is_summed_up(self):
		who = self.somebody()
		self.goes(who)
		self.is_capped(who)

	def test_of_several_recipients_only_who_may_have_it_stay(self):
		had, free = self.somebody(), self.somebody()
		self.goes(had)
		outcome = self.send([had, free])
		self.assertEqual(("continue", [had]), (outcome.verdict, outcome.deleted))

	def test_who_stands_there_twice_gets_it_once_and_is_not_deleted(self):
		who, other = self.somebody(), self.somebody()
		outcome = self.send([who, other, who.upper()])
		self.assertEqual(("continue", []), (outcome.verdict, outcome.deleted))
		self.is_capped(who)
		self.assertEqual(1, self.sends(who))

	def sends(self, who):
		told = self.rig.cli("export", "--type", "sent")
		return sum(line["address"] == who for line in told.json_lines)

	def test_each_stream_has_its_own_besides(self):
		who = self.somebody()
		self.goes(who, "own")
		self.goes(who, "other")
		self.is_capped(who, "own")
		self.is_capped(who, "other")
		self.goes(who, "off")
		self.is_capped(who)  # that counts all of them

	def test_off_is_off(self):
		who = self.somebody()
		for _ in range(30):
			self.goes(who, "off")

	def test_less_is_less_where_they_asked_for_it(self):
		who = self.somebody()
		told = self.rig.cli("import", input='{"type": "less", "address": "%s", "stream": "off"}\n' % who)
		self.assertEqual(0, told.code, told)
		self.goes(who, "off")
		self.is_capped(who, "off")
		self.goes(who, "again")
		self.goes(who, "again")

	def test_transactional_mail_counts_for_nothing(self):
		who = self.somebody()
		for _ in range(3):
			self.goes(who, "receipts")
		self.goes(who)
		self.is_capped(who)
		self.goes(who, "receipts")

	def test_observing_it_is_told_and_goes(self):
		who = self.somebody()
		self.goes(who, "watch", queue_id="WATCH1")
		self.goes(who, "watch", queue_id="WATCH2")
		self.assertFalse([l for l in self.log_of("WATCH1") if "would=" in l])
		self.assertRegex(self.log_of("WATCH2")[0], "WATCH2: would=reject cause=capped class=new .*stream=watch")

	def test_what_is_aborted_does_not_count(self):
		who = self.somebody()
		mta = self.dial()
		for stage in ("rcpt", "header", "eoh", "body"):
			self.assertEqual("continue", mta.message(mail(), rcpts=[who], upto=stage).verdict)
			mta.abort()
		self.goes(who)
		self.is_capped(who)

	def test_what_the_mta_did_not_take_does_not_count(self):
		who = self.somebody()
		sock = socket.socket()
		sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
		sock.connect(("127.0.0.1", self.rig.milter_port))
		mta = Milter.__new__(Milter)
		mta.sock, mta.symbols, mta.dribble, mta.actions, mta.steps = sock, {}, 0, 0, 0
		mta.negotiate().connect()
		page = '<a href="https://shop.example.org/">one</a>' + "<p>hello, and much more of it</p>\r\n" * 450000
		outcome = mta.message(self.mail(page=page), rcpts=[who], upto="body")
		self.assertEqual("continue", outcome.verdict)
		mta.send("E")
		self.assertEqual(b"b", mta.receive()[0])  # the first piece of the new body; the rest waits for us
		sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
		sock.close()
		self.rig.milter.wait_log("the MTA did not take the changes")
		self.goes(who)
		self.is_capped(who)

	def test_refused_as_a_whole_it_counts_for_nobody(self):
		had, free = self.somebody(), self.somebody()
		self.goes(had)
		# An MTA that lets nobody be deleted: all get it, and it counts for both.
		mta = self.dial(ALL_ACTIONS & ~DELRCPT)
		self.assertEqual("continue", mta.message(self.mail(), rcpts=[had, free]).verdict)
		self.is_capped(free)
		for _ in range(2):
			self.is_capped([had, free])
		self.assertEqual((2, 1), (self.sends(had), self.sends(free)))

	def test_what_comes_through_twice_counts_once(self):
		who = self.somebody()
		raw = self.mail()
		first = self.dial().message(raw, rcpts=[who])
		self.assertEqual("continue", first.verdict)
		again = self.dial().message(first.apply(raw).replace(b"\r\n\r\n", b"\r\nX-Rekindle-Stream: default\r\n\r\n", 1), rcpts=[who],
			queue_id="TWICE")
		self.assertEqual(("continue", []), (again.verdict, again.edits), again.reply)
		self.assertRegex(self.log_of("TWICE")[-1], "untouched .*already tagged")
		self.assertEqual(1, self.sends(who))
		self.is_capped(who)

	def test_zz_a_kill_forgets_nothing(self):
		people = [self.somebody() for _ in range(20)]
		mta = self.dial()
		for who in people:
			self.assertEqual("continue", mta.message(self.mail(), rcpts=[who]).verdict)
		self.rig.milter.kill()
		self.rig.start_milter()
		for who in people:
			self.is_capped(who)

	def test_zz_nor_does_a_start_with_much_to_sum_up(self):
		lines = "".join('{"type": "sent", "address": "other%d@example.com", "at": "2026-01-01T12:00:00Z"}\n' % i for i in range(40000))
		self.assertEqual(0, self.rig.cli("import", input=lines).code)
		who = self.somebody()
		self.goes(who)
		self.rig.milter.kill()
		self.rig.cli("why", who)  # brings what is in the journal to the facts
		os.unlink(os.path.join(self.rig.data_dir, "state.mdb"))
		self.rig.start_milter()
		self.is_capped(who)


class AtRcpt(Base):
	"""Streams that the envelope selects."""

	streams = {"login": {"match_login": "marketing"}, "later": {"match_login": "later", "on_capped": "defer"}}

	def test_and_at_rcpt_where_the_envelope_tells(self):
		for login, verdict, reply in (("marketing", "reject", "550 5.7.1 "), ("later", "tempfail", "451 4.7.1 ")):
			who, free = self.somebody(), self.somebody()
			mta = self.dial()
			self.assertEqual("continue", mta.message(mail(), rcpts=[who], login=login).verdict)
			outcome = mta.message(mail(), rcpts=[who, free], login=login)
			self.assertEqual(verdict, outcome.rcpt[who][0])
			self.assertRegex(outcome.rcpt[who][1], "^" + reply + r"recipient had enough messages for now; .* may come \d")
			self.assertEqual(("continue", None), outcome.rcpt[free])
			self.assertEqual("continue", outcome.verdict)

	def test_who_is_capped_between_rcpt_and_the_end_is_deleted(self):
		who, free = self.somebody(), self.somebody()
		slow = self.dial()
		outcome = slow.message(mail(), rcpts=[who, free], login="marketing", upto="body")
		self.assertEqual(("continue", None), outcome.rcpt[who])
		self.goes(who)
		self.assertEqual(("continue", None), slow.end_of_message(outcome, "Q"))
		self.assertEqual([who], outcome.deleted)
		self.is_capped(free)

	def test_what_is_refused_or_aborted_at_rcpt_reserves_nothing(self):
		who = self.somebody()
		mta = self.dial()
		for stage in ("rcpt", "body"):
			self.assertEqual(("continue", None), mta.message(mail(), rcpts=[who], login="marketing", upto=stage).rcpt[who])
			mta.abort()
		self.assertEqual("continue", mta.message(mail(), rcpts=[who], login="marketing").verdict)


class Edits(Base):
	"""The header that names a route, among the other edits."""

	settings = {"max_message": "32M", "route_new": "slow", "route_slow": "slow"}
	policy = {"cap_new": "1/16h", "on_capped": "route"}

	def test_one_road_by_two_rules_is_one_road(self):
		"""By class for one of them, and for being capped for the other: the log says that it was taken."""
		had, free = self.somebody(), self.somebody()
		self.goes(had)
		outcome = self.dial().message(self.mail(), rcpts=[had, free], queue_id="5F2X")
		self.assertEqual(("continue", [], ["slow"]), (outcome.verdict, outcome.deleted, outcome.added("X-Rekindle-Route")))
		self.rig.milter.wait_log("5F2X: routed route=slow cause=capped")

	def test_the_route_comes_before_the_mark_and_behind_all_deletions(self):
		raw = mail(extra=[("X-Rekindle-Route", "forged"), ("X-REKINDLE-ROUTE", "forged too")])
		outcome = self.dial().message(raw, rcpts=[self.somebody()])
		self.tagged(outcome, raw)
		changes = [e for e in outcome.edits if e[0] in ("add", "change")]
		self.assertEqual(("add", "X-Rekindle-Route", " slow"), changes[-2])
		self.assertEqual([("change", 2, ""), ("change", 1, "")],
			[(e[0], e[1], e[3]) for e in changes if e[0] == "change" and e[2].lower() == "x-rekindle-route"])
		self.assertLess(max(i for i, e in enumerate(changes) if e[0] == "change"), len(changes) - 2)
		self.assertEqual(["slow"], outcome.added("X-Rekindle-Route"))
		new = outcome.apply(raw)
		self.assertEqual(1, new.lower().count(b"x-rekindle-route:"))

	def test_what_is_not_tagged_has_a_route_all_the_same(self):
		raw = mail(extra=[("Auto-Submitted", "auto-replied"), ("X-Rekindle-Route", "forged")])
		outcome = self.dial().message(raw, rcpts=[self.somebody()])
		self.assertEqual("X-Rekindle-Route", outcome.edits[-1][1])
		self.assertEqual(1, outcome.apply(raw).count(b"X-Rekindle-Route:"))
		self.assertIsNone(outcome.body)


class Boundary(Case):
	"""A clock that stands still until somebody moves it."""

	policy = {"cap_new": "1/16h, 3/7d"}
	streams = {"first": {"cap_new": "off", "head_start": "1h", "on_throttled": "defer"}}
	start_time = 1798761600  # 2027-01-01

	@classmethod
	def setUpClass(cls):
		library = "/usr/lib/%s-linux-gnu/faketime/libfaketimeMT.so.1" % os.uname().machine
		if SANITIZED or not os.path.exists(library):
			print("skipped: no libfaketime, or a sanitizer", flush=True)
			raise unittest.SkipTest("no libfaketime")
		cls.clock = "/tmp/rekindle-clock.%d" % os.getpid()
		cls.set(0)
		change = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": cls.clock, "FAKETIME_NO_CACHE": "1",
			"FAKETIME_DONT_FAKE_MONOTONIC": "1", "FAKETIME_FMT": "%s"}
		os.environ.update(change)
		try:
			super().setUpClass()
		finally:
			for name in change:
				del os.environ[name]

	@classmethod
	def tearDownClass(cls):
		super().tearDownClass()
		os.unlink(cls.clock)

	@classmethod
	def set(cls, seconds):
		with open(cls.clock + ".new", "w") as f:
			f.write("%d\n" % (cls.start_time + seconds))
		os.rename(cls.clock + ".new", cls.clock)

	def test_to_the_second(self):
		hour = 3600
		for at, verdict, free in (
				(0, "continue", None), (1, "reject", "2027-01-01T16:00:00Z"), (16 * hour - 1, "reject", "2027-01-01T16:00:00Z"),
				(16 * hour, "continue", None), (32 * hour - 1, "reject", "2027-01-02T08:00:00Z"), (32 * hour, "continue", None),
				(48 * hour, "reject", "2027-01-08T00:00:00Z"), (168 * hour - 1, "reject", "2027-01-08T00:00:00Z"),
				(168 * hour, "continue", None), (184 * hour - 1, "reject", "2027-01-08T16:00:00Z"), (184 * hour, "continue", None)):
			self.set(at)
			outcome = self.dial().message(mail())
			self.assertEqual(verdict, outcome.verdict, (at, outcome.reply))
			if free:
				self.assertIn("may come " + free, outcome.reply)

	def test_zz_a_campaign_that_began_before_the_clock_was_put_right(self):
		"""Its head start ends an hour from now, and not next year."""
		hour = 3600
		for at, verdict in ((400 * 24 * hour, "tempfail"), (200 * hour, "tempfail"), (201 * hour - 1, "tempfail"), (201 * hour, "continue")):
			self.set(at)
			outcome = self.dial().message(mail("early", extra=[("X-Rekindle-Stream", "first")]), rcpts=["bob@example.com"])
			self.assertEqual(verdict, outcome.verdict, (at, outcome.reply))


if __name__ == "__main__":
	unittest.main(verbosity=2)
