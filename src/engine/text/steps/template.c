/*
 * template.c
 *		Templates around texts: [CLS] A [SEP] B [SEP] and the like.
 */
#include "text/steps/template.h"

#include "text/models/text_model.h"

#include <string.h>

#define MOST_PARTS 64
#define MOST_NESTING 16

/* A text, or an id. */
typedef struct Part
{
	int text; /* 0: first, 1: second, -1: the id */
	int32_t id;
	int32_t type;
} Part;

typedef struct Layout
{
	Part parts[MOST_PARTS];
	int count;
} Layout;

struct Template
{
	Layout single;
	Layout pair;
	bool is_set; /* by a post-processor that adds tokens */
	int limit;
};

static bool
add_part(Layout *layout, Part part, Failure *failure)
{
	if (layout->count == MOST_PARTS)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "a template has more than %d parts", MOST_PARTS);
	layout->parts[layout->count++] = part;
	return true;
}

static bool
check_id(const Template *template, int64_t id, Failure *failure)
{
	if (id < 0 || id >= template->limit)
		return fail(failure, FAILURE_BAD_FILE,
		            "id %lld of the post-processor is not below %d, the "
		            "number of tokens",
		            (long long) id, template->limit);
	return true;
}

/* All ids of a special token of a TemplateProcessing. */
static bool
add_special(const Template *template, const json_t *tokens, const char *name,
            int32_t type, Layout *layout, Failure *failure)
{
	const json_t *ids =
		name == NULL ? NULL
					 : json_object_get(json_object_get(tokens, name), "ids");

	if (!json_is_array(ids))
		return fail(failure, FAILURE_BAD_FILE,
		            "special token \"%s\" of the template is not described",
		            name == NULL ? "" : name);
	for (size_t i = 0; i < json_array_size(ids); i++)
	{
		int64_t id;

		if (!json_as_int(json_array_get(ids, i), &id))
			return fail(failure, FAILURE_BAD_FILE,
			            "special token \"%s\" of the template has an id that "
			            "is no integer",
			            name);
		if (!check_id(template, id, failure) ||
		    !add_part(layout, (Part){-1, (int32_t) id, type}, failure))
			return false;
	}
	return true;
}

/* "single" or "pair" of a TemplateProcessing. */
static bool
read_layout(const Template *template, const json_t *json, const char *key,
            Layout *layout, Failure *failure)
{
	const json_t *parts = json_object_get(json, key);
	const json_t *tokens = json_object_get(json, "special_tokens");

	if (!json_is_array(parts))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" of the template must be an array, not %s", key,
		            json_type_name(parts));
	layout->count = 0;
	for (size_t i = 0; i < json_array_size(parts); i++)
	{
		const json_t *part = json_array_get(parts, i);
		const json_t *special = json_object_get(part, "SpecialToken");
		const json_t *text = json_object_get(part, "Sequence");
		const json_t *inner = special != NULL ? special : text;
		const char *id = json_string_value(json_object_get(inner, "id"));
		int64_t type;

		if (inner == NULL || id == NULL)
			return fail(failure, FAILURE_BAD_FILE,
			            "part %zu of the template's \"%s\" is neither a "
			            "Sequence nor a SpecialToken",
			            i, key);
		if (!json_get_int(inner, "type_id", 0, 0, INT32_MAX, &type, failure))
			return false;
		if (special != NULL
		        ? !add_special(template, tokens, id, (int32_t) type, layout,
		                       failure)
		        : !add_part(layout,
		                    (Part){strcmp(id, "B") == 0, 0, (int32_t) type},
		                    failure))
			return false;
	}
	return true;
}

static bool
open_layouts(Template *template, const json_t *json, Failure *failure)
{
	return read_layout(template, json, "single", &template->single, failure) &&
	       read_layout(template, json, "pair", &template->pair, failure);
}

/* The id of a ["token", id] pair. */
static bool
read_named(const Template *template, const json_t *json, const char *key,
           int32_t *result, Failure *failure)
{
	int64_t id;

	if (!json_as_int(json_array_get(json_object_get(json, key), 1), &id))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" of the post-processor is not a token with its id",
		            key);
	*result = (int32_t) id;
	return check_id(template, id, failure);
}

/* BERT: C A S B S; RoBERTa: C A S S B S with one type. */
static bool
open_classic(Template *template, const json_t *json, bool is_roberta,
             Failure *failure)
{
	int32_t cls = -1;
	int32_t sep = -1;
	int32_t type = is_roberta ? 0 : 1;
	Layout *single = &template->single;
	Layout *pair = &template->pair;

	if (!read_named(template, json, "cls", &cls, failure) ||
	    !read_named(template, json, "sep", &sep, failure))
		return false;
	single->count = pair->count = 0;
	single->parts[single->count++] = (Part){-1, cls, 0};
	single->parts[single->count++] = (Part){0, 0, 0};
	single->parts[single->count++] = (Part){-1, sep, 0};
	memcpy(pair->parts, single->parts, 3 * sizeof(Part));
	pair->count = 3;
	if (is_roberta)
		pair->parts[pair->count++] = (Part){-1, sep, 0};
	pair->parts[pair->count++] = (Part){1, 0, type};
	pair->parts[pair->count++] = (Part){-1, sep, type};
	return true;
}

static bool
open_roberta(Template *template, const json_t *json, Failure *failure)
{
	return open_classic(template, json, true, failure);
}

static bool
open_bert(Template *template, const json_t *json, Failure *failure)
{
	return open_classic(template, json, false, failure);
}

typedef struct TemplateType
{
	const char *name;
	bool (*open)(Template *template, const json_t *json, Failure *failure);
} TemplateType;

/* ByteLevel only moves offsets, which we do not keep. */
static const TemplateType types[] = {
	{"TemplateProcessing", open_layouts},
	{"RobertaProcessing", open_roberta},
	{"BertProcessing", open_bert},
	{"ByteLevel", NULL},
};

static bool
read_processor(Template *template, const json_t *json, int depth,
               Failure *failure)
{
	const char *name = json_string_value(json_object_get(json, "type"));

	if (name == NULL)
		return fail(failure, FAILURE_BAD_FILE, "a post-processor has no type");
	if (depth == MOST_NESTING)
		return fail(failure, FAILURE_UNSUPPORTED,
		            "post-processors are nested more than %d deep",
		            MOST_NESTING);
	if (strcmp(name, "Sequence") == 0)
	{
		const json_t *parts = json_object_get(json, "processors");

		for (size_t i = 0; i < json_array_size(parts); i++)
			if (!read_processor(template, json_array_get(parts, i), depth + 1,
			                    failure))
				return false;
		return true;
	}
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
	{
		if (strcmp(types[i].name, name) != 0)
			continue;
		if (types[i].open == NULL)
			return true;
		if (template->is_set)
			return fail(failure, FAILURE_UNSUPPORTED,
			            "more than one post-processor adds tokens");
		template->is_set = true;
		return types[i].open(template, json, failure);
	}
	return fail(failure, FAILURE_UNSUPPORTED,
	            "post-processors of type \"%s\" are not supported", name);
}

bool
template_open(Arena *arena, const json_t *json, int limit, Template **result,
              Failure *failure)
{
	Template *template = arena_alloc(arena, sizeof(Template));

	template->limit = limit;
	template->single.parts[0] = (Part){0, 0, 0};
	template->single.count = 1;
	template->pair.parts[0] = (Part){0, 0, 0};
	template->pair.parts[1] = (Part){1, 0, 1};
	template->pair.count = 2;
	*result = template;
	return json == NULL || json_is_null(json) ||
	       read_processor(template, json, 0, failure);
}

bool
template_apply(const Template *template, Arena *arena, const TokenList *first,
               const TokenList *second, TokenList *list, TokenList *types_out,
               Failure *failure)
{
	const Layout *layout = second == NULL ? &template->single : &template->pair;

	for (int i = 0; i < layout->count; i++)
	{
		const Part *part = &layout->parts[i];
		const TokenList *text = part->text == 1 ? second : first;
		int count = part->text < 0 ? 1 : text == NULL ? 0 : text->count;

		for (int j = 0; j < count; j++)
		{
			int32_t id = part->text < 0 ? part->id : text->ids[j];

			if (!token_list_add(list, arena, id, failure) ||
			    (types_out != NULL &&
			     !token_list_add(types_out, arena, part->type, failure)))
				return false;
		}
	}
	return true;
}
