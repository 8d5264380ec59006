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
	bool ignores_merges;
	const char *expressions[EXPRESSIONS];
} Scheme;

static const Scheme schemes[] = {
	{"default",
     false,
     {"[\\p{P}\\$\\+<=>\\^~\\|]+", WORDS, "\\p{N}+", "[0-9][0-9][0-9]"}},
	{"gpt-2", false, {WORDS}},
	{"phi-2", false, {WORDS}},
	{"mpt", false, {WORDS}},
	{"olmo", false, {WORDS}},
	{"jais", false, {WORDS}},
	{"roberta-bpe", false, {WORDS}},
	{"smollm", false, {"\\p{N}", WORDS}},
	{"starcoder", false, {"\\p{N}", WORDS}},
	{"refact", false, {"\\p{N}", WORDS}},
	{"command-r", false, {"\\p{N}", WORDS}},
	{"codeshell", false, {"\\p{N}", WORDS}},
	{"exaone", false, {"\\p{N}", WORDS}},
	{"minerva-7b", false, {"\\p{N}", WORDS}},
	{"falcon", false, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", WORDS, "[0-9][0-9][0-9]"}},
	{"llama-bpe", true, {LATER_WORDS("\\p{N}{1,3}")}},
	{"llama3", true, {LATER_WORDS("\\p{N}{1,3}")}},
	{"llama-v3", true, {LATER_WORDS("\\p{N}{1,3}")}},
	{"dbrx", false, {LATER_WORDS("\\p{N}{1,3}")}},
	{"smaug-bpe", false, {LATER_WORDS("\\p{N}{1,3}")}},
	{"qwen2", false, {LATER_WORDS("\\p{N}")}},
	{"stablelm2", false, {LATER_WORDS("\\p{N}")}},
	{"deepseek-r1-qwen", false, {LATER_WORDS("\\p{N}")}},
	{"tekken", true, {TEKKEN}},
};

static json_t *
split(const char *expression)
{
	return json_pack("{s:s, s:{s:s}, s:s, s:b}", "type", "Split", "pattern",
	                 "Regex", expression, "behavior", "Isolated", "invert", 0);
}

json_t *
gguf_pretokenizer(const char *name, bool *ignores_merges)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
	{
		json_t *steps;

		if (strcmp(schemes[i].name, name) != 0)
			continue;
		*ignores_merges = schemes[i].ignores_merges;
		steps = json_array();
		for (int j = 0; j < EXPRESSIONS; j++)
			if (schemes[i].expressions[j] != NULL)
				json_array_append_new(steps, split(schemes[i].expressions[j]));
		json_array_append_new(steps,
		                      json_pack("{s:s, s:b, s:b, s:b}", "type",
		                                "ByteLevel", "add_prefix_space", 0,
		                                "trim_offsets", 1, "use_regex", 0));
		return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers",
		                 steps);
	}
	return NULL;
}
