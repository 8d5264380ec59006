/*
 * hostile_test.c
 *		Directories that are damaged in every way we could think of are
 *		refused with a word on what is wrong, and cost no memory to speak of.
 *
 * The golden decoders are copied, damaged and opened; random damage follows,
 * which may leave a model that works, and then it has to work.
 */
#include "patient.h"

#include "formats/safetensors.h"

/* --------------------------------------------------------- config.json */

static const Change llama_changes[] = {
	{"model_type", NULL, "no \"model_type\""},
	{"model_type", "5", "must be a string"},
	{"model_type", "\"opt\"", "\"opt\" is not supported"},
	{"model_type", "\"llama\\u0000\"", "zero character"},
	{"hidden_size", NULL, "no \"hidden_size\""},
	{"hidden_size", "null", "no \"hidden_size\""},
	{"hidden_size", "-32", "between 1 and"},
	{"hidden_size", "0", "between 1 and"},
	{"hidden_size", "32.5", "must be an integer"},
	{"hidden_size", "\"32\"", "must be an integer"},
	{"hidden_size", "1e300", "must be an integer"},
	{"hidden_size", "99999999999999999999", "must be an integer"},
	{"hidden_size", "65536", "says 2 [350, 65536]"},
	{"hidden_size", "33", "says 2 [350, 33]"},
	{"num_hidden_layers", "0", "between 1 and"},
	{"num_hidden_layers", "3", "\"model.layers.2."},
	{"num_hidden_layers", "1000", "is missing"},
	{"num_hidden_layers", "1000000000", "between 1 and"},
	{"num_attention_heads", "0", "between 1 and"},
	{"num_attention_heads", "5", "not a multiple of num_key_value_heads 2"},
	{"num_attention_heads", "4096", "config.json says"},
	{"num_key_value_heads", "3", "not a multiple of num_key_value_heads 3"},
	{"num_key_value_heads", "0", "between 1 and"},
	{"num_key_value_heads", "4", "config.json says"},
	{"head_dim", "7", "head_dim 7 is odd"},
	{"head_dim", "0", "between 1 and"},
	{"head_dim", "4096", "config.json says"},
	{"intermediate_size", NULL, "no \"intermediate_size\""},
	{"intermediate_size", "47", "config.json says"},
	{"intermediate_size", "1048576", "config.json says"},
	{"max_position_embeddings", "1", "between 2 and"},
	{"max_position_embeddings", "-256", "between 2 and"},
	{"vocab_size", NULL, "no \"vocab_size\""},
	{"vocab_size", "1", "between 2 and"},
	{"vocab_size", "349", "config.json says 2 [349, 32]"},
	{"vocab_size", "16777216", "config.json says"},
	{"vocab_size", "2147483648", "between 2 and"},
	{"rms_norm_eps", "-1", "between 0 and"},
	{"rms_norm_eps", "\"small\"", "must be a number"},
	{"hidden_act", "\"tanh\"", "activation \"tanh\""},
	{"hidden_act", "3", "must be a string"},
	{"tie_word_embeddings", "\"yes\"", "true or false"},
	{"attention_bias", "1", "true or false"},
	{"attention_bias", "true", "is missing"},
	{"mlp_bias", "true", "is missing"},
	{"bos_token_id", "\"1\"", "must be an integer"},
	{"eos_token_id", "\"2\"", "must be an integer"},
	{"eos_token_id", "[2, null]", "must be an integer"},
	{"eos_token_id", "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]",
     "lists 17 tokens"},
	{"initializer_range", "-0.1", "between 0 and"},
	{"rope_parameters", "[]", "must be an object"},
	{"rope_parameters", "{\"rope_type\": \"longrope\"}", "\"longrope\""},
	{"rope_parameters", "{\"rope_type\": 1}", "must be a string"},
	{"rope_parameters", "{\"rope_theta\": 0}", "between 1 and"},
	{"rope_parameters", "{\"rope_theta\": \"NaN\"}", "must be a number"},
	{"rope_parameters", "{\"rope_type\": \"linear\", \"factor\": 0}",
     "between 0.001 and"},
	{"rope_parameters", "{\"rope_type\": \"linear\", \"factor\": -2}",
     "between 0.001 and"},
	{"rope_parameters",
     "{\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, "
     "\"high_freq_factor\": 4}",
     "high_freq_factor 4 is not above low_freq_factor 4"},
	{"rope_parameters",
     "{\"rope_type\": \"llama3\", \"factor\": 8, "
     "\"original_max_position_embeddings\": 0}",
     "between 1 and"},
};

static const Change gpt2_changes[] = {
	{"n_embd", NULL, "no \"n_embd\""},
	{"n_embd", "65536", "config.json says"},
	{"n_head", "5", "is not a multiple of n_head 5"},
	{"n_head", "0", "between 1 and"},
	{"n_layer", "1000", "is missing"},
	{"n_positions", "1", "between 2 and"},
	{"n_positions", "16777216", "config.json says"},
	{"n_inner", "-1", "between 1 and"},
	{"n_inner", "1048576", "config.json says"},
	{"vocab_size", "16777217", "between 2 and"},
	{"layer_norm_epsilon", "2", "between 0 and"},
	{"activation_function", "\"mish\"", "\"mish\""},
	{"scale_attn_by_inverse_layer_idx", "true", "is not supported"},
	{"scale_attn_weights", "false", "is not supported"},
};

static void
every_bad_setting_is_named(void **state)
{
	(void) state;
	check_changes("decoders/llama", llama_changes,
	              sizeof(llama_changes) / sizeof(llama_changes[0]));
	check_changes("decoders/gpt2", gpt2_changes,
	              sizeof(gpt2_changes) / sizeof(gpt2_changes[0]));
}

static void
a_config_that_is_no_object_is_refused(void **state)
{
	static const char *const texts[][2] = {
		{"", "not valid JSON"},        {"[]", "not a JSON object"},
		{"null", "not a JSON object"}, {"{", "not valid JSON"},
		{"{} {}", "not valid JSON"},   {"{\"a\": NaN}", "not valid JSON"},
		{"\xff\xfe", "not valid JSON"}};
	size_t depth = 1000000;
	Arena *arena = arena_create();
	Patient patient = admit(arena, "decoders/llama");
	char *deep = arena_alloc(arena, depth);

	(void) state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		test_write(arena, patient.directory, "config.json", texts[i][0],
		           strlen(texts[i][0]));
		refuses(&patient, texts[i][0], texts[i][1]);
	}
	memset(deep, '[', depth);
	test_write(arena, patient.directory, "config.json", deep, depth);
	refuses(&patient, "a million brackets", "not valid JSON");
	unlink(arena_printf(arena, "%s/config.json", patient.directory));
	refuses(&patient, "no config.json", "cannot open");
	discharge(&patient);
	arena_destroy(arena);
}

/* --------------------------------------------------------- safetensors */

static void
cut_weights_are_refused_wherever_they_end(void **state)
{
	Arena *arena = arena_create();
	Patient patient = admit(arena, "decoders/llama");
	size_t size;
	char *content =
		read_file(arena, patient.source, "model.safetensors", &size);

	(void) state;
	for (size_t end = 0; end < size; end += end < 32 ? 1 : 509)
	{
		test_write(arena, patient.directory, "model.safetensors", content, end);
		refuses(&patient, "cut weights", "model.safetensors\"");
	}
	test_write(arena, patient.directory, "model.safetensors", content,
	           size - 1);
	refuses(&patient, "one byte less", "needs data up to byte");
	discharge(&patient);
	arena_destroy(arena);
}

/* The file once more, with one tensor changed by the caller. */
static void
write_changed(const Patient *patient, int place, const char *name, DType dtype,
              bool turned)
{
	Arena *arena = arena_create();
	Failure failure = {0};
	StoredModel *stored;
	TensorToStore *tensors;
	int count;

	assert_ok(stored_model_open(arena, patient->source, &stored, &failure),
	          failure);
	count = stored_model_count(stored);
	tensors = arena_alloc(arena, (size_t) count * sizeof(TensorToStore));
	for (int i = 0; i < count; i++)
	{
		const StoredTensor *from = stored_model_tensor(stored, i);
		bool is_changed = i == place;

		tensors[i] = (TensorToStore){.name = is_changed ? name : from->name,
		                             .dtype = from->dtype,
		                             .dimensions = from->dimensions,
		                             .data = from->data};
		if (tensors[i].name == NULL)
			tensors[i].name = from->name;
		for (int d = 0; d < from->dimensions; d++)
			tensors[i].shape[d] = from->shape[d];
		if (is_changed && turned)
		{
			tensors[i].dimensions = 3;
			tensors[i].shape[2] = 1;
			tensors[i].shape[1] = from->dimensions > 1 ? from->shape[1] : 1;
		}
		if (is_changed)
			tensors[i].dtype = dtype;
	}
	assert_ok(safetensors_write(arena_printf(arena, "%s/model.safetensors",
	                                         patient->directory),
	                            tensors, count, NULL, NULL, &failure),
	          failure);
	arena_destroy(arena);
}

static void
any_tensor_missing_or_misshapen_is_named(void **state)
{
	Arena *arena = arena_create();
	Patient patient = admit(arena, "decoders/llama");
	Failure failure = {0};
	StoredModel *stored;

	(void) state;
	assert_ok(stored_model_open(arena, patient.source, &stored, &failure),
	          failure);
	for (int i = 0; i < stored_model_count(stored); i++)
	{
		const char *name = stored_model_tensor(stored, i)->name;

		write_changed(&patient, i, "another", DTYPE_F32, false);
		refuses(&patient, name, "is missing");
		write_changed(&patient, i, NULL, DTYPE_F32, true);
		refuses(&patient, name, name);
	}
	/* Another float type is no damage. */
	write_changed(&patient, 0, NULL, DTYPE_F16, false);
	opens(&patient);
	discharge(&patient);
	arena_destroy(arena);
}

/* Whatever is the first thing of its kind in the header's text. */
static void
change_header(const Patient *patient, const char *from, const char *to)
{
	Arena *arena = arena_create();
	size_t size;
	char *content =
		read_file(arena, patient->source, "model.safetensors", &size);
	char *at = memmem(content + 8, size - 8, from, strlen(from));

	assert_non_null(at);
	assert_int_equal(strlen(from), strlen(to));
	memcpy(at, to, strlen(to));
	test_write(arena, patient->directory, "model.safetensors", content, size);
	arena_destroy(arena);
}

static void
types_that_are_no_floats_are_refused(void **state)
{
	Arena *arena = arena_create();
	Patient patient = admit(arena, "decoders/llama");

	(void) state;
	change_header(&patient, "\"F32\"", "\"I32\"");
	refuses(&patient, "integers", "I32");
	change_header(&patient, "\"F32\"", "\"F64\"");
	refuses(&patient, "doubles", "F64");
	change_header(&patient, "\"F32\"", "\"Q32\"");
	refuses(&patient, "unknown", "Q32");
	discharge(&patient);
	arena_destroy(arena);
}

/* --------------------------------------------------------------- index */

static void
an_index_may_not_lead_elsewhere(void **state)
{
	static const char *const names[][2] = {
		{"\"../model-00001-of-00003.safetensors\"", "not in a file of its"},
		{"\"/etc/passwd\"", "not in a file of its"},
		{"\"..\"", "not in a file of its"},
		{"\".\"", "not in a file of its"},
		{"\"\"", "not in a file of its"},
		{"7", "not in a file of its"},
		{"\"absent.safetensors\"", "cannot open"},
		{"\"config.json\"", "config.json"},
		{"\"model-00003-of-00003.safetensors\"", "where the index"},
	};
	const char *name = "model.safetensors.index.json";
	Arena *arena = arena_create();
	Patient patient = admit(arena, "decoders/llama_bf16");
	json_t *index = test_read_json(arena, patient.source, name);
	json_t *map = json_object_get(index, "weight_map");

	(void) state;
	opens(&patient);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		json_t *place = json_loads(names[i][0], JSON_DECODE_ANY, NULL);
		char *text;

		json_object_set_new(map, "model.embed_tokens.weight", place);
		text = json_dumps(index, 0);
		test_write(arena, patient.directory, name, text, strlen(text));
		refuses(&patient, names[i][0], names[i][1]);
		free(text);
	}
	json_object_del(index, "weight_map");
	test_write(arena, patient.directory, name, "{}", 2);
	refuses(&patient, "no map", "no weight_map");
	test_write(arena, patient.directory, name, "{\"weight_map\": {}}", 18);
	refuses(&patient, "an empty map", "is missing");
	heal(&patient, name);
	unlink(arena_printf(arena, "%s/%s", patient.directory, patient_files[7]));
	refuses(&patient, "a missing shard", "cannot open");
	discharge(&patient);
	arena_destroy(arena);
}

/* ----------------------------------------------------------- tokenizer */

static void
a_cut_tokenizer_is_refused(void **state)
{
	Arena *arena = arena_create();
	Patient patient = admit(arena, "decoders/gpt2");
	size_t size;
	char *content = read_file(arena, patient.source, "tokenizer.json", &size);

	(void) state;
	for (size_t end = 0; end + 1 < size; end += 499)
	{
		test_write(arena, patient.directory, "tokenizer.json", content, end);
		refuses(&patient, "cut tokenizer", "not valid JSON");
	}
	test_write(arena, patient.directory, "tokenizer.json", "{}", 2);
	refuses(&patient, "an empty tokenizer", "");
	unlink(arena_printf(arena, "%s/tokenizer.json", patient.directory));
	refuses(&patient, "no tokenizer", "tokenizer.json");
	discharge(&patient);
	arena_destroy(arena);
}

/* ------------------------------------------------------- random damage */

static void
random_damage_never_crashes(void **state)
{
	Arena *arena = arena_create();
	Patient llama = admit(arena, "decoders/llama");
	Patient gpt2 = admit(arena, "decoders/gpt2");
	Patient sharded = admit(arena, "decoders/llama_bf16");

	(void) state;
	damage(&llama, "config.json");
	damage(&llama, "tokenizer.json");
	damage(&llama, "model.safetensors");
	damage(&gpt2, "config.json");
	damage(&gpt2, "tokenizer.json");
	damage(&gpt2, "generation_config.json");
	damage(&gpt2, "tokenizer_config.json");
	damage(&sharded, "model.safetensors.index.json");
	damage(&sharded, "model-00003-of-00003.safetensors");
	discharge(&llama);
	discharge(&gpt2);
	discharge(&sharded);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_bad_setting_is_named),
		cmocka_unit_test(a_config_that_is_no_object_is_refused),
		cmocka_unit_test(cut_weights_are_refused_wherever_they_end),
		cmocka_unit_test(any_tensor_missing_or_misshapen_is_named),
		cmocka_unit_test(types_that_are_no_floats_are_refused),
		cmocka_unit_test(an_index_may_not_lead_elsewhere),
		cmocka_unit_test(a_cut_tokenizer_is_refused),
		cmocka_unit_test(random_damage_never_crashes),
	};

	return run_on_cpu(tests);
}
