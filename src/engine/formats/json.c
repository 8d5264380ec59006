/*
 * json.c
 *		Reading JSON, and typed access to its members.
 */
#include "formats/json.h"

#include "base/file.h"

#include <math.h>
#include <string.h>

#define LARGEST_EXACT 9007199254740992.0 /* 2^53 */

static void
release(void *value)
{
	json_decref(value);
}

bool
json_open_text(Arena *arena, const char *text, size_t length, const char *what,
               json_t **value, Failure *failure)
{
	size_t flags = JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL;
	json_error_t error;

	*value = json_loadb(text, length, flags, &error);

	/* Python writes 10^30 as an integer ("model_max_length"): those files are
	 * read again with all numbers as doubles. */
	if (*value == NULL &&
	    json_error_code(&error) == json_error_numeric_overflow)
		*value =
			json_loadb(text, length, flags | JSON_DECODE_INT_AS_REAL, &error);
	if (*value == NULL)
		return fail(failure, FAILURE_BAD_FILE,
		            "%s is not valid JSON: %s (line %d, column %d)", what,
		            error.text, error.line, error.column);
	arena_on_destroy(arena, release, *value);
	return true;
}

bool
json_open_file(Arena *arena, const char *path, size_t max_size, json_t **value,
               Failure *failure)
{
	Arena *scratch = arena_create();
	size_t size = 0;
	char *text = file_read(scratch, path, max_size, &size, failure);
	bool done = false;

	if (text != NULL)
	{
		char *what = arena_printf(scratch, "\"%s\"", path);

		done = json_open_text(arena, text, size, what, value, failure);
	}
	arena_destroy(scratch);
	return done;
}

const char *
json_type_name(const json_t *value)
{
	if (value == NULL)
		return "nothing";
	switch (json_typeof(value))
	{
		case JSON_OBJECT:
			return "an object";
		case JSON_ARRAY:
			return "an array";
		case JSON_STRING:
			return "a string";
		case JSON_INTEGER:
			return "an integer";
		case JSON_REAL:
			return "a number";
		case JSON_TRUE:
			return "true";
		case JSON_FALSE:
			return "false";
		default:
			return "null";
	}
}

bool
json_write_file(const json_t *value, const char *path, Failure *failure)
{
	char *text = json_dumps(value, JSON_INDENT(2));
	bool done;

	if (text == NULL)
		return fail(failure, FAILURE_INTERNAL, "cannot write \"%s\"", path);
	done = file_write_whole(path, text, strlen(text), failure);
	free(text);
	return done;
}

bool
json_as_int(const json_t *value, int64_t *integer)
{
	double real;

	if (json_is_integer(value))
	{
		*integer = json_integer_value(value);
		return true;
	}
	if (!json_is_real(value))
		return false;
	real = json_real_value(value);
	if (!(fabs(real) <= LARGEST_EXACT) || real != floor(real))
		return false;
	*integer = (int64_t) real;
	return true;
}

json_t *
json_member(const json_t *object, const char *key)
{
	json_t *value = json_object_get(object, key);

	return json_is_null(value) ? NULL : value;
}

bool
json_get_int(const json_t *object, const char *key, int64_t fallback,
             int64_t min, int64_t max, int64_t *value, Failure *failure)
{
	json_t *member = json_member(object, key);

	*value = fallback;
	if (member == NULL)
		return true;
	if (!json_as_int(member, value))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" must be an integer, not %s", key,
		            json_type_name(member));
	if (*value < min || *value > max)
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" must be between %lld and %lld, not %lld", key,
		            (long long) min, (long long) max, (long long) *value);
	return true;
}

bool
json_get_double(const json_t *object, const char *key, double fallback,
                double min, double max, double *value, Failure *failure)
{
	json_t *member = json_member(object, key);

	*value = fallback;
	if (member == NULL)
		return true;
	if (!json_is_number(member))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" must be a number, not %s", key,
		            json_type_name(member));
	*value = json_number_value(member);
	if (!(*value >= min && *value <= max))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" must be between %g and %g, not %g", key, min, max,
		            *value);
	return true;
}

bool
json_get_bool(const json_t *object, const char *key, bool fallback, bool *value,
              Failure *failure)
{
	json_t *member = json_member(object, key);

	*value = fallback;
	if (member == NULL)
		return true;
	if (!json_is_boolean(member))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" must be true or false, not %s", key,
		            json_type_name(member));
	*value = json_is_true(member);
	return true;
}

bool
json_get_string(const json_t *object, const char *key, const char *fallback,
                const char **value, Failure *failure)
{
	json_t *member = json_member(object, key);

	*value = fallback;
	if (member == NULL)
		return true;
	if (!json_is_string(member))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" must be a string, not %s", key,
		            json_type_name(member));
	*value = json_string_value(member);
	if (strlen(*value) != json_string_length(member))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" must not contain a zero character", key);
	return true;
}

bool
json_get_object(const json_t *object, const char *key, json_t **value,
                Failure *failure)
{
	*value = json_member(object, key);
	if (*value != NULL && !json_is_object(*value))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" must be an object, not %s", key,
		            json_type_name(*value));
	return true;
}

bool
json_get_array(const json_t *object, const char *key, json_t **value,
               Failure *failure)
{
	*value = json_member(object, key);
	if (*value != NULL && !json_is_array(*value))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" must be an array, not %s", key,
		            json_type_name(*value));
	return true;
}

json_t *
json_number_or_null(double number)
{
	return isfinite(number) ? json_real(number) : json_null();
}
