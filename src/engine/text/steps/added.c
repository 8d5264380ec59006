/*
 * added.c
 *		Finding added tokens in texts.
 *
 * As in `tokenizers`, tokens that are not "normalized" are cut out of the text
 * as it is, the others out of the normalized text between them.  Of several
 * tokens that begin at the same place the longest counts, of several with the
 * same content the last of the file.
 */
#include "text/steps/added.h"

#include "text/models/trie.h"
#include "text/unicode.h"

#include <string.h>

struct AddedTokens
{
	const AddedToken *tokens;
	Trie *plain;      /* values are places in tokens */
	Trie *normalized; /* the same, by normalized content */
};

static bool
read_token(Arena *arena, const json_t *json, AddedToken *token,
           Failure *failure)
{
	const json_t *content = json_object_get(json, "content");
	int64_t id;

	if (!json_is_string(content))
		return fail(failure, FAILURE_BAD_FILE,
		            "an added token has %s for a content",
		            json_type_name(content));
	token->length = json_string_length(content);
	token->content =
		arena_strndup(arena, json_string_value(content), token->length);
	if (!json_as_int(json_object_get(json, "id"), &id) || id < 0 ||
	    id > INT32_MAX)
		return fail(failure, FAILURE_BAD_FILE,
		            "added token \"%s\" has no valid id", token->content);
	token->id = (int32_t) id;
	return json_get_bool(json, "single_word", false, &token->single_word,
	                     failure) &&
	       json_get_bool(json, "lstrip", false, &token->lstrip, failure) &&
	       json_get_bool(json, "rstrip", false, &token->rstrip, failure) &&
	       json_get_bool(json, "special", false, &token->special, failure) &&
	       json_get_bool(json, "normalized", !token->special,
	                     &token->normalized, failure);
}

bool
added_tokens_read(Arena *arena, const json_t *json, AddedToken **tokens,
                  int *count, Failure *failure)
{
	size_t size = json_array_size(json);

	*count = 0;
	*tokens = arena_try(arena, size, sizeof(AddedToken), failure);
	if (*tokens == NULL)
		return false;
	for (size_t i = 0; i < size; i++)
		if (!read_token(arena, json_array_get(json, i), &(*tokens)[(*count)++],
		                failure))
			return false;
	return true;
}

bool
added_tokens_open(Arena *arena, const AddedToken *tokens, int count,
                  const Normalizer *normalizer, AddedTokens **result,
                  Failure *failure)
{
	AddedTokens *added = arena_alloc(arena, sizeof(AddedTokens));
	TrieEntry *entries[2];
	size_t counts[2] = {0, 0};

	added->tokens = tokens;
	for (int i = 0; i < 2; i++)
	{
		entries[i] =
			arena_try(arena, (size_t) count, sizeof(TrieEntry), failure);
		if (entries[i] == NULL)
			return false;
	}
	for (int i = 0; i < count; i++)
	{
		int which = tokens[i].normalized;
		TrieEntry *entry = &entries[which][counts[which]++];

		*entry = (TrieEntry){tokens[i].content, tokens[i].length, i};
		if (which == 1 &&
		    !normalizer_run(normalizer, arena, false, &entry->text,
		                    &entry->length, failure))
			return false;
	}
	*result = added;
	return trie_open(arena, entries[0], counts[0], &added->plain, failure) &&
	       trie_open(arena, entries[1], counts[1], &added->normalized, failure);
}

/* Whether no word goes on beyond [start, end). */
static bool
is_single_word(const Segment *segment, size_t start, size_t end)
{
	if (start > 0)
	{
		size_t at = unicode_previous(segment->text, start);

		if (unicode_is_word(unicode_next(segment->text, &at)))
			return false;
	}
	if (end < segment->length &&
	    unicode_is_word(unicode_next(segment->text, &end)))
		return false;
	return true;
}

/* Where the white space that ends at start begins, but not before least. */
static size_t
strip_left(const Segment *segment, size_t start, size_t least)
{
	while (start > least)
	{
		size_t before = unicode_previous(segment->text, start);
		size_t at = before;

		if (!unicode_is_space(unicode_next(segment->text, &at)))
			break;
		start = before;
	}
	return start;
}

static size_t
strip_right(const Segment *segment, size_t end)
{
	while (end < segment->length)
	{
		size_t at = end;

		if (!unicode_is_space(unicode_next(segment->text, &at)))
			break;
		end = at;
	}
	return end;
}

static bool
add_segment(SegmentList *list, Arena *arena, const Segment *whole, size_t start,
            size_t end, int32_t token, Failure *failure)
{
	if (!list_reserve(arena, (void **) &list->segments, list->count,
	                  &list->capacity, sizeof(Segment), failure))
		return false;
	list->segments[list->count++] = (Segment){
		whole->text + start, end - start, token, whole->at_start && start == 0};
	return true;
}

/* Cuts one segment of text at its tokens. */
static bool
split_segment(const AddedTokens *added, const Trie *trie, Arena *arena,
              const Segment *segment, SegmentList *list, Failure *failure)
{
	size_t done = 0;         /* what lies before is in the list */
	size_t space = SIZE_MAX; /* white space that was looked through */
	size_t space_end = 0;

	for (size_t i = 0; trie->count > 1 && i < segment->length;)
	{
		size_t length = 0;
		int32_t which = trie_longest(trie, TRIE_ROOT, segment->text + i,
		                             segment->length - i, &length);
		const AddedToken *token;
		size_t start = i;
		size_t end;

		if (which < 0)
		{
			i++;
			continue;
		}
		token = &added->tokens[which];
		end = i + length;
		i = end;
		if (token->single_word && !is_single_word(segment, start, end))
			continue;
		if (token->lstrip)
			start = start < done ? done : strip_left(segment, start, done);
		if (token->rstrip && end >= space && end <= space_end)
			end = space_end;
		else if (token->rstrip)
		{
			space = end;
			space_end = end = strip_right(segment, end);
		}
		if (end < start)
			continue;
		if (start > done &&
		    !add_segment(list, arena, segment, done, start, -1, failure))
			return false;

		/* White space that the token before took is seen again, as in
		 * `tokenizers`; only a token that is left with nothing is none. */
		if (end > start &&
		    !add_segment(list, arena, segment, start, end, token->id, failure))
			return false;
		done = end;
	}
	return done == segment->length || add_segment(list, arena, segment, done,
	                                              segment->length, -1, failure);
}

bool
added_tokens_split(const AddedTokens *added, const Normalizer *normalizer,
                   Arena *arena, bool as_continuation, const char *text,
                   size_t length, SegmentList *list, Failure *failure)
{
	Segment whole = {text, length, -1, true};
	SegmentList plain = {0};

	if (!split_segment(added, added->plain, arena, &whole, &plain, failure))
		return false;
	for (size_t i = 0; i < plain.count; i++)
	{
		Segment *segment = &plain.segments[i];
		bool added_one =
			segment->token >= 0
				? add_segment(list, arena, segment, 0, segment->length,
		                      segment->token, failure)
				: normalizer_run(normalizer, arena, as_continuation,
		                         &segment->text, &segment->length, failure) &&
					  split_segment(added, added->normalized, arena, segment,
		                            list, failure);

		if (!added_one)
			return false;
	}
	return true;
}
