/*
 * value_file.c
 *		Making, writing and reading value heads.
 */
#include "model/value/value_head.h"

#include "base/file.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "base/streams.h"

#include <math.h>
#include <string.h>

#define HEADS_MAX 8

/* Standard deviation of the query. */
#define QUERY_SPREAD 0.02

/* A mean at the very end of the range would need an infinite bias. */
#define MARGIN 1e-4

#define HIDDEN_MAX 65536

const char *
value_tensor_name(ValueTensor tensor)
{
	static const char *const names[] = {
		[VALUE_QUERY] = "query",
		[VALUE_IN_WEIGHT] = "attention.in_proj_weight",
		[VALUE_IN_BIAS] = "attention.in_proj_bias",
		[VALUE_OUT_WEIGHT] = "attention.out_proj.weight",
		[VALUE_OUT_BIAS] = "attention.out_proj.bias",
		[VALUE_WEIGHT] = "linear.weight",
		[VALUE_BIAS] = "linear.bias",
	};

	return names[tensor];
}

static void
fill_uniform(ValueHead *head, ValueTensor which, double bound, uint64_t seed)
{
	uint64_t stream = random_stream(RANDOM_VALUE_WEIGHTS, which);
	float *weights = head->weights + head->offset[which];
	size_t count = head->offset[which + 1] - head->offset[which];

	for (size_t i = 0; i < count; i++)
		weights[i] =
			(float) (bound * (2 * random_uniform(seed, stream, i) - 1));
}

bool
value_head_create(Arena *arena, int hidden, double low, double high,
                  double mean, uint64_t seed, ValueHead **result,
                  Failure *failure)
{
	double share = fmax(MARGIN, fmin(1 - MARGIN, (mean - low) / (high - low)));
	uint64_t stream = random_stream(RANDOM_VALUE_WEIGHTS, VALUE_QUERY);
	int heads = HEADS_MAX;
	ValueHead *head;

	while (hidden % heads != 0)
		heads--;
	if (!value_head_allocate(arena, hidden, heads, low, high, &head, failure))
		return false;
	for (int i = 0; i < hidden; i++)
		head->weights[i] =
			(float) (QUERY_SPREAD * random_normal(seed, stream, (uint64_t) i));
	/* torch: Xavier over [3 C, C] for the inputs, 1 / sqrt(C) for the output */
	fill_uniform(head, VALUE_IN_WEIGHT, sqrt(6.0 / (4.0 * hidden)), seed);
	fill_uniform(head, VALUE_OUT_WEIGHT, 1 / sqrt(hidden), seed);
	head->weights[head->offset[VALUE_BIAS]] = (float) log(share / (1 - share));
	*result = head;
	return true;
}

static void
describe(const ValueHead *head, ValueTensor which, TensorToStore *stored)
{
	int64_t c = head->hidden;

	*stored = (TensorToStore){.name = value_tensor_name(which),
	                          .dtype = DTYPE_F32,
	                          .dimensions = 1,
	                          .data = head->weights + head->offset[which]};
	stored->shape[0] = which == VALUE_BIAS ? 1 : c;
	if (which == VALUE_IN_BIAS || which == VALUE_IN_WEIGHT)
		stored->shape[0] = 3 * c;
	if (which == VALUE_WEIGHT)
		stored->shape[0] = 1;
	if (which == VALUE_IN_WEIGHT || which == VALUE_OUT_WEIGHT ||
	    which == VALUE_WEIGHT)
	{
		stored->dimensions = 2;
		stored->shape[1] = c;
	}
}

bool
value_head_save(const ValueHead *head, const char *directory, Failure *failure)
{
	Arena *arena = arena_create();
	TensorToStore stored[VALUE_TENSORS];
	json_t *config =
		json_pack("{s:s, s:i, s:i, s:f, s:f}", "model_type", "alol_value",
	              "hidden", head->hidden, "heads", head->heads, "low",
	              head->low, "high", head->high);
	char *text = json_dumps(config, JSON_INDENT(2) | JSON_REAL_PRECISION(17));
	bool done;

	for (int i = 0; i < VALUE_TENSORS; i++)
		describe(head, (ValueTensor) i, &stored[i]);
	done =
		text != NULL &&
		safetensors_write(
			arena_printf(arena, "%s/value_head.safetensors", directory), stored,
			VALUE_TENSORS, NULL, NULL, failure) &&
		file_write_whole(arena_printf(arena, "%s/value_config.json", directory),
	                     text, strlen(text), failure);
	free(text);
	json_decref(config);
	arena_destroy(arena);
	return done ||
	       fail_while(failure, "saving a value model to \"%s\"", directory);
}

static bool
read_config(Arena *arena, const char *directory, int hidden, ValueHead **head,
            Failure *failure)
{
	const char *path = arena_printf(arena, "%s/value_config.json", directory);
	json_t *config;
	int64_t width, heads;
	double low, high;

	if (!json_open_file(arena, path, JSON_CONFIG_SIZE, &config, failure) ||
	    !json_get_int(config, "hidden", 0, 1, HIDDEN_MAX, &width, failure) ||
	    !json_get_int(config, "heads", 1, 1, HIDDEN_MAX, &heads, failure) ||
	    !json_get_double(config, "low", 0, -1e300, 1e300, &low, failure) ||
	    !json_get_double(config, "high", 1, -1e300, 1e300, &high, failure))
		return fail_while(failure, "reading \"%s\"", path);
	if (width != hidden)
		return fail(failure, FAILURE_BAD_FILE,
		            "the value model is for a hidden size of %lld, the policy "
		            "has %d",
		            (long long) width, hidden);
	if (width % heads != 0 || !(low < high))
		return fail(failure, FAILURE_BAD_FILE,
		            "\"%s\" has %lld heads for %lld numbers and the range %g "
		            "to %g",
		            path, (long long) heads, (long long) width, low, high);
	return value_head_allocate(arena, hidden, (int) heads, low, high, head,
	                           failure);
}

/* Copies one tensor of the file into the head, with its shape checked. */
static bool
read_tensor(const StoredModel *file, ValueHead *head, ValueTensor which,
            Failure *failure)
{
	const StoredTensor *stored =
		stored_model_find(file, value_tensor_name(which));
	TensorToStore wanted;

	if (stored == NULL)
		return fail(failure, FAILURE_BAD_FILE, "tensor \"%s\" is missing",
		            value_tensor_name(which));
	describe(head, which, &wanted);
	if (stored->dtype == DTYPE_OTHER ||
	    stored->dimensions != wanted.dimensions ||
	    stored->shape[0] != wanted.shape[0] ||
	    (wanted.dimensions == 2 && stored->shape[1] != wanted.shape[1]))
		return fail(failure, FAILURE_BAD_FILE,
		            "tensor \"%s\" is %s of %lld numbers, %zu were expected",
		            stored->name, stored->label, (long long) stored->count,
		            head->offset[which + 1] - head->offset[which]);
	dtype_to_f32(head->weights + head->offset[which], stored->data,
	             stored->dtype, (size_t) stored->count);
	return true;
}

bool
value_head_open(Arena *arena, const char *directory, int hidden,
                ValueHead **head, Failure *failure)
{
	const char *path =
		arena_printf(arena, "%s/value_head.safetensors", directory);
	StoredModel *file;

	if (!read_config(arena, directory, hidden, head, failure) ||
	    !stored_file_open(arena, path, &file, failure))
		return false;
	for (int i = 0; i < VALUE_TENSORS; i++)
		if (!read_tensor(file, *head, (ValueTensor) i, failure))
			return fail_while(failure, "reading \"%s\"", path);
	return true;
}
