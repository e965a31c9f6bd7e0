/* addr.h -- one spelling per mailbox, and the keyed names made from it. */
#ifndef REKINDLE_ADDR_H
#define REKINDLE_ADDR_H

#include <stdint.h>

#include "common/buf.h"
#include "common/keys.h"
#include "common/who.h"

#define ADDR_MAX 1024 /* octets; RFC 5321 allows 254, RFC 6531 does not say */

/*
 * Appends the normal form of an envelope address: no angle brackets, no
 * source route, the domain as A-labels in lower case (IDNA 2008 with
 * UTS #46, libidn2), the local part case-folded and NFC when it is UTF-8.
 * Plus-addresses and dots stay: they may be different people.  Quotes go when
 * they are not needed.  False, and nothing appended, when there is no local
 * part or no domain, when it has a NUL or control character or (unquoted) a
 * space, comma or bracket, is not UTF-8, or is over ADDR_MAX.
 */
bool addr_normalise(struct buf *, struct span address);

/*
 * Appends a host name as A-labels in lower case (the same rules), as DNS wants
 * it.  False, and nothing appended, when it has none or is not UTF-8.
 */
bool addr_host(struct buf *, struct span host);

/* The domain of a normalised address. */
struct span addr_domain(struct span normal);

/* First 16 bytes of HMAC-SHA-256(identity key, normal form).  False when the address has none. */
bool addr_who(const struct keys *, struct span address, struct who *);

/* 64-bit keyed names: no coordination between nodes, and nothing readable in a token.  Never 0. */
uint64_t stream_id(const struct keys *, struct span stream);
uint64_t campaign_id(const struct keys *, struct span stream, struct span campaign);
/* The same of a receiver group, in 32 bits. */
uint32_t receiver_id(const struct keys *, struct span group);

#endif
