/* journald.h -- systemd's journal, as much of it as is about mail. */
#ifndef REKINDLE_JOURNALD_H
#define REKINDLE_JOURNALD_H

#include "common/buf.h"

/*
 * Read in this process, by libsystemd, rather than from a journalctl that
 * would have to be started before the store is opened and could not be
 * started again.  All calls, the first and the last too, from one thread:
 * libsystemd wants it so.
 */
struct journald;

/* The system's journal, or that of a directory (dir not NULL).  NULL with one line in why: also when built without libsystemd. */
struct journald *journald_open(const char *dir, struct buf *why);
void journald_close(struct journald *); /* NULL is fine */

/* Goes behind the entry with this cursor, or to the end when it is empty.  False: the entry is gone, and some may be lost. */
bool journald_seek(struct journald *, struct span cursor);
/*
 * The next entry of facility mail: 1; 0: none for now; -1: cannot be read,
 * *errno_out says why.  Spans are good until the next call; when is in
 * milliseconds since 1970.
 */
int journald_next(struct journald *, struct span *tag, struct span *message, int64_t *when, int *errno_out);
/* The cursor of the entry that was read last; empty before there was one. */
void journald_cursor(struct journald *, struct buf *);
/* There is no file, or none that we may read: libsystemd passes over those in silence. */
bool journald_is_empty(struct journald *);
/* Until there may be more, at most so long. */
void journald_wait(struct journald *, int64_t ms);

#endif
