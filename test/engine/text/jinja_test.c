/*
 * jinja_test.c
 *		The template language beside jinja2, and templates that mean harm.
 */
#include "testing.h"

#include "text/jinja/jinja.h"

#include <time.h>

/* Renders the template; false with the failure. */
static bool
render(Arena *arena, const char *template, size_t length, json_t *variables,
       char **text, size_t *size, Failure *failure)
{
	JinjaTemplate *read;

	memset(failure, 0, sizeof(Failure));
	return jinja_read(arena, template, length, &read, failure) &&
	       jinja_render(read, arena, variables, text, size, failure);
}

/* One golden case; says what is wrong with it. */
static bool
check_construct(Arena *arena, json_t *row, json_t *variables)
{
	json_t *template = json_object_get(row, "template");
	json_t *expected = json_object_get(row, "text");
	const char *source = json_string_value(template);
	Failure failure;
	char *text = NULL;
	size_t size = 0;
	bool good = render(arena, source, json_string_length(template), variables,
	                   &text, &size, &failure);

	if (good != (expected != NULL))
	{
		print_error("%s\n  %s %s\n", source, good ? "gives" : "fails with",
		            good ? text : failure.message);
		return false;
	}
	if (good && (size != json_string_length(expected) ||
	             memcmp(text, json_string_value(expected), size) != 0))
	{
		print_error("%s\n  gives  \"%s\"\n  not    \"%s\"\n", source, text,
		            json_string_value(expected));
		return false;
	}
	return true;
}

static void
constructs_give_what_they_give_in_jinja2(void **state)
{
	Arena *arena = arena_create();
	json_t *golden = test_read_json(arena, test_golden_path(arena, "chat"),
	                                "constructs.json");
	json_t *variables = json_object_get(golden, "variables");
	json_t *rows = json_object_get(golden, "cases");
	int wrong = 0;

	(void) state;
	assert_true(json_array_size(rows) > 200);
	for (size_t i = 0; i < json_array_size(rows); i++)
		wrong += !check_construct(arena, json_array_get(rows, i), variables);
	assert_int_equal(wrong, 0);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(constructs_give_what_they_give_in_jinja2),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
