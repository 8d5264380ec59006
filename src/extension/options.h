/*
 * options.h
 *		The options jsonb of our functions: keys, types, ranges, defaults.
 *
 * One table holds them all.  The check, the errors that name the nearest
 * known key, and the defaults all read it.
 */
#pragma once

#include "utils/jsonb.h"

/* Where defaults differ. */
typedef struct OptionContext
{
	bool is_uniform; /* the rows have no weights to be drawn by */
	bool has_lora;   /* an adapter is trained */
	bool rolls_out;  /* on responses that the policy makes meanwhile */
} OptionContext;

/*
 * Checks the options of a function: kind is "train", "train_value",
 * "train_reward", "evaluate" or "score".
 * Raises for an unknown key (naming the nearest), a wrong type, and a value out
 * of range.  Returns a flat object of all keys of that kind with their final
 * values, in the current memory context; null stands for "none", or for what is
 * decided later (evaluate_every).
 */
extern Jsonb *options_check(const char *kind, const OptionContext *context,
                            Jsonb *options);

/* Raises where an object of options gives this one a value. */
extern void options_refuse(Jsonb *options, const char *key, const char *why);
