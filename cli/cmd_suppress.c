/* rekindle suppress -- stop and release recipients by hand. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/mem.h"
#include "common/text.h"

struct suppress {
	struct cli *c;
	bool remove;
	enum touch_kind kind;   /* when adding */
	const char *stream;     /* NULL: everything */
	uint64_t stream_id;
	struct batch *batch;
	uint64_t done, already, bad;
};

/* Is there nothing left to do for this touch? */
static bool
already(const struct suppress *s, const struct profile *p, const struct subscription *sub)
{
	static const struct finding fresh = { .class = ENGAGE_NEW };
	struct profile alone = { .joined = p->joined, .released = p->released };

	if (s->stream)
		return unsubscribed(sub) != s->remove;
	if (s->remove)
		return engage_cause(p, NULL, &fresh, s->c->now) == CAUSE_NONE;
	/* Only the reason that is to be added: the others do not make up for it. */
	if (s->kind == TOUCH_LEFT)
		alone.left = p->left;
	else if (s->kind == TOUCH_HELD)
		alone.held = p->held;
	else if (s->kind == TOUCH_BOUNCED)
		alone.bounced = p->bounced;
	else
		alone.complained = p->complained;
	return engage_cause(&alone, NULL, &fresh, s->c->now) != CAUSE_NONE;
}

/*
 * Records know seconds, and of two opposite touches in the same second one
 * wins by rule.  What a person asks for last must win: so it comes at least
 * a second after what it undoes.
 */
static int64_t
moment(const struct suppress *s, const struct profile *p, const struct subscription *sub)
{
	const uint32_t stops[] = { p->left, p->bounced, p->complained, p->held, sub->left };
	const uint32_t lifts[] = { p->released, p->joined, sub->joined };
	const uint32_t *against = s->remove ? stops : lifts;
	size_t n = s->remove ? sizeof stops / sizeof stops[0] : sizeof lifts / sizeof lifts[0];
	uint32_t last = 0;

	for (size_t i = 0; i < n; i++)
		if (against[i] > last)
			last = against[i];
	return (int64_t)last * 1000 >= s->c->now - 1000 ? ((int64_t)last + 1) * 1000 : s->c->now;
}

/* Streams that still have this recipient unsubscribed after a release of everything. */
static bool
note_left(void *arg, const struct who *who, uint64_t stream, const struct subscription *sub)
{
	struct suppress *s = arg;
	struct buf name = BUF(1024);

	(void)who;
	if (unsubscribed(sub)) {
		cli_stream_name(s->c, stream, &name);
		cli_error("still unsubscribed from %s; --stream %s lifts that too", buf_cstr(&name), buf_cstr(&name));
	}
	buf_free(&name);
	return true;
}

/* One address.  False: cannot go on, told why. */
static bool
one(void *arg, struct span address, const char *where)
{
	struct suppress *s = arg;
	struct cli *c = s->c;
	struct record r = { .address = address };
	struct profile p;
	struct subscription sub;
	bool known, subscribed;
	enum store_result result;

	if (!cli_who_at(c, address, where, &r.touch.who)) {
		s->bad++;
		return true;
	}
	result = store_person(c->store, &r.touch.who, s->stream_id, &p, &known, &sub, &subscribed);
	if (result > STORE_NONE) {
		cli_error("cannot read the store in %s", c->setup->conf->data_dir);
		return false;
	}
	if (s->remove && !s->stream)
		store_each_subscription_of(c->store, &r.touch.who, note_left, s);
	if (already(s, &p, &sub)) {
		s->already++;
		return true;
	}
	r.touch.kind = s->remove ? TOUCH_RELEASED : s->kind;
	r.touch.mode = MODE_IDENTIFIED;
	r.touch.when = moment(s, &p, &sub);
	if (s->stream) {
		r.touch.stream = s->stream_id;
		r.stream = span_of(s->stream);
	}
	batch_add(s->batch, &r);
	s->done++;
	return s->batch->n < BATCH_MAX || batch_write(c, s->batch);
}

static void
say(const struct suppress *s)
{
	if (!s->c->json) {
		printf("%s %" PRIu64 ", %s already %" PRIu64 "\n", s->remove ? "released" : "stopped", s->done,
		    s->remove ? "free" : "stopped", s->already);
		return;
	}
	emit_tally(s->done, s->already, s->bad);
}

static int
change(struct cli *c, bool remove, const char *reason, const char *stream)
{
	static const struct {
		const char *name;
		enum touch_kind kind;
	} reasons[] = {
		{ "held", TOUCH_HELD }, { "unsubscribed", TOUCH_LEFT }, { "complained", TOUCH_COMPLAINED },
		{ "bounced", TOUCH_BOUNCED },
	};
	struct suppress s = { .c = c, .remove = remove, .stream = stream };
	bool ok;

	if (c->nwords < 2)
		return cli_usage(c, "suppress %s: which address? (- reads them from standard input)", c->word[0]);
	if (remove && reason)
		return cli_usage(c, "suppress remove: lifts every reason; --reason belongs to add");
	if (!reason)
		reason = stream ? "unsubscribed" : "held";
	for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
		if (strcmp(reasons[i].name, reason) == 0)
			s.kind = reasons[i].kind;
	if (!s.kind)
		return cli_usage(c, "there is no reason \"%s\"; one of held, unsubscribed, complained, bounced", reason);
	if (stream && s.kind != TOUCH_LEFT)
		return cli_usage(c, "%s goes for every stream; only unsubscribed knows --stream", reason);
	if (!cli_store(c))
		return EXIT_CANNOT;
	if (stream && !cli_stream(c, stream, &s.stream_id))
		return EXIT_USAGE;

	s.batch = xcalloc(1, sizeof *s.batch);
	ok = cli_addresses(c, 1, one, &s);
	if (s.batch->n > 0 && !batch_write(c, s.batch))
		ok = false;
	free(s.batch);
	cli_fold(c);
	if (!ok)
		return EXIT_CANNOT;
	say(&s);
	if (s.bad)
		return EXIT_CANNOT;
	return s.done || (!remove && s.already) ? EXIT_FOUND : EXIT_NOTHING;
}

/* ---- list ---- */

struct listing {
	struct cli *c;
	struct emit e;
	uint64_t n;
};

static void
list_one(struct listing *l, const struct who *who, enum cause cause, const uint64_t *stream, uint32_t since)
{
	struct buf name = BUF(ADDR_MAX), text = BUF(4096), of = BUF(1024);
	bool known = store_name(l->c->store, who, &name) == STORE_OK;

	if (stream)
		cli_stream_name(l->c, *stream, &of);
	if (l->c->json) {
		emit_open(&l->e, NULL, '{');
		if (known)
			emit_text(&l->e, "address", buf_span(&name));
		emit_hex(&l->e, "who", who->b, sizeof who->b);
		emit_string(&l->e, "reason", cause_name(cause));
		if (stream)
			emit_text(&l->e, "stream", buf_span(&of));
		emit_time(&l->e, "since", (int64_t)since * 1000);
		emit_close(&l->e, '}');
	} else {
		/* Columns of fixed width, the address last: a list of millions is written as it is read. */
		if (known)
			print_safe(&text, buf_span(&name));
		else
			text_add_hex(&text, who->b, sizeof who->b);
		buf_clear(&name);
		text_add_day(&name, (int64_t)since * 1000);
		printf("%-12s  %s  %-20s  %s\n", cause_name(cause), buf_cstr(&name), stream ? buf_cstr(&of) : "everything",
		    buf_cstr(&text));
	}
	l->n++;
	buf_free(&name);
	buf_free(&text);
	buf_free(&of);
}

static bool
list_person(void *arg, const struct who *who, const struct profile *p)
{
	struct listing *l = arg;
	enum cause cause = status_of(p, NULL, &(struct finding){ .class = ENGAGE_NEW }, l->c->now);

	if (cause != CAUSE_NONE)
		list_one(l, who, cause, NULL, status_since(cause, p, NULL));
	return !ferror(stdout);
}

static bool
list_subscription(void *arg, const struct who *who, uint64_t stream, const struct subscription *sub)
{
	if (unsubscribed(sub))
		list_one(arg, who, CAUSE_UNSUBSCRIBED, &stream, sub->left);
	return !ferror(stdout);
}

static int
list(struct cli *c)
{
	struct listing l = { .c = c };
	bool ok;

	if (!cli_store(c))
		return EXIT_CANNOT;
	if (c->json)
		emit_open(&l.e, NULL, '[');
	ok = store_each_person(c->store, list_person, &l) <= STORE_NONE
	    && store_each_subscription(c->store, list_subscription, &l) <= STORE_NONE;
	if (c->json) {
		emit_close(&l.e, ']');
		emit_end(&l.e);
	}
	if (!ok) {
		cli_error("cannot read the store in %s: the list is not complete", c->setup->conf->data_dir);
		return EXIT_CANNOT;
	}
	return l.n ? EXIT_FOUND : EXIT_NOTHING;
}

int
cmd_suppress(struct cli *c)
{
	const char *stream = NULL, *reason = NULL;
	const struct cli_option options[] = { { "stream", .text = &stream }, { "reason", .text = &reason } };
	int status;

	if (!cli_options(c, options, 2, &status))
		return status;
	if (c->nwords == 0)
		return cli_usage(c, "suppress: one of add, remove, list");
	if (strcmp(c->word[0], "add") == 0)
		return change(c, false, reason, stream);
	if (strcmp(c->word[0], "remove") == 0)
		return change(c, true, reason, stream);
	if (strcmp(c->word[0], "list") != 0)
		return cli_usage(c, "suppress: what is \"%s\"; one of add, remove, list", c->word[0]);
	if (c->nwords > 1 || stream || reason)
		return cli_usage(c, "suppress list: takes nothing else");
	return list(c);
}
