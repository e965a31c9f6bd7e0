#include "common/codec.h"

#include <endian.h>

#include "common/scan.h"

static const char url_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char mime_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#define LINE 76 /* RFC 2045: both encodings */

/* What a character is worth: 0..63, or one of these. */
enum { FOREIGN = -1, SPACE = -2, PAD = -3 };

/* clang-format off */
/* Kept one higher, so that everything not named is FOREIGN. */
#define LETTERS_AND_DIGITS \
	['A'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, \
	['a'] = 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, \
	['0'] = 53, 54, 55, 56, 57, 58, 59, 60, 61, 62

static const signed char url_value[256] = {
	LETTERS_AND_DIGITS, ['-'] = 63, ['_'] = 64,
};
static const signed char mime_value[256] = {
	LETTERS_AND_DIGITS, ['+'] = 63, ['/'] = 64,
	[' '] = SPACE + 1, ['\t'] = SPACE + 1, ['\r'] = SPACE + 1, ['\n'] = SPACE + 1, ['='] = PAD + 1,
};
/* clang-format on */

static inline int
value(const signed char table[256], char c)
{
	return table[(unsigned char)c] - 1;
}

/* n bytes, 1 to 3 of them, as n + 1 characters. */
static inline void
encode_group(char *out, const unsigned char *in, size_t n, const char *digits)
{
	unsigned v = (unsigned)in[0] << 16 | (n > 1 ? (unsigned)in[1] << 8 : 0) | (n > 2 ? in[2] : 0);

	out[0] = digits[v >> 18];
	out[1] = digits[v >> 12 & 63];
	if (n > 1)
		out[2] = digits[v >> 6 & 63];
	if (n > 2)
		out[3] = digits[v & 63];
}

/* n characters' worth, 2 to 4 of them, as n - 1 bytes. */
static void
decode_group(char *out, unsigned v, size_t n)
{
	v <<= 6 * (4 - n);
	for (size_t i = 0; i + 1 < n; i++)
		out[i] = (char)(v >> (16 - 8 * i));
}

/* Three bytes of four characters, and one more that means nothing: buf_room has it.  False, and nothing written, unless all four are digits. */
static inline bool
decode_four(char *out, const unsigned char *in, const signed char table[256])
{
	int a = table[in[0]] - 1, b = table[in[1]] - 1, c = table[in[2]] - 1, d = table[in[3]] - 1;
	uint32_t v;

	if ((a | b | c | d) < 0)
		return false;
	v = htobe32((uint32_t)a << 26 | (uint32_t)b << 20 | (uint32_t)c << 14 | (uint32_t)d << 8);
	memcpy(out, &v, sizeof v);
	return true;
}

void
base64url_add(struct buf *b, struct span bytes)
{
	const unsigned char *in = (const unsigned char *)bytes.p;
	size_t left = bytes.n, n = left / 3 * 4 + (left % 3 ? left % 3 + 1 : 0);
	char *out = n ? buf_room(b, n) : NULL;

	if (out == NULL)
		return;
	for (; left >= 3; left -= 3, in += 3, out += 4)
		encode_group(out, in, 3, url_digits);
	if (left > 0)
		encode_group(out, in, left, url_digits);
	buf_grew(b, n);
}

bool
base64url_read(struct buf *b, struct span text)
{
	size_t rest = text.n % 4;
	size_t n = text.n / 4 * 3 + (rest ? rest - 1 : 0);
	const unsigned char *in = (const unsigned char *)text.p, *end = in + text.n;
	unsigned v = 0;
	char *out;

	if (rest == 1)
		return false;
	if (text.n == 0)
		return true;
	if ((out = buf_room(b, n)) == NULL)
		return false;

	for (; end - in >= 4; in += 4, out += 3)
		if (!decode_four(out, in, url_value))
			return false;
	for (size_t k = 0; k < rest; k++) {
		int d = value(url_value, (char)in[k]);

		if (d < 0)
			return false;
		v = v << 6 | (unsigned)d;
	}
	/* Bits that stand for nothing must be zero, or one claim would have many spellings. */
	if ((rest == 2 && v & 15) || (rest == 3 && v & 3))
		return false;
	if (rest > 0)
		decode_group(out, v, rest);
	buf_grew(b, n);
	return true;
}

bool
base64_read(struct buf *b, struct span text)
{
	const unsigned char *in = (const unsigned char *)text.p, *end = in + text.n;
	size_t group = 0, pads = 0;
	unsigned v = 0;
	char *start, *out;

	if (text.n == 0)
		return true;
	if ((start = out = buf_room(b, BASE64_ROOM(text.n))) == NULL)
		return false;

	while (in < end) {
		int d;

		/* Lines are whole groups nearly everywhere; what is not goes character by character. */
		if (group == 0 && pads == 0)
			for (; end - in >= 4 && decode_four(out, in, mime_value); in += 4)
				out += 3;
		if (in == end)
			break;
		d = mime_value[*in++] - 1;
		if (d == SPACE)
			continue;
		if (d == FOREIGN || (d >= 0 && pads > 0))
			return false;
		if (d == PAD) {
			pads++;
			continue;
		}
		v = v << 6 | (unsigned)d;
		if (++group == 4) {
			decode_group(out, v, 4);
			out += 3;
			group = 0;
			v = 0;
		}
	}
	if (group == 1 || (pads > 0 && (group == 0 || pads != 4 - group)))
		return false;
	if (group > 0) {
		decode_group(out, v, group);
		out += group - 1;
	}
	buf_grew(b, (size_t)(out - start));
	return true;
}

void
base64_add_lines(struct buf *b, struct span bytes, struct span eol)
{
	const size_t full = LINE / 4 * 3;
	size_t n = (bytes.n + 2) / 3 * 4 + (bytes.n + full - 1) / full * eol.n;
	const unsigned char *in = (const unsigned char *)bytes.p;
	char *out = n ? buf_room(b, n) : NULL;

	if (out == NULL)
		return;
	for (size_t at = 0; at < bytes.n;) {
		size_t stop = bytes.n - at < full ? bytes.n : at + full;

		for (; stop - at >= 3; at += 3, out += 4)
			encode_group(out, in + at, 3, mime_digits);
		if (at < stop) {
			memset(out, '=', 4);
			encode_group(out, in + at, stop - at, mime_digits);
			out += 4;
		}
		at = stop;
		memcpy(out, eol.p, eol.n);
		out += eol.n;
	}
	buf_grew(b, n);
}

/* Kept one higher, as above. */
static const signed char hex_digit[256] = {
	['0'] = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ['A'] = 11, 12, 13, 14, 15, 16, ['a'] = 11, 12, 13, 14, 15, 16,
};

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* Where the line ends when white space and a line break, or nothing, stand between p and it: behind them; or NULL. */
static const char *
line_ends(const char *p, const char *end)
{
	while (p < end && is_blank(*p))
		p++;
	if (p == end)
		return p;
	if (*p == '\r' && p + 1 < end)
		p++;
	return *p == '\n' ? p + 1 : NULL;
}

/* At the line break behind `line`, copied up to there, or at the end of the text: without the white space before it. */
static char *
hard_break(char *out, const char *line, const char *in, const char *end)
{
	const char *crlf = in < end && in > line && in[-1] == '\r' ? in - 1 : in, *text = crlf;

	while (text > line && is_blank(text[-1]))
		text--;
	out -= in - text;
	memcpy(out, crlf, (size_t)(in - crlf));
	out += in - crlf;
	if (in < end)
		*out++ = '\n';
	return out;
}

bool
qp_read_line(struct buf *b, struct span *rest, bool *soft)
{
	const char *line = rest->p, *in = line, *end = in + rest->n;
	char *start, *out;

	*soft = false;
	if (rest->n == 0 || (start = out = buf_room(b, rest->n)) == NULL) {
		*rest = SPAN("");
		return true;
	}
	for (;;) {
		size_t n = scan_copy(out, span_make(in, (size_t)(end - in)), '=', '\n');
		int high, low;

		in += n;
		out += n;
		if (in == end || *in == '\n')
			break;
		if (end - in >= 3 && in[1] == '3' && in[2] == 'D') { /* in HTML most are "=" */
			*out++ = '=';
			in += 3;
			continue;
		}
		high = end - in < 3 ? FOREIGN : value(hex_digit, in[1]);
		low = high < 0 ? FOREIGN : value(hex_digit, in[2]);
		if (low < 0) {
			if ((in = line_ends(in + 1, end)) == NULL)
				return false;
			*soft = true;
			break;
		}
		*out++ = (char)(high << 4 | low);
		in += 3;
	}
	if (!*soft) {
		out = hard_break(out, line, in, end);
		in += in < end;
	}
	*rest = span_make(in, (size_t)(end - in));
	buf_grew(b, (size_t)(out - start));
	return true;
}

/* Length of the line break at the start of s, 0 when there is none. */
static size_t
line_break(struct span s)
{
	if (span_starts(s, SPAN("\r\n")))
		return 2;
	return span_starts(s, SPAN("\n")) ? 1 : 0;
}

/* Must the first byte of s be escaped?  `last`: a line break or the end comes after it. */
static bool
qp_escapes(struct span s, bool first, bool last)
{
	unsigned char c = (unsigned char)s.p[0];

	if (is_blank(s.p[0]))
		return last;
	if (c < ' ' || c > '~' || c == '=')
		return true;
	return first && (c == '.' || span_starts(s, SPAN("--")) || span_starts(s, SPAN("From ")));
}

/*
 * Copies what needs no escape from the start of s, which is not the start of a
 * line, and says how much of it there is, up to max.  `to` has room for max
 * and a block more.
 */
static size_t
copy_plain(char *to, struct span s, size_t max)
{
	size_t n = 0;

#ifdef __SSE2__
	for (; n < max && n + 16 <= s.n; n += 16) {
		scan_block v = scan_load(s.p + n);
		/* Signed bytes: what is above ASCII is below the space, too. */
		unsigned odd = scan_mask(_mm_or_si128(_mm_cmplt_epi8(v, _mm_set1_epi8(' ')), scan_eithers(v, '=', 0x7f)));

		_mm_storeu_si128((void *)(to + n), v);
		if (odd != 0) {
			n += (unsigned)__builtin_ctz(odd);
			return n < max ? n : max;
		}
	}
#endif
	for (; n < max && n < s.n && s.p[n] >= ' ' && s.p[n] <= '~' && s.p[n] != '='; n++)
		to[n] = s.p[n];
	return n < max ? n : max;
}

/* The same, without a space that may be the last byte of its line. */
static size_t
copy_run(char *to, struct span s, size_t max)
{
	size_t n = copy_plain(to, s, max);

	if (n > 0 && s.p[n - 1] == ' ' && (n == s.n || line_break(span_from(s, n)) > 0))
		n--;
	return n;
}

void
qp_add(struct buf *b, struct span bytes, struct span eol, bool soft_end)
{
	static const char hex[] = "0123456789ABCDEF";
	char line[LINE + 16]; /* the one that is being made, and what copy_run wants */
	size_t column = 0;

	for (size_t i = 0; i < bytes.n;) {
		struct span rest = span_from(bytes, i);
		size_t n = line_break(rest);

		if (n > 0) {
			buf_add(b, span_make(line, column));
			buf_add(b, span_cut(rest, 0, n));
			i += n;
			column = 0;
			continue;
		}
		if (column > 0 && column < LINE - 1 && (n = copy_run(line + column, rest, LINE - 1 - column)) > 0) {
			column += n;
			i += n;
			continue;
		}

		bool last = rest.n == 1 ? !soft_end : line_break(span_from(rest, 1)) > 0;
		bool escape = qp_escapes(rest, column == 0, last);

		/* All but the last piece of a line need room for the "=" of a soft break. */
		if (column + (escape ? 3 : 1) > (last ? LINE : LINE - 1)) {
			line[column++] = '=';
			buf_add(b, span_make(line, column));
			buf_add(b, eol);
			column = 0;
			continue;
		}
		if (escape) {
			unsigned char c = (unsigned char)rest.p[0];

			line[column++] = '=';
			line[column++] = hex[c >> 4];
			line[column++] = hex[c & 15];
		} else {
			line[column++] = rest.p[0];
		}
		i++;
	}
	if (soft_end && column > 0)
		line[column++] = '=';
	buf_add(b, span_make(line, column));
	if (soft_end && column > 0)
		buf_add(b, eol);
}
