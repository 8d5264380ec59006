/*
 * pass.c
 *		A pass of a packed batch through the layers: its memory, forward and
 *		backward.
 *
 * All of a pass lies in one block that the model keeps and reuses.  The same
 * function lays it out twice: with no base to learn the size, then for real.
 */
#include "model/lora/lora_layers.h"

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

/* The few numbers of a row that norms and attention leave. */
static void
plan_stats(Plan *plan, const ModelConfig *c, int64_t tokens, int64_t rows,
           LayerState *state)
{
	state->attention_stat = plan_tensor(plan, tokens, 2);
	if (c->head_norm)
	{
		state->q_stat = plan_tensor(plan, tokens * c->heads, 2);
		state->k_stat = plan_tensor(plan, tokens * c->kv_heads, 2);
	}
	state->lse = plan_tensor(plan, tokens, c->heads);
	state->mlp_stat = plan_tensor(plan, rows, 2);
}

/* Of the last layer all but attention is of the picked rows. */
static void
plan_state(Plan *plan, const Model *model, int64_t tokens, int64_t rows,
           LayerState *state)
{
	const ModelConfig *c = &model->config;
	int64_t heads = c->heads + c->kv_heads;

	plan_stats(plan, c, tokens, rows, state);
	if (c->head_norm)
		state->raw = plan_tensor(plan, tokens, heads * c->head_dim);
	state->qkv = plan_tensor(
		plan, tokens, (int64_t) (c->heads + 2 * c->kv_heads) * c->head_dim);
	state->attended =
		plan_tensor(plan, tokens, (int64_t) c->heads * c->head_dim);
	if (c->norm_after)
	{
		state->attention_sum = plan_tensor(plan, rows, c->hidden);
		state->mlp_sum = plan_tensor(plan, rows, c->hidden);
	}
	state->middle = plan_tensor(plan, rows, c->hidden);
	state->gate = plan_tensor(plan, rows, c->feed_forward);
	if (c->gated)
		state->up = plan_tensor(plan, rows, c->feed_forward);
	if (model->adapter != NULL)
		state->low = plan_tensor(plan, tokens, model->adapter->layer_ranks);
	state->output = plan_tensor(plan, rows, c->hidden);
}

/* The state of all layers, where there is one for all, as the last has it. */
static LayerState
shorten_state(LayerState state, int64_t rows)
{
	state.attention_sum = first_rows(state.attention_sum, rows);
	state.mlp_sum = first_rows(state.mlp_sum, rows);
	state.middle = first_rows(state.middle, rows);
	state.mlp_stat = first_rows(state.mlp_stat, rows);
	state.gate = first_rows(state.gate, rows);
	state.up = first_rows(state.up, rows);
	state.output = first_rows(state.output, rows);
	return state;
}

/* states[L]: each its own for a backward pass, else all the same memory, but
 * for the outputs that a pass that recomputes begins with; or for the few
 * numbers that are kept as they are while the rest is in fewer bits. */
static void
plan_states(Plan *plan, Pass *pass, Tensor input, int64_t rows,
            LayerState *states)
{
	const Model *model = pass->model;
	int64_t tokens = input.rows;
	int layers = model->config.layers;
	bool keeps_all = pass->keeps_state && !pass->recomputes;
	bool is_short = keeps_all && states_are_short(model);
	bool has_own = keeps_all && !is_short;

	for (int i = 0; i < layers; i++)
	{
		bool is_last = i == layers - 1;

		if (has_own)
			plan_state(plan, model, tokens, is_last ? rows : tokens,
			           &states[i]);
		else if (i == 0)
			plan_state(plan, model, tokens, tokens, &states[i]);
		else
			states[i] = states[0];
		if (is_short && i > 0)
			plan_stats(plan, &model->config, tokens, is_last ? rows : tokens,
			           &states[i]);
		if (pass->recomputes && i > 0)
			states[i].output = plan_tensor(plan, tokens, model->config.hidden);
		states[i].input = i == 0 ? input : states[i - 1].output;
	}
	if (!has_own)
		states[layers - 1] = shorten_state(states[layers - 1], rows);
	pass->kept = is_short ? model->kept : NULL;
	if (is_short)
		states_plan_kept(plan, model, states, pass->kept);
}

static void
plan_pick(Plan *plan, const Pass *pass, int rows, Pick *pick)
{
	const ModelConfig *c = &pass->model->config;
	int64_t queries = (int64_t) c->heads * c->head_dim;

	pick->count = rows;
	if (rows == 0)
		return;
	pick->row = plan_bytes(plan, (size_t) rows * sizeof(int32_t));
	pick->input = plan_tensor(plan, rows, c->hidden);
	pick->attended = plan_tensor(plan, rows, queries);
	if (!pass->keeps_state)
		return;
	pick->dattended = plan_tensor(plan, rows, queries);
	pick->dx = plan_tensor(plan, rows, c->hidden);
	pick->key = plan_bytes(plan, (size_t) rows * sizeof(uint64_t));
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
          int64_t tokens, int sequences, int picked)
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
	plan_states(plan, pass, input, picked > 0 ? picked : tokens, states);
	plan_pick(plan, pass, picked, &pass->pick);
	pass->wide = plan_tensor(plan, tokens, c->hidden);
	pass->inner = plan_tensor(plan, tokens, c->feed_forward);
	if (c->qkv == QKV_BY_HEAD)
		pass->fused = plan_tensor(plan, tokens, qkv);
	if (pass->model->adapter != NULL)
		lora_plan(plan, pass->model->adapter, tokens, pass->keeps_state,
		          &pass->lora);
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

static size_t
size_of(Model *model, int tokens, int sequences, int picked, bool keeps_state,
        bool recomputes)
{
	Pass pass = {
		.model = model, .keeps_state = keeps_state, .recomputes = recomputes};
	PassIndex index;
	Plan plan = {NULL, 0};

	plan_pass(&plan, &pass, &index, model->states, tokens, sequences, picked);
	return plan.used;
}

size_t
pass_size(Model *model, int tokens, int sequences, int picked, bool keeps_state)
{
	return size_of(model, tokens, sequences, picked, keeps_state, false);
}

size_t
pass_size_recomputing(Model *model, int tokens, int sequences, int picked)
{
	return size_of(model, tokens, sequences, picked, true, true);
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
pass_give_back(Model *model)
{
	model->device->free(model->device, model->block);
	model->block = NULL;
	model->block_size = 0;
}

void
model_rest(Model *model)
{
	if (model->block_size > RESTING_BYTES)
		pass_give_back(model);
}

/* A score is the sum of so many products, each as large as the others. */
static int
score_parts(const ModelConfig *c)
{
	return 1 + c->distance_query + c->distance_key;
}

/* Whether a block of this size for training could be had. */
static bool
has_room(const Model *model, size_t size)
{
	if (model->pass_limit > 0 && size > model->pass_limit)
		return false;
	return size <= model->block_size ||
	       size - model->block_size <= model->device->room(model->device);
}

/* Lays out the pass in the model's block; positions are below reach.  Where
 * there is too little memory for all layers it does their work twice, which
 * gives the same bits (unless states are short, and are not then). */
static bool
lay_out(Pass *pass, Model *model, int tokens, int sequences, int reach,
        int picked, bool keeps_state, size_t extra, void **more,
        PassIndex *index, Failure *failure)
{
	const ModelConfig *c = &model->config;
	size_t size = pass_size(model, tokens, sequences, picked, keeps_state);
	bool recomputes = keeps_state && !has_room(model, size + extra);
	Plan plan;

	if (recomputes)
		size = pass_size_recomputing(model, tokens, sequences, picked);
	if (!reach_block(model, size + extra, failure) ||
	    !model_reach_angles(model, reach, failure))
		return false;
	memset(pass, 0, sizeof(Pass));
	model->device->products = model->products;
	model_pack(model, keeps_state      ? PACK_FOR_TRAINING
	                  : sequences == 0 ? PACK_WHOLE
	                                   : PACK_KEPT);
	pass->model = model;
	pass->tokens = tokens;
	pass->total = tokens;
	pass->keeps_state = keeps_state;
	pass->recomputes = recomputes;
	pass->states = model->states;
	plan = (Plan){model->block, 0};
	plan_pass(&plan, pass, index, pass->states, tokens, sequences, picked);
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
pass_begin(Pass *pass, Model *model, const SharedBatch *shared, int picked,
           const int32_t *wanted, bool keeps_state, size_t extra, void **more,
           Failure *failure)
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
	    !lay_out(pass, model, tokens, batch->sequences, longest, picked,
	             keeps_state, extra, more, &index, failure))
		return false;
	device->rows_alike = true;
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
	pass->pick.wanted = wanted;
	if (picked > 0)
		device->upload(device, pass->pick.row, wanted,
		               (size_t) picked * sizeof(int32_t));
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
	    !lay_out(pass, model, count, 0, longest, 0, false, extra, more, &index,
	             failure))
		return false;
	device->rows_alike = false;
	device->upload(device, index.ids, ids, bytes);
	device->upload(device, index.position, position, bytes);
	return true;
}
