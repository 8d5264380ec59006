/*
 * inspect.h
 *		What a model's directory holds, for WIRE_MODEL_INSPECT and those that
 *		answer the same.
 */
#pragma once

#include "serve/models.h"

/* Opens and checks all of a language or value model and describes it. */
extern bool describe_model(Request *request, const ModelRef *ref, json_t **head,
                           Failure *failure);
