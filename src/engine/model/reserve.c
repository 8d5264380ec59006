/*
 * reserve.c
 *		Memory that a model is going to need, kept before the work begins.
 *
 * A device of its own has little memory, shared with other processes: what
 * does not fit should be known before hours of scoring, and what fitted then
 * must still do so later.  On the host only the numbers that are trained are
 * looked at, as texts may turn out shorter than they may be.
 */
#include "model/generation/lanes.h"
#include "model/layers.h"

static bool
is_host(const Device *device)
{
	return device->threads > 0;
}

static uint64_t
stored_bytes(const Model *model)
{
	uint64_t bytes = 0;

	for (int i = 0; i < model->parameter_count; i++)
		if (model->parameters[i].stored != NULL)
			bytes += (uint64_t) model->parameters[i].stored->bytes;
	return bytes;
}

bool
reserve_weights(Model *model, Failure *failure)
{
	Device *device = model->device;

	/* The host reads them where the file lies. */
	return is_host(device) ||
	       device->reserve(device, stored_bytes(model), failure) ||
	       fail_while(failure, "placing %lld parameters on %s",
	                  (long long) model->parameter_total, device->name);
}

uint64_t
state_bytes(const Model *model)
{
	return 2 * sizeof(float) *
	       ((uint64_t) trained_parameters(model).total +
	        (uint64_t) model_moment_size(model));
}

uint64_t
state_to_come(const Model *model)
{
	uint64_t bytes = state_bytes(model);
	uint64_t given_back = 0;

	/* Copies of stored weights go as theirs come. */
	if (!is_host(model->device) && model->adapter == NULL)
		given_back = stored_bytes(model);
	return bytes > given_back ? bytes - given_back : 0;
}

/* What a micro-batch of so many tokens takes at most. */
static uint64_t
bytes_of_pass(Model *model, int tokens)
{
	return (uint64_t) pass_size(model, tokens, tokens, tokens, true) +
	       rows_size(model, tokens, true);
}

/* The least that one text takes: in training, where passes leave a tenth of
 * the room, and as a response that is generated between the steps. */
static uint64_t
bytes_of_text(Model *model, int tokens)
{
	uint64_t pass = pass_size_recomputing(model, tokens, 1, tokens) +
	                rows_size(model, tokens, true);

	return pass / 9 * 10 + lane_bytes(model, tokens);
}

bool
model_plan_training(Model *model, bool makes_adapter, int tokens,
                    Failure *failure)
{
	Device *device = model->device;
	/* A new adapter is little beside the passes. */
	uint64_t state =
		makes_adapter && model->adapter == NULL ? 0 : state_to_come(model);
	uint64_t pass = 0;

	if (!is_host(device))
		pass = bytes_of_text(model, tokens);
	return device->reserve(device, state + pass, failure) ||
	       fail_while(failure,
	                  "planning to train %lld parameters on %s (%.1f MiB, and "
	                  "%.1f MiB for a text of %d tokens)",
	                  (long long) trained_parameters(model).total, device->name,
	                  (double) state / (1 << 20), (double) pass / (1 << 20),
	                  tokens);
}

bool
model_reserve_budget(Model *model, int tokens, Failure *failure)
{
	Device *device = model->device;

	if (is_host(device))
		return true;
	/* A larger block takes the place of the one there is. */
	pass_give_back(model);
	return device->reserve(device, bytes_of_pass(model, tokens), failure) ||
	       fail_while(failure, "keeping memory for %d tokens at a time",
	                  tokens);
}
