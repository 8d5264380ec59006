/*
 * straight.c
 *		Tensors of files whose data is not aligned.
 */
#include "model/files/straight.h"

#include "base/file.h"

#include <string.h>

/* The numbers of those that lie crooked. */
typedef struct Crooked
{
	const StoredModel *model;
	int *tensor;
	int count;
} Crooked;

/* Form.make */
static bool
copy_tensor(void *argument, int part, void *target, Failure *failure)
{
	const Crooked *crooked = argument;
	const StoredTensor *tensor =
		stored_model_tensor(crooked->model, crooked->tensor[part]);

	(void) failure;
	memcpy(target, tensor->data, (size_t) tensor->bytes);
	file_forget(tensor->data, (size_t) tensor->bytes);
	return true;
}

static Crooked
list_crooked(Arena *arena, const StoredModel *model)
{
	int count = stored_model_count(model);
	Crooked crooked = {model, arena_alloc(arena, (size_t) count * sizeof(int)),
	                   0};

	for (int i = 0; i < count; i++)
		if (stored_tensor_is_crooked(stored_model_tensor(model, i)))
			crooked.tensor[crooked.count++] = i;
	return crooked;
}

bool
straighten(Arena *arena, Forms *forms, StoredModel *model, Failure *failure)
{
	Crooked crooked = list_crooked(arena, model);
	Form form = {
		.name = "aligned",
		.maker = "copied 1",
		.count = crooked.count,
		.parts = arena_alloc(arena, (size_t) crooked.count * sizeof(FormPart)),
		.make = copy_tensor,
		.argument = &crooked};

	for (int i = 0; i < form.count; i++)
	{
		const StoredTensor *tensor =
			stored_model_tensor(model, crooked.tensor[i]);

		form.parts[i] = (FormPart){tensor->name, (size_t) tensor->bytes, NULL};
	}
	if (form.count > 0 && forms_map(forms, &form))
		for (int i = 0; i < form.count; i++)
			stored_model_move(model, crooked.tensor[i], form.parts[i].data,
			                  false);
	return stored_model_align(arena, model, failure);
}
