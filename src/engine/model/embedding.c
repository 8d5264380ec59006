/*
 * embedding.c
 *		Tokens, learned positions and types to vectors.
 */
#include "model/layers.h"

/* out = beta * out + the rows of the table that index names; NULL: no table. */
static void
look_up(Pass *pass, const Parameter *parameter, Tensor out,
        const int32_t *index, float beta)
{
	Device *device = pass->model->device;

	if (parameter != NULL)
		device->gather_rows(device, out, parameter_matrix(parameter).tensor,
		                    index, beta);
}

static void
look_up_backward(Pass *pass, const Parameter *parameter, const int32_t *index)
{
	Model *model = pass->model;
	Device *device = model->device;

	if (parameter != NULL)
		device->scatter_add_rows(
			device, gradient_matrix(model, parameter).tensor, pass->dx, index);
}

void
embedding_forward(Pass *pass)
{
	Model *model = pass->model;
	bool is_normed = model->config.embedding_norm;
	Tensor input = pass->states[0].input;
	Tensor out = is_normed ? pass->embedded : input;

	look_up(pass, model->embedding, out, pass->ids, 0);
	look_up(pass, model->position_table, out, pass->position, 1);
	look_up(pass, model->type_table, out, pass->types, 1);
	if (is_normed)
		norm_forward(model, &model->embedding_norm, input, out,
		             pass->embedded_stat);
}

void
embedding_backward(Pass *pass)
{
	Model *model = pass->model;

	if (model->config.embedding_norm)
		norm_backward(model, &model->embedding_norm, pass->dx, 0, pass->dx,
		              pass->embedded, pass->embedded_stat);
	look_up_backward(pass, model->embedding, pass->ids);
	look_up_backward(pass, model->position_table, pass->position);
	look_up_backward(pass, model->type_table, pass->types);
}
