/*
 * mlp.c
 *		The feed-forward half of a layer, plain (GPT-2) or gated (LLaMA), after
 *		attention or beside it (GPT-NeoX).
 */
#include "model/layers.h"

static Tensor
input_of(const Pass *pass, const LayerState *state)
{
	return pass->model->config.is_parallel ? state->input : state->middle;
}

void
mlp_forward(Pass *pass, int number)
{
	Model *model = pass->model;
	Device *device = model->device;
	const Layer *layer = &model->layers[number];
	LayerState state = pass_state(pass, number);
	Activation activation = model->config.activation;
	bool gated = model->config.gated;
	Tensor x = branch_input(pass, &layer->mlp_norm, input_of(pass, &state),
	                        state.mlp_stat);

	linears_forward(
		pass, (LinearEnd[]){{&layer->gate, state.gate}, {&layer->up, state.up}},
		gated ? 2 : 1, x);
	device->activation(device, activation, pass->inner, state.gate,
	                   gated ? &state.up : NULL, NULL);
	linear_forward(pass, &layer->down, pass->wide, pass->inner);
	branch_output(pass, &layer->mlp_norm, state.output, state.middle,
	              state.mlp_sum, state.mlp_stat);
}

void
mlp_backward(Pass *pass, int number)
{
	Model *model = pass->model;
	Device *device = model->device;
	const Layer *layer = &model->layers[number];
	LayerState state = pass_state(pass, number);
	Activation activation = model->config.activation;
	bool gated = model->config.gated;
	const Tensor *up = gated ? &state.up : NULL;
	Fixed both[2];
	const Fixed *kept = state_activation(pass, number, both);
	float beta;
	Tensor dx = branch_gradient(pass, &beta);
	Tensor x;

	branch_output_backward(pass, &layer->mlp_norm, state.mlp_sum,
	                       state.mlp_stat);
	/* The activation's output and the norm's are cheaper made again than
	 * kept.  inner then becomes the gradient of up, inner2 that of gate. */
	device->activation(device, activation, pass->inner, state.gate, up, kept);
	linear_backward(pass, &layer->down, pass->inner2, 0, pass->dx, pass->inner);
	device->activation_grad(device, activation, pass->inner2,
	                        gated ? &pass->inner : NULL, pass->inner2,
	                        state.gate, up, kept);
	x = branch_input(pass, &layer->mlp_norm, input_of(pass, &state),
	                 state.mlp_stat);
	linears_backward(
		pass,
		(LinearEnd[]){{&layer->gate, pass->inner2}, {&layer->up, pass->inner}},
		gated ? 2 : 1, dx, beta, x);
	if (model->config.norm_after)
		return;
	/* Attention beside it still wants dx as it is. */
	if (model->config.is_parallel)
		norm_backward(model, &layer->mlp_norm, pass->branch, 0, dx, state.input,
		              state.mlp_stat);
	else
		norm_backward(model, &layer->mlp_norm, pass->dx, 1, dx, state.middle,
		              state.mlp_stat);
}
