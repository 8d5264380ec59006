/*
 * options.h
 *		The options jsonb of our functions: keys, types, ranges, defaults.
 *
 * One table holds them all.  It is read by the check, by the errors that name
 * the nearest known key, and by the tests.
 */
#pragma once

#include "utils/jsonb.h"

#include "json.h"
#include "nearest.h"

/*
 * Checks the options of a function: kind is "train", "train_value", "score"
 * or "model_load"; method (NULL for none) decides defaults that differ by
 * method.  Raises for an unknown key (naming the nearest), a wrong type, a
 * value out of range, and what is not available yet.  Returns a flat object
 * of all keys of that kind with their final values, null where the meaning of
 * "none" or "decided later" is left.
 */
extern Jsonb *options_check(const char *kind, const char *method,
                            Jsonb *options);

/* Members of the settings so made: other names for those of json.h. */
#define settings_int(settings, key, fallback) json_int(settings, key, fallback)
#define settings_float(settings, key, fallback)                                \
	json_float(settings, key, fallback)
#define settings_bool(settings, key, fallback)                                 \
	json_bool(settings, key, fallback)
#define settings_text(settings, key) json_text(settings, key)
