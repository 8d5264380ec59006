/*
 * products.c
 *		How a model multiplies: in fp32, or with both factors rounded to bf16,
 *		and weights packed for that.
 */
#include "model/lora/lora_layers.h"

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

static size_t
packed_bytes(const Model *model, const Parameter *parameter,
             bool is_for_input_grad)
{
	Matrix matrix = parameter_matrix(parameter);

	return model->device->packed_bytes(model->device, &matrix,
	                                   is_for_input_grad);
}

void
parameter_unpack(Model *model, Parameter *parameter)
{
	Packed *packed = &parameter->packed;

	if (packed->is_copy)
		model->device->free(model->device, (void *) (uintptr_t) packed->data);
	else if (packed->data != NULL)
		file_forget(packed->data, packed_bytes(model, parameter, false));
	*packed = (Packed){NULL, false};
}

/* The matrices of the layers and of the LM head that are packed, in arena. */
typedef struct Matrices
{
	Model *model;
	Parameter **parameter;
	int count;
} Matrices;

static void
add_matrix(Matrices *matrices, Parameter *parameter)
{
	if (packed_bytes(matrices->model, parameter, false) > 0)
		matrices->parameter[matrices->count++] = parameter;
}

static Matrices
list_matrices(Arena *arena, Model *model)
{
	size_t most = (size_t) model->config.layers * LAYER_LINEARS + 1;
	Matrices matrices = {model, arena_alloc(arena, most * sizeof(Parameter *)),
	                     0};
	Linear *linears[LAYER_LINEARS];

	for (int i = 0; i < model->config.layers; i++)
	{
		layer_linears(&model->layers[i], linears);
		for (int j = 0; j < LAYER_LINEARS; j++)
			if (linears[j] != NULL)
				add_matrix(&matrices, linears[j]->weight);
	}
	if (model->head != NULL)
		add_matrix(&matrices, model->head);
	return matrices;
}

/* Bytes of what is not there yet. */
static size_t
missing_bytes(const Matrices *matrices)
{
	size_t bytes = 0;

	for (int i = 0; i < matrices->count; i++)
		if (matrices->parameter[i]->packed.data == NULL)
			bytes +=
				packed_bytes(matrices->model, matrices->parameter[i], false);
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

	device->pack(device, target, &matrix, false);
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
		arena, "bf16%s%s%s", matrices->model->plan != NULL ? "-body" : "",
		is_quantized ? "-" : "", is_quantized ? dtype_name(first->dtype) : "");
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
		form.parts[i].bytes = packed_bytes(model, parameter, false);
	}
	if (!forms_map(model->forms, &form))
		return false;
	for (int i = 0; i < form.count; i++)
	{
		Parameter *parameter = matrices->parameter[i];

		parameter_unpack(model, parameter);
		parameter->packed = (Packed){form.parts[i].data, false};
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
		void *target = (void *) (uintptr_t) parameter->packed.data;

		if (target != NULL && !is_changed)
			continue;
		if (target == NULL)
			target =
				device->alloc(device, packed_bytes(model, parameter, false));
		if (target == NULL)
			return;
		device->pack(device, target, &matrix, false);
		parameter->packed = (Packed){target, true};
		forget_stored(parameter);
	}
}

static void
unpack_matrices(const Matrices *matrices)
{
	for (int i = 0; i < matrices->count; i++)
		parameter_unpack(matrices->model, matrices->parameter[i]);
}

/* A and B of an adapter's maps, in arena. */
static Matrices
list_adapter(Arena *arena, Model *model)
{
	Adapter *adapter = model->adapter;
	size_t most = 2 * (size_t) adapter->loras;
	Matrices matrices = {model, arena_alloc(arena, most * sizeof(Parameter *)),
	                     0};

	for (int i = 0; i < adapter->inputs; i++)
	{
		LoraInput *input = &adapter->input[i];
		int first;

		for (int j = 0; j < lora_parts(input); j++)
			add_matrix(&matrices, lora_part(input, j, &first));
		for (int j = 0; j < input->count; j++)
			add_matrix(&matrices, input->lora[j].b);
	}
	return matrices;
}

/* In a file if they are frozen and that can be, else in memory if there is
 * enough. */
static void
pack_matrices(Arena *arena, Matrices matrices, bool is_frozen, bool is_changed)
{
	Model *model = matrices.model;
	size_t missing;

	if (is_frozen && missing_bytes(&matrices) > 0)
		map_packed(arena, &matrices);
	missing = missing_bytes(&matrices);
	if (missing == 0 && !is_changed)
		return;
	if (missing <= model->device->room(model->device) / PACKED_SHARE)
		pack_in_memory(&matrices, is_changed);
	else if (is_changed)
		unpack_matrices(&matrices);
}

/* Those that are trained, for a pass of this kind. */
static void
pack_trained(Arena *arena, Matrices matrices, PackKind kind)
{
	Model *model = matrices.model;

	if (kind == PACK_WHOLE || model->device->packs_once)
		pack_matrices(arena, matrices, false, model->has_changed);
	else if (kind == PACK_FOR_TRAINING || model->has_changed)
		unpack_matrices(&matrices);
}

void
model_pack(Model *model, PackKind kind)
{
	Arena *arena;

	if (model->products != DTYPE_BF16)
		return;
	arena = arena_create();
	/* What an adapter lies beside is frozen. */
	if (model->weights == NULL || model->adapter != NULL)
		pack_matrices(arena, list_matrices(arena, model), true, false);
	else
		pack_trained(arena, list_matrices(arena, model), kind);
	/* An adapter's are few numbers, and those of a file need no form. */
	if (model->adapter != NULL)
		pack_trained(arena, list_adapter(arena, model),
		             model->weights == NULL ? PACK_WHOLE : kind);
	/* Quantised weights are frozen: only adapters lie beside such. */
	if (model->weights != NULL && model->adapter != NULL &&
	    !model->device->packs_once)
		maps_reserve(model);
	model->has_changed = false;
	arena_destroy(arena);
}
