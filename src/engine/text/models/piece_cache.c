/*
 * piece_cache.c
 *		A table with one place for each piece; the newer takes it.
 */
#include "text/models/piece_cache.h"

#include "text/models/vocabulary.h"

#include <pthread.h>
#include <string.h>

#define SLOTS ((size_t) 16384)
#define MOST_IDS 20

/* 128 bytes. */
typedef struct Slot
{
	uint8_t length; /* of the text; 0: free */
	uint8_t count;
	char text[PIECE_CACHE_TEXT];
	int32_t ids[MOST_IDS];
} Slot;

struct PieceCache
{
	pthread_mutex_t mutex;
	Slot *slots; /* [SLOTS] */
};

static void
destroy_mutex(void *mutex)
{
	pthread_mutex_destroy(mutex);
}

bool
piece_cache_open(Arena *arena, PieceCache **cache, Failure *failure)
{
	*cache = arena_alloc(arena, sizeof(PieceCache));
	(*cache)->slots = arena_try(arena, SLOTS, sizeof(Slot), failure);
	if ((*cache)->slots == NULL)
		return false;
	pthread_mutex_init(&(*cache)->mutex, NULL);
	arena_on_destroy(arena, destroy_mutex, &(*cache)->mutex);
	return true;
}

bool
piece_cache_lock(PieceCache *cache)
{
	return pthread_mutex_trylock(&cache->mutex) == 0;
}

void
piece_cache_unlock(PieceCache *cache)
{
	pthread_mutex_unlock(&cache->mutex);
}

static Slot *
slot_of(const PieceCache *cache, const char *text, size_t length)
{
	return &cache->slots[text_hash(text, length) & (SLOTS - 1)];
}

const int32_t *
piece_cache_find(const PieceCache *cache, const char *text, size_t length,
                 int *count)
{
	const Slot *slot = slot_of(cache, text, length);

	if (slot->length != length || memcmp(slot->text, text, length) != 0)
		return NULL;
	*count = slot->count;
	return slot->ids;
}

void
piece_cache_keep(PieceCache *cache, const char *text, size_t length,
                 const int32_t *ids, int count)
{
	Slot *slot = slot_of(cache, text, length);

	if (count > MOST_IDS)
		return;
	slot->length = (uint8_t) length;
	slot->count = (uint8_t) count;
	memcpy(slot->text, text, length);
	memcpy(slot->ids, ids, (size_t) count * sizeof(int32_t));
}
