#!/usr/bin/env python3
"""test_transport.py -- how a message gets to rekindle-milter and back: packets, connections, Postfix, a disk that is full."""

import collections
import ctypes
import itertools
import os
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

import rig
from milterclient import (
	ADDHDRS, ALL_ACTIONS, ALL_STEPS, CHGBODY, CHGHDRS, CHUNK, DELRCPT, HDR_LEADSPC, NO_EOH, NR_BODY, NR_HEADER, QUARANTINE,
	SETSYMLIST, Closed, Milter, split)
from test_milter import PAGE, Case, body_of, fields_of, mail, tracked

# Those who share a body share tokens that name nobody and tell no time: the same message gets the same bytes.
SHARED = ("ann@example.com", "ben@example.com")
JUDGE = os.path.join(rig.TOP, "tests", "judge.py")
MARK = re.compile(rb"(?im)^X-Rekindle-Id:.*\r\n(\s.*\r\n)*")

# All that a border could cut in two: a tag, an entity, a character, a soft break, an escape, a boundary, a line end.
PARTS = (
	"--=_b\r\n"
	"Content-Type: text/plain; charset=utf-8\r\n"
	"Content-Transfer-Encoding: 8bit\r\n"
	"\r\n"
	"caf\u00e9 \U0001f426 https://x.example/\r\n"
	"--=_b\r\n"
	"Content-Type: text/html; charset=utf-8\r\n"
	"Content-Transfer-Encoding: quoted-printable\r\n"
	"\r\n"
	"<p>caf=C3=A9<a href=3D\"https://x.example/a?b=3D1&amp;=\r\n"
	"c=3D2\">one</a>\r\n"
	"--=_b\r\n"
	"Content-Type: text/html; charset=utf-8\r\n"
	"Content-Transfer-Encoding: 8bit\r\n"
	"\r\n"
	"<p>\u00e9\r\n<a\r\n href='https://x.example/&eacute;\u00e9'>\u00fc</a></p>\r\n"
	"--=_b--\r\n")


def letter(campaign="parts", extra=()):
	raw = mail(campaign, PARTS, extra, 'multipart/mixed; boundary="=_b"')
	return raw[:-2]  # PARTS has its own last line end


def plain(raw):
	"""Without what differs each time: the mark."""
	return MARK.sub(b"", raw)


class Enough(Exception):
	"""As many commands as were wanted have been sent."""


class Limited(Milter):
	"""Sends so many steps of a message and then stops in the middle."""

	left = None

	def step(self, *args):
		if self.left is not None:
			if self.left == 0:
				raise Enough
			self.left -= 1
		return super().step(*args)


class Taped(Milter):
	"""Keeps what it wrote."""

	def __init__(self, *args):
		self.tape = b""
		super().__init__(*args)

	def write(self, data):
		self.tape += data
		super().write(data)


class Mute(Milter):
	"""Of an administrator who took all macros out."""

	def macros(self, command, stage, values):
		pass


class Wire(Case):
	"""Through the protocol."""

	settings = {"max_message": "256k", "enforce": "observe"}

	@property
	def address(self):
		return "inet:127.0.0.1:%d" % self.rig.milter_port

	def client(self, kind, actions=ALL_ACTIONS, steps=ALL_STEPS, version=6):
		mta = kind(self.address)
		self.addCleanup(mta.__exit__)
		mta.negotiate(actions, steps, version)
		mta.connect()
		return mta

	def whole(self, raw, rcpts=SHARED, **how):
		return plain(self.tagged(self.dial().message(raw, rcpts=rcpts, **how), raw))

	def sent(self, campaign):
		told = self.rig.cli("campaign", "show", campaign, "--json")
		return told.json["sent"] if told.code == 0 else 0

	def all_counted(self):
		"""The sums follow the facts in their order: when the last is counted, all are."""
		name = "last-%d" % time.monotonic_ns()
		raw = mail(name)
		self.tagged(self.dial().message(raw), raw)
		rig.wait_until(lambda: self.sent(name) == 1, 15, "the last message to be counted")


class Borders(Wire):
	settings = {"max_message": "256k", "enforce": "observe", "record_within": "0"}  # thousands of messages, and none is counted here

	def test_a_border_in_a_tag_an_entity_a_character_a_soft_break_a_boundary_or_a_line_end(self):
		raw = letter()
		body = body_of(raw)
		want = self.whole(raw)
		self.assertEqual(2, want.count(b"/c/") + want.count(b"/=\r\nc/"), want)
		mta = self.dial()
		for at in range(len(body) + 1):
			for cuts in ([at], [at, min(at + 1, len(body))]):
				new = plain(self.tagged(mta.message(raw, rcpts=SHARED, chunk=cuts), raw))
				self.assertEqual(want, new, "cut behind %r" % body[max(at - 20, 0):at])

	def test_packets_of_every_size(self):
		raw = letter()
		want = self.whole(raw)
		mta = self.dial()
		for size in range(1, len(body_of(raw)) + 2):
			self.assertEqual(want, plain(self.tagged(mta.message(raw, rcpts=SHARED, chunk=size), raw)), size)

	def test_a_border_of_the_largest_packet_in_a_link(self):
		link = "<a href=\"https://x.example/?a=1&amp;b=\u00e9\">x</a>"
		for inside in range(len(link.encode()) + 1):
			page = "<p>" + "x\r\n" * ((CHUNK - inside - 3) // 3)
			page += "y" * (CHUNK - inside - len(page)) + link + "z\r\n" * 30000 + link
			raw = mail(page=page, encoding="8bit")
			self.assertEqual(link.encode()[:inside], body_of(raw)[CHUNK - inside:CHUNK])
			outcome = self.dial().message(raw, rcpts=SHARED)
			new = self.tagged(outcome, raw)
			packets = [len(e[1]) for e in outcome.edits if e[0] == "body"]
			self.assertEqual([CHUNK] * (len(packets) - 1), packets[:-1])
			self.assertLessEqual(packets[-1], CHUNK)
			if inside % 8 == 0:
				self.assertEqual(plain(new), self.whole(raw, chunk=1000))

	def test_a_body_without_a_last_line_end(self):
		for end in ("</html>", "</html>\r", "</html>\n", "</html>\r\n\r\n", "</html>\r\n.\r\n", "<a href=\"https://x.example/", "\r"):
			with self.subTest(end=end):
				raw = mail(page=PAGE + end)[:-2]
				new = body_of(self.tagged(self.dial().message(raw, rcpts=SHARED), raw)).decode()
				back = re.sub(r"http://127\.0\.0\.1:\d+/c/[\w-]+", "LINK", new)
				back = re.sub(r"<img [^>]*/o/[^>]*>", "", back)
				want = body_of(raw).decode().replace("https://shop.example.org/a?x=1&amp;y=2", "LINK")
				self.assertEqual(want.replace("https://shop.example.org/b", "LINK"), back)

	def test_an_empty_body(self):
		raw = mail(page="").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
		for steps in (ALL_STEPS, ALL_STEPS & ~NR_BODY, NO_EOH):
			mta = self.client(Milter, steps=steps)
			outcome = mta.message(raw, rcpts=SHARED, queue_id="EMPTY")
			self.assertEqual(("continue", 0), (outcome.verdict, outcome.body_sent))
			# Nothing, or a whole edit; Postfix would keep the old body in the place of an empty new one.
			self.assertNotEqual(b"", outcome.body)
			new = outcome.apply(raw)
			self.assertNotIn(b"X-Rekindle-Campaign", new)
			self.assertEqual(outcome.body is not None, b"/o/" in body_of(new))
			follow = mail()
			self.tagged(mta.message(follow), follow)


class Sizes(Wire):
	limit = 256 * 1024

	def test_the_largest_message_and_one_octet_less_and_more(self):
		"""However the octet too many comes: alone, first of a packet, last of one, and with more behind it."""
		control = [("X-Rekindle-Consent", "granted"), ("x-rekindle-stream", "none"), ("X-Rekindle-Else", "x")]
		for over, chunks in ((-1, (CHUNK,)), (0, (CHUNK, [self.limit - 1], [1])), (1, (CHUNK, [self.limit], [self.limit - 1], [1])),
				(2, ([self.limit], [self.limit, self.limit + 1])), (self.limit, (CHUNK, 1000))):
			# Paragraphs, so that no line is too long for mail.
			page = PAGE + "\r\n"
			page += "<p>0123456789\r\n" * ((self.limit - len(page) - 100) // 15)
			page += "y" * (self.limit + min(over, 2) - 2 - len(page)) + "z" * max(over - 2, 0)
			raw = mail(page=page, extra=control)
			self.assertEqual(self.limit + over, len(body_of(raw)))
			for chunk in chunks:
				for steps in (ALL_STEPS, ALL_STEPS & ~NR_BODY, NO_EOH):
					with self.subTest(over=over, chunk=chunk, steps=hex(steps)):
						mta = self.dial(steps=steps)
						outcome = mta.message(raw, chunk=chunk, queue_id="SIZE%d" % over)
						if over <= 0:
							new = self.tagged(outcome, raw)
							self.assertEqual(2, len(tracked(new)))
						else:
							# As it came; only what was meant for us does not go on.
							self.assertEqual("continue", outcome.verdict)
							self.assertEqual({"change"}, set(outcome.kinds()))
							want = [f for f in fields_of(raw) if not f[0].startswith(b"x-rekindle-")]
							new = outcome.apply(raw)
							self.assertEqual(want, fields_of(new))
							self.assertEqual(body_of(raw), body_of(new))
							self.assertIn("reason=oversize", self.log_of("SIZE%d" % over)[-1])
						follow = mail()
						self.assertEqual(2, len(tracked(self.tagged(mta.message(follow), follow))))

	def test_a_header_value_of_60_000_octets(self):
		for name, value in (("X-Long", "x" * 60000), ("References", "<a@example.org>\r\n " * 3200 + "<z@example.org>"),
				("Subject", "\u00fc" * 30000), ("List-Id", "x:" * 30000)):
			with self.subTest(name):
				raw = mail(extra=[(name, value)])
				new = self.tagged(self.dial().message(raw), raw)
				kept = [f for f in split(raw)[0] if not f[0].startswith(b"X-Rekindle-")]
				self.assertEqual(kept, [f for f in split(new)[0] if f in kept])
				self.assertEqual(2, len(tracked(new)))

	def test_a_control_header_of_60_000_octets(self):
		for name in ("X-Rekindle-Campaign", "X-Rekindle-Stream", "X-Rekindle-Consent"):
			with self.subTest(name):
				raw = mail(campaign=None, extra=[("X-Rekindle-Else", "x"), (name, "x " * 30000)]
					+ [("X-Rekindle-Campaign", "spring")] * (name != "X-Rekindle-Campaign"))
				outcome = self.dial().message(raw, queue_id="LONG")
				self.assertEqual("continue", outcome.verdict)
				new = outcome.apply(raw)
				self.assertNotIn(name.lower().encode(), [n for n, _ in fields_of(new)])
				self.assertTrue(all(len(line) < 4096 for line in self.log_of("LONG")))
				self.alive()

	def test_an_unsubscribe_header_of_60_000_octets(self):
		"""It stays; and no header of ours may be longer than what Postfix keeps."""
		for n in (15000, 59000, 60000):
			raw = mail(extra=[("List-Unsubscribe", "<mailto:leave@example.org?subject=" + "x" * n + ">")])
			outcome = self.dial().message(raw)
			self.assertEqual("continue", outcome.verdict)
			for kind, *rest in outcome.edits:
				if kind in ("add", "change"):
					self.assertLessEqual(len(rest[-1]) + len(rest[-2]), 60000)
			new = outcome.apply(raw)
			self.assertEqual(1, [n for n, _ in fields_of(new)].count(b"list-unsubscribe"))
			self.assertIn(b"x" * n, new)
			self.alive()

	def test_as_many_fields_as_there_may_be_and_one_more(self):
		few = len(fields_of(mail()))
		for n in (1999, 2000, 2001):
			raw = mail(extra=[("X-F%d" % i, "x") for i in range(n - few)])
			self.assertEqual(n, len(fields_of(raw)))
			for steps in (ALL_STEPS, NO_EOH):
				mta = self.dial(steps=steps)
				outcome = mta.message(raw, queue_id="F%d" % n)
				if n <= 2000:
					self.assertEqual(2, len(tracked(self.tagged(outcome, raw))))
				else:
					self.assertIsNone(outcome.body)
					self.assertIn(outcome.verdict, ("accept", "continue"))
					self.assertRegex(self.log_of("F%d" % n)[0], 'untouched campaign=.* reason="too many header fields"')
				follow = mail()
				self.tagged(mta.message(follow), follow)

	def too_large_a_header(self):
		return (("fields", mail(extra=[("X-F%d" % i, "x") for i in range(2000)])),
			("octets", mail(extra=[("X-F%d" % i, "x" * 30000) for i in range(40)])))

	def test_control_headers_do_not_leave_when_the_header_is_too_large(self):
		for why, raw in self.too_large_a_header():
			with self.subTest(why):
				outcome = self.dial().message(raw)
				self.assertIn(outcome.verdict, ("accept", "continue"))
				self.assertIsNone(outcome.body)
				self.assertNotIn(b"x-rekindle-campaign", [n for n, _ in fields_of(outcome.apply(raw))])

	def test_who_unsubscribed_gets_no_mail_because_its_header_is_too_large(self):
		self.suppress("gone@example.com", "--reason", "unsubscribed")
		rig.wait_until(lambda: self.dial().message(mail(), rcpts=["gone@example.com"]).verdict == "reject", 10, "the unsubscription")
		for why, raw in self.too_large_a_header():
			with self.subTest(why):
				self.assertEqual("reject", self.dial().message(raw, rcpts=["gone@example.com"]).verdict)

	def test_two_thousand_recipients(self):
		raw = mail("crowd")
		rcpts = ["r%d@example.com" % i for i in range(2000)]
		for steps in (ALL_STEPS, NO_EOH):
			outcome = self.dial(steps=steps).message(raw, rcpts=rcpts, queue_id="CROWD")
			self.tagged(outcome, raw)
			self.assertEqual(2000, len(outcome.rcpt))
			self.assertRegex(self.log_of("CROWD")[-1], "recipients=2000$")
		rig.wait_until(lambda: self.sent("crowd") == 4000, 15, "all of them to be counted")

	def test_more_recipients_than_anybody_has(self):
		raw = mail("world")
		for n in (50000, 50001):
			mta = self.dial()
			outcome = mta.message(raw, rcpts=["r%d@example.com" % i for i in range(n)], queue_id="W%d" % n)
			if n == 50000:
				self.tagged(outcome, raw)
				self.assertRegex(self.log_of("W50000")[-1], "recipients=50000$")
			else:
				self.assertIsNone(outcome.body)
				self.assertIn(outcome.verdict, ("accept", "continue"))
			follow = mail()
			self.tagged(mta.message(follow), follow)


class Breaks(Wire):
	"""Whatever a message breaks off at, the next one is a message of its own."""

	def commands(self):
		"""How many steps letter() has, each chunk being one."""
		mta = self.client(Limited)
		mta.left = 10 ** 6
		raw = letter()
		self.tagged(mta.message(raw, rcpts=SHARED, chunk=100), raw)
		return 10 ** 6 - mta.left

	def some(self, mta, n, campaign):
		mta.left = n
		with self.assertRaises(Enough):
			mta.message(letter(campaign, [("X-Rekindle-Consent", "denied")]), rcpts=("wrong@example.com", *SHARED), chunk=100)
		mta.left = None

	def test_an_abort_after_each_command(self):
		raw = letter()
		want = self.whole(raw)
		total = self.commands()
		self.assertGreater(total, 14)
		for steps in (ALL_STEPS, ALL_STEPS & ~NR_BODY & ~NR_HEADER, NO_EOH):
			mta = self.client(Limited, steps=steps)
			for n in range(total + 1):
				for aborts in (1, 2):
					self.some(mta, n, "broken-off")
					for _ in range(aborts):
						mta.abort()
					new = plain(self.tagged(mta.message(raw, rcpts=SHARED, queue_id="AFTER"), raw))
					self.assertEqual(want, new, "after %d commands" % n)
					self.assertRegex(self.log_of("AFTER")[-1], "campaign=parts .* recipients=2$")
		self.all_counted()
		self.assertEqual(0, self.sent("broken-off"))

	def test_a_message_that_is_nothing_to_us_after_one_that_was_broken_off(self):
		total = self.commands()
		mta = self.client(Limited)
		for n in range(total + 1):
			self.some(mta, n, "forgotten")
			mta.abort()
			outcome = mta.message(letter(None), rcpts=SHARED)
			self.assertEqual(("accept", "eoh", []), (outcome.verdict, outcome.stage, outcome.edits))

	def test_an_abort_before_any_message(self):
		mta = self.dial()
		mta.abort()
		mta.abort()
		raw = letter()
		self.assertEqual(self.whole(raw), plain(self.tagged(mta.message(raw, rcpts=SHARED), raw)))

	def test_a_hang_up_after_each_command(self):
		for n in range(self.commands() + 1):
			for steps in (ALL_STEPS, NO_EOH):
				mta = self.client(Limited, steps=steps)
				self.some(mta, n, "hung-up")
				mta.close()
		self.alive()
		self.all_counted()
		self.assertEqual(0, self.sent("hung-up"))

	def test_a_hang_up_after_each_octet(self):
		raw = mail("cut")
		mta = self.client(Taped)
		self.tagged(mta.message(raw), raw)
		tape = mta.tape
		end = tape.rindex(b"\0\0\0\x01E") + 5
		self.assertEqual(len(tape), end)
		for n in range(end):
			with socket.create_connection(("127.0.0.1", self.rig.milter_port), 10) as s:
				if n % 2:
					# The connection is reset, not closed.
					s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
				s.sendall(tape[:n])
		self.alive()
		self.all_counted()
		self.assertEqual(1, self.sent("cut"))

	def test_a_hang_up_before_the_answer(self):
		page = PAGE + "<p>0123456789\r\n" * 15000
		for reset in (0, 1):
			for _ in range(5):
				mta = self.dial()
				outcome = mta.message(mail("unheard", page), upto="body")
				self.assertEqual("continue", outcome.verdict)
				mta.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
				mta.send("E")
				mta.close()
		self.alive()
		raw = letter()
		self.whole(raw)


class Offers(Wire):
	settings = {"enforce": "observe", "max_message": "256k"}

	def well_ended(self, outcome, raw, said):
		"""Wholly tagged, or nothing but control headers taken out, or as it came."""
		self.assertIn(outcome.verdict, ("continue", "accept"), said)
		new = outcome.apply(raw)
		names = [n for n, _ in fields_of(new)]
		if outcome.body is not None:
			self.tagged(outcome, raw)
			self.assertEqual(2, len(tracked(new)), said)
			self.assertIn(b"/o/", body_of(new), said)
			self.assertNotIn(b"x-rekindle-campaign", names, said)
			self.assertEqual(1, names.count(b"list-unsubscribe"), said)
			self.assertEqual(1, names.count(b"list-unsubscribe-post"), said)
			self.assertEqual(1, names.count(b"x-rekindle-id"), said)
			return True
		self.assertEqual([], outcome.edits, said)
		return False

	def test_any_of_the_actions_and_steps(self):
		"""Whatever an MTA offers: wholly or not at all, and the next message as well."""
		raw = mail()
		wanted = (ADDHDRS, CHGHDRS, CHGBODY, DELRCPT, QUARANTINE, SETSYMLIST)
		tagged = untouched = 0
		for n in range(1, len(wanted) + 1):  # none at all is what libmilter takes for an MTA of the first version
			for some in itertools.combinations(wanted, n):
				for version, steps in ((6, ALL_STEPS), (6, NO_EOH), (6, ALL_STEPS & ~HDR_LEADSPC), (6, NR_HEADER | NR_BODY), (4, 0x1ff),
						(3, 0x7f), (2, 0x7f), (2, NO_EOH)):
					said = "actions %s steps %#x version %d" % (some, steps, version)
					mta = self.dial(sum(some), steps, version)
					for _ in range(2):
						done = self.well_ended(mta.message(raw, queue_id="SOME"), raw, said)
						self.assertEqual({ADDHDRS, CHGHDRS, CHGBODY} <= set(some), done, said)
						tagged, untouched = tagged + done, untouched + (not done)
					self.assertTrue(mta.silent(0.0001), said)
		self.assertGreater(tagged, 100)
		self.assertGreater(untouched, 100)

	def test_one_step_less(self):
		raw = mail()
		want = self.whole(raw)
		for n in range(21):
			for others in (ALL_STEPS & ~(1 << n), 1 << n):
				mta = self.dial(steps=others)
				self.assertEqual(want, plain(self.tagged(mta.message(raw, rcpts=SHARED), raw)), hex(others))
				self.assertTrue(mta.silent(0.001))

	def test_versions(self):
		raw = mail()
		for version in (2, 3, 4, 5, 6, 7, 1000, 0x7fffffff):
			with self.subTest(version=version):
				mta = self.dial(ALL_ACTIONS, ALL_STEPS, version)
				self.assertLessEqual(mta.version, 6)
				self.tagged(mta.message(raw), raw)
		for version in (0, 1):
			with self.subTest(version=version), self.assertRaises((Closed, OSError)):
				self.dial(ALL_ACTIONS, ALL_STEPS, version)
		self.alive()

	def test_bits_that_do_not_exist_yet(self):
		raw = mail()
		mta = self.dial(0xffffffff, 0x7fffffff)
		self.tagged(mta.message(raw), raw)

	def test_no_macros_at_all(self):
		raw = mail()
		mta = self.client(Mute)
		for rcpts in (["ann@example.com"], SHARED):
			outcome = mta.message(raw, rcpts=rcpts)
			self.assertEqual(2, len(tracked(self.tagged(outcome, raw))))
		self.assertRegex(self.log_of("NOQUEUE")[-1], r"NOQUEUE: tagged campaign=spring .* recipients=2$")
		self.assertEqual(self.whole(raw), plain(outcome.apply(raw)))
		self.assertEqual("accept", mta.message(mail(None)).verdict)

	def test_macros_that_nobody_asked_for_and_broken_ones(self):
		raw = mail()
		want = self.whole(raw)
		for data in (b"", b"C", b"Ci", b"Mi\0", b"Mi\0A\0{x}", b"Z{a}\0b\0", b"M\0\0\0\0", b"E" + b"{m}\0v\0" * 5000, b"\xff\xff"):
			with self.subTest(data[:10]):
				mta = self.dial()
				mta.send("D", data)
				try:
					new = plain(self.tagged(mta.message(raw, rcpts=SHARED), raw))
				except (Closed, OSError):
					continue  # libmilter does not go on with nonsense; Postfix defers
				self.assertEqual(want, new)
		self.alive()

	def test_clients_of_every_family(self):
		raw = mail()
		for data, trusted in ((b"4\x10\xe1127.0.0.1\0", True), (b"6\x10\xe1IPv6:::1\0", True), (b"U", False), (b"L\0\0/var/run/x\0", False),
				(b"4\x10\xe1203.0.113.9\0", False), (b"", False)):
			with self.subTest(data):
				mta = Milter(self.address)
				self.addCleanup(mta.__exit__)
				mta.negotiate()
				mta.send("C", b"client.example.org\0" + data)
				try:
					outcome = mta.message(raw)
				except (Closed, OSError):
					self.assertFalse(trusted)
					continue
				if trusted:
					self.tagged(outcome, raw)
				else:
					self.untouched(outcome)
		self.alive()


class Disorder(Wire):
	"""Commands that no MTA would send, or not in this order."""

	def converse(self, packets, steps=NO_EOH):
		"""Sends all of them, then reads until the milter hangs up; its packets."""
		with socket.create_connection(("127.0.0.1", self.rig.milter_port), 30) as s:
			def pack(command, data=b""):
				return struct.pack("!IB", len(data) + 1, ord(command)) + data
			out = pack("O", struct.pack("!III", 6, ALL_ACTIONS, steps))
			out += b"".join(pack(*p) for p in packets)
			try:
				s.sendall(out)
				s.shutdown(socket.SHUT_WR)
			except OSError:
				pass  # it hung up before
			got = b""
			try:
				while True:
					more = s.recv(65536)
					if not more:
						break
					got += more
			except OSError:
				pass
		answers = []
		while len(got) >= 5:
			n, = struct.unpack("!I", got[:4])
			data = got[5:4 + n]
			answers.append((got[4:5], b"X-Rekindle-Id" if data.startswith(b"X-Rekindle-Id\0") else data))
			got = got[4 + n:]
		return answers[1:]

	CONNECT = ("C", b"client.example.org\x004\x10\xe1127.0.0.1\0")
	HELO = ("H", b"client.example.org\0")

	def good(self, name="spring", rcpts=SHARED):
		raw = mail(name)
		fields, body = split(raw)
		return [("M", b"<news@example.org>\0"), *[("R", b"<%s>\0" % r.encode()) for r in rcpts],
			*[("L", n + b"\0" + v[1:] + b"\0") for n, v in fields], ("N",), ("B", body), ("E",)]

	def test_a_good_message_after_any_disorder(self):
		start = [self.CONNECT, self.HELO]
		good = self.good()
		want = self.converse([*start, *good])
		self.assertEqual((b"c", b""), want[-1])
		self.assertIn((b"h", b"X-Rekindle-Id"), want)
		want = want[2:]  # to the connection and HELO
		M, R, L, N, B, E = good[0], ("R", b"<wrong@example.com>\0"), ("L", b"X-Rekindle-Campaign\0wrong\0"), ("N",), ("B", b"wrong"), ("E",)
		U, T, A = ("U", b"XCLIENT\0"), ("T",), ("A",)
		for sentence, packets in (
				("RCPT before MAIL", [R]), ("RCPT between two messages", [*good, R]),
				("the header before MAIL", [L]), ("the header before RCPT", [M, L]),
				("the body before the header", [M, R, B, L, N]), ("the body before the header's end", [M, R, L, B, N, B]),
				("the body before everything", [B]), ("the end of the header before everything", [N]),
				("the end of the header twice", [M, R, L, N, N, B]), ("a header behind its end", [M, R, N, L, B]),
				("a header behind the body", [M, R, L, N, B, L, B]), ("a recipient behind the header", [M, R, L, R, N]),
				("the end before everything", [E]), ("the end twice", [*good, E]), ("the end three times", [*good, E, E]),
				("the end instead of a body", [M, R, E]), ("the end behind the header", [M, R, L, E]),
				("MAIL twice", [M, M]), ("MAIL twice, with recipients", [M, R, M, R]), ("MAIL in the header", [M, R, L, M]),
				("MAIL in the body", [M, R, L, N, B, M]),
				("HELO in the middle", [M, R, self.HELO]), ("a connection in the middle", [M, R, L, self.CONNECT]),
				("a connection twice", [self.CONNECT, self.CONNECT]), ("DATA before MAIL", [T]), ("DATA twice", [M, R, T, T, L]),
				("an unknown command before MAIL", [U]), ("an unknown command after each", [U, M, U, R, U, T, U]),
				("an unknown command in the header", [M, R, L, U, L]), ("an unknown command in the body", [M, R, L, N, B, U, B]),
				("an abort after everything", [*good, A]), ("nothing but aborts", [A, A, A]),
				("macros of everything", [("D", c.encode() + b"i\0WRONG\0") for c in "CHMRTLNBEU"])):
			with self.subTest(sentence):
				got = self.converse([*start, *packets, A, *good])
				self.assertEqual(want, got[-len(want):])

	def test_every_order_of_three(self):
		start = [self.CONNECT, self.HELO]
		good = self.good()
		want = self.converse([*start, *good])[2:]
		M, R, L, N, B, E = good[0], ("R", b"<wrong@example.com>\0"), ("L", b"X-Rekindle-Campaign\0wrong\0"), ("N",), ("B", b"wrong"), ("E",)
		for packets in itertools.product((M, R, L, N, B, E, ("T",), ("U", b"x\0"), ("A",), self.HELO), repeat=3):
			got = self.converse([*start, *packets, ("A",), *good])
			self.assertEqual(want, got[-len(want):], packets)

	def test_any_order_at_all(self):
		start = [self.CONNECT, self.HELO]
		good = self.good()
		want = self.converse([*start, *good])[2:]
		chance = random.Random(8)
		for _ in range(300):
			packets = [chance.choice([*good, ("T",), ("U", b"x\0"), ("A",), ("D", b"Mi\0WRONG\0"), self.CONNECT])
				for _ in range(chance.randrange(1, 40))]
			got = self.converse([*start, *packets, ("A",), *good])
			self.assertEqual(want, got[-len(want):], packets)

	def test_what_the_milter_does_not_know_ends_the_connection_and_nothing_else(self):
		good = self.good("nonsense")
		for at in range(len(good)):
			for command in ("Z", "\0", "\x7f", "+"):
				got = self.converse([self.CONNECT, *good[:at], (command, b"x\0"), *good[at:]])
				self.assertFalse([p for p in got if p[0] in (b"b", b"h", b"m", b"-", b"q")])
		self.alive()
		self.all_counted()
		self.assertEqual(0, self.sent("nonsense"))

	def test_packets_as_large_as_they_may_be_and_larger(self):
		raw = mail()
		fields, body = split(raw)
		# libmilter's limit is 65,535 octets behind the command.
		for n, fits in ((65535, True), (65536, False), (1 << 20, False), (0xfffffffe, False)):
			with self.subTest(n=n):
				mta = self.dial()
				mta.message(raw, rcpts=SHARED, upto="rcpt")
				for name, value in fields:
					mta.header(name, value)
				filler = b"X-Long\0"
				filler += b"x" * (min(n, 1 << 20) - len(filler) - 1) + b"\0"
				try:
					mta.write(struct.pack("!IB", n + 1 & 0xffffffff, ord("L")) + filler)
					said = mta.end_of_header("LARGE")
				except (Closed, OSError):
					self.assertFalse(fits)
					continue
				self.assertTrue(fits)
				self.assertEqual("continue", said[0])
		self.alive()

	def test_a_connection_that_is_used_again(self):
		"""QUIT, "and a new connection follows": nothing of the old one sticks to the socket, neither login nor client."""
		raw = mail()
		mta = self.dial()
		want = self.whole(raw)
		self.assertEqual(want, plain(self.tagged(mta.message(raw, rcpts=SHARED, login="marketing"), raw)))
		mta.send("K")
		mta.connect(client="203.0.113.9")
		outcome = mta.message(raw, rcpts=SHARED)
		self.assertEqual(("eoh", "accept", []), (outcome.stage, outcome.verdict, outcome.edits))


class Crowd(Wire):
	def test_64_connections_with_messages_of_their_own(self):
		"""Tagged and other mail in turn; each gets its own body, links and recipient, and nobody else's."""
		made, wrong = {}, []
		begin = threading.Barrier(64)

		def page(i, k):
			return "<p>mine %d-%d %s</p><a href=\"https://x%d.example/%d?a=1&amp;b=2\">x</a>\r\n" % (i, k, "x\r\n" * (i * 37 % 3000), i, k)

		def work(i):
			try:
				with Milter(self.address) as mta:
					mta.negotiate(steps=ALL_STEPS if i % 2 else NO_EOH)
					mta.connect()
					begin.wait(30)
					for k in range(8):
						if k % 3 == 2:
							if mta.message(mail(None, page(i, k)), rcpts=["p%d@example.com" % i]).verdict != "accept":
								wrong.append((i, k))
							continue
						raw = mail("c%d-%d" % (i, k), page(i, k))
						outcome = mta.message(raw, rcpts=["p%d-%d@example.com" % (i, k)], chunk=64 + 997 * (i % 5))
						made[i, k] = outcome.apply(raw)
						if outcome.kinds()[-1:] != ["add"] or outcome.kinds().count("body") != 1:
							wrong.append((i, k, outcome.kinds()))
			except Exception as e:  # told below, in the test's own thread
				wrong.append((i, repr(e)))
		threads = [threading.Thread(target=work, args=(i,)) for i in range(64)]
		for t in threads:
			t.start()
		for t in threads:
			t.join()
		self.assertEqual([], wrong)
		self.assertEqual(64 * 6, len(made))
		for (i, k), new in made.items():
			body = body_of(new).decode()
			url, = tracked(new)
			back = re.sub(r"<img [^>]*/o/[^>]*>", "", body.replace(url, "https://x%d.example/%d?a=1&amp;b=2" % (i, k)))
			self.assertEqual(page(i, k) + "\r\n", back)
		# Sealed in the token is what was meant for this one.
		for (i, k), new in list(made.items())[::16]:
			told = self.rig.cli("token", tracked(new)[0], "--json").json
			self.assertEqual("https://x%d.example/%d?a=1&b=2" % (i, k), told["destination"], told)
			self.assertEqual("c%d-%d" % (i, k), told["campaign"], told)
			self.assertEqual("p%d-%d@example.com" % (i, k), told["address"], told)

class Postfix(unittest.TestCase):
	"""Through a real one."""

	@classmethod
	def setUpClass(cls):
		cls.rig = rig.Rig(settings={"enforce": "observe", "log_level": "debug"},
			listeners={"small": "-o cleanup_service_name=smallcleanup"},
			master=["smallcleanup unix n - n - 0 cleanup -o message_size_limit=20000"])
		try:
			cls.rig.start_tracker()
			cls.rig.start_milter()
			cls.rig.start_postfix()
		except BaseException:
			cls.rig.close()
			raise

	@classmethod
	def tearDownClass(cls):
		r = cls.rig
		try:
			assert not re.search(r"warning: .*milter", r.postfix.log), re.search(r"warning: .*milter.*", r.postfix.log)[0]
			assert not os.listdir(os.path.join(r.postfix.spool, "corrupt")), "Postfix found a corrupt queue file"
			assert not r.postfix.queue()
		except AssertionError:
			print(r.logs())
			raise
		finally:
			r.__exit__(None, None, None)

	def arrived(self, rcpt, n=1):
		return rig.wait_until(lambda: len(self.rig.sink.of(rcpt)) >= n and self.rig.sink.of(rcpt), 30, "mail for " + rcpt)[-1]

	def judged(self, raw, mail, links, pixels=1):
		"""An independent judge: nothing but tagging; the destinations in order."""
		paths = []
		for name, data in (("before", raw), ("after", mail.raw)):
			paths.append(os.path.join(self.rig.dir, name + ".eml"))
			with open(paths[-1], "wb") as f:
				f.write(data)
		done = subprocess.run([sys.executable, JUDGE, *paths, "--mta", "--list", "--tracking-url", self.rig.settings["tracking_url"]],
			capture_output=True, text=True)
		self.assertEqual(0, done.returncode, done)
		said = [line.split("\t") for line in done.stdout.splitlines()]
		self.assertEqual(links, [old for old, _ in said if old != "pixel"])
		self.assertEqual(pixels, len([old for old, _ in said if old == "pixel"]))
		self.assertTrue(all(len(line) <= 998 for line in mail.raw.split(b"\r\n")))
		self.assertIsNone(mail.header("X-Rekindle-Campaign"))

	LINKS = ["https://shop.example.org/a?x=1&y=2", "https://shop.example.org/b"]

	def complete(self, raw):
		"""With what Postfix would add to it: a Date, and a line end."""
		return b"Date: Thu, 08 Jan 2026 08:00:00 +0100\r\n" + raw

	def test_smtputf8(self):
		page = PAGE.replace("Hello", "gr\u00fc\u00dfe \U0001f426")
		raw = self.complete(mail(page=page, encoding="8bit", extra=[("Reply-To", "J\u00f6rg <j\u00f6rg@b\u00fccher.example>"),
			("X-Greeting", "\u4f60\u597d"), ("Cc", "\u03b1\u03b2\u03b3 <x@\u03c0.example>")]))
		reply = self.rig.send(raw, ["z\u00fcrich@b\u00fccher.example"], "h\u00e9l\u00e8ne@\u00e9cole.example", options="SMTPUTF8 BODY=8BITMIME")
		self.assertEqual(250, reply.code, reply)
		got = self.arrived("z\u00fcrich@b\u00fccher.example")
		self.assertEqual("h\u00e9l\u00e8ne@\u00e9cole.example", got.sender)
		self.assertIn("SMTPUTF8", got.mail_args)
		self.judged(raw, got, self.LINKS)
		for line in ("Reply-To: J\u00f6rg <j\u00f6rg@b\u00fccher.example>", "X-Greeting: \u4f60\u597d", "Cc: \u03b1\u03b2\u03b3 <x@\u03c0.example>"):
			self.assertIn(("\r\n%s\r\n" % line).encode(), got.head)
		token = self.rig.cli("token", rig.tracked(got.text())[0], "--json").json
		self.assertIn("who", token, token)

	def test_raw_headers_without_smtputf8(self):
		raw = self.complete(mail(extra=[("X-Greeting", "gr\u00fc\u00dfe"), ("X-Latin", "caf\udce9")]))
		self.assertEqual(250, self.rig.send(raw, ["latin@readers.example"]).code)
		got = self.arrived("latin@readers.example")
		self.judged(raw, got, self.LINKS)
		self.assertIn(b"X-Latin: caf\xe9\r\n", got.head)

	def test_8bitmime(self):
		for charset, word in (("utf-8", "caf\u00e9 \u4f60\u597d"), ("iso-8859-1", "caf\udce9 \udcfc"), ("windows-1252", "\udc80\udc93x\udc94")):
			rcpt = "eight-%s@readers.example" % charset
			raw = self.complete(mail(page=PAGE.replace("Hello", word), encoding="8bit", kind="text/html; charset=" + charset))
			self.assertEqual(250, self.rig.send(raw, [rcpt], options="BODY=8BITMIME").code)
			self.judged(raw, self.arrived(rcpt), self.LINKS)

	def bdat(self, session, chunks):
		for i, chunk in enumerate(chunks):
			session.sock.sendall(b"BDAT %d%s\r\n" % (len(chunk), b" LAST" if i == len(chunks) - 1 else b"") + chunk)
			reply = session.reply()
			self.assertEqual(250, reply.code, reply)

	def test_chunks_that_end_in_a_tag(self):
		raw = self.complete(mail())
		first = raw.index(b"href=\"") + 10
		with self.rig.smtp() as session:
			self.assertIn("CHUNKING", " ".join(session.transcript))
			for i, cuts in enumerate(([first], [first, first + 1, first + 2], [raw.index(b"&amp;") + 2], [raw.index(b"\r\n\r\n") + 1],
					[raw.index(b"\r\n\r\n") + 3, first], [5, 6], [len(raw)], range(1, len(raw), 101))):
				rcpt = "bdat%d@readers.example" % i
				self.assertTrue(session.command("MAIL FROM:<news@example.org>").ok)
				self.assertTrue(session.command("RCPT TO:<%s>" % rcpt).ok)
				edges = [0, *cuts, len(raw)]
				self.bdat(session, [raw[a:b] for a, b in zip(edges, edges[1:])])
				self.judged(raw, self.arrived(rcpt), self.LINKS)

	def test_a_pipeline(self):
		raws = [self.complete(mail(campaign=name)) for name in ("p0", None, "p2")]
		dot = b""
		with self.rig.smtp() as session:
			for i, raw in enumerate(raws):
				# As much in one write as RFC 2920 allows: the end of one message and the envelope of the next.
				session.sock.sendall(dot + b"MAIL FROM:<news@example.org>\r\nRCPT TO:<pipe%d@readers.example>\r\n" % i
					+ b"RCPT TO:<two%d@readers.example>\r\nDATA\r\n" % i)
				want = [250] * bool(dot) + [250, 250, 250, 354]
				self.assertEqual(want, [session.reply().code for _ in want])
				dot = raw + b".\r\n"
			session.sock.sendall(dot)
			self.assertEqual(250, session.reply().code)
		self.judged(raws[0], self.arrived("pipe0@readers.example"), self.LINKS)
		self.assertTrue(self.arrived("pipe1@readers.example").raw.endswith(raws[1]))
		self.judged(raws[2], self.arrived("two2@readers.example"), self.LINKS)

	def test_lines_of_dots(self):
		for name, page in (("dots", ".\r\n..\r\n...\r\n.\r\n"), ("tail", PAGE + "\r\n.\r\n.x\r\n..<a href=\"https://x.example/.\">.</a>\r\n."),
				("one", ".")):
			raw = self.complete(mail(page=page))
			rcpt = name + "@readers.example"
			self.assertEqual(250, self.rig.send(raw, [rcpt]).code)
			got = self.arrived(rcpt)
			links = [*self.LINKS, "https://x.example/."] if name == "tail" else []
			pixels = got.raw.count(b"/o/")
			self.judged(raw, got, links, pixels)

	def test_the_null_sender(self):
		raw = self.complete(mail())
		self.assertEqual(250, self.rig.send(raw, ["null@readers.example"], "").code)
		got = self.arrived("null@readers.example")
		self.assertEqual("", got.sender)
		self.judged(raw, got, self.LINKS)
		# A notification that is no campaign.
		raw = self.complete(mail(None, extra=[("Auto-Submitted", "auto-replied")]))
		self.assertEqual(250, self.rig.send(raw, ["null2@readers.example"], "").code)
		self.assertTrue(self.arrived("null2@readers.example").raw.endswith(raw))

	def test_200_messages_in_one_session(self):
		raws = {}
		with self.rig.smtp() as session:
			for i in range(200):
				rcpt = "many%d@readers.example" % i
				raws[rcpt] = self.complete(mail("many" if i % 4 else None, PAGE.replace("Hello", "number %d " % i + "x" * i)))
				self.assertEqual(250, session.send(raws[rcpt], "news@example.org", [rcpt]).code)
		rig.wait_until(lambda: all(self.rig.sink.of(r) for r in raws), 60, "200 messages")
		for i, (rcpt, raw) in enumerate(raws.items()):
			got = self.rig.sink.of(rcpt)
			self.assertEqual(1, len(got))
			if i % 4 == 0:
				self.assertTrue(got[0].raw.endswith(raw))
			else:
				self.assertEqual(2, len(rig.tracked(got[0].text())), rcpt)
				self.assertIn("number %d x" % i if i else "number", got[0].text())
		for rcpt in list(raws)[1::23]:
			if b"X-Rekindle-Campaign" in raws[rcpt]:
				self.judged(raws[rcpt], self.rig.sink.of(rcpt)[0], self.LINKS)
		rig.wait_until(lambda: self.sent("many") == 150, 15, "150 sends")

	def sent(self, campaign):
		told = self.rig.cli("campaign", "show", campaign, "--json")
		return told.json["sent"] if told.code == 0 else 0

	def test_a_client_that_leaves_in_the_middle(self):
		raw = mail("left")
		for n in (0, 10, raw.index(b"\r\n\r\n"), raw.index(b"\r\n\r\n") + 4, raw.index(b"href=") + 8, len(raw)):
			for reset in (0, 1):
				session = self.rig.smtp()
				for line in ("MAIL FROM:<news@example.org>", "RCPT TO:<left@readers.example>", "DATA"):
					self.assertTrue(session.command(line).ok)
				session.sock.sendall(raw[:n])
				session.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", reset, 0))
				session.file.close()
				session.sock.close()
		rig.wait_until(lambda: len(re.findall(r"lost connection after DATA", self.rig.postfix.log)) >= 12, 30, "Postfix to notice")
		raw = self.complete(mail("stayed"))
		self.assertEqual(250, self.rig.send(raw, ["stayed@readers.example"]).code)
		self.judged(raw, self.arrived("stayed@readers.example"), self.LINKS)
		rig.wait_until(lambda: self.sent("stayed") == 1, 15, "the message to be counted")
		self.assertEqual(0, self.sent("left"))
		self.assertFalse(self.rig.sink.of("left@readers.example"))

	def test_too_large_only_when_tagged(self):
		"""The sender learns it from Postfix, nothing is queued, and the next message is not affected."""
		links = "".join("<a href=\"https://x.example/%d\">x</a>\r\n" % i for i in range(150)) + "x" * 60 * 90
		raw = self.complete(mail("large", "<html><body>" + links + "</body></html>"))
		self.assertLess(len(raw), 15000)
		with self.rig.smtp("small") as session:
			for _ in range(2):
				reply = session.send(raw, "news@example.org", ["large@readers.example"])
				self.assertRegex(str(reply), r"^552 5\.3\.4 ")
			small = self.complete(mail("small"))
			self.assertEqual(250, session.send(small, "news@example.org", ["small@readers.example"]).code)
		self.judged(small, self.arrived("small@readers.example"), self.LINKS)
		self.assertFalse(self.rig.sink.of("large@readers.example"))
		self.assertEqual([], self.rig.postfix.queue())
		# Where there is room for it, it arrives.
		self.assertEqual(250, self.rig.send(raw, ["large@readers.example"]).code)
		self.judged(raw, self.arrived("large@readers.example"), ["https://x.example/%d" % i for i in range(150)])

	def test_headers_with_colons_long_ones_and_several_cc(self):
		raw = self.complete(mail(extra=[("X-Colons", "a:b: c :: d:"), ("X-Url", "https://x.example:8080/a:b"), ("Subject2", ": :"),
			("X-Empty", ""), ("Cc", ", ".join("Reader %d <r%d@readers.example>" % (i, i) for i in range(12))),
			("Cc", "\"Ten, \\\"Ann: B\\\"\" <ten@readers.example>,\r\n\t<eleven@readers.example>"), ("X-Long", "word " * 180),
			("X-Folded", "one\r\n two\r\n\tthree:\r\n  four"), ("References", "\r\n ".join("<%d@example.org>" % i for i in range(50)))]))
		self.assertEqual(250, self.rig.send(raw, ["colons@readers.example"]).code)
		got = self.arrived("colons@readers.example")
		self.judged(raw, got, self.LINKS)
		for name, value in split(raw)[0]:
			if not name.startswith(b"X-Rekindle-"):
				self.assertIn(name + b":" + value.replace(b"\n", b"\r\n").rstrip(b" ") + b"\r\n", re.sub(rb" +\r\n", b"\r\n", got.head))

	def test_added_headers_are_before_the_blank_line(self):
		"""For mail with CRLF, and for mail with LF from sendmail(1); and the line before is not glued to them."""
		raw = self.complete(mail(extra=[("X-Last", "the last")]))
		self.rig.send(raw, ["crlf@readers.example"])
		self.rig.sendmail(raw, ["lf@readers.example"])
		for rcpt in ("crlf@readers.example", "lf@readers.example"):
			got = self.arrived(rcpt)
			self.judged(raw, got, self.LINKS)
			self.assertIn(b"\r\nX-Last: the last\r\n", got.head)
			for line in got.head.split(b"\r\n")[:-1]:
				self.assertRegex(line, rb"^([!-9;-~]+:( \S.*)?|[ \t].*)$")
			self.assertTrue(got.header("X-Rekindle-Id"))
			self.assertNotIn(b"X-Rekindle-", got.body)
			self.assertNotIn(b"List-Unsubscribe", got.body)

	def test_no_line_between_header_and_body(self):
		"""A message that is all header, and one whose header ends with a line that is no field."""
		header = self.complete(mail(page="")).partition(b"\r\n\r\n")[0] + b"\r\n"
		for name, raw in (("all", header), ("glued", header + b"this is no field <a href=\"https://x.example/\">x</a>\r\n")):
			rcpt = name + "@readers.example"
			self.assertEqual(250, self.rig.send(raw, [rcpt]).code)
			got = self.arrived(rcpt)
			self.assertIsNone(got.header("X-Rekindle-Campaign"))
			self.assertEqual("Hello", got.header("Subject"))
			if name == "glued":
				self.assertIn(b"this is no field", got.body)


class NoMount(Exception):
	"""Not even root may mount here, as in many containers."""


class Disk:
	"""One that can be made full: a small file system, in a name space of this process that ends with it."""

	def __init__(self, r):
		self.dir = r.data_dir
		self.ballast = os.path.join(self.dir, "ballast")
		owner = os.stat(self.dir)
		libc = ctypes.CDLL(None, use_errno=True)
		new_name_space = 0x20000
		if libc.unshare(new_name_space) != 0:
			raise NoMount(os.strerror(ctypes.get_errno()))
		for words in (["--make-rprivate", "/"], ["-t", "tmpfs", "-o", "size=8m,mode=755,uid=%d,gid=%d" % (owner.st_uid, owner.st_gid),
				"rekindle-test", self.dir]):
			done = subprocess.run(["mount", *words], capture_output=True, text=True)
			if done.returncode != 0:
				raise NoMount(done.stderr)

	def fill(self, _):
		with open(self.ballast, "wb", buffering=0) as f:
			try:
				while True:
					f.write(b"x" * 4096)
			except OSError:
				pass

	def empty(self, _):
		os.unlink(self.ballast)

	def close(self):
		subprocess.run(["umount", "-l", self.dir], check=True)


class Limit:
	"""Where no file system can be mounted: no file may grow, as under ulimit -f."""

	def __init__(self, r):
		# The limit's signal would end the process; a full disk sends none.
		real = r.program("rekindle-milter")
		os.rename(real, real + ".real")
		with open(real, "w") as f:
			f.write("#!/bin/sh\ntrap '' XFSZ\nexec %s.real \"$@\"\n" % real)
		os.chmod(real, 0o755)
		self.facts = os.path.join(r.data_dir, "facts.mdb")

	@staticmethod
	def limit(pid, octets):
		"""As the daemon's own user: that may lower its limit, and raise it again, where root in a container may not."""
		subprocess.run(["prlimit", "--pid", str(pid), "--fsize=%s:unlimited" % octets], check=True, user=rig.OWNER,
			group=rig.OWNER, extra_groups=[])

	def fill(self, pid):
		self.limit(pid, os.stat(self.facts).st_size)

	def empty(self, pid):
		self.limit(pid, "unlimited")

	def close(self):
		pass


class Full(unittest.TestCase):
	"""No space is left for what is recorded: mail goes on and is tagged, and when there is space again all is as before."""

	def mail_flows(self, kind):
		with rig.Rig(settings={"enforce": "observe", "log_level": "info", "journal_size": "64k"}) as r:
			disk = kind(r)
			try:
				r.start_milter()
				r.start_postfix()
				self.flow(r, disk)
			finally:
				disk.close()

	def flow(self, r, disk):
		def send(name, n=1):
			rcpts = ["%s-%d@readers.example" % (name, i) for i in range(n)]
			reply = session.send(mail(name), "news@example.org", rcpts)
			self.assertEqual(250, reply.code, reply)
			got = rig.wait_until(lambda: r.sink.of(rcpts[-1]), 30, name)[-1]
			self.assertEqual(2, len(rig.tracked(got.text())))
			rig.pixel(got.text())

		def sent(name):
			told = r.cli("campaign", "show", name, "--json")
			return told.json["sent"] if told.code == 0 else 0

		def troubles():
			return [l for l in r.milter.log_now().splitlines() if re.search(r"store: |touches are", l)]

		with r.smtp() as session:
			send("before")
			rig.wait_until(lambda: sent("before") == 1, 15, "the first message to be counted")
			self.assertEqual([], troubles())
			disk.fill(r.milter.pid)
			# There may be room in the file still.
			for i in range(100):
				send("filling%d" % i, 100)
				if "mail goes on" in r.milter.log_now():
					break
			self.assertRegex(r.milter.log_now(), r"warning: \w+: touches are lost; mail goes on")
			begin = time.monotonic()
			for i in range(100):
				send("full%d" % i)
			self.assertTrue(r.milter.running)
			# However many messages: a line in ten seconds of each, with the number of those that were held back.
			lines = [l for l in r.milter.log_now().splitlines() if " warning: " in l]
			kinds = collections.Counter(re.sub(r"^.* warning: (\w+: )?|\(.*|\d+", "", l) for l in lines)
			for line, n in kinds.items():
				self.assertLessEqual(n, 2 + (time.monotonic() - begin) / 10, (line, lines))
			self.assertFalse([l for l in r.milter.log_now().splitlines() if " tagged " in l and "@" in l])

			disk.empty(r.milter.pid)
			# It finds out by itself; no mail has to be lost to show it.
			found = r.milter.wait_log(r"touches are recorded again, (\d+) were lost", 30)
			self.assertGreaterEqual(int(found[1]), 100)
			send("after")
			rig.wait_until(lambda: sent("after") == 1, 15, "what was sent afterwards to be counted")
			self.assertEqual(1, sent("before"))
			self.assertFalse([l for l in troubles() if "after" in l])
		r.milter.stop()
		self.assertGreaterEqual(int(re.search(r"unrecorded=(\d+)", r.milter.log)[1]), 100)

	def test_mail_is_tagged_when_the_disk_is_full(self):
		try:
			self.mail_flows(Disk)
		except NoMount as e:
			self.skipTest("no file system can be mounted here (%s); a limit does the same to the next test" % e)

	def test_mail_is_tagged_when_no_file_can_grow(self):
		self.mail_flows(Limit)

	def test_a_limit_on_the_size_of_files_ends_nobody(self):
		"""As under ulimit -f or LimitFSIZE=: not even by its signal."""
		with rig.Rig(settings={"enforce": "observe"}, milter="inet") as r:
			r.start_milter()
			rig.wait_until(lambda: "listening on" in r.milter.log, 10, "the store to be open")
			Limit.limit(r.milter.pid, 0)
			with Milter("inet:127.0.0.1:%d" % r.milter_port) as mta:
				mta.negotiate()
				mta.connect()
				self.assertEqual("continue", mta.message(mail()).verdict)
			self.assertTrue(r.milter.running)


if __name__ == "__main__":
	result = unittest.main(exit=False, verbosity=2).result
	bad = len(result.failures) + len(result.errors)
	print("%d passed, %d failed" % (max(result.testsRun - bad, 0), bad), flush=True)
	sys.exit(0 if result.testsRun and result.wasSuccessful() else 1)
