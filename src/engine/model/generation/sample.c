/*
 * sample.c
 *		The next token from logits: greedy or drawn.
 */
#include "model/generation/sample.h"

#include "model/generation/softmax.h"

#include <stdlib.h>

void
sample_penalize(float *logits, int vocabulary, const uint8_t *seen,
                double penalty)
{
	float factor = (float) penalty;

	for (int i = 0; i < vocabulary; i++)
		if (seen[i])
			logits[i] = logits[i] < 0 ? logits[i] * factor : logits[i] / factor;
}

/* A token and its probability, for sorting. */
typedef struct Candidate
{
	double probability;
	int32_t id;
} Candidate;

/* Falling probability, then rising id. */
static int
compare(const void *left, const void *right)
{
	const Candidate *a = left;
	const Candidate *b = right;

	if (a->probability != b->probability)
		return a->probability > b->probability ? -1 : 1;
	return (a->id > b->id) - (a->id < b->id);
}

/* Puts x into a heap of k numbers, the smallest on top, for its top. */
static void
replace_top(double *heap, int k, double x)
{
	int place = 0;

	for (;;)
	{
		int child = 2 * place + 1;

		if (child + 1 < k && heap[child + 1] < heap[child])
			child++;
		if (child >= k || heap[child] >= x)
			break;
		heap[place] = heap[child];
		place = child;
	}
	heap[place] = x;
}

/* The k-th largest of probabilities; heap[k] is scratch. */
static double
kth_largest(const double *probability, int vocabulary, int k, double *heap)
{
	for (int i = 0; i < k; i++)
		heap[i] = -1;
	for (int i = 0; i < vocabulary; i++)
		if (probability[i] > heap[0])
			replace_top(heap, k, probability[i]);
	return heap[0];
}

/*
 * Those that may stay, unsorted, as sorting all of a vocabulary takes longer
 * than the model.  Without top_k, what top_p may keep: the others together
 * weigh less than what it cuts off, however they are ordered.
 */
static int
gather(Candidate *candidates, const double *probability, int vocabulary,
       const GenerateOptions *options, double *heap)
{
	int k = options->top_k;
	double least = 0;
	int count = 0;

	if (k > 0 && k < vocabulary)
		least = kth_largest(probability, vocabulary, k, heap);
	else if (k == 0 && options->top_p < 1)
		least = (1 - options->top_p) / vocabulary;
	for (int i = 0; i < vocabulary; i++)
		if (probability[i] >= least)
			candidates[count++] = (Candidate){probability[i], i};
	return count;
}

/* The first k, and those equal to the k-th; their sum in *mass. */
static int
cut_top_k(const Candidate *candidates, int count, int k, double *mass)
{
	int kept = k > 0 && k < count ? k : count;

	while (kept < count &&
	       candidates[kept].probability == candidates[kept - 1].probability)
		kept++;
	*mass = 0;
	for (int i = 0; i < kept; i++)
		*mass += candidates[i].probability;
	return kept;
}

int
sample_candidates(const float *logits, int vocabulary,
                  const GenerateOptions *options, int32_t *ids,
                  double *probabilities)
{
	double largest = logits[softmax_largest(logits, vocabulary)];
	Candidate *candidates = malloc((size_t) vocabulary * sizeof(Candidate));
	double *heap = malloc((size_t) vocabulary * sizeof(double));
	double sum;
	double mass;
	double before = 0;
	int count;
	int kept;

	if (candidates == NULL || heap == NULL)
	{
		free(candidates);
		free(heap);
		return 0;
	}
	sum = softmax_weights(probabilities, logits, vocabulary, largest,
	                      options->temperature);
	for (int i = 0; i < vocabulary; i++)
		probabilities[i] /= sum;
	count = gather(candidates, probabilities, vocabulary, options, heap);
	qsort(candidates, (size_t) count, sizeof(Candidate), compare);
	count = cut_top_k(candidates, count, options->top_k, &mass);
	if (options->top_k == 0)
		mass = 1;
	/* A token stays while the probability before it has not reached top_p. */
	for (kept = 0; kept < count; kept++)
	{
		if (kept > 0 && options->top_p < 1 && before / mass >= options->top_p)
			break;
		before += candidates[kept].probability;
		ids[kept] = candidates[kept].id;
		probabilities[kept] = candidates[kept].probability;
	}
	for (int i = 0; i < kept; i++)
		probabilities[i] /= before;
	free(candidates);
	free(heap);
	return kept;
}

/* Without cuts no order is needed: walk the vocabulary once. */
static int32_t
draw_from_all(const float *logits, int vocabulary, double temperature, double u,
              double *weight)
{
	double largest = logits[softmax_largest(logits, vocabulary)];
	double sum =
		softmax_weights(weight, logits, vocabulary, largest, temperature);
	double reached = 0;

	for (int i = 0; i < vocabulary; i++)
	{
		reached += weight[i];
		if (u * sum < reached)
			return i;
	}
	return softmax_largest(logits, vocabulary);
}

int32_t
sample_token(const float *logits, int vocabulary,
             const GenerateOptions *options, double u, SampleScratch *scratch)
{
	double reached = 0;
	int count;

	if (options->temperature == 0)
		return softmax_largest(logits, vocabulary);
	if (options->top_k == 0 && options->top_p >= 1)
		return draw_from_all(logits, vocabulary, options->temperature, u,
		                     scratch->probabilities);
	count = sample_candidates(logits, vocabulary, options, scratch->ids,
	                          scratch->probabilities);
	for (int i = 0; i < count; i++)
	{
		reached += scratch->probabilities[i];
		if (u < reached)
			return scratch->ids[i];
	}
	return count > 0 ? scratch->ids[count - 1]
	                 : softmax_largest(logits, vocabulary);
}
