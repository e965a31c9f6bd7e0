"""test_feedback.py -- what Postfix's log says comes back as touches: a real Postfix, and a server that refuses as told."""

import json
import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
import uuid

import milterclient
import rig

MESSAGE = """From: news@example.org
To: %s
Subject: Spring
MIME-Version: 1.0
Content-Type: text/plain

Spring
"""
CAMPAIGN = MESSAGE.replace("Subject", "X-Rekindle-Campaign: spring\nSubject")
STREAMS = {"weekly": {"match_sender_domain": "example.org", "enforce": "on"}}


class Fussy:
	"""An SMTP server that answers RCPT by the local part of the address; of those that are not in the table everybody is welcome."""

	def __init__(self, answers):
		self.answers = dict(answers)
		server = self

		class Handler(socketserver.StreamRequestHandler):
			def handle(self):
				def reply(text):
					self.wfile.write(text.encode() + b"\r\n")

				reply("220 fussy.test.invalid ESMTP")
				for line in self.rfile:
					verb = line[:4].upper()
					if verb == b"EHLO":
						reply("250 fussy.test.invalid")
					elif verb == b"RCPT":
						reply(server.answers.get(re.search(rb"<([^@]*)@", line)[1].decode(), "250 2.1.5 ok"))
					elif verb == b"DATA":
						reply("354 go on")
						while self.rfile.readline() not in (b".\r\n", b""):
							pass
						reply("250 2.0.0 kept")
					elif verb == b"QUIT":
						reply("221 2.0.0 bye")
						return
					else:
						reply("250 2.0.0 ok")

		class Server(socketserver.ThreadingTCPServer):
			daemon_threads = True

		self.server = Server(("127.0.0.1", 0), Handler)
		self.port = self.server.server_address[1]
		threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

	def __enter__(self):
		return self

	def __exit__(self, *_):
		self.server.shutdown()
		self.server.server_close()


def touches(r, *kinds):
	"""The touches of these kinds as (kind, local part, campaign, bounce), sorted."""
	out = []
	for kind in kinds:
		for line in r.cli("export", "--type", kind).json_lines:
			out.append((line["type"], line["address"].split("@")[0], line.get("campaign"), line.get("bounce")))
	return sorted(out, key=str)


KINDS = ("delivered", "bounced", "soft-bounced")


def wait_for(r, want):
	want = sorted(want, key=str)
	try:
		rig.wait_until(lambda: touches(r, *KINDS) == want, what="touches")
	except AssertionError:
		raise AssertionError("%s\nand not\n%s" % (touches(r, *KINDS), want)) from None


def send(r, local, text=CAMPAIGN, sender="news@example.org"):
	to = local + "@example.com"
	return r.send(text % to, rcpts=[to], sender=sender)


def test_bounces():
	"""
	Delivered, hard, soft, policy, deferred and then refused, given up: each
	with campaign and stream.  Whoever does not exist is refused the next
	message; whose mailbox is full is not.
	"""
	answers = {
		"gone": "550 5.1.1 <gone@example.com>: Recipient address rejected: User unknown",
		"full": "552 5.2.2 <full@example.com>: user is over quota",
		"picky": "550 5.7.1 Service unavailable; Client host blocked using zen.spamhaus.org",
		"later": "450 4.2.0 try again",
		"never": "450 4.7.1 slow down",
		"known": "550 5.1.1 user unknown",
		"stranger": "550 5.1.1 user unknown",
	}
	with Fussy(answers) as fussy, rig.Rig(streams=STREAMS) as r:
		r.write_conf(mail_log=r.postfix.log_file)
		open(r.postfix.log_file, "w").close()
		r.postfix.main["default_transport"] = "smtp:[127.0.0.1]:%d" % fussy.port
		r.start_milter()
		r.milter.wait_log("mail_log: following")
		r.start_postfix()
		for name in ("good", "gone", "full", "picky", "later", "never"):
			assert send(r, name).ok
		said = [
			("delivered", "good", "spring", None),
			("bounced", "gone", "spring", None),
			("soft-bounced", "full", "spring", "soft"),
			("soft-bounced", "picky", "spring", "policy"),
		]
		wait_for(r, said)

		# A deferral is no touch, but what becomes of it is one.
		rig.wait_until(lambda: [q["queue_name"] for q in r.postfix.queue()].count("deferred") == 2, what="two deferred messages")
		fussy.answers["later"] = "550 5.1.1 user unknown"
		ids = {q["recipients"][0]["address"]: q["queue_id"] for q in r.postfix.queue()}
		done = r.postfix.command("postsuper", "-e", ids["never@example.com"])
		assert done.returncode == 0, done
		r.postfix.flush()
		said += [("bounced", "later", "spring", None), ("soft-bounced", "never", "spring", "policy")]
		wait_for(r, said)
		rig.wait_until(lambda: not r.postfix.queue(), what="an empty queue")

		# The next message: no for those who do not exist, and yes for all others.
		for name in ("gone", "later"):
			refused = rig.wait_until(lambda n=name: (lambda sent: sent if not sent.ok else None)(send(r, n)), what="a refusal")
			assert refused.code == 550 and "bounced" in str(refused), refused
		del said[:]
		for name in ("full", "picky", "never"):
			assert send(r, name).ok
		why = r.cli("why", "gone@example.com", "--json").json
		assert why["status"] == "bounced", why
		history = r.cli("suppress", "show", "gone@example.com", "--json").json["history"]
		assert [(h["type"], h["source"]) for h in history] == [("bounced", "mail log: bounced with status 5.1.1 by 127.0.0.1")], history

		# Mail that is no campaign's leaves no trace, but that somebody whom we know is gone.
		assert r.cli("import", input=json.dumps({"type": "joined", "address": "known@example.com", "stream": "weekly"})).code == 0
		for name in ("known", "stranger", "good"):
			assert send(r, name, MESSAGE, sender="office@elsewhere.example").ok
		rig.wait_until(lambda: touches(r, "bounced")[1:2] == [("bounced", "known", None, None)], what="the bounce of somebody known")
		rig.wait_until(lambda: not r.postfix.queue() or {q["recipients"][0]["address"] for q in r.postfix.queue()} == {"never@example.com"},
			what="an empty queue")
		r.milter.signal(signal.SIGUSR1)
		r.milter.wait_log(r"so far mail_log lines=\d+ delivered=1 deferred=3 bounced=3 soft_bounced=2 policy_bounced=3")
		assert [t[1] for t in touches(r, "bounced")] == ["gone", "known", "later"], touches(r, "bounced")
		assert [t[1] for t in touches(r, "delivered")] == ["good"], touches(r, "delivered")
		assert "stranger" not in r.cli("export").out


def test_split():
	"""Behind a split each recipient's copy has a queue id of its own; that the front handed it on is no delivery."""
	with Fussy({"gone": "550 5.1.1 user unknown"}) as fussy, rig.Rig(streams={"weekly": {"match_login": "news"}}, split=True, sasl=True) as r:
		r.write_conf(mail_log=r.postfix.log_file)
		r.postfix.main["default_transport"] = "smtp:[127.0.0.1]:%d" % fussy.port
		r.start_milter()
		r.milter.wait_log("No such file or directory; waiting for it")
		r.start_postfix()
		# Postfix makes it for itself.
		r.milter.wait_log("Permission denied; the milter's user needs the group")
		os.chmod(r.postfix.log_file, 0o644)
		r.milter.wait_log("mail_log: following .*mail.log")
		told = r.send(CAMPAIGN % "all@example.com", rcpts=[name + "@example.com" for name in ("ann", "bob", "gone")], listener="front", login="news")
		assert told.ok, told
		wait_for(r, [("bounced", "gone", "spring", None), ("delivered", "ann", "spring", None), ("delivered", "bob", "spring", None)])


class Log:
	"""The mail log as syslog would write it, by hand, and the messages behind it, by hand too."""

	def __init__(self, r):
		self.r, self.path, self.ids = r, os.path.join(r.dir, "log", "followed.log"), {}

	def start(self):
		self.r.start_milter()
		self.r.milter.wait_log("mail_log: following")

	def stop(self):
		self.r.milter.signal(signal.SIGTERM)
		time.sleep(0.1)
		try:  # libmilter looks up from its socket every five seconds; or when somebody calls
			socket.create_connection(("127.0.0.1", self.r.milter_port), 5).close()
		except OSError:
			pass
		self.r.milter.stop()

	def send(self, *names):
		with milterclient.Milter(self.r.milter_address) as mta:
			mta.negotiate()
			mta.connect()
			for name in names:
				self.ids[name] = "4F2X%04dA" % len(self.ids)
				to = name + "@example.com"
				told = mta.message((CAMPAIGN % to).replace("\n", "\r\n"), rcpts=[to], queue_id=self.ids[name])
				assert told.verdict == "continue", told.verdict

	def message(self, name, status="sent (250 2.0.0 ok)", dsn="2.0.0", relay="mx.example.com[192.0.2.1]:25"):
		return "%s: to=<%s@example.com>, relay=%s, delay=1, delays=1/0/0/0, dsn=%s, status=%s" % (self.ids[name], name, relay, dsn, status)

	def line(self, *arguments, **more):
		return "Nov 23 05:28:51 mx postfix/smtp[1]: %s\n" % self.message(*arguments, **more)

	def write(self, text, path=None):
		with open(path or self.path, "a") as f:
			f.write(text)


def delivered(r, *names):
	wait_for(r, [("delivered", name, "spring", None) for name in names])


def test_rotation_and_restart():
	"""Each line is read once: in pieces, before and behind a rotation, before and behind a restart, however it came."""
	with rig.Rig(streams=STREAMS, milter="inet") as r:
		log = Log(r)
		log.write("Nov 23 05:28:50 mx postfix/smtp[1]: 3A4B5C6D7E8: of long ago\n")
		r.write_conf(mail_log=log.path)
		log.start()
		log.send(*"abcdefghijkl")

		# In two pieces, with others around it, and with a line that never seems to end.
		log.write("x" * 300000 + "\n" + log.line("a") + "dovecot: imap\n" + log.line("b")[:60])
		delivered(r, "a")
		log.write(log.line("b")[60:])
		delivered(r, "a", "b")

		# Renamed: whoever writes goes on with the old file for a while.
		os.rename(log.path, log.path + ".1")
		open(log.path, "w").close()
		log.write(log.line("c"), log.path + ".1")
		delivered(r, "a", "b", "c")
		log.write(log.line("d"), log.path + ".1")
		log.write(log.line("e"))
		delivered(r, *"abcde")

		# Copied and truncated, and as long as it was before anybody looks; or longer.
		shutil.copy(log.path, log.path + ".2")
		with open(log.path, "r+") as f:
			f.truncate()
			f.write(log.line("f"))
		delivered(r, *"abcdef")
		with open(log.path, "r+") as f:
			f.truncate()
			f.write("Nov 23 05:28:50 mx something[1]: else\n" * 100 + log.line("g"))
		delivered(r, *"abcdefg")

		# Killed; then stopped and rotated while nobody reads; then killed again.
		r.milter.kill()
		log.write(log.line("h"))
		log.start()
		delivered(r, *"abcdefgh")
		log.stop()
		log.write(log.line("i"))
		os.rename(log.path, log.path + "-20261123")
		log.write(log.line("j"))
		log.start()
		delivered(r, *"abcdefghij")
		r.milter.kill()
		log.start()
		log.write(log.line("k"))
		delivered(r, *"abcdefghijk")

		# There is none, for a while.
		r.milter.kill()
		os.unlink(log.path)
		r.start_milter()
		r.milter.wait_log("No such file or directory; waiting for it")
		log.write(log.line("l"))
		r.milter.wait_log("mail_log: following")
		delivered(r, *"abcdefghijkl")
		log.stop()


def test_what_may_not_be_read():
	"""It is not said to be followed until it is; and then from its place on, whatever it is called by now, no line twice."""
	denied = "Permission denied; the milter's user needs the group"
	with rig.Rig(streams=STREAMS, milter="inet") as r:
		log = Log(r)
		open(log.path, "w").close()
		r.write_conf(mail_log=log.path)
		log.start()
		assert r.cli("import", input=json.dumps({"type": "joined", "address": "known@example.com", "stream": "weekly"})).code == 0
		log.ids["known"] = "3A4B5C6D7E8"
		log.send("a", "b", "c", "d")
		log.write(log.line("known", "bounced (user unknown)", "5.1.1") + log.line("a"))
		said = [("bounced", "known", None, None), ("delivered", "a", "spring", None)]
		wait_for(r, said)
		log.stop()

		log.write(log.line("b"))
		os.chmod(log.path, 0)
		r.start_milter()
		r.milter.wait_log(denied)
		r.milter.wait_log("started")
		assert "following" not in r.milter.log_now(), r.milter.log_now()
		os.rename(log.path, log.path + ".1")
		log.write(log.line("c"))
		os.chmod(log.path, 0)
		os.chmod(log.path + ".1", 0o644)
		r.milter.wait_log("following(.*\n)+.*followed.log: " + denied)
		said += [("delivered", "b", "spring", None)]
		wait_for(r, said)
		os.chmod(log.path, 0o644)
		r.milter.wait_log("following(.*\n)+.*" + denied + "(.*\n)+.*following")
		log.write(log.line("d"))
		wait_for(r, said + [("delivered", "c", "spring", None), ("delivered", "d", "spring", None)])
		log.stop()


def test_a_closed_directory():
	"""Nothing is found in it, and nothing is gone for that."""
	with rig.Rig(streams=STREAMS, milter="inet") as r:
		log = Log(r)
		inside = os.path.join(r.dir, "inside")
		os.mkdir(inside)
		os.chmod(inside, 0o755)
		log.path = os.path.join(inside, "followed.log")
		open(log.path, "w").close()
		r.write_conf(mail_log=log.path)
		log.start()
		assert r.cli("import", input=json.dumps({"type": "joined", "address": "known@example.com", "stream": "weekly"})).code == 0
		log.ids["known"] = "3A4B5C6D7E8"
		log.send("a", "b", "c")
		log.write(log.line("known", "bounced (user unknown)", "5.1.1") + log.line("a"))
		said = [("bounced", "known", None, None), ("delivered", "a", "spring", None)]
		wait_for(r, said)
		log.stop()

		log.write(log.line("b"))
		os.chmod(inside, 0)
		r.start_milter()
		r.milter.wait_log("Permission denied")
		os.chmod(inside, 0o755)
		said += [("delivered", "b", "spring", None)]
		wait_for(r, said)
		assert "is gone" not in r.milter.log_now(), r.milter.log_now()
		log.stop()

		# Rotated into what stays closed: the log goes on.
		os.chmod(log.path, 0)
		r.start_milter()
		r.milter.wait_log("Permission denied")
		os.rename(log.path, log.path + ".1")
		log.write(log.line("c"))
		os.chmod(log.path, 0o644)
		wait_for(r, said + [("delivered", "c", "spring", None)])
		r.milter.wait_log(r"followed.log.1 may not be read; what came in it")
		log.stop()


def test_whose_it_is():
	"""
	A filter behind us hands mail on under another name; an alias is its
	recipient; a copy for somebody else is nobody's; a gateway is known by its name.
	"""
	with rig.Rig(streams=STREAMS, milter="inet") as r:
		log = Log(r)
		open(log.path, "w").close()
		r.write_conf(mail_log=log.path)
		log.start()
		log.send("filtered", "alias", "copied", "watched", "twice", "first")
		# The very first line comes while nobody reads.
		log.stop()
		log.write(log.line("first"))
		log.start()
		log.write(log.line("filtered", "sent (250 2.0.0 from MTA: 250 2.0.0 Ok: queued as 9A8B7C6D5E)", relay="127.0.0.1[127.0.0.1]:10024"))
		log.write("Nov 23 05:28:51 mx postfix/qmgr[1]: %s: removed\n" % log.ids["filtered"])
		log.ids["filtered"] = "9A8B7C6D5E"
		log.write(log.line("filtered", "bounced (host mx.example.com[192.0.2.1] said: 550 5.1.1 no (in reply to RCPT TO command))", "5.1.1"))
		log.write(log.line("alias").replace("to=<alias@example.com>", "to=<real@example.net>, orig_to=<Alias@Example.COM>"))
		log.write(log.line("copied").replace("<copied@", "<archive@"))
		log.write(log.line("copied", "bounced (user unknown)", "5.1.1").replace("<copied@", "<archive@"))
		log.write(log.line("watched", relay="watched-com.mail.protection.outlook.com[192.0.2.1]:25"))
		# A reply that would like to be somebody else's bounce.
		log.write(log.line("twice", "deferred (450 to=<watched@example.com>, relay=x, dsn=5.1.1, status=bounced (gone))", "4.0.0"))
		log.write(log.line("twice") * 2)
		wait_for(r, [
			("bounced", "filtered", "spring", None),
			("delivered", "alias", "spring", None),
			("delivered", "first", "spring", None),
			("delivered", "twice", "spring", None),
			("delivered", "watched", "spring", None),
		])
		lines = r.cli("export", "--type", "delivered").json_lines
		assert [line["address"] for line in lines if line.get("gateway")] == ["watched@example.com"], lines
		# The line says when; without a year it is this one or the last.
		assert {line["at"][4:19] for line in lines} == {"-11-23T05:28:51"}, lines
		log.stop()


def test_two_milters():
	"""Of two on one data_dir one follows, so that nothing counts twice; when it is killed the other one goes on where it was."""
	with rig.Rig(streams=STREAMS, milter="inet") as r:
		log = Log(r)
		open(log.path, "w").close()
		r.write_conf(mail_log=log.path)
		log.start()
		second = rig.Daemon(r, "rekindle-milter")
		second.log_file = os.path.join(r.dir, "log", "second.log")
		open(second.log_file, "w").close()
		r.daemons["second"] = second
		conf = os.path.join(r.dir, "second.conf")
		with open(r.conf_file) as f, open(conf, "w") as out:
			out.write(re.sub(r"(?m)^milter_socket = .*", "milter_socket = inet:127.0.0.1:%d" % rig.free_port(), f.read()))
		second.spawn(("-c", conf))
		second.wait_log("mail_log: another rekindle-milter of .* follows its log; this one does not")

		# Of mail that neither knows, too.
		log.send("a", "b")
		assert r.cli("import", input=json.dumps({"type": "joined", "address": "known@example.com", "stream": "weekly"})).code == 0
		log.ids["known"] = "3A4B5C6D7E8"
		log.write(log.line("known", "bounced (user unknown)", "5.1.1") + log.line("a"))
		said = [("bounced", "known", None, None), ("delivered", "a", "spring", None)]
		wait_for(r, said)

		def saved():
			with open(os.path.join(r.data_dir, "queue-ids"), "rb") as ids, open(os.path.join(r.data_dir, "mail-log.place")) as place:
				return log.ids["b"].encode() in ids.read() and place.read().split()[3] == str(os.path.getsize(log.path))
		rig.wait_until(saved, what="queue id and place on disk")
		r.milter.kill()
		log.write(log.line("b") + log.line("known", "bounced (user unknown)", "5.1.1"))
		second.wait_log("mail_log: following")
		said += [("delivered", "b", "spring", None), ("bounced", "known", None, None)]
		wait_for(r, said)

		# And the other way round.
		r.start_milter()
		r.milter.wait_log("mail_log: another")
		second.kill()
		r.milter.wait_log("mail_log: following")
		log.send("c")
		log.write(log.line("c"))
		wait_for(r, said + [("delivered", "c", "spring", None)])
		log.stop()


class Journal:
	"""A journal in a directory of its own, written by systemd's own program."""

	def __init__(self, path):
		os.mkdir(path)
		shutil.chown(path, rig.OWNER)
		self.boot, self.machine, self.n = uuid.uuid4().hex, uuid.uuid4().hex, 0
		self.process = subprocess.Popen(["/lib/systemd/systemd-journal-remote", "-o", os.path.join(path, "mail.journal"), "-"],
			stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", user=rig.OWNER)

	def write(self, message, tag="postfix/smtp", facility="2"):
		self.n += 1
		entry = {"__REALTIME_TIMESTAMP": int(time.time() * 1e6) + self.n, "__MONOTONIC_TIMESTAMP": 1000000 + self.n, "_BOOT_ID": self.boot,
			"_MACHINE_ID": self.machine, "SYSLOG_FACILITY": facility, "SYSLOG_IDENTIFIER": tag, "MESSAGE": message}
		self.process.stdin.write("".join("%s=%s\n" % field for field in entry.items()).encode() + b"\n")
		self.process.stdin.flush()

	def close(self):
		self.process.stdin.close()
		self.process.wait()


def test_journal():
	"""systemd's journal instead of a file: facility mail alone, each entry once, also across restarts."""
	with rig.Rig(streams=STREAMS, milter="inet") as r:
		log = Log(r)
		directory = os.path.join(r.dir, "journal")
		journal = Journal(directory)
		try:
			journal.write("of long ago")
			rig.wait_until(lambda: os.path.exists(directory + "/mail.journal"), what="a journal")
			r.write_conf(mail_log="journal:" + directory)
			log.start()
			log.send(*"abcd")
			journal.write(log.message("d"), facility="3")
			journal.write(log.message("d"), tag="postfix/smtpd")
			journal.write(log.message("a"))
			delivered(r, "a")
			r.milter.kill()
			journal.write(log.message("b"))
			log.start()
			delivered(r, "a", "b")
			log.stop()
			log.start()
			journal.write(log.message("c"))
			journal.write(log.message("d", "bounced (user unknown)", "5.1.1"))
			wait_for(r, [("bounced", "d", "spring", None)] + [("delivered", name, "spring", None) for name in "abc"])
			log.stop()
		finally:
			journal.close()


if __name__ == "__main__":
	rig.main(globals())
