/*
 * gguf_weights.c
 *		Weights of a Hugging Face model in a GGUF file.
 */
#include "model/files/gguf_weights.h"

#include "model/layers.h"

#include <stdio.h>
#include <string.h>

#define PARTS 12

/* A part of a layer, as both call it. */
typedef struct Part
{
	const char *name; /* NULL: the architecture lacks it */
	const char *gguf;
} Part;

/* The parts of a layer. */
static void
list_parts(const Architecture *names, const ModelConfig *config,
           Part part[PARTS])
{
	const Part parts[PARTS] = {
		{names->attention_norm, "attn_norm"},
		{names->qkv, "attn_qkv"},
		{names->q, "attn_q"},
		{names->k, "attn_k"},
		{names->v, "attn_v"},
		{names->q_norm, "attn_q_norm"},
		{names->k_norm, "attn_k_norm"},
		{names->out, "attn_output"},
		{names->mlp_norm, "ffn_norm"},
		{names->gate, config->gated ? "ffn_gate" : "ffn_up"},
		{config->gated ? names->up : NULL, "ffn_up"},
		{names->down, "ffn_down"},
	};

	memcpy(part, parts, sizeof(parts));
}

/* What follows prefix in name, or NULL. */
static const char *
after(const char *name, const char *prefix)
{
	size_t length = prefix == NULL ? 0 : strlen(prefix);

	return prefix != NULL && strncmp(name, prefix, length) == 0 ? name + length
	                                                            : NULL;
}

static const char *
layer_name(Arena *arena, const Architecture *names, const ModelConfig *config,
           const char *name)
{
	Part parts[PARTS];
	int number;
	int used = 0;
	char *pattern = arena_printf(arena, "%s%%n", names->layer);

	/* The pattern is one of our own, with a %d. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	if (sscanf(name, pattern, &number, &used) < 1 || used == 0)
		return NULL;
#pragma GCC diagnostic pop
	list_parts(names, config, parts);
	for (int i = 0; i < PARTS; i++)
	{
		const char *ending = after(name + used, parts[i].name);

		if (ending != NULL &&
		    (strcmp(ending, ".weight") == 0 || strcmp(ending, ".bias") == 0))
			return arena_printf(arena, "blk.%d.%s%s", number, parts[i].gguf,
			                    ending);
	}
	return NULL;
}

const char *
gguf_weight_name(Arena *arena, const ModelConfig *config, const char *name)
{
	const Architecture *names = architecture_find(config->architecture);
	const char *inner = after(name, names->prefixes[0]);
	const char *ending;

	if (strcmp(name, names->head) == 0)
		return "output.weight";
	if (inner == NULL)
		inner = name;
	if (strcmp(inner, names->embedding) == 0)
		return "token_embd.weight";
	if (names->position != NULL && strcmp(inner, names->position) == 0)
		return "position_embd.weight";
	ending = after(inner, names->final_norm);
	if (ending != NULL && ending[0] == '.')
		return arena_printf(arena, "output_norm%s", ending);
	return layer_name(arena, names, config, inner);
}

RowOrder
gguf_row_order(const ModelConfig *config, const char *name)
{
	bool is_llama = strcmp(config->architecture, "llama") == 0 ||
	                strcmp(config->architecture, "mistral") == 0;

	if (is_llama && strstr(name, ".attn_q.") != NULL)
		return (RowOrder){config->heads, 2, false};
	if (is_llama && strstr(name, ".attn_k.") != NULL)
		return (RowOrder){config->kv_heads, 2, false};
	if (config->qkv == QKV_BY_HEAD && strstr(name, ".attn_qkv.") != NULL)
		return (RowOrder){config->heads, 3, true};
	return (RowOrder){0};
}

int64_t
gguf_row(const RowOrder *order, int64_t rows, int64_t row)
{
	int64_t n;
	int64_t head;
	int64_t part;

	if (order->heads == 0)
		return row;
	n = rows / order->heads / order->parts;
	head = row / n / order->parts;
	part = row / n % order->parts;
	if (order->parts_first)
		return (part * order->heads + head) * n + row % n;
	return (head * n + row % n) * order->parts + part;
}

/* A copy with whole rows in our order, as they are stored. */
static bool
reorder(Arena *arena, const RowOrder *order, StoredTensor *tensor,
        Failure *failure)
{
	int64_t rows = tensor->shape[0];
	size_t bytes = (size_t) (tensor->bytes / rows);
	const uint8_t *from = tensor->data;
	uint8_t *copy;

	if (rows % ((int64_t) order->heads * order->parts) != 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "tensor \"%s\" has %lld rows, not a multiple of %d heads "
		            "of %d parts",
		            tensor->name, (long long) rows, order->heads, order->parts);
	copy = arena_try(arena, (size_t) rows, bytes, failure);
	if (copy == NULL)
		return false;
	for (int64_t row = 0; row < rows; row++)
		memcpy(copy + (size_t) row * bytes,
		       from + (size_t) gguf_row(order, rows, row) * bytes, bytes);
	tensor->data = copy;
	tensor->is_copy = true;
	return true;
}

bool
gguf_weight_open(Arena *arena, const GgufFile *file, const ModelConfig *config,
                 const char *name, const StoredTensor **weight,
                 Failure *failure)
{
	const char *own = gguf_weight_name(arena, config, name);
	const StoredTensor *found =
		own == NULL ? NULL : gguf_tensor_find(file, own);
	RowOrder order;
	StoredTensor *tensor;

	if (found == NULL)
		return fail(failure, FAILURE_BAD_FILE,
		            "tensor \"%s\" is missing in \"%s\"",
		            own == NULL ? name : own, gguf_path(file));
	*weight = found;
	order = gguf_row_order(config, own);
	if (order.heads == 0)
		return true;
	tensor = arena_alloc(arena, sizeof(StoredTensor));
	*tensor = *found;
	*weight = tensor;
	return reorder(arena, &order, tensor, failure);
}
