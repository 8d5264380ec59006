/*
 * pattern_test.c
 *		Expressions match what Oniguruma matches; the values are those of the
 *		library's Split.
 */
#include "testing.h"

#include "text/steps/pattern.h"

static Arena *arena;
static Failure failure;

/* The matches of an expression, each in brackets. */
static void
check(const char *expression, const char *text, const char *want)
{
	RangeList list = {0};
	Pattern *pattern;
	char *have = arena_strdup(arena, "");

	assert_ok(pattern_open_regex(arena, expression, &pattern, &failure) &&
	              pattern_find_all(pattern, arena, text, strlen(text), &list,
	                               &failure),
	          failure);
	for (size_t i = 0; i < list.count; i++)
		have = arena_printf(arena, "%s[%.*s]", have,
		                    (int) (list.ranges[i].end - list.ranges[i].start),
		                    text + list.ranges[i].start);
	assert_string_equal(have, want);
}

static void
lines_begin_and_end_at_each_newline(void **state)
{
	(void) state;
	check("^.", "ab\ncd", "[a][c]");
	check(".$", "ab\ncd", "[b][d]");
	check("(?m)b.c", "ab\ncd", "[b\nc]");
}

/* But not right behind another match. */
static void
matches_of_no_characters_count(void **state)
{
	(void) state;
	check("a*", "baac", "[][aa][]");
	check("(?=[A-Z])", "aBC", "[][]");
	check("", "ab", "[][][]");
	check("", "", "");
}

static void
words_have_marks_and_connectors(void **state)
{
	(void) state;
	check("\\w+", "a\xcc\x81_1\xc2\xbd-b", "[a\xcc\x81_1\xc2\xbd][b]");
	check("[\\w]+", "a\xc2\xbd", "[a]");
	check("\\bx?\\b", "a\xcc\x81", "[][]");
	check("\\s", "\xe1\xa0\x8e\xc2\xa0", "[\xc2\xa0]");
}

static void
negated_classes_may_stand_in_classes(void **state)
{
	(void) state;
	check("[^\\W_]+", "a_b\xcc\x81-", "[a][b\xcc\x81]");
	check("[^\\S\\n]+", "a \n\tb", "[ ][\t]");
	check("[\\Wx]+", "ax-y", "[x-]");
	check("[\\W]", "a-", "[-]");
}

static void
classes_add_up_and_intersect(void **state)
{
	(void) state;
	check("[a[bc]]+", "abcd", "[abc]");
	check("[a-f&&[^c]]+", "abcdef", "[ab][def]");
	check("[a-f&&c-z]+", "abcdefg", "[cdef]");
	check("[[:punct:]]", "a$.", "[$][.]");
}

static void
escapes_are_those_of_oniguruma(void **state)
{
	(void) state;
	check("\\h+", "ag9 F", "[a][9][F]");
	check("[\\h]+", "ag9", "[a][9]");
	check("\\u00e9", "\xc3\xa9", "[\xc3\xa9]");
	check("a{,2}b", "aaab", "[aab]");
	check("\\p{Han}", "\xe3\x80\x81\xe4\xb8\x80", "[\xe4\xb8\x80]");
}

/* U+31350 is a letter since Unicode 15, U+1FADC a symbol since 16. */
static void
young_characters_have_their_class(void **state)
{
	(void) state;
	check("\\p{L}", "\xf0\xb1\x8d\x90\xf0\x9f\xab\x9c", "[\xf0\xb1\x8d\x90]");
	check("\\p{S}", "\xf0\xb1\x8d\x90\xf0\x9f\xab\x9c", "[\xf0\x9f\xab\x9c]");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_begin_and_end_at_each_newline),
		cmocka_unit_test(matches_of_no_characters_count),
		cmocka_unit_test(words_have_marks_and_connectors),
		cmocka_unit_test(negated_classes_may_stand_in_classes),
		cmocka_unit_test(classes_add_up_and_intersect),
		cmocka_unit_test(escapes_are_those_of_oniguruma),
		cmocka_unit_test(young_characters_have_their_class),
	};
	int failed;

	arena = arena_create();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	arena_destroy(arena);
	return failed;
}
