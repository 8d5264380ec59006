/*
 * sampler.c
 *		Which rows each step trains on.
 */
#include "method/sampler.h"

#include "base/streams.h"

#include <math.h>

struct Sampler
{
	SamplerKind kind;
	int32_t rows;
	int batch_size;
	int64_t draws;
	uint64_t seed;
	double *prefix; /* [rows] sums of the weights up to and with each row */
	int32_t *order; /* [rows] the rows as shuffled for epoch */
	int64_t epoch;  /* -1: none yet */
};

static bool
add_up(Sampler *sampler, const double *weight, Failure *failure)
{
	double total = 0;

	for (int32_t i = 0; i < sampler->rows; i++)
	{
		if (!isfinite(weight[i]) || weight[i] < 0)
			return fail(failure, FAILURE_INTERNAL,
			            "row %d cannot be drawn by weight %g", i, weight[i]);
		total += weight[i];
		sampler->prefix[i] = total;
	}
	if (!(total > 0) || !isfinite(total))
		return fail(failure, FAILURE_BAD_INPUT,
		            "rows cannot be drawn: their weights sum to %g", total);
	return true;
}

bool
sampler_create(Arena *arena, SamplerKind kind, const double *weight,
               int32_t rows, int batch_size, int64_t draws, uint64_t seed,
               Sampler **sampler, Failure *failure)
{
	Sampler *new = arena_alloc(arena, sizeof(Sampler));
	size_t count = (size_t) rows;

	new->kind = kind;
	new->rows = rows;
	new->batch_size = batch_size;
	new->draws = draws;
	new->seed = seed;
	new->epoch = -1;
	*sampler = new;
	if (kind == SAMPLER_UNIFORM)
	{
		new->order = arena_try(arena, count, sizeof(int32_t), failure);
		return new->order != NULL;
	}
	new->prefix = arena_try(arena, count, sizeof(double), failure);
	return new->prefix != NULL &&add_up(new, weight, failure);
}

/* The first row whose prefix sum is above target: rows of weight 0 share
 * their predecessor's and are never found. */
static int32_t
find_row(const Sampler *sampler, double target)
{
	int32_t low = 0;
	int32_t high = sampler->rows - 1;

	while (low < high)
	{
		int32_t middle = low + (high - low) / 2;

		if (sampler->prefix[middle] > target)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static int32_t
shuffled_row(Sampler *sampler, int64_t position)
{
	int64_t epoch = position / sampler->rows;

	if (epoch != sampler->epoch)
	{
		for (int32_t i = 0; i < sampler->rows; i++)
			sampler->order[i] = i;
		random_shuffle(sampler->seed,
		               random_stream(RANDOM_SHUFFLE, (uint64_t) epoch),
		               sampler->order, sampler->rows);
		sampler->epoch = epoch;
	}
	return sampler->order[position % sampler->rows];
}

int
sampler_draw(Sampler *sampler, int64_t step, int32_t *drawn)
{
	int64_t first = step * sampler->batch_size;
	int64_t left = sampler->draws - first;
	uint64_t stream = random_stream(RANDOM_DRAW, (uint64_t) step);
	int count = left < sampler->batch_size ? (int) left : sampler->batch_size;

	for (int i = 0; i < count; i++)
	{
		if (sampler->kind == SAMPLER_UNIFORM)
			drawn[i] = shuffled_row(sampler, first + i);
		else
		{
			double total = sampler->prefix[sampler->rows - 1];
			double u = random_uniform(sampler->seed, stream, (uint64_t) i);

			drawn[i] = find_row(sampler, u * total);
		}
	}
	return count > 0 ? count : 0;
}
