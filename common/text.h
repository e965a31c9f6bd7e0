/* text.h -- numbers, times and quoting, as people and machines write them. */
#ifndef REKINDLE_TEXT_H
#define REKINDLE_TEXT_H

#include <stdint.h>

#include "common/buf.h"

/* All readers take the whole span or return false and leave *out alone. */
bool text_u64(struct span, uint64_t *out);         /* decimal digits only */
bool text_duration(struct span, int64_t *ms);      /* 250ms 10s 5m 2h 30d 4w; a bare 0 */
bool text_size(struct span, uint64_t *bytes);      /* 512 64k 10M 2G (powers of 1024) */
bool text_time(struct span, int64_t *ms);          /* RFC 3339, 2026-01-31, or seconds since 1970 */

void text_add_time(struct buf *, int64_t ms);      /* 2026-01-31T12:00:00Z */
void text_add_day(struct buf *, int64_t ms);       /* 2026-01-31 */
void text_add_duration(struct buf *, int64_t ms);  /* shortest form that text_duration reads back */
void text_add_size(struct buf *, uint64_t bytes);
void text_add_hex(struct buf *, const void *, size_t n);
bool text_hex(struct span, void *out, size_t n);   /* exactly 2n digits */

void text_add_json(struct buf *, struct span);     /* quoted; bytes that are not UTF-8 become U+FFFD (RFC 8259) */
void text_add_csv(struct buf *, struct span);      /* quoted only where needed (RFC 4180), or by who separates at ; or tabs */
void text_add_percent(struct buf *, char);          /* %XX, as in a URL (RFC 3986 section 2.1) */
void text_add_html(struct buf *, struct span);     /* & < > " ' as character references */

/* A name by its number, "unknown" past the end; and the number of a name, ASCII case ignored, n when there is none. */
const char *text_name(const char *const *names, size_t n, size_t i);
size_t text_find_name(const char *const *names, size_t n, struct span);

/* Length in bytes of the valid UTF-8 sequence at the start of s, 0 when it is not one (RFC 3629). */
size_t text_utf8(struct span);
bool text_is_utf8(struct span);
bool text_is_ascii(struct span);

/*
 * The value of a parameter of a header value, `form-data; name="x"`, in MIME
 * and HTTP: without its quotes, what is in them as it is; the first of this
 * name, ASCII case ignored; empty when there is none.
 */
struct span text_parameter(struct span header, struct span name);

/* Edit distance (insert, delete, replace, swap neighbours), for "did you mean". */
unsigned text_distance(struct span, struct span);

#define HOUR_MS ((int64_t)3600 * 1000)
#define DAY_MS (24 * HOUR_MS)

#endif
