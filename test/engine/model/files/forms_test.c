/*
 * forms_test.c
 *		What is made of a model's weights is kept in files that the next one
 *		maps, and every number stays as it is without them.
 */
#include "on_cpu.h"
#include "tiny.h"
#include "weighted_sum.h"

#include "base/log.h"
#include "model/layers.h"
#include "model/lora/lora.h"

#define SEQUENCES 6

static int lines;
static char last_line[FAILURE_TEXT];

static void
count_line(void *argument, const char *line)
{
	(void) argument;
	lines++;
	snprintf(last_line, sizeof(last_line), "%s", line);
}

static Model *
open_with(Arena *arena, const char *directory, const char *forms,
          DType products)
{
	ModelFiles files = {.directory = directory, .forms = forms};
	Failure failure = {0};
	Model *model;

	assert_ok(model_open_files(arena, device, &files, &model, &failure),
	          failure);
	model_set_products(model, products);
	return model;
}

/* Log-probabilities of a batch into logp, which has room; how many. */
static int
score(Model *model, float *logp)
{
	Arena *arena = arena_create();
	Batch batch = tiny_batch(arena, SEQUENCES);
	Failure failure = {0};
	int count = batch_targets(&batch, 0, SEQUENCES);

	assert_ok(model_logprobs(model, &batch, logp, &failure), failure);
	arena_destroy(arena);
	return count;
}

static void
assert_scores(Model *model, const float *expected)
{
	float logp[SEQUENCES * 32];
	int count = score(model, logp);

	assert_memory_equal(logp, expected, (size_t) count * sizeof(float));
}

/* The form's file; its inode is another one when it was made again. */
static ino_t
form_of(const char *forms, const char *name)
{
	Arena *arena = arena_create();
	struct stat status = {0};

	(void) stat(arena_printf(arena, "%s/%s.form", forms, name), &status);
	arena_destroy(arena);
	return status.st_ino;
}

/* Directories of a model and of its forms. */
static Arena *
begin(const char *config, char **directory, char **forms)
{
	Arena *arena = arena_create();

	*directory = tiny_directory(arena, config, 3);
	*forms = test_directory(arena);
	return arena;
}

static void
packed_weights_are_made_once_and_mapped_by_the_next(void **state)
{
	char *directory, *forms;
	Arena *arena = begin(TINY_LLAMA(""), &directory, &forms);
	float expected[SEQUENCES * 32];
	ino_t made;

	(void) state;
	score(open_with(arena, directory, NULL, DTYPE_BF16), expected);
	assert_scores(open_with(arena, directory, forms, DTYPE_BF16), expected);
	made = form_of(forms, "bf16");
	assert_int_not_equal(made, 0);
	assert_scores(open_with(arena, directory, forms, DTYPE_BF16), expected);
	assert_int_equal(form_of(forms, "bf16"), made);
	arena_destroy(arena);
}

/* What a model that has scored in bf16 takes. */
static uint64_t
memory_of(const char *directory, const char *forms)
{
	Arena *arena = arena_create();
	float logp[SEQUENCES * 32];
	uint64_t used;

	score(open_with(arena, directory, forms, DTYPE_BF16), logp);
	used = memory_used();
	arena_destroy(arena);
	return used - memory_used();
}

static void
they_take_no_memory_of_the_process(void **state)
{
	char *directory, *forms;
	Arena *arena = begin(TINY_WIDE, &directory, &forms);
	uint64_t own = memory_of(directory, NULL);
	/* The maps of two layers, without embedding and norms, and the head. */
	uint64_t packed =
		2 * (2 * (256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 320) + 257 * 256);

	(void) state;
	/* Made, and then found; names may take a block of small things. */
	for (int i = 0; i < 2; i++)
		assert_in_range(own - memory_of(directory, forms), packed - 65536,
		                2 * packed);
	arena_destroy(arena);
}

static void
nothing_is_made_for_products_of_fp32(void **state)
{
	char *directory, *forms;
	Arena *arena = begin(TINY_LLAMA(""), &directory, &forms);
	float logp[SEQUENCES * 32];

	(void) state;
	score(open_with(arena, directory, forms, DTYPE_F32), logp);
	/* Only an empty directory goes. */
	assert_int_equal(rmdir(forms), 0);
	arena_destroy(arena);
}

/* The gradient of a new adapter. */
static float *
adapter_gradient(Arena *arena, Model *model, int64_t *count)
{
	LoraOptions lora = {.rank = 4, .alpha = 8};
	Batch batch = tiny_batch(arena, SEQUENCES);
	Seen *seen = arena_alloc(arena, sizeof(Seen));
	Failure failure = {0};
	float *gradient;

	assert_ok(model_make_trainable(model, &lora, &failure), failure);
	accumulate(model, &batch, NULL, seen);
	*count = model_state_size(model);
	gradient = arena_alloc(arena, (size_t) *count * sizeof(float));
	model_state_download(model, MODEL_GRADIENTS, 0, *count, gradient);
	return gradient;
}

static void
an_adapter_learns_the_same_over_them(void **state)
{
	char *directory, *forms;
	Arena *arena = begin(TINY_LLAMA(""), &directory, &forms);
	int64_t count, counted;
	float *expected = adapter_gradient(
		arena, open_with(arena, directory, NULL, DTYPE_BF16), &count);

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		float *gradient = adapter_gradient(
			arena, open_with(arena, directory, forms, DTYPE_BF16), &counted);

		assert_int_equal(counted, count);
		assert_memory_equal(gradient, expected, (size_t) count * sizeof(float));
		assert_int_not_equal(form_of(forms, "bf16"), 0);
	}
	arena_destroy(arena);
}

/* Where all weights are trained, what was mapped before is not theirs. */
static void
weights_that_are_trained_are_packed_in_memory(void **state)
{
	const AdamW adamw = tiny_first_step();
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, TINY_LLAMA(""), 3);
	const char *forms[] = {NULL, test_directory(arena)};
	float before[SEQUENCES * 32], after[2][SEQUENCES * 32];

	(void) state;
	for (int i = 0; i < 2; i++)
	{
		Model *model = open_with(arena, directory, forms[i], DTYPE_BF16);
		Batch batch = tiny_batch(arena, SEQUENCES);
		Seen *seen = arena_alloc(arena, sizeof(Seen));
		Failure failure = {0};
		int count = score(model, before);

		assert_ok(model_make_trainable(model, NULL, &failure), failure);
		accumulate(model, &batch, NULL, seen);
		assert_ok(model_update(model, &adamw, &failure), failure);
		score(model, after[i]);
		assert_memory_not_equal(after[i], before,
		                        (size_t) count * sizeof(float));
		assert_memory_equal(after[i], after[0], (size_t) count * sizeof(float));
	}
	arena_destroy(arena);
}

static void
an_adapter_that_is_closed_leaves_its_base_what_is_packed(void **state)
{
	Arena *arena = arena_create();
	Arena *above = arena_create();
	char *directory = tiny_directory(arena, TINY_LLAMA(""), 3);
	char *saved = test_directory(arena);
	char *forms = test_directory(arena);
	Model *model = open_with(arena, directory, NULL, DTYPE_BF16);
	Model *adapter;
	float expected[SEQUENCES * 32], logp[SEQUENCES * 32];
	LoraOptions lora = {.rank = 4, .alpha = 8};
	Failure failure = {0};

	(void) state;
	score(model, expected);
	assert_ok(model_make_trainable(model, &lora, &failure), failure);
	assert_ok(adapter_save(model, NULL, saved, &failure), failure);

	model = open_with(arena, directory, forms, DTYPE_BF16);
	assert_ok(adapter_open(above, model, saved, &adapter, &failure), failure);
	score(adapter, logp);
	assert_int_not_equal(form_of(forms, "bf16"), 0);
	arena_destroy(above);
	assert_scores(model, expected);
	arena_destroy(arena);
}

static void
other_weights_in_the_same_place_have_forms_of_their_own(void **state)
{
	char *directory, *forms;
	Arena *arena = begin(TINY_LLAMA(""), &directory, &forms);
	float first[SEQUENCES * 32], second[SEQUENCES * 32];
	ino_t made;
	int count;

	(void) state;
	count = score(open_with(arena, directory, forms, DTYPE_BF16), first);
	made = form_of(forms, "bf16");
	assert_int_equal(
		rename(arena_printf(arena, "%s/model.safetensors",
	                        tiny_directory(arena, TINY_LLAMA(""), 4)),
	           arena_printf(arena, "%s/model.safetensors", directory)),
		0);
	score(open_with(arena, directory, NULL, DTYPE_BF16), second);
	assert_memory_not_equal(first, second, (size_t) count * sizeof(float));
	assert_scores(open_with(arena, directory, forms, DTYPE_BF16), second);
	assert_int_not_equal(form_of(forms, "bf16"), made);
	arena_destroy(arena);
}

static void
a_quantized_model_has_forms_of_its_own(void **state)
{
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, TINY_WIDE, 3);
	const char *forms[] = {NULL, test_directory(arena)};
	float exact[SEQUENCES * 32], rough[2][SEQUENCES * 32];

	(void) state;
	score(open_with(arena, directory, forms[1], DTYPE_BF16), exact);
	for (int i = 0; i < 2; i++)
	{
		Model *model = open_with(arena, directory, forms[i], DTYPE_BF16);
		Failure failure = {0};
		int count;

		assert_ok(model_quantize(model, DTYPE_Q8_0, &failure), failure);
		count = score(model, rough[i]);
		assert_memory_not_equal(exact, rough[i],
		                        (size_t) count * sizeof(float));
		assert_memory_equal(rough[0], rough[i], (size_t) count * sizeof(float));
	}
	assert_int_not_equal(form_of(forms[1], "bf16-q8_0"), 0);
	assert_int_not_equal(form_of(forms[1], "q8_0"), 0);
	assert_scores(open_with(arena, directory, forms[1], DTYPE_BF16), exact);
	arena_destroy(arena);
}

static void
quantized_weights_are_mapped_by_the_next(void **state)
{
	static const DType dtypes[] = {DTYPE_Q8_0, DTYPE_NF4, DTYPE_NF4_DOUBLE};
	char *directory, *forms;
	Arena *arena = begin(TINY_WIDE, &directory, &forms);

	(void) state;
	for (int i = 0; i < 3; i++)
	{
		float logp[3][SEQUENCES * 32];
		uint64_t used[3];
		Failure failure = {0};
		int count = 0;

		for (int j = 0; j < 3; j++)
		{
			Arena *own = arena_create();
			Model *model =
				open_with(own, directory, j == 0 ? NULL : forms, DTYPE_F32);

			assert_ok(model_quantize(model, dtypes[i], &failure), failure);
			count = score(model, logp[j]);
			used[j] = memory_used();
			arena_destroy(own);
			used[j] -= memory_used();
			assert_memory_equal(logp[j], logp[0],
			                    (size_t) count * sizeof(float));
		}
		/* Nine hundred thousand weights of half a byte and more, but for a
		 * block of small things. */
		assert_true(used[1] + 360000 < used[0] && used[2] + 360000 < used[0]);
	}
	arena_destroy(arena);
}

static void
rows_of_gguf_files_are_put_in_order_once(void **state)
{
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, TINY_LLAMA(""), 3);
	char *path = arena_printf(arena, "%s/model.gguf", test_directory(arena));
	char *forms = test_directory(arena);
	float expected[SEQUENCES * 32];
	Failure failure = {0};
	ino_t made = 0;

	(void) state;
	assert_ok(model_save_gguf(open_with(arena, directory, NULL, DTYPE_F32),
	                          DTYPE_F16, "tiny", path, &failure),
	          failure);
	score(open_with(arena, path, NULL, DTYPE_F32), expected);
	for (int i = 0; i < 2; i++)
	{
		assert_scores(open_with(arena, path, forms, DTYPE_F32), expected);
		assert_int_not_equal(form_of(forms, "rows"), 0);
		assert_true(i == 0 || form_of(forms, "rows") == made);
		made = form_of(forms, "rows");
	}
	arena_destroy(arena);
}

/* Adds a byte to the header of the model's file: all its data lies crooked. */
static void
make_crooked(Arena *arena, const char *directory)
{
	char *path = arena_printf(arena, "%s/model.safetensors", directory);
	Failure failure = {0};
	size_t size;
	char *file = file_read(arena, path, (size_t) 64 << 20, &size, &failure);
	uint64_t header;
	char *crooked;

	assert_non_null(file);
	memcpy(&header, file, sizeof(header));
	crooked = arena_alloc(arena, size + 1);
	memcpy(crooked, file, 8 + header);
	crooked[8 + header] = ' ';
	memcpy(crooked + 9 + header, file + 8 + header, size - 8 - header);
	header++;
	memcpy(crooked, &header, sizeof(header));
	test_write(arena, directory, "model.safetensors", crooked, size + 1);
}

static void
data_that_lies_crooked_is_put_straight_once(void **state)
{
	char *directory, *forms;
	Arena *arena = begin(TINY_GPT2, &directory, &forms);
	float expected[SEQUENCES * 32];
	ino_t made = 0;

	(void) state;
	score(open_with(arena, directory, NULL, DTYPE_F32), expected);
	make_crooked(arena, directory);
	assert_scores(open_with(arena, directory, NULL, DTYPE_F32), expected);
	for (int i = 0; i < 2; i++)
	{
		Model *model = open_with(arena, directory, forms, DTYPE_F32);

		assert_scores(model, expected);
		assert_false(model->embedding->stored->is_copy);
		assert_int_not_equal(form_of(forms, "aligned"), 0);
		assert_true(i == 0 || form_of(forms, "aligned") == made);
		made = form_of(forms, "aligned");
	}
	arena_destroy(arena);
}

static void
what_cannot_be_kept_is_made_in_memory_with_a_line_in_the_log(void **state)
{
	char *directory, *forms;
	Arena *arena = begin(TINY_LLAMA(""), &directory, &forms);
	float expected[SEQUENCES * 32];
	Model *model;

	(void) state;
	assert_int_equal(rmdir(forms), 0);
	score(open_with(arena, directory, NULL, DTYPE_BF16), expected);
	log_install(count_line, NULL);
	lines = 0;
	model = open_with(arena, directory, forms, DTYPE_BF16);
	assert_scores(model, expected);
	assert_scores(model, expected);
	log_install(NULL, NULL);
	assert_int_equal(lines, 1);
	assert_non_null(strstr(last_line, "cannot create"));
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(packed_weights_are_made_once_and_mapped_by_the_next),
		cmocka_unit_test(they_take_no_memory_of_the_process),
		cmocka_unit_test(nothing_is_made_for_products_of_fp32),
		cmocka_unit_test(an_adapter_learns_the_same_over_them),
		cmocka_unit_test(weights_that_are_trained_are_packed_in_memory),
		cmocka_unit_test(
			an_adapter_that_is_closed_leaves_its_base_what_is_packed),
		cmocka_unit_test(
			other_weights_in_the_same_place_have_forms_of_their_own),
		cmocka_unit_test(a_quantized_model_has_forms_of_its_own),
		cmocka_unit_test(quantized_weights_are_mapped_by_the_next),
		cmocka_unit_test(rows_of_gguf_files_are_put_in_order_once),
		cmocka_unit_test(data_that_lies_crooked_is_put_straight_once),
		cmocka_unit_test(
			what_cannot_be_kept_is_made_in_memory_with_a_line_in_the_log),
	};

	return run_on_cpu(tests);
}
