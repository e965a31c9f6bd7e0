/* conn.h -- one client: requests in, answers out, in order, one at a time. */
#ifndef REKINDLE_CONN_H
#define REKINDLE_CONN_H

#include "tracker/loop.h"

#define LEAVE_WITHIN_MS 5000 /* for a LEFT to become durable before we say sorry */
#define LINGER_MS 2000
#define TASKS_SPARE 512      /* kept for the next hits; each is below 2 KB */

/* Small, because most of them are idle: input and output are on the heap only while they are needed. */
struct conn {
	struct event ev;
	struct loop *loop;
	struct conn *prev, *next; /* in the queue of its state */
	int64_t deadline;
	char *in;                 /* cap bytes, or NULL */
	char *out;                /* what the socket did not take yet */
	struct task *task;        /* whose touches are being written */
	struct ssl_st *tls;       /* between us and the socket, or NULL */
	uint32_t nout, out_at;
	uint16_t nin, cap;
	uint16_t head_n, body_n;  /* of the request whose body is waited for, as they were sent; head_n 0: none */
	int fd;
	struct http_scan scan;
	struct http_chunks chunks;
	struct peer peer;
	uint8_t state;            /* enum state */
	bool armed, admin, chunked;
	bool proxied;             /* a PROXY header is to come first */
	bool keep, head, http10;  /* of the request that is being answered */
	bool unread;              /* there is more input than we care for, or may be */
	bool quiet;               /* not a line more for this one */
	uint8_t method, agent;    /* of the request, for the access log */
};

/*
 * A hit and the deed that makes it durable.  One owner at a time: the loop,
 * then the writer, then the loop again.  conn is the loop's business only, and
 * NULL when the client was answered already or has gone: the deed goes on.
 */
struct task {
	struct deed deed; /* first, so that the deed is the task */
	struct task *next;
	struct loop *loop;
	struct conn *conn;
	bool durable;
	struct hit hit;
};

/* Takes the socket over; the peer is for its network only. */
void conn_open(struct loop *, int fd, const struct peer *, enum listen_kind);
void conn_close(struct conn *);
/* Its time is up. */
void conn_expire(struct conn *);
/* The writer gave this task back. */
void conn_recorded(struct task *);
/* The writer did not take it. */
void conn_unrecorded(struct task *);

void task_free(struct task *);

#endif
