/*
 * json_test.c
 *		JSON is read as Python writes it, and wrong types are refused by name.
 */
#include "testing.h"

static Arena *arena;
static Failure failure;

static json_t *
parse(const char *text)
{
	json_t *value = NULL;

	assert_ok(
		json_open_text(arena, text, strlen(text), "the text", &value, &failure),
		failure);
	return value;
}

static void
absent_and_null_members_give_the_fallback(void **state)
{
	json_t *object = parse("{\"a\": null}");
	const char *text;
	double real;
	int64_t value;
	bool flag;

	(void) state;
	assert_true(json_get_int(object, "a", 7, 0, 9, &value, &failure));
	assert_int_equal(value, 7);
	assert_true(json_get_double(object, "b", 0.5, 0, 9, &real, &failure));
	assert_true(real == 0.5);
	assert_true(json_get_bool(object, "c", true, &flag, &failure));
	assert_true(flag);
	assert_true(json_get_string(object, "a", "x", &text, &failure));
	assert_string_equal(text, "x");
}

static void
an_integer_may_be_written_as_a_real(void **state)
{
	json_t *object = parse("{\"a\": 10000.0, \"b\": 1.5}");
	int64_t value;

	(void) state;
	assert_true(json_get_int(object, "a", 0, 0, 100000, &value, &failure));
	assert_int_equal(value, 10000);
	assert_fails(json_get_int(object, "b", 0, 0, 9, &value, &failure), failure,
	             FAILURE_BAD_FILE, "\"b\" must be an integer, not a number");
}

/* Hugging Face's tokenizers say 10^30 for "no limit". */
static void
integers_beyond_64_bits_are_read(void **state)
{
	json_t *object = parse("{\"model_max_length\": "
	                       "1000000000000000019884624838656, \"n\": 5}");
	int64_t value;

	(void) state;
	assert_true(json_get_int(object, "n", 0, 0, 9, &value, &failure));
	assert_int_equal(value, 5);
	assert_fails(
		json_get_int(object, "model_max_length", 0, 0, 9, &value, &failure),
		failure, FAILURE_BAD_FILE, "must be an integer");
}

static void
wrong_types_and_ranges_are_named(void **state)
{
	json_t *object = parse("{\"n\": 12, \"s\": \"x\\u0000y\", \"f\": []}");
	const char *text;
	double real;
	int64_t value;
	bool flag;

	(void) state;
	assert_fails(json_get_int(object, "n", 0, 1, 9, &value, &failure), failure,
	             FAILURE_BAD_FILE, "\"n\" must be between 1 and 9, not 12");
	assert_fails(json_get_bool(object, "n", false, &flag, &failure), failure,
	             FAILURE_BAD_FILE, "\"n\" must be true or false");
	assert_fails(json_get_double(object, "f", 0, 0, 1, &real, &failure),
	             failure, FAILURE_BAD_FILE, "must be a number, not an array");
	assert_fails(json_get_string(object, "s", NULL, &text, &failure), failure,
	             FAILURE_BAD_FILE, "zero character");
}

static bool
refuses(const char *text, size_t length, const char *part)
{
	json_t *value = NULL;

	if (json_open_text(arena, text, length, "the text", &value, &failure))
		return false;
	return strstr(failure.message, part) != NULL &&
	       failure.code == FAILURE_BAD_FILE;
}

static void
broken_json_is_refused(void **state)
{
	static char deep[10000];

	(void) state;
	memset(deep, '[', sizeof(deep));
	assert_true(refuses(deep, sizeof(deep), "not valid JSON"));
	assert_true(refuses("{\"a\": 1, \"a\": 2}", 16, "duplicate"));
	assert_true(refuses("\"\xff\"", 3, "not valid JSON"));
	assert_true(refuses("{\"a\": 1", 7, "not valid JSON"));
	assert_true(refuses("", 0, "not valid JSON"));
	assert_true(refuses("[1e999]", 7, "not valid JSON"));
}

static void
a_file_beyond_its_limit_is_refused(void **state)
{
	char *directory = test_directory(arena);
	char *path = test_write(arena, directory, "a.json", "[1, 2]", 6);
	json_t *value;

	(void) state;
	assert_ok(json_open_file(arena, path, 6, &value, &failure), failure);
	assert_int_equal(json_array_size(value), 2);
	assert_fails(json_open_file(arena, path, 5, &value, &failure), failure,
	             FAILURE_BAD_FILE, "has 6 bytes, more than the 5");
	unlink(path);
	rmdir(directory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(absent_and_null_members_give_the_fallback),
		cmocka_unit_test(an_integer_may_be_written_as_a_real),
		cmocka_unit_test(integers_beyond_64_bits_are_read),
		cmocka_unit_test(wrong_types_and_ranges_are_named),
		cmocka_unit_test(broken_json_is_refused),
		cmocka_unit_test(a_file_beyond_its_limit_is_refused),
	};
	int failed;

	arena = arena_create();
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	arena_destroy(arena);
	return failed;
}
