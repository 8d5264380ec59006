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

/* The parts of a whole pass, of which a slice has some rows: columns of one
 * row where one map gives all three, else one after the other, so that the
 * heads of each are rows of their own. */
static Split
split(const Pass *pass, Tensor qkv)
{
	const ModelConfig *config = &pass->model->config;
	int64_t queries = (int64_t) config->heads * config->head_dim;
	int64_t keys = (int64_t) config->kv_heads * config->head_dim;
	float *data = qkv.data;
	Tensor q = tensor_at(data, qkv.rows, queries);
	Tensor k = tensor_at(data + qkv.rows * queries, qkv.rows, keys);
	Tensor v = tensor_at(data + qkv.rows * (queries + keys), qkv.rows, keys);

	if (config->qkv != QKV_APART)
	{
		q = tensor_columns(qkv, 0, queries);
		k = tensor_columns(qkv, queries, keys);
		v = tensor_columns(qkv, queries + keys, keys);
	}
	return (Split){pass_rows(pass, q), pass_rows(pass, k), pass_rows(pass, v)};
}

/* Rows of whole heads as a row for each head. */
static Tensor
by_head(Tensor x, int heads)
{
	return tensor_at(x.data, x.rows * heads, x.cols / heads);
}

/* Queries and keys before the norms of their heads, where there are any. */
static Split
unnormed(const Pass *pass, const LayerState *state, Split parts)
{
	const ModelConfig *config = &pass->model->config;
	int64_t rows = state->raw.rows;
	float *data = state->raw.data;

	if (!config->head_norm)
		return parts;
	return (Split){pass_rows(pass, tensor_at(data, rows, parts.q.cols)),
	               pass_rows(pass, tensor_at(data + rows * parts.q.cols, rows,
	                                         parts.k.cols)),
	               parts.v};
}

/* The layer's qkv from x: the maps, and the norms of the heads. */
static void
project(Pass *pass, int number, Tensor x)
{
	Model *model = pass->model;
	Device *device = model->device;
	const ModelConfig *config = &model->config;
	const Layer *layer = &model->layers[number];
	LayerState state = pass_state(pass, number);
	Split parts = split(pass, state.qkv);
	Split raw = unnormed(pass, &state, parts);

	switch (config->qkv)
	{
		case QKV_FUSED:
			linear_forward(pass, &layer->qkv, pass_rows(pass, state.qkv), x);
			break;
		case QKV_BY_HEAD:
			linear_forward(pass, &layer->qkv, pass->fused, x);
			device->regroup_heads(device, pass_rows(pass, state.qkv),
			                      pass->fused, config->heads, 3, false);
			break;
		case QKV_APART:
			linears_forward(pass,
			                (LinearEnd[]){{&layer->q, raw.q},
			                              {&layer->k, raw.k},
			                              {&layer->v, raw.v}},
			                3, x);
			break;
	}
	if (!config->head_norm)
		return;
	norm_forward(model, &layer->q_norm, by_head(parts.q, config->heads),
	             by_head(raw.q, config->heads), state.q_stat);
	norm_forward(model, &layer->k_norm, by_head(parts.k, config->kv_heads),
	             by_head(raw.k, config->kv_heads), state.k_stat);
}

/* dx = beta * dx + what pass->dqkv gives for x; dqkv is used up. */
static void
project_backward(Pass *pass, int number, Tensor dx, float beta, Tensor x)
{
	Model *model = pass->model;
	Device *device = model->device;
	const ModelConfig *config = &model->config;
	const Layer *layer = &model->layers[number];
	LayerState state = pass_state(pass, number);
	Split grads = split(pass, pass->dqkv);
	Split raw = unnormed(pass, &state, split(pass, state.qkv));

	if (config->head_norm)
	{
		Tensor dq = by_head(grads.q, config->heads);
		Tensor dk = by_head(grads.k, config->kv_heads);

		norm_backward(model, &layer->q_norm, dq, 0, dq,
		              by_head(raw.q, config->heads), state.q_stat);
		norm_backward(model, &layer->k_norm, dk, 0, dk,
		              by_head(raw.k, config->kv_heads), state.k_stat);
	}
	switch (config->qkv)
	{
		case QKV_FUSED:
			linear_backward(pass, &layer->qkv, dx, beta,
			                pass_rows(pass, pass->dqkv), x);
			break;
		case QKV_BY_HEAD:
			device->regroup_heads(device, pass->fused,
			                      pass_rows(pass, pass->dqkv), config->heads, 3,
			                      true);
			linear_backward(pass, &layer->qkv, dx, beta, pass->fused, x);
			break;
		case QKV_APART:
			linears_backward(pass,
			                 (LinearEnd[]){{&layer->q, grads.q},
			                               {&layer->k, grads.k},
			                               {&layer->v, grads.v}},
			                 3, dx, beta, x);
			break;
	}
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

/* What the layer's attention sees. */
static AttentionShape
shape_of(const Pass *pass, int number)
{
	AttentionShape shape = pass->attention;

	shape.window = config_window(&pass->model->config, number);
	if (pass->model->config.distances > 0)
		shape.relative = &pass->distances.scores;
	return shape;
}

/* Attention itself: over the packed batch, or against the cache. */
static void
attend(Pass *pass, int number, Tensor out, Split parts, Tensor lse)
{
	Device *device = pass->model->device;
	AttentionShape shape = shape_of(pass, number);

	if (pass->cache != NULL)
	{
		device->scatter_rows(device, pass->cache->keys[number], parts.k,
		                     pass->cache_row);
		device->scatter_rows(device, pass->cache->values[number], parts.v,
		                     pass->cache_row);
	}
	if (pass->cache_first != NULL)
		device->attention_cached(
			device, &shape, out, parts.q, pass->cache->keys[number],
			pass->cache->values[number], pass->cache_first, pass->cache_length);
	else
		device->attention(device, &shape, out, parts.q, parts.k, parts.v, lse);
}

void
attention_project(Pass *pass, int number)
{
	const Layer *layer = &pass->model->layers[number];
	LayerState state = pass_state(pass, number);

	project(pass, number,
	        branch_input(pass, &layer->attention_norm, state.input,
	                     state.attention_stat));
	rotate(pass, split(pass, state.qkv), false);
}

void
attention_project_backward(Pass *pass, int number)
{
	Model *model = pass->model;
	const Layer *layer = &model->layers[number];
	LayerState state = pass_state(pass, number);
	/* Below an adapter nobody asks for gradients. */
	bool is_last = model->adapter != NULL && number == pass_lowest(pass);
	float beta;
	Tensor dx = branch_gradient(pass, &beta);

	if (is_last)
		dx = (Tensor){.data = NULL};
	rotate(pass, split(pass, pass->dqkv), true);
	project_backward(pass, number, dx, beta,
	                 branch_input(pass, &layer->attention_norm, state.input,
	                              state.attention_stat));
	if (!model->config.norm_after && !is_last)
		norm_backward(model, &layer->attention_norm, pass->dx, 1, dx,
		              state.input, state.attention_stat);
}

void
attention_attend(Pass *pass, int number)
{
	LayerState state = pass_state(pass, number);
	Split parts = split(pass, state.qkv);

	if (pass->model->config.distances > 0)
		distance_forward(pass, number, parts.q, parts.k);
	attend(pass, number, state.attended, parts, state.lse);
}

void
attention_attend_backward(Pass *pass, int number)
{
	Model *model = pass->model;
	Device *device = model->device;
	LayerState *state = &pass->states[number];
	Split parts = split(pass, state->qkv);
	Split grads = split(pass, pass->dqkv);
	AttentionShape shape = shape_of(pass, number);

	if (model->config.distances > 0)
		distance_forward(pass, number, parts.q, parts.k);
	device->attention_grad(device, &shape, grads.q, grads.k, grads.v,
	                       pass->dattended, state->attended, parts.q, parts.k,
	                       parts.v, state->lse);
	if (model->config.distances > 0)
		distance_backward(pass, number, parts.q, parts.k, grads.q, grads.k);
}

void
attention_output(Pass *pass, int number)
{
	const Layer *layer = &pass->model->layers[number];
	LayerState state = pass_state(pass, number);

	linear_forward(pass, &layer->out, pass->wide, state.attended);
	branch_output(pass, &layer->attention_norm, state.middle, state.input,
	              state.attention_sum, state.attention_stat);
}

void
attention_output_backward(Pass *pass, int number)
{
	Model *model = pass->model;
	Device *device = model->device;
	const Layer *layer = &model->layers[number];
	LayerState state = pass_state(pass, number);

	branch_output_backward(pass, &layer->attention_norm, state.attention_sum,
	                       state.attention_stat);
	linear_backward(pass, &layer->out, pass->dattended, 0, pass->dx,
	                state.attended);
	/* The other branch's gradient waited until this one had its own. */
	if (model->config.is_parallel)
		device->add(device, pass->dx, pass->dx, pass->branch);
}
