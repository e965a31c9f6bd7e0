/*
 * milter_load.c -- an MTA in a hurry: speaks the milter protocol as Postfix does, and counts messages.
 *
 *	milter_load -s SOCKET -m MESSAGE [-c CONNECTIONS] [-t SECONDS] [-n PEOPLE] [-b BYTES] [-h HEADER]
 *	    [-p PID] [-w SECONDS]
 *
 *	-m  a file with one message, lines end in CRLF
 *	-n  recipients 0reader@example.com ... are taken in turn, so many
 *	-b  the body must be replaced by about so many octets (1 %); by the same
 *	    octets if that is its own length.  Without it: it must be left alone.
 *	-h  this header field must be added
 *	-p  the server: its CPU time for one message is told too
 *	-w  before its CPU time is read wait so long, and until it rests: what it
 *	    puts off is a part of its work
 *
 * Version 6, the macros that were asked for, a reply awaited only where one
 * was agreed on, everything up to there in one write, and an ABORT between
 * messages: what strace shows of Postfix 3.7.  One thread for each connection.
 * A reply that is missing or wrong ends the program with status 1: no figure.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <libmilter/mfapi.h>
#include <libmilter/mfdef.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "common/mem.h"

#define CONNECTIONS_MAX 256
#define PACKET_MAX (1024 * 1024) /* of a reply */
#define CHUNK 65535              /* of a body: Postfix's MILTER_CHUNK_SIZE */
#define REPLY_WITHIN 30          /* seconds; then the bench has failed */
#define REST_WITHIN 10

/* What Postfix 3.7 offers. */
#define OFFER_ACTIONS 0x1ffu
#define OFFER_STEPS 0x1fffffu

struct field {
	char *name, *value; /* with its leading space; folds are LF */
};

static struct {
	const char *socket, *message, *header;
	int connections;
	double seconds, rest;
	unsigned long people;
	long body;
	int pid;
} option = { .connections = 1, .seconds = 1, .people = 1, .body = -1 };

static struct field *field;
static size_t nfields;
static char *body;
static size_t nbody;

static atomic_ulong next_message;
static atomic_bool over;
static pthread_barrier_t start;

struct conn {
	pthread_t thread;
	int fd;
	uint32_t actions, steps;
	char *symbols[8];  /* by stage: what was asked for, with a space at both ends; NULL: everything */
	char *out;
	size_t nout, cap;
	char *in;
	size_t in_at, in_n;
	size_t replaced;   /* octets of the new body so far */
	bool added;        /* the header field that must be */
	unsigned long done;
	float *taken;      /* us, for each message */
	size_t taken_cap;
};

/* ---- small things ---- */

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
pause_for(double seconds)
{
	struct timespec t = { .tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9) };

	while (nanosleep(&t, &t) != 0 && errno == EINTR)
		continue;
}

/* User and system time of all its threads, in seconds. */
static double
cpu_of(int pid)
{
	char path[64], line[4096], *p;
	unsigned long user, system;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	if ((f = fopen(path, "r")) == NULL || fgets(line, sizeof line, f) == NULL)
		err(1, "%s", path);
	fclose(f);
	p = strrchr(line, ')');
	if (p == NULL || sscanf(p + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
		errx(1, "%s: cannot be understood", path);
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

/* Its CPU time when the work is done that it put off. */
static double
cpu_at_rest(int pid)
{
	double last, cpu, end = now() + REST_WITHIN;

	pause_for(option.rest);
	cpu = cpu_of(pid);
	do {
		last = cpu;
		if (option.rest > 0)
			pause_for(0.1);
		cpu = cpu_of(pid);
	} while (option.rest > 0 && cpu - last > 0.015 && now() < end);
	return cpu;
}

/* ---- the message ---- */

static char *
read_file(const char *name, size_t *n)
{
	char *text = NULL;
	FILE *f = fopen(name, "r");
	size_t got;

	if (f == NULL)
		err(1, "%s", name);
	for (*n = 0;; *n += got) {
		text = xreallocarray(text, *n + 65536 + 1, 1);
		if ((got = fread(text + *n, 1, 65536, f)) == 0)
			break;
	}
	fclose(f);
	text[*n] = '\0';
	return text;
}

static void
add_field(const char *line, size_t n)
{
	const char *colon = memchr(line, ':', n);
	struct field f;
	size_t at = 0;

	if (colon == NULL)
		errx(1, "%s: no header field: %.*s", option.message, (int)n, line);
	f.name = xstrndup(line, (size_t)(colon - line));
	f.value = xstrndup(colon + 1, n - (size_t)(colon + 1 - line));
	for (const char *p = f.value; *p != '\0'; p++)
		if (*p != '\r')
			f.value[at++] = *p;
	f.value[at] = '\0';
	field = xreallocarray(field, nfields + 1, sizeof *field);
	field[nfields++] = f;
}

static void
read_message(void)
{
	size_t n, at;
	char *text = read_file(option.message, &n);
	char *end = memmem(text, n, "\r\n\r\n", 4);

	if (end == NULL)
		errx(1, "%s: no blank line with CRLF", option.message);
	for (char *p = text; p < end + 2;) {
		char *eol = p;

		do
			eol = strstr(eol, "\r\n") + 2;
		while (eol < end + 2 && (*eol == ' ' || *eol == '\t'));
		add_field(p, (size_t)(eol - 2 - p));
		p = eol;
	}
	at = (size_t)(end + 4 - text);
	nbody = n - at;
	body = xmalloc(nbody);
	memcpy(body, text + at, nbody);
	free(text);
}

/* ---- packets ---- */

static void
put(struct conn *c, const void *p, size_t n)
{
	if (c->nout + n > c->cap) {
		c->cap = 2 * (c->nout + n);
		c->out = xreallocarray(c->out, c->cap, 1);
	}
	memcpy(c->out + c->nout, p, n);
	c->nout += n;
}

static void
put_packet(struct conn *c, char command, const void *p, size_t n)
{
	uint32_t size = htonl((uint32_t)n + 1);

	put(c, &size, sizeof size);
	put(c, &command, 1);
	put(c, p, n);
}

static void
flush(struct conn *c)
{
	for (size_t at = 0; at < c->nout;) {
		ssize_t n = send(c->fd, c->out + at, c->nout - at, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			err(1, "%s: write", option.socket);
		at += n > 0 ? (size_t)n : 0;
	}
	c->nout = 0;
}

/* At least n octets behind in_at. */
static void
need(struct conn *c, size_t n)
{
	if (c->in_at + n > PACKET_MAX) {
		memmove(c->in, c->in + c->in_at, c->in_n - c->in_at);
		c->in_n -= c->in_at;
		c->in_at = 0;
	}
	while (c->in_n - c->in_at < n) {
		ssize_t got = recv(c->fd, c->in + c->in_n, PACKET_MAX - c->in_n, 0);

		if (got == 0)
			errx(1, "%s: the milter hung up", option.socket);
		if (got < 0 && errno == EAGAIN)
			errx(1, "%s: no reply for %d seconds", option.socket, REPLY_WITHIN);
		if (got < 0 && errno != EINTR)
			err(1, "%s: read", option.socket);
		c->in_n += got > 0 ? (size_t)got : 0;
	}
}

/* The next reply; its data are good until the one after it. */
static char
receive(struct conn *c, char **data, size_t *n)
{
	uint32_t size;
	char *packet;

	flush(c);
	if (c->in_at == c->in_n)
		c->in_at = c->in_n = 0;
	need(c, sizeof size);
	memcpy(&size, c->in + c->in_at, sizeof size);
	size = ntohl(size);
	if (size == 0 || size > PACKET_MAX / 2)
		errx(1, "%s: a packet of %u octets", option.socket, size);
	need(c, sizeof size + size);
	packet = c->in + c->in_at + sizeof size;
	c->in_at += sizeof size + size;
	*data = packet + 1;
	*n = size - 1;
	return packet[0];
}

/* Sends a step unless the milter does not want it, and waits for its reply if there is one.  False: no more of these. */
static bool
step(struct conn *c, char command, const void *p, size_t n, uint32_t skip, uint32_t no_reply)
{
	char *data, reply;

	if ((c->steps & skip) != 0)
		return true;
	put_packet(c, command, p, n);
	if ((c->steps & no_reply) != 0)
		return true;
	reply = receive(c, &data, &n);
	if (reply == SMFIR_SKIP && command == SMFIC_BODY && (c->steps & SMFIP_SKIP) != 0)
		return false;
	if (reply != SMFIR_CONTINUE)
		errx(1, "%s: '%c' was answered with '%c' %.*s", option.socket, command, reply, (int)n, data);
	return true;
}

/* ---- macros ---- */

struct macro {
	const char *name, *value;
};

static void
put_macros(struct conn *c, char command, int stage, const struct macro *m)
{
	char data[2048], name[64];
	size_t n = 0;

	data[n++] = command;
	for (; m->name != NULL; m++) {
		snprintf(name, sizeof name, " %s ", m->name);
		if (c->symbols[stage] != NULL && strstr(c->symbols[stage], name) == NULL)
			continue;
		n += (size_t)snprintf(data + n, sizeof data - n, "%s", m->name) + 1;
		n += (size_t)snprintf(data + n, sizeof data - n, "%s", m->value) + 1;
	}
	if (n > 1)
		put_packet(c, SMFIC_MACRO, data, n);
}

/* ---- a session ---- */

static void
negotiate(struct conn *c)
{
	uint32_t offer[3] = { htonl(6), htonl(OFFER_ACTIONS), htonl(OFFER_STEPS) }, got[3], stage;
	char *data, *end;
	size_t n;

	put_packet(c, SMFIC_OPTNEG, offer, sizeof offer);
	if (receive(c, &data, &n) != SMFIC_OPTNEG || n < sizeof got)
		errx(1, "%s: no negotiation", option.socket);
	memcpy(got, data, sizeof got);
	c->actions = ntohl(got[1]);
	c->steps = ntohl(got[2]);
	if (ntohl(got[0]) < 6 || (c->actions & ~OFFER_ACTIONS) != 0 || (c->steps & ~OFFER_STEPS) != 0)
		errx(1, "%s: version %u, actions %#x, steps %#x", option.socket, ntohl(got[0]), c->actions, c->steps);
	for (char *p = data + sizeof got; p + sizeof stage < data + n; p = end + 1) {
		memcpy(&stage, p, sizeof stage);
		stage = ntohl(stage);
		p += sizeof stage;
		if ((end = memchr(p, '\0', (size_t)(data + n - p))) == NULL || stage >= 8)
			errx(1, "%s: bad list of macros", option.socket);
		c->symbols[stage] = xmalloc((size_t)(end - p) + 3);
		sprintf(c->symbols[stage], " %s ", p);
	}
}

static void
greet(struct conn *c)
{
	static const struct macro macros[] = {
		{ "j", "mx.test.invalid" }, { "v", "Postfix 3.7.11" }, { "{daemon_name}", "mx.test.invalid" },
		{ "{daemon_port}", "25" }, { "{client_addr}", "127.0.0.1" }, { "{client_name}", "localhost" },
		{ "{client_connections}", "0" }, { NULL, NULL },
	};
	static const char who[] = "localhost\0" "4\x10\xe1" "127.0.0.1";
	static const char helo[] = "sender.test.invalid";

	put_macros(c, SMFIC_CONNECT, SMFIM_CONNECT, macros);
	step(c, SMFIC_CONNECT, who, sizeof who, SMFIP_NOCONNECT, SMFIP_NR_CONN);
	step(c, SMFIC_HELO, helo, sizeof helo, SMFIP_NOHELO, SMFIP_NR_HELO);
	flush(c);
}

static struct conn *
connect_to(void)
{
	struct conn *c = xcalloc(1, sizeof *c);
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct timeval within = { .tv_sec = REPLY_WITHIN };

	c->in = xmalloc(PACKET_MAX);
	snprintf(sun.sun_path, sizeof sun.sun_path, "%s", option.socket);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&sun, sizeof sun) != 0)
		err(1, "%s", option.socket);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &within, sizeof within);
	negotiate(c);
	greet(c);
	return c;
}

/* ---- one message ---- */

static void
send_envelope(struct conn *c, const char *id, const char *rcpt)
{
	static const struct macro mail_macros[] = {
		{ "{mail_mailer}", "smtp" }, { "{mail_host}", "" }, { "{mail_addr}", "news@letter.example" }, { NULL, NULL },
	};
	/* At the first recipient there is a queue file, and with it a name. */
	const struct macro rcpt_macros[] = {
		{ "i", id }, { "{rcpt_mailer}", "smtp" }, { "{rcpt_host}", "example.com" }, { "{rcpt_addr}", rcpt }, { NULL, NULL },
	};
	static const char from[] = "<news@letter.example>";
	char to[128];
	int n;

	put_macros(c, SMFIC_MAIL, SMFIM_ENVFROM, mail_macros);
	step(c, SMFIC_MAIL, from, sizeof from, SMFIP_NOMAIL, SMFIP_NR_MAIL);
	n = snprintf(to, sizeof to, "<%s>", rcpt);
	put_macros(c, SMFIC_RCPT, SMFIM_ENVRCPT, rcpt_macros);
	step(c, SMFIC_RCPT, to, (size_t)n + 1, SMFIP_NORCPT, SMFIP_NR_RCPT);
	step(c, SMFIC_DATA, "", 0, SMFIP_NODATA, SMFIP_NR_DATA);
}

static void
send_header(struct conn *c)
{
	char data[4096];

	for (size_t i = 0; i < nfields; i++) {
		const char *value = field[i].value;
		int n;

		if ((c->steps & SMFIP_HDR_LEADSPC) == 0 && *value == ' ')
			value++;
		n = snprintf(data, sizeof data, "%s%c%s", field[i].name, '\0', value);
		if (n >= (int)sizeof data)
			errx(1, "%s: field too long", field[i].name);
		step(c, SMFIC_HEADER, data, (size_t)n + 1, SMFIP_NOHDRS, SMFIP_NR_HDR);
	}
}

static void
send_content(struct conn *c, const char *id)
{
	const struct macro macros[] = { { "i", id }, { NULL, NULL } };

	send_header(c);
	put_macros(c, SMFIC_EOH, SMFIM_EOH, macros);
	step(c, SMFIC_EOH, "", 0, SMFIP_NOEOH, SMFIP_NR_EOH);
	for (size_t at = 0; at < nbody; at += CHUNK)
		if (!step(c, SMFIC_BODY, body + at, nbody - at < CHUNK ? nbody - at : CHUNK, SMFIP_NOBODY, SMFIP_NR_BODY))
			break;
	put_macros(c, SMFIC_BODYEOB, SMFIM_EOM, macros);
	put_packet(c, SMFIC_BODYEOB, "", 0);
}

static void
take_body(struct conn *c, const char *data, size_t n)
{
	if ((size_t)option.body == nbody && (c->replaced + n > nbody || memcmp(body + c->replaced, data, n) != 0))
		errx(1, "%s: the new body is not the same as the old one", option.socket);
	c->replaced += n;
}

static void
check_edits(const struct conn *c)
{
	double wanted = (double)option.body, got = (double)c->replaced;

	if (option.body < 0 && c->replaced > 0)
		errx(1, "%s: replaced the body", option.socket);
	if (option.body >= 0 && (got < 0.99 * wanted || got > 1.01 * wanted))
		errx(1, "%s: a new body of %zu octets, not of %ld", option.socket, c->replaced, option.body);
	if (option.header != NULL && !c->added)
		errx(1, "%s: no header field %s was added", option.socket, option.header);
}

static void
take_edits(struct conn *c)
{
	char *data, reply;
	size_t n;

	c->replaced = 0;
	c->added = false;
	for (;;) {
		switch (reply = receive(c, &data, &n)) {
		case SMFIR_REPLBODY:
			take_body(c, data, n);
			break;
		case SMFIR_INSHEADER:
			data += 4; /* where */
			/* fallthrough */
		case SMFIR_ADDHEADER:
			c->added = c->added || (option.header != NULL && strcasecmp(data, option.header) == 0);
			break;
		case SMFIR_CHGHEADER:
		case SMFIR_PROGRESS:
			break;
		case SMFIR_CONTINUE:
		case SMFIR_ACCEPT:
			check_edits(c);
			return;
		default:
			errx(1, "%s: the message was answered with '%c' %.*s", option.socket, reply, (int)n, data);
		}
	}
}

static void
send_message(struct conn *c)
{
	unsigned long number = atomic_fetch_add(&next_message, 1);
	char rcpt[64], id[32];

	snprintf(rcpt, sizeof rcpt, "%lureader@example.com", number % option.people);
	snprintf(id, sizeof id, "4F%08lX", number);
	send_envelope(c, id, rcpt);
	send_content(c, id);
	take_edits(c);
	put_packet(c, SMFIC_ABORT, "", 0); /* goes with the next message */
}

static void *
run(void *arg)
{
	struct conn *c = arg;
	double before, after;

	pthread_barrier_wait(&start);
	for (before = now(); !atomic_load_explicit(&over, memory_order_relaxed); before = after) {
		send_message(c);
		after = now();
		if (c->done == c->taken_cap) {
			c->taken_cap = c->taken_cap ? 2 * c->taken_cap : 4096;
			c->taken = xreallocarray(c->taken, c->taken_cap, sizeof *c->taken);
		}
		c->taken[c->done++] = (float)((after - before) * 1e6);
	}
	put_packet(c, SMFIC_QUIT, "", 0);
	flush(c);
	close(c->fd);
	return NULL;
}

/* ---- the figures ---- */

static int
by_size(const void *a, const void *b)
{
	const float *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void
tell(struct conn *const *conn, double seconds, double cpu)
{
	float *taken = NULL;
	unsigned long n = 0;

	for (int i = 0; i < option.connections; i++) {
		taken = xreallocarray(taken, n + conn[i]->done + 1, sizeof *taken);
		memcpy(taken + n, conn[i]->taken, conn[i]->done * sizeof *taken);
		n += conn[i]->done;
	}
	qsort(taken, n, sizeof *taken, by_size);
	printf("messages=%lu seconds=%.4f rate=%.1f p50_us=%.0f p99_us=%.0f", n, seconds, (double)n / seconds,
	    (double)taken[n / 2], (double)taken[n * 99 / 100]);
	if (option.pid > 0)
		printf(" cpu_us=%.1f", cpu * 1e6 / (double)n);
	printf(" actions=%#x steps=%#x\n", conn[0]->actions, conn[0]->steps);
	free(taken);
}

static void
usage(void)
{
	fputs("usage: milter_load -s SOCKET -m MESSAGE [-c CONNECTIONS] [-t SECONDS] [-n PEOPLE] [-b BYTES] [-h HEADER]"
	      " [-p PID] [-w SECONDS]\n", stderr);
	exit(2);
}

static void
read_options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "s:m:c:t:n:b:h:p:w:")) != -1) {
		switch (c) {
		case 's': option.socket = optarg; break;
		case 'm': option.message = optarg; break;
		case 'c': option.connections = atoi(optarg); break;
		case 't': option.seconds = atof(optarg); break;
		case 'n': option.people = strtoul(optarg, NULL, 10); break;
		case 'b': option.body = atol(optarg); break;
		case 'h': option.header = optarg; break;
		case 'p': option.pid = atoi(optarg); break;
		case 'w': option.rest = atof(optarg); break;
		default: usage();
		}
	}
	if (option.socket == NULL || option.message == NULL || optind < argc || option.connections < 1 ||
	    option.connections > CONNECTIONS_MAX || option.people == 0 || option.seconds <= 0)
		usage();
}

int
main(int argc, char **argv)
{
	struct conn *conn[CONNECTIONS_MAX];
	double before, seconds, cpu = 0;

	read_options(argc, argv);
	read_message();
	atomic_init(&next_message, (unsigned long)getpid() * 7919); /* not the same people in each run */
	pthread_barrier_init(&start, NULL, (unsigned)option.connections + 1);
	for (int i = 0; i < option.connections; i++) {
		conn[i] = connect_to();
		if (pthread_create(&conn[i]->thread, NULL, run, conn[i]) != 0)
			errx(1, "no thread");
	}
	if (option.pid > 0)
		cpu = cpu_of(option.pid);
	pthread_barrier_wait(&start);
	before = now();
	pause_for(option.seconds);
	atomic_store(&over, true);
	for (int i = 0; i < option.connections; i++)
		pthread_join(conn[i]->thread, NULL);
	seconds = now() - before;
	if (option.pid > 0)
		cpu = cpu_at_rest(option.pid) - cpu;
	tell(conn, seconds, cpu);
	return 0;
}
