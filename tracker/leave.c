#include "tracker/leave.h"

#include "common/addr.h"
#include "common/text.h"
#include "tracker/form.h"

#define AFTER_MAX 5 /* seconds that a form may know better than our clock */

/* Who asks for what, and what stands so far. */
struct wish {
	struct hit *hit;
	const struct scene *scene;
	const struct claim *claim;
	uint64_t stream; /* 0: everything */
	struct span title; /* of the stream, for the page */
	struct span by;    /* how it came, for the history */
	struct profile profile;
	struct subscription subscription;
	int64_t after;   /* the newest second that this has to come behind, or be as late as */
};

/* What recipients know a stream as. */
static struct span
title_of(const struct scene *s, struct span stream)
{
	const struct stream *known = conf_stream(s->setup->conf, stream);

	return known != NULL && known->stream_title[0] != '\0' ? span_of(known->stream_title) : stream;
}

static void
look_up(struct wish *w)
{
	bool known, subscribed;

	if (w->claim->text.n > 0)
		w->stream = stream_id(&w->scene->setup->keys, w->claim->text);
	if (w->scene->store != NULL)
		store_person(w->scene->store, &w->claim->who, w->stream, &w->profile, &known, &w->subscription, &subscribed);
}

/* ---- pages ---- */

/* "../p/TOKEN": from one page to the other, whatever path the tracker is under. */
static void
add_preferences(const struct wish *w, struct buf *out)
{
	struct claim claim = *w->claim;

	claim.kind = TOKEN_PREFERENCES;
	buf_addf(out, "../%c/", TOKEN_PREFERENCES);
	if (!token_seal(w->scene->setup->sealer, &claim, out))
		buf_clear(out);
}

static void
ask(struct wish *w, enum token_kind kind)
{
	struct buf url = BUF(TOKEN_MAX);

	if (kind == TOKEN_LEAVE) {
		add_preferences(w, &url);
		hit_page(w->hit, w->scene, 200, PAGE_LEAVE,
		    &(struct page_values){ .stream = w->title, .preferences = buf_span(&url) });
	} else
		hit_page(w->hit, w->scene, 200, PAGE_PREFERENCES, &(struct page_values){ .stream = w->title });
	buf_free(&url);
}

/* The answer to a wish; undo is what takes it back, or NULL. */
static void
promise(struct wish *w, enum page page, const char *undo, int64_t when)
{
	struct buf url = BUF(TOKEN_MAX), after = BUF(32);

	add_preferences(w, &url);
	buf_addf(&after, "%lld", (long long)(when / 1000));
	hit_promise(w->hit, w->scene, page,
	    &(struct page_values){ .stream = w->title, .preferences = buf_span(&url), .undo = span_of(undo),
	        .after = buf_span(&after) });
	buf_free(&url);
	buf_free(&after);
}

/* ---- touches ---- */

/* The claim's text is in the hit's own buffer, so the record may borrow it. */
static void
record(struct wish *w, enum touch_kind kind, uint64_t stream, int64_t when)
{
	struct touch *t = hit_touch(w->hit, kind, MODE_IDENTIFIED, when);
	struct record *r = &w->hit->record[w->hit->n - 1];

	t->who = w->claim->who;
	t->campaign = w->claim->campaign;
	t->sent = w->claim->when;
	t->stream = stream;
	r->source = w->by;
	if (stream != 0)
		r->stream = w->claim->text;
}

static int64_t
later(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

/*
 * Sums know seconds, and of a stop and its opposite at the same second the
 * stop wins.  So what lifts a stop comes a second behind it, and a stop is not
 * dated before what it stops; the form says when that was, because the store
 * may not have summed it up yet, and the store, because clocks jump.
 */
static int64_t
stop_at(const struct wish *w, int64_t lifted)
{
	return later(w->scene->now, later(lifted, w->after) * 1000);
}

static int64_t
lift_at(const struct wish *w, int64_t stopped)
{
	int64_t last = later(stopped, w->after);

	return last == 0 ? w->scene->now : later(w->scene->now, (last + 1) * 1000);
}

static void
read_after(struct wish *w)
{
	struct buf text = BUF(32);
	uint64_t n;

	if (form_value(w->scene->request->content_type, w->scene->body, SPAN("after"), &text) &&
	    text_u64(buf_span(&text), &n) && n <= (uint64_t)(w->scene->now / 1000) + AFTER_MAX)
		w->after = (int64_t)n;
	buf_free(&text);
}

static void
stop(struct wish *w, bool all)
{
	bool everything = all || w->stream == 0;
	const struct profile *p = &w->profile;
	const struct subscription *s = &w->subscription;
	int64_t when = everything ? stop_at(w, later(p->joined, p->released)) : stop_at(w, s->joined);

	w->hit->kind = HIT_LEAVE;
	record(w, TOUCH_LEFT, everything ? 0 : w->stream, when);
	promise(w, everything ? PAGE_LEFT_ALL : PAGE_LEFT, everything ? "undo-all" : "undo", when);
}

/* What stands in the way whatever the stream. */
static enum cause
cause_of(const struct wish *w)
{
	return engage_cause(&w->profile, NULL, &(struct finding){ .class = ENGAGE_NEW }, w->scene->now);
}

/*
 * Keep me, less often, undo: each of them is a word of the recipient that
 * also takes an unsubscribe from everything back, where one stands.  To undo
 * that alone (`all`) says nothing of a single stream that was left before.
 */
static void
stay(struct wish *w, enum touch_kind kind, enum page page, bool all)
{
	const struct profile *p = &w->profile;
	const struct subscription *s = &w->subscription;
	enum cause cause = cause_of(w);
	int64_t when;

	if (cause != CAUSE_NONE && cause != CAUSE_UNSUBSCRIBED) {
		hit_page(w->hit, w->scene, 200, PAGE_LEFT_ALL, &(struct page_values){ .stream = w->title });
		return;
	}
	when = lift_at(w, later(later(p->left, s->left), kind == TOUCH_KEPT ? s->less : 0));
	all = all || (kind == TOUCH_JOINED && w->stream == 0);
	if (!all)
		record(w, kind, w->stream, when);
	if (all || cause == CAUSE_UNSUBSCRIBED)
		record(w, TOUCH_JOINED, 0, when);
	if (all && s->left != 0 && s->left >= s->joined)
		promise(w, PAGE_LEFT, "undo", when);
	else
		promise(w, page, kind == TOUCH_JOINED ? (all ? "stop-all" : "stop") : NULL, when);
}

static void
choose(struct wish *w, enum token_kind kind, struct span choice)
{
	if (span_eq(choice, SPAN("stop")))
		stop(w, false);
	else if (span_eq(choice, SPAN("stop-all")))
		stop(w, true);
	else if (span_eq(choice, SPAN("undo")))
		stay(w, TOUCH_JOINED, PAGE_JOINED, false);
	else if (span_eq(choice, SPAN("undo-all")))
		stay(w, TOUCH_JOINED, PAGE_JOINED, true);
	else if (span_eq(choice, SPAN("keep")))
		stay(w, TOUCH_KEPT, PAGE_KEPT, false);
	else if (span_eq(choice, SPAN("less")) && w->stream != 0)
		stay(w, TOUCH_LESS, PAGE_LESS, false);
	else
		hit_refuse(w->hit, kind == TOKEN_LEAVE ? SPAN("Expected List-Unsubscribe=One-Click.\n")
		    : SPAN("Expected choice=keep, less, stop or stop-all; less only where there is a stream.\n"));
}

void
leave_take(struct hit *h, const struct scene *s, enum token_kind kind, struct span token)
{
	struct span type = s->request->content_type;
	struct buf choice = BUF(16);
	struct claim claim;
	struct wish w = { .hit = h, .scene = s, .claim = &claim };

	if (!token_open(s->setup->sealer, kind, token, &claim, &h->text)) {
		hit_forged(h);
		return;
	}
	h->personal = (char)kind;
	w.title = title_of(s, claim.text);
	if (kind == TOKEN_LEAVE)
		h->kind = HIT_LEAVE;
	if (s->request->method != HTTP_POST) {
		ask(&w, kind);
		return;
	}
	h->kind = HIT_PAGE;
	look_up(&w);
	read_after(&w);
	if (form_says(type, s->body, SPAN("List-Unsubscribe"), SPAN("One-Click"))) {
		w.by = SPAN("one-click");
		stop(&w, false);
	} else {
		w.by = SPAN("page");
		form_value(type, s->body, SPAN("choice"), &choice);
		choose(&w, kind, buf_span(&choice));
	}
	buf_free(&choice);
}
