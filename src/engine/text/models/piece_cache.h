/*
 * piece_cache.h
 *		The ids of pieces seen before: most of a text is words that came up
 *		already.  One thread at a time holds the cache; others go without.
 */
#pragma once

#include "base/arena.h"

#define PIECE_CACHE_TEXT 46 /* longer pieces are not remembered */

typedef struct PieceCache PieceCache;

extern bool piece_cache_open(Arena *arena, PieceCache **cache,
                             Failure *failure);

/* Takes the cache if no other thread has it, and gives it back. */
extern bool piece_cache_lock(PieceCache *cache);
extern void piece_cache_unlock(PieceCache *cache);

/*
 * The ids of a piece of at most PIECE_CACHE_TEXT bytes, and in *count how many
 * there are, or NULL; valid until the next piece is kept.
 */
extern const int32_t *piece_cache_find(const PieceCache *cache,
                                       const char *text, size_t length,
                                       int *count);

/* Remembers such a piece, if its ids are not too many. */
extern void piece_cache_keep(PieceCache *cache, const char *text, size_t length,
                             const int32_t *ids, int count);
