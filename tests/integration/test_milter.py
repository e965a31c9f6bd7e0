#!/usr/bin/env python3
"""test_milter.py -- rekindle-milter through the milter protocol, without an MTA: every offer, order, cut and end."""

import contextlib
import os
import pwd
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import unittest

import rig
from milterclient import (
	ADDHDRS, ADDRCPT, ALL_ACTIONS, ALL_STEPS, CHGBODY, CHGHDRS, DELRCPT, HDR_LEADSPC, NO_EOH, NR_BODY, NR_CONNECT, NR_HEADER, NR_MAIL,
	NR_RCPT, QUARANTINE, SETSYMLIST, SKIP, Closed, Milter, split)
from test_tracker import SANITIZED

PAGE = '<html><body><p>Hello</p><a href="https://shop.example.org/a?x=1&amp;y=2">one</a>' \
	'<A HREF=\'https://shop.example.org/b\'>two</A> <a href="mailto:a@b.example">no</a></body></html>'


def mail(campaign="spring", page=PAGE, extra=(), kind="text/html; charset=utf-8", encoding=None):
	fields = [("From", "News <news@example.org>"), ("To", "ann@example.com"), ("Subject", "Hello"),
		("Message-ID", "<1@example.org>"), ("MIME-Version", "1.0"), ("Content-Type", kind)]
	if encoding:
		fields.append(("Content-Transfer-Encoding", encoding))
	if campaign is not None:
		fields.append(("X-Rekindle-Campaign", campaign))
	raw = "".join("%s: %s\r\n" % f for f in [*fields, *extra]) + "\r\n" + page + "\r\n"
	return raw.encode("utf-8", "surrogateescape")


def body_of(raw):
	return raw.partition(b"\r\n\r\n")[2]


def fields_of(raw):
	return [(n.lower(), v.strip()) for n, v in split(raw)[0]]


def tracked(raw):
	return [u for u in rig.links(body_of(raw).decode()) if "/c/" in u]


class Case(unittest.TestCase):
	"""One milter for all tests of a class."""

	settings, streams, policy = {}, {}, {}

	@classmethod
	def setUpClass(cls):
		cls.rig = rig.Rig(settings=dict({"enforce": "on", "log_level": "debug"}, **cls.settings), streams=cls.streams,
			policy=cls.policy, milter="inet")
		try:
			cls.rig.start_milter()
		except BaseException:
			cls.rig.close()
			raise

	@classmethod
	def tearDownClass(cls):
		try:
			cls.stop()
			assert not rig.SANITIZER.search(cls.rig.milter.log), cls.rig.milter.log
		except AssertionError:
			print(cls.rig.logs())
			raise
		finally:
			cls.rig.close()

	@classmethod
	def stop(cls):
		if not cls.rig.milter.running:
			return
		cls.rig.milter.signal(signal.SIGTERM)
		time.sleep(0.1)
		with contextlib.suppress(OSError):  # libmilter looks up from its socket every five seconds; or when somebody calls
			socket.create_connection(("127.0.0.1", cls.rig.milter_port), 5).close()
		cls.rig.milter.stop()

	def dial(self, actions=ALL_ACTIONS, steps=ALL_STEPS, version=6, **connect):
		mta = Milter("inet:127.0.0.1:%d" % self.rig.milter_port)
		self.addCleanup(mta.__exit__)
		mta.negotiate(actions, steps, version)
		mta.connect(**connect)
		return mta

	def tagged(self, outcome, raw):
		"""Carried out in the order that loses nothing; the message that results."""
		self.assertEqual("continue", outcome.verdict, outcome.reply)
		self.assertEqual("eom", outcome.stage)
		kinds = outcome.kinds()
		self.assertIn("body", kinds)
		at = kinds.index("body")
		self.assertNotIn("body", kinds[at + 1:])
		self.assertEqual("add", kinds[-1], "a header edit has to follow the body")
		self.assertEqual("X-Rekindle-Id", outcome.edits[-1][1])
		self.assertNotIn("delrcpt", kinds[at:])
		return outcome.apply(raw)

	def untouched(self, outcome):
		self.assertIn(outcome.verdict, ("continue", "accept"), outcome.reply)
		self.assertEqual([], outcome.edits)

	def alive(self):
		raw = mail()
		self.tagged(self.dial().message(raw), raw)

	def suppress(self, *arguments):
		told = self.rig.cli("suppress", "add", *arguments)
		self.assertEqual(0, told.code, told)

	def log_of(self, queue_id):
		return [l for l in self.rig.milter.log_now().splitlines() if " %s: " % queue_id in l]


class Tagging(Case):
	streams = {
		"net": {"match_network": "192.0.2.0/24, 2001:db8::/32", "campaign": "net"},
		"daemon": {"match_daemon": "CAMPAIGN", "campaign": "daemon"},
		"sender": {"match_sender_domain": "letters.example", "campaign": "sender"},
		"login": {"match_login": "marketing", "campaign": "login", "enforce": "observe"},
		"bulk": {"match_list_unsubscribe": "yes", "campaign": "bulk"},
		"leave": {"several_recipients": "leave"},
		"quiet": {"opens": "off", "links": "off"},
		"nameless": {"opens": "anonymous", "links": "anonymous"},
	}
	settings = {"max_message": "64k", "enforce": "observe"}

	def test_a_full_offer_is_taken_as_far_as_needed(self):
		mta = self.dial()
		self.assertEqual(ADDHDRS | CHGHDRS | CHGBODY | DELRCPT | QUARANTINE | SETSYMLIST, mta.actions)
		for flag in (NR_CONNECT, NR_MAIL, NR_HEADER, NR_BODY, HDR_LEADSPC):
			self.assertTrue(mta.steps & flag, hex(flag))
		# Nobody enforces by the envelope here: no answer is needed at RCPT either.
		self.assertTrue(mta.steps & NR_RCPT)
		self.assertIn("{client_addr}", mta.symbols["connect"])
		self.assertIn("{rcpt_addr}", mta.symbols["rcpt"])
		self.assertIn("i", mta.symbols["mail"])

	def test_a_message_is_tagged(self):
		raw = mail()
		outcome = self.dial().message(raw, queue_id="TAG1")
		new = self.tagged(outcome, raw)
		links = rig.links(body_of(new).decode())
		self.assertEqual(3, len(links))
		self.assertEqual(2, len(tracked(new)))
		self.assertEqual("mailto:a@b.example", links[2])
		self.assertEqual(1, len([u for u in rig.images(body_of(new).decode()) if "/o/" in u]))
		names = [n for n, _ in fields_of(new)]
		self.assertNotIn(b"x-rekindle-campaign", names)
		self.assertIn(b"list-unsubscribe-post", names)
		# What was there stays, in order.
		kept = [f for f in fields_of(raw) if not f[0].startswith(b"x-rekindle-")]
		self.assertEqual(kept, [f for f in fields_of(new) if f in kept])
		line = self.log_of("TAG1")[-1]
		self.assertRegex(line, r"TAG1: tagged campaign=spring stream=default links=2 pixel=yes .*bytes=\d+->\d+ recipients=1$")
		self.assertNotIn("ann@", line)

	def test_every_original_byte_stays(self):
		raw = mail()
		new = body_of(self.tagged(self.dial().message(raw), raw)).decode()
		back = re.sub(r'http://127\.0\.0\.1:\d+/c/[\w-]+', "LINK", new)
		back = re.sub(r"<img [^>]*/o/[^>]*>", "", back)
		want = body_of(raw).decode().replace("https://shop.example.org/a?x=1&amp;y=2", "LINK").replace("https://shop.example.org/b", "LINK")
		self.assertEqual(want, back)

	def test_added_values_have_one_space(self):
		raw = mail()
		for steps in (ALL_STEPS, ALL_STEPS & ~HDR_LEADSPC):
			new = self.tagged(self.dial(steps=steps).message(raw), raw)
			for line in new.partition(b"\r\n\r\n")[0].split(b"\r\n"):
				self.assertRegex(line, rb"^([\w-]+: \S|[ \t])")

	def test_less_than_everything_is_enough(self):
		raw = mail()
		full = self.tagged(self.dial().message(raw), raw)
		mark = re.compile(rb"(?im)^X-Rekindle-Id:.*\r\n(\s.*\r\n)*")
		offers = [(ALL_ACTIONS, NO_EOH, 6), (0x3f, 0x7f, 2), (0x3f, NO_EOH, 2), (0xff, 0x1ff, 4), (ALL_ACTIONS & ~SETSYMLIST, ALL_STEPS, 6)]
		offers += [(ALL_ACTIONS, ALL_STEPS & ~flag, 6) for flag in (NR_CONNECT, NR_MAIL, NR_RCPT, NR_HEADER, NR_BODY,
			HDR_LEADSPC, SKIP)]
		for actions, steps, version in offers:
			with self.subTest(actions=hex(actions), steps=hex(steps)):
				mta = self.dial(actions, steps, version)
				new = self.tagged(mta.message(raw), raw)
				self.assertTrue(mta.silent())
				# Tokens carry the second in which they were made.
				plain = lambda m: re.sub(rb"/[cou]/[\w-]+", b"/T", mark.sub(b"", m))
				self.assertEqual(plain(full), plain(new))

	def test_an_mta_that_allows_no_changes_gets_none(self):
		for actions in (ADDRCPT, ADDHDRS, ADDHDRS | CHGHDRS, CHGBODY, CHGBODY | CHGHDRS):
			with self.subTest(actions=hex(actions)):
				self.untouched(self.dial(actions).message(mail(), queue_id="NOCHG"))
		self.assertRegex(self.log_of("NOCHG")[-1], "untouched .*reason=")

	def test_mail_that_nobody_selects_ends_with_its_header(self):
		mta = self.dial()
		for _ in range(3):
			outcome = mta.message(mail(campaign=None))
			self.assertEqual(("accept", "eoh", 0), (outcome.verdict, outcome.stage, outcome.body_sent))
		self.alive()

	def test_what_selects(self):
		raw = mail(campaign=None)
		for connect, message, stream in (
				({"client": "192.0.2.77"}, {}, "net"), ({"client": "192.0.3.77"}, {}, None),
				({"client": "192.0.2.77", "say_address": False}, {}, "net"),
				({"client": "2001:db8::1"}, {}, "net"), ({"client": "2001:db8::1", "say_address": False}, {}, "net"),
				({"daemon": "CAMPAIGN"}, {}, "daemon"),
				({}, {"sender": "x@letters.example"}, "sender"), ({}, {"sender": ""}, None),
				({}, {"login": "marketing"}, "login"), ({}, {"login": "other"}, None),
				({}, {"login": "marketing", "local": True}, "login")):
			with self.subTest(connect=connect, message=message):
				outcome = self.dial(**connect).message(raw, queue_id="SEL", **message)
				if stream is None:
					self.assertEqual("accept", outcome.verdict)
				else:
					self.tagged(outcome, raw)
					self.assertRegex(self.log_of("SEL")[-1], "campaign=%s stream=%s " % (stream, stream))
		raw = mail(campaign=None, extra=[("List-Unsubscribe", "<mailto:leave@example.org>")])
		self.tagged(self.dial().message(raw), raw)

	def test_one_login_does_not_stick_to_the_next_message(self):
		mta = self.dial()
		self.assertEqual("continue", mta.message(mail(campaign=None), login="marketing").verdict)
		self.assertEqual("accept", mta.message(mail(campaign=None)).verdict)

	def test_many_messages_on_one_connection(self):
		mta = self.dial()
		for i in range(30):
			raw = mail(campaign=("c%d" % i if i % 3 else None), page=PAGE + "x" * i)
			outcome = mta.message(raw, rcpts=["r%d@example.com" % i] * (1 + i % 2))
			if i % 3:
				self.tagged(outcome, raw)
			else:
				self.assertEqual("accept", outcome.verdict)

	def test_an_abort_at_every_stage(self):
		for steps in (ALL_STEPS, NO_EOH):
			mta = self.dial(steps=steps)
			for stage in ("mail", "rcpt", "header", "eoh", "body"):
				mta.message(mail(campaign="aborted"), upto=stage)
				mta.abort()
				raw = mail()
				new = self.tagged(mta.message(raw), raw)
				self.assertEqual(2, len(tracked(new)))

	def test_a_new_message_without_an_abort(self):
		mta = self.dial()
		for stage in ("mail", "rcpt", "header", "eoh", "body"):
			mta.message(mail(campaign="lost"), rcpts=["a@example.com", "b@example.com"], upto=stage)
			raw = mail()
			self.assertRegex(self.tagged(mta.message(raw, queue_id="NEXT"), raw).decode(), "X-Rekindle-Id")
			self.assertRegex(self.log_of("NEXT")[-1], "campaign=spring .* recipients=1$")

	def test_a_hang_up_at_every_stage(self):
		for stage in (None, "mail", "rcpt", "header", "eoh", "body"):
			mta = self.dial()
			if stage:
				mta.message(mail(), upto=stage)
			mta.close()
			self.alive()
		with Milter("inet:127.0.0.1:%d" % self.rig.milter_port) as mta:
			mta.close()
		self.alive()

	def test_half_a_packet_and_nonsense(self):
		for junk in (b"\0\0\0\x05L", b"\0\0\0\x01Z", b"\xff\xff\xff\xffB", b"\0\0\0\0", b"GET / HTTP/1.1\r\n\r\n"):
			with socket.create_connection(("127.0.0.1", self.rig.milter_port), 10) as s:
				s.sendall(junk)
			mta = self.dial()
			mta.write(junk)
			mta.close()
		self.alive()

	def test_the_body_may_be_cut_anywhere(self):
		raw = mail(page=PAGE.replace("Hello", "Héllo — ünï" * 20))
		mta = self.dial()
		whole = re.sub(rb"/[cou]/[\w-]+", b"/T", self.tagged(mta.message(raw), raw).partition(b"\r\n\r\n")[2])
		for chunk in (1, 2, 3, 5, 7, 13, 64, 127, len(body_of(raw)) - 1):
			with self.subTest(chunk=chunk):
				new = self.tagged(mta.message(raw, chunk=chunk), raw).partition(b"\r\n\r\n")[2]
				self.assertEqual(whole, re.sub(rb"/[cou]/[\w-]+", b"/T", new))

	def test_packets_may_come_one_byte_at_a_time(self):
		mta = Milter("inet:127.0.0.1:%d" % self.rig.milter_port)
		self.addCleanup(mta.__exit__)
		mta.dribble = 1
		mta.negotiate()
		mta.connect()
		raw = mail()
		self.tagged(mta.message(raw), raw)

	def test_bytes_that_are_no_text(self):
		for text, octets in (("a\x01b \udcff\udcfe \udc80", b"a\x01b \xff\xfe \x80"), ("a\0b \udcff", b"a\0b \xff")):
			raw = mail(page=PAGE.replace("Hello", text), extra=[("X-Odd", "caf\udce9 \udcff\x01"), ("Subject", "=?x?")])
			outcome = self.dial().message(raw)
			self.assertEqual("continue", outcome.verdict)
			self.assertEqual(outcome.body is None, "\0" in text)
			new = outcome.apply(raw)
			self.assertIn(b"X-Odd: caf\xe9 \xff\x01\r\n", new)
			self.assertIn(octets, new)
		# A NUL in a field is the end of what the protocol can carry.
		mta = self.dial()
		mta.message(mail(extra=[("X-Nul", "a\0b")]))
		self.alive()

	def test_an_empty_body(self):
		for raw in (mail(page="").partition(b"\r\n\r\n")[0] + b"\r\n\r\n", mail(page="")):
			outcome = self.dial().message(raw)
			self.assertEqual("continue", outcome.verdict)

	def test_the_largest_message_and_one_byte_more(self):
		limit = 64 * 1024
		for over, want in ((0, "tagged"), (1, "untouched")):
			raw = mail(page="")
			raw = mail(page=PAGE + "x" * (limit - len(PAGE) - 2 + over))
			self.assertEqual(limit + over, len(body_of(raw)))
			for steps in (ALL_STEPS, ALL_STEPS & ~NR_BODY, NO_EOH):
				outcome = self.dial(steps=steps).message(raw, chunk=1000, queue_id="BIG%d" % over)
				if want == "tagged":
					self.tagged(outcome, raw)
				else:
					self.assertEqual([("change", 1, "X-Rekindle-Campaign", "")], outcome.edits)
					self.assertRegex(self.log_of("BIG1")[-1], "untouched .*reason=oversize")
					if steps & SKIP and not steps & NR_BODY:
						self.assertEqual("eom", outcome.stage)

	def test_too_much_header_passes_untouched(self):
		for extra in ([("X-F%d" % i, "x") for i in range(2000)], [("X-F%d" % i, "x" * 30000) for i in range(40)]):
			mta = self.dial()
			outcome = mta.message(mail(extra=extra), queue_id="HEAD")
			self.assertEqual(([("change", 1, "X-Rekindle-Campaign", "")], None), (outcome.edits, outcome.body))
			raw = mail()
			self.tagged(mta.message(raw), raw)
		raw = mail(extra=[("X-F%d" % i, "x") for i in range(1990)])
		self.tagged(self.dial().message(raw), raw)

	def test_each_recipient_has_tokens_of_its_own(self):
		raw = mail()
		ann = tracked(self.tagged(self.dial().message(raw, rcpts=["ann@example.com"]), raw))
		ben = tracked(self.tagged(self.dial().message(raw, rcpts=["ben@example.com"]), raw))
		self.assertEqual([], [u for u in ann if u in ben])

	def test_several_recipients_share_tokens_that_name_nobody(self):
		raw = mail()
		one = self.tagged(self.dial().message(raw, rcpts=["ann@example.com", "ben@example.com"]), raw)
		time.sleep(1.1)  # even the second in which it was made must not tell them apart
		two = self.tagged(self.dial().message(raw, rcpts=["cem@example.com", "dora@example.com", "eva@example.com"]), raw)
		self.assertEqual(2, len(tracked(one)))
		self.assertEqual(body_of(one), body_of(two))

	def test_or_are_left_alone(self):
		raw = mail(extra=[("X-Rekindle-Stream", "leave")])
		outcome = self.dial().message(raw, rcpts=["ann@example.com", "ben@example.com"], queue_id="LEAVE")
		self.assertEqual([("change", 1, "X-Rekindle-Campaign", ""), ("change", 1, "X-Rekindle-Stream", "")], sorted(outcome.edits))
		self.assertEqual("continue", outcome.verdict)
		self.assertRegex(self.log_of("LEAVE")[-1], 'untouched .*reason="several recipients" recipients=2$')
		self.tagged(self.dial().message(raw, rcpts=["ann@example.com"]), raw)

	def test_without_tracking_there_is_still_one_click(self):
		raw = mail(extra=[("X-Rekindle-Stream", "quiet")])
		outcome = self.dial().message(raw, rcpts=["ann@example.com"])
		self.assertIsNone(outcome.body)
		self.assertEqual("X-Rekindle-Id", outcome.edits[-1][1])
		self.assertEqual(1, len(outcome.added("List-Unsubscribe")))
		# One-click needs to know who clicked; what is left to do for several is to take our control headers out.
		outcome = self.dial().message(raw, rcpts=["ann@example.com", "ben@example.com"])
		self.assertEqual([("change", 1, "X-Rekindle-Campaign", ""), ("change", 1, "X-Rekindle-Stream", "")], sorted(outcome.edits))

	def test_what_is_never_touched(self):
		for kind, reason in (("multipart/signed; boundary=x", "signed"), ("application/pkcs7-mime", "pkcs7"),
				("text/calendar", "")):
			with self.subTest(kind=kind):
				outcome = self.dial().message(mail(kind=kind), queue_id="NEVER")
				self.assertEqual("continue", outcome.verdict)
				self.assertIsNone(outcome.body)

	def test_a_message_is_tagged_once(self):
		raw = mail()
		once = self.tagged(self.dial().message(raw), raw)
		again = self.dial().message(once.replace(b"\r\n\r\n", b"\r\nX-Rekindle-Campaign: spring\r\n\r\n", 1), queue_id="AGAIN")
		self.untouched(again)
		self.assertRegex(self.log_of("AGAIN")[-1], 'reason="already tagged"')

	def test_addresses_of_every_spelling(self):
		raw = mail()
		for address in ("ANN@Example.COM", "", "postmaster", "jörg@bücher.example", "a" * 2000 + "@example.com", "\"a b\"@example.com",
				"@relay.example:ann@example.com", "ann@[192.0.2.1]"):
			for say in (True, False):
				with self.subTest(address=address[:30], say=say):
					self.tagged(self.dial().message(raw, rcpts=[address], say_rcpt=say), raw)

	def test_a_thousand_recipients(self):
		raw = mail()
		outcome = self.dial().message(raw, rcpts=["r%d@example.com" % i for i in range(1000)], queue_id="MANY")
		self.tagged(outcome, raw)
		self.assertRegex(self.log_of("MANY")[-1], "recipients=1000$")

	def test_a_strangers_campaign_cannot_write_log_lines(self):
		self.dial().message(mail(campaign="a b=c\" \x1b[31m\tx"), queue_id="EVIL")
		self.assertRegex(self.log_of("EVIL")[-1], r'EVIL: tagged campaign="a b=c\? \[31m x" stream=default')

	def test_many_connections_at_once(self):
		raw = mail()
		wrong = []

		def work(i):
			try:
				with Milter("inet:127.0.0.1:%d" % self.rig.milter_port) as mta:
					mta.negotiate(steps=ALL_STEPS if i % 2 else NO_EOH)
					mta.connect()
					for k in range(10):
						outcome = mta.message(raw, rcpts=["p%d-%d@example.com" % (i, k)])
						if outcome.kinds()[-1:] != ["add"]:
							wrong.append(outcome.kinds())
			except Exception as e:  # told below, in the test's own thread
				wrong.append(e)
		threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
		for t in threads:
			t.start()
		for t in threads:
			t.join()
		self.assertEqual([], wrong)

	def test_sent_mail_is_counted(self):
		for rcpts in (["count-a@example.com"], ["count-b@example.com"], ["count-c@example.com", "count-d@example.com"]):
			self.dial().message(mail(campaign="counted"), rcpts=rcpts)

		def sent():
			told = self.rig.cli("campaign", "show", "counted", "--json")
			return told.code == 0 and told.json["sent"] == 4
		rig.wait_until(sent, 10, "four sends")

	def test_silence_counts_only_after_what_could_be_seen(self):
		"""Whether a send was tracked: what no policy may hold against anybody must not say so."""
		text = dict(page="hello", kind="text/plain")
		rows = (("one", {}, 1, True), ("opens", {"extra": [("X-Rekindle-Track", "opens")]}, 1, True),
			("links", {"extra": [("X-Rekindle-Track", "links")]}, 1, True), ("several", {}, 2, False),
			("not", {"extra": [("X-Rekindle-Track", "no")]}, 1, False), ("quiet", {"extra": [("X-Rekindle-Stream", "quiet")]}, 1, False),
			("nameless", {"extra": [("X-Rekindle-Stream", "nameless")]}, 1, False),
			("denied", {"extra": [("X-Rekindle-Consent", "denied")]}, 1, False), ("text", text, 1, False),
			("bare", {"page": "<p>no link</p>", "extra": [("X-Rekindle-Track", "links")]}, 1, False),
			("unread", {"kind": "text/html; charset=martian"}, 1, False))
		for name, what, n, _ in rows:
			outcome = self.dial().message(mail(campaign="seen", **what), rcpts=["%s%d@seen.example" % (name, i) for i in range(n)])
			self.assertEqual("continue", outcome.verdict, name)
		sent = {}

		def recorded():
			sent.update((t["address"], t["tracked"]) for t in self.rig.cli("export", "--type", "sent").json_lines
				if t.get("address", "").endswith("@seen.example"))
			return len(sent) == len(rows) + 1
		rig.wait_until(recorded, 10, "all sends")
		self.assertEqual({"%s%d@seen.example" % (name, i): seen for name, _, n, seen in rows for i in range(n)}, sent)

	def test_observing_sends_and_says_what_would_be(self):
		self.suppress("watched@example.com")

		def would():
			raw = mail()
			self.tagged(self.dial().message(raw, rcpts=["watched@example.com"], queue_id="WOULD"), raw)
			return [l for l in self.log_of("WOULD") if "would=reject cause=held" in l]
		self.assertNotIn("watched@", rig.wait_until(would, 10))

	def test_observing_keeps_our_own_promise(self):
		"""Our List-Unsubscribe header said that no more mail comes: that is no verdict of the policy."""
		for reason in ("unsubscribed", "complained"):
			self.suppress(reason + "@example.com", "--reason", reason)

			def stopped():
				outcome = self.dial().message(mail(), rcpts=[reason + "@example.com"])
				return outcome.verdict == "reject" and outcome
			self.assertRegex(rig.wait_until(stopped, 10, reason).reply, r"550 5\.7\.1 recipient " + reason)

	def test_strangers_select_nothing(self):
		raw = mail(extra=[("List-Unsubscribe", "<mailto:x@letters.example>"), ("X-Rekindle-Stream", "leave")])
		for client in ("198.51.100.7", "2001:db9::7"):
			outcome = self.dial(client=client).message(raw, sender="news@letters.example")
			self.assertEqual(("eoh", "accept"), (outcome.stage, outcome.verdict))
		self.tagged(self.dial(client="198.51.100.7").message(raw, login="marketing"), raw)

	def test_a_message_may_lower_what_is_kept_of_it(self):
		for value, links, pixel in (("granted", 2, True), ("unknown", 2, True), ("opens=denied", 2, False),
				("opens=granted; links=denied", 0, True), ("opens=granted;\r\n links=granted", 2, True)):
			with self.subTest(value):
				raw = mail(extra=[("X-Rekindle-Consent", value)])
				made = self.tagged(self.dial().message(raw), raw)
				self.assertEqual((links, pixel), (len(tracked(made)), b"/o/" in body_of(made)))
				self.assertNotIn("x-rekindle-consent", [name for name, _ in fields_of(made)])

	def test_what_is_no_consent_is_a_denial(self):
		for i, fields in enumerate((["denied"], ["granted", "denied"], ["perhaps"], [""], ["opens=granted, links=granted"])):
			with self.subTest(fields):
				raw = mail(extra=[("X-Rekindle-Consent", value) for value in fields])
				outcome = self.dial().message(raw, queue_id="DENY%d" % i)
				self.assertEqual("continue", outcome.verdict)
				self.assertIsNone(outcome.body)
				self.assertEqual(len(fields), len([e for e in outcome.edits if e[0] == "change" and e[2] == "X-Rekindle-Consent"]))
		self.assertEqual([], [l for i in (0, 1) for l in self.log_of("DENY%d" % i) if "malformed" in l])
		self.assertTrue([l for l in self.log_of("DENY2") if "X-Rekindle-Consent is malformed, taken as denied" in l])

	def test_granted_in_a_message_raises_nothing(self):
		raw = mail(extra=[("X-Rekindle-Stream", "quiet"), ("X-Rekindle-Consent", "granted")])
		self.assertIsNone(self.dial().message(raw).body)
		told = self.rig.cli("consent", "show", "ann@example.com")
		self.assertEqual(1, told.code, "nothing is stored of it: %s" % told)

	def test_a_typing_error_in_the_stream_header_is_told(self):
		raw = mail(extra=[("X-Rekindle-Stream", "lettres")])
		self.tagged(self.dial().message(raw, queue_id="TYPO"), raw)
		self.assertTrue([l for l in self.log_of("TYPO") if 'there is no stream "lettres"; taken as default' in l])


class Withdrawal(Case):
	"""Consent that is taken back silences mail that was sent before."""

	settings = {"privacy_profile": "eu"}

	@classmethod
	def setUpClass(cls):
		super().setUpClass()
		try:
			cls.rig.start_tracker()
		except BaseException:
			cls.rig.close()
			raise

	def consent(self, word, who, *more):
		told = self.rig.cli("consent", word, who, *more)
		self.assertEqual(0, told.code, told)

	def send(self, who):
		raw = mail()
		made = self.tagged(self.dial().message(raw, rcpts=[who]), raw)
		return rig.pixel(body_of(made).decode()), tracked(made)[0]

	def hits(self):
		"""All opens and clicks there are, but for days: they are taken out of their place, and come last from then on."""
		return [t for t in self.rig.cli("export").json_lines if t["type"] in ("opened", "clicked") and t["mode"] != "dayonly"]

	def new_hits(self, *urls):
		before = self.hits()
		for url in urls:
			answer = self.rig.get(url)
			self.assertEqual(302 if "/c/" in url else 200, answer.status)
		after = self.hits()
		self.assertEqual(before, after[:len(before)])
		return [(t["type"], t["mode"], t.get("address")) for t in after[len(before):]]

	def test_deny(self):
		self.consent("grant", "ann@example.com", "--note", "double opt-in")
		pixel, link = self.send("ann@example.com")
		who = "ann@example.com"
		self.assertEqual([("opened", "identified", who), ("clicked", "identified", who)], self.new_hits(pixel, link))
		self.consent("deny", who)
		self.assertEqual([], self.new_hits(pixel, link, pixel, link))
		raw = mail()
		self.assertIsNone(self.dial().message(raw, rcpts=[who]).body, "and new mail is not tracked at all")
		self.consent("grant", who)
		self.assertEqual([("opened", "identified", who), ("clicked", "identified", who)], self.new_hits(pixel, link))

	def test_deny_one_of_them(self):
		who = "ben@example.com"
		self.consent("grant", who)
		pixel, link = self.send(who)
		self.consent("deny", who, "--links")
		self.assertEqual([("opened", "identified", who)], self.new_hits(pixel, link))

	def test_one_of_several_said_no(self):
		"""The body that they share is not tagged, whoever of them comes first."""
		self.consent("deny", "no@example.com")
		for rcpts in (["no@example.com", "yes@example.com"], ["yes@example.com", "no@example.com"]):
			outcome = self.dial().message(mail(), rcpts=rcpts)
			self.assertEqual("continue", outcome.verdict)
			self.assertIsNone(outcome.body, rcpts)
		raw = mail()
		self.tagged(self.dial().message(raw, rcpts=["yes@example.com", "perhaps@example.com"]), raw)

	def test_rates_are_of_those_whose_reactions_say_who(self):
		self.consent("grant", "eva@example.com")
		for who in ("eva@example.com", "fay@example.com", "gil@example.com", "hal@example.com"):
			raw = mail(campaign="apart")
			body = body_of(self.tagged(self.dial().message(raw, rcpts=[who]), raw)).decode()
			if who[0] in "ef":
				self.rig.get(rig.pixel(body))

		def shown():
			told = self.rig.cli("campaign", "show", "apart", "--json")
			return told.code == 0 and told.json["sent"] == 4 and told.json["raw"]["openers"] == 1 and told.json
		told = rig.wait_until(shown, 10, "four sends and an opener")
		self.assertEqual((4, 1, 1), (told["tracked"], told["open_rates_of"], told["click_rates_of"]))
		self.assertEqual((1, 0), (told["human"]["open_rate"], told["human"]["click_rate"]))

	def test_reset_counts_without_a_name(self):
		who = "cem@example.com"
		self.consent("grant", who)
		pixel, link = self.send(who)
		self.consent("reset", who, "--links")
		self.assertEqual([("clicked", "anonymous", None)], self.new_hits(link))

	def test_what_the_message_lowered_stays_low(self):
		who = "dora@example.com"
		self.consent("grant", who)
		raw = mail(extra=[("X-Rekindle-Consent", "links=unknown; opens=denied")])
		made = self.tagged(self.dial().message(raw, rcpts=[who]), raw)
		self.assertNotIn(b"/o/", body_of(made))
		self.assertEqual([("clicked", "anonymous", None)], self.new_hits(tracked(made)[0]))


class NamedExempt(Case):
	"""Only the stream header leads to the receipts, and nobody knows it at RCPT."""

	streams = {"news": {"match_login": "marketing"}, "receipts": {"transactional": "yes"}}

	def test_a_receipt_is_not_refused_for_a_newsletter(self):
		self.suppress("held@example.com")
		news, receipt = mail(campaign=None), mail(campaign=None, extra=[("X-Rekindle-Stream", "receipts")])

		def stopped():
			outcome = self.dial().message(news, rcpts=["held@example.com"], login="marketing")
			return outcome.verdict == "reject" and outcome.stage == "eom"
		rig.wait_until(stopped, 10, "a refusal once the headers are known")
		outcome = self.dial().message(receipt, rcpts=["held@example.com"], login="marketing")
		self.assertEqual(("continue", None), outcome.rcpt["held@example.com"])
		self.tagged(outcome, receipt)


class Enforcing(Case):
	streams = {
		"news": {"match_login": "marketing"},
		"receipts": {"match_header": "X-Receipt", "transactional": "yes"},
	}
	policy = {"on_bounced": "defer", "on_complained": "hold", "on_unsubscribed": "discard"}

	@classmethod
	def setUpClass(cls):
		super().setUpClass()
		for reason in ("held", "bounced", "complained", "unsubscribed"):
			told = cls.rig.cli("suppress", "add", "--reason", reason, reason + "@example.com", reason + "2@example.com")
			assert told.code == 0, told
		# The sums are a second behind; the last written is summed last.
		def known():
			with Milter("inet:127.0.0.1:%d" % cls.rig.milter_port) as mta:
				mta.negotiate()
				mta.connect()
				return mta.message(mail(), rcpts=["unsubscribed2@example.com"]).verdict == "discard"
		rig.wait_until(known, 10, "suppressions")

	def test_one_is_refused_at_rcpt_and_the_others_get_it(self):
		raw = mail(campaign=None)
		mta = self.dial()
		self.assertFalse(mta.steps & NR_RCPT)
		for _ in range(2):
			outcome = mta.message(raw, rcpts=["held@example.com", "ann@example.com"], login="marketing", queue_id="RCPT")
			verdict, reply = outcome.rcpt["held@example.com"]
			self.assertEqual("reject", verdict)
			self.assertRegex(reply, r"^550 5\.7\.1 recipient held back by hand on \d{4}-\d\d-\d\d \(rekindle\)$")
			self.assertEqual(("continue", None), outcome.rcpt["ann@example.com"])
			self.tagged(outcome, raw)
			self.assertEqual([], outcome.deleted)
			# Who was refused does not count: this is a message for one.
			self.assertRegex(self.log_of("RCPT")[-1], "tagged .* recipients=1$")

	def test_the_reason_is_no_address_in_the_log(self):
		self.dial().message(mail(campaign=None), rcpts=["held2@example.com"], login="marketing")
		lines = [l for l in self.rig.milter.log_now().splitlines() if "rejected cause=held" in l and "debug" not in l]
		self.assertTrue(lines)
		self.assertFalse([l for l in lines if "@" in l])

	def test_nobody_left(self):
		outcome = self.dial().message(mail(campaign=None), rcpts=["held@example.com"], login="marketing")
		self.assertEqual(("rcpt", "reject"), (outcome.stage, outcome.verdict))
		self.alive()

	def test_brackets_or_none_it_is_the_same_recipient(self):
		for say in (True, False):
			outcome = self.dial().message(mail(campaign=None), rcpts=["HELD@Example.com"], login="marketing", say_rcpt=say)
			self.assertEqual("reject", outcome.verdict)

	def test_at_rcpt_only_reject_and_defer(self):
		rcpts = ["bounced@example.com", "complained@example.com", "unsubscribed@example.com", "ann@example.com"]
		outcome = self.dial().message(mail(campaign=None), rcpts=rcpts, login="marketing", queue_id="MIX")
		self.assertEqual("tempfail", outcome.rcpt[rcpts[0]][0])
		self.assertRegex(outcome.rcpt[rcpts[0]][1], r"^451 4\.7\.1 ")
		self.assertEqual(["continue"] * 3, [outcome.rcpt[r][0] for r in rcpts[1:]])
		self.assertEqual(rcpts[1:3], outcome.deleted)
		self.assertEqual("delrcpt", outcome.kinds()[0])

	def test_the_whole_message(self):
		for reason, verdict, reply in (("held", "reject", r"550 5\.7\.1 recipient held"), ("bounced", "tempfail", r"451 4\.7\.1 "),
				("unsubscribed", "discard", None)):
			with self.subTest(reason=reason):
				rcpts = [reason + "@example.com", reason + "2@example.com"]
				for n in (1, 2):
					outcome = self.dial().message(mail(), rcpts=rcpts[:n])
					self.assertEqual(("eom", verdict), (outcome.stage, outcome.verdict))
					self.assertEqual([], outcome.edits)
					if reply:
						self.assertRegex(outcome.reply, reply)

	def test_held_mail_is_tagged_and_quarantined(self):
		raw = mail()
		outcome = self.dial().message(raw, rcpts=["complained@example.com"], queue_id="HOLD")
		self.tagged(outcome, raw)
		self.assertIn("quarantine", outcome.kinds())
		self.assertRegex(self.log_of("HOLD")[-1], "recipients=1 held$")

	def test_some_of_several_are_deleted(self):
		raw = mail()
		rcpts = ["ann@example.com", "held@example.com", "bounced@example.com", "complained@example.com", "unsubscribed@example.com"]
		outcome = self.dial().message(raw, rcpts=rcpts, queue_id="SOME")
		alone = self.tagged(outcome, raw)
		self.assertEqual(rcpts[1:], outcome.deleted)
		# They had a part in this body all the same: it names nobody.
		self.assertEqual(body_of(alone), body_of(self.tagged(self.dial().message(raw, rcpts=["ann@example.com", "ben@example.com"]), raw)))
		self.assertNotIn("quarantine", outcome.kinds())
		lines = self.log_of("SOME")
		self.assertRegex(lines[-1], "recipients=1$")
		for cause, instead in (("held", "reject"), ("bounced", "defer"), ("complained", "hold")):
			self.assertTrue([l for l in lines if "recipient deleted wanted=%s cause=%s" % (instead, cause) in l], lines)
		self.assertFalse([l for l in lines if "@" in l and "debug" not in l])

	def test_of_different_verdicts_the_mildest_wins(self):
		for rcpts, verdict in ((["held", "unsubscribed"], "reject"), (["held", "bounced"], "tempfail"),
				(["unsubscribed", "bounced"], "tempfail")):
			outcome = self.dial().message(mail(), rcpts=[r + "@example.com" for r in rcpts])
			self.assertEqual((verdict, []), (outcome.verdict, outcome.edits))
		raw = mail()
		outcome = self.dial().message(raw, rcpts=["held@example.com", "complained@example.com"])
		self.tagged(outcome, raw)
		self.assertEqual(["held@example.com"], outcome.deleted)
		self.assertIn("quarantine", outcome.kinds())

	def test_sendmail_is_never_refused(self):
		for login in ("marketing", None):
			for rcpt, verdict in (("held", "discard"), ("unsubscribed", "discard"), ("bounced", "continue"),
					("complained", "continue")):
				with self.subTest(login=login, rcpt=rcpt):
					outcome = self.dial().message(mail(), rcpts=[rcpt + "@example.com"], login=login, local=True, queue_id="LOCAL")
					self.assertEqual(("eom", verdict), (outcome.stage, outcome.verdict))
					self.assertEqual(verdict == "continue", "quarantine" in outcome.kinds())
		self.assertTrue([l for l in self.log_of("LOCAL") if "discarded wanted=reject cause=held" in l])
		raw = mail()
		outcome = self.dial().message(raw, rcpts=["ann@example.com", "held@example.com"], local=True, queue_id="LOCAL2")
		self.tagged(outcome, raw)
		self.assertEqual(["held@example.com"], outcome.deleted)
		self.assertTrue([l for l in self.log_of("LOCAL2") if "recipient deleted wanted=reject cause=held" in l])

	def test_a_session_may_change_from_smtp_to_stopped_and_back(self):
		mta = self.dial()
		for _ in range(3):
			self.assertEqual("reject", mta.message(mail(), rcpts=["held@example.com"]).verdict)
			raw = mail()
			self.tagged(mta.message(raw), raw)
			self.assertEqual("reject", mta.message(mail(), rcpts=["held@example.com"], login="marketing").verdict)

	def test_receipts_are_never_stopped(self):
		"""They prove no silence either, and no cap counts them: the sends say so, and others do not."""
		raw = mail(campaign=None, extra=[("X-Receipt", "7")])
		people = [reason + "@example.com" for reason in ("held", "bounced", "complained", "unsubscribed")]
		for who in people:
			self.tagged(self.dial().message(raw, rcpts=[who]), raw)
		letter = mail()
		self.tagged(self.dial().message(letter, rcpts=["reader@letters.example"]), letter)

		def sent():
			told = {(t["address"], t.get("exempt", False)) for t in self.rig.cli("export", "--type", "sent").json_lines if "address" in t}
			return told if ("reader@letters.example", False) in told else None
		told = rig.wait_until(sent, 10, "the last send")
		self.assertLessEqual({(who, True) for who in people}, told)

	def test_other_mail_is_never_stopped(self):
		outcome = self.dial().message(mail(campaign=None), rcpts=["held@example.com"])
		self.assertEqual("accept", outcome.verdict)

	def test_an_mta_that_cannot_delete_or_hold(self):
		raw = mail()
		outcome = self.dial(actions=ALL_ACTIONS & ~DELRCPT).message(raw, rcpts=["ann@example.com", "held@example.com"], queue_id="NODEL")
		self.tagged(outcome, raw)
		self.assertTrue([l for l in self.log_of("NODEL") if "would=reject (cannot be done here)" in l])
		outcome = self.dial(actions=ALL_ACTIONS & ~QUARANTINE).message(raw, rcpts=["complained@example.com"])
		self.assertEqual("tempfail", outcome.verdict)

	def test_what_was_stopped_is_counted(self):
		self.dial().message(mail(campaign="stopped"), rcpts=["held@example.com"])
		self.dial().message(mail(campaign="stopped"), rcpts=["ann@example.com", "held@example.com"])

		def counted():
			told = self.rig.cli("campaign", "show", "stopped", "--json")
			return told.code == 0 and (told.json["sent"], told.json["skipped"]) == (1, 2)
		rig.wait_until(counted, 10, "one sent and two skipped")

	def test_what_was_refused_at_rcpt_is_counted(self):
		"""The header that names the campaign has not come yet: it is the stream's own campaign then."""
		login = [s for s in self.streams if "match_login" in self.streams[s]][0]
		campaign = self.streams[login].get("campaign", "{date}")
		outcome = self.dial().message(mail(campaign="other"), rcpts=["held@example.com"], login=self.streams[login]["match_login"])
		self.assertEqual("rcpt", outcome.stage)

		def counted():
			name = campaign.replace("{date}", time.strftime("%Y-%m-%d", time.gmtime()))
			told = self.rig.cli("campaign", "show", name, "--stream", login, "--json")
			return told.code == 0 and told.json["skipped"] >= 1
		rig.wait_until(counted, 10, "one that was skipped")


class Full(Case):
	"""The disk is full: nobody waits for it, and nothing else changes."""

	settings = {"facts_size": "1M", "journal_size": "64k", "record_within": "5s"}

	def test_mail_flows_when_nothing_can_be_recorded(self):
		raw = mail()
		crowd = ["reader-%d-%s@example.com" % (i, "x" * 60) for i in range(1000)]
		for i in range(20):
			self.tagged(self.dial().message(raw, rcpts=[a.replace("reader", "r%d" % i) for a in crowd]), raw)
			if "touches are lost" in self.rig.milter.log_now():
				break
		self.assertIn("mail goes on", self.rig.milter.log_now())
		begin = time.monotonic()
		for i in range(5):
			new = self.tagged(self.dial().message(raw, rcpts=["after%d@example.com" % i]), raw)
			self.assertEqual(2, len(tracked(new)))
		self.assertLess(time.monotonic() - begin, 20)


class Life(Case):
	"""Reloading, ending, starting."""

	def start(self):
		if not self.rig.milter.running:
			self.rig.start_milter()

	def setUp(self):
		"""Whatever a test that failed has left behind, the next one begins with the settings of all."""
		if {k: v for k, v in self.rig.settings.items() if v is not None} != self.given or self.rig.streams:
			self.rig.milter.kill()
			self.rig.settings.clear()
			self.rig.streams = {}
			self.rig.write_conf(**self.given)
		self.start()

	@classmethod
	def setUpClass(cls):
		super().setUpClass()
		cls.given = cls.rig.settings.copy()

	def test_a_bad_file_keeps_the_old_settings(self):
		self.alive()
		with open(self.rig.conf_file) as f:
			good = f.read()
		with open(self.rig.conf_file, "a") as f:
			f.write("\nno_such_setting = 1\n")
		try:
			self.rig.milter.signal(signal.SIGUSR1)
			self.rig.milter.wait_log("no_such_setting")
			self.rig.milter.wait_log("not reloaded")
			self.alive()
		finally:
			with open(self.rig.conf_file, "w") as f:
				f.write(good)
		self.rig.write_conf(campaign_header="X-Other-Campaign", mail_log="/var/log/other.log")
		self.rig.milter.signal(signal.SIGUSR1)
		self.rig.milter.wait_log("reloaded from")
		self.assertIn("mail_log has changed; that needs a restart", self.rig.milter.log)
		self.assertNotIn("milter_socket has changed", self.rig.milter.log)
		self.assertEqual("accept", self.dial().message(mail()).verdict)
		raw = mail(campaign=None, extra=[("X-Other-Campaign", "new")])
		self.tagged(self.dial().message(raw), raw)
		self.rig.write_conf(campaign_header=None)
		self.rig.milter.kill()

	def test_a_message_keeps_the_settings_it_began_with(self):
		mta = self.dial(steps=ALL_STEPS & ~NR_RCPT)
		mta.message(mail(), upto="rcpt")  # answered: so it has begun
		self.rig.write_conf(campaign_header="X-Other-Campaign")
		self.rig.milter.signal(signal.SIGUSR1)
		self.rig.milter.wait_log("reloaded from")
		for name, value in split(mail())[0]:
			self.assertEqual("continue", mta.header(name, value)[0])
		self.assertEqual("continue", mta.end_of_header("OLD")[0])
		mta.abort()
		self.assertEqual("accept", mta.message(mail()).verdict)
		self.rig.write_conf(campaign_header=None)
		self.rig.milter.kill()

	def test_enforcing_begins_in_sessions_that_are_open(self):
		self.rig.streams = {"news": {"match_login": "marketing", "enforce": "observe"}}
		self.rig.write_conf()
		self.rig.milter.signal(signal.SIGUSR1)
		self.rig.milter.wait_log("reloaded from")
		self.suppress("stopped@example.com")
		mta = self.dial()
		self.assertTrue(mta.steps & NR_RCPT)
		raw = mail(campaign=None)
		self.tagged(mta.message(raw, rcpts=["stopped@example.com"], login="marketing"), raw)
		self.rig.streams["news"]["enforce"] = "on"
		self.rig.write_conf()
		self.rig.milter.signal(signal.SIGUSR1)

		def refused():
			outcome = mta.message(raw, rcpts=["stopped@example.com"], login="marketing")
			return outcome.verdict == "reject" and outcome.stage
		# Nobody waits for an answer at RCPT in this session; the end of the message has one.
		self.assertEqual("eom", rig.wait_until(refused, 10))
		self.assertEqual("rcpt", self.dial().message(raw, rcpts=["stopped@example.com"], login="marketing").stage)
		self.rig.streams = {}
		self.rig.write_conf()
		self.rig.milter.kill()

	def test_term_in_the_middle_of_a_message(self):
		mta = self.dial()
		mta.message(mail(), upto="body")
		self.rig.milter.signal(signal.SIGTERM)
		self.assertEqual(0, self.rig.milter.process.wait(60))
		with self.assertRaises((Closed, OSError)):
			mta.end_of_message(type("o", (), {"edits": []})(), "LATE")
			mta.read(1)
		self.assertIn("ends messages=", self.rig.milter.log_now())
		self.rig.start_milter()
		self.alive()

	def test_term_under_load_loses_nothing(self):
		"""Whoever got an answer is counted; whoever got none knows."""
		answered = []

		def work(i):
			try:
				with Milter("inet:127.0.0.1:%d" % self.rig.milter_port) as mta:
					mta.negotiate()
					mta.connect()
					while True:
						if mta.message(mail(campaign="term"), rcpts=["t%d@example.com" % i]).verdict == "continue":
							answered.append(i)
			except (Closed, OSError):
				pass
		threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
		for t in threads:
			t.start()
		rig.wait_until(lambda: len(answered) > 50)
		self.rig.milter.signal(signal.SIGTERM)
		self.assertEqual(0, self.rig.milter.process.wait(60))
		for t in threads:
			t.join()
		self.rig.start_milter()

		def counted():
			told = self.rig.cli("campaign", "show", "term", "--json")
			return told.code == 0 and told.json["sent"] >= len(answered)
		rig.wait_until(counted, 10, "%d sends" % len(answered))
		# One per connection may have been recorded and not answered.
		self.assertLessEqual(self.rig.cli("campaign", "show", "term", "--json").json["sent"], len(answered) + 4)

	def test_it_does_not_start_half(self):
		self.rig.milter.kill()
		for changes, say in (({"privacy_profile": None}, "privacy_profile"), ({"data_dir": "/nonexistent/x"}, "rekindle.conf:1: data_dir: /nonexistent/x: No such file or directory; make it"),
				({"max_message": "lots"}, "max_message"),
				({"milter_socket": "unix:/nonexistent/m.sock"}, "rekindle.conf:5: milter_socket: cannot listen on unix:/nonexistent/m.sock: "
					"No such file or directory: there is no directory /nonexistent; make it"),
				({"milter_socket": "unix:/m.sock"}, "Permission denied: user %d may not make anything in directory /; put the socket in a directory that belongs to that user" % pwd.getpwnam(rig.OWNER).pw_uid),
				({"ask_listen": "127.0.0.1:0,\n unix:/nonexistent/a.sock"},
					": ask_listen: cannot listen on unix:/nonexistent/a.sock: bind: No such file or directory: there is no directory /nonexistent; ")):
			with self.subTest(changes=changes):
				before = dict(self.rig.settings)
				self.rig.write_conf(**changes)
				try:
					done = subprocess.run([self.rig.program("rekindle-milter"), "-c", self.rig.conf_file], capture_output=True,
						env=self.rig.env(), timeout=30, **self.rig.identity())
				finally:
					self.rig.settings.clear()
					self.rig.write_conf(**before)
				self.assertEqual(1, done.returncode, done)
				self.assertIn(say, done.stderr.decode())
				# Every line of the log says whose it is, these too.
				for line in done.stderr.decode().splitlines():
					self.assertRegex(line, "^[0-9-]+T[0-9:.]+Z rekindle-milter: (error|listening for lookups)")

	def test_a_file_in_the_sockets_place_is_not_removed(self):
		self.rig.milter.kill()
		path = os.path.join(self.rig.dir, "precious")
		with open(path, "w") as f:
			f.write("do not lose this")
		before = self.rig.settings["milter_socket"]
		self.rig.write_conf(milter_socket="unix:" + path)
		try:
			done = subprocess.run([self.rig.program("rekindle-milter"), "-c", self.rig.conf_file], capture_output=True,
				env=self.rig.env(), timeout=30, **self.rig.identity())
		finally:
			self.rig.write_conf(milter_socket=before)
		self.assertEqual(1, done.returncode, done)
		self.assertIn(" error: %s:5: milter_socket: cannot listen on unix:%s: a file that is not a socket is there" % (self.rig.conf_file, path),
			done.stderr.decode())
		with open(path) as f:
			self.assertEqual("do not lose this", f.read())

	def test_a_unix_socket_and_the_one_left_behind(self):
		self.rig.milter.kill()
		before = self.rig.settings["milter_socket"]
		self.rig.write_conf(milter_socket="unix:" + self.rig.milter_socket)
		try:
			for _ in range(2):  # the second time there is one that kill -9 left
				self.rig.start_milter()
				self.assertEqual("srwxrwx---", stat.filemode(os.stat(self.rig.milter_socket).st_mode))
				with Milter("unix:" + self.rig.milter_socket) as mta:
					mta.negotiate()
					mta.connect()
					raw = mail()
					self.tagged(mta.message(raw), raw)
				second = subprocess.run([self.rig.program("rekindle-milter"), "-c", self.rig.conf_file], capture_output=True,
					env=self.rig.env(), timeout=30, **self.rig.identity())
				self.assertEqual(1, second.returncode)
				self.assertIn(" error: %s:5: milter_socket: cannot listen on unix:%s: another program listens there; is rekindle-milter running already?"
					% (self.rig.conf_file, self.rig.milter_socket), second.stderr.decode())
				with Milter("unix:" + self.rig.milter_socket) as mta:
					mta.negotiate()
				self.rig.milter.kill()
		finally:
			self.rig.write_conf(milter_socket=before)

	def test_of_two_that_start_at_once_one_has_the_socket(self):
		"""Both find what a killed one left, and none removes what the other one has just made."""
		self.rig.milter.kill()
		before = self.rig.settings["milter_socket"]
		self.rig.write_conf(milter_socket="unix:" + self.rig.milter_socket)
		try:
			self.rig.start_milter()
			self.rig.milter.kill()
			found = None if SANITIZED else rig.one_of_two([self.rig.program("rekindle-milter"), "-c", self.rig.conf_file],
				env=self.rig.env(), **self.rig.identity())
			if found is None:
				self.skipTest("strace cannot be used")
			said, other = found
			try:
				self.assertIn("another program listens there", said)
				with Milter("unix:" + self.rig.milter_socket) as mta:
					mta.negotiate()
			finally:
				os.killpg(other.pid, signal.SIGKILL)
				other.wait()
		finally:
			self.rig.write_conf(milter_socket=before)

	def test_started_by_root_it_is_root_no_more(self):
		self.rig.milter.kill()
		before = self.rig.settings["milter_socket"]
		self.rig.write_conf(milter_socket="unix:" + self.rig.milter_socket)
		child = subprocess.Popen([self.rig.program("rekindle-milter"), "-c", self.rig.conf_file], env=self.rig.env(),
			stderr=subprocess.PIPE)
		try:
			while b"listening on" not in child.stderr.readline():
				self.assertIsNone(child.poll())
			with Milter("unix:" + self.rig.milter_socket) as mta:
				mta.negotiate()
				mta.connect()
				raw = mail()
				self.tagged(mta.message(raw), raw)
			owner, place = os.stat(self.rig.data_dir), os.stat(os.path.dirname(self.rig.milter_socket))
			made = os.stat(self.rig.milter_socket)
			self.assertEqual((place.st_uid, place.st_gid), (made.st_uid, made.st_gid))
			with open("/proc/%d/status" % child.pid) as f:
				self.assertRegex(f.read(), r"\nUid:\t%d\t%d\t%d\t" % ((owner.st_uid,) * 3))
			for name in os.listdir(self.rig.data_dir):
				self.assertEqual(owner.st_uid, os.stat(os.path.join(self.rig.data_dir, name)).st_uid, name)
		finally:
			child.kill()
			child.wait()
			child.stderr.close()
			self.rig.write_conf(milter_socket=before)

	def test_a_socket_from_systemd(self):
		self.rig.milter.kill()
		listener = socket.socket()
		listener.bind(("127.0.0.1", 0))
		listener.listen(10)
		program = [self.rig.program("rekindle-milter"), "-c", self.rig.conf_file]
		# As systemd does: the descriptor is number 3, and the variables name the process itself.
		code = 'exec 3<&%d; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"' % listener.fileno()
		child = subprocess.Popen(["sh", "-c", code, "sh", *program], env=self.rig.env(), pass_fds=[listener.fileno()],
			stderr=subprocess.DEVNULL, **self.rig.identity())
		try:
			with Milter("inet:127.0.0.1:%d" % listener.getsockname()[1]) as mta:
				mta.negotiate()
				mta.connect()
				raw = mail()
				self.tagged(mta.message(raw), raw)
		finally:
			child.kill()
			child.wait()
			listener.close()

	def test_readiness_is_told(self):
		self.rig.milter.kill()
		path = os.path.join(self.rig.dir, "notify")
		with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
			s.bind(path)
			os.chmod(path, 0o777)
			s.settimeout(20)
			child = subprocess.Popen([self.rig.program("rekindle-milter"), "-c", self.rig.conf_file],
				env=dict(self.rig.env(), NOTIFY_SOCKET=path), stderr=subprocess.PIPE, **self.rig.identity())
			try:
				self.assertIn(b"READY=1", s.recv(1000))
				self.alive()
				child.send_signal(signal.SIGTERM)
				self.assertIn(b"STOPPING=1", s.recv(1000))
				self.assertEqual(0, child.wait(60))
				self.assertRegex(child.stderr.read().decode(),
					r"rekindle-milter: listening on inet.*\n\S+ rekindle-milter: started, version \d+\.\d+\.\d+\n")
			finally:
				child.kill()
				child.wait()
				child.stderr.close()


if __name__ == "__main__":
	result = unittest.main(exit=False, verbosity=2).result
	bad = len(result.failures) + len(result.errors)
	print("%d passed, %d failed" % (max(result.testsRun - bad, 0), bad), flush=True)
	sys.exit(0 if result.testsRun and result.wasSuccessful() else 1)
