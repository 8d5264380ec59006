/*
 * lora_layout.c
 *		Which linear maps an adapter changes, and where A and B lie.
 *
 * Of maps that read the same x, all A lie one after the other in the flat
 * arrays of a model that is trained: products take them for one matrix.
 */
#include "model/lora/lora_layers.h"

#include <math.h>
#include <string.h>

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

void
lora_join(Adapter *adapter)
{
	for (int i = 0; i < adapter->inputs; i++)
	{
		LoraInput *input = &adapter->input[i];
		const float *end = input->lora[0].a->value;
		bool follows = true;

		for (int j = 0; j < input->count; j++)
		{
			follows = follows && input->lora[j].a->value == end;
			end += input->lora[j].a->count;
		}
		input->a = *input->lora[0].a;
		input->a.packed = (Packed){NULL, false};
		input->a.shape[0] = input->rank;
		input->a.count = input->rank * input->a.shape[1];
		if (!follows)
			input->a.value = NULL;
	}
}

int
lora_parts(const LoraInput *input)
{
	return input->a.value != NULL ? 1 : input->count;
}

Parameter *
lora_part(LoraInput *input, int part, int *first)
{
	*first = input->a.value != NULL ? 0 : input->lora[part].column;
	return input->a.value != NULL ? &input->a : input->lora[part].a;
}

static Parameter *
add_parameter(const Model *model, Parameter *parameter, const char *module,
              const char *part, int64_t rows, int64_t cols)
{
	*parameter = (Parameter){
		.name = arena_printf(model->arena, "base_model.model.%s.lora_%s.weight",
	                         module, part),
		.dimensions = 2,
		.shape = {rows, cols},
		.count = rows * cols,
		.decays = true};
	return parameter;
}

/* Puts A and B of this rank beside the map, one more of its input. */
static void
add_lora(Model *model, Adapter *adapter, Linear *linear, uint64_t site,
         const LoraShape *shape, LoraInput *input)
{
	const Parameter *weight = linear->weight;
	const char *module = linear_module(model, linear);
	int64_t inputs = weight->shape[weight->transposed ? 0 : 1];
	int64_t outputs = weight->shape[weight->transposed ? 1 : 0];
	Lora *lora = &adapter->lora[adapter->loras];
	Parameter *parameters = &adapter->parameters[2 * adapter->loras];

	*lora = (Lora){
		.a = add_parameter(model, &parameters[0], module, "A", shape->rank,
	                       inputs),
		.b = add_parameter(model, &parameters[1], module, "B", outputs,
	                       shape->rank),
		.rank = shape->rank,
		.alpha = shape->alpha,
		.scale = (float) (shape->alpha /
	                      (adapter->rslora ? sqrt(shape->rank) : shape->rank)),
		.site = site,
		.column = input->rank,
		.input = input};
	linear->lora = lora;
	adapter->loras++;
	input->count++;
	input->rank += shape->rank;
	if (inputs > adapter->largest_input)
		adapter->largest_input = (int) inputs;
}

void
adapter_place(Adapter *adapter, Parameter *parameter)
{
	parameter->offset = adapter->parameter_total;
	adapter->parameter_total += whole_lines(parameter->count);
}

/* Ends an input that begins at this column of low; returns where the next one
 * does. */
static int
add_input(Adapter *adapter, LoraInput *input, int column)
{
	if (input->count == 0)
		return column;
	for (int i = 0; i < input->count; i++)
		adapter_place(adapter, input->lora[i].a);
	for (int i = 0; i < input->count; i++)
		adapter_place(adapter, input->lora[i].b);
	input->column = column;
	adapter->inputs++;
	if (input->rank > adapter->largest_rank)
		adapter->largest_rank = input->rank;
	return column + input->rank;
}

/* Where the maps that read one input begin in layer_linears(); and the end. */
static const int first_of_input[] = {0, 1, 4, 5, 7, LAYER_LINEARS};
#define LAYER_INPUTS                                                           \
	((int) (sizeof(first_of_input) / sizeof(first_of_input[0])) - 1)

/* The adapters of an input of the layer's. */
static bool
attach_input(Model *model, Adapter *adapter, int layer, int which,
             LoraChooser choose, void *argument, Failure *failure)
{
	LoraInput *input = &adapter->input[adapter->inputs];
	uint64_t site = (uint64_t) layer * LAYER_LINEARS;
	Linear *linears[LAYER_LINEARS];

	*input = (LoraInput){.lora = &adapter->lora[adapter->loras],
	                     .site = site + (uint64_t) first_of_input[which],
	                     .layer = layer};
	layer_linears(&model->layers[layer], linears);
	for (int j = first_of_input[which]; j < first_of_input[which + 1]; j++)
	{
		LoraShape shape = {0};

		if (linears[j] == NULL)
			continue;
		if (!choose(argument, linear_module(model, linears[j]), &shape,
		            failure))
			return false;
		if (shape.rank > 0)
			add_lora(model, adapter, linears[j], site + (uint64_t) j, &shape,
			         input);
	}
	return true;
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
	adapter->input = arena_alloc(model->arena, most * sizeof(LoraInput));
	adapter->parameters = arena_alloc(
		model->arena,
		(2 * most + HEAD_PARAMETERS + VALUE_PARAMETERS) * sizeof(Parameter));
	for (int i = 0; i < model->config.layers; i++)
	{
		int column = 0;

		for (int j = 0; j < LAYER_INPUTS; j++)
		{
			LoraInput *input = &adapter->input[adapter->inputs];

			if (!attach_input(model, adapter, i, j, choose, argument, failure))
				return false;
			column = add_input(adapter, input, column);
		}
		if (column > adapter->layer_ranks)
			adapter->layer_ranks = column;
	}
	model->adapter = adapter;
	return true;
}
