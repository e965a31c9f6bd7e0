/* html.h -- HTML cut into tokens as browsers do (WHATWG states), over borrowed bytes.  Pure. */
#ifndef REKINDLE_HTML_H
#define REKINDLE_HTML_H

#include "common/span.h"

/*
 * Tokens lie end to end: their extents, in order, are the input.  Nothing is
 * allocated, nothing decoded, and any input takes linear time.
 *
 * There is no tree, but in one place the tree decides what the bytes mean:
 * inside svg and math a `<style>` is an element like any other, with tags in
 * it, and CDATA is text.  So what is open there is followed, to where HTML
 * goes on: foreignObject, desc, title, mi and their like, the tags that no
 * svg has (`<p>`, `<table>` ...), and the end tag.  Where end tags do not
 * match, only the whole tree could tell whether the svg is over; the next tag
 * that no svg has settles that.  When a tag comes before it whose meaning
 * hangs on it, `lost` is set.
 *
 * What else a tree builder does changes which links there are, never what is
 * a tag: it drops an `<a>` in a frameset, and in a select in the browsers of
 * before 2025; it closes an `<a>` at the next one.  There a link more or less
 * is seen than a browser has, and no text is taken for a tag, with one
 * exception: in those older browsers a `<style>` or `<title>` directly in a
 * select opens nothing, so that links behind it are seen as its text here.
 * noscript is markup, because mail programs do not run scripts, and so is
 * template.
 */
#define HTML_OPEN_MAX 32 /* elements open inside svg or math, both included; with one more we are lost */

enum html_kind {
	HTML_TEXT,
	HTML_START,
	HTML_END,
	HTML_COMMENT, /* and what browsers drop or turn into one: <!doctype>, <?x>, </>; the marks around CDATA */
	HTML_CUT,     /* a tag that the end of the input cuts off: browsers drop it */
};

struct html_token {
	enum html_kind kind;
	size_t start, end;  /* offsets into the input */
	struct span name;   /* tags: as spelled */
	size_t attrs;       /* start tags: where html_attr begins */
	bool self_closing;
	bool raw;           /* text of a raw element: script, style, title, textarea ... */
	bool cdata;         /* text of a CDATA section: no character references in it */
	bool open;          /* a comment, CDATA, or text of a raw element, that only the end of the input ends */
};

enum html_raw { HTML_DATA, HTML_RCDATA, HTML_RAWTEXT, HTML_SCRIPT, HTML_PLAINTEXT, HTML_CDATA };

enum html_space { HTML_SPACE, SVG_SPACE, MATH_SPACE };
enum html_inside { INSIDE_SAME, INSIDE_HTML, INSIDE_WORDS }; /* words: mi, mo, mtext ... */

/* An element inside svg or math, or one of these two. */
struct html_open {
	struct span name;
	enum html_space space;
	enum html_inside inside; /* what start tags in it mean */
};

struct html {
	struct span in;
	size_t at;
	enum html_raw raw;    /* what the text at `at` is */
	struct span raw_name; /* the element that ends it */
	bool conditional;     /* inside a conditional comment, where no comment can start: "<!--" is text */
	bool lost;            /* from some token on, browsers may see other tokens: better to edit nothing */
	bool unsure;          /* the svg or math may be over already */
	size_t depth;         /* of open[], from the outermost svg or math; 0 outside */
	struct html_open open[HTML_OPEN_MAX];
};

void html_init(struct html *, struct span in);
/* A reader of its own that goes on from the same place. */
void html_copy(struct html *to, const struct html *from);
/* False at the end of the input. */
bool html_next(struct html *, struct html_token *);
/*
 * Is the token a comment that Outlook or Internet Explorer take for markup,
 * `<!--[if mso]> ... <![endif]-->`?  Then *inside reads what is between, with
 * offsets into the same input.  Its end cuts off what is open there.
 */
bool html_conditional(const struct html *, const struct html_token *, struct html *inside);

struct html_attr {
	size_t start, end;  /* name to value, quotes included */
	struct span name;
	struct span value;  /* raw; empty when there is none */
	char quote;         /* '"', '\'' or 0 */
	bool has_value;     /* there was a "=" and something behind it: value.p points into the input */
};

/*
 * The next attribute of a start tag; *at begins as token.attrs.  Duplicates
 * are given as they come: the first one counts.  False at the end of the tag.
 */
bool html_attr(const struct html *, size_t *at, struct html_attr *);

#endif
