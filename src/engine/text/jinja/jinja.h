/*
 * jinja.h
 *		The part of the template language Jinja that chat templates use, as
 *		transformers sets it up: trim_blocks, lstrip_blocks, loop controls,
 *		raise_exception(), strftime_now() and its own tojson.
 *
 * Differences from jinja2: integers have 64 bits; "safe" and "escape" give
 * plain strings; a construct that is not known is an error that names it and
 * its line.  Every template ends: steps, memory, output and depth are limited
 * (run.h).
 */
#pragma once

#include "formats/json.h"

#include <stddef.h>

typedef struct JinjaTemplate JinjaTemplate;

/* Reads a template; the tree lives in arena, the text is copied. */
extern bool jinja_read(Arena *arena, const char *text, size_t length,
                       JinjaTemplate **template, Failure *failure);

/*
 * Renders it with the members of a JSON object as its variables.  The text is
 * in arena, with a zero byte after its length.  A template that refuses its
 * variables by raise_exception() fails with exactly its message.
 */
extern bool jinja_render(const JinjaTemplate *template, Arena *arena,
                         const json_t *variables, char **text, size_t *length,
                         Failure *failure);
