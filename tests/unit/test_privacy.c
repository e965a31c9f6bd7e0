#include "common/privacy.h"
#include "tests/unit/unit.h"

static const struct {
	const char *what;
	enum privacy_profile profile;
	enum axis axis;
	enum consent consent;
	enum mode mode;
} rows[] = {
	{ "no profile allows nothing", PRIVACY_UNSET, AXIS_OPENS, CONSENT_GRANTED, MODE_OFF },
	{ "classic tracks who was never asked", PRIVACY_CLASSIC, AXIS_OPENS, CONSENT_UNKNOWN, MODE_IDENTIFIED },
	{ "classic tracks the clicks of who was never asked", PRIVACY_CLASSIC, AXIS_LINKS, CONSENT_UNKNOWN,
	    MODE_IDENTIFIED },
	{ "classic keeps all with consent", PRIVACY_CLASSIC, AXIS_OPENS, CONSENT_GRANTED, MODE_FULL },
	{ "classic honours a denial", PRIVACY_CLASSIC, AXIS_OPENS, CONSENT_DENIED, MODE_OFF },
	{ "classic honours a denial of links", PRIVACY_CLASSIC, AXIS_LINKS, CONSENT_DENIED, MODE_OFF },
	{ "eu keeps the day of the last open", PRIVACY_EU, AXIS_OPENS, CONSENT_UNKNOWN, MODE_DAYONLY },
	{ "eu counts links without names", PRIVACY_EU, AXIS_LINKS, CONSENT_UNKNOWN, MODE_ANONYMOUS },
	{ "eu tracks opens with consent", PRIVACY_EU, AXIS_OPENS, CONSENT_GRANTED, MODE_IDENTIFIED },
	{ "eu tracks links with consent", PRIVACY_EU, AXIS_LINKS, CONSENT_GRANTED, MODE_IDENTIFIED },
	{ "eu honours a denial", PRIVACY_EU, AXIS_OPENS, CONSENT_DENIED, MODE_OFF },
	{ "strict counts opens without names", PRIVACY_STRICT, AXIS_OPENS, CONSENT_UNKNOWN, MODE_ANONYMOUS },
	{ "strict counts links without names", PRIVACY_STRICT, AXIS_LINKS, CONSENT_UNKNOWN, MODE_ANONYMOUS },
	{ "strict honours a denial", PRIVACY_STRICT, AXIS_LINKS, CONSENT_DENIED, MODE_OFF },
	{ "strict tracks with consent", PRIVACY_STRICT, AXIS_LINKS, CONSENT_GRANTED, MODE_IDENTIFIED },
	{ "a profile of tomorrow allows nothing today", (enum privacy_profile)9, AXIS_OPENS, CONSENT_GRANTED,
	    MODE_OFF },
	{ "so does an unknown consent", PRIVACY_CLASSIC, AXIS_OPENS, (enum consent)3, MODE_OFF },
};

static void
test_allows(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(rows); i++) {
		if (privacy_allows(rows[i].profile, rows[i].axis, rows[i].consent) != rows[i].mode)
			fail_msg("%s", rows[i].what);
	}
}

static void
test_consent_never_costs(void **state)
{
	(void)state;
	for (int p = PRIVACY_UNSET; p <= PRIVACY_STRICT; p++) {
		for (int a = AXIS_OPENS; a <= AXIS_LINKS; a++) {
			enum mode denied = privacy_allows(p, a, CONSENT_DENIED),
				  unknown = privacy_allows(p, a, CONSENT_UNKNOWN);

			assert_int_equal(denied, MODE_OFF);
			assert_true(unknown <= privacy_allows(p, a, CONSENT_GRANTED));
			assert_int_equal(mode_min(denied, unknown), MODE_OFF);
		}
	}
}

static void
test_names(void **state)
{
	enum mode m;
	enum consent c;

	(void)state;
	for (int i = MODE_OFF; i <= MODE_FULL; i++) {
		assert_true(mode_parse(span_of(mode_name(i)), &m));
		assert_int_equal(m, i);
	}
	for (int i = CONSENT_UNKNOWN; i <= CONSENT_GRANTED; i++) {
		assert_true(consent_parse(span_of(consent_name(i)), &c));
		assert_int_equal(c, i);
	}
	assert_true(mode_parse(SPAN("DayOnly"), &m));
	assert_int_equal(m, MODE_DAYONLY);
	m = MODE_FULL;
	assert_false(mode_parse(SPAN("offf"), &m));
	assert_false(mode_parse(SPAN(""), &m));
	assert_false(consent_parse(SPAN("grant"), &c));
	assert_int_equal(m, MODE_FULL);
	assert_string_equal(mode_name(MODE_FULL + 1), "unknown");
}

static void
test_min(void **state)
{
	static const enum consent ladder[] = { CONSENT_DENIED, CONSENT_UNKNOWN, CONSENT_GRANTED };

	(void)state;
	for (size_t a = 0; a < COUNT(ladder); a++)
		for (size_t b = 0; b < COUNT(ladder); b++)
			assert_int_equal(consent_min(ladder[a], ladder[b]), ladder[a < b ? a : b]);
}

#define G CONSENT_GRANTED
#define D CONSENT_DENIED
#define U CONSENT_UNKNOWN
static const struct {
	const char *what, *text;
	bool good;
	enum consent opens, links;
} axes_rows[] = {
	{ "one word for both", "granted", true, G, G },
	{ "denied", "denied", true, D, D },
	{ "unknown", "unknown", true, U, U },
	{ "case and space do not matter", " \tDenied\r\n ", true, D, D },
	{ "each axis", "opens=granted; links=denied", true, G, D },
	{ "in any order, folded, spaced", "LINKS = denied ;\r\n\topens= unknown", true, U, D },
	{ "an axis that is not named is not lowered", "opens=denied", true, D, G },
	{ "a semicolon at the end", "links=denied;", true, G, D },
	{ "nothing", "", false, U, U },
	{ "only space", " \r\n ", false, U, U },
	{ "only a semicolon", ";", false, U, U },
	{ "a word that is none", "yes", false, U, U },
	{ "two words", "granted denied", false, U, U },
	{ "a word and an axis", "granted; links=denied", false, U, U },
	{ "an axis without a word", "opens", false, U, U },
	{ "an axis with an empty word", "opens=", false, U, U },
	{ "a word that is not one, second", "opens=granted; links=maybe", false, U, U },
	{ "an axis that is none", "opens=granted; pixels=denied", false, U, U },
	{ "an axis twice", "opens=granted; opens=denied", false, U, U },
	{ "an empty piece", "opens=granted;; links=denied", false, U, U },
	{ "commas", "opens=granted, links=denied", false, U, U },
	{ "a comment", "granted (double opt-in)", false, U, U },
};
#undef G
#undef D
#undef U

static void
test_axes(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(axes_rows); i++) {
		enum consent said[2] = { CONSENT_UNKNOWN, CONSENT_UNKNOWN };

		assert_row(axes_rows[i].what, consent_parse_axes(span_of(axes_rows[i].text), said) == axes_rows[i].good);
		assert_row(axes_rows[i].what, said[AXIS_OPENS] == axes_rows[i].opens);
		assert_row(axes_rows[i].what, said[AXIS_LINKS] == axes_rows[i].links);
	}
	assert_string_equal(axis_name(AXIS_LINKS), "links");
	assert_string_equal(axis_name((enum axis)2), "unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_allows),
		cmocka_unit_test(test_consent_never_costs),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_min),
		cmocka_unit_test(test_axes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
