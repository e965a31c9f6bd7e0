"""test_robots.py -- machine or person, through a real tracker: what each hit is taken for, and what others make of it later.

	REKINDLE_BUILD=DIR python3 tests/integration/test_robots.py [-v] [Class.test]

Everything here happens within a second or two, where a day would pass between
a scanner and a person: so some hits come through the tracker, and those of
other days come in by `rekindle import`, beside them.
"""

import datetime
import email
import email.policy
import json
import os
import re
import signal
import time
import unittest

import test_tracker
from test_tracker import APPLE, PERSON, request

GMAIL_PREFETCH = ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
	"Chrome/42.0.2311.135 Safari/537.36 Edge/12.246 Mozilla/5.0")
GMAIL = "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)"

PAGE = """From: Shop <news@shop.example>
To: %s
Subject: spring
MIME-Version: 1.0
Content-Type: text/html; charset=utf-8

<html><body><p>%s</p></body></html>
"""

NOW = datetime.datetime.now(datetime.timezone.utc)


def day(ago, seconds=0):
	return (NOW - datetime.timedelta(days=ago, seconds=-seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


class Robots(test_tracker.Case):
	settings = {"threads": "1", "settle": "0"}

	def mail(self, to="ann@reader.example", links=4, campaign="spring"):
		"""The paths of the pixel and the links of a message to somebody, as the milter makes them."""
		page = " ".join('<a href="https://shop.example/%d">see</a>' % i for i in range(links))
		done = self.cli("tag", "--to", to, "--campaign", campaign, input=PAGE % (to, page))
		self.feed({"type": "sent", "address": to, "campaign": campaign, "links": links})  # so that it has a name
		html = email.message_from_string(done.stdout, policy=email.policy.default).get_content()
		return re.search(r"http://t\.example(/o/[\w-]+\.gif)", html)[1], re.findall(r"http://t\.example(/c/[\w-]+)", html)

	def why(self, to="ann@reader.example", code=0):
		return json.loads(self.cli("why", to, "--json", code=code).stdout)

	def campaign(self, name="spring"):
		return json.loads(self.cli("campaign", "show", name, "--machines", "--json").stdout)

	def hits(self, to="ann@reader.example"):
		"""The hits of one recipient, oldest first, as they count now: (type, verdict, evidence)."""
		return [(h["type"], h["verdict"], h["evidence"]) for h in reversed(self.why(to)["hits"])]

	def feed(self, *touches):
		self.cli("import", input="".join(json.dumps(t) + "\n" for t in touches))

	def reload(self, good=True):
		mark = self.log()
		self.process.send_signal(signal.SIGHUP)
		want = "settings: reloaded" if good else "not reloaded"
		self.wait(lambda: want in self.log()[len(mark):])
		return self.log()[len(mark):]

	# ---- one hit ----

	def test_each_hit_alone(self):
		self.configure(early="10m")  # however slow this machine is
		self.reload()
		pixel, link = self.mail(links=1)
		link = link[0]
		rows = [
			(pixel, dict(agent=APPLE), "privacy-open", "apple-privacy"),
			(link, dict(agent=APPLE), "human", "none"),
			(pixel, dict(agent=GMAIL_PREFETCH), "prefetch", "gmail-prefetch"),
			(pixel, dict(agent=GMAIL), "proxy-open", "image-proxy"),
			(pixel, dict(agent="YahooMailProxy; https://help.yahoo.com/"), "proxy-open", "image-proxy"),
			(pixel, dict(fields="Sec-Purpose: prefetch;prerender\r\n"), "prefetch", "prefetch"),
			(link, dict(fields="X-Purpose: preview\r\n"), "prefetch", "prefetch"),
			(link, dict(agent="Slackbot-LinkExpanding 1.0"), "preview", "agent"),
			(link, dict(agent="curl/8.1"), "scanner", "agent"),
			(pixel, dict(agent=PERSON), "human", "none"),
			# Suspect, and right after tagging.
			(link, dict(agent=GMAIL), "scanner", "early-suspect"),
		]
		for path, how, *_ in rows:
			self.assertIn(self.get(path, **how).status, (200, 302))
		self.assertEqual(self.ask(request(link, method="HEAD"), head=True).status, 302)
		self.assertEqual(self.ask(request(pixel, method="HEAD", agent=GMAIL), head=True).status, 200)
		wanted = [("opened" if path == pixel else "clicked", verdict, evidence) for path, _, verdict, evidence in rows]
		got = [(t["type"], t["verdict"], t.get("evidence", "none")) for t in self.touches() if t["type"] in ("opened", "clicked")]
		self.assertEqual(got, wanted)

	def test_a_suspect_long_after_tagging(self):
		self.feed({"type": "clicked", "address": "ann@reader.example", "campaign": "spring", "at": day(2), "sent": day(3), "link": 1,
			"verdict": "suspect", "evidence": "no-agent"})
		self.assertEqual(self.hits(), [("clicked", "suspect", "no-agent")])
		self.assertEqual(self.why()["class"], "new")

	# ---- several hits ----

	def test_a_burst_takes_back_the_first_click_and_a_person_comes_later(self):
		self.configure(burst_window="60s")
		self.reload()
		pixel, links = self.mail()
		self.get(pixel, agent=GMAIL)
		self.get(links[0])
		self.wait(lambda: self.why()["clicks"] == 1)
		self.assertEqual(self.why()["class"], "engaged")
		self.assertEqual(self.campaign()["human"]["clickers"], 1)
		for link in links[1:]:
			self.get(link)
		self.wait(lambda: self.why()["machine_clicks"] == 4)
		self.assertEqual(self.hits(), [("opened", "scanner", "burst")] + 4 * [("clicked", "scanner", "burst")])
		shown = self.campaign()
		self.assertEqual((shown["raw"]["clicks"], shown["human"]["clicks"]), (4, 0))
		self.assertEqual((shown["raw"]["clickers"], shown["human"]["clickers"]), (1, 0))
		self.assertEqual((shown["raw"]["openers"], shown["human"]["openers"]), (1, 0))
		self.assertEqual(shown["evidence"], {"opens": {"burst": 1}, "clicks": {"burst": 4}})
		self.assertEqual([l["clicks_human"] for l in shown["links"]], 4 * [0])
		why = self.why()
		self.assertEqual((why["class"], why["clicks"], why["opens"]), ("new", 0, 0))
		self.assertIsNone(why["last_click"])
		# The touches say what they said at first.
		self.assertEqual({t["verdict"] for t in self.touches("clicked")}, {"human"})
		text = self.cli("why", "ann@reader.example").stdout
		self.assertRegex(text, r"clicked link 1 +scanner +several links of one message at once; was counted as a person's before")
		text = self.cli("campaign", "show", "spring", "--machines").stdout
		self.assertRegex(text, r"burst +1 +100\.0 % +4 +100\.0 % +several links of one message at once")

		# A day later, somebody.  (A day earlier, for no import may be of tomorrow; the order does not matter.)
		self.feed({"type": "clicked", "address": "ann@reader.example", "campaign": "spring", "at": day(1), "link": 2})
		self.assertEqual(self.why()["class"], "engaged")
		shown = self.campaign()
		self.assertEqual((shown["raw"]["clicks"], shown["human"]["clicks"], shown["human"]["clickers"]), (5, 1, 1))

	def test_a_double_click_is_one(self):
		pixel, links = self.mail(links=1)
		for path in (pixel, links[0]):
			for _ in range(3):
				self.get(path)
		self.wait(lambda: self.campaign()["raw"]["clicks"] == 3)
		shown = self.campaign()
		self.assertEqual((shown["raw"]["opens"], shown["human"]["opens"], shown["human"]["clicks"]), (3, 1, 1))
		self.assertEqual(shown["evidence"]["clicks"], {"none": 1, "repeat": 2})
		self.assertEqual((self.why()["opens"], self.why()["clicks"], self.why()["machine_clicks"]), (1, 1, 0))

	def test_delivery(self):
		ann, of = "ann@reader.example", {"campaign": "spring"}
		self.feed({"type": "opened", "address": ann, "at": day(5, 1), "verdict": "proxy-open", "evidence": "image-proxy", **of},
			{"type": "clicked", "address": ann, "at": day(5, 9), "link": 1, **of},
			{"type": "clicked", "address": ann, "at": day(5, 10), "link": 2, **of})
		self.assertEqual(self.campaign()["human"]["clicks"], 2)
		# The log is read later.
		self.feed({"type": "delivered", "address": ann, "at": day(5), **of})
		self.assertEqual(self.hits(), [("opened", "scanner", "instant"), ("clicked", "suspect", "early"), ("clicked", "human", "none")])
		self.assertEqual(self.campaign()["human"]["clicks"], 1)
		self.assertEqual([(t["type"], t.get("gateway")) for t in self.touches("delivered")], [("delivered", None)])
		# Behind a gateway two links are a burst.
		bob = "bob@reader.example"
		self.feed({"type": "clicked", "address": bob, "at": day(4, 60), "link": 1, **of},
			{"type": "clicked", "address": bob, "at": day(4, 61), "link": 2, **of})
		self.assertEqual(self.hits(bob), 2 * [("clicked", "human", "none")])
		self.feed({"type": "delivered", "address": bob, "at": day(4), "gateway": True, **of})
		self.assertEqual(self.hits(bob), 2 * [("clicked", "scanner", "burst")])

	def test_mail_with_one_link_is_unverifiable(self):
		for i, links in enumerate((1, 1, 1, 5)):
			self.feed({"type": "sent", "address": "p%d@reader.example" % i, "campaign": "spring", "at": day(3), "links": links})
		shown = self.campaign()
		self.assertEqual((shown["linked"], shown["unverifiable"], shown["unverifiable_share"]), (4, 3, 0.75))
		self.assertRegex(self.cli("campaign", "show", "spring", "--machines").stdout, r"unverifiable +3 +75\.0 %")
		self.assertEqual([t["links"] for t in self.touches("sent")], [1, 1, 1, 5])

	# ---- the same facts again ----

	def test_summed_up_anew_it_says_the_same(self):
		pixel, links = self.mail()
		bob = self.mail("bob@reader.example", campaign="summer")
		for path in (pixel, links[0], links[0], bob[0], *links, *bob[1], pixel):
			self.get(path, agent=GMAIL if path in (pixel, bob[0]) else PERSON)
		self.feed({"type": "delivered", "address": "bob@reader.example", "campaign": "summer", "at": day(0, -1)})
		self.wait(lambda: self.campaign("summer")["raw"]["clicks"] == 4)

		def all_of_it():
			return [self.campaign(), self.campaign("summer"), self.why(), self.why("bob@reader.example")]

		before = all_of_it()
		self.stop()
		for name in ("state.mdb", "state.mdb-lock"):
			os.unlink(os.path.join(self.dir, "data", name))
		self.start()
		self.wait(lambda: self.cli("campaign", "show", "summer", code=None).returncode == 0)
		self.assertEqual(all_of_it(), before)

	# ---- settings and lists ----

	def test_lists_are_read_again(self):
		agents, networks = self.path("agents"), self.path("networks")

		def write(path, text):
			with open(path, "w") as f:
				f.write(text)

		def export():
			# With settings of their own: faulty lists keep the command line from starting as well.
			return [t for t in map(json.loads, self.cli("-c", self.path("plain"), "export").stdout.splitlines()) if t["type"] == "clicked"]

		def verdict():
			before = len(export())
			self.get(links[0], agent="OurCrawler/1.0")
			self.assertEqual(len(export()), before + 1)  # answered, so it is on disk
			return export()[-1]["verdict"], export()[-1].get("evidence")

		links = self.mail(links=1)[1]
		with open(self.path("conf")) as f:
			write(self.path("plain"), f.read())
		self.assertEqual(export(), [])

		self.assertEqual(verdict(), ("human", None))
		write(agents, "# ours\nscanner ourcrawler/\n")
		self.configure(agents_file=agents, early="10m")
		self.assertIn("good", self.cli("conf", "--check").stdout)
		self.reload()
		self.assertEqual(verdict(), ("scanner", "agent"))
		write(agents, "preview ourcrawler/\n")
		self.reload()
		self.assertEqual(verdict(), ("preview", "agent"))
		# A fault keeps what was.
		write(agents, "preview ourcrawler/\nrobot x\n")
		self.assertIn("%s:2: `robot' is no verdict; use scanner" % agents, self.reload(good=False))
		self.assertEqual(verdict(), ("preview", "agent"))
		told = self.cli("conf", "--check", code=3)
		self.assertIn("%s:2: `robot' is no verdict" % agents, told.stderr)
		write(agents, "")
		write(networks, "127.0.0.0/8 clicks certain here\n::1 clicks certain here\n")
		self.configure(networks_file=networks)
		self.reload()
		self.assertEqual(verdict(), ("scanner", "network"))
		write(networks, "127.0.0.0/8 all certain\n")
		self.assertIn("%s:1: the label is missing" % networks, self.cli("conf", "--check", code=3).stderr)
		write(networks, "127.0.0.0/8 clicks probable here\n")
		self.reload()
		self.assertEqual(verdict(), ("scanner", "early-suspect"))
		# Who is not there is told, too.
		os.unlink(networks)
		self.assertIn(networks + ": No such file", self.reload(good=False))

	def test_other_rules_judge_again(self):
		of = {"type": "clicked", "address": "ann@reader.example", "campaign": "spring"}
		self.feed({**of, "at": day(3), "link": 1}, {**of, "at": day(3, 2), "link": 2})
		self.assertEqual(self.hits(), 2 * [("clicked", "human", "none")])
		self.configure(burst_links=2)
		self.reload()
		self.wait(lambda: self.hits() == 2 * [("clicked", "scanner", "burst")])
		self.assertEqual(self.campaign()["human"]["clicks"], 0)
		self.assertEqual(self.why()["class"], "new")
		self.configure(burst_window="1s")
		self.reload()
		self.wait(lambda: self.hits() == 2 * [("clicked", "human", "none")])
		self.assertEqual(self.campaign()["human"]["clicks"], 2)
		self.assertEqual(self.why()["class"], "engaged")

	def test_heads_count_where_they_are_told_to(self):
		self.configure(head_counts="yes")
		self.reload()
		self.ask(request(self.mail(links=1)[1][0], method="HEAD"), head=True)
		self.assertEqual([(t["verdict"], t["evidence"]) for t in self.touches("clicked")], [("scanner", "head")])

	def test_the_hidden_link(self):
		self.configure(honeypot="on")
		self.reload()
		pixel, links = self.mail(links=2)
		self.assertEqual(len(links), 3)
		# The hidden one stands last, and leads to the first destination for who goes there all the same.
		answer = self.get(links[0])
		self.assertEqual(self.get(links[2]).fields["location"], answer.fields["location"])
		self.wait(lambda: len(self.why()["hits"]) == 2)
		self.assertEqual(self.hits(), 2 * [("clicked", "scanner", "honeypot")])
		# Nobody's clicks are told apart in mode anonymous, so there is none to hide.
		self.configure(links="anonymous")
		self.assertEqual(len(self.mail(links=2)[1]), 2)

	def test_a_click_settles_first(self):
		self.configure(settle="3s")
		self.reload()
		self.get(self.mail(links=1)[1][0])
		self.wait(lambda: self.why()["clicks"] == 1)
		why = self.why()
		if why["class"] == "new":  # on a slow machine it may have settled by now
			self.assertIn("does not count so far", why["explanation"])
		self.wait(lambda: self.why()["class"] == "engaged")
		self.assertGreaterEqual(time.time(), datetime.datetime.fromisoformat(self.why()["last_click"].replace("Z", "+00:00")).timestamp() + 3)


if __name__ == "__main__":
	unittest.main()
