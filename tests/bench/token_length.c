/*
 * token_length.c -- how much longer is a tracked link than the original?
 *
 *	token_length FILE.txt | FILE.eml | DIRECTORY of .eml ...
 *
 * Links are the lines of a .txt and what the milter would track in an .eml,
 * each destination once per message.  They are sealed for one recipient, with
 * everything that a token may hold, under https://t.example.com.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/pack.h"
#include "milter/message.h"

#define TRACKING_URL "https://t.example.com"
#define LONG_LINK 100 /* shorter ones are ruled by what a token holds beside the destination */

static const struct keys keys = { .n = 1, .identity = { 1 }, .token[0] = { .id = 'K', .bytes = { 2 } } };
static char tracking_url[] = TRACKING_URL, name[] = "weekly", campaign_header[] = "X-Campaign",
	    stream_header[] = "X-Stream", consent_header[] = "X-Consent";

static const struct conf conf = {
	.tracking_url = tracking_url, .campaign_header = campaign_header, .stream_header = stream_header,
	.consent_header = consent_header,
};
static const struct stream stream = { .name = name, .opens = MODE_FULL, .links = MODE_FULL };
static struct tagging tagging = {
	.conf = &conf, .stream = &stream, .campaign = 0x1122334455667788, .who = { { 1, 2, 3 } },
	.opens = MODE_IDENTIFIED, .links = MODE_IDENTIFIED, .when = 1764000000,
};

struct measures {
	struct {
		size_t original, plain, packed; /* characters: the link, tracked without and with packing */
	} *link;
	size_t n, cap;
	size_t bytes;                           /* of all links */
	double pack, seal, unpack;              /* seconds */
};

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); /* whatever else the machine does */
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void
measure(struct measures *m, struct span destination, uint16_t no)
{
	struct claim claim = { .kind = TOKEN_CLICK, .mode = tagging.links, .campaign = tagging.campaign, .who = tagging.who,
		.when = tagging.when, .link = no, .text = destination };
	unsigned char packed[TOKEN_DESTINATION_MAX];
	char text[TOKEN_DESTINATION_MAX];
	struct buf token = BUF(TOKEN_MAX), plain = BUF(TOKEN_MAX);
	double a = now();
	size_t n = token_pack(packed, destination);
	double b = now();
	bool sealed = token_seal_packed(tagging.sealer, &claim, span_make(packed, n), &token);
	double c = now();

	if (n > 0)
		unpack(text, sizeof text, span_make(packed, n));
	if (!sealed || !token_seal_packed(tagging.sealer, &claim, SPAN(""), &plain))
		exit(1);
	m->pack += b - a;
	m->seal += c - b;
	m->unpack += now() - c;
	m->bytes += destination.n;
	if (m->n == m->cap) {
		m->cap = m->cap ? 2 * m->cap : 1024;
		if ((m->link = reallocarray(m->link, m->cap, sizeof *m->link)) == NULL)
			exit(1);
	}
	m->link[m->n].original = destination.n;
	m->link[m->n].plain = strlen(TRACKING_URL "/c/") + plain.n;
	m->link[m->n++].packed = strlen(TRACKING_URL "/c/") + token.n;
	buf_free(&token);
	buf_free(&plain);
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Quartiles of tracked/original over the links of at least this length; or of the length itself. */
static void
print_quartiles(const struct measures *m, const char *what, size_t least, char of)
{
	double *v = calloc(m->n, sizeof *v);
	size_t n = 0;

	if (v == NULL)
		exit(1);
	for (size_t i = 0; i < m->n; i++) {
		double original = (double)m->link[i].original;

		if (m->link[i].original >= least)
			v[n++] = of == 'l' ? original :
				 (double)(of == 'p' ? m->link[i].packed : m->link[i].plain) / original;
	}
	qsort(v, n, sizeof *v, compare);
	if (n > 0)
		printf("  %-44s %5zu links: quartile %.*f, median %.*f, quartile %.*f\n", what, n, of == 'l' ? 0 : 2, v[n / 4],
		    of == 'l' ? 0 : 3, v[n / 2], of == 'l' ? 0 : 2, v[3 * n / 4]);
	free(v);
}

static void
print_measures(const struct measures *m, const char *what)
{
	printf("%s\n", what);
	if (m->n == 0) {
		printf("  no links\n");
		return;
	}
	print_quartiles(m, "bytes of the original", 0, 'l');
	print_quartiles(m, "tracked / original, not packed", 0, 'a');
	print_quartiles(m, "tracked / original", 0, 'p');
	print_quartiles(m, "tracked / original, from 100 bytes on", LONG_LINK, 'p');
	printf("  a link: packing %.1f us, sealing %.1f us, unpacking %.1f us; %zu bytes on average\n",
	    m->pack / (double)m->n * 1e6, m->seal / (double)m->n * 1e6, m->unpack / (double)m->n * 1e6, m->bytes / m->n);
}

static struct buf
read_file(const char *path)
{
	struct buf b = BUF((size_t)64 << 20);
	FILE *f = fopen(path, "r");
	char piece[65536];
	size_t n;

	if (f == NULL) {
		perror(path);
		exit(1);
	}
	while ((n = fread(piece, 1, sizeof piece, f)) > 0)
		buf_add(&b, span_make(piece, n));
	fclose(f);
	return b;
}

static void
measure_message(struct measures *m, struct span raw)
{
	struct message message = { 0 };
	struct header *header;
	struct plan plan;

	if (!message_split(raw, &header, &message.nheaders, &message.body))
		return;
	message.header = header;
	message_tag(&message, &tagging, &plan);
	for (size_t i = 0; i < plan.nlinks; i++)
		measure(m, plan.link[i].destination, plan.link[i].no);
	plan_free(&plan);
	free(header);
}

static void
measure_file(struct measures *m, const char *path)
{
	struct buf file = read_file(path);
	struct span rest = buf_span(&file), line;

	if (span_ends(span_of(path), SPAN(".eml")))
		measure_message(m, rest);
	else
		for (uint16_t no = 1; span_split(&rest, '\n', &line); no = (uint16_t)(no % 60 + 1))
			measure(m, line, no);
	buf_free(&file);
}

static void
measure_directory(struct measures *m, DIR *dir, const char *path)
{
	struct dirent *entry;

	while ((entry = readdir(dir)) != NULL) {
		struct buf file = BUF(4096);

		buf_addf(&file, "%s/%s", path, entry->d_name);
		if (span_ends(buf_span(&file), SPAN(".eml")))
			measure_file(m, buf_cstr(&file));
		buf_free(&file);
	}
}

int
main(int argc, char **argv)
{
	unsigned char first[64];
	double start = now();

	if (argc < 2) {
		fprintf(stderr, "usage: token_length FILE.txt | FILE.eml | DIRECTORY ...\n");
		return 2;
	}
	pack(first, sizeof first, SPAN("https://example.com/"));
	printf("the first packing of a process: %.1f ms\n", (now() - start) * 1e3);
	tagging.sealer = sealer_new(&keys);
	for (int i = 1; i < argc; i++) {
		struct measures m = { 0 };
		DIR *dir = opendir(argv[i]);

		if (dir != NULL) {
			measure_directory(&m, dir, argv[i]);
			closedir(dir);
		} else {
			measure_file(&m, argv[i]);
		}
		print_measures(&m, argv[i]);
		free(m.link);
	}
	sealer_free((struct sealer *)tagging.sealer);
	return 0;
}
