/* mail.h -- one message on its way through the filter: its recipients, what becomes of them, and what is recorded of that. */
#ifndef REKINDLE_MAIL_H
#define REKINDLE_MAIL_H

#include <string.h>

#include "common/verdict.h"
#include "milter/filter.h"
#include "milter/message.h"
#include "milter/split.h"

struct recipient {
	char *address;       /* as the MTA spells it */
	struct who who;      /* nobody: no address that can be known */
	enum engage class;
	enum cause cause;
	enum action action;  /* what will be done */
	enum action would;   /* what would have been: observing, or the MTA cannot do it */
	enum mode opens, links;
	bool holdout;        /* of the control group, and would have been stopped */
	char *why;           /* one line, when there is a cause */
	const char *route;   /* of the settings: by which transport; "" the usual one */
	uint64_t reserved;   /* with recents, while it is not known whether the message goes out; 0: nothing */
	struct place place;  /* among those that may go out now, while it is not known whether the message does */
	uint32_t receiver;   /* group */
	bool spared;         /* would have been stopped by class, but for a brake */
	bool again;          /* the same person as recipient number `first`, further up */
	size_t first;
};

struct field {
	size_t name, nname, value, nvalue; /* in text */
};

struct mail {
	const struct filter *with;
	struct setup *setup; /* one snapshot for the whole message */
	char *login, *sender;
	bool local;          /* from sendmail(1) or the like, not from smtpd */
	enum pass pass;

	struct recipient *recipient;
	size_t nrecipients, recipients_cap;

	struct buf text;     /* header fields */
	struct field *field;
	size_t nfields, fields_cap;
	struct header *header; /* the same, as spans, from the end of the header on */
	struct buf body;
	const char *odd;     /* why it must pass untouched, or NULL */
	bool tagged;         /* it came through here before */
	const char *route;   /* of all who get it, or that it got; "" the usual one */

	const struct stream *stream;
	uint64_t stream_id, campaign_id;
	struct buf campaign;
};

/* Is this recipient to be deleted from a message that goes on? */
static inline bool
deleted(const struct recipient *r, enum action whole)
{
	return r->action != ACTION_SEND && r->action != whole;
}

#define NO_QUEUE_ID "NOQUEUE"

static inline bool
has_queue_id(const char *id)
{
	return strcmp(id, NO_QUEUE_ID) != 0;
}

/* ---- judge.c ---- */

/*
 * Class, cause and modes of one recipient; with taking set, what is sent
 * counts from here on.  Whatever cannot be looked up, the answer is to send:
 * mail comes first.
 */
void judge_one(struct recipient *, const struct mail *, const struct stream *, uint64_t stream_id, int64_t now, bool taking);
/* Who stands there twice gets one message, and to delete one of the two would delete both: the first decides. */
void judge_all(struct mail *, int64_t now);
/* Who gets it because this MTA, or this place, does not let the policy have its way: that counts too. */
void judge_reserve_rest(struct mail *, int64_t now);
/* What counted goes out and is recorded; or what still counts of a recipient was not sent. */
void judge_keep(struct mail *);
void judge_give_back(const struct mail *, struct recipient *);

/* ---- record.c ---- */

/*
 * What happened to each recipient, and what the links are called, in the
 * journal before the message goes on.  elsewhere: what was sent is counted
 * at another pass.  False: lost.
 */
bool record_all(const char *id, const struct mail *, const struct plan *, enum action whole, bool individual, bool elsewhere,
    int64_t now);
/* One who was stopped at RCPT: no message comes of it. */
void record_stopped(const char *id, const struct mail *, const struct stream *, uint64_t stream_id, const struct recipient *,
    int64_t now);
/* What brakes look at. */
void record_count(const struct mail *, bool elsewhere);
/* Touches that were written late, or lost. */
uint64_t record_failures(void);

#endif
