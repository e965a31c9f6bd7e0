/*
 * Promises: a list that is read finds every domain of it in the group of its
 * line; one that is not has a fault told, and is empty; and a limit that is
 * read is within its bounds.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/receivers.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

static void
look_for(const struct receivers *r, struct span name, struct span domains)
{
	while (domains.n > 0) {
		size_t n = 0;
		const char *called;

		while (n < domains.n && domains.p[n] != ' ' && domains.p[n] != '\t')
			n++;
		called = receivers_called(r, receivers_of(r, span_cut(domains, 0, n)));
		must(called != NULL && span_ieq(span_of(called), name));
		domains = span_trim(span_from(domains, n));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct keys keys = { .n = 1 };
	struct receivers *r = receivers_new();
	struct buf errors = BUF(1 << 20);
	struct span text = span_make(data, n), line, name;
	struct receiver_limit limit;

	if (receivers_read(r, text, "f", &errors)) {
		must(errors.n == 0);
		receivers_seal(r, &keys);
		while (span_split(&text, '\n', &line)) {
			line = span_trim(line);
			if (line.n > 0 && line.p[0] != '#')
				look_for(r, span_trim(span_cut(line, 0, span_find(line, ':'))),
				    span_trim(span_from(line, span_find(line, ':') + 1)));
		}
	} else {
		must(span_starts(buf_span(&errors), SPAN("f:")));
		must(receivers_count(r) == 0 && receivers_of(r, text) == 0);
	}
	buf_clear(&errors);
	if (receiver_limit_parse(span_make(data, n), &name, &limit, &errors))
		must(errors.n == 0 && limit.count > 0 && limit.seconds >= 60 && limit.seconds <= 86400 && limit.seconds % 60 == 0);
	else
		must(errors.n > 0);
	buf_free(&errors);
	receivers_free(r);
	return 0;
}
