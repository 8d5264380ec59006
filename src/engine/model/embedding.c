/*
 * embedding.c
 *		Tokens, and learned positions, to vectors.
 */
#include "model/layers.h"

void
embedding_forward(Pass *pass)
{
	Model *model = pass->model;
	Device *device = model->device;
	Tensor out = pass->states[0].input;

	device->gather_rows(device, out, parameter_matrix(model->embedding).tensor,
	                    pass->ids, 0);
	if (model->position_table != NULL)
		device->gather_rows(device, out,
		                    parameter_matrix(model->position_table).tensor,
		                    pass->position, 1);
}

void
embedding_backward(Pass *pass)
{
	Model *model = pass->model;
	Device *device = model->device;

	device->scatter_add_rows(device,
	                         gradient_matrix(model, model->embedding).tensor,
	                         pass->dx, pass->ids);
	if (model->position_table != NULL)
		device->scatter_add_rows(
			device, gradient_matrix(model, model->position_table).tensor,
			pass->dx, pass->position);
}
