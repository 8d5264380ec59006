/*
 * attention.c
 *		The attention half of a layer: norm, projections, rotation, attention,
 *		output projection, residual.
 */
#include "model/layers.h"

/* The three parts of a row of queries, keys and values. */
typedef struct Split
{
	Tensor q;
	Tensor k;
	Tensor v;
} Split;

static Split
split(const ModelConfig *config, Tensor qkv)
{
	int64_t queries = (int64_t) config->heads * config->head_dim;
	int64_t keys = (int64_t) config->kv_heads * config->head_dim;

	return (Split){tensor_columns(qkv, 0, queries),
	               tensor_columns(qkv, queries, keys),
	               tensor_columns(qkv, queries + keys, keys)};
}

static void
rotate(Pass *pass, Split parts, bool inverse)
{
	Model *model = pass->model;
	const ModelConfig *config = &model->config;
	Device *device = model->device;
	Tensor angles;

	if (config->position != POSITION_ROTARY)
		return;
	angles = tensor_at(model->angles, model->angle_rows, config->rotary);
	device->rotate(device, parts.q, config->heads, config->rotary, angles,
	               pass->position, inverse);
	device->rotate(device, parts.k, config->kv_heads, config->rotary, angles,
	               pass->position, inverse);
}

/* Attention itself: over the packed batch, or against the cache. */
static void
attend(Pass *pass, int number, Tensor out, Split parts, Tensor lse)
{
	Device *device = pass->model->device;

	if (pass->cache != NULL)
	{
		device->scatter_rows(device, pass->cache->keys[number], parts.k,
		                     pass->cache_row);
		device->scatter_rows(device, pass->cache->values[number], parts.v,
		                     pass->cache_row);
	}
	if (pass->cache_first != NULL)
		device->attention_cached(
			device, &pass->attention, out, parts.q, pass->cache->keys[number],
			pass->cache->values[number], pass->cache_first, pass->cache_length);
	else
		device->attention(device, &pass->attention, out, parts.q, parts.k,
		                  parts.v, lse);
}

void
attention_forward(Pass *pass, int number)
{
	Model *model = pass->model;
	const Layer *layer = &model->layers[number];
	LayerState *state = &pass->states[number];
	Split parts = split(&model->config, state->qkv);

	norm_forward(model, &layer->attention_norm, pass->wide, state->input,
	             state->attention_stat);
	if (layer->qkv.weight != NULL)
		linear_forward(model, &layer->qkv, state->qkv, pass->wide);
	else
	{
		linear_forward(model, &layer->q, parts.q, pass->wide);
		linear_forward(model, &layer->k, parts.k, pass->wide);
		linear_forward(model, &layer->v, parts.v, pass->wide);
	}
	rotate(pass, parts, false);
	attend(pass, number, state->attended, parts, state->lse);
	linear_forward(model, &layer->out, pass->wide, state->attended);
	model->device->add(model->device, state->middle, state->input, pass->wide);
}

void
attention_backward(Pass *pass, int number)
{
	Model *model = pass->model;
	Device *device = model->device;
	const Layer *layer = &model->layers[number];
	LayerState *state = &pass->states[number];
	Split parts = split(&model->config, state->qkv);
	Split grads = split(&model->config, pass->dqkv);

	linear_backward(model, &layer->out, pass->dattended, 0, pass->dx,
	                state->attended);
	device->attention_grad(device, &pass->attention, grads.q, grads.k, grads.v,
	                       pass->dattended, state->attended, parts.q, parts.k,
	                       parts.v, state->lse);
	rotate(pass, grads, true);
	norm_forward(model, &layer->attention_norm, pass->wide, state->input,
	             state->attention_stat);
	if (layer->qkv.weight != NULL)
		linear_backward(model, &layer->qkv, pass->wide2, 0, pass->dqkv,
		                pass->wide);
	else
	{
		linear_backward(model, &layer->q, pass->wide2, 0, grads.q, pass->wide);
		linear_backward(model, &layer->k, pass->wide2, 1, grads.k, pass->wide);
		linear_backward(model, &layer->v, pass->wide2, 1, grads.v, pass->wide);
	}
	norm_backward(model, &layer->attention_norm, pass->dx, 1, pass->wide2,
	              state->input, state->attention_stat);
}
