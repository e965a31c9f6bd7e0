/* rekindle release -- messages that wait in Postfix's hold queue go on when their time has come. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/text.h"
#include "common/throttle.h"

/*
 * Only root may touch Postfix's queue, and the store is open to nobody but
 * its owner.  So a helper stays root, and does nothing but run programs of
 * Postfix's for the queue ids that it is sent.
 */
struct helper {
	int fd;
	pid_t pid;
};

enum errand { ERRAND_RELEASE = 'r', ERRAND_LOOK = 'l' }; /* the first byte of a request; the queue id follows, or several to look for */

#define LOOKS_MAX 50 /* queue ids in one request, with a space between them */
#define REQUEST_MAX (1 + LOOKS_MAX * (HOLD_ID_MAX + 1))

struct reply {
	int status;     /* how the program ended; -1: not by itself */
	char text[400]; /* ERRAND_LOOK: where it is, the first of several; or else what is wrong */
};

#define OUTPUT_MAX 65536
#define SYNC_MS 1000 /* what others send meanwhile */

/*
 * What a queue id of Postfix's may be: what else would stand there is nothing
 * to give to a program of root's, nor is ALL, which means every message there is.
 */
static bool
is_queue_id(struct span id)
{
	for (size_t i = 0; i < id.n; i++) {
		char l = ascii_lower(id.p[i]);

		if (!(l >= 'a' && l <= 'z') && !(l >= '0' && l <= '9'))
			return false;
	}
	return id.n > 0 && id.n <= HOLD_ID_MAX && !span_ieq(id, SPAN("all"));
}

/* ---- the helper's side ---- */

/* Runs a program of Postfix's, whose output goes to a file; its exit status, or -1. */
static int
run(const char *const *argv, int output)
{
	int null, status;
	pid_t pid;

	if ((pid = fork()) < 0)
		return -1;
	if (pid == 0) {
		if ((null = open("/dev/null", O_RDONLY)) >= 0)
			dup2(null, STDIN_FILENO);
		dup2(output, STDOUT_FILENO);
		dup2(output, STDERR_FILENO);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Reads what is in a file, OUTPUT_MAX bytes at most. */
static bool
read_all(int fd, struct buf *out)
{
	char piece[4096];
	ssize_t n;

	while ((n = pread(fd, piece, sizeof piece, (off_t)out->n)) > 0 && out->n < OUTPUT_MAX)
		buf_add(out, span_make(piece, (size_t)n));
	return n >= 0;
}

/* What a program ends with; warnings, of main.cf mostly, come before that. */
static struct span
last_line(struct span said)
{
	struct span line = { 0 };

	said = span_trim(said);
	while (span_split(&said, '\n', &line))
		;
	return line;
}

/* Of postcat's: the name of the file that it has found, or else the error. */
static struct span
found_line(struct span said)
{
	struct span rest = said, line;

	while (span_split(&rest, '\n', &line))
		if (span_starts(line, SPAN("*** ENVELOPE RECORDS ")))
			return line;
	return last_line(said);
}

static void
release_one(const char *directory, const char *id, int step, struct reply *r)
{
	const char *const first[] = { "postsuper", "-H", id, NULL }, *const first_of[] = { "postsuper", "-c", directory, "-H", id, NULL };
	const char *const then[] = { "postqueue", "-i", id, NULL }, *const then_of[] = { "postqueue", "-c", directory, "-i", id, NULL };
	int null;

	r->status = run(directory != NULL ? first_of : first, step);
	/* Postfix would come to it by itself, some minutes later. */
	if (r->status == 0 && (null = open("/dev/null", O_WRONLY | O_CLOEXEC)) >= 0) {
		(void)run(directory != NULL ? then_of : then, null);
		close(null);
	}
}

static void
look_for(const char *directory, const char *const *ids, size_t n, struct reply *r)
{
	const char *argv[5 + LOOKS_MAX + 1] = { "postcat", "-e", "-q" };
	struct buf out = BUF(OUTPUT_MAX + 4096);
	size_t argc = 3;
	int fd;

	if (directory != NULL) {
		argv[argc++] = "-c";
		argv[argc++] = directory;
	}
	memcpy(argv + argc, ids, n * sizeof *ids);
	if ((fd = memfd_create("postcat", MFD_CLOEXEC)) < 0)
		return;
	r->status = run(argv, fd);
	(void)read_all(fd, &out);
	close(fd);
	snprintf(r->text, sizeof r->text, "%.*s", SPAN_ARG(span_cut(found_line(buf_span(&out)), 0, sizeof r->text - 1)));
	buf_free(&out);
}

/* The one that postsuper writes to comes before any request. */
static int
receive_file(int from)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	struct cmsghdr *c;
	int fd = -1;

	if (recvmsg(from, &m, MSG_CMSG_CLOEXEC) == 1 && (c = CMSG_FIRSTHDR(&m)) != NULL && c->cmsg_type == SCM_RIGHTS &&
	    c->cmsg_len == CMSG_LEN(sizeof fd))
		memcpy(&fd, CMSG_DATA(c), sizeof fd);
	return fd;
}

/* How many queue ids there are; 0: something else is among them.  Whoever owns the store may have become somebody else's. */
static size_t
take_ids(char *text, const char *ids[LOOKS_MAX])
{
	size_t n = 0;

	for (char *id; (id = strsep(&text, " ")) != NULL;) {
		if (n == LOOKS_MAX || !is_queue_id(span_of(id)))
			return 0;
		ids[n++] = id;
	}
	return n;
}

static void
serve(int fd, const char *directory)
{
	int step = receive_file(fd);
	char ask[REQUEST_MAX];
	const char *ids[LOOKS_MAX];
	size_t nids;
	ssize_t n;

	/* That of a cron job has no sbin. */
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin", 1);
	while (step >= 0 && (n = recv(fd, ask, sizeof ask - 1, 0)) > 0) {
		struct reply r = { .status = -1 };

		ask[n] = '\0';
		if ((nids = take_ids(ask + 1, ids)) == 0 || (ask[0] == ERRAND_RELEASE && nids > 1))
			break;
		if (ask[0] == ERRAND_RELEASE)
			release_one(directory, ids[0], step, &r);
		else
			look_for(directory, ids, nids, &r);
		if (send(fd, &r, sizeof r, MSG_NOSIGNAL) != (ssize_t)sizeof r)
			break;
	}
	_exit(0);
}

/* ---- our side of it ---- */

static bool
helper_start(struct helper *h, const char *directory)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0 || (h->pid = fork()) < 0) {
		cli_error("cannot start a helper: %s", strerror(errno));
		return false;
	}
	if (h->pid == 0) {
		close(fds[0]);
		serve(fds[1], directory);
	}
	close(fds[1]);
	h->fd = fds[0];
	return true;
}

static void
helper_stop(struct helper *h)
{
	if (h->pid <= 0)
		return;
	close(h->fd);
	while (waitpid(h->pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* A helper that does not get it says so with the first request. */
static void
helper_give(struct helper *h, int file)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof file)];
	} control = { 0 };
	struct iovec iov = { (char[]){ 0 }, 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof file);
	memcpy(CMSG_DATA(c), &file, sizeof file);
	(void)sendmsg(h->fd, &m, MSG_NOSIGNAL);
}

/* False: the helper is gone. */
static bool
helper_ask(struct helper *h, enum errand errand, const char *ids, struct reply *r)
{
	char ask[REQUEST_MAX];
	int n = snprintf(ask, sizeof ask, "%c%s", errand, ids);

	*r = (struct reply){ .status = -1 };
	if (send(h->fd, ask, (size_t)n, MSG_NOSIGNAL) != n || recv(h->fd, r, sizeof *r, 0) != (ssize_t)sizeof *r)
		return false;
	r->text[sizeof r->text - 1] = '\0';
	return true;
}

/* ---- what lies there ---- */

struct hold {
	char *id;
	struct touch touch;
	struct verdict verdict; /* as of now */
	struct place place;     /* among those that may go out now */
	uint32_t first;         /* seconds: of its campaign; 0 unknown */
	bool goes, done;
	char *why;              /* it does not go */
};

struct release {
	struct cli *c;
	bool dry, all;
	struct helper helper;
	int step;
	struct buf last; /* what the file of steps said when we began */
	struct throttle *throttle; /* NULL: what is settled has gone already */
	int64_t synced;
	struct hold *hold;
	size_t n, cap;
	size_t never[LOOKS_MAX], nnever; /* messages that never go, of which we do not know yet whether they are still there */
	struct emit e;
	uint64_t released, held, gone, failed;
};

static bool
is_wanted(const struct release *x, struct span id)
{
	for (size_t i = 0; i < x->c->nwords; i++)
		if (span_eq(id, span_of(x->c->word[i])))
			return true;
	return x->c->nwords == 0;
}

static bool
take_hold(void *arg, struct span id, const struct touch *t)
{
	struct release *x = arg;

	if (!is_queue_id(id))
		return true;
	if (x->n == x->cap) {
		x->cap = x->cap ? 2 * x->cap : 64;
		x->hold = xreallocarray(x->hold, x->cap, sizeof *x->hold);
	}
	x->hold[x->n++] = (struct hold){ .id = xstrndup(id.p, id.n), .touch = *t };
	return true;
}

/* One that is gone from the settings is judged as the default one. */
static const struct stream *
stream_of(const struct cli *c, uint64_t id)
{
	const struct conf *conf = c->setup->conf;

	for (size_t i = 0; i < conf->nstreams; i++)
		if (stream_id(&c->setup->keys, span_of(conf->stream[i].name)) == id)
			return &conf->stream[i];
	return &conf->stream[0];
}

/* As the milter does: asked last, of mail that would go.  With `anyway' it goes whether there is room or not, and counts. */
static void
throttle(struct release *x, struct hold *h, struct question *q, bool anyway)
{
	const struct throttle_question t = { .setup = x->c->setup, .stream = q->stream, .stream_id = q->stream_id,
		.class = h->verdict.finding.class, .receiver = h->touch.sent, .first = h->first, .now = q->now };

	if (x->throttle == NULL || who_is_nobody(q->who))
		return;
	if (h->verdict.cause == CAUSE_NONE && !throttle_ask(x->throttle, &t, &h->place, &q->imposed_until)) {
		q->imposed = CAUSE_THROTTLED;
		h->verdict = verdict_find(q);
	}
	if (anyway || action_goes_out(h->verdict.action))
		throttle_take(x->throttle, &t, &h->place);
}

static void
give_back(struct release *x, struct hold *h, size_t n)
{
	for (size_t i = 0; i < n; i++)
		throttle_undo(x->throttle, &h[i].place);
}

/* False: the store cannot be read. */
static bool
judge(struct release *x, struct hold *h, int64_t now)
{
	struct cli *c = x->c;
	const struct stream *stream = stream_of(c, h->touch.stream);
	struct profile p;
	struct subscription s;
	struct campaign sums = { 0 };
	bool known = false, subscribed = false, anyway;
	struct buf why = BUF(1024);
	struct question q;
	enum brake stop;
	int64_t since;

	if (!who_is_nobody(&h->touch.who) &&
	    store_person(c->store, &h->touch.who, h->touch.stream, &p, &known, &s, &subscribed) > STORE_NONE)
		return false;
	if (store_stops(c->store, h->touch.campaign, &stop, &since) > STORE_NONE ||
	    store_campaign(c->store, h->touch.campaign, &sums) > STORE_NONE)
		return false;
	q = (struct question){
		.conf = c->setup->conf,
		.imposed = stop != BRAKE_NONE ? CAUSE_BRAKED : CAUSE_NONE,
		.stream = stream,
		.stream_id = h->touch.stream,
		.who = &h->touch.who,
		.profile = known ? &p : NULL,
		.subscription = subscribed ? &s : NULL,
		.now = now,
	};
	h->first = (uint32_t)sums.first;
	h->verdict = verdict_find(&q);
	/* What a person asked for, or what cannot arrive, is nobody's to overrule here. */
	anyway = x->all && !cause_was_said(h->verdict.cause);
	throttle(x, h, &q, anyway);
	h->goes = anyway || action_goes_out(h->verdict.action);
	free(h->why);
	h->why = NULL;
	if (!h->goes) {
		verdict_explain(&why, &q, &h->verdict);
		h->why = buf_steal(&why);
	}
	return true;
}

/* The milter has recorded that it was stopped; from here on it passes no milter any more. */
static struct record
sent_record(const struct release *x, const struct hold *h, int64_t now)
{
	const struct stream *stream = stream_of(x->c, h->touch.stream);
	struct touch t = h->touch;

	t.kind = TOUCH_SENT;
	t.detail = (uint8_t)h->verdict.finding.class;
	t.flags = (h->touch.flags & TOUCH_TRACKED) | (stream->series ? TOUCH_SERIES : 0) | (stream->transactional ? TOUCH_EXEMPT : 0) |
	    (h->verdict.holdout ? TOUCH_HOLDOUT : 0) |
	    (!action_goes_out(h->verdict.wanted) ? TOUCH_OBSERVED : 0);
	t.when = now;
	return (struct record){ .touch = t };
}

static void
tell(struct release *x, const struct hold *h, const char *what, const char *why)
{
	struct buf name = BUF(ADDR_MAX), text = BUF(4096), stream = BUF(1024);
	bool known = store_name(x->c->store, &h->touch.who, &name) == STORE_OK;

	cli_stream_name(x->c, h->touch.stream, &stream);
	if (x->c->json) {
		emit_open(&x->e, NULL, '{');
		emit_string(&x->e, "queue_id", h->id);
		emit_string(&x->e, "result", what);
		if (known)
			emit_text(&x->e, "address", buf_span(&name));
		emit_hex(&x->e, "who", h->touch.who.b, sizeof h->touch.who.b);
		emit_text(&x->e, "stream", buf_span(&stream));
		emit_time(&x->e, "since", h->touch.when);
		emit_string(&x->e, "cause", cause_name(h->goes ? (enum cause)h->touch.detail : h->verdict.cause));
		if (!h->goes)
			emit_time(&x->e, "until", (int64_t)h->verdict.next * 1000);
		if (why != NULL)
			emit_string(&x->e, "why", why);
		emit_close(&x->e, '}');
	} else {
		if (known)
			print_safe(&text, buf_span(&name));
		else
			text_add_hex(&text, h->touch.who.b, sizeof h->touch.who.b);
		if (why != NULL) {
			buf_adds(&text, ": ");
			print_safe(&text, span_of(why));
		}
		printf("%-8s  %-12s  %-20s  %s\n", what, h->id, buf_cstr(&stream), buf_cstr(&text));
	}
	buf_free(&name);
	buf_free(&text);
	buf_free(&stream);
}

static void
tell_all(struct release *x, const struct hold *h, size_t n, const char *what)
{
	for (size_t i = 0; i < n; i++)
		tell(x, &h[i], what, h[i].goes ? NULL : h[i].why);
}

/* It is not on hold any more: sent, or gone.  False: that could not be written down, told why. */
static bool
finish(struct release *x, struct hold *h, size_t n, bool sent, int64_t now)
{
	struct record *r = xcalloc(n, sizeof *r);
	enum store_result result;

	if (!sent)
		give_back(x, h, n);
	*(sent ? &x->released : &x->gone) += 1;
	tell_all(x, h, n, sent ? "released" : "gone");
	for (size_t i = 0; i < n; i++)
		r[i] = sent_record(x, &h[i], now);
	result = store_unhold(x->c->store, span_of(h->id), r, sent ? n : 0);
	free(r);
	if (result > STORE_NONE) {
		cli_error("%s: cannot write to the store in %s%s", h->id, x->c->setup->conf->data_dir,
		    sent ? "; the message goes out, and the next run will count it" : "");
		return false;
	}
	/* The next one may be for the same recipient. */
	if (sent)
		cli_fold(x->c);
	return true;
}

/* ---- one step ---- */

/*
 * A file in data_dir says which message is being released, and behind that
 * what postsuper says of it, in its own hand.  Whoever of us is killed, the
 * next run reads there what became of the message: only what is released has
 * been sent.  It is locked as long as one of us lives, postsuper included, so
 * that nobody reads it too early.
 */
#define STEP_FILE "release"

static bool
cannot_step(const struct release *x)
{
	cli_error("%s/" STEP_FILE ": %s", x->c->setup->conf->data_dir, strerror(errno));
	return false;
}

static bool
step_open(struct release *x)
{
	struct buf path = BUF(PATH_MAX + sizeof "/" STEP_FILE);
	bool good;

	buf_addf(&path, "%s/" STEP_FILE, x->c->setup->conf->data_dir);
	good = (x->step = open(buf_cstr(&path), O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0640)) >= 0;
	/* It may be stopped, or its postsuper hang. */
	if (good && flock(x->step, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
		cli_error("%s: another run is at work; waiting for it to end", buf_cstr(&path));
	buf_free(&path);
	while (good && flock(x->step, LOCK_EX) != 0)
		good = errno == EINTR;
	if (!good || !read_all(x->step, &x->last))
		return cannot_step(x);
	helper_give(&x->helper, x->step);
	return true;
}

/* Queue ids come again; the time tells two messages apart. */
static void
step_name(const struct hold *h, struct buf *out)
{
	buf_addf(out, "%s %" PRId64 "\n", h->id, h->touch.when);
}

static bool
step_begin(const struct release *x, const struct hold *h)
{
	struct buf name = BUF(HOLD_ID_MAX + 32);
	bool good;

	step_name(h, &name);
	good = ftruncate(x->step, 0) == 0 && write(x->step, name.p, name.n) == (ssize_t)name.n && fdatasync(x->step) == 0;
	buf_free(&name);
	return good || cannot_step(x);
}

/* Did the run before this one come no further than this message? */
static bool
is_last_step(const struct release *x, const struct hold *h)
{
	struct buf name = BUF(HOLD_ID_MAX + 32);
	bool yes;

	step_name(h, &name);
	yes = span_starts(buf_span(&x->last), buf_span(&name));
	buf_free(&name);
	return yes;
}

static bool
says_released(struct span said, const char *id)
{
	struct buf words = BUF(HOLD_ID_MAX + 32);
	bool yes;

	buf_addf(&words, "%s: released from hold\n", id);
	yes = span_search(said, buf_span(&words)) < said.n;
	buf_free(&words);
	return yes;
}

/*
 * INCOMING: Postfix still writes it, and will put it on hold; or it was
 * released, and is on its way.  ELSEWHERE: that alone.  UNKNOWN: told why.
 */
enum where { ON_HOLD, INCOMING, ELSEWHERE, NOWHERE, UNKNOWN };

static enum where
look(struct release *x, const struct hold *h)
{
	struct reply r;

	if (!helper_ask(&x->helper, ERRAND_LOOK, h->id, &r))
		snprintf(r.text, sizeof r.text, "the helper is gone");
	/* What is not all there is an error of postcat's, behind its name. */
	if (strstr(r.text, " incoming/") != NULL)
		return INCOMING;
	if (r.status == 0)
		return strstr(r.text, " hold/") != NULL ? ON_HOLD : ELSEWHERE;
	if (r.status > 0 && strstr(r.text, "open queue file") != NULL)
		return NOWHERE;
	cli_error("%s: %s", h->id, r.text);
	return UNKNOWN;
}

/* Takes one message, hold[0..n), out of the hold queue.  False: cannot go on, told why. */
static bool
let_go(struct release *x, struct hold *h, size_t n, int64_t now)
{
	struct buf said = BUF(OUTPUT_MAX + 4096);
	struct reply r;
	bool alive, good = true;

	if (!step_begin(x, h))
		return false;
	alive = helper_ask(&x->helper, ERRAND_RELEASE, h->id, &r);
	if (!read_all(x->step, &said)) {
		good = cannot_step(x);
	} else if (says_released(buf_span(&said), h->id)) {
		good = finish(x, h, n, true, now);
	} else if (r.status == 0 && look(x, h) == INCOMING) {
		/* Its lines come before its file, and the next run knows more. */
		x->held++;
		give_back(x, h, n);
		for (size_t i = 0; i < n; i++)
			tell(x, &h[i], "held", "Postfix has not put it on hold yet");
	} else if (r.status == 0) {
		good = finish(x, h, n, false, now);
	} else if (r.status > 0) {
		struct span line = last_line(span_from(buf_span(&said), span_find(buf_span(&said), '\n')));

		x->failed++;
		give_back(x, h, n);
		cli_error("%s: %.*s", h->id, SPAN_ARG(line));
	} else {
		cli_error("%s: %s is gone; whether it was released the next run will see", h->id, alive ? "postsuper" : "the helper");
		good = false;
	}
	buf_free(&said);
	return good;
}

/* Those that wait longest go first, and the recipients of a message stay together. */
static int
by_time(const void *a, const void *b)
{
	const struct hold *x = a, *y = b;
	int rc = x->touch.when != y->touch.when ? (x->touch.when < y->touch.when ? -1 : 1) : strcmp(x->id, y->id);

	return rc != 0 ? rc : memcmp(&x->touch.who, &y->touch.who, sizeof x->touch.who);
}

/* Messages that lie side by side are one message for several recipients. */
static size_t
recipients_of(const struct release *x, size_t i)
{
	size_t n = 1;

	while (i + n < x->n && strcmp(x->hold[i].id, x->hold[i + n].id) == 0)
		n++;
	return n;
}

static bool
judge_all(struct release *x, struct hold *h, size_t n, int64_t now, bool *goes)
{
	*goes = true;
	for (size_t i = 0; i < n; i++) {
		if (!judge(x, &h[i], now)) {
			cli_error("cannot read the store in %s", x->c->setup->conf->data_dir);
			return false;
		}
		*goes = *goes && h[i].goes;
	}
	return true;
}

/*
 * What became of the message that the run before this one came to last, where
 * that did not write it down: whatever is said of its recipients by now, what
 * was released was sent, and when the file says so.
 */
static bool
settle(struct release *x)
{
	size_t i = 0, n;
	enum where where;
	struct stat st;
	int64_t then;
	bool goes;

	while (i < x->n && !is_last_step(x, &x->hold[i]))
		i += recipients_of(x, i);
	if (i == x->n)
		return true;
	n = recipients_of(x, i);
	where = says_released(buf_span(&x->last), x->hold[i].id) ? ELSEWHERE : look(x, &x->hold[i]);
	if (where == ON_HOLD || where == UNKNOWN)
		return where == ON_HOLD;
	if (fstat(x->step, &st) != 0)
		return cannot_step(x);
	then = (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
	if (!judge_all(x, &x->hold[i], n, then, &goes))
		return false;
	for (size_t k = i; k < i + n; k++)
		x->hold[k].goes = x->hold[k].done = true;
	return finish(x, &x->hold[i], n, where != NOWHERE, then);
}

static bool
never_goes(const struct hold *h, size_t n)
{
	bool never = false;

	for (size_t i = 0; i < n; i++)
		never = never || (!h[i].goes && cause_was_said(h[i].verdict.cause));
	return never;
}

static void
stays(struct release *x, const struct hold *h, size_t n)
{
	x->held++;
	tell_all(x, h, n, "held");
}

/*
 * What never goes lies there until somebody removes it, as we say that he
 * should, and each run has to know whether that was done: for many of them
 * with one program.  When postcat has found all of them nobody needs to look
 * for each; nor when we cannot go on: then they are told of as they were seen.
 */
static bool
look_for_those_that_never_go(struct release *x, bool good)
{
	int64_t now = clock_read(CLOCK_REALTIME);
	struct buf ids = BUF(REQUEST_MAX);
	struct reply r;
	bool all;

	for (size_t i = 0; i < x->nnever; i++)
		buf_addf(&ids, "%s%s", i > 0 ? " " : "", x->hold[x->never[i]].id);
	all = good && x->nnever > 0 && helper_ask(&x->helper, ERRAND_LOOK, buf_cstr(&ids), &r) && r.status == 0;
	for (size_t i = 0; i < x->nnever; i++) {
		struct hold *h = &x->hold[x->never[i]];
		size_t n = recipients_of(x, x->never[i]);

		if (good && !all && look(x, h) == NOWHERE)
			good = finish(x, h, n, false, now);
		else
			stays(x, h, n);
	}
	x->nnever = 0;
	buf_free(&ids);
	return good;
}

/* One message, hold[at..at + n), which goes when it may go to all of its recipients.  False: cannot go on, told why. */
static bool
release(struct release *x, size_t at, size_t n)
{
	struct hold *h = &x->hold[at];
	int64_t now = clock_read(CLOCK_REALTIME);
	bool goes;

	if (now - x->synced >= SYNC_MS) {
		throttle_sync(x->throttle, now);
		x->synced = now;
	}
	if (!judge_all(x, h, n, now, &goes))
		return false;
	if (!goes)
		give_back(x, h, n);
	if (!goes && !x->dry && never_goes(h, n)) {
		x->never[x->nnever++] = at;
		return x->nnever < LOOKS_MAX || look_for_those_that_never_go(x, true);
	}
	if (!goes) {
		stays(x, h, n);
		return true;
	}
	if (!x->dry)
		return let_go(x, h, n, now);
	x->released++;
	tell_all(x, h, n, "due");
	return true;
}

static bool
release_all(struct release *x)
{
	bool good = true;
	size_t n;

	x->throttle = throttle_new(x->c->store);
	for (size_t i = 0; i < x->n && good; i += n) {
		n = recipients_of(x, i);
		if (!x->hold[i].done && is_wanted(x, span_of(x->hold[i].id)))
			good = release(x, i, n);
	}
	return look_for_those_that_never_go(x, good);
}

/* Queue ids that were asked for, and are of no message that we put on hold. */
static void
tell_unknown(const struct release *x)
{
	for (size_t i = 0; i < x->c->nwords; i++) {
		size_t k = 0;

		while (k < x->n && strcmp(x->hold[k].id, x->c->word[i]) != 0)
			k++;
		if (k == x->n)
			cli_error("%s: no message of this queue id waits; `rekindle release --dry-run` lists those that do", x->c->word[i]);
	}
}

static void
print_sums(const struct release *x)
{
	printf("%s %" PRIu64 ", still held %" PRIu64 ", gone %" PRIu64, x->dry ? "due" : "released", x->released, x->held, x->gone);
	if (x->failed)
		printf(", failed %" PRIu64, x->failed);
	printf("\n");
}

static int
work(struct release *x)
{
	bool ok;

	if (!cli_store(x->c) || (!x->dry && !step_open(x)))
		return EXIT_CANNOT;
	if (store_each_hold(x->c->store, take_hold, x) > STORE_NONE) {
		cli_error("cannot read the store in %s", x->c->setup->conf->data_dir);
		return EXIT_CANNOT;
	}
	if (x->n > 0)
		qsort(x->hold, x->n, sizeof *x->hold, by_time);
	tell_unknown(x);
	if (x->c->json)
		emit_open(&x->e, NULL, '[');
	ok = (x->dry || settle(x)) && release_all(x);
	if (x->c->json) {
		emit_close(&x->e, ']');
		emit_end(&x->e);
	} else if (ok)
		print_sums(x);
	if (!ok || x->failed)
		return EXIT_CANNOT;
	return x->released ? EXIT_FOUND : EXIT_NOTHING;
}

int
cmd_release(struct cli *c)
{
	struct release x = { .c = c, .step = -1, .last = BUF(OUTPUT_MAX + 4096) };
	const char *directory = NULL;
	const struct cli_option options[] = {
		{ "dry-run", .flag = &x.dry }, { "all", .flag = &x.all }, { "config-directory", .text = &directory }
	};
	int status;

	if (!cli_options(c, options, 3, &status))
		return status;
	for (size_t i = 0; i < c->nwords; i++)
		if (!is_queue_id(span_of(c->word[i])))
			return cli_usage(c, "release: \"%s\" is no queue id", c->word[i]);
	if (directory != NULL && directory[0] != '/')
		return cli_usage(c, "release: --config-directory wants an absolute path");
	if (!x.dry && geteuid() != 0) {
		cli_error("only root may release mail from Postfix's hold queue; --dry-run only looks");
		return EXIT_CANNOT;
	}
	/* Before anything of the store is open, and before root is given up. */
	if (!cli_setup(c) || (!x.dry && !helper_start(&x.helper, directory)))
		return EXIT_CANNOT;
	status = work(&x);
	helper_stop(&x.helper);
	if (x.step >= 0)
		close(x.step);
	buf_free(&x.last);
	for (size_t i = 0; i < x.n; i++) {
		free(x.hold[i].id);
		free(x.hold[i].why);
	}
	free(x.hold);
	return status;
}
