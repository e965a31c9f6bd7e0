/*
 * Promises: every line about a fault is "NAME:digits: ...", there are faults
 * exactly when there are no settings, and what conf_print prints reads back
 * to the same.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/conf.h"

#define OUT_MAX (64 * 1024 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
broken(const char *promise, struct span text)
{
	fprintf(stderr, "%s:\n%.*s\n", promise, SPAN_ARG(text));
	abort();
}

static void
check_fault(struct span line)
{
	size_t n = 5;

	if (!span_starts(line, SPAN("fuzz:")))
		broken("a fault without the file's name", line);
	while (n < line.n && line.p[n] >= '0' && line.p[n] <= '9')
		n++;
	if (n == 5 || line.p[5] == '0' || !span_starts(span_from(line, n), SPAN(": ")) || n + 2 == line.n)
		broken("a fault without its line", line);
}

static void
check_text(struct span text)
{
	struct buf errors = BUF(OUT_MAX), once = BUF(OUT_MAX), twice = BUF(OUT_MAX);
	struct conf *c = conf_parse(text, "fuzz", &errors);
	struct span rest = buf_span(&errors), line;

	if ((c == NULL) != (errors.n > 0))
		broken(c ? "settings and faults" : "neither settings nor faults", rest);
	if (errors.n > 0 && errors.p[errors.n - 1] != '\n')
		broken("the last fault has no end", rest);
	while (span_split(&rest, '\n', &line))
		check_fault(line);
	if (c) {
		conf_print(c, &once);
		conf_free(c);
		if ((c = conf_parse(buf_span(&once), "fuzz", &errors)) == NULL)
			broken(buf_cstr(&errors), buf_span(&once));
		conf_print(c, &twice);
		if (!span_eq(buf_span(&once), buf_span(&twice)))
			broken("printed twice, not the same", buf_span(&twice));
		conf_free(c);
	}
	buf_free(&errors);
	buf_free(&once);
	buf_free(&twice);
}

/* As it is, and behind what is required, which mutation would seldom leave whole. */
int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct buf text = BUF(OUT_MAX);

	check_text(span_make(p, n));
	buf_adds(&text, "tracking_url = https://a.example\nprivacy_profile = eu\n");
	buf_add(&text, span_make(p, n));
	check_text(buf_span(&text));
	buf_free(&text);
	return 0;
}
