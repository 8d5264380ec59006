/*
 * reward_internal.h
 *		What a reward is made of, for those who open it and who run it.
 */
#pragma once

#include "reward/reward.h"

/* One expression, ready to run. */
typedef struct Component
{
	char *name;       /* NULL: the reward has no names */
	char *label;      /* for messages: reward, or reward "x" */
	char *statement;  /* SELECT ( expression ) FROM alol_row */
	Bitmapset *reads; /* attribute numbers of the row */
	bool is_batched;  /* asks models, and may be run twice */
} Component;

struct Reward
{
	TupleDesc columns;
	AttrNumber prompt;
	AttrNumber key;
	AttrNumber response;
	int count; /* of components */
	Component *components;
	bool is_named;
};
