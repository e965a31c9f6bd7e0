/* page.h -- what recipients are shown: a template for each language, filled in.  Pure. */
#ifndef REKINDLE_PAGE_H
#define REKINDLE_PAGE_H

#include "common/buf.h"

#define PAGE_FILE_MAX 65536      /* bytes of one template or style sheet */
#define PAGE_LANGUAGES_MAX 64
#define PAGE_TAG_MAX 35          /* of a language tag (RFC 5646 section 4.4.1) */
#define PAGE_PIECES_MAX 400      /* placeholders and section marks in one template */
#define PAGE_DEPTH_MAX 8         /* sections inside sections */
#define PAGE_STREAM_SHOWN 64     /* bytes of a stream's name; no setting gives it more */
#define PAGE_BYTES_MAX (220 * 1024) /* of a filled page: more than the longest template with a name in each of its places */

/* What a page says; each is a section of every template, by page_name. */
enum page {
	PAGE_LEAVE,       /* asks whether to unsubscribe */
	PAGE_LEFT,        /* from one stream */
	PAGE_LEFT_ALL,    /* from everything */
	PAGE_PREFERENCES, /* keep me, less often, stop */
	PAGE_KEPT,
	PAGE_LESS,
	PAGE_JOINED,      /* a LEFT was undone */
	PAGE_SORRY,       /* could not be recorded */
	PAGE_STOPPED,     /* a link of a stopped campaign */
	PAGES
};
const char *page_name(enum page); /* "leave", "left-all" ... */

/* What is filled in; an empty one is a section that is left out. */
struct page_values {
	struct span stream;      /* the stream's name */
	struct span preferences; /* where the preferences are, a relative URL */
	struct span undo;        /* what the button that takes it back says in its form */
	struct span after;       /* a number to give back with that */
};

/*
 * All templates of one setup.  Immutable once they are made, so any number
 * of threads may use them.
 *
 * A template is an HTML file.  {{stream}} and the like become the value,
 * always escaped for HTML; {{#left}} ... {{/left}} stays only on that page
 * or when that value is not empty, {{^left}} ... {{/left}} only when not.
 * That is a part of what Mustache has; there is nothing else.
 */
struct pages;
struct template;

struct pages *pages_new(void); /* without any language */
void pages_free(struct pages *);
/*
 * Adds a language, its tag as in "de" or "zh-Hant".  False with
 * "NAME:LINE: what is wrong" lines in why; all of them.
 */
bool pages_add(struct pages *, struct span tag, struct span text, const char *name, struct buf *why);
/* The style sheet and, unless only that is wanted, English, German, Macedonian and Chinese. */
void pages_add_builtin(struct pages *, bool only_style);
void pages_style(struct pages *, struct span css);
/* The language for those who ask for none that we have.  False when there is no such language. */
bool pages_default(struct pages *, struct span tag);
/* Appends "de, en, zh". */
void pages_list(const struct pages *, struct buf *out);

/*
 * The language for a reader whose Accept-Language (RFC 9110 section 12.5.4)
 * is this, by lookup (RFC 4647 section 3.4): of the ranges in the order of
 * their weight the first that is ours, to the letter or when subtags are
 * taken off its end.  Never NULL once a default is set.
 */
const struct template *pages_choose(const struct pages *, struct span accept_language);
struct span template_tag(const struct template *);
struct span pages_css(const struct pages *);

void page_fill(const struct template *, enum page, const struct page_values *, struct buf *out);

#endif
