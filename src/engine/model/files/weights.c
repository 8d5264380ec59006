/*
 * weights.c
 *		The weights a model has now.
 */
#include "model/files/weights.h"

#include <string.h>

struct Weights
{
	Model *model;
	const float *values; /* NULL: those of the model */
	Merge *merge;        /* NULL: no adapter */
	int turned_index;    /* the matrix that lies at turned, -1: none */
	float *turned;       /* as large as the largest matrix of a layer */
	float *row;
};

/* Room for one matrix that is turned; the embedding never is. */
static bool
allocate_turned(Arena *arena, Weights *weights, Failure *failure)
{
	const Model *model = weights->model;
	int64_t count = 0;
	int64_t cols = 0;

	if (!architecture_find(model->config.architecture)->transposed)
		return true;
	for (int i = 0; i < model->parameter_count; i++)
	{
		const Parameter *parameter = &model->parameters[i];

		if (!parameter->transposed && !parameter->is_turned)
			continue;
		count = parameter->count > count ? parameter->count : count;
		cols = parameter->shape[1] > cols ? parameter->shape[1] : cols;
	}
	weights->turned = arena_try(arena, (size_t) count, sizeof(float), failure);
	if (weights->turned == NULL)
		return false;
	weights->row = arena_try(arena, (size_t) cols, sizeof(float), failure);
	return weights->row != NULL;
}

bool
weights_open(Arena *arena, Model *model, const float *values, Weights **result,
             Failure *failure)
{
	Weights *weights = arena_alloc(arena, sizeof(Weights));

	*weights = (Weights){.model = model, .values = values, .turned_index = -1};
	*result = weights;
	return allocate_turned(arena, weights, failure) &&
	       (model->adapter == NULL ||
	        merge_open(arena, model, values, &weights->merge, failure));
}

DType
weights_dtype(DType wanted, const Parameter *parameter)
{
	if (wanted != DTYPE_OTHER)
		return wanted;
	/* What is not in the file is a new head. */
	return parameter->stored != NULL && dtype_size(parameter->stored->dtype) > 0
	           ? parameter->stored->dtype
	           : DTYPE_F32;
}

void
weights_read(void *argument, int index, int64_t first, int64_t count,
             void *target)
{
	Weights *weights = argument;
	Model *model = weights->model;

	if (weights->merge != NULL)
		merge_read(weights->merge, index, first, count, target);
	else
		parameter_read_now(model, &model->parameters[index], weights->values,
		                   first, count, target);
}

void
weights_read_turned(void *argument, int index, int64_t first, int64_t count,
                    void *target)
{
	Weights *weights = argument;
	const Parameter *parameter = &weights->model->parameters[index];
	int64_t rows = parameter->shape[0];
	int64_t cols = parameter->shape[1];

	for (int64_t i = 0; i < rows && weights->turned_index != index; i++)
	{
		weights_read(weights, index, i * cols, cols, weights->row);
		for (int64_t j = 0; j < cols; j++)
			weights->turned[j * rows + i] = weights->row[j];
	}
	weights->turned_index = index;
	memcpy(target, weights->turned + first, (size_t) count * sizeof(float));
}
