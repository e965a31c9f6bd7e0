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

#define HTML "\r\nContent-Type: text/html\r\n\r\n"
#define MIXED "multipart/mixed; boundary=b"

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
	{ "a boundary that another one begins with", "multipart/mixed; boundary=abc", "--abc\r\n\r\nx\r\n--abcd\r\n--abc--", "T[x\r\n--abcd]!ambiguous boundary " },
	{ "text behind a closing boundary makes it none", "multipart/mixed; boundary=b", "--b\r\n\r\nx\r\n--b--y\r\n--b--", "T[x\r\n--b--y]!ambiguous boundary " },
	{ "a boundary in the middle of a line", "multipart/mixed; boundary=b", "--b\r\n\r\nx --b\r\n--b--", "T[x --b]" },
	{ "a boundary that ends in =", "multipart/mixed; boundary=\"=_x=\"", "--=_x=\r\n\r\nx\r\n--=_x=--", "T[x]" },
	{ "the same without quotes", "multipart/mixed; boundary==_x=", "--=_x=\r\n\r\nx\r\n--=_x=--", "T[x]" },
	{ "no closing boundary", "multipart/mixed; boundary=b", "--b\r\n\r\nx\r\n--b\r\n\r\ny\r\n", "T[x]T[y\r\n]" },
	{ "an empty part", "multipart/mixed; boundary=b", "--b\r\n--b\r\n\r\n--b--", "T[]!empty part T[]!empty part " },
	{ "an empty part whose header ends", "multipart/mixed; boundary=b", "--b\r\n\r\n\r\n--b--", "T[]" },
	{ "a part of header only", "multipart/mixed; boundary=b", "--b\r\nContent-Type: text/html\r\n--b--", "H[]!empty part " },
	{ "and the line break behind it is the boundary's", "multipart/mixed; boundary=b", "--b\r\nContent-Type: text/html\r\n\r\n--b--", "H[]!empty part " },
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
	{ "a digest holds messages", "multipart/digest; boundary=b", "--b\r\n\r\nx\r\n--b--", "!multipart/digest O[--b\r\n\r\nx\r\n--b--]!multipart/digest " },
	{ "a digest inside, whatever its parts say", "multipart/mixed; boundary=a",
	    "--a\r\nContent-Type: multipart/digest; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\nx\r\n--b--\r\n--a" HTML "z\r\n--a--",
	    "O[--b\r\nContent-Type: text/html\r\n\r\nx\r\n--b--]!multipart/digest H[z]" },
	{ "an attachment", "multipart/mixed; boundary=b", "--b\r\nContent-Type: text/html\r\nContent-Disposition: ATTACHMENT; filename=x\r\n\r\nx\r\n--b--", "O[x]!attachment " },
	{ "inline", "multipart/mixed; boundary=b", "--b\r\nContent-Type: text/html\r\nContent-Disposition: (x) inline\r\n\r\nx\r\n--b--", "H[x]" },
	{ "no header but text", "multipart/mixed; boundary=b", "--b\r\n<html>\r\n\r\nx\r\n--b--", "O[<html>\r\n\r\nx]!broken part header " },
	{ "two Content-Types", "multipart/mixed; boundary=b", "--b\r\nContent-Type: text/html\r\ncontent-type: text/plain\r\n\r\nx\r\n--b--", "O[x]!duplicate MIME header " },
	{ "two encodings", "text/html\nContent-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: 7bit", "x", "!duplicate MIME header O[x]!duplicate MIME header " },
	{ "two dispositions", "text/html\nContent-Disposition: inline\nContent-Disposition: inline", "x", "!duplicate MIME header O[x]!duplicate MIME header " },
	{ "a folded header", "multipart/mixed; boundary=b", "--b\r\nContent-Type:\r\n text/html;\r\n\tcharset=utf-8\r\n\r\nx\r\n--b--", "H[x]" },
	{ "an unknown charset", "text/html; charset=martian", "x", "H[x]!unknown charset " },
	{ "an unknown encoding", "text/html\nContent-Transfer-Encoding: uuencode", "x", "H[x]!unknown transfer encoding " },
	{ "an empty encoding", "text/html\nContent-Transfer-Encoding:", "x", "H[x]!unknown transfer encoding " },
	{ "an encoding of two words", "text/html\nContent-Transfer-Encoding: base64 7bit", "x", "H[x]!unknown transfer encoding " },
	{ "an encoding with a comment", "text/html\nContent-Transfer-Encoding: (really) 7Bit (yes)", "x", "H[x]" },

	{ "nothing behind the last boundary", MIXED, "--b\r\n\r\nx\r\n--b", "T[x]T[]!empty part " },
	{ "a part without a line break at its end, and no closing boundary", MIXED, "--b" HTML "x", "H[x]" },
	{ "a preamble and an epilogue that look like parts", MIXED, "Content-Type: text/html\r\n\r\nx\r\n--b" HTML "y\r\n--b--" HTML "z\r\n", "H[y]" },
	{ "an unclosed part inside ends with the parent's", "multipart/mixed; boundary=a",
	    "--a\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b" HTML "x\r\n--a--\r\n", "H[x]" },
	{ "another multipart's boundary means nothing", MIXED, "--b\r\n\r\nx\r\n--c" HTML "y\r\n--b--", "T[x\r\n--c" HTML "y]" },
	{ "a boundary with a space inside", "multipart/mixed; boundary=\"b c\"", "--b c\r\n\r\nx\r\n--b c--", "T[x]" },
	{ "a boundary that ends in a space", "multipart/mixed; boundary=\"b \"", "--b \r\n\r\nx\r\n--b --", "!broken MIME O[--b \r\n\r\nx\r\n--b --]!broken MIME " },
	{ "a boundary with markup", "multipart/mixed; boundary=\"<b>\"", "--<b>\r\n\r\nx", "!broken MIME O[--<b>\r\n\r\nx]!broken MIME " },
	{ "an empty boundary", "multipart/mixed; boundary=\"\"", "--\r\n\r\nx", "!broken Content-Type O[--\r\n\r\nx]!broken Content-Type " },
	{ "a boundary in RFC 2231 pieces", "multipart/mixed; boundary*0*=''%62; boundary*1=c", "--bc\r\n\r\nx\r\n--bc--", "T[x]" },
	{ "two boundaries", "multipart/mixed; boundary=b; boundary=c", "--b\r\n\r\nx", "!broken Content-Type O[--b\r\n\r\nx]!broken Content-Type " },

	{ "the same boundary inside", MIXED, "--b\r\nContent-Type: multipart/alternative; boundary=b\r\n\r\n--b" HTML "x\r\n--b--", "!ambiguous boundary O[]!ambiguous boundary " },
	{ "the same boundary inside, in a part that nobody looks into", MIXED, "--b\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b" HTML "x\r\n--b--",
	    "!ambiguous boundary O[]!ambiguous boundary " },
	{ "and where its Content-Type is there twice", MIXED, "--b\r\nContent-Type: x/y\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b" HTML "x\r\n--b--",
	    "!duplicate MIME header O[]!duplicate MIME header " },
	{ "and where it is broken", MIXED, "--b\r\nContent-Type: multipart/signed boundary=b\r\n\r\n--b" HTML "x\r\n--b--",
	    "!broken Content-Type O[]!broken Content-Type " },
	{ "and in a broken header", MIXED, "--b\r\n???\r\nContent-Type: Multipart/signed; boundary=b\r\n\r\n--b" HTML "x\r\n--b--",
	    "!broken part header O[???\r\nContent-Type: Multipart/signed; boundary=b\r\n]!broken part header " },
	{ "the beginning of the outer boundary inside", "multipart/mixed; boundary=bc", "--bc\r\nContent-Type: multipart/signed; boundary=b\r\n\r\nx\r\n--bc" HTML "y\r\n--bc--",
	    "!ambiguous boundary O[x]!ambiguous boundary " },
	{ "the outer boundary is the beginning of the inner one", MIXED,
	    "--b\r\nContent-Type: multipart/alternative; boundary=bc\r\n\r\n--bc" HTML "x\r\n--bc--\r\n--b" HTML "y\r\n--b--", "H[x]H[y]" },
	{ "the beginning of a boundary further out", "multipart/mixed; boundary=a",
	    "--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b" HTML "x\r\n--ax\r\ny\r\n--b" HTML "z\r\n--b--\r\n--a--",
	    "H[x\r\n--ax\r\ny]!ambiguous boundary H[z]" },
	{ "a field that begins with a boundary", MIXED, "--b\r\n--bx: y" HTML "x\r\n--b--", "H[x]!ambiguous boundary " },

	{ "a bare CR in a page", MIXED, "--b" HTML "x\ry\r\n--b--", "H[x\ry]" },
	{ "a bare CR before a boundary", MIXED, "--b" HTML "x\r--b\r\n--b--", "!bare CR O[--b" HTML "x\r--b\r\n--b--]!bare CR " },
	{ "a bare CR behind a boundary", MIXED, "--b" HTML "x\r\n--b\rContent-Type: x/y\r\n\r\ny\r\n--b--",
	    "!bare CR O[--b" HTML "x\r\n--b\rContent-Type: x/y\r\n\r\ny\r\n--b--]!bare CR " },
	{ "a CR too many behind a boundary", MIXED, "--b\r" HTML "x\r\n--b--", "!bare CR O[--b\r" HTML "x\r\n--b--]!bare CR " },
	{ "a bare CR between two dashes", MIXED, "--b" HTML "x\r-\r-\r\n--b--", "H[x\r-\r-]" },
	{ "a CR at the end of everything", MIXED, "--b" HTML "x\r", "H[x\r]" },
	{ "a bare CR in the header of a part", MIXED, "--b\r\nX: y\rContent-Disposition: attachment" HTML "x\r\n--b" HTML "z\r\n--b--", "O[x]!bare CR H[z]" },
	{ "and a multipart behind it", MIXED, "--b\r\nX: y\rContent-Type: multipart/signed; boundary=b" HTML "x\r\n--b" HTML "z\r\n--b--", "!bare CR O[x]!bare CR " },
	{ "a bare CR in the header of the message", MIXED "\nX: y\rContent-Type: x/y", "--b" HTML "x", "!bare CR O[--b" HTML "x]!bare CR " },
	{ "a bare CR in a page that is alone", "text/html", "x\r--b\r", "H[x\r--b\r]" },

	{ "a line feed before one boundary", MIXED, "--b" HTML "x\n--b\r\n\r\ny\r\n--b--", "!mixed line breaks O[--b" HTML "x\n--b\r\n\r\ny\r\n--b--]!mixed line breaks " },
	{ "a line feed behind one boundary", MIXED, "--b" HTML "x\r\n--b\n\r\ny\r\n--b--", "!mixed line breaks O[--b" HTML "x\r\n--b\n\r\ny\r\n--b--]!mixed line breaks " },
	{ "an empty line before it", MIXED, "--b" HTML "x\r\n\n--b--", "!mixed line breaks O[--b" HTML "x\r\n\n--b--]!mixed line breaks " },
	{ "CRLF among line feeds", MIXED, "--b\nContent-Type: text/html\n\nx\r\n--b--\n", "!mixed line breaks O[--b\nContent-Type: text/html\n\nx\r\n--b--\n]!mixed line breaks " },
	{ "a line feed in the header of a part", MIXED, "--b\r\nX: y\nContent-Disposition: attachment" HTML "x\r\n--b" HTML "z\r\n--b--", "O[x]!mixed line breaks H[z]" },
	{ "a line feed in a page", MIXED, "--b" HTML "x\ny\r\n--b--", "H[x\ny]" },
	{ "one boundary of a multipart inside", "multipart/mixed; boundary=a",
	    "--a" HTML "x\r\n--a\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b" HTML "y\n--b" HTML "z\r\n--b--\r\n--a--",
	    "H[x]O[--b" HTML "y\n--b" HTML "z\r\n--b--]!mixed line breaks " },

	{ "a space before the colon", MIXED, "--b\r\nContent-Disposition : attachment" HTML "x\r\n--b--", "O[Content-Disposition : attachment" HTML "x]!broken part header " },
	{ "a header line of white space only", MIXED, "--b\r\nX: y\r\n \r\nContent-Disposition: attachment" HTML "x\r\n--b--",
	    "O[X: y\r\n \r\nContent-Disposition: attachment" HTML "x]!broken part header " },

	{ "inline with a file's name", MIXED, "--b\r\nContent-Disposition: inline; filename=page.html" HTML "x\r\n--b--", "O[x]!attachment " },
	{ "inline with a name in pieces", MIXED, "--b\r\nContent-Disposition: inline; filename*0*=utf-8''p%61; filename*1=ge.html" HTML "x\r\n--b--", "O[x]!attachment " },
	{ "inline with a size", MIXED, "--b\r\nContent-Disposition: inline; size=1" HTML "x\r\n--b--", "H[x]" },
	{ "inline and rubbish", MIXED, "--b\r\nContent-Disposition: inline filename=x" HTML "x\r\n--b--", "O[x]!attachment " },
	{ "a disposition that nobody knows", MIXED, "--b\r\nContent-Disposition: extra" HTML "x\r\n--b--", "O[x]!attachment " },
	{ "an empty disposition", MIXED, "--b\r\nContent-Disposition:" HTML "x\r\n--b--", "O[x]!attachment " },
	{ "an attached multipart", MIXED, "--b\r\nContent-Disposition: attachment\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c" HTML "x\r\n--c--\r\n--b--",
	    "O[--c" HTML "x\r\n--c--]!attachment " },
	{ "a message that is an attachment", "text/html\nContent-Disposition: attachment", "x", "!attachment O[x]!attachment " },
	{ "a named page behind the text", MIXED, "--b\r\n\r\nx\r\n--b\r\nContent-Type: text/html; name=page.html\r\n\r\ny\r\n--b--", "T[x]H[y]!attachment " },
	{ "a second page without a name", MIXED, "--b\r\n\r\nx\r\n--b" HTML "y\r\n--b--", "T[x]H[y]" },
	{ "a named page that is the text", MIXED, "--b\r\nContent-Type: text/html; name=page.html\r\n\r\ny\r\n--b--", "H[y]" },
	{ "a named page that is the message", "text/html; name=page.html", "y", "H[y]" },
	{ "a named page in an alternative", "multipart/alternative; boundary=b", "--b\r\n\r\nx\r\n--b\r\nContent-Type: text/html; name=page.html\r\n\r\ny\r\n--b--", "T[x]H[y]" },
	{ "a named page in a multipart behind the text", MIXED,
	    "--b\r\n\r\nx\r\n--b\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n--c\r\nContent-Type: text/html; name*=''page.html\r\n\r\ny\r\n--c--\r\n--b--",
	    "T[x]H[y]!attachment " },
	{ "AppleDouble", MIXED, "--b\r\nContent-Type: multipart/appledouble; boundary=c\r\n\r\n--c" HTML "x\r\n--c--\r\n--b--", "O[--c" HTML "x\r\n--c--]!attachment " },
	{ "encrypted inside", MIXED, "--b\r\nContent-Type: multipart/encrypted; boundary=c\r\n\r\n--c" HTML "x\r\n--c--\r\n--b" HTML "z\r\n--b--",
	    "O[--c" HTML "x\r\n--c--]!multipart/encrypted H[z]" },
	{ "a report inside", MIXED, "--b\r\nContent-Type: multipart/report; boundary=c\r\n\r\n--c" HTML "x\r\n--c--\r\n--b--", "O[--c" HTML "x\r\n--c--]!multipart/report " },
	{ "S/MIME inside", MIXED, "--b\r\nContent-Type: application/pkcs7-mime\r\n\r\nx\r\n--b" HTML "z\r\n--b--", "O[x]!application/pkcs7-mime H[z]" },
	{ "a message inside, with HTML in it", MIXED, "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x" HTML "y\r\n--b" HTML "z\r\n--b--", "O[Subject: x" HTML "y]!message/* H[z]" },
	{ "part of a message", "message/partial; id=x; number=1; total=2", "x", "!message/* O[x]!message/* " },
	{ "a body elsewhere", "message/external-body; access-type=URL", HTML "x", "!message/* O[" HTML "x]!message/* " },
	{ "an internationalised message", "message/global", "x", "!message/* O[x]!message/* " },
	{ "a calendar", "multipart/alternative; boundary=b", "--b" HTML "x\r\n--b\r\nContent-Type: text/calendar\r\n\r\ny\r\n--b--", "H[x]O[y]" },
	{ "plain text in an unknown charset", "text/plain; charset=martian", "x", "T[x]!unknown charset " },
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
	{ "RFC 2231 that names a charset that nobody knows", "text/html; charset*=utf-8''martian", "unknown charset" },
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
	{ "iso-2022-jp", "text/html; charset=iso-2022-jp", "" },
	{ "utf-16", "text/html; charset=utf-16", "" },
	{ "utf-7", "text/html; charset=utf-7", "" },
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

/* Bytes are looked at many at a time: what stands anywhere is found, whatever stands before and behind it. */
static void
test_every_place(void **state)
{
	static const struct {
		const char *name, *text, *leave;
		size_t parts;
	} rows[] = {
		{ "a boundary", "\r\n--b\r\n\r\ny", NULL, 2 },
		{ "one behind another line", "\r\n-\r\n--b\r\n\r\ny", NULL, 2 },
		{ "none in a line", "--b\r\n\r\ny", NULL, 1 },
		{ "a bare CR before dashes", "\r--c", "bare CR", 1 },
		{ "a bare CR before CRLF", "\r\r\n--c", NULL, 1 },
		{ "a bare CR before one dash", "\r-c", NULL, 1 },
	};
	struct header h = { SPAN("Content-Type"), SPAN("multipart/mixed; boundary=b") };
	struct buf b = BUF(1000);

	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		for (size_t n = 0; n < 40 * 40; n++) {
			struct message m = { &h, 1, SPAN("") };
			struct mime mime;

			buf_clear(&b);
			buf_adds(&b, "--b\r\n\r\nx");
			for (size_t k = 0; k < n / 40; k++)
				buf_addc(&b, 'x');
			buf_adds(&b, rows[i].text);
			for (size_t k = 0; k < n % 40; k++)
				buf_addc(&b, 'z');
			m.body = buf_span(&b);
			mime_walk(&mime, &m);
			assert_row(rows[i].name, mime.n == rows[i].parts);
			assert_row(rows[i].name, mime.part[0].leave == rows[i].leave ||
			    (rows[i].leave != NULL && strcmp(mime.part[0].leave, rows[i].leave) == 0));
			mime_free(&mime);
		}
	}
	buf_free(&b);
}

/* Fifty levels around a body of almost boundaries. */
static void
test_linear_time(void **state)
{
	static const char *units[] = { "\n", "\n--", "\n--b1", "-", "\r\n--b50x", "\r", "\r-", "\n\r\r--\n", "\r\n--b50\r\n?multipart/" };
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

#define X100 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X1000 X100 X100 X100 X100 X100 X100 X100 X100 X100 X100
#define L60 "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw"

static const struct writing {
	const char *name, *encoding, *raw, *old, *new, *out;
} writings[] = {
	{ "7bit: in place", "7bit", "<a>\r\nOLD</a>\r\n", "OLD", "NEWER", "<a>\r\nNEWER</a>\r\n" },
	{ "8bit: other bytes stay", "8bit", "\xe9OLD\xe8", "OLD", "", "\xe9\xe8" },
	{ "binary", "binary", "aOLD\r\n", "OLD", "N", "aN\r\n" },
	{ "several", "7bit", "OLD-OLD\nOLD", "OLD", "N", "N-N\nN" },

	{ "7bit: over-long lines without an edit stay", "7bit", X1000 "\r\nOLD\r\n" X1000, "OLD", "N", X1000 "\r\nN\r\n" X1000 },

	{ "QP: a line", "quoted-printable", "OLD=3D\r\n", "OLD", "NEW", "NEW=3D\r\n" },
	{ "QP: = in the new text is encoded", "quoted-printable", "OLD\r\n", "OLD", "?id=1", "?id=3D1\r\n" },
	{ "QP: lines without an edit stay, lower-case hex, blanks and all", "quoted-printable",
	    "caf=c3=a9 \t\r\n=41OLD\r\nx=e9  \r\n", "OLD", "N", "caf=c3=a9 \t\r\nAN\r\nx=e9  \r\n" },
	{ "QP: over-long lines without an edit stay", "quoted-printable",
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nOLD\r\n", "OLD", "N",
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nN\r\n" },
	{ "QP: so do lines over 998", "quoted-printable", X1000 "=e9\r\nOLD\r\n", "OLD", "N", X1000 "=e9\r\nN\r\n" },
	{ "QP: and one that is edited is broken", "quoted-printable", X100 "OLD\r\n=e9\r\n", "OLD", "N",
	    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx=\r\nxxxxxxxxxxxxxxxxxxxxxxxxxN\r\n=e9\r\n" },
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
	{ "QP: a soft break in the middle of a link, and its =3D", "quoted-printable", "<a href=3D\"http://e.com/?id=3D1&OL=\r\nD=3D2\">\r\nz\r\n", "http://e.com/?id=1&OLD=2", "N",
	    "<a href=3D\"N\">\r\nz\r\n" },
	{ "QP: a soft break inside each of two edits", "quoted-printable", "aO=\r\nLDbO=\r\nLDc\r\nd\r\n", "OLD", "N", "aNbNc\r\nd\r\n" },
	{ "QP: lower-case hex in an edited line", "quoted-printable", "caf=c3=a9 OLD\r\n=c3\r\n", "OLD", "N", "caf=C3=A9 N\r\n=c3\r\n" },
	{ "QP: a CR that was encoded", "quoted-printable", "a=0DOLD=0D=0A\r\nb\r\n", "OLD", "N", "a=0DN=0D=\r\n=0A=\r\n\r\nb\r\n" },
	{ "QP: what looks like a boundary", "quoted-printable", "OLD--b\r\n", "OLD", "", "=2D-b\r\n" },
	{ "QP: two edits in one line", "quoted-printable", "OLD-OLD\r\nx\r\nOLD\r\n", "OLD", "N", "N-N\r\nx\r\nN\r\n" },
	{ "QP: long new text is broken softly", "quoted-printable", "aOLDb\r\nc\r\n", "OLD",
	    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
	    "a01234567890123456789012345678901234567890123456789012345678901234567890123=\r\n"
	    "45678901234567890123456789b\r\nc\r\n" },

	{ "base64", "base64", "YU9MRGI=\r\n", "OLD", "N", "YU5i\r\n" },
	{ "base64: what stands around the characters stays", "base64", "\r\nYU9M\r\nRGI=\r\n\r\n", "OLD", "N", "\r\nYU5i\r\n\r\n" },
	{ "base64: without a line break at the end", "base64", "YU9MRGI=", "OLD", "N", "YU5i" },
	{ "base64: odd line lengths", "base64", "YU9M\nRG\nI=\n", "OLD", "N", "YU5i\n" },
	{ "base64: empty lines and white space", "base64", " YU9M\t\r\n\r\nRGI= \r\n", "OLD", "N", " YU5i \r\n" },
	{ "base64: one line that is too long", "base64",
	    "T0xE" L60 L60 "\r\n", "OLD", "NNN", "Tk5O" L60 "MDAwMDAwMDAw\r\n" "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAw\r\n" },
	{ "base64: missing padding", "base64", "YU9MRGI\n", "OLD", "NN", "YU5OYg==\n" },
};

/* Edits every `old` in the text of a part that is the whole body. */
static bool
edit(const char *type, const char *encoding, struct span raw, struct span old, struct span new, struct buf *out, const char **why)
{
	struct header h[2] = {
		{ SPAN("Content-Type"), span_of(type) }, { SPAN("Content-Transfer-Encoding"), span_of(encoding) },
	};
	struct message m = { h, 2, raw };
	struct mime_text t;
	struct edits in, edits;
	struct mime mime;
	bool recoded = false;

	mime_walk(&mime, &m);
	edits_init(&in, 1000000);
	edits_init(&edits, 8000000);
	if ((*why = mime_read(raw, &mime.part[0], &t)) == NULL) {
		for (size_t i = 0; (i += span_search(span_from(t.text, i), old)) < t.text.n; i += old.n)
			edits_add(&in, i, i + old.n, new);
		recoded = mime_write(raw, &mime.part[0], &t, &in, &edits);
		*why = t.left;
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

		assert_false(edit("text/html", w->encoding, span_of(w->raw), span_of(w->old), span_of(w->new), &out, &why));
		assert_row(w->name, why == NULL);
		assert_span(w->name, buf_span(&out), span_of(w->out));
		buf_clear(&out);
		edit("text/html", w->encoding, span_of(w->raw), SPAN("not there"), SPAN("x"), &out, &why);
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
	{ "a soft break that is none", "quoted-printable", "a=\rb", "broken quoted-printable" },
	{ "one padding short", "base64", "YU9MRGI\nYQ=\n", "broken base64" },
	{ "shift sequences, encoded", "quoted-printable", "=1B$B", "escape sequences in text" },
	{ "UTF-16 that does not say so", "base64", "//5hYWFh", "byte order mark of UTF-16" },
	{ "shift sequences", "7bit", "\033$B", "escape sequences in text" },
};

static void
test_unreadable(void **state)
{
	struct buf out = BUF(100);
	const char *why;

	(void)state;
	for (size_t i = 0; i < COUNT(unreadable); i++) {
		edit("text/html", unreadable[i].encoding, span_of(unreadable[i].raw), SPAN("a"), SPAN("b"), &out, &why);
		assert_row(unreadable[i].name, why != NULL && strcmp(why, unreadable[i].why) == 0);
	}
	edit("text/html", "8bit", span_make("a\0b", 3), SPAN("a"), SPAN("b"), &out, &why);
	assert_string_equal(why, "NUL in text");
	buf_free(&out);
}

#define JIS "\033$B"
#define ASCII "\033(B"
#define U16 "\xff\xfe<\0a\0>\0\xe5\x65"
#define B(s) s, sizeof(s) - 1

/* As in writings, with a charset; `why` that it cannot be read or written. */
static const struct {
	const char *name, *charset, *encoding;
	const char *raw;
	size_t n;
	const char *old, *new;
	const char *out;
	size_t nout;
	const char *why;
} foreign[] = {
	{ "Japanese in 7bit", "iso-2022-jp", "7bit", B("<p>" JIS "F|" ASCII "<a href=OLD>" JIS "F|" ASCII "</a>\r\n"), "OLD", "N",
	    B("<p>" JIS "F|" ASCII "<a href=N>" JIS "F|" ASCII "</a>\r\n"), NULL },
	{ "a letter in UTF-8 is found", "iso-2022-jp", "7bit", B("<a>" JIS "F|" ASCII "\r\n"), "\xe6\x97\xa5", "N", B("<a>N\r\n"), NULL },
	{ "Japanese in QP, other lines stay", "iso-2022-jp", "quoted-printable", B("=1b$BF|=1b(B<b>\r\n=1b$BF|=1b(BOLD\r\n=41\r\n"), "OLD", "N",
	    B("=1b$BF|=1b(B<b>\r\n=1B$BF|=1B(BN\r\n=41\r\n"), NULL },
	{ "Japanese in base64", "iso-2022-jp", "base64", B("PGE+T0xE\r\n"), "OLD", "N", B("PGE+Tg==\r\n"), NULL },
	{ "only ASCII, though it says Japanese", "iso-2022-jp", "7bit", B("<a>OLD"), "OLD", "N", B("<a>N"), NULL },
	{ "UTF-16 in base64", "utf-16", "base64", B("//48AE8ATABEAA==\n"), "OLD", "N", B("//48AE4A\n"), NULL },
	{ "UTF-16 in QP", "utf-16", "quoted-printable", B("=FF=FE<=00O=00L=00D=00=0A=00=0D=\r\n=0A=\r\n"), "OLD", "N",
	    B("=FF=FE<=00N=00=\r\n=0A=\r\n=00=0D=\r\n=0A=\r\n"), NULL },
	{ "UTF-7", "utf-7", "7bit", B("+ADw-a href+AD0AIg-OLD+ACIAPg-x\r\n"), "OLD", "?N", B("+ADw-a href+AD0AIg?N+ACIAPg-x\r\n"), NULL },
	{ "UTF-7, new text that runs into the base64 behind it", "utf-7", "7bit", B("+ADw-OLD+ADw-a\r\n"), "OLD", "x>", NULL, 0, "edited text does not convert back" },
	{ "UTF-8 with a byte order mark", "utf-8", "8bit", B("\xef\xbb\xbf<a>OLD"), "OLD", "N", B("\xef\xbb\xbf<a>N"), NULL },

	{ "UTF-16 in 8bit", "utf-16", "8bit", B(U16), "<", "N", NULL, 0, "NUL in text" },
	{ "UTF-16 in binary", "utf-16", "binary", B(U16), "<", "N", NULL, 0, "NUL in text" },
	{ "UTF-16 without a byte order mark", "utf-16", "base64", B("PABhAA==\n"), "a", "N", NULL, 0, "no byte order mark" },
	{ "ASCII that says it is UTF-16", "utf-16", "7bit", B("<a href=OLD>\r\n"), "OLD", "N", NULL, 0, "no byte order mark" },
	{ "ASCII that says it is UTF-16LE, an even length", "utf-16le", "7bit", B("<a href=OLD>\r\n"), "OLD", "N", NULL, 0, "no markup in its charset" },
	{ "an odd length", "utf-16le", "7bit", B("<a href=OLD>\n"), "OLD", "N", NULL, 0, "text is not in its charset" },
	{ "the other byte order", "utf-16be", "base64", B("PABhAD4A"), "a", "N", NULL, 0, "no markup in its charset" },
	{ "a NUL in UTF-16", "utf-16le", "base64", B("PAAAAD4A"), "<", "N", NULL, 0, "NUL in text" },
	{ "Shift_JIS that says it is ISO-2022-JP", "iso-2022-jp", "8bit", B("<a>\x93\xfa OLD"), "OLD", "N", NULL, 0, "text is not in its charset" },
	{ "JIS-Roman instead of ASCII", "iso-2022-jp", "7bit", B(JIS "F|\033(J<a>OLD"), "OLD", "N", NULL, 0, "charset does not convert back" },
	{ "ISO-2022-JP that does not say so", "utf-8", "7bit", B(JIS "F|" ASCII "<a>OLD"), "OLD", "N", NULL, 0, "escape sequences in text" },
	{ "new text that the charset does not have", "iso-2022-jp", "7bit", B("<a>OLD"), "OLD", "\xf0\x9f\x98\x80", NULL, 0, "edited text does not convert back" },
	{ "an edit that cuts a letter", "iso-2022-jp", "7bit", B("<a>" JIS "F|" ASCII), "\xe6", "N", NULL, 0, "edited text does not convert back" },
};

static void
test_charsets(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(foreign); i++) {
		struct span raw = span_make(foreign[i].raw, foreign[i].n);
		struct buf out = BUF(10000), type = BUF(100);
		const char *why;

		buf_addf(&type, "text/html; charset=%s", foreign[i].charset);
		assert_row(foreign[i].name, !edit(buf_cstr(&type), foreign[i].encoding, raw, span_of(foreign[i].old),
		    span_of(foreign[i].new), &out, &why));
		if (foreign[i].why == NULL)
			assert_row(foreign[i].name, why == NULL);
		else
			assert_string_equal(why ? why : "", foreign[i].why);
		if (why == NULL || out.n > 0)
			assert_span(foreign[i].name, buf_span(&out),
			    why == NULL ? span_make(foreign[i].out, foreign[i].nout) : raw);
		buf_free(&out);
		buf_free(&type);
	}
}

/* The text of a converted part is UTF-8, and links in it may be. */
static void
test_utf8_flag(void **state)
{
	static const struct {
		const char *type;
		bool utf8, converted;
	} table[] = {
		{ "text/html", true, false }, { "text/html; charset=utf-8", true, false },
		{ "text/html; charset=iso-8859-2", false, false }, { "text/html; charset=iso-2022-jp", true, true },
		{ "text/plain; charset=utf-16", true, true }, { "text/html; charset=martian", false, false },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct header h = { SPAN("Content-Type"), span_of(table[i].type) };
		struct message m = { &h, 1, SPAN("x") };
		struct mime mime;

		mime_walk(&mime, &m);
		assert_row(table[i].type, mime.part[0].utf8 == table[i].utf8);
		assert_row(table[i].type, (mime.part[0].charset != NULL) == table[i].converted);
		mime_free(&mime);
	}
}

/* A part that must stay can be looked at, when it is text. */
static void
test_looking(void **state)
{
	struct header h = { SPAN("Content-Type"), SPAN("text/plain; charset=martian") };
	struct message m = { &h, 1, SPAN("-----BEGIN") };
	struct mime_text t;
	struct mime mime;

	(void)state;
	mime_walk(&mime, &m);
	assert_string_equal(mime_read(m.body, &mime.part[0], &t), "unknown charset");
	assert_span("unknown charset", t.text, m.body);
	mime_text_free(&t);
	mime_free(&mime);
}

static void
test_nul(void **state)
{
	static const struct {
		const char *name;
		struct span body;
		const char *leave, *part;
	} table[] = {
		{ "in the header of a part", SPAN("--b\r\nX: y\0" HTML "x\r\n--b--"), NULL, "broken part header" },
		{ "in a name", SPAN("--b\r\nX\0: y" HTML "x\r\n--b--"), NULL, "broken part header" },
		{ "in a type", SPAN("--b\r\nContent-Type: text/html\0x\r\n\r\nx\r\n--b--"), NULL, "broken part header" },
		{ "before a multipart", SPAN("--b\r\nX: y\0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nx\r\n--b--"),
		    "broken part header", "broken part header" },
		{ "behind a boundary", SPAN("--b" HTML "x\r\n--b\0\r\n--b--"), NULL, "ambiguous boundary" },
		{ "in a page", SPAN("--b" HTML "x\0\r\n--b--"), NULL, NULL },
	};
	struct header h = { SPAN("Content-Type"), SPAN(MIXED) };

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct message m = { &h, 1, table[i].body };
		struct mime mime;

		mime_walk(&mime, &m);
		assert_row(table[i].name, mime.n == 1);
		assert_row(table[i].name, mime.leave == table[i].leave || strcmp(mime.leave, table[i].leave) == 0);
		assert_row(table[i].name, mime.part[0].leave == table[i].part || strcmp(mime.part[0].leave, table[i].part) == 0);
		mime_free(&mime);
	}
}

/* A part that is looked into only by others: edits must not make a boundary that was none. */
static const struct {
	const char *name, *content, *old, *new, *out;
} near_boundaries[] = {
	{ "a boundary comes up", "<a>\r\nOLD--b\r\n", "OLD", "", "Content-Transfer-Encoding: quoted-printable\r\n\r\n<a>\r\n=2D-b\r\n" },
	{ "from inside a line", "<a>\r\n-OLD-b\r\n", "OLD", "", "Content-Transfer-Encoding: quoted-printable\r\n\r\n<a>\r\n=2D-b\r\n" },
	{ "from the end of a line", "<a>\r\n--OLD\r\n", "OLD", "b", "Content-Transfer-Encoding: quoted-printable\r\n\r\n<a>\r\n=2D-b\r\n" },
	{ "from the next line", "<a>\r\n--OLD\r\nb\r\n", "OLD\r\n", "", "Content-Transfer-Encoding: quoted-printable\r\n\r\n<a>\r\n=2D-b\r\n" },
	{ "behind a bare CR", "<a>\r\nx\rOLD--b\r\n", "OLD", "", "Content-Transfer-Encoding: quoted-printable\r\n\r\n<a>\r\nx=0D--b\r\n" },
	{ "and the new field ends as the others do", "<a>\nOLD--b\r\n", "OLD", "", "Content-Transfer-Encoding: quoted-printable\r\n\r\n<a>\n=2D-b\r\n" },
	{ "the end of a comment is none", "<!--\r\n--> OLD\r\n", "OLD", "N", "\r\n<!--\r\n--> N\r\n" },
	{ "a dash less than that", "<a>\r\nOLD-b\r\n", "OLD", "", "\r\n<a>\r\n-b\r\n" },
};

static void
test_near_boundaries(void **state)
{
	struct header h = { SPAN("Content-Type"), SPAN(MIXED) };

	(void)state;
	for (size_t i = 0; i < COUNT(near_boundaries); i++) {
		struct buf body = BUF(1000), out = BUF(1000), want = BUF(1000);
		struct message m = { &h, 1, SPAN("") };
		struct edits in, edits;
		struct mime_text t;
		struct mime mime;

		buf_addf(&body, "--b" HTML "%s\r\n--b--\r\n", near_boundaries[i].content);
		buf_addf(&want, "--b\r\nContent-Type: text/html\r\n%s\r\n--b--\r\n", near_boundaries[i].out);
		m.body = buf_span(&body);
		mime_walk(&mime, &m);
		assert_null(mime_read(m.body, &mime.part[0], &t));
		edits_init(&in, 1000);
		edits_init(&edits, 1000);
		edits_add(&in, span_search(t.text, span_of(near_boundaries[i].old)),
		    span_search(t.text, span_of(near_boundaries[i].old)) + strlen(near_boundaries[i].old),
		    span_of(near_boundaries[i].new));
		assert_false(mime_write(m.body, &mime.part[0], &t, &in, &edits));
		splice(&out, m.body, edits.edit, edits.n, buf_span(&edits.text));
		assert_span(near_boundaries[i].name, buf_span(&out), buf_span(&want));
		edits_free(&in);
		edits_free(&edits);
		mime_text_free(&t);
		mime_free(&mime);
		buf_free(&body);
		buf_free(&out);
		buf_free(&want);
	}
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
	recoded = edit("text/html", "7bit", buf_span(&raw), SPAN("OLD"), SPAN("N"), out, &why);
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

/* Many edits of one text, in each transfer encoding, with and without lines. */
static void
test_many_edits(void **state)
{
	static const struct {
		const char *name, *type, *encoding, *unit;
	} table[] = {
		{ "7bit lines", "text/html", "7bit", "OLDx\r\n" },
		{ "7bit without lines", "text/html", "7bit", "OLDx" },
		{ "QP lines", "text/html", "quoted-printable", "OLDx\r\n" },
		{ "QP, one line softly broken", "text/html", "quoted-printable", "OLDx=\r\n" },
		{ "QP without lines", "text/html", "quoted-printable", "OLDx" },
		{ "base64", "text/html", "base64", "T0xE" },
		{ "Japanese", "text/html; charset=iso-2022-jp", "7bit", "OLD<\033$BF|\033(B\r\n" },
		{ "Japanese without lines", "text/html; charset=iso-2022-jp", "quoted-printable", "OLD<=1B$BF|=1B(B" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(table); i++) {
		struct buf raw = BUF(3000000), out = BUF(8000000);
		clock_t start = clock();
		const char *why;

		while (raw.n < 600000)
			buf_adds(&raw, table[i].unit);
		edit(table[i].type, table[i].encoding, buf_span(&raw), SPAN("OLD"), SPAN("N"), &out, &why);
		assert_row(table[i].name, why == NULL && out.n > 100000);
		assert_row(table[i].name, (clock() - start) / CLOCKS_PER_SEC < 5);
		buf_free(&raw);
		buf_free(&out);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_structure), cmocka_unit_test(test_types), cmocka_unit_test(test_depth),
		cmocka_unit_test(test_parts), cmocka_unit_test(test_every_place), cmocka_unit_test(test_linear_time), cmocka_unit_test(test_writing),
		cmocka_unit_test(test_unreadable), cmocka_unit_test(test_line_length), cmocka_unit_test(test_recoded_part),
		cmocka_unit_test(test_charsets), cmocka_unit_test(test_utf8_flag), cmocka_unit_test(test_looking),
		cmocka_unit_test(test_nul), cmocka_unit_test(test_many_edits), cmocka_unit_test(test_near_boundaries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
