#include <pthread.h>

#include "common/pack.h"
#include "common/pack_text.h"
#include "common/text.h"
#include "tests/unit/unit.h"

#define TEXT_MAX 2000
#define PACKED_MAX (TEXT_MAX * 12 + 16) /* no byte takes more than 12 */

/* Packs, unpacks, and gives the packed length; the two must agree. */
static size_t
there_and_back(const char *row, struct span text, unsigned char *packed)
{
	static char back[TEXT_MAX];
	size_t n = pack(packed, PACKED_MAX, text);

	assert_row(row, n > 0);
	assert_span(row, span_make(back, unpack(back, sizeof back, span_make(packed, n))), text);
	return n;
}

/* Whatever these bytes are, they are refused, or just what pack makes of what they unpack to. */
static bool
is_canonical(const unsigned char *packed, size_t n)
{
	static unsigned char again[PACKED_MAX];
	static char text[TEXT_MAX];
	size_t len = unpack(text, sizeof text, span_make(packed, n));

	return len == 0 || span_eq(span_make(again, pack(again, sizeof again, span_make(text, len))), span_make(packed, n));
}

/* A change of one bit here ends all links in the world. */
static const struct {
	const char *name;
	struct span text;
	const char *packed; /* hex */
} known[] = {
	{ "one letter", SPAN("a"), "ffcf9a" },
	{ "a stream's name", SPAN("weekly"), "004851" },
	{ "a short link", SPAN("https://example.com/"), "c30f20a4662d" },
	{ "a campaign's link",
	    SPAN("https://www.example.com/sale?utm_source=newsletter&utm_medium=email&utm_campaign=spring"), "616ab0f7bc138cf4ac401b25" },
	{ "escapes", SPAN("https://example.org/%D0%BA%D0%BD%D0%B8%D0%B3%D0%B0?q=caf%C3%A9"), "c30f20a45f491dac6259a5a4b2532b420bfca1c4" },
	{ "an id", SPAN("https://example.net/c/0f8fad5b-d9cb-469f-a165-70867728950e"), "c30f20a45fe14d4d54f39de2769833beb98e1b1b6d48ebc672c9284ac3" },
	{ "no link at all", SPAN("\0\377\r\t \177"), "ffffffd93e73fe45d4fba430" },
};

static void
test_known(void **state)
{
	unsigned char packed[PACKED_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(known); i++) {
		struct buf hex = BUF(2 * PACKED_MAX);

		text_add_hex(&hex, packed, there_and_back(known[i].name, known[i].text, packed));
		assert_span(known[i].name, buf_span(&hex), span_of(known[i].packed));
		buf_free(&hex);
	}
}

/* The same for the whole model: every line that it was made of, from every fourth place, as one sum (FNV-1a). */
static void
test_frozen(void **state)
{
	static unsigned char packed[PACKED_MAX];
	struct span rest = SPAN(pack_text), line;
	uint64_t sum = 14695981039346656037u;

	(void)state;
	while (span_split(&rest, '\n', &line))
		for (size_t from = 0; from < line.n; from += 4) {
			size_t n = there_and_back("a line", span_from(line, from), packed);

			for (size_t i = 0; i < n; i++)
				sum = (sum ^ packed[i]) * 1099511628211u;
		}
	if (sum != 0xda92756b787ba166)
		fail_msg("the model has changed: 0x%016llx", (unsigned long long)sum);
}

static void
test_every_length(void **state)
{
	static unsigned char packed[PACKED_MAX];
	static char text[TEXT_MAX];
	uint32_t random = 1;

	(void)state;
	for (size_t n = 1; n <= TEXT_MAX; n += n < 300 || n > TEXT_MAX - 10 ? 1 : 9) {
		/* Half a link, half anything. */
		for (size_t i = 0; i < n; i++) {
			random = random * 1664525 + 1013904223;
			text[i] = i < n / 2 ? pack_text[(n * 17 + i) % (sizeof pack_text - 1)] : (char)(random >> 24);
			if (text[i] == '\n')
				text[i] = '?';
		}
		there_and_back("this long", span_make(text, n), packed);
	}
}

static void
test_every_byte(void **state)
{
	static unsigned char packed[PACKED_MAX];
	char text[40];

	(void)state;
	for (int c = 0; c < 256; c++) {
		memset(text, c, sizeof text);
		if (c == '\n')
			continue;
		for (size_t n = 1; n <= sizeof text; n++)
			there_and_back("nothing else", span_make(text, n), packed);
		memcpy(text, "https://example.com/", 20);
		for (size_t n = 21; n <= sizeof text; n++)
			there_and_back("behind a link", span_make(text, n), packed);
	}
}

static const struct {
	const char *name;
	struct span text;
} whole[] = {
	{ "nothing", SPAN("") },
	{ "a line feed", SPAN("\n") },
	{ "a line feed in front", SPAN("\nhttps://example.com/") },
	{ "a line feed in the middle", SPAN("https://example.com/\nx") },
	{ "a line feed at the end", SPAN("https://example.com/\n") },
};

static void
test_not_packed(void **state)
{
	unsigned char packed[PACKED_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(whole); i++)
		assert_row(whole[i].name, pack(packed, sizeof packed, whole[i].text) == 0);
}

static void
test_room(void **state)
{
	struct span text = known[3].text;
	unsigned char packed[PACKED_MAX], little[PACKED_MAX];
	char back[TEXT_MAX];
	size_t n;

	(void)state;
	n = pack(packed, sizeof packed, text);
	for (size_t room = 0; room < n; room++)
		assert_int_equal(pack(little, room, text), 0);
	assert_int_equal(pack(little, n, text), n);
	assert_memory_equal(little, packed, n);
	for (size_t room = 0; room < text.n; room++)
		assert_int_equal(unpack(back, room, span_make(packed, n)), 0);
	assert_int_equal(unpack(back, text.n, span_make(packed, n)), text.n);
}

/* Links as they are in campaigns are less than half as long, and never is anything read that is not there. */
static void
test_worth_it(void **state)
{
	unsigned char packed[PACKED_MAX];

	(void)state;
	assert_true(there_and_back("a campaign's link", known[3].text, packed) * 3 < known[3].text.n);
	assert_true(there_and_back("escapes", known[4].text, packed) * 2 < known[4].text.n);
	assert_true(there_and_back("no link at all", known[6].text, packed) > known[6].text.n);
}

static void
test_changed(void **state)
{
	unsigned char packed[PACKED_MAX];
	char text[TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(known); i++) {
		size_t n = pack(packed, sizeof packed, known[i].text);

		for (size_t at = 0; at < n; at++)
			for (int bit = 0; bit < 8; bit++) {
				packed[at] = (unsigned char)(packed[at] ^ 1 << bit);
				assert_row(known[i].name, is_canonical(packed, n));
				packed[at] = (unsigned char)(packed[at] ^ 1 << bit);
			}
		for (size_t cut = 0; cut < n; cut++)
			assert_row(known[i].name, is_canonical(packed, cut));
		for (int more = 0; more < 256; more++) {
			packed[n] = (unsigned char)more;
			assert_row(known[i].name, is_canonical(packed, n + 1));
		}
		packed[n] = 0; /* it would mean the same */
		assert_row(known[i].name, unpack(text, sizeof text, span_make(packed, n + 1)) == 0);
	}
}

static void
test_garbage(void **state)
{
	static unsigned char packed[TEXT_MAX];
	uint32_t random = 1;

	(void)state;
	for (int fill = 0; fill < 256; fill += 15) {
		memset(packed, fill, sizeof packed);
		for (size_t n = 1; n <= sizeof packed; n += 199)
			assert_true(is_canonical(packed, n));
	}
	for (size_t n = 1; n <= sizeof packed; n++) {
		random = random * 1664525 + 1013904223;
		packed[n - 1] = (unsigned char)(random >> 24);
		assert_true(is_canonical(packed, n));
	}
}

/* The first texts of a process, all at once: NULL when all went well. */
static void *
first(void *arg)
{
	unsigned char packed[PACKED_MAX];
	char back[TEXT_MAX];

	for (size_t i = 0; i < COUNT(known); i++) {
		size_t n = pack(packed, sizeof packed, known[i].text);

		if (!span_eq(span_make(back, unpack(back, sizeof back, span_make(packed, n))), known[i].text))
			return arg;
	}
	return NULL;
}

static void
run_threads(void *(*run)(void *))
{
	pthread_t thread[4];
	void *wrong;

	for (size_t i = 0; i < COUNT(thread); i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run, thread), 0);
	for (size_t i = 0; i < COUNT(thread); i++) {
		assert_int_equal(pthread_join(thread[i], &wrong), 0);
		assert_null(wrong);
	}
}

static void
test_threads(void **state)
{
	(void)state;
	run_threads(first);
}

/* Gives what pack gives with as little room, and unpack, the first time and when it remembers? */
static bool
is_remembered(struct span text)
{
	unsigned char packed[TEXT_MAX], shorter[TEXT_MAX];
	char back[TEXT_MAX];
	struct span right = span_make(packed, text.n > 0 ? pack(packed, text.n - 1, text) : 0);

	for (int i = 0; i < 3; i++)
		if (!span_eq(span_make(shorter, pack_shorter(shorter, text)), right))
			return false;
	for (int i = 0; right.n > 0 && i < 3; i++)
		if (unpack_again(back, text.n - 1, right) != 0 ||
		    !span_eq(span_make(back, unpack_again(back, text.n, right)), text))
			return false;
	return true;
}

static void
test_remembered(void **state)
{
#define TAIL "utm_source=newsletter&utm_medium=email&utm_campaign=spring"
	static const struct {
		const char *name;
		struct span text;
	} rows[] = {
		{ "nothing", SPAN("") },
		{ "one letter, which does not become shorter", SPAN("a") },
		{ "a link", SPAN("https://example.com/") },
		{ "a link with one more letter", SPAN("https://example.com/a") },
		{ "a link with a line feed", SPAN("https://example.com/\n") },
		{ "no text at all", SPAN("\0\1\2\377\376\375\r\t") },
		{ "one of two with the same hash", SPAN("http://e.example" TAIL) },
		{ "the other one", SPAN("httpwcaj/XjNlM~J" TAIL) },
	};
	static char text[TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++)
		assert_row(rows[i].name, is_remembered(rows[i].text));
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = "https://www.example.com/"[i % 24];
	for (size_t n = PACK_KEPT_TEXT_MAX - 9; n <= PACK_KEPT_TEXT_MAX + 9; n++)
		assert_row("near the longest that is kept", is_remembered(span_make(text, n)));
	assert_row("a long one", is_remembered(span_make(text, sizeof text)));
}

/* More texts than are kept, and some of them again and again; NULL when all were right. */
static void *
many(void *arg)
{
	char text[64];

	for (unsigned i = 0; i < PACK_KEPT + 500; i++) {
		int n = snprintf(text, sizeof text, "https://example.com/%u", i % 3 ? i : i % 40);

		if (!is_remembered(span_make(text, (size_t)n)))
			return arg;
	}
	return NULL;
}

static void
test_remembered_by_threads(void **state)
{
	(void)state;
	run_threads(many);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads), /* before anything else has been packed */
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_frozen),
		cmocka_unit_test(test_every_length),
		cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_not_packed),
		cmocka_unit_test(test_room),
		cmocka_unit_test(test_worth_it),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_remembered),
		cmocka_unit_test(test_remembered_by_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
