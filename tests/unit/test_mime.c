#include <time.h>

#include "milter/mime.h"
#include "tests/unit/unit.h"

/*
 * The leaves of a message as "H[content]" (HTML), "T[...]" (plain), "O[...]" (others), each with
 * "!why" when it must be left alone; "!why" in front is the whole message.
 */
static void
describe(const struct message *m, struct buf *out)
{
	struct mime mime;

	mime_walk(&mime, m);
	if (mime.leave != NULL)
		buf_addf(out, "!%s ", mime.leave);
	for (size_t i = 0; i < mime.n; i++) {
		const struct mime_part *p = &mime.part[i];

		buf_addf(out, "%c[", "OTH"[p->type]);
		buf_add(out, span_cut(m->body, p->start, p->end));
		buf_adds(out, "]");
		if (p->leave != NULL)
			buf_addf(out, "!%s ", p->leave);
	}
	mime_free(&mime);
}

static const struct row {
	const char *name, *type, *body, *out;
} structure[] = {
	{ "no Content-Type", NULL, "x", "T[x]" },
	{ "HTML alone", "text/html", "<a>", "H[<a>]" },
	{ "any case", "TEXT/HTML", "<a>", "H[<a>]" },
	{ "text/x-amp-html is not HTML", "text/x-amp-html", "<a>", "O[<a>]" },
	{ "two parts", "multipart/mixed; boundary=b", "--b\r\n\r\nx\r\n--b\r\nContent-Type: text/html\r\n\r\ny\r\n--b--\r\n", "T[x]H[y]" },
	{ "line feeds only", "multipart/mixed; boundary=b", "--b\n\nx\n--b\nContent-Type: text/html\n\ny\n--b--\n", "T[x]H[y]" },
	{ "preamble and epilogue", "multipart/mixed; boundary=b", "hello\r\n--b\r\n\r\nx\r\n--b--\r\nbye\r\n--b\r\n\r\nno part\r\n", "T[x]" },
	{ "white space behind a boundary", "multipart/mixed; boundary=b", "--b \t\r\n\r\nx\r\n--b-- \r\n", "T[x]" },
	{ "only the line break before a boundary belongs to it", "multipart/mixed; boundary=b", "--b\r\n\r\nx\r\n\r\n--b--", "T[x\r\n]" },
	{ "a boundary that another one begins with", "multipart/mixed; boundary=abc", "--abc\r\n\r\nx\r\n--abcd\r\n--abc--", "T[x\r\n--abcd]" },
	{ "text behind a closing boundary makes it none", "multipart/mixed; boundary=b", "--b\r\n\r\nx\r\n--b--y\r\n--b--", "T[x\r\n--b--y]" },
	{ "a boundary in the middle of a line", "multipart/mixed; boundary=b", "--b\r\n\r\nx --b\r\n--b--", "T[x --b]" },
	{ "a boundary that ends in =", "multipart/mixed; boundary=\"=_x=\"", "--=_x=\r\n\r\nx\r\n--=_x=--", "T[x]" },
	{ "the same without quotes", "multipart/mixed; boundary==_x=", "--=_x=\r\n\r\nx\r\n--=_x=--", "T[x]" },
	{ "no closing boundary", "multipart/mixed; boundary=b", "--b\r\n\r\nx\r\n--b\r\n\r\ny\r\n", "T[x]T[y\r\n]" },
	{ "an empty part", "multipart/mixed; boundary=b", "--b\r\n--b\r\n\r\n--b--", "T[]T[]" },
	{ "a part of header only", "multipart/mixed; boundary=b", "--b\r\nContent-Type: text/html\r\n--b--", "H[]" },
	{ "no boundary anywhere", "multipart/mixed; boundary=b", "hello", "!broken MIME O[hello]!broken MIME " },
	{ "no boundary parameter", "multipart/mixed", "--b\r\n\r\nx\r\n--b--", "!broken MIME O[--b\r\n\r\nx\r\n--b--]!broken MIME " },
	{ "an encoded multipart", "multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64", "--b\r\n\r\nx", "!broken MIME O[--b\r\n\r\nx]!broken MIME " },
	{ "nested", "multipart/mixed; boundary=a",
	    "--a\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: text/html\r\n\r\ny\r\n--b--\r\n--a\r\n\r\nz\r\n--a--",
	    "T[x]H[y]T[z]" },
	{ "an outer boundary ends an inner part", "multipart/mixed; boundary=a",
	    "--a\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--a\r\n\r\nz\r\n--a--", "T[x]T[z]" },
	{ "signed", "multipart/signed; boundary=b", "--b\r\n\r\nx\r\n--b--", "!multipart/signed O[--b\r\n\r\nx\r\n--b--]!multipart/signed " },
	{ "encrypted", "multipart/encrypted; boundary=b", "", "!multipart/encrypted O[]!multipart/encrypted " },
	{ "a report", "multipart/report; boundary=b", "", "!multipart/report O[]!multipart/report " },
	{ "S/MIME", "application/pkcs7-mime", "", "!application/pkcs7-mime O[]!application/pkcs7-mime " },
	{ "S/MIME of old", "application/x-pkcs7-mime", "", "!application/pkcs7-mime O[]!application/pkcs7-mime " },
	{ "a message in a message", "message/rfc822", "x", "!message/* O[x]!message/* " },
	{ "signed inside", "multipart/mixed; boundary=a",
	    "--a\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n--a\r\nContent-Type: text/html\r\n\r\nz\r\n--a--",
	    "O[--b\r\n\r\nx\r\n--b--]!multipart/signed H[z]" },
	{ "a digest holds messages", "multipart/digest; boundary=b", "--b\r\n\r\nx\r\n--b--", "O[x]!message/* " },
	{ "an attachment", "multipart/mixed; boundary=b", "--b\r\nContent-Type: text/html\r\nContent-Disposition: ATTACHMENT; filename=x\r\n\r\nx\r\n--b--", "O[x]!attachment " },
	{ "inline", "multipart/mixed; boundary=b", "--b\r\nContent-Type: text/html\r\nContent-Disposition: (x) inline\r\n\r\nx\r\n--b--", "H[x]" },
	{ "no header but text", "multipart/mixed; boundary=b", "--b\r\n<html>\r\n\r\nx\r\n--b--", "O[<html>\r\n\r\nx]!broken part header " },
	{ "two Content-Types", "multipart/mixed; boundary=b", "--b\r\nContent-Type: text/html\r\ncontent-type: text/plain\r\n\r\nx\r\n--b--", "O[x]!duplicate MIME header " },
	{ "two encodings", "text/html\nContent-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: 7bit", "x", "!duplicate MIME header O[x]!duplicate MIME header " },
	{ "a folded header", "multipart/mixed; boundary=b", "--b\r\nContent-Type:\r\n text/html;\r\n\tcharset=utf-8\r\n\r\nx\r\n--b--", "H[x]" },
	{ "an unknown charset", "text/html; charset=martian", "x", "H[x]!unknown charset " },
	{ "an unknown encoding", "text/html\nContent-Transfer-Encoding: uuencode", "x", "H[x]!unknown transfer encoding " },
	{ "an empty encoding", "text/html\nContent-Transfer-Encoding:", "x", "H[x]!unknown transfer encoding " },
	{ "an encoding with a comment", "text/html\nContent-Transfer-Encoding: (really) 7Bit (yes)", "x", "H[x]" },
};

/* "type" is the value of Content-Type; behind a line feed come other header fields. */
static struct message
make(const char *type, const char *body, struct header h[8])
{
	struct message m = { .header = h, .body = span_of(body) };
	struct span rest = span_of(type), line;

	for (; span_split(&rest, '\n', &line); m.nheaders++) {
		size_t colon = span_find(line, ':');

		h[m.nheaders] = m.nheaders == 0 ? (struct header){ SPAN("Content-Type"), line }
		    : (struct header){ span_cut(line, 0, colon), span_from(line, colon + 1) };
	}
	return m;
}

static void
test_structure(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(structure); i++) {
		struct header h[8];
		struct message m = make(structure[i].type, structure[i].body, h);
		struct buf out = BUF(2000);

		describe(&m, &out);
		assert_span(structure[i].name, buf_span(&out), span_of(structure[i].out));
		buf_free(&out);
	}
}

static const struct {
	const char *name, *type;
	const char *leave; /* "": none; NULL: no HTML part at all */
} types[] = {
	{ "plain", "text/html", "" },
	{ "a charset", "text/html; charset=utf-8", "" },
	{ "quoted", "text/html; charset=\"utf-8\"", "" },
	{ "spaces", " text/html ; charset = utf-8 ; ", "" },
	{ "comments", "(a(b)\\)) text (c) / html (d) ; (e) charset (f) = (g) utf-8 (h)", "" },
	{ "a semicolon at the end", "text/html;", "" },
	{ "two semicolons", "text/html;; charset=utf-8", "" },
	{ "a parameter that looks like a type", "text/html; x=\"multipart/signed; boundary=b\"", "" },
	{ "an escaped quote", "text/html; x=\"a\\\"; charset=martian\"", "" },
	{ "RFC 2231", "text/html; charset*=us-ascii'en'utf-8", "" },
	{ "RFC 2231 with escapes", "text/html; charset*=''%75tf-8", "" },
	{ "RFC 2231 in pieces", "text/html; charset*0=ut; charset*1=\"f-8\"", "" },
	{ "RFC 2231 in mixed pieces", "text/html; charset*0*=''%75t; charset*1=f-8", "" },
	{ "pieces in disorder", "text/html; charset*1=f-8; charset*0=ut", NULL },
	{ "a bad escape", "text/html; charset*=''%zz", NULL },
	{ "iso-8859-2", "text/html; charset=ISO-8859-2", "" },
	{ "windows-1251", "text/html; charset=windows-1251", "" },
	{ "koi8-r", "text/html; charset=koi8-r", "" },
	{ "gbk", "text/html; charset=GBK", "" },
	{ "shift_jis", "text/html; charset=Shift_JIS", "" },
	{ "iso-2022-jp", "text/html; charset=iso-2022-jp", "unknown charset" },
	{ "utf-16", "text/html; charset=utf-16", "unknown charset" },
	{ "utf-7", "text/html; charset=utf-7", "unknown charset" },
	{ "hz", "text/html; charset=hz-gb-2312", "unknown charset" },
	{ "a name that only begins like a good one", "text/html; charset=iso-8859-1xyzzy", "unknown charset" },
	{ "no subtype", "text", NULL },
	{ "no type", "/html", NULL },
	{ "empty", "", NULL },
	{ "a parameter without value", "text/html; charset", NULL },
	{ "a parameter with an empty value", "text/html; charset=", NULL },
	{ "the same parameter twice", "text/html; charset=utf-8; charset=utf-8", NULL },
	{ "two values", "text/html; charset=utf-8 iso-8859-1", NULL },
	{ "a comment without end", "text/html (x", NULL },
	{ "a comment that ends in a backslash", "text/html (x\\", NULL },
	{ "a quoted string without end", "text/html; charset=\"utf-8", NULL },
	{ "rubbish", "text/html charset", NULL },
};

static void
test_types(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(types); i++) {
		struct header h = { SPAN("Content-Type"), span_of(types[i].type) };
		struct message m = { &h, 1, SPAN("x") };
		struct mime mime;

		mime_walk(&mime, &m);
		assert_row(types[i].name, mime.n == 1);
		if (types[i].leave == NULL) {
			assert_row(types[i].name, mime.part[0].type != MIME_HTML && mime.part[0].leave != NULL);
		} else {
			assert_row(types[i].name, mime.part[0].type == MIME_HTML);
			assert_string_equal(mime.part[0].leave ? mime.part[0].leave : "", types[i].leave);
		}
		mime_free(&mime);
	}
}

static void
nest(struct buf *b, unsigned depth)
{
	for (unsigned i = 1; i < depth; i++)
		buf_addf(b, "--b%u\r\nContent-Type: multipart/mixed; boundary=b%u\r\n\r\n", i, i + 1);
	buf_addf(b, "--b%u\r\nContent-Type: text/html\r\n\r\nx", depth);
}

static void
test_depth(void **state)
{
	struct header h = { SPAN("Content-Type"), SPAN("multipart/mixed; boundary=b1") };

	(void)state;
	for (unsigned depth = MIME_DEPTH_MAX; depth <= MIME_DEPTH_MAX + 1; depth++) {
		struct buf b = BUF(100000);
		struct message m = { &h, 1, SPAN("") };
		struct mime mime;

		nest(&b, depth);
		m.body = buf_span(&b);
		mime_walk(&mime, &m);
		assert_int_equal(mime.n, 1);
		if (depth == MIME_DEPTH_MAX)
			assert_int_equal(mime.part[0].type, MIME_HTML);
		else
			assert_string_equal(mime.part[0].leave, "nested too deeply");
		mime_free(&mime);
		buf_free(&b);
	}
}

static void
test_parts(void **state)
{
	struct header h = { SPAN("Content-Type"), SPAN("multipart/mixed; boundary=b") };
	struct buf b = BUF(1000000);
	struct message m = { &h, 1, SPAN("") };
	struct mime mime;

	(void)state;
	for (int i = 0; i < MIME_PARTS_MAX; i++)
		buf_adds(&b, "--b\r\n\r\nx\r\n");
	m.body = buf_span(&b);
	mime_walk(&mime, &m);
	assert_null(mime.leave);
	assert_int_equal(mime.n, MIME_PARTS_MAX);
	mime_free(&mime);
	buf_adds(&b, "--b\r\n\r\nx\r\n");
	m.body = buf_span(&b);
	mime_walk(&mime, &m);
	assert_string_equal(mime.leave, "too many parts");
	mime_free(&mime);
	buf_free(&b);
}

/* Fifty levels around a body of almost boundaries. */
static void
test_linear_time(void **state)
{
	static const char *units[] = { "\n", "\n--", "\n--b1", "-", "\r\n--b50x" };
	struct header h = { SPAN("Content-Type"), SPAN("multipart/mixed; boundary=b1") };

	(void)state;
	for (size_t i = 0; i < COUNT(units); i++) {
		struct buf b = BUF(3000000);
		struct message m = { &h, 1, SPAN("") };
		struct mime mime;
		clock_t start = clock();

		nest(&b, MIME_DEPTH_MAX);
		while (b.n < 300000)
			buf_adds(&b, units[i]);
		m.body = buf_span(&b);
		mime_walk(&mime, &m);
		assert_row("linear", (clock() - start) / CLOCKS_PER_SEC < 5);
		mime_free(&mime);
		buf_free(&b);
	}
}

/* ---- edits of a part's text in its raw bytes: each OLD in the text becomes NEW ---- */

static const struct writing {
	const char *name, *encoding, *raw, *old, *new, *out;
} writings[] = {
	{ "7bit: in place", "7bit", "<a>\r\nOLD</a>\r\n", "OLD", "NEWER", "<a>\r\nNEWER</a>\r\n" },
	{ "8bit: other bytes stay", "8bit", "\xe9OLD\xe8", "OLD", "", "\xe9\xe8" },
	{ "binary", "binary", "aOLD\r\n", "OLD", "N", "aN\r\n" },
	{ "several", "7bit", "OLD-OLD\nOLD", "OLD", "N", "N-N\nN" },

	{ "QP: a line", "quoted-printable", "OLD=3D\r\n", "OLD", "NEW", "NEW=3D\r\n" },
	{ "QP: = in the new text is encoded", "quoted-printable", "OLD\r\n", "OLD", "?id=1", "?id=3D1\r\n" },
	{ "QP: lines without an edit stay, lower-case hex, blanks and all", "quoted-printable",
	    "caf=c3=a9 \t\r\n=41OLD\r\nx=e9  \r\n", "OLD", "N", "caf=c3=a9 \t\r\nAN\r\nx=e9  \r\n" },
	{ "QP: over-long lines without an edit stay", "quoted-printable",
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nOLD\r\n", "OLD", "N",
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nN\r\n" },
	{ "QP: a soft break in the middle of what goes", "quoted-printable", "a\r\nxO=\r\nLDy\r\nb\r\n", "OLD", "N", "a\r\nxNy\r\nb\r\n" },
	{ "QP: a soft line keeps its soft break", "quoted-printable", "xOLDy=\r\nz\r\n", "OLD", "N", "xNy=\r\nz\r\n" },
	{ "QP: the line behind a soft break", "quoted-printable", "x=\r\nyOLD\r\n", "OLD", "N", "x=\r\nyN\r\n" },
	{ "QP: neither end has a line break", "quoted-printable", "aOLD", "OLD", "N", "aN" },
	{ "QP: a soft break at the very end", "quoted-printable", "aOLDb=", "OLD", "N", "aNb=" },
	{ "QP: line feeds", "quoted-printable", "a\nOLD=\nb\n", "OLD", "N", "a\nN=\nb\n" },
	{ "QP: a hard break inside what goes", "quoted-printable", "aO\r\nDb\r\nc", "O\r\nD", "N", "aNb\r\nc" },
	{ "QP: a hard break at the end of what goes", "quoted-printable", "aO\r\nb\r\nc\r\n", "O\r\n", "N", "aNb\r\nc\r\n" },
	{ "QP: and the line behind it is broken anew", "quoted-printable", "aO\r\nbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n",
	    "O\r\n", "N", "aNbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb=\r\nbbb\r\n" },
	{ "QP: a soft break with white space behind it", "quoted-printable", "xOLDy= \t\r\nz\r\n", "OLD", "N", "xNy=\r\nz\r\n" },
	{ "QP: an encoded line feed stays encoded", "quoted-printable", "a=0AOLD\r\n", "OLD", "N", "a=\r\n=0A=\r\nN\r\n" },
	{ "QP: white space at the end of an edited line", "quoted-printable", "a =20\r\nOLD=20\r\n", "OLD", "N", "a =20\r\nN=20\r\n" },
	{ "QP: two edits in one line", "quoted-printable", "OLD-OLD\r\nx\r\nOLD\r\n", "OLD", "N", "N-N\r\nx\r\nN\r\n" },
	{ "QP: long new text is broken softly", "quoted-printable", "aOLDb\r\nc\r\n", "OLD",
	    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
	    "a01234567890123456789012345678901234567890123456789012345678901234567890123=\r\n"
	    "45678901234567890123456789b\r\nc\r\n" },

	{ "base64", "base64", "YU9MRGI=\r\n", "OLD", "N", "YU5i\r\n" },
	{ "base64: what stands around the characters stays", "base64", "\r\nYU9M\r\nRGI=\r\n\r\n", "OLD", "N", "\r\nYU5i\r\n\r\n" },
	{ "base64: without a line break at the end", "base64", "YU9MRGI=", "OLD", "N", "YU5i" },
	{ "base64: missing padding", "base64", "YU9MRGI\n", "OLD", "NN", "YU5OYg==\n" },
};

/* Edits every `old` in the text of a part that is the whole body. */
static bool
edit(const char *encoding, struct span raw, struct span old, struct span new, struct buf *out, const char **why)
{
	struct header h[2] = {
		{ SPAN("Content-Type"), SPAN("text/html") }, { SPAN("Content-Transfer-Encoding"), span_of(encoding) },
	};
	struct message m = { h, 2, raw };
	struct mime_text t;
	struct edits in, edits;
	struct mime mime;
	bool recoded = false;

	mime_walk(&mime, &m);
	edits_init(&in, 100000);
	edits_init(&edits, 100000);
	if ((*why = mime_read(raw, &mime.part[0], &t)) == NULL) {
		for (size_t i = 0; (i += span_search(span_from(t.text, i), old)) < t.text.n; i += old.n)
			edits_add(&in, i, i + old.n, new);
		recoded = mime_write(raw, &mime.part[0], &t, &in, &edits);
		splice(out, raw, edits.edit, edits.n, buf_span(&edits.text));
	}
	mime_text_free(&t);
	edits_free(&in);
	edits_free(&edits);
	mime_free(&mime);
	return recoded;
}

static void
test_writing(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(writings); i++) {
		const struct writing *w = &writings[i];
		struct buf out = BUF(10000);
		const char *why;

		assert_false(edit(w->encoding, span_of(w->raw), span_of(w->old), span_of(w->new), &out, &why));
		assert_row(w->name, why == NULL);
		assert_span(w->name, buf_span(&out), span_of(w->out));
		buf_clear(&out);
		edit(w->encoding, span_of(w->raw), SPAN("not there"), SPAN("x"), &out, &why);
		assert_span(w->name, buf_span(&out), span_of(w->raw));
		buf_free(&out);
	}
}

static const struct {
	const char *name, *encoding, *raw, *why;
} unreadable[] = {
	{ "a broken QP escape", "quoted-printable", "a=4\r\n", "broken quoted-printable" },
	{ "a QP escape that is none", "quoted-printable", "a=zz\r\n", "broken quoted-printable" },
	{ "foreign bytes in base64", "base64", "YW!J", "broken base64" },
	{ "base64 that goes on behind its padding", "base64", "YQ==YQ==", "broken base64" },
	{ "a lone carriage return in binary", "binary", "a\rb", "binary with odd line breaks" },
	{ "both kinds of line breaks in binary", "binary", "a\r\nb\n", "binary with odd line breaks" },
	{ "the other way round", "binary", "a\nb\r\n", "binary with odd line breaks" },
	{ "shift sequences", "7bit", "\033$B", "escape sequences in text" },
};

static void
test_unreadable(void **state)
{
	struct buf out = BUF(100);
	const char *why;

	(void)state;
	for (size_t i = 0; i < COUNT(unreadable); i++) {
		edit(unreadable[i].encoding, span_of(unreadable[i].raw), SPAN("a"), SPAN("b"), &out, &why);
		assert_row(unreadable[i].name, why != NULL && strcmp(why, unreadable[i].why) == 0);
	}
	edit("8bit", span_make("a\0b", 3), SPAN("a"), SPAN("b"), &out, &why);
	assert_string_equal(why, "NUL in text");
	buf_free(&out);
}

/* A line of `length` octets after the edit, in 7bit. */
static bool
long_line(size_t length, struct buf *out)
{
	struct buf raw = BUF(10000);
	const char *why;
	bool recoded;

	buf_adds(&raw, "before\r\nOLD");
	for (size_t i = 0; i < length - 1; i++)
		buf_addc(&raw, 'x');
	buf_adds(&raw, "\r\nafter\r\n");
	recoded = edit("7bit", buf_span(&raw), SPAN("OLD"), SPAN("N"), out, &why);
	buf_free(&raw);
	return recoded;
}

static void
test_line_length(void **state)
{
	struct buf out = BUF(10000);

	(void)state;
	assert_false(long_line(MIME_LINE_MAX, &out));
	buf_clear(&out);
	assert_true(long_line(MIME_LINE_MAX + 1, &out));
	assert_true(span_starts(buf_span(&out), SPAN("before\r\nNxxx")));
	assert_true(span_search(buf_span(&out), SPAN("xxx=\r\nxxx")) < out.n);
	assert_true(span_ends(buf_span(&out), SPAN("x\r\nafter\r\n")));
	buf_free(&out);
}

static const struct {
	const char *name, *header, *want;
} recoded_headers[] = {
	{ "an encoding is replaced", "Content-Type: text/html\r\nContent-transfer-encoding:\r\n 8bit\r\nX: y\r\n",
	    "Content-Type: text/html\r\nContent-transfer-encoding:\r\n quoted-printable\r\nX: y\r\n\r\nN" },
	{ "a missing one is added", "Content-Type: text/html\r\nX: y\r\n",
	    "Content-Type: text/html\r\nX: y\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nN" },
};

static void
test_recoded_part(void **state)
{
	struct header h = { SPAN("Content-Type"), SPAN("multipart/mixed; boundary=b") };

	(void)state;
	for (size_t i = 0; i < COUNT(recoded_headers); i++) {
		struct buf body = BUF(10000), out = BUF(10000);
		struct message m = { &h, 1, SPAN("") };
		struct edits in, edits;
		struct mime_text t;
		struct mime mime;

		buf_addf(&body, "--b\r\n%s\r\nO", recoded_headers[i].header);
		for (int k = 0; k < MIME_LINE_MAX; k++)
			buf_addc(&body, 'x');
		buf_adds(&body, "\r\n--b--\r\n");
		m.body = buf_span(&body);
		mime_walk(&mime, &m);
		assert_null(mime_read(m.body, &mime.part[0], &t));
		edits_init(&in, 1000);
		edits_init(&edits, 10000);
		edits_add(&in, 0, 1, SPAN("N"));
		assert_false(mime_write(m.body, &mime.part[0], &t, &in, &edits));
		splice(&out, m.body, edits.edit, edits.n, buf_span(&edits.text));
		assert_span(recoded_headers[i].name, span_cut(buf_span(&out), 5, 5 + strlen(recoded_headers[i].want)),
		    span_of(recoded_headers[i].want));
		assert_true(span_ends(buf_span(&out), SPAN("x\r\n--b--\r\n")));
		edits_free(&in);
		edits_free(&edits);
		mime_text_free(&t);
		mime_free(&mime);
		buf_free(&body);
		buf_free(&out);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_structure), cmocka_unit_test(test_types), cmocka_unit_test(test_depth),
		cmocka_unit_test(test_parts), cmocka_unit_test(test_linear_time), cmocka_unit_test(test_writing),
		cmocka_unit_test(test_unreadable), cmocka_unit_test(test_line_length), cmocka_unit_test(test_recoded_part),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
