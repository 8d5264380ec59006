/*
 * models.h
 *		The models an engine has open: the last few used, by their paths.
 *
 * Opening is cheap (weights are mapped), but tokenizers and tables are not,
 * and a reward expression asks for the same model a thousand times.  A model
 * whose files were replaced is opened anew.  One that a request uses stays
 * open until the request is done, and keeps its workspace for the next one
 * until something else needs memory: another model, a job, or nobody at all.
 */
#pragma once

#include "model/model.h"
#include "model/value/value_head.h"
#include "serve/serve.h"

/* A ModelRef of message.h; the texts are borrowed from the JSON object. */
typedef struct ModelRef
{
	const char *name; /* for messages */
	const char *path;
	const char *tokenizer; /* a directory, or NULL */
	const char *forms;     /* likewise: ModelFiles.forms */
	const json_t *base;    /* ModelRef of the policy of a value model, or of
	                        * the model under an adapter; NULL */
	DType products;        /* of it and its base: model_set_products() */
} ModelRef;

extern bool model_ref_read(const json_t *object, ModelRef *ref,
                           Failure *failure);

/* The request's "model" (or another member that is a ModelRef). */
extern bool model_ref_of(const Request *request, const char *key, ModelRef *ref,
                         Failure *failure);

/* True when the directory holds a value model. */
extern bool model_ref_is_value(const ModelRef *ref);

/* The model under an adapter; its tokenizer is the one named last. */
extern bool model_ref_base(const ModelRef *ref, ModelRef *base,
                           Failure *failure);

/* Takes their workspace from all models that no request uses. */
extern void models_rest(Serve *serve);

/* Opens the language model or adapter, or finds it open, multiplying as the
 * reference says; it stays so for the request. */
extern bool model_use(Request *request, const ModelRef *ref, Model **model,
                      Failure *failure);

/* The same for a model that must be of this kind. */
extern bool model_use_kind(Request *request, const ModelRef *ref,
                           ModelKind kind, Model **model, Failure *failure);

/* The same for a value model and the policy it belongs to (ref->base). */
extern bool value_use(Request *request, const ModelRef *ref, Model **policy,
                      const ValueHead **head, Failure *failure);
