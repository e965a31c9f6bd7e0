/* Tokens lie end to end and are the whole input; attributes lie inside their tag, in order. */
#include <stdint.h>
#include <stdlib.h>

#include "common/buf.h"
#include "milter/charref.h"
#include "milter/html.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf text = BUF(2 * size + 16);
	struct html_token t;
	struct html_attr a;
	struct html h;
	size_t at = 0, done;

	html_init(&h, span_make(data, size));
	while (html_next(&h, &t)) {
		if (t.start != at || t.end <= t.start || t.end > size)
			abort();
		at = done = t.end;
		if (t.kind == HTML_START)
			done = t.start + 1 + t.name.n;
		for (size_t i = t.attrs; t.kind == HTML_START && html_attr(&h, &i, &a);) {
			if (a.start < done || a.end <= a.start || a.end > t.end || a.name.n == 0)
				abort();
			if (a.has_value && (a.value.p < (const char *)data + a.start + a.name.n ||
			    a.value.p + a.value.n + (a.quote != 0) != (const char *)data + a.end))
				abort();
			done = a.end;
		}
	}
	if (at != size)
		abort();
	/* A reference never stands for much more than it takes. */
	charref_decode(&text, span_make(data, size), true);
	if (text.over)
		abort();
	buf_free(&text);
	return 0;
}
