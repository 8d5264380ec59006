/*
 * words.c
 *		Words by the classes of characters.
 */
#include "text/steps/words.h"

#include "text/buffer.h"
#include "text/unicode.h"

bool
piece_list_add(PieceList *list, Arena *arena, Piece piece, Failure *failure)
{
	if (piece.length == 0)
		return true;
	if (!list_reserve(arena, (void **) &list->pieces, list->count,
	                  &list->capacity, sizeof(Piece), failure))
		return false;
	list->pieces[list->count++] = piece;
	return true;
}

/* The bytes [start, end) of a piece. */
static Piece
part(const Piece *piece, size_t start, size_t end)
{
	return (Piece){piece->text + start, end - start,
	               piece->at_start && start == 0};
}

/* 0: space, 1: part of a word, 2: other. */
static int
word_class(uint32_t code)
{
	return unicode_is_space(code) ? 0 : unicode_is_word(code) ? 1 : 2;
}

bool
cut_whitespace(PieceList *list, Arena *arena, const Piece *piece,
               int64_t characters, Failure *failure)
{
	(void) characters;
	for (size_t start = 0, at = 0; start < piece->length; start = at)
	{
		int class = word_class(unicode_next(piece->text, &at));

		for (size_t next = at; next < piece->length; at = next)
			if (word_class(unicode_next(piece->text, &next)) != class)
				break;
		if (class != 0 &&
		    !piece_list_add(list, arena, part(piece, start, at), failure))
			return false;
	}
	return true;
}

bool
cut_bert(PieceList *list, Arena *arena, const Piece *piece, int64_t characters,
         Failure *failure)
{
	size_t start = 0; /* of the word that is growing */

	(void) characters;
	for (size_t at = 0, next = 0; at < piece->length; at = next)
	{
		uint32_t code = unicode_next(piece->text, &next);
		bool is_space = unicode_is_space(code);

		if (!is_space && !unicode_is_punctuation(code))
			continue;
		if (!piece_list_add(list, arena, part(piece, start, at), failure) ||
		    (!is_space &&
		     !piece_list_add(list, arena, part(piece, at, next), failure)))
			return false;
		start = next;
	}
	return piece_list_add(list, arena, part(piece, start, piece->length),
	                      failure);
}

bool
cut_fixed_length(PieceList *list, Arena *arena, const Piece *piece,
                 int64_t characters, Failure *failure)
{
	for (size_t start = 0, end = 0; start < piece->length; start = end)
	{
		for (int64_t i = 0; i < characters && end < piece->length; i++)
			unicode_next(piece->text, &end);
		if (!piece_list_add(list, arena, part(piece, start, end), failure))
			return false;
	}
	return true;
}
