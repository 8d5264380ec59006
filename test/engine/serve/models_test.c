/*
 * models_test.c
 *		A session that uses many models: those that are idle make room, those
 *		in use stay, and what changed on disk is opened anew; a workspace is
 *		kept for the next request, but not against others.
 */
#include "tiny.h"
#include "on_cpu.h"

#include "serve/models.h"

/* Their weights stay in the files; a tokenizer takes 3 MiB. */
#define MODELS 9

static Serve serve;

/* A request: what it uses is in use until it ends. */
static Request *
request_begin(void)
{
	Request *request = calloc(1, sizeof(Request));

	serve.device = device;
	request->serve = &serve;
	request->arena = arena_create();
	return request;
}

static void
request_end(Request *request)
{
	arena_destroy(request->arena);
	free(request);
}

static bool
use(Request *request, const char *path, Model **model, Failure *failure)
{
	ModelRef ref = {.path = path, .name = path};

	return model_use(request, &ref, model, failure);
}

/* Directories of models that differ by their seed. */
static void
make_models(Arena *arena, char **directory)
{
	for (int i = 0; i < MODELS; i++)
	{
		Arena *scratch = arena_create();
		char *path = tiny_directory(scratch, TINY_GPT2, (uint64_t) i);

		directory[i] = arena_strdup(arena, path);
		arena_destroy(scratch);
	}
}

static void
idle_models_make_room(void **state)
{
	Arena *arena = arena_create();
	char *directory[MODELS];
	Failure failure = {0};

	(void) state;
	make_models(arena, directory);
	/* Room for two, and for reading the tokenizer of a third. */
	memory_limit_set(memory_used() + ((uint64_t) 10 << 20));
	for (int i = 0; i < MODELS; i++)
	{
		Request *request = request_begin();
		Model *model;

		assert_ok(use(request, directory[i], &model, &failure), failure);
		assert_string_equal(model_directory(model), directory[i]);
		request_end(request);
	}
	memory_limit_set(0);
	for (int i = 0; i < MODELS; i++)
		tiny_remove(directory[i]);
	arena_destroy(arena);
}

static void
models_in_use_stay_and_the_error_names_the_limit(void **state)
{
	Arena *arena = arena_create();
	char *directory[MODELS];
	Request *outer = request_begin();
	Failure failure = {0};
	Model *first;
	int opened = 1;

	(void) state;
	make_models(arena, directory);
	memory_limit_set(memory_used() + ((uint64_t) 10 << 20));
	assert_ok(use(outer, directory[0], &first, &failure), failure);
	/* All of one request are in use at once. */
	for (Model *model; opened < MODELS; opened++)
		if (!use(outer, directory[opened], &model, &failure))
			break;
	assert_true(opened < MODELS);
	assert_int_equal(failure.code, FAILURE_OUT_OF_MEMORY);
	assert_non_null(strstr(failure.message, "alol.memory_limit leaves"));
	assert_non_null(strstr(failure.context, directory[opened]));
	assert_true(model_is_current(first));
	assert_string_equal(model_directory(first), directory[0]);
	memory_limit_set(0);
	request_end(outer);
	for (int i = 0; i < MODELS; i++)
		tiny_remove(directory[i]);
	arena_destroy(arena);
}

static void
only_a_few_idle_models_are_kept(void **state)
{
	Arena *arena = arena_create();
	char *directory[MODELS];
	Failure failure = {0};
	uint64_t before = memory_used();
	uint64_t most = 0;

	(void) state;
	make_models(arena, directory);
	for (int round = 0; round < 3 * MODELS; round++)
	{
		Request *request = request_begin();
		Model *model;

		assert_ok(use(request, directory[round % MODELS], &model, &failure),
		          failure);
		request_end(request);
		if (round == MODELS)
			most = memory_used();
	}
	/* No more after three rounds than after one. */
	assert_true(memory_used() <= most);
	assert_true(memory_used() - before < (uint64_t) 40 << 20);
	for (int i = 0; i < MODELS; i++)
		tiny_remove(directory[i]);
	arena_destroy(arena);
}

static void
a_model_that_changed_is_opened_anew(void **state)
{
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, TINY_GPT2, 1);
	Request *request = request_begin();
	Failure failure = {0};
	Model *first, *again, *changed;

	(void) state;
	assert_ok(use(request, directory, &first, &failure), failure);
	assert_ok(use(request, directory, &again, &failure), failure);
	assert_ptr_equal(first, again);
	assert_ok(
		model_create(TINY_GPT2, strlen(TINY_GPT2), 2, directory, &failure),
		failure);
	assert_false(model_is_current(first));
	assert_ok(use(request, directory, &changed, &failure), failure);
	assert_ptr_not_equal(first, changed);
	assert_true(model_is_current(changed));
	request_end(request);
	tiny_remove(directory);
	arena_destroy(arena);
}

static bool
use_adapter(Request *request, const char *path, json_t *base, Model **model,
            Failure *failure)
{
	ModelRef ref = {.path = path, .name = path, .base = base};

	return model_use(request, &ref, model, failure);
}

static void
adapters_share_their_base_and_keep_it_open(void **state)
{
	Arena *arena = arena_create();
	char *folder = test_golden_path(arena, "decoders/llama");
	char *adapters = test_golden_path(arena, "lora/llama");
	json_t *base = json_pack("{s:s}", "path", folder);
	Request *request = request_begin();
	Model *below, *first, *second, *again;
	Failure failure = {0};

	(void) state;
	assert_ok(use(request, folder, &below, &failure), failure);
	assert_ok(use_adapter(request, arena_printf(arena, "%s/adapter", adapters),
	                      base, &first, &failure),
	          failure);
	assert_ok(use_adapter(request,
	                      arena_printf(arena, "%s/adapter_rslora", adapters),
	                      base, &second, &failure),
	          failure);
	assert_ptr_equal(model_tokenizer(first), model_tokenizer(below));
	assert_ptr_equal(model_tokenizer(second), model_tokenizer(below));
	assert_ptr_not_equal(first, second);
	assert_ok(use_adapter(request, arena_printf(arena, "%s/adapter", adapters),
	                      base, &again, &failure),
	          failure);
	assert_ptr_equal(first, again);
	request_end(request);

	/* Other models push the adapters out first, then their base. */
	for (int round = 0; round < 2; round++)
	{
		char *directory[MODELS];

		make_models(arena, directory);
		for (int i = 0; i < MODELS; i++)
		{
			request = request_begin();
			assert_ok(use(request, directory[i], &again, &failure), failure);
			request_end(request);
			tiny_remove(directory[i]);
		}
		request = request_begin();
		assert_ok(use_adapter(request,
		                      arena_printf(arena, "%s/adapter", adapters), base,
		                      &first, &failure),
		          failure);
		request_end(request);
	}
	json_decref(base);
	arena_destroy(arena);
}

static void
an_adapter_needs_a_base_that_is_none(void **state)
{
	Arena *arena = arena_create();
	char *path = test_golden_path(arena, "lora/llama/adapter");
	json_t *base = json_pack("{s:s, s:{s:s}}", "path", path, "base", "path",
	                         test_golden_path(arena, "decoders/llama"));
	Request *request = request_begin();
	Failure failure = {0};
	Model *model;

	(void) state;
	assert_fails(use(request, path, &model, &failure), failure,
	             FAILURE_BAD_INPUT, "is an adapter without a base");
	assert_fails(use_adapter(request, path, base, &model, &failure), failure,
	             FAILURE_BAD_INPUT, "of an adapter cannot be an adapter");
	request_end(request);
	json_decref(base);
	arena_destroy(arena);
}

/* A pass whose workspace is more than a model that rests may keep. */
static void
work(Model *model)
{
	enum
	{
		SEQUENCES = 1200,
		TOKENS = 12
	};
	static int32_t offset[SEQUENCES + 1], target[SEQUENCES];
	static int32_t ids[SEQUENCES * TOKENS];
	static float logp[SEQUENCES * TOKENS];
	Batch batch = {SEQUENCES, offset, target, ids, NULL};
	Failure failure = {0};

	for (int i = 0; i < SEQUENCES; i++)
	{
		target[i] = offset[i] + 1;
		offset[i + 1] = offset[i] + TOKENS;
	}
	assert_ok(model_logprobs(model, &batch, logp, &failure), failure);
}

/* Memory in use after a request in which the model at path works. */
static uint64_t
used_after(const char *path, bool works)
{
	Request *request = request_begin();
	Failure failure = {0};
	Model *model;

	assert_ok(use(request, path, &model, &failure), failure);
	if (works)
		work(model);
	request_end(request);
	return memory_used();
}

static void
a_workspace_stays_until_others_work(void **state)
{
	Arena *arena = arena_create();
	char *directory[MODELS];
	uint64_t resting, working;

	(void) state;
	make_models(arena, directory);
	(void) used_after(directory[1], false);
	resting = used_after(directory[0], false);
	working = used_after(directory[0], true);
	assert_true(working > resting + (16 << 20));
	assert_true(used_after(directory[0], false) > resting + (16 << 20));
	assert_true(used_after(directory[1], false) < resting + (16 << 20));
	assert_int_equal(used_after(directory[0], true), working);
	models_rest(&serve);
	assert_true(memory_used() < resting + (16 << 20));
	for (int i = 0; i < MODELS; i++)
		tiny_remove(directory[i]);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_models_make_room),
		cmocka_unit_test(models_in_use_stay_and_the_error_names_the_limit),
		cmocka_unit_test(only_a_few_idle_models_are_kept),
		cmocka_unit_test(a_model_that_changed_is_opened_anew),
		cmocka_unit_test(adapters_share_their_base_and_keep_it_open),
		cmocka_unit_test(an_adapter_needs_a_base_that_is_none),
		cmocka_unit_test(a_workspace_stays_until_others_work),
	};

	return run_on_cpu(tests);
}
