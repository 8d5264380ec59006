/*
 * token_value.c
 *		A value of every token: one number by a linear map of the last hidden
 *		state, trained together with the policy.
 */
#include "model/layers.h"

void
model_add_values(Model *model)
{
	model->has_values = true;
}

void
token_values_list(Model *model)
{
	ParameterList list = trained_parameters(model);
	int64_t width = model->config.hidden;
	Parameter *weight = &list.parameter[list.count];
	Parameter *bias = weight + 1;

	*weight = (Parameter){.name = "value.weight",
	                      .dimensions = 2,
	                      .shape = {1, width},
	                      .count = width,
	                      .offset = list.total,
	                      .decays = true};
	*bias = (Parameter){.name = "value.bias",
	                    .dimensions = 1,
	                    .shape = {1},
	                    .count = 1,
	                    .offset = list.total + whole_lines(width)};
	model->value = (Linear){.weight = weight, .bias = bias};
}

void
token_values_forward(Head *head, Model *model, float *value)
{
	Device *device = model->device;
	Matrix weight = parameter_matrix(model->value.weight);
	Tensor bias = parameter_vector(model->value.bias);

	device->matmul(device, head->value, head->normed, &weight, &bias, 0);
	device->download(device, value, head->value.data,
	                 (size_t) head->rows * sizeof(float));
}

void
token_values_backward(Head *head, Model *model, const float *dvalue)
{
	Device *device = model->device;
	Matrix weight = parameter_matrix(model->value.weight);
	Matrix dweight = gradient_matrix(model, model->value.weight);
	Tensor dbias = gradient_vector(model, model->value.bias);

	device->upload(device, head->value.data, dvalue,
	               (size_t) head->rows * sizeof(float));
	device->matmul_weight_grad(device, &dweight, &dbias, head->value,
	                           head->normed);
	device->matmul_input_grad(device, head->dnormed, head->value, &weight, 1);
}
