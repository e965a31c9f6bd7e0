/*
 * Promises: a list that is read finds every name and every network in it;
 * one that is not has a fault told for each line it names, and is empty; and
 * reading the same again gives the same answers.
 */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>

#include "common/robots.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
must(bool promise)
{
	if (!promise)
		abort();
}

/* Lines that say something, as the header has it. */
static bool
next_line(struct span *rest, struct span *line)
{
	while (span_split(rest, '\n', line)) {
		*line = span_trim(*line);
		if (line->n > 0 && line->p[0] != '#')
			return true;
	}
	return false;
}

static size_t
word_end(struct span s)
{
	size_t n = 0;

	while (n < s.n && s.p[n] != ' ' && s.p[n] != '\t')
		n++;
	return n;
}

static void
agents(struct span text)
{
	struct robots *r = robots_new();
	struct buf errors = BUF(1 << 20);
	struct span line;

	if (robots_read_agents(r, text, "f", &errors)) {
		must(errors.n == 0);
		while (next_line(&text, &line)) {
			struct span name = span_trim(span_from(line, word_end(line)));

			must(robots_agent(r, name) != ROBOT_NONE);
		}
	} else {
		must(span_starts(buf_span(&errors), SPAN("f:")));
		must(robots_agent(r, text) == ROBOT_NONE);
	}
	buf_free(&errors);
	robots_free(r);
}

static void
networks(struct span text)
{
	struct robots *r = robots_new();
	struct buf errors = BUF(1 << 20);
	struct robot_network n;
	uint8_t address[16] = { 0 };
	struct span line;

	if (robots_read_networks(r, text, "f", &errors)) {
		must(errors.n == 0);
		while (next_line(&text, &line)) {
			char first[INET6_ADDRSTRLEN] = "";
			size_t end = span_find(span_cut(line, 0, word_end(line)), '/');

			must(end < sizeof first);
			memcpy(first, line.p, end);
			memset(address, 0, sizeof address);
			if (inet_pton(AF_INET6, first, address) != 1) {
				address[10] = address[11] = 0xff;
				must(inet_pton(AF_INET, first, address + 12) == 1);
			}
			must(robots_network(r, address, &n));
		}
	} else {
		must(span_starts(buf_span(&errors), SPAN("f:")));
		must(!robots_network(r, address, &n));
	}
	buf_free(&errors);
	robots_free(r);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n == 0)
		return 0;
	if (data[0] & 1)
		agents(span_make(data + 1, n - 1));
	else
		networks(span_make(data + 1, n - 1));
	return 0;
}
