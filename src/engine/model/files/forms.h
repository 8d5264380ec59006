/*
 * forms.h
 *		What is made of a model's weights and would be made again by every
 *		process: kept in files, which all of them map.
 *
 * A form is the same for everybody who opens the same files with the same
 * engine on the same kind of processor, and its file begins with all that it
 * depends on.  Files lie in a directory that the extension names, and goes
 * with the model.  What cannot be kept there is made in memory: forms_map()
 * says why in the log, once.
 */
#pragma once

#include "base/arena.h"

typedef struct Forms Forms;

/* One weight of a form. */
typedef struct FormPart
{
	const char *name;
	size_t bytes;
	const void *data; /* [bytes] from forms_map() on, aligned to a page */
} FormPart;

typedef struct Form
{
	const char *name;  /* of its file: "bf16" */
	const char *maker; /* what else but the files it depends on */
	int count;
	FormPart *parts;
	/* Fills target[bytes], zeroed, with a part. */
	bool (*make)(void *argument, int part, void *target, Failure *failure);
	void *argument;
} Form;

/* The forms of a model whose files `source` tells apart.  directory NULL: none
 * are kept. */
extern Forms *forms_open(Arena *arena, const char *directory, uint64_t source);

/* Maps the form, made first if it is not there, as long as the arena of
 * forms_open() lives.  False: it is to be made in memory. */
extern bool forms_map(Forms *forms, Form *form);
