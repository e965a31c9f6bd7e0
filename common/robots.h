/* robots.h -- what machines call themselves and where they live: the lists in agents_file and networks_file.  Pure. */
#ifndef REKINDLE_ROBOTS_H
#define REKINDLE_ROBOTS_H

#include "common/datafile.h"

enum robot {
	ROBOT_NONE,         /* not a hit */
	ROBOT_HUMAN,        /* nothing speaks against a person */
	ROBOT_PROXY_OPEN,   /* a person, through an image proxy (Gmail, Yahoo) */
	ROBOT_PRIVACY_OPEN, /* Apple Mail Privacy Protection: proves delivery, nothing else */
	ROBOT_PREFETCH,     /* fetched ahead of a reader who may never come */
	ROBOT_PREVIEW,      /* a link unfurler in a chat or social network */
	ROBOT_SCANNER,      /* security gateway, library, command line */
	ROBOT_SUSPECT,      /* probably a machine */
};

#define ROBOTS_FILE_MAX (64 * 1024 * 1024)
#define ROBOTS_AGENTS_MAX 20000
#define ROBOTS_NETWORKS_MAX 1000000
#define ROBOTS_NAME_MIN 3
#define ROBOTS_NAME_MAX 64
#define ROBOTS_ERRORS_MAX DATAFILE_ERRORS_MAX

/*
 * Read once, then constant: any number of threads may look things up, and
 * looking up allocates nothing.
 */
struct robots;
struct robots *robots_new(void); /* empty */
void robots_free(struct robots *);

/*
 * Reads a whole file, in place of what was there.  A line is
 *
 *	VERDICT NAME			agents: scanner, preview, prefetch, suspect or human
 *	NETWORK SCOPE CERTAINTY LABEL	networks: all or clicks; certain or probable
 *
 * empty, or a comment that starts with "#".  A NAME is looked for at the start of
 * each word of a User-Agent, letter case ignored, and must end with a word too,
 * unless it ends in "/"; the first one in the User-Agent counts, of several
 * that start there the first in the file.  Of networks that contain each other
 * the smallest one counts.  Faults go to errors as "NAME:LINE: what is wrong; what would be
 * right" lines; then false, and the list is empty.
 */
bool robots_read_agents(struct robots *, struct span text, const char *name, struct buf *errors);
bool robots_read_networks(struct robots *, struct span text, const char *name, struct buf *errors);
/* What we ship in conf/agents and conf/networks. */
void robots_own_agents(struct robots *);
void robots_own_networks(struct robots *);

/* What the list says of a User-Agent; ROBOT_NONE when it has no name in it.  In time linear in the agent. */
enum robot robots_agent(const struct robots *, struct span agent);

struct robot_network {
	bool clicks_only, certain;
};
/* address: 16 bytes, IPv4 as ::ffff:a.b.c.d.  False: in no network of the list. */
bool robots_network(const struct robots *, const uint8_t address[16], struct robot_network *);

#endif
