/*
 * value_fit.c
 *		Fitting a value head.
 */
#include "model/value/value_fit.h"

#include "base/poll.h"
#include "base/streams.h"

#include <math.h>
#include <string.h>

#define BETA1 0.9
#define BETA2 0.999
#define EPSILON 1e-8

/* Hidden states are kept if they take at most this, where no limit is set. */
#define CACHE_BYTES ((uint64_t) 4 << 30)

typedef struct Fit
{
	Arena *arena;
	const ValueFitOptions *options;
	const ValueData *data;
	ValueHead *head;
	ValuePass *pass;
	size_t parameters;
	float *grad;
	float *m;
	float *v;
	float *best;      /* weights of the best epoch so far */
	float *attention; /* [heads, longest prompt] */
	float *keep;      /* [C] */
	float *hidden;    /* of all prompts, or of one batch */
	size_t *place;    /* [prompts] where each lies in hidden, if all do */
	int32_t *order;   /* [prompts] the first `fitted` are fitted to */
	int fitted;
	int64_t step;
} Fit;

void
value_adamw(float *weights, const float *grad, float *m, float *v, size_t count,
            double learning_rate, double eps, int64_t step)
{
	double correction1 = 1 - pow(BETA1, (double) step);
	double correction2 = 1 - pow(BETA2, (double) step);
	float rate = (float) (learning_rate / correction1);
	float root = (float) sqrt(correction2);

#pragma omp parallel for simd schedule(static) if (count > 1000000)
	for (size_t i = 0; i < count; i++)
	{
		m[i] += (float) (1 - BETA1) * (grad[i] - m[i]);
		v[i] = (float) BETA2 * v[i] + (float) (1 - BETA2) * grad[i] * grad[i];
		weights[i] -= rate * m[i] / (sqrtf(v[i]) / root + (float) eps);
	}
}

/* Bytes that hidden states may take: half of what memory is left. */
static uint64_t
cache_allowance(void)
{
	return memory_limit() == 0 ? CACHE_BYTES : memory_left() / 2;
}

/* Computes all hidden states once if they fit. */
static bool
fill_cache(Fit *fit, Failure *failure)
{
	const ValueData *data = fit->data;
	size_t row = (size_t) fit->head->hidden;
	size_t tokens = 0;
	size_t batch_tokens = 0;

	for (int i = 0; i < data->prompts; i++)
	{
		tokens += (size_t) data->tokens[i];
		if ((size_t) data->tokens[i] > batch_tokens)
			batch_tokens = (size_t) data->tokens[i];
	}
	fit->attention =
		arena_try(fit->arena, batch_tokens * (size_t) fit->head->heads,
	              sizeof(float), failure);
	if (fit->attention == NULL)
		return false;
	batch_tokens *= (size_t) fit->options->batch_size;
	if (tokens > batch_tokens &&
	    (uint64_t) tokens * row * sizeof(float) > cache_allowance())
	{
		fit->hidden =
			arena_try(fit->arena, batch_tokens * row, sizeof(float), failure);
		return fit->hidden != NULL;
	}
	fit->hidden = arena_try(fit->arena, tokens * row, sizeof(float), failure);
	fit->place =
		arena_try(fit->arena, (size_t) data->prompts, sizeof(size_t), failure);
	if (fit->hidden == NULL || fit->place == NULL)
		return false;
	tokens = 0;
	for (int i = 0; i < data->prompts; i++)
	{
		fit->place[fit->order[i]] = tokens * row;
		tokens += (size_t) data->tokens[fit->order[i]];
	}
	return data->hidden(data->argument, fit->order, data->prompts, fit->hidden,
	                    failure);
}

/* Gives x[i], the hidden states of each prompt of a batch. */
static bool
hidden_of(Fit *fit, const int32_t *prompt, int count, const float **x,
          Failure *failure)
{
	size_t at = 0;

	if (!poll_check(failure))
		return false;
	for (int i = 0; i < count; i++)
	{
		x[i] = fit->hidden + (fit->place != NULL ? fit->place[prompt[i]] : at);
		at +=
			(size_t) fit->data->tokens[prompt[i]] * (size_t) fit->head->hidden;
	}
	return fit->place != NULL || fit->data->hidden(fit->data->argument, prompt,
	                                               count, fit->hidden, failure);
}

/* A mask of its own for each prompt and epoch. */
static const float *
dropout(Fit *fit, int epoch, int32_t prompt)
{
	double p = fit->options->dropout;
	uint64_t stream = random_stream(
		RANDOM_VALUE_DROPOUT,
		(uint64_t) epoch * (uint64_t) fit->data->prompts + (uint64_t) prompt);

	if (p <= 0)
		return NULL;
	for (int i = 0; i < fit->head->hidden; i++)
		fit->keep[i] =
			random_uniform(fit->options->seed, stream, (uint64_t) i) < p
				? 0
				: (float) (1 / (1 - p));
	return fit->keep;
}

/* One batch: mean of (value - target)^2 and a step down its gradient. */
static bool
fit_batch(Fit *fit, int epoch, const int32_t *prompt, int count, double *total,
          Failure *failure)
{
	const ValueHead *head = fit->head;
	double range = head->high - head->low;
	const float *x[count];

	if (!hidden_of(fit, prompt, count, x, failure))
		return false;
	memset(fit->grad, 0, fit->parameters * sizeof(float));
	value_pass_begin(fit->pass);
	for (int i = 0; i < count; i++)
	{
		int tokens = fit->data->tokens[prompt[i]];
		const float *keep = dropout(fit, epoch, prompt[i]);
		double z = value_forward(fit->pass, x[i], tokens, keep, fit->attention);
		double s = 1 / (1 + exp(-z));
		double error = head->low + range * s - fit->data->target[prompt[i]];

		*total += error * error;
		value_backward(fit->pass, x[i], tokens, keep, fit->attention,
		               2 * error * range * s * (1 - s) / count, fit->grad);
	}
	value_pass_end(fit->pass, fit->grad);
	value_adamw(fit->head->weights, fit->grad, fit->m, fit->v, fit->parameters,
	            fit->options->learning_rate, EPSILON, ++fit->step);
	return true;
}

static bool
fit_epoch(Fit *fit, int epoch, double *mse, Failure *failure)
{
	int size = fit->options->batch_size;
	double total = 0;

	random_shuffle(fit->options->seed,
	               random_stream(RANDOM_VALUE_SHUFFLE, (uint64_t) epoch),
	               fit->order, fit->fitted);
	for (int first = 0; first < fit->fitted; first += size)
	{
		int count = fit->fitted - first < size ? fit->fitted - first : size;

		if (!fit_batch(fit, epoch, fit->order + first, count, &total, failure))
			return false;
	}
	*mse = total / fit->fitted;
	return true;
}

/* The error on the held-out prompts, without dropout. */
static bool
held_out_error(Fit *fit, double *mse, Failure *failure)
{
	int size = fit->options->batch_size;
	int prompts = fit->data->prompts;
	double total = 0;
	const float *x[size];

	value_pass_begin(fit->pass);
	for (int first = fit->fitted; first < prompts; first += size)
	{
		const int32_t *prompt = fit->order + first;
		int count = prompts - first < size ? prompts - first : size;

		if (!hidden_of(fit, prompt, count, x, failure))
			return false;
		for (int i = 0; i < count; i++)
		{
			double z =
				value_forward(fit->pass, x[i], fit->data->tokens[prompt[i]],
			                  NULL, fit->attention);
			double error =
				value_of(fit->head, z) - fit->data->target[prompt[i]];

			total += error * error;
		}
	}
	*mse = prompts > fit->fitted ? total / (prompts - fit->fitted) : NAN;
	return true;
}

static bool
fit_epochs(Fit *fit, ValueFitResult *result, Failure *failure)
{
	const ValueData *data = fit->data;
	size_t bytes = fit->parameters * sizeof(float);

	if (!held_out_error(fit, &result->baseline_mse, failure))
		return false;
	result->mse = result->baseline_mse;
	result->held_out = data->prompts - fit->fitted;
	memcpy(fit->best, fit->head->weights, bytes);
	/* Nothing held out: nothing shows that a fit is better than the mean. */
	for (int epoch = 1; result->held_out > 0 && epoch <= fit->options->epochs;
	     epoch++)
	{
		double fit_mse, held_mse;

		if (!fit_epoch(fit, epoch, &fit_mse, failure) ||
		    !held_out_error(fit, &held_mse, failure))
			return false;
		if (held_mse < result->mse)
		{
			result->mse = held_mse;
			result->epoch = epoch;
			memcpy(fit->best, fit->head->weights, bytes);
		}
		if (data->epoch != NULL &&
		    !data->epoch(data->argument, epoch, fit_mse, held_mse, failure))
			return false;
	}
	memcpy(fit->head->weights, fit->best, bytes);
	result->r2 =
		result->baseline_mse > 0 ? 1 - result->mse / result->baseline_mse : 0;
	return true;
}

static bool
make_room(Fit *fit, Failure *failure)
{
	float **array[] = {&fit->grad, &fit->m, &fit->v, &fit->best};

	fit->parameters = fit->head->offset[VALUE_TENSORS];
	fit->pass = value_pass_create(fit->arena, fit->head);
	fit->keep =
		arena_alloc(fit->arena, (size_t) fit->head->hidden * sizeof(float));
	for (int i = 0; i < 4; i++)
	{
		*array[i] =
			arena_try(fit->arena, fit->parameters, sizeof(float), failure);
		if (*array[i] == NULL)
			return false;
	}
	return true;
}

bool
value_fit(Arena *arena, int hidden, double low, double high,
          const ValueFitOptions *options, const ValueData *data,
          ValueHead **head, ValueFitResult *result, Failure *failure)
{
	Fit fit = {.arena = arena_create(), .options = options, .data = data};
	int held_out = data->prompts < 2 ? 0 : (data->prompts + 4) / 5;
	double mean = 0;
	bool done;

	memset(result, 0, sizeof(ValueFitResult));
	fit.fitted = data->prompts - held_out;
	fit.order =
		arena_try(fit.arena, (size_t) data->prompts, sizeof(int32_t), failure);
	done = fit.order != NULL;
	for (int i = 0; done && i < data->prompts; i++)
		fit.order[i] = i;
	if (done)
	{
		int32_t *order = fit.order;

		random_shuffle(options->seed, random_stream(RANDOM_VALUE_SPLIT, 0),
		               order, data->prompts);
		for (int i = 0; i < fit.fitted; i++)
			mean += data->target[order[i]] / fit.fitted;
	}
	done = done && value_head_create(arena, hidden, low, high, mean,
	                                 options->seed, head, failure);
	if (done)
	{
		fit.head = *head;
		done = make_room(&fit, failure) && fill_cache(&fit, failure) &&
		       fit_epochs(&fit, result, failure);
	}
	arena_destroy(fit.arena);
	return done;
}
