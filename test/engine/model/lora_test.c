/*
 * lora_test.c
 *		Adapters against the golden values of PEFT; their gradients by finite
 *		differences, dropout too; new ones; and files that lie.
 */
#include "tiny.h"
#include "on_cpu.h"

#include "base/random.h"
#include "model/lora.h"

#define SEQUENCES 6

/* ------------------------------------------------------- golden values */

static Batch
batch_of(Arena *arena, json_t *ids)
{
	size_t count = json_array_size(ids);
	int32_t *offset = arena_alloc(arena, 2 * sizeof(int32_t));
	int32_t *target = arena_alloc(arena, sizeof(int32_t));
	int32_t *id = arena_alloc(arena, count * sizeof(int32_t));

	for (size_t i = 0; i < count; i++)
		id[i] = (int32_t) json_integer_value(json_array_get(ids, i));
	offset[1] = (int32_t) count;
	target[0] = 1;
	return (Batch){1, offset, target, id};
}

static void
check_logits(Arena *arena, Model *model, json_t *texts, const char *which)
{
	float *logits = arena_alloc(
		arena, sizeof(float) * (size_t) model_config(model)->vocabulary);
	double worst = 0;
	size_t i;
	json_t *text;

	json_array_foreach(texts, i, text)
	{
		Batch batch = batch_of(arena, json_object_get(text, "ids"));
		json_t *expected = json_object_get(text, which);
		Failure failure;

		assert_ok(model_last_logits(model, &batch, logits, &failure), failure);
		for (size_t v = 0; v < json_array_size(expected); v++)
		{
			double want = json_number_value(json_array_get(expected, v));

			assert_near(logits[v], want, 1e-4);
			worst = fmax(worst, fabs((double) logits[v] - want));
		}
	}
	print_message("  %s: at most %.1e off\n", which, worst);
}

static void
check_merged(const char *directory, json_t *tensors)
{
	Arena *arena = arena_create();
	Failure failure;
	StoredModel *stored;
	const char *name;
	json_t *expected;

	assert_ok(stored_model_open(arena, directory, &stored, &failure), failure);
	json_object_foreach(tensors, name, expected)
	{
		const StoredTensor *tensor = stored_model_find(stored, name);
		json_t *first = json_object_get(expected, "first");
		double norm = json_number_value(json_object_get(expected, "norm"));
		double sum = 0;

		assert_non_null(tensor);
		for (int64_t i = 0; i < tensor->count; i++)
			sum += pow((double) ((const float *) tensor->data)[i], 2);
		assert_near(sqrt(sum), norm, 1e-5 * norm);
		for (size_t i = 0; i < json_array_size(first); i++)
			assert_near(((const float *) tensor->data)[i],
			            json_number_value(json_array_get(first, i)), 1e-5);
	}
	arena_destroy(arena);
}

static void
remove_adapter(const char *directory)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/adapter_config.json", directory);
	unlink(path);
	snprintf(path, sizeof(path), "%s/adapter_model.safetensors", directory);
	unlink(path);
	rmdir(directory);
}

static void
check_adapter(Model *base, const char *directory, json_t *golden)
{
	Arena *arena = arena_create();
	json_t *texts = json_object_get(golden, "texts");
	char *copy = test_directory(arena);
	char *merged = test_directory(arena);
	Failure failure;
	Model *model;

	assert_ok(adapter_open(arena, base, directory, &model, &failure), failure);
	check_logits(arena, base, texts, "base_logits");
	check_logits(arena, model, texts, "adapter_logits");

	/* Written and read again, as an adapter and merged. */
	assert_ok(adapter_save(model, NULL, copy, &failure), failure);
	assert_ok(model_save(model, NULL, merged, &failure), failure);
	assert_ok(adapter_open(arena, base, copy, &model, &failure), failure);
	check_logits(arena, model, texts, "adapter_logits");
	check_merged(merged, json_object_get(golden, "merged_tensors"));
	assert_ok(model_open(arena, device, merged, NULL, &model, &failure),
	          failure);
	check_logits(arena, model, texts, "merged_logits");
	remove_adapter(copy);
	tiny_remove(merged);
	arena_destroy(arena);
}

static void
check_set(Arena *arena, const char *root)
{
	static const char *const cases[] = {"gpt2", "llama"};

	for (int c = 0; c < 2; c++)
	{
		char *directory = arena_printf(arena, "%s/lora/%s", root, cases[c]);
		json_t *golden = test_read_json(arena, directory, "golden.json");
		const char *elsewhere =
			json_string_value(json_object_get(golden, "base"));
		Model *base = tiny_open(
			arena, device,
			elsewhere == NULL ? directory
							  : arena_printf(arena, "%s/%s", root, elsewhere));
		const char *name;
		json_t *adapter;

		json_object_foreach(json_object_get(golden, "adapters"), name, adapter)
		{
			print_message("%s/%s\n", cases[c], name);
			check_adapter(base, arena_printf(arena, "%s/%s", directory, name),
			              adapter);
		}
	}
}

static void
own_adapters_give_the_golden_logits(void **state)
{
	Arena *arena = arena_create();

	(void) state;
	check_set(arena, test_golden_path(arena, ""));
	arena_destroy(arena);
}

static void
shared_adapters_give_the_golden_logits(void **state)
{
	Arena *arena = arena_create();
	char *root = test_shared_path(arena, "golden");

	(void) state;
	if (root != NULL)
		check_set(arena, root);
	arena_destroy(arena);
	if (root == NULL)
		skip();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_adapters_give_the_golden_logits),
		cmocka_unit_test(shared_adapters_give_the_golden_logits),
	};

	return run_on_cpu(tests);
}
