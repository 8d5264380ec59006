/*
 * engine_bench.c
 *		Speed and memory of scoring, an A-LoL step and generation, on random
 *		tokens:
 *
 *	engine_bench MODEL PROMPT RESPONSE BATCH STEPS
 *		[RANK [DTYPE [FORMS [OPTIMIZER]]]]
 *
 * With a rank above 0 only the steps, of an adapter of this rank on every
 * linear map; with an optimizer, adamw or adamw8bit, only the steps, too.
 * DTYPE is how products are computed: fp32, bf16, or auto.  FORMS is a
 * directory where packed weights are kept; without it, or where it is empty,
 * each run packs them.  Environment: ALOL_DEVICE=cuda:0 computes on a GPU, by
 * an alol_cuda.so beside this program; memory is then the GPU's.
 * ALOL_QUANTIZE=nf4: an adapter's base in this format.
 * Prints one JSON line for each kind of work: tokens a second (prompt and
 * response), seconds, peak memory in MiB, and the share of what its matrix
 * products take alone: of the time, and on a busy machine better of the
 * processors' time.
 */
#include "bench.h"
#include "products.h"

#include "base/random.h"
#include "device/probe.h"
#include "model/generation/generate.h"
#include "model/lora/lora.h"
#include "train/pack.h"

#include <math.h>
#include <string.h>
#include <strings.h>

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

/* A batch's sequences in micro-batches, as pack_items() gives them. */
typedef struct MicroBatches
{
	int32_t *order;
	int32_t *begin;
	int count;
} MicroBatches;

static MicroBatches
pack_batch(Arena *arena, const Batch *batch, int budget)
{
	size_t places = (size_t) batch->sequences + 1;
	PackItem *item = arena_alloc(arena, places * sizeof(PackItem));
	MicroBatches micro = {arena_alloc(arena, places * sizeof(int32_t)),
	                      arena_alloc(arena, places * sizeof(int32_t)), 0};

	for (int i = 0; i < batch->sequences; i++)
		item[i].tokens = batch->offset[i + 1] - batch->offset[i];
	micro.count =
		pack_items(item, batch->sequences, budget, micro.order, micro.begin);
	return micro;
}

/* Forward and backward of the sequences order[count] of a batch. */
static void
accumulate(Model *model, const Batch *batch, const int32_t *order, int count,
           int step)
{
	Arena *arena = arena_create();
	size_t places = (size_t) count + 1;
	int32_t *offset = arena_alloc(arena, places * sizeof(int32_t));
	int32_t *target = arena_alloc(arena, places * sizeof(int32_t));
	int32_t *group = arena_alloc(arena, places * sizeof(int32_t));
	uint64_t *key = arena_alloc(arena, places * sizeof(uint64_t));
	int32_t *ids = arena_alloc(
		arena, sizeof(int32_t) * (size_t) batch->offset[batch->sequences]);
	Batch part = {count, offset, target, ids, NULL};
	DropoutKeys keys = {(uint64_t) step, key};
	Failure failure;

	for (int i = 0; i < count; i++)
	{
		int from = batch->offset[order[i]];
		int tokens = batch->offset[order[i] + 1] - from;

		memcpy(ids + offset[i], batch->ids + from,
		       (size_t) tokens * sizeof(int32_t));
		offset[i + 1] = offset[i] + tokens;
		target[i] = offset[i] + batch->target[order[i]] - from;
		group[i + 1] = i + 1;
		key[i] = random_bits(3, (uint64_t) step, (uint64_t) order[i]);
	}
	check(model_accumulate(model, &part, count, group, &keys, gradient, &part,
	                       &failure),
	      &failure);
	arena_destroy(arena);
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
	Arena *arena = arena_create();
	MicroBatches micro =
		pack_batch(arena, batch, model_token_budget(model, true));
	Failure failure;
	double norm;

	model_zero_gradients(model);
	for (int i = 0; i < micro.count; i++)
		accumulate(model, batch, micro.order + micro.begin[i],
		           micro.begin[i + 1] - micro.begin[i], step);
	check(model_gradient_norm(model, &norm, &failure), &failure);
	adamw.gradient_scale = (float) fmin(1, 1 / (norm + 1e-6));
	check(model_update(model, &adamw, &failure), &failure);
	arena_destroy(arena);
}

/* What the arguments ask for, and what is measured on the way. */
typedef struct Bench
{
	Arena *arena;
	Model *model;
	int prompt;
	int response;
	int rows;
	int steps;
	uint64_t room; /* of a GPU, before there was a model */
	Products products;
	int64_t tokens; /* of the steps that count */
	Times taken;    /* by them; while they run, when they began */
	double peak;    /* MiB */
	Times limit;    /* what their products take alone */
} Bench;

/* MiB at the most; of a GPU, which keeps no account of it, what is used now. */
static double
memory_mib(const Bench *bench)
{
	Device *device = bench->products.device;

	return device->threads > 0
	           ? peak_mib()
	           : (double) (bench->room - device->room(device)) / 1048576;
}

static void
start_clocks(Bench *bench)
{
	bench->taken = (Times){seconds(), processor_seconds()};
}

static void
stop_clocks(Bench *bench)
{
	bench->taken.clock = seconds() - bench->taken.clock;
	bench->taken.processor = processor_seconds() - bench->taken.processor;
	bench->peak = memory_mib(bench);
	bench->limit = (Times){0, 0};
	bench->tokens = 0;
}

/* One more step counts, in as many passes as it takes. */
static void
count_step(Bench *bench, const Batch *batch, WorkKind kind, int rank)
{
	int64_t tokens = batch->offset[batch->sequences];
	int64_t targets = batch_targets(batch, 0, batch->sequences);
	int budget = model_token_budget(bench->model, kind != WORK_SCORE);
	int64_t passes = pack_batch(bench->arena, batch, budget).count;
	/* Rounded, so that sizes come back and are timed once. */
	PassWork work = {kind, rank, (tokens / passes + 8) / 16 * 16,
	                 (targets / passes + 4) / 8 * 8};

	bench->tokens += tokens;
	add_times(&bench->limit, (double) passes,
	          pass_limit(&bench->products, model_config(bench->model), &work));
}

static void
report(const Bench *bench, const char *work)
{
	double tokens = (double) bench->tokens;

	printf("{\"work\": \"%s\", \"tokens_per_second\": %.1f, "
	       "\"seconds\": %.4f, \"peak_mib\": %.0f, "
	       "\"limit_tokens_per_second\": %.1f, \"share\": %.3f, "
	       "\"processor_share\": %.3f}\n",
	       work, tokens / bench->taken.clock, bench->taken.clock, bench->peak,
	       tokens / bench->limit.clock, bench->limit.clock / bench->taken.clock,
	       bench->limit.processor / bench->taken.processor);
	fflush(stdout);
}

static void
bench_generation(const Bench *bench, int count)
{
	Model *model = bench->model;
	Arena *arena = arena_create();
	GenerateOptions options = {
		.max_tokens = 64, .top_p = 1, .repetition_penalty = 1};
	TokenList *prompts = arena_alloc(arena, sizeof(TokenList) * (size_t) count);
	Generation *results =
		arena_alloc(arena, sizeof(Generation) * (size_t) count);
	Batch batch = make_batch(arena, model_config(model)->vocabulary,
	                         bench->prompt, 4, count, 7);
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
	       count, (double) tokens / (seconds() - start), memory_mib(bench));
	arena_destroy(arena);
}

static Batch
batch_of(const Bench *bench, int step)
{
	return make_batch(bench->arena, model_config(bench->model)->vocabulary,
	                  bench->prompt, bench->response, bench->rows,
	                  (uint64_t) (step + 9));
}

static void
bench_scoring(Bench *bench)
{
	Model *model = bench->model;
	Failure failure;

	for (int step = -1; step < bench->steps; step++)
	{
		Batch batch = batch_of(bench, step);
		float *logp = arena_alloc(
			bench->arena, sizeof(float) * (size_t) batch.offset[bench->rows]);

		if (step == 0)
			start_clocks(bench);
		check(model_logprobs(model, &batch, logp, &failure), &failure);
	}
	stop_clocks(bench);
	for (int step = 0; step < bench->steps; step++)
	{
		Batch batch = batch_of(bench, step);

		count_step(bench, &batch, WORK_SCORE, 0);
	}
	report(bench, "score");
}

/* rank 0: all weights. */
static void
bench_training(Bench *bench, int rank)
{
	Model *model = bench->model;
	LoraOptions lora = {.rank = rank, .alpha = 16, .dropout = 0.05};
	Failure failure;

	check(model_make_trainable(model, rank > 0 ? &lora : NULL, &failure),
	      &failure);
	for (int step = -1; step < bench->steps; step++)
	{
		Batch batch = batch_of(bench, step);

		if (step == 0)
			start_clocks(bench);
		train_step(model, &batch, step + 2);
	}
	stop_clocks(bench);
	for (int step = 0; step < bench->steps; step++)
	{
		Batch batch = batch_of(bench, step);

		count_step(bench, &batch, rank > 0 ? WORK_ADAPTER : WORK_TRAIN, rank);
	}
	report(bench, rank > 0                            ? "train adapter"
	              : model_codes_moments(bench->model) ? "train adamw8bit"
	                                                  : "train");
}

/* ALOL_DEVICE's. */
static Device *
open_device(void)
{
	const char *name = getenv("ALOL_DEVICE");
	const DeviceModule *module = NULL;
	Device *device;
	Failure failure;

	if (name != NULL && strncmp(name, "cuda:", 5) == 0)
		check(device_open_gpu(atoi(name + 5), &module, &device, &failure),
		      &failure);
	else
		check(cpu_device_open(0, &device, &failure), &failure);
	return device;
}

/* As ALOL_QUANTIZE says. */
static void
quantize(Model *model)
{
	const char *name = getenv("ALOL_QUANTIZE");
	Failure failure;

	if (name == NULL)
		return;
	for (int dtype = 0; dtype < DTYPE_OTHER; dtype++)
		if (strcasecmp(dtype_name((DType) dtype), name) == 0)
			check(model_quantize(model, (DType) dtype, &failure), &failure);
}

int
main(int argc, char **argv)
{
	Bench bench = {.arena = arena_create()};
	int rank = argc > 6 ? atoi(argv[6]) : 0;
	bool codes_moments = argc > 9 && strcmp(argv[9], "adamw8bit") == 0;
	ModelFiles files = {.forms = NULL};
	Device *device;
	DType products;
	Failure failure;

	if (argc < 6 || argc > 10)
	{
		fprintf(stderr,
		        "usage: %s MODEL PROMPT RESPONSE BATCH STEPS "
		        "[RANK [DTYPE [FORMS [OPTIMIZER]]]]\n",
		        argv[0]);
		return 2;
	}
	files.directory = argv[1];
	if (argc > 8 && argv[8][0] != '\0')
		files.forms = argv[8];
	bench.prompt = atoi(argv[2]);
	bench.response = atoi(argv[3]);
	bench.rows = atoi(argv[4]);
	bench.steps = atoi(argv[5]);
	device = open_device();
	bench.room = device->room(device);
	check(model_open_files(bench.arena, device, &files, &bench.model, &failure),
	      &failure);
	check(products_find(argc > 7 ? argv[7] : "fp32", &products, &failure),
	      &failure);
	model_set_products(bench.model, products);
	device->products = model_products(bench.model);
	bench.products.device = device;
	quantize(bench.model);
	if (codes_moments)
		model_code_moments(bench.model);
	if (rank == 0 && argc < 10)
	{
		bench_scoring(&bench);
		bench_generation(&bench, 1);
		bench_generation(&bench, 32);
	}
	bench_training(&bench, rank);
	arena_destroy(bench.arena);
	device->close(device);
	return 0;
}
