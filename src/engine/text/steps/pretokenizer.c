/*
 * pretokenizer.c
 *		Pre-tokenizers, one function each, and the table of them.
 *
 * All of them find matches in a piece (of a pattern, or of a class of
 * characters); a behavior says what becomes of matches and of the text
 * between them.
 */
#include "text/steps/pretokenizer.h"

#include "text/bytes.h"
#include "text/steps/pattern.h"
#include "text/steps/scripts.h"
#include "text/steps/steps.h"
#include "text/steps/words.h"
#include "text/unicode.h"

#include <string.h>

/* Contractions, then words, numbers and others with a space before them. */
#define GPT2_PATTERN                                                           \
	"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|"       \
	"\\s+(?!\\S)|\\s+"

typedef enum Behavior
{
	REMOVED,
	ISOLATED,
	MERGED_WITH_PREVIOUS,
	MERGED_WITH_NEXT,
	CONTIGUOUS
} Behavior;

static const char *const behavior_names[] = {
	[REMOVED] = "Removed",
	[ISOLATED] = "Isolated",
	[MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
	[MERGED_WITH_NEXT] = "MergedWithNext",
	[CONTIGUOUS] = "Contiguous",
};

typedef enum Prepend
{
	PREPEND_NEVER,
	PREPEND_FIRST, /* only where the original text begins */
	PREPEND_ALWAYS
} Prepend;

typedef struct Step Step;

/* What the functions of a step work with. */
typedef struct Work
{
	Arena *arena;
	bool as_continuation;
	PieceList *out;
	RangeList ranges;
	Failure *failure;
} Work;

/* Adds the pieces of in to work->out. */
typedef bool (*StepRun)(const Step *step, Work *work, const PieceList *in);

struct Step
{
	StepRun run;
	Behavior behavior;
	bool invert;
	Pattern *pattern; /* or: */
	bool (*is_member)(uint32_t code);
	Prepend prepend;        /* ByteLevel, Metaspace */
	char replacement[4];    /* Metaspace */
	size_t replaced_length; /* its bytes */
	bool split;             /* Metaspace */
	WordCutter cut;         /* Whitespace, BertPreTokenizer, FixedLength */
	int64_t characters;     /* FixedLength */
};

struct Pretokenizer
{
	Step steps[STEPS_MOST];
	int count;
};

static bool
add_piece(Work *work, const char *text, size_t length, bool at_start)
{
	return piece_list_add(work->out, work->arena,
	                      (Piece){text, length, at_start}, work->failure);
}

/* Ranges of single characters that are members. */
static bool
find_members(const Step *step, Work *work, const Piece *piece)
{
	RangeList *list = &work->ranges;

	list->count = 0;
	for (size_t i = 0; i < piece->length;)
	{
		size_t start = i;

		if (!step->is_member(unicode_next(piece->text, &i)))
			continue;
		if (!list_reserve(work->arena, (void **) &list->ranges, list->count,
		                  &list->capacity, sizeof(Range), work->failure))
			return false;
		list->ranges[list->count++] = (Range){start, i};
	}
	return true;
}

/*
 * Cuts a piece along work->ranges.  The cuts lie before and after the matches,
 * but for those that the behavior takes away; a match and the text between two
 * matches alternate, and neighbouring matches have nothing between them.
 */
static bool
cut_piece(const Step *step, Work *work, const Piece *piece)
{
	const RangeList *list = &work->ranges;
	size_t start = 0; /* of the piece that is growing */
	size_t at = 0;
	bool was_match = false;

	for (size_t i = 0; at < piece->length;)
	{
		bool in_range = i < list->count && list->ranges[i].start == at;
		bool is_match = in_range != step->invert;
		size_t end = in_range          ? list->ranges[i].end
		             : i < list->count ? list->ranges[i].start
		                               : piece->length;
		bool joins; /* what grew so far goes on with this part */

		i += in_range;
		switch (step->behavior)
		{
			case MERGED_WITH_PREVIOUS:
				joins = is_match && !was_match;
				break;
			case MERGED_WITH_NEXT: /* only the last of several matches */
				joins = was_match && !is_match;
				break;
			case CONTIGUOUS:
				joins = is_match == was_match;
				break;
			default:
				joins = false;
		}
		if (!joins)
		{
			if (!(step->behavior == REMOVED && was_match) &&
			    !add_piece(work, piece->text + start, at - start,
			               piece->at_start && start == 0))
				return false;
			start = at;
		}
		was_match = is_match;
		at = end;
	}
	if (step->behavior == REMOVED && was_match)
		return true;
	return add_piece(work, piece->text + start, at - start,
	                 piece->at_start && start == 0);
}

/* Split, Digits, Punctuation, Whitespace, ... */
static bool
run_split(const Step *step, Work *work, const PieceList *in)
{
	for (size_t i = 0; i < in->count; i++)
	{
		const Piece *piece = &in->pieces[i];
		bool found =
			step->pattern == NULL
				? find_members(step, work, piece)
				: pattern_find_all(step->pattern, work->arena, piece->text,
		                           piece->length, &work->ranges, work->failure);

		if (!found || !cut_piece(step, work, piece))
			return false;
	}
	return true;
}

static size_t
total_length(const PieceList *list)
{
	size_t total = 0;

	for (size_t i = 0; i < list->count; i++)
		total += list->pieces[i].length;
	return total;
}

/* ByteLevel, second half: what was cut is spelled in the alphabet of bytes. */
static bool
spell_pieces(Work *work, PieceList *list)
{
	char *out = arena_try(work->arena, total_length(list), 2, work->failure);

	if (out == NULL)
		return false;
	for (size_t i = 0; i < list->count; i++)
	{
		Piece *piece = &list->pieces[i];

		piece->length = bytes_spell(out, piece->text, piece->length);
		piece->text = out;
		out += piece->length;
	}
	return true;
}

static bool
run_byte_level(const Step *step, Work *work, const PieceList *in)
{
	for (size_t i = 0; i < in->count; i++)
	{
		Piece piece = in->pieces[i];

		if (step->prepend == PREPEND_ALWAYS && !work->as_continuation &&
		    piece.text[0] != ' ')
		{
			char *spaced =
				arena_try(work->arena, piece.length + 1, 1, work->failure);

			if (spaced == NULL)
				return false;
			spaced[0] = ' ';
			memcpy(spaced + 1, piece.text, piece.length);
			piece.text = spaced;
			piece.length++;
		}
		work->ranges.count = 0;
		if (step->pattern != NULL &&
		    !pattern_find_all(step->pattern, work->arena, piece.text,
		                      piece.length, &work->ranges, work->failure))
			return false;
		if (!cut_piece(step, work, &piece))
			return false;
	}
	return spell_pieces(work, work->out);
}

/* Whether what is left at text begins with the replacement or a space. */
static bool
begins_word(const Step *step, const char *text, size_t left)
{
	return text[0] == ' ' ||
	       (left >= step->replaced_length &&
	        memcmp(text, step->replacement, step->replaced_length) == 0);
}

/* Adds piece with spaces replaced, whole or cut before each replacement. */
static bool
replace_spaces(const Step *step, Work *work, const Piece *piece, char **out)
{
	char *start = *out; /* of the piece that is growing */
	char *end = *out;
	bool at_start = piece->at_start;

	if (!work->as_continuation &&
	    !begins_word(step, piece->text, piece->length) &&
	    (step->prepend == PREPEND_ALWAYS ||
	     (step->prepend == PREPEND_FIRST && at_start)))
	{
		memcpy(end, step->replacement, step->replaced_length);
		end += step->replaced_length;
	}
	for (size_t i = 0; i < piece->length;)
	{
		if (!begins_word(step, piece->text + i, piece->length - i))
		{
			*end++ = piece->text[i++];
			continue;
		}
		if (step->split && end > start)
		{
			if (!add_piece(work, start, (size_t) (end - start), at_start))
				return false;
			start = end;
			at_start = false;
		}
		i += piece->text[i] == ' ' ? 1 : step->replaced_length;
		memcpy(end, step->replacement, step->replaced_length);
		end += step->replaced_length;
	}
	*out = end;
	return add_piece(work, start, (size_t) (end - start), at_start);
}

static bool
run_metaspace(const Step *step, Work *work, const PieceList *in)
{
	char *out =
		arena_try(work->arena, total_length(in) + in->count, 4, work->failure);

	if (out == NULL)
		return false;
	for (size_t i = 0; i < in->count; i++)
		if (!replace_spaces(step, work, &in->pieces[i], &out))
			return false;
	return true;
}

static bool
open_behavior(const json_t *json, Behavior fallback, Step *step,
              Failure *failure)
{
	const char *name;

	if (!json_get_string(json, "behavior", behavior_names[fallback], &name,
	                     failure))
		return false;
	for (int i = REMOVED; i <= CONTIGUOUS; i++)
		if (strcmp(behavior_names[i], name) == 0)
		{
			step->behavior = (Behavior) i;
			return true;
		}
	return fail(failure, FAILURE_BAD_FILE,
	            "\"%s\" is not a behavior of a split", name);
}

/* Steps that look at one character after the other. */
static bool
run_words(const Step *step, Work *work, const PieceList *in)
{
	for (size_t i = 0; i < in->count; i++)
		if (!step->cut(work->out, work->arena, &in->pieces[i], step->characters,
		               work->failure))
			return false;
	return true;
}

static bool
open_split(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	return open_behavior(json, ISOLATED, step, failure) &&
	       json_get_bool(json, "invert", false, &step->invert, failure) &&
	       pattern_open(arena, json_object_get(json, "pattern"), &step->pattern,
	                    failure);
}

static bool
open_byte_level(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	bool prepends;
	bool use_regex;

	step->behavior = ISOLATED;
	if (!json_get_bool(json, "add_prefix_space", true, &prepends, failure) ||
	    !json_get_bool(json, "use_regex", true, &use_regex, failure))
		return false;
	step->prepend = prepends ? PREPEND_ALWAYS : PREPEND_NEVER;
	return !use_regex ||
	       pattern_open_regex(arena, GPT2_PATTERN, &step->pattern, failure);
}

static bool
open_metaspace(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	const char *replacement;
	const char *scheme;
	bool prepends;

	(void) arena;
	if (!json_get_string(json, "replacement", "▁", &replacement, failure) ||
	    !json_get_bool(json, "add_prefix_space", true, &prepends, failure) ||
	    !json_get_string(json, "prepend_scheme", prepends ? "always" : "never",
	                     &scheme, failure) ||
	    !json_get_bool(json, "split", true, &step->split, failure))
		return false;
	step->replaced_length = strlen(replacement);
	if (step->replaced_length < 1 || step->replaced_length > 4)
		return fail(failure, FAILURE_BAD_FILE,
		            "\"replacement\" must be one character, not \"%s\"",
		            replacement);
	memcpy(step->replacement, replacement, step->replaced_length);
	if (strcmp(scheme, "always") == 0)
		step->prepend = PREPEND_ALWAYS;
	else if (strcmp(scheme, "first") == 0)
		step->prepend = PREPEND_FIRST;
	else if (strcmp(scheme, "never") != 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "\"prepend_scheme\" must be always, first or never, not "
		            "\"%s\"",
		            scheme);
	return true;
}

static bool
open_digits(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	bool individual;

	(void) arena;
	if (!json_get_bool(json, "individual_digits", false, &individual, failure))
		return false;
	step->behavior = individual ? ISOLATED : CONTIGUOUS;
	step->is_member = unicode_is_numeric;
	return true;
}

static bool
open_punctuation(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	(void) arena;
	step->is_member = unicode_is_punctuation;
	return open_behavior(json, ISOLATED, step, failure);
}

static bool
open_whitespace_split(Arena *arena, const json_t *json, Step *step,
                      Failure *failure)
{
	(void) arena;
	(void) json;
	(void) failure;
	step->behavior = REMOVED;
	step->is_member = unicode_is_space;
	return true;
}

static bool
open_whitespace(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	(void) arena;
	(void) json;
	(void) failure;
	step->cut = cut_whitespace;
	return true;
}

static bool
open_bert(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	(void) arena;
	(void) json;
	(void) failure;
	step->cut = cut_bert;
	return true;
}

static bool
open_delimiter(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	step->behavior = REMOVED;
	return pattern_open(arena, json_object_get(json, "delimiter"),
	                    &step->pattern, failure);
}

static bool
open_fixed_length(Arena *arena, const json_t *json, Step *step,
                  Failure *failure)
{
	(void) arena;
	step->cut = cut_fixed_length;
	return json_get_int(json, "length", 5, 1, INT64_MAX, &step->characters,
	                    failure);
}

static bool
open_scripts(Arena *arena, const json_t *json, Step *step, Failure *failure)
{
	(void) json;
	step->behavior = REMOVED;
	step->invert = true;
	return scripts_open(arena, &step->pattern, failure);
}

typedef struct StepType
{
	const char *name;
	bool (*open)(Arena *arena, const json_t *json, Step *step,
	             Failure *failure);
	StepRun run;
} StepType;

/* Name in tokenizer.json, reader of its settings, function. */
static const StepType types[] = {
	{"ByteLevel", open_byte_level, run_byte_level},
	{"Metaspace", open_metaspace, run_metaspace},
	{"Split", open_split, run_split},
	{"Digits", open_digits, run_split},
	{"Punctuation", open_punctuation, run_split},
	{"Whitespace", open_whitespace, run_words},
	{"WhitespaceSplit", open_whitespace_split, run_split},
	{"BertPreTokenizer", open_bert, run_words},
	{"CharDelimiterSplit", open_delimiter, run_split},
	{"UnicodeScripts", open_scripts, run_split},
	{"FixedLength", open_fixed_length, run_words},
};

/* StepReader */
static bool
read_step(Arena *arena, const json_t *json, const void *known, void *place,
          Failure *failure)
{
	const StepType *type = known;
	Step *step = place;

	step->run = type->run;
	return type->open(arena, json, step, failure);
}

bool
pretokenizer_open(Arena *arena, const json_t *json, Pretokenizer **pretokenizer,
                  Failure *failure)
{
	static const StepKind kind = {"pre-tokenizer", "pretokenizers", types,
	                              sizeof(types) / sizeof(types[0]),
	                              sizeof(types[0])};

	*pretokenizer = arena_alloc(arena, sizeof(Pretokenizer));
	return steps_read(arena, json, &kind, read_step, (*pretokenizer)->steps,
	                  sizeof(Step), &(*pretokenizer)->count, failure);
}

bool
pretokenizer_run(const Pretokenizer *pretokenizer, Arena *arena,
                 bool as_continuation, PieceList *list, Failure *failure)
{
	Work work = {
		.arena = arena, .as_continuation = as_continuation, .failure = failure};

	for (int i = 0; i < pretokenizer->count; i++)
	{
		const Step *step = &pretokenizer->steps[i];
		PieceList out = {0};

		work.out = &out;
		if (!step->run(step, &work, list))
			return false;
		*list = out;
	}
	return true;
}
