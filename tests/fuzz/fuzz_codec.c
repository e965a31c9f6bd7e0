/*
 * Promises: what is written reads back to the same bytes; base64url has one
 * spelling; a refusal appends nothing; quoted-printable lines are at most 76
 * characters.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

static void
url(struct span in)
{
	struct buf b = BUF(1 << 20), c = BUF(1 << 20);

	if (base64url_read(&b, in)) {
		base64url_add(&c, buf_span(&b));
		must(span_eq(buf_span(&c), in));
	} else {
		must(b.n == 0);
	}
	buf_clear(&b);
	buf_clear(&c);
	base64url_add(&b, in);
	must(base64url_read(&c, buf_span(&b)) && span_eq(buf_span(&c), in));
	buf_free(&b);
	buf_free(&c);
}

static void
mime(struct span in)
{
	struct buf b = BUF(1 << 20), c = BUF(1 << 20), again = BUF(1 << 20);

	if (base64_read(&b, in)) {
		base64_add_lines(&c, buf_span(&b), SPAN("\r\n"));
		must(base64_read(&again, buf_span(&c)) && span_eq(buf_span(&again), buf_span(&b)));
	} else {
		must(b.n == 0);
	}
	buf_clear(&b);
	buf_clear(&c);
	base64_add_lines(&b, in, SPAN("\n"));
	must(base64_read(&c, buf_span(&b)) && span_eq(buf_span(&c), in));
	buf_free(&b);
	buf_free(&c);
	buf_free(&again);
}

/* Reads lines as the MIME reader does. */
static void
read_lines(struct buf *out, struct span text)
{
	while (text.n > 0) {
		size_t n = span_find(text, '\n');
		struct span line = span_cut(text, 0, n);
		bool soft;

		line.n -= n < text.n && span_ends(line, SPAN("\r"));
		must(line.n <= 76);
		must(qp_read_line(out, &text, &soft));
	}
}

static void
qp(struct span in, bool soft_end)
{
	struct buf b = BUF(1 << 20), c = BUF(1 << 20);
	struct span rest = in;
	bool soft;

	if (!qp_read_line(&b, &rest, &soft))
		must(b.n == 0 && span_eq(rest, in));
	else
		must(in.n == 0 || rest.n < in.n);
	must(b.n <= in.n);
	buf_clear(&b);
	qp_add(&b, in, SPAN("\r\n"), soft_end);
	must(b.n <= 4 * in.n + 3);
	read_lines(&c, buf_span(&b));
	must(span_eq(buf_span(&c), in));
	buf_free(&b);
	buf_free(&c);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span in = span_make(data, n);

	url(in);
	mime(in);
	qp(in, false);
	qp(in, true);
	return 0;
}
