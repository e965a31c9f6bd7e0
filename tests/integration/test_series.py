"""test_series.py -- rest, the series, its exits and the sunset, on a real Postfix: what `rekindle series` says is what the milter does."""

import csv
import datetime
import io
import json
import re
import urllib.parse

import rig

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.timezone.utc)

MESSAGE = """From: {sender}
To: {to}
Subject: Still there?
X-Rekindle-Campaign: {campaign}
MIME-Version: 1.0
Content-Type: multipart/alternative; boundary=b

--b
Content-Type: text/plain; charset=utf-8

Keep me: https://rekindle.invalid/keep

--b
Content-Type: text/html; charset=utf-8

<html><body><p><a href="https://shop.example/news">News</a></p>
<p><a href="https://rekindle.invalid/keep">Keep me</a> <a href="https://rekindle.invalid/less/letter">Less often</a>
<a href="https://rekindle.invalid/stop">Stop</a></p></body></html>
--b--
"""
STREAMS = {
	"letter": {"match_sender_domain": "letter.example"},
	"again": {"match_sender_domain": "again.example", "series_stream": True},
}


def build(holdout=0, streams=None, **policy):
	return rig.Rig(settings={"enforce": "on", "settle": "0"}, streams=STREAMS if streams is None else streams,
		policy=dict({"holdout": holdout, "winback_days": 60}, **policy))


def ago(days):
	return (NOW - days * DAY).strftime("%Y-%m-%dT%H:%M:%SZ")


def touch(kind, address, days, **more):
	return dict({"type": kind, "address": address, "at": ago(days)}, **more)


def silent(address, last=60, series=()):
	"""Opened 400 days ago and never again, over twenty letters; then these messages of the series."""
	return [touch("opened", address, 400, stream="letter")] + \
		[touch("sent", address, last + 9 * i, stream="letter", campaign="old") for i in range(20)] + \
		[touch("sent", address, days, stream="again", campaign="again", series=True) for days in series]


def load(r, *touches):
	told = r.cli("import", input="".join(json.dumps(t) + "\n" for t in touches))
	assert told.code == 0, told


def send(r, to, stream):
	sender = "us@%s.example" % stream
	return r.send(MESSAGE.format(sender=sender, to=to, campaign=stream + "-now"), [to], sender)


def folded(r, address):
	"""What is known of somebody, everything summed up; `next` by stream."""
	why = r.cli("why", address, "--json").json
	why["next"] = {n["stream"]: n for n in why["next"]}
	return why


def export(r, *arguments):
	return {p["address"]: p for p in r.cli("series", "export", "--format", "json", *arguments).json_lines}


def test_steps_export_and_exits():
	"""Everybody who is due and nobody else gets the message; the next one is refused; click, open and buttons bring back."""
	who = lambda name: name + "@people.example"
	people = {
		"resting": silent(who("resting"), last=10), "soon": silent(who("soon"), last=25),
		"one": silent(who("one")), "two": silent(who("two"), series=(8,)), "waiting": silent(who("waiting"), series=(3,)),
		"three": silent(who("three"), series=(20, 10)), "answerless": silent(who("answerless"), series=(30, 20, 10)),
		"gone": silent(who("gone"), series=(50, 40, 30)), "winback": silent(who("winback"), last=150, series=(120, 110, 100)),
		"wonback": silent(who("wonback"), last=150, series=(120, 110, 100, 5)),
		"reader": [touch("opened", who("reader"), 1)],
		"left": silent(who("left")) + [touch("left", who("left"), 5)],
		"left-series": silent(who("left-series")) + [touch("left", who("left-series"), 5, stream="again")],
		"held": silent(who("held")) + [touch("held", who("held"), 5)],
		"bounced": silent(who("bounced")) + [touch("bounced", who("bounced"), 5)],
		"complained": silent(who("complained")) + [touch("complained", who("complained"), 5)],
		"soft": silent(who("soft")) + [touch("soft-bounced", who("soft"), 60 + i) for i in range(3)],
		"soft-now": silent(who("soft-now")) + [touch("soft-bounced", who("soft-now"), 1 + i) for i in range(3)],
	}
	due = {"one": "1", "soft": "1", "two": "2", "three": "3", "winback": "win-back"}
	with build() as r:
		r.make_keys()
		load(r, *[t for touches in people.values() for t in touches])

		# Who is where.
		s = r.cli("series", "--json").json
		assert s["stream"] == "again" and s["people"] == 11 and s["due"] == 5 and s["stopped"] == 6, s
		got = {k: (v["people"], v["due"], v["due_in_7_days"]) for k, v in s["status"].items()}
		assert got == {"holdout": (0, 0, 0), "resting": (2, 0, 1), "re-engage-1": (3, 2, 1), "re-engage-2": (1, 1, 0),
			"re-engage-3": (2, 1, 0), "sunset": (1, 0, 0), "win-back": (2, 1, 0)}, got
		assert re.search(r"(?m)^re-engage-1 +3 +2 +1$", r.cli("series").out), r.cli("series")
		assert "6 more are inactive, but stopped" in r.cli("series").out

		# Who is due, in each format; and what else can be asked.
		listed = export(r)
		assert {a: p["step"] for a, p in listed.items()} == {who(n): step for n, step in due.items()}, listed
		assert all(p["due"] and p["class"] == "inactive" and p["silent_days"] == 400 for p in listed.values()), listed
		assert [listed[who(n)]["sent"] for n in ("one", "two", "three", "winback")] == [0, 1, 2, 3], listed
		rows = list(csv.DictReader(io.StringIO(r.cli("series", "export").out)))
		assert {row["address"]: row["step"] for row in rows} == {who(n): step for n, step in due.items()}, rows
		assert sorted(r.cli("series", "export", "--format", "text").out.split()) == sorted(listed)
		for step in ("1", "2", "3", "win-back"):
			assert set(export(r, "--step", step)) == {who(n) for n in due if due[n] == step}, step
		assert set(export(r, "--status", "resting")) == {who("resting"), who("soon")}
		assert set(export(r, "--status", "re-engage")) == {who(n) for n in ("one", "soft", "waiting", "two", "three", "answerless")}
		assert set(export(r, "--status", "sunset")) == {who("gone")}
		soon = export(r, "--on", (NOW + 6 * DAY).strftime("%Y-%m-%dT%H:%M:%SZ"))
		assert set(soon) == set(listed) | {who("soon"), who("waiting")}, soon
		assert r.cli("series", "export", "--on", "2020-01-01").code == 2
		assert r.cli("series", "export", "--step", "4").code == 2

		# The milter agrees, to the last of them; what it says has a date.
		r.start()
		for name in people:
			reply = send(r, who(name), "again")
			assert reply.ok == (who(name) in listed), (name, reply)
			if not reply.ok:
				assert str(reply).startswith("550 5.7.1 "), (name, reply)
		assert re.search(r"not yet time for a re-engagement message; the next one is due \d{4}-", str(send(r, who("waiting"), "again")))
		mails = {m.rcpts[0]: m for m in r.sink.take(len(due))}

		# It is recorded as one of the series, so a second one right after is refused, and a newsletter still is.
		why = folded(r, who("one"))
		series = why["next"]["again"]["series"]
		assert series["status"] == "re-engage-1" and not series["due"] and series["coming"] == "re-engage-2", why
		assert len(why["series_sent"]) == 1 and why["next"]["again"]["cause"] == "resting", why
		second = send(r, who("one"), "again")
		assert not second.ok and why["next"]["again"]["next"] in str(second), (why, second)
		assert why["next"]["again"]["next"] == series["at"], why
		assert re.search(r"Series +re-engage-1, 1 message sent; re-engage-2 \d{4}-", r.cli("why", who("one")).out)
		refused = send(r, who("one"), "letter")
		assert "re-engagement step 1 of 3 was sent, the next is due" in str(refused), refused
		assert not send(r, who("gone"), "letter").ok
		touches = r.cli("export", "--type", "sent").json_lines
		assert sum(1 for t in touches if t.get("campaign") == "again-now" and t.get("series")) == len(due), touches[-5:]

		# The buttons: pages of the recipient's own in both parts, that do nothing by themselves.
		mail = mails[who("two")]
		links = rig.links(mail.text())
		keep, less, stop = links[1:4]
		assert "rekindle.invalid" not in mail.text() and keep != less and "/p/" in keep and "/p/" in less and "/u/" in stop, links
		assert keep in mail.text("text/plain"), mail.text("text/plain")
		assert all(r.get(url, agent=agent).status == 200 for url in (keep, less, stop) for agent in (rig.PERSON, rig.SCANNER))
		assert folded(r, who("two"))["class"] == "inactive"

		def press(name, choice, nth):
			page = rig.links(mails[who(name)].text())[nth]
			body = urllib.parse.urlencode({"choice": choice}).encode()
			answer = r.get(page, method="POST", body=body, headers={"Content-Type": "application/x-www-form-urlencoded"})
			assert answer.status == 200, answer

		press("two", "keep", 1)
		press("three", "less", 2)
		assert r.get(rig.tracked(mails[who("one")].text())[0]).status == 302
		assert r.get(rig.pixel(mails[who("winback")].text())).status == 200
		for name in ("one", "two", "three", "winback"):
			why = folded(r, who(name))
			assert why["class"] == "engaged" and why["next"]["letter"]["series"]["status"] == "none", (name, why)
			assert why["next"]["again"]["cause"] == "not-due", (name, why)
			reply = send(r, who(name), "letter")
			# "less" is at most one in 30 days, and the last letter is longer ago.
			assert reply.ok, (name, reply)
		assert folded(r, who("three"))["next"]["letter"]["cause"] == "capped"
		refused = send(r, who("three"), "letter")
		assert re.match(r"550 5\.7\.1 .*had enough messages for now; the next one may come \d{4}-", str(refused)), refused

		# Who wants no more of the series wants no more at all.
		url = mails[who("soft")].header("List-Unsubscribe").strip("<>")
		assert r.get(url, method="POST", body=b"List-Unsubscribe=One-Click",
			headers={"Content-Type": "application/x-www-form-urlencoded"}).status == 200
		assert {n["cause"] for n in folded(r, who("soft"))["next"].values()} == {"unsubscribed"}

		# What came of it.
		results = r.cli("series", "results", "--json").json
		assert results["series"] == {"people": 9, "back": 4, "rate": 0.4444, "pressed": 2, "clicked": 1, "opened": 1}, results
		assert results["control_group"]["people"] == 0 and results["control_group"]["rate"] is None, results


def test_holdout():
	"""Whose number is in the control group gets newsletters on, is in no series, and is what the series is measured by."""
	people = ["p%d@people.example" % i for i in range(24)]
	with build(holdout=500) as r:
		r.make_keys()
		load(r, *[t for p in people for t in silent(p)])
		control = set(export(r, "--status", "holdout"))
		assert 0 < len(control) < len(people), control
		assert set(export(r)) == set(people) - control
		assert r.cli("series", "--json").json["status"]["holdout"] == {"people": len(control), "due": 0, "due_in_7_days": 0}
		assert r.cli("segment", "--json").json["series"]["holdout"] == len(control)
		rows = csv.DictReader(io.StringIO(r.cli("segment", "export", "--status", "re-engage-1").out))
		assert {(row["address"], row["series"]) for row in rows} == {(p, "re-engage-1") for p in set(people) - control}
		some, other = sorted(control)[0], sorted(set(people) - control)[0]
		assert folded(r, some)["next"]["letter"]["holdout"] and not folded(r, other)["next"]["letter"]["holdout"]

		r.start()
		for p in (some, other):
			assert send(r, p, "letter").ok == (p == some) and send(r, p, "again").ok == (p == other), p
		sent = [t for t in r.cli("export", "--type", "sent").json_lines if t.get("campaign") == "letter-now"]
		assert [t["address"] for t in sent if t.get("holdout")] == [some], sent

		# Mail went on to two of them for longer than the rest would have been; one reacted afterwards, and one before.
		group = sorted(control)[1:4]
		for days in (100, 40):
			load(r, *[touch("sent", p, days, stream="letter", campaign="on", holdout=True) for p in group])
		load(r, touch("clicked", group[0], 5, stream="letter"))
		if len(group) > 1:
			load(r, touch("sent", some, 1, stream="letter", campaign="on", holdout=True))
		results = r.cli("series", "results", "--json").json
		assert results["control_group"] == {"people": len(group), "back": 1, "rate": round(1 / len(group), 4), "pressed": 0,
			"clicked": 1, "opened": 0}, results
		assert results["series"]["people"] == 1 and results["series"]["back"] == 0, results


def test_settings():
	"""No series and several of them are told; what is written out reads back."""
	with build(streams={"letter": STREAMS["letter"]}) as r:
		r.make_keys()
		told = r.cli("series")
		assert told.code == 3 and "set series_stream = yes" in told.err, told
	with build(streams=dict(STREAMS, also={"match_login": "also", "series_stream": True}), series="on") as r:
		r.make_keys()
		told = r.cli("series")
		assert told.code == 2 and "--stream NAME" in told.err, told
		assert r.cli("series", "--stream", "letter").code == 2
		assert r.cli("series", "--stream", "again").code == 1  # there is nobody
		load(r, touch("sent", "a@people.example", 3, stream="again", campaign="c", series=True),
			touch("sent", "a@people.example", 2, stream="letter", campaign="c", exempt=True, holdout=True))
		first = r.cli("export").out
		assert [t for t in r.cli("export").json_lines if t.get("series")] and '"exempt":true' in first and '"holdout":true' in first
		load(r, *r.cli("export").json_lines)
		assert len(folded(r, "a@people.example")["series_sent"]) == 2
		# An answer in the same second is one.
		load(r, touch("kept", "a@people.example", 3, stream="letter"))
		results = r.cli("series", "results", "--stream", "again", "--json").json["series"]
		assert (results["people"], results["pressed"]) == (1, 1), results
	with build(series="off") as r:
		r.make_keys()
		told = r.cli("series")
		assert told.code == 3 and "series = off" in told.err, told


if __name__ == "__main__":
	rig.main(globals())
