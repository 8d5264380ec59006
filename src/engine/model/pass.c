/*
 * pass.c
 *		A pass of a packed batch through the layers: its memory, forward and
 *		backward.
 *
 * All of a pass lies in one block that the model keeps and reuses.  The same
 * function lays it out twice: with no base to learn the size, then for real.
 */
#include "model/layers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a model that rests may keep of the workspace. */
#define RESTING_BYTES ((size_t) 16 << 20)

void *
plan_bytes(Plan *plan, size_t bytes)
{
	void *at = plan->base == NULL ? NULL : plan->base + plan->used;

	plan->used += (bytes + 63) / 64 * 64;
	return at;
}

Tensor
plan_tensor(Plan *plan, int64_t rows, int64_t cols)
{
	size_t bytes = (size_t) rows * (size_t) cols * sizeof(float);

	return tensor_at(plan_bytes(plan, bytes), rows, cols);
}

static void
plan_state(Plan *plan, const ModelConfig *c, int64_t tokens, LayerState *state)
{
	int64_t heads = c->heads + c->kv_heads;

	state->attention_stat = plan_tensor(plan, tokens, 2);
	if (c->head_norm)
	{
		state->raw = plan_tensor(plan, tokens, heads * c->head_dim);
		state->q_stat = plan_tensor(plan, tokens * c->heads, 2);
		state->k_stat = plan_tensor(plan, tokens * c->kv_heads, 2);
	}
	state->qkv = plan_tensor(
		plan, tokens, (int64_t) (c->heads + 2 * c->kv_heads) * c->head_dim);
	state->attended =
		plan_tensor(plan, tokens, (int64_t) c->heads * c->head_dim);
	state->lse = plan_tensor(plan, tokens, c->heads);
	if (c->norm_after)
	{
		state->attention_sum = plan_tensor(plan, tokens, c->hidden);
		state->mlp_sum = plan_tensor(plan, tokens, c->hidden);
	}
	state->middle = plan_tensor(plan, tokens, c->hidden);
	state->mlp_stat = plan_tensor(plan, tokens, 2);
	state->gate = plan_tensor(plan, tokens, c->feed_forward);
	if (c->gated)
		state->up = plan_tensor(plan, tokens, c->feed_forward);
	state->output = plan_tensor(plan, tokens, c->hidden);
}

/* Where the integers of a pass lie. */
typedef struct PassIndex
{
	int32_t *ids;
	int32_t *position;
	int32_t *types;
	int32_t *offset;
	int32_t *prefix;
} PassIndex;

static void
plan_pass(Plan *plan, Pass *pass, PassIndex *index, LayerState *states,
          int64_t tokens, int sequences)
{
	const ModelConfig *c = &pass->model->config;
	int64_t qkv = (int64_t) (c->heads + 2 * c->kv_heads) * c->head_dim;
	Tensor input;

	index->ids = plan_bytes(plan, (size_t) tokens * sizeof(int32_t));
	index->position = plan_bytes(plan, (size_t) tokens * sizeof(int32_t));
	index->types = c->types == 0
	                   ? NULL
	                   : plan_bytes(plan, (size_t) tokens * sizeof(int32_t));
	index->offset =
		plan_bytes(plan, (size_t) (sequences + 1) * sizeof(int32_t));
	index->prefix = plan_bytes(plan, (size_t) sequences * sizeof(int32_t));
	input = plan_tensor(plan, tokens, c->hidden);
	if (c->embedding_norm)
	{
		pass->embedded = plan_tensor(plan, tokens, c->hidden);
		pass->embedded_stat = plan_tensor(plan, tokens, 2);
	}
	if (c->distances > 0)
		distance_plan(plan, c, tokens, pass->keeps_state, &pass->distances);
	for (int i = 0; i < c->layers; i++)
	{
		if (i == 0 || pass->keeps_state)
			plan_state(plan, c, tokens, &states[i]);
		else
			states[i] = states[0];
		/* Without a backward pass every layer works in place. */
		states[i].input = i == 0 ? input : states[i - 1].output;
	}
	pass->wide = plan_tensor(plan, tokens, c->hidden);
	pass->inner = plan_tensor(plan, tokens, c->feed_forward);
	if (c->qkv == QKV_BY_HEAD)
		pass->fused = plan_tensor(plan, tokens, qkv);
	if (pass->model->adapter != NULL)
		lora_plan(plan, pass->model->adapter, tokens, pass->keeps_state);
	if (!pass->keeps_state)
		return;
	pass->wide2 = plan_tensor(plan, tokens, c->hidden);
	pass->inner2 = plan_tensor(plan, tokens, c->feed_forward);
	pass->dattended =
		plan_tensor(plan, tokens, (int64_t) c->heads * c->head_dim);
	pass->dqkv = plan_tensor(plan, tokens, qkv);
	pass->dx = plan_tensor(plan, tokens, c->hidden);
	if (c->is_parallel)
		pass->branch = plan_tensor(plan, tokens, c->hidden);
}

size_t
pass_size(Model *model, int tokens, int sequences, bool keeps_state)
{
	Pass pass = {.model = model, .keeps_state = keeps_state};
	PassIndex index;
	Plan plan = {NULL, 0};

	plan_pass(&plan, &pass, &index, model->states, tokens, sequences);
	return plan.used;
}

/* The model's block, at least this large. */
static bool
reach_block(Model *model, size_t size, Failure *failure)
{
	Device *device = model->device;

	if (model->block_size >= size)
		return true;
	device->free(device, model->block);
	model->block_size = 0;
	model->block = device->alloc(device, size);
	if (model->block == NULL)
		return device->sync(device, failure) &&
		       fail(failure, FAILURE_OUT_OF_MEMORY, "no memory for a pass");
	model->block_size = size;
	return true;
}

void
model_rest(Model *model)
{
	if (model->block_size <= RESTING_BYTES)
		return;
	model->device->free(model->device, model->block);
	model->block = NULL;
	model->block_size = 0;
}

/* A score is the sum of so many products, each as large as the others. */
static int
score_parts(const ModelConfig *c)
{
	return 1 + c->distance_query + c->distance_key;
}

/* Lays out the pass in the model's block; positions are below reach. */
static bool
lay_out(Pass *pass, Model *model, int tokens, int sequences, int reach,
        bool keeps_state, size_t extra, void **more, PassIndex *index,
        Failure *failure)
{
	const ModelConfig *c = &model->config;
	size_t size = pass_size(model, tokens, sequences, keeps_state);
	Plan plan;

	if (!reach_block(model, size + extra, failure) ||
	    !model_reach_angles(model, reach, failure))
		return false;
	memset(pass, 0, sizeof(Pass));
	model->device->products = model->products;
	pass->model = model;
	pass->tokens = tokens;
	pass->keeps_state = keeps_state;
	pass->states = model->states;
	plan = (Plan){model->block, 0};
	plan_pass(&plan, pass, index, pass->states, tokens, sequences);
	if (more != NULL)
		*more = plan.base + plan.used;
	pass->ids = index->ids;
	pass->position = index->position;
	pass->types = index->types;
	pass->attention = (AttentionShape){
		.heads = c->heads,
		.kv_heads = c->kv_heads,
		.head_dim = c->head_dim,
		.scale = 1.0f / sqrtf((float) (c->head_dim * score_parts(c))),
		.sequences = sequences,
		.max_length = reach,
		.offset = index->offset,
		.is_bidirectional = c->is_bidirectional,
	};
	return true;
}

/* Every id must be a row of the embedding: a tokenizer with more tokens than
 * the model has is the user's mistake, not a crash. */
static bool
check_ids(Model *model, const int32_t *ids, int count, Failure *failure)
{
	int vocabulary = model->config.vocabulary;

	for (int i = 0; i < count; i++)
		if (ids[i] < 0 || ids[i] >= vocabulary)
			return fail(failure, FAILURE_BAD_INPUT,
			            "token %d is not in the model's vocabulary of %d",
			            ids[i], vocabulary);
	return true;
}

static bool
check_types(const Model *model, const int32_t *types, int count,
            Failure *failure)
{
	for (int i = 0; i < count; i++)
		if (types[i] < 0 || types[i] >= model->config.types)
			return fail(failure, FAILURE_BAD_INPUT,
			            "a token of type %d, the model knows %d types",
			            types[i], model->config.types);
	return true;
}

/*
 * Positions of count tokens from the next one on, which moves behind them.
 * Where positions begin behind a padding id (RoBERTa), a padding token has
 * its id and is not counted.
 */
static void
count_positions(const ModelConfig *c, const int32_t *ids, int count,
                int32_t *position, int *next)
{
	for (int t = 0; t < count; t++)
		position[t] =
			c->first_position > 0 && ids[t] == c->pad ? c->pad : (*next)++;
}

/* Sequences count from the model's first position, or go on where the one
 * that they continue ended. */
static void
count_batch(const ModelConfig *c, const SharedBatch *shared, int32_t *position)
{
	const Batch *batch = &shared->batch;
	int end_of_prefix = c->first_position;

	for (int s = 0; s < batch->sequences; s++)
	{
		bool continues = shared->prefix != NULL && shared->prefix[s] >= 0;
		int next = continues ? end_of_prefix : c->first_position;

		count_positions(c, batch->ids + batch->offset[s],
		                batch->offset[s + 1] - batch->offset[s],
		                position + batch->offset[s], &next);
		if (!continues)
			end_of_prefix = next;
	}
}

/* The longest text, with what it shares with others. */
static int
longest_text(const SharedBatch *shared)
{
	const int32_t *offset = shared->batch.offset;
	int longest = 0;

	for (int s = 0; s < shared->batch.sequences; s++)
	{
		int length = tokens_before(shared, s) + offset[s + 1] - offset[s];

		longest = length > longest ? length : longest;
	}
	return longest;
}

bool
pass_begin(Pass *pass, Model *model, const SharedBatch *shared,
           bool keeps_state, size_t extra, void **more, Failure *failure)
{
	Device *device = model->device;
	const Batch *batch = &shared->batch;
	int tokens = batch->offset[batch->sequences];
	int longest = longest_text(shared);
	const int32_t *types = model->config.types > 0 ? batch->types : NULL;
	size_t bytes = (size_t) tokens * sizeof(int32_t);
	int32_t *position;
	PassIndex index;

	if (longest > model->config.context)
		return fail(failure, FAILURE_TOO_LONG,
		            "text of %d tokens is longer than the model's context of "
		            "%d",
		            longest, model->config.context);
	if (!check_ids(model, batch->ids, tokens, failure) ||
	    (types != NULL && !check_types(model, types, tokens, failure)) ||
	    !lay_out(pass, model, tokens, batch->sequences, longest, keeps_state,
	             extra, more, &index, failure))
		return false;
	position = malloc(bytes + 1);
	if (position == NULL)
		return fail(failure, FAILURE_OUT_OF_MEMORY, "no memory for %d tokens",
		            tokens);
	count_batch(&model->config, shared, position);
	device->upload(device, index.ids, batch->ids, bytes);
	device->upload(device, index.position, position, bytes);
	if (types != NULL)
		device->upload(device, index.types, types, bytes);
	else if (index.types != NULL)
		device->fill_zero(device, index.types, bytes);
	device->upload(device, index.offset, batch->offset,
	               (size_t) (batch->sequences + 1) * sizeof(int32_t));
	if (shared->prefix != NULL)
	{
		device->upload(device, index.prefix, shared->prefix,
		               (size_t) batch->sequences * sizeof(int32_t));
		pass->attention.prefix = index.prefix;
	}
	free(position);
	return model->config.distances == 0 || distance_begin(pass, failure);
}

bool
pass_begin_tokens(Pass *pass, Model *model, int count, const int32_t *ids,
                  const int32_t *position, size_t extra, void **more,
                  Failure *failure)
{
	Device *device = model->device;
	size_t bytes = (size_t) count * sizeof(int32_t);
	int longest = 0;
	PassIndex index;

	for (int i = 0; i < count; i++)
		longest = position[i] >= longest ? position[i] + 1 : longest;
	if (!check_ids(model, ids, count, failure) ||
	    !lay_out(pass, model, count, 0, longest, false, extra, more, &index,
	             failure))
		return false;
	device->upload(device, index.ids, ids, bytes);
	device->upload(device, index.position, position, bytes);
	return true;
}

Tensor
pass_forward(Pass *pass)
{
	int layers = pass->model->config.layers;

	embedding_forward(pass);
	for (int i = 0; i < layers; i++)
	{
		attention_forward(pass, i);
		mlp_forward(pass, i);
	}
	return pass->states[layers - 1].output;
}

void
pass_backward(Pass *pass)
{
	for (int i = pass->model->config.layers - 1; i >= 0; i--)
	{
		mlp_backward(pass, i);
		attention_backward(pass, i);
	}
	if (pass->model->adapter != NULL)
		return;
	if (pass->model->config.distances > 0)
		distance_end_backward(pass);
	embedding_backward(pass);
}
