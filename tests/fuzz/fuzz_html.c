/*
 * Tokens lie end to end and are the whole input, or the inside of a comment;
 * attributes lie inside their tag, in order, and end where the tag does.  What
 * is open in svg has a bound, and lies before the token.  A text of CDATA or of
 * a raw element does not hold its own end.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/buf.h"
#include "milter/charref.h"
#include "milter/html.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_state(const struct html *h, const struct html_token *t)
{
	struct span text = span_cut(h->in, t->start, t->end);

	if (h->depth > HTML_OPEN_MAX || (h->depth == 0 && h->unsure))
		abort();
	for (size_t i = 0; i < h->depth; i++)
		if (h->open[i].name.n == 0 || h->open[i].name.p + h->open[i].name.n > h->in.p + t->end ||
		    (i > 0 && h->open[i].name.p <= h->open[i - 1].name.p) || (i == 0 && h->open[i].space == HTML_SPACE))
			abort();
	if ((t->raw || t->cdata) && t->kind != HTML_TEXT)
		abort();
	if (t->cdata && (span_search(text, SPAN("]]>")) < text.n || t->open != (t->end == h->in.n)))
		abort();
	if (t->kind == HTML_TEXT && !t->raw && !t->cdata && (span_isearch(text, SPAN("<a")) < text.n || span_isearch(text, SPAN("</a")) < text.n))
		abort();
}

static void
check(struct html h)
{
	const char *data = h.in.p;
	struct html_token t;
	struct html_attr a;
	struct html inside;
	size_t at = h.at, done, i;

	while (html_next(&h, &t)) {
		if (t.start != at || t.end <= t.start || t.end > h.in.n)
			abort();
		check_state(&h, &t);
		at = done = t.end;
		if (t.kind == HTML_START)
			done = t.start + 1 + t.name.n;
		for (i = t.attrs; t.kind == HTML_START && html_attr(&h, &i, &a);) {
			if (a.start < done || a.end <= a.start || a.end > t.end || a.name.n == 0)
				abort();
			if (a.has_value && (a.value.p < data + a.start + a.name.n ||
			    a.value.p + a.value.n + (a.quote != 0) != data + a.end))
				abort();
			done = a.end;
		}
		/* html_next comes to the end of a tag by another way than html_attr. */
		if (t.kind == HTML_START && (i != t.end || t.self_closing != (t.end - done >= 2 && data[t.end - 2] == '/')))
			abort();
		if (html_conditional(&h, &t, &inside)) {
			if (h.conditional || inside.at <= t.start || inside.at > inside.in.n || inside.in.n >= t.end)
				abort();
			check(inside);
		}
	}
	if (at != h.in.n)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf text = BUF(2 * size + 16);
	struct html h;

	html_init(&h, span_make(data, size));
	check(h);
	/* A reference never stands for much more than it takes. */
	charref_decode(&text, span_make(data, size), true);
	if (text.over)
		abort();
	buf_free(&text);
	return 0;
}
