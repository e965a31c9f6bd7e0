/*
 * html_tokens.c -- html.c and charref.c for a test that is not written in C.
 *
 * Reads lines, answers each with one:
 *	html HEX	"sure" or "lost", then the first href of each a and area, decoded, as ":HEX"
 *	text HEX	":HEX", the same with its character references decoded
 *	attribute HEX	the same, as in an attribute
 * Ends with status 1 when tokens do not lie end to end, or it is asked something else.
 */
#include <stdio.h>
#include <stdlib.h>

#include "milter/charref.h"
#include "milter/html.h"

static int
digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes in place. */
static struct span
unhex(char *s)
{
	size_t n = 0;

	for (; digit(s[2 * n]) >= 0 && digit(s[2 * n + 1]) >= 0; n++)
		s[n] = (char)(digit(s[2 * n]) * 16 + digit(s[2 * n + 1]));
	return span_make(s, n);
}

static void
print_decoded(struct span raw, bool in_attribute)
{
	struct buf text = BUF(2 * raw.n + 16);

	charref_decode(&text, raw, in_attribute);
	putchar(':');
	for (size_t i = 0; i < text.n; i++)
		printf("%02x", (unsigned char)text.p[i]);
	buf_free(&text);
}

static void
print_link(const struct html *h, const struct html_token *t)
{
	struct html_attr a;

	for (size_t i = t->attrs; html_attr(h, &i, &a);)
		if (span_ieq(a.name, SPAN("href"))) {
			putchar(' ');
			print_decoded(a.value, true);
			return;
		}
}

static bool
print_links(struct span in)
{
	struct html_token t;
	struct html h;
	size_t at = 0;
	bool lost;

	html_init(&h, in);
	while (html_next(&h, &t))
		continue;
	lost = h.lost;
	printf("%s", lost ? "lost" : "sure");
	html_init(&h, in);
	while (html_next(&h, &t)) {
		if (t.start != at || t.end <= at)
			return false;
		at = t.end;
		if (t.kind == HTML_START && (span_ieq(t.name, SPAN("a")) || span_ieq(t.name, SPAN("area"))))
			print_link(&h, &t);
	}
	return at == in.n;
}

int
main(void)
{
	char *line = NULL;
	size_t cap = 0;
	bool ok = true;

	while (ok && getline(&line, &cap, stdin) > 0) {
		if (strncmp(line, "html ", 5) == 0)
			ok = print_links(unhex(line + 5));
		else if (strncmp(line, "text ", 5) == 0)
			print_decoded(unhex(line + 5), false);
		else if (strncmp(line, "attribute ", 10) == 0)
			print_decoded(unhex(line + 10), true);
		else
			ok = false;
		putchar('\n');
		fflush(stdout);
	}
	free(line);
	return !ok;
}
