/*
 * forms.c
 *		Files of what is made of a model's weights.
 *
 * A file is lines of text that say what it is made of and where its parts lie,
 * filled up with zeros to whole pages, and the parts, each of whole pages.
 * Nothing in it is believed: it is of use if its text is that which would be
 * written now.
 */
#include "model/files/forms.h"

#include "base/kept_file.h"
#include "base/log.h"
#include "base/poll.h"

#include <string.h>

/* Of bytes: a page, and more than any kernel wants its weights aligned to. */
#define PAGE 4096

struct Forms
{
	Arena *arena;
	const char *directory; /* NULL: none */
	uint64_t source;
};

/* A file of a form that is being mapped or made. */
typedef struct FormFile
{
	const Form *form;
	Arena *arena;
	char *head; /* [head_size] of whole pages */
	size_t head_size;
} FormFile;

Forms *
forms_open(Arena *arena, const char *directory, uint64_t source)
{
	Forms *forms = arena_alloc(arena, sizeof(Forms));

	*forms = (Forms){arena,
	                 directory == NULL ? NULL : arena_strdup(arena, directory),
	                 source};
	return forms;
}

static size_t
whole_pages(size_t bytes)
{
	return (bytes + PAGE - 1) / PAGE * PAGE;
}

static uint64_t
parts_size(const Form *form)
{
	uint64_t size = 0;

	for (int i = 0; i < form->count; i++)
		size += whole_pages(form->parts[i].bytes);
	return size;
}

static bool
write_head(const Forms *forms, FormFile *file, Failure *failure)
{
	const Form *form = file->form;
	size_t most = 1024 + strlen(form->maker);
	size_t used;

	for (int i = 0; i < form->count; i++)
		most += strlen(form->parts[i].name) + 32;
	file->head_size = whole_pages(most);
	file->head = arena_try(file->arena, file->head_size, 1, failure);
	if (file->head == NULL)
		return false;
	used = (size_t) snprintf(
		file->head, most, "alol %s, %s of files %016llx\n%s\n%d parts\n",
		ALOL_VERSION, form->name, (unsigned long long) forms->source,
		form->maker, form->count);
	for (int i = 0; i < form->count; i++)
		used += (size_t) snprintf(file->head + used, most - used, "%zu %s\n",
		                          form->parts[i].bytes, form->parts[i].name);
	return true;
}

/* KeptFile.write: the parts, one at a time in memory. */
static bool
write_parts(void *argument, KeptWriter *writer, Failure *failure)
{
	FormFile *file = argument;
	const Form *form = file->form;
	size_t most = 0;
	void *part;

	for (int i = 0; i < form->count; i++)
		most = form->parts[i].bytes > most ? form->parts[i].bytes : most;
	part = arena_try(file->arena, most, 1, failure);
	if (part == NULL)
		return false;
	for (int i = 0; i < form->count; i++)
	{
		size_t bytes = form->parts[i].bytes;

		if (!poll_check(failure))
			return false;
		memset(part, 0, bytes);
		if (!form->make(form->argument, i, part, failure) ||
		    !kept_write(writer, part, bytes) || !kept_fill(writer, PAGE))
			return false;
	}
	return true;
}

static bool
map_file(Forms *forms, FormFile *file, Failure *failure)
{
	const Form *form = file->form;
	KeptFile kept = {.write = write_parts, .argument = file};
	MappedFile mapped;
	const uint8_t *data;

	if (!write_head(forms, file, failure))
		return false;
	kept.path =
		arena_printf(file->arena, "%s/%s.form", forms->directory, form->name);
	kept.head = file->head;
	kept.head_size = file->head_size;
	kept.size = file->head_size + parts_size(form);
	if (!kept_file_map(forms->arena, &kept, &mapped, failure))
		return false;
	data = mapped.data + file->head_size;
	for (int i = 0; i < form->count; i++)
	{
		form->parts[i].data = data;
		data += whole_pages(form->parts[i].bytes);
	}
	return true;
}

bool
forms_map(Forms *forms, Form *form)
{
	FormFile file = {.form = form};
	Failure failure = {0};
	bool done;

	if (forms->directory == NULL)
		return false;
	file.arena = arena_create();
	done = map_file(forms, &file, &failure);
	arena_destroy(file.arena);
	if (done || failure.code == FAILURE_CANCELLED)
		return done;
	log_line("weights are kept in memory of a process's own: %s",
	         failure.message);
	/* What failed once is not tried again with every pass. */
	forms->directory = NULL;
	return false;
}
