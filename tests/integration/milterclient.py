"""milterclient.py -- the MTA's side of the milter protocol (version 6, and less), without an MTA.

	with Milter("inet:127.0.0.1:2525") as mta:
		mta.negotiate()
		mta.connect("192.0.2.1")
		outcome = mta.message(RAW, sender="news@example.org", rcpts=["ann@example.com"])
		assert outcome.verdict == "continue"
		outcome.apply(RAW)      # what the MTA would send on

It reads a reply exactly where the negotiated flags promise one, and finds
out when the milter says more, or something else, than they allow.
"""

import re
import socket
import struct

# Actions that an MTA may offer.
ADDHDRS, CHGBODY, ADDRCPT, DELRCPT, CHGHDRS, QUARANTINE, CHGFROM, ADDRCPT_PAR, SETSYMLIST = (1 << i for i in range(9))
ALL_ACTIONS = 0x1ff

# Protocol steps: do not send it (NO), do not expect a reply to it (NR).
NO_CONNECT, NO_HELO, NO_MAIL, NO_RCPT, NO_BODY, NO_HEADER, NO_EOH = (1 << i for i in range(7))
NR_HEADER, NO_UNKNOWN, NO_DATA, SKIP, RCPT_REJ = (1 << i for i in range(7, 12))
NR_CONNECT, NR_HELO, NR_MAIL, NR_RCPT, NR_DATA, NR_UNKNOWN, NR_EOH, NR_BODY, HDR_LEADSPC = (1 << i for i in range(12, 21))
ALL_STEPS = 0x1fffff

CHUNK = 65535
STAGES = {0: "connect", 1: "helo", 2: "mail", 3: "rcpt", 4: "data", 5: "eom", 6: "eoh"}
VERDICTS = {b"c": "continue", b"a": "accept", b"r": "reject", b"t": "tempfail", b"d": "discard", b"s": "skip"}


class Closed(Exception):
	"""The milter hung up."""


class Outcome:
	"""What the milter said about one message."""

	def __init__(self, leadspace):
		self.verdict = "continue"  # of the message
		self.stage = None          # at which it was said
		self.reply = None          # SMTP reply text, when the milter chose one
		self.rcpt = {}             # address -> (verdict, reply)
		self.edits = []            # in order: ("body", bytes) ("add", name, value) ("change", index, name, value)
		                           # ("delrcpt", address) ("quarantine", reason) ...
		self.body_sent = 0         # octets that the milter was given
		self.leadspace = leadspace

	def kinds(self):
		"""The edits in order, packets of one body as one."""
		out = []
		for kind, *_ in self.edits:
			if not (kind == "body" and out and out[-1] == "body"):
				out.append(kind)
		return out

	@property
	def body(self):
		"""The new body, or None when it stays."""
		parts = [e[1] for e in self.edits if e[0] == "body"]
		return b"".join(parts) if parts else None

	@property
	def deleted(self):
		return [e[1] for e in self.edits if e[0] == "delrcpt"]

	def added(self, name):
		"""Values of added headers, without the space before them."""
		return [e[2].strip() for e in self.edits if e[0] == "add" and e[1].lower() == name.lower()]

	def apply(self, raw):
		"""The message with the edits made, as the MTA would send it on."""
		head, body = split(raw)
		fields = [[n, (b"" if self.leadspace else b" ") + (v if self.leadspace else v[1:] if v[:1] == b" " else v)]
			for n, v in head]
		gap = b"" if self.leadspace else b" "
		for kind, *args in self.edits:
			if kind == "add":
				fields.append([args[0].encode(), gap + args[1].encode()])
			elif kind == "insert":
				fields.insert(args[0], [args[1].encode(), gap + args[2].encode()])
			elif kind == "change":
				index, name, value = args
				same = [f for f in fields if f[0].lower() == name.lower().encode()]
				if index > len(same):
					fields.append([name.encode(), gap + value.encode()])
				elif value == "":
					del fields[[i for i, f in enumerate(fields) if f is same[index - 1]][0]]
				else:
					same[index - 1][1] = gap + value.encode()
		text = b"".join(n + b":" + v.replace(b"\n", b"\r\n") + b"\r\n" for n, v in fields)
		return text + b"\r\n" + (body if self.body is None else self.body)


def split(raw):
	"""[(name, value with its leading space and LF folds)], body.  The message has CRLF."""
	head, _, body = raw.partition(b"\r\n\r\n")
	fields = []
	for line in head.split(b"\r\n"):
		if line[:1] in (b" ", b"\t") and fields:
			fields[-1][1] += b"\n" + line
		elif line:
			name, _, value = line.partition(b":")
			fields.append([name, value])
	return [tuple(f) for f in fields], body


class Milter:
	def __init__(self, address, timeout=30):
		"""unix:PATH or inet:HOST:PORT."""
		kind, _, rest = address.partition(":")
		if kind in ("unix", "local"):
			self.sock = socket.socket(socket.AF_UNIX)
			self.sock.settimeout(timeout)
			self.sock.connect(rest)
		else:
			host, _, port = rest.rpartition(":")
			self.sock = socket.create_connection((host, int(port)), timeout)
			self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		self.actions = self.steps = 0
		self.symbols = {}   # stage -> macro names that the milter asked for
		self.dribble = 0    # >0: write so many bytes at a time

	# -- packets --

	def write(self, data):
		step = self.dribble or len(data)
		for i in range(0, len(data), step):
			self.sock.sendall(data[i:i + step])

	def send(self, command, data=b""):
		self.write(struct.pack("!IB", len(data) + 1, ord(command)) + data)

	def read(self, n):
		out = b""
		while len(out) < n:
			if self.sock.family == socket.AF_INET:
				# libmilter leaves Nagle's algorithm on: each of its edits would wait 40 ms for our acknowledgement.
				self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
			more = self.sock.recv(n - len(out))
			if not more:
				raise Closed("after %d of %d octets" % (len(out), n))
			out += more
		return out

	def receive(self):
		n, = struct.unpack("!I", self.read(4))
		packet = self.read(n)
		return packet[:1], packet[1:]

	def silent(self, seconds=0.05):
		"""Did the milter say nothing that we did not wait for?"""
		self.sock.settimeout(seconds)
		try:
			return self.sock.recv(1, socket.MSG_PEEK) == b""
		except (TimeoutError, socket.timeout):
			return True
		finally:
			self.sock.settimeout(30)

	# -- the session --

	def negotiate(self, actions=ALL_ACTIONS, steps=ALL_STEPS, version=6):
		"""libmilter takes an offer of 0 for an MTA of version 1: offer NO_EOH alone to offer nothing of use."""
		self.offered = actions, steps
		self.send("O", struct.pack("!III", version, actions, steps))
		command, data = self.receive()
		assert command == b"O", command
		self.version, self.actions, self.steps = struct.unpack("!III", data[:12])
		assert self.actions & ~actions == 0, "took actions that were not offered: %#x" % (self.actions & ~actions)
		assert self.steps & ~steps == 0, "took steps that were not offered: %#x" % (self.steps & ~steps)
		data = data[12:]
		while data:
			stage, = struct.unpack("!I", data[:4])
			names, _, data = data[4:].partition(b"\0")
			self.symbols[STAGES[stage]] = names.decode().split()
		return self

	def macros(self, command, stage, values):
		"""Sends what the milter asked for, or everything if it asked for nothing."""
		wanted = self.symbols.get(stage)
		data = command.encode()
		for name, value in values.items():
			if value is not None and (wanted is None or name in wanted):
				data += name.encode() + b"\0" + value.encode("utf-8", "surrogateescape") + b"\0"
		if len(data) > 1:
			self.send("D", data)

	def verdict(self):
		"""One reply: its verdict and its SMTP text."""
		command, data = self.receive()
		if command == b"y":
			text = data.rstrip(b"\0").decode()
			return ("reject" if text[0] == "5" else "tempfail"), text
		return VERDICTS[command], None

	def step(self, command, data, skip, no_reply):
		"""Sends a step unless the milter does not want it; its reply if there is one."""
		if self.steps & skip:
			return "continue", None
		self.send(command, data)
		if self.steps & no_reply:
			return "continue", None
		return self.verdict()

	def connect(self, client="127.0.0.1", daemon="smtpd", host="client.example.org", say_address=True, port=None):
		self.macros("C", "connect", {"j": "mx.test.invalid", "{daemon_name}": daemon, "{daemon_port}": port, "v": "driver",
			"{client_addr}": ("IPv6:" + client if ":" in client else client) if say_address else None})
		family = b"6" if ":" in client else b"4"
		address = ("IPv6:" + client if ":" in client else client).encode()
		verdict = self.step("C", host.encode() + b"\0" + family + struct.pack("!H", 4321) + address + b"\0", NO_CONNECT,
			NR_CONNECT)
		assert verdict == ("continue", None), verdict
		return self.step("H", b"client.example.org\0", NO_HELO, NR_HELO)

	def mail(self, sender, login=None, queue_id=None, brackets=True, options=()):
		self.macros("M", "mail", {"i": queue_id, "{auth_authen}": login, "{mail_addr}": sender})
		data = (("<%s>" if brackets else "%s") % sender).encode() + b"\0" + b"".join(o.encode() + b"\0" for o in options)
		return self.step("M", data, NO_MAIL, NR_MAIL)

	def rcpt(self, address, queue_id=None, brackets=True, say_address=True, options=()):
		self.macros("R", "rcpt", {"i": queue_id, "{rcpt_addr}": address if say_address else None})
		data = (("<%s>" if brackets else "%s") % address).encode() + b"\0" + b"".join(o.encode() + b"\0" for o in options)
		return self.step("R", data, NO_RCPT, NR_RCPT)

	def header(self, name, value):
		"""value with its leading space, as bytes."""
		if not self.steps & HDR_LEADSPC and value[:1] == b" ":
			value = value[1:]
		return self.step("L", name + b"\0" + value + b"\0", NO_HEADER, NR_HEADER)

	def end_of_header(self, queue_id):
		self.macros("N", "eoh", {"i": queue_id})
		return self.step("N", b"", NO_EOH, NR_EOH)

	def body(self, body, outcome, chunk=CHUNK):
		"""chunk: octets in a packet, or where a packet has to end; none is larger than CHUNK."""
		cuts = range(chunk, len(body), chunk) if isinstance(chunk, int) else {*chunk, *range(CHUNK, len(body), CHUNK)}
		edges = sorted({0, *cuts, len(body)})
		for start, end in zip(edges, edges[1:]):
			outcome.body_sent += end - start
			said = self.step("B", body[start:end], NO_BODY, NR_BODY)
			if said[0] == "skip":
				assert self.steps & SKIP, "SKIP was not negotiated"
				return "continue", None
			if said[0] != "continue":
				return said
		return "continue", None

	def end_of_message(self, outcome, queue_id):
		self.macros("E", "eom", {"i": queue_id})
		self.send("E")
		need = {b"+": ADDRCPT, b"-": DELRCPT, b"b": CHGBODY, b"h": ADDHDRS, b"i": ADDHDRS, b"m": CHGHDRS, b"q": QUARANTINE}
		while True:
			command, data = self.receive()
			if command in need:
				assert self.actions & need[command], "%r without having asked for it" % command
			if command == b"b":
				outcome.edits.append(("body", data))
			elif command == b"h":
				name, value = data.split(b"\0")[:2]
				outcome.edits.append(("add", name.decode(), value.decode()))
			elif command in (b"i", b"m"):
				index, = struct.unpack("!I", data[:4])
				name, value = data[4:].split(b"\0")[:2]
				outcome.edits.append(("insert" if command == b"i" else "change", index, name.decode(), value.decode()))
			elif command in (b"+", b"-", b"q"):
				kind = {b"+": "addrcpt", b"-": "delrcpt", b"q": "quarantine"}[command]
				outcome.edits.append((kind, data.rstrip(b"\0").decode("utf-8", "surrogateescape")))
			elif command == b"p":
				continue
			elif command == b"y":
				text = data.rstrip(b"\0").decode()
				return ("reject" if text[0] == "5" else "tempfail"), text
			else:
				return VERDICTS[command], None

	def message(self, raw, sender="news@example.org", rcpts=("ann@example.com",), login=None, queue_id="4F2X",
			local=False, chunk=CHUNK, upto=None, say_rcpt=True):
		"""
		One message from MAIL on.  local: as from sendmail(1), with a queue id
		at MAIL and without brackets.  upto: stop behind this stage ("mail",
		"rcpt", "header", "eoh", "body").  Recipients that are refused do not
		count; with none left it ends there, as an MTA would.
		"""
		outcome = Outcome(bool(self.steps & HDR_LEADSPC))
		if isinstance(raw, str):
			raw = raw.encode()
		fields, body = split(raw)

		def over(stage, said):
			outcome.stage = stage
			outcome.verdict, outcome.reply = said
			return stage == upto or said[0] != "continue"

		if over("mail", self.mail(sender, login, queue_id if local else None, brackets=not local)):
			return outcome
		for i, address in enumerate(rcpts):
			said = self.rcpt(address, queue_id if local or i else None, brackets=not local, say_address=say_rcpt)
			assert said[0] in ("continue", "reject", "tempfail"), "%s at RCPT acts on all recipients" % said[0]
			assert not local or said[0] == "continue", "sendmail(1) cannot take a refusal"
			outcome.rcpt[address] = said
		outcome.stage = "rcpt"
		if all(said[0] != "continue" for said in outcome.rcpt.values()):
			outcome.verdict, outcome.reply = said
			return outcome
		if upto == "rcpt":
			return outcome
		for name, value in fields:
			if over("header", self.header(name, value)):
				return outcome
			outcome.stage = None
			if upto == "header":
				return outcome
		if over("eoh", self.end_of_header(queue_id)) or over("body", self.body(body, outcome, chunk)):
			return outcome
		over("eom", self.end_of_message(outcome, queue_id))
		return outcome

	def abort(self):
		self.send("A")

	def quit(self):
		self.send("Q")

	def close(self):
		self.sock.close()

	def __enter__(self):
		return self

	def __exit__(self, *_):
		try:
			self.quit()
		except OSError:
			pass
		self.close()
