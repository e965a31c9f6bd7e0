/* rekindle forget -- erase what is stored of people. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/print.h"
#include "common/addr.h"
#include "common/fold.h"
#include "common/mem.h"

#define FORGOTTEN "forgotten" /* what history says, behind the user's name */
#define AT_ONCE 10000         /* people: each search goes over all touches */
#define ROUNDS 2

struct forget {
	struct cli *c;
	struct who *who;
	size_t n, cap;
	bool entirely;
	struct buf source;
	uint64_t forgotten, already, stopped, touches, unknown, bad;
};

static bool
see_forgotten(void *arg, const struct touch *t, struct span source)
{
	if (t->kind == TOUCH_CONSENT && span_ends(source, SPAN(": " FORGOTTEN)))
		*(int64_t *)arg = t->when;
	return true;
}

int64_t
forget_when(struct cli *c, const struct who *who)
{
	struct buf name = BUF(ADDR_MAX);
	int64_t when = 0;

	if (store_name(c->store, who, &name) == STORE_NONE)
		(void)store_each_history_of(c->store, who, see_forgotten, &when);
	buf_free(&name);
	return when;
}

static bool
see_history(void *arg, const struct touch *t, struct span source)
{
	(void)t;
	(void)source;
	*(bool *)arg = true;
	return false;
}

static bool
see_kept(void *arg, const struct touch *t)
{
	(void)t;
	*(bool *)arg = true;
	return false;
}

/* Is there anything of this one?  What the state lost the facts may have. */
static bool
is_known(struct cli *c, const struct who *who, bool *known)
{
	struct buf name = BUF(4096);
	struct profile p;
	enum store_result r = store_profile(c->store, who, &p);

	*known = r == STORE_OK || store_name(c->store, who, &name) == STORE_OK;
	buf_free(&name);
	return r <= STORE_NONE && (*known || (store_each_history_of(c->store, who, see_history, known) <= STORE_NONE &&
		store_each_kept_of(c->store, who, see_kept, known) <= STORE_NONE));
}

static bool
add(void *arg, struct span address, const char *where)
{
	struct forget *f = arg;
	struct who who;
	bool known;

	if (!cli_who_at(f->c, address, where, &who)) {
		f->bad++;
		return true;
	}
	if (!is_known(f->c, &who, &known)) {
		cli_error("cannot read the store in %s", f->c->setup->conf->data_dir);
		return false;
	}
	if (!known) {
		cli_error("%s%snobody of the address %.*s is known", where, *where ? ": " : "", SPAN_ARG(span_cut(address, 0, 200)));
		f->unknown++;
		return true;
	}
	if (f->n == f->cap) {
		f->cap = f->cap ? 2 * f->cap : 64;
		f->who = xreallocarray(f->who, f->cap, sizeof *f->who);
	}
	f->who[f->n++] = who;
	return true;
}

static void
sort(struct forget *f)
{
	size_t n = 0;

	if (f->n > 0)
		qsort(f->who, f->n, sizeof *f->who, who_order);
	for (size_t i = 0; i < f->n; i++)
		if (n == 0 || !who_eq(&f->who[n - 1], &f->who[i]))
			f->who[n++] = f->who[i];
	f->n = n;
}

static bool
is_meant(const struct forget *f, bool yes)
{
	char answer[16];

	if (yes || f->n == 0)
		return true;
	fprintf(stderr, "Forget %zu %s%s? This cannot be undone. Type yes: ", f->n, f->n == 1 ? "person" : "people",
	    f->entirely ? ", and that they are not to be written to" : "");
	return fgets(answer, sizeof answer, stdin) && strcmp(answer, "yes\n") == 0;
}

/* Those of whom no more is known; yet there may be touches by now, such as of mail that was refused. */
static uint64_t
forgotten_before(const struct forget *f, size_t from, size_t to)
{
	uint64_t n = 0;

	for (size_t i = from; i < to && !f->entirely; i++)
		n += forget_when(f->c, &f->who[i]) != 0;
	return n;
}

/*
 * Twice: what a daemon had in hand when it was not known yet that nothing may
 * be kept is in its journal a moment later.
 */
static bool
forget_some(struct forget *f, size_t from, size_t to)
{
	struct forgetting how = { .who = f->who + from, .n = to - from, .now = f->c->now, .entirely = f->entirely,
		.source = buf_span(&f->source) };
	enum store_result r = STORE_OK;
	uint64_t already = forgotten_before(f, from, to);

	for (int round = 0; round < ROUNDS && r == STORE_OK; round++) {
		if (round > 0)
			cli_settle(f->c, true);
		r = fold_forget(f->c->store, &how);
		f->touches += how.touches;
	}
	/* There is a limit of pages in one transaction: with fewer it may do. */
	if (r == STORE_FULL && to - from > 1)
		return forget_some(f, from, from + (to - from) / 2) && forget_some(f, from + (to - from) / 2, to);
	f->stopped += how.stops;
	if (r == STORE_OK) {
		f->forgotten += to - from - already;
		f->already += already;
		return true;
	}
	cli_error("cannot write to the store in %s: %" PRIu64 " of %zu are forgotten; do it again", f->c->setup->conf->data_dir,
	    f->forgotten + f->already, f->n);
	return false;
}

static bool
forget_all(struct forget *f)
{
	for (size_t from = 0; from < f->n; from += AT_ONCE)
		if (!forget_some(f, from, from + AT_ONCE < f->n ? from + AT_ONCE : f->n))
			return false;
	return true;
}

static void
say(const struct forget *f)
{
	struct emit e = { 0 };

	if (!f->c->json) {
		printf("forgot %" PRIu64 ", with %" PRIu64 " touch%s; already forgotten %" PRIu64 ", unknown %" PRIu64 "\n", f->forgotten, f->touches,
		    f->touches == 1 ? "" : "es", f->already, f->unknown);
		if (f->stopped)
			printf("still stopped, without a name: %" PRIu64 "\n", f->stopped);
		return;
	}
	emit_open(&e, NULL, '{');
	emit_number(&e, "forgotten", f->forgotten);
	emit_number(&e, "already", f->already);
	emit_number(&e, "touches", f->touches);
	emit_number(&e, "stopped", f->stopped);
	emit_number(&e, "unknown", f->unknown);
	emit_number(&e, "bad", f->bad);
	emit_close(&e, '}');
	emit_end(&e);
}

int
cmd_forget(struct cli *c)
{
	struct forget f = { .c = c, .source = BUF(1024) };
	bool yes = false, from_stdin = false, good = false;
	const struct cli_option options[] = { { "entirely", .flag = &f.entirely }, { "yes", .flag = &yes } };
	int status;

	if (!cli_options(c, options, 2, &status))
		return status;
	if (c->nwords == 0)
		return cli_usage(c, "forget: whom? (- reads addresses from standard input)");
	for (size_t i = 0; i < c->nwords; i++)
		from_stdin = from_stdin || strcmp(c->word[i], "-") == 0;
	if (!yes && (from_stdin || !isatty(STDIN_FILENO)))
		return cli_usage(c, "forget: there is nobody to ask; --yes says that it is meant");
	(void)cli_source(&f.source, SPAN(FORGOTTEN));
	status = EXIT_CANNOT;
	if (cli_store(c) && cli_addresses(c, 0, add, &f)) {
		sort(&f);
		if (!is_meant(&f, yes)) {
			status = EXIT_NOTHING;
		} else if (forget_all(&f)) {
			good = true;
			say(&f);
		}
	}
	if (good)
		status = f.bad ? EXIT_CANNOT : f.forgotten || f.touches ? EXIT_FOUND : EXIT_NOTHING;
	free(f.who);
	buf_free(&f.source);
	return status;
}
