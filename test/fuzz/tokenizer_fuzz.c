/*
 * tokenizer_fuzz.c
 *		Opens broken tokenizer.json files and encodes and decodes with those
 *		that open.
 */
#include "mutate.h"

#include "text/tokenizer.h"

static void
open_tokenizer(const char *directory, const uint8_t *data, size_t size)
{
	static const char text[] =
		"Hello  world's 123\n\xe2\x96\x81\xf0\x9f\x98\x80"
		"</s><|endoftext|>\xff e\xcc\x81";
	Arena *arena = arena_create();
	char *own = arena_printf(arena, "%s/tokenizer.json", directory);
	char *mutant = arena_printf(arena, "%s/mutant.bin", directory);
	DecodeOptions options = {0};
	TokenList list = {0};
	Failure failure;
	Tokenizer *tokenizer;
	char *decoded;
	size_t length;

	if (link(mutant, own) != 0)
		abort();
	if (tokenizer_open(arena, directory, &tokenizer, &failure) &&
	    tokenizer_encode(tokenizer, arena, text, sizeof(text) - 1, true, &list,
	                     &failure) &&
	    tokenizer_continue(tokenizer, arena, (const char *) data,
	                       size < 400 ? size : 400, &list, &failure))
		tokenizer_decode(tokenizer, arena, list.ids, list.count, &options,
		                 &decoded, &length, &failure);
	unlink(own);
	arena_destroy(arena);
}

int
main(int count, char **arguments)
{
	return fuzz_main(count, arguments, open_tokenizer);
}
