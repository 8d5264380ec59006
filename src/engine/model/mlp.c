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
	LayerState *state = &pass->states[number];
	Activation activation = model->config.activation;

	norm_forward(model, &layer->mlp_norm, pass->wide, input_of(pass, state),
	             state->mlp_stat);
	linear_forward(model, &layer->gate, state->gate, pass->wide);
	if (model->config.gated)
	{
		linear_forward(model, &layer->up, state->up, pass->wide);
		device->activation(device, activation, pass->inner, state->gate,
		                   &state->up);
	}
	else
		device->activation(device, activation, pass->inner, state->gate, NULL);
	linear_forward(model, &layer->down, pass->wide, pass->inner);
	device->add(device, state->output, state->middle, pass->wide);
}

void
mlp_backward(Pass *pass, int number)
{
	Model *model = pass->model;
	Device *device = model->device;
	const Layer *layer = &model->layers[number];
	LayerState *state = &pass->states[number];
	Activation activation = model->config.activation;
	bool gated = model->config.gated;
	const Tensor *up = gated ? &state->up : NULL;

	/* The activation's output and the norm's are cheaper made again than
	 * kept.  inner then becomes the gradient of up, inner2 that of gate. */
	device->activation(device, activation, pass->inner, state->gate, up);
	linear_backward(model, &layer->down, pass->inner2, 0, pass->dx,
	                pass->inner);
	device->activation_grad(device, activation, pass->inner2,
	                        gated ? &pass->inner : NULL, pass->inner2,
	                        state->gate, up);
	norm_forward(model, &layer->mlp_norm, pass->wide, input_of(pass, state),
	             state->mlp_stat);
	linear_backward(model, &layer->gate, pass->wide2, 0, pass->inner2,
	                pass->wide);
	if (gated)
		linear_backward(model, &layer->up, pass->wide2, 1, pass->inner,
		                pass->wide);
	/* Attention beside it still wants dx as it is. */
	if (model->config.is_parallel)
		norm_backward(model, &layer->mlp_norm, pass->branch, 0, pass->wide2,
		              state->input, state->mlp_stat);
	else
		norm_backward(model, &layer->mlp_norm, pass->dx, 1, pass->wide2,
		              state->middle, state->mlp_stat);
}
