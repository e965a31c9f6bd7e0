/*
 * Promises of pages.  Of templates: what is taken can be filled in, fits,
 * and shows a value only escaped; what is refused says where.  Of languages:
 * there is always one that we have, and a reader who refuses it while there
 * is a better one does not get it.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/page.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

/* The pages that have to be there, behind the fuzzer's text. */
static const char rest[] = "{{#leave}}{{/leave}}{{#left}}{{/left}}{{#left-all}}{{/left-all}}{{#preferences}}{{/preferences}}"
    "{{#kept}}{{/kept}}{{#less}}{{/less}}{{#joined}}{{/joined}}{{#sorry}}{{/sorry}}{{#stopped}}{{/stopped}}";

static void
check_template(struct span in)
{
	struct page_values values = { SPAN("\x02<&>'\"\x03"), SPAN("\x02<b>\x03"), SPAN("\x02<i>\x03"), SPAN("\x02\"\x03") };
	struct pages *p = pages_new();
	struct buf text = BUF(PAGE_FILE_MAX + 1), why = BUF(1 << 20), out = BUF(PAGE_BYTES_MAX);
	bool marked = false;

	for (size_t i = 0; i < in.n; i++)
		marked = marked || in.p[i] == '\x02' || in.p[i] == '\x03';
	buf_add(&text, in);
	buf_adds(&text, rest);
	if (pages_add(p, SPAN("en"), buf_span(&text), "t", &why)) {
		must(why.n == 0);
		for (enum page page = 0; page < PAGES; page++) {
			buf_clear(&out);
			page_fill(pages_choose(p, SPAN("")), page, &values, &out);
			must(!out.over);
			/* Between the marks of a value nothing that HTML would take for its own. */
			for (size_t i = 0, inside = 0; i < out.n && !marked; i++) {
				if (out.p[i] == '\x02' || out.p[i] == '\x03')
					inside = out.p[i] == '\x02';
				else
					must(!inside || strchr("<>'\"", out.p[i]) == NULL || out.p[i] == '\0');
			}
		}
	} else {
		must(span_starts(buf_span(&why), SPAN("t:")) && span_ends(buf_span(&why), SPAN("\n")));
		must(pages_choose(p, SPAN("")) == NULL);
	}
	pages_free(p);
	buf_free(&text);
	buf_free(&why);
	buf_free(&out);
}

static void
check_language(struct span in)
{
	static struct pages *p;
	struct buf header = BUF(1 << 20);
	struct span tag;

	if (p == NULL) {
		p = pages_new();
		pages_add_builtin(p, false);
	}
	tag = template_tag(pages_choose(p, in));
	must(span_eq(tag, SPAN("en")) || span_eq(tag, SPAN("de")) || span_eq(tag, SPAN("mk")) || span_eq(tag, SPAN("zh")));
	/* In front of all others, unless refused. */
	buf_adds(&header, "mk;q=1.0,de;q=0,");
	buf_add(&header, in);
	must(!span_eq(template_tag(pages_choose(p, buf_span(&header))), SPAN("de")));
	buf_free(&header);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span in = span_make(data + 1, n > 0 ? n - 1 : 0);

	if (n == 0)
		return 0;
	if ((data[0] & 1) == 0) /* "<!DOCTYPE ..." */
		check_template(in);
	else
		check_language(in);
	return 0;
}
