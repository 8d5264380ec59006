/*
 * added.h
 *		Added tokens: texts that become one token before the model is asked.
 */
#pragma once

#include "text/models/vocabulary.h"
#include "text/steps/normalizer.h"
#include "text/steps/pretokenizer.h"

typedef struct AddedToken
{
	const char *content;
	size_t length;
	int32_t id;
	bool single_word; /* only where no word goes on to its left or right */
	bool lstrip;      /* takes the white space to its left */
	bool rstrip;
	bool normalized; /* is looked for in the normalized text */
	bool special;
} AddedToken;

typedef struct AddedTokens AddedTokens;

/* Part of a text: a token, or (token -1) what lies between tokens. */
typedef struct Segment
{
	const char *text;
	size_t length;
	int32_t token;
	bool at_start;
} Segment;

typedef struct SegmentList
{
	Segment *segments;
	size_t count;
	size_t capacity;
} SegmentList;

/* Reads an "added_tokens" array (or NULL) into tokens, owned by arena. */
extern bool added_tokens_read(Arena *arena, const json_t *json,
                              AddedToken **tokens, int *count,
                              Failure *failure);

/* Prepares count tokens, which must outlive the result, to be looked for. */
extern bool added_tokens_open(Arena *arena, const AddedToken *tokens, int count,
                              const Normalizer *normalizer, AddedTokens **added,
                              Failure *failure);

/*
 * Cuts a text (valid UTF-8) into tokens and normalized text between them.
 */
extern bool added_tokens_split(const AddedTokens *added,
                               const Normalizer *normalizer, Arena *arena,
                               bool as_continuation, const char *text,
                               size_t length, SegmentList *list,
                               Failure *failure);
