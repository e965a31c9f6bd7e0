#!/usr/bin/env python3
"""demo.py -- Rekindle at work, told step by step; every step checks what it tells.  Started by demo.sh."""

import datetime
import html
import os
import re
import shutil
import signal
import sys
import textwrap
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "integration"))
import rig
import newsletter

BOLD, DIM, PLAIN = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("", "", "")
DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.timezone.utc)

ANN, BEN, CEM, DORA, EVA = ("%s@readers.example" % n for n in ("ann", "ben", "cem", "dora", "eva"))
FINN, GRETA, HUGO = "finn@readers.example", "greta@readers.example", "hugo@readers.example"
FIRST, NEXT, EXTRA = "winter-12", "winter-13", "winter-13b"
ASKING = "desk@again.harbourbooks.example"

STILL_THERE = """From: Harbour Books <%s>
To: %%s
Subject: Shall we go on writing to you?
X-Rekindle-Campaign: still-there
MIME-Version: 1.0
Content-Type: text/html; charset=utf-8

<html><body><p>You have not opened our letter for a long time.</p>
<p><a href="https://rekindle.invalid/keep/letter">Keep writing</a> or <a href="https://rekindle.invalid/stop/letter">stop</a></p>
</body></html>
""" % ASKING


# ---- telling ----

steps = 0


def step(title):
	global steps
	steps += 1
	print("\n%s%d. %s%s" % (BOLD, steps, title, PLAIN))


def say(text):
	print(textwrap.fill(" ".join(text.split()), 96, initial_indent="   ", subsequent_indent="   "), flush=True)


def show(text):
	print("\n".join("      " + DIM + line + PLAIN for line in text.rstrip("\n").splitlines()), flush=True)


def check(true, what):
	if not true:
		raise AssertionError("the demo is wrong: " + what)


def cut(text, n=110):
	return text if len(text) <= n else text[:n - 3] + "..."


def sealed(text):
	"""Tokens say when they were made; but for that, two taggings of a message are the same."""
	return re.sub(r"(/[cou]/|^)[A-Za-z0-9][\w-]{40,}", r"\1TOKEN", text)


def some_links(text, n=6):
	"""The table of links comes last in `campaign show`: its first n rows, and how many more there are."""
	lines = text.rstrip("\n").split("\n")
	end = next(i for i, line in enumerate(lines) if line.lstrip().startswith("link ")) + 1 + n
	left = len(lines) - end
	return "\n".join(lines[:end] + (["  ... and %d more" % left] if left > 0 else []))


def class_and_next(text):
	"""Of `why`: the address, the class, and what happens to the next message."""
	lines = text.split("\n")
	following = lines.index("The next message")
	return "\n".join(line for i, line in enumerate(lines)
		if i == 0 or line.startswith("  Class ") or following < i < lines.index("", following))


def first_name(address):
	return address.split("@")[0].capitalize()


class Demo:
	def __init__(self, r):
		self.r = r

	def command(self, *arguments, input=None, shorten=lambda text: text):
		"""One command as an administrator types it, with its answer."""
		told = self.r.cli(*arguments, input=input, root=True)
		print("      %s$ rekindle %s%s" % (BOLD, " ".join(arguments), PLAIN))
		show(shorten(told.out + told.err))
		return told

	def ask(self, *arguments):
		"""The same question for a program, to check what was just shown."""
		return self.r.cli(*arguments, "--json", root=True).json

	def send(self, to, issue, campaign):
		raw = newsletter.build(to, first_name(to), issue, [("X-Rekindle-Campaign", campaign)])
		return self.r.send(raw, [to], newsletter.SENDER)

	# ---- the steps, in order ----

	def settings(self):
		step("A mail server with Rekindle")
		say("""This is a Postfix of its own in a temporary directory, a milter and a tracker next to it, and a sink that
			plays the world's mailboxes. Postfix needs one line, smtpd_milters. These are all of Rekindle's settings:""")
		with open(self.r.conf_file) as f:
			show(f.read())
		told = self.command("conf", "--check")
		check(told.code == 0, "the settings are not accepted")

	def first_issue(self):
		step("The bookshop sends letter no. 12")
		say("""Five subscribers, one message each: multipart/alternative, quoted-printable, twenty different links, pictures,
			markup for Outlook. The shop adds one header that names the campaign, X-Rekindle-Campaign: %s.""" % FIRST)
		for to in (ANN, BEN, CEM, DORA, EVA):
			reply = self.send(to, 12, FIRST)
			check(reply.ok, "Postfix said %s" % reply)
		show("Postfix: %s" % reply)
		self.mails = {m.rcpts[0]: m for m in self.r.sink.take(5)}
		show("milter:  %s" % [line for line in self.r.milter.log.splitlines() if "tagged" in line][-1])

	def what_changed(self):
		step("What changed on the way")
		mail = self.mails[ANN]
		page = mail.text()
		hrefs = newsletter.hrefs("Ann", 12)
		check(rig.untagged(page, hrefs) == newsletter.page("Ann", 12), "the markup is not the same but for links and pixel")
		check(mail.text("text/plain").replace("\r\n", "\n") == newsletter.TEXT.format(name="Ann", issue=12), "the text part changed")
		check(not mail.header("X-Rekindle-Campaign"), "our control header left the house")
		tracked = list(dict.fromkeys(rig.tracked(page)))
		check(len(tracked) == 20, "%d different tracked links" % len(tracked))
		button = re.search(r'<v:roundrect href="([^"]*)"', page)[1]
		check(button in tracked and page.count(button) == 2, "Outlook's button and everybody else's are not the same link")
		check("mailto:desk@harbourbooks.example" in page, "the mailto link changed")
		before = html.unescape(hrefs[0])
		say("""Twenty links and one pixel; with those put back, every byte of text and markup is what the shop wrote. One link,
			before and after (%d and %d characters; the destination travels inside, sealed):""" % (len(before), len(tracked[0])))
		show(before)
		show(tracked[0])
		self.command("token", tracked[0])
		say("`rekindle tag` shows what the milter would do to a message, without Postfix; here is the same letter:")
		raw = newsletter.build(ANN, "Ann", 12, [("X-Rekindle-Campaign", FIRST)])
		arguments = ("tag", "--from", newsletter.SENDER, "--to", ANN)
		show(self.r.cli(*arguments, "--diff", input=raw, root=True).out[:1500].rsplit("\n", 1)[0] + "\n...")
		tagged = rig.Mail("", [], self.r.cli(*arguments, input=raw, root=True).out.encode(), "", [])
		for name in ("List-Unsubscribe", "List-Unsubscribe-Post", "X-Rekindle-Id", "Content-Type", "Subject"):
			check(sealed(tagged.header(name)) == sealed(mail.header(name)), "tag and milter disagree on " + name)
		check(sealed(tagged.text()) == sealed(page), "tag and milter disagree on the page")
		check(tagged.decoded("text/plain") == mail.decoded("text/plain"), "tag and milter disagree on the text")
		say("Mailbox providers want one-click unsubscribing (RFC 8058). The shop had none; now there is:")
		show("List-Unsubscribe: " + cut(mail.header("List-Unsubscribe"), 90))
		show("List-Unsubscribe-Post: " + mail.header("List-Unsubscribe-Post"))
		check(mail.header("List-Unsubscribe-Post") == "List-Unsubscribe=One-Click", "List-Unsubscribe-Post is wrong")

	def reactions(self):
		step("They react")
		r = self.r
		page = self.mails[ANN].text()
		answer = r.get(rig.pixel(page))
		check(answer.status == 200 and answer.body.startswith(b"GIF8"), "the pixel is %s" % answer)
		targets = newsletter.destinations("Ann", 12)
		for n in (2, 11):
			if n == 11:
				time.sleep(3.1)  # two links of a letter that is not ten seconds old, within three: only a machine is that fast
			answer = r.get(rig.tracked(page)[n])
			check(answer.status == 302 and answer.location == targets[n], "the link leads to %s" % answer)
		say("Ann opens the letter and follows two links. Her browser is sent to exactly what the shop had written:")
		show("%d %s" % (answer.status, answer.location))

		say("""Ben has an iPhone. Apple fetches the pixel of every letter as it arrives, whether anybody reads it or not:
			recorded, but no sign of Ben.""")
		check(r.get(rig.pixel(self.mails[BEN].text()), agent=rig.APPLE).status == 200, "no pixel for Apple")

		say("Cem reads in Gmail. Google fetches the picture on his behalf, at the moment when he looks: that is Cem.")
		check(r.get(rig.pixel(self.mails[CEM].text()), agent=rig.GMAIL).status == 200, "no pixel for Gmail")

		say("""Dora's company has a security gateway. It asks for every link within a second, before she has even seen the
			letter. Each is answered as for anybody, and none of it counts as Dora.""")
		targets = newsletter.destinations("Dora", 12)
		for n, url in enumerate(rig.tracked(self.mails[DORA].text())):
			for method in ("HEAD", "GET"):
				answer = r.get(url, agent=rig.SCANNER, method=method)
				check(answer.status == 302 and answer.location == targets[n], "the scanner is led to %s" % answer)

		say("Eva's mail program has a button for unsubscribing. It sends one POST, without cookie, login or a page to read:")
		url = self.mails[EVA].header("List-Unsubscribe").strip("<>")
		check(r.get(url).status == 200, "the unsubscribe page is missing")
		check(self.ask("why", EVA, "--stream", "letter")["next"][0]["action"] == "send", "looking at the page unsubscribed Eva")
		answer = r.get(url, method="POST", body=b"List-Unsubscribe=One-Click",
			headers={"Content-Type": "application/x-www-form-urlencoded"})
		show("POST %s -> %d" % (cut(url, 60), answer.status))
		check(answer.status == 200, "one-click unsubscribing answers %s" % answer)

	def history(self):
		step("The years before Rekindle")
		say("""Finn, Greta and Hugo come from the shop's old system, which kept a log. `rekindle import` reads it as JSON lines,
			each with its own date. Finn last clicked 60 days ago; Greta and Hugo have not moved for most of a year, over
			dozens of letters. Hugo's last one was 50 days ago.""")
		lines = []

		def touch(kind, address, ago, **more):
			when = (NOW - ago * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")
			fields = dict({"type": kind, "address": address, "at": when, "stream": "letter"}, **more)
			lines.append("{%s}" % ", ".join('"%s": %s' % (k, v if isinstance(v, (int, bool)) else '"%s"' % v)
				for k, v in fields.items()).replace("True", "true"))

		for ago in range(300, 0, -10):
			for address in (FINN, GRETA, HUGO) if ago >= 50 else (FINN, GRETA):
				touch("sent", address, ago, tracked=True)
			if ago >= 60:
				touch("clicked", FINN, ago)
			if ago == 300:
				touch("opened", GRETA, ago)
				touch("opened", HUGO, ago)
		show("\n".join(lines[:3]) + "\n...")
		told = self.command("import", input="\n".join(lines) + "\n")
		check(told.code == 0, "the import failed")

	def classes(self):
		step("Who still reads?")
		say("""A class is computed from what is known of a recipient, and is right at every moment; nobody has to run a nightly
			job. Machines never move anybody up: Ben and Dora are as new as they were.""")
		self.command("segment")
		for address, expected in ((ANN, "engaged"), (BEN, "new"), (CEM, "engaged"), (DORA, "new"), (FINN, "semi-engaged"),
				(GRETA, "inactive"), (HUGO, "inactive")):
			got = self.ask("why", address)["class"]
			check(got == expected, "%s is %s, not %s" % (address, got, expected))

	def next_issue(self):
		step("The shop sends letter no. 13 to seven of them")
		say("""enforce = on: for whom the letter should not go, Postfix says so before it has even seen it, and says why. (A new
			installation starts with `observe`, which only tells what it would do.)""")
		stopped = {}
		for to in (ANN, BEN, CEM, DORA, EVA, FINN, GRETA):
			reply = self.send(to, 13, NEXT)
			show("RCPT TO:<%s>  %s" % (to, reply.rcpt[to]))
			if not reply.ok:
				stopped[to] = reply
		check(set(stopped) == {EVA, GRETA}, "stopped were %s" % sorted(stopped))
		for to, reply in stopped.items():
			check(str(reply).startswith("550 5.7.1 "), "%s got %s" % (to, reply))
		check("unsubscribed" in str(stopped[EVA]), "Eva's reason is %s" % stopped[EVA])
		check("engagement" in str(stopped[GRETA]) or "inactive" in str(stopped[GRETA]), "Greta's reason is %s" % stopped[GRETA])
		got = sorted(m.rcpts[0] for m in self.r.sink.take(5))
		check(got == sorted([ANN, BEN, CEM, DORA, FINN]), "letter 13 went to %s" % got)
		say("Five went out. Greta and Eva were spared, and so was the sender's reputation with their mailbox providers.")

	def too_much(self):
		step("And an extra one on the same day")
		say("""How often anybody gets mail is a setting for each class: cap_engaged = 2/16h is at most two in any sixteen hours.
			Ann has had hers; Ben is new, and may get three a week.""")
		self.command("why", ANN, "--stream", "letter", shorten=class_and_next)
		replies = {to: self.send(to, 14, EXTRA) for to in (ANN, BEN)}
		for to, reply in replies.items():
			show("RCPT TO:<%s>  %s" % (to, reply.rcpt[to]))
		check(re.match(r"550 5\.7\.1 .*enough messages for now; the next one may come \d{4}-\d\d-\d\dT", str(replies[ANN])),
			"Ann got %s" % replies[ANN])
		check(replies[BEN].ok, "Ben got %s" % replies[BEN])
		self.r.sink.take(1)

	def series(self):
		step("Is anybody there?")
		say("""Who is inactive gets no letters. After a rest of 30 days they are asked, up to three times, whether mail should go
			on; after that it stops, and nobody is deleted. Nothing of it is stored: it follows from what was sent and when.""")
		self.command("series")
		self.command("series", "export")
		due = [p["address"] for p in self.r.cli("series", "export", "--format", "json", root=True).json_lines]
		check(due == [HUGO], "the message is due for %s" % due)
		say("""The shop's mail program takes that list. Here it writes to Greta too, whose turn it is not:""")
		for to in (GRETA, HUGO):
			reply = self.r.send(STILL_THERE % to, [to], ASKING)
			show("RCPT TO:<%s>  %s" % (to, reply.rcpt[to]))
			check(reply.ok == (to == HUGO), "%s got %s" % (to, reply))
		mail = self.r.sink.take(1)[0]
		keep = rig.links(mail.text())[0]
		say("""In the message, https://rekindle.invalid/keep has become a page of Hugo's own. To open it changes nothing, so scanners
			may. He presses "Keep me":""")
		check(self.r.get(keep, agent=rig.SCANNER).status == 200, "there is no page for Hugo")
		check(self.ask("why", HUGO)["class"] == "inactive", "a scanner brought Hugo back")
		answer = self.r.get(keep, method="POST", body=b"choice=keep", headers={"Content-Type": "application/x-www-form-urlencoded"})
		show("POST %s -> %d" % (cut(keep, 60), answer.status))
		check(answer.status == 200, "the button answers %s" % answer)
		self.command("why", HUGO, "--stream", "letter", shorten=class_and_next)
		reply = self.send(HUGO, 13, NEXT)
		show("RCPT TO:<%s>  %s" % (HUGO, reply.rcpt[HUGO]))
		check(reply.ok, "Hugo's letter: %s" % reply)
		self.r.sink.take(1)
		self.command("series", "results")
		got = self.ask("series", "results")["series"]
		check((got["people"], got["pressed"]) == (1, 1), "the results are %s" % got)

	def reports(self):
		step("What it all says")
		self.command("campaign")
		if any(c["name"] not in (FIRST, NEXT, EXTRA, "still-there") for c in self.ask("campaign")):
			say("""The row with today's date is for those who were refused at RCPT: the header that names the campaign had not
				come yet, so they are counted as stopped in the stream's own campaign of the day.""")
		self.command("campaign", "show", FIRST, shorten=some_links)
		c = self.ask("campaign", "show", FIRST)
		got = (c["sent"], c["human"]["openers"], c["human"]["clickers"], c["human"]["clicks"], c["raw"]["clickers"], c["unsubscribed"])
		check(got == (5, 2, 1, 2, 2, 1), "the campaign's figures are %s" % (got,))
		say("Raw counts machines too, as other systems do: one gateway made more clicks than everybody else together.")
		say("Why did Greta get no letter?")
		for address in (GRETA, ANN, BEN, FINN, EVA):
			if address == ANN:
				say("And the others, without the evidence:")
			told = self.command("why", address, shorten=str if address == GRETA else class_and_next)
			check(told.code == 0, "why %s: %d" % (address, told.code))

	def keep(self):
		step("All of it still runs")
		r = self.r
		rekindle = "%s -c %s" % (os.path.join(r.dir, "bin", "rekindle"), r.conf_file)
		say("Look around, from another terminal, as root:")
		show("\n".join([
			"%s why %s" % (rekindle, ANN),
			"%s segment export engaged" % rekindle,
			"%s export | tail" % rekindle,
			"swaks --server 127.0.0.1:%d --from %s --to you@example.com --header 'X-Rekindle-Campaign: mine'" % (r.port(), newsletter.SENDER),
			"curl -i http://127.0.0.1:%d/healthz" % r.http_port,
			"tail -f %s/log/*" % r.dir,
		]))
		say("Ctrl-C here ends it and removes %s." % r.dir)
		try:
			signal.pause()
		except KeyboardInterrupt:
			print()

	def run(self, keep):
		self.settings()
		self.r.start()
		self.first_issue()
		self.what_changed()
		self.reactions()
		self.history()
		self.classes()
		self.next_issue()
		self.too_much()
		self.series()
		self.reports()
		if keep:
			self.keep()


def main():
	keep = "--keep" in sys.argv[1:]
	with rig.Rig(
		settings={"enforce": "on", "answer_within": None, "record_within": None},
		streams={"letter": {"match_sender_domain": "harbourbooks.example"},
			"again": {"match_sender_domain": "again.harbourbooks.example", "series_stream": "yes"}},
		# The story has no room for chance: nobody is in the control group.
		policy={"cap_engaged": "2/16h", "cap_new": "3/7d", "cap_semi": None, "holdout": 0},
	) as r:
		locks = os.path.join(r.dir, "locks")
		os.mkdir(locks)
		shutil.chown(locks, rig.OWNER, rig.OWNER)
		r.write_conf(lock_dir=locks)
		r.make_keys()
		Demo(r).run(keep)
	print("\n%sThat was Rekindle.%s Everything was as told. Its mail server and all its mail are gone from this machine;" % (
		BOLD, PLAIN))
	print("the build tree stays, and so do packages that were installed for it.")


if __name__ == "__main__":
	main()
