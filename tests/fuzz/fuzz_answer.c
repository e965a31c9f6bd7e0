/*
 * fuzz_answer.c -- promises: the same questions, and the same end, however the
 * input is cut; a request has at most ANSWER_REQUEST_MAX bytes and each one
 * that is whole gets one answer of at most ANSWER_MAX bytes, whose end is
 * where the protocol has it, with the client's own bytes as its text.  The
 * first byte chooses the size of the pieces.
 */
#include <stdint.h>
#include <stdlib.h>

#include "milter/answer.h"

static void
require(bool good)
{
	if (!good)
		abort();
}

static size_t
count_of(struct span s, char c)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == c;
	return n;
}

/* One netstring, one line, or a block that ends with an empty line, and printable ASCII. */
static void
require_one(enum answer_protocol p, struct span out)
{
	size_t n = 0, i = 0;

	require(out.n > 0 && out.n <= ANSWER_MAX);
	for (size_t k = 0; k < out.n; k++)
		require((out.p[k] >= ' ' && out.p[k] < 0x7f) || out.p[k] == '\n');
	switch (p) {
	case ANSWER_SOCKETMAP:
		for (; out.p[i] != ':'; i++)
			n = 10 * n + (size_t)(out.p[i] - '0');
		require(out.n == i + n + 2 && span_ends(out, SPAN(",")) && count_of(out, '\n') == 0);
		break;
	case ANSWER_TCP:
		require(count_of(out, '\n') == 1 && span_ends(out, SPAN("\n")) && count_of(out, ' ') == 1);
		break;
	case ANSWER_POLICY:
		require(count_of(out, '\n') == 2 && span_ends(out, SPAN("\n\n")) && span_starts(out, SPAN("action=")));
		break;
	case ANSWER_UNKNOWN:
		abort();
	}
}

static void
note(struct buf *log, const struct lookup *q)
{
	const struct span all[] = { q->map, q->key, q->state, q->sender, q->login, q->client, q->context };
	struct buf out = BUF(ANSWER_MAX);

	buf_addf(log, "%d", (int)q->protocol);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		buf_addf(log, "|%zu:", all[i].n);
		buf_add(log, all[i]);
	}
	for (enum answer a = ANSWER_NONE; a <= ANSWER_WRONG; a++) {
		buf_clear(&out);
		answer_write(&out, q->protocol, a, q->key);
		require(!out.over);
		require_one(q->protocol, buf_span(&out));
	}
	buf_free(&out);
}

/* All questions, and how it ends; each piece is where nothing may be read behind it. */
static void
read_all(struct span in, size_t step, struct buf *log)
{
	struct answer_reader r = { 0 };
	struct buf room = BUF(ANSWER_REQUEST_MAX);
	struct lookup q;
	size_t at = 0, have = 0;
	int n = 0;

	while (n >= 0 && (have < in.n || n > 0)) {
		char *copy;

		if (n == 0)
			have = in.n - have < step ? in.n : have + step;
		copy = malloc(have - at + 1);
		memcpy(copy, in.p + at, have - at);
		n = answer_read(&r, span_make(copy, have - at), &room, &q);
		require(n <= ANSWER_REQUEST_MAX && (n != 0 || have - at < ANSWER_REQUEST_MAX));
		require(n <= 0 || (size_t)n <= have - at);
		if (n > 0) {
			note(log, &q);
			at += (size_t)n;
		}
		free(copy);
	}
	/* Who has said what nobody understands is told nothing more, wherever it was seen. */
	if (n >= 0)
		buf_addf(log, "good, %zu left", in.n - at);
	else
		buf_adds(log, "malformed");
	buf_free(&room);
}

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole = BUF(64 * 1024 * 1024), pieces = BUF(64 * 1024 * 1024);
	struct span in;

	if (size < 1)
		return 0;
	in = span_make(data + 1, size - 1);
	read_all(in, in.n + 1, &whole);
	read_all(in, data[0] ? data[0] : 256, &pieces);
	require(!whole.over && span_eq(buf_span(&whole), buf_span(&pieces)));
	buf_free(&whole);
	buf_free(&pieces);
	return 0;
}
