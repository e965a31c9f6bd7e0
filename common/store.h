/* store.h -- the two LMDB files, known to the store only (store.c and store_*).  facts: what happened, append only.  state: what it adds up to. */
#ifndef REKINDLE_STORE_H
#define REKINDLE_STORE_H

#include "common/brake.h"
#include "common/buf.h"
#include "common/profile.h"
#include "common/touch.h"
#include "common/trail.h"

enum store_result {
	STORE_OK,
	STORE_NONE,  /* no such record; nothing to do */
	STORE_FULL,  /* map or disk full: an ordinary condition, nothing was changed */
	STORE_ERROR, /* logged where it happened */
	STORE_MOVED, /* another process folded these touches first; nothing was changed */
};

struct store;

struct store_options {
	const char *dir;
	const char *lock_dir; /* for the locks, in memory; NULL, "", or one that we cannot use: beside the files */
	uint64_t facts_size, state_size; /* 0: store's own default */
	bool create;                     /* make missing files; a reader of nothing gets an error instead */
	bool damaged;                    /* start with a file that is no database any more, too: without it */
};

/*
 * A daemon (create) also starts when the disk refuses, read-only or full or
 * failing: then every call fails until it works, which is tried every second.
 * What is damaged stays as it is until the next start: who puts another file
 * there has to have its numbers compared with the other one's.
 * Two processes that would not see each other's locks are refused.
 *
 * Opens both files, once per process and never before a fork (LMDB's locks
 * do not survive either).  NULL with one line in why.  Not on a network file
 * system.  All functions may be called from any thread; none keeps anything
 * bound to the calling thread (MDB_NOTLS: libmilter moves sessions between
 * threads).
 */
struct store *store_open(const struct store_options *, struct buf *why);
void store_close(struct store *);
/*
 * A directory of this store's own where its locks lie: in memory, or dir
 * where there is no such place.  The same for all processes.
 */
const char *store_lock_dir(const struct store *);
/* Why they could not be in the lock_dir of the options: a path and what is wrong with it.  NULL: they are, or none was wanted. */
const char *store_no_locks(struct store *);

/*
 * What one process at a time is enough for.  True: it is ours until it is
 * given back, or the process ends, however it ends.  Nothing is waited for,
 * and in one process all have the same.  Where there can be no lock everybody
 * may.
 */
enum turn { TURN_FOLD, TURN_MAIL_LOG };
bool store_take_turn(struct store *, enum turn);
void store_end_turn(struct store *, enum turn);

/*
 * A process started by root must not leave files that the daemons cannot
 * open: when root, take the identity of the directory's owner.  Call before
 * store_open and before any thread.  False with why.
 */
bool store_become_owner(const char *dir, struct buf *why);

/* ---- facts ---- */

/*
 * Appends in one transaction, flushed to disk when it returns STORE_OK.
 * *last (may be NULL) is the sequence number of the last one.  Sequence
 * numbers start at 1 and follow commit order over all threads and
 * processes.  A record whose touch has kind 0 writes its names only.
 * Names and sources that are too long are cut or left out.
 * STORE_FULL comes a little before the file's limit: store_tidy needs room.
 */
enum store_result store_append(struct store *, const struct record *, size_t n, uint64_t *last);
/*
 * The same for touches that come out of a journal, from one place in it up to
 * another: the latter is remembered in the same transaction, so each gets
 * here once.  STORE_NONE: nothing was added, since facts have some of them;
 * store_mark says how many.
 */
enum store_result store_append_from(struct store *, const struct record *, size_t n, uint64_t journal, uint64_t from, uint64_t upto);
/*
 * The place up to which facts have the touches of a journal; 0: nothing of it.
 * Of a process that was killed in a commit it may be an older one, until
 * somebody has written.
 */
enum store_result store_mark(struct store *, uint64_t journal, uint64_t *upto);
/* Could touches be written now?  Writes and flushes, but adds nothing. */
enum store_result store_try(struct store *);

struct numbered {
	uint64_t seq;
	struct touch touch;
};
/* Up to max touches with seq > after, in order.  *n says how many. */
enum store_result store_touches(struct store *, uint64_t after, struct numbered *, size_t max, size_t *n);
/* Fills in those with the numbers that are there, which are in order; kind 0: there is none, or a newer program's. */
enum store_result store_touches_at(struct store *, struct numbered *, size_t n);
/* All of them, in order; the callback returns false to stop. */
typedef bool store_touch_fn(void *arg, const struct touch *);
enum store_result store_each_touch(struct store *, store_touch_fn *, void *arg);
uint64_t store_last(struct store *); /* last sequence number given out, 0 when none or unreadable */

/*
 * Stops a campaign: its links warn, until `when` (ms) is 0.  Written at once
 * and flushed; every process sees it with its next look.  STORE_NONE: it was
 * so already.
 */
enum store_result store_stop_campaign(struct store *, uint64_t campaign, int64_t when);
/* STORE_OK: it is stopped, since *when; STORE_NONE: it is not.  Costs next to nothing while no campaign is stopped. */
enum store_result store_stopped(struct store *, uint64_t campaign, int64_t *when);

/*
 * Brakes that are on, or were lifted by hand.  `kind` is enum brake, `id` a
 * campaign or a receiver group.  A brake that was lifted stays in the table,
 * so that it does not come back.
 */
struct brake_row {
	uint8_t kind;
	uint64_t id;
	int64_t since, lifted; /* ms; lifted 0: it is on */
	struct span by;        /* who lifted it or put it on by hand; good until the callback returns */
};
/* Puts a brake on.  STORE_NONE: there is a row already, on or lifted, and `again' is false; it is as it was. */
enum store_result store_brake(struct store *, const struct brake_row *, bool again);
/* Lifts a brake that is on.  STORE_NONE: it is not. */
enum store_result store_lift_brake(struct store *, uint8_t kind, uint64_t id, int64_t when, struct span by);
/* Takes the row away: for a brake that ends by itself, and may come back. */
enum store_result store_end_brake(struct store *, uint8_t kind, uint64_t id);
/* row->by is empty.  STORE_NONE: neither on nor lifted. */
enum store_result store_get_brake(struct store *, uint8_t kind, uint64_t id, struct brake_row *row);
/*
 * What stops a campaign's mail, and since when (ms): a brake that does, or
 * BRAKE_HAND where its links warn, which are for nobody to click on.
 * STORE_NONE: nothing, and *which is BRAKE_NONE.
 */
enum store_result store_stops(struct store *, uint64_t campaign, enum brake *which, int64_t *since);
typedef bool store_brake_fn(void *arg, const struct brake_row *);
enum store_result store_each_brake(struct store *, store_brake_fn *, void *arg);

/* Labels are appended to out.  Of a campaign's names either may be NULL: not wanted. */
enum store_result store_name(struct store *, const struct who *, struct buf *out);
enum store_result store_destination(struct store *, uint64_t campaign, uint16_t link, struct buf *out);
enum store_result store_campaign_names(struct store *, uint64_t campaign, struct buf *stream, struct buf *name);
/* The name of a stream from its id. */
enum store_result store_stream_name(struct store *, uint64_t stream, struct buf *out);

/*
 * What a recipient said, and what others said of them: every LEFT, JOINED,
 * BOUNCED, COMPLAINED, CONSENT, HELD, RELEASED, KEPT and LESS leaves a line
 * with its source (touch.h), which outlives the touch.  In order of time, then
 * of consents' axis or the kind.  Of the touch kind, detail, when, who, stream
 * and campaign are there, flags too, and of HELD sent.  source is good until
 * the callback returns, which says false to stop.
 */
typedef bool store_history_fn(void *arg, const struct touch *, struct span source);
enum store_result store_each_history_of(struct store *, const struct who *, store_history_fn *, void *arg);
/* The source of such a touch. */
enum store_result store_source(struct store *, const struct touch *, struct buf *out);

/*
 * Messages in Postfix's hold queue: each SKIPPED touch with TOUCH_ON_HOLD
 * leaves a line here, by queue id (record.source, at most HOLD_ID_MAX bytes)
 * and recipient, in the transaction that appends it.  Its id is good until the
 * callback returns, which says false to stop.
 */
#define HOLD_ID_MAX 64
typedef bool store_hold_fn(void *arg, struct span id, const struct touch *);
enum store_result store_each_hold(struct store *, store_hold_fn *, void *arg);
/*
 * The message is not on hold any more: takes its lines away, and appends what
 * became of it, in one transaction.  STORE_NONE: there are none, and nothing
 * was appended.
 */
enum store_result store_unhold(struct store *, struct span id, const struct record *, size_t n);

/* ---- state, reading ---- */

enum store_result store_profile(struct store *, const struct who *, struct profile *);
/* What that profile has of hits that left their trails with the facts (fold_age), and nothing else. */
enum store_result store_past(struct store *, const struct who *, struct profile *);
enum store_result store_subscription(struct store *, const struct who *, uint64_t stream, struct subscription *);
/* Profile and subscription in one read transaction; a missing one is zeroed and its flag false. */
enum store_result store_person(struct store *, const struct who *, uint64_t stream, struct profile *, bool *known, struct subscription *, bool *subscribed);
/*
 * The same for several people one after the other, as the state was when the
 * view began.  The thread that begins a view ends it, soon: while it lasts the
 * file cannot grow here, and no page is used again.
 */
struct store_view {
	void *txn; /* NULL: it has not begun, and to end it is nothing */
};
enum store_result store_view(struct store *, struct store_view *);
void store_view_end(struct store *, struct store_view *);
/* *p: in the record itself, good until the view ends, or in *room; NULL: nobody knows this recipient.  *sub: NULL or in *subroom. */
enum store_result store_view_person(struct store *, const struct store_view *, const struct who *, uint64_t stream,
    const struct profile **p, struct profile *room, const struct subscription **sub, struct subscription *subroom);

/* Counters of one campaign, all 64-bit (store_rows.c packs them as such).  human <= all; what a trail adds may be taken back. */
struct campaign {
	uint64_t stream;
	uint64_t first, last;                /* seconds: first and last SENT */
	uint64_t sent, skipped, would_skip;  /* would_skip: observed only */
	uint64_t sent_class[4];              /* by enum engage, at send time */
	uint64_t tracked;                    /* SENT with TOUCH_TRACKED */
	uint64_t opens_all, opens_human;     /* hits on the pixel */
	uint64_t clicks_all, clicks_human;   /* hits on links */
	uint64_t openers_all, openers_human; /* recipients who opened, or clicked and so must have */
	uint64_t clickers_all, clickers_human;
	uint64_t left;                       /* recipients who unsubscribed through it */
	uint64_t open_by[EVIDENCE_MAX], click_by[EVIDENCE_MAX]; /* all hits, by enum evidence */
	uint64_t linked, one_link;           /* SENT whose message has tracked links; and has only one, so that no burst can show */
	uint64_t delivered, bounced, soft_bounced, policy_bounced, complained; /* touches of each kind that name it */
	uint64_t series, holdout;            /* SENT of a re-engagement series; to the control group */
	uint64_t by_class, spared;           /* stopped as inactive or after the sunset; SENT to such all the same, for a brake */
	uint64_t untold, untold_clicks;      /* of the tracked ones: TOUCH_UNTOLD, TOUCH_UNTOLD_CLICKS */
};
/* Counters of one link of a campaign. */
struct link_count {
	uint64_t clicks_all, clicks_human, clickers_all, clickers_human;
};

enum store_result store_campaign(struct store *, uint64_t campaign, struct campaign *);

/*
 * What happened in one hour, all campaigns together, of a receiver group or
 * of a stream: sums of touches, all 64-bit.  A reaction that is taken back may
 * leave a number below zero when the recipient's group has changed: signed.
 * No sums are older than VOLUME_HOURS, by the clock that tidying believes in.
 */
enum volume_kind { VOLUME_RECEIVER, VOLUME_STREAM };
struct volume {
	int64_t sent, tracked;
	int64_t sent_class[4];         /* by enum engage; neither exempt, series nor imported: what throttling counts */
	int64_t series;                /* the same, of a series */
	int64_t by_class, spared;      /* as in struct campaign */
	int64_t delivered, bounced, soft_bounced, complained;
	int64_t opens_human, clicks_human; /* receivers: by the hour of the hit; a day-only open by its day's first hour */
	int64_t hits;                  /* of whomever, machines too; all in receiver group 0 */
};
#define VOLUME_HOURS (30 * 24)
/* Rows of hours from .. to, both inclusive, in the order of hour, kind, id. */
typedef bool store_volume_fn(void *arg, uint32_t hour, enum volume_kind, uint64_t id, const struct volume *);
enum store_result store_each_volume(struct store *, uint32_t from, uint32_t to, store_volume_fn *, void *arg);
/* Of a stream's 24 hours before this one, and of this one, what BRAKE_SHARE looks at: those who got mail or were stopped by class. */
enum store_result store_stream_counts(struct store *, uint64_t stream, uint32_t hour, struct brake_counts *);
/*
 * Has nobody ever said what may be kept of them?  Most stores hold no consent
 * at all, and then no profile needs to be looked up for one: reads a number,
 * and the file only after somebody has committed.  False when it is not known.
 */
bool store_no_consents(struct store *);
enum store_result store_rules(struct store *, struct rules *); /* see fold_get_rules */
bool store_rejudging(struct store *);
enum store_result store_link(struct store *, uint64_t campaign, uint16_t link, struct link_count *);
uint64_t store_folded(struct store *); /* all up to this sequence number are summed up */
/*
 * Of the touches behind that one, up to upto, those are summed up as well that
 * come before (who, seq), in the order of the first eight bytes of who, then
 * of numbers; so many were `done'.  STORE_NONE: none are, and all is 0.
 */
struct sweep {
	uint64_t upto, who, seq, done;
};
enum store_result store_sweep(struct store *, uint64_t *folded, struct sweep *); /* both of one moment */

/*
 * Walks, in key order.  The callback returns false to stop.  Read
 * transactions are renewed every thousand records, so a long walk pins no
 * pages; records that change meanwhile may be seen old or new.  Names are
 * looked up by the caller.
 */
typedef bool store_person_fn(void *arg, const struct who *, const struct profile *);
typedef bool store_campaign_fn(void *arg, uint64_t id, const struct campaign *);
typedef bool store_link_fn(void *arg, uint16_t link, const struct link_count *);
typedef bool store_subscription_fn(void *arg, const struct who *, uint64_t stream, const struct subscription *);
enum store_result store_each_person(struct store *, store_person_fn *, void *arg);
enum store_result store_each_campaign(struct store *, store_campaign_fn *, void *arg);
enum store_result store_each_link(struct store *, uint64_t campaign, store_link_fn *, void *arg);
enum store_result store_each_subscription(struct store *, store_subscription_fn *, void *arg);
/* Only one recipient's subscriptions. */
enum store_result store_each_subscription_of(struct store *, const struct who *, store_subscription_fn *, void *arg);
/* What one recipient left behind in each campaign; the trail is good until the callback returns. */
typedef bool store_trail_fn(void *arg, uint64_t campaign, const struct trail *);
enum store_result store_each_trail_of(struct store *, const struct who *, store_trail_fn *, void *arg);

/* ---- state, folding (fold.c is the one user) ---- */

struct fold_txn;
/* Waits for the state's write lock.  NULL: cannot now, or not beside a newer program, logged. */
struct fold_txn *fold_begin(struct store *, uint64_t *folded);
void fold_abort(struct fold_txn *);
/* Commits the sums together with the new cursor: each touch counts exactly once, whatever crashes. */
enum store_result fold_commit(struct fold_txn *, uint64_t folded);
enum store_result fold_get_sweep(struct fold_txn *, struct sweep *);
enum store_result fold_put_sweep(struct fold_txn *, const struct sweep *); /* NULL: it is done */
/* get: STORE_NONE zeroes the record.  After any other failure than STORE_NONE only fold_abort is allowed. */
enum store_result fold_get_person(struct fold_txn *, const struct who *, struct profile *);
enum store_result fold_put_person(struct fold_txn *, const struct who *, const struct profile *);
/* Takes one recipient out of people, subscriptions, trails and what is past of them; campaigns keep what they have. */
enum store_result fold_erase_person(struct fold_txn *, const struct who *);
enum store_result fold_get_subscription(struct fold_txn *, const struct who *, uint64_t stream, struct subscription *);
enum store_result fold_put_subscription(struct fold_txn *, const struct who *, uint64_t stream, const struct subscription *);
enum store_result fold_get_campaign(struct fold_txn *, uint64_t, struct campaign *);
enum store_result fold_put_campaign(struct fold_txn *, uint64_t, const struct campaign *);
enum store_result fold_get_volume(struct fold_txn *, uint32_t hour, enum volume_kind, uint64_t id, struct volume *);
enum store_result fold_put_volume(struct fold_txn *, uint32_t hour, enum volume_kind, uint64_t id, const struct volume *);
/* Drops what is older than `hour`, a thousand rows at most. */
enum store_result fold_drop_volumes(struct store *, uint32_t hour);
enum store_result fold_get_link(struct fold_txn *, uint64_t campaign, uint16_t link, struct link_count *);
enum store_result fold_put_link(struct fold_txn *, uint64_t campaign, uint16_t link, const struct link_count *);
/*
 * A trail is one recipient's in one campaign; hits of no campaign (campaign 0)
 * have one for each day, a number since 1970.  The caller frees what get gave, whatever the result.
 */
enum store_result fold_get_trail(struct fold_txn *, const struct who *, uint64_t campaign, uint32_t day, struct trail *);
/* An empty one (trail_is_empty) is taken away. */
enum store_result fold_put_trail(struct fold_txn *, const struct who *, uint64_t campaign, uint32_t day, const struct trail *);
/* All trails of one recipient, written ones included. */
typedef void fold_trail_fn(void *arg, uint64_t campaign, uint32_t day, struct trail *);
enum store_result fold_each_trail(struct fold_txn *, const struct who *, fold_trail_fn *, void *arg);
/* The sums of hits that are in none of their trails any more (fold_age). */
enum store_result fold_get_past(struct fold_txn *, const struct who *, struct profile *);
enum store_result fold_put_past(struct fold_txn *, const struct who *, const struct profile *);
/* The first recipient behind *who that has a trail; STORE_NONE at the end. */
enum store_result fold_next_trail(struct fold_txn *, struct who *who);

/*
 * The rules that all trails are judged by, for all processes; STORE_NONE
 * before anybody said.  While trails of the old ones are judged again, `from`
 * is the last recipient done.
 */
enum store_result fold_get_rules(struct fold_txn *, struct rules *);
enum store_result fold_put_rules(struct fold_txn *, const struct rules *);
enum store_result fold_get_rejudged(struct fold_txn *, struct who *from);
enum store_result fold_put_rejudged(struct fold_txn *, const struct who *from); /* NULL: all are done */
/* Commits sums, but no more touches. */
enum store_result fold_commit_rest(struct fold_txn *);

/*
 * Housekeeping of facts, for touches that are summed up already:
 * - touches of mode dayonly are taken out of the row of facts, where their
 *   place would tell when they happened;
 * - touches older than `before` are removed from the head.  One that is later
 *   than `future` tells nothing by its time, which a wrong clock gave it: it is
 *   as old as the first sound one behind it.
 * Of what is removed, that stays which must outlive any state: the day of the
 * last open, and the last time of each unsubscribe, complaint, bounce, hold,
 * release and consent.  A state that is built anew gets these back first.
 * At most max touches are looked at; *more says that there are others left.
 */
struct tidy {
	int64_t before, future; /* milliseconds since 1970 */
};
enum store_result store_tidy(struct store *, const struct tidy *, size_t max, bool *more);
/* What stayed: touches without campaign, link and flags, the newest of each kind, detail and stream. */
enum store_result store_each_kept(struct store *, store_touch_fn *, void *arg);
enum store_result store_each_kept_of(struct store *, const struct who *, store_touch_fn *, void *arg);

/*
 * What campaigns owe to people who were forgotten (fold_forget), as it was
 * judged then: their touches are gone, and a state that is built anew counts
 * them from here.
 */
struct carried {
	uint64_t campaign;
	bool of_link; /* about one link of the campaign */
	uint16_t link;
	struct campaign sums;
	struct link_count link_sums; /* of_link */
};
typedef bool store_carried_fn(void *arg, const struct carried *);
enum store_result store_each_carried(struct store *, store_carried_fn *, void *arg);
/* Fills in what is there for campaign and link; STORE_NONE, and zeroes, when nothing is. */
enum store_result store_carried(struct store *, struct carried *);

/*
 * Takes people out of facts: their touches, names, history, what was kept of
 * them, and what lies in the hold queue for them.  All of it in one transaction, into the reserve of a full file if
 * need be.  STORE_MOVED: there are touches later than upto, which may be
 * theirs; nothing was changed.  The caller holds a fold_txn, so that nobody
 * sums up or erases meanwhile.
 *
 * State is another file, and who takes people out of both may die in between.
 * So facts keep whom this erasure was about, and its number, of which there is
 * one at a time, until it is said that state has followed.
 */
struct erasure {
	const struct who *who;
	size_t n;
	const uint64_t *seq; /* their touches */
	size_t nseq;
	uint64_t upto;
	const struct link_of {
		uint64_t campaign;
		uint16_t link;
	} *link;             /* links whose destinations name them */
	size_t nlinks;
	const struct carried *carried; /* whole sums from now on */
	size_t ncarried;
	const struct touch *keep; /* what stays of them, as store_each_kept gives it; consents leave a line of history with source */
	size_t nkeep;
	struct span source;
};
enum store_result store_erase(struct store *, const struct erasure *, uint64_t *number);
/* The erasure that state may not have followed.  The caller frees who; NULL: not wanted.  STORE_NONE: there is none. */
enum store_result store_erasing(struct store *, uint64_t *number, struct who **who, size_t *n);
/* State has followed.  Also fine when another one has begun since. */
enum store_result store_erased(struct store *, uint64_t number);
/* The number of the last one that state has followed, written in the same transaction; 0 none. */
enum store_result fold_get_erased(struct fold_txn *, uint64_t *number);
enum store_result fold_put_erased(struct fold_txn *, uint64_t number);

/* The time that tidying last believed in (fold.c), in ms; false when there is none or it cannot be read. */
bool store_clock(struct store *, int64_t *ms);
void store_set_clock(struct store *, int64_t ms);

/*
 * New limits for both files, 0: store's own default; while everybody goes on.
 * Other processes follow when they find a file full.  What is used already is
 * never cut.  Logged.
 */
void store_limit(struct store *, uint64_t facts_size, uint64_t state_size);

struct store_file {
	bool open;
	uint64_t used, size, limit; /* bytes: of pages in use, of the file, that it may grow to */
	uint64_t held_ms;           /* how long the oldest reader has kept pages from being used again */
};
struct store_health {
	struct store_file facts, state;
	uint64_t disk_free;         /* bytes */
	bool disk_low;
	uint64_t brakes;            /* that are on */
	uint64_t lag;               /* touches that are not summed up yet */
	int64_t seen_ms;            /* ms since then, which grow when the disk hangs */
};
#define STORE_READER_LONG_MS 10000 /* ours take milliseconds */
static inline bool
store_nearly_full(const struct store_file *f)
{
	return f->used / 80 >= f->limit / 100 && f->open;
}
/*
 * Touches leave so much of a file's limit alone, in bytes: to remove something
 * LMDB must copy pages first, so a file without a free page could never be
 * tidied, and would be full for ever.
 */
static inline uint64_t
store_reserve(uint64_t limit)
{
	const uint64_t most = (uint64_t)256 << 20; /* more than one batch of touches can copy and add */

	return limit / 8 < most ? limit / 8 : most;
}
/* Is there no more than as much again before that?  Then the rest is for what nobody may lose. */
static inline bool
store_is_tight(const struct store_file *f)
{
	return f->open && f->used + 2 * store_reserve(f->limit) > f->limit;
}
/*
 * Looks at all of it, warns of what somebody should see to, and clears reader
 * slots of dead processes.  From one thread only, every second or so.
 */
void store_watch(struct store *);
/* What it saw last.  Touches no file, so nothing can hold it up. */
void store_health(struct store *, struct store_health *);

#endif
