/*
 * gguf_values.c
 *		The metadata of a GGUF file by key.
 */
#include "formats/gguf_parts.h"

#include <string.h>

const int gguf_least_bytes[GGUF_TYPES] = {1, 1, 2,  2, 4, 4, 4,
                                          1, 8, 12, 8, 8, 8};

uint64_t
gguf_little_endian(const uint8_t *bytes, int count)
{
	uint64_t value = 0;

	for (int i = count - 1; i >= 0; i--)
		value = value << 8 | bytes[i];
	return value;
}

static const Entry *
find(const GgufFile *file, const char *key)
{
	Entry wanted = {.key = key};

	return bsearch(&wanted, file->entries, file->entry_count, sizeof(Entry),
	               gguf_compare_keys);
}

bool
gguf_entry(const GgufFile *file, size_t index, const char *prefix,
           GgufText *bytes)
{
	const Entry *entry;

	if (index >= file->entry_count)
		return false;
	entry = &file->entries[index];
	*bytes = (GgufText){(const char *) entry->start, 0};
	if (strncmp(entry->key, prefix, strlen(prefix)) == 0)
		bytes->length = (size_t) (entry->end - entry->start);
	return true;
}

bool
gguf_has(const GgufFile *file, const char *key)
{
	return find(file, key) != NULL;
}

static bool
fail_type(const GgufFile *file, const Entry *entry, const char *expected,
          Failure *failure)
{
	return fail(failure, FAILURE_BAD_FILE,
	            "\"%s\" in \"%s\" is %s of type %d, not %s", entry->key,
	            file->path, entry->is_array ? "an array" : "a value",
	            (int) entry->type, expected);
}

static bool
is_integer(GgufType type)
{
	return type <= GGUF_I32 || type == GGUF_U64 || type == GGUF_I64;
}

/* An integer of a type as int64_t; U64 beyond it becomes its maximum. */
static int64_t
integer_at(const uint8_t *data, GgufType type)
{
	uint64_t bits = gguf_little_endian(data, gguf_least_bytes[type]);

	switch (type)
	{
		case GGUF_I8:
			return (int8_t) bits;
		case GGUF_I16:
			return (int16_t) bits;
		case GGUF_I32:
			return (int32_t) bits;
		case GGUF_U64:
			return bits > INT64_MAX ? INT64_MAX : (int64_t) bits;
		default:
			return (int64_t) bits;
	}
}

static double
number_at(const uint8_t *data, GgufType type)
{
	float single;
	double number;

	if (type == GGUF_F32)
	{
		memcpy(&single, data, sizeof(single));
		return single;
	}
	if (type != GGUF_F64)
		return (double) integer_at(data, type);
	memcpy(&number, data, sizeof(number));
	return number;
}

bool
gguf_get_int(const GgufFile *file, const char *key, int64_t fallback,
             int64_t min, int64_t max, int64_t *value, Failure *failure)
{
	const Entry *entry = find(file, key);

	*value = fallback;
	if (entry == NULL)
		return true;
	if (entry->is_array || !is_integer(entry->type))
		return fail_type(file, entry, "an integer", failure);
	*value = integer_at(entry->data, entry->type);
	return (*value >= min && *value <= max) ||
	       fail(failure, FAILURE_BAD_FILE,
	            "\"%s\" in \"%s\" is %lld, not between %lld and %lld", key,
	            file->path, (long long) *value, (long long) min,
	            (long long) max);
}

bool
gguf_get_double(const GgufFile *file, const char *key, double fallback,
                double min, double max, double *value, Failure *failure)
{
	const Entry *entry = find(file, key);

	*value = fallback;
	if (entry == NULL)
		return true;
	if (entry->is_array || entry->type == GGUF_BOOL ||
	    entry->type == GGUF_STRING)
		return fail_type(file, entry, "a number", failure);
	*value = number_at(entry->data, entry->type);
	return (*value >= min && *value <= max) ||
	       fail(failure, FAILURE_BAD_FILE,
	            "\"%s\" in \"%s\" is %g, not between %g and %g", key,
	            file->path, *value, min, max);
}

bool
gguf_get_bool(const GgufFile *file, const char *key, bool fallback, bool *value,
              Failure *failure)
{
	const Entry *entry = find(file, key);

	*value = fallback;
	if (entry == NULL)
		return true;
	if (entry->is_array || entry->type != GGUF_BOOL)
		return fail_type(file, entry, "true or false", failure);
	*value = entry->data[0] != 0;
	return true;
}

bool
gguf_get_text(const GgufFile *file, const char *key, const char *fallback,
              const char **value, Failure *failure)
{
	const Entry *entry = find(file, key);
	const char *text;
	size_t length;

	*value = fallback;
	if (entry == NULL)
		return true;
	if (entry->is_array || entry->type != GGUF_STRING)
		return fail_type(file, entry, "a text", failure);
	text = (const char *) entry->data + 8;
	length = (size_t) (entry->end - entry->data) - 8;
	if (memchr(text, 0, length) != NULL)
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" in \"%s\" has a zero byte", key, file->path);
	*value = arena_strndup(file->arena, text, length);
	return true;
}

bool
gguf_get_texts(Arena *arena, const GgufFile *file, const char *key,
               GgufText **texts, size_t *count, Failure *failure)
{
	const Entry *entry = find(file, key);
	const uint8_t *at;

	*texts = NULL;
	*count = 0;
	if (entry == NULL)
		return true;
	if (!entry->is_array || entry->type != GGUF_STRING)
		return fail_type(file, entry, "an array of texts", failure);
	*texts = arena_try(arena, entry->count, sizeof(GgufText), failure);
	if (*texts == NULL)
		return false;
	*count = entry->count;
	at = entry->data;
	for (size_t i = 0; i < entry->count; i++)
	{
		size_t length = gguf_little_endian(at, 8);

		(*texts)[i] = (GgufText){(const char *) at + 8, length};
		at += 8 + length;
	}
	return true;
}

bool
gguf_get_doubles(Arena *arena, const GgufFile *file, const char *key,
                 double **numbers, size_t *count, Failure *failure)
{
	const Entry *entry = find(file, key);

	*numbers = NULL;
	*count = 0;
	if (entry == NULL)
		return true;
	if (!entry->is_array || entry->type == GGUF_STRING ||
	    entry->type == GGUF_ARRAY || entry->type == GGUF_BOOL)
		return fail_type(file, entry, "an array of numbers", failure);
	*numbers = arena_try(arena, entry->count, sizeof(double), failure);
	if (*numbers == NULL)
		return false;
	*count = entry->count;
	for (size_t i = 0; i < entry->count; i++)
		(*numbers)[i] =
			number_at(entry->data + i * (size_t) gguf_least_bytes[entry->type],
		              entry->type);
	return true;
}
