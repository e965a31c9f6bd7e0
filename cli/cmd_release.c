/* rekindle release -- messages that wait in Postfix's hold queue go on when their time has come. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/clock.h"
#include "common/mem.h"
#include "common/text.h"

/*
 * Only root may touch Postfix's queue, and the store is open to nobody but
 * its owner.  So a helper stays root, and does nothing but run postsuper and
 * postqueue for the queue ids that it is sent.
 */
struct helper {
	int fd;
	pid_t pid;
};

/* GONE: it is not in the hold queue any more.  UNKNOWN: nobody said whether it was released. */
enum outcome { RELEASED, GONE, FAILED, UNKNOWN };

struct reply {
	enum outcome outcome;
	char text[400]; /* FAILED, UNKNOWN: what Postfix says */
};

#define OUTPUT_MAX 65536

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

/* Runs a program of Postfix's; its output is appended to out.  Its exit status, or -1. */
static int
run(const char *const *argv, struct buf *out)
{
	int pipes[2], null, status;
	char piece[4096];
	ssize_t n;
	pid_t pid;

	if (pipe2(pipes, O_CLOEXEC) != 0 || (pid = fork()) < 0) {
		buf_addf(out, "%s: %s", argv[0], strerror(errno));
		return -1;
	}
	if (pid == 0) {
		if ((null = open("/dev/null", O_RDONLY)) >= 0)
			dup2(null, STDIN_FILENO);
		dup2(pipes[1], STDOUT_FILENO);
		dup2(pipes[1], STDERR_FILENO);
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	close(pipes[1]);
	while ((n = read(pipes[0], piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR))
		if (n > 0)
			buf_add(out, span_make(piece, (size_t)n));
	close(pipes[0]);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
release_one(const char *directory, const char *id, struct reply *r)
{
	const char *const first[] = { "postsuper", "-H", id, NULL }, *const first_of[] = { "postsuper", "-c", directory, "-H", id, NULL };
	const char *const then[] = { "postqueue", "-i", id, NULL }, *const then_of[] = { "postqueue", "-c", directory, "-i", id, NULL };
	struct buf out = BUF(OUTPUT_MAX);
	struct span said, line;
	int status = run(directory != NULL ? first_of : first, &out);

	r->outcome = status < 0 ? UNKNOWN : FAILED;
	if (status == 0)
		r->outcome = strstr(buf_cstr(&out), "Released from hold: 1 ") != NULL ? RELEASED : GONE;
	said = span_trim(buf_span(&out));
	span_split(&said, '\n', &line);
	snprintf(r->text, sizeof r->text, "%.*s", SPAN_ARG(line));
	buf_clear(&out);
	/* Postfix would come to it by itself, some minutes later. */
	if (r->outcome == RELEASED)
		(void)run(directory != NULL ? then_of : then, &out);
	buf_free(&out);
}

static void
serve(int fd, const char *directory)
{
	char id[HOLD_ID_MAX + 1];
	struct reply r = { .outcome = FAILED };
	ssize_t n;

	/* That of a cron job has no sbin. */
	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin", 1);
	while ((n = recv(fd, id, sizeof id - 1, 0)) > 0) {
		id[n] = '\0';
		/* Whoever owns the store may have become somebody else's. */
		if (!is_queue_id(span_of(id)))
			break;
		release_one(directory, id, &r);
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

static void
helper_ask(struct helper *h, const char *id, struct reply *r)
{
	static const struct reply gone = { .outcome = UNKNOWN, .text = "the helper is gone; whether it was released the next run will see" };

	*r = gone;
	if (send(h->fd, id, strlen(id), MSG_NOSIGNAL) == (ssize_t)strlen(id) &&
	    recv(h->fd, r, sizeof *r, 0) != (ssize_t)sizeof *r)
		*r = gone;
	r->text[sizeof r->text - 1] = '\0';
}

/* ---- what lies there ---- */

struct hold {
	char *id;
	struct touch touch;
	struct verdict verdict; /* as of now */
	bool goes;
	char *why;              /* it does not go */
};

struct release {
	struct cli *c;
	bool dry, all;
	struct helper helper;
	struct hold *hold;
	size_t n, cap;
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

	if (!is_queue_id(id) || !is_wanted(x, id))
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

/* What a person asked for, or what cannot arrive, is nobody's to overrule here. */
static bool
is_final(enum cause c)
{
	return c == CAUSE_COMPLAINED || c == CAUSE_BOUNCED || c == CAUSE_UNSUBSCRIBED || c == CAUSE_HELD;
}

/* Did a run before this one release it, without writing down what became of it? */
static bool
is_leaving(const struct hold *h)
{
	return h->touch.flags & TOUCH_LEAVING;
}

/* False: the store cannot be read. */
static bool
judge(struct release *x, struct hold *h, int64_t now)
{
	struct cli *c = x->c;
	const struct stream *stream = stream_of(c, h->touch.stream);
	struct profile p;
	struct subscription s;
	bool known = false, subscribed = false;
	struct buf why = BUF(1024);
	struct question q;
	enum brake stop;
	int64_t since;

	if (!who_is_nobody(&h->touch.who) &&
	    store_person(c->store, &h->touch.who, h->touch.stream, &p, &known, &s, &subscribed) > STORE_NONE)
		return false;
	if (store_stops(c->store, h->touch.campaign, &stop, &since) > STORE_NONE)
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
	h->verdict = verdict_find(&q);
	/*
	 * What was released by a run that did not come to its end is on its way, and has to be counted.  Of a campaign
	 * that was stopped meanwhile it waits for that to end: it may lie there still, and to ask would release it.
	 */
	h->goes = h->verdict.action == ACTION_SEND || h->verdict.action == ACTION_ROUTE ||
	    ((x->all || (is_leaving(h) && h->verdict.cause != CAUSE_BRAKED)) && !is_final(h->verdict.cause));
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
	    (h->verdict.wanted != ACTION_SEND && h->verdict.wanted != ACTION_ROUTE ? TOUCH_OBSERVED : 0);
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

/* What became of one message, hold[0..n): true when the store could be written. */
static bool
note(struct release *x, const struct hold *h, size_t n, bool sent, int64_t now)
{
	struct record *r = xcalloc(n, sizeof *r);
	enum store_result result;

	for (size_t i = 0; i < n; i++)
		r[i] = sent_record(x, &h[i], now);
	result = store_unhold(x->c->store, span_of(h->id), r, sent ? n : 0);
	free(r);
	if (result > STORE_NONE) {
		cli_error("%s: cannot write to the store in %s%s", h->id, x->c->setup->conf->data_dir,
		    sent ? "; the message goes out, and no cap will count it" : "");
		return false;
	}
	/* The next one may be for the same recipient. */
	if (sent)
		cli_fold(x->c);
	return true;
}

/* Before it happens: who is killed then must not leave a message that nobody counts. */
static bool
announce(struct release *x, const struct hold *h, bool leaving)
{
	if (is_leaving(h) || store_leaving(x->c->store, span_of(h->id), leaving) <= STORE_NONE)
		return true;
	cli_error("%s: cannot write to the store in %s", h->id, x->c->setup->conf->data_dir);
	return false;
}

/* One message, hold[0..n), which goes when it may go to all of its recipients.  False: cannot go on, told why. */
static bool
release(struct release *x, struct hold *h, size_t n)
{
	int64_t now = clock_read(CLOCK_REALTIME);
	struct reply reply = { .outcome = RELEASED };
	bool goes = true;

	for (size_t i = 0; i < n; i++) {
		if (!judge(x, &h[i], now)) {
			cli_error("cannot read the store in %s", x->c->setup->conf->data_dir);
			return false;
		}
		goes = goes && h[i].goes;
	}
	if (!goes) {
		x->held++;
		for (size_t i = 0; i < n; i++)
			tell(x, &h[i], "held", h[i].why);
		return true;
	}
	if (!x->dry && !announce(x, h, true))
		return false;
	if (!x->dry)
		helper_ask(&x->helper, h->id, &reply);
	if (reply.outcome == GONE && is_leaving(h))
		reply.outcome = RELEASED;
	switch (reply.outcome) {
	case RELEASED:
		x->released++;
		for (size_t i = 0; i < n; i++)
			tell(x, &h[i], x->dry ? "due" : "released", NULL);
		return x->dry || note(x, h, n, true, now);
	case GONE:
		x->gone++;
		for (size_t i = 0; i < n; i++)
			tell(x, &h[i], "gone", NULL);
		return note(x, h, n, false, now);
	default:
		x->failed++;
		cli_error("%s: %s", h->id, reply.text);
		return reply.outcome == UNKNOWN || announce(x, h, false);
	}
}

static bool
release_all(struct release *x)
{
	size_t n;

	for (size_t i = 0; i < x->n; i += n) {
		for (n = 1; i + n < x->n && strcmp(x->hold[i].id, x->hold[i + n].id) == 0; n++)
			;
		if (!release(x, &x->hold[i], n))
			return false;
	}
	return true;
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

	if (!cli_store(x->c))
		return EXIT_CANNOT;
	if (store_each_hold(x->c->store, take_hold, x) > STORE_NONE) {
		cli_error("cannot read the store in %s", x->c->setup->conf->data_dir);
		return EXIT_CANNOT;
	}
	tell_unknown(x);
	if (x->c->json)
		emit_open(&x->e, NULL, '[');
	ok = release_all(x);
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
	struct release x = { .c = c };
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
	for (size_t i = 0; i < x.n; i++) {
		free(x.hold[i].id);
		free(x.hold[i].why);
	}
	free(x.hold);
	return status;
}
