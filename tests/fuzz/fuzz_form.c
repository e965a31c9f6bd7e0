/*
 * Promises of forms: whatever a body is, a field that form_says is there has
 * that value; and fields of any bytes, encoded as a browser does it in either
 * way, read back as what they were.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/text.h"
#include "tracker/form.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

/* Any type, any body: nothing is made up. */
static void
check_any(struct span in)
{
	size_t line = span_find(in, '\n');
	struct span type = span_cut(in, 0, line), body = span_from(in, line + 1);
	struct buf value = BUF(1 << 20);
	bool found = form_value(type, body, SPAN("choice"), &value);

	must(found || value.n == 0);
	must(value.n <= body.n);
	if (form_says(type, body, SPAN("choice"), SPAN("stop")))
		must(found);
	if (found && span_eq(buf_span(&value), SPAN("stop")))
		must(form_says(type, body, SPAN("choice"), SPAN("stop")));
	buf_free(&value);
}

static void
add_coded(struct buf *out, struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		char l = ascii_lower(s.p[i]);

		if ((l >= 'a' && l <= 'z') || (l >= '0' && l <= '9'))
			buf_addc(out, s.p[i]);
		else if (s.p[i] == ' ')
			buf_addc(out, '+');
		else
			text_add_percent(out, s.p[i]);
	}
}

static void
must_read_back(struct span type, struct span body, struct span value)
{
	struct buf got = BUF(1 << 20);

	must(form_value(type, body, SPAN("choice"), &got));
	must(span_eq(buf_span(&got), value));
	must(form_says(type, body, SPAN("choice"), span_trim(value)));
	buf_free(&got);
}

/* Another field in front, of the first half of the bytes; ours is the second. */
static void
check_round_trip(struct span in)
{
	struct span first = span_cut(in, 0, in.n / 2), second = span_from(in, in.n / 2);
	struct buf body = BUF(1 << 20);

	buf_adds(&body, "a=");
	add_coded(&body, first);
	buf_adds(&body, "&choice=");
	add_coded(&body, second);
	/* White space around a value that is escaped belongs to it. */
	if (span_trim(second).n == second.n)
		must_read_back(SPAN("application/x-www-form-urlencoded"), buf_span(&body), second);

	/* A browser takes a boundary that is not in the content. */
	if (span_search(in, SPAN("--XbX")) == in.n) {
		buf_clear(&body);
		buf_adds(&body, "--XbX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n");
		buf_add(&body, first);
		buf_adds(&body, "\r\n--XbX\r\nContent-Disposition: form-data; name=\"choice\"\r\n\r\n");
		buf_add(&body, second);
		buf_adds(&body, "\r\n--XbX--\r\n");
		must_read_back(SPAN("multipart/form-data; boundary=XbX"), buf_span(&body), second);
	}
	buf_free(&body);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct span in = span_make(p, n);

	check_any(in);
	check_round_trip(in);
	return 0;
}
