/*
 * gguf_pretokenizer.c
 *		The schemes of splitting texts that GGUF files name.
 *
 * A file says only a name; the expressions behind it are those that llama.cpp
 * has for it, each of which splits further what the one before left.
 */
#include "formats/gguf_config.h"

#include <string.h>

#define EXPRESSIONS 4

/* GPT-2's own. */
#define WORDS                                                                  \
	"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"        \
	"|\\s+(?!\\S)|\\s+"

/* LLaMA-3's, and those that differ in how many digits go together. */
#define LATER_WORDS(digits)                                                    \
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits       \
	"| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

#define TEKKEN                                                                 \
	"[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*"              \
	"[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?"                    \
	"[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*"      \
	"|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

typedef struct Scheme
{
	const char *name;
	bool is_nfc; /* of the tokenizers that it was made for */
	bool ignores_merges;
	const char *expressions[EXPRESSIONS];
} Scheme;

static const Scheme schemes[] = {
	{"default",
     false,
     false,
     {"[\\p{P}\\$\\+<=>\\^~\\|]+", WORDS, "\\p{N}+", "[0-9][0-9][0-9]"}},
	{"gpt-2", false, false, {WORDS}},
	{"phi-2", false, false, {WORDS}},
	{"mpt", false, false, {WORDS}},
	{"olmo", true, false, {WORDS}},
	{"jais", false, false, {WORDS}},
	{"exaone4", false, false, {WORDS}},
	{"trillion", false, false, {WORDS}},
	{"roberta-bpe", false, false, {WORDS}},
	{"smollm", false, false, {"\\p{N}", WORDS}},
	{"starcoder", false, false, {"\\p{N}", WORDS}},
	{"refact", false, false, {"\\p{N}", WORDS}},
	{"command-r", false, false, {"\\p{N}", WORDS}},
	{"codeshell", false, false, {"\\p{N}", WORDS}},
	{"exaone", false, false, {"\\p{N}", WORDS}},
	{"minerva-7b", false, false, {"\\p{N}", WORDS}},
	{"falcon",
     false,
     false,
     {"[\\p{P}\\$\\+<=>\\^~\\|`]+", WORDS, "[0-9][0-9][0-9]"}},
	{"llama-bpe", false, true, {LATER_WORDS("\\p{N}{1,3}")}},
	{"llama3", false, true, {LATER_WORDS("\\p{N}{1,3}")}},
	{"llama-v3", false, true, {LATER_WORDS("\\p{N}{1,3}")}},
	{"falcon3", false, true, {LATER_WORDS("\\p{N}{1,3}")}},
	{"pixtral", false, true, {LATER_WORDS("\\p{N}{1,3}")}},
	{"dbrx", false, false, {LATER_WORDS("\\p{N}{1,3}")}},
	{"smaug-bpe", false, false, {LATER_WORDS("\\p{N}{1,3}")}},
	{"qwen2", true, false, {LATER_WORDS("\\p{N}")}},
	{"stablelm2", false, false, {LATER_WORDS("\\p{N}")}},
	{"deepseek-r1-qwen", false, false, {LATER_WORDS("\\p{N}")}},
	{"tekken", false, true, {TEKKEN}},
};

#define SCHEMES ((int) (sizeof(schemes) / sizeof(schemes[0])))

static json_t *
split(const char *expression)
{
	return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern",
	                 "Regex", expression, "behavior", "Isolated", "invert", 0);
}

json_t *
gguf_pretokenizer(const char *name, bool *is_nfc, bool *ignores_merges)
{
	const Scheme *scheme = NULL;
	json_t *steps;

	for (int i = 0; i < SCHEMES && scheme == NULL; i++)
		if (strcmp(schemes[i].name, name) == 0)
			scheme = &schemes[i];
	if (scheme == NULL)
		return NULL;
	*is_nfc = scheme->is_nfc;
	*ignores_merges = scheme->ignores_merges;
	steps = json_array();
	for (int i = 0; i < EXPRESSIONS && scheme->expressions[i] != NULL; i++)
		json_array_append_new(steps, split(scheme->expressions[i]));
	json_array_append_new(steps, json_pack("{s:s, s:b, s:b, s:b}", "type",
	                                       "ByteLevel", "add_prefix_space", 0,
	                                       "trim_offsets", 1, "use_regex", 0));
	return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", steps);
}

static bool
is_string(const json_t *object, const char *key, const char *expected)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value != NULL && strcmp(value, expected) == 0;
}

/* Adds the expressions of a pre-tokenizer; false where it is no matter of
 * expressions, or of too many. */
static bool
list_expressions(const json_t *part, const char *list[EXPRESSIONS], int *count)
{
	const json_t *inner = json_object_get(part, "pretokenizers");
	const char *expression = NULL;

	for (size_t i = 0; i < json_array_size(inner); i++)
		if (!list_expressions(json_array_get(inner, i), list, count))
			return false;
	if (is_string(part, "type", "Sequence"))
		return true;
	if (is_string(part, "type", "Digits") &&
	    json_is_true(json_object_get(part, "individual_digits")))
		expression = "\\p{N}";
	else if (is_string(part, "type", "Split") &&
	         is_string(part, "behavior", "Isolated") &&
	         !json_is_true(json_object_get(part, "invert")))
		expression = json_string_value(
			json_object_get(json_object_get(part, "pattern"), "Regex"));
	else if (is_string(part, "type", "ByteLevel") &&
	         json_is_false(json_object_get(part, "add_prefix_space")))
	{
		if (json_is_false(json_object_get(part, "use_regex")))
			return true;
		expression = WORDS;
	}
	if (expression == NULL || *count == EXPRESSIONS)
		return false;
	list[(*count)++] = expression;
	return true;
}

static bool
has_expressions(const Scheme *scheme, const char *const list[EXPRESSIONS])
{
	for (int i = 0; i < EXPRESSIONS; i++)
	{
		const char *own = scheme->expressions[i];

		if (own == NULL || list[i] == NULL)
			return own == list[i];
		if (strcmp(own, list[i]) != 0)
			return false;
	}
	return true;
}

const char *
gguf_scheme_find(const json_t *pretokenizer, bool is_nfc, bool ignores_merges)
{
	const char *list[EXPRESSIONS] = {NULL};
	const Scheme *found = NULL;
	int count = 0;

	if (!list_expressions(pretokenizer, list, &count))
		return NULL;
	for (int i = 0; i < SCHEMES; i++)
		if (has_expressions(&schemes[i], list) &&
		    schemes[i].ignores_merges == ignores_merges &&
		    (found == NULL ||
		     (found->is_nfc != is_nfc && schemes[i].is_nfc == is_nfc)))
			found = &schemes[i];
	return found == NULL ? NULL : found->name;
}
