"""tracker.py -- `make bench-tracker`: what one hit costs, beside nginx, lighttpd, h2o and the least that libevent can do.

Ours runs twice.  With answer_within = 0: the token opened, the verdict made
and the touch recorded, which is in the journal some milliseconds later and on
disk a tenth of a second after that; CPU time is compared with that of its
peers in this mode, since they do not wait for the disk either.  And as it
ships: the answer given when the touch is durable; rates are compared in this
mode.  Both print all ratios.  Its peers answer with the same 43 bytes (nginx's
empty_gif, a file of lighttpd and h2o) and write an access log, buffered and
unsynced where they can.  Three bare libevent servers (tracker_bare.c) answer
whatever they are sent: one does no more than that, one records each hit as
others write their logs, and one answers after one fdatasync for each turn of
its loop.

There are 20,000 people on disk, of whom nobody ever said what may be kept of
them, as in most stores, so nobody is looked up; CONSENTS=1: one of them did,
and everybody is.

Servers are pinned to one CPU, the load (tracker_load.c) to another one.  What
counts is the CPU time of all of a server's threads for one hit, as a ratio of
two servers in the same round; rates come second.  What the fold sums up later
is told apart, and each of our measurements waits until it has caught up, so
that it is in nobody else's time; but once there is a backlog to sum up while
it answers.  Handshakes are full ones, of TLS 1.3, with a P-256 certificate, one
at a time, and all servers give a ticket.

A wrong or missing answer ends the bench, and so does a count of touches that
is not between what was answered and what was asked.

ROUNDS (5), SECONDS (0.5, of each measurement), TOKENS (200000), CONNECTIONS
(10000, for the memory of idle ones) and CONSENTS (0) are taken from the
environment.  Needs root, as the integration tests do.
"""

import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "tests", "integration"))
import rig

ROUNDS = int(os.environ.get("ROUNDS", "5"))
SECONDS = float(os.environ.get("SECONDS", "0.5"))
TOKENS = int(os.environ.get("TOKENS", "200000"))
CONNECTIONS = int(os.environ.get("CONNECTIONS", "10000"))
CONSENTS = os.environ.get("CONSENTS", "0") != "0"
PEOPLE = 20000
LINKS = 60
SPARE = 64  # descriptors of a server without connections, at most
BACKLOG, BACKLOG_PEOPLE = 200000, 1000000
PUT_OFF = 2.3  # seconds: from journal to facts, to the sums, and seen by /metrics
CPUS = sorted(os.sched_getaffinity(0))
SERVER, LOAD = CPUS[0], CPUS[-1]
STREAM, CAMPAIGN = "letter", "winter-letter"

SETTINGS = {
	"privacy_profile": "classic",
	"answer_within": None,  # as it ships: the rig's own is longer
	"max_connections": 2 * CONNECTIONS,
	"idle_timeout": "10m",
	"max_repeats": None,
}
STREAMS = {STREAM: {"match_header": "List-Id: letter.harbourbooks.example"}}

GIF = b"GIF89a\1\0\1\0\x80\1\0\0\0\0\xff\xff\xff\x21\xf9\4\1\0\0\1\0,\0\0\0\0\1\0\1\0\0\2\2\x4c\1\0;"
ELSEWHERE = "https://shop.harbourbooks.example/b/history-of-fog-17?utm_source=letter&utm_medium=email&utm_campaign=winter"

# What is asked: connections, and more options of tracker_load.
KEPT_64, KEPT_512, CLOSED, CLICKS = "keep-alive x 64", "keep-alive x 512", "close x 64", "clicks x 64"
FOLDING, HANDSHAKES = "keep-alive x 512, folding", "TLS handshakes"
WORK = {KEPT_64: (64, []), KEPT_512: (512, []), CLOSED: (64, ["-x"]), CLICKS: (64, ["-s", "302"]), FOLDING: (512, []),
	HANDSHAKES: (1, ["-S"])}
PIXELS = (KEPT_64, KEPT_512, CLOSED)

# (work, peer, figure) -> ours / peer, at most (CPU; without waiting for the disk, but for handshakes) or at least (rate; as it ships).
GOALS = {
	(KEPT_64, "nginx", "cpu_us"): 0.85, (KEPT_512, "nginx", "cpu_us"): 0.85,
	(KEPT_64, "lighttpd", "cpu_us"): 1, (KEPT_512, "lighttpd", "cpu_us"): 1,
	(KEPT_64, "h2o", "cpu_us"): 1, (KEPT_512, "h2o", "cpu_us"): 1,
	(KEPT_64, "bare, buffered", "cpu_us"): 1.2, (KEPT_512, "bare, buffered", "cpu_us"): 1.2,
	(CLOSED, "nginx", "cpu_us"): 0.70,
	(KEPT_512, "nginx", "rate"): 1,
	(KEPT_64, "bare, fdatasync", "rate"): 0.75,
	(HANDSHAKES, "nginx", "cpu_us"): 1.05,
}
IDLE_BYTES = 512
IDLE_TLS = 1.05  # of nginx's
WHILE_FOLDING = 0.9  # hits/s, of those without a backlog


# ---- servers ----

class Server:
	"""A web server on a port of its own."""

	def __init__(self, name, port, process, work=PIXELS, before="/o/", behind=".gif", tls_port=None):
		self.name, self.port, self.process, self.work, self.tls_port = name, port, process, work, tls_port
		self.before, self.behind = before, behind
		self.asked = self.answered = 0

	@property
	def pid(self):
		return self.process.pid

	def command(self, tokens, what, port=None):
		connections, more = WORK[what]
		paths = ["-b", self.before, "-e", self.behind]
		if what is CLICKS:
			paths = ["-b", "/c/", "-e", ""]
		elif what is HANDSHAKES:  # the same pixel, but nothing to record
			port, paths = self.tls_port, ["-b", "/favicon.ico?", "-e", ""]
		self.first = (getattr(self, "first", 0) + 7 * TOKENS // 16) % TOKENS  # not those of the last run
		return [tool("tracker_load"), "-a", str(port or self.port), "-f", tokens[what is CLICKS], "-c", str(connections),
			"-p", str(self.pid), "-o", str(self.first), *paths, *more]

	def load(self, tokens, what):
		"""What tracker_load says, as name -> number."""
		done = subprocess.run(self.command(tokens, what) + ["-t", str(SECONDS)], stdout=subprocess.PIPE, check=True, preexec_fn=on_load_cpu)
		said = numbers(done.stdout)
		if what is not HANDSHAKES:
			self.count(said)
		self.rest()
		return said

	def count(self, said):
		self.asked += int(said["asked"])
		self.answered += int(said["answered"])

	def rest(self):
		"""Until it has done what it put off."""

	@contextlib.contextmanager
	def held(self, command, n):
		"""So many more idle connections; gives the bytes of its own memory for each."""
		before, open_before = anonymous(self.pid), descriptors(self.pid)
		# The last -c holds.
		with subprocess.Popen(command + ["-i", "-c", str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=on_load_cpu) as load:
			assert load.stdout.readline() == b"ready\n", "%s does not take %d connections" % (self.name, n)
			# Some of the last run may have been closing still.
			rig.wait_until(lambda: descriptors(self.pid) - open_before >= n - SPARE, 10, "%s to keep %d connections" % (self.name, n))
			self.rest()
			yield (anonymous(self.pid) - before) / n
			out, _ = load.communicate()
		assert load.returncode == 0
		self.count(numbers(out))

	def idle(self, tokens):
		"""Memory of an idle connection, plain and by TLS (None: there is none)."""
		self.load(tokens, KEPT_512)  # what is taken once and for all is taken now
		rig.wait_until(lambda: descriptors(self.pid) < SPARE, 30, "%s to close connections" % self.name)
		with self.held(self.command(tokens, KEPT_64), CONNECTIONS) as plain:
			if self.tls_port is None:
				return plain, None
			# While those are open, so that nothing is used again.
			with self.held(self.command(tokens, KEPT_64, self.tls_port) + ["-S"], CONNECTIONS // 5) as tls:
				return plain, tls


class Ours(Server):
	def __init__(self, name, r, ships):
		super().__init__(name, r.http_port, r.tracker.process, tuple(WORK) if ships else PIXELS, tls_port=r.tls_port)
		self.rig, self.ships, self.clicks = r, ships, {"asked": 0, "answered": 0}

	def load(self, tokens, what):
		if what is FOLDING:  # more than it can sum up meanwhile
			subprocess.run([tool("fold_time"), "-a", self.rig.data_dir, str(BACKLOG_PEOPLE), str(BACKLOG)], stdout=subprocess.DEVNULL, check=True)
		was, fold = (self.asked, self.answered), self.fold()
		said = super().load(tokens, what)
		said["fold_us"] = (self.fold() - fold) * 1e6 / said["answered"]  # until all of them were summed up
		if what is CLICKS:
			self.clicks["asked"] += self.asked - was[0]
			self.clicks["answered"] += self.answered - was[1]
			self.asked, self.answered = was
		return said

	def fold(self):
		"""Seconds that its fold has worked."""
		threads = "/proc/%d/task" % self.pid
		return sum(float(read(threads, thread, "schedstat").split()[0]) / 1e9 for thread in os.listdir(threads)
			if read(threads, thread, "comm") == "fold\n")

	def metric(self, name):
		with socket.create_connection(("127.0.0.1", self.rig.admin_port), 30) as s:
			s.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			page = b"".join(iter(lambda: s.recv(65536), b"")).decode()
		return int(re.search(r"^%s (\d+)$" % name, page, re.M)[1])

	def rest(self):
		time.sleep(PUT_OFF)
		rig.wait_until(lambda: self.metric("rekindle_touches_waiting") == 0 and self.metric("rekindle_fold_lag") == 0, 120,
			"%s to sum up its touches" % self.name)

	def finish(self):
		"""Is every hit in the store that was answered, and none that was not asked?"""
		late = self.metric("rekindle_answers_late_total")
		self.rig.tracker.stop()
		seen = self.rig.cli("campaign", "show", CAMPAIGN, "--json").json["raw"]
		for name, asked, answered in (("opens", self.asked, self.answered), ("clicks", self.clicks["asked"], self.clicks["answered"])):
			assert answered <= seen[name] <= asked, "%s: %d %s recorded, %d answered, %d asked" % (self.name, seen[name], name, answered, asked)
		print("%s: %d opens and %d clicks, all recorded; %d answers before their touch was durable" % (self.name, seen["opens"], seen["clicks"], late))


def read(*path):
	with open(os.path.join(*path)) as f:
		return f.read()


def tool(name):
	return os.path.join(rig.BUILD, "tests", "bench", name)


def numbers(out):
	return {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)(?=\s)", out.decode())}


def on_load_cpu():
	os.sched_setaffinity(0, {LOAD})


def descriptors(pid):
	return len(os.listdir("/proc/%d/fd" % pid))


def anonymous(pid):
	"""Bytes of memory that are its own and no file's."""
	return 1024 * int(re.search(r"^Anonymous:\s+(\d+) kB", read("/proc", str(pid), "smaps_rollup"), re.M)[1])


def run_server(command, port, processes):
	"""In a session of its own, as the rig starts ours: Linux shares the CPU out between sessions."""
	process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
	processes.append(process)

	def listens():
		assert process.poll() is None, "%s ended with %s" % (command[0], process.returncode)
		with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
			return True
		return False
	rig.wait_until(listens, 30, "%s to listen" % command[0])
	return process


def program(name):
	found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
	if found is None:
		print("%s is not installed, and so there is no comparison with it; say: . tests/packages.sh; need bench\n" % name)
	return found


def place(r, name):
	"""A directory for a server, with the pixel in it."""
	where = os.path.join(r.dir, name)
	os.makedirs(os.path.join(where, "www"))
	with open(os.path.join(where, "www", "p.gif"), "wb") as f:
		f.write(GIF)
	return where


NGINX = """\
daemon off; master_process off; pid {where}/pid; error_log {where}/error.log crit;
events {{ worker_connections {most}; }}
http {{
	access_log {where}/access.log combined buffer=64k flush=1s;
	keepalive_requests 1000000000; keepalive_timeout 600s; client_header_timeout 600s;
	client_body_temp_path {where}/1; proxy_temp_path {where}/2; fastcgi_temp_path {where}/3; uwsgi_temp_path {where}/4;
	scgi_temp_path {where}/5;
	server {{
		listen 127.0.0.1:{port} backlog=4096;
		listen 127.0.0.1:{tls_port} ssl backlog=4096;
		ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
		location /o/ {{ empty_gif; }}
		location = /favicon.ico {{ empty_gif; }}
		location /c/ {{ return 302 "{elsewhere}"; }}
	}}
}}
"""

LIGHTTPD = """\
server.modules = ( "mod_accesslog" )
server.bind = "127.0.0.1"
server.port = {port}
server.document-root = "{where}/www"
server.errorlog = "{where}/error.log"
server.max-fds = {most}
server.max-connections = {most}
server.max-keep-alive-requests = 65535
server.max-keep-alive-idle = 600
server.listen-backlog = 4096
accesslog.filename = "{where}/access.log"
mimetype.assign = ( ".gif" => "image/gif" )
"""

H2O = """\
user: root
num-threads: 1
max-connections: {most}
http1-request-timeout: 600
access-log: {where}/access.log
error-log: {where}/error.log
listen:
  host: 127.0.0.1
  port: {port}
hosts:
  default:
    paths:
      "/":
        file.dir: {where}/www
"""


def start_peers(r, processes):
	"""Those that are installed."""
	peers, tls_port = [], rig.free_port()
	for name, form, arguments, how in (
			("nginx", NGINX, lambda conf: ["-c", conf, "-e", "/dev/null"], {"work": (*PIXELS, CLICKS, HANDSHAKES), "tls_port": tls_port}),
			("lighttpd", LIGHTTPD, lambda conf: ["-D", "-f", conf], {"before": "/p.gif?", "behind": ""}),
			("h2o", H2O, lambda conf: ["-m", "worker", "-c", conf], {"before": "/p.gif?", "behind": ""})):
		found = program(name)
		if found is None:
			continue
		where, port = place(r, name), rig.free_port()
		conf = os.path.join(where, "conf")
		with open(conf, "w") as f:
			f.write(form.format(where=where, port=port, most=2 * CONNECTIONS, elsewhere=ELSEWHERE, tls_port=tls_port, cert=r.cert, key=r.key))
		peers.append(Server(name, port, run_server([found, *arguments(conf)], port, processes), **how))
	for name, *how in (("bare", "none"), ("bare, buffered", "buffered", os.path.join(r.data_dir, "records")),
			("bare, fdatasync", "durable", os.path.join(r.data_dir, "records, durable"))):
		port = rig.free_port()
		peers.append(Server(name, port, run_server([tool("tracker_bare"), str(port), *how], port, processes), (KEPT_64, KEPT_512)))
	return peers


def prepare(r):
	"""People who opened mail not long ago, and the names that the milter would have left."""
	r.make_keys()
	now = int(time.time())
	lines = "".join(json.dumps({"type": kind, "address": "%dreader@example.com" % n, "at": now - days * 86400,
		"stream": STREAM, "campaign": "last-letter"}) + "\n" for n in range(PEOPLE) for kind, days in (("sent", 4), ("opened", 3)))
	if CONSENTS:
		lines += json.dumps({"type": "consented", "address": "0reader@example.com", "axis": "opens", "value": "granted"}) + "\n"
	lines += json.dumps({"type": "sent", "address": "0reader@example.com", "at": now - 3600, "stream": STREAM, "campaign": CAMPAIGN}) + "\n"
	made = r.cli("import", input=lines)
	assert made.code == 0, made


def make_certificate(r):
	r.cert, r.key = (os.path.join(r.conf_dir, name) for name in ("cert.pem", "key.pem"))
	subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
		"-subj", "/CN=t.example", "-out", r.cert, "-keyout", r.key], check=True, stderr=subprocess.DEVNULL)
	for path in (r.cert, r.key):
		shutil.chown(path, rig.OWNER, rig.OWNER)


def start_ours(r, name, keys_of=None):
	if keys_of is not None:  # one key, so that both open the same tokens
		shutil.copy(keys_of.key_file, r.key_file)
		shutil.chown(r.key_file, rig.OWNER, rig.OWNER)
	prepare(r)
	r.admin_port, r.tls_port = rig.free_port(), None
	r.write_conf(admin_listen="127.0.0.1:%d" % r.admin_port)
	if keys_of is None:
		r.tls_port = rig.free_port()
		make_certificate(r)
		r.write_conf(https_listen="127.0.0.1:%d" % r.tls_port, tls_cert=r.cert, tls_key=r.key)
	r.start_tracker()
	return Ours(name, r, keys_of is None)


def make_tokens(r):
	"""Two files: pixels, links."""
	made = []
	for name, more in (("opens", []), ("clicks", [str(LINKS)])):
		made.append(os.path.join(r.dir, name))
		with open(made[-1], "wb") as f:
			subprocess.run([tool("tracker_tokens"), r.key_file, STREAM, CAMPAIGN, str(TOKENS), str(PEOPLE), *more], stdout=f, check=True)
	return made


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


def verdict(values, goal, at_most):
	"""A ratio with its goal beside it."""
	if goal is None:
		return spread(values, "%.2f"), "", ""
	median = round(statistics.median(values), 2)
	reached = median <= goal if at_most else median >= goal
	return spread(values, "%.2f"), ("<= %g" if at_most else ">= %g") % goal, "reached" if reached else "missed"


# ---- what is measured ----

def memory(servers, tokens):
	rows = [("idle connections", "bytes each", "goal", "", "TLS, bytes each", "of nginx's", "goal", "")]
	theirs = None
	for server in servers:
		plain, tls = server.idle(tokens)
		row = [server.name, "%.0f" % plain] + 6 * [""]
		if tls is not None:
			row[4] = "%.0f" % tls
		if server.name == "nginx":
			theirs = tls
		if isinstance(server, Ours):
			row[2:4] = "<= %d" % IDLE_BYTES, "reached" if plain <= IDLE_BYTES else "missed"
			if theirs:
				row[5:] = "%.2f" % (tls / theirs), "<= %g" % IDLE_TLS, "reached" if round(tls / theirs, 2) <= IDLE_TLS else "missed"
		rows.append(row)
	table(rows)


def hits(servers, tokens):
	cells = [(server, what) for what in WORK for server in servers if what in server.work]
	seen = {cell: [] for cell in cells}
	for n in range(ROUNDS):
		for server, what in (cells if n % 2 == 0 else reversed(cells)):
			seen[server, what].append(server.load(tokens, what))

	def of(server, what, figure):
		return [figures.get(figure, 0) for figures in seen[server, what]]

	rows = [("", "CPU us/hit", "fold us/hit", "hits/s", "p50 us", "p99 us")]
	for server, what in cells:
		rows.append(("%s  %s" % (what, server.name), *(spread(of(server, what, figure), form) for figure, form in
			(("cpu_us", "%.1f"), ("fold_us", "%.1f"), ("rate", "%.0f"), ("p50_us", "%.0f"), ("p99_us", "%.0f")))))
	table(rows)

	for ours in (s for s in servers if isinstance(s, Ours)):
		rows = [(ours.name, "CPU/hit", "goal", "", "hits/s", "goal", "")]
		for server, what in cells:
			if isinstance(server, Ours) or (ours, what) not in seen:
				continue
			goals = [GOALS.get((what, server.name, "cpu_us")) if not ours.ships or what is HANDSHAKES else None,
				GOALS.get((what, server.name, "rate")) if ours.ships else None]
			rows.append(("%s  / %s" % (what, server.name),
				*verdict(ratios(of(ours, what, "cpu_us"), of(server, what, "cpu_us")), goals[0], True),
				*verdict(ratios(of(ours, what, "rate"), of(server, what, "rate")), goals[1], False)))
		table(rows)
		if ours.ships:
			kept = ratios(of(ours, FOLDING, "rate"), of(ours, KEPT_512, "rate"))
			table([("hits/s with a backlog", "of those without", "goal", ""), (KEPT_512, *verdict(kept, WHILE_FOLDING, False))])


# ---- all of it ----

def file_system(path):
	return subprocess.run(["df", "--output=fstype", path], stdout=subprocess.PIPE, check=True).stdout.decode().split()[-1]


def tell_settings(r):
	print("%d rounds of %g s; servers on CPU %d, load on CPU %d; load average %.1f" % (ROUNDS, SECONDS, SERVER, LOAD, os.getloadavg()[0]))
	print("%d tokens for %d people; store on %s; rekindle.conf:\n" % (TOKENS, PEOPLE, file_system(r.data_dir)))
	with open(r.conf_file) as f:
		print("".join("    " + line for line in f if line.strip()), flush=True)


def bench(r, relaxed, processes):
	ours = start_ours(r, "rekindle")
	tokens = make_tokens(r)
	servers = start_peers(r, processes) + [ours, start_ours(relaxed, "rekindle, answer_within = 0", keys_of=r)]
	tell_settings(r)
	memory(servers[:-1], tokens)
	hits(servers, tokens)
	for server in servers[-2:]:
		server.finish()


def main():
	os.sched_setaffinity(0, {SERVER})  # whom we start inherits it
	most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
	resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
	with contextlib.ExitStack() as stack:
		rigs = [stack.enter_context(rig.Rig(settings=dict(SETTINGS, **more), streams=STREAMS)) for more in ({}, {"answer_within": "0s"})]
		processes = []
		try:
			bench(*rigs, processes)
		finally:
			for process in processes:
				process.kill()
				process.wait()


main()
