/* keys.h -- the key file: one identity key, and the keys that seal tokens. */
#ifndef REKINDLE_KEYS_H
#define REKINDLE_KEYS_H

#include <stdint.h>

#include "common/buf.h"

#define KEY_BYTES 32
#define KEYS_MAX 62
#define KEY_FILE_MAX 16384

/*
 * The file, mode 0640, one key per line, `#` comments:
 *
 *	identity <64 hex digits>
 *	token A 2026-11-22 <64 hex digits>
 *
 * The last token line seals; all of them open.  Key ids are one character of
 * A-Z a-z 0-9, the first character of every token.
 */
struct keys {
	unsigned char identity[KEY_BYTES];
	struct token_key {
		char id;
		char made[11]; /* YYYY-MM-DD */
		unsigned char bytes[KEY_BYTES];
	} token[KEYS_MAX];
	size_t n; /* at least 1 */
};

/* False with "line N: what is wrong" in why. */
bool keys_parse(struct keys *, struct span text, struct buf *why);
void keys_print(const struct keys *, struct buf *out);
/* Adds a sealing key made of these random bytes, with the next free id.  False when all ids are taken. */
bool keys_rotate(struct keys *, const unsigned char random[KEY_BYTES], int64_t now_ms);

#endif
