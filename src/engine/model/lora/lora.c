/*
 * lora.c
 *		What an adapter adds to a linear map, forward and backward, and making
 *		a new one.
 *
 * dropout(x) is cheaper made again than kept for the backward pass, as the
 * mask is a matter of addresses; A dropout(x), which is narrow, is kept.
 */
#include "model/lora/lora.h"

#include "base/streams.h"
#include "model/layers.h"
#include "model/lora/lora_target.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

ParameterList
trained_parameters(const Model *model)
{
	const Adapter *adapter = model->adapter;
	ParameterList list = {model->parameters, model->parameter_count,
	                      model->parameter_total};

	if (adapter != NULL)
		list = (ParameterList){adapter->parameters,
		                       2 * adapter->loras + adapter->wholes,
		                       adapter->parameter_total};
	if (model->value.weight != NULL)
	{
		list.count += VALUE_PARAMETERS;
		list.total = model->value.bias->offset + PARAMETER_LINE;
	}
	return list;
}

void
layer_linears(Layer *layer, Linear *linears[LAYER_LINEARS])
{
	Linear *all[LAYER_LINEARS] = {&layer->qkv, &layer->q,   &layer->k,
	                              &layer->v,   &layer->out, &layer->gate,
	                              &layer->up,  &layer->down};

	for (int i = 0; i < LAYER_LINEARS; i++)
		linears[i] = all[i]->weight == NULL ? NULL : all[i];
}

/* Files of old leave the first part of the names out. */
const char *
linear_module(const Model *model, const Linear *linear)
{
	const Architecture *names = architecture_find(model->config.architecture);
	const char *name = linear->weight->name + strlen(model->prefix);
	int length = (int) (strlen(name) - strlen(".weight"));

	return arena_printf(model->arena, "%s%.*s", names->prefixes[0], length,
	                    name);
}

/* ------------------------------------------------------- the layer's part */

static Tensor
drop(Pass *pass, const Lora *lora, Tensor x)
{
	Device *device = pass->model->device;
	Tensor dropped = tensor_at(pass->lora.dropped.data, x.rows, x.cols);

	if (!pass->lora.drops)
		return x;
	device->dropout(device, dropped, x, 0, pass->model->adapter->dropout,
	                pass->lora.key, lora->site);
	return dropped;
}

/* scale A dropout(x), which the forward pass leaves for the backward pass. */
static Tensor
low_of(const Pass *pass, const Lora *lora)
{
	Tensor rows =
		tensor_rows(pass->states[lora->layer].low, pass->first, pass->tokens);

	return tensor_columns(rows, lora->column, lora->rank);
}

void
lora_forward(Pass *pass, const Lora *lora, Tensor out, Tensor x)
{
	Device *device = pass->model->device;
	Matrix a = parameter_matrix(lora->a);
	Matrix b = parameter_matrix(lora->b);
	Tensor low = low_of(pass, lora);

	device->matmul(device, low, drop(pass, lora, x), &a, NULL, 0);
	device->scale(device, low, lora->scale);
	device->matmul(device, out, low, &b, NULL, 1);
}

void
lora_backward(Pass *pass, const Lora *lora, Tensor dx, Tensor dout, Tensor x)
{
	Model *model = pass->model;
	Device *device = model->device;
	Tensor dropped = drop(pass, lora, x);
	Tensor dlow = tensor_at(pass->lora.dlow.data, x.rows, lora->rank);
	Matrix a = parameter_matrix(lora->a);
	Matrix b = parameter_matrix(lora->b);
	Matrix da = gradient_matrix(model, lora->a);
	Matrix db = gradient_matrix(model, lora->b);

	/* As in linear_backward(): slices take turns. */
	if (pass->first == 0)
		device->matmul_weight_grad(device, &db, NULL, dout, low_of(pass, lora));
	device->matmul_input_grad(device, dlow, dout, &b, 0);
	if (pass->first > 0)
		device->matmul_weight_grad(device, &db, NULL, dout, low_of(pass, lora));
	device->scale(device, dlow, lora->scale);
	device->matmul_weight_grad(device, &da, NULL, dlow, dropped);
	if (dx.data == NULL)
		return;
	if (!pass->lora.drops)
	{
		device->matmul_input_grad(device, dx, dlow, &a, 1);
		return;
	}
	/* The input has served; its place takes its gradient. */
	device->matmul_input_grad(device, dropped, dlow, &a, 0);
	device->dropout(device, dx, dropped, 1, model->adapter->dropout,
	                pass->lora.key, lora->site);
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

/* -------------------------------------------------------- a new adapter */

static void
add_parameter(Model *model, Adapter *adapter, Parameter *parameter,
              const char *module, const char *part, int64_t rows, int64_t cols)
{
	*parameter = (Parameter){
		.name = arena_printf(model->arena, "base_model.model.%s.lora_%s.weight",
	                         module, part),
		.dimensions = 2,
		.shape = {rows, cols},
		.count = rows * cols,
		.offset = adapter->parameter_total,
		.decays = true};
	/* Every parameter starts on a 64-byte line of its own. */
	adapter->parameter_total += (parameter->count + 15) / 16 * 16;
}

/* Puts A and B of this rank beside the map; column is its place in low. */
static void
add_lora(Model *model, Adapter *adapter, Linear *linear, uint64_t site,
         const LoraShape *shape, int *column)
{
	const Parameter *weight = linear->weight;
	const char *module = linear_module(model, linear);
	int64_t inputs = weight->shape[weight->transposed ? 0 : 1];
	int64_t outputs = weight->shape[weight->transposed ? 1 : 0];
	Lora *lora = &adapter->lora[adapter->loras];
	Parameter *parameters = &adapter->parameters[2 * adapter->loras];

	add_parameter(model, adapter, &parameters[0], module, "A", shape->rank,
	              inputs);
	add_parameter(model, adapter, &parameters[1], module, "B", outputs,
	              shape->rank);
	*lora = (Lora){
		.a = &parameters[0],
		.b = &parameters[1],
		.rank = shape->rank,
		.alpha = shape->alpha,
		.scale = (float) (shape->alpha /
	                      (adapter->rslora ? sqrt(shape->rank) : shape->rank)),
		.site = site,
		.layer = (int) (site / LAYER_LINEARS),
		.column = *column};
	*column += shape->rank;
	linear->lora = lora;
	adapter->loras++;
	if (shape->rank > adapter->largest_rank)
		adapter->largest_rank = shape->rank;
	if (inputs > adapter->largest_input)
		adapter->largest_input = (int) inputs;
}

bool
adapter_attach(Model *model, Adapter *adapter, LoraChooser choose,
               void *argument, Failure *failure)
{
	size_t most = (size_t) model->config.layers * LAYER_LINEARS;

	if (model->config.distances > 0)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "adapters of a %s are not supported",
		            model->config.architecture);
	adapter->lora = arena_alloc(model->arena, most * sizeof(Lora));
	adapter->parameters = arena_alloc(
		model->arena,
		(2 * most + HEAD_PARAMETERS + VALUE_PARAMETERS) * sizeof(Parameter));
	for (int i = 0; i < model->config.layers; i++)
	{
		Linear *linears[LAYER_LINEARS];
		int column = 0;

		layer_linears(&model->layers[i], linears);
		for (int j = 0; j < LAYER_LINEARS; j++)
		{
			LoraShape shape = {0};

			if (linears[j] == NULL)
				continue;
			if (!choose(argument, linear_module(model, linears[j]), &shape,
			            failure))
				return false;
			if (shape.rank > 0)
				add_lora(model, adapter, linears[j],
				         (uint64_t) i * LAYER_LINEARS + (uint64_t) j, &shape,
				         &column);
		}
		if (column > adapter->layer_ranks)
			adapter->layer_ranks = column;
	}
	model->adapter = adapter;
	return true;
}

/* A new adapter's choice: what the rule names, all of one rank. */
typedef struct NewAdapter
{
	TargetRule *rule;
	LoraShape shape;
} NewAdapter;

static bool
choose_new(void *argument, const char *module, LoraShape *shape,
           Failure *failure)
{
	NewAdapter *new = argument;
	bool matches;

	if (!target_rule_matches(new->rule, module, &matches, failure))
		return false;
	if (matches)
		*shape = new->shape;
	return true;
}

/* The last parts of the names of all linear maps: "c_attn", ...; each once. */
static json_t *
name_all(const Model *model)
{
	json_t *names = json_array();
	Linear *linears[LAYER_LINEARS];

	layer_linears(&model->layers[0], linears);
	for (int j = 0; j < LAYER_LINEARS; j++)
	{
		const char *name;
		bool is_new = true;
		size_t i;
		json_t *earlier;

		if (linears[j] == NULL)
			continue;
		name = strrchr(linear_module(model, linears[j]), '.') + 1;
		json_array_foreach(names, i, earlier) is_new =
			is_new && strcmp(json_string_value(earlier), name) != 0;
		if (is_new)
			json_array_append_new(names, json_string(name));
	}
	return names;
}

static void
release_json(void *json)
{
	json_decref(json);
}

/* "q_proj, k_proj, ...": for a hint. */
static char *
spell(Arena *arena, const json_t *names)
{
	char *text = arena_strdup(arena, "");
	size_t i;
	json_t *name;

	json_array_foreach(names, i, name) text = arena_printf(
		arena, "%s%s%s", text, i == 0 ? "" : ", ", json_string_value(name));
	return text;
}

static bool
fail_targets(const Model *model, const char *entry, Failure *failure)
{
	Arena *arena = arena_create();
	json_t *names = name_all(model);

	fail(failure, FAILURE_BAD_INPUT,
	     "lora_targets \"%s\" names no linear layer of the model", entry);
	fail_hint(failure, "Its linear layers end with %s.", spell(arena, names));
	json_decref(names);
	arena_destroy(arena);
	return false;
}

bool
lora_create(Model *model, const LoraOptions *options, Failure *failure)
{
	Arena *arena = model->arena;
	Adapter *adapter = arena_alloc(arena, sizeof(Adapter));
	json_t *all = name_all(model);
	const json_t *targets = options->targets == NULL ? all : options->targets;
	NewAdapter new = {.shape = {options->rank, options->alpha}};
	const char *unused;

	arena_on_destroy(arena, release_json, all);
	if (json_is_string(targets) &&
	    strcmp(json_string_value(targets), "all-linear") == 0)
		targets = all;
	*adapter = (Adapter){.targets = json_deep_copy(targets),
	                     .rank = options->rank,
	                     .alpha = options->alpha,
	                     .rslora = options->rslora,
	                     .seed = options->seed};
	arena_on_destroy(arena, release_json, adapter->targets);
	if (!target_rule_open(arena, adapter->targets, "lora_targets", &new.rule,
	                      failure) ||
	    !adapter_attach(model, adapter, choose_new, &new, failure))
		return false;
	unused = target_rule_unused(new.rule);
	if (unused != NULL)
		return fail_targets(model, unused, failure);
	return adapter->loras > 0 ||
	       fail_targets(model, json_string_value(targets), failure);
}

void
lora_initialize(const Adapter *adapter, int index, int64_t first, int64_t count,
                float *target)
{
	const Lora *lora = &adapter->lora[index / 2];
	uint64_t stream = random_stream(RANDOM_LORA_WEIGHTS, lora->site);
	/* torch's kaiming_uniform with a = sqrt(5) */
	double bound = 1 / sqrt((double) lora->a->shape[1]);

	for (int64_t i = 0; i < count; i++)
		target[i] =
			index % 2 == 1
				? 0
				: (float) (bound * (2 * random_uniform(adapter->seed, stream,
		                                               (uint64_t) (first + i)) -
		                            1));
}
