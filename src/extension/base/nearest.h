/*
 * nearest.h
 *		Which known name a mistyped one probably means.
 */
#pragma once

/* The name nearest to a mistyped one by Levenshtein distance, or NULL when
 * none is near; a pointer out of names. */
extern const char *nearest_name(const char *name, const char *const *names,
                                int count);
