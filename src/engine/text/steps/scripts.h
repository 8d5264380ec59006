/*
 * scripts.h
 *		Stretches of text in one script (Latin, Greek, ...).
 */
#pragma once

#include "text/steps/pattern.h"

/*
 * A pattern whose matches are the stretches.  Kana counts as Han; spaces and
 * unassigned characters belong to what they follow, and to nothing at the
 * start.
 */
extern bool scripts_open(Arena *arena, Pattern **pattern, Failure *failure);
