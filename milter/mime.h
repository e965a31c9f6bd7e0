/* mime.h -- the parts of a message, found in its bytes, and how an edit of a part's text gets back into them.  Pure. */
#ifndef REKINDLE_MIME_H
#define REKINDLE_MIME_H

#include <stdint.h>

#include "milter/charset.h"
#include "milter/message.h"
#include "milter/splice.h"

#define MIME_DEPTH_MAX 50
#define MIME_PARTS_MAX 10000
#define MIME_VALUE_MAX 250   /* a boundary or charset; RFC 2046 allows 70 */
#define MIME_LINE_MAX 998    /* octets without the line break (RFC 5322) */

/*
 * Takes one header field from *at: 1.  0 at the end: the blank line, which is
 * taken too, or the end of the bytes.  -1, and *at stays, for anything else.
 */
int mime_field(struct span in, size_t *at, struct header *);

enum mime_type { MIME_OTHER, MIME_TEXT, MIME_HTML }; /* MIME_TEXT: text/plain */
enum mime_encoding { MIME_PLAIN, MIME_BINARY, MIME_QP, MIME_BASE64, MIME_UNKNOWN }; /* MIME_PLAIN: 7bit, 8bit */

/* A leaf.  Offsets are into the body of the message. */
struct mime_part {
	enum mime_type type;
	struct span media;    /* what its Content-Type says before the parameters; empty without one */
	const char *leave;    /* why it must stay as it is, a fixed string; NULL: it may be edited */
	enum mime_encoding encoding;
	bool utf8;            /* bytes over 127 in the text are UTF-8 or nothing we know of; else some other superset of ASCII */
	const char *charset;  /* what the text is converted from, a fixed string; NULL: its bytes are worked on */
	size_t start, end;    /* content; the line break before the next boundary is not part of it */
	bool top;             /* the message itself: its header is the message's */
	/* The value of Content-Transfer-Encoding; without one, where such a field belongs.  Not when top. */
	bool has_encoding;
	size_t encoding_start, encoding_end;
};

struct mime {
	struct mime_part *part; /* in order, disjoint */
	size_t n;
	const char *leave; /* why the whole message must stay as it is, or NULL */
};

/*
 * Finds the leaves.  A multipart that must not be touched (signed, encrypted,
 * a report, a digest, broken, too deep) is one leaf.  Outer boundaries end
 * inner parts; a missing closing boundary ends with what is around it.
 *
 * Others read the same bytes more strictly or more leniently: they take a bare
 * CR for a line break, or a bare LF for none, a line that only begins with a
 * boundary for one, a nested boundary for the one around it.  Where that would
 * show them other parts than us, a part that we may edit could be an
 * attachment or signed to them; so the part, the multipart or the message is
 * left alone.
 */
void mime_walk(struct mime *, const struct message *);
void mime_free(struct mime *);

/* The decoded text of a part.  Borrows from the body. */
struct mime_text {
	struct span text;  /* what edits are offsets into; UTF-8 when the part has a charset to convert from */
	struct span bytes; /* the same in the part's own charset; usually the same bytes */
	const char *left;  /* set by mime_write: why the part had to stay as it is after all, a fixed string; or NULL */
	struct buf own, utf8;
	struct charset charset;
	/* Quoted-printable: where each raw line starts, in the content and in the bytes; and one entry for the end. */
	struct mime_line {
		uint32_t raw, text;
	} *line;
	size_t nlines;
};

/*
 * NULL, or why the part must stay as it is.  Then t->text is what could be
 * decoded, to look at: maybe nothing.  Free the text in either case.
 */
const char *mime_read(struct span body, const struct mime_part *, struct mime_text *);
void mime_text_free(struct mime_text *);

/*
 * Turns edits of the text, whose replacements have no line break, into edits
 * of the body.  Quoted-printable: only raw lines that an edit touches change.
 * Base64: all of the part.  7bit and 8bit: in place, or, where a touched line
 * would become longer than MIME_LINE_MAX or look like a boundary, the part
 * becomes quoted-printable.  True when that happened to the message itself:
 * its header needs a new Content-Transfer-Encoding.
 *
 * When the edited text cannot be brought back into the part's charset, t->left
 * says so and nothing is added.
 */
bool mime_write(struct span body, const struct mime_part *, struct mime_text *t, const struct edits *text,
    struct edits *out);

#endif
