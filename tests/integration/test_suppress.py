#!/usr/bin/env python3
"""test_suppress.py -- who is stopped and since when, lists of other systems, and people who want to be forgotten."""

import json
import os
import re
import subprocess

import rig

LISTS = os.path.join(rig.TOP, "tests", "data", "suppressions")
RAW = b"""From: News <news@example.org>\r
To: ann@example.com\r
Subject: Hello\r
X-Rekindle-Campaign: %s\r
MIME-Version: 1.0\r
Content-Type: text/html; charset=utf-8\r
\r
<html><body><p>Hello</p><a href="https://shop.example.org/a?x=1">one</a> <a href="https://shop.example.org/b">two</a></body></html>\r
"""

# File: (format, added by cause, left out, bad).
EXPECT = {
	"mailchimp-unsubscribed.csv": ("mailchimp", {"unsubscribed": 2}, 0),
	"mailchimp-cleaned.csv": ("mailchimp", {"bounced": 1}, 0),
	"sendgrid-bounces.csv": ("sendgrid", {"bounced": 3}, 1),
	"sendgrid-blocks.csv": ("sendgrid", {}, 3),
	"sendgrid-invalid.csv": ("sendgrid", {"bounced": 1}, 0),
	"sendgrid-spam-reports.csv": ("sendgrid", {"complained": 1}, 0),
	"sendgrid-unsubscribes.csv": ("sendgrid", {"unsubscribed": 1}, 0),
	"postmark.csv": ("postmark", {"bounced": 1, "complained": 1, "unsubscribed": 1, "held": 1}, 0),
	"mailgun-bounces.csv": ("mailgun", {"bounced": 2}, 2),
	"mailgun-unsubscribes.csv": ("mailgun", {"unsubscribed": 1}, 0),
	"mailgun-complaints.csv": ("mailgun", {"complained": 1}, 0),
	"sparkpost.csv": ("sparkpost", {"bounced": 1, "complained": 1, "unsubscribed": 2, "held": 2}, 0),
	"ses.json": ("ses", {"bounced": 1, "complained": 1}, 0),
	"ses.csv": ("ses", {"bounced": 1}, 0),
	"ses-rows.json": ("ses", {"bounced": 1, "complained": 1}, 0),
	"brevo.csv": ("brevo", {"bounced": 1, "complained": 1, "unsubscribed": 1, "held": 1}, 0),
	"brevo.json": ("brevo", {"bounced": 1}, 0),
	"klaviyo.csv": ("klaviyo", {"bounced": 2, "complained": 1, "unsubscribed": 1, "held": 1}, 0),
	"listmonk.csv": ("listmonk", {"unsubscribed": 1, "held": 1}, 1),
	"mautic.csv": ("mautic", {"unsubscribed": 1, "bounced": 1, "held": 1}, 0),
}

_rig = None


def shared():
	"""One mail server for all tests; the last of them ends it."""
	global _rig
	if _rig is None:
		_rig = rig.Rig(settings={"enforce": "on", "log_level": "debug"},
			streams={"news": {"match_login": "marketing", "campaign": "letter"}, "offers": {"match_login": "shop"}}, sasl=True).__enter__()
		_rig.start()
	return _rig


def told(r, *arguments, code=0, **more):
	answer = r.cli(*arguments, **more)
	assert answer.code == code, answer
	return answer


def reply(r, rcpt, login="marketing", campaign="letter"):
	return r.send(RAW % campaign.encode(), rcpts=[rcpt], login=login)


def refused(r, rcpt, reason, login="marketing"):
	"""The milter looks at sums, which come a moment later."""
	def look():
		said = reply(r, rcpt, login)
		return not said.ok and said
	said = rig.wait_until(look, 15, "a refusal of " + rcpt)
	assert re.search(r"550 5\.7\.1 .*" + reason, str(said)), said


def flows(r, rcpt, login="marketing"):
	rig.wait_until(lambda: reply(r, rcpt, login).ok, 15, "mail for " + rcpt)


def history(r, address):
	return [(h["type"], h["source"]) for h in told(r, "suppress", "show", address, "--json").json["history"]]


def test_add_and_remove():
	r = shared()
	told(r, "suppress", "add", "rita@example.com", "--as", "complained", "--reason", "ticket 4711", root=True)
	refused(r, "rita@example.com", "recipient complained")
	shown = told(r, "suppress", "show", "rita@example.com", "--json").json
	assert [s["reason"] for s in shown["stopped"]] == ["complained"], shown
	assert shown["stopped"][0]["source"] == "cli: root: ticket 4711", shown
	told(r, "suppress", "remove", "rita@example.com", "--reason", "misunderstanding", root=True)
	flows(r, "rita@example.com")
	assert history(r, "rita@example.com") == [("complained", "cli: root: ticket 4711"), ("released", "cli: root: misunderstanding")]
	text = told(r, "suppress", "show", "rita@example.com").out
	assert re.search(r"Stopped +no", text) and re.search(r"released +everything +cli: root: misunderstanding", text), text
	told(r, "suppress", "show", "stranger@example.com", code=1)


def test_sudo_is_looked_behind():
	r = shared()
	os.environ["SUDO_USER"] = "carla"
	try:
		told(r, "suppress", "add", "sue@example.com", root=True)
		told(r, "suppress", "add", "sue2@example.com")
	finally:
		del os.environ["SUDO_USER"]
	assert history(r, "sue@example.com") == [("held", "cli: carla")]
	assert history(r, "sue2@example.com") == [("held", "cli: " + rig.OWNER)]  # who is not root can say anything there


def test_one_stream_only():
	r = shared()
	told(r, "suppress", "add", "otto@example.com", "--stream", "news")
	told(r, "suppress", "add", "hanna@example.com", "--stream", "news", "--as", "held")
	refused(r, "otto@example.com", "recipient unsubscribed")
	refused(r, "hanna@example.com", "held back by hand")
	for rcpt in ("otto@example.com", "hanna@example.com"):
		flows(r, rcpt, "shop")
	listed = told(r, "suppress", "list", "--stream", "news", "--json").json
	assert {(s["address"], s["reason"], s["stream"]) for s in listed} == {
		("otto@example.com", "unsubscribed", "news"), ("hanna@example.com", "held", "news")}, listed
	listed = told(r, "suppress", "list", "--stream", "news", "--cause", "held", "--json").json
	assert [s["address"] for s in listed] == ["hanna@example.com"], listed
	told(r, "suppress", "list", "--stream", "offers", "--json", code=1)
	told(r, "suppress", "remove", "otto@example.com", "hanna@example.com", "--stream", "news")
	flows(r, "otto@example.com")
	flows(r, "hanna@example.com")


def test_a_hold_ends_by_itself():
	r = shared()
	told(r, "suppress", "add", "vera@example.com", "--for", "4s", "--reason", "on holiday")
	told(r, "suppress", "add", "kurt@example.com", "--for", "4s", "--stream", "news")
	refused(r, "vera@example.com", "held back by hand on .* until")
	assert told(r, "suppress", "show", "vera@example.com", "--json").json["stopped"][0]["until"]
	flows(r, "vera@example.com")
	flows(r, "kurt@example.com")
	told(r, "suppress", "add", "nora@example.com", "--until", "2099-01-31")
	assert "until 2099-01-31" in told(r, "suppress", "list").out
	# The last word counts, also when it is shorter.
	told(r, "suppress", "add", "nora@example.com", "--until", "2098-01-31")
	assert told(r, "suppress", "show", "nora@example.com", "--json").json["stopped"][0]["until"] == "2098-01-31T00:00:00Z"
	rig.wait_until(lambda: re.search(r"Held until +2098-01-31", told(r, "why", "nora@example.com").out), 15, "the hold")
	told(r, "suppress", "remove", "nora@example.com")
	why = rig.wait_until(lambda: [out for out in [told(r, "why", "nora@example.com").out] if "Released" in out], 15, "the release")[0]
	assert "Held until" not in why, why


def test_one_click_stands_in_the_history():
	r = shared()
	assert reply(r, "clara@example.com").ok
	mail = rig.wait_until(lambda: r.sink.of("clara@example.com"), 30, "mail")[-1]
	url = re.search(r"<(https?://[^>]+/u/[^>]+)>", mail.header("List-Unsubscribe")).group(1)
	assert r.get(url, method="POST", body=b"List-Unsubscribe=One-Click",
		headers={"Content-Type": "application/x-www-form-urlencoded"}).status == 200
	assert rig.wait_until(lambda: history(r, "clara@example.com"), 15) == [("left", "one-click")]
	refused(r, "clara@example.com", "recipient unsubscribed")


def test_lists_of_other_systems():
	r = shared()
	assert set(EXPECT) | {"mailchimp-subscribed.csv"} == set(os.listdir(LISTS))
	for name, (system, added, left_out) in sorted(EXPECT.items()):
		file = os.path.join(LISTS, name)
		would = told(r, "suppress", "import", file, "--dry-run", "--json", code=0 if added else 1).json
		said = told(r, "suppress", "import", file, "--json", code=0 if added else 1).json
		assert dict(would, dry_run=False) == said, (would, said)
		assert (said["format"], said["as"]) == (system, added), (name, said)
		assert sum(w["rows"] for w in said["left_out"]) == left_out, (name, said)
		assert said["bad"] == 0 and said["known"] == 0, (name, said)
		again = told(r, "suppress", "import", file, "--json", code=0 if added else 1).json
		assert again["added"] == 0 and again["known"] == sum(added.values()), (name, again)
	told(r, "suppress", "import", os.path.join(LISTS, "mailchimp-subscribed.csv"), code=3)
	refused(r, "nobody.here@example.com", "bounced for good on 2025-09-14")
	refused(r, "a.list@example.org", "unsubscribed on 2025-09-14")
	refused(r, "b2.hard@example.org", "bounced for good on 2025-09-14")
	flows(r, "good@example.com")
	((kind, source),) = history(r, "nobody.here@example.com")
	assert kind == "bounced" and re.match(r"cli: \w+: sendgrid sendgrid-bounces.csv: 550 5\.1\.1 ", source), source


def test_a_list_overrules_nothing_newer():
	r = shared()
	touch = json.dumps({"type": "joined", "address": "back@example.com", "at": "2025-10-01T00:00:00Z"})
	told(r, "import", input=touch + "\n")
	list_of = "Email,Reason,Date\nback@example.com,unsubscribed,%s\n"
	said = told(r, "suppress", "import", "-", "--json", input=list_of % "2025-09-30", code=1).json
	assert (said["added"], said["overtaken"]) == (0, 1), said
	# Of the day on which the list was made, when it does not say more.
	said = told(r, "suppress", "import", "-", "--at", "2025-09-30", "--json", input=list_of % "", code=1).json
	assert (said["added"], said["overtaken"]) == (0, 1), said
	flows(r, "back@example.com")
	said = told(r, "suppress", "import", "-", "--json", input=list_of % "2025-10-02").json
	assert said["added"] == 1, said
	refused(r, "back@example.com", "unsubscribed on 2025-10-02")
	file = os.path.join(r.dir, "undated.csv")
	with open(file, "w") as f:
		f.write("Email,Reason\nundated@example.com,bounced\n")
	os.utime(file, (1735732800, 1735732800))
	os.chmod(r.dir, 0o755)
	told(r, "suppress", "import", file)
	refused(r, "undated@example.com", "on 2025-01-01")


def test_bad_rows():
	r = shared()
	table = ("Email,Reason,Date\r\nx1@example.com,bounced,2025-01-01\r\nnonsense,bounced,2025-01-01\r\n\"x2@example.com,bounced\r\n"
		"x3@example.com,weird,\r\nx4@example.com,bounced,02/03/2025\r\nx5@example.com,bounced,2999-01-01\r\nx6@example.com,complaint,\r\n").encode()
	# The quote that is never closed takes nobody along.
	answer = told(r, "suppress", "import", "-", "--json", input=table, code=3)
	assert answer.json["added"] == 2 and answer.json["bad"] == 5, answer
	assert answer.json["rows"] == 7, answer
	for line, why in ((3, "not an address"), (4, "never closed"), (5, "weird"), (6, "could be two"), (7, "future")):
		assert re.search(r"rekindle: -:%d: .*%s" % (line, why), answer.err), answer
	assert told(r, "suppress", "import", "-", "--json", "--strict", input=table, code=3).json["bad"] == 1
	for bad, why in ((b"\xff\xfea\0", "UTF-16"), (b"a,b\n1,2\n", "no columns"), (b"", ""), (b"{]", "not JSON"), (b"Email,Reason\n\xe4@b.example,bounced\n", "UTF-8")):
		answer = told(r, "suppress", "import", "-", input=bad, code=3 if bad else 1)
		assert why in answer.err, answer
	answer = told(r, "suppress", "import", "-", "--as", "unsubscribed", "--stream", "news", input=b"plain@example.com\nplain2@example.com\n")
	assert "in the format plain: added 2: unsubscribed 2" in answer.out, answer
	refused(r, "plain@example.com", "unsubscribed")
	flows(r, "plain@example.com", "shop")


def test_a_row_that_comes_again():
	r = shared()
	row = "twice%s@example.com,bounced,%s\n"
	# Of one batch, and of several; the same address in other letters, and another date.
	table = "Email,Reason,Date\n" + row % ("", "2025-01-01") * 3 + "Twice@Example.com,bounced,2025-01-01\n" + row % ("", "2025-01-02") + \
		"twice@example.com,complaint,\n" * 2 + "".join(row % (n, "2025-01-01") for n in range(2500)) + row % ("", "2025-01-01") + row % (7, "2025-01-01")
	would = told(r, "suppress", "import", "-", "--dry-run", "--json", input=table).json
	said = told(r, "suppress", "import", "-", "--json", input=table).json
	assert dict(would, dry_run=False) == said, (would, said)
	assert (said["rows"], said["added"], said["known"]) == (2509, 2503, 6), said
	assert said["as"] == {"bounced": 2502, "complained": 1}, said
	assert sorted(kind for kind, source in history(r, "twice@example.com")) == ["bounced", "bounced", "complained"]


def test_of_two_holds_the_longer_one_counts():
	r = shared()
	row = "%s@example.com,held,,%s,%s,\n"
	ends = ["2031-01-01", "2033-01-01", "2032-01-01"]
	head = "address,reason,stream,since,until,source\n"
	table = head + "".join(row % ("l1", since, until) for since in ("", "2025-01-01") for until in ends) + \
		"".join(row % ("l2", "2025-01-01", until) for until in ends) + "".join(row % ("lx%d" % n, "2025-01-01", "") for n in range(1000)) + \
		row % ("l2", "2025-01-01", "2034-01-01") + row % ("l2", "2025-01-01", "2033-01-01")
	would = told(r, "suppress", "import", "-", "--dry-run", "--json", input=table).json
	said = told(r, "suppress", "import", "-", "--json", input=table).json
	assert dict(would, dry_run=False) == said, (would, said)
	assert said["added"] == 1005, said
	for name, until in (("l1", "2033"), ("l2", "2034")):
		assert "until " + until in told(r, "suppress", "show", name + "@example.com").out
	assert told(r, "suppress", "import", "-", "--json", input=table).json["added"] == 0
	# One that has no end is longer than one that has.
	assert told(r, "suppress", "import", "-", "--json", input=head + row % ("l1", "", "")).json["added"] == 1
	assert "until" not in told(r, "suppress", "show", "l1@example.com").out.split("\n")[1]


def test_what_has_no_column_is_told():
	r = shared()
	table = "Email,Reason,Date\ny1@example.com,bounced,2025-01-01,more\ny2@example.com,bounced,2025-01-01,,\ny3@example.com,bounced\n"
	answer = told(r, "suppress", "import", "-", "--json", input=table, code=3)
	assert (answer.json["rows"], answer.json["added"], answer.json["bad"]) == (3, 2, 1), answer
	assert re.search(r"^rekindle: -:2: it has 4 columns and the first line 3; ", answer.err), answer
	answer = told(r, "suppress", "import", "-", "--as", "held", "--json", input="y4@example.com\ny5@example.com,bounced\n", code=3)
	assert answer.json["added"] == 1 and "-:2: it has 2 columns, which no first line names" in answer.err, answer
	# Objects may lack what they have nothing to say of, the first one too.
	rows = [{"email": "y6@example.com", "reason": "bounced"}, {"email": "y7@example.com", "reason": "bounced", "date": "2025-03-04"},
		{"email": "y8@example.com", "reason": "bounced", "created": "2025-03-04", "status": "5.1.1"}]
	answer = told(r, "suppress", "import", "-", "--json", input=json.dumps(rows), code=3)
	assert (answer.json["rows"], answer.json["added"], answer.json["bad"]) == (3, 2, 1), answer
	assert "-: row 3: it has other names than the rows before it" in answer.err, answer
	assert "--format says whose it is" in answer.err, answer
	answer = told(r, "suppress", "import", "-", "--format", "generic", "--json", input=json.dumps(rows))
	assert (answer.json["added"], answer.json["known"], answer.json["bad"]) == (1, 2, 0), answer
	refused(r, "y7@example.com", "bounced for good on 2025-03-04")
	# As many fields as a row of a table may have, the one that matters at the end; and one more.
	rows = [dict({"f%d" % i: i for i in range(n - 2)}, email="wide%d@example.com" % n, reason="bounced") for n in (1024, 1025, 2)]
	answer = told(r, "suppress", "import", "-", "--json", input=json.dumps(rows), code=3)
	assert (answer.json["rows"], answer.json["added"], answer.json["bad"]) == (3, 2, 1), answer
	assert "-: row 2: there are too many fields\n" in answer.err, answer
	refused(r, "wide1024@example.com", "bounced")
	flows(r, "wide1025@example.com")
	# What a later one calls a reason is none where the first one has it in `status', and that is where the next ones have it.
	rows = [{"email": "y12@example.com", "status": "bounced"}, {"email": "y13@example.com", "status": "complained", "reason": "by form"},
		{"email": "y14@example.com", "status": "complained"}, {"email": "y15@example.com", "status": "subscribed"}]
	answer = told(r, "suppress", "import", "-", "--as", "held", "--json", input=json.dumps(rows))
	assert answer.json["as"] == {"bounced": 1, "complained": 2}, answer
	rows = [17, {"email": "y9@example.com", "reason": "bounced"}, "y10@example.com", {}, {"email": "y11@example.com", "reason": "bounced"}]
	answer = told(r, "suppress", "import", "-", "--json", input=json.dumps(rows), code=3)
	assert (answer.json["rows"], answer.json["added"], answer.json["bad"]) == (5, 2, 3), answer
	assert re.findall(r"-: row (\d): it is no object", answer.err) == ["1", "3", "4"], answer
	assert told(r, "suppress", "import", "-", "--strict", "--json", "--dry-run", input=json.dumps(rows[1:]), code=3).json["rows"] == 2


def test_the_rest_of_a_line_that_is_too_long_is_nobody():
	r = shared()
	# It is read in pieces of 128 KB; in one of these a piece begins with the address.
	for length in range(131072 - 24, 131072):
		table = b"email,reason\n" + b"x" * (length - 13) + b",stranger@example.com,bounced\nknown@example.com,bounced\n"
		said = told(r, "suppress", "import", "-", "--json", "--dry-run", input=table, code=3).json
		assert (said["rows"], said["added"], said["bad"]) == (2, 1, 1), (length, said)


def test_export_reads_back():
	r = shared()
	for who in ("=1+1@example.com", "'=1+1@example.com", "x;=1+1@example.com"):
		told(r, "suppress", "add", who, "--as", "bounced", "--reason", "a test, =2;=3")
	exported = told(r, "suppress", "export").out
	assert "\n=1+1@example.com," in exported
	sheet = told(r, "suppress", "export", "--format", "spreadsheet").out
	assert sheet.startswith("address_text,reason,") and "\n'=1+1@example.com," in sheet and "\n''=1+1@example.com," in sheet, sheet
	assert not re.search("(?m)(^|[,;])[ \"]*[-=+@]", sheet), sheet
	# Where a cell begins at a semicolon, a quote that is not at its beginning is no quote.
	assert "\n\"x;'=1+1@example.com\"," in sheet and re.search(r',"cli: \w+: a test,\' =2;\'=3"\r', sheet), sheet
	told(r, "suppress", "list", "--format", "spreadsheet", code=2)
	assert told(r, "suppress", "list", "--csv", "--format", "spreadsheet").out == sheet
	assert told(r, "segment", "export", "all", "--format", "spreadsheet").out.startswith("address_text,class,")
	assert "\n'=1+1@example.com," in told(r, "segment", "export", "all", "--format", "spreadsheet").out
	assert exported.startswith("address,reason,stream,since,until,source\r\n"), exported
	with rig.Rig() as other:
		other.make_keys()
		answer = told(other, "suppress", "import", "-", "--json", input=exported)
		assert answer.json["format"] == "rekindle" and answer.json["bad"] == 0, answer
		def lines(text):
			return sorted(line.split(",")[:5] for line in text.splitlines())
		assert lines(told(other, "suppress", "export").out) == lines(exported)
	with rig.Rig() as other:
		other.make_keys()
		assert told(other, "suppress", "import", "-", "--json", input=sheet).json["bad"] == 0
		assert lines(told(other, "suppress", "export").out) == lines(exported)


def person(r, address, code=0):
	return told(r, "export", "--person", address, code=code).json


def campaign(r, name):
	return told(r, "campaign", "show", name, "--json").json


def test_forgotten_and_campaigns_still_know():
	r = shared()
	for rcpt in ("fred@example.com", "greta@example.com", "hugo@example.com"):
		assert reply(r, rcpt, campaign="keep").ok
	told(r, "suppress", "add", "hugo@example.com", "--as", "unsubscribed", "--stream", "news")
	urls = {}
	for rcpt in ("fred@example.com", "greta@example.com"):
		page = rig.wait_until(lambda: r.sink.of(rcpt), 30, "mail")[-1].text("text/html")
		urls[rcpt] = [u for u in rig.links(page) if "/c/" in u]
		assert r.get(rig.pixel(page)).status == 200
		assert r.get(urls[rcpt][0]).status == 302
	assert (campaign(r, "keep")["raw"]["opens"], campaign(r, "keep")["raw"]["clicks"]) == (2, 2)
	told(r, "consent", "grant", "fred@example.com", "--note", "form of 2026")
	told(r, "suppress", "add", "fred@example.com", "--for", "1d")
	told(r, "suppress", "remove", "fred@example.com", "--reason", "changed his mind")
	before = campaign(r, "keep")

	all_of_him = person(r, "fred@example.com")
	assert all_of_him["address"] == "fred@example.com"
	assert {t["type"] for t in all_of_him["touches"]} >= {"sent", "opened", "clicked", "consented", "held", "released"}, all_of_him
	(trail,) = all_of_him["campaigns"]
	assert trail["campaign"] == "keep" and "https://shop.example.org/a?x=1" in [h.get("url") for h in trail["hits"]], trail
	assert {h.get("source") for h in all_of_him["history"] if h["type"] == "consented"} == {"cli: %s: form of 2026" % rig.OWNER}
	assert all_of_him["profile"]["consent"] == {"opens": "granted", "links": "granted"}

	said = told(r, "forget", "fred@example.com", "Hugo@Example.com", "nobody@example.com", "--yes", "--json").json
	assert (said["forgotten"], said["unknown"], said["stopped"]) == (2, 1, 1), said
	for address in ("fred@example.com", "hugo@example.com"):
		left = person(r, address)
		assert left["address"] is None and not left["touches"] and not left["campaigns"], left
		assert [(h["type"], h.get("value")) for h in left["history"]] == [("consented", "denied")] * 2, left
		assert all(re.fullmatch(r"cli: \w+: forgotten", h["source"]) for h in left["history"]), left
	assert sorted(k["type"] for k in person(r, "hugo@example.com")["kept"]) == ["consented", "consented", "left"]
	why = told(r, "why", "fred@example.com", code=1)
	assert "forgotten on" in why.out, why
	refused(r, "hugo@example.com", "unsubscribed")
	assert campaign(r, "keep") == before
	# That an old list has the name still brings it back to nobody here.
	left = rig.wait_until(lambda: [p for p in [person(r, "hugo@example.com")] if p["touches"]])[0]
	assert left["address"] is None, left

	# An old link works, and leaves nothing of him.
	assert r.get(urls["fred@example.com"][1]).status == 302
	assert not person(r, "fred@example.com")["touches"]
	still = campaign(r, "keep")

	# And all of it stays so when the sums are made anew.
	r.milter.kill()
	r.tracker.kill()
	os.unlink(os.path.join(r.data_dir, "state.mdb"))
	assert campaign(r, "keep") == still
	left = person(r, "fred@example.com")
	assert left["address"] is None and not left["campaigns"] and left["profile"]["consent"]["links"] == "denied", left
	# Of what is older than keep_facts stays what it added up to.
	told(r, "import", input="".join(json.dumps({"type": t, "address": "ida@example.com", "campaign": "old", "stream": "news",
		"at": "2026-01-0%dT10:00:00Z" % day, "link": 1, "url": "https://shop.example.org/old", "verdict": "human", "mode": "identified"}) + "\n"
		for day, t in enumerate(("opened", "clicked", "clicked"), 1)))
	then = person(r, "ida@example.com")
	assert len(then["campaigns"][0]["hits"]) == 3 and "past" not in then, then
	r.start_milter()
	r.start_tracker()
	refused(r, "hugo@example.com", "unsubscribed")
	now = rig.wait_until(lambda: [p for p in [person(r, "ida@example.com")] if "past" in p])[0]
	assert now["campaigns"][0]["hits"] == [] and now["profile"] == then["profile"], now
	assert now["campaigns"][0]["earlier"] == ["opened", "opened_by_a_person", "clicked", "clicked_by_a_person"], now
	assert now["past"]["clicks"] == 2 and now["past"]["last_click"] == "2026-01-03T10:00:00Z", now
	assert campaign(r, "old")["raw"]["clicks"] == 2

	told(r, "forget", "ida@example.com", "--yes", "--entirely")
	told(r, "export", "--person", "ida@example.com", code=1)
	told(r, "forget", "-", "--entirely", "--yes", input="fred@example.com\nhugo@example.com\n")
	told(r, "export", "--person", "hugo@example.com", code=1)
	flows(r, "hugo@example.com")


def test_forgotten_by_one_who_is_killed_in_between():
	"""Between its two files, and nobody runs it again: whoever sums up next does the rest."""
	r = shared()
	who = "jack@example.com"
	told(r, "import", input=json.dumps({"type": "clicked", "address": who, "campaign": "old", "stream": "news",
		"at": "2026-01-01T10:00:00Z", "link": 1, "verdict": "human", "mode": "identified"}) + "\n")
	assert person(r, who)["profile"]["clicks"] == 1
	killed = subprocess.run(["strace", "-qq", "-o", "/dev/null", "-P", os.path.join(r.data_dir, "state.mdb"),
		"-e", "trace=pwrite64,pwritev", "-e", "inject=pwrite64,pwritev:signal=SIGKILL:when=1", r.program("rekindle"),
		"-c", r.conf_file, "forget", who, "--yes", "--entirely"], capture_output=True, timeout=60, **r.identity())
	assert killed.returncode in (-9, 137) and not killed.stdout, killed
	# Facts have nothing more; by a profile he would be known all the same.
	told(r, "export", "--person", who, code=1)


def test_nothing_went_wrong():
	"""The last one: ends the mail server, which looks at how the daemons end."""
	_rig.__exit__(None, None, None)


if __name__ == "__main__":
	try:
		rig.main(globals())
	finally:
		if _rig is not None:
			_rig.close()
