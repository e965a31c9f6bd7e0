/* accesslog.h -- one line for each answer, in the combined format, without anything that is about a person. */
#ifndef REKINDLE_ACCESSLOG_H
#define REKINDLE_ACCESSLOG_H

#include "tracker/hit.h"

#define ACCESSLOG_LINE_MAX 256
#define ACCESSLOG_WAITING_MAX (1024 * 1024) /* bytes; lines that find no room are counted, and lost */

struct access {
	const struct peer *peer; /* of pages and what was refused; a hit has in its touch what may be said */
	const struct hit *hit;   /* what is answered */
	enum http_method method;
	bool read;               /* false: refused before it was a request; method and path are unknown */
	bool http10;
	struct span path;        /* of a page; what else there is has its kind in the hit */
	unsigned char agent;     /* robot_family */
	int64_t now;             /* ms since 1970 */
};

/*
 * Appends a line, at most ACCESSLOG_LINE_MAX bytes:
 *	192.0.2.0 - - [22/Nov/2026:22:47:05 +0000] "GET /c/- HTTP/1.1" 302 0 "-" "chrome"
 * No token and no query is in it; of other paths only a short first part
 * that looks like a file's name.  The address is cut to /24 or /48, and it
 * and the family of the user agent are there where no recipient is known of,
 * or where mode full keeps as much of the touch itself; else they are "-".
 */
void accesslog_line(struct buf *out, const struct access *);

/*
 * Lines gather in memory, and a thread of its own takes them to the file, at
 * least once a second: a disk that hangs holds up nobody else.
 */
struct accesslog;
/* access_log "" is no file.  One that cannot be opened is fatal. */
struct accesslog *accesslog_start(const struct conf *);
/* Writes what there is and ends.  NULL is fine. */
void accesslog_stop(struct accesslog *);
/* From any thread: the name may lead to another file now, or be another name.  One that cannot be opened is logged, and the old one stays. */
void accesslog_reopen(struct accesslog *, const struct conf *);
/* Is there anybody to write for? */
bool accesslog_on(struct accesslog *);
/* From any thread; never waits for a disk. */
void accesslog_add(struct accesslog *, struct span line);

struct accesslog_stats {
	uint64_t written, lost; /* lines */
};
void accesslog_stats(struct accesslog *, struct accesslog_stats *);

#endif
