/* privacy.h -- how much may be kept of one recipient, per axis (opens, links).  Pure. */
#ifndef REKINDLE_PRIVACY_H
#define REKINDLE_PRIVACY_H

#include <stdbool.h>

#include "common/span.h"

/* A ladder: the lower one always wins. */
enum mode {
	MODE_OFF,        /* no pixel, no rewriting */
	MODE_ANONYMOUS,  /* campaign counters only; the same token for every recipient */
	MODE_DAYONLY,    /* of a recipient only the date of the last open, overwritten */
	MODE_IDENTIFIED, /* touches with time and verdict; no network, no user agent */
	MODE_FULL,       /* and truncated network and user-agent family */
};

enum consent { CONSENT_UNKNOWN, CONSENT_DENIED, CONSENT_GRANTED };

enum privacy_profile { PRIVACY_UNSET, PRIVACY_CLASSIC, PRIVACY_EU, PRIVACY_STRICT };

enum axis { AXIS_OPENS, AXIS_LINKS };

const char *mode_name(enum mode);
bool mode_parse(struct span, enum mode *);
const char *axis_name(enum axis);
bool axis_parse(struct span, enum axis *);
const char *consent_name(enum consent);
bool consent_parse(struct span, enum consent *);
/* The one that allows less: denied, then unknown, then granted. */
enum consent consent_min(enum consent, enum consent);
/*
 * What a message says for its recipients: `granted`, `denied`, `unknown`, or
 * `opens=granted; links=denied`.  By enum axis; an axis that is not named
 * says granted, which lowers nothing.  False, and nothing changed, when malformed.
 */
bool consent_parse_axes(struct span, enum consent out[2]);

/* What a profile allows on an axis for a recipient with this consent. */
enum mode privacy_allows(enum privacy_profile, enum axis, enum consent);

static inline enum mode
mode_min(enum mode a, enum mode b)
{
	return a < b ? a : b;
}

#endif
