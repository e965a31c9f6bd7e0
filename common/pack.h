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
 * Time goes with the length of the text: 0.1 to 0.4 us for a byte, either
 * way, as the model is in the processor's cache or not.  Nothing is
 * allocated, but by pack_shorter and unpack_again.
 */

/* Makes the model now, so that the first message or reader need not wait for it. */
void pack_start(void);

/*
 * Packs text into at most `room` bytes and gives their number; 0 when it
 * does not fit, when text is empty, or when it has a line feed (which is how
 * the model spells the end).  Any other byte may be in it; what is no link
 * at all may become longer than it was, so pass less room than text.n.
 */
size_t pack(unsigned char *out, size_t room, struct span text);

/*
 * What pack gives with room for less than text.n bytes, remembered: mail of a
 * campaign has the same links a million times.  Any number of threads; which
 * texts are remembered changes how long it takes, and nothing else.
 */
#define PACK_KEPT 4096         /* texts, in a process */
#define PACK_KEPT_TEXT_MAX 500 /* a longer one is packed each time: so they take some 4 MB at most, each way */
size_t pack_shorter(unsigned char *out, struct span text);

/*
 * The other way; 0 for anything that pack does not make, and for what is
 * longer than `room`.  When it gives n, packing those n bytes again gives
 * the same packed bytes.
 */
size_t unpack(char *out, size_t room, struct span packed);

/* What unpack gives, remembered in the same way: a link is packed to the same bytes for all recipients. */
size_t unpack_again(char *out, size_t room, struct span packed);

#endif
