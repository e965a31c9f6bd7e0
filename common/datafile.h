/* datafile.h -- lists that administrators keep in files of lines: reading them, and telling what is wrong where.  Pure. */
#ifndef REKINDLE_DATAFILE_H
#define REKINDLE_DATAFILE_H

#include "common/buf.h"

#define DATAFILE_ERRORS_MAX 100 /* told of one file */
#define DATAFILE_SHOWN_MAX 60   /* bytes of what was written, in a message */

struct datafile {
	const char *name;    /* for messages */
	struct span rest;    /* what is still to be read; at first the whole text */
	struct buf *errors;  /* lines "NAME:LINE: what is wrong; what would be right" */
	unsigned line, faults;
};

/* The next line that says something: trimmed, neither empty nor a comment that starts with "#".  False at the end. */
bool datafile_next(struct datafile *, struct span *line);
/* Something is wrong in the line that was read last. */
void datafile_fault(struct datafile *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* How reading ends: was nothing wrong?  Says how many more faults there were than were told. */
bool datafile_good(struct datafile *);

/* Up to the next blank or tab; the blanks behind it are taken too. */
struct span datafile_word(struct span *rest);
/* As much of a word as a message should show, and only what a terminal can take. */
const char *datafile_shown(struct span, char out[DATAFILE_SHOWN_MAX + 1]);

/* A list that was built in, as the text of a file. */
void datafile_join(struct buf *, const char *const *lines, size_t n);

#endif
