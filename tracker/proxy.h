/* proxy.h -- who is behind a proxy: PROXY protocol headers, X-Forwarded-For and Forwarded.  Pure. */
#ifndef REKINDLE_PROXY_H
#define REKINDLE_PROXY_H

#include "tracker/hit.h"

#define PROXY_V1_MAX 107       /* with CRLF; the protocol's own limit */
#define PROXY_HEADER_MAX 4096  /* of version 2, with all that a proxy may add to the addresses */

/* Who came by a socket in the file system: the unspecified address, which nobody else has. */
#define PEER_LOCAL ((struct peer){ { 0 } })

/*
 * Reads a header of the PROXY protocol, version 1 or 2, from the start of in.
 * > 0: its length; *peer is the client, or unchanged where the header names
 * none (LOCAL, UNKNOWN, other families).  0: need more, and all of in belongs
 * to the header.  -1: malformed, or longer than the limits above; close.
 * The answer does not depend on how the bytes arrived.
 */
int proxy_read(struct span in, struct peer *peer);

/* Networks, parsed once. */
struct networks {
	struct network {
		uint8_t b[16], bits;
	} *item;
	size_t n;
	bool local; /* "unix" */
};

/* What the settings say of proxies. */
struct proxies {
	struct networks header_from, forwarded_from;
	bool rfc; /* Forwarded, else X-Forwarded-For */
};

void proxies_init(struct proxies *, const struct conf *);
void proxies_free(struct proxies *);
bool networks_have(const struct networks *, const struct peer *);

/*
 * The client of a request that came from `from` with this head (as http_read
 * accepted it).  As long as an address is one of forwarded_from, the next one
 * to the left in the field is whom it asks for; the first that is not, or the
 * last before something that is no address, is the client.
 */
struct peer proxy_client(const struct proxies *, struct span head, struct peer from);

#endif
