/*
 * quantize.c
 *		Frozen weights in a few bits each, as QLoRA keeps them.
 */
#include "model/layers.h"

#include "base/file.h"
#include "base/quant.h"

#include <math.h>

/* All of a weight in fp32, with zeros up to a whole block. */
static float *
read_whole(Arena *arena, const Parameter *parameter, int64_t padded,
           Failure *failure)
{
	float *numbers = arena_try(arena, (size_t) padded, sizeof(float), failure);

	if (numbers == NULL)
		return NULL;
	parameter_read(parameter, 0, parameter->count, numbers);
	for (int64_t i = 0; i < parameter->count; i++)
		if (!isfinite(numbers[i]))
		{
			fail(failure, FAILURE_BAD_FILE,
			     "number %lld of \"%s\" is not finite and cannot be quantized",
			     (long long) i, parameter->name);
			return NULL;
		}
	return numbers;
}

/* The weights that are to be quantized, in arena. */
typedef struct Quantized
{
	Model *model;
	DType dtype;
	Parameter **parameter;
	int count;
} Quantized;

static int64_t
padded_count(const Parameter *parameter, DType dtype)
{
	int64_t block = dtype_block(dtype);

	return (parameter->count + block - 1) / block * block;
}

static size_t
quantized_bytes(const Parameter *parameter, DType dtype)
{
	return dtype_bytes(dtype, padded_count(parameter, dtype));
}

/* Form.make: into target[quantized_bytes()]. */
static bool
quantize_part(void *argument, int part, void *target, Failure *failure)
{
	const Quantized *quantized = argument;
	const Parameter *parameter = quantized->parameter[part];
	int64_t padded = padded_count(parameter, quantized->dtype);
	Arena *arena = arena_create();
	float *numbers = read_whole(arena, parameter, padded, failure);

	if (numbers != NULL)
		quant_write(target, numbers, quantized->dtype, padded);
	arena_destroy(arena);
	return numbers != NULL;
}

/* Puts the quantized weight in the place of what the file has. */
static void
replace(Quantized *quantized, int part, const void *value, bool is_copy)
{
	Parameter *parameter = quantized->parameter[part];

	parameter_release(quantized->model, parameter);
	if (!parameter->stored->is_copy)
		file_forget(parameter->stored->data, (size_t) parameter->stored->bytes);
	parameter->value = value;
	parameter->dtype = quantized->dtype;
	parameter->is_copy = is_copy;
}

/* By a file that is there or can be made. */
static bool
quantize_in_file(Arena *arena, Quantized *quantized)
{
	Device *device = quantized->model->device;
	Form form = {
		.name = dtype_name(quantized->dtype),
		.maker = "quantized 1", /* to be raised when quant_write() changes */
		.count = quantized->count,
		.parts =
			arena_alloc(arena, (size_t) quantized->count * sizeof(FormPart)),
		.make = quantize_part,
		.argument = quantized};

	for (int i = 0; i < form.count; i++)
		form.parts[i] = (FormPart){
			quantized->parameter[i]->name,
			quantized_bytes(quantized->parameter[i], quantized->dtype), NULL};
	if (form.count == 0 || !forms_map(quantized->model->forms, &form))
		return false;
	for (int i = 0; i < form.count; i++)
		replace(quantized, i,
		        device->adopt(device, form.parts[i].data, form.parts[i].bytes),
		        false);
	return true;
}

static bool
quantize_in_memory(Quantized *quantized, Failure *failure)
{
	Device *device = quantized->model->device;

	for (int i = 0; i < quantized->count; i++)
	{
		size_t bytes =
			quantized_bytes(quantized->parameter[i], quantized->dtype);
		Arena *arena = arena_create();
		void *part = arena_try(arena, bytes, 1, failure);
		bool done = part != NULL && quantize_part(quantized, i, part, failure);
		void *target = done ? device->alloc(device, bytes) : NULL;

		if (target != NULL)
		{
			device->upload(device, target, part, bytes);
			replace(quantized, i, target, true);
		}
		arena_destroy(arena);
		if (target == NULL)
			return done && device->sync(device, failure);
	}
	return true;
}

/* The linear maps of the layers that the file has not in blocks already. */
static Quantized
list_linears(Arena *arena, Model *model, DType dtype)
{
	size_t most = (size_t) model->config.layers * LAYER_LINEARS;
	Quantized quantized = {model, dtype,
	                       arena_alloc(arena, most * sizeof(Parameter *)), 0};
	Linear *linears[LAYER_LINEARS];

	for (int i = 0; i < model->config.layers; i++)
	{
		layer_linears(&model->layers[i], linears);
		for (int j = 0; j < LAYER_LINEARS; j++)
			if (linears[j] != NULL && dtype_size(linears[j]->weight->dtype) > 0)
				quantized.parameter[quantized.count++] = linears[j]->weight;
	}
	return quantized;
}

bool
model_quantize(Model *model, DType dtype, Failure *failure)
{
	Quantized quantized;
	Arena *arena;
	bool done;

	if (dtype != DTYPE_Q8_0 && dtype != DTYPE_NF4 && dtype != DTYPE_NF4_DOUBLE)
		return fail(failure, FAILURE_BAD_INPUT,
		            "weights cannot be quantized to %s", dtype_name(dtype));
	arena = arena_create();
	quantized = list_linears(arena, model, dtype);
	done = (quantize_in_file(arena, &quantized) ||
	        quantize_in_memory(&quantized, failure)) &&
	       model->device->sync(model->device, failure);
	arena_destroy(arena);
	return done ||
	       fail_while(failure, "quantizing weights to %s", dtype_name(dtype));
}
