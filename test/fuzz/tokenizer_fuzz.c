/*
 * tokenizer_fuzz.c
 *		Opens broken tokenizer.json files and encodes and decodes with those
 *		that open.
 */
#include "fuzz.h"

#include "text/tokenizer.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char text[] =
		"Hello  world's 123\n\xe2\x96\x81\xf0\x9f\x98\x80"
		"</s><|endoftext|>\xff e\xcc\x81";
	Arena *arena = arena_create();
	DecodeOptions options = {0};
	TokenList list = {0};
	Failure failure;
	Tokenizer *tokenizer;
	char *decoded;
	size_t length;

	fuzz_file(arena, "tokenizer.json", data, size);
	if (tokenizer_open(arena, fuzz_directory(), &tokenizer, &failure) &&
	    tokenizer_encode(tokenizer, arena, text, sizeof(text) - 1, true, &list,
	                     &failure) &&
	    tokenizer_continue(tokenizer, arena, (const char *) data,
	                       size < 400 ? size : 400, &list, &failure))
		tokenizer_decode(tokenizer, arena, list.ids, list.count, &options,
		                 &decoded, &length, &failure);
	arena_destroy(arena);
	return 0;
}
