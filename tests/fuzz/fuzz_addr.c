/*
 * Promises: a normal form is its own normal form, is UTF-8 without control
 * characters, has a lower-case ASCII domain, fits ADDR_MAX; a refusal appends
 * nothing; ASCII case and angle brackets make no difference.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/addr.h"
#include "common/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct buf once = BUF(2 * ADDR_MAX), twice = BUF(2 * ADDR_MAX), upper = BUF(2 * ADDR_MAX);
	struct span in = span_make(data, n);

	if (!addr_normalise(&once, in)) {
		must(once.n == 0);
		goto out;
	}

	struct span normal = buf_span(&once), domain = addr_domain(normal);

	must(normal.n <= ADDR_MAX && text_is_utf8(normal) && domain.n > 0 && domain.n + 1 < normal.n);
	for (size_t i = 0; i < normal.n; i++)
		must((unsigned char)normal.p[i] >= ' ' && normal.p[i] != 0x7f &&
		     normal.p[i] == ascii_lower(normal.p[i]));
	for (size_t i = 0; i < domain.n; i++)
		must(domain.p[i] > ' ' && domain.p[i] < 0x7f);
	must(addr_normalise(&twice, normal) && span_eq(buf_span(&twice), normal));

	buf_clear(&twice);
	buf_addc(&upper, '<');
	for (size_t i = 0; i < normal.n; i++)
		buf_addc(
		    &upper, normal.p[i] >= 'a' && normal.p[i] <= 'z' ? (char)(normal.p[i] - ('a' - 'A')) : normal.p[i]);
	buf_addc(&upper, '>');
	if (upper.n <= ADDR_MAX)
		must(addr_normalise(&twice, buf_span(&upper)) && span_eq(buf_span(&twice), normal));
out:
	buf_free(&once);
	buf_free(&twice);
	buf_free(&upper);
	return 0;
}
