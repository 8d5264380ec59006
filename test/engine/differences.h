/*
 * differences.h
 *		The gradient of one weight of a model, by moving it.
 */
#pragma once

#include "near.h"

#include "model/model.h"

/* What the gradient belongs to, with the weights that the model has now. */
typedef double (*ModelLoss)(Model *model, const void *argument);

/*
 * Compares the model's gradient of number `at` of its state, called name, with
 * the difference quotient of the loss around it; tolerance is that of a small
 * gradient, a hundredth of a large one's.  Returns how far it is from 0.
 */
static inline double
check_difference(Model *model, ModelLoss loss, const void *argument,
                 const char *name, int64_t at, double step, double tolerance)
{
	float weight, grad, up, down;
	double above, below, difference;

	model_state_download(model, MODEL_WEIGHTS, at, 1, &weight);
	model_state_download(model, MODEL_GRADIENTS, at, 1, &grad);
	up = weight + (float) step;
	down = weight - (float) step;
	model_state_upload(model, MODEL_WEIGHTS, at, 1, &up);
	above = loss(model, argument);
	model_state_upload(model, MODEL_WEIGHTS, at, 1, &down);
	below = loss(model, argument);
	model_state_upload(model, MODEL_WEIGHTS, at, 1, &weight);
	difference = (above - below) / ((double) up - (double) down);
	if (!(fabs(difference - (double) grad) <=
	      1e-2 * fabs((double) grad) + tolerance))
		fail_msg("d%s[%lld] is %.6g, differences say %.6g", name,
		         (long long) at, (double) grad, difference);
	return fabs((double) grad);
}
