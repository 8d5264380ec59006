/*
 * template.h
 *		Tokens that a tokenizer puts around one text, or two.
 */
#pragma once

#include "text/tokenizer.h"

#include "formats/json.h"

typedef struct Template Template;

/* From tokenizer.json's "post_processor", or NULL; ids lie below limit. */
extern bool template_open(Arena *arena, const json_t *json, int limit,
                          Template **template, Failure *failure);

/*
 * Appends first, and second where it is not NULL, with what belongs around
 * them.  types, if not NULL, gets the type of each id.
 */
extern bool template_apply(const Template *template, Arena *arena,
                           const TokenList *first, const TokenList *second,
                           TokenList *list, TokenList *types, Failure *failure);
