"""test_intake.py -- mail that comes back: what `rekindle intake` makes of it, alone and behind a real Postfix."""

import base64
import json
import os
import re
import shutil
import subprocess
import time

import rig

REPORTS = os.path.join(rig.TOP, "tests", "data", "reports")
MESSAGE = """From: news@example.org
To: %s
Subject: Spring
X-Rekindle-Campaign: spring
MIME-Version: 1.0
Content-Type: text/plain

Spring
"""
SETTINGS = {"unsubscribe_mailto": "unsubscribe@example.org", "cfbl_address": "fbl@example.org"}
STREAMS = {"weekly": {"match_sender_domain": "example.org"}}

# file -> what is done, and what `why` says of the recipient afterwards
WANT = {
	"unsubscribe-plain.eml": ("unsubscribed", "unsubscribed from weekly"),
	"unsubscribe-folded.eml": ("unsubscribed", "unsubscribed from weekly"),
	"unsubscribe-encoded.eml": ("unsubscribed", "unsubscribed from weekly"),
	"unsubscribe-by-hand.eml": ("nothing", "ok"),
	"vacation.eml": ("nothing", "ok"),
	"arf-full-message.eml": ("complained", "complained"),
	"arf-headers-only.eml": ("complained", "complained"),
	"arf-not-spam.eml": ("nothing", "ok"),
	"dsn-postfix-unknown-user.eml": ("bounced", "bounced"),
	"dsn-webmail-related.eml": ("bounced", "bounced"),
	"dsn-generic-status.eml": ("bounced", "bounced"),
	"dsn-policy.eml": ("soft-bounced", "ok"),
	"dsn-mailbox-full.eml": ("soft-bounced", "ok"),
	"dsn-gmail-blocked.eml": ("soft-bounced", "ok"),
	"dsn-microsoft-denied.eml": ("bounced", "bounced"),
	"dsn-microsoft-exchange.eml": ("bounced", "bounced"),
	"dsn-yahoo-no-account.eml": ("bounced", "bounced"),
	"dsn-yahoo-deferred.eml": ("soft-bounced", "ok"),
	"dsn-gmx-unavailable.eml": ("bounced", "bounced"),
	"dsn-mailru-user-not-found.eml": ("bounced", "bounced"),
	"dsn-qq-mailbox-not-found.eml": ("bounced", "bounced"),
	"dsn-icloud-over-quota.eml": ("soft-bounced", "ok"),
	"dsn-redacted.eml": ("bounced", "bounced"),
	"dsn-several-recipients.eml": ("soft-bounced", "ok"),
	"dsn-several-rewritten.eml": ("soft-bounced", "ok"),
	"dsn-several-by-original.eml": ("bounced", "bounced"),
	"arf-yahoo.eml": ("complained", "complained"),
	"arf-outlook-jmrp.eml": ("complained", "complained"),
	"arf-comcast-redacted.eml": ("complained", "complained"),
	"cfbl-abuse.eml": ("complained", "complained"),
	"dsn-delayed.eml": ("nothing", "ok"),
	"bounce-without-report.eml": ("nothing", "ok"),
}
# Of those that say nothing for ever about the address.
SOFT = {
	"dsn-policy.eml": "policy",
	"dsn-mailbox-full.eml": "soft",
	"dsn-gmail-blocked.eml": "policy",
	"dsn-yahoo-deferred.eml": "policy",
	"dsn-icloud-over-quota.eml": "soft",
	"dsn-several-recipients.eml": "soft",
	"dsn-several-rewritten.eml": "soft",
}


def sent(r, *recipients):
	lines = [json.dumps({"type": "sent", "address": to, "stream": "weekly", "campaign": "spring", "tracked": True}) for to in recipients]
	assert r.cli("import", input="\n".join(lines)).code == 0


def tag(r, *recipients):
	to = [word for recipient in recipients for word in ("--to", recipient)]
	done = r.cli("tag", "--from", "news@example.org", "--client", "127.0.0.1", *to, input=MESSAGE % recipients[0])
	assert done.code == 0, done
	return re.sub(r"\r?\n[ \t]+", " ", done.out)


def mark(head):
	return re.search(r"X-Rekindle-Id: ([\w-]+)", head)[1]


def tokens(r, to):
	"""What a message to this recipient bears: unsubscribe, feedback and mark."""
	head = tag(r, to)
	found = {"u": re.search(r"/u/([\w-]+)>", head)[1], "f": re.search(r"CFBL-Feedback-ID: ([\w-]+)", head)[1], "m": mark(head)}
	found["b64"] = base64.b64encode(("unsubscribe " + found["u"]).encode()).decode()
	found["f-qp"] = found["f"][:30] + "=\n" + found["f"][30:]
	assert "mailto:unsubscribe@example.org?subject=unsubscribe%20" + found["u"] in head
	return found


def report(name, of, to):
	with open(os.path.join(REPORTS, name), encoding="utf-8") as f:
		text = f.read()
	return re.sub(r"\{([\w-]+)\}", lambda m: of[m[1]], text).replace("ann@example.com", to)


def status(r, to):
	why = r.cli("why", to, "--json").json
	if why["status"] != "ok":
		return why["status"]
	return "unsubscribed from weekly" if any(s["unsubscribed"] for s in why["subscriptions"]) else "ok"


def test_reports():
	"""Every file in tests/data/reports, every other one with CRLF; a file that this table does not know is a mistake."""
	assert sorted(os.listdir(REPORTS)) == sorted(WANT)
	with rig.Rig(settings=SETTINGS, streams=STREAMS) as r:
		r.make_keys()
		people = {name: "ann%d@example.com" % number for number, name in enumerate(WANT)}
		sent(r, *people.values())
		for number, (name, (did, stands)) in enumerate(WANT.items()):
			to = people[name]
			text = report(name, tokens(r, to), to)
			told = r.cli("intake", "--json", input=text.replace("\n", "\r\n") if number % 2 else text)
			assert told.code == 0 and told.json["did"] == did, (name, told)
			assert status(r, to) == stands, (name, status(r, to))
			if did.endswith("bounced"):
				assert told.json["bounce"] == SOFT.get(name, "hard"), (name, told)
		for name, source in (("dsn-qq-mailbox-not-found.eml", "report: bounced with status 5.0.0"), ("arf-yahoo.eml", "report: complaint"),
				("unsubscribe-plain.eml", "mail: unsubscribe")):
			history = r.cli("suppress", "show", people[name], "--json").json["history"]
			assert [h["source"] for h in history] == [source], (name, history)
		kept = r.cli("export", "--type", "soft-bounced")
		assert sorted(line["bounce"] for line in kept.json_lines) == sorted(SOFT.values()), kept
		assert r.cli("import", input=kept.out).code == 0 and len(r.cli("export", "--type", "soft-bounced").json_lines) == 2 * len(SOFT)


def test_forged():
	"""Without a token of ours nobody is stopped, whatever a report says."""
	with rig.Rig(settings=SETTINGS, streams=STREAMS) as r:
		r.make_keys()
		sent(r, "ann@example.com", "bob@example.com", "cy@example.com")
		mine, other, third = (tokens(r, to) for to in ("ann@example.com", "bob@example.com", "cy@example.com"))
		several = {"m": mark(tag(r, "ann@example.com", "bob@example.com"))}
		wrong = {k: v[:-8] + v[:8] for k, v in mine.items()}
		for name in [name for name, want in WANT.items() if want[0] != "nothing"]:
			assert r.cli("intake", "--json", input=report(name, wrong, "ann@example.com")).json["did"] == "nothing", name
		for token, why in (wrong["u"], "cut or forged"), (mine["u"][:-1], "cut or forged"), ("", "no token in its subject"):
			told = r.cli("intake", input="To: unsubscribe@example.org\nSubject: unsubscribe %s\n\n" % token)
			assert told.code == 0 and why in told.out, told
		# A bounce of Ann's own message that names Bob is about Ann.
		told = r.cli("intake", "--json", input=report("dsn-postfix-unknown-user.eml", mine, "bob@example.com"))
		assert told.json == {"did": "bounced", "bounce": "hard", "status": "5.1.1", "stream": "weekly"}, told
		assert (status(r, "ann@example.com"), status(r, "bob@example.com")) == ("bounced", "ok")
		# And so it is when there is nothing but the mark: one message in hand stops nobody else.
		told = r.cli("intake", "--json", input=report("dsn-generic-status.eml", third, "bob@example.com"))
		assert told.json["did"] == "bounced", told
		assert (status(r, "cy@example.com"), status(r, "bob@example.com")) == ("bounced", "ok")
		# The mark of a message for several does not tell who: only somebody whom we know is believed to have bounced.
		told = r.cli("intake", "--json", input=report("dsn-generic-status.eml", several, "nobody@example.com"))
		assert told.json["did"] == "nothing" and told.code == 0, told
		# Nor whom nothing was sent to in the last days, in which it could have bounced.
		for name, days, did in ("old@example.com", 11, "nothing"), ("new@example.com", 9, "bounced"):
			line = {"type": "sent", "address": name, "stream": "weekly", "campaign": "spring", "at": int(time.time()) - days * 86400}
			assert r.cli("import", input=json.dumps(line)).code == 0
			told = r.cli("intake", "--json", input=report("dsn-generic-status.eml", several, name))
			assert told.json["did"] == did and told.code == 0, (name, told)
		# A large message is read to its end, and what comes first counts.
		big = report("unsubscribe-plain.eml", other, "bob@example.com") + "x" * 76 + "\n" * 3000000
		assert r.cli("intake", input=big).code == 0
		assert status(r, "bob@example.com") == "unsubscribed from weekly"


def test_try_again_later():
	"""Whatever is wrong on our side: 75, so that Postfix keeps the mail."""
	with rig.Rig(settings=SETTINGS, streams=STREAMS) as r:
		r.make_keys()
		sent(r, "ann@example.com")
		mail = report("unsubscribe-plain.eml", tokens(r, "ann@example.com"), "ann@example.com")
		assert r.cli("intake", "--nonsense", input=mail).code == 75
		os.rename(r.data_dir, r.data_dir + ".away")
		assert r.cli("intake", input=mail).code == 75
		assert r.cli("intake", input="Subject: hello\n\n").code == 0  # nothing to write, nothing is wrong
		os.rename(r.data_dir + ".away", r.data_dir)
		os.chmod(r.key_file, 0)
		assert r.cli("intake", input=mail).code == 75
		os.chmod(r.key_file, 0o640)
		r.write_conf(threads="many")
		assert r.cli("intake", input=mail).code == 75
		r.write_conf(threads=1)
		assert r.cli("intake", input=mail).code == 0
		assert status(r, "ann@example.com") == "unsubscribed from weekly"


def test_exit_status():
	"""0 or 75, also when nobody hears the answer."""
	with rig.Rig(settings=SETTINGS, streams=STREAMS) as r:
		r.make_keys()
		sent(r, "ann@example.com")
		mail = report("unsubscribe-plain.eml", tokens(r, "ann@example.com"), "ann@example.com").encode()

		def intake(**how):
			return subprocess.run([r.program("rekindle"), "-c", r.conf_file, "intake", "--", "-odd@example.com"], cwd="/",
				env=r.env(ASAN_OPTIONS="detect_leaks=0"), stderr=subprocess.PIPE, **r.identity(), **how)

		with open("/dev/full", "w") as full:
			done = intake(input=mail, stdout=full)
		assert done.returncode == 0 and b"cannot write the answer" in done.stderr, done
		assert status(r, "ann@example.com") == "unsubscribed from weekly"


def recipe(name):
	"""conf/postfix-intake.NAME to the letter."""
	with open(os.path.join(rig.TOP, "conf", "postfix-intake." + name)) as f:
		text = "".join(line for line in f if not line.startswith("#"))
	return dict(line.split(" = ", 1) for line in re.sub(r"\n[ \t]+", " ", text).splitlines())


def test_behind_postfix():
	"""
	The recipe of rekindle(1): a mail to the unsubscribe address, through
	pipe(8), stops the next message; a complaint comes in by an alias; while
	the store cannot be written the mail waits in the queue.
	"""
	with rig.Rig(settings=SETTINGS, streams=STREAMS) as r:
		command = "%s -c %s intake" % (r.program("rekindle"), r.conf_file)
		aliases = os.path.join(r.dir, "aliases")
		with open(aliases, "w") as f:
			f.write('fbl "|%s"\n' % command)
		shutil.chown(aliases, rig.OWNER)  # a command of an alias runs as the owner of the file
		r.postfix.main.update({
			**recipe("main.cf"),
			"mydestination": "lists.example.org",
			"alias_maps": "texthash:" + aliases,
		})
		with open(os.path.join(rig.TOP, "conf", "postfix-intake.master.cf")) as f:
			master = f.read().replace("user=rekindle ", "user=%s " % rig.OWNER)
		assert master.count("/usr/local/bin/rekindle intake") == 1
		r.postfix.master = [
			master.replace("/usr/local/bin/rekindle intake", command),
			"local unix - n n - - local",
		]
		r.start()

		def delivered(to):
			assert r.send(MESSAGE % to, rcpts=[to]).ok
			return rig.wait_until(lambda: r.sink.of(to), what="the message for " + to)[-1]

		def asks(mail):
			"""What a mail program sends when its user presses "unsubscribe"."""
			link = re.search(r"<mailto:([^?>]*)\?subject=([^>]*)>", mail.header("List-Unsubscribe"))
			return link[1], "From: x@example.com\nSubject: %s\n\n" % link[2].replace("%20", " ")

		address, request = asks(delivered("ann@example.com"))
		assert r.send(request, rcpts=[address], sender="ann@example.com").ok
		rig.wait_until(lambda: status(r, "ann@example.com") == "unsubscribed from weekly", what="the unsubscribe")
		refused = r.send(MESSAGE % "ann@example.com", rcpts=["ann@example.com"])
		assert not refused.ok and "unsubscribed" in str(refused), refused

		mail = delivered("bob@example.com")
		own = {"f": mail.header("CFBL-Feedback-ID"), "u": "", "m": ""}
		own["f-qp"] = own["f"]
		assert r.send(report("arf-headers-only.eml", own, "bob@example.com"), rcpts=["fbl@lists.example.org"], sender="").ok
		rig.wait_until(lambda: status(r, "bob@example.com") == "complained", what="the complaint")

		# Mail that says nothing is taken, and nobody gets a bounce.
		assert r.send("Subject: hello\n\nhello\n", rcpts=[address], sender="eve@example.com").ok
		rig.wait_until(lambda: not r.postfix.queue(), what="an empty queue")
		assert r.sink.of("eve@example.com") == []

		# The store cannot be written: the mail waits.
		address, request = asks(delivered("carl@example.com"))
		os.chmod(r.key_file, 0)
		assert r.send(request, rcpts=[address], sender="carl@example.com").ok
		rig.wait_until(lambda: any(q["queue_name"] == "deferred" for q in r.postfix.queue()), what="a deferred message")
		os.chmod(r.key_file, 0o640)
		r.postfix.flush()
		rig.wait_until(lambda: status(r, "carl@example.com") == "unsubscribed from weekly", what="the second try")
		rig.wait_until(lambda: not r.postfix.queue(), what="an empty queue")


if __name__ == "__main__":
	rig.main(globals())
