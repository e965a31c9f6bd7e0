/* token.h -- a sealed claim inside a URL: nobody can read, change or forge it. */
#ifndef REKINDLE_TOKEN_H
#define REKINDLE_TOKEN_H

#include "common/buf.h"
#include "common/keys.h"
#include "common/privacy.h"
#include "common/who.h"

/* The kind is associated data: a token of one kind never opens as another. */
enum token_kind {
	TOKEN_OPEN = 'o',
	TOKEN_CLICK = 'c',
	TOKEN_LEAVE = 'u', /* unsubscribe; always has a who */
	TOKEN_PREFERENCES = 'p', /* keep me, less often, stop; always has a who */
	TOKEN_MARK = 'm',  /* X-Rekindle-Id: this message is tagged already; whose it is, unless it is for several */
	TOKEN_FEEDBACK = 'f', /* CFBL-Feedback-ID: whose complaint it is */
	TOKEN_SPLIT = 's', /* X-Rekindle-Split: this message goes on to be tagged; campaign is set, text names both */
};

#define TOKEN_MAX 4096            /* characters; longer text is refused unread */
#define TOKEN_DESTINATION_MAX 2000
#define TOKEN_OPEN_CHARS 61       /* at most; a pixel URL shall fit in 100 */
#define TRACKED_URL_MAX 2000      /* a longer tracked URL is not made (DESIGN: the link stays) */

struct claim {
	enum token_kind kind;
	enum mode mode;       /* of the axis it was made for, when it was made */
	uint64_t campaign;
	struct who who;       /* nobody when mode is anonymous */
	uint32_t when;        /* seconds; 0 when anonymous, so that all recipients' tokens are equal */
	uint16_t link;        /* clicks */
	struct span text;     /* click: destination, to the byte; leave, preferences, mark and feedback: stream name; open: empty */
};

/* Keyed contexts for all keys.  Immutable after sealer_new: any number of threads may use it. */
struct sealer;
struct sealer *sealer_new(const struct keys *); /* NULL when the crypto library refuses */
void sealer_free(struct sealer *);

/*
 * Appends key id and base64url(AES-128-SIV), RFC 5297, of the claim, its text
 * packed (pack.h) when that is shorter; deterministic: the same claim gives
 * the same token.  False, nothing appended, when the text is over
 * TOKEN_DESTINATION_MAX, a TOKEN_LEAVE or TOKEN_PREFERENCES has no who, or out is full.
 */
bool token_seal(const struct sealer *, const struct claim *, struct buf *out);
/*
 * The same in two steps, for who wants to know how long the packed text is.
 * Packing goes by the text alone, not by key or recipient, and what was packed
 * lately is remembered (pack.h).  token_pack gives the length of the packed text in out,
 * which has room for TOKEN_DESTINATION_MAX bytes, or 0: it travels as it is.
 * `packed` is what it gave for this claim's text, empty for 0.
 */
size_t token_pack(unsigned char *out, struct span text);
bool token_seal_packed(const struct sealer *, const struct claim *, struct span packed, struct buf *out);

/*
 * Opens a token of this kind.  The claim's text points into `text_out`,
 * which is cleared first.  False for anything but a token of ours, spelled
 * canonically: unknown key, wrong kind, one bit changed, cut, extended; then
 * the claim is all zero but for its kind.
 */
bool token_open(const struct sealer *, enum token_kind, struct span token, struct claim *, struct buf *text_out);
/* The same with the kind unknown, for `rekindle token`. */
bool token_open_any(const struct sealer *, struct span token, struct claim *, struct buf *text_out);

#endif
