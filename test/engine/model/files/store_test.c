/*
 * store_test.c
 *		What is saved is what was opened: random models, the hub's names,
 *		16-bit weights, trained weights, all within the memory allowed.
 */
#include "tiny.h"

#include "model/layers.h"
#include "on_cpu.h"

#include "model/layers.h"
#include "train/checkpoint.h"

#define SEQUENCES 5
#define TARGETS_MAX 512

static void
logprobs_of(Model *model, float *logp)
{
	Arena *arena = arena_create();
	Batch batch = tiny_batch(arena, SEQUENCES);
	Failure failure = {0};

	assert_true(batch_targets(&batch, 0, SEQUENCES) <= TARGETS_MAX);
	memset(logp, 0, TARGETS_MAX * sizeof(float));
	assert_ok(model_logprobs(model, &batch, logp, &failure), failure);
	arena_destroy(arena);
}

/* Saved and opened again; the caller removes the directory. */
static Model *
saved(Arena *arena, Model *model, char **directory)
{
	Failure failure = {0};

	*directory = test_directory(arena);
	assert_ok(model_save(model, NULL, *directory, &failure), failure);
	return tiny_open(arena, device, *directory);
}

static void
assert_same_models(Model *a, Model *b)
{
	float of_a[TARGETS_MAX], of_b[TARGETS_MAX];

	assert_int_equal(model_parameter_count(a), model_parameter_count(b));
	for (int i = 0; i < model_parameter_count(a); i++)
		assert_string_equal(model_parameter(a, i).name,
		                    model_parameter(b, i).name);
	assert_string_equal(model_config(a)->architecture,
	                    model_config(b)->architecture);
	assert_int_equal(model_config(a)->eos, model_config(b)->eos);
	logprobs_of(a, of_a);
	logprobs_of(b, of_b);
	assert_memory_equal(of_a, of_b, sizeof(of_a));
}

static void
a_created_model_saves_as_it_is(void **state)
{
	static const char *const configs[] = {
		TINY_GPT2,      TINY_LLAMA(", \"tie_word_embeddings\": true"),
		TINY_LLAMA(""), TINY_MISTRAL,
		TINY_QWEN2,     TINY_QWEN3,
		TINY_NEOX("")};

	(void) state;
	for (size_t i = 0; i < sizeof(configs) / sizeof(configs[0]); i++)
	{
		Arena *arena = arena_create();
		char *directory = tiny_directory(arena, configs[i], 40);
		Model *model = tiny_open(arena, device, directory);
		char *copy;
		Model *again = saved(arena, model, &copy);

		assert_same_models(model, again);
		assert_same_models(model, tiny_model(arena, device, configs[i], 40));
		tiny_remove(directory);
		tiny_remove(copy);
		arena_destroy(arena);
	}
}

static void
another_seed_is_another_model(void **state)
{
	Arena *arena = arena_create();
	float a[TARGETS_MAX], b[TARGETS_MAX];

	(void) state;
	logprobs_of(tiny_model(arena, device, TINY_GPT2, 1), a);
	logprobs_of(tiny_model(arena, device, TINY_GPT2, 2), b);
	assert_memory_not_equal(a, b, sizeof(a));
	arena_destroy(arena);
}

static void
names_without_the_prefix_stay_without(void **state)
{
	Arena *arena = arena_create();
	char *source = test_golden_path(arena, "decoders/gpt2_hub");
	Model *model = tiny_open(arena, device, source);
	char *copy;
	Model *again = saved(arena, model, &copy);

	(void) state;
	assert_string_equal(model_parameter(model, 0).name, "wte.weight");
	assert_same_models(model, again);
	tiny_remove(copy);
	arena_destroy(arena);
}

/* Only norms and biases have fp32 copies; matrices are read from the file. */
static void
narrow_matrices_stay_where_the_file_lies(void **state)
{
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, TINY_LLAMA(""), 42);
	Model *model;

	(void) state;
	tiny_narrow(arena, directory, DTYPE_BF16);
	model = tiny_open(arena, device, directory);
	for (int i = 0; i < model->parameter_count; i++)
	{
		const Parameter *parameter = &model->parameters[i];

		if (parameter->dimensions == 2)
			assert_ptr_equal(parameter->value, parameter->stored->data);
		else
			assert_int_equal(parameter->dtype, DTYPE_F32);
	}
	tiny_remove(directory);
	arena_destroy(arena);
}

static void
weights_may_be_saved_as_they_are_stored(void **state)
{
	static const DType dtypes[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16};

	(void) state;
	for (int i = 0; i < 3; i++)
	{
		Arena *arena = arena_create();
		char *directory = tiny_directory(arena, TINY_GPT2, 43);
		char *copy = test_directory(arena);
		Failure failure = {0};
		Model *model, *again;

		if (i > 0)
			tiny_narrow(arena, directory, dtypes[i]);
		model = tiny_open(arena, device, directory);
		assert_ok(model_save_as(model, DTYPE_OTHER, copy, &failure), failure);
		again = tiny_open(arena, device, copy);
		for (int j = 0; j < model->parameter_count; j++)
		{
			const StoredTensor *one = model->parameters[j].stored;
			const StoredTensor *other = again->parameters[j].stored;

			assert_int_equal(one->dtype, dtypes[i]);
			assert_int_equal(other->dtype, dtypes[i]);
			assert_memory_equal(one->data, other->data, (size_t) one->bytes);
		}
		tiny_remove(directory);
		tiny_remove(copy);
		arena_destroy(arena);
	}
}

static void
narrow_weights_are_widened_exactly(void **state)
{
	static const DType dtypes[] = {DTYPE_F16, DTYPE_BF16};

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		Arena *arena = arena_create();
		char *directory = tiny_directory(arena, TINY_LLAMA(""), 41);
		float wide[TARGETS_MAX], narrowed[TARGETS_MAX], trained[TARGETS_MAX];
		Failure failure = {0};
		Model *model;
		Model *again;
		char *copy;
		uint64_t used;
		uint64_t full;

		logprobs_of(tiny_open(arena, device, directory), wide);
		tiny_narrow(arena, directory, dtypes[i]);
		model = tiny_open(arena, device, directory);
		assert_int_equal(model_stored_dtype(model), dtypes[i]);
		logprobs_of(model, narrowed);
		assert_memory_not_equal(wide, narrowed, sizeof(wide));
		/* Sums of some ten weights with 8 bits each. */
		for (int t = 0; t < TARGETS_MAX; t++)
			assert_near(narrowed[t], wide[t], 0.5);
		/* The saved copy is wide, and has the same numbers. */
		again = saved(arena, model, &copy);
		assert_int_equal(model_stored_dtype(again), DTYPE_F32);
		assert_same_models(model, again);
		/* Training takes 16 bytes a weight, and gives back the vectors that
		 * were widened. */
		used = memory_used();
		assert_ok(model_make_trainable(model, NULL, &failure), failure);
		full = (uint64_t) model_state_size(model) * 16;
		assert_true(memory_used() < used + full);
		logprobs_of(model, trained);
		assert_memory_equal(trained, narrowed, sizeof(trained));
		tiny_remove(directory);
		tiny_remove(copy);
		arena_destroy(arena);
	}
}

static void
trained_weights_are_what_is_saved(void **state)
{
	Arena *arena = arena_create();
	char *source = tiny_directory(arena, TINY_GPT2, 42);
	Model *model = tiny_open(arena, device, source);
	float before[TARGETS_MAX], after[TARGETS_MAX], again[TARGETS_MAX];
	float weight = 0.75f;
	Failure failure = {0};
	char *copy;

	(void) state;
	logprobs_of(model, before);
	assert_ok(model_make_trainable(model, NULL, &failure), failure);
	for (int64_t i = 0; i < 40; i++)
		model_state_upload(model, MODEL_WEIGHTS, i * 97, 1, &weight);
	logprobs_of(model, after);
	assert_memory_not_equal(before, after, sizeof(before));
	logprobs_of(saved(arena, model, &copy), again);
	assert_memory_equal(after, again, sizeof(after));
	tiny_remove(source);
	tiny_remove(copy);
	arena_destroy(arena);
}

/* Its embedding alone takes 8 MiB. */
#define LARGE                                                                  \
	"{\"model_type\": \"llama\", \"hidden_size\": 64, "                        \
	"\"intermediate_size\": 64, \"num_hidden_layers\": 1, "                    \
	"\"num_attention_heads\": 4, \"vocab_size\": 32768, "                      \
	"\"tie_word_embeddings\": true}"

static void
checkpoints_and_saving_need_no_copy_of_the_weights(void **state)
{
	Arena *arena = arena_create();
	char *directory, *copy;
	Model *model;
	TrainState train = {.step = 3, .best_step = -1};
	Failure failure = {0};
	float first[64], loaded[64];
	char *checkpoint;

	(void) state;
	memory_limit_set(memory_used() + ((uint64_t) 8 << 20));
	directory = tiny_directory(arena, LARGE, 43);
	model = tiny_open(arena, device, directory);
	assert_fails(model_make_trainable(model, NULL, &failure), failure,
	             FAILURE_OUT_OF_MEMORY, "needs 33 MiB more memory");
	assert_non_null(strstr(failure.message, "alol.memory_limit leaves"));
	memory_limit_set(0);
	arena_destroy(arena);

	arena = arena_create();
	copy = test_directory(arena);
	directory = tiny_directory(arena, LARGE, 43);
	model = tiny_open(arena, device, directory);
	assert_ok(model_make_trainable(model, NULL, &failure), failure);
	memory_limit_set(memory_used() + ((uint64_t) 1 << 20));
	assert_ok(checkpoint_write(copy, model, &train, &failure), failure);
	assert_ok(best_write(copy, model, 3, &failure), failure);
	assert_ok(model_save(model, NULL, copy, &failure), failure);
	model_state_download(model, MODEL_WEIGHTS, 64, 64, first);
	memset(loaded, 0, sizeof(loaded));
	model_state_upload(model, MODEL_WEIGHTS, 64, 64, loaded);
	assert_ok(checkpoint_load(copy, model, &train, &failure), failure);
	model_state_download(model, MODEL_WEIGHTS, 64, 64, loaded);
	assert_memory_equal(first, loaded, sizeof(first));
	memory_limit_set(0);
	checkpoint = arena_printf(arena, "%s/checkpoint-3", copy);
	unlink(checkpoint);
	unlink(arena_printf(arena, "%s/best-3", copy));
	tiny_remove(directory);
	tiny_remove(copy);
	arena_destroy(arena);
}

static void
linear_scaling_slows_every_rotation(void **state)
{
	Arena *arena = arena_create();
	Model *plain = tiny_model(arena, device, TINY_LLAMA(""), 44);
	Model *slow = tiny_model(
		arena, device,
		TINY_LLAMA(", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}"),
		44);
	float of_plain[TARGETS_MAX], of_slow[TARGETS_MAX];
	int rotary = model_config(plain)->rotary;

	(void) state;
	logprobs_of(plain, of_plain);
	logprobs_of(slow, of_slow);
	assert_memory_not_equal(of_plain, of_slow, sizeof(of_plain));
	for (int position = 0; position < 20; position++)
		for (int i = 0; i < rotary; i++)
			assert_near(slow->angles[2 * position * rotary + i],
			            plain->angles[position * rotary + i], 1e-6);
	arena_destroy(arena);
}

#define TIED ", \"tie_word_embeddings\": true"

/* As transformers: a file that holds two matrices means two. */
static void
a_head_of_its_own_unties_a_model(void **state)
{
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, TINY_LLAMA(""), 41);
	Model *apart = tiny_open(arena, device, directory);
	Model *said_tied;

	(void) state;
	test_write(arena, directory, "config.json", TINY_LLAMA(TIED),
	           strlen(TINY_LLAMA(TIED)));
	said_tied = tiny_open(arena, device, directory);
	assert_false(model_config(said_tied)->tied);
	assert_same_models(apart, said_tied);
	tiny_remove(directory);
	arena_destroy(arena);
}

/* Writes the directory's one tied matrix under the name of the head. */
static void
name_after_the_head(Arena *arena, const char *directory)
{
	Failure failure = {0};
	StoredModel *stored;
	TensorToStore *tensors;
	int count;

	assert_ok(stored_model_open(arena, directory, &stored, &failure), failure);
	count = stored_model_count(stored);
	tensors = arena_alloc(arena, (size_t) count * sizeof(TensorToStore));
	for (int i = 0; i < count; i++)
	{
		const StoredTensor *tensor = stored_model_tensor(stored, i);

		tensors[i] = (TensorToStore){.name = tensor->name,
		                             .dtype = tensor->dtype,
		                             .dimensions = tensor->dimensions,
		                             .data = tensor->data};
		memcpy(tensors[i].shape, tensor->shape, sizeof(tensors[i].shape));
		if (strcmp(tensor->name, "model.embed_tokens.weight") == 0)
			tensors[i].name = "lm_head.weight";
	}
	assert_ok(safetensors_write(
				  arena_printf(arena, "%s/model.safetensors", directory),
				  tensors, count, NULL, NULL, &failure),
	          failure);
}

static void
a_tied_matrix_may_have_the_name_of_the_head(void **state)
{
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, TINY_LLAMA(TIED), 42);
	Model *model = tiny_open(arena, device, directory);

	(void) state;
	name_after_the_head(arena, directory);
	assert_same_models(model, tiny_open(arena, device, directory));
	tiny_remove(directory);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_created_model_saves_as_it_is),
		cmocka_unit_test(a_head_of_its_own_unties_a_model),
		cmocka_unit_test(a_tied_matrix_may_have_the_name_of_the_head),
		cmocka_unit_test(another_seed_is_another_model),
		cmocka_unit_test(names_without_the_prefix_stay_without),
		cmocka_unit_test(narrow_matrices_stay_where_the_file_lies),
		cmocka_unit_test(weights_may_be_saved_as_they_are_stored),
		cmocka_unit_test(narrow_weights_are_widened_exactly),
		cmocka_unit_test(trained_weights_are_what_is_saved),
		cmocka_unit_test(checkpoints_and_saving_need_no_copy_of_the_weights),
		cmocka_unit_test(linear_scaling_slows_every_rotation),
	};

	return run_on_cpu(tests);
}
