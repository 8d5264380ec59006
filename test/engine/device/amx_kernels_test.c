/*
 * amx_kernels_test.c
 *		The AMX kernels, their instructions emulated, and the check that they
 *		must pass before they are used.
 */
#ifdef __x86_64__
#include "amx_emulated.h"

#include "base/random.h"

#define DEPTH 200
#define PAIRS 112
#define STRIDE 40

static int
skip_without_avx512(void **state)
{
	(void) state;
	/* What is not a tile's is AVX-512. */
	if (bf16_avx512() == NULL || int16_split_avx512() == NULL)
		skip();
	return 0;
}

static void
checks_pass_kernels_that_multiply(void **state)
{
	(void) state;
	assert_non_null(bf16_amx());
	assert_non_null(int16_amx());
}

static void
checks_find_a_fault(void **state)
{
	const PairKernels *bf16 = bf16_amx();
	const PairKernels *int16 = int16_amx();

	(void) state;
	amx_drops_last_pair = true;
	assert_false(bf16_multiplies(bf16));
	assert_false(int16_multiplies(int16));
	amx_drops_last_pair = false;
}

/* Within rounding, as the order of the sums is another; nothing beyond the
 * tile is written. */
static void
tiles_are_products(void **state)
{
	static float numbers[(BF16_ROWS + BF16_COLS) * DEPTH];
	static uint32_t rows[BF16_ROWS * PAIRS], panel[BF16_COLS * PAIRS];
	static float ours[BF16_ROWS * STRIDE], theirs[BF16_ROWS * STRIDE];

	(void) state;
	for (int i = 0; i < (BF16_ROWS + BF16_COLS) * DEPTH; i++)
		numbers[i] = (float) random_normal(1, 0, (uint64_t) i);
	bf16_portable.rows_along(rows, PAIRS, numbers, DEPTH, BF16_ROWS, DEPTH);
	bf16_portable.panel_along(panel, numbers + BF16_ROWS * DEPTH, DEPTH,
	                          BF16_COLS, DEPTH);
	for (int count = 1; count <= BF16_ROWS; count++)
		for (int cols = 1; cols <= BF16_COLS; cols += 3)
			for (int beta = 0; beta < 3; beta++)
			{
				memcpy(ours, numbers, sizeof(ours));
				memcpy(theirs, numbers, sizeof(theirs));
				begin_bf16(count);
				tile_bf16(ours, STRIDE, rows, PAIRS, panel, PAIRS, count, cols,
				          0.5f * (float) beta, NULL);
				release_tiles();
				bf16_portable.tile(theirs, STRIDE, rows, PAIRS, panel, PAIRS,
				                   count, cols, 0.5f * (float) beta, NULL);
				for (int i = 0; i < BF16_ROWS * STRIDE; i++)
					if (i / STRIDE < count && i % STRIDE < cols)
						assert_float_equal(ours[i], theirs[i], 1e-4f);
					else
						assert_true(ours[i] == numbers[i]);
			}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(checks_pass_kernels_that_multiply,
	                           skip_without_avx512),
		cmocka_unit_test_setup(checks_find_a_fault, skip_without_avx512),
		cmocka_unit_test_setup(tiles_are_products, skip_without_avx512),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int
main(void)
{
	return 0;
}
#endif
