/* codec.h -- base64, base64url, quoted-printable and little-endian numbers, to the byte. */
#ifndef REKINDLE_CODEC_H
#define REKINDLE_CODEC_H

#include <stdint.h>

#include "common/buf.h"

/* base64url without padding (RFC 4648 section 5). */
void base64url_add(struct buf *, struct span bytes);
/* Appends the bytes.  False, and nothing appended, for anything but the one canonical spelling. */
bool base64url_read(struct buf *, struct span text);

/*
 * MIME base64 (RFC 2045 section 6.8).  Reading skips line breaks, spaces and
 * tabs; any other foreign byte, data after padding, wrong padding or a lone
 * last character is false, and nothing is appended: the part is then left
 * alone.  Padding may be missing altogether.  The buffer needs room for
 * BASE64_ROOM(text.n) bytes; without it the answer is false, and over is set.
 */
#define BASE64_ROOM(n) ((n) / 4 * 3 + 3)
bool base64_read(struct buf *, struct span text);
/* Lines of 76 characters, each ended by eol ("\r\n" or "\n"), the last one too. */
void base64_add_lines(struct buf *, struct span bytes, struct span eol);

/*
 * Takes one line of quoted-printable (RFC 2045 section 6.7) with its line
 * break, if it has one, from the front of *rest.  Appends the bytes that it
 * stands for; trailing white space is dropped as the RFC demands, a line break
 * stays as it is (CRLF or LF).  *soft says that it ended in a soft break.
 * False, and nothing appended or taken, for a malformed escape.  The buffer
 * needs room for rest->n bytes.
 */
bool qp_read_line(struct buf *, struct span *rest, bool *soft);
/*
 * Appends bytes as quoted-printable in lines of at most 76 characters.  Line
 * breaks in bytes (CRLF or LF) stay line breaks, spelled the same; a lone CR
 * is escaped.  With soft_end a last line that is not empty is left open by a
 * soft break ("=" eol); without it, trailing white space is escaped and the
 * caller adds the line break.  Lines that begin with ".", "--" or "From "
 * have that first character escaped, so that no dot stuffing, no boundary
 * and no mailbox sees anything in them.
 */
void qp_add(struct buf *, struct span bytes, struct span eol, bool soft_end);

/* Numbers as our records spell them, whatever the machine. */
static inline void
put_u16(unsigned char *p, uint16_t v)
{
	p[0] = (unsigned char)v;
	p[1] = (unsigned char)(v >> 8);
}

static inline void
put_u32(unsigned char *p, uint32_t v)
{
	put_u16(p, (uint16_t)v);
	put_u16(p + 2, (uint16_t)(v >> 16));
}

static inline void
put_u64(unsigned char *p, uint64_t v)
{
	put_u32(p, (uint32_t)v);
	put_u32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t
get_u16(const unsigned char *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t
get_u32(const unsigned char *p)
{
	return get_u16(p) | (uint32_t)get_u16(p + 2) << 16;
}

static inline uint64_t
get_u64(const unsigned char *p)
{
	return get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

#endif
