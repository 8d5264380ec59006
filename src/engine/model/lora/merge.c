/*
 * merge.c
 *		An adapter merged into its base: W' = W + scale B A, or where W is
 *		stored [inputs, outputs] W' = W + scale (B A)^T.
 *
 * Writers ask for small pieces in order; rows are merged a block at a time on
 * the device and kept until others are asked for.
 */
#include "model/layers.h"

#include <string.h>

/* Numbers of a block, at least one row. */
#define BLOCK_NUMBERS ((int64_t) 4 << 20)

/* With k the rank: a row of W' is W's and x[k] times factor[k, columns]. */
struct Merge
{
	Model *model;
	const float *weights; /* of the adapter, or NULL: those it has now */
	const Lora **lora;    /* [parameter_count] NULL: not changed */

	int index;     /* of the parameter at hand; -1: none */
	int64_t first; /* of its rows in the block */
	int64_t rows;  /* in the block */
	float *block;  /* [rows, columns], host */
	float *a;      /* host, whole */
	float *b;      /* host, whole */
	float *x;      /* [rows, k], host */

	float *device_factor;
	float *device_x;
	float *device_block;
};

static int64_t
larger(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t
block_rows(const Parameter *parameter)
{
	return larger(1, BLOCK_NUMBERS / parameter->shape[1]);
}

static void
release(void *object)
{
	Merge *merge = object;
	Device *device = merge->model->device;

	device->free(device, merge->device_factor);
	device->free(device, merge->device_x);
	device->free(device, merge->device_block);
}

static void
find_loras(Merge *merge)
{
	Model *model = merge->model;

	for (int i = 0; i < model->config.layers; i++)
	{
		Linear *linears[LAYER_LINEARS];

		layer_linears(&model->layers[i], linears);
		for (int j = 0; j < LAYER_LINEARS; j++)
			if (linears[j] != NULL)
				merge->lora[linears[j]->weight - model->parameters] =
					linears[j]->lora;
	}
}

/* Room for the largest of everything. */
static bool
allocate(Merge *merge, Arena *arena, Failure *failure)
{
	Model *model = merge->model;
	Device *device = model->device;
	int64_t a = 1, b = 1, x = 1, block = 1;

	for (int i = 0; i < model->parameter_count; i++)
	{
		const Parameter *parameter = &model->parameters[i];
		int64_t rows;

		if (merge->lora[i] == NULL)
			continue;
		rows = block_rows(parameter);
		if (rows > parameter->shape[0])
			rows = parameter->shape[0];
		a = larger(a, merge->lora[i]->a->count);
		b = larger(b, merge->lora[i]->b->count);
		x = larger(x, rows * merge->lora[i]->rank);
		block = larger(block, rows * parameter->shape[1]);
	}
	merge->a = arena_try(arena, (size_t) a, sizeof(float), failure);
	merge->b = arena_try(arena, (size_t) b, sizeof(float), failure);
	merge->x = arena_try(arena, (size_t) x, sizeof(float), failure);
	merge->block = arena_try(arena, (size_t) block, sizeof(float), failure);
	if (merge->a == NULL || merge->b == NULL || merge->x == NULL ||
	    merge->block == NULL)
		return false;
	arena_on_destroy(arena, release, merge);
	merge->device_factor =
		device->alloc(device, (size_t) larger(a, b) * sizeof(float));
	merge->device_x = device->alloc(device, (size_t) x * sizeof(float));
	merge->device_block = device->alloc(device, (size_t) block * sizeof(float));
	return device->sync(device, failure);
}

bool
merge_open(Arena *arena, Model *model, const float *weights, Merge **result,
           Failure *failure)
{
	Merge *merge = arena_alloc(arena, sizeof(Merge));

	*merge = (Merge){.model = model, .weights = weights, .index = -1};
	merge->lora =
		arena_alloc(arena, (size_t) model->parameter_count * sizeof(Lora *));
	find_loras(merge);
	*result = merge;
	return allocate(merge, arena, failure);
}

/* Brings A and B of a parameter to where they are needed. */
static void
turn_to(Merge *merge, int index)
{
	Model *model = merge->model;
	Device *device = model->device;
	const Lora *lora = merge->lora[index];
	int at = (int) (lora->a - model->adapter->parameters);
	bool transposed = model->parameters[index].transposed;

	merge->index = index;
	merge->rows = 0;
	adapter_read(model, merge->weights, at, 0, lora->a->count, merge->a);
	adapter_read(model, merge->weights, at + 1, 0, lora->b->count, merge->b);
	device->upload(
		device, merge->device_factor, transposed ? merge->b : merge->a,
		(size_t) (transposed ? lora->b : lora->a)->count * sizeof(float));
}

/* The rows that begin at `first` into the block. */
static void
merge_block(Merge *merge, int64_t first)
{
	Model *model = merge->model;
	Device *device = model->device;
	const Parameter *parameter = &model->parameters[merge->index];
	const Lora *lora = merge->lora[merge->index];
	int64_t rank = lora->rank;
	int64_t cols = parameter->shape[1];
	int64_t left = parameter->shape[0] - first;
	int64_t rows = block_rows(parameter) < left ? block_rows(parameter) : left;
	size_t bytes = (size_t) (rows * cols) * sizeof(float);
	Tensor block = tensor_at(merge->device_block, rows, cols);
	Matrix factor = {parameter->transposed
	                     ? tensor_at(merge->device_factor, cols, rank)
	                     : tensor_at(merge->device_factor, rank, cols),
	                 !parameter->transposed, NULL, NULL};

	for (int64_t i = 0; i < rows; i++)
		for (int64_t k = 0; k < rank; k++)
			merge->x[i * rank + k] =
				lora->scale *
				(parameter->transposed
			         ? merge->a[k * parameter->shape[0] + first + i]
			         : merge->b[(first + i) * rank + k]);
	parameter_read(parameter, first * cols, rows * cols, merge->block);
	device->upload(device, block.data, merge->block, bytes);
	device->upload(device, merge->device_x, merge->x,
	               (size_t) (rows * rank) * sizeof(float));
	device->products = DTYPE_F32;
	device->matmul(device, block, tensor_at(merge->device_x, rows, rank),
	               &factor, NULL, 1);
	device->download(device, merge->block, block.data, bytes);
	merge->first = first;
	merge->rows = rows;
}

/* What no map of the adapter changes: a weight that is trained as a whole, or
 * one of the base. */
static void
read_other(const Merge *merge, int index, int64_t first, int64_t count,
           float *target)
{
	const Adapter *adapter = merge->model->adapter;

	for (int i = 0; i < adapter->wholes; i++)
	{
		if (adapter->whole[i] != index)
			continue;
		adapter_read(merge->model, merge->weights, 2 * adapter->loras + i,
		             first, count, target);
		return;
	}
	parameter_read(&merge->model->parameters[index], first, count, target);
}

void
merge_read(void *argument, int index, int64_t first, int64_t count,
           void *target)
{
	Merge *merge = argument;
	const Parameter *parameter = &merge->model->parameters[index];
	int64_t cols = parameter->shape[1];
	float *to = target;

	if (merge->lora[index] == NULL)
	{
		read_other(merge, index, first, count, target);
		return;
	}
	if (index != merge->index)
		turn_to(merge, index);
	while (count > 0)
	{
		int64_t row = first / cols;
		int64_t end, part;

		if (row < merge->first || row >= merge->first + merge->rows)
			merge_block(merge, row);
		end = (merge->first + merge->rows) * cols;
		part = end - first < count ? end - first : count;
		memcpy(to, merge->block + (first - merge->first * cols),
		       (size_t) part * sizeof(float));
		to += part;
		first += part;
		count -= part;
	}
}
