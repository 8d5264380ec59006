/*
 * jinja_fuzz.c
 *		Renders whatever text as the template of a chat.
 *
 * A fuzzer looks for the slowest template, too; rendering has a limit of
 * steps, which this must reach before libFuzzer's timeout.
 */
#include "fuzz.h"

#include "text/jinja/jinja.h"

static const char variables[] =
	"{\"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"},"
	"{\"role\": \"user\", \"content\": \"  Gr\xc3\xbc\xc3\x9f"
	"e \xf0\x9f\x9a\x80"
	"\\n<b>\"}, {\"role\": \"assistant\", \"content\": \"\", \"tool_calls\":"
	"[{\"function\": {\"name\": \"f\", \"arguments\": {\"x\": 1, \"y\": [2.5,"
	"null, true]}}}]}], \"add_generation_prompt\": true, \"bos_token\": \"<s>\","
	"\"eos_token\": \"</s>\", \"tools\": null, \"n\": 3, \"x\": -0.25,"
	"\"d\": {\"b\": 1, \"a\": \"z\"}, \"l\": [3, 1, 2]}";

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Arena *arena = arena_create();
	Failure failure;
	JinjaTemplate *template;
	json_t *values;
	char *text;
	size_t length;

	fuzz_directory();
	if (!json_open_text(arena, variables, sizeof(variables) - 1, "variables",
	                    &values, &failure))
		abort();
	if (jinja_read(arena, (const char *) data, size, &template, &failure) &&
	    jinja_render(template, arena, values, &text, &length, &failure) &&
	    text[length] != '\0')
		abort();
	arena_destroy(arena);
	return 0;
}
