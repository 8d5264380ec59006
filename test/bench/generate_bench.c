/*
 * generate_bench.c
 *		Speed of greedy generation on random prompts:
 *
 *	generate_bench run MODEL PROMPT TOKENS COUNT REPEATS [PRODUCTS]
 *	generate_bench export MODEL DTYPE FILE
 *
 * run: COUNT prompts of PROMPT tokens, TOKENS new ones each (stop tokens do
 * not end a response), REPEATS times; one JSON line with the best of them, and
 * with the share of the time of decoding, and of the processors', that its
 * matrix products take when they are all there is.
 * The first token of each response comes from the prompts' own passes, so
 * decoding is what the others take.  Products are those of fp32 or bf16
 * numbers.  export: a GGUF file of fp32, fp16, bf16
 * or q8_0 weights, so that another program can be given the same model.
 */
#include "bench.h"
#include "products.h"

#include "model/generation/generate.h"
#include "model/layers.h"

#include <omp.h>
#include <string.h>

/* The ids that generate_bench.py gives llama.cpp. */
static TokenList *
make_prompts(Arena *arena, int vocabulary, int length, int count)
{
	TokenList *prompts = arena_alloc(arena, sizeof(TokenList) * (size_t) count);

	for (int i = 0; i < count; i++)
	{
		int32_t *ids = arena_alloc(arena, sizeof(int32_t) * (size_t) length);

		for (int t = 0; t < length; t++)
			ids[t] = (i * 7919 + t * 104729 + 17) % vocabulary;
		prompts[i] = (TokenList){ids, length, length};
	}
	return prompts;
}

/* What one generation of so many tokens takes. */
static Times
generate_once(Model *model, const TokenList *prompts, int count, int tokens)
{
	Arena *arena = arena_create();
	Generation *results =
		arena_alloc(arena, sizeof(Generation) * (size_t) count);
	GenerateOptions options = {
		.max_tokens = tokens, .top_p = 1, .repetition_penalty = 1};
	Failure failure;
	Times start = {seconds(), processor_seconds()};

	check(generate(model, arena, &options, count, prompts, results, NULL, NULL,
	               &failure),
	      &failure);
	arena_destroy(arena);
	return (Times){seconds() - start.clock,
	               processor_seconds() - start.processor};
}

static Times
best(Times a, Times b)
{
	return (Times){fmin(a.clock, b.clock), fmin(a.processor, b.processor)};
}

/* What the products of a token of every response take alone; nothing for a few
 * responses, which wait for the weights. */
static Times
limit_of(Model *model, int count)
{
	static Products products;
	PassWork work = {WORK_SCORE, 0, count, count};

	products.device = model->device;
	products.weights = model->layers[0].out.weight->dtype;
	products.device->products = model_products(model);
	return count >= 16 * products.device->threads
	           ? pass_limit(&products, model_config(model), &work)
	           : (Times){0, 0};
}

static void
run(Model *model, int length, int tokens, int count, int repeats)
{
	Arena *arena = arena_create();
	TokenList *prompts =
		make_prompts(arena, model_config(model)->vocabulary, length, count);
	Times first = {1e9, 1e9};
	Times all = {1e9, 1e9};
	double made = (double) count * (tokens - 1);
	double memory;
	Times limit;

	model->config.stops = 0;
	for (int i = 0; i < repeats; i++)
	{
		first = best(first, generate_once(model, prompts, count, 1));
		all = best(all, generate_once(model, prompts, count, tokens));
	}
	memory = peak_mib();
	limit = limit_of(model, count);
	printf("{\"side\": \"alol\", \"prompts\": %d, \"prompt_tokens\": %d, "
	       "\"tokens\": %d, \"prompts_per_second\": %.1f, "
	       "\"decoded_per_second\": %.1f, \"decoded_per_cpu_second\": %.1f, "
	       "\"all_per_second\": %.1f, \"peak_mib\": %.0f, "
	       "\"limit\": %.3f, \"cpu_limit\": %.3f}\n",
	       count, length, tokens, (double) count * length / first.clock,
	       made / (all.clock - first.clock),
	       made / (all.processor - first.processor),
	       (double) count * tokens / all.clock, memory,
	       limit.clock * (tokens - 1) / (all.clock - first.clock),
	       limit.processor * (tokens - 1) / (all.processor - first.processor));
	arena_destroy(arena);
}

static DType
dtype_of(const char *name)
{
	for (DType dtype = DTYPE_F32; dtype < DTYPE_OTHER; dtype++)
		if (strcmp(dtype_name(dtype), name) == 0)
			return dtype;
	return DTYPE_OTHER;
}

int
main(int argc, char **argv)
{
	bool runs = (argc == 7 || argc == 8) && strcmp(argv[1], "run") == 0;
	bool exports = argc == 5 && strcmp(argv[1], "export") == 0;
	Arena *arena = arena_create();
	Device *device;
	Model *model;
	Failure failure;

	if (!runs && !exports)
	{
		fprintf(stderr,
		        "usage: %s run MODEL PROMPT TOKENS COUNT REPEATS "
		        "[PRODUCTS]\n"
		        "       %s export MODEL DTYPE FILE\n",
		        argv[0], argv[0]);
		return 2;
	}
	check(cpu_device_open(omp_get_max_threads(), &device, &failure), &failure);
	check(model_open(arena, device, argv[2], NULL, &model, &failure), &failure);
	if (argc == 8)
		model_set_products(model, dtype_of(argv[7]));
	if (runs)
		run(model, atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), atoi(argv[6]));
	else
		check(model_save_gguf(model, dtype_of(argv[3]), "bench", argv[4],
		                      &failure),
		      &failure);
	arena_destroy(arena);
	device->close(device);
	return 0;
}
