#include "milter/charset.h"

#include <errno.h>
#include <stdlib.h>

#include "common/mem.h"
#include "common/text.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- names ---- */

/*
 * us-ascii is here because browsers take it for windows-1252, in queries too.
 * The trail bytes of gbk, gb18030, big5, shift_jis and uhc start at 0x30 or
 * 0x40: letters and digits, @ [ \ ] ^ _ ` { | } ~, but never < > " ' & / = or
 * white space.  johab is not here: its trail bytes have < and =.  viscii has
 * letters for a few control characters, none of which is white space.
 */
static const char *const supersets[] = {
	"us-ascii", "ascii", "ansi_x3.4-1968",
	"latin1", "latin-1", "latin2", "latin-2", "latin5", "latin9", "latin-9",
	"tis-620", "windows-874", "cp874",
	"koi8-r", "koi8-u", "koi8-ru", "koi8-t", "viscii",
	"ibm437", "cp437", "ibm850", "cp850", "ibm852", "cp852", "ibm855", "cp855", "ibm866", "cp866",
	"macintosh", "x-mac-roman", "x-mac-ce", "x-mac-centraleurroman", "x-mac-cyrillic", "x-mac-ukrainian",
	"x-mac-greek", "x-mac-turkish",
	"gb2312", "gbk", "x-gbk", "cp936", "ms936", "windows-936", "gb18030", "euc-cn",
	"big5", "big5-hkscs", "cp950", "ms950", "windows-950", "x-x-big5", "euc-tw",
	"shift_jis", "shift-jis", "sjis", "x-sjis", "ms_kanji", "windows-31j", "cp932", "euc-jp", "x-euc-jp",
	"ks_c_5601-1987", "ks_c_5601", "cp949", "windows-949", "uhc", "euc-kr",
};

static const char *const utf8_names[] = { "utf-8", "utf8", "unicode-1-1-utf-8" };

/*
 * What mail calls them and what iconv does.  Only these names ever reach
 * iconv: what else it offers is better left alone, EBCDIC and all, and some of
 * it has aborted or overflowed on crafted text (ISO-2022-JP-3, ISO-2022-CN-EXT).
 * UTF-16 and UTF-32 stand for the byte order that the mark gives.
 */
static const struct {
	const char *label, *name;
} converted[] = {
	{ "iso-2022-jp", "ISO-2022-JP" }, { "csiso2022jp", "ISO-2022-JP" }, { "iso-2022-jp-2", "ISO-2022-JP-2" },
	{ "iso-2022-kr", "ISO-2022-KR" }, { "csiso2022kr", "ISO-2022-KR" }, { "iso-2022-cn", "ISO-2022-CN" },
	{ "utf-7", "UTF-7" }, { "unicode-1-1-utf-7", "UTF-7" },
	{ "utf-16", "UTF-16" }, { "unicode", "UTF-16" }, { "utf-16le", "UTF-16LE" }, { "utf-16be", "UTF-16BE" },
	{ "utf-32", "UTF-32" }, { "utf-32le", "UTF-32LE" }, { "utf-32be", "UTF-32BE" },
};

/* iso-8859-1 .. iso-8859-16, also with the -e and -i of RFC 1556; windows-1250 .. windows-1258. */
static bool
is_numbered_superset(struct span label)
{
	static const struct {
		struct span start;
		unsigned from, to;
		bool direction;
	} series[] = {
		{ SPAN("iso-8859-"), 1, 16, true }, { SPAN("iso8859-"), 1, 16, true }, { SPAN("iso_8859-"), 1, 16, true },
		{ SPAN("windows-"), 1250, 1258, false }, { SPAN("cp"), 1250, 1258, false },
		{ SPAN("x-cp"), 1250, 1258, false },
	};

	for (size_t i = 0; i < COUNT(series); i++) {
		struct span number = span_from(label, series[i].start.n);
		uint64_t n;

		if (!span_istarts(label, series[i].start))
			continue;
		if (series[i].direction && (span_iends(number, SPAN("-e")) || span_iends(number, SPAN("-i"))))
			number.n -= 2;
		if (text_u64(number, &n) && n >= series[i].from && n <= series[i].to)
			return true;
	}
	return false;
}

enum charset_kind
charset_find(struct span label, const char **name)
{
	if (text_find_name(utf8_names, COUNT(utf8_names), label) < COUNT(utf8_names))
		return CHARSET_UTF8;
	if (is_numbered_superset(label) || text_find_name(supersets, COUNT(supersets), label) < COUNT(supersets))
		return CHARSET_SUPERSET;
	for (size_t i = 0; i < COUNT(converted); i++)
		if (span_ieq(label, span_of(converted[i].label))) {
			*name = converted[i].name;
			return CHARSET_CONVERTED;
		}
	return CHARSET_UNKNOWN;
}

/* The name that says the byte order: the mark's, where the name leaves it open.  NULL: nobody can say. */
static const char *
with_byte_order(const char *name, struct span bytes)
{
	static const struct {
		const char *open, *name;
		struct span mark;
	} orders[] = {
		{ "UTF-16", "UTF-16LE", SPAN("\xff\xfe") }, { "UTF-16", "UTF-16BE", SPAN("\xfe\xff") },
		{ "UTF-32", "UTF-32LE", SPAN("\xff\xfe\0\0") }, { "UTF-32", "UTF-32BE", SPAN("\0\0\xfe\xff") },
	};
	bool open = false;

	for (size_t i = 0; i < COUNT(orders); i++) {
		if (strcmp(name, orders[i].open) != 0)
			continue;
		open = true;
		if (span_starts(bytes, orders[i].mark))
			return orders[i].name;
	}
	return open ? NULL : name;
}

/* ---- conversion ---- */

/* Where converted bytes go: into a buf, or to be compared with what they should be. */
struct sink {
	struct buf *out;   /* or NULL */
	struct span want;  /* when out is NULL */
	size_t n;          /* bytes so far */
	bool differs;
};

static void
sink_add(struct sink *s, struct span piece)
{
	if (s->out != NULL)
		buf_add(s->out, piece);
	else if (!span_eq(span_cut(s->want, s->n, s->n + piece.n), piece))
		s->differs = true;
	s->n += piece.n;
}

static bool
sink_matches(const struct sink *s)
{
	return !s->differs && s->n == s->want.n;
}

static void
restart(iconv_t cd)
{
	iconv(cd, NULL, NULL, NULL, NULL);
}

/* False: not in the charset, or it ends inside a character, or something would be lost. */
static bool
convert(iconv_t cd, struct span in, struct sink *s)
{
	char piece[4096];
	char *from = (char *)in.p; /* iconv's prototype; it does not write there */
	size_t left = in.n;

	while (left > 0 && !s->differs) {
		char *to = piece;
		size_t room = sizeof piece, lost = iconv(cd, &from, &left, &to, &room);

		if ((lost == (size_t)-1 && errno != E2BIG) || (lost != (size_t)-1 && lost > 0))
			return false;
		if (to == piece && lost == (size_t)-1)
			return false;
		sink_add(s, span_make(piece, (size_t)(to - piece)));
	}
	return !s->differs && (s->out == NULL || !s->out->over);
}

/* Shifts back to where the text began. */
static void
shift_back(iconv_t cd, struct sink *s)
{
	char piece[64], *to = piece;
	size_t room = sizeof piece;

	iconv(cd, NULL, NULL, &to, &room);
	sink_add(s, span_make(piece, (size_t)(to - piece)));
}

/* Does the text convert back to these very bytes? */
static bool
converts_back(struct charset *c, struct span bytes, struct span utf8)
{
	struct sink s = { .want = bytes };
	size_t n;

	restart(c->encode);
	if (!convert(c->encode, utf8, &s))
		return false;
	n = s.n;
	shift_back(c->encode, &s);
	c->returns = s.n == bytes.n;
	return c->returns ? sink_matches(&s) : n == bytes.n;
}

const char *
charset_open(struct charset *c, const char *name, struct span bytes, struct buf *utf8)
{
	struct sink s = { .out = utf8 };
	size_t start = utf8->n;

	*c = (struct charset){ 0 };
	if ((name = with_byte_order(name, bytes)) == NULL)
		return "no byte order mark";
	if ((c->decode = iconv_open("UTF-8", name)) == (iconv_t)-1)
		return "unknown charset";
	if ((c->encode = iconv_open(name, "UTF-8")) == (iconv_t)-1) {
		iconv_close(c->decode);
		return "unknown charset";
	}
	c->open = true;
	if (!convert(c->decode, bytes, &s))
		return "text is not in its charset";
	if (!converts_back(c, bytes, span_from(buf_span(utf8), start)))
		return "charset does not convert back";
	return NULL;
}

void
charset_close(struct charset *c)
{
	if (c->open) {
		iconv_close(c->decode);
		iconv_close(c->encode);
	}
	*c = (struct charset){ 0 };
}

/* ---- edits ---- */

/*
 * Edits that are written together, with the character behind the last one: an
 * edit may end in another shift state than the original had there, and the
 * first character after it is what makes them one again.
 */
struct run {
	size_t start, end;         /* in the old text */
	size_t new_start, new_end; /* in the edited text */
	size_t at, to;             /* in the old bytes */
};

/* The end of the character at i of valid UTF-8. */
static size_t
character_end(struct span utf8, size_t i)
{
	if (i < utf8.n)
		i++;
	while (i < utf8.n && ((unsigned char)utf8.p[i] & 0xc0) == 0x80)
		i++;
	return i;
}

static size_t
find_runs(struct run *run, struct span utf8, const struct edits *in)
{
	size_t n = 0, edited = 0; /* where `done` is in the edited text */
	size_t done = 0;

	for (size_t i = 0, j; i < in->n; i = j) {
		struct run *r = &run[n++];

		*r = (struct run){ .start = in->edit[i].start, .end = in->edit[i].start };
		r->new_start = r->new_end = edited + (r->start - done);
		/* The end of the text is the last one's too, with the shift that it may take. */
		for (j = i; j < in->n && (j == i || in->edit[j].start < r->end || r->end == utf8.n); j++) {
			const struct edit *e = &in->edit[j];
			size_t end = character_end(utf8, e->end);

			r->new_end += e->n - (e->end - e->start);
			r->new_end += end - r->end;
			r->end = end;
		}
		done = r->end;
		edited = r->new_end;
	}
	return n;
}

/* Where each run lies in the old bytes. */
static bool
place_runs(struct charset *c, struct span bytes, struct span utf8, struct run *run, size_t n)
{
	struct sink s = { .want = bytes };
	size_t done = 0;

	restart(c->encode);
	for (size_t i = 0; i < n; i++) {
		if (!convert(c->encode, span_cut(utf8, done, run[i].start), &s))
			return false;
		run[i].at = s.n;
		if (!convert(c->encode, span_cut(utf8, run[i].start, run[i].end), &s))
			return false;
		run[i].to = run[i].end == utf8.n ? bytes.n : s.n;
		done = run[i].end;
	}
	return true;
}

/* Adds bytes at..to become new, without what they have in common at both ends. */
static void
add_difference(struct edits *out, struct span bytes, size_t at, size_t to, struct span new)
{
	while (at < to && new.n > 0 && bytes.p[at] == new.p[0]) {
		at++;
		new = span_from(new, 1);
	}
	while (at < to && new.n > 0 && bytes.p[to - 1] == new.p[new.n - 1]) {
		to--;
		new.n--;
	}
	if (at < to || new.n > 0)
		edits_add(out, at, to, new);
}

/* The edited text, encoded: what lies between the runs must come out as it was.  utf8_n: length of the old text. */
static bool
encode_runs(struct charset *c, struct span bytes, size_t utf8_n, struct span edited, const struct run *run, size_t n,
    struct edits *out)
{
	struct buf new = BUF(out->text.max);
	size_t done = 0, byte = 0;
	bool good = true;

	restart(c->encode);
	for (size_t i = 0; i < n && good; i++) {
		const struct run *r = &run[i];
		struct sink between = { .want = span_cut(bytes, byte, r->at) }, within = { .out = &new };

		good = convert(c->encode, span_cut(edited, done, r->new_start), &between) && sink_matches(&between) &&
		    convert(c->encode, span_cut(edited, r->new_start, r->new_end), &within);
		if (r->end == utf8_n && c->returns)
			shift_back(c->encode, &within);
		if (good)
			add_difference(out, bytes, r->at, r->to, buf_span(&new));
		out->text.over |= new.over;
		buf_clear(&new);
		done = r->new_end;
		byte = r->to;
	}
	if (good && (n == 0 || run[n - 1].end < utf8_n)) {
		struct sink rest = { .want = span_from(bytes, byte) };

		good = convert(c->encode, span_from(edited, done), &rest);
		if (c->returns)
			shift_back(c->encode, &rest);
		good = good && sink_matches(&rest);
	}
	buf_free(&new);
	return good;
}

/* Do the bytes with these edits decode to the edited text? */
static bool
decodes_to(struct charset *c, struct span bytes, const struct edits *edits, struct span edited)
{
	struct sink s = { .want = edited };
	struct buf new = BUF(bytes.n + edits->text.n);
	bool good;

	splice(&new, bytes, edits->edit, edits->n, buf_span(&edits->text));
	restart(c->decode);
	good = convert(c->decode, buf_span(&new), &s) && sink_matches(&s);
	buf_free(&new);
	return good;
}

bool
charset_write(struct charset *c, struct span bytes, struct span utf8, const struct edits *in, struct edits *out)
{
	struct run *run = xcalloc(in->n ? in->n : 1, sizeof *run);
	size_t n = find_runs(run, utf8, in);
	struct buf edited = BUF(utf8.n + in->text.n);
	struct edits made;
	bool good;

	edits_init(&made, out->text.max);
	splice(&edited, utf8, in->edit, in->n, buf_span(&in->text));
	good = !edited.over && place_runs(c, bytes, utf8, run, n) &&
	    encode_runs(c, bytes, utf8.n, buf_span(&edited), run, n, &made) && !made.text.over &&
	    decodes_to(c, bytes, &made, buf_span(&edited));
	for (size_t i = 0; i < made.n && good; i++) {
		const struct edit *e = &made.edit[i];

		edits_add(out, e->start, e->end, span_cut(buf_span(&made.text), e->at, e->at + e->n));
	}
	edits_free(&made);
	buf_free(&edited);
	free(run);
	return good;
}
