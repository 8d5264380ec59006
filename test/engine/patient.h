/*
 * patient.h
 *		A copy of a golden model, to be damaged and opened.
 */
#pragma once

#include "near.h"
#include "on_cpu.h"

#include "mutate.h"
#include "model/generation/generate.h"

#include <time.h>

/* A tiny model needs a few hundred KiB; whatever damage claims, no more than
 * this may be asked for. */
#define PATIENT_MEMORY ((uint64_t) 64 << 20)

#define PATIENT_SIZE_MAX ((size_t) 16 << 20)

/* Random damage goes on for this long, in s, for each file. */
#define PATIENT_SECONDS 0.5

static const char *const patient_files[] = {"config.json",
                                            "generation_config.json",
                                            "tokenizer.json",
                                            "tokenizer_config.json",
                                            "model.safetensors",
                                            "model.safetensors.index.json",
                                            "model-00001-of-00003.safetensors",
                                            "model-00002-of-00003.safetensors",
                                            "model-00003-of-00003.safetensors"};
#define PATIENT_FILES (sizeof(patient_files) / sizeof(patient_files[0]))

/* A good model and the directory of its copy. */
typedef struct Patient
{
	Arena *arena;
	const char *source;
	const char *directory;
} Patient;

static inline char *
read_file(Arena *arena, const char *directory, const char *name, size_t *size)
{
	Failure failure = {0};
	char *content =
		file_read(arena, arena_printf(arena, "%s/%s", directory, name),
	              PATIENT_SIZE_MAX, size, &failure);

	assert_ok(content != NULL, failure);
	return content;
}

/* The file as it was. */
static inline void
heal(const Patient *patient, const char *name)
{
	Arena *arena = arena_create();
	size_t size;

	if (file_exists(arena_printf(arena, "%s/%s", patient->source, name)))
	{
		char *content = read_file(arena, patient->source, name, &size);

		test_write(arena, patient->directory, name, content, size);
	}
	arena_destroy(arena);
}

static inline Patient
admit(Arena *arena, const char *name)
{
	Patient patient = {arena, test_golden_path(arena, name),
	                   test_directory(arena)};

	for (size_t i = 0; i < PATIENT_FILES; i++)
		heal(&patient, patient_files[i]);
	return patient;
}

static inline void
discharge(const Patient *patient)
{
	for (size_t i = 0; i < PATIENT_FILES; i++)
		unlink(arena_printf(patient->arena, "%s/%s", patient->directory,
		                    patient_files[i]));
	rmdir(patient->directory);
}

/* Opening must fail with words that hold part, and not for memory. */
static inline void
refuses(const Patient *patient, const char *what, const char *part)
{
	Arena *arena = arena_create();
	Failure failure = {0};
	Model *model;

	memory_limit_set(memory_used() + PATIENT_MEMORY);
	if (model_open(arena, device, patient->directory, NULL, &model, &failure))
		fail_msg("%s: opened, \"%s\" was expected", what, part);
	memory_limit_set(0);
	if (strstr(failure.message, part) == NULL)
		fail_msg("%s: \"%s\", not \"%s\"", what, failure.message, part);
	assert_true(failure.code == FAILURE_BAD_FILE ||
	            failure.code == FAILURE_UNSUPPORTED ||
	            failure.code == FAILURE_NOT_FOUND);
	assert_non_null(strstr(failure.context, "opening model"));
	arena_destroy(arena);
}

static inline void
opens(const Patient *patient)
{
	Arena *arena = arena_create();
	Failure failure = {0};
	Model *model;

	assert_ok(
		model_open(arena, device, patient->directory, NULL, &model, &failure),
		failure);
	arena_destroy(arena);
}

/* A member, what it becomes (NULL: it goes), and what is said of it. */
typedef struct Change
{
	const char *key;
	const char *value;
	const char *part;
} Change;

static inline void
change_config(const Patient *patient, const Change *change)
{
	Arena *arena = arena_create();
	json_t *config = test_read_json(arena, patient->source, "config.json");
	char *text;

	/* Written by hand: what it becomes may not be what jansson would write. */
	json_object_del(config, change->key);
	text = json_dumps(config, JSON_COMPACT);
	if (change->value != NULL)
	{
		char *end = strrchr(text, '}');

		*end = '\0';
		test_write(arena, patient->directory, "config.json",
		           arena_printf(arena, "%s, \"%s\": %s}", text, change->key,
		                        change->value),
		           strlen(text) + strlen(change->key) + strlen(change->value) +
		               7);
	}
	else
		test_write(arena, patient->directory, "config.json", text,
		           strlen(text));
	free(text);
	arena_destroy(arena);
}

static inline void
check_changes(const char *name, const Change *changes, size_t count)
{
	Arena *arena = arena_create();
	Patient patient = admit(arena, name);

	opens(&patient);
	for (size_t i = 0; i < count; i++)
	{
		change_config(&patient, &changes[i]);
		refuses(&patient,
		        arena_printf(arena, "%s = %s", changes[i].key,
		                     changes[i].value == NULL ? "nothing"
		                                              : changes[i].value),
		        changes[i].part);
	}
	heal(&patient, "config.json");
	opens(&patient);
	discharge(&patient);
	arena_destroy(arena);
}

/* Uses a model for all there is: its numbers may be nonsense, no more. */
static inline void
use(Arena *arena, Model *model)
{
	static const char text[] = "What is a tree? \xc3\xa9\xf0\x9f\x8c\xb3\n";
	static const int32_t ids[] = {1, 2, 0, 1, 1};
	static const int32_t offset[] = {0, 5};
	static const int32_t target[] = {2};
	const GenerateOptions options = {.max_tokens = 4,
	                                 .temperature = 0.8,
	                                 .top_p = 0.9,
	                                 .top_k = 5,
	                                 .repetition_penalty = 1.2};
	Batch batch = {1, offset, target, ids, NULL};
	TokenList prompt = {(int32_t *) (uintptr_t) ids, 3, 3};
	TokenList list = {0};
	Generation result;
	Failure failure;
	float numbers[5 * 1024];

	/* Whatever its kind is now. */
	if (model_config(model)->hidden <= 1024)
		model_hidden(model, &batch, numbers, &failure);
	if (model_labels(model) <= 1024)
		model_classify(model, &batch, numbers, &failure);
	if (model_logprobs(model, &batch, numbers, &failure))
		generate(model, arena, &options, 1, &prompt, &result, NULL, NULL,
		         &failure);
	tokenizer_encode(model_tokenizer(model), arena, text, sizeof(text) - 1,
	                 true, &list, &failure);
}

static inline double
now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
}

/* Rounds are seeded; how many there are depends on the machine. */
static inline void
damage(const Patient *patient, const char *name)
{
	Arena *arena = arena_create();
	size_t size;
	char *good = read_file(arena, patient->source, name, &size);
	size_t room = size + 4096;
	uint8_t *data = arena_alloc(arena, room);
	double end = now() + PATIENT_SECONDS;
	int rounds = 0, survived = 0;

	for (; now() < end; rounds++)
	{
		Arena *life = arena_create();
		Failure failure = {0};
		Model *model;
		size_t length;

		fuzz_state = (uint64_t) rounds;
		memcpy(data, good, size);
		length = fuzz_mutate(data, size, room);
		test_write(life, patient->directory, name, data, length);
		memory_limit_set(memory_used() + PATIENT_MEMORY);
		if (model_open(life, device, patient->directory, NULL, &model,
		               &failure))
		{
			use(life, model);
			survived++;
		}
		else
			assert_true(failure.message[0] != '\0');
		memory_limit_set(0);
		arena_destroy(life);
	}
	print_message("%s: %d rounds, %d opened\n", name, rounds, survived);
	heal(patient, name);
	arena_destroy(arena);
}
