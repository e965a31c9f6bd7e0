#!/usr/bin/env python3
"""test_release.py -- a real Postfix: over the cap, into the hold queue, and out of it when the time has come."""

import contextlib
import datetime
import fcntl
import os
import re
import select
import subprocess
import time

import rig
from test_milter import mail

_rig = None
TODAY = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")


def shared():
	"""Who comes too early is held; only the command line is told of other caps."""
	global _rig
	if _rig is None:
		_rig = rig.Rig(settings={"enforce": "on", "log_level": "debug"},
			policy={"cap_new": "1/16h", "on_capped": "hold"},
			streams={"slow": {}, "warm": {"warmup_start": TODAY, "warmup": "1, 1", "on_throttled": "hold"}}).__enter__()
		_rig.start_milter()
		_rig.start_postfix()
	return _rig


def raw(stream=None):
	return mail("spring", extra=[("X-Rekindle-Stream", stream)] if stream else [])


def on_hold(r):
	return {m["queue_id"]: m for m in r.postfix.queue() if m["queue_name"] == "hold"}


def hold(r, who, stream=None):
	"""One message goes, the next is held: its queue id."""
	before = set(on_hold(r))
	assert r.send(raw(stream), [who]).code == 250
	reply = r.send(raw(stream), [who])
	assert reply.code == 250, reply
	rig.wait_until(lambda: r.sink.of(who), 15, "the first one")
	return rig.wait_until(lambda: set(on_hold(r)) - before, 15, "one on hold").pop()


def release(r, *arguments):
	return r.cli("release", "--config-directory", r.postfix.etc, *arguments, root=True)


def killed_at(r, call, *arguments, helper=False):
	"""It dies at its first such system call, or its helper does at the helper's: what it said until then."""
	command = [r.program("rekindle"), "-c", r.conf_file, "release", "--config-directory", r.postfix.etc, *arguments]
	return subprocess.run(["strace", *(["-f"] if helper else []), "-qq", "-o", "/dev/null", "-e", "trace=" + call,
		"-e", "inject=%s:signal=SIGKILL:when=1" % call, *command], cwd="/", capture_output=True, timeout=60)


@contextlib.contextmanager
def nothing_capped(r):
	r.policy["cap_new"] = "off"
	r.write_conf()
	try:
		yield
	finally:
		r.policy["cap_new"] = "1/16h"
		r.write_conf()


def brake(r, what):
	told = r.cli("brakes", what, "spring", "--stream", "default")
	assert told.code == 0, told


def touches(r, who, kind):
	return [t for t in r.cli("export", "--type", kind).json_lines if t.get("address") == who]


def test_what_was_held_goes_when_it_is_due_and_counts_then():
	r = shared()
	who = "ann@example.com"
	queue_id = hold(r, who)
	assert re.search(queue_id + r": held cause=capped class=new campaign=spring stream=default: recipient had enough", r.milter.log)
	told = release(r, "--json")
	line, = told.json
	assert (told.code, line["queue_id"], line["result"], line["address"], line["cause"]) == (1, queue_id, "held", who, "capped"), told
	assert line["until"] and "next one may come" in line["why"], told
	assert r.cli("why", who, "--json").json["sends"] == 1
	r.policy["cap_new"] = "1/2s"
	r.write_conf()
	told = rig.wait_until(lambda: (lambda t: t.code == 0 and t)(release(r)), 20, "the time to come")
	r.policy["cap_new"] = "1/16h"
	r.write_conf()
	assert re.fullmatch(r"released  %s +default +ann@example.com\nreleased 1, still held 0, gone 0\n" % queue_id, told.out), told
	rig.wait_until(lambda: len(r.sink.of(who)) == 2, 15, "the second one")
	assert rig.tracked(r.sink.of(who)[1].text())
	assert queue_id not in on_hold(r)
	sent = touches(r, who, "sent")
	assert len(sent) == 2 and sent[1]["tracked"] and sent[1]["class"] == "new" and sent[1]["campaign"] == "spring", sent
	assert [t["cause"] for t in touches(r, who, "skipped")] == ["capped"]

	# It is counted: the next one comes too early again.
	assert r.send(raw("slow"), [who]).code == 250
	rig.wait_until(lambda: len(on_hold(r)) == 1, 15, "one on hold")
	assert "cause=capped" in r.milter.log.splitlines()[-1] or re.search("held cause=capped .*stream=slow", r.milter.log)


def test_a_second_run_finds_nothing():
	r = shared()
	told = release(r)
	assert told.code == 1 and re.search(r"(?m)^held +\w+ +slow +ann@example.com: recipient had enough .*may come \d{4}-", told.out), told
	assert told.out.endswith("released 0, still held 1, gone 0\n")
	# Looked at, it stays where it is.
	told = release(r, "--dry-run", "--all", "--json")
	assert (told.code, told.json[0]["result"]) == (0, "due"), told
	assert len(on_hold(r)) == 1
	# Anybody who may read the store may look.
	told = r.cli("release", "--dry-run")
	assert told.code == 1, told
	told = r.cli("release")
	assert told.code == 3 and "only root" in told.err, told

	told = release(r, "--all")
	assert told.code == 0, told
	rig.wait_until(lambda: len(r.sink.of("ann@example.com")) == 3, 15, "the third one")
	told = release(r)
	assert (told.code, told.out) == (1, "released 0, still held 0, gone 0\n"), told


def test_what_goes_counts_for_its_receiver():
	r = shared()
	hold(r, "oda@gmail.com")
	assert release(r, "--all").code == 0
	assert [g["sent_24h"] for g in r.cli("brakes", "--json").json["receivers"] if g["receiver"] == "google"] == [2]


def test_the_warm_up_holds_for_what_is_released():
	"""The volume of the day is used up, oldest first, and the next run goes on from there."""
	r = shared()
	who = ["w%d@example.com" % i for i in range(5)]
	held = []
	for w in who:
		before = set(on_hold(r))
		assert r.send(raw("warm"), [w]).code == 250
		if w != who[0]:
			held += rig.wait_until(lambda: set(on_hold(r)) - before, 15, "one on hold")

	def went(*arguments):
		told = release(r, "--json", *arguments)
		waits = [l for l in told.json if l["result"] == "held"]
		assert all(l["cause"] == "throttled" and l["until"].endswith("T00:00:00Z") for l in waits), told
		assert all(re.match("too much mail for now; try again from ", l["why"]) for l in waits), told
		return [l["queue_id"] for l in told.json if l not in waits], [l["queue_id"] for l in waits]

	rig.wait_until(lambda: len(touches(r, who[0], "sent")) == 1, 15, "the one that went at once")
	assert went() == ([], held)
	r.streams["warm"]["warmup"] = "3, 3"
	r.write_conf()
	assert went("--dry-run") == (held[:2], held[2:])
	assert went() == (held[:2], held[2:])
	assert went() == ([], held[2:])
	# A person who knows better says so, and that counts as well.
	assert went("--all", held[3]) == (held[3:], [])
	r.streams["warm"]["warmup"] = "4, 4"
	r.write_conf()
	assert went() == ([], held[2:3])
	r.streams["warm"]["warmup"] = "5, 5"
	r.write_conf()
	assert went() == (held[2:3], [])


def test_of_two_for_one_recipient_one_goes():
	r = shared()
	who = "ben@example.com"
	first = hold(r, who, "slow")
	assert r.send(raw("slow"), [who]).code == 250
	both = rig.wait_until(lambda: (lambda h: len(h) == 2 and h)(on_hold(r)), 15, "two on hold")
	second, = set(both) - {first}
	# The settings let one more go.
	r.streams["slow"]["cap_new"] = "2/16h"
	r.write_conf()
	told = release(r, "--json")
	assert told.code == 0 and sorted(l["result"] for l in told.json) == ["held", "released"], told
	rig.wait_until(lambda: len(r.sink.of(who)) == 2, 15, "the one")
	assert len(on_hold(r)) == 1
	left, = on_hold(r)
	# What somebody took out by hand, or removed, is gone, and counts for nothing.
	r.postfix.command("postsuper", "-d", left)
	told = release(r, "--all", left)
	assert told.code == 1 and re.match("gone +%s " % left, told.out), told
	assert len(touches(r, who, "sent")) == 2
	assert release(r).out == "released 0, still held 0, gone 0\n"
	told = release(r, left)
	assert told.code == 1 and "%s: no message of this queue id waits" % left in told.err, told
	assert {first, second} >= {left}


def test_only_those_that_are_named():
	r = shared()
	del r.streams["slow"]["cap_new"]
	r.write_conf()
	a, b = hold(r, "cem@example.com", "slow"), hold(r, "dora@example.com", "slow")
	told = release(r, "--all", b)
	assert told.code == 0 and re.match("released  " + b, told.out) and a not in told.out, told
	assert set(on_hold(r)) == {a}
	for word in ("../x", "", "ALL", "ALL;x", "a b", "A" * 65):
		told = release(r, word)
		assert told.code == 2 and "no queue id" in told.err, told
	told = r.cli("release", "--config-directory", "etc", root=True)
	assert told.code == 2 and "absolute path" in told.err, told


def test_their_own_word_is_not_overruled():
	r = shared()
	assert r.cli("suppress", "add", "--reason", "unsubscribed", "cem@example.com").code == 0
	told = release(r, "--all")
	assert told.code == 1 and re.search(r"held .*cem@example.com: recipient unsubscribed on ", told.out), told
	assert len(on_hold(r)) == 1 and len(r.sink.of("cem@example.com")) == 1
	assert r.cli("suppress", "remove", "cem@example.com").code == 0
	assert release(r, "--all").code == 0


def test_a_campaign_that_is_stopped_stays():
	r = shared()
	queue_id = hold(r, "stopped@example.com")
	with nothing_capped(r):
		brake(r, "stop")
		told = release(r, "--json", queue_id)
		line, = told.json
		assert (told.code, line["result"], line["cause"]) == (1, "held", "braked"), told
		assert queue_id in on_hold(r)
		brake(r, "release")
		assert release(r, queue_id).code == 0
		assert queue_id not in on_hold(r)


def test_where_postfix_does_not_answer_nothing_is_lost():
	r = shared()
	queue_id = hold(r, "eva@example.com", "slow")
	told = r.cli("release", "--all", "--config-directory", "/nonexistent", root=True)
	assert told.code == 3 and queue_id + ": " in told.err, told
	assert queue_id in on_hold(r) and len(touches(r, "eva@example.com", "sent")) == 1
	os.environ["MAIL_CONFIG"] = r.postfix.etc
	try:
		told = r.cli("release", "--all", root=True)
	finally:
		del os.environ["MAIL_CONFIG"]
	assert told.code == 0 and queue_id in told.out, told
	rig.wait_until(lambda: len(r.sink.of("eva@example.com")) == 2, 15, "the second one")


def kill_before_it_asks(r, *arguments):
	killed = killed_at(r, "sendto", *arguments)
	assert killed.returncode in (-9, 137) and not killed.stdout, killed


def kill_before_it_hears(r, *arguments):
	killed = killed_at(r, "recvfrom", *arguments)
	assert killed.returncode in (-9, 137) and not killed.stdout, killed


def test_killed_before_it_asks_and_still_there():
	"""What was not released waits as before: for its time, and for its campaign."""
	r = shared()
	who = "fay@example.com"
	queue_id = hold(r, who, "slow")
	kill_before_it_asks(r, "--all", queue_id)
	told = release(r, queue_id)
	assert told.code == 1 and re.match("held +" + queue_id, told.out) and queue_id in on_hold(r), told
	told = release(r, "--all", queue_id)
	assert told.code == 0 and re.match("released +" + queue_id, told.out), told
	assert len(touches(r, who, "sent")) == 2

	queue_id = hold(r, "hal@example.com")
	with nothing_capped(r):
		kill_before_it_asks(r, queue_id)
		brake(r, "stop")
		assert "held" in release(r, queue_id).out and queue_id in on_hold(r)
		brake(r, "release")
		assert release(r, queue_id).code == 0


def test_killed_before_it_asks_and_removed_by_hand():
	r = shared()
	who = "ida@example.com"
	queue_id = hold(r, who, "slow")
	kill_before_it_asks(r, "--all", queue_id)
	r.postfix.command("postsuper", "-d", queue_id)
	told = release(r, "--all")
	assert told.code == 1 and re.match("gone +" + queue_id, told.out), told
	assert len(touches(r, who, "sent")) == 1
	assert queue_id not in release(r, "--all").out


def test_released_and_killed_before_that_was_said():
	"""postsuper itself was killed, or the machine: what is in the queue, and not on hold, is on its way."""
	r = shared()
	who = "jan@example.com"
	queue_id = hold(r, who, "slow")
	kill_before_it_asks(r, "--all", queue_id)
	r.postfix.command("postsuper", "-H", queue_id)
	assert queue_id in [m["queue_id"] for m in r.postfix.queue()]
	told = release(r)
	assert told.code == 0 and re.match("released +" + queue_id, told.out), told
	assert len(touches(r, who, "sent")) == 2
	assert queue_id not in release(r).out


def test_killed_before_it_hears_and_nobody_may_write_to_them_now():
	"""Released is sent, whatever comes after; and a run for another message sees to it first."""
	r = shared()
	who = "kim@example.com"
	other = hold(r, "lea@example.com", "slow")
	queue_id = hold(r, who, "slow")
	kill_before_it_hears(r, "--all", queue_id)
	rig.wait_until(lambda: len(r.sink.of(who)) == 2, 15, "the second one")
	assert len(touches(r, who, "sent")) == 1
	# It was sent when postsuper said so, not when that is found.
	then = int(time.time()) - 3600
	os.utime(os.path.join(r.data_dir, "release"), (then, then))
	assert r.cli("suppress", "add", "--reason", "unsubscribed", who).code == 0
	told = release(r, other, "--all")
	assert [line.split()[:2] for line in told.out.splitlines()[:-1]] == [["released", queue_id], ["released", other]], told
	sent = touches(r, who, "sent")
	assert len(sent) == 2 and sent[1]["tracked"] and sent[1]["class"] == "new", sent
	assert sent[1]["at"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(then)), (sent, then)
	assert release(r).out == "released 0, still held 0, gone 0\n"


def test_the_next_run_waits_for_what_a_dead_one_began():
	"""The helper is killed, and postsuper goes on: nobody looks at the message before it has ended."""
	r = shared()
	who = "gil@example.com"
	queue_id = hold(r, who, "slow")
	killed = killed_at(r, "wait4", "--all", queue_id, helper=True)
	assert b"the helper is gone; whether it was released the next run will see" in killed.stderr and not killed.stdout, killed
	told = release(r)
	assert re.match("released +" + queue_id, told.out), told
	assert len(touches(r, who, "sent")) == 2
	assert queue_id not in release(r).out


def test_who_waits_for_another_run_says_so():
	r = shared()
	step = os.path.join(r.data_dir, "release")
	command = [r.program("rekindle"), "-c", r.conf_file, "release", "--config-directory", r.postfix.etc]
	with open(step) as other:
		fcntl.flock(other, fcntl.LOCK_EX)
		with subprocess.Popen(command, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=r.env(ASAN_OPTIONS="detect_leaks=0")) as run:
			try:
				assert select.select([run.stderr], [], [], 15)[0], "it says nothing"
				assert run.stderr.readline() == b"rekindle: %s: another run is at work; waiting for it to end\n" % step.encode()
				assert run.poll() is None
			finally:
				fcntl.flock(other, fcntl.LOCK_UN)
			out, err = run.communicate(timeout=60)
	assert run.returncode == 1 and out.startswith(b"released 0, ") and not err, (out, err)
	assert release(r).err == ""


def test_killed_when_all_was_written():
	r = shared()
	who = "mia@example.com"
	queue_id = hold(r, who, "slow")
	killed = killed_at(r, "exit_group", "--all", queue_id)
	assert killed.returncode in (-9, 137), killed
	assert release(r).out == "released 0, still held 0, gone 0\n"
	assert len(touches(r, who, "sent")) == 2
	rig.wait_until(lambda: len(r.sink.of(who)) == 2, 15, "the second one")


def test_what_never_goes_is_gone_when_it_was_removed():
	r = shared()
	who = "nik@example.com"
	queue_id = hold(r, who, "slow")
	assert r.cli("suppress", "add", "--reason", "unsubscribed", who).code == 0
	assert re.match("held +" + queue_id, release(r).out)
	r.postfix.command("postsuper", "-d", queue_id)
	assert re.match("gone +" + queue_id, release(r).out)
	assert release(r).out == "released 0, still held 0, gone 0\n"


def test_all_that_never_go_are_looked_for_at_once():
	r = shared()
	who = ["never%d@example.com" % i for i in range(3)]
	ids = [hold(r, w, "slow") for w in who]
	for w in who:
		assert r.cli("suppress", "add", "--reason", "unsubscribed", w).code == 0

	def looked(*arguments):
		trace = os.path.join(r.dir, "trace")
		told = subprocess.run(["strace", "-f", "-qq", "-o", trace, "-e", "trace=execve", r.program("rekindle"), "-c", r.conf_file, "release",
			"--config-directory", r.postfix.etc, *arguments], cwd="/", capture_output=True, timeout=60, env=r.env(ASAN_OPTIONS="detect_leaks=0"))
		with open(trace) as f:
			return [line.split()[:2] for line in told.stdout.decode().splitlines()[:-1]], \
				[[i for i in ids if i in line] for line in f if re.search(r"postcat.* = 0$", line)]

	assert looked() == ([["held", i] for i in ids], [ids])
	# One of them is not there any more, and nobody is taken for another.
	r.postfix.command("postsuper", "-d", ids[1])
	assert looked() == ([["held", ids[0]], ["gone", ids[1]], ["held", ids[2]]], [ids] + [[i] for i in ids])
	assert looked() == ([["held", ids[0]], ["held", ids[2]]], [[ids[0], ids[2]]])
	for i in ids[::2]:
		r.postfix.command("postsuper", "-d", i)
	assert looked()[0] == [["gone", ids[0]], ["gone", ids[2]]]


def test_a_warning_of_postfix_is_no_answer():
	"""Of an odd main.cf its programs warn before they say anything else."""
	r = shared()
	who = "ole@example.com"
	queue_id = hold(r, who, "slow")
	kill_before_it_asks(r, "--all", queue_id)
	main_cf = os.path.join(r.postfix.etc, "main.cf")
	with open(main_cf) as f:
		was = f.read()
	with open(main_cf, "a") as f:
		f.write("\nmail_name = one\nmail_name = two\n")
	try:
		told = release(r, queue_id)
		assert re.match("held +" + queue_id, told.out) and queue_id in on_hold(r), told
		assert len(touches(r, who, "sent")) == 1
		kill_before_it_asks(r, "--all", queue_id)
		r.postfix.command("postsuper", "-d", queue_id)
		assert re.match("gone +" + queue_id, release(r).out)
	finally:
		with open(main_cf, "w") as f:
			f.write(was)


def test_what_is_not_on_hold_yet_is_not_gone():
	"""Its lines come before Postfix puts it there."""
	r = shared()
	who = "pia@example.com"
	queue_id = hold(r, who, "slow")
	on, coming = (os.path.join(r.postfix.spool, name, queue_id) for name in ("hold", "incoming"))
	os.rename(on, coming)
	os.chmod(coming, 0o600)  # Postfix's own sign that it is being written
	told = release(r, "--all", queue_id)
	assert told.code == 1 and re.match("held +" + queue_id, told.out) and "not put it on hold yet" in told.out, told
	os.chmod(coming, 0o700)
	os.rename(coming, on)
	told = release(r, "--all", queue_id)
	assert told.code == 0 and re.match("released +" + queue_id, told.out), told


def test_zz_the_end():
	global _rig
	r, _rig = shared(), None
	assert "corrupt" not in r.postfix.log
	r.__exit__(None, None, None)


if __name__ == "__main__":
	rig.main(globals())
