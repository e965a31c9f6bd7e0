/* csv.h -- tables as text: RFC 4180, and what spreadsheets make of it.  Pure. */
#ifndef REKINDLE_CSV_H
#define REKINDLE_CSV_H

#include "common/buf.h"

#define CSV_FIELDS_MAX 1024
#define CSV_RECORD_MAX 65536 /* bytes, as they stand in the file */

/* One record; zero-initialise, set the separator, end with csv_free. */
struct csv {
	char separator;
	struct buf text;
	struct {
		size_t from, to;
	} field[CSV_FIELDS_MAX]; /* places in text */
	size_t n;
	const char *why; /* of what is malformed */
};

/*
 * What a file begins with: skips a byte order mark of UTF-8 and says which of
 * comma, semicolon and tab separates (the one that the first line has most of
 * outside quotes).  Returns how many bytes to skip, -1 for UTF-16 or UTF-32.
 */
long csv_begin(struct csv *, struct span in);

/*
 * Reads the record at the start of in.  > 0: bytes taken, its line break (CR
 * LF, LF or CR) among them; a field in quotes may hold any byte.  0: need
 * more; never with `end', when nothing follows in, unless that is empty.
 * -1: malformed, see why and csv_skip.  Where in is cut makes no difference.
 */
long csv_read(struct csv *, struct span in, bool end);
/* How much to leave out of in after something malformed: its first line, or as much of it as there is. */
size_t csv_skip(struct span in);
/* Field i; "" past the last one.  Good until the next csv_read. */
struct span csv_field(const struct csv *, size_t i);
void csv_free(struct csv *);

/* Writes one record that csv_read reads back, with CR LF. */
void csv_write(struct buf *, char separator, const struct span *field, size_t n);

/*
 * Spreadsheets take a cell for a formula that begins like one, and run it.
 * Quotes keep a field in one cell only for who separates as we do: where the
 * list separator is a semicolon, a quote in the middle of a line is a
 * character like others, and a cell begins behind each semicolon.  So csv_text
 * puts an apostrophe wherever a cell could begin (in front, and behind commas,
 * semicolons, tabs and line breaks), if what follows begins like a formula or
 * with an apostrophe, so that csv_plain gives each field back.
 */
void csv_text(struct buf *, struct span field);
void csv_plain(struct buf *, struct span text);

#endif
