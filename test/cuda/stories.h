/*
 * stories.h
 *		Models of the shape of stories260K: one that is made on the spot, and
 *		the real one where the shared set is.
 */
#pragma once

#include "tiny.h"

#define MADE_STORIES                                                           \
	"{\"model_type\": \"llama\", \"hidden_size\": 64, "                        \
	"\"intermediate_size\": 172, \"num_hidden_layers\": 5, "                   \
	"\"num_attention_heads\": 8, \"num_key_value_heads\": 4, "                 \
	"\"head_dim\": 8, \"max_position_embeddings\": 512, "                      \
	"\"vocab_size\": 257, \"tie_word_embeddings\": true, "                     \
	"\"initializer_range\": 0.05}"

/* check(directory): the model that is made, whose files go then. */
static inline void
with_made_stories(void (*check)(const char *directory))
{
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, MADE_STORIES, 7);

	check(directory);
	tiny_remove(directory);
	arena_destroy(arena);
}

/* The same with the real one, or the test is skipped. */
static inline void
with_real_stories(void (*check)(const char *directory))
{
	Arena *arena = arena_create();
	char *directory = test_shared_path(arena, "models/stories260K");

	if (directory != NULL)
		check(directory);
	arena_destroy(arena);
	if (directory == NULL)
		skip();
}

/* Opened on this device, to multiply in this way. */
static inline Model *
open_stories(Arena *arena, Device *device, const char *directory,
             DType products)
{
	Failure failure = {0};
	Model *model;

	assert_ok(model_open(arena, device, directory, NULL, &model, &failure),
	          failure);
	model_set_products(model, products);
	return model;
}
