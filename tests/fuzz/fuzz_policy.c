/*
 * Promises: those of tests/unit/policy.h, of any touches and any policy: one
 * class each, people never lower it and machines never raise it; a verdict is
 * what the settings say, and when it says it ends; caps and series let
 * no more through than they may.
 */
#include <stdio.h>

#include "tests/unit/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *broken = promise_life(span_make(data, n));

	if (broken == NULL)
		broken = promise_sends(span_make(data, n));
	if (broken != NULL) {
		fprintf(stderr, "not kept: %s\n", broken);
		abort();
	}
	return 0;
}
