"""milter.py -- `make bench-milter`: how many messages a second, against a filter that does nothing and against OpenDKIM.

Ours runs as it ships: a key, a store of 20,000 people on disk, one stream that
is selected by a header and enforced, every SENT touch in the journal before
its message goes on.  Our peers, on the same CPU in the same minutes:

	no-op      a libmilter filter that agrees on the same steps, puts the same
	           body back and adds a header (noop_milter.c)
	opendkim   signs with RSA-2048, relaxed/relaxed

Once more it runs with less than it promises, so that one sees what the disk
costs: with the store in memory.  Goals are for what ships.

First milter_load.c plays Postfix, then a real Postfix takes mail from
smtp-source and discards it behind the queue.  Servers are pinned to one CPU,
the load to another one.  What counts is the ratio of two servers in the same
round: absolute figures are those of this machine in this minute.  A wrong or
missing reply ends the bench.

ROUNDS (5) and SECONDS (0.5, of each measurement) are taken from the
environment.  Needs root, as the integration tests do.
"""

import contextlib
import json
import os
import quopri
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "integration"))
import milterclient
import rig

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS", "0.5"))
PEOPLE = 20000
FOLD_EVERY = 1.1  # seconds: what ours puts off happens within this time, and is to be counted
MEMORY = "/dev/shm"
CPUS = sorted(os.sched_getaffinity(0))
SERVER, LOAD = CPUS[0], CPUS[-1]

SIZES = {"10 KB": (7, 1), "100 KB": (61, 6)}  # links, and sentences with each

# ours / peer: in messages a second, at least.
GOALS = {
	("10 KB", "no-op"): 0.80,
	("100 KB", "no-op"): 0.60,
	("10 KB", "opendkim"): 15,
	("postfix", "no-op"): 0.95,
}

SETTINGS = {
	"privacy_profile": "classic",
	"record_within": None,  # as it ships: the rig's own is longer
	"answer_within": None,
}
STREAM = {"match_header": "List-Id: letter.harbourbooks.example", "enforce": "on", "campaign": "winter-letter"}

# ---- the newsletter: one block for each link, as a mailing program writes them ----

HEAD = """\
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" lang="en">
<head>
<meta http-equiv="Content-Type" content="text/html; charset=utf-8" />
<title>The letter</title>
<style type="text/css">
  body { margin: 0; padding: 0; background: #f4f1ea } a { color: #1b4b6b; text-decoration: none }
  @media (max-width: 480px) { .column { display: block !important; width: 100% !important } }
</style>
</head>
<body bgcolor="#f4f1ea" style="margin:0;padding:0">
<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"><tr><td align="center">
"""

BLOCK = """\
<!--[if (gte mso 9)|(IE)]><table width="600" align="center" cellspacing="0" cellpadding="0" border="0"><tr><td><![endif]-->
<table role="presentation" class="column" width="100%%">
<tr>
<td width="180" valign="top" style="padding:16px 24px 16px 24px"><img src="https://img.harbourbooks.example/covers/%(n)d@2x.png" width="180" height="270" alt="The cover" border="0" style="display:block" /></td>
<td valign="top" align="left" style="padding:16px 24px 16px 0;font:15px Georgia">
<h2 style="color:#1b4b6b">A Short History of Fog, part %(n)d</h2>
<p>Half of the town came in to read; tea and caf\u00e9 cr\u00e8me were on the house: <strong>knots</strong>, for the impatient, and <em>fog</em> &mdash; for everybody else.%(more)s</p>
<table role="presentation" cellpadding="0" cellspacing="0" border="0"><tr><td bgcolor="#1b4b6b" align="center"><a class="button" target="_blank" style="color:#ffffff" href="https://shop.harbourbooks.example/b/history-of-fog-%(n)d?utm_source=letter&amp;utm_medium=email&amp;utm_campaign=winter">Read more</a></td></tr></table>
</td>
</tr>
</table>
<!--[if (gte mso 9)|(IE)]></td></tr></table><![endif]-->
"""

SENTENCE = " There is a reading on Thursday at seven, with the author, two lamps and a kettle."

FOOT = """\
</td></tr></table>
<p style="font-size:12px">Harbour Books, 3 Quay Street, 4878 Grimstad</p>
</body>
</html>
"""

TEXT = "Harbour Books: the letter\n\nThe harbour froze over last week. All of it: https://www.harbourbooks.example/letters/7\n"

FIELDS = """\
From: Harbour Books <news@letter.example>
To: Ann <reader@example.com>
Subject: =?utf-8?q?The_letter=2C_no=2E_7=3A_tea_and_caf=C3=A9_cr=C3=A8me?=
Date: Thu, 08 Jan 2026 08:00:00 +0100
Message-ID: <letter-7.reader@harbourbooks.example>
List-Id: The letter <letter.harbourbooks.example>
List-Unsubscribe: <mailto:leave@harbourbooks.example?subject=leave>
Precedence: bulk
MIME-Version: 1.0
Content-Type: multipart/alternative;
	boundary="=_letter-7_3f8a"

"""


def newsletter(links, sentences):
	def quoted(text):
		return quopri.encodestring(text.encode()).decode()

	page = HEAD + "".join(BLOCK % {"n": n, "more": (sentences - 1) * SENTENCE} for n in range(links)) + FOOT
	parts = "".join("--=_letter-7_3f8a\nContent-Type: text/%s; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n%s\n"
		% (kind, quoted(text)) for kind, text in (("plain", TEXT), ("html", page)))
	return (FIELDS + parts + "--=_letter-7_3f8a--\n").replace("\n", "\r\n").encode()


# ---- servers ----

class Server:
	"""A milter on a socket of its own, and how its replies are to look."""

	def __init__(self, name, path, pid, header, rest=0.0):
		self.name, self.path, self.pid, self.header, self.rest = name, path, pid, header, rest
		self.body = {}      # size -> octets of the new body
		self.messages = 0   # all that it was sent

	def check(self, size, message, look):
		"""One message, looked at closely; each of those that are measured is compared with it."""
		with milterclient.Milter("unix:" + self.path) as mta:
			mta.negotiate()
			assert mta.connect("127.0.0.1") == ("continue", None)
			outcome = mta.message(message, sender="news@letter.example", rcpts=["1reader@example.com"])
			assert outcome.verdict in ("continue", "accept"), (self.name, outcome.verdict, outcome.reply)
			look(outcome, message)
			self.body[size] = len(outcome.body) if outcome.body is not None else None
			self.agreed = mta.actions, mta.steps
		self.messages += 1

	def load(self, files, size, connections):
		"""What milter_load says, as name -> number."""
		command = [os.path.join(rig.BUILD, "tests", "bench", "milter_load"), "-s", self.path, "-m", files[size], "-c", str(connections),
			"-t", str(SECONDS), "-n", str(PEOPLE), "-p", str(self.pid), "-w", str(self.rest), "-h", self.header]
		if self.body[size] is not None:
			command += ["-b", str(self.body[size])]
		done = subprocess.run(command, stdout=subprocess.PIPE, check=True, preexec_fn=lambda: os.sched_setaffinity(0, {LOAD}))
		said = {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)(?=\s)", done.stdout.decode())}
		self.messages += int(said["messages"])
		return said


def ours_is_right(links):
	def look(outcome, message):
		page = page_of(outcome.apply(message))
		assert len(rig.tracked(page)) == links, "%d links tracked" % len(rig.tracked(page))
		assert rig.pixel(page) and outcome.added("X-Rekindle-Id")
	return look


def noop_is_right(outcome, message):
	assert outcome.body == milterclient.split(message)[1] and outcome.added("X-Noop") == ["yes"]


def dkim_is_right(outcome, message):
	assert outcome.body is None and any(e[0] in ("add", "insert") and "DKIM-Signature" in e for e in outcome.edits)


def page_of(raw):
	return rig.Mail("", [], raw, "", "").text("text/html")


def run_server(command, path, processes):
	"""In a session of its own, as the rig starts ours: Linux shares the CPU out between sessions."""
	process = subprocess.Popen(command, start_new_session=True)
	processes.append(process)

	def listens():
		assert process.poll() is None, "%s ended with %s" % (command[0], process.returncode)
		try:
			with socket.socket(socket.AF_UNIX) as s:
				s.connect(path)
			return True
		except OSError:
			return False
	rig.wait_until(listens, 30, path)
	return process


def start_noop(r, processes):
	path = os.path.join(os.path.dirname(r.milter_socket), "noop.sock")
	process = run_server([os.path.join(rig.BUILD, "tests", "bench", "noop_milter"), "unix:" + path], path, processes)
	return Server("no-op", path, process.pid, "X-Noop")


def start_opendkim(r, processes):
	program = shutil.which("opendkim", path=os.environ.get("PATH", "") + ":/usr/sbin")
	if program is None:
		print("opendkim is not installed, and so there is no comparison with it; say: . tests/packages.sh; need bench\n")
		return None
	where = os.path.join(r.dir, "opendkim")
	os.mkdir(where, 0o700)
	key, conf, path = (os.path.join(where, name) for name in ("key", "conf", "sock"))
	subprocess.run(["openssl", "genrsa", "-out", key, "2048"], check=True, stderr=subprocess.DEVNULL)
	os.chmod(key, 0o600)
	with open(conf, "w") as f:
		f.write("Mode s\nDomain letter.example\nSelector bench\nKeyFile %s\nCanonicalization relaxed/relaxed\n"
			"SignatureAlgorithm rsa-sha256\nRequireSafeKeys no\nInternalHosts 127.0.0.1\nBackground no\nSyslog no\nSocket local:%s\n" % (key, path))
	process = run_server([program, "-f", "-x", conf], path, processes)
	return Server("opendkim", path, process.pid, "DKIM-Signature")


def start_ours(r, name):
	"""Our milter, with people who opened mail not long ago: all of them are looked up, and get theirs."""
	r.make_keys()
	now = int(time.time())
	lines = "".join(json.dumps({"type": kind, "address": "%dreader@example.com" % n, "at": now - days * 86400,
		"stream": "letter", "campaign": "last-letter"}) + "\n" for n in range(PEOPLE) for kind, days in (("sent", 4), ("opened", 3)))
	made = r.cli("import", input=lines)
	assert made.code == 0, made
	r.start_milter()
	return Server(name, r.milter_socket, r.milter.pid, "X-Rekindle-Id", FOLD_EVERY)


def finish_ours(r, server):
	"""Was every message recorded that it took?  And when?"""
	r.milter.stop()
	log = r.milter.log
	ends = {name: int(value) for name, value in re.findall(r"(\w+)=(\d+)", log[log.rindex("ends messages="):])}
	assert ends["tagged"] == server.messages and ends["failed"] == 0, (ends, server.messages)
	sent = r.cli("campaign", "show", "winter-letter", "--json").json["sent"]
	assert sent == server.messages, "%d messages, and %d are recorded as sent" % (server.messages, sent)
	print("%s: %d messages, all recorded; %d touches after their message had gone on" % (server.name, ends["messages"], ends["unrecorded"]))


# ---- figures ----

def spread(values, form):
	return "%s [%s-%s]" % tuple(form % v for v in (statistics.median(values), min(values), max(values)))


def ratios(a, b):
	return [x / y for x, y in zip(a, b)]


def table(rows):
	"""Columns of words, the first one to the left."""
	widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
	for row in rows:
		print("  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))).rstrip())
	print(flush=True)


def verdict(rates, goal):
	"""A ratio with its goal beside it."""
	if goal is None:
		return spread(rates, "%.2f"), "", ""
	return spread(rates, "%.2f"), "%g" % goal, "reached" if round(statistics.median(rates), 2) >= goal else "missed"


# ---- with milter_load ----

def direct(ours, relaxed, noop, dkim, files):
	# OpenDKIM takes milliseconds whatever the size: its goal is at 10 KB.
	cells = [(server, size, connections) for size in SIZES for connections in (1, 8) for server in (noop, dkim, ours, *relaxed)
		if server is not None and not (server is dkim and size != "10 KB")]
	seen = {cell: [] for cell in cells}
	for n in range(ROUNDS):
		for server, size, connections in (cells if n % 2 == 0 else reversed(cells)):
			seen[server, size, connections].append(server.load(files, size, connections))

	def of(cell, what):
		return [figures[what] for figures in seen[cell]]

	def compared(here, there, goal):
		name = "%s x %d  %s / %s" % (here[1], here[2], here[0].name, there[0].name)
		return name, *verdict(ratios(of(here, "rate"), of(there, "rate")), goal), spread(ratios(of(here, "cpu_us"), of(there, "cpu_us")), "%.2f")

	rows = [("", "messages/s", "p50 us", "p99 us", "CPU us/message")]
	for cell in cells:
		rows.append(("%s x %d  %s" % (cell[1], cell[2], cell[0].name), spread(of(cell, "rate"), "%.0f"), spread(of(cell, "p50_us"), "%.0f"),
			spread(of(cell, "p99_us"), "%.0f"), spread(of(cell, "cpu_us"), "%.0f")))
	table(rows)

	rows = [("as it ships", "messages/s", "goal", "", "CPU/message")]
	for peer in filter(None, (noop, dkim)):
		rows += [compared((ours, size, connections), (peer, size, connections), GOALS.get((size, peer.name)))
			for size in SIZES for connections in (1, 8) if (peer, size, connections) in seen]
	table(rows)
	table([("with less than it promises", "messages/s", "", "", "CPU/message")] +
		[compared((server, size, connections), (noop, size, connections), None)
			for server in relaxed for size in SIZES for connections in (1, 8)])


# ---- through Postfix ----

def queued(r):
	return sum(len(files) for name in ("maildrop", "incoming", "active", "deferred")
		for _, _, files in os.walk(os.path.join(r.postfix.spool, name)))


def through_postfix(r, server, listener, letter):
	"""Messages a second, from the first one to an empty queue."""
	count = int(800 * max(SECONDS, 0.2))
	delivered = r.postfix.log.count(" status=sent ")
	begin = time.monotonic()
	subprocess.run(["smtp-source", "-s", "8", "-d", "-N", "-m", str(count), "-F", letter, "-f", "news@letter.example", "-t",
		"reader@example.com", "127.0.0.1:%d" % r.port(listener)], check=True, preexec_fn=lambda: os.sched_setaffinity(0, {LOAD}))
	while queued(r) > 0:
		assert time.monotonic() < begin + 120, "the queue does not get empty"
		time.sleep(0.01)
	seconds = time.monotonic() - begin
	rig.wait_until(lambda: r.postfix.log.count(" status=sent ") - delivered >= count, 10, "%d deliveries" % count)
	server.messages += count
	time.sleep(server.rest)  # what it puts off is not to be in its peer's time
	return count / seconds


def postfix(r, ours, noop, letter):
	r.start_postfix()
	os.sched_setaffinity(0, {LOAD})  # we look at the queue all the time
	rates = {ours: [], noop: []}
	listeners = [(noop, "noop"), (ours, "smtp")]
	for server, listener in listeners:
		through_postfix(r, server, listener, letter)  # Postfix starts its processes
	for n in range(ROUNDS):
		for server, listener in (listeners if n % 2 == 0 else reversed(listeners)):
			rates[server].append(through_postfix(r, server, listener, letter))
	table([("through Postfix, 10 KB x 8", "messages/s")] +
		[(server.name, spread(rates[server], "%.0f")) for server in (noop, ours)])
	table([("ratio", "messages/s", "goal", ""),
		("through Postfix  %s / no-op" % ours.name, *verdict(ratios(rates[ours], rates[noop]), GOALS["postfix", "no-op"]))])


# ---- all of it ----

def file_system(path):
	return subprocess.run(["df", "--output=fstype", path], stdout=subprocess.PIPE, check=True).stdout.decode().split()[-1]


def tell_settings(r, ours, letters):
	print("%d rounds of %g s; servers on CPU %d, load on CPU %d; load average %.1f" % (ROUNDS, SECONDS, SERVER, LOAD, os.getloadavg()[0]))
	print("messages: " + ", ".join("%s: %d octets, %d links" % (size, len(letters[size]), SIZES[size][0]) for size in letters))
	print("agreed with both filters: actions %#x, steps %#x" % ours.agreed)
	print("store: %d people on %s; rekindle.conf:\n" % (PEOPLE, file_system(r.data_dir)))
	with open(r.conf_file) as f:
		print("".join("    " + line for line in f if line.strip()), flush=True)


def bench(r, others, processes):
	"""others: rigs of ours with less than it promises, by name."""
	letters = {size: newsletter(*what) for size, what in SIZES.items()}
	files = {size: os.path.join(r.dir, size.replace(" ", "") + ".eml") for size in letters}
	for size, letter in letters.items():
		with open(files[size], "wb") as f:
			f.write(letter)
	lines = os.path.join(r.dir, "lines.eml")  # smtp-source makes CRLF by itself
	with open(lines, "wb") as f:
		f.write(letters["10 KB"].replace(b"\r\n", b"\n"))

	ours = start_ours(r, "rekindle")
	relaxed = [start_ours(other, name) for name, other in others.items()]
	noop = start_noop(r, processes)
	dkim = start_opendkim(r, processes)
	for size, letter in letters.items():
		for server in (ours, *relaxed):
			server.check(size, letter, ours_is_right(SIZES[size][0]))
		noop.check(size, letter, noop_is_right)
		if dkim is not None:
			dkim.check(size, letter, dkim_is_right)
	assert ours.agreed == noop.agreed, "not the same steps: ours %#x %#x, no-op %#x %#x" % (ours.agreed + noop.agreed)
	tell_settings(r, ours, letters)

	direct(ours, relaxed, noop, dkim, files)
	for server, other in zip(relaxed, others.values()):
		finish_ours(other, server)
	postfix(r, ours, noop, lines)
	r.postfix.stop()
	finish_ours(r, ours)


def main():
	os.sched_setaffinity(0, {SERVER})  # whom we start inherits it
	streams = {"letter": STREAM}
	with contextlib.ExitStack() as stack:
		r = stack.enter_context(rig.Rig(settings=SETTINGS, streams=streams,
			main={"default_transport": "discard:", "relay_transport": "discard:"},
			listeners={"noop": "-o smtpd_milters=unix:rekindle/noop.sock"}))
		others = {}
		if os.path.isdir(MEMORY):
			memory = stack.enter_context(tempfile.TemporaryDirectory(prefix="rekindle-bench.", dir=MEMORY))
			shutil.chown(memory, rig.OWNER, rig.OWNER)
			others["rekindle, store in memory"] = stack.enter_context(rig.Rig(settings=dict(SETTINGS, data_dir=memory), streams=streams))
		processes = []
		try:
			bench(r, others, processes)
		finally:
			for process in processes:
				process.kill()
				process.wait()


main()
