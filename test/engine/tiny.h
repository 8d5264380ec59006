/*
 * tiny.h
 *		Models of a few thousand random weights and a tokenizer of bytes, made
 *		on the spot: large enough to be wrong, small enough for differences.
 */
#pragma once

#include "near.h"

#include "device/device.h"
#include "formats/safetensors.h"
#include "model/model.h"
#include "text/models/bpe_train.h"

#define TINY_CONTEXT 64
#define TINY_VOCABULARY 257

#define TINY_GPT2                                                              \
	"{\"model_type\": \"gpt2\", \"n_embd\": 24, \"n_layer\": 2, "              \
	"\"n_head\": 3, \"n_positions\": 64, \"vocab_size\": 257, "                \
	"\"initializer_range\": 0.2}"

/* Like a llama, with two query heads to a key head; more is further members. */
#define TINY_GATED(type, more)                                                 \
	"{\"model_type\": \"" type "\", \"hidden_size\": 24, "                     \
	"\"intermediate_size\": 40, \"num_hidden_layers\": 2, "                    \
	"\"num_attention_heads\": 4, \"num_key_value_heads\": 2, "                 \
	"\"head_dim\": 6, \"max_position_embeddings\": 64, "                       \
	"\"vocab_size\": 257, \"initializer_range\": 0.2" more "}"

#define TINY_LLAMA(more) TINY_GATED("llama", more)

/* Wide enough to gain by bf16. */
#define TINY_WIDE                                                              \
	"{\"model_type\": \"llama\", \"hidden_size\": 256, "                       \
	"\"intermediate_size\": 320, \"num_hidden_layers\": 2, "                   \
	"\"num_attention_heads\": 4, \"num_key_value_heads\": 2, "                 \
	"\"max_position_embeddings\": 64, \"vocab_size\": 257, "                   \
	"\"initializer_range\": 0.05}"

#define TINY_MISTRAL TINY_GATED("mistral", ", \"sliding_window\": 5")

/* The second of two layers has a window. */
#define TINY_QWEN2                                                             \
	TINY_GATED("qwen2", ", \"sliding_window\": 7, \"max_window_layers\": 1, "  \
	                    "\"use_sliding_window\": true")

#define TINY_QWEN3                                                             \
	TINY_GATED("qwen3",                                                        \
	           ", \"tie_word_embeddings\": true, "                             \
	           "\"rope_scaling\": {\"type\": \"yarn\", \"factor\": 4, "        \
	           "\"original_max_position_embeddings\": 16}")

/* Rotates 4 of the 12 elements of each head; more is further members. */
#define TINY_NEOX(more)                                                        \
	"{\"model_type\": \"gpt_neox\", \"hidden_size\": 24, "                     \
	"\"intermediate_size\": 40, \"num_hidden_layers\": 2, "                    \
	"\"num_attention_heads\": 2, \"rotary_pct\": 0.4, "                        \
	"\"max_position_embeddings\": 64, \"vocab_size\": 257, "                   \
	"\"initializer_range\": 0.2" more "}"

#define TINY_CLASSES(name)                                                     \
	", \"architectures\": [\"" name "ForSequenceClassification\"], "           \
	"\"id2label\": {\"0\": \"a\", \"1\": \"b\", \"2\": \"c\"}"

/* An encoder like BERT; more is further members. */
#define TINY_ENCODER(type, more)                                               \
	"{\"model_type\": \"" type "\", \"hidden_size\": 24, "                     \
	"\"intermediate_size\": 40, \"num_hidden_layers\": 2, "                    \
	"\"num_attention_heads\": 3, \"max_position_embeddings\": 64, "            \
	"\"vocab_size\": 257, \"initializer_range\": 0.2" more "}"

/* Distances as DeBERTa sees them, by maps of tokens or by maps of their own. */
#define TINY_DISTANCES(shared)                                                 \
	", \"relative_attention\": true, \"position_buckets\": 6, "                \
	"\"norm_rel_ebd\": \"layer_norm\", \"share_att_key\": " shared             \
	", \"pos_att_type\": [\"c2p\", \"p2c\"], \"position_biased_input\": false"

#define TINY_DISTILBERT(more)                                                  \
	"{\"model_type\": \"distilbert\", \"dim\": 24, \"hidden_dim\": 40, "       \
	"\"n_layers\": 2, \"n_heads\": 3, \"max_position_embeddings\": 64, "       \
	"\"vocab_size\": 257, \"initializer_range\": 0.2" more "}"

/* A directory with the model of this configuration. */
static inline char *
tiny_directory(Arena *arena, const char *config, uint64_t seed)
{
	char *directory = test_directory(arena);
	Failure failure = {0};
	int entries;

	assert_ok(bpe_trainer_write(bpe_trainer_create(arena), TINY_VOCABULARY,
	                            directory, &entries, &failure),
	          failure);
	assert_int_equal(entries, TINY_VOCABULARY);
	assert_ok(model_create(config, strlen(config), seed, directory, &failure),
	          failure);
	return directory;
}

static inline Model *
tiny_open(Arena *arena, Device *where, const char *directory)
{
	Failure failure = {0};
	Model *model;

	assert_ok(model_open(arena, where, directory, NULL, &model, &failure),
	          failure);
	return model;
}

/* Rewrites the directory's weights in a 16-bit type. */
static inline void
tiny_narrow(Arena *arena, const char *directory, DType dtype)
{
	char *path = arena_printf(arena, "%s/model.safetensors", directory);
	Failure failure = {0};
	StoredModel *stored;
	TensorToStore *tensors;
	int count;

	assert_ok(stored_model_open(arena, directory, &stored, &failure), failure);
	count = stored_model_count(stored);
	tensors = arena_alloc(arena, (size_t) count * sizeof(TensorToStore));
	for (int i = 0; i < count; i++)
	{
		const StoredTensor *tensor = stored_model_tensor(stored, i);
		void *data = arena_alloc(arena, (size_t) tensor->count * 2 + 2);

		dtype_from_f32(data, tensor->data, dtype, (size_t) tensor->count);
		tensors[i] = (TensorToStore){.name = tensor->name,
		                             .dtype = dtype,
		                             .dimensions = tensor->dimensions,
		                             .data = data};
		memcpy(tensors[i].shape, tensor->shape, sizeof(tensors[i].shape));
	}
	assert_ok(safetensors_write(path, tensors, count, NULL, NULL, &failure),
	          failure);
}

/* The files of a saved model, and the directory. */
static inline void
tiny_remove(const char *directory)
{
	static const char *const names[] = {"config.json", "generation_config.json",
	                                    "model.safetensors", "tokenizer.json",
	                                    "tokenizer_config.json"};
	char path[512];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		snprintf(path, sizeof(path), "%s/%s", directory, names[i]);
		unlink(path);
	}
	rmdir(directory);
}

/* Made, opened, and without a trace on disk: mappings outlive their names. */
static inline Model *
tiny_model(Arena *arena, Device *where, const char *config, uint64_t seed)
{
	char *directory = tiny_directory(arena, config, seed);
	Model *model = tiny_open(arena, where, directory);

	tiny_remove(directory);
	return model;
}

/* The first step of a training that changes much. */
static inline AdamW
tiny_first_step(void)
{
	return (AdamW){.learning_rate = 0.01f,
	               .beta1 = 0.9,
	               .beta2 = 0.999,
	               .eps = 1e-8f,
	               .correction1 = 0.1f,
	               .correction2 = 0.001f,
	               .gradient_scale = 1};
}

/* `sequences` of 3 to 30 tokens each, a third of them prompt. */
static inline Batch
tiny_batch(Arena *arena, int sequences)
{
	int32_t *offset =
		arena_alloc(arena, (size_t) (sequences + 1) * sizeof(int32_t));
	int32_t *target = arena_alloc(arena, (size_t) sequences * sizeof(int32_t));
	int32_t *ids =
		arena_alloc(arena, (size_t) sequences * 32 * sizeof(int32_t));

	for (int s = 0; s < sequences; s++)
	{
		int length = 3 + s * 11 % 28;

		offset[s + 1] = offset[s] + length;
		target[s] = offset[s] + (length + 2) / 3;
		for (int t = 0; t < length; t++)
			ids[offset[s] + t] = (s * 37 + t * t * 13 + t) % TINY_VOCABULARY;
	}
	return (Batch){sequences, offset, target, ids, NULL};
}

/* Sequence s of the batch on its own. */
static inline Batch
tiny_part(Arena *arena, const Batch *batch, int s)
{
	int32_t *offset = arena_alloc(arena, 2 * sizeof(int32_t));
	int32_t *target = arena_alloc(arena, sizeof(int32_t));

	offset[1] = batch->offset[s + 1] - batch->offset[s];
	target[0] = batch->target[s] - batch->offset[s];
	return (Batch){1, offset, target, batch->ids + batch->offset[s], NULL};
}
