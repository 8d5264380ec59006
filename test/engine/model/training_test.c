/*
 * training_test.c
 *		Three AdamW steps of every method against the golden values: loss,
 *		gradient by token and by tensor, parameters after each step.
 */
#include "near.h"
#include "on_cpu.h"

#include "method/objective.h"
#include "model/lora/lora.h"
#include "model/model.h"

/* The rows of a method as a batch, with what the objective needs. */
typedef struct Rows
{
	Batch batch;
	int count;
	float *ref_logp;
	double *reward;
	double *advantage;
	int groups;
	int32_t *group_offset;
	size_t *position; /* [count] of each among the method's rows */
	const Objective *objective;
	ObjectiveOptions options;
	double loss;
	json_t *expected_grad; /* of the first step, else NULL */
} Rows;

static double
number(json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

/* Where each row of the batch is among the method's rows: groups one after
 * the other, or each row its own. */
static void
arrange(Rows *rows, json_t *groups)
{
	int at = 0;

	rows->groups = (int) json_array_size(groups);
	for (int i = 0; i < rows->groups; i++)
	{
		json_t *group = json_array_get(groups, (size_t) i);

		for (size_t j = 0; j < json_array_size(group); j++)
			rows->position[at++] =
				(size_t) json_integer_value(json_array_get(group, j));
		rows->group_offset[i + 1] = at;
	}
	for (; rows->groups < rows->count && json_array_size(groups) == 0; at++)
	{
		rows->position[at] = (size_t) at;
		rows->group_offset[++rows->groups] = at + 1;
	}
	assert_int_equal(at, rows->count);
}

static Rows
rows_of(Arena *arena, json_t *all, json_t *method)
{
	json_t *chosen = json_object_get(method, "rows");
	size_t count = json_array_size(chosen);
	int32_t *offset = arena_alloc(arena, (count + 1) * sizeof(int32_t));
	int32_t *target = arena_alloc(arena, count * sizeof(int32_t) + 4);
	int32_t *ids = arena_alloc(arena, 65536 * sizeof(int32_t));
	Rows rows = {.count = (int) count,
	             .ref_logp = arena_alloc(arena, 65536 * sizeof(float)),
	             .reward = arena_alloc(arena, count * sizeof(double) + 8),
	             .advantage = arena_alloc(arena, count * sizeof(double) + 8),
	             .group_offset =
	                 arena_alloc(arena, (count + 1) * sizeof(int32_t)),
	             .position = arena_alloc(arena, count * sizeof(size_t) + 8)};
	int targets = 0;

	arrange(&rows, json_object_get(method, "groups"));
	for (size_t i = 0; i < count; i++)
	{
		json_t *row =
			json_array_get(all, (size_t) json_integer_value(
									json_array_get(chosen, rows.position[i])));
		json_t *tokens = json_object_get(row, "ids");
		json_t *reference = json_object_get(row, "ref_logprobs");

		target[i] = offset[i] + (int32_t) json_integer_value(
									json_object_get(row, "prompt_length"));
		for (size_t t = 0; t < json_array_size(tokens); t++)
			ids[(size_t) offset[i] + t] =
				(int32_t) json_integer_value(json_array_get(tokens, t));
		offset[i + 1] = offset[i] + (int32_t) json_array_size(tokens);
		for (size_t t = 0; t < json_array_size(reference); t++)
			rows.ref_logp[targets++] =
				(float) json_number_value(json_array_get(reference, t));
		rows.reward[i] = number(row, "reward");
		rows.advantage[i] = number(row, "advantage");
	}
	rows.batch = (Batch){(int) count, offset, target, ids, NULL};
	return rows;
}

/* The tokens' gradients of row i of the batch, with the 1/n in them. */
static void
check_row(const Rows *rows, int i, int tokens, const float *grad)
{
	json_t *expected = json_array_get(rows->expected_grad, rows->position[i]);

	for (int t = 0; t < tokens && expected != NULL; t++)
	{
		double want = json_number_value(json_array_get(expected, (size_t) t));

		assert_near(grad[t], want, 1e-4 * fabs(want) + 1e-7);
	}
}

static bool
gradient(void *argument, int first, int count, const float *logp, float *grad,
         Failure *failure)
{
	Rows *rows = argument;

	(void) failure;
	for (int i = 0; i < rows->groups; i++)
	{
		int begin = rows->group_offset[i];
		int responses = rows->group_offset[i + 1] - begin;
		int32_t offset[65] = {0};
		ObjectiveGroup group = {responses,
		                        offset,
		                        logp,
		                        rows->ref_logp +
		                            batch_targets(&rows->batch, 0, begin),
		                        &rows->reward[begin],
		                        &rows->advantage[begin]};
		ObjectiveStats stats = {0};

		if (begin < first || begin >= first + count)
			continue;
		assert_true(responses <= 64);
		for (int j = 0; j < responses; j++)
			offset[j + 1] =
				offset[j] + batch_targets(&rows->batch, begin + j, 1);
		rows->loss +=
			rows->objective->loss(&group, &rows->options, grad, &stats) /
			rows->groups;
		for (int t = 0; t < offset[responses]; t++)
			grad[t] /= (float) rows->groups;
		for (int j = 0; j < responses; j++)
			check_row(rows, begin + j, offset[j + 1] - offset[j],
			          grad + offset[j]);
		logp += offset[responses];
		grad += offset[responses];
	}
	return true;
}

static int
index_of(const Model *model, const char *name)
{
	for (int i = 0; i < model_parameter_count(model); i++)
		if (strcmp(model_parameter(model, i).name, name) == 0)
			return i;
	fail_msg("no parameter %s", name);
	return -1;
}

static double
norm_of(const float *x, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += (double) x[i] * (double) x[i];
	return sqrt(sum);
}

static void
check_gradients(Model *model, Arena *arena, json_t *norms)
{
	float *state =
		arena_alloc(arena, sizeof(float) * (size_t) model_state_size(model));
	const char *name;
	json_t *expected;

	model_state_download(model, MODEL_GRADIENTS, 0, model_state_size(model),
	                     state);
	json_object_foreach(norms, name, expected)
	{
		ParameterView view = model_parameter(model, index_of(model, name));
		double want = json_number_value(expected);

		/* A key's bias has no gradient but rounding. */
		assert_near(norm_of(state + view.offset, view.count), want,
		            1e-4 * want + 2e-6);
	}
}

static void
check_parameters(Model *model, Arena *arena, json_t *tensors, json_t *after)
{
	float *state =
		arena_alloc(arena, sizeof(float) * (size_t) model_state_size(model));
	const char *name;
	json_t *expected;

	model_state_download(model, MODEL_WEIGHTS, 0, model_state_size(model),
	                     state);
	json_object_foreach(after, name, expected)
	{
		ParameterView view = model_parameter(model, index_of(model, name));
		json_t *positions =
			json_object_get(json_object_get(tensors, name), "positions");
		json_t *values = json_object_get(expected, "values");

		for (size_t i = 0; i < json_array_size(values); i++)
		{
			json_int_t at = json_integer_value(json_array_get(positions, i));

			assert_near(state[view.offset + at],
			            json_number_value(json_array_get(values, i)), 1e-5);
		}
	}
}

static void
one_step(Model *model, Rows *rows, Failure *failure)
{
	rows->loss = 0;
	model_zero_gradients(model);
	assert_ok(model_accumulate(model, &rows->batch, rows->groups,
	                           rows->group_offset, NULL, gradient, rows,
	                           failure),
	          *failure);
}

/* The model of a directory, or the adapter there over it. */
static Model *
open_trainable(Arena *arena, const char *directory, const char *adapter)
{
	Failure failure;
	Model *model;

	assert_ok(model_open(arena, device, directory, NULL, &model, &failure),
	          failure);
	if (adapter != NULL)
		assert_ok(adapter_open(arena, model,
		                       arena_printf(arena, "%s/%s", directory, adapter),
		                       &model, &failure),
		          failure);
	assert_ok(model_make_trainable(model, NULL, &failure), failure);
	return model;
}

static void
check_method(const char *directory, const char *adapter, json_t *golden,
             const char *name)
{
	json_t *method = json_object_get(json_object_get(golden, "methods"), name);
	json_t *steps = json_object_get(method, "steps");
	Arena *arena = arena_create();
	Rows rows = rows_of(arena, json_object_get(golden, "rows"), method);
	Model *model = open_trainable(arena, directory, adapter);
	Failure failure;
	double norm;

	print_message("%s\n", name);
	rows.objective = objective_find(name);
	rows.options = (ObjectiveOptions){0.9, 0.1, 0.1, 0.05};
	rows.expected_grad = json_object_get(method, "dloss_dlogprob");
	for (size_t k = 0; k < json_array_size(steps); k++)
	{
		json_t *step = json_array_get(steps, k);
		double want = number(step, "loss");
		AdamW adamw = {.learning_rate = 1e-3f,
		               .beta1 = 0.9,
		               .beta2 = 0.999,
		               .eps = 1e-6f,
		               .correction1 = (float) (1 - pow(0.9, (double) k + 1)),
		               .correction2 = (float) (1 - pow(0.999, (double) k + 1))};

		one_step(model, &rows, &failure);
		assert_near(rows.loss, want, 1e-5 * fabs(want) + 1e-6);
		if (k == 0)
			check_gradients(model, arena,
			                json_object_get(method, "grad_norms"));
		rows.expected_grad = NULL;
		assert_ok(model_gradient_norm(model, &norm, &failure), failure);
		assert_near(norm, number(step, "grad_norm"),
		            1e-4 * number(step, "grad_norm"));
		adamw.gradient_scale = (float) fmin(1, 1 / (norm + 1e-6));
		assert_ok(model_update(model, &adamw, &failure), failure);
		check_parameters(model, arena, json_object_get(golden, "tensors"),
		                 json_object_get(step, "parameters"));
	}
	one_step(model, &rows, &failure);
	assert_near(rows.loss, number(method, "final_loss"),
	            1e-4 * fabs(number(method, "final_loss")) + 1e-5);
	arena_destroy(arena);
}

/* Methods differ in what the host computes. */
static bool
is_wanted(const char *name)
{
	return objective_find(name) != NULL &&
	       (!TEST_DEVICE_IS_SLOW || strcmp(name, "a_lol") == 0);
}

/* The methods of one golden.json, in the order of the table. */
static void
check_file(Arena *arena, const char *folder, const char *model)
{
	print_message("%s\n", folder);
	for (int i = 0; i < objective_count(); i++)
	{
		const char *name = objective_at(i)->name;
		json_t *golden = test_read_json(arena, folder, "golden.json");
		json_t *methods = json_object_get(golden, "methods");

		if (json_object_get(methods, name) != NULL && is_wanted(name))
			check_method(model, NULL, golden, name);
	}
}

/* The project's own values of pairs and lists are a file apart. */
static void
check_set(Arena *arena, const char *root)
{
	static const char *const cases[] = {"gpt2", "llama"};

	for (int c = 0; c < 2; c++)
	{
		char *model = arena_printf(arena, "%s/training/%s", root, cases[c]);
		char *preferences =
			arena_printf(arena, "%s/preferences/%s", root, cases[c]);

		if (file_exists(model))
			check_file(arena, model, model);
		if (file_exists(preferences))
			check_file(arena, preferences, model);
	}
}

/* Golden values of methods that are not there yet are passed over. */
static void
check_adapters(Arena *arena, const char *root)
{
	char *directory = arena_printf(arena, "%s/training/llama", root);
	json_t *golden = test_read_json(arena, directory, "golden_lora.json");
	const char *name;
	json_t *method;

	json_object_foreach(json_object_get(golden, "methods"), name,
	                    method) if (is_wanted(name))
		check_method(directory, "adapter", golden, name);
}

static void
own_adapter_training_gives_the_golden_numbers(void **state)
{
	Arena *arena = arena_create();

	(void) state;
	check_adapters(arena, test_golden_path(arena, ""));
	arena_destroy(arena);
}

static void
shared_adapter_training_gives_the_golden_numbers(void **state)
{
	Arena *arena = arena_create();
	char *root = test_shared_path(arena, "golden");

	(void) state;
	if (root != NULL)
		check_adapters(arena, root);
	arena_destroy(arena);
	if (root == NULL)
		skip();
}

static void
own_training_gives_the_golden_numbers(void **state)
{
	Arena *arena = arena_create();

	(void) state;
	check_set(arena, test_golden_path(arena, ""));
	arena_destroy(arena);
}

static void
shared_training_gives_the_golden_numbers(void **state)
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
		cmocka_unit_test(own_training_gives_the_golden_numbers),
		cmocka_unit_test(shared_training_gives_the_golden_numbers),
		cmocka_unit_test(own_adapter_training_gives_the_golden_numbers),
		cmocka_unit_test(shared_adapter_training_gives_the_golden_numbers),
	};

	return run_on_cpu(tests);
}
