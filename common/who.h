/* who.h -- a recipient without a name: 16 keyed bytes instead of an address. */
#ifndef REKINDLE_WHO_H
#define REKINDLE_WHO_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* All zero: nobody in particular (an anonymous touch). */
struct who {
	uint8_t b[16];
};

static inline bool
who_is_nobody(const struct who *w)
{
	static const struct who nobody;

	return memcmp(w, &nobody, sizeof nobody) == 0;
}

static inline bool
who_eq(const struct who *a, const struct who *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

#endif
