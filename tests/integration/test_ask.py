"""test_ask.py -- Postfix's lookups: routes by socketmap and tcp_table, the policy service, and who should not be able to harm them."""

import contextlib
import ctypes
import datetime
import json
import os
import re
import select
import selectors
import signal
import socket
import stat

import rig
import newsletter  # rig knows where it is
from milterclient import Milter
from test_tracker import SANITIZED

SENDER = "news@letters.example"

_rig = None
_slow = None


def ago(days):
	then = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(days=days)
	return then.strftime("%Y-%m-%dT%H:%M:%SZ")


def history():
	"""ann reads, ida is silent, the others said or showed that they want no more."""
	for i in range(30):
		for who in ("ann", "ida"):
			yield {"type": "sent", "address": who + "@example.com", "at": ago(210 - 7 * i), "stream": "news", "campaign": "w%d" % i}
	yield {"type": "clicked", "address": "ann@example.com", "at": ago(3), "stream": "news", "campaign": "w29", "link": 1,
		"url": "https://shop.example.org/a"}
	for who, what in (("lea", "left"), ("bob", "bounced"), ("cal", "complained"), ("hal", "held")):
		yield {"type": what, "address": who + "@example.com", "at": ago(5), "stream": "news"}


def recipe(name):
	"""conf/postfix-lookups.NAME to the letter, but for the stream, and without chroot."""
	with open(os.path.join(rig.TOP, "conf", "postfix-lookups." + name)) as f:
		return f.read().replace("ask.sock:default", "ask.sock:news").replace("       y       ", "       n       ")


def settings(text):
	return dict(re.findall(r"(?m)^(\w+) = (.*)$", text))


def shared():
	"""One mail server for all tests; the last of them ends it."""
	global _rig, _slow
	if _rig is None:
		_slow = rig.Sink()
		_rig = r = rig.Rig(settings={"enforce": "on", "log_level": "debug", "ask_stream": "news", "lock_dir": "/nonexistent", "route_inactive": "reengage"}, sasl=True,
			streams={
				"news": {"match_sender_domain": "letters.example", "campaign": "letter"},
				"offers": {"match_login": "marketing", "route_engaged": "fast:[192.0.2.1]:25"},
				"quiet": {"match_daemon": "quiet", "enforce": "observe", "route_engaged": "fast"},
				"often": {"match_login": "often", "cap_engaged": "1/60d", "on_capped": "defer", "route_engaged": "fast"},
				"severe": {"match_login": "severe", "on_inactive": "reject"},
				"receipts": {"match_sender_domain": "receipts.example", "transactional": True}},
			policy={"on_inactive": "send", "on_held": "defer", "on_bounced": "discard", "on_complained": "hold",
				**{"cap_" + name: "off" for name in ("new", "engaged", "semi")}},
			# No DNS here: what has no address goes to the fallback.
			master=[recipe("master.cf") + "    -o smtp_fallback_relay=[127.0.0.1]:%d" % _slow.port],
			listeners={
				"routes": "-o smtpd_milters=",
				"policy": "-o smtpd_milters= -o smtpd_recipient_restrictions=check_policy_service,{unix:rekindle/ask.sock}",
				"quiet": "-o smtpd_milters= -o smtpd_recipient_restrictions=$quiet"},
			main={**settings(recipe("main.cf")), "quiet": "check_policy_service { unix:rekindle/ask.sock, policy_context=quiet }, permit"}).__enter__()
		r.ask_path = os.path.join(r.dir, "spool", "rekindle", "ask.sock")
		r.ask_port = rig.free_port()
		r.write_conf(ask_listen=["unix:" + r.ask_path, "127.0.0.1:%d" % r.ask_port])
		r.start()
		told = r.cli("import", input="".join(json.dumps(line) + "\n" for line in history()))
		assert told.code == 0, told
		rig.wait_until(lambda: ask(r, b"get ida@example.com\n") == b"200 reengage:\n" and
			b"5.7.1" in ask(r, b"get lea@example.com\n"), 30, "the touches to be summed up")
	return _rig


# ---- a client ----

def netstring(text):
	if isinstance(text, str):
		text = text.encode()
	return b"%d:%s," % (len(text), text)


def whole(data):
	"""How many answers these bytes are; all of one protocol."""
	if re.match(rb"\d+:", data):
		n = at = 0
		while at < len(data):
			colon = data.find(b":", at)
			if colon == -1 or len(data) < colon + 2 + int(data[at:colon]):
				break
			at, n = colon + 2 + int(data[at:colon]), n + 1
		return n
	return data.count(b"\n\n") if data.startswith(b"action=") else data.count(b"\n")


def dial(r, tcp=False):
	s = socket.create_connection(("127.0.0.1", r.ask_port), 20) if tcp else socket.socket(socket.AF_UNIX)
	s.settimeout(20)
	if not tcp:
		s.connect(r.ask_path)
	return s


def talk(s, data, answers=1):
	"""So many answers to what is sent; less when the other side hangs up."""
	s.sendall(data)
	got = b""
	while whole(got) < answers:
		more = s.recv(65536)
		if not more:
			break
		got += more
	return got


def ask(r, data, answers=1, tcp=False):
	with dial(r, tcp) as s:
		return talk(s, data, answers)


def socketmap(r, name, key):
	"""What the answer says, without its netstring."""
	got = ask(r, netstring("%s %s" % (name, key)))
	found = re.fullmatch(rb"(\d+):(.*),", got, re.S)
	assert found and int(found[1]) == len(found[2]), got
	return found[2].decode()


def policy(r, recipient, **more):
	lines = dict({"request": "smtpd_access_policy", "protocol_state": "RCPT", "client_address": "127.0.0.1", "sender": SENDER,
		"recipient": recipient}, **more)
	got = ask(r, "".join("%s=%s\n" % item for item in lines.items()).encode() + b"\n").decode()
	assert got.startswith("action=") and got.endswith("\n\n"), got
	return got[len("action="):-2]


def hung_up(s):
	try:
		while s.recv(65536):
			pass
	except ConnectionResetError:
		pass
	return True


def letter():
	return newsletter.build("ann@example.com", "Ann", "1")


# ---- what is answered ----

def test_routes_and_verdicts_by_socketmap():
	r = shared()
	for name, key, want in (
			("news", "ida@example.com", r"OK reengage:"),
			("news", "IDA@Example.COM", r"OK reengage:"),
			("news", "ann@example.com", r"NOTFOUND "),
			("news", "nobody@example.com", r"NOTFOUND "),
			("news", "*", r"NOTFOUND "),
			("news", "example.com", r"NOTFOUND "),
			("news", "@", r"NOTFOUND "),
			("news", "lea@example.com", r"OK error:5\.7\.1 recipient unsubscribed on 20.* \(rekindle\)"),
			("news", "hal@example.com", r"OK retry:4\.7\.1 .* \(rekindle\)"),
			("news", "bob@example.com", r"OK discard:.* \(rekindle\)"),
			("news", "cal@example.com", r"NOTFOUND "),  # to be held, which no table can
			("offers", "ann@example.com", r"OK fast:\[192\.0\.2\.1\]:25"),
			("offers", "lea@example.com", r"NOTFOUND "),  # left another stream
			("quiet", "ann@example.com", r"NOTFOUND "),  # observes
			("quiet", "ida@example.com", r"NOTFOUND "),
			("receipts", "bob@example.com", r"NOTFOUND "),
			# Not what a message's own count brings about: the queue manager asks after it.
			("often", "ann@example.com", r"OK fast:"),
			("severe", "ida@example.com", r"OK reengage:"),
			("default", "ida@example.com", r"OK reengage:"),
			("nws", "ida@example.com", r"PERM rekindle\.conf has no stream nws"),
			("", "ida@example.com", r"PERM .*")):
		got = socketmap(r, name, key)
		assert re.fullmatch(want, got), (name, key, got)
	r.milter.wait_log("a lookup names a stream that is not in the settings")


def test_the_policy_service_by_itself():
	r = shared()
	for recipient, more, want in (
			("ann@example.com", {}, r"DUNNO"),
			("ida@example.com", {}, r"DUNNO"),  # a route is for tables: FILTER is for all recipients
			("lea@example.com", {}, r"550 5\.7\.1 recipient unsubscribed .* \(rekindle\)"),
			("bob@example.com", {}, r"550 5\.7\.1 .*"),  # DISCARD is for all recipients
			("hal@example.com", {}, r"451 4\.7\.1 .*"),
			("cal@example.com", {}, r"HOLD .*"),
			("lea@example.com", {"protocol_state": "DATA"}, r"DUNNO"),
			("lea@example.com", {"sender": "a@elsewhere.example"}, r"DUNNO"),
			("lea@example.com", {"sender": ""}, r"DUNNO"),
			("lea@example.com", {"client_address": "192.0.2.1"}, r"DUNNO"),  # a stranger writes what he likes
			("lea@example.com", {"client_address": "192.0.2.1", "sasl_username": "joe"}, r"550 .*"),
			("cal@example.com", {"sender": "", "sasl_username": "marketing"}, r"HOLD .*"),  # a complaint is about everything
			("lea@example.com", {"sender": "x@receipts.example"}, r"DUNNO"),
			("ann@example.com", {"sender": "", "sasl_username": "often"}, r"451 4\.7\.1 .*"),
			("ida@example.com", {"sender": "", "sasl_username": "severe"}, r"550 5\.7\.1 .*inactive.*"),
			("hal@example.com", {"sender": "", "policy_context": "quiet"}, r"DUNNO"),
			("", {}, r"DUNNO")):
		got = policy(r, recipient, **more)
		assert re.fullmatch(want, got), (recipient, more, got)


def test_postmap_agrees():
	r = shared()
	for key, value in (("ida@example.com", "reengage:"), ("ann@example.com", ""),
			("hal@example.com", socketmap(r, "news", "hal@example.com")[3:])):
		for table in ("tcp:127.0.0.1:%d" % r.ask_port, "socketmap:unix:%s:news" % r.ask_path,
				"socketmap:inet:127.0.0.1:%d:news" % r.ask_port):
			done = r.postfix.command("postmap", "-q", key, table)
			assert done.stdout.decode() == (value and value + "\n"), (table, key, done)
			assert done.returncode == (0 if value else 1), done
	done = r.postfix.command("postmap", "-q", "ann@example.com", "socketmap:unix:%s:none" % r.ask_path)
	assert done.returncode == 1 and b"rekindle.conf has no stream none" in done.stderr, done


# ---- with Postfix ----

def test_in_one_campaign_two_roads():
	r = shared()
	assert r.send(letter(), ["ann@example.com"], SENDER).ok
	assert r.send(letter(), ["ida@example.com"], SENDER).ok
	fast, slow = r.sink.wait_for(1), _slow.wait_for(1)
	assert [m.rcpts for m in fast] == [["ann@example.com"]], fast
	assert [m.rcpts for m in slow] == [["ida@example.com"]], slow
	assert all(rig.tracked(m.text()) for m in fast + slow)
	rig.wait_until(lambda: re.search(r"postfix/reengage\S* .*to=<ida@example.com>.*status=sent", r.postfix.log), what="the line in the log")
	r.sink.take(1), _slow.take(1)


def test_one_message_two_roads():
	"""A table is asked for each recipient."""
	r = shared()
	assert r.send(letter(), ["ann@example.com", "ida@example.com"], SENDER).ok
	assert r.sink.take(1)[0].rcpts == ["ann@example.com"]
	assert _slow.take(1)[0].rcpts == ["ida@example.com"]


def test_a_table_stops_too():
	r = shared()
	sent = r.send(letter(), ["lea@example.com", "hal@example.com", "bob@example.com", "ann@example.com"], SENDER, listener="routes")
	assert sent.ok, sent
	assert re.match(r"5\d\d 5\.7\.1 .*recipient unsubscribed on", str(sent.rcpt["lea@example.com"])), sent.rcpt
	assert re.match(r"4\d\d 4\.7\.1 ", str(sent.rcpt["hal@example.com"])), sent.rcpt
	assert sent.rcpt["bob@example.com"].ok, sent.rcpt
	assert r.sink.take(1)[0].rcpts == ["ann@example.com"]
	rig.wait_until(lambda: re.search(r"postfix/discard.* to=<bob@example.com>", r.postfix.log), what="the discard")


def test_the_policy_service_in_smtpd():
	r = shared()
	r.postfix.command("postconf", "-e", "transport_maps=")
	r.postfix.command("postfix", "reload")
	with contextlib.ExitStack() as back:
		back.callback(r.postfix.command, "postfix", "reload")
		back.callback(r.postfix.command, "postconf", "-e", "transport_maps=socketmap:unix:rekindle/ask.sock:news")

		def routeless():
			"""No smtpd from before the reload is left."""
			with r.smtp("policy") as s:
				s.command("MAIL FROM:<other@elsewhere.example>")
				return s.command("RCPT TO:<lea@example.com>").ok
		rig.wait_until(routeless, what="Postfix to be without the table")
		sent = r.send(letter(), ["lea@example.com", "hal@example.com", "bob@example.com", "ann@example.com"], SENDER, listener="policy")
		assert sent.ok, sent
		assert re.match(r"550 5\.7\.1 <lea@example.com>: Recipient address rejected: recipient unsubscribed on 20.* \(rekindle\)",
			str(sent.rcpt["lea@example.com"])), sent.rcpt
		assert re.match(r"451 4\.7\.1 ", str(sent.rcpt["hal@example.com"])), sent.rcpt
		assert re.match(r"550 5\.7\.1 ", str(sent.rcpt["bob@example.com"])), sent.rcpt
		assert r.sink.take(1)[0].rcpts == ["ann@example.com"]
		assert r.send(letter(), ["cal@example.com"], SENDER, listener="policy").ok
		held = rig.wait_until(lambda: [m for m in r.postfix.queue() if m["queue_name"] == "hold"], what="a message on hold")
		assert [x["address"] for x in held[0]["recipients"]] == ["cal@example.com"], held
		r.postfix.command("postsuper", "-d", "ALL")
		# The listener's name, by policy_context: a stream that observes, but keeps to what was asked for.
		sent = r.send(letter(), ["hal@example.com", "cal@example.com"], "x@elsewhere.example", listener="quiet")
		assert sent.rcpt["hal@example.com"].ok and sent.rcpt["cal@example.com"].ok, sent.rcpt
		r.postfix.command("postsuper", "-d", "ALL")
	r.sink.mails.clear()


# ---- the store, the settings, the end ----

class Value(ctypes.Structure):
	_fields_ = [("n", ctypes.c_size_t), ("p", ctypes.c_void_p)]

	@property
	def bytes(self):
		return ctypes.string_at(self.p, self.n)


def rewrite_people(r, change):
	"""The sums of each recipient through change(who, record), by LMDB itself while the milter has the file open; what they were."""
	lib = ctypes.CDLL("liblmdb.so.0")
	pointer, number = ctypes.c_void_p, ctypes.c_uint

	def call(name, *arguments, may=()):
		rc = getattr(lib, name)(*arguments)
		assert rc == 0 or rc in may, "%s says %d" % (name, rc)
		return rc

	env, txn, cursor, table = pointer(), pointer(), pointer(), number()
	was = {}
	call("mdb_env_create", ctypes.byref(env))
	call("mdb_env_set_maxdbs", env, number(32))
	call("mdb_env_set_mapsize", env, ctypes.c_size_t(1 << 36))
	# MDB_NOSUBDIR | MDB_NOTLS
	call("mdb_env_open", env, os.path.join(r.data_dir, "state.mdb").encode(), number(0x4000 | 0x200000), 0o660)
	call("mdb_txn_begin", env, None, number(0), ctypes.byref(txn))
	call("mdb_dbi_open", txn, b"people", number(0), ctypes.byref(table))
	call("mdb_cursor_open", txn, table, ctypes.byref(cursor))
	key, value = Value(), Value()
	while call("mdb_cursor_get", cursor, ctypes.byref(key), ctypes.byref(value), 8, may=(-30798,)) == 0:  # MDB_NEXT, to MDB_NOTFOUND
		was[key.bytes] = value.bytes
	for who, record in was.items():
		fresh = change(who, record)
		k, v = ctypes.create_string_buffer(who, len(who)), ctypes.create_string_buffer(fresh, len(fresh))
		call("mdb_put", txn, table, ctypes.byref(Value(len(who), ctypes.addressof(k))),
			ctypes.byref(Value(len(fresh), ctypes.addressof(v))), number(0))
	lib.mdb_cursor_close(cursor)
	call("mdb_txn_commit", txn)
	lib.mdb_env_close(env)
	return was


def reload(r, **changes):
	r.write_conf(**changes)
	lines = r.milter.log_now().count("settings: reloaded")
	r.milter.signal(signal.SIGUSR1)
	rig.wait_until(lambda: r.milter.log_now().count("settings: reloaded") > lines, what="the milter to reload")


def test_a_store_that_cannot_be_read():
	r = shared()
	was = rewrite_people(r, lambda who, record: b"\xff")
	try:
		# Mail goes on, as the milter has it, also for whom it would be stopped.
		assert socketmap(r, "news", "ida@example.com") == socketmap(r, "news", "lea@example.com") == "NOTFOUND "
		assert policy(r, "lea@example.com") == "DUNNO"
		assert ask(r, b"get ida@example.com\n") == b"500 none\n"
		assert r.send(letter(), ["lea@example.com"], SENDER).ok
		assert r.sink.take(1)[0].rcpts == ["lea@example.com"]
		reload(r, ask_failure="defer")
		assert socketmap(r, "news", "ida@example.com") == "TEMP no answer at the moment (rekindle)"
		assert policy(r, "lea@example.com") == "451 4.3.0 no answer at the moment (rekindle)"
		assert ask(r, b"get ida@example.com\n") == b"400 no%20answer%20at%20the%20moment%20(rekindle)\n"
		# Whom the store is not asked about has his answer.
		assert socketmap(r, "receipts", "ida@example.com") == socketmap(r, "news", "*") == "NOTFOUND "
		assert socketmap(r, "news", "nobody@example.com") == "NOTFOUND "
		assert r.send(letter(), ["zoe@example.com", "ida@example.com"], SENDER, listener="routes").rcpt["ida@example.com"].code // 100 == 4
		assert r.sink.take(1)[0].rcpts == ["zoe@example.com"]
	finally:
		rewrite_people(r, lambda who, record: was[who])
		reload(r, ask_failure=None)
	assert socketmap(r, "news", "ida@example.com") == "OK reengage:"
	r.milter.wait_log("recipients cannot be looked up; Postfix is told nothing")


def test_settings_are_read_again():
	r = shared()
	with dial(r) as s:
		assert talk(s, netstring("news ida@example.com")) == netstring("OK reengage:")
		reload(r, route_inactive="slow:[192.0.2.1]:26")
		# In the same connection.
		assert talk(s, netstring("news ida@example.com")) == netstring("OK slow:[192.0.2.1]:26")
		reload(r, enforce="observe")
		assert talk(s, netstring("news ida@example.com")) == netstring("NOTFOUND ")
		assert talk(s, netstring("news hal@example.com")) == netstring("NOTFOUND ")
		assert b"recipient unsubscribed" in talk(s, netstring("news lea@example.com"))
	reload(r, route_inactive="reengage", enforce="on")


def test_who_may_connect():
	r = shared()
	seen = os.stat(r.ask_path)
	assert stat.S_IMODE(seen.st_mode) == 0o660 and stat.S_ISSOCK(seen.st_mode), seen
	assert seen.st_gid == os.stat(os.path.dirname(r.ask_path)).st_gid, seen


# ---- who should not be able to harm it ----

def test_hostile_clients():
	r = shared()
	good = netstring("news ida@example.com")
	junk = [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\n\n", b"99999:x", b"8187:", b"5:n a@b;", b"get %zz\n", b"\n\n", b"\0\n\n", b"request=x\n\n",
		b"get " + 8200 * b"a", b"x=" + 8200 * b"a", good + b"x", os.urandom(20000) + b"\n\n"]
	for data in junk:
		for tcp in (False, True):
			with dial(r, tcp) as s, contextlib.suppress(BrokenPipeError, ConnectionResetError):
				s.sendall(data)
				assert hung_up(s)
	# What was whole before that is answered.
	assert ask(r, good + good + b"x", 3) == 2 * netstring("OK reengage:")
	assert len(re.findall("a client speaks neither", r.milter.log_now())) < 5, "a line for each"
	r.milter.wait_log("a client speaks neither socketmap nor tcp_table")
	# In pieces, and half of one while others are served.
	with dial(r) as s:
		for i in range(len(good)):
			s.sendall(good[i:i + 1])
			assert i % 8 or ask(r, good) == netstring("OK reengage:")
		assert talk(s, b"") == netstring("OK reengage:")


def resident(r):
	with open("/proc/%d/status" % r.milter.pid) as f:
		return int(re.search(r"VmRSS:\s+(\d+)", f.read())[1])


def fill(s, question):
	"""How many bytes of them are taken from somebody who reads no answer."""
	sent = 0
	s.setblocking(False)
	with contextlib.suppress(BlockingIOError):
		while sent < 1 << 30:
			sent += s.send((4096 * question)[sent % len(question):])
	return sent


def test_whoever_does_not_read_is_not_read_from():
	r = shared()
	good = netstring("news lea@example.com")
	before = resident(r)
	with dial(r) as s, dial(r) as other:
		sent = fill(s, good)
		assert sent < 1 << 24, "%d bytes were taken from somebody who reads no answer" % sent
		answer = talk(other, good)
		assert b"recipient unsubscribed" in answer, answer
		assert resident(r) - before < 8192, "%d KB" % (resident(r) - before)
		# Every one of them has its answer, once they are read.
		s.settimeout(20)
		got, whole_ones = b"", sent // len(good)
		while len(got) < whole_ones * len(answer):
			got += s.recv(1 << 20)
		assert got == whole_ones * answer
		assert sent % len(good) == 0 or talk(s, good[sent % len(good):]) == answer


def test_more_in_one_write_than_one_turn_answers():
	r = shared()
	good = netstring("news lea@example.com")
	assert ask(r, 600 * good, 600) == 600 * ask(r, good)
	# Two reads of them, and the last one is not whole.
	with dial(r) as s:
		assert talk(s, 2000 * good + good[:5], 2000) == 2000 * ask(r, good)
		assert talk(s, good[5:]) == ask(r, good)


def test_connections_have_a_limit_and_an_end():
	r = shared()
	reload(r, ask_connections=5, ask_idle="500ms")
	with contextlib.ExitStack() as all:
		first = all.enter_context(dial(r))
		talk(first, netstring("news *"))
		others = [all.enter_context(dial(r)) for _ in range(4)]
		for s in others:
			talk(s, netstring("news *"))
		talk(first, netstring("news *"))  # so that another one is idle for longest
		all.enter_context(dial(r))
		assert others[0].recv(1) == b"", "the longest idle one had to go"
		assert talk(first, netstring("news *")) == netstring("NOTFOUND ")
		# A request that never gets whole is no reason to stay, not even while it goes on.
		first.sendall(b"8000:news")
		first.settimeout(0.05)
		assert rig.wait_until(lambda: stays_away(first), 20, "the end of a client that sends byte by byte")
		assert others[3].recv(1) == b""
	# Nor are answers that nobody takes.
	with dial(r) as s:
		fill(s, netstring("news lea@example.com"))
		end = select.poll()
		end.register(s, 0)
		assert any(what & select.POLLHUP for _, what in end.poll(20000)), "whoever takes no answers stays"
	reload(r, ask_connections=None, ask_idle=None)


def stays_away(s):
	"""Has the other side hung up on whoever sends one more byte?"""
	try:
		s.sendall(b"n")
		return s.recv(1) == b""
	except TimeoutError:
		return False
	except (BrokenPipeError, ConnectionResetError):
		return True


def descriptors(r, n):
	"""As its own user, since root in a container may not."""
	rig.subprocess.run(["prlimit", "--pid", str(r.milter.pid), "--nofile=%s:" % n], check=True, **r.identity())


def test_without_descriptors_the_idle_ones_go():
	r = shared()
	good = netstring("news ida@example.com")
	with open("/proc/%d/limits" % r.milter.pid) as f:
		was = re.search(r"Max open files +(\d+)", f.read())[1]
	with contextlib.ExitStack() as all:
		all.callback(descriptors, r, was)
		descriptors(r, max(map(int, os.listdir("/proc/%d/fd" % r.milter.pid))) + 3)
		clients = [all.enter_context(dial(r)) for _ in range(20)]
		assert talk(clients[-1], good) == netstring("OK reengage:")
		assert hung_up(clients[0])
		r.milter.wait_log("cannot take connections for lookups: Too many open files")


def test_idle_lookups_leave_room_for_mail():
	"""libmilter closes nothing, and would wait for a descriptor until one of them is idle for too long."""
	r = shared()
	good = netstring("news ida@example.com")
	with open("/proc/%d/limits" % r.milter.pid) as f:
		was = re.search(r"Max open files +(\d+)", f.read())[1]
	with contextlib.ExitStack() as all:
		all.callback(descriptors, r, was)
		descriptors(r, 300)
		clients = [all.enter_context(dial(r)) for _ in range(300)]
		assert talk(clients[-1], good) == netstring("OK reengage:")
		for _ in range(8):
			all.enter_context(Milter("unix:" + r.milter_socket, 10)).negotiate()
		assert talk(clients[-1], good) == netstring("OK reengage:")


def test_fifty_thousand_lookups_on_eight_connections():
	"""16 in flight on each; every answer is the right one, in order."""
	r = shared()
	kinds = [(netstring("news ida@example.com"), netstring("OK reengage:")), (netstring("news ann@example.com"), netstring("NOTFOUND ")),
		(netstring("news *"), netstring("NOTFOUND "))]
	kinds += [(netstring("news %s@example.com" % who), ask(r, netstring("news %s@example.com" % who))) for who in ("lea", "hal", "bob")]
	assert len({answer for _, answer in kinds}) == 5, kinds
	n, flight, connections = 50000, 16, 8

	def wanted(i, k):
		"""A question of its own for everybody, so that none can be mistaken for another."""
		return kinds[(i * 7 + k) % len(kinds)]

	class Client:
		def __init__(self, k):
			self.k, self.socket, self.asked, self.got, self.data = k, dial(r, k % 2 == 1), 0, 0, b""

		def ask(self):
			end = min(self.got + flight, n // connections)
			self.socket.sendall(b"".join(wanted(i, self.k)[0] for i in range(self.asked, end)))
			self.asked = max(self.asked, end)

		def read(self):
			self.data += self.socket.recv(65536)
			while self.got < self.asked:
				answer = wanted(self.got, self.k)[1]
				if len(self.data) < len(answer):
					break
				assert self.data.startswith(answer), (self.got, self.data[:200], answer)
				self.data, self.got = self.data[len(answer):], self.got + 1
			self.ask()

	with selectors.DefaultSelector() as waiting:
		clients = [Client(k) for k in range(connections)]
		for c in clients:
			waiting.register(c.socket, selectors.EVENT_READ, c)
			c.ask()
		left = set(clients)
		while left:
			ready = waiting.select(20)
			assert ready, "no answer for 20 seconds"
			for key, _ in ready:
				key.data.read()
				if key.data.got == n // connections:
					left.discard(key.data)
					waiting.unregister(key.data.socket)
					assert key.data.data == b"", key.data.data
					key.data.socket.close()
	reload(r)
	counted = re.findall(r"so far lookups=(\d+) routed=(\d+) stopped=(\d+)", r.milter.log_now())[-1]
	assert int(counted[0]) >= n and int(counted[1]) >= n // 7 and int(counted[2]) >= n // 3, counted


def test_zy_nobody_takes_its_place():
	r = shared()
	done = rig.subprocess.run([r.program("rekindle-milter"), "-c", r.conf_file], capture_output=True, env=r.env(), timeout=60, **r.identity())
	assert done.returncode != 0 and ask(r, netstring("news *")) == netstring("NOTFOUND "), done
	# One that was killed leaves a file behind, and the next one takes it.
	r.milter.kill()
	assert os.path.exists(r.ask_path)
	r.start_milter()
	assert socketmap(r, "news", "ida@example.com") == "OK reengage:"


def test_zy_the_name_goes_before_the_socket():
	"""A file where nobody listens is free for the next milter, whose socket must not be removed then."""
	r = shared()
	refused = None if SANITIZED else rig.refusal_at_end(r.milter.process, r.ask_path, wake=r.milter_socket)
	if refused is None:
		print("skipped: strace cannot be used", flush=True)
		return
	assert isinstance(refused, FileNotFoundError), refused
	r.milter.stop()
	r.start_milter()


def test_zz_all_of_it_ends_in_good_order():
	global _rig
	r, _rig = shared(), None
	assert "corrupt" not in r.postfix.log
	with dial(r) as idle:
		talk(idle, netstring("news *"))
		r.__exit__(None, None, None)
	_slow.close()


if __name__ == "__main__":
	rig.main(globals())
