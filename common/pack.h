/* pack.h -- text packed for a token: links to about four bits in ten of what they were.  Pure. */
#ifndef REKINDLE_PACK_H
#define REKINDLE_PACK_H

#include "common/span.h"

/*
 * What a token carries is short, so it is packed with what is known of links
 * beforehand: every bit is coded with the probability that it had, after the
 * same characters, in the training text (pack_text.h).  The model is made
 * once in a process, at the first use, in some 60 ms, takes 2 MB, is the
 * same on every machine, and never changes after that: any number of threads
 * may pack and unpack.
 *
 * Otherwise nothing is allocated, and time goes with the length of the text:
 * 0.1 to 0.4 us for a byte, either way, as the model is in the processor's
 * cache or not.  A caller with the same links again and again keeps what
 * they packed to.
 */

/*
 * Packs text into at most `room` bytes and gives their number; 0 when it
 * does not fit, when text is empty, or when it has a line feed (which is how
 * the model spells the end).  Any other byte may be in it; what is no link
 * at all may become longer than it was, so pass less room than text.n.
 */
size_t pack(unsigned char *out, size_t room, struct span text);

/*
 * The other way; 0 for anything that pack does not make, and for what is
 * longer than `room`.  When it gives n, packing those n bytes again gives
 * the same packed bytes.
 */
size_t unpack(char *out, size_t room, struct span packed);

#endif
