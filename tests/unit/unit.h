/* unit.h -- what every unit test needs. */
#ifndef REKINDLE_UNIT_H
#define REKINDLE_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/buf.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Compares bytes and shows both on a difference; `row` says which case. */
static inline void
assert_span(const char *row, struct span got, struct span want)
{
	if (!span_eq(got, want))
		fail_msg("%s: got \"%.*s\" (%zu bytes), want \"%.*s\" (%zu bytes)", row, SPAN_ARG(got), got.n, SPAN_ARG(want),
		    want.n);
}

#define assert_row(row, condition)                                \
	do {                                                      \
		if (!(condition))                                 \
			fail_msg("%s: not %s", (row), #condition); \
	} while (0)

/* A directory of its own, removed by temp_remove. */
static inline char *
temp_make(void)
{
	const char *tmp = getenv("TMPDIR");
	char path[512];

	snprintf(path, sizeof path, "%s/rekindle-test-XXXXXX", tmp ? tmp : "/tmp");
	if (mkdtemp(path) == NULL)
		fail_msg("mkdtemp failed");
	return strdup(path);
}

static inline void
temp_remove(char *dir)
{
	static const char *const files[] = { "facts.mdb", "facts.mdb-lock", "state.mdb", "state.mdb-lock", "store.lock", "journal-0",
		"journal-1", "journal-2" };
	char path[600];

	for (size_t i = 0; i < COUNT(files); i++) {
		snprintf(path, sizeof path, "%s/%s", dir, files[i]);
		unlink(path);
	}
	rmdir(dir);
	free(dir);
}

#endif
