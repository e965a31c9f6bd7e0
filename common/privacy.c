#include "common/privacy.h"

#include "common/text.h"

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
	return text_name(mode_names, COUNT(mode_names), m);
}

bool
mode_parse(struct span s, enum mode *m)
{
	size_t i = text_find_name(mode_names, COUNT(mode_names), s);

	if (i == COUNT(mode_names))
		return false;
	*m = (enum mode)i;
	return true;
}

const char *
consent_name(enum consent c)
{
	return text_name(consent_names, COUNT(consent_names), c);
}

bool
consent_parse(struct span s, enum consent *c)
{
	size_t i = text_find_name(consent_names, COUNT(consent_names), s);

	if (i == COUNT(consent_names))
		return false;
	*c = (enum consent)i;
	return true;
}

const char *
axis_name(enum axis a)
{
	return text_name(axis_names, COUNT(axis_names), a);
}

bool
axis_parse(struct span s, enum axis *a)
{
	size_t i = text_find_name(axis_names, COUNT(axis_names), s);

	if (i == COUNT(axis_names))
		return false;
	*a = (enum axis)i;
	return true;
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
