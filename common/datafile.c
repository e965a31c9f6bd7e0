#include "common/datafile.h"

#include <stdarg.h>
#include <stdio.h>

bool
datafile_next(struct datafile *f, struct span *line)
{
	while (span_split(&f->rest, '\n', line)) {
		f->line++;
		*line = span_trim(*line);
		if (line->n > 0 && line->p[0] != '#')
			return true;
	}
	return false;
}

void
datafile_fault(struct datafile *f, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	if (f->faults++ >= DATAFILE_ERRORS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	buf_addf(f->errors, "%s:%u: %s\n", f->name, f->line, what);
}

bool
datafile_good(struct datafile *f)
{
	if (f->faults > DATAFILE_ERRORS_MAX)
		buf_addf(f->errors, "%s:%u: and %u more\n", f->name, f->line, f->faults - DATAFILE_ERRORS_MAX);
	return f->faults == 0;
}

struct span
datafile_word(struct span *rest)
{
	size_t n = 0, gap;
	struct span word;

	while (n < rest->n && rest->p[n] != ' ' && rest->p[n] != '\t')
		n++;
	word = span_cut(*rest, 0, n);
	for (gap = n; gap < rest->n && (rest->p[gap] == ' ' || rest->p[gap] == '\t');)
		gap++;
	*rest = span_from(*rest, gap);
	return word;
}

const char *
datafile_shown(struct span s, char out[DATAFILE_SHOWN_MAX + 1])
{
	size_t n = s.n < DATAFILE_SHOWN_MAX ? s.n : DATAFILE_SHOWN_MAX;

	for (size_t i = 0; i < n; i++)
		out[i] = s.p[i] >= ' ' && s.p[i] < 0x7f ? s.p[i] : '?';
	out[n] = '\0';
	return out;
}

void
datafile_join(struct buf *out, const char *const *lines, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_addf(out, "%s\n", lines[i]);
}
