/* Tokens lie end to end and are the whole input, or the inside of a comment; attributes lie inside their tag, in order. */
#include <stdint.h>
#include <stdlib.h>

#include "common/buf.h"
#include "milter/charref.h"
#include "milter/html.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(struct html h)
{
	const char *data = h.in.p;
	struct html_token t;
	struct html_attr a;
	struct html inside;
	size_t at = h.at, done;

	while (html_next(&h, &t)) {
		if (t.start != at || t.end <= t.start || t.end > h.in.n)
			abort();
		at = done = t.end;
		if (t.kind == HTML_START)
			done = t.start + 1 + t.name.n;
		for (size_t i = t.attrs; t.kind == HTML_START && html_attr(&h, &i, &a);) {
			if (a.start < done || a.end <= a.start || a.end > t.end || a.name.n == 0)
				abort();
			if (a.has_value && (a.value.p < data + a.start + a.name.n ||
			    a.value.p + a.value.n + (a.quote != 0) != data + a.end))
				abort();
			done = a.end;
		}
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
