/*
 * engine_bench.c
 *		Speed and memory of scoring, an A-LoL step and generation, on random
 *		tokens: engine_bench MODEL PROMPT RESPONSE BATCH STEPS [RANK]
 *
 * With a rank only the steps, of an adapter of this rank on every linear map.
 * Prints one JSON line for each kind of work: tokens a second (prompt and
 * response), seconds, peak memory in MiB, and for training the share of the
 * products' own limit, measured on the same shapes just before.
 */
#include "bench.h"

#include "base/random.h"
#include "device/device.h"
#include "model/generation/generate.h"
#include "model/lora/lora.h"

#include <math.h>
#include <string.h>

/* Lengths spread evenly between half and one and a half of the mean. */
static int
length_near(int mean, uint64_t stream, uint64_t i)
{
	return mean / 2 + (int) (random_bits(1, stream, i) % (uint64_t) mean);
}

static Batch
make_batch(Arena *arena, int vocabulary, int prompt, int response, int rows,
           uint64_t seed)
{
	int32_t *offset = arena_alloc(arena, sizeof(int32_t) * (size_t) (rows + 1));
	int32_t *target = arena_alloc(arena, sizeof(int32_t) * (size_t) rows);
	int32_t *ids;

	for (int i = 0; i < rows; i++)
	{
		target[i] = offset[i] + length_near(prompt, seed, 2 * (uint64_t) i) + 1;
		offset[i + 1] =
			target[i] + length_near(response, seed, 2 * (uint64_t) i + 1) + 1;
	}
	ids = arena_alloc(arena, sizeof(int32_t) * (size_t) offset[rows]);
	for (int t = 0; t < offset[rows]; t++)
		ids[t] = (int32_t) (random_bits(2, seed, (uint64_t) t) %
		                    (uint64_t) vocabulary);
	return (Batch){rows, offset, target, ids, NULL};
}

/* -A l / n with A = 0.3: what a_lol's gradient is at the start. */
static bool
gradient(void *argument, int first, int count, const float *logp, float *grad,
         Failure *failure)
{
	const Batch *batch = argument;
	int n = batch_targets(batch, first, count);

	(void) logp;
	(void) failure;
	for (int i = 0; i < n; i++)
		grad[i] = -0.3f / (float) batch->sequences;
	return true;
}

static void
train_step(Model *model, const Batch *batch, int step)
{
	AdamW adamw = {2e-5f,
	               0.9f,
	               0.999f,
	               1e-8f,
	               0,
	               (float) (1 - pow(0.9, step)),
	               (float) (1 - pow(0.999, step)),
	               1};
	int budget = model_token_budget(model, true);
	Failure failure;
	double norm;

	model_zero_gradients(model);
	for (int first = 0; first < batch->sequences;)
	{
		Arena *arena = arena_create();
		int count = 1;
		int start = batch->offset[first];
		int32_t *numbers;
		uint64_t *key;
		DropoutKeys keys;
		Batch part;

		while (first + count < batch->sequences &&
		       batch->offset[first + count + 1] - start <= budget)
			count++;
		numbers =
			arena_alloc(arena, 3 * sizeof(int32_t) * (size_t) (count + 1));
		key = arena_alloc(arena, sizeof(uint64_t) * (size_t) count);
		for (int i = 0; i < count; i++)
			key[i] = random_bits(3, (uint64_t) step, (uint64_t) (first + i));
		for (int i = 0; i <= count; i++)
		{
			numbers[i] = batch->offset[first + i] - start;
			numbers[count + 1 + i] = i;
			if (i < count)
				numbers[2 * (count + 1) + i] = batch->target[first + i] - start;
		}
		part = (Batch){count, numbers, numbers + 2 * (count + 1),
		               batch->ids + start, NULL};
		keys = (DropoutKeys){(uint64_t) step, key};
		check(model_accumulate(model, &part, count, numbers + count + 1, &keys,
		                       gradient, &part, &failure),
		      &failure);
		first += count;
		arena_destroy(arena);
	}
	check(model_gradient_norm(model, &norm, &failure), &failure);
	adamw.gradient_scale = (float) fmin(1, 1 / (norm + 1e-6));
	check(model_update(model, &adamw, &failure), &failure);
}

/* GFLOP/s of the products of a layer and the head at m rows, forward. */
static double
product_limit(Device *device, const ModelConfig *c, int m)
{
	int queries = (c->heads + 2 * c->kv_heads) * c->head_dim;
	int shapes[4][2] = {{queries, c->hidden},
	                    {c->hidden, c->heads * c->head_dim},
	                    {c->feed_forward * (c->gated ? 2 : 1), c->hidden},
	                    {c->hidden, c->feed_forward}};
	double work = 0;
	double time = 0;

	for (int s = 0; s < 4; s++)
	{
		int n = shapes[s][0];
		int k = shapes[s][1];
		Tensor w = tensor_at(
			device->alloc(device, sizeof(float) * (size_t) n * (size_t) k), n,
			k);
		Tensor x = tensor_at(
			device->alloc(device, sizeof(float) * (size_t) m * (size_t) k), m,
			k);
		Tensor y = tensor_at(
			device->alloc(device, sizeof(float) * (size_t) m * (size_t) n), m,
			n);
		Matrix matrix = {w, false};
		double start;
		int times = 0;

		device->matmul(device, y, x, &matrix, NULL, 0);
		start = seconds();
		while (seconds() - start < 0.3)
		{
			device->matmul(device, y, x, &matrix, NULL, 0);
			times++;
		}
		time += (seconds() - start) / times;
		work += 2.0 * m * n * k;
		device->free(device, w.data);
		device->free(device, x.data);
		device->free(device, y.data);
	}
	return work / time / 1e9;
}

/* FLOPs of a forward pass: layers over all tokens, the head over targets. */
static double
forward_flops(const ModelConfig *c, const Batch *batch)
{
	double queries = (double) (c->heads + 2 * c->kv_heads) * c->head_dim;
	double layer = c->hidden * queries +
	               (double) c->heads * c->head_dim * c->hidden +
	               (double) c->feed_forward * c->hidden * (c->gated ? 3 : 2);
	double tokens = batch->offset[batch->sequences];

	return 2 * tokens * layer * c->layers +
	       2.0 * batch_targets(batch, 0, batch->sequences) * c->vocabulary *
	           c->hidden;
}

static void
report(const char *work, int64_t tokens, double time, double limit,
       double flops)
{
	printf("{\"work\": \"%s\", \"tokens_per_second\": %.1f, \"seconds\": %.4f, "
	       "\"peak_mib\": %.0f, \"gflops\": %.1f, \"limit_gflops\": %.1f, "
	       "\"share\": %.3f}\n",
	       work, (double) tokens / time, time, peak_mib(), flops / time / 1e9,
	       limit, flops / time / 1e9 / limit);
	fflush(stdout);
}

static void
bench_generation(Model *model, int prompt, int count)
{
	Arena *arena = arena_create();
	GenerateOptions options = {
		.max_tokens = 64, .top_p = 1, .repetition_penalty = 1};
	TokenList *prompts = arena_alloc(arena, sizeof(TokenList) * (size_t) count);
	Generation *results =
		arena_alloc(arena, sizeof(Generation) * (size_t) count);
	Batch batch =
		make_batch(arena, model_config(model)->vocabulary, prompt, 4, count, 7);
	Failure failure;
	double start = seconds();
	int64_t tokens = 0;

	for (int i = 0; i < count; i++)
		prompts[i] = (TokenList){(int32_t *) batch.ids + batch.offset[i],
		                         batch.target[i] - batch.offset[i], 0};
	check(generate(model, arena, &options, count, prompts, results, NULL, NULL,
	               &failure),
	      &failure);
	for (int i = 0; i < count; i++)
		tokens += results[i].count;
	printf("{\"work\": \"generate %d\", \"tokens_per_second\": %.1f, "
	       "\"peak_mib\": %.0f}\n",
	       count, (double) tokens / (seconds() - start), peak_mib());
	arena_destroy(arena);
}

/* What the arguments ask for. */
typedef struct Bench
{
	Arena *arena;
	Model *model;
	int prompt;
	int response;
	int rows;
	int steps;
	double limit; /* of the products, GFLOP/s */
} Bench;

static Batch
batch_of(const Bench *bench, int step)
{
	return make_batch(bench->arena, model_config(bench->model)->vocabulary,
	                  bench->prompt, bench->response, bench->rows,
	                  (uint64_t) (step + 9));
}

static void
bench_scoring(const Bench *bench)
{
	Model *model = bench->model;
	double start = 0;
	int64_t tokens = 0;
	double flops = 0;
	Failure failure;

	for (int step = -1; step < bench->steps; step++)
	{
		Batch batch = batch_of(bench, step);
		float *logp = arena_alloc(
			bench->arena, sizeof(float) * (size_t) batch.offset[bench->rows]);

		if (step == 0)
			start = seconds();
		check(model_logprobs(model, &batch, logp, &failure), &failure);
		if (step >= 0)
		{
			tokens += batch.offset[bench->rows];
			flops += forward_flops(model_config(model), &batch);
		}
	}
	report("score", tokens, seconds() - start, bench->limit, flops);
}

/* rank 0: all weights.  The products of an adapter's own are not counted. */
static void
bench_training(const Bench *bench, int rank)
{
	Model *model = bench->model;
	LoraOptions lora = {.rank = rank, .alpha = 16, .dropout = 0.05};
	double passes = rank > 0 ? 2 : 3;
	double start = 0;
	int64_t tokens = 0;
	double flops = 0;
	Failure failure;

	check(model_make_trainable(model, rank > 0 ? &lora : NULL, &failure),
	      &failure);
	for (int step = 0; step <= bench->steps; step++)
	{
		Batch batch = batch_of(bench, step);

		if (step == 1)
			start = seconds();
		train_step(model, &batch, step + 1);
		if (step >= 1)
		{
			tokens += batch.offset[bench->rows];
			flops += passes * forward_flops(model_config(model), &batch);
		}
	}
	report(rank > 0 ? "train adapter" : "train", tokens, seconds() - start,
	       bench->limit, flops);
}

int
main(int argc, char **argv)
{
	Bench bench = {.arena = arena_create()};
	Device *device;
	Failure failure;

	if (argc != 6 && argc != 7)
	{
		fprintf(stderr, "usage: %s MODEL PROMPT RESPONSE BATCH STEPS [RANK]\n",
		        argv[0]);
		return 2;
	}
	bench.prompt = atoi(argv[2]);
	bench.response = atoi(argv[3]);
	bench.rows = atoi(argv[4]);
	bench.steps = atoi(argv[5]);
	check(cpu_device_open(0, &device, &failure), &failure);
	check(
		model_open(bench.arena, device, argv[1], NULL, &bench.model, &failure),
		&failure);
	bench.limit = product_limit(device, model_config(bench.model), 1024);
	if (argc == 6)
	{
		bench_scoring(&bench);
		bench_generation(bench.model, bench.prompt, 1);
		bench_generation(bench.model, bench.prompt, 32);
	}
	bench_training(&bench, argc == 7 ? atoi(argv[6]) : 0);
	arena_destroy(bench.arena);
	device->close(device);
	return 0;
}
