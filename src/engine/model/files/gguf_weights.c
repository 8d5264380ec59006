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

/* A weight whose rows are not in our order. */
typedef struct Reordered
{
	RowOrder order;
	StoredTensor *tensor; /* data still as in the file */
} Reordered;

typedef struct Reorder
{
	Reordered *weight;
	int count;
} Reorder;

/* Whole rows in our order, as they are stored. */
static void
copy_rows(const Reordered *weight, uint8_t *target)
{
	int64_t rows = weight->tensor->shape[0];
	size_t bytes = (size_t) (weight->tensor->bytes / rows);
	const uint8_t *from = weight->tensor->data;

	for (int64_t row = 0; row < rows; row++)
		memcpy(target + (size_t) row * bytes,
		       from + (size_t) gguf_row(&weight->order, rows, row) * bytes,
		       bytes);
}

static bool
copy_to_arena(Arena *arena, Reordered *weight, Failure *failure)
{
	uint8_t *copy =
		arena_try(arena, (size_t) weight->tensor->bytes, 1, failure);

	if (copy == NULL)
		return false;
	copy_rows(weight, copy);
	weight->tensor->data = copy;
	weight->tensor->is_copy = true;
	return true;
}

/* Form.make */
static bool
make_rows(void *argument, int part, void *target, Failure *failure)
{
	const Reorder *reorder = argument;

	(void) failure;
	copy_rows(&reorder->weight[part], target);
	return true;
}

static bool
reorder_all(Arena *arena, Forms *forms, Reorder *reorder, Failure *failure)
{
	FormPart *parts =
		arena_alloc(arena, (size_t) reorder->count * sizeof(FormPart));
	Form form = {"rows", "1", reorder->count, parts, make_rows, reorder};

	for (int i = 0; i < reorder->count; i++)
		parts[i] = (FormPart){reorder->weight[i].tensor->name,
		                      (size_t) reorder->weight[i].tensor->bytes, NULL};
	if (reorder->count > 0 && forms_map(forms, &form))
	{
		for (int i = 0; i < reorder->count; i++)
			reorder->weight[i].tensor->data = parts[i].data;
		return true;
	}
	for (int i = 0; i < reorder->count; i++)
		if (!copy_to_arena(arena, &reorder->weight[i], failure))
			return false;
	return true;
}

/* Finds a weight; one that is to be reordered goes on the list. */
static bool
find(Arena *arena, const GgufFile *file, const ModelConfig *config,
     const char *name, Reorder *reorder, const StoredTensor **weight,
     Failure *failure)
{
	const char *own = gguf_weight_name(arena, config, name);
	RowOrder order;
	StoredTensor *tensor;

	*weight = own == NULL ? NULL : gguf_tensor_find(file, own);
	if (*weight == NULL)
		return fail(failure, FAILURE_BAD_FILE,
		            "tensor \"%s\" is missing in \"%s\"",
		            own == NULL ? name : own, gguf_path(file));
	order = gguf_row_order(config, own);
	if (order.heads == 0)
		return true;
	if ((*weight)->shape[0] % ((int64_t) order.heads * order.parts) != 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "tensor \"%s\" has %lld rows, not a multiple of %d heads "
		            "of %d parts",
		            own, (long long) (*weight)->shape[0], order.heads,
		            order.parts);
	tensor = arena_alloc(arena, sizeof(StoredTensor));
	*tensor = **weight;
	*weight = tensor;
	reorder->weight[reorder->count++] = (Reordered){order, tensor};
	return true;
}

bool
gguf_weights_open(Arena *arena, const GgufFile *file, const ModelConfig *config,
                  Forms *forms, int count, const char *const *names,
                  const StoredTensor **weights, Failure *failure)
{
	Reorder reorder = {
		.weight = arena_alloc(arena, (size_t) count * sizeof(Reordered))};

	for (int i = 0; i < count; i++)
		if (names[i] != NULL && !find(arena, file, config, names[i], &reorder,
		                              &weights[i], failure))
			return false;
	return reorder_all(arena, forms, &reorder, failure);
}
