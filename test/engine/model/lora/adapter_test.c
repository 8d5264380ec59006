/*
 * adapter_test.c
 *		Adapters on disk: against the golden values of PEFT, written and read
 *		again, merged; and files that lie.
 */
#include "tiny.h"
#include "on_cpu.h"

#include "base/random.h"
#include "model/lora/lora.h"
#include "mutate.h"

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
	return (Batch){1, offset, target, id, NULL};
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
	static const char *const cases[] = {"gpt2", "llama", "gpt_neox"};

	for (int c = 0; c < 3; c++)
	{
		char *directory = arena_printf(arena, "%s/lora/%s", root, cases[c]);
		const char *elsewhere, *name;
		json_t *golden, *adapter;
		Model *base;

		if (!file_exists(directory))
			continue;
		golden = test_read_json(arena, directory, "golden.json");
		elsewhere = json_string_value(json_object_get(golden, "base"));
		base = tiny_open(arena, device,
		                 elsewhere == NULL
		                     ? directory
		                     : arena_printf(arena, "%s/%s", root, elsewhere));
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

/* ------------------------------------------------------- hostile files */

/* The own llama's adapter with one member or tensor changed. */
typedef struct Patient
{
	Arena *arena;
	Model *base;
	char *source;
	char *directory;
	json_t *config;
} Patient;

static Patient
patient_open(void)
{
	Arena *arena = arena_create();
	Patient patient = {.arena = arena};

	patient.base =
		tiny_open(arena, device, test_golden_path(arena, "decoders/llama"));
	patient.source = test_golden_path(arena, "lora/llama/adapter");
	patient.directory = test_directory(arena);
	patient.config =
		test_read_json(arena, patient.source, "adapter_config.json");
	return patient;
}

static void
patient_close(Patient *patient)
{
	remove_adapter(patient->directory);
	arena_destroy(patient->arena);
}

static void
write_config(const Patient *patient, const json_t *config)
{
	char *text = json_dumps(config, 0);

	test_write(patient->arena, patient->directory, "adapter_config.json", text,
	           strlen(text));
	free(text);
}

/* What becomes of one tensor. */
typedef enum Damage
{
	KEPT,
	LEFT_OUT,
	RENAMED,
	TURNED, /* its shape */
	SHORT,  /* a row less */
	FLAT    /* one dimension */
} Damage;

static void
write_tensors(const Patient *patient, const char *name, Damage damage,
              const char *new_name)
{
	Arena *arena = arena_create();
	Failure failure = {0};
	StoredModel *stored;
	TensorToStore *tensors;
	int count = 0;

	assert_ok(
		stored_file_open(arena,
	                     arena_printf(arena, "%s/adapter_model.safetensors",
	                                  patient->source),
	                     &stored, &failure),
		failure);
	tensors = arena_alloc(arena, (size_t) stored_model_count(stored) *
	                                 sizeof(TensorToStore));
	for (int i = 0; i < stored_model_count(stored); i++)
	{
		const StoredTensor *tensor = stored_model_tensor(stored, i);
		TensorToStore *out = &tensors[count];
		bool is_it = strstr(tensor->name, name) != NULL;

		if (is_it && damage == LEFT_OUT)
			continue;
		*out = (TensorToStore){.name = tensor->name,
		                       .dtype = tensor->dtype,
		                       .dimensions = 2,
		                       .shape = {tensor->shape[0], tensor->shape[1]},
		                       .data = tensor->data};
		if (is_it && damage == RENAMED)
			out->name = new_name;
		if (is_it && damage == TURNED)
		{
			out->shape[0] = tensor->shape[1];
			out->shape[1] = tensor->shape[0];
		}
		if (is_it && damage == SHORT)
			out->shape[0]--;
		if (is_it && damage == FLAT)
		{
			out->dimensions = 1;
			out->shape[0] = tensor->count;
		}
		count++;
	}
	assert_ok(
		safetensors_write(arena_printf(arena, "%s/adapter_model.safetensors",
	                                   patient->directory),
	                      tensors, count, NULL, NULL, &failure),
		failure);
	arena_destroy(arena);
}

/* Rewrites the tensors in bfloat16. */
static void
narrow(const Patient *patient, const char *file)
{
	Arena *arena = arena_create();
	char *path = arena_printf(arena, "%s/%s", patient->directory, file);
	Failure failure = {0};
	StoredModel *stored;
	TensorToStore *tensors;
	int count;

	assert_ok(stored_file_open(arena, path, &stored, &failure), failure);
	count = stored_model_count(stored);
	tensors = arena_alloc(arena, (size_t) count * sizeof(TensorToStore));
	for (int i = 0; i < count; i++)
	{
		const StoredTensor *tensor = stored_model_tensor(stored, i);
		void *data = arena_alloc(arena, (size_t) tensor->count * 2);

		dtype_from_f32(data, tensor->data, DTYPE_BF16, (size_t) tensor->count);
		tensors[i] =
			(TensorToStore){.name = tensor->name,
		                    .dtype = DTYPE_BF16,
		                    .dimensions = 2,
		                    .shape = {tensor->shape[0], tensor->shape[1]},
		                    .data = data};
	}
	assert_ok(safetensors_write(path, tensors, count, NULL, NULL, &failure),
	          failure);
	arena_destroy(arena);
}

static void
check_refused(const Patient *patient, const char *words)
{
	Arena *arena = arena_create();
	Failure failure = {0};
	Model *model;

	if (adapter_open(arena, patient->base, patient->directory, &model,
	                 &failure))
		fail_msg("opened, \"%s\" was expected", words);
	if (strstr(failure.message, words) == NULL)
		fail_msg("failed with \"%s\", not \"%s\"", failure.message, words);
	arena_destroy(arena);
}

static void
configurations_that_ask_for_more_are_refused(void **state)
{
	static const struct
	{
		const char *key;
		const char *value; /* JSON */
		const char *words;
	} cases[] = {
		{"peft_type", "\"IA3\"", "type \"IA3\" are not supported"},
		{"peft_type", "7", "peft_type"},
		{"bias", "\"all\"", "bias \"all\" are not supported"},
		{"modules_to_save", "[\"lm_head\"]", "modules_to_save"},
		{"use_dora", "true", "use_dora"},
		{"lora_bias", "true", "lora_bias"},
		{"layers_to_transform", "[0]", "layers_to_transform"},
		{"layer_replication", "[[0, 1]]", "layer_replication"},
		{"init_lora_weights", "\"pissa\"", "init_lora_weights \"pissa\""},
		{"r", "0", "\"r\" must be"},
		{"r", "-4", "\"r\" must be"},
		{"r", "1e30", "\"r\" must be"},
		{"r", "\"4\"", "\"r\" must be"},
		{"r", "3", "its base needs 2 [3, 32]"},
		{"r", "65536", "its base needs 2 [65536, 32]"},
		{"r", "65537", "\"r\" must be"},
		{"lora_alpha", "\"NaN\"", "\"lora_alpha\" must be"},
		{"lora_alpha", "1e300", "\"lora_alpha\" must be"},
		{"lora_alpha", "[]", "\"lora_alpha\" must be"},
		{"use_rslora", "3", "\"use_rslora\" must be"},
		{"rank_pattern", "{\"q_proj\": 0}", "no rank of 1 to"},
		{"rank_pattern", "{\"q_proj\": \"x\"}", "no rank of 1 to"},
		{"rank_pattern", "{\"q_proj\": 5}", "its base needs 2 [5, 32]"},
		{"rank_pattern", "{\"(q_proj\": 5}", "is no valid expression"},
		{"rank_pattern", "[]", "\"rank_pattern\" must be"},
		{"alpha_pattern", "{\"q_proj\": null}", "no number of at most"},
		{"target_modules", "[]", "target_modules has 0 entries"},
		{"target_modules", "[3]", "entry 1 of target_modules"},
		{"target_modules", "{}", "target_modules must be"},
		{"target_modules", "[\"q_proj\"]", "target_modules does not name it"},
		{"target_modules", "\"(\"", "is no valid expression"},
		{"exclude_modules", "[\"q_proj\"]", "target_modules does not name it"},
	};
	Patient patient = patient_open();

	(void) state;
	write_tensors(&patient, "", KEPT, NULL);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		json_t *config = json_copy(patient.config);

		json_object_set_new(config, cases[i].key,
		                    json_loads(cases[i].value, JSON_DECODE_ANY, NULL));
		write_config(&patient, config);
		json_decref(config);
		check_refused(&patient, cases[i].words);
	}
	test_write(patient.arena, patient.directory, "adapter_config.json",
	           "{\"r\": 4, \"lora_alpha\": NaN}", 27);
	check_refused(&patient, "adapter_config.json");
	patient_close(&patient);
}

static void
an_expression_that_takes_too_long_is_refused(void **state)
{
	Patient patient = patient_open();
	json_t *config = json_copy(patient.config);

	(void) state;
	write_tensors(&patient, "", KEPT, NULL);
	json_object_set_new(config, "target_modules",
	                    json_string("(([a-z0-9_.]*)*)*[A-Z]"));
	write_config(&patient, config);
	json_decref(config);
	check_refused(&patient, "takes too long");
	patient_close(&patient);
}

static void
tensors_that_do_not_fit_are_refused(void **state)
{
	static const struct
	{
		const char *name;
		Damage damage;
		const char *new_name;
		const char *words;
	} cases[] = {
		{"layers.1.mlp.up_proj.lora_A", LEFT_OUT, NULL,
	     "layers.1.mlp.up_proj.lora_A.weight\" is missing"},
		{"layers.1.mlp.up_proj.lora_B", LEFT_OUT, NULL,
	     "layers.1.mlp.up_proj.lora_B.weight\" is missing"},
		{"layers.1.mlp.up_proj.", LEFT_OUT, NULL, "is missing"},
		{"layers.1.mlp.up_proj.lora_B", RENAMED,
	     "base_model.model.lm_head.lora_B.weight", "is missing"},
		{"layers.0.self_attn.q_proj.lora_A", TURNED, NULL,
	     "has 2 dimensions [32, 4], its base needs 2 [4, 32]"},
		{"layers.0.self_attn.k_proj.lora_B", SHORT, NULL,
	     "has 2 dimensions [15, 4], its base needs 2 [16, 4]"},
		{"layers.0.self_attn.q_proj.lora_A", FLAT, NULL,
	     "has 1 dimensions [128, 1], its base needs"},
	};
	Patient patient = patient_open();

	(void) state;
	write_config(&patient, patient.config);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		write_tensors(&patient, cases[i].name, cases[i].damage,
		              cases[i].new_name);
		check_refused(&patient, cases[i].words);
	}
	/* Without target_modules the tensors say what is changed. */
	json_object_del(patient.config, "target_modules");
	write_config(&patient, patient.config);
	write_tensors(&patient, "layers.1.mlp.up_proj.lora_B", RENAMED,
	              "base_model.model.lm_head.lora_B.weight");
	check_refused(&patient, "layers.1.mlp.up_proj.lora_B.weight\" is missing");
	patient_close(&patient);
}

static void
an_adapter_of_another_model_is_refused(void **state)
{
	Arena *arena = arena_create();
	Model *llama =
		tiny_open(arena, device, test_golden_path(arena, "decoders/llama"));
	Model *gpt2 =
		tiny_open(arena, device, test_golden_path(arena, "decoders/gpt2"));
	Failure failure = {0};
	Model *model;

	(void) state;
	assert_fails(adapter_open(arena, gpt2,
	                          test_golden_path(arena, "lora/llama/adapter"),
	                          &model, &failure),
	             failure, FAILURE_BAD_FILE, "belongs to no linear layer");
	assert_fails(adapter_open(arena, llama,
	                          test_golden_path(arena, "lora/gpt2/adapter"),
	                          &model, &failure),
	             failure, FAILURE_BAD_FILE, "belongs to no linear layer");
	assert_fails(adapter_open(arena, llama,
	                          test_golden_path(arena, "decoders/llama"), &model,
	                          &failure),
	             failure, FAILURE_NOT_FOUND, "adapter_config.json");
	arena_destroy(arena);
}

static void
old_names_of_tensors_are_known(void **state)
{
	Patient patient = patient_open();
	Failure failure = {0};
	Model *model;

	(void) state;
	write_config(&patient, patient.config);
	write_tensors(&patient, "layers.0.self_attn.q_proj.lora_A", RENAMED,
	              "base_model.model.model.layers.0.self_attn.q_proj.lora_A."
	              "default.weight");
	assert_ok(adapter_open(patient.arena, patient.base, patient.directory,
	                       &model, &failure),
	          failure);
	patient_close(&patient);
}

static void
last_logits(Model *model, const Batch *batch, float *logits)
{
	Failure failure = {0};

	assert_ok(model_last_logits(model, batch, logits, &failure), failure);
}

/* A random adapter of the directory's model, written to another one. */
static char *
make_adapter(Arena *arena, const char *directory)
{
	Model *model = tiny_open(arena, device, directory);
	LoraOptions options = {.rank = 3, .alpha = 6};
	char *made = test_directory(arena);
	Failure failure = {0};

	assert_ok(model_make_trainable(model, &options, &failure), failure);
	for (int64_t i = 0; i < model_state_size(model); i++)
	{
		float weight = (float) (0.2 * random_normal(1, 2, (uint64_t) i));

		model_state_upload(model, MODEL_WEIGHTS, i, 1, &weight);
	}
	assert_ok(adapter_save(model, NULL, made, &failure), failure);
	return made;
}

/* The base as a Hugging Face directory and as a GGUF file. */
static void
check_gguf(Arena *arena, const char *root, const char *name)
{
	char *directory = arena_printf(arena, "%s/decoders/%s", root, name);
	char *path = arena_printf(arena, "%s/gguf/%s/model-f32.gguf", root, name);
	char *adapter = make_adapter(arena, directory);
	char *merged = test_directory(arena);
	Model *base = tiny_open(arena, device, directory);
	Model *other = tiny_open(arena, device, path);
	Batch batch = tiny_batch(arena, 1);
	int vocabulary = model_config(base)->vocabulary;
	float *want = arena_alloc(arena, sizeof(float) * 3 * (size_t) vocabulary);
	float *got = want + vocabulary;
	float *whole = got + vocabulary;
	Failure failure = {0};

	assert_ok(adapter_open(arena, base, adapter, &base, &failure), failure);
	assert_ok(adapter_open(arena, other, adapter, &other, &failure), failure);
	assert_ok(model_save(other, NULL, merged, &failure), failure);
	last_logits(base, &batch, want);
	last_logits(other, &batch, got);
	last_logits(tiny_open(arena, device, merged), &batch, whole);
	for (int v = 0; v < vocabulary; v++)
	{
		assert_near(got[v], want[v], 1e-4);
		assert_near(whole[v], want[v], 1e-4);
	}
	remove_adapter(adapter);
	tiny_remove(merged);
}

/* Whose rows and storage orders are others than the adapter was made for. */
static void
adapters_fit_the_same_model_from_a_gguf_file(void **state)
{
	Arena *arena = arena_create();
	char *root = test_shared_path(arena, "golden");

	(void) state;
	if (root != NULL)
	{
		check_gguf(arena, root, "llama");
		check_gguf(arena, root, "gpt2");
		check_gguf(arena, root, "qwen2");
	}
	arena_destroy(arena);
	if (root == NULL)
		skip();
}

/* In bfloat16 they are used as they lie, and trained from copies. */
static void
adapters_of_sixteen_bits_are_widened(void **state)
{
	Patient patient = patient_open();
	json_t *golden = test_read_json(
		patient.arena, test_golden_path(patient.arena, "lora/llama"),
		"golden.json");
	json_t *text = json_array_get(
		json_object_get(
			json_object_get(json_object_get(golden, "adapters"), "adapter"),
			"texts"),
		0);
	Batch batch = batch_of(patient.arena, json_object_get(text, "ids"));
	json_t *expected = json_object_get(text, "adapter_logits");
	float logits[512], trained[512];
	Failure failure = {0};
	Model *model;

	(void) state;
	write_config(&patient, patient.config);
	write_tensors(&patient, "", KEPT, NULL);
	narrow(&patient, "adapter_model.safetensors");
	assert_ok(adapter_open(patient.arena, patient.base, patient.directory,
	                       &model, &failure),
	          failure);
	assert_int_equal(model_stored_dtype(model), DTYPE_BF16);
	assert_ok(model_last_logits(model, &batch, logits, &failure), failure);
	/* Eight bits of A and B. */
	for (size_t v = 0; v < json_array_size(expected); v++)
		assert_near(logits[v], json_number_value(json_array_get(expected, v)),
		            0.1);
	assert_ok(model_make_trainable(model, NULL, &failure), failure);
	assert_ok(model_last_logits(model, &batch, trained, &failure), failure);
	for (size_t v = 0; v < json_array_size(expected); v++)
		assert_near(trained[v], logits[v], 1e-5);
	patient_close(&patient);
}

/* What survives has to work; the others take no memory to speak of. */
static int
damage(const Patient *patient, const char *name)
{
	Arena *arena = arena_create();
	Failure failure = {0};
	size_t size;
	char *good =
		file_read(arena, arena_printf(arena, "%s/%s", patient->source, name),
	              (size_t) 1 << 20, &size, &failure);
	size_t room = size + 4096;
	uint8_t *data = arena_alloc(arena, room);
	Batch batch = tiny_batch(arena, 2);
	int survived = 0;

	for (int round = 0; round < 500; round++)
	{
		Arena *life = arena_create();
		float logp[64];
		Model *model;

		fuzz_state = (uint64_t) round;
		memcpy(data, good, size);
		test_write(life, patient->directory, name, data,
		           fuzz_mutate(data, size, room));
		memory_limit_set(memory_used() + ((uint64_t) 64 << 20));
		if (adapter_open(life, patient->base, patient->directory, &model,
		                 &failure))
		{
			/* What is damaged may still be weights, but no more numbers. */
			assert_true(model_logprobs(model, &batch, logp, &failure) ||
			            strstr(failure.message, "not finite") != NULL);
			survived++;
		}
		else
			assert_true(failure.message[0] != '\0');
		memory_limit_set(0);
		arena_destroy(life);
	}
	test_write(arena, patient->directory, name, good, size);
	arena_destroy(arena);
	return survived;
}

static void
random_damage_never_crashes(void **state)
{
	Patient patient = patient_open();

	(void) state;
	write_config(&patient, patient.config);
	write_tensors(&patient, "", KEPT, NULL);
	print_message("%d configurations and %d files of tensors opened\n",
	              damage(&patient, "adapter_config.json"),
	              damage(&patient, "adapter_model.safetensors"));
	patient_close(&patient);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_adapters_give_the_golden_logits),
		cmocka_unit_test(shared_adapters_give_the_golden_logits),
		cmocka_unit_test(configurations_that_ask_for_more_are_refused),
		cmocka_unit_test(an_expression_that_takes_too_long_is_refused),
		cmocka_unit_test(tensors_that_do_not_fit_are_refused),
		cmocka_unit_test(an_adapter_of_another_model_is_refused),
		cmocka_unit_test(old_names_of_tensors_are_known),
		cmocka_unit_test(adapters_fit_the_same_model_from_a_gguf_file),
		cmocka_unit_test(adapters_of_sixteen_bits_are_widened),
		cmocka_unit_test(random_damage_never_crashes),
	};

	return run_on_cpu(tests);
}
