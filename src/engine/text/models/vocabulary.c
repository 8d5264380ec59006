/*
 * vocabulary.c
 *		The tokens of a model, in a table with open addressing.
 */
#include "text/models/vocabulary.h"

#include <stdio.h>
#include <string.h>

typedef struct Entry
{
	const char *text; /* NULL: no token has this id */
	size_t length;
} Entry;

struct Vocabulary
{
	Entry *entries; /* [limit] by id */
	int limit;
	int count;
	int32_t *slots; /* [mask + 1] id + 1, or 0 where free */
	size_t mask;
};

uint64_t
text_hash(const char *text, size_t length)
{
	uint64_t hash = length * 0x9e3779b97f4a7c15u;
	uint64_t word;

	while (length >= 8)
	{
		memcpy(&word, text, 8);
		hash = (hash ^ word) * 0xd6e8feb86659fd93u;
		hash ^= hash >> 32;
		text += 8;
		length -= 8;
	}
	word = 0;
	memcpy(&word, text, length);
	hash = (hash ^ word) * 0xd6e8feb86659fd93u;
	return hash ^ hash >> 29;
}

/* The slot that holds the text, or the free one where it belongs. */
static size_t
find_slot(const Vocabulary *vocabulary, const char *text, size_t length)
{
	size_t slot = text_hash(text, length) & vocabulary->mask;

	while (vocabulary->slots[slot] != 0)
	{
		const Entry *entry = &vocabulary->entries[vocabulary->slots[slot] - 1];

		if (entry->length == length && memcmp(entry->text, text, length) == 0)
			break;
		slot = (slot + 1) & vocabulary->mask;
	}
	return slot;
}

/* Tables for count tokens, and one block for their texts. */
static bool
allocate(Arena *arena, size_t count, size_t bytes, Vocabulary *vocabulary,
         char **texts, Failure *failure)
{
	size_t slots = 16;

	while (slots < count * 2)
		slots *= 2;
	vocabulary->mask = slots - 1;
	vocabulary->slots = arena_try(arena, slots, sizeof(int32_t), failure);
	if (vocabulary->slots == NULL)
		return false;
	vocabulary->entries =
		arena_try(arena, (size_t) vocabulary->limit, sizeof(Entry), failure);
	if (vocabulary->entries == NULL)
		return false;
	*texts = arena_try(arena, bytes, 1, failure);
	return *texts != NULL;
}

/* Adds a token whose id is free; *next is where its text goes. */
static void
add(Vocabulary *vocabulary, const char *text, size_t length, int32_t id,
    char **next)
{
	memcpy(*next, text, length);
	vocabulary->slots[find_slot(vocabulary, text, length)] = id + 1;
	vocabulary->entries[id] = (Entry){*next, length};
	vocabulary->count++;
	*next += length + 1;
}

bool
vocabulary_open(Arena *arena, const json_t *tokens, int limit,
                Vocabulary **result, Failure *failure)
{
	Vocabulary *vocabulary = arena_alloc(arena, sizeof(Vocabulary));
	size_t bytes = 0;
	const char *text;
	char *next;
	json_t *value;

	if (!json_is_object(tokens))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"vocab\" must be an object, not %s",
		            json_type_name(tokens));
	vocabulary->limit = limit;
	json_object_foreach((json_t *) tokens, text, value) bytes +=
		strlen(text) + 1;
	if (!allocate(arena, json_object_size(tokens), bytes, vocabulary, &next,
	              failure))
		return false;
	json_object_foreach((json_t *) tokens, text, value)
	{
		int64_t id;

		if (!json_as_int(value, &id))
			return fail(failure, FAILURE_BAD_FILE,
			            "id of token \"%s\" is %s, not an integer", text,
			            json_type_name(value));
		if (id < 0 || id >= limit)
			return fail(failure, FAILURE_BAD_FILE,
			            "id %lld of token \"%s\" is not below %d, far above "
			            "the number of tokens",
			            (long long) id, text, limit);
		if (vocabulary->entries[id].text != NULL)
			return fail(failure, FAILURE_BAD_FILE,
			            "tokens \"%s\" and \"%s\" have the same id %lld",
			            vocabulary->entries[id].text, text, (long long) id);
		add(vocabulary, text, strlen(text), (int32_t) id, &next);
	}
	*result = vocabulary;
	return true;
}

bool
vocabulary_open_list(Arena *arena, const json_t *tokens, int limit,
                     Vocabulary **result, Failure *failure)
{
	Vocabulary *vocabulary = arena_alloc(arena, sizeof(Vocabulary));
	size_t count = json_array_size(tokens);
	size_t bytes = 0;
	char *next;

	if (!json_is_array(tokens))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"vocab\" must be an array, not %s",
		            json_type_name(tokens));
	vocabulary->limit = limit;
	for (size_t i = 0; i < count; i++)
	{
		const json_t *token = json_array_get(json_array_get(tokens, i), 0);

		if (!json_is_string(token))
			return fail(failure, FAILURE_BAD_FILE,
			            "token %zu of the vocabulary is %s, not a string", i,
			            json_type_name(token));
		bytes += json_string_length(token) + 1;
	}
	if (!allocate(arena, count, bytes, vocabulary, &next, failure))
		return false;
	for (size_t i = 0; i < count; i++)
	{
		const json_t *token = json_array_get(json_array_get(tokens, i), 0);

		add(vocabulary, json_string_value(token), json_string_length(token),
		    (int32_t) i, &next);
	}
	*result = vocabulary;
	return true;
}

int32_t
vocabulary_find(const Vocabulary *vocabulary, const char *text, size_t length)
{
	return vocabulary->slots[find_slot(vocabulary, text, length)] - 1;
}

const char *
vocabulary_text(const Vocabulary *vocabulary, int32_t id, size_t *length)
{
	if (id < 0 || id >= vocabulary->limit)
		return NULL;
	*length = vocabulary->entries[id].length;
	return vocabulary->entries[id].text;
}

void
vocabulary_find_bytes(const Vocabulary *vocabulary, int32_t ids[256])
{
	for (int byte = 0; byte < 256; byte++)
	{
		char name[8];

		snprintf(name, sizeof(name), "<0x%02X>", (unsigned) byte);
		ids[byte] = vocabulary_find(vocabulary, name, 6);
	}
}

int
vocabulary_count(const Vocabulary *vocabulary)
{
	return vocabulary->count;
}

int
vocabulary_limit(const Vocabulary *vocabulary)
{
	return vocabulary->limit;
}
