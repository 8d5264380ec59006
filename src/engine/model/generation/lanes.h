/*
 * lanes.h
 *		Many sequences growing side by side: their keys and values, and the
 *		passes that add to them.
 *
 * A lane is a run of rows of the cache that holds one sequence.  Prompts go
 * into lanes packed, several a pass; then each lane takes one token a pass.
 * V as in model.h.
 */
#pragma once

#include "model/layers.h"

#define LANES_MAX 128

typedef struct Lanes
{
	Model *model;
	int count;
	int rows; /* tokens a lane can hold */
	KvCache cache;
	int32_t *iota;          /* device, [rows]: 0, 1, 2, ... */
	int length[LANES_MAX];  /* tokens each holds */
	float *logits;          /* host, [count, V]: what the last pass gave, row
	                         * i for the i-th lane it was asked for */
	int largest[LANES_MAX]; /* the first of the largest of each row */
} Lanes;

/* Bytes of one lane of so many rows. */
extern uint64_t lane_bytes(const Model *model, int rows);

/* How many lanes of so many rows the memory allows, up to `wanted`. */
extern int lanes_afford(const Model *model, int rows, int wanted);

/* The lanes live in arena, the cache on the device until it is destroyed. */
extern bool lanes_open(Lanes *lanes, Model *model, Arena *arena, int count,
                       int rows, Failure *failure);

/* prompt[i] into lane[i], in one packed pass; scratch is for this call. */
extern bool lanes_fill(Lanes *lanes, Arena *scratch, int count, const int *lane,
                       const TokenList *const *prompt, Failure *failure);

/* ids[i] behind what lane[i] holds. */
extern bool lanes_extend(Lanes *lanes, int count, const int *lane,
                         const int32_t *ids, Failure *failure);

/* Makes target hold what source holds; its first `same` tokens do already. */
extern void lanes_copy(Lanes *lanes, int target, int source, int same);
