/*
 * gguf_fuzz.c
 *		Opens broken GGUF files, reads every number of every tensor that is
 *		offered, and makes config.json and a tokenizer of the metadata.
 */
#include "fuzz.h"

#include "formats/gguf_config.h"
#include "text/tokenizer.h"

static void
read_tensors(const GgufFile *file)
{
	volatile float sum = 0;
	float part[DTYPE_BLOCK_MAX];

	for (int i = 0; i < gguf_tensor_count(file); i++)
	{
		const StoredTensor *tensor = gguf_tensor(file, i);

		if (tensor->dtype == DTYPE_OTHER)
			continue;
		for (int64_t first = 0; first < tensor->count; first += DTYPE_BLOCK_MAX)
		{
			int64_t left = tensor->count - first;
			int64_t count = left < DTYPE_BLOCK_MAX ? left : DTYPE_BLOCK_MAX;

			dtype_read(part, tensor->data, tensor->dtype, first, count);
			sum = sum + part[0] + part[count - 1];
		}
		if (gguf_tensor_find(file, tensor->name) != tensor)
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char text[] = "Hello  world's 123\n\xe2\x96\x81</s> e\xcc\x81";
	Arena *arena = arena_create();
	char *path = fuzz_file(arena, "model.gguf", data, size);
	DecodeOptions options = {0};
	TokenList list = {0};
	Failure failure;
	GgufFile *file;
	Tokenizer *tokenizer;
	json_t *json, *config;
	char *decoded;
	size_t length;

	if (gguf_open(arena, path, &file, &failure))
	{
		read_tensors(file);
		gguf_config(arena, file, &config, &failure);
		if (gguf_tokenizer(arena, file, &json, &config, &failure) &&
		    tokenizer_open_json(arena, json, config, &tokenizer, &failure) &&
		    tokenizer_encode(tokenizer, arena, text, sizeof(text) - 1, true,
		                     &list, &failure))
			tokenizer_decode(tokenizer, arena, list.ids, list.count, &options,
			                 &decoded, &length, &failure);
	}
	arena_destroy(arena);
	return 0;
}
