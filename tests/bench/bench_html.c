/*
 * bench_html.c -- how fast html.c reads a newsletter, against two libraries that people know.
 *
 *	bench_html [ROUNDS]	5 unless told
 *
 * Ours walks as message.c does: all tokens, what is in conditional comments,
 * and the attributes of links.  gumbo builds its tree; libxml2 calls our two
 * SAX handlers and builds nothing.  One round measures all of them, one after
 * the other, so that a busy machine slows them alike.
 */
#include <libxml/HTMLparser.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <gumbo.h>

#include "common/mem.h"
#include "milter/html.h"

#define TEXT_MAX 200000
#define LINKS 61
#define ROUNDS_MAX 99
#define SLICE 0.2 /* seconds for one measurement */

/* ---- the newsletter ---- */

static const char head[] =
    "<!DOCTYPE html PUBLIC \"-//W3C//DTD XHTML 1.0 Transitional//EN\" "
    "\"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd\">\n"
    "<html xmlns=\"http://www.w3.org/1999/xhtml\" xmlns:v=\"urn:schemas-microsoft-com:vml\" lang=\"en\">\n<head>\n"
    "<meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\" />\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\" />\n<title>The letter</title>\n"
    "<!--[if mso]><xml><o:OfficeDocumentSettings><o:PixelsPerInch>96</o:PixelsPerInch></o:OfficeDocumentSettings></xml>"
    "<![endif]-->\n<style type=\"text/css\">\n"
    "  body { margin: 0; padding: 0; background: #f4f1ea } a { color: #1b4b6b; text-decoration: none }\n"
    "  @media (max-width: 480px) { .column { display: block !important; width: 100% !important } }\n"
    "</style>\n</head>\n<body bgcolor=\"#f4f1ea\" style=\"margin:0;padding:0\">\n"
    "<table role=\"presentation\" width=\"100%\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\"><tr><td align=\"center\">\n";

static const char block[] =
    "<!--[if (gte mso 9)|(IE)]><table width=\"600\" align=\"center\" cellspacing=\"0\" cellpadding=\"0\" border=\"0\"><tr><td>"
    "<![endif]-->\n"
    "<table role=\"presentation\" class=\"column\" width=\"100%%\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\" "
    "style=\"max-width:600px;background-color:#ffffff\" bgcolor=\"#ffffff\">\n"
    "<tr>\n<td width=\"180\" valign=\"top\" style=\"padding:16px 24px 16px 24px;font-family:Georgia,'Times New Roman',serif\">"
    "<img src=\"https://img.shop.example/covers/%zu@2x.png\" width=\"180\" height=\"270\" alt=\"The cover\" border=\"0\" "
    "style=\"display:block;border:0;outline:none\" /></td>\n"
    "<td valign=\"top\" align=\"left\" style=\"padding:16px 24px 16px 0;font-family:Georgia,serif;font-size:15px;line-height:22px\">\n"
    "<h2 style=\"margin:0 0 8px 0;font-size:20px;line-height:26px;color:#1b4b6b\">A Short History of Fog, part %zu</h2>\n"
    "<p style=\"margin:0 0 12px 0\">The harbour froze over last week, &amp; so half of the town came in to read. Here is what they "
    "took home: <strong>knots</strong>, for the impatient, and <em>fog</em> &mdash; for everybody else.</p>\n"
    "<table role=\"presentation\" cellpadding=\"0\" cellspacing=\"0\" border=\"0\"><tr><td bgcolor=\"#1b4b6b\" align=\"center\" "
    "style=\"padding:10px 18px;border-radius:4px\">"
    "<a class=\"button\" target=\"_blank\" style=\"color:#ffffff;text-decoration:none;font-weight:bold\" "
    "href=\"https://shop.example/b/history-of-fog-%zu?utm_source=letter&amp;utm_medium=email&amp;utm_campaign=winter\">"
    "Read more</a></td></tr></table>\n</td>\n</tr>\n"
    "<tr><td colspan=\"2\" height=\"1\" style=\"height:1px;font-size:1px;line-height:1px;background:#e4e0d6\">&nbsp;</td></tr>\n"
    "</table>\n<!--[if (gte mso 9)|(IE)]></td></tr></table><![endif]-->\n";

static const char tail[] = "</td></tr></table>\n</body>\n</html>\n";

/* NUL behind it, for the library that wants one. */
static char *
newsletter(size_t *n)
{
	char *text = xcalloc(1, TEXT_MAX);

	*n = (size_t)snprintf(text, TEXT_MAX, "%s", head);
	for (size_t i = 0; i < LINKS; i++)
		*n += (size_t)snprintf(text + *n, TEXT_MAX - *n, block, i, i, i);
	*n += (size_t)snprintf(text + *n, TEXT_MAX - *n, "%s", tail);
	return text;
}

/* ---- the readers; each gives the number of links ---- */

static bool
is_link(struct span name)
{
	return name.n == 1 ? ascii_lower(name.p[0]) == 'a' : name.n == 4 && span_ieq(name, SPAN("area"));
}

static size_t
walk(struct html *h)
{
	struct html_token t;
	struct html_attr a;
	struct html inside;
	size_t links = 0;

	while (html_next(h, &t)) {
		if (t.kind == HTML_START && is_link(t.name)) {
			for (size_t i = t.attrs; html_attr(h, &i, &a);)
				links += span_ieq(a.name, SPAN("href"));
		} else if (t.kind == HTML_COMMENT && html_conditional(h, &t, &inside)) {
			links += walk(&inside);
		}
	}
	return links;
}

static size_t
with_ours(const char *text, size_t n)
{
	struct html h;

	html_init(&h, span_make(text, n));
	return walk(&h);
}

static size_t
count_links(const GumboNode *node)
{
	size_t links = 0;

	if (node->type != GUMBO_NODE_ELEMENT)
		return 0;
	if (node->v.element.tag == GUMBO_TAG_A || node->v.element.tag == GUMBO_TAG_AREA)
		links += gumbo_get_attribute(&node->v.element.attributes, "href") != NULL;
	for (unsigned i = 0; i < node->v.element.children.length; i++)
		links += count_links(node->v.element.children.data[i]);
	return links;
}

static size_t
with_gumbo(const char *text, size_t n)
{
	GumboOutput *tree = gumbo_parse_with_options(&kGumboDefaultOptions, text, n);
	size_t links = count_links(tree->root);

	gumbo_destroy_output(&kGumboDefaultOptions, tree);
	return links;
}

static void
sax_start(void *links, const xmlChar *name, const xmlChar **attrs)
{
	if (!xmlStrEqual(name, BAD_CAST "a") && !xmlStrEqual(name, BAD_CAST "area"))
		return;
	for (; attrs != NULL && attrs[0] != NULL; attrs += 2)
		*(size_t *)links += xmlStrEqual(attrs[0], BAD_CAST "href") != 0;
}

static void
sax_comment(void *links, const xmlChar *text)
{
	(void)links;
	(void)text;
}

static size_t
with_libxml2(const char *text, size_t n)
{
	htmlSAXHandler sax = { .startElement = sax_start, .comment = sax_comment };
	size_t links = 0;
	htmlParserCtxtPtr ctxt = htmlCreatePushParserCtxt(&sax, &links, text, (int)n, NULL, XML_CHAR_ENCODING_UTF8);

	htmlParseChunk(ctxt, NULL, 0, 1);
	htmlFreeParserCtxt(ctxt);
	return links;
}

static const struct reader {
	const char *name;
	size_t (*read)(const char *, size_t);
} readers[] = { { "rekindle", with_ours }, { "gumbo", with_gumbo }, { "libxml2-sax", with_libxml2 } };

#define READERS (sizeof readers / sizeof *readers)

/* ---- measuring ---- */

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* what others take of a busy machine does not count */
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* MB/s. */
static double
measure(const struct reader *r, const char *text, size_t n)
{
	double start = seconds(), took;
	size_t done = 0;

	do {
		if (r->read(text, n) != LINKS) {
			fprintf(stderr, "%s does not find the %d links\n", r->name, LINKS);
			exit(1);
		}
		done++;
	} while ((took = seconds() - start) < SLICE);
	return (double)(n * done) / took / 1e6;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void
print_row(const char *name, double *v, size_t n)
{
	qsort(v, n, sizeof *v, compare);
	printf("%-24s %9.1f  [%.1f - %.1f]\n", name, v[n / 2], v[0], v[n - 1]);
}

int
main(int argc, char **argv)
{
	size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 5, n;
	double rate[READERS][ROUNDS_MAX], ratio[READERS][ROUNDS_MAX];
	char *text = newsletter(&n);

	if (rounds == 0 || rounds > ROUNDS_MAX) {
		fprintf(stderr, "usage: bench_html [ROUNDS]\n");
		return 2;
	}
	for (size_t k = 0; k < rounds; k++)
		for (size_t i = 0; i < READERS; i++) {
			rate[i][k] = measure(&readers[i], text, n);
			ratio[i][k] = rate[0][k] / rate[i][k];
		}
	printf("%zu bytes, %d links, %zu rounds: MB/s, median [least - most]\n", n, LINKS, rounds);
	for (size_t i = 0; i < READERS; i++)
		print_row(readers[i].name, rate[i], rounds);
	printf("how many times as fast as\n");
	for (size_t i = 1; i < READERS; i++)
		print_row(readers[i].name, ratio[i], rounds);
	free(text);
	return 0;
}
