#!/usr/bin/env python3
"""test_brakes.py -- brakes and throttling in the milter, and `rekindle brakes'."""

import datetime
import json
import threading
import unittest

import rig
from test_milter import Case, mail


def ago(hours):
	at = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=hours)
	return at.strftime("%Y-%m-%dT%H:%M:%SZ")


DAY = 24
ROUNDS = 60
TODAY = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")


class Base(Case):
	people = 0

	@classmethod
	def somebody(cls, domain="example.com"):
		Base.people += 1
		return "p%d@%s" % (Base.people, domain)

	def load(self, touches):
		told = self.rig.cli("import", input="".join(json.dumps(t) + "\n" for t in touches))
		self.assertEqual(0, told.code, told)

	def inactive(self, n):
		"""They got mail for long enough, and never reacted."""
		who = [self.somebody() for _ in range(n)]
		self.load({"type": "sent", "address": w, "at": ago(DAY * d)} for w in who for d in (300, 200))
		return who

	def reader(self, days):
		who = self.somebody()
		self.load([{"type": "sent", "address": who, "at": ago(DAY * 300)},
			{"type": "clicked", "address": who, "at": ago(DAY * days), "link": 1}])
		return who

	def send(self, who, stream, campaign="spring"):
		return self.dial().message(mail(campaign, extra=[("X-Rekindle-Stream", stream)]), rcpts=[who])

	def goes(self, *arguments):
		outcome = self.send(*arguments)
		self.assertEqual("continue", outcome.verdict, outcome.reply)

	def waits(self, why, *arguments):
		outcome = self.send(*arguments)
		self.assertEqual("tempfail", outcome.verdict)
		self.assertRegex(outcome.reply, "^451 4.7.1 " + why)

	def refused(self, *arguments):
		outcome = self.send(*arguments)
		self.assertEqual("reject", outcome.verdict)
		self.assertIn("inactive", outcome.reply)

	def brakes(self):
		told = self.rig.cli("brakes", "--json")
		self.assertEqual(0, told.code, told)
		return told.json

	def campaign(self, stream, name="spring"):
		return [c for c in self.brakes()["campaigns"] if (c["name"], c["stream"]) == (name, stream)][0]

	def said(self, text):
		self.rig.milter.wait_log(text)


class Brakes(Base):
	settings = {"outage_min": "10"}
	policy = {"inactive_min_sends": "2", "new_days": "1", "new_min_sends": "1", "new_max_days": "1", "holdout": "0",
		"brake_min": "10", "brake_sent": "20"}
	streams = {"share": {}, "mass": {}, "gone": {}, "hand": {}, "links": {}, "dark": {"brake_share": "100%"},
		"watch": {"enforce": "observe"}}

	def test_too_large_a_share_passes(self):
		who = self.inactive(15)
		for w in who[:10]:
			self.refused(w, "share")
		for w in who[10:]:
			self.goes(w, "share")
		self.said(r'brake on: share campaign="spring" stream=share: policy would stop \d+\.\d\d % of \d+ \(limit 50.00 %\); inactive recipients pass')
		c = self.campaign("share")
		self.assertEqual(("share", False), (c["brake"], c["stopped"]))
		self.assertEqual(15, c["stopped_by_class"]["count"])
		self.assertIsNotNone(c["since"])
		shown = self.rig.cli("campaign", "show", "spring", "--stream", "share", "--json").json
		self.assertEqual((10, 5, 5), (shown["stopped_by_class"], shown["spared"], shown["sent"]))
		# What stops it comes before what lets it pass.
		self.assertEqual(0, self.rig.cli("campaign", "stop", "spring", "--stream", "share").code)
		c = self.campaign("share")
		self.assertEqual(("hand", True), (c["brake"], c["stopped"]))
		self.assertEqual(0, self.rig.cli("campaign", "start", "spring", "--stream", "share").code)
		# Others begin anew.
		self.refused(who[0], "share", "summer")
		# And who knows better says so: then they are stopped again.
		self.assertEqual(0, self.rig.cli("brakes", "release", "spring", "--stream", "share").code)
		self.said('brake off: share campaign="spring" stream=share: released by hand')
		# Once, while nothing of it is sent: another campaign's brake goes on and off in later rounds than the first that could repeat it.
		self.assertEqual(0, self.rig.cli("brakes", "stop", "summer", "--stream", "share").code)
		self.said('brake on: hand campaign="summer" stream=share')
		self.assertEqual(0, self.rig.cli("brakes", "release", "summer", "--stream", "share").code)
		self.said('brake off: hand campaign="summer" stream=share')
		self.assertEqual(1, self.rig.milter.log_now().count('brake off: share campaign="spring" stream=share'))
		rig.wait_until(lambda: self.send(who[0], "share").verdict == "reject")

	def complain(self, stream, kind="complained"):
		for _ in range(30):
			self.goes(self.somebody(), stream)
		self.load([{"type": kind, "address": "p%d@example.com" % Base.people, "at": ago(0), "stream": stream, "campaign": "spring"}])

	def test_complaints_stop_a_campaign_until_it_is_released(self):
		self.complain("mass")
		self.said(r'brake on: complaints campaign="spring" stream=mass: 3\.33 % of 30 \(limit 0\.30 %\); the campaign is stopped')
		self.waits("the campaign is stopped", self.somebody(), "mass")
		self.goes(self.somebody(), "mass", "summer")
		c = self.campaign("mass")
		self.assertEqual(("complaints", True, 1, 30), (c["brake"], c["stopped"], c["complaints"]["count"], c["complaints"]["of"]))
		who = self.somebody()
		self.load([{"type": "sent", "address": who, "at": ago(DAY), "stream": "mass"}])
		why = self.rig.cli("why", who, "--campaign", "spring", "--stream", "mass")
		self.assertRegex(why.out, r"Campaign +spring: stopped for too many complaints since 20")
		self.assertRegex(why.out, r"mass +is deferred: the campaign is stopped")
		why = self.rig.cli("why", who, "--campaign", "spring", "--stream", "mass", "--json").json
		self.assertEqual((c["since"], "complaints", True, "mass"), tuple(why["campaign"][k] for k in ("since", "brake", "stopped", "stream")))
		self.assertEqual(["braked"], [n["cause"] for n in why["next"]])
		self.assertEqual([("mass", "none")], [(n["stream"], n["cause"]) for n in self.rig.cli("why", who, "--stream", "mass", "--json").json["next"]])
		told = self.rig.cli("brakes", "release", "spring", "--stream", "mass", "--reason", "a test of ours")
		self.assertEqual(0, told.code, told)
		self.said('brake off: complaints campaign="spring" stream=mass: released by hand')
		rig.wait_until(lambda: self.send(self.somebody(), "mass").verdict == "continue")
		self.assertRegex(self.rig.cli("why", who, "--campaign", "spring", "--stream", "mass").out, "Campaign +spring: no brake is on\n")
		several = self.rig.cli("why", who, "--campaign", "spring")
		self.assertEqual(2 if "several streams" in several.err else 0, several.code, several)
		self.assertEqual(1, self.rig.cli("why", who, "--campaign", "autumn").code)
		self.assertEqual(1, self.rig.cli("brakes", "release", "spring", "--stream", "mass").code)
		# It does not come back, in another process either.
		self.load([{"type": "complained", "address": self.somebody(), "at": ago(0), "stream": "mass", "campaign": "spring"}])
		self.stop()
		self.rig.start_milter()
		self.goes(self.somebody(), "mass")
		self.assertEqual("off", self.campaign("mass")["brake"])

	def test_hard_bounces_stop_a_campaign(self):
		for _ in range(30):
			self.goes(self.somebody(), "gone")
		self.load({"type": "bounced", "address": "p%d@example.com" % (Base.people - i), "at": ago(0), "stream": "gone",
			"campaign": "spring"} for i in range(2))
		self.said('brake on: bounces campaign="spring" stream=gone')
		self.waits("the campaign is stopped", self.somebody(), "gone")
		self.stop()
		self.rig.start_milter()
		self.waits("the campaign is stopped", self.somebody(), "gone")

	def test_stopped_by_hand(self):
		self.assertEqual(1, self.rig.cli("brakes", "stop", "next").code)  # of which stream?
		stopped = self.rig.cli("brakes", "stop", "next", "--stream", "hand")
		self.assertEqual((0, "stopped: no more of its messages go out\n"), (stopped.code, stopped.out))
		self.assertEqual(1, self.rig.cli("brakes", "stop", "next", "--stream", "hand").code)
		self.waits("the campaign is stopped", self.somebody(), "hand", "next")
		self.assertEqual(0, self.rig.cli("brakes", "release", "next", "--stream", "hand").code)
		self.said('brake off: hand campaign="next" stream=hand')
		rig.wait_until(lambda: self.send(self.somebody(), "hand", "next").verdict == "continue")
		self.assertEqual(0, self.rig.cli("brakes", "stop", "next", "--stream", "hand").code)
		rig.wait_until(lambda: self.send(self.somebody(), "hand", "next").verdict == "tempfail")

	def test_stopped_where_nothing_is_enforced(self):
		stopped = self.rig.cli("brakes", "stop", "next", "--stream", "watch")
		self.assertEqual((0, "stopped, but its messages go out: stream watch has enforce = observe\n"), (stopped.code, stopped.out))
		self.goes(self.somebody(), "watch", "next")

	def test_a_campaign_whose_links_are_stopped_sends_nothing(self):
		self.goes(self.somebody(), "links")
		self.assertEqual(0, self.rig.cli("campaign", "stop", "spring", "--stream", "links").code)
		rig.wait_until(lambda: self.send(self.somebody(), "links").verdict == "tempfail")
		self.assertEqual(0, self.rig.cli("campaign", "start", "spring", "--stream", "links").code)
		rig.wait_until(lambda: self.send(self.somebody(), "links").verdict == "continue")

	def test_an_outage_spares(self):
		"""A fortnight of reactions, and then mail without any."""
		who = self.inactive(3)
		self.refused(who[0], "dark")
		past = [self.somebody() for _ in range(200)]
		self.load({"type": "sent", "address": w, "at": ago(40 + 1.6 * i), "campaign": "old"} for i, w in enumerate(past))
		self.load({"type": "clicked", "address": w, "at": ago(30 + 1.6 * i), "campaign": "old", "link": 1} for i, w in enumerate(past))
		self.load({"type": "sent", "address": self.somebody(), "at": ago(20), "campaign": "old"} for _ in range(50))
		self.said(r"brake on: outage receiver=others: reactions per message 0\.000, usually [01]\.\d+ \(limit 20.00 % of it\)")
		rig.wait_until(lambda: self.send(who[1], "dark").verdict == "continue")
		self.assertIn(("others", "outage"), [(r["receiver"], r["brake"]) for r in self.brakes()["receivers"]])
		self.assertRegex(self.rig.cli("brakes").out, r"others .* outage")
		self.assertRegex(self.rig.cli("why", who[1], "--stream", "dark").out, r"Brake +readers of this receiver are hardly seen, .* since 20(.|\n)*dark +is sent")
		self.load({"type": "clicked", "address": w, "at": ago(1), "campaign": "old", "link": 1} for w in past)
		self.said("brake off: outage receiver=others: readers are seen again")
		rig.wait_until(lambda: self.send(who[2], "dark").verdict == "reject")


class Envelope(Base):
	"""The envelope alone selects, so that recipients are refused at RCPT."""
	policy = dict(Brakes.policy)
	streams = {"envelope": {"match_sender_domain": "shop.example"}}

	def test_a_share_at_rcpt_is_told_of_its_stream(self):
		def at_rcpt(who):
			outcome = self.dial().message(mail("spring"), sender="news@shop.example", rcpts=[who])
			return outcome.verdict, outcome.stage
		who = self.inactive(12)
		self.assertEqual([], self.brakes()["streams"])
		for w in who[:10]:
			self.assertEqual(("reject", "rcpt"), at_rcpt(w))
		rig.wait_until(lambda: at_rcpt(who[11])[0] == "continue")
		self.said(r"brake on: share stream=envelope, the last 24 hours: policy would stop")
		(s,) = rig.wait_until(lambda: self.brakes()["streams"])
		self.assertEqual(("envelope", "share"), (s["stream"], s["brake"]))
		self.assertGreaterEqual(s["stopped_by_class"]["count"], 10)
		self.assertIsNotNone(s["since"])
		self.assertRegex(self.rig.cli("brakes").out, r"Stream envelope at RCPT: policy would stop \d+\.\d\d % of 24 hours \(limit 50\.00 %\), since 20")


class Throttling(Base):
	settings = {"receiver_limit": "google 5/1h"}
	policy = {"share_min": "0", "share_semi": "100%", "share_inactive": "100%"}
	streams = {
		"warm": {"warmup_start": TODAY, "warmup": "7, 7, 7"},
		**{"warm%d" % i: {"warmup_start": TODAY, "warmup": "7, 7, 7"} for i in range(ROUNDS)},
		"first": {"head_start": "1h"},
		"part": {"share_semi": "40%"},
		"limit": {},
		"receipts": {"transactional": "yes", "warmup_start": TODAY, "warmup": "1, 1"},
		"watch": {"enforce": "observe", "warmup_start": TODAY, "warmup": "1, 1"},
	}

	def at_once(self, stream):
		"""All are at the end of their message before any of them says so: how many went."""
		barrier = threading.Barrier(len(self.crowd))
		said = []

		def one(mta, who):
			outcome = mta.message(mail(extra=[("X-Rekindle-Stream", stream)]), rcpts=[who], upto="body")
			barrier.wait()
			said.append(mta.end_of_message(outcome, "Q")[0])

		threads = [threading.Thread(target=one, args=(mta, self.somebody())) for mta in self.crowd]
		for t in threads:
			t.start()
		for t in threads:
			t.join()
		self.assertEqual(len(self.crowd), len(said))
		return said.count("continue")

	def test_the_volume_of_a_day_is_exact(self):
		self.waits(r"too much mail for now; try again from \d{4}-\d\d-\d\dT00:00:00Z", self.reader(60), "warm")
		self.crowd = [self.dial() for _ in range(8)]
		self.assertEqual(7, self.at_once("warm"))
		self.waits("too much mail for now", self.reader(1), "warm")
		for i in range(ROUNDS):
			self.assertEqual(7, self.at_once("warm%d" % i))
		# Nor is it forgotten.
		self.rig.milter.kill()
		self.rig.start_milter()
		self.waits("too much mail for now", self.reader(1), "warm")

	def test_what_is_not_sent_takes_no_place(self):
		outcome = self.dial().message(mail(extra=[("X-Rekindle-Stream", "limit")]), rcpts=[self.somebody("gmail.com")], upto="body")
		del outcome
		for i in range(5):
			self.goes(self.somebody("gmail.com" if i % 2 else "googlemail.com"), "limit")
		self.waits(r"too much mail for now; try again from \d{4}-", self.somebody("gmail.com"), "limit")
		self.goes(self.somebody("yahoo.com"), "limit")
		self.goes(self.somebody("gmail.com"), "receipts")
		counted = {r["receiver"]: r["sent_24h"] for r in self.brakes()["receivers"]}
		self.assertEqual((6, 1), (counted["google"], counted["yahoo"]))

	def test_engaged_recipients_first(self):
		semi, engaged = self.reader(60), self.reader(1)
		self.waits("too much mail for now; try again from", semi, "first")
		self.goes(engaged, "first")
		self.waits("too much mail for now; try again from", self.somebody(), "first")

	def test_a_share_grows_with_the_others(self):
		self.waits(r"too much mail for now \(", self.reader(60), "part")
		for _ in range(20):
			self.send(self.reader(1), "part")
			if self.send(self.reader(60), "part").verdict == "continue":
				break
		else:
			self.fail("no semi-engaged recipient ever gets mail")

	def test_transactional_mail_goes_out_and_observing_stops_nothing(self):
		for _ in range(3):
			self.goes(self.somebody(), "receipts")
			self.goes(self.somebody(), "watch")
		self.said("would=defer .*cause=throttled")


if __name__ == "__main__":
	unittest.main()
