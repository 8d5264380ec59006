/*
 * train_log.h
 *		Parts of a TrainLog for tests that look at something else.
 */
#pragma once

#include "testing.h"

#include "base/failure.h"

static inline bool
ignore_progress(void *argument, int64_t step, int64_t steps, double speed,
                double loss, Failure *failure)
{
	(void) argument;
	(void) step;
	(void) steps;
	(void) speed;
	(void) loss;
	(void) failure;
	return true;
}

static inline bool
ignore_checkpoint(void *argument, int64_t step, Failure *failure)
{
	(void) argument;
	(void) step;
	(void) failure;
	return true;
}

static inline bool
refuse_warning(void *argument, const char *message, Failure *failure)
{
	(void) argument;
	(void) failure;
	fail_msg("%s", message);
	return true;
}
