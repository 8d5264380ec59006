/*
 * train_test.c
 *		Training on the software GPU, by the real loop and all of the table,
 *		goes the CPU's way: losses, gradients' norms, weights.
 */
#include "pair.h"
#include "stories.h"
#include "train_log.h"

#include "train/trainer.h"

#define ROWS 10

/* Sanitizers take their time. */
#ifdef __SANITIZE_ADDRESS__
#define STEPS 2
#define BATCH 2
#else
#define STEPS 3
#define BATCH 4
#endif

/* What is trained, how, and how far apart the devices may be: losses and norms
 * relative to their size, weights to the root mean square of their change. */
typedef struct Way
{
	const char *name;
	const char *more; /* members of the settings */
	DType products;
	double near;
	double weights_near;
} Way;

/*
 * In fp32 sums have another order.  AdamW makes a step of the rounding of a
 * gradient that is nearly none, hence the distance of weights.  In bf16 the
 * GPU's attention also rounds what it multiplies, to 2^-9 of its size, and the
 * objective's ratio is an exponential of sums of that.
 */
static const Way ways[] = {
	{"all weights", "", DTYPE_F32, 1e-5, 1e-2},
	{"all weights, bf16", "", DTYPE_BF16, 1e-2, 0.2},
	{"an adapter over NF4",
     ", \"lora_rank\": 4, \"lora_dropout\": 0.2, \"quantize\": \"nf4_double\"",
     DTYPE_F32, 1e-5, 1e-2},
	{"an adapter over Q8_0, bf16",
     ", \"lora_rank\": 3, \"lora_dropout\": 0, \"quantize\": \"q8_0\"",
     DTYPE_BF16, 1e-2, 0.2},
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* What a run was. */
typedef struct Run
{
	double loss[STEPS + 1]; /* of steps from 1 */
	double norm[STEPS + 1];
	double logp[STEPS + 1];
	float *weights; /* [count] */
	int64_t count;
} Run;

static bool
log_metrics(void *argument, int64_t step, const TrainMetric *metric, int count,
            Failure *failure)
{
	Run *run = argument;

	(void) failure;
	for (int i = 0; i < count; i++)
	{
		if (strcmp(metric[i].name, "loss") == 0)
			run->loss[step] = metric[i].value;
		if (strcmp(metric[i].name, "grad_norm") == 0)
			run->norm[step] = metric[i].value;
		if (strcmp(metric[i].name, "logps/policy") == 0)
			run->logp[step] = metric[i].value;
	}
	return true;
}

/* Rows of 6 to 30 tokens, the shortest with one to learn. */
static Dataset
make_rows(Arena *arena)
{
	Dataset dataset = {.rows = ROWS, .selected = ROWS, .checksum = 5};
	Failure failure = {0};

	dataset.row = arena_alloc(arena, ROWS * sizeof(DatasetRow));
	for (int i = 0; i < ROWS; i++)
	{
		int tokens = 6 + i * 11 % 25;
		int32_t *ids = arena_alloc(arena, (size_t) tokens * sizeof(int32_t));
		float *ref = arena_alloc(arena, (size_t) tokens * sizeof(float));

		for (int t = 0; t < tokens; t++)
		{
			ids[t] = (i / 2 * 31 + t * 17 + (t > 4 ? i : 0)) % 250;
			ref[t] = -5.5f;
		}
		dataset.row[i] = (DatasetRow){.row_number = i + 1,
		                              .tokens = tokens,
		                              .prompt = 5,
		                              .ids = ids,
		                              .ref_logp = ref,
		                              .reward = 0.5,
		                              .value = 0.25,
		                              .advantage = 0.1 + 0.05 * i,
		                              .prompt_key = {(uint64_t) i / 2, 0}};
	}
	assert_ok(dataset_group(arena, &dataset, NULL, &failure), failure);
	return dataset;
}

static TrainOptions
read_options(const Way *way)
{
	char text[512];
	TrainOptions options;
	Failure failure = {0};
	json_t *settings;

	snprintf(text, sizeof(text),
	         "{\"method\": \"a_lol\", \"steps\": %d, \"batch_size\": %d, "
	         "\"learning_rate\": 1e-3, \"adam_eps\": 1e-6, "
	         "\"keep_best\": false, \"checkpoint_interval_s\": 1e9%s}",
	         STEPS, BATCH, way->more);
	settings = json_loads(text, 0, NULL);
	assert_ok(train_options_read(settings, &options, &failure), failure);
	json_decref(settings);
	return options;
}

static float *
weights_of(Arena *arena, Model *model)
{
	int64_t count = model_state_size(model);
	float *weights = arena_alloc(arena, (size_t) count * sizeof(float));

	model_state_download(model, MODEL_WEIGHTS, 0, count, weights);
	return weights;
}

/* A run on a device; what the weights were before in *start. */
static Run
train(Arena *arena, Device *device, const char *directory, const Way *way,
      float **start)
{
	Arena *life = arena_create();
	TrainOptions options = read_options(way);
	Dataset dataset = make_rows(life);
	Run run = {0};
	TrainEvents events = {.argument = &run,
	                      .progress = ignore_progress,
	                      .metrics = log_metrics,
	                      .checkpoint = ignore_checkpoint,
	                      .warning = refuse_warning};
	Model *model = open_stories(life, device, directory, way->products);
	TrainResult result;
	Failure failure = {0};

	if (options.quantize != DTYPE_F32)
		assert_ok(model_quantize(model, options.quantize, &failure), failure);
	assert_ok(train_prepare(model, &options, &failure), failure);
	*start = weights_of(arena, model);
	assert_ok(train_run(life, model, test_directory(life), &options, &dataset,
	                    &events, &result, &failure),
	          failure);
	assert_int_equal(result.steps, STEPS);
	run.count = model_state_size(model);
	run.weights = weights_of(arena, model);
	arena_destroy(life);
	return run;
}

static double
distance(const float *a, const float *b, int64_t count)
{
	double sum = 0;

	for (int64_t i = 0; i < count; i++)
		sum += ((double) a[i] - b[i]) * ((double) a[i] - b[i]);
	return sqrt(sum / (double) count);
}

static void
check_way(const char *directory, const Way *way)
{
	Arena *arena = arena_create();
	float *start[2];
	Run run[2];
	double change;

	for (int d = 0; d < 2; d++)
		run[d] = train(arena, pair_device[d], directory, way, &start[d]);
	assert_int_equal(run[0].count, run[1].count);
	assert_memory_equal(start[0], start[1],
	                    (size_t) run[0].count * sizeof(float));
	change = distance(run[0].weights, start[0], run[0].count);
	print_message("# %s: loss %.6f and %.6f, norm %.6f and %.6f, weights %.1e "
	              "of their change apart\n",
	              way->name, run[0].loss[STEPS], run[1].loss[STEPS],
	              run[0].norm[STEPS], run[1].norm[STEPS],
	              distance(run[1].weights, run[0].weights, run[0].count) /
	                  change);
	assert_true(change > 0);
	for (int k = 1; k <= STEPS; k++)
	{
		assert_true(run[0].loss[k] != 0 && run[0].norm[k] > 0);
		assert_near(run[1].loss[k], run[0].loss[k],
		            way->near * fabs(run[0].loss[k]));
		assert_near(run[1].norm[k], run[0].norm[k],
		            3 * way->near * run[0].norm[k]);
		assert_near(run[1].logp[k], run[0].logp[k],
		            way->near * fabs(run[0].logp[k]));
	}
	assert_true(distance(run[1].weights, run[0].weights, run[0].count) <=
	            way->weights_near * change);
	pair_assert_well();
	arena_destroy(arena);
}

static void
check_ways(const char *directory)
{
	for (size_t i = 0; i < WAYS; i++)
		check_way(directory, &ways[i]);
}

static void
a_model_is_trained_as_on_the_cpu(void **state)
{
	(void) state;
	with_made_stories(check_ways);
}

static void
so_is_the_real_one(void **state)
{
	(void) state;
	with_real_stories(check_ways);
}

/* What a step does does not depend on the order of blocks and threads, which
 * the shim draws anew. */
static void
check_repetition(const char *directory)
{
	for (size_t i = 1; i < WAYS; i += 2)
	{
		Arena *arena = arena_create();
		float *start;
		Run one = train(arena, pair_device[1], directory, &ways[i], &start);
		Run two = train(arena, pair_device[1], directory, &ways[i], &start);

		assert_memory_equal(one.weights, two.weights,
		                    (size_t) one.count * sizeof(float));
		arena_destroy(arena);
	}
}

static void
the_same_run_gives_the_same_bits(void **state)
{
	(void) state;
	with_made_stories(check_repetition);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_model_is_trained_as_on_the_cpu),
		cmocka_unit_test(so_is_the_real_one),
		cmocka_unit_test(the_same_run_gives_the_same_bits),
	};

	return run_pairs(tests);
}
