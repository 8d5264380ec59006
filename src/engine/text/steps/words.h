/*
 * words.h
 *		Cutting texts into words, one character after the other.
 */
#pragma once

#include "text/steps/pretokenizer.h"

/* Adds a piece to a list that grows in arena, unless it is empty. */
extern bool piece_list_add(PieceList *list, Arena *arena, Piece piece,
                           Failure *failure);

/* Adds the parts of a piece; characters is for cut_fixed_length(). */
typedef bool (*WordCutter)(PieceList *list, Arena *arena, const Piece *piece,
                           int64_t characters, Failure *failure);

/* Whitespace: words, and what lies between words without space. */
extern bool cut_whitespace(PieceList *list, Arena *arena, const Piece *piece,
                           int64_t characters, Failure *failure);

/* BertPreTokenizer: words, and each punctuation mark on its own. */
extern bool cut_bert(PieceList *list, Arena *arena, const Piece *piece,
                     int64_t characters, Failure *failure);

/* FixedLength: so many characters each, but for the last. */
extern bool cut_fixed_length(PieceList *list, Arena *arena, const Piece *piece,
                             int64_t characters, Failure *failure);
