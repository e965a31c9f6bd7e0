#include "common/ip.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

unsigned
ip_read(struct span s, uint8_t out[16])
{
	char text[INET6_ADDRSTRLEN];
	uint8_t bytes[16];

	if (s.n == 0 || s.n >= sizeof text || span_find(s, '\0') < s.n)
		return 0;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	if (inet_pton(AF_INET, text, bytes) == 1) {
		ip_from_v4(out, bytes);
		return 32;
	}
	if (inet_pton(AF_INET6, text, bytes) != 1)
		return 0;
	memcpy(out, bytes, sizeof bytes);
	return 128;
}

void
ip_from_v4(uint8_t out[16], const void *four)
{
	memcpy(out, mapped, sizeof mapped);
	memcpy(out + sizeof mapped, four, 4);
}

bool
ip_is_v4(const uint8_t b[16])
{
	return memcmp(b, mapped, sizeof mapped) == 0;
}

bool
ip_same(const uint8_t a[16], const uint8_t b[16], unsigned bits)
{
	size_t whole = bits / 8, rest = bits % 8;

	return memcmp(a, b, whole) == 0 && (rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0);
}
