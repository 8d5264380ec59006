/*
 * lanes.c
 *		Many sequences growing side by side: their keys and values, and the
 *		passes that add to them.
 */
#include "model/generation/lanes.h"

#include "model/generation/softmax.h"

#define CACHE_BYTES ((uint64_t) 1 << 30)

/* Fewer logits are taken before another thread is awake. */
#define LOGITS_PARALLEL_MIN (1 << 19)

static size_t
cache_row_bytes(const Model *model)
{
	const ModelConfig *c = &model->config;

	return sizeof(float) * 2 * (size_t) c->layers * (size_t) c->kv_heads *
	       (size_t) c->head_dim;
}

uint64_t
lane_bytes(const Model *model, int rows)
{
	uint64_t logits = (uint64_t) model->config.vocabulary * 2 * sizeof(float);

	return (uint64_t) rows * cache_row_bytes(model) + logits;
}

int
lanes_afford(const Model *model, int rows, int wanted)
{
	uint64_t lane = lane_bytes(model, rows);
	uint64_t room = model->device->room(model->device);
	uint64_t allowed = CACHE_BYTES;
	uint64_t count;

	if (room / 2 < allowed)
		allowed = room / 2;
	count = allowed / lane;
	if (count > LANES_MAX)
		count = LANES_MAX;
	if (count > (uint64_t) wanted)
		count = (uint64_t) wanted;
	return count < 1 ? 1 : (int) count;
}

static void
free_on_device(void *object)
{
	Lanes *lanes = object;
	Device *device = lanes->model->device;

	device->free(device, lanes->iota);
	for (int i = 0; i < lanes->model->config.layers; i++)
	{
		device->free(device, lanes->cache.keys[i].data);
		device->free(device, lanes->cache.values[i].data);
	}
}

static bool
open_cache(Lanes *lanes, Arena *arena, Failure *failure)
{
	const ModelConfig *c = &lanes->model->config;
	Device *device = lanes->model->device;
	int64_t rows = (int64_t) lanes->count * lanes->rows;
	int64_t width = (int64_t) c->kv_heads * c->head_dim;
	size_t bytes = (size_t) rows * (size_t) width * sizeof(float);
	size_t tensors = (size_t) c->layers * sizeof(Tensor);

	lanes->cache.keys = arena_alloc(arena, tensors);
	lanes->cache.values = arena_alloc(arena, tensors);
	arena_on_destroy(arena, free_on_device, lanes);
	for (int i = 0; i < c->layers; i++)
	{
		lanes->cache.keys[i] =
			tensor_at(device->alloc(device, bytes), rows, width);
		lanes->cache.values[i] =
			tensor_at(device->alloc(device, bytes), rows, width);
	}
	return device->sync(device, failure);
}

static bool
open_iota(Lanes *lanes, Arena *arena, Failure *failure)
{
	Device *device = lanes->model->device;
	size_t bytes = (size_t) lanes->rows * sizeof(int32_t);
	int32_t *numbers =
		arena_try(arena, (size_t) lanes->rows, sizeof(int32_t), failure);

	if (numbers == NULL)
		return false;
	for (int i = 0; i < lanes->rows; i++)
		numbers[i] = i;
	lanes->iota = device->alloc(device, bytes);
	if (lanes->iota != NULL)
		device->upload(device, lanes->iota, numbers, bytes);
	return device->sync(device, failure);
}

bool
lanes_open(Lanes *lanes, Model *model, Arena *arena, int count, int rows,
           Failure *failure)
{
	*lanes = (Lanes){.model = model, .count = count, .rows = rows};
	lanes->logits =
		arena_try(arena, (size_t) count * (size_t) model->config.vocabulary,
	              sizeof(float), failure);
	return lanes->logits != NULL && open_cache(lanes, arena, failure) &&
	       open_iota(lanes, arena, failure);
}

/* Logits on the device: rows [first, first + logits.rows) of a pass. */
typedef struct Taking
{
	Lanes *lanes;
	Tensor logits;
	int first;
	int slices;
} Taking;

/* Takes some rows, and looks at them while they are near: `largest` is -1 where
 * not all are finite. */
static void
take_rows(const Taking *taking, int first, int count)
{
	Lanes *lanes = taking->lanes;
	Device *device = lanes->model->device;
	int64_t width = taking->logits.cols;
	int row = taking->first + first;
	float *to = lanes->logits + row * width;

	device->download(device, to, tensor_rows(taking->logits, first, count).data,
	                 (size_t) (count * width) * sizeof(float));
	for (int i = 0; i < count; i++)
	{
		Failure failure;
		const float *logits = to + i * width;

		lanes->largest[row + i] = outputs_are_finite(logits, width, &failure)
		                              ? softmax_largest(logits, (int) width)
		                              : -1;
	}
}

static void
take_slice(void *argument, int slice)
{
	const Taking *taking = argument;
	int rows = (int) taking->logits.rows;
	int first = rows * slice / taking->slices;
	int last = rows * (slice + 1) / taking->slices;
	/* From a device that is not the host's all come at once. */
	int each = taking->lanes->model->device->threads == 0 ? last - first : 1;

	for (int i = first; i < last; i += each)
		take_rows(taking, i, each);
}

static void
take_logits(Lanes *lanes, Tensor logits, int first)
{
	Device *device = lanes->model->device;
	Taking taking = {lanes, logits, first, 1};

	if (logits.rows * logits.cols >= LOGITS_PARALLEL_MIN &&
	    logits.rows >= device->threads && device->threads > 0)
		taking.slices = device->threads;
	device->run_slices(device, taking.slices, take_slice, &taking);
}

/* The pass itself, and the logits of its output. */
static bool
run(Lanes *lanes, Pass *pass, void *memory, int count, Failure *failure)
{
	Model *model = lanes->model;
	int64_t width = model->config.vocabulary;
	Tensor output = pass_forward(pass);
	Head head;

	head_begin(&head, pass, output, NULL, false, memory);
	for (int first = 0; first < count; first += head.chunk)
	{
		int rows = first + head.chunk < count ? head.chunk : count - first;

		head_logits(&head, model, first, rows);
		take_logits(lanes, tensor_rows(head.logits, 0, rows), first);
	}
	if (!model->device->sync(model->device, failure))
		return false;
	for (int i = 0; i < count; i++)
		if (lanes->largest[i] < 0)
			return outputs_are_finite(lanes->logits + i * width, width,
			                          failure);
	return true;
}

bool
lanes_fill(Lanes *lanes, Arena *scratch, int count, const int *lane,
           const TokenList *const *prompt, Failure *failure)
{
	Model *model = lanes->model;
	Device *device = model->device;
	int32_t row[LANES_MAX];
	int32_t offset[LANES_MAX + 1] = {0};
	int32_t *ids, *cache_row;
	size_t bytes, extra;
	SharedBatch alone;
	char *memory;
	void *more;
	Pass pass;

	for (int s = 0; s < count; s++)
	{
		offset[s + 1] = offset[s] + prompt[s]->count;
		row[s] = offset[s + 1] - 1;
		lanes->length[lane[s]] = prompt[s]->count;
	}
	bytes = (size_t) offset[count] * sizeof(int32_t);
	ids = arena_alloc(scratch, bytes);
	cache_row = arena_alloc(scratch, bytes);
	for (int s = 0; s < count; s++)
		for (int t = 0; t < prompt[s]->count; t++)
		{
			ids[offset[s] + t] = prompt[s]->ids[t];
			cache_row[offset[s] + t] = lane[s] * lanes->rows + t;
		}
	extra = (bytes + 63) / 64 * 64;
	alone = batch_alone(&(Batch){count, offset, NULL, ids, NULL});
	if (!pass_begin(&pass, model, &alone, count, row, false,
	                extra + head_size(model, count, false), &more, failure))
		return false;
	memory = more;
	device->upload(device, memory, cache_row, bytes);
	pass.cache = &lanes->cache;
	pass.cache_row = (int32_t *) (void *) memory;
	return run(lanes, &pass, memory + extra, count, failure);
}

bool
lanes_extend(Lanes *lanes, int count, const int *lane, const int32_t *ids,
             Failure *failure)
{
	Model *model = lanes->model;
	Device *device = model->device;
	int32_t position[LANES_MAX];
	int32_t index[3][LANES_MAX]; /* cache row, first, length */
	size_t extra = sizeof(index);
	char *memory;
	void *more;
	Pass pass;

	for (int i = 0; i < count; i++)
	{
		position[i] = lanes->length[lane[i]];
		index[1][i] = lane[i] * lanes->rows;
		index[0][i] = index[1][i] + position[i];
		index[2][i] = ++lanes->length[lane[i]];
	}
	if (!pass_begin_tokens(&pass, model, count, ids, position,
	                       extra + head_size(model, count, false), &more,
	                       failure))
		return false;
	memory = more;
	device->upload(device, memory, index, sizeof(index));
	pass.cache = &lanes->cache;
	pass.cache_row = (int32_t *) (void *) memory;
	pass.cache_first = pass.cache_row + LANES_MAX;
	pass.cache_length = pass.cache_first + LANES_MAX;
	return run(lanes, &pass, memory + extra, count, failure);
}

static void
copy_rows(Lanes *lanes, Tensor cache, int target, int source, int first,
          int count)
{
	Device *device = lanes->model->device;
	int64_t to = (int64_t) target * lanes->rows + first;
	int64_t from = (int64_t) source * lanes->rows + first;

	device->gather_rows(device, tensor_rows(cache, to, count),
	                    tensor_rows(cache, from, count), lanes->iota, 0);
}

void
lanes_copy(Lanes *lanes, int target, int source, int same)
{
	int count = lanes->length[source] - same;

	for (int i = 0; i < lanes->model->config.layers && count > 0; i++)
	{
		copy_rows(lanes, lanes->cache.keys[i], target, source, same, count);
		copy_rows(lanes, lanes->cache.values[i], target, source, same, count);
	}
	lanes->length[target] = lanes->length[source];
}
