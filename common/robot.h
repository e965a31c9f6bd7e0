/* robot.h -- machine or person?  From one request alone: exact rules first, because generic bot lists misfire on mail.  Pure. */
#ifndef REKINDLE_ROBOT_H
#define REKINDLE_ROBOT_H

#include <stdbool.h>

#include "common/robots.h"

/*
 * Which rule spoke, and so the evidence for a verdict.  The first ones are
 * seen in the request alone (here), the others only in what else the same
 * recipient did (trail.h).  Numbers are on disk: add at the end, at most
 * EVIDENCE_MAX.
 */
enum evidence {
	EVIDENCE_NONE,          /* no rule spoke: a person */
	EVIDENCE_APPLE,         /* the pixel, fetched by exactly "Mozilla/5.0" */
	EVIDENCE_GMAIL,         /* the one user agent of Gmail's prefetch */
	EVIDENCE_IMAGE_PROXY,   /* Google's or Yahoo's image proxy: on the pixel a person, on a link suspect */
	EVIDENCE_HEAD,          /* method HEAD */
	EVIDENCE_PREFETCH,      /* a header said so */
	EVIDENCE_AGENT,         /* a name in agents_file */
	EVIDENCE_NETWORK,       /* a network in networks_file, certain */
	EVIDENCE_MAYBE_NETWORK, /* a network in networks_file, probable */
	EVIDENCE_NO_AGENT,      /* no User-Agent */
	EVIDENCE_EARLY_SUSPECT, /* suspect for another reason, and within `early` of when the message was tagged */
	EVIDENCE_HONEYPOT,      /* followed the hidden link, or came with who did */
	EVIDENCE_BURST,         /* several links of one message at once */
	EVIDENCE_INSTANT,       /* within `instant` of the delivery */
	EVIDENCE_EARLY,         /* within `early` of the delivery, or before it */
	EVIDENCE_CROWD,         /* one of more hits than are told apart */
	EVIDENCE_REPEAT,        /* the same token within `dedupe`: one event */
	EVIDENCE_FOLDED_BACK,   /* suspect for its network alone, until a person's click followed */
	EVIDENCE_UNKNOWN,       /* a machine, for a reason that nobody wrote down (imports, and touches of older versions) */
	EVIDENCES
};
#define EVIDENCE_MAX 24

/* Spans are empty when the header is absent.  Values as received, white space trimmed. */
struct sighting {
	bool pixel; /* the open pixel; else a link */
	bool head;  /* method HEAD */
	bool soon;  /* within `early` of when the message was tagged: weak, it only makes others stronger */
	const uint8_t *address;  /* of the client, 16 bytes, IPv4 as ::ffff:a.b.c.d; NULL unknown */
	struct span agent;       /* User-Agent */
	struct span sec_purpose; /* Sec-Purpose */
	struct span purpose;     /* Purpose */
	struct span x_purpose;   /* X-Purpose */
	struct span x_moz;       /* X-Moz */
};

struct judgement {
	enum robot verdict;
	enum evidence evidence;
};

/* Mail's own exact rules first, then the lists; robots may be NULL: no lists. */
struct judgement robot_judge(const struct robots *, const struct sighting *);

/* Does this count as a person's touch? */
static inline bool
robot_is_human(enum robot r)
{
	return r == ROBOT_HUMAN || r == ROBOT_PROXY_OPEN;
}

const char *robot_name(enum robot);
bool robot_parse(struct span, enum robot *);
const char *evidence_name(enum evidence);    /* one word, for files: "burst" */
const char *evidence_explain(enum evidence); /* for people: "several links of one message at once" */
bool evidence_parse(struct span, enum evidence *);

/* User-agent family in one byte, for mode full.  0 unknown. */
unsigned char robot_family(struct span agent);
const char *robot_family_name(unsigned char);

#endif
