"""test_corpus.py -- every message in tests/data through the tagger, judged by strangers: Python's email package and html5lib.

Of each file, by `rekindle tag`:

- what is done to it is what tests/data/messages/EXPECT says, which was counted from the rules;
- before and after are the same but for what tagging may change (tests/judge.py);
- line ends are of the same kind, and no line is longer than 998 bytes that was not there before;
- every tracked link is sealed for exactly the destination that html5lib read in the page before;
- where nothing was to be done it is the same bytes, without the header that named the campaign;
- tagging a tagged message changes nothing;
- of a third of them: two sets of several recipients get the same body, byte for byte.

Then a running tracker is asked where each link leads.

	test_corpus.py [NAME.eml ...]	only these
"""

import http.client
import json
import multiprocessing
import os
import re
import subprocess
import sys
import time
import urllib.parse
import zlib

import rig

sys.path.insert(0, os.path.join(rig.TOP, "tests"))
import judge

MESSAGES = os.path.join(rig.TOP, "tests", "data", "messages")
URL = "https://t.example.org"


def expectations():
	with open(os.path.join(MESSAGES, "EXPECT")) as f:
		return dict(line.rstrip("\n").split(".eml: ") for line in f if not line.startswith("#"))


class Tagger:
	"""The built program, with settings that select everything.  Can be handed to another process."""

	def __init__(self, r):
		self.command = [r.program("rekindle"), "-c", r.conf_file, "tag"]
		self.how = dict(r.identity(), cwd="/", env=r.env(ASAN_OPTIONS="detect_leaks=0"))

	def __call__(self, raw, *arguments, to=("reader@example.net",), stream="quiet"):
		"""Exit status and standard output."""
		recipients = [word for address in to for word in ("--to", address)]
		done = subprocess.run([*self.command, "--stream", stream, *recipients, *arguments], input=raw,
			stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, **self.how)
		assert done.returncode in (0, 1), "exit status %d: %s" % (done.returncode, done.stderr.decode("utf-8", "replace"))
		return done.returncode, done.stdout


def marked(raw):
	"""With the header that makes campaign mail of it, and that no reader may see."""
	return b"X-Rekindle-Campaign: corpus" + (b"\r\n" if raw[:raw.find(b"\n")].endswith(b"\r") else b"\n") + raw


def same(what, before, after):
	if before != after:
		at = next((i for i, (b, a) in enumerate(zip(before, after)) if b != a), min(len(before), len(after)))
		raise AssertionError("%s: byte %d: %r became %r" % (what, at, before[max(0, at - 40):at + 40], after[max(0, at - 40):at + 40]))


def lines(before, after):
	"""What no reader of messages looks at, and every mail server does."""
	for kind, pattern in (("LF", rb"(?<!\r)\n"), ("CRLF", rb"\r\n"), ("CR", rb"\r(?!\n)")):
		assert re.search(pattern, before) or not re.search(pattern, after), "a new kind of line end: " + kind
	old = set(before.split(b"\n"))
	longest = max((len(line.rstrip(b"\r")) for line in after.split(b"\n") if line not in old), default=0)
	assert longest <= 998, "a line of %d bytes" % longest


def judged(what, before, after):
	verdict = judge.judged(before, after, URL)
	assert not verdict.faults, "%s: %s" % (what, "; ".join(verdict.faults))
	return verdict


def look(tag, raw):
	"""All that is said above of one message.  [(destination, tracked URL)] and the summary in EXPECT's words."""
	status, after = tag(marked(raw))
	told = json.loads(tag(marked(raw), "--json")[1])
	if not told["tagged"]:
		assert status == 1 and not told["destinations"], told
		same("left alone", raw, after)
		return [], "untouched " + told["untouched"]
	verdict = judged("tagged", raw, after)
	lines(raw, after)
	found = verdict.pairs()
	destinations = [link["destination"] for link in told["destinations"]]
	assert status == 0 and len(destinations) == len(set(destinations)), told
	assert set(found) == set(destinations), "html5lib reads %r, the tagger seals %r" % (
		sorted(set(found) - set(destinations)), sorted(set(destinations) - set(found)))
	assert len(verdict.pixels) == told["pixel"] and told["edited_links"] in (len(verdict.links), len(verdict.destinations)), told
	return list(found.items()), "tagged links=%d places=%d pixel=%s" % (
		len(destinations), told["edited_links"], "yes" if told["pixel"] else "no")


def look_again(tag, raw):
	"""Twice is once, with headers for unsubscribing too."""
	status, once = tag(marked(raw), stream="full")
	if status == 0:
		judged("with unsubscribe headers", raw, once)
	again, twice = tag(once, stream="full")
	assert again == 1, "tagged twice"
	same("a second time", once, twice)


def look_at_several(tag, raw):
	"""A body for several recipients says nothing of any of them."""
	_, some = tag(marked(raw), to=("ann@example.net", "bob@example.org"))
	_, others = tag(marked(raw), to=("mia@example.net", "noa@example.org", "zoe@example.com"))
	same("for other recipients", some, others)


def case(tag, name, expected):
	begin = time.monotonic()
	links, fault = [], None
	try:
		with open(os.path.join(MESSAGES, name + ".eml"), "rb") as f:
			raw = f.read()
		links, got = look(tag, raw)
		look_again(tag, raw)
		if zlib.crc32(name.encode()) % 3 == 0:  # a third of them, always the same
			look_at_several(tag, raw)
		assert got == expected, "expected: %s\n\t    seen: %s" % (expected, got)
	except Exception as e:
		fault = "%s: %s" % (type(e).__name__, e)
	return name, fault, links, time.monotonic() - begin


def begin_case(arguments):
	return case(*arguments)


def location(destination):
	"""As the tracker writes it in a header: an international host as DNS knows it, other characters and white space as %XX."""
	scheme, slashes, rest = destination.partition("//")
	authority = re.match(r"[^/?#\\]*", rest)[0]
	user, at, host = authority.rpartition("@")
	name, colon, port = host.partition(":")
	if not name.isascii():
		host = name.encode("idna").decode() + colon + port
	quoted = "".join(c if "!" <= c <= "~" else urllib.parse.quote(c.encode(), safe="") for c in user + at + host + rest[len(authority):])
	return scheme + slashes + quoted


def lead(r, links):
	"""Where tracked URLs lead, by one connection; what leads elsewhere."""
	wrong = []
	connection = http.client.HTTPConnection("127.0.0.1", r.http_port, timeout=30)
	for destination, tracked in links:
		connection.request("GET", tracked[len(URL):], headers={"Host": URL[len("https://"):], "User-Agent": rig.PERSON})
		answer = connection.getresponse()
		answer.read()
		if answer.status != 302 or answer.getheader("Location") != location(destination):
			wrong.append("%s leads to %d %s" % (destination, answer.status, answer.getheader("Location")))
	connection.close()
	return wrong


def main():
	expected = expectations()
	files = sorted(name[:-len(".eml")] for name in os.listdir(MESSAGES) if name.endswith(".eml"))
	chosen = [name[:-len(".eml")] for name in sys.argv[1:]] or files
	passed = failed = 0

	def say(name, fault, seconds):
		nonlocal passed, failed
		passed, failed = passed + (not fault), failed + bool(fault)
		print("%s  %s (%.1f s)%s" % ("FAILED" if fault else "ok    ", name, seconds, "\n\t" + fault if fault else ""), flush=True)

	# Before the rig has threads: the processes of the pool are made of this one.
	with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool, rig.Rig(
			settings={"tracking_url": URL, "untracked_domains": "untracked.example.com"}, milter=None,
			streams={"quiet": {"match_login": "nobody", "list_unsubscribe": "off"}, "full": {"match_login": "nobody"}}) as r:
		r.start_tracker()
		say("EXPECT has every file", None if sorted(expected) == files else "not the same: %s" % sorted(set(expected) ^ set(files)), 0)
		tag = Tagger(r)
		links = []
		for name, fault, found, seconds in pool.imap(begin_case, [(tag, name, expected.get(name)) for name in chosen]):
			say(name, fault, seconds)
			links += found
		begin = time.monotonic()
		wrong = lead(r, links)
		say("%d links lead where they led" % len(links), "\n\t".join(wrong), time.monotonic() - begin)
	print("%d passed, %d failed" % (passed, failed), flush=True)
	sys.exit(0 if failed == 0 and passed > 0 else 1)


if __name__ == "__main__":
	main()
