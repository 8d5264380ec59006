/*
 * products.c
 *		How a model multiplies: in fp32, or with both factors rounded to bf16,
 *		and weights packed for that.
 */
#include "model/layers.h"

#include "base/file.h"

#include <string.h>

/*
 * From this hidden size on products are most of a pass.  Smaller models gain
 * little by bf16, and their numbers stay those of every other machine.
 */
#define WIDE 256

bool
products_find(const char *name, DType *products, Failure *failure)
{
	static const struct
	{
		const char *name;
		DType products;
	} known[] = {
		{"auto", PRODUCTS_AUTO}, {"fp32", DTYPE_F32}, {"bf16", DTYPE_BF16}};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(name, known[i].name) == 0)
		{
			*products = known[i].products;
			return true;
		}
	return fail(failure, FAILURE_BAD_INPUT,
	            "dtype must be auto, fp32 or bf16, not \"%s\"", name);
}

DType
model_products(const Model *model)
{
	return model->products;
}

void
model_set_products(Model *model, DType products)
{
	bool gains = model->device->has_bf16 && model->config.hidden >= WIDE;

	if (products == PRODUCTS_AUTO)
		products = gains ? DTYPE_BF16 : DTYPE_F32;
	model->products = products;
}

/* ------------------------------------------------------- packed weights */

/* Of the memory that is left, what packed weights may take. */
#define PACKED_SHARE 4

static Packed *
packed_of(Parameter *parameter, bool is_for_input_grad)
{
	return is_for_input_grad ? &parameter->packed_grad : &parameter->packed;
}

static size_t
packed_bytes(const Model *model, const Parameter *parameter,
             bool is_for_input_grad)
{
	Matrix matrix = parameter_matrix(parameter);

	return model->device->packed_bytes(model->device, &matrix,
	                                   is_for_input_grad);
}

static void
unpack(Model *model, Parameter *parameter, bool is_for_input_grad)
{
	Packed *packed = packed_of(parameter, is_for_input_grad);

	if (packed->is_copy)
		model->device->free(model->device, (void *) (uintptr_t) packed->data);
	else if (packed->data != NULL)
		file_forget(packed->data,
		            packed_bytes(model, parameter, is_for_input_grad));
	*packed = (Packed){NULL, false};
}

void
parameter_unpack(Model *model, Parameter *parameter)
{
	unpack(model, parameter, false);
	unpack(model, parameter, true);
}

/* The matrices of the layers and of the LM head that are packed, in arena. */
typedef struct Matrices
{
	Model *model;
	Parameter **parameter;
	int count;
	bool is_for_input_grad;
} Matrices;

static Matrices
list_matrices(Arena *arena, Model *model)
{
	size_t most = (size_t) model->config.layers * LAYER_LINEARS + 1;
	Matrices matrices = {model, arena_alloc(arena, most * sizeof(Parameter *)),
	                     0, false};
	Linear *linears[LAYER_LINEARS];

	for (int i = 0; i < model->config.layers; i++)
	{
		layer_linears(&model->layers[i], linears);
		for (int j = 0; j < LAYER_LINEARS; j++)
			if (linears[j] != NULL &&
			    packed_bytes(model, linears[j]->weight, false) > 0)
				matrices.parameter[matrices.count++] = linears[j]->weight;
	}
	if (model->head != NULL && packed_bytes(model, model->head, false) > 0)
		matrices.parameter[matrices.count++] = model->head;
	return matrices;
}

/* Bytes of what is not there yet. */
static size_t
missing_bytes(const Matrices *matrices)
{
	size_t bytes = 0;

	for (int i = 0; i < matrices->count; i++)
		if (packed_of(matrices->parameter[i], matrices->is_for_input_grad)
		        ->data == NULL)
			bytes += packed_bytes(matrices->model, matrices->parameter[i],
			                      matrices->is_for_input_grad);
	return bytes;
}

/* What the file has is not needed any more; the embedding's rows still are,
 * and come back. */
static void
forget_stored(const Parameter *parameter)
{
	const StoredTensor *stored = parameter->stored;

	if (stored != NULL && !stored->is_copy && parameter->value == stored->data)
		file_forget(stored->data, (size_t) stored->bytes);
}

/* Form.make */
static bool
make_part(void *argument, int part, void *target, Failure *failure)
{
	const Matrices *matrices = argument;
	Device *device = matrices->model->device;
	const Parameter *parameter = matrices->parameter[part];
	Matrix matrix = parameter_matrix(parameter);

	device->pack(device, target, &matrix, matrices->is_for_input_grad);
	forget_stored(parameter);
	return device->sync(device, failure);
}

/* A model that was quantized, or whose head is new, has forms of its own. */
static const char *
form_name(Arena *arena, const Matrices *matrices)
{
	const Parameter *first = matrices->parameter[0];
	bool is_quantized =
		first->stored != NULL && first->dtype != first->stored->dtype;

	return arena_printf(
		arena, "bf16%s%s%s%s", matrices->is_for_input_grad ? "-gradient" : "",
		matrices->model->plan != NULL ? "-body" : "", is_quantized ? "-" : "",
		is_quantized ? dtype_name(first->dtype) : "");
}

/* Finds them in a file, or makes it. */
static bool
map_packed(Arena *arena, Matrices *matrices)
{
	Model *model = matrices->model;
	Form form = {.name = form_name(arena, matrices),
	             .maker = model->device->packing,
	             .count = matrices->count,
	             .make = make_part,
	             .argument = matrices};

	if (form.maker == NULL)
		return false;
	form.parts = arena_alloc(arena, (size_t) form.count * sizeof(FormPart));
	for (int i = 0; i < form.count; i++)
	{
		const Parameter *parameter = matrices->parameter[i];

		/* Quantized weights are others than those of the file. */
		form.parts[i].name = arena_printf(arena, "%s %s", parameter->name,
		                                  dtype_name(parameter->dtype));
		form.parts[i].bytes =
			packed_bytes(model, parameter, matrices->is_for_input_grad);
	}
	if (!forms_map(model->forms, &form))
		return false;
	for (int i = 0; i < form.count; i++)
	{
		Parameter *parameter = matrices->parameter[i];

		unpack(model, parameter, matrices->is_for_input_grad);
		*packed_of(parameter, matrices->is_for_input_grad) =
			(Packed){form.parts[i].data, false};
	}
	return true;
}

/* Those that are not packed yet, or with is_changed all, in memory. */
static void
pack_in_memory(const Matrices *matrices, bool is_changed)
{
	Model *model = matrices->model;
	Device *device = model->device;

	for (int i = 0; i < matrices->count; i++)
	{
		Parameter *parameter = matrices->parameter[i];
		Matrix matrix = parameter_matrix(parameter);
		Packed *packed = packed_of(parameter, matrices->is_for_input_grad);
		void *target = (void *) (uintptr_t) packed->data;

		if (target != NULL && !is_changed)
			continue;
		if (target == NULL)
			target = device->alloc(
				device,
				packed_bytes(model, parameter, matrices->is_for_input_grad));
		if (target == NULL)
			return;
		device->pack(device, target, &matrix, matrices->is_for_input_grad);
		*packed = (Packed){target, true};
		forget_stored(parameter);
	}
}

/* Of one kind: in a file if that can be. */
static void
pack_in_file(Arena *arena, Matrices *matrices)
{
	if (missing_bytes(matrices) > 0)
		map_packed(arena, matrices);
}

static bool
has_packed_gradients(const Matrices *matrices)
{
	return matrices->count > 0 &&
	       matrices->parameter[0]->packed_grad.data != NULL;
}

/* The same in memory, where there is enough; backward NULL: only forward. */
static void
pack_all(Matrices *forward, Matrices *backward, bool is_changed)
{
	Model *model = forward->model;
	size_t missing = missing_bytes(forward);

	if (backward != NULL)
		missing += missing_bytes(backward);
	if (missing == 0 && !is_changed)
		return;
	if (missing > model->device->room(model->device) / PACKED_SHARE)
	{
		for (int i = 0; is_changed && i < forward->count; i++)
			parameter_unpack(model, forward->parameter[i]);
		return;
	}
	pack_in_memory(forward, is_changed);
	if (backward != NULL)
		pack_in_memory(backward, is_changed);
}

/* A and B of an adapter's maps, in arena. */
static Matrices
list_adapter(Arena *arena, Model *model)
{
	Adapter *adapter = model->adapter;
	size_t most = 2 * (size_t) adapter->loras;
	Matrices matrices = {model, arena_alloc(arena, most * sizeof(Parameter *)),
	                     0, false};

	for (int i = 0; i < 2 * adapter->loras; i++)
		if (packed_bytes(model, &adapter->parameters[i], false) > 0)
			matrices.parameter[matrices.count++] = &adapter->parameters[i];
	return matrices;
}

/* Both forms where both are wanted: in a file if the weights are frozen and
 * that can be, else in memory. */
static void
pack_matrices(Arena *arena, Matrices forward, bool with_gradient,
              bool is_frozen, bool is_changed)
{
	Matrices backward = forward;

	backward.is_for_input_grad = true;
	with_gradient = !forward.model->device->packs_once &&
	                (with_gradient || has_packed_gradients(&forward));
	if (is_frozen)
	{
		pack_in_file(arena, &forward);
		if (with_gradient)
			pack_in_file(arena, &backward);
	}
	pack_all(&forward, with_gradient ? &backward : NULL, is_changed);
}

void
model_pack(Model *model, bool with_gradient)
{
	/* What an adapter lies beside is frozen. */
	bool is_frozen = model->weights == NULL || model->adapter != NULL;
	bool is_changed = model->has_changed;
	Arena *arena;

	if (model->products != DTYPE_BF16)
		return;
	arena = arena_create();
	pack_matrices(arena, list_matrices(arena, model), with_gradient, is_frozen,
	              is_changed && !is_frozen);
	/* An adapter's are few numbers, and those of a file need no form. */
	if (model->adapter != NULL)
		pack_matrices(arena, list_adapter(arena, model), with_gradient, false,
		              is_changed);
	model->has_changed = false;
	arena_destroy(arena);
}
