/* leave.h -- what recipients say of themselves on our pages: stop, keep me, less often, and back again. */
#ifndef REKINDLE_LEAVE_H
#define REKINDLE_LEAVE_H

#include "tracker/hit.h"

/*
 * A request for /u/TOKEN (TOKEN_LEAVE) or /p/TOKEN (TOKEN_PREFERENCES).  GET
 * and HEAD show a page with buttons and change nothing, whatever a scanner
 * follows.  POST says what to do, and what it answers with 200 lasts
 * (must_last): List-Unsubscribe=One-Click (RFC 8058), or `choice`, one of
 *
 *	stop stop-all		unsubscribe from the token's stream, from everything
 *	undo undo-all		take that back; `after` is the second of what is undone
 *	keep less		stay, as before or with fewer messages of the stream
 *
 * A complaint, a bounce and what was held by hand are not lifted here: the
 * message that holds the link may have been forwarded.
 */
void leave_take(struct hit *, const struct scene *, enum token_kind, struct span token);

#endif
