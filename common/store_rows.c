/* store_rows.c -- keys and values of the store's tables, as bytes. */
#include "common/store_rows.h"

#include <assert.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "common/codec.h"

static_assert(CAMPAIGN_BYTES % 8 == 0 && LINK_BYTES == 32 && VOLUME_BYTES % 8 == 0 && SWEEP_BYTES == sizeof(struct sweep),
    "only 64-bit counters");

/* ---- facts ---- */

void
row_link_key(unsigned char key[LINK_KEY], uint64_t campaign, uint16_t link)
{
	put_be(key, campaign, 8);
	put_be(key + 8, link, 2);
}

size_t
row_history_key(unsigned char key[HISTORY_KEY], const struct touch *t)
{
	memcpy(key, t->who.b, 16);
	put_be(key + 16, t->when > 0 ? (uint64_t)t->when : 0, 8);
	if (t->kind == TOUCH_CONSENT) {
		key[24] = t->detail >> 4;
		return CONSENT_KEY;
	}
	key[24] = t->kind;
	put_be(key + 25, t->stream, 8);
	return HISTORY_KEY;
}

size_t
row_history_pack(unsigned char value[HISTORY_HEAD + SOURCE_MAX], const struct touch *t, struct span source)
{
	size_t n = 1;

	if (t->kind == TOUCH_CONSENT) {
		value[0] = t->detail & 15;
	} else {
		put_u32(value, t->kind == TOUCH_HELD ? t->sent : 0);
		put_u64(value + 4, t->campaign);
		value[12] = t->flags;
		n = HISTORY_HEAD;
	}
	if (source.n)
		memcpy(value + n, source.p, source.n);
	return n + source.n;
}

bool
row_history_unpack(struct touch *t, struct span *source, struct span key, struct span value)
{
	const unsigned char *k = (const unsigned char *)key.p, *v = (const unsigned char *)value.p;

	if (key.n != CONSENT_KEY && key.n != HISTORY_KEY)
		return false;
	*t = (struct touch){ .mode = MODE_IDENTIFIED, .when = (int64_t)get_be(k + 16, 8) };
	memcpy(t->who.b, k, 16);
	if (key.n == CONSENT_KEY) {
		if (k[24] > AXIS_LINKS || value.n == 0 || v[0] > CONSENT_GRANTED)
			return false;
		t->kind = TOUCH_CONSENT;
		t->detail = (uint8_t)(k[24] << 4 | v[0]);
		*source = span_from(value, 1);
		return true;
	}
	if (value.n < HISTORY_HEAD)
		return false;
	t->kind = k[24];
	t->stream = get_be(k + 25, 8);
	t->sent = get_u32(v);
	t->campaign = get_u64(v + 4);
	t->flags = v[12];
	*source = span_from(value, HISTORY_HEAD);
	return true;
}

struct span
row_cut_source(struct span s)
{
	size_t n = s.n;

	if (n > SOURCE_MAX)
		for (n = SOURCE_MAX; n > 0 && (s.p[n] & 0xc0) == 0x80;)
			n--;
	return span_cut(s, 0, n);
}

size_t
row_hold_key(unsigned char key[HOLD_KEY_MAX], struct span id)
{
	memcpy(key, id.p, id.n);
	key[id.n] = 0;
	return id.n + 1;
}

bool
row_hold_id_good(struct span id)
{
	return id.n > 0 && id.n <= HOLD_ID_MAX && memchr(id.p, 0, id.n) == NULL;
}

void
row_brake_key(unsigned char key[BRAKE_KEY], uint8_t kind, uint64_t id)
{
	key[0] = kind;
	put_be(key + 1, id, 8);
}

bool
row_brake_unpack(struct brake_row *row, struct span key, struct span value)
{
	const unsigned char *k = (const unsigned char *)key.p, *v = (const unsigned char *)value.p;

	if (key.n != BRAKE_KEY || value.n < BRAKE_HEAD)
		return false;
	*row = (struct brake_row){ k[0], get_be(k + 1, 8), (int64_t)get_u64(v), (int64_t)get_u64(v + 8), span_from(value, BRAKE_HEAD) };
	return true;
}

void
row_kept_key(unsigned char key[KEPT_KEY], const struct touch *t)
{
	memcpy(key, t->who.b, 16);
	key[16] = t->kind;
	key[17] = t->detail;
	put_be(key + 18, t->stream, 8);
}

bool
row_kept_unpack(struct touch *t, struct span key, struct span value)
{
	const unsigned char *k = (const unsigned char *)key.p, *v = (const unsigned char *)value.p;

	if (key.n != KEPT_KEY || (value.n != KEPT_BYTES && value.n != KEPT_BYTES - 4))
		return false;
	*t = (struct touch){ .kind = k[16], .detail = k[17], .stream = get_be(k + 18, 8), .when = (int64_t)get_u64(v),
		.sent = value.n == KEPT_BYTES ? get_u32(v + 8) : 0,
		.mode = k[16] == TOUCH_OPEN ? MODE_DAYONLY : MODE_IDENTIFIED };
	memcpy(t->who.b, k, 16);
	return true;
}

bool
row_holds_longer(uint32_t until, uint32_t than)
{
	return until - 1 > than - 1;
}

size_t
row_carried_key(unsigned char key[LINK_KEY], const struct carried *c)
{
	row_link_key(key, c->campaign, c->link);
	return c->of_link ? LINK_KEY : 8;
}

const char *
row_mark_name(char name[MARK_NAME], uint64_t journal)
{
	snprintf(name, MARK_NAME, "journal-%016llx", (unsigned long long)journal);
	return name;
}

/* ---- state ---- */

void
row_subscription_key(unsigned char key[SUBSCRIPTION_KEY], const struct who *w, uint64_t stream)
{
	memcpy(key, w->b, 16);
	put_be(key + 16, stream, 8);
}

size_t
row_trail_key(unsigned char key[TRAIL_KEY], const struct who *w, uint64_t campaign, uint32_t day)
{
	memcpy(key, w->b, 16);
	put_be(key + 16, campaign, 8);
	put_be(key + 24, day, 4);
	return campaign == 0 ? TRAIL_KEY : TRAIL_KEY - 4;
}

bool
row_trail_unkey(struct span key, uint64_t *campaign, uint32_t *day)
{
	const unsigned char *k = (const unsigned char *)key.p;

	if (key.n != TRAIL_KEY && key.n != TRAIL_KEY - 4)
		return false;
	*campaign = get_be(k + 16, 8);
	*day = key.n == TRAIL_KEY ? (uint32_t)get_be(k + 24, 4) : 0;
	return true;
}

void
row_volume_key(unsigned char key[VOLUME_KEY], uint32_t hour, enum volume_kind kind, uint64_t id)
{
	put_be(key, hour, 4);
	key[4] = (unsigned char)kind;
	put_be(key + 5, id, 8);
}

void
row_pack_counters(unsigned char *out, const void *record, size_t bytes)
{
	uint64_t number;

	for (size_t i = 0; i < bytes; i += 8) {
		memcpy(&number, (const char *)record + i, 8);
		put_u64(out + i, number);
	}
}

static bool
unpack_counters(void *record, size_t bytes, struct span v)
{
	uint64_t number;

	memset(record, 0, bytes);
	if (v.n > bytes || v.n % 8 != 0)
		return false;
	for (size_t i = 0; i < v.n; i += 8) {
		number = get_u64((const unsigned char *)v.p + i);
		memcpy((char *)record + i, &number, 8);
	}
	return true;
}

bool
row_take_profile(void *arg, struct span v)
{
	return profile_unpack(arg, v);
}

bool
row_take_past(void *arg, struct span v)
{
	return profile_unpack_hits(arg, v);
}

bool
row_take_subscription(void *arg, struct span v)
{
	return subscription_unpack(arg, v);
}

bool
row_take_campaign(void *arg, struct span v)
{
	return unpack_counters(arg, CAMPAIGN_BYTES, v);
}

bool
row_take_link(void *arg, struct span v)
{
	return unpack_counters(arg, LINK_BYTES, v);
}

bool
row_take_trail(void *arg, struct span v)
{
	return trail_unpack(arg, v);
}

bool
row_take_volume(void *arg, struct span v)
{
	return unpack_counters(arg, VOLUME_BYTES, v);
}

bool
row_take_rules(void *arg, struct span v)
{
	return rules_unpack(arg, v);
}

bool
row_take_who(void *arg, struct span v)
{
	if (v.n != sizeof(struct who))
		return false;
	memcpy(arg, v.p, v.n);
	return true;
}

/* At first it did not say how many were done. */
bool
row_take_sweep(void *arg, struct span v)
{
	return v.n >= offsetof(struct sweep, done) && unpack_counters(arg, SWEEP_BYTES, v);
}

void
row_put_sweep(unsigned char bytes[SWEEP_BYTES], const struct sweep *sweep)
{
	row_pack_counters(bytes, sweep, SWEEP_BYTES);
}
