/* cli.h -- what the commands of rekindle(1) share: arguments, settings, the open store, exit statuses. */
#ifndef REKINDLE_CLI_H
#define REKINDLE_CLI_H

#include <stdint.h>
#include <stdio.h>

#include "common/brake.h"
#include "common/setup.h"
#include "common/store.h"

/* Exit statuses, the same for every command. */
enum {
	EXIT_FOUND = 0,
	EXIT_NOTHING = 1, /* asked well, but there is none */
	EXIT_USAGE = 2,
	EXIT_CANNOT = 3, /* settings, store, disk, bad input */
};

struct cli {
	const char *conf_file;
	bool json;
	bool by_root; /* started by root, whoever it has become since */
	int64_t now; /* ms, when the command began: one instant for the whole answer */
	const struct command *command;
	char **argv; /* what follows the program's name, without the command word */
	size_t argc;
	char **word; /* after cli_options: the arguments that are not options */
	size_t nwords;
	struct setup *setup; /* after cli_setup */
	struct store *store; /* after cli_store */
};

struct command {
	const char *name;
	int (*run)(struct cli *);
	const char *usage;   /* what follows "rekindle NAME " */
	const char *summary;
	const char *help;    /* whole lines */
};

int cmd_brakes(struct cli *);
/*
 * The campaign of that name or id, in any stream where stream is NULL; with
 * one, it need not have sent anything yet.  False: told why, in *status too.
 */
bool brakes_campaign(struct cli *, const char *name, const char *stream, uint64_t *id, int *status);
/* What is on of a campaign, what stops it first, or of a stream; *since in ms.  BRAKE_NONE: nothing. */
enum brake brakes_of(struct cli *, uint64_t id, int64_t *since);
/* Is nobody of this receiver group stopped by class, because readers are not seen? */
enum brake brakes_of_receiver(struct cli *, uint32_t receiver, int64_t *since);
int cmd_campaign(struct cli *);
int cmd_conf(struct cli *);
int cmd_consent(struct cli *);
int cmd_export(struct cli *);
int cmd_forget(struct cli *);
/* When this one was forgotten, ms; 0: not, or somebody came back, and has a name again. */
int64_t forget_when(struct cli *, const struct who *);
int cmd_import(struct cli *);
/* Reads touches from a file, NULL is standard input; with `consents' no others than those, which then need no type. */
int import_file(struct cli *, const char *file, bool consents);
/*
 * Names and values of every row in a JSON file: none, n 0, of what is no
 * object, and NULL of one with n > CSV_FIELDS_MAX.  False from the callback
 * stops.  False: it did, or told why.
 */
typedef bool import_row_fn(void *arg, const struct span *name, const struct span *value, size_t n, uint64_t row);
bool import_json_rows(FILE *, const char *file, import_row_fn *, void *arg);
bool import_is_stream_name(struct span);
int cmd_intake(struct cli *);
int cmd_key(struct cli *);
int cmd_release(struct cli *);
int cmd_segment(struct cli *);
int cmd_series(struct cli *);
int cmd_simulate(struct cli *);
int cmd_suppress(struct cli *);
/* rekindle suppress import */
struct suppress_import {
	const char *file, *format, *stream, *as, *at; /* NULL: not given */
	bool dry_run, strict;
};
int suppress_import(struct cli *, const struct suppress_import *);
/* "held", "unsubscribed" ...: which stop is it?  False: none. */
bool suppress_kind(const char *word, enum touch_kind *);
const char *suppress_word(enum touch_kind);
/* One reason for which somebody is stopped, of everything (stream NULL) or of a stream.  Times in seconds. */
struct standing {
	enum touch_kind kind;
	uint32_t since, until; /* until 0: for ever */
};
#define STANDING_MAX 4
size_t suppress_standing(const struct profile *, const struct subscription *, int64_t now, struct standing out[STANDING_MAX]);
/* The source of what stands, from the history; nothing when nobody knows. */
void suppress_source(struct cli *, const struct who *, const uint64_t *stream, const struct standing *, struct buf *out);
int cmd_tag(struct cli *);
int cmd_token(struct cli *);
int cmd_why(struct cli *);

/* ---- arguments ---- */

#define CLI_LIST_MAX 1000

struct words {
	const char **item;
	size_t n;
};

/* `--name`, `--name VALUE` or `--name=VALUE`, according to which pointer is set; *text begins as NULL. */
struct cli_option {
	const char *name;
	bool *flag;
	const char **text;
	struct words *list; /* may be given again */
};

/*
 * Sorts argv into options (these and the global ones) and words.  Returns
 * true to go on; false: *status is what the command must return (a mistake
 * that was told, or help that was given).
 */
bool cli_options(struct cli *, const struct cli_option *, size_t n, int *status);

/* "rekindle: ..." on standard error, one line. */
void cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same with the command's usage behind it; returns EXIT_USAGE. */
int cli_usage(const struct cli *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Each line of why as an error of its own, and what to do when permission is what is missing. */
void cli_errors(const struct cli *, struct buf *why);

/* ---- settings and store ---- */

/* Settings and keys.  False: told why. */
bool cli_setup(struct cli *);
/*
 * Settings, keys and the store, with everything summed up, so that answers
 * are fresh.  Drops root for the data directory's owner: open files that only
 * root may read before.  False: told why.
 */
bool cli_store(struct cli *);
/* The same, but a command can do without the store: c->store stays NULL and nothing is said or made. */
bool cli_store_if_any(struct cli *);

/* A stream that is configured, or that the store knows.  False: told why. */
bool cli_stream(struct cli *, const char *name, uint64_t *id);
/* The name of a stream in the settings or the store; else its id in hexadecimal. */
void cli_stream_name(struct cli *, uint64_t id, struct buf *out);
/* An address as an argument.  False: told why. */
bool cli_who(struct cli *, const char *address, struct who *);

/*
 * Hands over the words from `first` on: each is an address, and - reads them
 * from standard input, one per line.  where is "" or "-:LINE".  The callback
 * returns false to stop.  False: it did, or told why.
 */
typedef bool cli_address_fn(void *arg, struct span address, const char *where);
bool cli_addresses(struct cli *, size_t first, cli_address_fn *, void *arg);
/* The same address as a recipient.  False: told where and why. */
bool cli_who_at(struct cli *, struct span address, const char *where, struct who *);

/*
 * Who does it and why, as history has it: "cli: root: double opt-in".  Before
 * root is given up.  False: the note is no line of UTF-8, or too long.
 */
#define CLI_SOURCE_MAX (SOURCE_MAX - 8) /* "import: " comes before it when it is exported and read back */
bool cli_source(struct buf *, struct span note);

/* ---- writing touches ---- */

#define BATCH_MAX 1000

/* Records with copies of their names, made durable together. */
struct batch {
	struct record record[BATCH_MAX];
	size_t n;
};

void batch_add(struct batch *, const struct record *); /* n < BATCH_MAX */
/* Is there something of this one in it, that the store does not know yet? */
bool batch_has(const struct batch *, const struct who *);
/* Appends and empties the batch.  False: told why, nothing of it was written. */
bool batch_write(struct cli *, struct batch *);
/* Sums up what was written: whoever does it first, so that nothing is lost when it fails. */
void cli_fold(struct cli *);
/* Waits until the store has what the daemons have acknowledged so far. */
void cli_settle(struct cli *, bool create);

/* ---- input ---- */

/* A touch's name as import and export files have it; some other words that people use for it are good as well. */
#define TOUCH_WORDS "sent, skipped, opened, clicked, left, joined, bounced, complained, consented, held, released, delivered, kept, less, soft-bounced"
bool touch_word(struct span, enum touch_kind *);

#define LINE_MAX_BYTES 65536

struct lines {
	FILE *file;
	uint64_t number; /* of the line that was read last, from 1 */
	uint64_t bytes;  /* read so far */
	struct buf line;
};

/* The next line without its line break.  *cut: it was longer than LINE_MAX_BYTES and only its start is there. */
bool lines_next(struct lines *, struct span *line, bool *cut);

#endif
