/*
 * products.c
 *		How a model multiplies: in fp32, or with both factors rounded to bf16,
 *		and weights packed for that.
 */
#include "model/layers.h"

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

void
parameter_unpack(Model *model, Parameter *parameter)
{
	model->device->free(model->device, parameter->packed);
	model->device->free(model->device, parameter->packed_grad);
	parameter->packed = parameter->packed_grad = NULL;
}

/* Calls work for every matrix of the layers and of the LM head. */
static void
for_each_matrix(Model *model,
                void (*work)(Model *model, Parameter *parameter,
                             bool with_gradient, void *argument),
                bool with_gradient, void *argument)
{
	Linear *linears[LAYER_LINEARS];

	for (int i = 0; i < model->config.layers; i++)
	{
		layer_linears(&model->layers[i], linears);
		for (int j = 0; j < LAYER_LINEARS; j++)
			if (linears[j] != NULL)
				work(model, linears[j]->weight, with_gradient, argument);
	}
	if (model->head != NULL)
		work(model, model->head, with_gradient, argument);
}

static void
count_bytes(Model *model, Parameter *parameter, bool with_gradient,
            void *argument)
{
	Device *device = model->device;
	Matrix matrix = parameter_matrix(parameter);
	size_t bytes = device->packed_bytes(device, &matrix);
	size_t *total = argument;

	if (parameter->packed == NULL)
		*total += bytes;
	if (with_gradient && parameter->packed_grad == NULL)
		*total += bytes;
}

/* One of the two forms, anew where it is there. */
static void
pack(Model *model, const Matrix *matrix, void **packed, bool is_changed,
     bool is_for_input_grad)
{
	Device *device = model->device;
	size_t bytes = device->packed_bytes(device, matrix);

	if (bytes == 0 || (*packed != NULL && !is_changed))
		return;
	if (*packed == NULL)
		*packed = device->alloc(device, bytes);
	if (*packed != NULL)
		device->pack(device, *packed, matrix, is_for_input_grad);
}

static void
pack_parameter(Model *model, Parameter *parameter, bool with_gradient,
               void *argument)
{
	Matrix matrix = parameter_matrix(parameter);
	const bool *is_changed = argument;

	pack(model, &matrix, &parameter->packed, *is_changed, false);
	if (with_gradient || parameter->packed_grad != NULL)
		pack(model, &matrix, &parameter->packed_grad, *is_changed, true);
}

void
model_pack(Model *model, bool with_gradient)
{
	Device *device = model->device;
	bool is_changed = model->has_changed && model->adapter == NULL;
	size_t missing = 0;

	if (model->products != DTYPE_BF16)
		return;
	for_each_matrix(model, count_bytes, with_gradient, &missing);
	if (missing == 0 && !is_changed)
		return;
	if (missing > device->room(device) / PACKED_SHARE)
	{
		for (int i = 0; is_changed && i < model->parameter_count; i++)
			parameter_unpack(model, &model->parameters[i]);
		return;
	}
	for_each_matrix(model, pack_parameter, with_gradient, &is_changed);
	model->has_changed = false;
}
