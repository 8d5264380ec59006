/*
 * linear.c
 *		The two parts every layer is made of: a linear map and a norm.
 */
#include "model/lora/lora_layers.h"

void
linear_forward(Pass *pass, const Linear *linear, Tensor out, Tensor x)
{
	Device *device = pass->model->device;
	Matrix weight = parameter_matrix(linear->weight);

	if (linear->bias != NULL)
	{
		Tensor bias = parameter_vector(linear->bias);

		device->matmul(device, out, x, &weight, &bias, 0);
	}
	else
		device->matmul(device, out, x, &weight, NULL, 0);
	if (linear->lora != NULL)
		lora_forward(pass, linear->lora, out, x);
}

/* Frozen weights have no gradient. */
static void
accumulate_gradient(Model *model, const Linear *linear, Tensor dout, Tensor x)
{
	Device *device = model->device;
	Matrix dweight;

	if (model->adapter != NULL && !linear->is_whole)
		return;
	dweight = gradient_matrix(model, linear->weight);
	if (linear->bias != NULL)
	{
		Tensor dbias = gradient_vector(model, linear->bias);

		device->matmul_weight_grad(device, &dweight, &dbias, dout, x);
	}
	else
		device->matmul_weight_grad(device, &dweight, NULL, dout, x);
}

void
linear_backward(Pass *pass, const Linear *linear, Tensor dx, float beta,
                Tensor dout, Tensor x)
{
	Model *model = pass->model;
	Device *device = model->device;
	Matrix weight = parameter_matrix(linear->weight);
	/* Slices add to gradients of weights in turn: who is not the first has
	 * something else to do before. */
	bool is_first = pass->first == 0;

	if (is_first)
		accumulate_gradient(model, linear, dout, x);
	if (linear->lora != NULL)
		device->hold(device, dout);
	if (dx.data != NULL)
		device->matmul_input_grad(device, dx, dout, &weight, beta);
	if (!is_first)
		accumulate_gradient(model, linear, dout, x);
	if (linear->lora == NULL)
		return;
	lora_backward(pass, linear->lora, dx, dout, x);
	device->hold(device, (Tensor){.data = NULL});
}

void
norm_forward(Model *model, const Norm *norm, Tensor out, Tensor x, Tensor stat)
{
	Device *device = model->device;
	const ModelConfig *config = &model->config;
	Tensor weight = parameter_vector(norm->weight);

	if (norm->bias != NULL)
	{
		Tensor bias = parameter_vector(norm->bias);

		device->norm(device, config->norm, config->norm_eps, out, x, weight,
		             &bias, stat);
	}
	else
		device->norm(device, config->norm, config->norm_eps, out, x, weight,
		             NULL, stat);
}

void
norm_backward(Model *model, const Norm *norm, Tensor dx, float beta,
              Tensor dout, Tensor x, Tensor stat)
{
	Device *device = model->device;
	NormKind kind = model->config.norm;
	Tensor weight = parameter_vector(norm->weight);
	Tensor dweight;

	if (model->adapter != NULL)
	{
		device->norm_grad(device, kind, dx, beta, NULL, NULL, dout, x, weight,
		                  stat);
		return;
	}
	dweight = gradient_vector(model, norm->weight);
	if (norm->bias != NULL)
	{
		Tensor dbias = gradient_vector(model, norm->bias);

		device->norm_grad(device, kind, dx, beta, &dweight, &dbias, dout, x,
		                  weight, stat);
	}
	else
		device->norm_grad(device, kind, dx, beta, &dweight, NULL, dout, x,
		                  weight, stat);
}
