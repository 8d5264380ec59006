/*
 * normalizer.c
 *		Normalizers, one function each, and the table of them.
 */
#include "text/steps/normalizer.h"

#include "text/bytes.h"
#include "text/steps/bert_text.h"
#include "text/steps/forms.h"
#include "text/steps/pattern.h"
#include "text/steps/precompiled.h"
#include "text/steps/steps.h"
#include "text/unicode.h"

#include <string.h>

typedef struct Step Step;

/* Appends the normalized text to out; false only for failures of its own. */
typedef bool (*StepRun)(const Step *step, TextBuffer *out, const char *text,
                        size_t length, Failure *failure);

struct Step
{
	StepRun run;
	NormalForm form;
	bool strip_left;     /* Strip */
	bool strip_right;    /* Strip */
	const char *content; /* Replace, Prepend */
	size_t content_length;
	Pattern *pattern;         /* Replace */
	BertText *bert;           /* BertNormalizer */
	Precompiled *precompiled; /* Precompiled */
};

struct Normalizer
{
	Step steps[STEPS_MOST];
	int count;
};

/* NFC, NFD, NFKC, NFKD. */
static bool
run_form(const Step *step, TextBuffer *out, const char *text, size_t length,
         Failure *failure)
{
	return form_append(out, step->form, text, length, failure);
}

static bool
run_lowercase(const Step *step, TextBuffer *out, const char *text,
              size_t length, Failure *failure)
{
	(void) step;
	(void) failure;
	for (size_t i = 0; i < length;)
		unicode_append_lower(out, unicode_next(text, &i));
	return true;
}

static bool
run_strip(const Step *step, TextBuffer *out, const char *text, size_t length,
          Failure *failure)
{
	size_t start = 0;

	(void) failure;
	while (step->strip_left && start < length)
	{
		size_t next = start;

		if (!unicode_is_space(unicode_next(text, &next)))
			break;
		start = next;
	}
	while (step->strip_right && length > start)
	{
		size_t last = unicode_previous(text, length);
		size_t at = last;

		if (!unicode_is_space(unicode_next(text, &at)))
			break;
		length = last;
	}
	buffer_append(out, text + start, length - start);
	return true;
}

static bool
run_strip_accents(const Step *step, TextBuffer *out, const char *text,
                  size_t length, Failure *failure)
{
	(void) step;
	(void) failure;
	for (size_t i = 0; i < length;)
	{
		size_t start = i;

		if (!unicode_is_mark(unicode_next(text, &i)))
			buffer_append(out, text + start, i - start);
	}
	return true;
}

/* What counts as white space in translation, and what as nothing. */
static bool
run_nmt(const Step *step, TextBuffer *out, const char *text, size_t length,
        Failure *failure)
{
	(void) step;
	(void) failure;
	for (size_t i = 0; i < length;)
	{
		size_t start = i;
		uint32_t code = unicode_next(text, &i);

		if ((code >= 0x1 && code <= 0x8) || code == 0xb ||
		    (code >= 0xe && code <= 0x1f) || code == 0x7f || code == 0x8f ||
		    code == 0x9f)
			continue;
		if (code == 0x9 || code == 0xa || code == 0xc || code == 0xd ||
		    code == 0x1680 || (code >= 0x200b && code <= 0x200f) ||
		    code == 0x2028 || code == 0x2029 || code == 0x2581 ||
		    code == 0xfeff || code == UNICODE_REPLACEMENT)
			buffer_append(out, " ", 1);
		else
			buffer_append(out, text + start, i - start);
	}
	return true;
}

static bool
run_replace(const Step *step, TextBuffer *out, const char *text, size_t length,
            Failure *failure)
{
	RangeList list = {0};
	size_t at = 0;

	if (!pattern_find_all(step->pattern, out->arena, text, length, &list,
	                      failure))
		return false;
	for (size_t i = 0; i < list.count; i++)
	{
		buffer_append(out, text + at, list.ranges[i].start - at);
		buffer_append(out, step->content, step->content_length);
		at = list.ranges[i].end;
	}
	buffer_append(out, text + at, length - at);
	return true;
}

static bool
run_prepend(const Step *step, TextBuffer *out, const char *text, size_t length,
            Failure *failure)
{
	(void) failure;
	if (length > 0)
		buffer_append(out, step->content, step->content_length);
	buffer_append(out, text, length);
	return true;
}

static bool
run_bytes(const Step *step, TextBuffer *out, const char *text, size_t length,
          Failure *failure)
{
	(void) step;
	(void) failure;
	if (buffer_reserve(out, length * 2))
		out->length += bytes_spell(out->data + out->length, text, length);
	return true;
}

static bool
run_bert(const Step *step, TextBuffer *out, const char *text, size_t length,
         Failure *failure)
{
	return bert_text_append(step->bert, out, text, length, failure);
}

static bool
run_precompiled(const Step *step, TextBuffer *out, const char *text,
                size_t length, Failure *failure)
{
	(void) failure;
	precompiled_run(step->precompiled, out, text, length);
	return true;
}

static bool
open_content(Arena *arena, const json_t *json, const char *key, Step *step,
             Failure *failure)
{
	const json_t *content = json_object_get(json, key);

	if (!json_is_string(content))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" of a normalizer must be a string, not %s", key,
		            json_type_name(content));
	step->content_length = json_string_length(content);
	step->content =
		arena_strndup(arena, json_string_value(content), step->content_length);
	return true;
}

static bool
open_nothing(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	(void) arena;
	(void) json;
	(void) step;
	(void) failure;
	return true;
}

static bool
open_strip(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	(void) arena;
	return json_get_bool(json, "strip_left", true, &step->strip_left,
	                     failure) &&
	       json_get_bool(json, "strip_right", true, &step->strip_right,
	                     failure);
}

static bool
open_replace(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	return open_content(arena, json, "content", step, failure) &&
	       pattern_open(arena, json_object_get(json, "pattern"), &step->pattern,
	                    failure);
}

static bool
open_prepend(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	return open_content(arena, json, "prepend", step, failure);
}

static bool
open_bert(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	return bert_text_open(arena, json, &step->bert, failure);
}

static bool
open_precompiled(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	return precompiled_open(arena,
	                        json_object_get(json, "precompiled_charsmap"),
	                        &step->precompiled, failure);
}

typedef struct StepType
{
	const char *name;
	bool (*open)(Arena *arena, const json_t *json, Step *step,
	             Failure *failure);
	StepRun run;
	NormalForm form;
} StepType;

/* Name in tokenizer.json, reader of its settings, function, form. */
static const StepType types[] = {
	{"NFC", open_nothing, run_form, FORM_NFC},
	{"NFD", open_nothing, run_form, FORM_NFD},
	{"NFKC", open_nothing, run_form, FORM_NFKC},
	{"NFKD", open_nothing, run_form, FORM_NFKD},
	{"Lowercase", open_nothing, run_lowercase, 0},
	{"Strip", open_strip, run_strip, 0},
	{"StripAccents", open_nothing, run_strip_accents, 0},
	{"Nmt", open_nothing, run_nmt, 0},
	{"BertNormalizer", open_bert, run_bert, 0},
	{"Precompiled", open_precompiled, run_precompiled, 0},
	{"Replace", open_replace, run_replace, 0},
	{"Prepend", open_prepend, run_prepend, 0},
	{"ByteLevel", open_nothing, run_bytes, 0},
};

/* StepReader */
static bool
read_step(Arena *arena, const json_t *json, const void *known, void *place,
          Failure *failure)
{
	const StepType *type = known;
	Step *step = place;

	step->run = type->run;
	step->form = type->form;
	return type->open(arena, json, step, failure);
}

bool
normalizer_open(Arena *arena, const json_t *json, Normalizer **normalizer,
                Failure *failure)
{
	static const StepKind kind = {"normalizer", "normalizers", types,
	                              sizeof(types) / sizeof(types[0]),
	                              sizeof(types[0])};

	*normalizer = arena_alloc(arena, sizeof(Normalizer));
	return steps_read(arena, json, &kind, read_step, (*normalizer)->steps,
	                  sizeof(Step), &(*normalizer)->count, failure);
}

bool
normalizer_run(const Normalizer *normalizer, Arena *arena, bool as_continuation,
               const char **text, size_t *length, Failure *failure)
{
	for (int i = 0; i < normalizer->count; i++)
	{
		const Step *step = &normalizer->steps[i];
		TextBuffer out;

		if (as_continuation && step->run == run_prepend)
			continue;
		buffer_start(&out, arena, failure);
		if (!step->run(step, &out, *text, *length, failure) || out.failed)
			return false;
		*text = out.data == NULL ? "" : out.data;
		*length = out.length;
	}
	return true;
}
