/*
 * labels.h
 *		The names of a classifier's outputs: the distinct labels of its rows.
 *
 * Numbers are in the order of numbers, texts in that of their bytes.
 */
#pragma once

#include "postgres.h"

/* As many as the engine takes. */
#define LABELS_MAX 100000

typedef struct Labels
{
	bool are_numbers;
	char **name; /* [count], sorted and distinct once labels_finish()ed */
	int64 *rows; /* [count] that have it */
	int count;
	int capacity;
	int sorted; /* the first so many of name are */
	MemoryContext context;
} Labels;

/* None yet; lives in the current memory context. */
extern Labels *labels_create(bool are_numbers);

/* A row with this label, which is copied; raises for too many. */
extern void labels_add(Labels *labels, const char *name);

/* No more come. */
extern void labels_finish(Labels *labels);

/* The index of a label, or -1. */
extern int labels_find(const Labels *labels, const char *name);

/* 'neg' (12), 'pos' (30): for messages. */
extern char *labels_list(const Labels *labels);
