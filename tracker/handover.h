/* handover.h -- a new tracker takes the listening sockets over from the one that runs, and no connection is refused. */
#ifndef REKINDLE_HANDOVER_H
#define REKINDLE_HANDOVER_H

#include <sys/types.h>

#include "tracker/listen.h"

/*
 * The sockets themselves are passed (SCM_RIGHTS), so connections that wait in
 * them wait for the new process: there is no moment at which nobody listens.
 * Both processes accept until the new one is ready and the old one stops.
 * They speak through a socket in data_dir, which only the owner and root may
 * use; whoever started last owns it.
 */
#define HANDOVER_FILE "tracker.sock"
#define HANDOVER_WITHIN_S 10 /* for one message */

/* ---- the new one ---- */

/*
 * Gets the sockets of the tracker that runs on this store, and its process id.
 * The conversation, to be ended with handover_ready; -1 when nobody runs, or, with why, when it failed.
 */
int handover_ask(const char *data_dir, struct inherited *, pid_t *from, struct buf *why);
/* We listen; the other one may stop. */
void handover_ready(int conversation);

/* ---- the one that runs ---- */

struct handover;

/* After store_open, or when a handover was asked for: replaces the other one's socket then.  NULL, logged, when it cannot be. */
struct handover *handover_open(const char *data_dir, bool replace);
/* What to poll for reading. */
int handover_fd(const struct handover *);
/* It can be read.  True: another one listens now, stop; its process id is in *to. */
bool handover_serve(struct handover *, const struct listeners *, pid_t *to);
/* Removes the socket unless another one has it now; NULL is fine. */
void handover_close(struct handover *, bool handed_over);

#endif
