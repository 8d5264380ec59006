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

static void
pack(Model *model, Parameter *parameter, bool is_backward)
{
	Maps *maps = &model->maps;
	Matrix matrix = parameter_matrix(parameter);
	size_t bytes = packed_bytes(model, parameter, is_backward);
	void *target = maps->memory + maps->used;

	if (bytes == 0 || (!is_backward && matrix.packed != NULL))
		return;
	model->device->pack(model->device, target, &matrix, is_backward);
	if (is_backward)
		parameter->passing_grad = target;
	else
		parameter->passing = target;
	maps->used += bytes;
	maps->parameter[maps->count++] = parameter;
}

static void
pack_maps(Model *model, int layer, int first, int last, bool is_backward)
{
	Linear *linears[LAYER_LINEARS];

	if (layer < 0 || layer >= model->config.layers)
		return;
	layer_linears(&model->layers[layer], linears);
	for (int i = first; i < last; i++)
	{
		if (linears[i] == NULL)
			continue;
		pack(model, linears[i]->weight, is_backward);
		if (linears[i]->lora == NULL)
			continue;
		pack(model, linears[i]->lora->a, is_backward);
		pack(model, linears[i]->lora->b, is_backward);
	}
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
	maps_forget(model);
	if (model->products != DTYPE_BF16 || model->maps.memory == NULL)
		return;
	pack_maps(model, behind, MAPS_INTO, LAYER_LINEARS, is_backward);
	pack_maps(model, into, 0, MAPS_INTO, is_backward);
}
