"""test_agree.py -- who is in which class, and what happens to the next message: everybody says the same.

Some thousands of lives at random go in through `rekindle import`.  Then each
recipient's class, from `rekindle segment export`, is what the rules say, as
DESIGN.md has them and as they are written down here once more; and `rekindle
why`, `rekindle simulate`, the lookup service that Postfix's maps ask and the
milter tell the same of the next message.  AGREE_PEOPLE (2000) in the environment.
"""

import collections
import csv
import datetime
import io
import json
import os
import random
import re
import socket

import rig
from milterclient import Milter

PEOPLE = int(os.environ.get("AGREE_PEOPLE", "2000"))
WHY, MAIL = min(PEOPLE, 40), min(PEOPLE, 2000)
DAY = 86400
NOW = int(datetime.datetime.now(datetime.timezone.utc).timestamp())
HUMAN, PRIVACY, MACHINES = "human", "privacy-open", ("scanner", "suspect", "prefetch", "preview")
ROUTES = {"engaged": "fast", "semi-engaged": "slow", "new": "first", "inactive": "reengage"}
CAPS = {"cap_new": "3/7d", "cap_engaged": "1/16h, 7/7d", "cap_semi": "1/3d, 2/7d"}

_rig = None
_lives = None


# ---- the rules, once more ----

def judge(touches):
	"""The class that weekly mail gives, from DESIGN.md: engaged up to 30 days, semi-engaged up to 90, and so on."""
	human = lambda kind: [t["at"] for t in touches if t["type"] == kind and t.get("verdict") == HUMAN]
	pressed = [t["at"] for t in touches if t["type"] in ("kept", "less")]
	opened, clicked = max(human("opened"), default=0), max(human("clicked") + pressed, default=0)
	affirmed = max([t["at"] for t in touches if t["type"] in ("kept", "less", "joined")], default=0)
	opens = sorted(((t["at"] & ~1, t["verdict"] == HUMAN) for t in touches
		if t["type"] == "opened" and t["verdict"] in (HUMAN, PRIVACY)), reverse=True)[:5]
	opaque = len(opens) == 5 and not any(person for _, person in opens)
	factor = 2 if opaque else 1
	engaged = max(opened, clicked)
	sent = [t for t in touches if t["type"] == "sent"]
	known = NOW - min((t["at"] for t in touches), default=NOW)
	tracked = sum(t["tracked"] for t in sent)
	newest = sorted(((t["at"] & ~1, t["tracked"]) for t in sent), reverse=True)[:24]
	silent = sum(tracked for at, tracked in newest if at > max(engaged, affirmed))

	def within(days):
		return (opened and NOW - opened <= days * DAY) or (clicked and NOW - clicked <= factor * days * DAY)
	if within(30):
		return "engaged"
	if within(90):
		return "semi-engaged"
	if not engaged and known < factor * 60 * DAY and (known < factor * 30 * DAY or tracked < 5):
		return "new"
	if not engaged and known <= factor * 90 * DAY:
		return "semi-engaged"
	return "inactive" if silent >= (18 if engaged else 11) else "semi-engaged"


def standing(touches):
	"""What the recipient's own record says of stream news: a stop at the same second as what lifts it wins."""
	last = lambda kind, *streams: max((t["at"] for t in touches if t["type"] == kind and t.get("stream") in streams), default=0)
	lifted = max(last("joined", None), last("released", None))
	for kind, cause in (("complained", "complained"), ("bounced", "bounced"), ("left", "unsubscribed")):
		if last(kind, None, "news") if kind != "left" else last(kind, None):
			if max(last(kind, None), last(kind, "news") if kind != "left" else 0) >= lifted:
				return cause
	if last("left", "news") and last("left", "news") >= max(last(k, "news") for k in ("joined", "released", "kept", "less")):
		return "unsubscribed"
	if last("held", None) and last("held", None) >= last("released", None):
		return "held"
	return "ok"


# ---- lives ----

def life(dice):
	"""Nothing happens within an hour of a whole number of days ago, so that no limit passes while we look."""
	def ago():
		days = dice.choice((dice.randrange(20), dice.randrange(100), dice.randrange(400)))
		return NOW - days * DAY - dice.randrange(3600, 50000)
	touches = [{"type": "sent", "at": ago(), "stream": "news", "tracked": dice.random() < 0.85} for _ in range(dice.randrange(30))]
	if dice.random() < 0.6:
		person = dice.random()
		for _ in range(dice.randrange(8)):
			touches.append({"type": dice.choice(("opened", "opened", "clicked")), "at": ago(), "stream": "news",
				"verdict": HUMAN if dice.random() < person else dice.choice(MACHINES)})
	if dice.random() < 0.3:
		touches += [{"type": "opened", "at": ago(), "stream": "news", "verdict": PRIVACY} for _ in range(dice.randrange(10))]
	if dice.random() < 0.2:
		for _ in range(dice.randrange(1, 4)):
			kind = dice.choice(("left", "joined", "bounced", "complained", "held", "released", "kept", "less"))
			touch = {"type": kind, "at": ago()}
			if kind in ("kept", "less") or (kind in ("left", "joined") and dice.random() < 0.5):
				touch["stream"] = "news"
			touches.append(touch)
	return touches or [{"type": "sent", "at": ago(), "stream": "news", "tracked": True}]


def line(who, touch):
	at = datetime.datetime.fromtimestamp(touch["at"], datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
	return json.dumps(dict(touch, address=who, at=at)) + "\n"


def shared():
	global _rig, _lives
	if _rig is None:
		dice = random.Random(20261122)
		_lives = {"person%d@example.com" % i: life(dice) for i in range(PEOPLE)}
		_rig = r = rig.Rig(settings={"enforce": "on", "log_level": "warn", **{"route_" + c.split("-")[0]: t for c, t in ROUTES.items()}},
			streams={"news": {"match_sender_domain": "letters.example", "campaign": "letter"}},
			policy={"holdout": "0", **CAPS}, milter="inet").__enter__()
		r.ask_port = rig.free_port()
		r.write_conf(ask_listen=["127.0.0.1:%d" % r.ask_port])
		r.make_keys()
		told = r.cli("import", input="".join(line(who, t) for who, touches in _lives.items() for t in touches))
		assert told.code == 0, told
		r.start_milter()
	return _rig, _lives


def exported(r, *more):
	told = r.cli("segment", "export", "all", "--stream", "news", "--format", "json", *more)
	return {p["address"]: p for p in map(json.loads, told.out.splitlines())}


def simulated(r):
	"""By address, of those who are stopped: (class, cause)."""
	told = r.cli("simulate", "--stream", "news", "--list")
	assert told.code == 0, told
	return {p["address"]: (p["class"], p["cause"]) for p in csv.DictReader(io.StringIO(told.out))}


# ---- tests ----

def test_the_class_is_what_the_rules_say():
	r, lives = shared()
	people = exported(r)
	assert people.keys() == lives.keys()
	for who, touches in lives.items():
		assert people[who]["class"] == judge(touches), (who, people[who], touches)
		assert people[who]["status"] == standing(touches), (who, people[who], touches)
	seen = collections.Counter((p["class"], p["status"]) for p in people.values())
	assert len({c for c, _ in seen}) == 4 and len({s for _, s in seen}) == 5, seen


def test_simulating_nothing_else_is_what_is():
	r, lives = shared()
	people, stopped = exported(r), simulated(r)
	told = r.cli("simulate", "--stream", "news", "--json").json
	assert told["people"] == len(lives) and told["class_changed"] == told["newly_stopped"] == told["no_longer_stopped"] == 0, told
	assert told["now"] == told["then"], told
	assert told["now"]["class"] == {c: sum(p["class"] == c for p in people.values()) for c in told["now"]["class"]}, told
	assert told["now"]["stopped"] == len(stopped) == sum(sum(c.values()) for c in told["stopped_by_class"].values())
	for who, p in people.items():
		if p["status"] != "ok":
			assert stopped[who] == (p["class"], p["status"]), (who, p, stopped[who])
		elif p["class"] == "inactive":
			assert stopped[who][1] in ("inactive", "sunset"), (who, stopped[who])
		else:
			assert stopped.get(who, (0, "capped"))[1] == "capped", (who, stopped[who])


def test_simulating_others():
	r, lives = shared()
	other = os.path.join(r.dir, "other.conf")
	with open(r.conf_file) as f:
		text = f.read()
	with open(other, "w") as f:
		f.write(text + "on_bounced = send\nsemi_days = 31\ninactive_min_sends = 1\ninactive_min_sends_engaged = 1\n")
	before, told = r.cli("simulate", "--json").json, r.cli("simulate", "--conf", other, "--json").json
	now, then = told["now"], told["then"]
	assert now == before["now"], told
	assert now["cause"]["bounced"] > 0 == then["cause"]["bounced"], told
	assert then["class"]["inactive"] > now["class"]["inactive"] and then["class"]["engaged"] == now["class"]["engaged"], told
	assert sum(then["class"].values()) == len(lives) and told["class_changed"] == told["from"]["semi-engaged"]["inactive"] > 0, told
	assert then["stopped"] - now["stopped"] == told["newly_stopped"] - told["no_longer_stopped"], told
	assert told["no_longer_stopped"] > 0 < told["newly_stopped"], told
	# People read of two sides only where there are two.
	assert re.search(r"^class +now +share +then +share\n", r.cli("simulate", "--conf", other).out)
	alone = r.cli("simulate").out
	assert re.search(r"^class +people +share\n", alone) and "then" not in alone and "change" not in alone, alone
	assert r.cli("simulate", "--stream", "nwes").code == 2
	# Nothing of it is kept.
	assert r.cli("simulate", "--json").json == before


def test_campaigns_that_were_sent():
	"""Twelve are silent from the start, three read; the last of 20 weekly messages went to all of them."""
	with rig.Rig(policy={"holdout": "0"}) as r:
		r.make_keys()
		lines = []
		for week in range(20):
			for i in range(15):
				at = NOW - (21 - week) * 7 * DAY
				lines.append(line("p%d@example.com" % i, {"type": "sent", "at": at, "stream": "news", "campaign": "week%d" % week, "tracked": True}))
				if i >= 12:
					lines.append(line("p%d@example.com" % i, {"type": "opened", "at": at + 3600, "stream": "news",
						"campaign": "week%d" % week, "verdict": HUMAN}))
		# What came later is not held against whom it was sent to: neither this sign of life nor this end of it.
		lines.append(line("p0@example.com", {"type": "opened", "at": NOW - 5 * DAY, "verdict": HUMAN}))
		lines.append(line("p14@example.com", {"type": "left", "at": NOW - 5 * DAY}))
		assert r.cli("import", input="".join(lines)).code == 0
		by_name = {c["campaign"]: c for c in r.cli("simulate", "--json").json["campaigns"]}
		assert list(by_name) == ["week%d" % w for w in (19, 18, 17, 16, 15)], by_name
		for week, c in by_name.items():
			assert c["sent"] == 15 and c["stopped"] == c["cause"]["inactive"] == 12, c
			assert c["stream"] == "news", c
		# Thirteen weeks of 7 days are the first that take longer than 90 days; the message that is sent then is the first one stopped.
		of = lambda name: r.cli("simulate", "--campaign", name, "--stream", "news", "--json").json["campaigns"]
		assert [(c["sent"], c["stopped"]) for c in of("week12")] == [(15, 0)], of("week12")
		assert [(c["sent"], c["stopped"]) for c in of("week13")] == [(15, 12)], of("week13")
		told = r.cli("simulate", "--campaign", "week99", "--stream", "news")
		assert (told.code, told.out) == (1, "") and 'campaign "week99" in this stream' in told.err, told
		assert "Brakes and throttling are not in this." in r.cli("simulate", "--campaign", "week3", "--stream", "news").out
		assert len(r.cli("simulate", "--days", "66", "--json").json["campaigns"]) == 8
		for wrong in (("--days", "0"), ("--days", "x"), ("--days", "3", "--campaign", "a"), ("--list", "--days", "3"), ("x",)):
			assert r.cli("simulate", *wrong).code == 2, wrong
		assert r.cli("simulate", "--conf", "/nonexistent").code == 3


def reason_of(r, who):
	"""(class, cause, action, words) of the next message of stream news."""
	told = r.cli("why", who, "--stream", "news", "--json").json
	(next_one,) = told["next"]
	return told["class"], next_one["cause"], next_one["action"], next_one["text"].partition(": ")[2]


def test_the_maps_agree():
	"""Who is stopped for what they did is stopped by the tables too; for frequency and class tables only know roads."""
	r, lives = shared()
	people, stopped = exported(r), simulated(r)
	with socket.create_connection(("127.0.0.1", r.ask_port), 30) as s:
		answers = s.makefile("rb")
		for who in lives:
			question = "news " + who
			s.sendall(b"%d:%s," % (len(question), question.encode()))
			length = b""
			while not length.endswith(b":"):
				length += answers.read(1)
			said = answers.read(int(length[:-1]) + 1)[:-1].decode()
			if people[who]["status"] != "ok":
				assert said.startswith("OK error:5.7.1 "), (who, said, stopped[who])
			else:
				assert said == "OK %s:" % ROUTES[people[who]["class"]], (who, said, people[who])


def test_the_policy_service_agrees():
	r, lives = shared()
	stopped = simulated(r)
	with socket.create_connection(("127.0.0.1", r.ask_port), 30) as s:
		answers = s.makefile("rb")
		for who in lives:
			s.sendall(b"request=smtpd_access_policy\nprotocol_state=RCPT\nclient_address=127.0.0.1\nsasl_username=news\n"
				b"sender=news@letters.example\nrecipient=%s\npolicy_context=news\n\n" % who.encode())
			said = answers.readline().decode()
			assert answers.readline() == b"\n", said
			assert said.startswith("action=550 5.7.1 " if who in stopped else "action=DUNNO"), (who, said, stopped.get(who))


def test_why_agrees():
	r, lives = shared()
	people, stopped = exported(r), simulated(r)
	for who in list(lives)[:WHY]:
		kind, cause, action, _ = reason_of(r, who)
		assert kind == people[who]["class"], (who, kind, people[who])
		assert (action == "reject") == (who in stopped) and cause == stopped.get(who, (0, "none"))[1], (who, cause, action, stopped.get(who))


def test_the_milter_agrees():
	"""Last, for what it lets through it counts."""
	r, lives = shared()
	stopped = simulated(r)
	words = {who: reason_of(r, who)[3] for who in list(lives)[:WHY]}
	raw = b"From: <news@letters.example>\r\nSubject: Hello\r\nMIME-Version: 1.0\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>\r\n"
	with Milter(r.milter_address) as m:
		m.negotiate()
		m.connect()
		for who in list(lives)[:MAIL]:
			outcome = m.message(raw, sender="news@letters.example", rcpts=[who], login="news")
			assert (outcome.verdict == "reject") == (who in stopped), (who, outcome.verdict, stopped.get(who))
			if outcome.verdict == "reject" and who in words:
				assert words[who] in outcome.reply, (who, outcome.reply, words[who])
	assert not rig.SANITIZER.search(r.milter.log), r.milter.log


if __name__ == "__main__":
	rig.main(globals())
