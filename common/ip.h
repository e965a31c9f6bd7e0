/* ip.h -- IP addresses of 16 bytes; IPv4 is ::ffff:a.b.c.d (RFC 4291 section 2.5.5.2).  Pure. */
#ifndef REKINDLE_IP_H
#define REKINDLE_IP_H

#include <stdint.h>

#include "common/span.h"

/*
 * From text, without brackets or zone: how many bits an address of the kind
 * that is written there has, 32 or 128.  0, and out is left alone: it is none.
 */
unsigned ip_read(struct span, uint8_t out[16]);
void ip_from_v4(uint8_t out[16], const void *four);
bool ip_is_v4(const uint8_t[16]);
/* Are the first bits (at most 128) the same? */
bool ip_same(const uint8_t a[16], const uint8_t b[16], unsigned bits);

#endif
