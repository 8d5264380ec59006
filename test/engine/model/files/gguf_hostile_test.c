/*
 * gguf_hostile_test.c
 *		Models from damaged GGUF files: what is missing or wrong is named, and
 *		what opens all the same neither crashes nor runs away.
 */
#include "near.h"
#include "on_cpu.h"

#include "model/model.h"
#include "mutate.h"

#include <math.h>
#include <time.h>

/* A tiny model needs a few MiB; whatever damage claims, no more than this. */
#define MEMORY ((uint64_t) 64 << 20)

#define ROOM ((size_t) 1 << 18)

/* A golden file in memory, to be damaged, and where it is written to. */
typedef struct Patient
{
	Arena *arena;
	char *directory;
	char *path;
	uint8_t *data; /* [ROOM] */
	size_t size;
} Patient;

static Patient
admit(const char *name)
{
	Patient patient = {.arena = arena_create()};
	Failure failure;
	char *content;

	patient.directory = test_directory(patient.arena);
	patient.path = arena_printf(patient.arena, "%s/x.gguf", patient.directory);
	patient.data = arena_alloc(patient.arena, ROOM);
	content =
		file_read(patient.arena,
	              arena_printf(patient.arena, "%s/%s/model.gguf",
	                           test_golden_path(patient.arena, "gguf"), name),
	              ROOM, &patient.size, &failure);
	assert_ok(content != NULL, failure);
	memcpy(patient.data, content, patient.size);
	return patient;
}

static void
discharge(Patient *patient)
{
	unlink(patient->path);
	rmdir(patient->directory);
	arena_destroy(patient->arena);
}

/* Where a key's type stands in the file. */
static uint8_t *
find_key(const Patient *patient, const char *key)
{
	uint8_t *at = memmem(patient->data, patient->size, key, strlen(key));

	assert_non_null(at);
	return at + strlen(key);
}

/* Opens the damaged file and computes with what opens. */
static bool
try_model(const Patient *patient, Failure *failure)
{
	Arena *arena = arena_create();
	int32_t ids[] = {3, 1, 4, 1, 5};
	int32_t offset[2] = {0, 5};
	int32_t target[1] = {5};
	Batch batch = {
		.sequences = 1, .offset = offset, .target = target, .ids = ids};
	TokenList list = {0};
	Model *model;
	bool done;

	test_write(arena, patient->directory, "x.gguf", patient->data,
	           patient->size);
	memory_limit_set(memory_used() + MEMORY);
	done = model_open(arena, device, patient->path, NULL, &model, failure) &&
	       tokenizer_encode(model_tokenizer(model), arena, "it's  50 \xc3\xa9",
	                        11, true, &list, failure);
	if (done)
	{
		size_t vocabulary = (size_t) model_config(model)->vocabulary;
		float *logits = arena_alloc(arena, sizeof(float) * vocabulary);

		done = model_last_logits(model, &batch, logits, failure);
	}
	memory_limit_set(0);
	arena_destroy(arena);
	return done;
}

static void
what_is_missing_is_named(void **state)
{
	static const struct
	{
		const char *key;
		const char *message;
	} cases[] = {
		{"general.architecture", "has no \"general.architecture\""},
		{"llama.context_length", "has no \"llama.context_length\""},
		{"llama.embedding_length", "has no \"llama.embedding_length\""},
		{"llama.block_count", "has no \"llama.block_count\""},
		{"llama.feed_forward_length", "has no \"llama.feed_forward_length\""},
		{"llama.attention.head_count", "has no \"llama.attention.head_count\""},
		{"llama.attention.layer_norm_rms_epsilon",
	     "has no \"llama.attention.layer_norm_rms_epsilon\""},
		{"tokenizer.ggml.model", "has no tokenizer"},
		{"tokenizer.ggml.tokens", "has no tokenizer"},
		{"tokenizer.ggml.scores", "0 scores for"},
		{"tokenizer.ggml.eos_token_id", "end of text token"},
		{"token_embd.weight", "no matrix token_embd.weight"},
		{"output_norm.weight", "\"output_norm.weight\" is missing"},
		{"blk.1.ffn_up.weight", "\"blk.1.ffn_up.weight\" is missing"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Patient patient = admit("q5");
		Failure failure;

		find_key(&patient, cases[i].key)[-1] = '?';
		assert_fails(try_model(&patient, &failure), failure, FAILURE_BAD_FILE,
		             cases[i].message);
		discharge(&patient);
	}
}

/* 32-bit values of keys that cannot be. */
static void
numbers_that_cannot_be_are_named(void **state)
{
	static const struct
	{
		const char *key;
		uint32_t value;
		const char *message;
	} cases[] = {
		{"llama.context_length", 0, "max_position_embeddings"},
		{"llama.context_length", 0xffffffff, "llama.context_length"},
		{"llama.embedding_length", 0, "hidden_size"},
		{"llama.embedding_length", 31, "token_embd.weight"},
		{"llama.block_count", 0, "num_hidden_layers"},
		{"llama.block_count", 1000000, "num_hidden_layers"},
		{"llama.block_count", 3, "\"blk.2.attn_norm.weight\" is missing"},
		{"llama.attention.head_count", 0, "llama.attention.head_count"},
		{"llama.attention.head_count_kv", 3, "multiple"},
		{"llama.attention.key_length", 15, "not supported"},
		{"llama.attention.key_length", 8, "not supported"},
		{"llama.rope.dimension_count", 8, "elements of a head rotate"},
		{"llama.rope.freq_base", 0x7fc00000, "llama.rope.freq_base"},
		{"llama.attention.layer_norm_rms_epsilon", 0xbf800000,
	     "llama.attention.layer_norm_rms_epsilon"},
		{"tokenizer.ggml.eos_token_id", 100000, "eos_token_id"},
		{"tokenizer.ggml.bos_token_id", 100000, "bos_token_id"},
	};

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Patient patient = admit("q5");
		uint8_t *at = find_key(&patient, cases[i].key) + 4;
		Failure failure = {0};

		for (int j = 0; j < 4; j++)
			at[j] = (uint8_t) (cases[i].value >> 8 * j);
		if (try_model(&patient, &failure))
			fail_msg("%s = %u was accepted", cases[i].key, cases[i].value);
		if (strstr(failure.message, cases[i].message) == NULL)
			fail_msg("%s = %u failed with \"%s\", not \"%s\"", cases[i].key,
			         cases[i].value, failure.message, cases[i].message);
		discharge(&patient);
	}
}

static void
what_is_not_known_is_named(void **state)
{
	static const struct
	{
		const char *key;
		const char *message;
	} cases[] = {
		{"general.architecture", "architecture \"?lama\""},
		{"tokenizer.ggml.model", "of the kind \"?lama\""},
	};

	(void) state;
	for (size_t i = 0; i < 2; i++)
	{
		Patient patient = admit("q5");
		Failure failure;

		find_key(&patient, cases[i].key)[4 + 8] = '?';
		assert_fails(try_model(&patient, &failure), failure,
		             FAILURE_UNSUPPORTED, cases[i].message);
		discharge(&patient);
	}
}

static void
an_unknown_way_of_splitting_is_named(void **state)
{
	Patient patient = admit("gpt2");
	Failure failure;

	(void) state;
	find_key(&patient, "tokenizer.ggml.pre")[4 + 8] = '?';
	assert_fails(try_model(&patient, &failure), failure, FAILURE_UNSUPPORTED,
	             "the pre-tokenizer \"?pt-2\"");
	discharge(&patient);
}

static void
weights_that_are_no_numbers_are_an_error_when_used(void **state)
{
	Patient patient = admit("gpt2");
	const uint8_t nan[2] = {0, 0x7e};
	Failure failure;

	(void) state;
	/* The last matrix of a file ends it, or nearly so. */
	for (size_t i = 0; i < 64; i++)
		memcpy(patient.data + patient.size - 4000 + 2 * i, nan, sizeof(nan));
	assert_fails(try_model(&patient, &failure), failure, FAILURE_BAD_FILE,
	             "outputs are not finite");
	discharge(&patient);
}

/* Half a second for each file: opened or refused, never more. */
static void
random_damage_is_survived(void **state)
{
	static const char *const names[] = {"q5", "gpt2", "qwen3", "gptneox",
	                                    "llama3"};

	(void) state;
	for (int i = 0; i < 5; i++)
	{
		Patient patient = admit(names[i]);
		uint8_t *whole = arena_alloc(patient.arena, ROOM);
		size_t size = patient.size;
		clock_t start = clock();
		int opened = 0;
		int rounds = 0;

		memcpy(whole, patient.data, size);
		for (; clock() - start < CLOCKS_PER_SEC / 2; rounds++)
		{
			Failure failure;

			fuzz_state = (uint64_t) rounds;
			memcpy(patient.data, whole, size);
			/* Mostly in the header, where the sense is. */
			if (rounds % 4 > 0)
				patient.data[fuzz_random(size / 4)] ^=
					(uint8_t) (1u << fuzz_random(8));
			else
				patient.size = fuzz_mutate(patient.data, size, ROOM);
			opened += try_model(&patient, &failure);
			patient.size = size;
		}
		print_message("%s: %d of %d opened\n", names[i], opened, rounds);
		discharge(&patient);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_missing_is_named),
		cmocka_unit_test(numbers_that_cannot_be_are_named),
		cmocka_unit_test(what_is_not_known_is_named),
		cmocka_unit_test(an_unknown_way_of_splitting_is_named),
		cmocka_unit_test(weights_that_are_no_numbers_are_an_error_when_used),
		cmocka_unit_test(random_damage_is_survived),
	};

	return run_on_cpu(tests);
}
