/*
 * elements_test.c
 *		Norms, rotations, activations, dropout, log-probabilities and the
 *		optimiser on the GPU follow those of the CPU, over odd sizes.
 *
 * Tolerances: sums of n fp32 numbers in another order differ by about
 * 1e-7 * sqrt(n), and the exponentials of both by two units in the last place.
 */
#include "pair.h"

#include "base/dynamic8.h"
#include "base/fixed16.h"

/* Rows, columns and distance of rows. */
static const int64_t sizes[][3] = {
	{0, 3, 3},       {1, 1, 1},       {1, 64, 64},     {9, 33, 40},
	{300, 70, 70},   {2, 1027, 1030}, {17, 12, 12},    {513, 34, 35},
	{11, 576, 580},  {2, 1024, 1024}, {2, 1028, 1032}, {1, 8192, 8192},
	{1, 8196, 8196},
};

#define SIZES (sizeof(sizes) / sizeof(sizes[0]))

/* ------------------------------------------- numbers as whole ones of 16 bits */

static void
numbers_of_16_bits_agree(void **state)
{
	(void) state;
	for (size_t i = 0; i < SIZES; i++)
	{
		int64_t rows = sizes[i][0];
		int64_t cols = sizes[i][1];
		size_t blocks = (size_t) (rows * fixed16_blocks(cols));
		Pair x = pair_random(rows, cols, sizes[i][2], 1);
		Pair out = pair_random(rows, cols, cols, 2);
		PairBytes code =
			pair_bytes(NULL, (size_t) (rows * cols) * sizeof(int16_t));
		PairBytes scale = pair_bytes(NULL, blocks * sizeof(float));

		ON_BOTH(write_fixed, (Fixed){code.on[d], scale.on[d]}, x.on[d]);
		ON_BOTH(read_fixed, out.on[d], (Fixed){code.on[d], scale.on[d]});
		/* Half a unit goes either way. */
		pair_assert_near(out, 1e-4);
		pair_end();
	}
}

/* ------------------------------------------------------------------- norms */

static void
check_norm(NormKind kind, const int64_t size[3], float beta, bool has_bias)
{
	int64_t rows = size[0];
	int64_t cols = size[1];
	Pair x = pair_random(rows, cols, size[2], 1);
	Pair weight = pair_random(1, cols, cols, 2);
	Pair bias = pair_random(1, cols, cols, 3);
	Pair out = pair_random(rows, cols, size[2], 4);
	Pair stat = pair_random(rows, 2, 2, 5);
	Pair dout = pair_random(rows, cols, cols, 6);
	Pair dx = pair_random(rows, cols, size[2], 7);
	Pair dweight = pair_random(1, cols, cols, 8);
	Pair dbias = pair_random(1, cols, cols, 9);

	ON_BOTH(norm, kind, 1e-5f, out.on[d], x.on[d], weight.on[d],
	        has_bias ? &bias.on[d] : NULL, stat.on[d]);
	pair_assert_near(out, 1e-5);
	pair_assert_near(stat, 1e-5);
	ON_BOTH(norm_grad, kind, dx.on[d], beta, &dweight.on[d],
	        has_bias ? &dbias.on[d] : NULL, dout.on[d], x.on[d], weight.on[d],
	        stat.on[d]);
	pair_assert_near(dx, 2e-4);
	pair_assert_near(dweight, 1e-4);
	pair_assert_near(dbias, 1e-4);
	pair_end();
}

static void
norms_agree(void **state)
{
	(void) state;
	for (size_t i = 0; i < SIZES; i++)
	{
		/* A layer norm of one column has no derivative that is a number one
		 * can compare: it divides rounding errors by sqrt(eps). */
		if (sizes[i][1] > 1)
			check_norm(NORM_LAYER, sizes[i], 0, true);
		check_norm(NORM_RMS, sizes[i], 1, false);
		check_norm(NORM_RMS, sizes[i], 0.5f, false);
	}
}

/* The gradient may take the place of what it comes from. */
static void
check_norm_in_place(int64_t rows, int64_t cols)
{
	Pair x = pair_random(rows, cols, cols, 1);
	Pair weight = pair_random(1, cols, cols, 2);
	Pair out = pair_random(rows, cols, cols, 3);
	Pair stat = pair_random(rows, 2, 2, 4);
	Pair dout = pair_random(rows, cols, cols, 5);
	Pair dweight = pair_random(1, cols, cols, 6);

	ON_BOTH(norm, NORM_RMS, 1e-6f, out.on[d], x.on[d], weight.on[d], NULL,
	        stat.on[d]);
	ON_BOTH(norm_grad, NORM_RMS, dout.on[d], 0, &dweight.on[d], NULL,
	        dout.on[d], x.on[d], weight.on[d], stat.on[d]);
	pair_assert_near(dout, 1e-4);
	pair_assert_near(dweight, 1e-4);
	ON_BOTH(norm_grad, NORM_RMS, dout.on[d], 0, NULL, NULL, dout.on[d], x.on[d],
	        weight.on[d], stat.on[d]);
	pair_assert_near(dout, 1e-4);
	pair_end();
}

static void
norm_gradients_work_in_place(void **state)
{
	(void) state;
	check_norm_in_place(300, 65);
	check_norm_in_place(30, 576);
	check_norm_in_place(3, 1200);
}

/* Whatever rows there are besides. */
static void
a_normed_row_gives_the_same_bits_in_any_company(void **state)
{
	static const int64_t cols[] = {64, 576, 2048};

	(void) state;
	for (int c = 0; c < 3; c++)
	{
		Device *gpu = pair_device[1];
		Pair x = pair_random(9, cols[c], cols[c], 1);
		Pair weight = pair_random(1, cols[c], cols[c], 2);
		Pair stat = pair_random(9, 2, 2, 3);
		Pair all = pair_random(9, cols[c], cols[c], 4);
		Pair alone = pair_random(9, cols[c], cols[c], 5);
		float *numbers[2];

		gpu->norm(gpu, NORM_RMS, 1e-5f, all.on[1], x.on[1], weight.on[1], NULL,
		          stat.on[1]);
		for (int i = 0; i < 9; i++)
			gpu->norm(gpu, NORM_RMS, 1e-5f, tensor_rows(alone.on[1], i, 1),
			          tensor_rows(x.on[1], i, 1), weight.on[1], NULL,
			          tensor_rows(stat.on[1], i, 1));
		numbers[0] = pair_download(all, 1);
		numbers[1] = pair_download(alone, 1);
		assert_memory_equal(numbers[0], numbers[1],
		                    (size_t) (9 * cols[c]) * sizeof(float));
		free(numbers[0]);
		free(numbers[1]);
		pair_end();
	}
}

/* --------------------------------------------------------------- rotations */

static void
rotations_agree(void **state)
{
	/* Heads, head dimension, what of it is rotated. */
	static const int shapes[][3] = {
		{1, 2, 2}, {3, 8, 8}, {3, 12, 12}, {4, 64, 16}, {9, 80, 80}};

	(void) state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		for (int inverse = 0; inverse < 2; inverse++)
		{
			int64_t cols = (int64_t) shapes[i][0] * shapes[i][1];
			int64_t rows = i == 1 ? 0 : 7;
			Pair x = pair_random(rows, cols, cols + 5, 1);
			Pair table = pair_random(50, shapes[i][2], shapes[i][2], 2);
			PairBytes position = pair_indexes(7, 50, 3);

			ON_BOTH(rotate, x.on[d], shapes[i][0], shapes[i][2], table.on[d],
			        position.on[d], inverse != 0);
			pair_assert_near(x, 1e-6);
			pair_end();
		}
}

/* ------------------------------------------------------------- activations */

static void
check_activation(Activation kind, const int64_t size[3], bool is_gated,
                 bool in_place)
{
	int64_t rows = size[0];
	int64_t cols = size[1];
	Pair gate = pair_random(rows, cols, size[2], 1);
	Pair up = pair_random(rows, cols, size[2], 2);
	Pair out = pair_random(rows, cols, cols, 3);
	Pair dout = pair_random(rows, cols, size[2], 4);
	Pair dgate = in_place ? dout : pair_random(rows, cols, size[2], 5);
	Pair dup = pair_random(rows, cols, size[2], 6);

	/* Also where the exponential is 0 or huge. */
	ON_BOTH(scale, gate.on[d], 4.0f);
	ON_BOTH(activation, kind, out.on[d], gate.on[d],
	        is_gated ? &up.on[d] : NULL, NULL);
	pair_assert_near(out, 1e-5);
	ON_BOTH(activation_grad, kind, dgate.on[d], is_gated ? &dup.on[d] : NULL,
	        dout.on[d], gate.on[d], is_gated ? &up.on[d] : NULL, NULL);
	pair_assert_near(dgate, 1e-5);
	pair_assert_near(dup, 1e-5);
	pair_end();
}

static void
activations_agree(void **state)
{
	(void) state;
	for (int kind = ACTIVATION_GELU; kind <= ACTIVATION_TANH; kind++)
		for (size_t i = 0; i < SIZES; i += 2)
			for (int way = 0; way < 4; way++)
				check_activation((Activation) kind, sizes[i], way % 2 != 0,
				                 way / 2 != 0);
}

/* ----------------------------------------------------------------- dropout */

static void
masks_are_the_cpus(void **state)
{
	static const uint64_t keys[] = {5, 1234567890123456789u, 5, 0};

	(void) state;
	for (int beta = 0; beta < 2; beta++)
	{
		PairBytes key = pair_bytes(keys, sizeof(keys));
		Pair x = pair_random(4, 1111, 1120, 1);
		Pair out = pair_random(4, 1111, 1111, 2);

		ON_BOTH(dropout, out.on[d], x.on[d], 0.5f * (float) beta, 0.3,
		        key.on[d], 77);
		pair_assert_near(out, 1e-7);
		x = pair_random(0, 5, 5, 1);
		ON_BOTH(dropout, x.on[d], x.on[d], 0, 0.3, key.on[d], 78);
		pair_end();
	}
}

/* -------------------------------------------------------- log-probabilities */

static void
check_logprob(int64_t rows, int64_t vocabulary, int64_t stride, float spread)
{
	Pair logits = pair_random(rows, vocabulary, stride, 1);
	Pair logp = pair_random(1, rows, rows, 2);
	Pair lse = pair_random(1, rows, rows, 3);
	Pair coefficient = pair_random(1, rows, rows, 4);
	PairBytes target = pair_indexes(rows, (int) vocabulary, 5);

	ON_BOTH(scale, logits.on[d], spread);
	ON_BOTH(logprob, logp.on[d], lse.on[d], logits.on[d], target.on[d]);
	pair_assert_near(logp, 1e-6);
	pair_assert_near(lse, 1e-6);
	ON_BOTH(logprob_grad, logits.on[d], lse.on[d], target.on[d],
	        coefficient.on[d]);
	pair_assert_near(logits, 1e-5);
	pair_end();
}

static void
logprobs_agree(void **state)
{
	(void) state;
	check_logprob(0, 9, 9, 1);
	check_logprob(1, 1, 1, 1);
	check_logprob(5, 259, 260, 1);
	check_logprob(3, 5003, 5003, 3);
	check_logprob(2, 2049, 2050, 1000);
}

/* --------------------------------------------------------------- optimiser */

static AdamW
step_settings(int k)
{
	return (AdamW){0.01f,
	               0.9,
	               0.999,
	               1e-8f,
	               0.1f,
	               (float) (1 - pow(0.9, k)),
	               (float) (1 - pow(0.999, k)),
	               0.7f};
}

static void
steps_agree(void **state)
{
	static const int64_t counts[] = {1, 255, 1024, 5001};

	(void) state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
	{
		Pair p = pair_random(1, counts[i], counts[i], 1);
		Pair g = pair_random(1, counts[i], counts[i], 2);
		Pair m = pair_random(1, counts[i], counts[i], 3);
		Pair v = pair_tensor(NULL, 1, counts[i], counts[i]);

		for (int k = 1; k <= 3; k++)
		{
			AdamW s = step_settings(k);

			ON_BOTH(adamw, &s, p.on[d], g.on[d], m.on[d], v.on[d]);
		}
		pair_assert_near(p, 1e-5);
		pair_assert_near(m, 1e-6);
		pair_assert_near(v, 1e-6);
		pair_end();
	}
}

/* A step as rounded once everywhere, and codes: the very same bits. */
static void
coded_steps_are_the_cpus(void **state)
{
	static const int64_t counts[] = {1, 255, 256, 257, 5001};

	(void) state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
	{
		int64_t n = counts[i];
		int64_t blocks = (n + DYNAMIC8_BLOCK - 1) / DYNAMIC8_BLOCK;
		Pair p = pair_random(1, n, n, 1);
		Pair moment_scales = pair_tensor(NULL, 1, blocks, blocks);
		Pair square_scales = pair_tensor(NULL, 1, blocks, blocks);
		PairBytes moments = pair_bytes(NULL, (size_t) n);
		PairBytes squares = pair_bytes(NULL, (size_t) n);

		for (int k = 1; k <= 3; k++)
		{
			Pair g = pair_random(1, n, n, (uint64_t) k + 1);
			AdamW s = step_settings(k);
			uint8_t codes[4][5001];

			ON_BOTH(adamw_coded, &s, p.on[d], g.on[d],
			        (Coded){moments.on[d], moment_scales.on[d].data},
			        (Coded){squares.on[d], square_scales.on[d].data});
			ON_BOTH(download, codes[d], moments.on[d], (size_t) n);
			ON_BOTH(download, codes[2 + d], squares.on[d], (size_t) n);
			assert_memory_equal(codes[0], codes[1], n);
			assert_memory_equal(codes[2], codes[3], n);
		}
		pair_assert_near(p, 0);
		pair_assert_near(moment_scales, 0);
		pair_assert_near(square_scales, 0);
		pair_end();
	}
}

static void
squares_agree(void **state)
{
	static const int64_t counts[] = {0, 1, 100, 16384, 16385, 70001};
	static const double before[] = {2.5};

	(void) state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
	{
		Pair x = pair_random(1, counts[i], counts[i], 1);
		PairBytes sum = pair_bytes(before, sizeof(before));
		double got[2];

		ON_BOTH(add_squares, sum.on[d], x.on[d]);
		ON_BOTH(download, &got[d], sum.on[d], sizeof(double));
		assert_near(got[1], got[0], 1e-12 * got[0]);
		pair_end();
	}
}

/* The same call gives the same bits, in whatever order blocks and threads
 * run: the shim draws another for each launch. */
static void
results_repeat_bit_for_bit(void **state)
{
	Pair x = pair_random(700, 50, 50, 1);
	Pair weight = pair_random(1, 50, 50, 2);
	Pair stat = pair_random(700, 2, 2, 3);
	Pair out = pair_random(700, 50, 50, 4);
	Pair sums[5];
	float *first;

	(void) state;
	pair_device[1]->norm(pair_device[1], NORM_LAYER, 1e-5f, out.on[1], x.on[1],
	                     weight.on[1], NULL, stat.on[1]);
	for (int i = 0; i < 5; i++)
	{
		sums[i] = pair_tensor(NULL, 1, 50, 50);
		pair_device[1]->norm_grad(pair_device[1], NORM_LAYER, out.on[1], 0,
		                          &sums[i].on[1], NULL, x.on[1], x.on[1],
		                          weight.on[1], stat.on[1]);
	}
	first = pair_download(sums[0], 1);
	for (int i = 1; i < 5; i++)
	{
		float *other = pair_download(sums[i], 1);

		assert_memory_equal(first, other, 50 * sizeof(float));
		free(other);
	}
	free(first);
	pair_end();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_of_16_bits_agree),
		cmocka_unit_test(norms_agree),
		cmocka_unit_test(norm_gradients_work_in_place),
		cmocka_unit_test(a_normed_row_gives_the_same_bits_in_any_company),
		cmocka_unit_test(rotations_agree),
		cmocka_unit_test(activations_agree),
		cmocka_unit_test(masks_are_the_cpus),
		cmocka_unit_test(logprobs_agree),
		cmocka_unit_test(steps_agree),
		cmocka_unit_test(coded_steps_are_the_cpus),
		cmocka_unit_test(squares_agree),
		cmocka_unit_test(results_repeat_bit_for_bit),
	};

	return run_pairs(tests);
}
