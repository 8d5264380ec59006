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

/* Of the last layer all but attention is of the picked rows. */
static void
plan_state(Plan *plan, const Model *model, int64_t tokens, int64_t rows,
           LayerState *state)
{
	const ModelConfig *c = &model->config;
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
		state->attention_sum = plan_tensor(plan, rows, c->hidden);
		state->mlp_sum = plan_tensor(plan, rows, c->hidden);
	}
	state->middle = plan_tensor(plan, rows, c->hidden);
	state->mlp_stat = plan_tensor(plan, rows, 2);
	state->gate = plan_tensor(plan, rows, c->feed_forward);
	if (c->gated)
		state->up = plan_tensor(plan, rows, c->feed_forward);
	if (model->adapter != NULL)
		state->low = plan_tensor(plan, tokens, model->adapter->layer_ranks);
	state->output = plan_tensor(plan, rows, c->hidden);
}

/* The first rows of a tensor that may be absent. */
static Tensor
first_rows(Tensor x, int64_t rows)
{
	return x.data == NULL ? x : tensor_rows(x, 0, rows);
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

/* states[L]: each its own for a backward pass, else all the same memory. */
static void
plan_states(Plan *plan, const Pass *pass, Tensor input, int64_t rows,
            LayerState *states)
{
	const Model *model = pass->model;
	int64_t tokens = input.rows;
	int layers = model->config.layers;

	for (int i = 0; i < layers; i++)
	{
		bool is_last = i == layers - 1;

		if (pass->keeps_state)
			plan_state(plan, model, tokens, is_last ? rows : tokens,
			           &states[i]);
		else if (i == 0)
			plan_state(plan, model, tokens, tokens, &states[i]);
		else
			states[i] = states[0];
		states[i].input = i == 0 ? input : states[i - 1].output;
	}
	if (!pass->keeps_state)
		states[layers - 1] = shorten_state(states[layers - 1], rows);
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

size_t
pass_size(Model *model, int tokens, int sequences, int picked, bool keeps_state)
{
	Pass pass = {.model = model, .keeps_state = keeps_state};
	PassIndex index;
	Plan plan = {NULL, 0};

	plan_pass(&plan, &pass, &index, model->states, tokens, sequences, picked);
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
        int picked, bool keeps_state, size_t extra, void **more,
        PassIndex *index, Failure *failure)
{
	const ModelConfig *c = &model->config;
	size_t size = pass_size(model, tokens, sequences, picked, keeps_state);
	Plan plan;

	if (!reach_block(model, size + extra, failure) ||
	    !model_reach_angles(model, reach, failure))
		return false;
	memset(pass, 0, sizeof(Pass));
	model->device->products = model->products;
	pass->model = model;
	pass->tokens = tokens;
	pass->total = tokens;
	pass->keeps_state = keeps_state;
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
	device->upload(device, index.ids, ids, bytes);
	device->upload(device, index.position, position, bytes);
	return true;
}

/* ------------------------------------------------------------- slices */

/* Fewer rows make products of them slow; and gradients of all weights, which
 * every slice reads and writes, want more to be worth it. */
#define SLICE_ROWS 64
#define SLICE_ROWS_OF_GRADIENTS 128
/* Single tokens go through all layers before their slices meet. */
#define SLICE_ROWS_OF_CACHE 32

Tensor
pass_rows(const Pass *pass, Tensor x)
{
	int64_t each;

	if (x.data == NULL || pass->tokens == pass->total)
		return x;
	each = x.rows / pass->total;
	return tensor_rows(x, pass->first * each, pass->tokens * each);
}

LayerState
pass_state(const Pass *pass, int number)
{
	LayerState state = pass->states[number];

	if (pass->is_picked)
	{
		state.input = pass->pick.input;
		state.attended = pass->pick.attended;
		state.attention_stat = first_rows(state.attention_stat, pass->total);
	}
	state.input = pass_rows(pass, state.input);
	state.attention_stat = pass_rows(pass, state.attention_stat);
	state.q_stat = pass_rows(pass, state.q_stat);
	state.k_stat = pass_rows(pass, state.k_stat);
	state.attended = pass_rows(pass, state.attended);
	state.attention_sum = pass_rows(pass, state.attention_sum);
	state.middle = pass_rows(pass, state.middle);
	state.mlp_stat = pass_rows(pass, state.mlp_stat);
	state.gate = pass_rows(pass, state.gate);
	state.up = pass_rows(pass, state.up);
	state.mlp_sum = pass_rows(pass, state.mlp_sum);
	state.output = pass_rows(pass, state.output);
	return state;
}

/* The pass of its picked rows, from the last layer's attention on. */
static Pass
picked_of(const Pass *pass)
{
	const Pick *pick = &pass->pick;
	int rows = pick->count;
	Pass view = *pass;

	if (rows == 0)
		return view;
	view.is_picked = true;
	view.tokens = rows;
	view.total = rows;
	view.wide = first_rows(pass->wide, rows);
	view.wide2 = first_rows(pass->wide2, rows);
	view.branch = first_rows(pass->branch, rows);
	view.inner = first_rows(pass->inner, rows);
	view.inner2 = first_rows(pass->inner2, rows);
	view.lora.dlow = first_rows(pass->lora.dlow, rows);
	view.lora.dropped = first_rows(pass->lora.dropped, rows);
	view.lora.key = pick->key;
	view.dattended = pick->dattended;
	view.dx = pick->dx;
	return view;
}

/* Rows [first, last) of a pass. */
static Pass
slice_of(const Pass *pass, int first, int last)
{
	Pass slice = *pass;

	slice.first = first;
	slice.tokens = last - first;
	slice.position = pass->position + first;
	if (pass->cache_first != NULL)
	{
		slice.cache_row = pass->cache_row + first;
		slice.cache_first = pass->cache_first + first;
		slice.cache_length = pass->cache_length + first;
	}
	slice.wide = pass_rows(&slice, pass->wide);
	slice.fused = pass_rows(&slice, pass->fused);
	slice.wide2 = pass_rows(&slice, pass->wide2);
	slice.branch = pass_rows(&slice, pass->branch);
	slice.inner = pass_rows(&slice, pass->inner);
	slice.inner2 = pass_rows(&slice, pass->inner2);
	slice.dattended = pass_rows(&slice, pass->dattended);
	slice.dx = pass_rows(&slice, pass->dx);
	slice.lora.dlow = pass_rows(&slice, pass->lora.dlow);
	slice.lora.dropped = pass_rows(&slice, pass->lora.dropped);
	if (pass->lora.drops)
		slice.lora.key = pass->lora.key + first;
	return slice;
}

/* Into how many slices the pass is worth dividing. */
static int
slice_count(const Pass *pass)
{
	const Model *model = pass->model;
	int threads = model->device->threads;
	int64_t least = pass->cache_first != NULL ? SLICE_ROWS_OF_CACHE
	                : pass->keeps_state && model->adapter == NULL
	                    ? SLICE_ROWS_OF_GRADIENTS
	                    : SLICE_ROWS;

	/* Distances between tokens meet all of them (distance.c). */
	return model->config.distances > 0 || pass->tokens < threads * least
	           ? 1
	           : threads;
}

/* What is done with every slice of a pass. */
typedef struct SliceWork
{
	const Pass *pass;
	void (*work)(Pass *slice, int layer);
	int layer;
	int slices;
} SliceWork;

static void
run_slice(void *argument, int number)
{
	const SliceWork *work = argument;
	int64_t tokens = work->pass->tokens;
	Pass slice = slice_of(work->pass, (int) (tokens * number / work->slices),
	                      (int) (tokens * (number + 1) / work->slices));

	work->work(&slice, work->layer);
}

static void
run_slices(const Pass *pass, void (*work)(Pass *slice, int layer), int layer)
{
	Device *device = pass->model->device;
	SliceWork slices = {pass, work, layer, slice_count(pass)};

	if (slices.slices < 1)
		slices.slices = 1;
	device->run_slices(device, slices.slices, run_slice, &slices);
}

/* -------------------------------------------------------- both ways */

int
pass_lowest(const Pass *pass)
{
	const Adapter *adapter = pass->model->adapter;

	if (adapter == NULL)
		return 0;
	return adapter->loras > 0 ? adapter->lora[0].layer
	                          : pass->model->config.layers;
}

/* From the attention of the layer before to this one's; layer L is the
 * output. */
static void
forward_between(Pass *slice, int number)
{
	if (number > 0)
	{
		attention_output(slice, number - 1);
		mlp_forward(slice, number - 1);
	}
	if (number < slice->model->config.layers)
		attention_project(slice, number);
}

/* Tokens that find all others in the cache need nothing of each other. */
static void
forward_through(Pass *slice, int layers)
{
	for (int i = 0; i < layers; i++)
	{
		forward_between(slice, i);
		attention_attend(slice, i);
	}
	forward_between(slice, layers);
}

/* And back. */
static void
backward_between(Pass *slice, int number)
{
	if (number < slice->model->config.layers)
		attention_project_backward(slice, number);
	if (number > pass_lowest(slice))
	{
		mlp_backward(slice, number - 1);
		attention_output_backward(slice, number - 1);
	}
}

static Pass
pick_forward(const Pass *pass)
{
	Device *device = pass->model->device;
	const LayerState *state = &pass->states[pass->model->config.layers - 1];
	const Pick *pick = &pass->pick;

	if (pick->count > 0)
	{
		device->gather_rows(device, pick->input, state->input, pick->row, 0);
		device->gather_rows(device, pick->attended, state->attended, pick->row,
		                    0);
	}
	return picked_of(pass);
}

/* target = source's rows at their places among zeros */
static void
spread(const Pass *pass, Tensor target, Tensor source)
{
	Device *device = pass->model->device;

	device->fill_zero(device, target.data,
	                  (size_t) target.rows * (size_t) target.cols *
	                      sizeof(float));
	device->scatter_rows(device, target, source, pass->pick.row);
}

static void
pick_backward(const Pass *pass)
{
	if (pass->pick.count == 0)
		return;
	spread(pass, pass->dattended, pass->pick.dattended);
	spread(pass, pass->dx, pass->pick.dx);
}

Tensor
pass_forward(Pass *pass)
{
	int layers = pass->model->config.layers;
	Pass picked;

	embedding_forward(pass);
	if (pass->cache_first != NULL)
	{
		run_slices(pass, forward_through, layers);
		return pass->states[layers - 1].output;
	}
	for (int i = 0; i < layers; i++)
	{
		run_slices(pass, forward_between, i);
		attention_attend(pass, i);
	}
	picked = pick_forward(pass);
	run_slices(&picked, forward_between, layers);
	return pass->states[layers - 1].output;
}

Tensor
pass_gradient(const Pass *pass)
{
	return pass->pick.count > 0 ? pass->pick.dx : pass->dx;
}

void
pass_backward(Pass *pass)
{
	int layers = pass->model->config.layers;
	Pass picked = picked_of(pass);

	run_slices(&picked, backward_between, layers);
	pick_backward(pass);
	for (int i = layers - 1; i >= pass_lowest(pass); i--)
	{
		attention_attend_backward(pass, i);
		run_slices(pass, backward_between, i);
	}
	if (pass->model->adapter != NULL)
		return;
	if (pass->model->config.distances > 0)
		distance_end_backward(pass);
	embedding_backward(pass);
}
