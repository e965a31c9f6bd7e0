/* url.h -- web URLs, as far as browsers and we read them alike.  Pure. */
#ifndef REKINDLE_URL_H
#define REKINDLE_URL_H

#include "common/buf.h"

struct url {
	struct span authority; /* without user and password */
	struct span host;      /* and without port and final dot */
	struct span path;      /* from the "/", "?" or "#" on */
};

/* http or https, whatever the case, and something behind it? */
bool url_is_web(struct span);
/* Only http(s), two slashes, a host.  Borrows. */
bool url_split(struct span, struct url *);
/* This domain or one below it; a dot before the domain changes nothing.  ASCII case ignored. */
bool url_in_domain(struct span host, struct span domain);
/*
 * Does the whole URL fit the pattern?  "*" is any text.  A pattern without
 * "://" is compared with what stands behind the scheme.  ASCII case ignored;
 * time at most the product of the lengths.
 */
bool url_fits(struct span url, struct span pattern);
/* A placeholder that somebody still fills in, or forgot to: {{x}} {x} ${x} {% x %} %%x%% *|x|* [[x]]. */
bool url_has_merge_tag(struct span);
/* Is a link's text, as readers see it (UTF-8), itself a URL or a host? */
bool url_is_shown(struct span text);
/* Is there a parameter of this name in the query?  Names are compared to the byte. */
bool url_has_parameter(struct span url, struct span name);
/* Appends the URL with "name=value" put at the end of its query, before the fragment; the pair must be encoded. */
void url_add_parameter(struct buf *out, struct span url, struct span pair);
/* Appends text, percent-encoded for a value in a query (RFC 3986 unreserved characters stay). */
void url_encode(struct buf *out, struct span text);

#endif
