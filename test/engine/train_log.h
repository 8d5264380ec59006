/*
 * train_log.h
 *		What a TrainLog does in tests of runs that neither are resumed nor have
 *		anything to warn of.
 */
#pragma once

#include "testing.h"

#include "base/failure.h"

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
