/*
 * model_store.h
 *		Writing a model's row, for the files of models themselves.
 */
#pragma once

#include "model/model.h"

/* A new row of alol_model; NULL and 0 are SQL's NULL. */
typedef struct ModelRow
{
	const char *name;
	Oid owner;
	Jsonb *description;    /* of WIRE_MODEL_INSPECT */
	const char *path;      /* where it stays, or NULL: its files are stored */
	const char *directory; /* whose files are stored, if path is NULL */
	int64 base;
	int64 tokenizer;
	int64 job;
} ModelRow;

/* Writes the model (as the extension's owner) and returns its id. */
extern int64 model_row_store(const ModelRow *row);
