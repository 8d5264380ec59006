/*
 * critic_test.c
 *		Training classifiers: three steps against the golden values, new heads
 *		on any body, and what is kept of a head that is there.
 */
#include "near.h"
#include "on_cpu.h"
#include "tiny.h"

#include "model/lora/lora.h"
#include "train/step.h"

#define ROWS_MAX 16

/* ---------------------------------------------------------- golden values */

static double
number(json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

static void
read_row(Arena *arena, json_t *json, DatasetRow *row)
{
	json_t *ids = json_object_get(json, "ids");
	int32_t *id =
		arena_alloc(arena, (json_array_size(ids) + 1) * sizeof(int32_t));

	for (size_t t = 0; t < json_array_size(ids); t++)
		id[t] = (int32_t) json_integer_value(json_array_get(ids, t));
	*row = (DatasetRow){.tokens = (int32_t) json_array_size(ids),
	                    .prompt = (int32_t) number(json, "first"),
	                    .ids = id,
	                    .reward = number(json, "label")};
}

static Dataset
read_rows(Arena *arena, json_t *golden)
{
	json_t *rows = json_object_get(golden, "rows");
	json_t *groups = json_object_get(golden, "groups");
	int32_t *offset = arena_alloc(arena, (ROWS_MAX + 1) * sizeof(int32_t));
	int32_t *row = arena_alloc(arena, ROWS_MAX * sizeof(int32_t));
	Dataset dataset = {.row = arena_alloc(arena, ROWS_MAX * sizeof(DatasetRow)),
	                   .selected = (int32_t) json_array_size(rows)};

	assert_true(dataset.selected <= ROWS_MAX);
	for (int32_t i = 0; i < dataset.selected; i++)
		read_row(arena, json_array_get(rows, (size_t) i), &dataset.row[i]);
	for (size_t g = 0; g < json_array_size(groups); g++)
	{
		json_t *group = json_array_get(groups, g);

		offset[g + 1] = offset[g];
		for (size_t j = 0; j < json_array_size(group); j++)
			row[offset[g + 1]++] =
				(int32_t) json_integer_value(json_array_get(group, j));
	}
	dataset.groups = (Groups){.count = (int32_t) json_array_size(groups),
	                          .offset = offset,
	                          .row = row};
	return dataset;
}

static ParameterView
parameter(const Model *model, const char *name)
{
	for (int i = 0; i < model_parameter_count(model); i++)
		if (strcmp(model_parameter(model, i).name, name) == 0)
			return model_parameter(model, i);
	fail_msg("no parameter %s", name);
	return model_parameter(model, 0);
}

/* The first values of a new head are ours; here they are the reference's. */
static void
put_head(Model *model, json_t *head)
{
	const char *name;
	json_t *values;

	json_object_foreach(head, name, values)
	{
		ParameterView view = parameter(model, name);

		assert_int_equal(view.count, json_array_size(values));
		for (size_t i = 0; i < json_array_size(values); i++)
		{
			float value = (float) json_number_value(json_array_get(values, i));

			model_state_upload(model, MODEL_WEIGHTS, view.offset + (int64_t) i,
			                   1, &value);
		}
	}
}

static Model *
open_case(Arena *arena, const char *root, json_t *golden,
          const ClassifierPlan *plan)
{
	const char *folder = json_string_value(json_object_get(golden, "model"));
	const char *adapter = json_string_value(json_object_get(golden, "adapter"));
	ModelFiles files = {.plan = plan};
	Failure failure = {0};
	Model *model;

	files.directory = arena_printf(arena, "%s/%s", root, folder);
	assert_ok(model_open_files(arena, device, &files, &model, &failure),
	          failure);
	if (adapter != NULL)
		assert_ok(adapter_open(arena, model,
		                       arena_printf(arena, "%s/%s", root, adapter),
		                       &model, &failure),
		          failure);
	assert_ok(model_make_trainable(model, NULL, &failure), failure);
	put_head(model, json_object_get(golden, "head"));
	return model;
}

static void
check_gradients(Model *model, json_t *norms)
{
	const char *name;
	json_t *expected;

	json_object_foreach(norms, name, expected)
	{
		ParameterView view = parameter(model, name);
		double want = json_number_value(expected);
		double sum = 0;

		for (int64_t i = 0; i < view.count; i++)
		{
			float grad;

			model_state_download(model, MODEL_GRADIENTS, view.offset + i, 1,
			                     &grad);
			sum += (double) grad * (double) grad;
		}
		/* A key's bias has no gradient but rounding. */
		assert_near(sqrt(sum), want, 1e-4 * want + 2e-6);
	}
}

static void
check_parameters(Model *model, json_t *tensors, json_t *after)
{
	const char *name;
	json_t *expected;

	json_object_foreach(after, name, expected)
	{
		ParameterView view = parameter(model, name);
		json_t *positions =
			json_object_get(json_object_get(tensors, name), "positions");
		json_t *values = json_object_get(expected, "values");

		for (size_t i = 0; i < json_array_size(values); i++)
		{
			int64_t at = json_integer_value(json_array_get(positions, i));
			float value;

			model_state_download(model, MODEL_WEIGHTS, view.offset + at, 1,
			                     &value);
			assert_near(value, json_number_value(json_array_get(values, i)),
			            1e-5);
		}
	}
}

static TrainOptions
golden_options(json_t *golden)
{
	json_t *settings =
		json_pack("{s:O, s:f, s:f, s:f, s:f}", "method",
	              json_object_get(golden, "objective"), "learning_rate", 1e-3,
	              "weight_decay", 0.0, "max_grad_norm", 1.0, "adam_eps", 1e-6);
	TrainOptions options;
	Failure failure = {0};

	assert_ok(train_options_read(settings, &options, &failure), failure);
	json_decref(settings);
	return options;
}

/* budget in tokens: small ones split the step into micro-batches. */
static void
check_case(const char *root, const char *name, int64_t budget)
{
	static char *labels[] = {"a", "b", "c", "d"};
	Arena *arena = arena_create();
	json_t *golden =
		test_read_json(arena, arena_printf(arena, "%s/reward", root),
	                   arena_printf(arena, "%s.json", name));
	json_t *steps = json_object_get(golden, "steps");
	const ClassifierPlan plan = {.labels = (int) number(golden, "labels"),
	                             .names = labels};
	TrainOptions options = golden_options(golden);
	Dataset dataset = read_rows(arena, golden);
	Model *model = open_case(arena, root, golden, &plan);
	int32_t drawn[ROWS_MAX];
	StepReport report;
	Failure failure = {0};

	print_message("%s\n", name);
	for (int32_t i = 0; i < dataset.groups.count; i++)
		drawn[i] = i;
	for (size_t k = 0; k < json_array_size(steps); k++)
	{
		json_t *step = json_array_get(steps, k);
		double want = number(step, "loss");

		assert_ok(step_run(model, &options, &dataset, drawn,
		                   dataset.groups.count, budget, (int64_t) k + 1, 1e-3,
		                   &report, &failure),
		          failure);
		assert_near(report.loss, want, 1e-5 * fabs(want) + 1e-6);
		assert_near(report.grad_norm, number(step, "grad_norm"),
		            1e-4 * number(step, "grad_norm"));
		if (k == 0)
			check_gradients(model, json_object_get(golden, "grad_norms"));
		check_parameters(model, json_object_get(golden, "tensors"),
		                 json_object_get(step, "parameters"));
	}
	assert_ok(step_run(model, &options, &dataset, drawn, dataset.groups.count,
	                   budget, 4, 1e-3, &report, &failure),
	          failure);
	assert_near(report.loss, number(golden, "final_loss"),
	            1e-4 * fabs(number(golden, "final_loss")) + 1e-5);
	arena_destroy(arena);
}

static const char *const cases[] = {"bert",          "distilbert", "roberta",
                                    "roberta_pairs", "bert_body",  "gpt_neox",
                                    "qwen2",         "gpt2",       "llama_body",
                                    "qwen2_lora",    "deberta"};
#define CASES (sizeof(cases) / sizeof(cases[0]))

static void
three_steps_give_the_golden_numbers(void **state)
{
	Arena *arena = arena_create();

	(void) state;
	for (size_t i = 0; i < CASES; i++)
		check_case(test_golden_path(arena, ""), cases[i], 100000);
	arena_destroy(arena);
}

static void
micro_batches_make_no_difference(void **state)
{
	Arena *arena = arena_create();

	(void) state;
	for (size_t i = 0; i < CASES; i++)
		check_case(test_golden_path(arena, ""), cases[i], 50);
	arena_destroy(arena);
}

/* ------------------------------------------------------------- the head */

static char *two_labels[] = {"no", "yes"};
static const ClassifierPlan two = {.labels = 2,
                                   .names = two_labels,
                                   .problem = "single_label_classification",
                                   .seed = 11};

static const char *const bodies[] = {
	TINY_GPT2,
	TINY_LLAMA(""),
	TINY_QWEN3,
	TINY_NEOX(""),
	TINY_ENCODER("bert", ""),
	TINY_ENCODER("roberta", ", \"type_vocab_size\": 1"),
	TINY_DISTILBERT(""),
	TINY_ENCODER("bert", TINY_CLASSES("Bert")),
	TINY_LLAMA(TINY_CLASSES("Llama") ", \"pad_token_id\": 256"),
	TINY_ENCODER("deberta-v2", TINY_DISTANCES("true")),
	TINY_ENCODER("deberta-v2", TINY_DISTANCES("false")),
};
#define BODIES (sizeof(bodies) / sizeof(bodies[0]))

/* One AdamW step along some gradient of the outputs. */
static bool
push_up(void *argument, int sequences, const float *logits, float *grad,
        Failure *failure)
{
	(void) argument;
	(void) logits;
	(void) failure;
	for (int i = 0; i < 2 * sequences; i++)
		grad[i] = i % 2 == 0 ? 0.5f : -1;
	return true;
}

static void
move(Model *model, const Batch *batch)
{
	const AdamW adamw = {.learning_rate = 1e-2f,
	                     .beta1 = 0.9,
	                     .beta2 = 0.999,
	                     .eps = 1e-6f,
	                     .correction1 = 0.1f,
	                     .correction2 = 0.001f,
	                     .gradient_scale = 1};
	uint64_t key[64] = {0};
	const DropoutKeys keys = {0, key};
	Failure failure = {0};

	model_zero_gradients(model);
	assert_ok(
		model_classify_accumulate(model, batch, &keys, push_up, NULL, &failure),
		failure);
	assert_ok(model_update(model, &adamw, &failure), failure);
}

/* What was trained on a body is saved as a classifier that says the same. */
static void
check_body(const char *config, const LoraOptions *lora, double tolerance)
{
	Arena *arena = arena_create();
	char *source = tiny_directory(arena, config, 3);
	char *target = test_directory(arena);
	Batch batch = tiny_batch(arena, 5);
	float before[10], after[10];
	Failure failure = {0};
	Model *model, *saved;

	assert_ok(model_open_files(arena, device,
	                           &(ModelFiles){.directory = source, .plan = &two},
	                           &model, &failure),
	          failure);
	assert_ok(model_make_trainable(model, lora, &failure), failure);
	for (int i = 0; i < 3; i++)
		move(model, &batch);
	assert_ok(model_classify(model, &batch, before, &failure), failure);
	assert_ok(model_save(model, NULL, target, &failure), failure);
	saved = tiny_open(arena, device, target);
	assert_int_equal(model_kind(saved), MODEL_CLASSIFIER);
	assert_int_equal(model_labels(saved), 2);
	assert_ok(model_classify(saved, &batch, after, &failure), failure);
	for (int i = 0; i < 10; i++)
		assert_near(after[i], before[i], tolerance);
	tiny_remove(source);
	tiny_remove(target);
	arena_destroy(arena);
}

static void
any_body_becomes_a_classifier(void **state)
{
	(void) state;
	for (size_t i = 0; i < BODIES; i++)
		check_body(bodies[i], NULL, 0);
}

static void
an_adapter_is_merged_and_its_head_saved(void **state)
{
	const LoraOptions lora = {.rank = 3, .alpha = 6, .dropout = 0.1, .seed = 4};

	(void) state;
	/* W + BA is rounded once more than Wx + BAx.  The last two have no
	 * adapters: their maps see distances, too. */
	for (size_t i = 0; i < BODIES - 2; i++)
		check_body(bodies[i], &lora, 2e-5);
}

static Model *
open_with(Arena *arena, const char *directory, const ClassifierPlan *plan)
{
	Failure failure = {0};
	Model *model;

	assert_ok(
		model_open_files(arena, device,
	                     &(ModelFiles){.directory = directory, .plan = plan},
	                     &model, &failure),
		failure);
	assert_ok(model_make_trainable(model, NULL, &failure), failure);
	return model;
}

static double
norm_of(Model *model, const char *name)
{
	ParameterView view = parameter(model, name);
	double sum = 0;

	for (int64_t i = 0; i < view.count; i++)
	{
		float value;

		model_state_download(model, MODEL_WEIGHTS, view.offset + i, 1, &value);
		sum += (double) value * (double) value;
	}
	return sqrt(sum / (double) view.count);
}

static void
a_new_head_follows_from_the_seed(void **state)
{
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, TINY_ENCODER("roberta", ""), 3);
	ClassifierPlan other = two;
	Batch batch = tiny_batch(arena, 3);
	float one[6], same[6], another[6];
	Failure failure = {0};
	Model *model = open_with(arena, directory, &two);

	(void) state;
	other.seed = 12;
	/* initializer_range is 0.2; 576 and 48 numbers. */
	assert_near(norm_of(model, "classifier.dense.weight"), 0.2, 0.03);
	assert_near(norm_of(model, "classifier.out_proj.weight"), 0.2, 0.08);
	assert_near(norm_of(model, "classifier.dense.bias"), 0, 0);
	assert_ok(model_classify(model, &batch, one, &failure), failure);
	assert_ok(model_classify(open_with(arena, directory, &two), &batch, same,
	                         &failure),
	          failure);
	assert_ok(model_classify(open_with(arena, directory, &other), &batch,
	                         another, &failure),
	          failure);
	assert_memory_equal(one, same, sizeof(one));
	assert_memory_not_equal(one, another, sizeof(one));
	tiny_remove(directory);
	arena_destroy(arena);
}

static void
a_head_of_the_same_shape_is_kept(void **state)
{
	static char *names[] = {"x", "y", "z"};
	const ClassifierPlan three = {.labels = 3, .names = names};
	Arena *arena = arena_create();
	char *directory = tiny_directory(arena, bodies[7], 3);
	Batch batch = tiny_batch(arena, 3);
	float before[9], after[9];
	Failure failure = {0};

	(void) state;
	assert_ok(model_classify(tiny_open(arena, device, directory), &batch,
	                         before, &failure),
	          failure);
	assert_ok(model_classify(open_with(arena, directory, &three), &batch, after,
	                         &failure),
	          failure);
	assert_memory_equal(before, after, sizeof(before));
	/* Of another shape only the last map is new. */
	assert_true(norm_of(open_with(arena, directory, &two),
	                    "bert.pooler.dense.bias") == 0);
	tiny_remove(directory);
	arena_destroy(arena);
}

static void
a_decoder_without_padding_reads_its_last_token(void **state)
{
	static const int32_t ids[] = {7, 8, 256, 256, 7, 8};
	static const int32_t offset[] = {0, 4, 6};
	const Batch batch = {2, offset, NULL, ids, NULL};
	Arena *arena = arena_create();
	char *plain =
		tiny_directory(arena, TINY_LLAMA(", \"pad_token_id\": 256"), 3);
	char *padding = tiny_directory(arena, bodies[8], 3);
	float logits[4];
	Failure failure = {0};

	(void) state;
	assert_ok(
		model_classify(open_with(arena, plain, &two), &batch, logits, &failure),
		failure);
	assert_true(fabsf(logits[0] - logits[2]) > 1e-3f);
	assert_ok(model_classify(open_with(arena, padding, &two), &batch, logits,
	                         &failure),
	          failure);
	assert_near(logits[0], logits[2], 1e-5);
	tiny_remove(plain);
	tiny_remove(padding);
	arena_destroy(arena);
}

/* What transformers needs to know of it. */
static void
the_configuration_names_the_labels(void **state)
{
	Arena *arena = arena_create();
	char *source = tiny_directory(arena, TINY_GPT2, 3);
	char *target = test_directory(arena);
	Failure failure = {0};
	json_t *config;

	(void) state;
	assert_ok(
		model_save(open_with(arena, source, &two), NULL, target, &failure),
		failure);
	config = test_read_json(arena, target, "config.json");
	assert_string_equal(json_string_value(json_array_get(
							json_object_get(config, "architectures"), 0)),
	                    "GPT2ForSequenceClassification");
	assert_string_equal(json_string_value(json_object_get(
							json_object_get(config, "id2label"), "1")),
	                    "yes");
	assert_int_equal(json_integer_value(json_object_get(
						 json_object_get(config, "label2id"), "yes")),
	                 1);
	assert_string_equal(
		json_string_value(json_object_get(config, "problem_type")),
		"single_label_classification");
	assert_true(json_is_null(json_object_get(config, "pad_token_id")));
	tiny_remove(source);
	tiny_remove(target);
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_steps_give_the_golden_numbers),
		cmocka_unit_test(micro_batches_make_no_difference),
		cmocka_unit_test(any_body_becomes_a_classifier),
		cmocka_unit_test(an_adapter_is_merged_and_its_head_saved),
		cmocka_unit_test(a_new_head_follows_from_the_seed),
		cmocka_unit_test(a_head_of_the_same_shape_is_kept),
		cmocka_unit_test(a_decoder_without_padding_reads_its_last_token),
		cmocka_unit_test(the_configuration_names_the_labels),
	};

	return run_on_cpu(tests);
}
