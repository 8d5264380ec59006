/*
 * embedding.c
 *		Tokens, and learned positions, to vectors.
 */
#include "model/layers.h"

static Tensor
table(const Parameter *parameter, float *data)
{
	return tensor_at(data, parameter->shape[0], parameter->shape[1]);
}

void
embedding_forward(Pass *pass)
{
	Model *model = pass->model;
	Device *device = model->device;
	Tensor out = pass->states[0].input;

	device->gather_rows(device, out,
	                    table(model->embedding, model->embedding->value),
	                    pass->ids, 0);
	if (model->position_table != NULL)
		device->gather_rows(
			device, out,
			table(model->position_table, model->position_table->value),
			pass->position, 1);
}

void
embedding_backward(Pass *pass)
{
	Model *model = pass->model;
	Device *device = model->device;
	float *gradients = model->gradients;

	device->scatter_add_rows(
		device, table(model->embedding, gradients + model->embedding->offset),
		pass->dx, pass->ids);
	if (model->position_table != NULL)
		device->scatter_add_rows(
			device,
			table(model->position_table,
		          gradients + model->position_table->offset),
			pass->dx, pass->position);
}
