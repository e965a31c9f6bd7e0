"""kill -9 in the middle: what was answered is there, and nothing is there twice.

KILL_TOUCHES: how many requests the tracker gets (default 20,000).
KILL_MESSAGES: how many messages go through the milter (default 300).
"""

import collections
import os
import random
import re
import selectors
import socket
import threading
import time
import urllib.parse

import rig
import newsletter  # rig knows where it is

TOUCHES = int(os.environ.get("KILL_TOUCHES", "20000"))
MESSAGES = int(os.environ.get("KILL_MESSAGES", "300"))
CONNECTIONS = 64
KILLS = 5
RECIPIENTS = 100
LENGTH = re.compile(rb"\r\nContent-Length: (\d+)", re.I)


# ---- the tracker ----

def tokens(r):
	"""(recipient, link) -> path, for everything that can be fetched in one newsletter to many; link 0 is the pixel."""
	paths = {}
	readers = ["reader%d@example.com" % i for i in range(RECIPIENTS)]
	# They were sent it: that is where the store has addresses and names from.
	lines = ["{\"type\": \"sent\", \"address\": \"%s\", \"at\": \"%s\", \"stream\": \"default\", \"campaign\": \"killing\", "
		"\"tracked\": true}" % (to, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())) for to in readers]
	told = r.cli("import", input="\n".join(lines))
	assert told.code == 0, told
	for to in readers:
		told = r.cli("tag", "--to", to, "--campaign", "killing", input=newsletter.build(to, "Reader", "7"))
		assert told.code == 0, told
		page = rig.Mail("", [], told.out.encode(), "", []).text()
		paths[to, 0] = urllib.parse.urlsplit(rig.pixel(page)).path
		for link, url in enumerate(rig.tracked(page)[:5], 1):
			paths[to, link] = urllib.parse.urlsplit(url).path
	assert len(paths) == RECIPIENTS * 6, len(paths)
	return paths


class Load:
	"""Requests over keep-alive connections, one at a time on each, as fast as they are answered."""

	def __init__(self, port, paths, total):
		self.port = port
		self.requests = [(key, b"GET %s HTTP/1.1\r\nHost: t.test.invalid\r\nUser-Agent: %s\r\n\r\n" % (path.encode(),
			rig.PERSON.encode())) for key, path in paths.items()]
		self.total = total
		self.sent, self.answered = collections.Counter(), collections.Counter()
		self.done = 0        # answered in all
		self.broken = 0      # connections lost with a request under way
		self.slowest = 0.0

	def run(self):
		self.selector = selectors.DefaultSelector()
		idle = CONNECTIONS   # connections to be made
		self.open = 0
		last = time.monotonic()
		while self.done < self.total:
			while idle > 0 and self.connect():
				idle -= 1
			before = self.done
			for event, _ in self.selector.select(0.01 if idle else 1):
				if not self.read(event.fileobj, event.data):
					idle += 1
			now = time.monotonic()
			if self.done > before:
				last = now
			assert now - last < 60, "no answer for a minute, after %d" % self.done
		for key in list(self.selector.get_map().values()):
			key.fileobj.close()
		self.selector.close()

	def connect(self):
		try:
			sock = socket.create_connection(("127.0.0.1", self.port), 5)
		except OSError:
			return False  # being restarted
		sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
		state = {"in": b""}
		self.selector.register(sock, selectors.EVENT_READ, state)
		if not self.ask(sock, state):
			self.lose(sock)
			return False
		return True

	def ask(self, sock, state):
		state["key"], request = random.choice(self.requests)
		state["at"] = time.monotonic()
		self.sent[state["key"]] += 1
		try:
			sock.sendall(request)
			return True
		except OSError:
			return False

	def lose(self, sock):
		self.broken += 1
		self.selector.unregister(sock)
		sock.close()

	def read(self, sock, state):
		"""False when the connection is gone."""
		try:
			more = sock.recv(65536)
		except OSError:
			more = b""
		if not more:
			self.lose(sock)
			return False
		got = state["in"] + more
		end = got.find(b"\r\n\r\n")
		length = LENGTH.search(got, 0, end) if end >= 0 else None
		if end < 0 or len(got) < end + 4 + int(length[1]):
			state["in"] = got
			return True
		assert len(got) == end + 4 + int(length[1]), got
		assert got.startswith(b"HTTP/1.1 200" if state["key"][1] == 0 else b"HTTP/1.1 302"), got
		self.answered[state["key"]] += 1
		self.done += 1
		self.slowest = max(self.slowest, time.monotonic() - state["at"])
		state["in"] = b""
		if not self.ask(sock, state):
			self.lose(sock)
			return False
		return True


def kill_often(r, load, problems):
	"""kill -9 at a few moments, and other processes that sum up at the same time."""
	try:
		for n in range(KILLS):
			at = load.total * (n + random.uniform(0.6, 1.0)) / (KILLS + 1)
			while load.done < at:
				time.sleep(0.001)
			r.tracker.kill()
			r.start_tracker()
			r.cli("campaign")
	except BaseException as e:
		problems.append(e)
		load.total = 0


def test_answered_hits_survive_kill_9_and_count_once():
	with rig.Rig(milter=None) as r:
		r.make_keys()
		paths = tokens(r)
		r.start_tracker()
		load = Load(r.http_port, paths, TOUCHES)
		problems = []
		killer = threading.Thread(target=kill_often, args=(r, load, problems))
		begin = time.monotonic()
		killer.start()
		load.run()
		killer.join()
		if problems:
			raise problems[0]
		seconds = time.monotonic() - begin
		print("%d answered, %d asked, %.0f a second, %d connections lost in %d kills, slowest answer %.2f s" % (load.done,
			sum(load.sent.values()), load.done / seconds, load.broken, KILLS, load.slowest))
		assert load.slowest < 9, "an answer that waited for answer_within need not be durable"
		assert load.broken > 0, "the kills hit nothing"

		recorded = collections.Counter()
		opens = clicks = 0
		for touch in r.cli("export").json_lines:
			if touch["type"] not in ("opened", "clicked"):
				continue
			recorded[touch["address"], touch.get("link", 0)] += 1
			opens += touch["type"] == "opened"
			clicks += touch["type"] == "clicked"
		for key in set(load.sent) | set(recorded):
			assert load.answered[key] <= recorded[key] <= load.sent[key], \
				"%s: %d answered, %d recorded, %d sent" % (key, load.answered[key], recorded[key], load.sent[key])

		# The sums say the same as the facts.
		shown = r.cli("campaign", "show", "killing", "--machines", "--json").json
		check_sums(shown, opens, clicks, recorded)
		# And again by a daemon that has just been started.
		r.tracker.kill()
		r.start_tracker()
		check_sums(r.cli("campaign", "show", "killing", "--machines", "--json").json, opens, clicks, recorded)


def check_sums(shown, opens, clicks, recorded):
	# Who clicked has opened, too.
	expected = {
		"opens": opens, "openers": len({who for who, _ in recorded}),
		"clicks": clicks, "clickers": len({who for who, link in recorded if link > 0}),
	}
	got = {name: shown["raw"][name] for name in expected}
	assert got == expected, "campaign show says %s, the facts %s" % (got, expected)
	# Everybody clicked everything at once, again and again: machines, and each hit has its reason.
	assert shown["human"]["clicks"] < clicks / 100, shown["human"]
	assert {kind: sum(n.values()) for kind, n in shown["evidence"].items()} == {"opens": opens, "clicks": clicks}, shown["evidence"]
	links = collections.Counter()
	for (_, link), n in recorded.items():
		if link > 0:
			links[link] += n
	assert {l["link"]: l["clicks_raw"] for l in shown["links"] if l["clicks_raw"]} == dict(links), shown["links"]


# ---- the milter ----

class Sender(threading.Thread):
	"""A campaign system: sends its messages one by one, and again until each has its 250."""

	def __init__(self, r, queue, accepted):
		super().__init__(daemon=True)
		self.r, self.queue, self.accepted = r, queue, accepted
		self.retries = 0
		self.problem = None

	def run(self):
		session = None
		try:
			while self.queue:
				to = self.queue.pop()
				raw = newsletter.build(to, "Reader", "7", [("X-Campaign", "killing")])
				end = time.monotonic() + 60
				while True:
					assert time.monotonic() < end, "no 250 for %s in a minute" % to
					try:
						session = session or rig.Smtp(self.r.port())
						if session.send(raw, newsletter.SENDER, [to]).ok:
							break
						session.close()
					except OSError:
						pass
					# A session whose milter died stays broken: reconnect, as senders do.
					session = None
					self.retries += 1
					time.sleep(0.02)
				self.accepted.append(to)
		except IndexError:
			pass  # another one took the last
		except BaseException as e:
			self.problem = e
		if session:
			session.close()


def test_no_mail_is_lost_when_the_milter_is_killed():
	with rig.Rig(settings={"campaign_header": "X-Campaign"}) as r:
		r.start_milter()
		r.start_postfix()
		queue = ["reader%d@example.com" % i for i in range(MESSAGES)]
		accepted = []
		senders = [Sender(r, queue, accepted) for _ in range(8)]
		for s in senders:
			s.start()
		for n in range(KILLS):
			at = MESSAGES * (n + random.uniform(0.6, 1.0)) / (KILLS + 1)
			rig.wait_until(lambda: len(accepted) >= at, 120, "%d messages to be accepted" % at)
			r.milter.kill()
			time.sleep(random.uniform(0, 0.2))
			r.start_milter()
		for s in senders:
			s.join(120)
			if s.problem:
				raise s.problem
		assert sorted(accepted) == sorted("reader%d@example.com" % i for i in range(MESSAGES))
		retries = sum(s.retries for s in senders)
		print("%d messages, %d kills, %d retries" % (MESSAGES, KILLS, retries))
		assert retries > 0, "the kills hit nothing"

		mails = r.sink.wait_for(MESSAGES, 60)
		time.sleep(0.5)  # one too many would come now
		assert len(r.sink.mails) == MESSAGES, "%d messages for %d" % (len(r.sink.mails), MESSAGES)
		for mail in mails:
			assert len(mail.rcpts) == 1
			check_intact(r, mail)
		assert not r.postfix.queue()
		assert not os.listdir(os.path.join(r.postfix.spool, "corrupt")), "Postfix found a corrupt queue file"

		sent = collections.Counter(t["address"] for t in r.cli("export", "--type", "sent").json_lines)
		for mail in mails:
			assert sent[mail.rcpts[0]] >= 1, "no SENT touch for " + mail.rcpts[0]


def check_intact(r, mail):
	"""Tagged, whole, and nothing but tagged."""
	assert mail.header("X-Rekindle-Id"), mail.head
	assert mail.decoded("text/plain").decode().replace("\r\n", "\n") == newsletter.TEXT.format(name="Reader", issue="7")
	original = newsletter.page("Reader", "7")
	assert rig.untagged(mail.text(), newsletter.hrefs("Reader", "7")) == original
	assert mail.body.rstrip().endswith(b"--=_letter-7_3f8a--")


if __name__ == "__main__":
	rig.main(globals())
