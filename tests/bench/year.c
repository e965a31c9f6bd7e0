/*
 * year.c -- a year of weekly campaigns: who ends where, what mail is saved, and who is stopped that should not be.
 *
 *	year [PEOPLE [SETTINGS]]
 *
 * 50,000 people whose behaviour is known (year.h), under the policy that ships
 * or that of a file, with and without telling machines from people.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/setup.h"
#include "tests/bench/year.h"

static double
percent(uint64_t part, uint64_t whole)
{
	return whole ? 100 * (double)part / (double)whole : 0;
}

/* Of the mail to who is dead from some week on only what came after that is looked at. */
static double
saved(const struct year_sums *s)
{
	return 100 - (s->dead_offered ? percent(s->dead_sent, s->dead_offered) : percent(s->sent + s->series, s->offered));
}

static void
row(const char *name, const struct year_sums *s, double mail_saved)
{
	const uint64_t numbers[] = { s->people, s->class[ENGAGE_ENGAGED], s->class[ENGAGE_SEMI], s->end[CAUSE_INACTIVE], s->end[CAUSE_SUNSET],
		s->end[CAUSE_SOFT_BOUNCED], s->end[CAUSE_COMPLAINED] + s->end[CAUSE_BOUNCED] + s->end[CAUSE_UNSUBSCRIBED],
		s->class[ENGAGE_INACTIVE] };

	printf("%-23s", name);
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		printf(" %8llu", (unsigned long long)numbers[i]);
	printf(" %6.1f %% %6.2f %% %8llu %8llu\n", mail_saved, percent(s->stopped, s->people), (unsigned long long)s->returned,
	    (unsigned long long)s->unread);
}

/*
 * At the end: how many are engaged and semi-engaged; stopped as inactive (in
 * rest or in the series), after the series, for soft bounces, for good; inactive
 * but of the control group.  In the year: mail not sent to them, the series
 * counted as mail; people ever stopped for silence, and those of them who are not
 * any more; messages withheld that would have been read.
 */
static void
print_year(const struct year *y, bool filter)
{
	const struct year_sums *r = &y->group[GROUP_READERS];

	printf("%s%s\n\n%-23s %8s %8s %8s %8s %8s %8s %8s %8s %8s %8s %8s %8s\n", filter ? "" : "\n",
	    filter ? "machines told from people" : "every hit taken for a person's", "", "people", "engaged", "semi", "inactive", "sunset",
	    "soft", "gone", "control", "saved", "stopped", "back", "missed");
	for (size_t i = 0; i < GROUPS; i++)
		row(year_groups[i].name, &y->group[i], saved(&y->group[i]));
	row("all", &y->all, 100 - percent(y->all.sent + y->all.series, y->all.offered));
	printf("\nmail to dead addresses saved  %.1f %% (goal 80 %%)\n", 100 - percent(y->all.dead_sent, y->all.dead_offered));
	printf("readers ever stopped          %.3f %% (goal 0.1 %%): %llu of %llu\n", percent(r->stopped, r->people),
	    (unsigned long long)r->stopped, (unsigned long long)r->people);
	printf("messages after leaving        %llu\n", (unsigned long long)y->all.after_leaving);
}

int
main(int argc, char **argv)
{
	uint64_t people = argc > 1 ? strtoull(argv[1], NULL, 10) : 50000;
	struct buf why = BUF(10000);
	struct conf *conf;

	if (argc > 2)
		conf = setup_conf(argv[2], &why);
	else
		conf = conf_parse(SPAN("tracking_url = https://t.example\nprivacy_profile = classic\n"), "default", &why);
	if (conf == NULL)
		errx(1, "%s", buf_cstr(&why));
	for (int filter = 1; filter >= 0; filter--) {
		struct year y = year_run(conf, people, filter);

		print_year(&y, filter);
	}
	conf_free(conf);
	return 0;
}
