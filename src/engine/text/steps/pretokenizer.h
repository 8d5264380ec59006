/*
 * pretokenizer.h
 *		Splitting a normalized text into the pieces that the model sees.
 */
#pragma once

#include "formats/json.h"

/* A part of a text; at_start: nothing of the original text lies before it. */
typedef struct Piece
{
	const char *text;
	size_t length;
	bool at_start;
} Piece;

typedef struct PieceList
{
	Piece *pieces;
	size_t count;
	size_t capacity;
} PieceList;

typedef struct Pretokenizer Pretokenizer;

/* From tokenizer.json's "pre_tokenizer"; json may be NULL: one piece. */
extern bool pretokenizer_open(Arena *arena, const json_t *json,
                              Pretokenizer **pretokenizer, Failure *failure);

/*
 * Replaces the list by the pieces of its pieces (valid UTF-8), none of them
 * empty; their texts lie in arena or where they were.  as_continuation: no
 * space or "▁" is put in front.
 */
extern bool pretokenizer_run(const Pretokenizer *pretokenizer, Arena *arena,
                             bool as_continuation, PieceList *list,
                             Failure *failure);
