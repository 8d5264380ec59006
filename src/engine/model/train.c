/*
 * train.c
 *		A model as something to train: gradients, micro-batches, AdamW.
 */
#include "base/file.h"
#include "model/layers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static float **
state_of(Model *model, ModelState state)
{
	switch (state)
	{
		case MODEL_WEIGHTS:
			return &model->weights;
		case MODEL_GRADIENTS:
			return &model->gradients;
		case MODEL_FIRST_MOMENT:
			return &model->first_moment;
		default:
			return &model->second_moment;
	}
}

static size_t
state_bytes(const Model *model)
{
	return (size_t) trained_parameters(model).total * sizeof(float);
}

static bool
allocate_state(Model *model, ModelState state, Failure *failure)
{
	Device *device = model->device;
	float **memory = state_of(model, state);

	*memory = device->alloc(device, state_bytes(model));
	return *memory != NULL ||
	       (device->sync(device, failure) &&
	        fail(failure, FAILURE_OUT_OF_MEMORY, "no memory for training"));
}

/* The first values of a parameter that no file has: of a new adapter, of a new
 * classifier's head, or of the map to values of tokens. */
static void
upload_new(Model *model, int index, float *target)
{
	Device *device = model->device;
	const Parameter *parameter = &trained_parameters(model).parameter[index];
	bool is_lora = model->adapter != NULL && index < 2 * model->adapter->loras;
	int64_t numbers = parameter->count;
	float part[8192];
	int64_t size = sizeof(part) / sizeof(part[0]);

	for (int64_t first = 0; first < numbers; first += size)
	{
		int64_t left = numbers - first;
		int64_t count = left < size ? left : size;

		if (is_lora)
			lora_initialize(model->adapter, index, first, count, part);
		else if (model->plan != NULL)
			relabel_initialize(model, parameter, first, count, part);
		else
			/* Values of tokens begin at 0. */
			memset(part, 0, (size_t) count * sizeof(float));
		device->upload(device, target + first, part,
		               (size_t) count * sizeof(float));
	}
}

static void
move_to_state(Model *model, int index)
{
	Parameter *parameter = &trained_parameters(model).parameter[index];
	float *target = model->weights + parameter->offset;

	if (parameter->stored == NULL)
		upload_new(model, index, target);
	else
	{
		parameter_upload(model, parameter, target);
		parameter_release(model, parameter);
		if (!parameter->stored->is_copy)
			file_forget(parameter->stored->data,
			            (size_t) parameter->stored->bytes);
	}
	parameter->value = target;
	parameter->dtype = DTYPE_F32;
}

bool
model_make_trainable(Model *model, const LoraOptions *lora, Failure *failure)
{
	Device *device = model->device;

	if (lora != NULL && model->adapter == NULL &&
	    !lora_create(model, lora, failure))
		return false;
	if (model->adapter != NULL)
	{
		model->adapter->dropout = lora == NULL ? 0 : lora->dropout;
		if (model->plan != NULL)
			relabel_train_head(model);
	}
	if (model->has_values)
		token_values_list(model);
	if (!device->reserve(device, 4 * (uint64_t) state_bytes(model), failure) ||
	    !allocate_state(model, MODEL_WEIGHTS, failure))
		return fail_while(failure,
		                  "making %lld parameters trainable (16 bytes each)",
		                  (long long) trained_parameters(model).total);
	for (int i = 0; i < trained_parameters(model).count; i++)
		move_to_state(model, i);
	return allocate_state(model, MODEL_GRADIENTS, failure) &&
	       allocate_state(model, MODEL_FIRST_MOMENT, failure) &&
	       allocate_state(model, MODEL_SECOND_MOMENT, failure) &&
	       device->sync(device, failure);
}

bool
model_is_trainable(const Model *model)
{
	return model->weights != NULL;
}

void
model_zero_gradients(Model *model)
{
	model->device->fill_zero(model->device, model->gradients,
	                         state_bytes(model));
}

/* A micro-batch on its way. */
typedef struct Step
{
	Model *model;
	const Batch *batch;
	const int32_t *group_offset;
	Head *head;
	float *logp;   /* [targets] */
	float *dlogp;  /* [targets] */
	float *value;  /* [targets], where there are values */
	float *dvalue; /* [targets] */
	LogprobGradient gradient;
	ValuedGradient valued; /* in place of gradient, where there are values */
	void *argument;
} Step;

static bool
ask_gradient(Step *step, int row, int first, int count, Failure *failure)
{
	if (step->valued == NULL)
		return step->gradient(step->argument, first, count, step->logp + row,
		                      step->dlogp + row, failure);
	return step->valued(step->argument, first, count, step->logp + row,
	                    step->value + row, step->dlogp + row,
	                    step->dvalue + row, failure);
}

/* Log-probabilities of rows [first, first + count), in chunks. */
static void
show_rows(Step *step, int first, int count)
{
	Device *device = step->model->device;
	Head *head = step->head;

	for (int done = 0; done < count; done += head->chunk)
	{
		int rows = count - done < head->chunk ? count - done : head->chunk;

		head_logprobs(head, step->model, first + done, rows);
		device->download(device, step->logp + first + done, head->logp.data,
		                 (size_t) rows * sizeof(float));
	}
}

/* Their gradients.  Where they are more than a chunk, logits come again. */
static void
return_rows(Step *step, int first, int count)
{
	Head *head = step->head;

	for (int done = 0; done < count; done += head->chunk)
	{
		int rows = count - done < head->chunk ? count - done : head->chunk;

		if (count > head->chunk)
			head_logprobs(head, step->model, first + done, rows);
		head_backward(head, step->model, first + done, rows,
		              step->dlogp + first + done);
	}
}

/* The head, forward and backward, over whole groups at a time. */
static bool
run_groups(Step *step, int groups, Failure *failure)
{
	const Batch *batch = step->batch;
	int row = 0;

	for (int group = 0; group < groups;)
	{
		int first = step->group_offset[group];
		int last = step->group_offset[++group];
		int rows = batch_targets(batch, first, last - first);

		while (group < groups)
		{
			int next = step->group_offset[group + 1];
			int more = batch_targets(batch, last, next - last);

			if (rows + more > step->head->chunk)
				break;
			rows += more;
			last = next;
			group++;
		}
		show_rows(step, row, rows);
		if (!step->model->device->sync(step->model->device, failure) ||
		    !ask_gradient(step, row, first, last - first, failure))
			return false;
		return_rows(step, row, rows);
		row += rows;
	}
	return true;
}

/* Forward and backward of the step's batch, whose callbacks are set. */
static bool
accumulate(Step *step, int groups, const DropoutKeys *keys, Failure *failure)
{
	Model *model = step->model;
	const Batch *batch = step->batch;
	int targets = batch_targets(batch, 0, batch->sequences);
	size_t bytes = (size_t) targets * sizeof(float);
	Arena *arena = arena_create();
	int32_t *row = arena_alloc(arena, (size_t) targets * sizeof(int32_t));
	int32_t *target = arena_alloc(arena, (size_t) targets * sizeof(int32_t));
	SharedBatch shared = batch_share(arena, batch);
	Head head;
	Pass pass;
	void *memory;
	bool done;

	step->head = &head;
	step->logp = arena_alloc(arena, bytes);
	step->dlogp = arena_alloc(arena, bytes);
	if (step->valued != NULL)
	{
		step->value = arena_alloc(arena, bytes);
		step->dvalue = arena_alloc(arena, bytes);
	}
	batch_list_targets(batch, &shared, row, target);
	done = model_require(model, MODEL_LANGUAGE, failure) &&
	       pass_begin(&pass, model, &shared, targets, row, true,
	                  head_size(model, targets, true), &memory, failure) &&
	       lora_set_keys(&pass, batch, &shared, keys, failure);
	if (done)
	{
		head_begin(&head, &pass, pass_forward(&pass), target, true, memory);
		if (step->valued != NULL)
			token_values_forward(&head, model, step->value);
		done = run_groups(step, groups, failure);
	}
	if (done)
	{
		if (step->valued != NULL)
			token_values_backward(&head, model, step->dvalue);
		head_end_backward(&head, &pass);
		pass_backward(&pass);
		done = model->device->sync(model->device, failure);
	}
	arena_destroy(arena);
	return done;
}

bool
model_accumulate(Model *model, const Batch *batch, int groups,
                 const int32_t *group_offset, const DropoutKeys *keys,
                 LogprobGradient gradient, void *argument, Failure *failure)
{
	Step step = {.model = model,
	             .batch = batch,
	             .group_offset = group_offset,
	             .gradient = gradient,
	             .argument = argument};

	return accumulate(&step, groups, keys, failure);
}

bool
model_accumulate_valued(Model *model, const Batch *batch, int groups,
                        const int32_t *group_offset, const DropoutKeys *keys,
                        ValuedGradient gradient, void *argument,
                        Failure *failure)
{
	Step step = {.model = model,
	             .batch = batch,
	             .group_offset = group_offset,
	             .valued = gradient,
	             .argument = argument};

	return accumulate(&step, groups, keys, failure);
}

bool
model_gradient_norm(Model *model, double *norm, Failure *failure)
{
	Device *device = model->device;
	double *sum = device->alloc(device, sizeof(double));
	double total = 0;

	if (sum == NULL)
		return device->sync(device, failure);
	device->add_squares(
		device, sum, tensor_at(model->gradients, 1, model_state_size(model)));
	device->download(device, &total, sum, sizeof(double));
	device->free(device, sum);
	*norm = sqrt(total);
	return device->sync(device, failure);
}

bool
model_update(Model *model, const AdamW *settings, Failure *failure)
{
	Device *device = model->device;
	ParameterList list = trained_parameters(model);

	for (int i = 0; i < list.count; i++)
	{
		const Parameter *parameter = &list.parameter[i];
		int64_t at = parameter->offset;
		int64_t n = parameter->count;
		AdamW own = *settings;

		if (!parameter->decays)
			own.weight_decay = 0;
		device->adamw(device, &own, tensor_at(model->weights + at, 1, n),
		              tensor_at(model->gradients + at, 1, n),
		              tensor_at(model->first_moment + at, 1, n),
		              tensor_at(model->second_moment + at, 1, n));
	}
	return device->sync(device, failure);
}

int64_t
model_state_size(const Model *model)
{
	return trained_parameters(model).total;
}

float *
model_state_memory(Model *model, ModelState state)
{
	return *state_of(model, state);
}

void
model_state_download(Model *model, ModelState state, int64_t first,
                     int64_t count, float *target)
{
	model->device->download(model->device, target,
	                        *state_of(model, state) + first,
	                        (size_t) count * sizeof(float));
}

void
model_state_upload(Model *model, ModelState state, int64_t first, int64_t count,
                   const float *source)
{
	model->device->upload(model->device, *state_of(model, state) + first,
	                      source, (size_t) count * sizeof(float));
}
