/* mem.h -- memory or an end: allocation that cannot fail.  Sizes that strangers choose are capped before they get here. */
#ifndef REKINDLE_MEM_H
#define REKINDLE_MEM_H

#include <stddef.h>

void *xmalloc(size_t);
void *xcalloc(size_t n, size_t size);
/* All zero, at a multiple of `align', a power of two that divides n. */
void *xcalloc_aligned(size_t align, size_t n);
void *xrealloc(void *, size_t);
void *xreallocarray(void *, size_t n, size_t size);
char *xstrdup(const char *);
char *xstrndup(const char *, size_t);

#endif
