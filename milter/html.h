/* html.h -- HTML cut into tokens as browsers do (WHATWG states), over borrowed bytes.  Pure. */
#ifndef REKINDLE_HTML_H
#define REKINDLE_HTML_H

#include "common/span.h"

/*
 * Tokens lie end to end: their extents, in order, are the input.  Nothing is
 * allocated, nothing decoded, and any input takes linear time.
 *
 * There is no tree, so what only a tree builder can know is left out: CDATA is
 * a bogus comment everywhere (in svg and math it would be text), and noscript
 * is markup, because mail programs do not run scripts.
 */
enum html_kind {
	HTML_TEXT,
	HTML_START,
	HTML_END,
	HTML_COMMENT, /* and what browsers drop or turn into one: <!doctype>, <?x>, </>, <![CDATA[ */
	HTML_CUT,     /* a tag that the end of the input cuts off: browsers drop it */
};

struct html_token {
	enum html_kind kind;
	size_t start, end;  /* offsets into the input */
	struct span name;   /* tags: as spelled */
	size_t attrs;       /* start tags: where html_attr begins */
	bool self_closing;
	bool raw;           /* text of a raw element: script, style, title, textarea ... */
	bool open;          /* a comment, or text of a raw element, that only the end of the input ends */
};

enum html_raw { HTML_DATA, HTML_RCDATA, HTML_RAWTEXT, HTML_SCRIPT, HTML_PLAINTEXT };

struct html {
	struct span in;
	size_t at;
	enum html_raw raw;    /* what the text at `at` is */
	struct span raw_name; /* the element that ends it */
	bool conditional;     /* inside a conditional comment, where no comment can start: "<!--" is text */
};

void html_init(struct html *, struct span in);
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
