/* queue.h -- which message is behind a queue id: what the mail log says of it later is about that campaign. */
#ifndef REKINDLE_QUEUE_H
#define REKINDLE_QUEUE_H

#include "common/span.h"
#include "common/touch.h"

#define QUEUE_MAX (1024 * 1024)        /* recipients of messages in the queue; beyond that the oldest go */
#define QUEUE_WHO_MAX 100              /* recipients of one message that are remembered one by one */
#define QUEUE_SECONDS (7 * 24 * 3600)  /* longer than any MTA keeps trying */
#define QUEUE_ID_MAX 23                /* bytes; a longer id is not remembered */

/*
 * Filled at the end of each message, asked by the thread that follows the
 * log.  It survives a restart in a file, "queue-ids" in data_dir, which that
 * thread writes a moment later: so no message waits for a disk, and what is
 * lost with a crash costs some touches the name of their campaign, and
 * deliveries of the last moment their touch.  From any thread.
 */
struct queue;

/* Never NULL: when the file cannot be read or written, that is logged and done without. */
struct queue *queue_open(const char *dir, int64_t now_ms);
void queue_close(struct queue *); /* saves; NULL is fine */

struct queued {
	uint64_t campaign, stream;
	uint32_t when;                 /* seconds: at the end of the message */
};

/*
 * A message that has been recorded as sent to these.  With more than
 * QUEUE_WHO_MAX of them, or none that is known, only the message is remembered.
 */
void queue_add(struct queue *, struct span id, const struct queued *, const struct who *, size_t n);

enum queue_answer {
	QUEUE_NONE,      /* not our message */
	QUEUE_OTHER,     /* ours, but it was for other recipients: a copy for somebody else, or an alias */
	QUEUE_ANYBODY,   /* ours, for more recipients than are remembered */
	QUEUE_RECIPIENT, /* ours, and for this one */
};
/* *out is filled for all but QUEUE_NONE. */
enum queue_answer queue_find(struct queue *, struct span id, const struct who *, struct queued *out);

/* It is to be tried again; what was said lasts as long as the process, since an expiry comes right behind the last deferral. */
void queue_defer(struct queue *, struct span id, const struct who *, enum bounce);
/* It was delivered, or has bounced: nothing more will be said about this recipient. */
void queue_done(struct queue *, struct span id, const struct who *);

struct waiting {
	struct who who;
	enum bounce bounce;
	struct queued about;
};
/* Those that were deferred last, up to QUEUE_WHO_MAX; says how many. */
size_t queue_waiting(struct queue *, struct span id, struct waiting out[QUEUE_WHO_MAX]);

/* Behind a filter the same message has another id. */
void queue_follow(struct queue *, struct span id, struct span next);
/* It has left the queue. */
void queue_remove(struct queue *, struct span id);

/* Writes to the file what is new, and makes it smaller when most of it is old.  From one thread; may wait for the disk. */
void queue_save(struct queue *, int64_t now_ms);
/* The file stays as it was saved last: for what has been said since, nobody could record anything.  From the same thread. */
void queue_leave(struct queue *);

#endif
