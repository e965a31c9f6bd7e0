/*
 * Promises: a key file that is taken reads back to the same when printed, has
 * at least one key and no id twice; one that is refused says why, by line,
 * and leaves no key behind.
 */
#include <stdint.h>
#include <stdlib.h>

#include "common/keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static const struct keys none;
	static struct keys keys, back;
	struct buf why = BUF(1000), text = BUF(KEY_FILE_MAX);

	if (!keys_parse(&keys, span_make(data, n), &why)) {
		must(span_starts(buf_span(&why), SPAN("line ")) && !why.over);
		must(memcmp(&keys, &none, sizeof keys) == 0);
	} else {
		must(why.n == 0 && keys.n >= 1 && keys.n <= KEYS_MAX);
		for (size_t i = 0; i < keys.n; i++) {
			for (size_t k = 0; k < i; k++)
				must(keys.token[i].id != keys.token[k].id);
		}
		keys_print(&keys, &text);
		must(!text.over && keys_parse(&back, buf_span(&text), &why) && memcmp(&keys, &back, sizeof keys) == 0);
	}
	buf_free(&why);
	buf_free(&text);
	return 0;
}
