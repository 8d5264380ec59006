/*
 * share_bench.c
 *		What prompts computed once save: scoring pairs, and steps of DPO on them,
 *		whose responses share a prompt or have one each of the same length.
 *		share_bench MODEL PROMPT RESPONSE PAIRS ROUNDS
 *
 * Both in turn, and the best of the rounds of each.  Prints a JSON line for
 * each kind of work: seconds apart and shared, their ratio, and that of the
 * tokens, which is what it could be at most where attention costs nothing.
 */
#include "bench.h"

#include "base/random.h"
#include "device/device.h"
#include "model/pair.h"
#include "train/step.h"

#include <math.h>
#include <string.h>

typedef struct Bench
{
	Arena *arena;
	Model *model;
	int prompt;
	int response;
	int pairs;
	int rounds;
} Bench;

/* Random pairs as rows of a dataset; is_shared: the two have one prompt. */
static Dataset
make_pairs(const Bench *bench, bool is_shared)
{
	int count = 2 * bench->pairs;
	int tokens = bench->prompt + bench->response;
	uint64_t vocabulary = (uint64_t) model_config(bench->model)->vocabulary;
	int32_t *offset =
		arena_alloc(bench->arena, (size_t) (count + 1) * sizeof(int32_t));
	int32_t *row = arena_alloc(bench->arena, (size_t) count * sizeof(int32_t));
	Dataset dataset = {.rows = count, .selected = count};

	dataset.row =
		arena_alloc(bench->arena, (size_t) count * sizeof(DatasetRow));
	for (int i = 0; i < count; i++)
	{
		size_t bytes = (size_t) tokens * sizeof(int32_t);
		int32_t *ids = arena_alloc(bench->arena, bytes);
		float *ref_logp = arena_alloc(bench->arena, bytes);
		int from = is_shared ? i / 2 : i; /* whose prompt */

		for (int t = 0; t < tokens; t++)
			ids[t] = (int32_t) (random_bits(
									(uint64_t) (t < bench->prompt ? from : i),
									t < bench->prompt, (uint64_t) t) %
			                    vocabulary);
		for (int t = 0; t < bench->response; t++)
			ref_logp[t] = -9;
		dataset.row[i] = (DatasetRow){.row_number = i + 1,
		                              .tokens = tokens,
		                              .prompt = bench->prompt,
		                              .ids = ids,
		                              .ref_logp = ref_logp,
		                              .reward = i % 2 == 0,
		                              .value = NAN,
		                              .advantage = NAN,
		                              .prompt_key = {(uint64_t) from, 0}};
		row[i] = i;
		offset[i / 2 + 1] = i + 1;
	}
	dataset.groups =
		(Groups){.count = bench->pairs, .offset = offset, .row = row};
	return dataset;
}

static double
score(const Bench *bench, const Dataset *dataset)
{
	Arena *arena = arena_create();
	int count = dataset->selected;
	Pair *pair = arena_alloc(arena, (size_t) count * sizeof(Pair));
	float **logp = arena_alloc(arena, (size_t) count * sizeof(float *));
	double start = seconds();
	Failure failure;

	for (int i = 0; i < count; i++)
		pair[i] = (Pair){PAIR_WHOLE, dataset->row[i].ids,
		                 dataset->row[i].tokens, dataset->row[i].prompt};
	check(pair_logprobs(bench->model, arena, count, pair, logp, &failure),
	      &failure);
	arena_destroy(arena);
	return seconds() - start;
}

static double
train(const Bench *bench, const Dataset *dataset)
{
	json_t *settings =
		json_pack("{s:s, s:i, s:f}", "method", "dpo", "batch_size",
	              bench->pairs, "learning_rate", 1e-6);
	int32_t *drawn =
		arena_alloc(bench->arena, (size_t) bench->pairs * sizeof(int32_t));
	TrainOptions options;
	StepReport report;
	Failure failure;
	double start;

	check(train_options_read(settings, &options, &failure), &failure);
	for (int i = 0; i < bench->pairs; i++)
		drawn[i] = i;
	start = seconds();
	check(step_run(bench->model, &options, dataset, drawn, bench->pairs,
	               model_token_budget(bench->model, true), 1, 1e-6, &report,
	               &failure),
	      &failure);
	json_decref(settings);
	return seconds() - start;
}

/* Once to warm up, then in turn. */
static void
compare(const Bench *bench, const char *work,
        double (*run)(const Bench *bench, const Dataset *dataset))
{
	Dataset apart = make_pairs(bench, false);
	Dataset shared = make_pairs(bench, true);
	double tokens = 2.0 * (bench->prompt + bench->response);
	double best[2] = {INFINITY, INFINITY};

	for (int round = -1; round < bench->rounds; round++)
	{
		double first = run(bench, &apart);
		double second = run(bench, &shared);

		if (round < 0)
			continue;
		best[0] = fmin(best[0], first);
		best[1] = fmin(best[1], second);
	}
	printf("{\"work\": \"%s\", \"apart\": %.4f, \"shared\": %.4f, "
	       "\"ratio\": %.2f, \"tokens\": %.2f}\n",
	       work, best[0], best[1], best[0] / best[1],
	       tokens / (tokens - bench->prompt + 1));
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	Bench bench = {.arena = arena_create()};
	Device *device;
	Failure failure;

	if (argc != 6)
	{
		fprintf(stderr, "usage: %s MODEL PROMPT RESPONSE PAIRS ROUNDS\n",
		        argv[0]);
		return 2;
	}
	bench.prompt = atoi(argv[2]);
	bench.response = atoi(argv[3]);
	bench.pairs = atoi(argv[4]);
	bench.rounds = atoi(argv[5]);
	check(cpu_device_open(0, &device, &failure), &failure);
	check(
		model_open(bench.arena, device, argv[1], NULL, &bench.model, &failure),
		&failure);
	compare(&bench, "score", score);
	check(model_make_trainable(bench.model, NULL, &failure), &failure);
	compare(&bench, "dpo", train);
	arena_destroy(bench.arena);
	device->close(device);
	return 0;
}
