#include "common/privacy.h"

static const char *const mode_names[] = {
	[MODE_OFF] = "off",
	[MODE_ANONYMOUS] = "anonymous",
	[MODE_DAYONLY] = "dayonly",
	[MODE_IDENTIFIED] = "identified",
	[MODE_FULL] = "full",
};

static const char *const consent_names[] = {
	[CONSENT_UNKNOWN] = "unknown",
	[CONSENT_DENIED] = "denied",
	[CONSENT_GRANTED] = "granted",
};

static const char *const axis_names[] = {
	[AXIS_OPENS] = "opens",
	[AXIS_LINKS] = "links",
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

const char *
mode_name(enum mode m)
{
	return (size_t)m < COUNT(mode_names) ? mode_names[m] : "unknown";
}

bool
mode_parse(struct span s, enum mode *m)
{
	for (size_t i = 0; i < COUNT(mode_names); i++) {
		if (span_ieq(s, span_of(mode_names[i]))) {
			*m = (enum mode)i;
			return true;
		}
	}
	return false;
}

const char *
consent_name(enum consent c)
{
	return (size_t)c < COUNT(consent_names) ? consent_names[c] : "unknown";
}

bool
consent_parse(struct span s, enum consent *c)
{
	for (size_t i = 0; i < COUNT(consent_names); i++) {
		if (span_ieq(s, span_of(consent_names[i]))) {
			*c = (enum consent)i;
			return true;
		}
	}
	return false;
}

const char *
axis_name(enum axis a)
{
	return (size_t)a < COUNT(axis_names) ? axis_names[a] : "unknown";
}

bool
axis_parse(struct span s, enum axis *a)
{
	for (size_t i = 0; i < COUNT(axis_names); i++) {
		if (span_ieq(s, span_of(axis_names[i]))) {
			*a = (enum axis)i;
			return true;
		}
	}
	return false;
}

enum consent
consent_min(enum consent a, enum consent b)
{
	if (a == CONSENT_DENIED || b == CONSENT_DENIED)
		return CONSENT_DENIED;
	return a == CONSENT_UNKNOWN || b == CONSENT_UNKNOWN ? CONSENT_UNKNOWN : CONSENT_GRANTED;
}

bool
consent_parse_axes(struct span s, enum consent out[2])
{
	enum consent said[2] = { CONSENT_GRANTED, CONSENT_GRANTED };
	bool named[2] = { false, false };
	enum axis axis;
	struct span piece;

	s = span_trim(s);
	if (consent_parse(s, &said[AXIS_OPENS])) {
		out[AXIS_OPENS] = out[AXIS_LINKS] = said[AXIS_OPENS];
		return true;
	}
	if (s.n == 0)
		return false;
	while (span_split(&s, ';', &piece)) {
		size_t equals = span_find(piece, '=');

		if (!axis_parse(span_trim(span_cut(piece, 0, equals)), &axis) || named[axis] ||
		    !consent_parse(span_trim(span_from(piece, equals + 1)), &said[axis]))
			return false;
		named[axis] = true;
	}
	out[AXIS_OPENS] = said[AXIS_OPENS];
	out[AXIS_LINKS] = said[AXIS_LINKS];
	return true;
}

/* [profile][axis][consent].  A denial is a denial everywhere, and no profile allows nothing. */
static const enum mode allows[][2][3] = {
	[PRIVACY_CLASSIC] = {
		[AXIS_OPENS] = { MODE_IDENTIFIED, MODE_OFF, MODE_FULL },
		[AXIS_LINKS] = { MODE_IDENTIFIED, MODE_OFF, MODE_FULL },
	},
	[PRIVACY_EU] = {
		[AXIS_OPENS] = { MODE_DAYONLY, MODE_OFF, MODE_IDENTIFIED },
		[AXIS_LINKS] = { MODE_ANONYMOUS, MODE_OFF, MODE_IDENTIFIED },
	},
	[PRIVACY_STRICT] = {
		[AXIS_OPENS] = { MODE_ANONYMOUS, MODE_OFF, MODE_IDENTIFIED },
		[AXIS_LINKS] = { MODE_ANONYMOUS, MODE_OFF, MODE_IDENTIFIED },
	},
};

enum mode
privacy_allows(enum privacy_profile profile, enum axis axis, enum consent consent)
{
	if ((size_t)profile >= COUNT(allows) || (size_t)axis >= COUNT(allows[0]) ||
	    (size_t)consent >= COUNT(allows[0][0]))
		return MODE_OFF;
	return allows[profile][axis][consent];
}
