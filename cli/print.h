/* print.h -- answers for people (aligned, calm, UTC) and for machines (JSON). */
#ifndef REKINDLE_PRINT_H
#define REKINDLE_PRINT_H

#include "common/conf.h"
#include "common/verdict.h"

/* ---- for people ---- */

/* As they are, to standard output. */
void print_bytes(const struct buf *);
/*
 * Text that strangers chose (addresses, URLs): control and bidirectional
 * control characters and broken UTF-8 as \xNN, so that no terminal obeys and
 * nothing looks like something else.
 */
void print_safe(struct buf *, struct span);
/* "2026-01-31 12:00:00 UTC (3 days ago)"; "never" for 0. */
void print_when(struct buf *, int64_t ms, int64_t now);
/* "3 days ago" */
void print_age(struct buf *, int64_t ms, int64_t now);
/* "41.7 %", or "-" of nothing. */
void print_rate(struct buf *, uint64_t part, uint64_t whole);

/* Escape sequences for standard output, or "" when it is no terminal or NO_COLOR is set. */
const char *print_bold(void);
const char *print_red(void);
const char *print_green(void);
const char *print_plain(void);

/* "  Label       text" with the text in one column. */
void print_field(const char *label, const struct buf *text);
void print_fieldf(const char *label, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A table that is as wide as its cells.  align has one l or r per column. */
struct table {
	const char *align;
	struct buf text;
	size_t *end; /* of each cell in text */
	size_t n, cap;
};

#define TABLE_MAX_BYTES (256 * 1024 * 1024)
#define TABLE(columns) ((struct table){ .align = (columns), .text = BUF(TABLE_MAX_BYTES) })
void table_free(struct table *);
void table_add(struct table *, struct span cell); /* made safe */
void table_adds(struct table *, const char *cell);
void table_addf(struct table *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void table_rate(struct table *, uint64_t part, uint64_t whole);
/* The first row is the heading when headed. */
void table_print(const struct table *, const char *indent, bool headed);

/* ---- what happens to the next message ---- */

/* "is rejected: recipient unsubscribed on 2026-02-01", "would be rejected (observe only): ..." */
void print_verdict(struct buf *, const struct question *, const struct verdict *);

/* What stands in the way whatever the class: CAUSE_NONE when only the class does. */
enum cause status_of(const struct profile *, const struct subscription *, const struct finding *, int64_t now);
const char *status_name(enum cause); /* "ok" for none */
bool status_parse(struct span, enum cause *);
/* Does this subscription stand in the way? */
bool unsubscribed(const struct subscription *);
/* Since when, seconds. */
uint32_t status_since(enum cause, const struct profile *, const struct subscription *);

/*
 * A status in the series as a word, as a set of bits 1 << enum series_status;
 * "re-engage" is any of the steps.  0: there is no such word.
 */
#define SERIES_WORDS "resting, re-engage, re-engage-1, re-engage-2, re-engage-3, sunset, win-back, holdout"
unsigned series_set(struct span word);

/* ---- lists ---- */

enum format { FORMAT_CSV, FORMAT_JSON, FORMAT_TEXT, FORMAT_SHEET }; /* SHEET: CSV in which nothing is a formula (csv.h) */
#define FORMAT_WORDS "csv, spreadsheet, json, text"
/* An address as a field of CSV, and the name of that column. */
void format_address(struct buf *row, struct span address, enum format);
const char *format_address_column(enum format);
bool format_parse(const char *name, enum format *);
/* A comma and the time, or nothing behind it for 0. */
void csv_time(struct buf *row, uint32_t seconds);
const char *csv_flag(bool);

/* ---- for machines: one JSON value on standard output, made as it goes ---- */

struct emit {
	bool comma;
	bool lines;     /* one value to a line, indented: for people too */
	unsigned depth;
};

/* key is NULL inside an array and for the outermost value. */
void emit_open(struct emit *, const char *key, char bracket);  /* { or [ */
void emit_close(struct emit *, char bracket);                  /* } or ] */
void emit_text(struct emit *, const char *key, struct span);
void emit_string(struct emit *, const char *key, const char *);
void emit_number(struct emit *, const char *key, uint64_t);
void emit_null(struct emit *, const char *key);
void emit_flag(struct emit *, const char *key, bool);
void emit_time(struct emit *, const char *key, int64_t ms);    /* null for 0 */
void emit_rate(struct emit *, const char *key, uint64_t part, uint64_t whole); /* 0.417, null of nothing */
void emit_hex(struct emit *, const char *key, const void *, size_t n);
void emit_id(struct emit *, const char *key, uint64_t id);     /* 16 hexadecimal digits */
/* The whole answer of a command that goes over addresses. */
void emit_tally(uint64_t done, uint64_t already, uint64_t bad);
void emit_end(struct emit *);                                  /* line break; the next value may follow */

#endif
