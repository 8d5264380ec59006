/*
 * safetensors_fuzz.c
 *		Opens broken safetensors files and reads every byte of every tensor
 *		that is offered.
 */
#include "fuzz.h"

#include "formats/safetensors.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Arena *arena = arena_create();
	char *path = fuzz_file(arena, "model.safetensors", data, size);
	Failure failure;
	StoredModel *model;
	volatile uint8_t sum = 0;

	if (stored_file_open(arena, path, &model, &failure))
		for (int i = 0; i < stored_model_count(model); i++)
		{
			const StoredTensor *tensor = stored_model_tensor(model, i);
			const uint8_t *bytes = tensor->data;

			for (int64_t j = 0; j < tensor->bytes; j++)
				sum = (uint8_t) (sum + bytes[j]);
			if (stored_model_find(model, tensor->name) != tensor)
				abort();
		}
	arena_destroy(arena);
	return 0;
}
