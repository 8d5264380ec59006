/*
 * normalizer.c
 *		Normalizers, one function each, and the table of them.
 */
#include "text/normalizer.h"

#include "text/bytes.h"
#include "text/pattern.h"
#include "text/steps.h"
#include "text/unicode.h"

#include <string.h>
#include <utf8proc.h>

typedef struct Step Step;

/* Appends the normalized text to out; false only for failures of its own. */
typedef bool (*StepRun)(const Step *step, TextBuffer *out, const char *text,
                        size_t length, Failure *failure);

struct Step
{
	StepRun run;
	int form;            /* utf8proc's options */
	bool strip_left;     /* Strip */
	bool strip_right;    /* Strip */
	const char *content; /* Replace, Prepend */
	size_t content_length;
	Pattern *pattern; /* Replace */
};

struct Normalizer
{
	Step steps[STEPS_MOST];
	int count;
};

/*
 * Whether NFC changes nothing, as far as one can tell from one character at a
 * time: nothing here composes with anything, or decomposes.
 */
static bool
is_surely_composed(const char *text, size_t length)
{
	for (size_t i = 0; i < length;)
	{
		uint32_t code = unicode_next(text, &i);
		const utf8proc_property_t *property;

		if (code < 0x300)
			continue;
		property = utf8proc_get_property((utf8proc_int32_t) code);
		if (property->combining_class != 0 ||
		    property->decomp_seqindex != UINT16_MAX ||
		    property->comb_index != UINT16_MAX ||
		    (code >= 0x1100 && code <= 0x11ff))
			return false;
	}
	return true;
}

static bool
is_ascii(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if ((uint8_t) text[i] >= 0x80)
			return false;
	return true;
}

/* NFC, NFD, NFKC, NFKD. */
static bool
run_form(const Step *step, TextBuffer *out, const char *text, size_t length,
         Failure *failure)
{
	const utf8proc_option_t options = (utf8proc_option_t) step->form;
	const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *) text;
	utf8proc_ssize_t count;
	utf8proc_int32_t *codes;

	if (is_ascii(text, length) ||
	    (step->form == (UTF8PROC_STABLE | UTF8PROC_COMPOSE) &&
	     is_surely_composed(text, length)))
	{
		buffer_append(out, text, length);
		return true;
	}
	count =
		utf8proc_decompose(bytes, (utf8proc_ssize_t) length, NULL, 0, options);
	if (count < 0)
		return fail(failure, FAILURE_BAD_INPUT, "cannot normalize a text: %s",
		            utf8proc_errmsg(count));
	codes = arena_try(out->arena, (size_t) count + 1, sizeof(*codes), failure);
	if (codes == NULL)
		return false;
	utf8proc_decompose(bytes, (utf8proc_ssize_t) length, codes, count, options);
	count = utf8proc_normalize_utf32(codes, count, options);
	for (utf8proc_ssize_t i = 0; i < count; i++)
		buffer_append_code(out, (uint32_t) codes[i]);
	return true;
}

static bool
run_lowercase(const Step *step, TextBuffer *out, const char *text,
              size_t length, Failure *failure)
{
	(void) step;
	(void) failure;
	for (size_t i = 0; i < length;)
	{
		uint32_t code = unicode_next(text, &i);

		/* The one letter whose lower case is two characters. */
		if (code == 0x130)
			buffer_append(out, "i\xcc\x87", 3);
		else
			buffer_append_code(
				out, (uint32_t) utf8proc_tolower((utf8proc_int32_t) code));
	}
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

		if (!unicode_is_accent(unicode_next(text, &i)))
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

typedef struct StepType
{
	const char *name;
	bool (*open)(Arena *arena, const json_t *json, Step *step,
	             Failure *failure);
	StepRun run;
	int form;
} StepType;

/* Name in tokenizer.json, reader of its settings, function, form. */
static const StepType types[] = {
	{"NFC", open_nothing, run_form, UTF8PROC_STABLE | UTF8PROC_COMPOSE},
	{"NFD", open_nothing, run_form, UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
	{"NFKC", open_nothing, run_form,
     UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
	{"NFKD", open_nothing, run_form,
     UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT},
	{"Lowercase", open_nothing, run_lowercase, 0},
	{"Strip", open_strip, run_strip, 0},
	{"StripAccents", open_nothing, run_strip_accents, 0},
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
