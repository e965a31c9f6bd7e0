/*
 * A text that opens converts back to the same bytes, within CHARSET_ROOM.
 * Edits of it either cannot be written, and then nothing is added, or give
 * bytes that another conversion, opened anew, reads as the edited text.
 */
#include <stdint.h>
#include <stdlib.h>

#include "milter/charset.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

static const char *const names[] = {
	"ISO-2022-JP", "ISO-2022-JP-2", "ISO-2022-KR", "ISO-2022-CN", "UTF-7", "UTF-16", "UTF-16LE", "UTF-16BE", "UTF-32",
	"UTF-32LE", "UTF-32BE",
};

/* A text that says something in every charset, so that not only ASCII gets as far as the edits. */
static void
encode(const char *name, struct span utf8, struct buf *out)
{
	iconv_t cd = iconv_open(name, "UTF-8");
	char *to = buf_room(out, 8 * utf8.n + 64), *start = to, *from = (char *)utf8.p;
	size_t room = 8 * utf8.n + 64, left = utf8.n;

	must(cd != (iconv_t)-1 && to != NULL);
	iconv(cd, &from, &left, &to, &room);
	iconv(cd, NULL, NULL, &to, &room);
	buf_grew(out, (size_t)(to - start));
	iconv_close(cd);
}

static void
check(const char *name, struct span bytes, unsigned seed)
{
	static const char *const texts[] = { "<a href=\"https://t.example.org/?id=1\">", "", "x", "\n", "\xe6\x97\xa5" };
	struct buf utf8 = BUF(CHARSET_ROOM(bytes.n)), edited = BUF(1 << 24), after = BUF(1 << 24), again = BUF(1 << 25);
	struct charset c, d;
	struct edits in, out;

	if (charset_open(&c, name, bytes, &utf8) != NULL) {
		charset_close(&c);
		buf_free(&utf8);
		return;
	}
	must(!utf8.over);
	edits_init(&in, 1 << 22);
	edits_init(&out, 1 << 24);
	for (size_t i = seed % 13; i <= utf8.n; i += 1 + seed % 29) {
		size_t end = i + seed % 5 < utf8.n ? i + seed % 5 : utf8.n;

		edits_add(&in, i, end, span_of(texts[seed / 7 % 5]));
		i = end;
		seed = seed * 1103515245 + 12345;
	}
	splice(&edited, buf_span(&utf8), in.edit, in.n, buf_span(&in.text));
	if (charset_write(&c, bytes, buf_span(&utf8), &in, &out)) {
		splice(&after, bytes, out.edit, out.n, buf_span(&out.text));
		if (charset_open(&d, name, buf_span(&after), &again) == NULL)
			must(span_eq(buf_span(&again), buf_span(&edited)));
		else /* the byte order mark may have gone; nothing else may refuse what we wrote */
			must(strcmp(name, "UTF-16") == 0 || strcmp(name, "UTF-32") == 0);
		charset_close(&d);
	} else {
		must(out.n == 0 && out.text.n == 0);
	}
	edits_clear(&in);
	must(charset_write(&c, bytes, buf_span(&utf8), &in, &out) || out.text.over);
	charset_close(&c);
	edits_free(&in);
	edits_free(&out);
	buf_free(&utf8);
	buf_free(&edited);
	buf_free(&after);
	buf_free(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct span in = span_make(data, n);
	struct buf encoded = BUF(1 << 22);
	const char *name, *found;

	charset_find(in, &found);
	if (n < 2)
		return 0;
	name = names[data[0] % (sizeof names / sizeof *names)];
	check(name, span_from(in, 2), data[1]);
	encode(name, span_from(in, 2), &encoded);
	check(name, buf_span(&encoded), data[1] * 31u);
	buf_free(&encoded);
	return 0;
}
