/*
 * moments.c
 *		AdamW's moments of what is trained: as fp32, or as bytes in blocks with
 *		a scale each, so that a weight takes 10 bytes to train in place of 16.
 *
 * As bytes they are kept where arXiv 2110.02861 keeps them: not for tables of
 * embeddings, whose rows see few gradients, and not for parameters that are so
 * small that nothing is gained.
 *
 * Each array has the parameters in their order, every one from a 64-byte line
 * on: its numbers, or its codes and on another line their scales.
 */
#include "base/dynamic8.h"
#include "model/layers.h"

#define CODED_MIN 4096 /* numbers */

#define LINE 64 /* bytes */

static size_t
lines(size_t bytes)
{
	return (bytes + LINE - 1) / LINE * LINE;
}

static bool
is_coded(const Model *model, const Parameter *parameter)
{
	return model->codes_moments && !parameter->is_table &&
	       parameter->count >= CODED_MIN;
}

/* Of one moment of a parameter. */
static size_t
moment_bytes(const Model *model, const Parameter *parameter)
{
	size_t count = (size_t) parameter->count;
	size_t blocks = (count + DYNAMIC8_BLOCK - 1) / DYNAMIC8_BLOCK;

	return is_coded(model, parameter)
	           ? lines(count) + lines(blocks * sizeof(float))
	           : lines(count * sizeof(float));
}

static Coded
coded_at(void *memory, int64_t count)
{
	return (Coded){memory, (void *) ((char *) memory + lines((size_t) count))};
}

void
model_code_moments(Model *model)
{
	model->codes_moments = true;
}

bool
model_codes_moments(const Model *model)
{
	return model->codes_moments;
}

int64_t
model_moment_size(const Model *model)
{
	ParameterList list = trained_parameters(model);
	size_t bytes = 0;

	for (int i = 0; i < list.count; i++)
		bytes += moment_bytes(model, &list.parameter[i]);
	return (int64_t) (bytes / sizeof(float));
}

/* The step of a parameter whose moments lie at m and v. */
static void
step(Model *model, const AdamW *settings, const Parameter *parameter, void *m,
     void *v)
{
	Device *device = model->device;
	int64_t n = parameter->count;
	Tensor weights = tensor_at(model->weights + parameter->offset, 1, n);
	Tensor gradient = tensor_at(model->gradients + parameter->offset, 1, n);
	AdamW own = *settings;

	if (!parameter->decays)
		own.weight_decay = 0;
	if (is_coded(model, parameter))
		device->adamw_coded(device, &own, weights, gradient, coded_at(m, n),
		                    coded_at(v, n));
	else
		device->adamw(device, &own, weights, gradient, tensor_at(m, 1, n),
		              tensor_at(v, 1, n));
}

bool
model_update(Model *model, const AdamW *settings, Failure *failure)
{
	ParameterList list = trained_parameters(model);
	char *m = model->first_moment;
	char *v = model->second_moment;

	for (int i = 0; i < list.count; i++)
	{
		size_t bytes = moment_bytes(model, &list.parameter[i]);

		step(model, settings, &list.parameter[i], m, v);
		m += bytes;
		v += bytes;
	}
	model->has_changed = true;
	return model->device->sync(model->device, failure);
}
