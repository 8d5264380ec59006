/*
 * maps.c
 *		Weights packed for the moment in which a batch goes through a layer.
 *
 * Whatever trains changes its weights with every step.  To pack all of them
 * for the way forward and once more for the way back, and to keep both, would
 * cost as many bytes as the weights themselves; to pack a layer's in a pass for
 * all of its rows, just before they are read and while they are in the cache,
 * costs next to no time.  Of frozen weights the way forward is packed anyway,
 * for scoring: the way back is made of that, and what the file has is not read.
 */
#include "model/layers.h"

/* Of the memory that is left, what they may take. */
#define MAPS_SHARE 4

/* How many of layer_linears() give queries, keys and values. */
#define MAPS_INTO 4

static size_t
packed_bytes(const Model *model, const Parameter *parameter, bool is_backward)
{
	Matrix matrix = parameter_matrix(parameter);
	size_t bytes =
		model->device->packed_bytes(model->device, &matrix, is_backward);

	return (bytes + 63) / 64 * 64;
}

static size_t
most_bytes(const Model *model, const Parameter *parameter)
{
	size_t forward = packed_bytes(model, parameter, false);
	size_t backward = packed_bytes(model, parameter, true);

	return forward > backward ? forward : backward;
}

/* The maps [first, last) of layer_linears(), with their adapters. */
static size_t
bytes_of_maps(const Model *model, int layer, int first, int last)
{
	Linear *linears[LAYER_LINEARS];
	size_t bytes = 0;

	layer_linears(&model->layers[layer], linears);
	for (int i = first; i < last; i++)
	{
		if (linears[i] == NULL)
			continue;
		bytes += most_bytes(model, linears[i]->weight);
		if (linears[i]->lora != NULL)
			bytes += most_bytes(model, linears[i]->lora->a) +
			         most_bytes(model, linears[i]->lora->b);
	}
	return bytes;
}

void
maps_reserve(Model *model)
{
	Device *device = model->device;
	size_t into = 0;
	size_t behind = 0;

	if (model->maps.memory != NULL)
		return;
	for (int i = 0; i < model->config.layers; i++)
	{
		size_t first = bytes_of_maps(model, i, 0, MAPS_INTO);
		size_t second = bytes_of_maps(model, i, MAPS_INTO, LAYER_LINEARS);

		into = first > into ? first : into;
		behind = second > behind ? second : behind;
	}
	if (into + behind <= device->room(device) / MAPS_SHARE)
		model->maps.memory = device->alloc(device, into + behind);
}

/* What is packed together. */
typedef struct Packing
{
	Model *model;
	bool is_backward;
	int slices;
	int count;
	Matrix matrix[MAPS_MAX];
	void *target[MAPS_MAX];
} Packing;

/* The place for it, where it is to be packed. */
static void
add(Packing *packing, Parameter *parameter)
{
	Model *model = packing->model;
	Maps *maps = &model->maps;
	Matrix matrix = parameter_matrix(parameter);
	size_t bytes = packed_bytes(model, parameter, packing->is_backward);
	void *target = maps->memory + maps->used;

	if (bytes == 0 || (!packing->is_backward && matrix.packed != NULL))
		return;
	packing->matrix[packing->count] = matrix;
	packing->target[packing->count++] = target;
	if (packing->is_backward)
		parameter->passing_grad = target;
	else
		parameter->passing = target;
	maps->used += bytes;
	maps->parameter[maps->count++] = parameter;
}

static void
add_maps(Packing *weights, Packing *adapters, int layer, int first, int last)
{
	Model *model = weights->model;
	Linear *linears[LAYER_LINEARS];

	if (layer < 0 || layer >= model->config.layers)
		return;
	layer_linears(&model->layers[layer], linears);
	for (int i = first; i < last; i++)
	{
		if (linears[i] == NULL)
			continue;
		add(weights, linears[i]->weight);
		if (linears[i]->lora == NULL)
			continue;
		add(adapters, linears[i]->lora->a);
		add(adapters, linears[i]->lora->b);
	}
}

static void
pack_slice(void *argument, int slice)
{
	const Packing *packing = argument;
	Device *device = packing->model->device;

	for (int i = slice; i < packing->count; i += packing->slices)
		device->pack(device, packing->target[i], &packing->matrix[i],
		             packing->is_backward);
}

/* Each matrix divided among the threads, or in slices of whole ones. */
static void
pack_all(Packing *packing, int slices)
{
	Device *device = packing->model->device;

	packing->slices = slices > 1 ? slices : 1;
	if (packing->count > 0)
		device->run_slices(device, packing->slices, pack_slice, packing);
}

void
maps_forget(Model *model)
{
	Maps *maps = &model->maps;

	for (int i = 0; i < maps->count; i++)
	{
		maps->parameter[i]->passing = NULL;
		maps->parameter[i]->passing_grad = NULL;
	}
	maps->count = 0;
	maps->used = 0;
}

void
maps_pack(Model *model, int into, int behind, bool is_backward)
{
	Packing weights = {.model = model, .is_backward = is_backward};
	Packing adapters = {.model = model, .is_backward = is_backward};

	maps_forget(model);
	if (model->products != DTYPE_BF16 || model->maps.memory == NULL)
		return;
	add_maps(&weights, &adapters, behind, MAPS_INTO, LAYER_LINEARS);
	add_maps(&weights, &adapters, into, 0, MAPS_INTO);
	pack_all(&weights, 1);
	/* These are many, and too small to be divided. */
	pack_all(&adapters, model->device->threads);
}
