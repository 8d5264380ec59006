/*
 * adamw.h
 *		AdamW's step of a number, for the kernels of all devices.
 *
 * As torch.optim.AdamW: decay first, then the bias-corrected step.  What is
 * rounded once is spelled out, so that all of them give the same bits.
 */
#pragma once

#include "base/kernel.h"
#include "device/device.h"

#include <math.h>

/* What the numbers of a step have in common. */
typedef struct AdamWFactors
{
	float keep;
	float step;
	float root;
	float beta1, rest1;
	float beta2, rest2;
	float eps;
	float gradient_scale;
} AdamWFactors;

static inline AdamWFactors
adamw_factors(const AdamW *settings)
{
	AdamWFactors factors = {
		1.0f - settings->learning_rate * settings->weight_decay,
		settings->learning_rate / settings->correction1,
		1.0f / sqrtf(settings->correction2),
		(float) settings->beta1,
		(float) (1 - settings->beta1),
		(float) settings->beta2,
		(float) (1 - settings->beta2),
		settings->eps,
		settings->gradient_scale,
	};

	return factors;
}

/* The number p after a step with gradient g; its moments become those after
 * it, too. */
static HOST_DEVICE inline float
adamw_number(const AdamWFactors *s, float p, float g, float *m, float *v)
{
	float gradient = g * s->gradient_scale;
	float first = fmaf(s->beta1, *m, s->rest1 * gradient);
	float second = fmaf(s->rest2 * gradient, gradient, s->beta2 * *v);

	*m = first;
	*v = second;
	return fmaf(s->keep, p,
	            -(s->step * first / fmaf(sqrtf(second), s->root, s->eps)));
}
