/* bounce.h -- what a refusal says: the address is dead, try later, or not this mail.  Pure. */
#ifndef REKINDLE_BOUNCE_H
#define REKINDLE_BOUNCE_H

#include "common/touch.h"

#define BOUNCE_CODE_MAX 16
#define BOUNCE_TEXT_MAX 4096 /* bytes of a reply that are read */

/*
 * Judges a failure by its status (RFC 3463: "5.1.1", also with a comment
 * behind it, or empty) and the remote server's own words, as they stand in a
 * log or a Diagnostic-Code, codes and all (may be empty).  Words count for
 * more than codes, since large providers use codes of their own; what the
 * server itself said counts for more than what was made of it on the way; and
 * whatever is in doubt is not hard.  Addresses in the text are never read as
 * words.  `code` gets the enhanced code that counted, "" when there is none.
 */
enum bounce bounce_judge(struct span status, struct span text, char code[BOUNCE_CODE_MAX]);

const char *bounce_name(enum bounce); /* "soft" "policy" "hard" */

#endif
