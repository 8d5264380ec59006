/*
 * attention_test.c
 *		Attention against its definition in double and finite differences:
 *		with windows, to both sides, with prompts that sequences share.
 */
#include "device/tensors.h"

#include <omp.h>

#define ROWS_MAX 1600

typedef struct AttentionCase
{
	AttentionShape shape;
	Tensor q, k, v, out, lse, dout;
	Tensor dq, dk, dv;
} AttentionCase;

/* Random numbers for the tokens of the shape. */
static AttentionCase
attention_case(Arena *arena, AttentionShape shape)
{
	int rows = shape.offset[shape.sequences];
	int queries = shape.heads * shape.head_dim;
	int keys = shape.kv_heads * shape.head_dim;

	shape.scale = 1 / sqrtf((float) shape.head_dim);
	return (AttentionCase){
		.shape = shape,
		.q = random_tensor(arena, rows, queries, 1),
		.k = random_tensor(arena, rows, keys, 2),
		.v = random_tensor(arena, rows, keys, 3),
		.out = random_tensor(arena, rows, queries, 4),
		.lse = random_tensor(arena, rows, shape.heads, 5),
		.dout = random_tensor(arena, rows, queries, 6),
		.dq = random_tensor(arena, rows, queries, 7),
		.dk = random_tensor(arena, rows, keys, 8),
		.dv = random_tensor(arena, rows, keys, 9),
	};
}

static double
attention_value(void *argument)
{
	AttentionCase *c = argument;

	device->attention(device, &c->shape, c->out, c->q, c->k, c->v, c->lse);
	return inner(c->out, c->dout);
}

static void
attention_grad(AttentionCase *c)
{
	device->attention_grad(device, &c->shape, c->dq, c->dk, c->dv, c->dout,
	                       c->out, c->q, c->k, c->v, c->lse);
}

/* The rows that sequence s is made of, in order, with those it continues. */
static int
list_rows(const AttentionShape *shape, int s, int row[ROWS_MAX])
{
	int n = 0;
	int prefix = shape->prefix == NULL ? -1 : shape->prefix[s];

	if (prefix >= 0)
		for (int t = shape->offset[prefix]; t < shape->offset[prefix + 1]; t++)
			row[n++] = t;
	for (int t = shape->offset[s]; t < shape->offset[s + 1]; t++)
		row[n++] = t;
	return n;
}

/* The definition, for one head of the i-th of n rows, in double. */
static void
check_attention_row(const AttentionCase *c, const int *row, int n, int i,
                    int head)
{
	int window = c->shape.window;
	int start = window > 0 && i >= window ? i + 1 - window : 0;
	int last = c->shape.is_bidirectional ? n - 1 : i;
	int d_head = c->shape.head_dim;
	int q0 = head * d_head;
	int k0 = head / (c->shape.heads / c->shape.kv_heads) * d_head;
	double weight[ROWS_MAX];
	double sum = 0;

	for (int j = start; j <= last; j++)
	{
		double score = 0;

		for (int d = 0; d < d_head; d++)
			score +=
				(double) *at(c->q, row[i], q0 + d) * *at(c->k, row[j], k0 + d);
		weight[j] = exp(score * (double) c->shape.scale);
		sum += weight[j];
	}
	assert_near(*at(c->lse, row[i], head), log(sum), 1e-4);
	for (int d = 0; d < d_head; d++)
	{
		double value = 0;

		for (int j = start; j <= last; j++)
			value += weight[j] / sum * *at(c->v, row[j], k0 + d);
		assert_near(*at(c->out, row[i], q0 + d), value, 1e-4);
	}
}

static void
check_attention(AttentionShape shape)
{
	Arena *arena = arena_create();
	AttentionCase c = attention_case(arena, shape);

	attention_value(&c);
	for (int s = 0; s < shape.sequences; s++)
	{
		int row[ROWS_MAX];
		int n = list_rows(&shape, s, row);
		int own = shape.offset[s + 1] - shape.offset[s];

		for (int i = n - own; i < n; i++)
			for (int h = 0; h < shape.heads; h++)
				check_attention_row(&c, row, n, i, h);
	}
	attention_grad(&c);
	check_gradient("dq", c.q, c.dq, attention_value, &c);
	check_gradient("dk", c.k, c.dk, attention_value, &c);
	check_gradient("dv", c.v, c.dv, attention_value, &c);
	arena_destroy(arena);
}

/* Sequences of 1, 5, 0 and 39 tokens. */
static AttentionShape
apart(int heads, int kv_heads, int head_dim)
{
	static const int32_t offset[] = {0, 1, 6, 6, 45};

	return (AttentionShape){.heads = heads,
	                        .kv_heads = kv_heads,
	                        .head_dim = head_dim,
	                        .sequences = 4,
	                        .max_length = 39,
	                        .offset = offset};
}

static void
attention_differentiates(void **state)
{
	(void) state;
	check_attention(apart(1, 1, 8));
	check_attention(apart(4, 2, 5));
	check_attention(apart(3, 1, 18));
}

static void
windowed_attention_differentiates(void **state)
{
	(void) state;
	for (int window = 1; window < 40; window += 1 + window / 2)
	{
		AttentionShape shape = apart(2, 1, 5);

		shape.window = window;
		check_attention(shape);
	}
}

static void
bidirectional_attention_differentiates(void **state)
{
	AttentionShape shape = apart(2, 2, 9);

	(void) state;
	shape.is_bidirectional = true;
	check_attention(shape);
	shape = apart(4, 2, 6);
	shape.is_bidirectional = true;
	check_attention(shape);
}

/* ------------------------------------------------------ shared prompts */

/* A prompt of 37 tokens with continuations of 5, 0 and 20, one sequence alone,
 * a prompt of 34 with one of 3, and an empty prompt with one of 2. */
static AttentionShape
shared(int heads, int kv_heads, int head_dim, int window)
{
	static const int32_t offset[] = {0, 37, 42, 42, 62, 68, 102, 105, 105, 107};
	static const int32_t prefix[] = {-1, 0, 0, 0, -1, -1, 5, -1, 7};

	return (AttentionShape){.heads = heads,
	                        .kv_heads = kv_heads,
	                        .head_dim = head_dim,
	                        .sequences = 9,
	                        .max_length = 37,
	                        .offset = offset,
	                        .prefix = prefix,
	                        .window = window};
}

static void
attention_over_shared_prompts_differentiates(void **state)
{
	(void) state;
	check_attention(shared(2, 1, 5, 0));
	check_attention(shared(3, 3, 4, 0));
	check_attention(shared(1, 1, 3, 4));
	check_attention(shared(1, 1, 3, 33));
	check_attention(shared(1, 1, 3, 50));
}

/* The same sequences, each with a prompt of its own. */
typedef struct Unshared
{
	int32_t offset[10];
	int row[ROWS_MAX]; /* of the shared batch, for each of its own */
	AttentionCase c;
} Unshared;

static void
copy_rows(Tensor out, Tensor x, const int *row)
{
	for (int i = 0; i < out.rows; i++)
		for (int j = 0; j < out.cols; j++)
			*at(out, i, j) = *at(x, row[i], j);
}

static void
unshare(Arena *arena, const AttentionCase *c, Unshared *unshared)
{
	AttentionShape shape = c->shape;

	for (int s = 0; s < shape.sequences; s++)
		unshared->offset[s + 1] =
			unshared->offset[s] +
			list_rows(&shape, s, unshared->row + unshared->offset[s]);
	shape.offset = unshared->offset;
	shape.prefix = NULL;
	shape.max_length = shape.max_length * 2;
	unshared->c = attention_case(arena, shape);
	copy_rows(unshared->c.q, c->q, unshared->row);
	copy_rows(unshared->c.k, c->k, unshared->row);
	copy_rows(unshared->c.v, c->v, unshared->row);
	/* The prompt's own gradient once: where it stands by itself. */
	copy_rows(unshared->c.dout, c->dout, unshared->row);
	for (int s = 0; s < shape.sequences; s++)
	{
		int own = c->shape.offset[s + 1] - c->shape.offset[s];

		for (int i = unshared->offset[s]; i < unshared->offset[s + 1] - own;
		     i++)
			for (int j = 0; j < c->dout.cols; j++)
				*at(unshared->c.dout, i, j) = 0;
	}
}

/* x[row[i]] summed over i, minus the shared result, is 0. */
static void
check_sums(Tensor result, Tensor x, const int *row)
{
	for (int i = 0; i < x.rows; i++)
		for (int j = 0; j < x.cols; j++)
			*at(result, row[i], j) -= *at(x, i, j);
	for (int i = 0; i < result.rows; i++)
		for (int j = 0; j < result.cols; j++)
			assert_near(*at(result, i, j), 0, 2e-5);
}

/* A prompt of 300 tokens with continuations of 290 and 31, and 280 alone: more
 * than a block of keys. */
static AttentionShape
long_texts(int heads, int kv_heads, int head_dim, int window)
{
	static const int32_t offset[] = {0, 300, 590, 621, 901};
	static const int32_t prefix[] = {-1, 0, 0, -1};

	return (AttentionShape){.heads = heads,
	                        .kv_heads = kv_heads,
	                        .head_dim = head_dim,
	                        .sequences = 4,
	                        .max_length = 300,
	                        .offset = offset,
	                        .prefix = prefix,
	                        .window = window};
}

static void
check_unshared(AttentionShape shape)
{
	Arena *arena = arena_create();
	AttentionCase c = attention_case(arena, shape);
	Unshared *unshared = arena_alloc(arena, sizeof(Unshared));

	unshare(arena, &c, unshared);
	attention_value(&c);
	attention_value(&unshared->c);
	for (int i = 0; i < unshared->c.out.rows; i++)
	{
		for (int j = 0; j < c.out.cols; j++)
			assert_true(*at(unshared->c.out, i, j) ==
			            *at(c.out, unshared->row[i], j));
		for (int j = 0; j < c.lse.cols; j++)
			assert_true(*at(unshared->c.lse, i, j) ==
			            *at(c.lse, unshared->row[i], j));
	}
	attention_grad(&c);
	attention_grad(&unshared->c);
	check_sums(c.dq, unshared->c.dq, unshared->row);
	check_sums(c.dk, unshared->c.dk, unshared->row);
	check_sums(c.dv, unshared->c.dv, unshared->row);
	arena_destroy(arena);
}

/* Forward to the last bit: so that a ratio to a reference is exactly 1,
 * wherever the reference met the prompt. */
static void
shared_prompts_change_nothing(void **state)
{
	(void) state;
	check_unshared(shared(6, 2, 20, 0));
	check_unshared(shared(9, 3, 64, 0));
	check_unshared(shared(4, 4, 8, 7));
	check_unshared(shared(2, 1, 16, 40));
	check_unshared(long_texts(2, 1, 8, 0));
	check_unshared(long_texts(3, 1, 16, 270));
}

/* The slope of the value along a random direction of x, by differences and by
 * its gradient. */
static void
check_direction(const char *what, AttentionCase *c, Tensor x, Tensor gradient)
{
	Arena *arena = arena_create();
	Tensor along = random_tensor(arena, (int) x.rows, (int) x.cols, 12);
	double slope = inner(along, gradient);
	double value[2];

	for (int side = 0; side < 2; side++)
	{
		double step = side == 0 ? 1e-2 : -2e-2;

		for (int i = 0; i < x.rows; i++)
			for (int j = 0; j < x.cols; j++)
				*at(x, i, j) += (float) (step * (double) *at(along, i, j));
		value[side] = attention_value(c);
	}
	for (int i = 0; i < x.rows; i++)
		for (int j = 0; j < x.cols; j++)
			*at(x, i, j) += (float) (1e-2 * (double) *at(along, i, j));
	/* Of some thousand numbers of both signs. */
	if (!(fabs((value[0] - value[1]) / 2e-2 - slope) <=
	      1e-2 * (1 + fabs(slope))))
		fail_msg("d%s is %.6g along a direction, differences say %.6g", what,
		         slope, (value[0] - value[1]) / 2e-2);
	arena_destroy(arena);
}

static void
check_long(AttentionShape shape)
{
	Arena *arena = arena_create();
	AttentionCase c = attention_case(arena, shape);

	attention_value(&c);
	for (int s = 0; s < shape.sequences; s++)
	{
		int row[ROWS_MAX];
		int n = list_rows(&shape, s, row);
		int own = shape.offset[s + 1] - shape.offset[s];

		for (int i = n - own; i < n; i += 1 + i % 13)
			check_attention_row(&c, row, n, i, i % shape.heads);
	}
	attention_grad(&c);
	check_direction("q", &c, c.q, c.dq);
	check_direction("k", &c, c.k, c.dk);
	check_direction("v", &c, c.v, c.dv);
	arena_destroy(arena);
}

static void
long_texts_differentiate(void **state)
{
	AttentionShape shape = long_texts(2, 2, 9, 0);

	(void) state;
	check_long(long_texts(2, 1, 8, 0));
	check_long(long_texts(3, 1, 64, 0));
	check_long(long_texts(4, 2, 16, 257));
	check_long(long_texts(4, 4, 16, 33));
	shape.prefix = NULL;
	shape.is_bidirectional = true;
	check_long(shape);
}

static void
check_threads(AttentionShape shape)
{
	Arena *arena = arena_create();
	AttentionCase one = attention_case(arena, shape);
	AttentionCase two = attention_case(arena, shape);
	size_t bytes = sizeof(float) * (size_t) (one.dk.rows * one.dk.cols);

	omp_set_num_threads(1);
	attention_value(&one);
	attention_grad(&one);
	omp_set_num_threads(2);
	attention_value(&two);
	attention_grad(&two);
	assert_memory_equal(one.dq.data, two.dq.data, 2 * bytes);
	assert_memory_equal(one.dk.data, two.dk.data, bytes);
	assert_memory_equal(one.dv.data, two.dv.data, bytes);
	arena_destroy(arena);
}

static void
gradients_do_not_depend_on_threads(void **state)
{
	static const int32_t offset[] = {0, 500};
	AttentionShape alone = long_texts(6, 3, 20, 0);

	(void) state;
	check_threads(shared(6, 3, 64, 0));
	/* So few that they are cut into pieces. */
	check_threads(long_texts(6, 3, 20, 0));
	alone.sequences = 1;
	alone.offset = offset;
	alone.max_length = 500;
	check_threads(alone);
}

/* The length of a - b as a part of b's. */
static double
distance(Tensor a, Tensor b)
{
	double difference = 0;
	double length = 0;

	for (int i = 0; i < b.rows; i++)
		for (int j = 0; j < b.cols; j++)
		{
			double x = (double) *at(b, i, j);
			double more = (double) *at(a, i, j) - x;

			difference += more * more;
			length += x * x;
		}
	return sqrt(difference / length);
}

static void
check_rounded(AttentionShape shape)
{
	Arena *arena = arena_create();
	AttentionCase exact = attention_case(arena, shape);
	AttentionCase rounded = attention_case(arena, shape);

	attention_value(&exact);
	attention_grad(&exact);
	device->products = DTYPE_BF16;
	attention_value(&rounded);
	attention_grad(&rounded);
	device->products = DTYPE_F32;
	assert_memory_equal(exact.out.data, rounded.out.data,
	                    sizeof(float) *
	                        (size_t) (exact.out.rows * exact.out.cols));
	/* Both factors are off by 2^-9 at most, mostly by half of that; and what
	 * is taken from a score's gradient is about as large as it. */
	assert_true(distance(rounded.dq, exact.dq) < 8e-3);
	assert_true(distance(rounded.dk, exact.dk) < 8e-3);
	assert_true(distance(rounded.dv, exact.dv) < 4e-3);
	arena_destroy(arena);
}

static void
products_of_bf16_give_nearly_the_same_gradients(void **state)
{
	static const int32_t offset[] = {0, 500};
	AttentionShape alone = long_texts(6, 3, 20, 0);

	(void) state;
	check_rounded(shared(6, 3, 64, 0));
	check_rounded(shared(5, 1, 9, 3));
	check_rounded(long_texts(2, 2, 70, 0));
	check_rounded(long_texts(4, 2, 16, 257));
	check_rounded(long_texts(4, 4, 33, 33));
	alone.sequences = 1;
	alone.offset = offset;
	alone.max_length = 500;
	check_rounded(alone);
	alone.prefix = NULL;
	alone.is_bidirectional = true;
	check_rounded(alone);
	device->products = DTYPE_BF16;
	check_threads(shared(6, 3, 64, 0));
	check_threads(long_texts(6, 3, 20, 0));
	device->products = DTYPE_F32;
}

/* ------------------------------------------------------------- the cache */

/* One token against a cache gives what the packed pass gives. */
static void
check_cached(int window)
{
	static const int32_t offset[] = {0, 9};
	static const int32_t first[] = {0};
	static const int32_t length[] = {9};
	Arena *arena = arena_create();
	AttentionCase c = attention_case(arena, (AttentionShape){.heads = 4,
	                                                         .kv_heads = 2,
	                                                         .head_dim = 6,
	                                                         .sequences = 1,
	                                                         .max_length = 9,
	                                                         .offset = offset,
	                                                         .window = window});
	Tensor single = random_tensor(arena, 1, 24, 6);

	attention_value(&c);
	device->attention_cached(device, &c.shape, single, tensor_rows(c.q, 8, 1),
	                         c.k, c.v, first, length);
	for (int d = 0; d < 24; d++)
		assert_near(*at(single, 0, d), *at(c.out, 8, d), 1e-5);
	arena_destroy(arena);
}

static void
cached_attention_equals_packed(void **state)
{
	(void) state;
	for (int window = 0; window < 11; window++)
		check_cached(window);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attention_differentiates),
		cmocka_unit_test(windowed_attention_differentiates),
		cmocka_unit_test(bidirectional_attention_differentiates),
		cmocka_unit_test(attention_over_shared_prompts_differentiates),
		cmocka_unit_test(shared_prompts_change_nothing),
		cmocka_unit_test(long_texts_differentiate),
		cmocka_unit_test(gradients_do_not_depend_on_threads),
		cmocka_unit_test(products_of_bf16_give_nearly_the_same_gradients),
		cmocka_unit_test(cached_attention_equals_packed),
	};

	return run_on_cpu(tests);
}
