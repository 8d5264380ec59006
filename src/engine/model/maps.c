/*
 * maps.c
 *		Quantised weights, packed for the moment in which a gradient comes back
 *		through a layer.
 *
 * Products pack the panels of other weights themselves, right before they use
 * them up.  Blocks of codes take longer to read: once for all threads that
 * share a pass, just before they read it and while it is in the cache.
 */
#include "model/layers.h"

/* Of the memory that is left, what they may take. */
#define MAPS_SHARE 4

/* How many of layer_linears() give queries, keys and values. */
#define MAPS_INTO 4

/* 0: it is not packed here. */
static size_t
bytes_of(const Model *model, const Parameter *parameter)
{
	Matrix matrix;

	if (dtype_block(parameter->dtype) == 1)
		return 0;
	matrix = parameter_matrix(parameter);
	return (model->device->packed_bytes(model->device, &matrix, true) + 63) /
	       64 * 64;
}

/* The maps [first, last) of layer_linears(). */
static size_t
bytes_of_maps(const Model *model, int layer, int first, int last)
{
	Linear *linears[LAYER_LINEARS];
	size_t bytes = 0;

	layer_linears(&model->layers[layer], linears);
	for (int i = first; i < last; i++)
		if (linears[i] != NULL)
			bytes += bytes_of(model, linears[i]->weight);
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
	if (into + behind > 0 && into + behind <= device->room(device) / MAPS_SHARE)
		model->maps.memory = device->alloc(device, into + behind);
}

static void
pack_maps(Model *model, int layer, int first, int last)
{
	Device *device = model->device;
	Maps *maps = &model->maps;
	Linear *linears[LAYER_LINEARS];

	if (layer < 0)
		return;
	layer_linears(&model->layers[layer], linears);
	for (int i = first; i < last; i++)
	{
		Parameter *weight = linears[i] == NULL ? NULL : linears[i]->weight;
		size_t bytes = weight == NULL ? 0 : bytes_of(model, weight);
		Matrix matrix;

		if (bytes == 0)
			continue;
		matrix = parameter_matrix(weight);
		device->pack(device, maps->memory + maps->used, &matrix, true);
		weight->packed_grad = maps->memory + maps->used;
		maps->used += bytes;
		maps->parameter[maps->count++] = weight;
	}
}

void
maps_forget(Model *model)
{
	Maps *maps = &model->maps;

	for (int i = 0; i < maps->count; i++)
		maps->parameter[i]->packed_grad = NULL;
	maps->count = 0;
	maps->used = 0;
}

void
maps_pack(Model *model, int into, int behind)
{
	maps_forget(model);
	if (model->products != DTYPE_BF16 || model->maps.memory == NULL)
		return;
	pack_maps(model, behind, MAPS_INTO, LAYER_LINEARS);
	pack_maps(model, into, 0, MAPS_INTO);
}
