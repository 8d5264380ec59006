/*
 * values.h
 *		Values of prompts that are tokens already.
 */
#pragma once

#include "model/model.h"
#include "model/value/value_head.h"

/* value[count] of the prompts ids[i][tokens[i]]; NaN where tokens[i] is 0. */
extern bool predict_values(Model *policy, const ValueHead *head, int count,
                           const int32_t *const *ids, const int32_t *tokens,
                           double *value, Failure *failure);
