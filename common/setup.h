/* setup.h -- settings and keys as one snapshot, replaced as a whole on reload. */
#ifndef REKINDLE_SETUP_H
#define REKINDLE_SETUP_H

#include "common/conf.h"
#include "common/keys.h"
#include "common/receivers.h"
#include "common/robots.h"
#include "common/page.h"
#include "common/token.h"

struct setup {
	struct conf *conf;
	struct keys keys;
	struct sealer *sealer;
	struct robots *robots;
	struct receivers *receivers; /* with their ids and limits */
	struct pages *pages; /* after setup_load_pages; the tracker's */
	struct setup *rest;  /* whose all of that is but keys and sealer, when these alone are newer */
	int refs; /* setup.c's */
};

/* Reads and checks settings, keys and the lists of robots.  NULL with all faults in why, one per line. */
struct setup *setup_load(const char *conf_file, struct buf *why);
/*
 * For a daemon that root has started and that is another user now: reads all
 * of it again, since what only root can read would fail at the first reload.
 * Replaces *s, pages too when it has them.  False with all faults in why, one per line.
 */
bool setup_load_again(struct setup **s, const char *conf_file, struct buf *why);
/* Settings only, without keys: for `rekindle conf` and `rekindle key new`. */
struct conf *setup_conf(const char *conf_file, struct buf *why);

/*
 * The templates that pages_dir has, or those built in.  NULL with all faults
 * in why, one per line.
 */
struct pages *setup_pages(const struct conf *, struct buf *why);
/* For a program that shows pages; setup_reload does it again for a setup that has them. */
bool setup_load_pages(struct setup *, struct buf *why);

/* Appends what helps when a directory of the settings is not there; nothing when it is. */
void setup_advise_directory(const char *dir, struct buf *out);
/* store_become_owner of data_dir.  False with all faults in why, one per line. */
bool setup_become_owner(const struct conf *, struct buf *why);

/* A place for the current one, shared by all threads. */
struct setup_slot;
struct setup_slot *setup_slot_new(struct setup *first); /* takes the reference */
struct setup *setup_get(struct setup_slot *);           /* one more reference; end it with setup_put */
void setup_put(struct setup *);
/* All that is wrong, a line of the log each, so that the administrator fixes it in one go. */
void setup_log_faults(struct span why);
/* Loads again; on any fault logs all of them, keeps the old one and returns false. */
bool setup_reload(struct setup_slot *, const char *conf_file);

/*
 * Has the key file keys that it had not when it was read?  Then these are
 * used too, though nobody asked for it, and all else stays as it was: a link
 * that does not open is lost.  What is missing there is told of once and used
 * until a reload.  Of the thread that reloads; costs a stat(2).
 */
bool setup_add_keys(struct setup_slot *);

/* What a reload cannot change: a daemon's own settings, and those that no daemon can.  A line of the log for each that differs. */
struct fixed {
	const char *name;
	bool differs;
};
void setup_warn_fixed(const struct conf *was, const struct conf *is, const struct fixed *own, size_t n);
struct store;
/* Warns of a lock_dir that the store's locks could not be in.  A daemon works without, until a disk hangs. */
void setup_warn_locks(const struct conf *, struct store *);

/* A whole file, at most max bytes.  False with why. */
bool file_read(const char *path, size_t max, struct buf *out, struct buf *why);

#endif
