#include "common/receivers.h"

#include <stdlib.h>

#include "common/addr.h"
#include "common/datafile.h"
#include "common/mem.h"
#include "common/receivers_text.h" /* made from conf/receivers */
#include "common/text.h"

#define DOMAIN_MAX 253

struct group {
	char name[RECEIVERS_NAME_MAX + 1];
	uint32_t id;
	struct receiver_limit limit; /* count 0: none */
};

struct domain {
	uint32_t at; /* in text, lower case */
	uint16_t group;
	uint8_t n;
};

struct receivers {
	struct buf text;
	struct group *group;
	size_t ngroups, capgroups;
	struct domain *domain;
	size_t ndomains, capdomains;
	uint32_t *slot; /* by hash of the domain: index + 1, or 0 */
	size_t nslots;
};

struct receivers *
receivers_new(void)
{
	struct receivers *r = xcalloc(1, sizeof *r);

	r->text = BUF(RECEIVERS_FILE_MAX);
	return r;
}

void
receivers_free(struct receivers *r)
{
	if (r == NULL)
		return;
	buf_free(&r->text);
	free(r->group);
	free(r->domain);
	free(r->slot);
	free(r);
}

static void
forget(struct receivers *r)
{
	buf_clear(&r->text);
	r->ngroups = r->ndomains = r->nslots = 0;
}

/* ---- looking up ---- */

static struct span
domain_of(const struct receivers *r, const struct domain *d)
{
	return span_make(r->text.p + d->at, d->n);
}

/* The slot of a domain in lower case, or the free one where it belongs. */
static uint32_t *
slot_of(const struct receivers *r, struct span lower)
{
	for (size_t i = span_hash(lower) & (r->nslots - 1);; i = (i + 1) & (r->nslots - 1))
		if (r->slot[i] == 0 || span_eq(domain_of(r, &r->domain[r->slot[i] - 1]), lower))
			return &r->slot[i];
}

/* What stands behind the last @, without a bracket and the dot of the root. */
static struct span
domain_in(struct span address)
{
	size_t at = address.n;

	while (at > 0 && address.p[at - 1] != '@')
		at--;
	address = span_trim(span_from(address, at));
	if (span_ends(address, SPAN(">")))
		address.n--;
	if (span_ends(address, SPAN(".")))
		address.n--;
	return address;
}

uint32_t
receivers_of(const struct receivers *r, struct span address)
{
	struct span domain = domain_in(address);
	char lower[DOMAIN_MAX];
	uint32_t found;

	if (domain.n == 0 || domain.n > sizeof lower || r->nslots == 0)
		return 0;
	for (size_t i = 0; i < domain.n; i++)
		lower[i] = ascii_lower(domain.p[i]);
	found = *slot_of(r, span_make(lower, domain.n));
	return found == 0 ? 0 : r->group[r->domain[found - 1].group].id;
}

size_t
receivers_count(const struct receivers *r)
{
	return r->ngroups;
}

uint32_t
receivers_id(const struct receivers *r, size_t i)
{
	return r->group[i].id;
}

static struct group *
group_by_id(const struct receivers *r, uint32_t id)
{
	for (size_t i = 0; i < r->ngroups && id != 0; i++)
		if (r->group[i].id == id)
			return &r->group[i];
	return NULL;
}

const char *
receivers_called(const struct receivers *r, uint32_t id)
{
	const struct group *g = group_by_id(r, id);

	return g == NULL ? NULL : g->name;
}

bool
receivers_limit(const struct receivers *r, uint32_t id, struct receiver_limit *limit)
{
	const struct group *g = group_by_id(r, id);

	if (g == NULL || g->limit.count == 0)
		return false;
	*limit = g->limit;
	return true;
}

void
receivers_seal(struct receivers *r, const struct keys *keys)
{
	for (size_t i = 0; i < r->ngroups; i++)
		r->group[i].id = receiver_id(keys, span_of(r->group[i].name));
}

/* ---- reading ---- */

static bool
is_of(struct span s, bool dots)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = ascii_lower(s.p[i]);

		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || (dots && c == '.')))
			return false;
	}
	return s.n > 0;
}

/* Labels with a dot between them, two at least. */
static bool
is_domain(struct span s)
{
	return is_of(s, true) && s.n <= DOMAIN_MAX && s.p[0] != '.' && !span_ends(s, SPAN(".")) && span_find(s, '.') < s.n &&
	    span_search(s, SPAN("..")) == s.n;
}

static struct group *
group_named(const struct receivers *r, struct span name)
{
	for (size_t i = 0; i < r->ngroups; i++)
		if (span_ieq(span_of(r->group[i].name), name))
			return &r->group[i];
	return NULL;
}

/* NULL: there are too many. */
static struct group *
add_group(struct receivers *r, struct span name)
{
	struct group *g;

	if (r->ngroups == RECEIVERS_MAX)
		return NULL;
	if (r->ngroups == r->capgroups) {
		r->capgroups = r->capgroups ? 2 * r->capgroups : 64;
		r->group = xreallocarray(r->group, r->capgroups, sizeof *r->group);
	}
	g = &r->group[r->ngroups++];
	*g = (struct group){ .id = 0 };
	for (size_t i = 0; i < name.n; i++)
		g->name[i] = ascii_lower(name.p[i]);
	return g;
}

static void
make_slots(struct receivers *r)
{
	free(r->slot);
	r->nslots = 4 * r->capdomains;
	r->slot = xcalloc(r->nslots, sizeof *r->slot);
	for (size_t i = 0; i < r->ndomains; i++)
		*slot_of(r, domain_of(r, &r->domain[i])) = (uint32_t)i + 1;
}

static void
add_domain(struct receivers *r, struct datafile *in, size_t group, struct span domain)
{
	size_t at = r->text.n;
	char what[DATAFILE_SHOWN_MAX + 1];
	struct span lower;
	uint32_t *slot;

	if (r->ndomains == r->capdomains || r->nslots == 0) {
		r->capdomains = r->capdomains == 0 ? 256 : r->ndomains == r->capdomains ? 2 * r->capdomains : r->capdomains;
		r->domain = xreallocarray(r->domain, r->capdomains, sizeof *r->domain);
		make_slots(r);
	}
	for (size_t i = 0; i < domain.n; i++)
		buf_addc(&r->text, ascii_lower(domain.p[i]));
	lower = span_cut(buf_span(&r->text), at, at + domain.n);
	slot = slot_of(r, lower);
	if (*slot != 0) {
		r->text.n = at;
		datafile_fault(in, "`%s' is in group %s already; keep one of them", datafile_shown(domain, what),
		    r->group[r->domain[*slot - 1].group].name);
		return;
	}
	r->domain[r->ndomains] = (struct domain){ .at = (uint32_t)at, .group = (uint16_t)group, .n = (uint8_t)domain.n };
	*slot = (uint32_t)++r->ndomains;
}

static void
read_line(struct receivers *r, struct datafile *in, struct span line)
{
	size_t colon = span_find(line, ':');
	struct span name = span_trim(span_cut(line, 0, colon)), rest = span_trim(span_from(line, colon + 1)), domain;
	char what[DATAFILE_SHOWN_MAX + 1];
	struct group *g;

	if (colon == line.n || !is_of(name, false) || name.n > RECEIVERS_NAME_MAX) {
		datafile_fault(in, "`%s' is no group; write NAME: and its domains, the name of 1 to %d letters, digits and -",
		    datafile_shown(span_cut(line, 0, colon), what), RECEIVERS_NAME_MAX);
		return;
	}
	if ((g = group_named(r, name)) == NULL && (g = add_group(r, name)) == NULL) {
		datafile_fault(in, "there are too many groups; at most %d", RECEIVERS_MAX);
		return;
	}
	while (rest.n > 0) {
		domain = datafile_word(&rest);
		rest = span_trim(rest);
		if (!is_domain(domain))
			datafile_fault(in, "`%s' is no domain; write example.org (xn-- form if it is international)", datafile_shown(domain, what));
		else if (r->ndomains == RECEIVERS_DOMAINS_MAX) {
			datafile_fault(in, "there are too many domains; at most %d", RECEIVERS_DOMAINS_MAX);
			return;
		} else
			add_domain(r, in, (size_t)(g - r->group), domain);
	}
}

bool
receivers_read(struct receivers *r, struct span text, const char *name, struct buf *errors)
{
	struct datafile in = { .name = name, .rest = text, .errors = errors };
	struct span line;

	forget(r);
	while (datafile_next(&in, &line))
		read_line(r, &in, line);
	if (datafile_good(&in))
		return true;
	forget(r);
	return false;
}

void
receivers_own(struct receivers *r)
{
	struct buf text = BUF(RECEIVERS_FILE_MAX), errors = BUF(1024);

	datafile_join(&text, own_receivers, sizeof own_receivers / sizeof *own_receivers);
	receivers_read(r, buf_span(&text), "receivers", &errors);
	buf_free(&text);
	buf_free(&errors);
}

/* ---- limits ---- */

bool
receiver_limit_parse(struct span s, struct span *name, struct receiver_limit *limit, struct buf *why)
{
	struct span rest = s;
	size_t slash;
	uint64_t count = 0;
	int64_t ms = 0;

	*name = datafile_word(&rest);
	rest = span_trim(rest);
	slash = span_find(rest, '/');
	if (!is_of(*name, false) || name->n > RECEIVERS_NAME_MAX || !text_u64(span_trim(span_cut(rest, 0, slash)), &count) ||
	    !text_duration(span_trim(span_from(rest, slash + 1)), &ms)) {
		buf_addf(why, "`%.*s' is no limit; write GROUP COUNT/TIME, as in google 5000/1h", SPAN_ARG(span_cut(s, 0, DATAFILE_SHOWN_MAX)));
		return false;
	}
	if (count < 1 || count > 1000000000 || ms < 60000 || ms > DAY_MS || ms % 60000 != 0) {
		buf_addf(why, "`%.*s' is out of range; use 1 to 1000000000 messages, and whole minutes up to 1d",
		    SPAN_ARG(span_cut(s, 0, DATAFILE_SHOWN_MAX)));
		return false;
	}
	*limit = (struct receiver_limit){ (uint32_t)count, (uint32_t)(ms / 1000) };
	return true;
}

enum receivers_set
receivers_set_limit(struct receivers *r, struct span name, const struct receiver_limit *limit)
{
	struct group *g = group_named(r, name);

	if (g == NULL)
		return RECEIVERS_NO_GROUP;
	if (g->limit.count != 0)
		return RECEIVERS_TWICE;
	g->limit = *limit;
	return RECEIVERS_SET;
}
