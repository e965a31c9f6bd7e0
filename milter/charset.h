/* charset.h -- what a charset's name promises of its bytes; other charsets into UTF-8 and back, without loss.  Pure. */
#ifndef REKINDLE_CHARSET_H
#define REKINDLE_CHARSET_H

#include <iconv.h>

#include "milter/splice.h"

enum charset_kind {
	CHARSET_UNKNOWN,
	CHARSET_UTF8,
	CHARSET_SUPERSET,  /* every byte that is markup means what it means in ASCII */
	CHARSET_CONVERTED, /* neither: charset_open */
};

/* A charset as MIME names it, ASCII case ignored.  *name, for CHARSET_CONVERTED: a fixed string, for charset_open. */
enum charset_kind charset_find(struct span label, const char **name);

/* A conversion of one text, in both directions.  All zero: none. */
struct charset {
	bool open;
	iconv_t decode, encode;
	bool returns; /* at its end the text is back in ASCII, by a shift if it takes one */
};

/*
 * Appends the text in UTF-8: at most CHARSET_ROOM bytes.  A byte order mark
 * stays, as U+FEFF.  NULL, or why not, a fixed string: among others that
 * converting back does not give these very bytes.  Close it in either case.
 */
#define CHARSET_ROOM(n) (2 * (n) + 16)
const char *charset_open(struct charset *, const char *name, struct span bytes, struct buf *utf8);
void charset_close(struct charset *);

/*
 * Turns edits of the UTF-8 text that charset_open made of `bytes` into edits
 * of `bytes`, and proves it: the new bytes decode to the edited text, and are
 * what the charset makes of it.  False, and nothing added, when that fails.
 */
bool charset_write(struct charset *, struct span bytes, struct span utf8, const struct edits *in, struct edits *out);

#endif
