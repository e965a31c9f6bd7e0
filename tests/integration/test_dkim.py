"""test_dkim.py -- with a real OpenDKIM behind us and before us: what we tag is signed and verifies, what is signed we leave.

Two verifiers say so, and neither has anything of the other: dkimpy, and
OpenDKIM itself, which is the signer as well.
"""

import base64
import os
import quopri
import re
import signal
import socket
import subprocess
import sys

import rig
import newsletter  # rig knows where it is

try:
	import dkim
except ImportError:  # a python3 that is not Debian's comes first in PATH
	sys.path.append("/usr/lib/python3/dist-packages")
	import dkim

JUDGE = os.path.join(rig.TOP, "tests", "judge.py")
OURS, FOREIGN = ("example.org", "harbourbooks.example"), "foreign.example"
SELECTOR = "letters"
# RFC 8058 wants both of ours signed, and OpenDKIM does not sign the second by itself.  To oversign a field that is there
# and not signed is a signature that never verifies.
SIGNED = "*,+List-Unsubscribe-Post"
OVERSIGNED = "From,List-Unsubscribe,List-Unsubscribe-Post,Subject"
PAGE = "<html><body><p>Hello</p>\r\n<a href=\"https://shop.example.org/a?x=1&amp;y=2\">one</a>\r\n<a href='https://shop.example.org/b'>two</a>" \
	"\r\n</body></html>\r\n"
LINKS = ["https://shop.example.org/a?x=1&y=2", "https://shop.example.org/b"]


class Signer:
	"""OpenDKIM in the foreground, on a socket in the rig's directory."""

	def __init__(self, r, name, canonicalization):
		self.dir = os.path.join(r.dir, name)
		os.mkdir(self.dir)
		self.socket = os.path.join(self.dir, "socket")
		self.settings = {
			"Mode": "s", "Socket": "local:" + self.socket, "UMask": "000", "Syslog": "no", "RequireSafeKeys": "no",
			"Domain": ",".join(OURS), "Selector": SELECTOR, "KeyFile": keys(r)["private"],
			"Canonicalization": canonicalization, "SignHeaders": SIGNED, "OversignHeaders": OVERSIGNED,
		}
		self.conf = os.path.join(self.dir, "conf")
		with open(self.conf, "w") as f:
			f.writelines("%s %s\n" % item for item in self.settings.items())
		with open(os.path.join(r.dir, "log", name + ".log"), "w") as log:
			self.process = subprocess.Popen(["opendkim", "-f", "-x", self.conf], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
				start_new_session=True)
		try:
			rig.wait_until(self.answers, 20, "OpenDKIM to listen")
		except BaseException:
			self.stop()
			raise

	def answers(self):
		assert self.process.poll() is None, "OpenDKIM ended with %d" % self.process.returncode
		try:
			with socket.socket(socket.AF_UNIX) as s:
				s.connect(self.socket)
			return True
		except OSError:
			return False

	def stop(self):
		try:
			os.killpg(self.process.pid, signal.SIGKILL)
		except ProcessLookupError:
			pass
		self.process.wait()


def keys(r):
	"""One key pair for the run; where its files are."""
	found = {name: os.path.join(r.dir, "dkim." + name) for name in ("private", "public", "zone", "verify")}
	if not os.path.exists(found["zone"]):
		subprocess.run(["openssl", "genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", found["private"]], check=True,
			capture_output=True)
		subprocess.run(["openssl", "pkey", "-in", found["private"], "-pubout", "-outform", "DER", "-out", found["public"]], check=True,
			capture_output=True)
		with open(found["public"], "rb") as f:
			record = "v=DKIM1; k=rsa; p=" + base64.b64encode(f.read()).decode()
		with open(found["zone"], "w") as f:
			f.writelines("%s._domainkey.%s %s\n" % (SELECTOR, domain, record) for domain in (*OURS, FOREIGN))
		with open(found["verify"], "w") as f:
			f.write("Mode v\nSyslog no\nSocket local:%s/never\nTestPublicKeys %s\n" % (r.dir, found["zone"]))
	return found


def zone(r):
	with open(keys(r)["zone"]) as f:
		return dict(line.rstrip("\n").split(" ", 1) for line in f)


_rig, _signers = None, []


def shared():
	"""One mail server for all tests, with OpenDKIM behind us, before us and not at all; the last of them ends it."""
	global _rig
	if _rig is not None:
		return _rig
	_rig = rig.Rig(settings={"enforce": "observe", "log_level": "debug"}, streams={"replace": {"list_unsubscribe": "replace"}}).__enter__()
	r = _rig
	try:
		_signers.extend([Signer(r, "relaxed", "relaxed/relaxed"), Signer(r, "simple", "simple/simple")])
		ours, relaxed, simple = "unix:rekindle/milter.sock", *("unix:" + s.socket for s in _signers)
		r.postfix.main.update({"smtpd_milters": ours + ", " + relaxed, "non_smtpd_milters": ours + ", " + relaxed})
		r.postfix.listeners.update({"simple": "-o smtpd_milters=%s,%s" % (ours, simple),
			"before": "-o smtpd_milters=%s,%s" % (relaxed, ours), "none": "-o smtpd_milters=" + ours})
		r.start()
	except BaseException:
		finish()
		raise
	return r


def finish():
	global _rig
	r, _rig = _rig, None
	while _signers:
		_signers.pop().stop()
	if r:
		r.__exit__(None, None, None)


def arrived(r, rcpt):
	return rig.wait_until(lambda: r.sink.of(rcpt), 30, "mail for " + rcpt)[-1]


def dkimpy_says(r, raw):
	"""True when every signature is good, and there is one."""
	records = zone(r)
	n = len(re.findall(rb"(?im)^DKIM-Signature:", raw.partition(b"\r\n\r\n")[0]))

	def look_up(name, timeout=5):
		return records.get((name.decode() if isinstance(name, bytes) else name).rstrip("."), "").encode() or None
	try:
		return n > 0 and all(dkim.DKIM(raw).verify(i, dnsfunc=look_up) for i in range(n))
	except dkim.ValidationError:
		return False


def opendkim_says(r, raw):
	path = os.path.join(r.dir, "verify.eml")
	with open(path, "wb") as f:
		f.write(raw)
	done = subprocess.run(["opendkim", "-x", keys(r)["verify"], "-t", path], capture_output=True, text=True, timeout=60)
	said = done.stdout + done.stderr
	assert re.search(r"verification .* (succeeded|failed)", said), said
	return "succeeded" in said and "failed" not in said


def verifies(r, raw):
	"""Both agree; and neither would, were one letter of body or Subject another."""
	says = dkimpy_says(r, raw), opendkim_says(r, raw)
	assert says[0] == says[1], "dkimpy says %s and OpenDKIM %s" % says
	if says[0]:
		body = raw.index(b"\r\n\r\n") + 4
		at = body + re.search(rb"\w", raw[body:]).start()
		wrong = [raw[:at] + (b"x" if raw[at:at + 1] != b"x" else b"y") + raw[at + 1:], re.sub(rb"(?m)^Subject: .", b"Subject: #", raw)]
		for other in wrong:
			assert not dkimpy_says(r, other) and not opendkim_says(r, other), "whatever one changes, it verifies"
	return says[0]


def judged(r, before, after, links):
	"""An independent judge: only tagged, and signed."""
	paths = []
	signature = re.compile(rb"(?m)^DKIM-Signature:.*\r\n([ \t].*\r\n)*")
	for name, data in (("before", before), ("after", signature.sub(b"", after))):
		paths.append(os.path.join(r.dir, name + ".eml"))
		with open(paths[-1], "wb") as f:
			f.write(data)
	done = subprocess.run([sys.executable, JUDGE, *paths, "--mta", "--list", "--tracking-url", r.settings["tracking_url"]],
		capture_output=True, text=True)
	assert done.returncode == 0, done
	said = [line.split("\t")[0] for line in done.stdout.splitlines()]
	assert [s for s in said if s != "pixel"] == links, said
	assert said.count("pixel") == 1, said


def letter(page=PAGE, encoding="7bit", kind="text/html; charset=utf-8", campaign="signed", extra=()):
	fields = [("Date", "Thu, 08 Jan 2026 08:00:00 +0100"), ("From", "News <news@example.org>"), ("To", "Ann <ann@readers.example>"),
		("Subject", "The letter, no. 7"), ("Message-ID", "<7@example.org>"), ("MIME-Version", "1.0"), ("Content-Type", kind),
		("Content-Transfer-Encoding", encoding), *extra]
	if campaign:
		fields.append(("X-Rekindle-Campaign", campaign))
	if isinstance(page, str):
		page = page.encode("utf-8", "surrogateescape")
	return "".join("%s: %s\r\n" % f for f in fields).encode("utf-8", "surrogateescape") + b"\r\n" + page


def wrapped(parts, **more):
	"""multipart/mixed of (type, encoding, bytes)."""
	out = b"".join(b"--=_x\r\nContent-Type: %s\r\nContent-Transfer-Encoding: %s\r\n\r\n%s\r\n" % (kind.encode(), encoding.encode(), data)
		for kind, encoding, data in parts)
	return letter(b"A message in parts.\r\n" + out + b"--=_x--\r\n", kind='multipart/mixed; boundary="=_x"', **more)


LONG = "<html><body><p>" + "word " * 900 + "<a href=\"https://shop.example.org/a?x=1&amp;y=2\">one</a>" + "<b>x</b>" * 300 \
	+ "<a href='https://shop.example.org/b'>two</a></body></html>\r\n"
BASE64 = base64.encodebytes(PAGE.encode()).replace(b"\n", b"\r\n")
QP = quopri.encodestring(PAGE.replace("Hello", "caf\u00e9 " * 30).encode()).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")

MESSAGES = (
	("7bit HTML", "7bit", letter(), {}, LINKS),
	("8bit that becomes quoted-printable", "8bit", letter(PAGE.replace("Hello", "caf\u00e9 " * 60 + "\u4f60\u597d"), "8bit"),
		{"options": "BODY=8BITMIME"}, LINKS),
	("8bit in Latin-1", "latin", letter(PAGE.replace("Hello", "caf\udce9 \udcfc"), "8bit", "text/html; charset=iso-8859-1"),
		{"options": "BODY=8BITMIME"}, LINKS),
	("quoted-printable", "qp", letter(QP, "quoted-printable"), {}, LINKS),
	("base64", "base64", letter(BASE64, "base64"), {}, LINKS),
	("a base64 part between others", "part", wrapped([("text/plain", "7bit", b"Hello\r\n. dots\r\n"), ("text/html", "base64", BASE64),
		("application/pdf", "base64", base64.encodebytes(bytes(range(256)) * 20).replace(b"\n", b"\r\n"))]), {}, LINKS),
	("8bit text that stays beside HTML that does not", "mixed", wrapped([("text/plain; charset=utf-8", "8bit", "gr\u00fc\u00dfe\r\n".encode()),
		("text/html; charset=utf-8", "8bit", PAGE.replace("Hello", "gr\u00fc\u00dfe").encode())], encoding="8bit"),
		{"options": "BODY=8BITMIME"}, LINKS),
	("lines longer than mail allows", "long", letter(LONG), {}, LINKS),
	("white space at the ends of lines and of the body", "spaces", letter(PAGE.replace("\r\n", "  \r\n") + "\t\r\n\r\n \r\n\r\n"), {}, LINKS),
	("long fields that are folded", "folded", letter(extra=[("X-Folded", "a\r\n\tb\r\n   c"), ("References", "\r\n ".join(["<1@example.org>"] * 30))]),
		{}, LINKS),
	("an unsubscribe header of its own", "own", letter(extra=[("List-Unsubscribe", "<mailto:leave@example.org>")]), {}, LINKS),
	("no such header, by the stream's word", "replaced", letter(extra=[("X-Rekindle-Stream", "replace")]), {}, LINKS),
)


def tagged_and_signed(r, raw, rcpts, links, listener, **options):
	assert r.send(raw, rcpts, listener=listener, **options).code == 250
	got = arrived(r, rcpts[0])
	judged(r, raw, got.raw, links)
	assert got.header("X-Rekindle-Id") and got.header("X-Rekindle-Campaign") is None
	assert len(got.headers("DKIM-Signature")) == 1, got.head
	assert verifies(r, got.raw), got.raw
	return got


# ---- OpenDKIM behind us ----

def every_message_in(listener, canonicalization):
	r = shared()
	for sentence, name, raw, options, links in MESSAGES:
		try:
			got = tagged_and_signed(r, raw, ["%s-%s@readers.example" % (name, listener)], links, listener, **options)
			assert "c=" + canonicalization in got.header("DKIM-Signature")
		except AssertionError as e:
			raise AssertionError("%s: %s" % (sentence, e)) from e


def test_what_we_tag_is_signed_and_verifies_relaxed():
	every_message_in("smtp", "relaxed/relaxed")


def test_what_we_tag_is_signed_and_verifies_simple():
	every_message_in("simple", "simple/simple")


def test_a_newsletter_is_signed_and_verifies():
	r = shared()
	for listener in ("smtp", "simple"):
		rcpt = "ann.%s@readers.example" % listener
		raw = newsletter.build(rcpt, "Ann", "7", [("X-Rekindle-Campaign", "winter")])
		got = tagged_and_signed(r, raw, [rcpt], newsletter.destinations("Ann", "7"), listener, sender=newsletter.SENDER)
		assert "d=harbourbooks.example" in got.header("DKIM-Signature")


def test_several_recipients_get_one_signature():
	r = shared()
	for listener in ("smtp", "simple"):
		rcpts = ["%s-%s@readers.example" % (name, listener) for name in ("ben", "cem", "dora")]
		tagged_and_signed(r, letter(), rcpts, LINKS, listener)
		for rcpt in rcpts:
			assert verifies(r, arrived(r, rcpt).raw)


def test_our_unsubscribe_headers_are_signed():
	r = shared()
	for listener in ("smtp", "simple"):
		got = tagged_and_signed(r, letter(), ["leave-%s@readers.example" % listener], LINKS, listener)
		assert got.header("List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
		names = re.search(r"\bh=([^;]*)", got.header("DKIM-Signature"))[1].lower()
		names = re.sub(r"\s", "", names).split(":")
		for name in ("list-unsubscribe", "list-unsubscribe-post"):
			# Once more than there are: nobody can add another.
			assert names.count(name) == 2, names
		assert not [n for n in names if n.startswith("x-rekindle-")], names
		assert not verifies_after(r, got, rb"(?m)^(List-Unsubscribe: <)h", rb"\1g")
		assert not verifies_after(r, got, rb"(?m)^Subject:", b"List-Unsubscribe: <https://evil.example/>\r\nSubject:")


def verifies_after(r, got, what, instead):
	changed, n = re.subn(what, instead, got.raw, count=1)
	assert n == 1, what
	return verifies(r, changed)


def test_mail_from_sendmail_is_signed_and_verifies():
	r = shared()
	for name, raw in (("local", letter()), ("local8", letter(PAGE.replace("Hello", "caf\u00e9"), "8bit"))):
		rcpt = name + "@readers.example"
		r.sendmail(raw, [rcpt])
		got = arrived(r, rcpt)
		judged(r, raw, got.raw, LINKS)
		assert verifies(r, got.raw), got.raw


def test_other_mail_is_signed_as_it_came():
	r = shared()
	raw = letter(campaign=None)
	assert r.send(raw, ["other@readers.example"]).code == 250
	got = arrived(r, "other@readers.example")
	assert got.raw.endswith(raw) and verifies(r, got.raw), got.raw


# ---- signed before us ----

def signed(r, raw, domain, canonicalization="relaxed/simple", headers=None):
	with open(keys(r)["private"], "rb") as f:
		private = f.read()
	signature = dkim.sign(raw, SELECTOR.encode(), domain.encode(), private,
		canonicalize=tuple(c.encode() for c in canonicalization.split("/")), include_headers=headers)
	return signature + raw


def without_control(raw):
	return re.sub(rb"(?m)^X-Rekindle-[\w-]+:.*\r\n([ \t].*\r\n)*", b"", raw.partition(b"\r\n\r\n")[0] + b"\r\n") \
		+ b"\r\n" + raw.partition(b"\r\n\r\n")[2]


def without_trace(raw):
	return re.sub(rb"\A(?:(?:Received|Return-Path):[^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*)+", b"", raw)


def test_what_is_signed_already_leaves_byte_for_byte():
	r = shared()
	for domain in ("example.org", FOREIGN):
		for i, canonicalization in enumerate(("relaxed/relaxed", "simple/simple", "relaxed/simple")):
			for name, raw in (("html", letter()), ("eight", letter(PAGE.replace("Hello", "caf\u00e9"), "8bit")),
					("letter", newsletter.build("ann@readers.example", "Ann", "7", [("X-Rekindle-Campaign", "signed")])),
					("several", letter(extra=[("X-Rekindle-Stream", "replace"), ("X-Rekindle-Consent", "granted")]))):
				raw = signed(r, raw, domain, canonicalization)
				rcpts = ["%s.%s.%d@readers.example" % (name, domain, i)] + ["two@readers.example"] * (name == "several")
				assert r.send(raw, rcpts, listener="none", options="BODY=8BITMIME").code == 250
				got = arrived(r, rcpts[0])
				assert without_trace(got.raw) == without_control(raw), got.raw
				assert verifies(r, got.raw), got.raw
	lines = [l for l in r.milter.log.splitlines() if ": untouched " in l]
	assert len(lines) == 24 and all("reason=signed" in l for l in lines), lines


def test_two_signatures_both_stay():
	r = shared()
	raw = signed(r, signed(r, letter(), FOREIGN), "example.org", "simple/simple")
	assert r.send(raw, ["both@readers.example"], listener="none").code == 250
	got = arrived(r, "both@readers.example")
	assert without_trace(got.raw) == without_control(raw)
	assert len(got.headers("DKIM-Signature")) == 2 and verifies(r, got.raw)


def test_a_signature_of_a_control_header_is_not_broken():
	r = shared()
	raw = signed(r, letter(), "example.org", headers=[b"From", b"Subject", b"X-Rekindle-Campaign"])
	assert r.send(raw, ["control@readers.example"], listener="none").code == 250
	assert verifies(r, arrived(r, "control@readers.example").raw)


def test_what_is_signed_already_gets_a_second_signature_behind_us():
	r = shared()
	raw = signed(r, letter(), FOREIGN)
	assert r.send(raw, ["again@readers.example"]).code == 250
	got = arrived(r, "again@readers.example")
	assert got.raw.endswith(without_control(raw)), got.raw
	assert len(got.headers("DKIM-Signature")) == 2 and verifies(r, got.raw)


# ---- OpenDKIM before us: the wrong order ----

def test_in_the_wrong_order_nothing_is_tagged_and_all_verifies():
	"""A signature that we see is one that we do not break, even when it was made here."""
	r = shared()
	for sentence, name, raw, options, _ in MESSAGES:
		if name == "long":
			continue  # Postfix cuts the lines that nobody encodes, and breaks the signature by that
		rcpt = name + "-before@readers.example"
		assert r.send(raw, [rcpt], listener="before", **options).code == 250
		got = arrived(r, rcpt)
		assert got.header("X-Rekindle-Id") is None and got.header("X-Rekindle-Campaign") is None, sentence
		assert got.body.rstrip(b"\r\n") == raw.partition(b"\r\n\r\n")[2].rstrip(b"\r\n"), sentence
		assert verifies(r, got.raw), "%s: %s" % (sentence, got.raw)
	# The same edits in that order, made by hand, are what breaks one: the test above can fail.
	got = arrived(r, "7bit-before@readers.example")
	assert not verifies_after(r, got, rb"https://shop\.example\.org/b", b"https://track.example/c/x")


def test_zz_all_of_it_ends_in_good_order():
	r = shared()
	assert not re.search(r"warning: .*milter", r.postfix.log), re.search(r"warning: .*milter.*", r.postfix.log)[0]
	assert not r.postfix.queue() and "corrupt" not in r.postfix.log
	finish()


if __name__ == "__main__":
	try:
		rig.main(globals())
	finally:
		finish()
