/*
 * linear.c
 *		The two parts every layer is made of: a linear map and a norm.
 */
#include "model/lora/lora_layers.h"

/* What the maps' adapters have in common; NULL: they have none. */
static LoraInput *
input_of(const LinearEnd *ends, int count)
{
	LoraInput *input = NULL;

	for (int i = 0; i < count; i++)
		if (ends[i].linear->lora != NULL)
			input = ends[i].linear->lora->input;
	return input;
}

static void
multiply(Model *model, const Linear *linear, Tensor out, Tensor x)
{
	Device *device = model->device;
	Matrix weight = parameter_matrix(linear->weight);

	if (linear->bias != NULL)
	{
		Tensor bias = parameter_vector(linear->bias);

		device->matmul(device, out, x, &weight, &bias, 0);
	}
	else
		device->matmul(device, out, x, &weight, NULL, 0);
}

void
linears_forward(Pass *pass, const LinearEnd *ends, int count, Tensor x)
{
	Device *device = pass->model->device;
	LoraInput *input = input_of(ends, count);

	if (count > 1)
		device->hold(device, &x, 1);
	if (input != NULL)
		lora_make_low(pass, input, x);
	for (int i = 0; i < count; i++)
	{
		multiply(pass->model, ends[i].linear, ends[i].out, x);
		if (ends[i].linear->lora != NULL)
			lora_add(pass, ends[i].linear->lora, ends[i].out);
	}
	if (count > 1)
		device->hold(device, NULL, 0);
}

void
linear_forward(Pass *pass, const Linear *linear, Tensor out, Tensor x)
{
	linears_forward(pass, &(LinearEnd){linear, out}, 1, x);
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

/* Of the maps' weights, biases and adapters. */
static void
accumulate_gradients(Pass *pass, const LinearEnd *ends, int count,
                     LoraInput *input, Tensor x)
{
	for (int i = 0; i < count; i++)
	{
		accumulate_gradient(pass->model, ends[i].linear, ends[i].out, x);
		if (ends[i].linear->lora != NULL)
			lora_accumulate_b(pass, ends[i].linear->lora, ends[i].out);
	}
	if (input != NULL)
		lora_accumulate_a(pass, input, x);
}

void
linears_backward(Pass *pass, const LinearEnd *ends, int count, Tensor dx,
                 float beta, Tensor x)
{
	Device *device = pass->model->device;
	LoraInput *input = input_of(ends, count);
	Tensor held[LAYER_LINEARS] = {{.data = NULL}};
	/* Slices add to gradients in turn: the first begins with them, and those
	 * that would wait for it have something else to do before. */
	bool is_first = pass->first == 0;

	for (int i = 0; i < count; i++)
		held[i] = ends[i].out;
	device->hold(device, held, input != NULL ? count : 0);
	if (is_first)
		accumulate_gradients(pass, ends, count, input, x);
	for (int i = 0; i < count && dx.data != NULL; i++)
	{
		Matrix weight = parameter_matrix(ends[i].linear->weight);

		device->matmul_input_grad(device, dx, ends[i].out, &weight,
		                          i == 0 ? beta : 1);
	}
	if (!is_first)
		accumulate_gradients(pass, ends, count, input, x);
	device->hold(device, NULL, 0);
	if (input != NULL && dx.data != NULL)
		lora_input_gradient(pass, input, dx);
}

void
linear_backward(Pass *pass, const Linear *linear, Tensor dx, float beta,
                Tensor dout, Tensor x)
{
	linears_backward(pass, &(LinearEnd){linear, dout}, 1, dx, beta, x);
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
