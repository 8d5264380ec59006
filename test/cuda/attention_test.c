/*
 * attention_test.c
 *		Attention on the GPU is that of the CPU: in fp32, and on tensor cores
 *		as far as bf16 goes.
 */
#include "pair.h"

#define MOST_SEQUENCES 8

typedef struct Case
{
	const char *name;
	int heads;
	int kv_heads;
	int head_dim;
	int window;
	bool is_bidirectional;
	int sequences;
	int length[MOST_SEQUENCES];
	int prefix[MOST_SEQUENCES]; /* as AttentionShape's, plus 1 */
} Case;

static const Case cases[] = {
	{"no sequence", 2, 1, 8, 0, false, 0, {0}, {0}},
	{"one token", 1, 1, 12, 0, false, 1, {1}, {0}},
	{"odd lengths", 4, 2, 16, 0, false, 5, {1, 3, 17, 33, 70}, {0}},
	{"an empty sequence", 3, 3, 20, 0, false, 3, {5, 0, 9}, {0}},
	{"two tiles and a token", 2, 1, 64, 0, false, 1, {129}, {0}},
	{"a window", 6, 2, 32, 7, false, 3, {3, 40, 90}, {0}},
	{"a window of one", 1, 1, 8, 1, false, 1, {35}, {0}},
	{"both directions", 3, 3, 24, 0, true, 3, {2, 31, 75}, {0}},
	{"dim 80", 2, 2, 80, 0, false, 2, {20, 67}, {0}},
	{"dim 96", 1, 1, 96, 0, false, 1, {37}, {0}},
	{"dim 100 is not even in words", 2, 1, 100, 0, false, 1, {19}, {0}},
	{"dim 128", 3, 1, 128, 0, false, 2, {66, 5}, {0}},
	{"dim 13 is odd", 2, 2, 13, 0, false, 2, {18, 4}, {0}},
	{"dim 192", 1, 1, 192, 0, false, 1, {21}, {0}},
	{"dim 256", 2, 1, 256, 0, false, 2, {70, 3}, {0}},
	{"a shared prompt",
     4,
     2,
     16,
     0,
     false,
     6,
     {37, 5, 40, 1, 10, 6},
     {0, 1, 1, 1, 0, 5}},
	{"a shared prompt through a window",
     2,
     1,
     32,
     20,
     false,
     4,
     {70, 5, 40, 3},
     {0, 1, 1, 0}},
};

/* A case on both devices. */
typedef struct Packed
{
	int tokens;
	PairBytes offset;
	PairBytes prefix;
	Pair q;
	Pair k;
	Pair v;
	Pair out;
	Pair lse;
} Packed;

/* To bf16 and back, so that products of tensor cores are exact. */
static void
round_pair(Pair pair)
{
	int64_t count = pair.on[0].rows * pair.on[0].stride;
	float *numbers = pair_download(pair, 0);

	for (int64_t i = 0; i < count; i++)
	{
		uint16_t half;

		dtype_from_f32(&half, &numbers[i], DTYPE_BF16, 1);
		dtype_to_f32(&numbers[i], &half, DTYPE_BF16, 1);
	}
	for (int d = 0; d < 2; d++)
		pair_device[d]->upload(pair_device[d], pair.on[d].data, numbers,
		                       (size_t) count * sizeof(float));
	free(numbers);
}

/* Columns of one tensor, as a pass has its queries, keys and values. */
static Pair
columns_of(Pair all, int64_t first, int64_t cols)
{
	for (int d = 0; d < 2; d++)
		all.on[d] = tensor_columns(all.on[d], first, cols);
	return all;
}

static Packed
pack(const Case *c)
{
	int32_t offset[MOST_SEQUENCES + 1] = {0};
	int32_t prefix[MOST_SEQUENCES] = {0};
	int64_t q_cols = (int64_t) c->heads * c->head_dim;
	int64_t kv_cols = (int64_t) c->kv_heads * c->head_dim;
	Packed packed;
	Pair all;

	for (int s = 0; s < c->sequences; s++)
	{
		offset[s + 1] = offset[s] + c->length[s];
		prefix[s] = c->prefix[s] - 1;
	}
	packed.tokens = offset[c->sequences];
	packed.offset = pair_bytes(offset, sizeof(offset));
	packed.prefix = pair_bytes(prefix, sizeof(prefix));
	all = pair_random(packed.tokens, q_cols + 2 * kv_cols,
	                  q_cols + 2 * kv_cols + 3, 1);
	round_pair(all);
	packed.q = columns_of(all, 0, q_cols);
	packed.k = columns_of(all, q_cols, kv_cols);
	packed.v = columns_of(all, q_cols + kv_cols, kv_cols);
	packed.out = pair_random(packed.tokens, q_cols, q_cols + 1, 2);
	packed.lse = pair_random(packed.tokens, c->heads, c->heads, 3);
	return packed;
}

static AttentionShape
shape_of(const Case *c, const Packed *packed, int d)
{
	AttentionShape shape = {.heads = c->heads,
	                        .kv_heads = c->kv_heads,
	                        .head_dim = c->head_dim,
	                        .scale = 1.0f / sqrtf((float) c->head_dim),
	                        .sequences = c->sequences,
	                        .window = c->window,
	                        .is_bidirectional = c->is_bidirectional,
	                        .offset = packed->offset.on[d]};

	for (int s = 0; s < c->sequences; s++)
	{
		if (c->length[s] > shape.max_length)
			shape.max_length = c->length[s];
		if (c->prefix[s] > 0)
			shape.prefix = packed->prefix.on[d];
	}
	return shape;
}

static void
attend(const Case *c, const Packed *packed)
{
	for (int d = 0; d < 2; d++)
	{
		AttentionShape shape = shape_of(c, packed, d);

		pair_device[d]->attention(pair_device[d], &shape, packed->out.on[d],
		                          packed->q.on[d], packed->k.on[d],
		                          packed->v.on[d], packed->lse.on[d]);
	}
}

/* All cases, with products of this kind, forward and backward. */
static void
check_cases(DType products, double tolerance)
{
	pair_device[1]->products = products;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		const Case *c = &cases[i];
		Packed packed = pack(c);
		int64_t q_cols = (int64_t) c->heads * c->head_dim;
		int64_t kv_cols = (int64_t) c->kv_heads * c->head_dim;
		Pair dout = pair_random(packed.tokens, q_cols, q_cols, 4);
		Pair dq = pair_random(packed.tokens, q_cols, q_cols + 5, 5);
		Pair dk = pair_random(packed.tokens, kv_cols, kv_cols, 6);
		Pair dv = pair_random(packed.tokens, kv_cols, kv_cols, 7);

		print_message("# %s\n", c->name);
		attend(c, &packed);
		pair_assert_near(packed.out, tolerance);
		pair_assert_near(packed.lse, tolerance);
		round_pair(dout);
		for (int d = 0; d < 2; d++)
		{
			AttentionShape shape = shape_of(c, &packed, d);

			pair_device[d]->attention_grad(
				pair_device[d], &shape, dq.on[d], dk.on[d], dv.on[d],
				dout.on[d], packed.out.on[d], packed.q.on[d], packed.k.on[d],
				packed.v.on[d], packed.lse.on[d]);
		}
		pair_assert_near(dq, tolerance);
		pair_assert_near(dk, tolerance);
		pair_assert_near(dv, tolerance);
		pair_end();
	}
	pair_device[1]->products = DTYPE_F32;
}

static void
attention_in_fp32_is_that_of_the_cpu(void **state)
{
	(void) state;
	check_cases(DTYPE_F32, 1e-5);
}

/* Weights and the gradients of scores are rounded to 8 bits before they are
 * multiplied: 2^-9 of each, and up to some tens of them are summed. */
static void
attention_on_tensor_cores_is_near_that_of_the_cpu(void **state)
{
	(void) state;
	check_cases(DTYPE_BF16, 0.02);
}

static void
repeated_attention_gives_the_same_bits(void **state)
{
	const Case *c = &cases[15];
	Packed packed = pack(c);
	float *first;
	float *second;
	size_t bytes;

	(void) state;
	pair_device[1]->products = DTYPE_BF16;
	bytes = (size_t) (packed.out.on[1].rows * packed.out.on[1].stride) *
	        sizeof(float);
	attend(c, &packed);
	first = pair_download(packed.out, 1);
	attend(c, &packed);
	second = pair_download(packed.out, 1);
	assert_memory_equal(first, second, bytes);
	free(first);
	free(second);
	pair_device[1]->products = DTYPE_F32;
	pair_end();
}

/* DeBERTa: buckets repeat, and either part may be missing. */
static void
scores_by_distance_and_their_gradients_are_those_of_the_cpu(void **state)
{
	const Case c = {"by distance", 2, 2, 12, 0, true, 3, {3, 40, 1}, {0}};
	enum
	{
		REACH = 39,
		BUCKETS = 9
	};
	int32_t bucket[2 * REACH + 1];
	PairBytes buckets;

	(void) state;
	for (int i = 0; i <= 2 * REACH; i++)
		bucket[i] = (i * i + 3) % BUCKETS;
	buckets = pair_bytes(bucket, sizeof(bucket));
	for (int parts = 1; parts <= 3; parts++)
	{
		Packed packed = pack(&c);
		int64_t cols = c.heads * c.head_dim;
		Pair query = pair_random(packed.tokens, c.heads * BUCKETS,
		                         c.heads * BUCKETS + 1, 8);
		Pair key =
			pair_random(packed.tokens, c.heads * BUCKETS, c.heads * BUCKETS, 9);
		Pair dquery = pair_random(packed.tokens, c.heads * BUCKETS,
		                          c.heads * BUCKETS, 10);
		Pair dkey = pair_random(packed.tokens, c.heads * BUCKETS,
		                        c.heads * BUCKETS, 11);
		Pair dout = pair_random(packed.tokens, cols, cols, 4);
		Pair dq = pair_random(packed.tokens, cols, cols, 5);
		Pair dk = pair_random(packed.tokens, cols, cols, 6);
		Pair dv = pair_random(packed.tokens, cols, cols, 7);

		for (int d = 0; d < 2; d++)
		{
			AttentionShape shape = shape_of(&c, &packed, d);
			RelativeScores relative = {
				.buckets = BUCKETS, .reach = REACH, .bucket = buckets.on[d]};

			if (parts & 1)
			{
				relative.query = query.on[d];
				relative.dquery = dquery.on[d];
			}
			if (parts & 2)
			{
				relative.key = key.on[d];
				relative.dkey = dkey.on[d];
			}
			shape.relative = &relative;
			pair_device[d]->attention(pair_device[d], &shape, packed.out.on[d],
			                          packed.q.on[d], packed.k.on[d],
			                          packed.v.on[d], packed.lse.on[d]);
			pair_device[d]->attention_grad(
				pair_device[d], &shape, dq.on[d], dk.on[d], dv.on[d],
				dout.on[d], packed.out.on[d], packed.q.on[d], packed.k.on[d],
				packed.v.on[d], packed.lse.on[d]);
		}
		pair_assert_near(packed.out, 1e-5);
		pair_assert_near(packed.lse, 1e-5);
		pair_assert_near(dq, 1e-5);
		pair_assert_near(dk, 1e-5);
		pair_assert_near(dv, 1e-5);
		pair_assert_near(dquery, 1e-5);
		pair_assert_near(dkey, 1e-5);
		for (int d = 0; d < 2; d++)
			pair_device[d]->sync(pair_device[d], &(Failure){0});
	}
	pair_end();
}

/* Heads, those of keys, numbers of a head, window. */
static AttentionShape
cached_shape(const int *numbers)
{
	return (AttentionShape){.heads = numbers[0],
	                        .kv_heads = numbers[1],
	                        .head_dim = numbers[2],
	                        .scale = 0.3f,
	                        .window = numbers[3]};
}

static void
a_token_attends_to_its_cache_as_on_the_cpu(void **state)
{
	static const int shapes[][4] = {
		{4, 2, 16, 0}, {1, 1, 12, 0}, {1, 1, 13, 0},
		{3, 1, 64, 5}, {2, 1, 96, 1}, {2, 2, 256, 0},
		{7, 1, 4, 0},  {4, 2, 1, 0},  {4, 1, 80, 0}};
	static const int32_t first[] = {0, 1, 6, 40, 100};
	static const int32_t length[] = {1, 4, 33, 60, 7};

	(void) state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
	{
		int64_t q_cols = (int64_t) shapes[i][0] * shapes[i][2];
		int64_t kv_cols = (int64_t) shapes[i][1] * shapes[i][2];
		AttentionShape shape = cached_shape(shapes[i]);
		Pair q = pair_random(5, q_cols, q_cols + 1, 1);
		Pair k = pair_random(120, kv_cols, kv_cols + 2, 2);
		Pair v = pair_random(120, kv_cols, kv_cols + 2, 3);
		Pair out = pair_random(5, q_cols, q_cols, 4);
		PairBytes from = pair_bytes(first, sizeof(first));
		PairBytes count = pair_bytes(length, sizeof(length));

		ON_BOTH(attention_cached, &shape, out.on[d], q.on[d], k.on[d], v.on[d],
		        from.on[d], count.on[d]);
		pair_assert_near(out, 1e-5);
		ON_BOTH(attention_cached, &shape, tensor_rows(out.on[d], 0, 0),
		        tensor_rows(q.on[d], 0, 0), k.on[d], v.on[d], from.on[d],
		        count.on[d]);
		pair_end();
	}
}

/* Rows of a cache as long as here, each at its own place. */
#define LONG_ROWS 7
#define LONG_CACHE 5000

/* Around the steps of 128 keys and the parts of 512 that it is read in. */
static void
long_caches_agree(void **state)
{
	static const int shapes[][5] = {{3, 1, 8, 0, 1},
	                                {2, 1, 12, 700, 0},
	                                {5, 1, 20, 0, 0},
	                                {1, 1, 6, 0, 0},
	                                {2, 2, 16, 129, 1}};
	static const int32_t first[LONG_ROWS] = {0, 1, 500, 4, 900, 3, 0};
	static const int32_t length[LONG_ROWS] = {127, 128,  129,       512,
	                                          513, 1025, LONG_CACHE};

	(void) state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
	{
		int64_t q_cols = (int64_t) shapes[i][0] * shapes[i][2];
		int64_t kv_cols = (int64_t) shapes[i][1] * shapes[i][2];
		AttentionShape shape = cached_shape(shapes[i]);
		Pair q = pair_random(LONG_ROWS, q_cols, q_cols, 1);
		Pair k = pair_random(LONG_CACHE, kv_cols, kv_cols + shapes[i][4], 2);
		Pair v = pair_random(LONG_CACHE, kv_cols, kv_cols + 4, 3);
		Pair out = pair_random(LONG_ROWS, q_cols, q_cols, 4);
		PairBytes from = pair_bytes(first, sizeof(first));
		PairBytes count = pair_bytes(length, sizeof(length));

		ON_BOTH(attention_cached, &shape, out.on[d], q.on[d], k.on[d], v.on[d],
		        from.on[d], count.on[d]);
		pair_assert_near(out, 1e-5);
		pair_end();
	}
}

/* Blocks end in another order at each launch, and a cache that is longer has
 * room for more parts. */
static void
a_row_of_a_cache_gives_the_same_bits_in_any_company(void **state)
{
	static const int32_t first[LONG_ROWS] = {0, 40, 3, 0, 900, 0, 0};
	static const int32_t length[LONG_ROWS] = {1300, 600, 17,  1300,
	                                          513,  700, 1300};
	enum
	{
		COLS = 3 * 16
	};
	AttentionShape shape = {
		.heads = 3, .kv_heads = 1, .head_dim = 16, .scale = 0.3f};
	Device *gpu = pair_device[1];
	Pair q = pair_random(LONG_ROWS, COLS, COLS, 1);
	Pair k = pair_random(LONG_CACHE, 16, 16, 2);
	Pair v = pair_random(LONG_CACHE, 16, 16, 3);
	Pair all = pair_random(LONG_ROWS, COLS, COLS, 4);
	Pair alone = pair_random(LONG_ROWS, COLS, COLS, 5);
	PairBytes from = pair_bytes(first, sizeof(first));
	PairBytes count = pair_bytes(length, sizeof(length));
	float *numbers[2];

	(void) state;
	gpu->attention_cached(gpu, &shape, all.on[1], q.on[1], k.on[1], v.on[1],
	                      from.on[1], count.on[1]);
	for (int i = 0; i < LONG_ROWS; i++)
	{
		int64_t rows = first[i] + length[i];

		gpu->attention_cached(
			gpu, &shape, tensor_rows(alone.on[1], i, 1),
			tensor_rows(q.on[1], i, 1), tensor_rows(k.on[1], 0, rows),
			tensor_rows(v.on[1], 0, rows), (const int32_t *) from.on[1] + i,
			(const int32_t *) count.on[1] + i);
	}
	numbers[0] = pair_download(all, 1);
	numbers[1] = pair_download(alone, 1);
	assert_memory_equal(numbers[0], numbers[1],
	                    LONG_ROWS * COLS * sizeof(float));
	free(numbers[0]);
	free(numbers[1]);
	pair_end();
}

static void
heads_that_are_too_long_are_refused(void **state)
{
	const Case c = {"dim 257", 1, 1, 257, 0, false, 1, {3}, {0}};
	Packed packed = pack(&c);
	AttentionShape shape = shape_of(&c, &packed, 1);
	Failure failure = {0};

	(void) state;
	pair_device[1]->attention(pair_device[1], &shape, packed.out.on[1],
	                          packed.q.on[1], packed.k.on[1], packed.v.on[1],
	                          packed.lse.on[1]);
	assert_false(pair_device[1]->sync(pair_device[1], &failure));
	assert_non_null(strstr(failure.message, "256"));
	pair_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attention_in_fp32_is_that_of_the_cpu),
		cmocka_unit_test(attention_on_tensor_cores_is_near_that_of_the_cpu),
		cmocka_unit_test(repeated_attention_gives_the_same_bits),
		cmocka_unit_test(
			scores_by_distance_and_their_gradients_are_those_of_the_cpu),
		cmocka_unit_test(a_token_attends_to_its_cache_as_on_the_cpu),
		cmocka_unit_test(long_caches_agree),
		cmocka_unit_test(a_row_of_a_cache_gives_the_same_bits_in_any_company),
		cmocka_unit_test(heads_that_are_too_long_are_refused),
	};

	return run_pairs(tests);
}
