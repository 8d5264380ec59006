/*
 * straight.h
 *		Tensors of files whose data is not aligned, as of many that were written
 *		before safetensors padded its headers (GPT-2's).
 */
#pragma once

#include "formats/safetensors.h"
#include "model/files/forms.h"

/* Has all data that lies crooked in the model's files lie straight: in a form,
 * or else in arena. */
extern bool straighten(Arena *arena, Forms *forms, StoredModel *model,
                       Failure *failure);
