/*
 * jinja.c
 *		Templates from text to tree, and from tree and variables to text.
 */
#include "text/jinja/jinja.h"

#include "text/jinja/evaluate.h"
#include "text/unicode.h"

#include <string.h>

struct JinjaTemplate
{
	const Node *root;
};

bool
jinja_read(Arena *arena, const char *text, size_t length,
           JinjaTemplate **template, Failure *failure)
{
	JinjaTemplate *made = arena_alloc(arena, sizeof(JinjaTemplate));
	Run *run = arena_alloc(arena, sizeof(Run));

	if (!unicode_is_valid(text, length))
		return fail(failure, FAILURE_BAD_FILE, "chat template is not UTF-8");
	run_start(run, arena, failure);
	if (setjmp(run->escape) != 0)
		return false;
	made->root = parse_template(run, text, length);
	*template = made;
	return true;
}

static void
set_variables(Run *run, Scope *scope, const json_t *variables)
{
	const char *name;
	json_t *value;

	for (int i = 0; global_function(i) != NULL; i++)
		scope_set(
			run, scope, value_text(run, global_function(i)->name),
			(Value){.kind = VALUE_FUNCTION, .function = global_function(i)});
	json_object_foreach((json_t *) (uintptr_t) variables, name, value)
		scope_set(run, scope, value_copy(run, name, strlen(name)),
	              value_of_json(run, value));
}

/* The end of the output is not part of any value, so it needs no copy. */
static void
finish(Run *run, char **text, size_t *length)
{
	*length = run->length;
	run_write(run, "", 1);
	*text = run->text;
}

bool
jinja_render(const JinjaTemplate *template, Arena *arena,
             const json_t *variables, char **text, size_t *length,
             Failure *failure)
{
	Run *run = arena_alloc(arena, sizeof(Run));
	Scope *globals;

	run_start(run, arena, failure);
	if (setjmp(run->escape) != 0)
		return false;
	globals = scope_new(run, NULL);
	set_variables(run, globals, variables);
	render(run, scope_new(run, globals), template->root);
	finish(run, text, length);
	return true;
}
