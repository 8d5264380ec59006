/*
 * bf16_amx_test.c
 *		The AMX kernels, their instructions emulated, and the check that they
 *		must pass before they are used.
 */
#ifdef __x86_64__
#include "amx_emulated.h"

#define bf16_amx bf16_amx_emulated
#include "device/cpu/matmul_bf16_amx.c"

#include "base/random.h"

#include <math.h>

#define DEPTH 200
#define PAIRS 112
#define STRIDE 40

static void
skip_without_avx512(void)
{
	/* What is not a tile's is AVX-512. */
	if (!__builtin_cpu_supports("avx512bw") ||
	    !__builtin_cpu_supports("avx512vl"))
		skip();
}

static bool
check_passes(void)
{
	PairKernels kernels = bf16_portable;

	kernels.rows = ROWS;
	kernels.tile = tile;
	return multiplies_as_portable(&kernels);
}

static void
check_passes_kernels_that_multiply(void **state)
{
	(void) state;
	skip_without_avx512();
	assert_true(check_passes());
}

static void
check_finds_a_fault(void **state)
{
	(void) state;
	skip_without_avx512();
	amx_drops_last_pair = true;
	assert_false(check_passes());
	amx_drops_last_pair = false;
}

/* Within rounding, as the order of the sums is another; nothing beyond the
 * tile is written. */
static void
tiles_are_products(void **state)
{
	static float numbers[(ROWS + BF16_COLS) * DEPTH];
	static uint32_t rows[ROWS * PAIRS], panel[BF16_COLS * PAIRS];
	static float ours[ROWS * STRIDE], theirs[ROWS * STRIDE];

	(void) state;
	skip_without_avx512();
	for (int i = 0; i < (ROWS + BF16_COLS) * DEPTH; i++)
		numbers[i] = (float) random_normal(1, 0, (uint64_t) i);
	bf16_portable.rows_along(rows, PAIRS, numbers, DEPTH, ROWS, DEPTH);
	bf16_portable.panel_along(panel, numbers + ROWS * DEPTH, DEPTH, BF16_COLS,
	                          DEPTH);
	for (int count = 1; count <= ROWS; count++)
		for (int cols = 1; cols <= BF16_COLS; cols += 3)
			for (int beta = 0; beta < 3; beta++)
			{
				memcpy(ours, numbers, sizeof(ours));
				memcpy(theirs, numbers, sizeof(theirs));
				tile(ours, STRIDE, rows, PAIRS, panel, PAIRS, count, cols,
				     0.5f * (float) beta, NULL);
				bf16_portable.tile(theirs, STRIDE, rows, PAIRS, panel, PAIRS,
				                   count, cols, 0.5f * (float) beta, NULL);
				for (int i = 0; i < ROWS * STRIDE; i++)
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
		cmocka_unit_test(check_passes_kernels_that_multiply),
		cmocka_unit_test(check_finds_a_fault),
		cmocka_unit_test(tiles_are_products),
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
