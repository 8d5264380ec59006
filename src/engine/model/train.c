/*
 * train.c
 *		A model as something to train: weights of its own, gradients, moments.
 */
#include "base/file.h"
#include "model/lora/lora_layers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void *
state_of(const Model *model, ModelState state)
{
	switch (state)
	{
		case MODEL_WEIGHTS:
			return model->weights;
		case MODEL_GRADIENTS:
			return model->gradients;
		case MODEL_FIRST_MOMENT:
			return model->first_moment;
		default:
			return model->second_moment;
	}
}

static size_t
array_bytes(const Model *model)
{
	return (size_t) trained_parameters(model).total * sizeof(float);
}

static bool
allocate_state(Model *model, void **memory, size_t bytes, Failure *failure)
{
	Device *device = model->device;

	*memory = device->alloc(device, bytes);
	return *memory != NULL ||
	       (device->sync(device, failure) &&
	        fail(failure, FAILURE_OUT_OF_MEMORY, "no memory for training"));
}

/* The first values of a parameter that no file has: of a new adapter, of a new
 * classifier's head, or of the map to values of tokens. */
static void
upload_new(Model *model, int index, float *target)
{
	Device *device = model->device;
	const Parameter *parameter = &trained_parameters(model).parameter[index];
	bool is_lora = model->adapter != NULL && index < 2 * model->adapter->loras;
	int64_t numbers = parameter->count;
	float part[8192];
	int64_t size = sizeof(part) / sizeof(part[0]);

	for (int64_t first = 0; first < numbers; first += size)
	{
		int64_t left = numbers - first;
		int64_t count = left < size ? left : size;

		if (is_lora)
			lora_initialize(model->adapter, index, first, count, part);
		else if (model->plan != NULL)
			relabel_initialize(model, parameter, first, count, part);
		else
			/* Values of tokens begin at 0. */
			memset(part, 0, (size_t) count * sizeof(float));
		device->upload(device, target + first, part,
		               (size_t) count * sizeof(float));
	}
}

static void
move_to_state(Model *model, int index)
{
	Parameter *parameter = &trained_parameters(model).parameter[index];
	float *target = model->weights + parameter->offset;

	if (parameter->stored == NULL)
		upload_new(model, index, target);
	else
	{
		parameter_upload(model, parameter, target);
		parameter_release(model, parameter);
		if (!parameter->stored->is_copy)
			file_forget(parameter->stored->data,
			            (size_t) parameter->stored->bytes);
	}
	parameter->value = target;
	parameter->dtype = DTYPE_F32;
}

bool
model_make_trainable(Model *model, const LoraOptions *lora, Failure *failure)
{
	Device *device = model->device;
	size_t numbers;
	size_t moments;

	if (lora != NULL && model->adapter == NULL &&
	    !lora_create(model, lora, failure))
		return false;
	if (model->adapter != NULL)
	{
		model->adapter->dropout = lora == NULL ? 0 : lora->dropout;
		if (model->plan != NULL)
			relabel_train_head(model);
	}
	if (model->has_values)
		token_values_list(model);
	/* Earlier passes may have taken what was kept for this. */
	pass_give_back(model);
	numbers = array_bytes(model);
	moments = (size_t) model_moment_size(model) * sizeof(float);
	if (!device->reserve(device, state_to_come(model), failure) ||
	    !allocate_state(model, (void **) &model->weights, numbers, failure))
		return fail_while(failure,
		                  "making %lld parameters trainable (%.3g bytes each)",
		                  (long long) trained_parameters(model).total,
		                  2.0 * (double) (numbers + moments) /
		                      (double) trained_parameters(model).total);
	for (int i = 0; i < trained_parameters(model).count; i++)
		move_to_state(model, i);
	if (model->adapter != NULL)
		lora_join(model->adapter);
	return allocate_state(model, (void **) &model->gradients, numbers,
	                      failure) &&
	       allocate_state(model, &model->first_moment, moments, failure) &&
	       allocate_state(model, &model->second_moment, moments, failure) &&
	       device->sync(device, failure);
}

bool
model_is_trainable(const Model *model)
{
	return model->weights != NULL;
}

void
model_zero_gradients(Model *model)
{
	model->device->fill_zero(model->device, model->gradients,
	                         array_bytes(model));
}

bool
model_gradient_norm(Model *model, double *norm, Failure *failure)
{
	Device *device = model->device;
	double *sum = device->alloc(device, sizeof(double));
	double total = 0;

	if (sum == NULL)
		return device->sync(device, failure);
	device->add_squares(
		device, sum, tensor_at(model->gradients, 1, model_state_size(model)));
	device->download(device, &total, sum, sizeof(double));
	device->free(device, sum);
	*norm = sqrt(total);
	return device->sync(device, failure);
}

int64_t
model_state_size(const Model *model)
{
	return trained_parameters(model).total;
}

void *
model_state_memory(Model *model, ModelState state)
{
	return state_of(model, state);
}

void
model_state_download(Model *model, ModelState state, int64_t first,
                     int64_t count, float *target)
{
	model->device->download(model->device, target,
	                        (float *) state_of(model, state) + first,
	                        (size_t) count * sizeof(float));
}

void
model_state_upload(Model *model, ModelState state, int64_t first, int64_t count,
                   const float *source)
{
	if (state == MODEL_WEIGHTS)
		model->has_changed = true;
	model->device->upload(model->device,
	                      (float *) state_of(model, state) + first, source,
	                      (size_t) count * sizeof(float));
}
