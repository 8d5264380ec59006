/*
 * lora.c
 *		What an adapter adds to a linear map, forward and backward.
 *
 * Maps that read the same x have one mask for it, and one product with all their
 * A, as in the published code of LoRA (MergedLinear).  dropout(x) is cheaper
 * made again than kept for the backward pass, as the mask is a matter of
 * addresses; A dropout(x), which is narrow, is kept.
 */
#include "model/lora/lora_layers.h"

#include "base/random.h"

#include <stdlib.h>

static Tensor
drop(Pass *pass, const LoraInput *input, Tensor x)
{
	Device *device = pass->model->device;
	Tensor dropped = tensor_at(pass->lora.dropped.data, x.rows, x.cols);

	if (!pass->lora.drops)
		return x;
	device->dropout(device, dropped, x, 0, pass->model->adapter->dropout,
	                pass->lora.key, input->site);
	return dropped;
}

/* scale A dropout(x) of all maps, which the forward pass leaves for the
 * backward pass. */
static Tensor
low_of(const Pass *pass, const LoraInput *input)
{
	Tensor rows =
		tensor_rows(pass->states[input->layer].low, pass->first, pass->tokens);

	return tensor_columns(rows, input->column, input->rank);
}

/* A map's part of what is as wide as the ranks of its input. */
static Tensor
columns_of(const Lora *lora, Tensor x)
{
	return tensor_columns(x, lora->column, lora->rank);
}

void
lora_make_low(Pass *pass, LoraInput *input, Tensor x)
{
	Device *device = pass->model->device;
	Tensor dropped = drop(pass, input, x);
	Tensor low = low_of(pass, input);

	for (int i = 0; i < lora_parts(input); i++)
	{
		int first;
		const Parameter *part = lora_part(input, i, &first);
		Matrix a = parameter_matrix(part);

		device->matmul(device, tensor_columns(low, first, part->shape[0]),
		               dropped, &a, NULL, 0);
	}
	for (int i = 0; i < input->count; i++)
		device->scale(device, columns_of(&input->lora[i], low),
		              input->lora[i].scale);
}

void
lora_add(Pass *pass, const Lora *lora, Tensor out)
{
	Device *device = pass->model->device;
	Matrix b = parameter_matrix(lora->b);

	device->matmul(device, out, columns_of(lora, low_of(pass, lora->input)), &b,
	               NULL, 1);
}

/* The gradient of low. */
static Tensor
dlow_of(const Pass *pass, const LoraInput *input)
{
	return tensor_at(pass->lora.dlow.data, pass->tokens, input->rank);
}

void
lora_accumulate_b(Pass *pass, const Lora *lora, Tensor dout)
{
	Model *model = pass->model;
	Device *device = model->device;
	Tensor low = columns_of(lora, low_of(pass, lora->input));
	Tensor dlow = columns_of(lora, dlow_of(pass, lora->input));
	Matrix b = parameter_matrix(lora->b);
	Matrix db = gradient_matrix(model, lora->b);

	device->matmul_weight_grad(device, &db, NULL, dout, low);
	device->matmul_input_grad(device, dlow, dout, &b, 0);
	device->scale(device, dlow, lora->scale);
}

void
lora_accumulate_a(Pass *pass, LoraInput *input, Tensor x)
{
	Device *device = pass->model->device;
	Tensor dropped = drop(pass, input, x);

	for (int i = 0; i < lora_parts(input); i++)
	{
		int first;
		const Parameter *part = lora_part(input, i, &first);
		Matrix da = gradient_matrix(pass->model, part);
		Tensor dlow =
			tensor_columns(dlow_of(pass, input), first, part->shape[0]);

		device->matmul_weight_grad(device, &da, NULL, dlow, dropped);
	}
}

void
lora_input_gradient(Pass *pass, LoraInput *input, Tensor dx)
{
	Device *device = pass->model->device;
	bool drops = pass->lora.drops;
	/* dropout(x) has served; its place takes its gradient. */
	Tensor target =
		drops ? tensor_at(pass->lora.dropped.data, dx.rows, dx.cols) : dx;

	for (int i = 0; i < lora_parts(input); i++)
	{
		int first;
		const Parameter *part = lora_part(input, i, &first);
		Matrix a = parameter_matrix(part);
		Tensor dlow =
			tensor_columns(dlow_of(pass, input), first, part->shape[0]);

		device->matmul_input_grad(device, target, dlow, &a,
		                          drops && i == 0 ? 0 : 1);
	}
	if (drops)
		device->dropout(device, dx, target, 1, pass->model->adapter->dropout,
		                pass->lora.key, input->site);
}

/* ------------------------------------------------------------- the pass */

void
lora_plan(Plan *plan, const Adapter *adapter, int64_t tokens, bool keeps_state,
          LoraPass *lora)
{
	lora->drops = keeps_state && adapter->dropout > 0;
	if (keeps_state)
		lora->dlow = plan_tensor(plan, tokens, adapter->largest_rank);
	if (!lora->drops)
		return;
	lora->dropped = plan_tensor(plan, tokens, adapter->largest_input);
	lora->key = plan_bytes(plan, (size_t) tokens * sizeof(uint64_t));
}

/*
 * Keys of the tokens of one sequence of a pass, which are tokens
 * [from, from + count) of the batch's sequence s.  What others may share goes
 * by a hash of what stands there up to it, the rest by the row.
 */
static void
key_tokens(const Batch *batch, const DropoutKeys *keys, int s, int from,
           int count, uint64_t *key)
{
	const int32_t *ids = batch->ids + batch->offset[s];
	int sharable = batch_sharable(batch, s);
	uint64_t before = 0;

	for (int p = 0; p < from + count; p++)
	{
		before = random_mix(before + (uint64_t) (uint32_t) ids[p] + 1);
		if (p >= from)
			key[p - from] =
				p < sharable ? random_bits(keys->prompts, before, (uint64_t) p)
							 : random_bits(keys->row[s], 0, (uint64_t) p);
	}
}

bool
lora_set_keys(Pass *pass, const Batch *batch, const SharedBatch *shared,
              const DropoutKeys *keys, Failure *failure)
{
	Device *device = pass->model->device;
	const Pick *pick = &pass->pick;
	const int32_t *offset = shared->batch.offset;
	size_t tokens = (size_t) offset[shared->batch.sequences];
	size_t picked = (size_t) pick->count;
	uint64_t *all;

	if (!pass->lora.drops)
		return true;
	if (keys == NULL)
		return fail(failure, FAILURE_INTERNAL, "dropout without keys");
	all = malloc((tokens + picked) * sizeof(uint64_t) + 1);
	if (all == NULL)
		return fail(failure, FAILURE_OUT_OF_MEMORY, "no memory for %zu tokens",
		            tokens);
	for (int s = 0; s < shared->batch.sequences; s++)
		key_tokens(batch, keys, shared->source == NULL ? s : shared->source[s],
		           tokens_before(shared, s), offset[s + 1] - offset[s],
		           all + offset[s]);
	for (size_t i = 0; i < picked; i++)
		all[tokens + i] = all[pick->wanted[i]];
	device->upload(device, pass->lora.key, all, tokens * sizeof(uint64_t));
	if (picked > 0)
		device->upload(device, pick->key, all + tokens,
		               picked * sizeof(uint64_t));
	free(all);
	return true;
}
