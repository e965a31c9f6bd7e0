/* hit.h -- one request in; out come the answer and the touches to record.  Reads the store, knows no socket. */
#ifndef REKINDLE_HIT_H
#define REKINDLE_HIT_H

#include "common/setup.h"
#include "common/store.h"
#include "tracker/http.h"

/* An IPv6 address; IPv4 as ::ffff:a.b.c.d. */
struct peer {
	uint8_t b[16];
};

enum hit_kind { HIT_PAGE, HIT_OPEN, HIT_CLICK, HIT_LEAVE, HIT_KINDS };

#define HIT_RECORDS 2 /* dayonly: the day for the recipient, the count for the campaign */

/*
 * The answer and the records point into `text`, `spare` or static bytes, never
 * into the request or the setup, so a hit may outlive both: it is a piece of a
 * heap object that the writer holds while the client may be gone already.
 */
struct budget;

struct hit {
	const struct budget *repeats; /* where hits are charged, or NULL */
	uint64_t repeat;              /* for which recipient and link, or pixel; 0: none */
	unsigned status;
	enum hit_kind kind;
	enum robot verdict;    /* opens and clicks with a good token, else ROBOT_NONE */
	enum evidence evidence;
	bool forged;           /* a token that does not open: 404 */
	char personal;         /* the kind of token that a page was asked for with: the access log says nothing of who asks; 0: none */
	bool must_last;        /* say 200 only when the records are durable, else hit_sorry */
	struct span head;      /* prepared header lines */
	struct span location;  /* of a redirect, safe for a header */
	struct span body;
	struct span sorry_head, sorry_body; /* with must_last: what hit_sorry answers, in the reader's language */
	size_t n;              /* records */
	struct record record[HIT_RECORDS];
	struct buf text, spare;
};

void hit_init(struct hit *);
void hit_free(struct hit *);

/* store may be NULL: nothing is known of anybody.  now in milliseconds. */
void hit_take(struct hit *, const struct setup *, struct store *, const struct http_request *, struct span body,
    const struct peer *, int64_t now);

/* A plain answer without a record: refusals, /metrics.  The body must stay good until it is rendered. */
void hit_plain(struct hit *, unsigned status, struct span body);
/* The records could not be made durable in time: 503, so that whoever asked asks again. */
void hit_sorry(struct hit *);

/* Appends the whole response.  `http10` matters only when the connection is kept. */
void hit_render(const struct hit *, struct buf *out, const char *date, bool head, bool keep, bool http10);

/* ---- what leave.c needs to know of a hit ---- */

struct scene {
	const struct setup *setup;
	struct store *store;
	const struct http_request *request;
	struct span body;
	const struct peer *peer;
	int64_t now;
};

void hit_not_found(struct hit *);
/* A token that does not open: the same answer as for any page that is not there. */
void hit_forged(struct hit *);
/* A text of ours for whoever sent what makes no sense. */
void hit_refuse(struct hit *, struct span body);
/* Shows a page in the reader's language. */
void hit_page(struct hit *, const struct scene *, unsigned status, enum page, const struct page_values *);
/* The same as the answer to records that must last: 200, or the page that says sorry. */
void hit_promise(struct hit *, const struct scene *, enum page, const struct page_values *);
struct touch *hit_touch(struct hit *, enum touch_kind, enum mode, int64_t when);

#endif
