/*
 * hostile_architecture_test.c
 *		Contradictions in the configurations and weights of the architectures
 *		beside GPT-2 and LLaMA are named, and cost no memory to speak of.
 */
#include "patient.h"

#define CHANGES(list) list, sizeof(list) / sizeof(list[0])

static const Change mistral_changes[] = {
	{"sliding_window", "0", "between 1 and"},
	{"sliding_window", "-1", "between 1 and"},
	{"sliding_window", "\"all\"", "must be an integer"},
	{"sliding_window", "2147483648", "between 1 and"},
	{"head_dim", "11", "head_dim 11 is odd"},
	{"head_dim", "1", "which is no pair"},
	{"num_key_value_heads", NULL, "not a multiple of num_key_value_heads 8"},
	{"num_key_value_heads", "3", "not a multiple of num_key_value_heads 3"},
	{"rope_theta", "\"NaN\"", "must be a number"},
	{"rope_theta", "0", "between 1 and"},
	{"rope_scaling", "{\"type\": \"longrope\"}", "\"longrope\""},
	{"rope_scaling", "{\"type\": \"yarn\", \"factor\": 0}",
     "between 0.001 and"},
	{"rope_scaling", "{\"type\": \"yarn\", \"beta_fast\": 0}",
     "between 1e-06 and"},
	{"rope_scaling", "{\"type\": \"yarn\", \"truncate\": 1}", "true or false"},
	{"rope_scaling", "{\"type\": \"yarn\", \"rope_theta\": 1}",
     "above 1 for yarn"},
	{"rope_scaling", "{\"full_attention\": {\"rope_theta\": 10000}}",
     "by the kind of layer"},
	{"rope_scaling", "[1]", "must be an object"},
	{"tie_word_embeddings", "1", "true or false"},
	{"architectures", "\"MistralForCausalLM\"", "must be an array"},
	{"architectures", "[\"MistralForSequenceClassification\"]",
     "\"score.weight\" is missing"},
};

static const Change qwen2_changes[] = {
	{"use_sliding_window", "\"no\"", "true or false"},
	{"sliding_window", "0", "between 1 and"},
	{"max_window_layers", "-1", "between 0 and"},
	{"layer_types", "[\"full_attention\"]", "lists 1 layers"},
	{"layer_types", "\"full_attention\"", "must be an array"},
	{"layer_types", "[\"full_attention\", \"chunked_attention\"]",
     "\"chunked_attention\""},
	{"layer_types", "[\"full_attention\", 7]", "layer_types has \"\""},
};

static const Change qwen3_changes[] = {
	{"head_dim", NULL, "config.json says"},
	{"attention_bias", "true", "is missing"},
	{"num_hidden_layers", "1001", "between 1 and"},
	{"layer_types", "[\"sliding_attention\", \"full_attention\"]",
     "without a sliding_window"},
};

static const Change neox_changes[] = {
	{"num_attention_heads", "5", "not a multiple of num_attention_heads 5"},
	{"num_attention_heads", "0", "between 1 and"},
	{"rotary_pct", "0", "which is no pair"},
	{"rotary_pct", "-0.5", "between 0 and"},
	{"rotary_pct", "1.5", "between 0 and"},
	{"rotary_pct", "0.2", "3 rotated elements of each head are an odd"},
	{"rotary_pct", "\"NaN\"", "must be a number"},
	{"rotary_emb_base", "0", "between 1 and"},
	{"use_parallel_residual", "2", "true or false"},
	{"hidden_act", "\"mish\"", "\"mish\""},
	{"intermediate_size", "47", "config.json says"},
	{"layer_norm_eps", "-1e-5", "between 0 and"},
	{"vocab_size", "299", "config.json says"},
};

static const Change bert_changes[] = {
	{"num_attention_heads", "5", "not a multiple of num_attention_heads 5"},
	{"num_hidden_layers", "0", "between 1 and"},
	{"num_hidden_layers", "3", "\"bert.encoder.layer.2."},
	{"hidden_size", "99999999999999999999", "must be an integer"},
	{"type_vocab_size", "0", "between 1 and"},
	{"type_vocab_size", "3", "config.json says 2 [3, 24]"},
	{"max_position_embeddings", "49", "config.json says 2 [49, 24]"},
	{"position_embedding_type", "\"relative_key\"", "\"relative_key\""},
	{"is_decoder", "true", "\"is_decoder\" is not supported"},
	{"hidden_act", "\"gelu_10\"", "\"gelu_10\""},
	{"id2label", "{}", "names no label"},
	{"id2label", "[\"a\"]", "must be an object"},
	{"id2label", "{\"0\": \"a\"}", "config.json says 2 [1, 24]"},
	{"num_labels", "4", "id2label names 3 labels, num_labels is 4"},
	{"pad_token_id", "-2", "between -1 and"},
	{"pad_token_id", "[0]", "must be an integer"},
	{"model_type", "\"roberta\"", "is missing"},
};

static const Change distilbert_changes[] = {
	{"dim", NULL, "no \"dim\""},
	{"n_heads", "5", "dim 24 is not a multiple of n_heads 5"},
	{"n_layers", "1000", "is missing"},
	{"hidden_dim", "41", "config.json says"},
	{"activation", "\"tanh\"", "\"tanh\""},
};

static const Change roberta_changes[] = {
	{"pad_token_id", "-1", "between 0 and"},
	{"pad_token_id", "290", "between 0 and 289"},
	{"pad_token_id", "48", "leaves no room behind pad_token_id 48"},
	{"pad_token_id", "200", "leaves no room behind pad_token_id 200"},
	{"max_position_embeddings", "2", "leaves no room"},
};

static const Change deberta_changes[] = {
	{"position_buckets", "1", "do not fit"},
	{"position_buckets", "95", "do not fit max_relative_positions 48"},
	{"position_buckets", "65537", "between -1 and"},
	{"position_buckets", "9", "config.json says 2 [18, 24]"},
	{"max_relative_positions", "2", "do not fit"},
	{"max_relative_positions", "\"all\"", "must be an integer"},
	{"pos_att_type", "5", "must be an array"},
	{"relative_attention", "\"yes\"", "true or false"},
	{"conv_kernel_size", "3", "with a convolution"},
	{"embedding_size", "12", "embeddings or a pooler"},
	{"pooler_hidden_size", "25", "embeddings or a pooler"},
	{"pooler_hidden_act", "\"cosine\"", "\"cosine\""},
};

static void
every_bad_setting_is_named(void **state)
{
	(void) state;
	check_changes("decoders/mistral", CHANGES(mistral_changes));
	check_changes("decoders/qwen2", CHANGES(qwen2_changes));
	check_changes("decoders/qwen3", CHANGES(qwen3_changes));
	check_changes("decoders/gpt_neox", CHANGES(neox_changes));
	check_changes("classifiers/bert", CHANGES(bert_changes));
	check_changes("classifiers/deberta_v2", CHANGES(deberta_changes));
	check_changes("classifiers/distilbert", CHANGES(distilbert_changes));
	check_changes("classifiers/roberta", CHANGES(roberta_changes));
}

/* Ten million labels: more than a configuration may hold. */
static void
too_many_labels_are_refused(void **state)
{
	Arena *arena = arena_create();
	Patient patient = admit(arena, "classifiers/bert");
	size_t count = 10000000;
	char *text = arena_alloc(arena, count * 16 + 100);
	size_t size = (size_t) sprintf(text, "{\"model_type\": \"bert\", "
	                                     "\"id2label\": {\"x\": 1");

	(void) state;
	for (size_t i = 0; i < count; i++)
		size += (size_t) sprintf(text + size, ",\"%zu\":0", i);
	size += (size_t) sprintf(text + size, "}}");
	test_write(arena, patient.directory, "config.json", text, size);
	refuses(&patient, "10^7 labels", "config.json");
	discharge(&patient);
	arena_destroy(arena);
}

static void
random_damage_never_crashes(void **state)
{
	static const char *const names[] = {
		"decoders/gpt_neox", "decoders/qwen3",      "decoders/mistral",
		"classifiers/bert",  "classifiers/roberta", "classifiers/deberta_v2"};

	(void) state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		Arena *arena = arena_create();
		Patient patient = admit(arena, names[i]);

		damage(&patient, "config.json");
		damage(&patient, "model.safetensors");
		discharge(&patient);
		arena_destroy(arena);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_bad_setting_is_named),
		cmocka_unit_test(too_many_labels_are_refused),
		cmocka_unit_test(random_damage_never_crashes),
	};

	return run_on_cpu(tests);
}
