#include "common/keys.h"

#include "common/text.h"

static const char ids[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

_Static_assert(sizeof ids - 1 == KEYS_MAX, "one id per key");

static bool
is_id(char c)
{
	return c != '\0' && strchr(ids, c) != NULL;
}

static bool
has_id(const struct keys *k, char id)
{
	for (size_t i = 0; i < k->n; i++) {
		if (k->token[i].id == id)
			return true;
	}
	return false;
}

/* The next word of a line; empty at its end. */
static struct span
word(struct span *line)
{
	size_t n = 0;

	*line = span_trim(*line);
	while (n < line->n && line->p[n] != ' ' && line->p[n] != '\t')
		n++;

	struct span w = span_cut(*line, 0, n);

	*line = span_trim(span_from(*line, n));
	return w;
}

static bool
is_date(struct span s)
{
	int64_t ms;

	return s.n == 10 && s.p[4] == '-' && s.p[7] == '-' && text_time(s, &ms);
}

/* Is it the only key of these bytes?  One secret, one purpose. */
static bool
is_fresh(const struct keys *k, bool identity, const unsigned char *bytes)
{
	static const unsigned char zero[KEY_BYTES];

	if (memcmp(bytes, zero, KEY_BYTES) == 0 || (identity && memcmp(bytes, k->identity, KEY_BYTES) == 0))
		return false;
	for (size_t i = 0; i < k->n; i++) {
		if (memcmp(bytes, k->token[i].bytes, KEY_BYTES) == 0)
			return false;
	}
	return true;
}

/* NULL, or what is wrong with the line. */
static const char *
read_identity(struct keys *k, bool *identity, struct span line)
{
	unsigned char bytes[KEY_BYTES];

	if (*identity)
		return "a second identity key; there is exactly one";
	if (!text_hex(word(&line), bytes, sizeof bytes) || line.n != 0)
		return "want: identity, 64 hexadecimal digits";
	if (!is_fresh(k, false, bytes))
		return "this key is all zero or also a token key; `rekindle key new` makes good ones";
	memcpy(k->identity, bytes, sizeof bytes);
	explicit_bzero(bytes, sizeof bytes);
	*identity = true;
	return NULL;
}

static const char *
read_token(struct keys *k, bool identity, struct span line)
{
	struct span id = word(&line), made = word(&line), hex = word(&line);
	struct token_key t = { 0 };

	if (id.n != 1 || !is_id(id.p[0]) || !is_date(made) || !text_hex(hex, t.bytes, sizeof t.bytes) || line.n != 0)
		return "want: token, an id of one letter or digit, YYYY-MM-DD, 64 hexadecimal digits";
	if (has_id(k, id.p[0]))
		return "this key id is taken by an earlier line";
	if (!is_fresh(k, identity, t.bytes))
		return "this key is all zero or a repetition; `rekindle key rotate` makes good ones";

	t.id = id.p[0];
	memcpy(t.made, made.p, made.n);
	k->token[k->n++] = t; /* KEYS_MAX ids, none twice: it fits */
	explicit_bzero(&t, sizeof t);
	return NULL;
}

bool
keys_parse(struct keys *k, struct span text, struct buf *why)
{
	struct span rest = text, line;
	const char *fault = NULL;
	bool identity = false;
	unsigned no = 0;

	memset(k, 0, sizeof *k);
	if (text.n > KEY_FILE_MAX) {
		buf_addf(why, "line 1: the file is longer than %d bytes: not a key file", KEY_FILE_MAX);
		return false;
	}

	while (fault == NULL && span_split(&rest, '\n', &line)) {
		struct span what = word(&line);

		no++;
		if (what.n == 0 || what.p[0] == '#')
			continue;
		if (span_eq(what, SPAN("identity")))
			fault = read_identity(k, &identity, line);
		else if (span_eq(what, SPAN("token")))
			fault = read_token(k, identity, line);
		else
			fault = "want a line that begins with identity, token or #";
	}
	if (fault == NULL && !identity)
		fault = "the file ends without an identity key";
	else if (fault == NULL && k->n == 0)
		fault = "the file ends without a token key";

	if (fault != NULL) {
		buf_addf(why, "line %u: %s", no ? no : 1, fault);
		explicit_bzero(k, sizeof *k);
	}
	return fault == NULL;
}

void
keys_print(const struct keys *k, struct buf *out)
{
	buf_adds(out, "# Rekindle's keys.  Keep this file secret, and keep a copy of it.\n"
		      "# The identity key names recipients: without it nobody is known any more.\n"
		      "# The last token key seals new links and all of them open old ones: a key that\n"
		      "# is taken out of this file ends the links that it sealed.\n");
	buf_adds(out, "identity ");
	text_add_hex(out, k->identity, sizeof k->identity);
	buf_addc(out, '\n');
	for (size_t i = 0; i < k->n; i++) {
		buf_addf(out, "token %c %s ", k->token[i].id, k->token[i].made);
		text_add_hex(out, k->token[i].bytes, sizeof k->token[i].bytes);
		buf_addc(out, '\n');
	}
}

/*
 * The id after the newest key's, so that an id whose key was destroyed comes
 * back last: its links are dead, but logs may still name it.
 */
static char
next_id(const struct keys *k)
{
	size_t newest = k->n ? (size_t)(strchr(ids, k->token[k->n - 1].id) - ids) : KEYS_MAX - 1;

	for (size_t i = 1; i <= KEYS_MAX; i++) {
		char id = ids[(newest + i) % KEYS_MAX];

		if (!has_id(k, id))
			return id;
	}
	return '\0';
}

bool
keys_rotate(struct keys *k, const unsigned char random[KEY_BYTES], int64_t now_ms)
{
	char id = next_id(k);
	struct buf day = BUF(32);

	if (id == '\0')
		return false;

	struct token_key *t = &k->token[k->n];

	text_add_day(&day, now_ms);
	*t = (struct token_key){ .id = id };
	memcpy(t->made, day.p, day.n < sizeof t->made ? day.n : sizeof t->made - 1);
	memcpy(t->bytes, random, sizeof t->bytes);
	k->n++;
	buf_free(&day);
	return true;
}
