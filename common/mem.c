#include "common/mem.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"

static void *
or_die(void *p, size_t n)
{
	if (p == NULL)
		fatal("out of memory (%zu bytes)", n);
	return p;
}

void *
xmalloc(size_t n)
{
	return or_die(malloc(n ? n : 1), n);
}

void *
xcalloc(size_t n, size_t size)
{
	return or_die(calloc(n ? n : 1, size ? size : 1), size);
}

void *
xcalloc_aligned(size_t align, size_t n)
{
	return memset(or_die(aligned_alloc(align, n), n), 0, n);
}

void *
xrealloc(void *p, size_t n)
{
	return or_die(realloc(p, n ? n : 1), n);
}

void *
xreallocarray(void *p, size_t n, size_t size)
{
	return or_die(reallocarray(p, n ? n : 1, size ? size : 1), size);
}

char *
xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

char *
xstrndup(const char *s, size_t n)
{
	char *copy = xmalloc(n + 1);

	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}
