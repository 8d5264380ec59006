/*
 * quantize.c
 *		Frozen weights in a few bits each, as QLoRA keeps them.
 */
#include "model/layers.h"

#include "base/file.h"
#include "base/quant.h"

#include <math.h>

/* All of a weight in fp32, with zeros up to a whole block. */
static float *
read_whole(Arena *arena, const Parameter *parameter, int64_t padded,
           Failure *failure)
{
	float *numbers = arena_try(arena, (size_t) padded, sizeof(float), failure);

	if (numbers == NULL)
		return NULL;
	parameter_read(parameter, 0, parameter->count, numbers);
	for (int64_t i = 0; i < parameter->count; i++)
		if (!isfinite(numbers[i]))
		{
			fail(failure, FAILURE_BAD_FILE,
			     "number %lld of \"%s\" is not finite and cannot be quantized",
			     (long long) i, parameter->name);
			return NULL;
		}
	return numbers;
}

static bool
quantize(Model *model, Parameter *parameter, DType dtype, Failure *failure)
{
	Device *device = model->device;
	Arena *arena = arena_create();
	int64_t block = dtype_block(dtype);
	int64_t padded = (parameter->count + block - 1) / block * block;
	size_t bytes = dtype_bytes(dtype, padded);
	float *numbers = read_whole(arena, parameter, padded, failure);
	void *packed = numbers == NULL ? NULL : arena_try(arena, bytes, 1, failure);
	void *target = packed == NULL ? NULL : device->alloc(device, bytes);
	bool done = target != NULL;

	if (done)
	{
		quant_write(packed, numbers, dtype, padded);
		device->upload(device, target, packed, bytes);
		parameter_release(model, parameter);
		if (!parameter->stored->is_copy)
			file_forget(parameter->stored->data,
			            (size_t) parameter->stored->bytes);
		parameter->value = target;
		parameter->dtype = dtype;
		parameter->is_copy = true;
	}
	arena_destroy(arena);
	return done || (packed != NULL && device->sync(device, failure));
}

static bool
quantize_linear(Model *model, const Linear *linear, DType dtype,
                Failure *failure)
{
	Parameter *weight = linear->weight;

	return weight == NULL || dtype_size(weight->dtype) == 0 ||
	       quantize(model, weight, dtype, failure);
}

bool
model_quantize(Model *model, DType dtype, Failure *failure)
{
	if (dtype != DTYPE_Q8_0 && dtype != DTYPE_NF4 && dtype != DTYPE_NF4_DOUBLE)
		return fail(failure, FAILURE_BAD_INPUT,
		            "weights cannot be quantized to %s", dtype_name(dtype));
	for (int i = 0; i < model->config.layers; i++)
	{
		const Layer *layer = &model->layers[i];
		const Linear *const linears[] = {&layer->qkv, &layer->q,   &layer->k,
		                                 &layer->v,   &layer->out, &layer->gate,
		                                 &layer->up,  &layer->down};

		for (size_t j = 0; j < sizeof(linears) / sizeof(linears[0]); j++)
			if (!quantize_linear(model, linears[j], dtype, failure))
				return fail_while(failure, "quantizing weights to %s",
				                  dtype_name(dtype));
	}
	return model->device->sync(model->device, failure);
}
