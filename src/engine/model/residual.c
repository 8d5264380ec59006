/*
 * residual.c
 *		What the branches of a layer have in common: a norm, in front of the
 *		branch or behind the residual sum.
 */
#include "model/layers.h"

Tensor
branch_input(Pass *pass, const Norm *norm, Tensor x, Tensor stat)
{
	if (pass->model->config.norm_after)
		return x;
	norm_forward(pass->model, norm, pass->wide, x, stat);
	return pass->wide;
}

void
branch_output(Pass *pass, const Norm *norm, Tensor out, Tensor x, Tensor sum,
              Tensor stat)
{
	Model *model = pass->model;
	Device *device = model->device;

	if (!model->config.norm_after)
	{
		device->add(device, out, x, pass->wide);
		return;
	}
	device->add(device, sum, x, pass->wide);
	norm_forward(model, norm, out, sum, stat);
}

void
branch_output_backward(Pass *pass, const Norm *norm, Tensor sum, Tensor stat)
{
	if (pass->model->config.norm_after)
		norm_backward(pass->model, norm, pass->dx, 0, pass->dx, sum, stat);
}

Tensor
branch_gradient(const Pass *pass, float *beta)
{
	/* What a branch reads as it is adds to the gradient of the sum. */
	*beta = pass->model->config.norm_after ? 1 : 0;
	return pass->model->config.norm_after ? pass->dx : pass->wide2;
}
