/*
 * products.c
 *		How a model multiplies: in fp32, or with both factors rounded to bf16.
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
