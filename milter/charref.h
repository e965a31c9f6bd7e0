/* charref.h -- what HTML character references (&amp; &#38; &eacute) stand for.  Pure. */
#ifndef REKINDLE_CHARREF_H
#define REKINDLE_CHARREF_H

#include "common/buf.h"

/*
 * Appends text with every reference decoded exactly once, as UTF-8, by the
 * WHATWG rules: names with and without ";", the longest name that fits,
 * numbers with their windows-1252 repairs, U+FFFD for what is no character.
 * In an attribute a name without ";" before "=" or a letter or digit stays
 * as it is.  All other bytes are copied.
 */
void charref_decode(struct buf *, struct span text, bool in_attribute);

#endif
