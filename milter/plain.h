/* plain.h -- web URLs in plain text, as mail programs make links of them.  Pure. */
#ifndef REKINDLE_PLAIN_H
#define REKINDLE_PLAIN_H

#include "common/span.h"

struct plain_url {
	size_t start, end;
	bool placeholder; /* the default inside a merge tag, {website|https://...} */
	bool unclear;     /* readers may see more of it: bytes that are not UTF-8, or a line that flows into the next */
};

/*
 * The next http(s) URL from *at on; *at goes behind it.  It begins where no
 * word goes on, and ends before white space, quotes and < >; punctuation,
 * stars and bars at its end, and closing brackets there that were not opened
 * in it, belong to the sentence.  Bytes over 127 are part of it only where
 * they are UTF-8, and not quotes or full stops.  False when there is none
 * left.  Linear time.
 */
bool plain_next(struct span text, bool utf8, size_t *at, struct plain_url *);

#endif
