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

/* Fails with these words, within a second or two and 200 MB. */
static void
assert_refused(const char *template, FailureCode code, const char *words)
{
	Arena *arena = arena_create();
	clock_t started = clock();
	json_t *variables = json_pack("{s:[s, s]}", "messages", "a", "b");
	Failure failure;
	char *text;
	size_t size;

	assert_fails(render(arena, template, strlen(template), variables, &text,
	                    &size, &failure),
	             failure, code, words);
	assert_true((double) (clock() - started) / CLOCKS_PER_SEC < 5);
	assert_true(memory_used() < (uint64_t) 300 << 20);
	json_decref(variables);
	arena_destroy(arena);
}

static void
loops_without_end_are_stopped(void **state)
{
	(void) state;
	assert_refused("{% for a in range(90000) %}{% for b in range(90000) %}"
	               "{% endfor %}{% endfor %}",
	               FAILURE_BAD_FILE, "more than");
	assert_refused("{% for a in range(99999) %}{% for b in range(9999) %}"
	               "{% for c in range(9999) %}x{% endfor %}{% endfor %}"
	               "{% endfor %}",
	               FAILURE_BAD_FILE, "more than");
	assert_refused("{{ range(10 ** 9) | list }}", FAILURE_BAD_INPUT,
	               "a range of more than 100000 numbers");
	assert_refused("{% set ns = namespace(s='ab' * 1000000) %}"
	               "{% for a in range(90000) %}{{ 'x' if 'zz' in ns.s }}"
	               "{% endfor %}",
	               FAILURE_BAD_FILE, "more than");
}

static void
texts_that_double_are_stopped(void **state)
{
	(void) state;
	assert_refused("{% set ns = namespace(s='ab') %}{% for a in range(99) %}"
	               "{% set ns.s = ns.s + ns.s %}{% endfor %}",
	               FAILURE_BAD_FILE, "memory");
	assert_refused("{{ 'a' * 10 ** 12 }}", FAILURE_BAD_FILE, "memory");
	assert_refused("{{ ('a' * 1000000).replace('a', 'b' * 1000000) }}",
	               FAILURE_BAD_FILE, "MB");
	assert_refused("{{ [0] * 10 ** 15 }}", FAILURE_BAD_FILE, "");
	assert_refused("{% set ns = namespace(l=[1]) %}{% for a in range(99) %}"
	               "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
	               FAILURE_BAD_FILE, "");
	assert_refused("{{ 'x' | indent(10 ** 12) }}", FAILURE_BAD_FILE, "memory");
	assert_refused("{{ [1] | tojson(indent=10 ** 12) }}", FAILURE_BAD_FILE,
	               "memory");
	assert_refused("{% for a in range(9999) %}{{ 'x' * 10000 }}{% endfor %}",
	               FAILURE_BAD_FILE, "writes more than 16 MB");
}

static void
recursion_is_stopped(void **state)
{
	(void) state;
	assert_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
	               FAILURE_BAD_FILE, "nested deeper");
	assert_refused("{% macro a() %}{{ b() }}{% endmacro %}"
	               "{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
	               FAILURE_BAD_FILE, "nested deeper");
	assert_refused("{% set ns = namespace(l=[]) %}{% for a in range(9999) %}"
	               "{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l }}",
	               FAILURE_BAD_FILE, "nested deeper");
	assert_refused("{% set ns = namespace(l=[]) %}{% for a in range(9999) %}"
	               "{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l == [ns.l] }}",
	               FAILURE_BAD_FILE, "nested deeper");
	assert_refused("{% for x in messages recursive %}{{ loop(messages) }}"
	               "{% endfor %}",
	               FAILURE_BAD_FILE, "nested deeper");
	assert_refused("{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}"
	               "{{ m(0) }}",
	               FAILURE_BAD_FILE, "nested deeper");
}

/* count times part, between before and after. */
static void
assert_deep_is_refused(const char *before, const char *part, int count,
                       const char *after)
{
	size_t length = strlen(part);
	char *template =
		malloc(strlen(before) + strlen(after) + length * (size_t) count + 1);
	char *end = stpcpy(template, before);

	for (int i = 0; i < count; i++)
		end = stpcpy(end, part);
	strcpy(end, after);
	assert_refused(template, FAILURE_BAD_FILE, "");
	free(template);
}

static void
templates_nested_too_deep_are_refused(void **state)
{
	(void) state;
	assert_deep_is_refused("{{ ", "(", 100000, "");
	assert_deep_is_refused("{{ ", "[", 100000, "");
	assert_deep_is_refused("{{ ", "{1:", 100000, "");
	assert_deep_is_refused("{{ ", "not ", 100000, "x }}");
	assert_deep_is_refused("{{ ", "- ", 100000, "1 }}");
	assert_deep_is_refused("{{ 1", " + 1", 100000, " }}");
	assert_deep_is_refused("{{ x", " if x else x", 100000, " }}");
	assert_deep_is_refused("{{ x", " | string", 100000, " }}");
	assert_deep_is_refused("{{ messages", "[0]", 100000, " }}");
	assert_deep_is_refused("", "{% if 1 %}", 100000, "");
	assert_deep_is_refused("", "{% for x in [1] %}", 100000, "");
	assert_deep_is_refused("{% for ", "(", 100000, "x in y %}{% endfor %}");
	assert_deep_is_refused("{% set x ", "| upper ", 100000, "%}{% endset %}");
}

static void
what_is_not_known_is_named_with_its_line(void **state)
{
	(void) state;
	assert_refused("a\n\n{% include 'x' %}", FAILURE_UNSUPPORTED,
	               "chat template, line 3: the tag \"include\"");
	assert_refused("a\n{{ s | pprint }}", FAILURE_UNSUPPORTED,
	               "line 2: filter \"pprint\" is not supported");
	assert_refused("a\n{{ 1 is prime }}", FAILURE_UNSUPPORTED,
	               "line 2: test \"prime\" is not supported");
	assert_refused("\n{{ 99999999999999999999 }}", FAILURE_UNSUPPORTED,
	               "line 2: the number 99999999999999999999");
	assert_refused("{{ 2 ** 200 }}", FAILURE_UNSUPPORTED, "64 bits");
	assert_refused("{{ 9223372036854775807 + 1 }}", FAILURE_UNSUPPORTED,
	               "64 bits");
	assert_refused("\n\n{{ messages", FAILURE_BAD_FILE, "line 3");
	assert_refused("\xff", FAILURE_BAD_FILE, "not UTF-8");
}

static void
a_refusal_has_the_words_of_the_template(void **state)
{
	Arena *arena = arena_create();
	const char template[] = "\n{{ raise_exception('only ' ~ 2 ~ ' turns') }}";
	json_t *variables = json_object();
	Failure failure;
	char *text;
	size_t size;

	(void) state;
	assert_false(render(arena, template, strlen(template), variables, &text,
	                    &size, &failure));
	assert_int_equal(failure.code, FAILURE_BAD_INPUT);
	assert_string_equal(failure.message, "only 2 turns");
	assert_non_null(strstr(failure.context, "chat template, line 2"));
	json_decref(variables);
	arena_destroy(arena);
}

static void
strftime_now_is_the_time(void **state)
{
	Arena *arena = arena_create();
	const char template[] = "{{ strftime_now('%Y-%m-%d|%d %b %Y|%f|%%|%Z') }}";
	json_t *variables = json_object();
	char expected[64];
	time_t now = time(NULL);
	Failure failure;
	struct tm parts;
	char *text;
	size_t size;

	(void) state;
	assert_ok(render(arena, template, strlen(template), variables, &text, &size,
	                 &failure),
	          failure);
	localtime_r(&now, &parts);
	strftime(expected, sizeof(expected), "%Y-%m-%d|%d %b %Y|", &parts);
	assert_memory_equal(text, expected, strlen(expected));
	assert_int_equal(strlen(text), strlen(expected) + strlen("123456|%|"));
	json_decref(variables);
	arena_destroy(arena);
}

/* A template is read once and rendered with other variables. */
static void
a_template_can_be_rendered_again(void **state)
{
	Arena *arena = arena_create();
	const char source[] = "{% set x = n + 1 %}{{ x }}";
	Failure failure = {0};
	JinjaTemplate *template;
	char *text;
	size_t size;

	(void) state;
	assert_ok(jinja_read(arena, source, strlen(source), &template, &failure),
	          failure);
	for (int i = 0; i < 3; i++)
	{
		json_t *variables = json_pack("{s:i}", "n", i);

		assert_ok(
			jinja_render(template, arena, variables, &text, &size, &failure),
			failure);
		assert_int_equal(atoi(text), i + 1);
		json_decref(variables);
	}
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(constructs_give_what_they_give_in_jinja2),
		cmocka_unit_test(loops_without_end_are_stopped),
		cmocka_unit_test(texts_that_double_are_stopped),
		cmocka_unit_test(recursion_is_stopped),
		cmocka_unit_test(templates_nested_too_deep_are_refused),
		cmocka_unit_test(what_is_not_known_is_named_with_its_line),
		cmocka_unit_test(a_refusal_has_the_words_of_the_template),
		cmocka_unit_test(strftime_now_is_the_time),
		cmocka_unit_test(a_template_can_be_rendered_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
