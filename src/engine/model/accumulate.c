/*
 * accumulate.c
 *		Forward and backward of a language model over a micro-batch.
 *
 * A group whose sequences do not fit into memory together is computed in
 * parts: forward for the log-probabilities, which its objective sees as a
 * whole, and again with the backward pass.
 */
#include "base/poll.h"
#include "model/lora/lora_layers.h"

/* A micro-batch on its way. */
typedef struct Step
{
	Model *model;
	const Batch *batch;
	const DropoutKeys *keys;
	const int32_t *group_offset;
	float *logp;   /* [targets] */
	float *dlogp;  /* [targets] */
	float *value;  /* [targets], where there are values */
	float *dvalue; /* [targets] */
	LogprobGradient gradient;
	ValuedGradient valued; /* in place of gradient, where there are values */
	void *argument;
} Step;

/* Some of its sequences in one pass. */
typedef struct Part
{
	int target; /* the number of its first target */
	int rows;   /* its targets */
	Pass pass;
	Head head;
} Part;

/* The sequences [first, first + count) up to the head, and their values. */
static bool
part_forward(Step *step, Arena *arena, Part *part, int first, int count,
             Failure *failure)
{
	Model *model = step->model;
	Batch batch = batch_range(arena, step->batch, first, count);
	int rows = batch_targets(&batch, 0, count);
	size_t bytes = (size_t) rows * sizeof(int32_t);
	int32_t *row = arena_alloc(arena, bytes);
	int32_t *target = arena_alloc(arena, bytes);
	SharedBatch shared = batch_share(arena, &batch, false);
	DropoutKeys keys;
	void *memory;

	if (step->keys != NULL)
		keys = (DropoutKeys){step->keys->prompts, step->keys->row + first};
	part->target = batch_targets(step->batch, 0, first);
	part->rows = rows;
	batch_list_targets(&batch, &shared, row, target);
	if (!pass_begin(&part->pass, model, &shared, rows, row, true,
	                head_size(model, rows, true), &memory, failure) ||
	    !lora_set_keys(&part->pass, &batch, &shared,
	                   step->keys == NULL ? NULL : &keys, failure))
		return false;
	head_begin(&part->head, &part->pass, pass_forward(&part->pass), target,
	           true, memory);
	if (step->valued != NULL)
		token_values_forward(&part->head, model, step->value + part->target);
	return true;
}

/* From the gradients of all its log-probabilities and values. */
static bool
part_backward(Step *step, Part *part, Failure *failure)
{
	Device *device = step->model->device;

	if (step->valued != NULL)
		token_values_backward(&part->head, step->model,
		                      step->dvalue + part->target);
	head_end_backward(&part->head, &part->pass);
	pass_backward(&part->pass);
	return device->sync(device, failure);
}

static bool
ask_gradient(Step *step, int target, int first, int count, Failure *failure)
{
	if (step->valued == NULL)
		return step->gradient(step->argument, first, count, step->logp + target,
		                      step->dlogp + target, failure);
	return step->valued(step->argument, first, count, step->logp + target,
	                    step->value + target, step->dlogp + target,
	                    step->dvalue + target, failure);
}

/* Log-probabilities of rows [first, first + count), in chunks. */
static void
show_rows(Step *step, Part *part, int first, int count)
{
	Device *device = step->model->device;
	Head *head = &part->head;

	for (int done = 0; done < count; done += head->chunk)
	{
		int rows = count - done < head->chunk ? count - done : head->chunk;

		head_logprobs(head, step->model, first + done, rows);
		device->download(device, step->logp + part->target + first + done,
		                 head->logp.data, (size_t) rows * sizeof(float));
	}
}

/* Their gradients; has_logits: the head holds all of them. */
static void
return_rows(Step *step, Part *part, int first, int count, bool has_logits)
{
	Head *head = &part->head;

	for (int done = 0; done < count; done += head->chunk)
	{
		int rows = count - done < head->chunk ? count - done : head->chunk;

		if (!has_logits)
			head_logprobs(head, step->model, first + done, rows);
		head_backward(head, step->model, first + done, rows,
		              step->dlogp + part->target + first + done);
	}
}

/* The head over the groups [group, last), forward and backward, some whole
 * groups at a time. */
static bool
run_head(Step *step, Part *part, int group, int last, Failure *failure)
{
	const Batch *batch = step->batch;
	Device *device = step->model->device;
	int row = 0;

	while (group < last)
	{
		int first = step->group_offset[group];
		int end = step->group_offset[++group];
		int rows = batch_targets(batch, first, end - first);

		while (group < last)
		{
			int next = step->group_offset[group + 1];
			int more = batch_targets(batch, end, next - end);

			if (rows + more > part->head.chunk)
				break;
			rows += more;
			end = next;
			group++;
		}
		show_rows(step, part, row, rows);
		if (!device->sync(device, failure) ||
		    !ask_gradient(step, part->target + row, first, end - first,
		                  failure))
			return false;
		return_rows(step, part, row, rows, rows <= part->head.chunk);
		row += rows;
	}
	return true;
}

/* The groups [group, last), which fit into one pass. */
static bool
run_together(Step *step, int group, int last, Failure *failure)
{
	Arena *arena = arena_create();
	int first = step->group_offset[group];
	int count = step->group_offset[last] - first;
	Part part;
	bool done;

	if (batch_targets(step->batch, first, count) == 0)
		done = ask_gradient(step, batch_targets(step->batch, 0, first), first,
		                    count, failure);
	else
		done = part_forward(step, arena, &part, first, count, failure) &&
		       run_head(step, &part, group, last, failure) &&
		       part_backward(step, &part, failure);
	arena_destroy(arena);
	return done;
}

/* Some sequences of a group: for its log-probabilities, or with the gradients
 * of these for the backward pass. */
static bool
run_part(Step *step, int first, int count, bool is_backward, Failure *failure)
{
	Arena *arena;
	Device *device = step->model->device;
	Part part;
	bool done;

	if (batch_targets(step->batch, first, count) == 0)
		return true;
	arena = arena_create();
	done = poll_check(failure) &&
	       part_forward(step, arena, &part, first, count, failure);
	if (done && is_backward)
	{
		return_rows(step, &part, 0, part.rows, false);
		done = part_backward(step, &part, failure);
	}
	else if (done)
	{
		show_rows(step, &part, 0, part.rows);
		done = device->sync(device, failure);
	}
	arena_destroy(arena);
	return done;
}

/* A group that does not fit into one pass, as many of its sequences at a time
 * as do. */
static bool
run_apart(Step *step, int group, Failure *failure)
{
	int first = step->group_offset[group];
	int last = step->group_offset[group + 1];

	for (int pass = 0; pass < 2; pass++)
	{
		bool is_backward = pass == 1;
		int count;

		for (int s = first; s < last; s += count)
			if (!sequences_that_fit(step->model, step->batch, s, last, &count,
			                        failure) ||
			    !run_part(step, s, count, is_backward, failure))
				return false;
		if (!is_backward &&
		    !ask_gradient(step, batch_targets(step->batch, 0, first), first,
		                  last - first, failure))
			return false;
	}
	return true;
}

/* Forward and backward of the step's batch, whose callbacks are set. */
static bool
accumulate(Step *step, int groups, Failure *failure)
{
	Model *model = step->model;
	const Batch *batch = step->batch;
	size_t bytes =
		(size_t) batch_targets(batch, 0, batch->sequences) * sizeof(float);
	Arena *arena = arena_create();
	bool done = model_require(model, MODEL_LANGUAGE, failure);

	step->logp = arena_alloc(arena, bytes);
	step->dlogp = arena_alloc(arena, bytes);
	if (step->valued != NULL)
	{
		step->value = arena_alloc(arena, bytes);
		step->dvalue = arena_alloc(arena, bytes);
	}
	for (int group = 0, last; done && group < groups; group = last)
	{
		int first = step->group_offset[group];

		last = groups;
		while (last > group && !sequences_fit(model, batch, first,
		                                      step->group_offset[last] - first))
			last--;
		if (last > group)
			done = run_together(step, group, last, failure);
		else
			done = run_apart(step, last++, failure);
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
	             .keys = keys,
	             .group_offset = group_offset,
	             .gradient = gradient,
	             .argument = argument};

	return accumulate(&step, groups, failure);
}

bool
model_accumulate_valued(Model *model, const Batch *batch, int groups,
                        const int32_t *group_offset, const DropoutKeys *keys,
                        ValuedGradient gradient, void *argument,
                        Failure *failure)
{
	Step step = {.model = model,
	             .batch = batch,
	             .keys = keys,
	             .group_offset = group_offset,
	             .valued = gradient,
	             .argument = argument};

	return accumulate(&step, groups, failure);
}
