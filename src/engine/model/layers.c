/*
 * layers.c
 *		A pass's way through the layers, forward and backward: in slices of
 *		rows, and behind the last attention with the wanted rows alone.
 */
#include "model/layers.h"

/* Fewer rows make products of them slow; and gradients of all weights, which
 * every slice reads and writes, want more to be worth it. */
#define SLICE_ROWS 64
#define SLICE_ROWS_OF_GRADIENTS 128
/* Single tokens go through all layers before their slices meet. */
#define SLICE_ROWS_OF_CACHE 32

/* Rows of a slice that go from one attention to the next together, where
 * nothing is kept of the way: what is computed of them then stays in the
 * second-level cache.  A multiple of the rows that products take at once. */
#define BLOCK_ROWS 70

Tensor
pass_rows(const Pass *pass, Tensor x)
{
	int64_t each;

	if (x.data == NULL || pass->tokens == pass->total)
		return x;
	each = x.rows / pass->total;
	return tensor_rows(x, pass->first * each, pass->tokens * each);
}

/* The rows of what nobody reads when the slice has passed. */
static Tensor
passing_rows(const Pass *pass, Tensor x)
{
	Pass place = *pass;

	if (!pass->keeps_state)
		place.first = pass->scratch;
	return pass_rows(&place, x);
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
	state.attention_sum = passing_rows(pass, state.attention_sum);
	state.middle = passing_rows(pass, state.middle);
	state.mlp_stat = passing_rows(pass, state.mlp_stat);
	state.gate = passing_rows(pass, state.gate);
	state.up = passing_rows(pass, state.up);
	state.mlp_sum = passing_rows(pass, state.mlp_sum);
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

/* Rows [first, last) of a pass, with the scratch of rows from `scratch` on. */
static Pass
slice_of(const Pass *pass, int first, int last, int scratch)
{
	Pass slice = *pass;

	slice.first = first;
	slice.scratch = scratch;
	slice.tokens = last - first;
	slice.position = pass->position + first;
	if (pass->cache_first != NULL)
	{
		slice.cache_row = pass->cache_row + first;
		slice.cache_first = pass->cache_first + first;
		slice.cache_length = pass->cache_length + first;
	}
	slice.wide = passing_rows(&slice, pass->wide);
	slice.fused = pass_rows(&slice, pass->fused);
	slice.wide2 = pass_rows(&slice, pass->wide2);
	slice.branch = pass_rows(&slice, pass->branch);
	slice.inner = passing_rows(&slice, pass->inner);
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

/* How many rows of a slice of so many go together.  Products of weights that
 * are not packed gain by many rows. */
static int
block_rows(const Pass *pass, int rows)
{
	const Model *model = pass->model;
	bool is_packed = model->products == DTYPE_BF16 &&
	                 model->layers[0].out.weight->packed.data != NULL;
	int blocks = (rows + BLOCK_ROWS - 1) / BLOCK_ROWS;

	/* A device that is not the host's has all rows go at once. */
	if (pass->keeps_state || pass->cache_first != NULL || !is_packed ||
	    model->device->threads == 0 || model->config.distances > 0 ||
	    blocks < 2)
		return rows;
	return (rows + blocks - 1) / blocks;
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
	int first = (int) (tokens * number / work->slices);
	int last = (int) (tokens * (number + 1) / work->slices);
	int rows = block_rows(work->pass, last - first);

	for (int i = first; i < last; i += rows)
	{
		int end = last - i < rows ? last : i + rows;
		Pass slice = slice_of(work->pass, i, end, first);

		work->work(&slice, work->layer);
	}
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
	return adapter->loras > 0 ? adapter->input[0].layer
	                          : pass->model->config.layers;
}

/* What is behind a layer's attention; and back. */
static void
forward_behind(Pass *slice, int number)
{
	attention_output(slice, number);
	mlp_forward(slice, number);
}

static void
backward_behind(Pass *slice, int number)
{
	mlp_backward(slice, number);
	attention_output_backward(slice, number);
}

/* From the attention of the layer before to this one's; layer L is the
 * output. */
static void
forward_between(Pass *slice, int number)
{
	int layers = slice->model->config.layers;

	if (number > 0)
		forward_behind(slice, number - 1);
	if (number == layers)
		return;
	if (number > 0)
	{
		state_keep(slice, number - 1);
		state_keep_input(slice, number);
	}
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

/* From a layer's attention back to that of the layer before. */
static void
backward_between(Pass *slice, int number)
{
	attention_project_backward(slice, number);
	state_recall(slice, number - 1);
	backward_behind(slice, number - 1);
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
	Model *model = pass->model;
	int layers = model->config.layers;
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

/* The layer's state again, from its input. */
static void
compute_again(Pass *pass, int number)
{
	run_slices(pass, attention_project, number);
	attention_attend(pass, number);
	run_slices(pass, forward_behind, number);
}

static void
layers_backward(Pass *pass)
{
	Model *model = pass->model;
	int lowest = pass_lowest(pass);
	int i = model->config.layers - 1;
	Pass picked = picked_of(pass);

	if (i < lowest)
		return;
	run_slices(pass, state_recall_input, i);
	maps_pack(model, -1, i);
	run_slices(&picked, backward_behind, i);
	pick_backward(pass);
	for (; i > lowest; i--)
	{
		attention_attend_backward(pass, i);
		if (!pass->recomputes)
		{
			maps_pack(model, i, i - 1);
			run_slices(pass, backward_between, i);
			continue;
		}
		maps_pack(model, i, -1);
		run_slices(pass, attention_project_backward, i);
		compute_again(pass, i - 1);
		maps_pack(model, -1, i - 1);
		run_slices(pass, backward_behind, i - 1);
	}
	attention_attend_backward(pass, i);
	maps_pack(model, i, -1);
	run_slices(pass, attention_project_backward, i);
	maps_forget(model);
}

void
pass_backward(Pass *pass)
{
	layers_backward(pass);
	if (pass->model->adapter != NULL)
		return;
	if (pass->model->config.distances > 0)
		distance_end_backward(pass);
	embedding_backward(pass);
}
