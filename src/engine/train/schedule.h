/*
 * schedule.h
 *		How many steps a run takes, and the learning rate of each.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef enum ScheduleKind
{
	SCHEDULE_CONSTANT,
	SCHEDULE_LINEAR, /* to 0 */
	SCHEDULE_COSINE  /* half a wave, to 0 */
} ScheduleKind;

/* ceil(epochs * rows / batch_size), at least 1. */
extern int64_t schedule_steps(double epochs, int64_t rows, int batch_size);

/*
 * What the learning rate is multiplied with at step (from 0) of steps: first
 * step / warmup_steps, then the schedule over the steps that are left.  Linear
 * without warm-up is 1 - step / steps.
 */
extern double schedule_factor(ScheduleKind kind, int64_t step, int64_t steps,
                              int64_t warmup_steps);

/* False for a name that is no schedule. */
extern bool schedule_find(const char *name, ScheduleKind *kind);

/*
 * True when the model is to be evaluated after `step` updates: before the
 * first, after the last, and in between every `every` steps, or every tenth
 * of the run where every is 0.
 */
extern bool schedule_evaluates(int64_t step, int64_t steps, int64_t every);
