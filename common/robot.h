/* robot.h -- machine or person?  From one request alone: exact rules first, because generic bot lists misfire on mail.  Pure. */
#ifndef REKINDLE_ROBOT_H
#define REKINDLE_ROBOT_H

#include <stdbool.h>

#include "common/span.h"

enum robot {
	ROBOT_NONE,         /* not a hit */
	ROBOT_HUMAN,        /* nothing speaks against a person */
	ROBOT_PROXY_OPEN,   /* a person, through an image proxy (Gmail, Yahoo) */
	ROBOT_PRIVACY_OPEN, /* Apple Mail Privacy Protection: proves delivery, nothing else */
	ROBOT_PREFETCH,     /* fetched ahead of a reader who may never come */
	ROBOT_PREVIEW,      /* a link unfurler in a chat or social network */
	ROBOT_SCANNER,      /* security gateway, library, command line */
	ROBOT_SUSPECT,      /* probably a machine (no User-Agent) */
};

/* Spans are empty when the header is absent.  Values as received, white space trimmed. */
struct sighting {
	bool pixel; /* the open pixel; else a link */
	bool head;  /* method HEAD */
	struct span agent;       /* User-Agent */
	struct span sec_purpose; /* Sec-Purpose */
	struct span purpose;     /* Purpose */
	struct span x_purpose;   /* X-Purpose */
	struct span x_moz;       /* X-Moz */
};

enum robot robot_judge(const struct sighting *);

/* Does this count as a person's touch? */
static inline bool
robot_is_human(enum robot r)
{
	return r == ROBOT_HUMAN || r == ROBOT_PROXY_OPEN;
}

const char *robot_name(enum robot);
bool robot_parse(struct span, enum robot *);

/* User-agent family in one byte, for mode full.  0 unknown. */
unsigned char robot_family(struct span agent);
const char *robot_family_name(unsigned char);

#endif
