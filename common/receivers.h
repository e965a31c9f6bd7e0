/* receivers.h -- who takes the mail of which domains: the list in receivers_file.  Pure. */
#ifndef REKINDLE_RECEIVERS_H
#define REKINDLE_RECEIVERS_H

#include <stdint.h>

#include "common/datafile.h"
#include "common/keys.h"

#define RECEIVERS_FILE_MAX (4 * 1024 * 1024)
#define RECEIVERS_MAX 500            /* groups */
#define RECEIVERS_DOMAINS_MAX 50000
#define RECEIVERS_NAME_MAX 32
#define RECEIVERS_ERRORS_MAX DATAFILE_ERRORS_MAX

/* Read once, then constant: any number of threads may look things up, and looking up allocates nothing. */
struct receivers;
struct receivers *receivers_new(void); /* empty */
void receivers_free(struct receivers *);

/*
 * Reads a whole file, in place of what was there.  A line is
 *
 *	NAME: DOMAIN DOMAIN ...
 *
 * empty, or a comment that starts with "#".  A name (a-z 0-9 and -, letter
 * case ignored) may come again, with more domains; a domain stands in one group only.
 * Faults go to errors as "NAME:LINE: what is wrong; what would be right" lines; then
 * false, and the list is empty.
 */
bool receivers_read(struct receivers *, struct span text, const char *name, struct buf *errors);
/* What we ship in conf/receivers. */
void receivers_own(struct receivers *);
/* Gives each group its id, which is the same wherever the key is: 32 bits of a keyed hash of its name, never 0. */
void receivers_seal(struct receivers *, const struct keys *);

/* The id of the group that an address, or a domain alone, belongs to; 0: none.  Needs receivers_seal. */
uint32_t receivers_of(const struct receivers *, struct span address);

size_t receivers_count(const struct receivers *);
uint32_t receivers_id(const struct receivers *, size_t i);
/* The name of a group by its id; NULL when there is none of it in the list any more. */
const char *receivers_called(const struct receivers *, uint32_t id);

/* At most so many messages in any so many seconds. */
struct receiver_limit {
	uint32_t count;
	uint32_t seconds; /* 60 .. 86400, whole minutes */
};
/* "google 5000/1h".  False with why, which says what would be right. */
bool receiver_limit_parse(struct span, struct span *name, struct receiver_limit *, struct buf *why);
/* A group has one limit, or none: a second one is refused, because only one of them would hold. */
enum receivers_set { RECEIVERS_SET, RECEIVERS_NO_GROUP, RECEIVERS_TWICE };
enum receivers_set receivers_set_limit(struct receivers *, struct span name, const struct receiver_limit *);
/* False: none. */
bool receivers_limit(const struct receivers *, uint32_t id, struct receiver_limit *);

#endif
