/*
 * inference.h
 *		What the functions that ask a model share.
 */
#pragma once

#include "lib/stringinfo.h"

#include "engine/engine.h"
#include "model/model.h"

/* The model that a text argument names, for the current user; role names it
 * when it is not of this kind. */
extern Model *inference_model(FunctionCallInfo fcinfo, int argument, char kind,
                              const char *role);

/* The start of a request's head, with "model" in it: add members by json.h,
 * then inference_payload() closes it and starts the payload. */
extern StringInfo inference_head(const Model *model);
extern WireBuffer inference_payload(StringInfo head);

/* Appends a text in UTF-8. */
extern void inference_put_text(WireBuffer *payload, const text *value);

/* Raises when the reply was shorter than what was read from it. */
extern void inference_check(const EngineFrame *reply);
