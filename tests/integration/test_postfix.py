"""test_postfix.py -- a newsletter through a real Postfix: what arrives, what its links do, and who gets no more of it."""

import os
import re
import subprocess
import sys
import time

import rig
import newsletter  # rig knows where it is

JUDGE = os.path.join(rig.TOP, "tests", "judge.py")
SIGNATURE = "v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org; s=s1;\r\n\th=from:to:subject; " \
	"bh=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=;\r\n\tb=MTIzNDU2Nzg5MDEyMzQ1Njc4OTAx"

_rig = None


def shared():
	"""One mail server for all tests; the last of them ends it."""
	global _rig
	if _rig is None:
		_rig = rig.Rig(settings={"enforce": "on", "log_level": "debug"}, sasl=True,
			streams={"news": {"match_login": "marketing", "campaign": "letter"}},
			policy={"on_bounced": "defer", "on_complained": "hold"}).__enter__()
		_rig.start()
	return _rig


def arrived(r, rcpt):
	"""The one message for this recipient."""
	return rig.wait_until(lambda: r.sink.of(rcpt), 30, "mail for " + rcpt)[-1]


def without_trace(raw):
	"""Without the fields that Postfix put on top."""
	return re.sub(rb"\A(?:(?:Received|Return-Path):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+", b"", raw)


def shape(raw):
	"""Tokens carry the second in which they were made; everything else, and every length, stays to be compared.
	Only where lines are broken does not: two hyphens of a token that come to stand at the beginning of one are written "=2D-"."""
	return re.sub(rb"[A-Za-z0-9_-]", b"x", raw.replace(b"=\r\n=2D", b"-").replace(b"=\r\n", b""))


def letter(to, issue="7", headers=(("X-Rekindle-Campaign", "winter"),)):
	return newsletter.build(to, to.split("@")[0].capitalize(), issue, list(headers))


def judged(r, before, after):
	"""What an independent judge says: [(destination, tracked URL)], pixel."""
	paths = []
	for name, data in (("before", before), ("after", after)):
		paths.append(os.path.join(r.dir, name + ".eml"))
		with open(paths[-1], "wb") as f:
			f.write(data)
	done = subprocess.run([sys.executable, JUDGE, *paths, "--mta", "--list", "--tracking-url", r.settings["tracking_url"]],
		capture_output=True, text=True)
	assert done.returncode == 0, done
	said = [line.split("\t") for line in done.stdout.splitlines()]
	return [(old, new) for old, new in said if old != "pixel"], [new for old, new in said if old == "pixel"]


def stopped(r, address, reason):
	told = r.cli("suppress", "add", "--reason", reason, address)
	assert told.code == 0, told

	def known():
		return reason in r.cli("why", address).out
	rig.wait_until(known, 15, "%s to be %s" % (address, reason))


# ---- what arrives ----

def test_a_newsletter_arrives_tagged_with_every_byte_of_its_own():
	r = shared()
	raw = letter("ann@readers.example")
	reply = r.send(raw, ["ann@readers.example"], newsletter.SENDER)
	assert reply.code == 250, reply
	mail = arrived(r, "ann@readers.example")
	links, pixels = judged(r, raw, mail.raw)
	hrefs = newsletter.hrefs("Ann", "7")
	assert len(links) == len(hrefs) and len(pixels) == 1, (len(links), len(pixels))
	page = newsletter.page("Ann", "7")
	assert rig.untagged(mail.text(), hrefs).rstrip("\n") == page.rstrip("\n")
	assert mail.header("X-Rekindle-Campaign") is None
	assert mail.header("X-Rekindle-Id")
	assert mail.header("List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
	assert all(len(line) <= 998 for line in mail.raw.split(b"\r\n"))


def test_links_lead_to_exactly_the_original_destinations():
	r = shared()
	mail = arrived(r, "ann@readers.example")
	destinations = newsletter.destinations("Ann", "7")
	urls = rig.tracked(mail.text())
	assert len(urls) == len(destinations)
	for url, destination in zip(urls, destinations):
		answer = r.get(url)
		assert (answer.status, answer.location) == (302, destination), (answer, destination)
	answer = r.get(rig.pixel(mail.text()))
	assert answer.status == 200 and answer.body.startswith(b"GIF89a"), answer

	def counted():
		told = r.cli("campaign", "show", "winter", "--json")
		return told.code == 0 and told.json["raw"]["clicks"] >= len(urls)
	rig.wait_until(counted, 10, "the clicks to be counted")


def test_the_command_line_makes_the_same_edits():
	r = shared()
	raw = letter("ann@readers.example")
	mail = arrived(r, "ann@readers.example")
	told = r.cli("tag", "--to", "ann@readers.example", "--from", newsletter.SENDER, input=raw)
	assert told.code == 0, told
	shown = re.sub(rb"\r?\n", b"\r\n", told.out.encode("utf-8", "surrogateescape"))
	assert shape(shown) == shape(without_trace(mail.raw)), told.out


def test_for_several_recipients_everybody_gets_the_same():
	r = shared()
	raw = letter("all@readers.example", headers=[("X-Rekindle-Campaign", "crowd")])
	bodies = []
	for rcpts in (["ben@readers.example", "cem@readers.example"], ["dora@readers.example", "eva@readers.example", "fay@readers.example"]):
		assert r.send(raw, rcpts, newsletter.SENDER).code == 250
		bodies += [arrived(r, rcpt).body for rcpt in rcpts]
		time.sleep(1.1)  # not even the second tells them apart
	assert len(set(bodies)) == 1
	told = r.cli("tag", "--to", "x@readers.example", "--to", "y@readers.example", input=raw)
	shown = re.sub(rb"\r?\n", b"\r\n", told.out.encode("utf-8", "surrogateescape"))
	assert shown.partition(b"\r\n\r\n")[2] == bodies[0]
	answer = r.get(rig.tracked(arrived(r, "ben@readers.example").text())[0])
	assert answer.location == newsletter.destinations("All", "7")[0], answer


def test_a_long_body_with_dots_and_eight_bits():
	r = shared()
	page = "<html><body>" + "".join(".\r\n..dots é %d <a href='https://example.org/%d?a=1&amp;b=%d'>x</a>\r\n" % (i, i, i)
		for i in range(3000)) + "</body></html>\r\n"
	raw = ("From: a@example.org\r\nTo: b@example.org\r\nSubject: x\r\nDate: Thu, 08 Jan 2026 08:00:00 +0100\r\n"
		"Message-ID: <long@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/html; charset=utf-8\r\n"
		"Content-Transfer-Encoding: 8bit\r\nX-Rekindle-Campaign: long\r\n\r\n" + page).encode()
	assert r.send(raw, ["long@readers.example"], options="BODY=8BITMIME").code == 250
	mail = arrived(r, "long@readers.example")
	links, pixels = judged(r, raw, mail.raw)
	assert [old for old, _ in links] == ["https://example.org/%d?a=1&b=%d" % (i, i) for i in range(3000)], len(links)
	assert len(pixels) == 1


def test_other_mail_passes_to_the_byte():
	r = shared()
	for name, headers, login in (
			("plain", [], None),
			("signed", [("DKIM-Signature", SIGNATURE)], "marketing"),
			("answer", [("Auto-Submitted", "auto-replied")], "marketing")):
		rcpt = name + "@readers.example"
		raw = letter(rcpt, headers=headers)
		assert r.send(raw, [rcpt], newsletter.SENDER, login=login).code == 250
		assert without_trace(arrived(r, rcpt).raw) == raw, name


# ---- who gets no more of it ----

def test_one_click_and_the_next_letter_is_refused():
	r = shared()
	raw = letter("gus@readers.example", headers=[])
	assert r.send(raw, ["gus@readers.example"], newsletter.SENDER, login="marketing").code == 250
	mail = arrived(r, "gus@readers.example")
	url = re.search(r"<(https?://[^>]*/u/[^>]*)>", mail.header("List-Unsubscribe"))[1]
	assert r.get(url).status == 200  # looking at the page changes nothing
	assert r.send(raw, ["gus@readers.example"], newsletter.SENDER, login="marketing").code == 250
	answer = r.get(url, method="POST", body=b"List-Unsubscribe=One-Click",
		headers={"Content-Type": "application/x-www-form-urlencoded"})
	assert answer.status == 200, answer

	def refused():
		reply = r.send(raw, ["gus@readers.example", "hal@readers.example"], newsletter.SENDER, login="marketing")
		return reply if not reply.rcpt["gus@readers.example"].ok else None
	reply = rig.wait_until(refused, 15, "the refusal")
	assert re.match(r"550 5\.7\.1 .*recipient unsubscribed on \d{4}-\d\d-\d\d \(rekindle\)$",
		str(reply.rcpt["gus@readers.example"])), reply.rcpt
	assert reply.code == 250 and reply.rcpt["hal@readers.example"].ok
	assert "unsubscribed" in r.cli("why", "gus@readers.example").out
	# Another stream's mail still reaches them.
	assert r.send(letter("gus@readers.example"), ["gus@readers.example"], newsletter.SENDER).code == 250


def test_when_only_the_header_tells_the_whole_message_is_refused():
	r = shared()
	stopped(r, "ida@readers.example", "held")
	reply = r.send(letter("ida@readers.example"), ["ida@readers.example"], newsletter.SENDER)
	assert reply.rcpt["ida@readers.example"].ok
	assert re.match(r"550 5\.7\.1 recipient held back by hand on .* \(rekindle\)$", str(reply)), reply
	reply = r.send(letter("ida@readers.example"), ["ida@readers.example", "jon@readers.example"], newsletter.SENDER)
	assert reply.code == 250, reply
	assert arrived(r, "jon@readers.example").rcpts == ["jon@readers.example"]
	assert not r.sink.of("ida@readers.example")
	assert not re.search(r"ida@", re.sub(r".* debug: .*", "", r.milter.log))
	# Mail that is no campaign reaches everybody.
	raw = letter("ida@readers.example", headers=[])
	assert r.send(raw, ["ida@readers.example"], newsletter.SENDER).code == 250
	assert without_trace(arrived(r, "ida@readers.example").raw) == raw


def test_deferred_and_held():
	r = shared()
	stopped(r, "kim@readers.example", "bounced")
	reply = r.send(letter("kim@readers.example"), ["kim@readers.example"], newsletter.SENDER)
	assert re.match(r"451 4\.7\.1 ", str(reply)), reply
	stopped(r, "lea@readers.example", "complained")
	assert r.send(letter("lea@readers.example"), ["lea@readers.example"], newsletter.SENDER).code == 250
	held = rig.wait_until(lambda: [m for m in r.postfix.queue() if m["queue_name"] == "hold"], 15, "held mail")
	assert len(held) == 1 and not r.sink.of("lea@readers.example")
	r.postfix.command("postsuper", "-H", "ALL")
	r.postfix.command("postqueue", "-i", held[0]["queue_id"])
	assert len(rig.tracked(arrived(r, "lea@readers.example").text())) == len(newsletter.hrefs("Lea", "7"))


def test_sendmail_is_tagged_and_never_loops():
	r = shared()
	r.sendmail(letter("mia@readers.example"), ["mia@readers.example"], newsletter.SENDER)
	mail = arrived(r, "mia@readers.example")
	links, pixels = judged(r, letter("mia@readers.example"), mail.raw)
	assert len(links) == len(newsletter.hrefs("Mia", "7")) and len(pixels) == 1

	for address, reason in (("ned@readers.example", "held"), ("ole@readers.example", "bounced")):
		stopped(r, address, reason)
		r.sendmail(letter(address), [address], newsletter.SENDER)
	r.sendmail(letter("pia@readers.example"), ["ned@readers.example", "pia@readers.example"], newsletter.SENDER)
	assert arrived(r, "pia@readers.example").rcpts == ["pia@readers.example"]
	rig.wait_until(lambda: re.search(r"discarded wanted=reject cause=held", r.milter.log), 15, "the discarded one")
	rig.wait_until(lambda: [m for m in r.postfix.queue() if m["queue_name"] == "hold"], 15, "what cannot be deferred to be held")
	rig.wait_until(lambda: not os.listdir(os.path.join(r.postfix.spool, "maildrop")), 15, "an empty maildrop")
	assert "milter configuration error" not in r.postfix.log
	assert not r.sink.of("ned@readers.example") and not r.sink.of("ole@readers.example")


def test_zz_all_of_it_ends_in_good_order():
	global _rig
	r, _rig = shared(), None
	assert "corrupt" not in r.postfix.log
	assert not re.search(r"warning: .*milter", r.postfix.log), re.search(r"warning: .*milter.*", r.postfix.log)[0]
	r.__exit__(None, None, None)


if __name__ == "__main__":
	rig.main(globals())
