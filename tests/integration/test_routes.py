#!/usr/bin/env python3
"""test_routes.py -- by which transport of a real Postfix a message leaves: the header that the milter adds, and nobody else's."""

import os
import re
import time

import rig
from test_milter import mail

DAY = 86400
HEADER = "X-Rekindle-Route"


def conf(name):
	with open(os.path.join(rig.TOP, "conf", "postfix-routes." + name)) as f:
		return f.read()


def settings_of(text):
	return dict(re.findall(r"(?m)^(\w+) = (.*)$", text))


def build(**more):
	"""A mail server with the recipe as it is shipped, but for the paths, the pause and the chroot."""
	options = dict(settings={"enforce": "on", "log_level": "debug"}, policy={"on_inactive": "route"},
		streams={"news": {"route_slow": "slow", "route_engaged": "fast:"}, "letters": {"on_inactive": "send", "route_inactive": "slow"},
			"offers": {}, "quiet": {"route_slow": "slow", "route_engaged": "slow", "enforce": "observe"}})
	master = conf("master.cf").replace("       y       -", "       n       -")
	assert master.count("slow      unix") == 1 and "- y" not in master
	options.update(more)
	r = rig.Rig(master=[*master.splitlines(), "fast unix - - n - - smtp -o syslog_name=postfix/fast -o smtp_header_checks=$rekindle_strip"],
		**options)
	main = settings_of(conf("main.cf"))
	assert main.pop("slow_destination_rate_delay") == "1s"
	main["milter_header_checks"] = main["milter_header_checks"].replace("/etc/postfix/rekindle-route", os.path.join(r.dir, "etc", "route"))
	# Free next hops: all of it ends in the sink.
	main["relayhost"] = "[127.0.0.1]:%d" % r.sink.port
	r.postfix.main.update(main)
	for stream in r.streams.values():
		for name, value in stream.items():
			if value == "fast:":
				stream[name] += "[127.0.0.1]:%d" % r.sink.port
	r.write_conf()
	with open(os.path.join(r.dir, "etc", "route"), "w") as f:
		f.write(re.sub(r"FILTER \$\{1\}:$", "FILTER ${1}:[127.0.0.1]:%d" % r.sink.port, conf("header_checks"), flags=re.M))
	r.start_milter()
	r.start_postfix()
	return r


def people(r):
	"""Somebody who reads and somebody who does not."""
	now = int(time.time())

	def at(days):
		return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - days * DAY))
	lines = ['{"type": "sent", "address": "cold@example.com", "at": "%s"}' % at(10 * i) for i in range(1, 41)]
	lines += ['{"type": "sent", "address": "warm@example.com", "at": "%s"}' % at(10 * i) for i in range(1, 41)]
	lines += ['{"type": "clicked", "address": "warm@example.com", "at": "%s"}' % at(5)]
	told = r.cli("import", input="\n".join(lines) + "\n")
	assert told.code == 0, told
	for who, what in (("cold", "inactive"), ("warm", "engaged")):
		assert r.cli("why", who + "@example.com", "--json").json["class"] == what


_rig = None


def shared():
	global _rig
	if _rig is None:
		_rig = build().__enter__()
		people(_rig)
	return _rig


def by(r, who, raw=None, stream="news", extra=(), rcpts=None):
	"""Sends; which transport took it, and the mail as it arrived."""
	n = len(r.sink.of(who))
	begin = len(r.postfix.log)
	reply = r.send(raw or mail("spring", extra=[*([("X-Rekindle-Stream", stream)] if stream else []), *extra]), rcpts or [who])
	assert reply.code == 250, reply
	arrived = rig.wait_until(lambda: r.sink.of(who)[n:], 30, "mail for " + who)[0]
	delivered = rig.wait_until(lambda: re.search(r"postfix/(?:(\w+)/)?smtp\[\d+\]: \w+: to=<%s>.* status=sent" % re.escape(who),
		r.postfix.log[begin:]), 15, "the delivery")
	assert b"X-Rekindle-Route" not in arrived.raw
	return delivered[1] or "usual", arrived


def test_in_one_campaign_each_leaves_by_its_own_road():
	r = shared()
	road, arrived = by(r, "cold@example.com")
	assert road == "slow" and rig.tracked(arrived.text())
	road, arrived = by(r, "warm@example.com")
	assert road == "fast" and rig.tracked(arrived.text())
	assert by(r, "nobody@example.com")[0] == "usual"
	assert re.findall(r": tagged campaign=spring stream=news .* bytes=\S+ (?:route=(\S+) )?recipients=1\n", r.milter.log) == ["slow", r.streams["news"]["route_engaged"], ""]
	assert re.search(r"\w+: routed route=slow cause=inactive class=inactive campaign=spring stream=news: recipient inactive", r.milter.log)
	assert r.cli("campaign", "show", "spring", "--json").json["sent"] == 3


def test_by_class_where_policy_lets_it_go():
	r = shared()
	assert by(r, "cold@example.com", stream="letters")[0] == "slow"
	assert by(r, "warm@example.com", stream="letters")[0] == "usual"


def test_where_nobody_names_a_transport_it_is_the_usual_one():
	r = shared()
	assert by(r, "cold@example.com", stream="offers")[0] == "usual"
	assert re.search(r"would=route \(cannot be done here\) cause=inactive .*stream=offers", r.milter.log)


def test_observing_nothing_is_routed():
	r = shared()
	assert by(r, "cold@example.com", stream="quiet")[0] == "usual"
	assert by(r, "warm@example.com", stream="quiet")[0] == "usual"
	assert re.search(r"would=route cause=inactive .*stream=quiet", r.milter.log)


def test_for_several_only_when_they_agree():
	r = shared()
	both = ["warm@example.com", "cold@example.com"]
	assert by(r, "cold@example.com", rcpts=both)[0] == "usual"
	assert len(re.findall(r"no route: its recipients have several \(fast:\S+, slow\)", r.milter.log)) == 1
	# Who is deleted has no say.
	assert r.cli("suppress", "add", "gone@example.com").code == 0
	assert by(r, "cold@example.com", rcpts=["gone@example.com", "cold@example.com"])[0] == "slow"
	assert not r.sink.of("gone@example.com")


def test_what_a_client_says_leads_nowhere():
	r = shared()
	forged = [(HEADER, "slow"), ("x-rekindle-route", "fast:")]
	assert by(r, "nobody@example.com", extra=forged)[0] == "usual"
	assert by(r, "cold@example.com", extra=[(HEADER, "fast:")])[0] == "slow"
	assert by(r, "warm@example.com", extra=[(HEADER, "slow")] * 3)[0] == "fast"
	# Mail that is left as it is, and mail that nobody selects.
	signed = [("DKIM-Signature", "v=1; d=example.org; h=from:x-rekindle-route; b=AAAA"), *forged]
	assert by(r, "nobody@example.com", extra=signed)[0] == "usual"
	n = len(r.sink.of("other@example.com"))
	assert r.send(mail(None, extra=forged), ["other@example.com"]).code == 250
	rig.wait_until(lambda: len(r.sink.of("other@example.com")) > n)
	assert not re.search(r"/(slow|fast)/smtp\S* \w+: to=<other@", r.postfix.log)


def test_zz_the_end():
	global _rig
	r, _rig = shared(), None
	assert not re.search(r"warning: .*(milter|FILTER|header)", r.postfix.log), r.postfix.log
	r.__exit__(None, None, None)


def test_behind_a_split_each_copy_has_its_own():
	r = build(split=True)
	with r:
		people(r)
		begin = len(r.postfix.log)
		raw = mail("spring", extra=[("X-Rekindle-Stream", "news"), (HEADER, "fast:")])
		assert r.send(raw, ["cold@example.com", "warm@example.com"], listener="front").code == 250
		r.sink.wait_for(2)
		for who, road in (("cold", "slow"), ("warm", "fast")):
			rig.wait_until(lambda: re.search(r"postfix/%s/smtp\[\d+\]: \w+: to=<%s@example.com>.* status=sent" % (road, who),
				r.postfix.log[begin:]), 15, "%s by %s" % (who, road))
			assert b"X-Rekindle" not in r.sink.of(who + "@example.com")[0].raw


if __name__ == "__main__":
	rig.main(globals())
