/*
 * schedule.c
 *		How many steps a run takes, and the learning rate of each.
 */
#include "train/schedule.h"

#include <math.h>
#include <string.h>

/* Evaluations in a run, but for the one before it. */
#define EVALUATIONS 10

int64_t
schedule_steps(double epochs, int64_t rows, int batch_size)
{
	double steps = ceil(epochs * (double) rows / batch_size);

	return steps < 1 ? 1 : steps > 0x1p52 ? INT64_C(1) << 52 : (int64_t) steps;
}

double
schedule_factor(ScheduleKind kind, int64_t step, int64_t steps,
                int64_t warmup_steps)
{
	double progress;

	if (step < warmup_steps)
		return (double) step / (double) warmup_steps;
	if (kind == SCHEDULE_CONSTANT)
		return 1;
	if (step >= steps)
		return 0;
	progress = (double) (step - warmup_steps) / (double) (steps - warmup_steps);
	if (kind == SCHEDULE_LINEAR)
		return 1 - progress;
	return 0.5 * (1 + cos(M_PI * progress));
}

bool
schedule_find(const char *name, ScheduleKind *kind)
{
	static const char *const names[] = {
		[SCHEDULE_CONSTANT] = "constant",
		[SCHEDULE_LINEAR] = "linear",
		[SCHEDULE_COSINE] = "cosine",
	};

	for (int i = 0; i < 3; i++)
		if (strcmp(name, names[i]) == 0)
		{
			*kind = (ScheduleKind) i;
			return true;
		}
	return false;
}

bool
schedule_evaluates(int64_t step, int64_t steps, int64_t every)
{
	if (step == 0 || step == steps)
		return true;
	if (every > 0)
		return step % every == 0;
	/* Divided before multiplied where the product could overflow. */
	if (steps >= EVALUATIONS && steps % EVALUATIONS == 0)
		return step % (steps / EVALUATIONS) == 0;
	return floor((double) step * EVALUATIONS / (double) steps) !=
	       floor((double) (step - 1) * EVALUATIONS / (double) steps);
}
