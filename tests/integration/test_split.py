"""test_split.py -- one message for many through the recipe in conf/postfix-split.*.cf: everybody gets one, and one of their own."""

import os
import re

import milterclient
import rig
import newsletter  # rig knows where it is
from test_postfix import arrived, judged, letter, stopped, without_trace

SENDER = newsletter.SENDER

_rig = None


def shared():
	"""One mail server for all tests; the last of them ends it."""
	global _rig
	if _rig is None:
		_rig = rig.Rig(split=True, settings={"enforce": "on", "log_level": "debug"}, sasl=True,
			streams={"news": {"match_login": "marketing", "campaign": "letter"},
				"domain": {"match_sender_domain": "letters.example", "campaign": "domain"}},
			policy={"on_bounced": "defer", "on_complained": "hold"},
			main={"smtpd_authorized_verp_clients": "127.0.0.0/8"},
			listeners={"early": "-o smtpd_delay_open_until_valid_rcpt=no"}).__enter__()
		_rig.start()
	return _rig


def idle(r):
	"""All of it has been delivered; what came twice is there twice."""
	rig.wait_until(lambda: not r.postfix.queue(), 60, "an empty queue")


def everything(r, rcpts):
	"""The messages for these recipients, by recipient: exactly one for each, and nothing of ours in the header."""
	idle(r)
	out = {}
	for rcpt in rcpts:
		mails = r.sink.of(rcpt)
		assert len(mails) == 1, "%s got %d messages" % (rcpt, len(mails))
		assert mails[0].rcpts == [rcpt], mails[0].rcpts
		assert not re.search(rb"(?im)^x-rekindle", mails[0].head), mails[0].head
		out[rcpt] = mails[0]
	return out


def token(r, url):
	told = r.cli("token", "--json", url)
	assert told.code == 0, told
	return told.json


def urls_of(mail):
	"""Pixel, links, unsubscribe."""
	return [rig.pixel(mail.text()), *rig.tracked(mail.text()), re.search(r"<(https?://[^>]*/u/[^>]*)>", mail.header("List-Unsubscribe"))[1]]


def own(r, rcpt, mail):
	"""A token of each kind is the recipient's own; all URLs of ours."""
	urls = urls_of(mail)
	for url in (urls[0], urls[1], urls[-1]):
		assert token(r, url)["address"] == rcpt, (rcpt, token(r, url))
	return urls


def campaign(r, name):
	told = r.cli("campaign", "show", name, "--json")
	return told.json if told.code == 0 else {"sent": 0, "skipped": 0}


def milter(r, daemon, **connect):
	"""A session with the milter alone, as from this listener."""
	mta = milterclient.Milter("unix:" + r.milter_socket)
	mta.negotiate()
	mta.connect(daemon=daemon, **connect)
	return mta


def marked(r, raw, **message):
	"""The message as it leaves the front, and the edits that made it so."""
	with milter(r, "rekindle-front") as mta:
		outcome = mta.message(raw, **message)
	assert outcome.verdict == "continue", outcome.reply
	return outcome.apply(raw), outcome


# ---- the recipe ----

def test_the_manual_has_the_recipe_to_the_letter():
	with open(os.path.join(rig.TOP, "man", "rekindle-milter.8")) as f:
		manual = f.read().replace("\\e", "\\")
	for name in ("main.cf", "master.cf"):
		with open(os.path.join(rig.TOP, "conf", "postfix-split." + name)) as f:
			lines = "".join(line for line in f if line.strip() and not line.startswith("#"))
		assert "\n.Bd -literal -offset indent\n%s.Ed\n" % lines in manual, name


# ---- each their own ----

def test_one_two_and_fifty_recipients_get_one_each_and_one_of_their_own():
	r = shared()
	total = 0
	for n in (1, 2, 50):
		rcpts = ["r%d-%d@readers.example" % (n, i) for i in range(n)]
		raw = letter("all@readers.example", headers=[])
		reply = r.send(raw, rcpts, SENDER, listener="front", login="marketing")
		assert reply.code == 250, reply
		seen = set()
		for rcpt, mail in everything(r, rcpts).items():
			assert mail.sender == SENDER
			urls = urls_of(mail)
			assert token(r, urls[0])["address"] == rcpt
			assert not seen & set(urls), "somebody else's link"
			seen |= set(urls)
		own(r, rcpt, mail)
		links, pixels = judged(r, raw, mail.raw)
		assert len(links) == len(newsletter.hrefs("All", "7")) and len(pixels) == 1
		total += n
		assert campaign(r, "letter")["sent"] == total, campaign(r, "letter")
	# The last of fifty clicks, and it is known who that was.
	mail = r.sink.of(rcpts[-1])[0]
	answer = r.get(rig.tracked(mail.text())[0])
	assert (answer.status, answer.location) == (302, newsletter.destinations("All", "7")[0]), answer
	rig.wait_until(lambda: r.cli("why", rcpts[-1], "--json").json["clicks"] == 1, 15, "the click to be known")
	assert r.cli("why", rcpts[0], "--json").json["class"] == "new"


def test_the_front_changes_nothing_but_its_marker():
	r = shared()
	raw = letter("all@readers.example")
	out, outcome = marked(r, raw, rcpts=["m1@readers.example", "m2@readers.example"])
	assert outcome.kinds() == ["add"], outcome.edits
	marker, = outcome.added("X-Rekindle-Split")
	said = token(r, marker)
	assert (said["kind"], said["stream"], said["campaign"]) == ("split marker", "default", "winter"), said
	assert campaign(r, "winter")["sent"] == 0, "it is sent when it is tagged"


def test_nobody_gets_it_twice():
	r = shared()
	rcpts = ["twin@readers.example", "other@readers.example", "twin@readers.example", "other@READERS.example"]
	assert r.send(letter("twin@readers.example"), rcpts, SENDER, listener="front").code == 250
	for rcpt, mail in everything(r, rcpts[:2]).items():
		own(r, rcpt, mail)
	assert not r.sink.of("other@READERS.example")


# ---- who gets none ----

def test_one_of_fifty_is_refused_while_the_sender_can_be_told():
	r = shared()
	stopped(r, "no@readers.example", "held")
	rcpts = ["s%d@readers.example" % i for i in range(49)]
	before = campaign(r, "letter")
	reply = r.send(letter("all@readers.example", headers=[]), [*rcpts[:25], "no@readers.example", *rcpts[25:]], SENDER,
		listener="front", login="marketing")
	assert re.match(r"550 5\.7\.1 .*held back by hand", str(reply.rcpt["no@readers.example"])), reply.rcpt
	assert reply.code == 250 and sum(not one.ok for one in reply.rcpt.values()) == 1, reply.rcpt
	everything(r, rcpts)
	assert not r.sink.of("no@readers.example")
	now = campaign(r, "letter")
	assert (now["sent"], now["skipped"]) == (before["sent"] + 49, before["skipped"] + 1), (before, now)


def test_when_only_the_header_tells_it_is_refused_alone_and_deleted_among_others():
	r = shared()
	stopped(r, "not@readers.example", "held")
	raw = letter("all@readers.example")
	reply = r.send(raw, ["not@readers.example"], SENDER, listener="front")
	assert reply.rcpt["not@readers.example"].ok and re.match(r"550 5\.7\.1 .*held back by hand", str(reply)), reply
	assert r.send(raw, ["yes@readers.example", "not@readers.example"], SENDER, listener="front").code == 250
	mail = everything(r, ["yes@readers.example"])["yes@readers.example"]
	own(r, "yes@readers.example", mail)
	assert not r.sink.of("not@readers.example")


def test_who_leaves_between_front_and_back_gets_nothing_and_causes_no_bounce():
	r = shared()
	sender = "x@letters.example"  # which would select by itself, and refuse at RCPT
	raw, _ = marked(r, letter("late@readers.example", headers=[]), sender=sender, rcpts=["late@readers.example"])
	stopped(r, "late@readers.example", "held")
	reply = r.send(raw, ["late@readers.example"], sender, listener="back")
	assert reply.code == 250 and reply.rcpt["late@readers.example"].ok, reply
	rig.wait_until(lambda: re.search(r"discarded wanted=reject cause=held .*campaign=domain", r.milter.log), 15, "the log line")
	idle(r)
	assert not r.sink.of("late@readers.example") and not r.sink.of(sender)


def test_among_others_too_each_is_held_or_deferred_alone():
	r = shared()
	stopped(r, "hold@readers.example", "complained")
	stopped(r, "defer@readers.example", "bounced")
	raw = letter("all@readers.example", headers=[("X-Rekindle-Campaign", "waiting")])
	reply = r.send(raw, ["h1@readers.example", "hold@readers.example", "defer@readers.example", "h2@readers.example"], SENDER, listener="front")
	assert reply.code == 250, reply

	def queued(name, rcpt):
		return [m for m in r.postfix.queue() if m["queue_name"] == name and [one["address"] for one in m["recipients"]] == [rcpt]]
	held, = rig.wait_until(lambda: queued("hold", "hold@readers.example"), 30, "the one to be held alone")
	deferred, = rig.wait_until(lambda: queued("deferred", "defer@readers.example"), 30, "the other to be deferred alone")
	assert re.search(r"451 4\.7\.1 .*bounced", deferred["recipients"][0]["delay_reason"]), deferred
	r.postfix.command("postsuper", "-d", deferred["queue_id"])
	r.postfix.command("postsuper", "-H", held["queue_id"])
	r.postfix.command("postqueue", "-i", held["queue_id"])
	mails = everything(r, ["h1@readers.example", "hold@readers.example", "h2@readers.example"])
	for rcpt, mail in mails.items():
		own(r, rcpt, mail)
	assert not r.sink.of("defer@readers.example")
	# Alone, the sender is told.
	assert re.match(r"451 4\.7\.1 ", str(r.send(raw, ["defer@readers.example"], SENDER, listener="front")))


# ---- the envelope ----

def test_dsn_parameters_stay():
	r = shared()
	with r.smtp("front") as session:
		assert session.command("MAIL FROM:<%s> RET=HDRS ENVID=a+2Bb" % SENDER).ok
		assert session.command("RCPT TO:<d1@readers.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Orig+2Bx@old.example").ok
		assert session.command("RCPT TO:<d2@readers.example> NOTIFY=NEVER").ok
		assert session.command("RCPT TO:<d3@readers.example>").ok
		assert session.command("DATA").ok
		assert session.data(letter("all@readers.example")).code == 250
	mails = everything(r, ["d1@readers.example", "d2@readers.example", "d3@readers.example"])
	for rcpt, mail in mails.items():
		own(r, rcpt, mail)
		assert "RET=HDRS" in mail.mail_args and "ENVID=a+2Bb" in mail.mail_args, mail.mail_args
	args = {rcpt: sorted(mail.rcpt_args[0].split()) for rcpt, mail in mails.items()}
	assert args["d1@readers.example"] == ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;Orig+2Bx@old.example"], args
	assert args["d2@readers.example"] == ["NOTIFY=NEVER", "ORCPT=rfc822;d2@readers.example"], args
	assert args["d3@readers.example"] == ["ORCPT=rfc822;d3@readers.example"], args
	# Nobody is told of a delivery that was only one between two ports of ours.
	assert not r.sink.of(SENDER)


def test_verp_and_the_null_sender_stay():
	r = shared()
	raw = letter("all@readers.example")
	reply = r.send(raw, ["v1@readers.example", "v2@readers.example"], "owner@lists.example", listener="front", options="XVERP=+=")
	assert reply.code == 250, reply
	for i in (1, 2):
		rcpt = "v%d@readers.example" % i
		mail = everything(r, [rcpt])[rcpt]
		assert mail.sender == "owner+v%d=readers.example@lists.example" % i, mail.sender
		own(r, rcpt, mail)
	for sender, rcpt in (("bounce-4711+plain=readers.example@lists.example", "plain@readers.example"), ("", "null@readers.example")):
		assert r.send(raw, [rcpt, "and-" + rcpt], sender, listener="front").code == 250
		for mail in everything(r, [rcpt, "and-" + rcpt]).values():
			assert mail.sender == sender, mail.sender


def test_eight_bits_and_addresses_that_are_not_ascii():
	r = shared()
	page = "<html><body>é <a href='https://example.org/é'>x</a></body></html>\n"
	raw = ("From: a@example.org\nTo: b@example.org\nSubject: grüße\nDate: Thu, 08 Jan 2026 08:00:00 +0100\n"
		"Message-ID: <eight@example.org>\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nX-Rekindle-Campaign: grün\n\n"
		"--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nein Käse\n"
		"--b\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n" + page + "--b--\n").encode()
	rcpts = ["käse@readers.example", "brot@readers.example"]
	assert r.send(raw, rcpts, SENDER, listener="front", options="BODY=8BITMIME SMTPUTF8").code == 250
	for mail in everything(r, rcpts).values():
		assert "BODY=8BITMIME" in mail.mail_args and "SMTPUTF8" in mail.mail_args, mail.mail_args
		assert "ein Käse".encode() in mail.raw and "Subject: grüße".encode() in mail.head
		links, pixels = judged(r, raw, mail.raw)
		assert len(links) == len(pixels) == 1
	said = [token(r, rig.pixel(r.sink.of(rcpt)[0].text())) for rcpt in rcpts]
	assert [one["address"] for one in said] == rcpts and {one["campaign"] for one in said} == {"grün"}, said


# ---- markers that are not what they seem ----

def test_a_marker_that_a_client_wrote_selects_nothing():
	r = shared()
	out, _ = marked(r, letter("x@readers.example", headers=[]), login="marketing")
	stolen = re.search(rb"(?m)^X-Rekindle-Split: (\S+)", out)[1].decode()
	plain = letter("x@readers.example", headers=[])
	for name, value in (("garbage", "garbage"), ("stolen", stolen)):
		for listener in ("front", "smtp"):
			rcpt = "%s-%s@readers.example" % (name, listener)
			raw = letter("x@readers.example", headers=[("X-Rekindle-Split", value), ("X-Rekindle-Split", "another")])
			assert r.send(raw, [rcpt], SENDER, listener=listener).code == 250
			assert without_trace(everything(r, [rcpt])[rcpt].raw) == plain, rcpt
			# The milter does this, and not only Postfix on the way out.
			with milter(r, "rekindle-front" if listener == "front" else "smtpd") as mta:
				outcome = mta.message(raw)
			assert [(e[0], e[1]) for e in outcome.edits] == [("change", 2), ("change", 1)], outcome.edits
	# In campaign mail it does not lead to another stream.
	raw = letter("x@readers.example", headers=[("X-Rekindle-Split", stolen), ("X-Rekindle-Campaign", "mine")])
	out, outcome = marked(r, raw)
	assert [e[0] for e in outcome.edits] == ["change", "add"], outcome.edits
	assert token(r, outcome.added("X-Rekindle-Split")[0])["stream"] == "default"
	assert r.send(raw, ["mine@readers.example", "mine2@readers.example"], SENDER, listener="front").code == 250
	for rcpt, mail in everything(r, ["mine@readers.example", "mine2@readers.example"]).items():
		assert token(r, own(r, rcpt, mail)[0])["stream"] == "default"


def test_at_the_back_only_a_marker_selects():
	r = shared()
	plain = letter("x@readers.example", headers=[])
	for rcpt, headers in (("bare", []), ("campaign", [("X-Rekindle-Campaign", "x")]), ("bad", [("X-Rekindle-Split", "A" * 90)])):
		rcpt += "@back.example"
		raw = letter("x@readers.example", headers=headers)
		assert r.send(raw, [rcpt], SENDER, listener="back").code == 250
		assert without_trace(everything(r, [rcpt])[rcpt].raw) == plain, rcpt
	assert "split marker is not ours" in r.milter.log


def test_what_comes_to_the_back_twice_is_tagged_once_each_time_and_never_twice():
	r = shared()
	raw = letter("loop@readers.example")
	once, _ = marked(r, raw, rcpts=["loop@readers.example"])
	for i in (1, 2):
		rcpt = "loop%d@readers.example" % i
		assert r.send(once, [rcpt], SENDER, listener="back").code == 250
		mail = everything(r, [rcpt])[rcpt]
		own(r, rcpt, mail)
		judged(r, raw, mail.raw)
	# Tagged, and around again, with and without a marker.
	with milter(r, "rekindle-back") as mta:
		outcome = mta.message(once, rcpts=["loop@readers.example"])
		tagged = outcome.apply(once)
		assert outcome.added("X-Rekindle-Id") and b"X-Rekindle-Split" not in tagged, outcome.edits
	with milter(r, "rekindle-back") as mta:
		assert mta.message(tagged).edits == []
	again, outcome = marked(r, tagged, login="marketing")
	assert outcome.kinds() == ["add"]
	sent = campaign(r, "letter")["sent"]
	with milter(r, "rekindle-back") as mta:
		outcome = mta.message(again)
		assert outcome.apply(again) == tagged, outcome.edits
	assert campaign(r, "letter")["sent"] == sent
	assert r.send(again, ["loop3@readers.example"], SENDER, listener="back").code == 250
	rig.pixel(everything(r, ["loop3@readers.example"])["loop3@readers.example"].text())


def test_a_split_that_does_not_split_names_nobody():
	r = shared()
	raw = letter("all@readers.example", headers=[("X-Rekindle-Campaign", "unsplit")])
	once, _ = marked(r, raw, rcpts=["u1@readers.example", "u2@readers.example"])
	assert r.send(once, ["u1@readers.example", "u2@readers.example"], SENDER, listener="back").code == 250
	mail = arrived(r, "u1@readers.example")
	assert "address" not in token(r, rig.pixel(mail.text()))
	assert "_destination_recipient_limit = 1" in r.milter.log
	idle(r)


# ---- other ways in ----

def test_sendmail_is_split_too():
	r = shared()
	stopped(r, "gone@readers.example", "held")
	raw = letter("all@readers.example", headers=[("X-Rekindle-Campaign", "local")])
	r.sendmail(raw, ["l1@readers.example", "gone@readers.example", "l2@readers.example"], SENDER)
	arrived(r, "l1@readers.example"), arrived(r, "l2@readers.example")
	for rcpt, mail in everything(r, ["l1@readers.example", "l2@readers.example"]).items():
		own(r, rcpt, mail)
	assert not r.sink.of("gone@readers.example")
	r.sendmail(raw, ["gone@readers.example"], SENDER)
	rig.wait_until(lambda: len(re.findall(r"wanted=reject cause=held .*campaign=local", r.milter.log)) == 2, 15, "the discarded one")
	rig.wait_until(lambda: not os.listdir(os.path.join(r.postfix.spool, "maildrop")), 15, "an empty maildrop")
	now = campaign(r, "local")
	assert (now["sent"], now["skipped"]) == (2, 2), now


def test_a_queue_file_that_is_opened_early_does_not_look_like_sendmail():
	r = shared()
	stopped(r, "early@readers.example", "held")
	raw = letter("early@readers.example", headers=[])
	with r.smtp("early", "marketing") as session:
		for _ in range(2):  # the second message of a session too
			reply = session.send(raw, SENDER, ["early@readers.example", "early2@readers.example"])
			assert reply.rcpt["early@readers.example"].code == 550, reply.rcpt
			assert reply.code == 250, reply
	idle(r)
	# An MTA whose messages have their queue id from the start, and one that does not say its port.
	for port, refused in (("25", True), ("0", False), (None, False)):
		with milter(r, "smtpd", port=port) as mta:
			mta.mail(SENDER, login="marketing", queue_id="EARLY")
			said = mta.rcpt("early@readers.example", queue_id="EARLY")
			assert (said[0] == "reject") == refused, (port, said)


# ---- when the milter is away ----

def test_the_milter_goes_between_front_and_back_and_nothing_is_lost():
	with rig.Rig(split=True, settings={"enforce": "on", "record_within": "10s"}, sasl=True,
			streams={"news": {"match_login": "marketing", "campaign": "before"}},
			# The filter of the whole site, which the back must not go by.
			main={"defer_transports": "rksplit", "content_filter": "rksplit:[127.0.0.1]:10589"}) as r:
		r.start()
		rcpts = ["w%d@readers.example" % i for i in range(5)]
		raw = letter("all@readers.example", headers=[])
		assert r.send(raw, rcpts, SENDER, listener="front", login="marketing").code == 250
		rig.wait_until(lambda: re.search(r"status=deferred \(deferred transport\)", r.postfix.log), 15, "the split to wait")
		r.milter.stop()
		r.postfix.command("postconf", "-e", "defer_transports=")
		assert r.postfix.command("postfix", "reload").returncode == 0

		def refused():
			r.postfix.flush()
			return len(set(re.findall(r"rksplit/smtp.*to=<(\w+@readers.example)>.*status=deferred \(.*451 4\.7\.1", r.postfix.log))) == 5
		rig.wait_until(refused, 60, "the back to say 451 for each")
		assert not r.sink.mails
		# A day later, or after a change of the settings, it is still the campaign that the front meant.
		r.streams["news"]["campaign"] = "after"
		r.write_conf()
		r.start_milter()

		def done():
			r.postfix.flush()
			return not r.postfix.queue()
		rig.wait_until(done, 60, "the queue to be empty")
		for rcpt, mail in everything(r, rcpts).items():
			own(r, rcpt, mail)
		assert campaign(r, "before")["sent"] == 5 and campaign(r, "after")["sent"] == 0


def test_zz_all_of_it_ends_in_good_order():
	global _rig
	r, _rig = shared(), None
	assert "corrupt" not in r.postfix.log
	# No message was bounced on the way, and the two halves of the recipe say nothing that Postfix would warn of, but for a machine whose clock was set.
	assert "status=bounced" not in r.postfix.log
	warnings = re.findall(r"warning: (?!file system clock is|resetting file time stamps).*|fatal: .*", r.postfix.log)
	assert not warnings, warnings
	r.__exit__(None, None, None)


if __name__ == "__main__":
	rig.main(globals())
