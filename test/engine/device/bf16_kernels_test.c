/*
 * bf16_kernels_test.c
 *		Each instruction set packs and sums the same bits as the portable
 *		kernels.
 */
#include "testing.h"

#include "base/random.h"
#include "device/cpu/matmul_bf16.h"

#include <math.h>
#include <string.h>

#define ROWS 37
#define DEPTH 131
#define STRIDE 140
#define TILE_ROWS 14 /* of AVX512-BF16 */
#define PAIRS 80     /* of DEPTH numbers, packed */

static float numbers[STRIDE * STRIDE];

static const PairKernels *native;

static int
find_native(void **state)
{
	(void) state;
	native = bf16_avx512();
	for (int i = 0; i < STRIDE * STRIDE; i++)
		numbers[i] = (float) random_normal(1, 0, (uint64_t) i);
	numbers[0] = INFINITY;
	numbers[1] = NAN;
	numbers[2] = -0.0f;
	numbers[3] = 3.4e38f;
	numbers[4] = 1 + 0x1p-8f; /* a tie goes to the even neighbour */
	numbers[5] = 1 + 0x3p-8f;
	return 0;
}

static void
rows_are_packed_alike(void **state)
{
	static uint32_t ours[2][ROWS * PAIRS], theirs[2][ROWS * PAIRS];

	(void) state;
	if (native == NULL)
		skip();
	for (int rows = 1; rows <= ROWS; rows += 6)
		for (int depth = 1; depth <= DEPTH; depth += 26)
		{
			memset(ours, 0, sizeof(ours));
			memset(theirs, 0, sizeof(theirs));
			bf16_portable.rows_along(ours[0], PAIRS, numbers, STRIDE, rows,
			                         depth);
			native->rows_along(theirs[0], PAIRS, numbers, STRIDE, rows, depth);
			bf16_portable.rows_across(ours[1], PAIRS, numbers, STRIDE, rows,
			                          depth);
			native->rows_across(theirs[1], PAIRS, numbers, STRIDE, rows, depth);
			assert_memory_equal(ours, theirs, sizeof(ours));
		}
}

static void
panels_are_packed_alike(void **state)
{
	static uint32_t ours[2][BF16_COLS * PAIRS], theirs[2][BF16_COLS * PAIRS];

	(void) state;
	if (native == NULL)
		skip();
	for (int cols = 1; cols <= BF16_COLS; cols++)
		for (int depth = 1; depth <= DEPTH; depth += 26)
		{
			memset(ours, 0, sizeof(ours));
			memset(theirs, 0, sizeof(theirs));
			bf16_portable.panel_along(ours[0], numbers, STRIDE, cols, depth);
			native->panel_along(theirs[0], numbers, STRIDE, cols, depth);
			bf16_portable.panel_across(ours[1], numbers, STRIDE, cols, depth);
			native->panel_across(theirs[1], numbers, STRIDE, cols, depth);
			assert_memory_equal(ours, theirs, sizeof(ours));
		}
}

/* Numbers of bf16 and whole ones, with scales that are numbers and not. */
static void
panels_are_turned_alike(void **state)
{
	static uint32_t lines[BF16_PAIRS * BF16_COLS];
	static uint32_t ours[2][BF16_PAIRS * BF16_COLS];
	static uint32_t theirs[2][BF16_PAIRS * BF16_COLS];

	(void) state;
	if (native == NULL)
		skip();
	native->panel_along(lines, numbers, STRIDE, BF16_COLS, 2 * BF16_PAIRS);
	bf16_portable.turn(ours[0], lines, NULL);
	native->turn(theirs[0], lines, NULL);
	bf16_portable.turn(ours[1], lines, numbers);
	native->turn(theirs[1], lines, numbers);
	assert_memory_equal(ours, theirs, sizeof(ours));
	/* Column j, number p of the sum. */
	native->panel_across(lines, numbers, STRIDE, BF16_COLS, 2 * BF16_PAIRS);
	assert_memory_equal(ours[0], lines, sizeof(lines));
}

/* Sums of numbers behind those that are not finite, of so many pairs. */
static void
sum_tiles(int pairs)
{
	static uint32_t rows[TILE_ROWS * PAIRS], panel[BF16_COLS * PAIRS];
	static float ours[TILE_ROWS * STRIDE], theirs[TILE_ROWS * STRIDE];
	const float *source = numbers + 8;

	bf16_portable.rows_along(rows, PAIRS, source, STRIDE, TILE_ROWS, DEPTH);
	bf16_portable.panel_along(panel, source + 20 * STRIDE, STRIDE, BF16_COLS,
	                          DEPTH);
	for (int count = 1; count <= TILE_ROWS; count++)
		for (int cols = 1; cols <= BF16_COLS; cols++)
			for (int beta = 0; beta < 2; beta++)
			{
				memcpy(ours, source, sizeof(ours));
				memcpy(theirs, source, sizeof(theirs));
				bf16_portable.tile(ours, STRIDE, rows, PAIRS, panel, pairs,
				                   count, cols, (float) beta, NULL);
				native->tile(theirs, STRIDE, rows, PAIRS, panel, pairs, count,
				             cols, (float) beta, NULL);
				assert_memory_equal(ours, theirs, sizeof(ours));
			}
}

/* Fewer pairs than rows, as many, and more. */
static void
tiles_are_summed_alike(void **state)
{
	const int pairs[] = {1, 2, 13, 14, 15, 33, 66};

	(void) state;
	if (native == NULL)
		skip();
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		sum_tiles(pairs[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_packed_alike),
		cmocka_unit_test(panels_are_packed_alike),
		cmocka_unit_test(panels_are_turned_alike),
		cmocka_unit_test(tiles_are_summed_alike),
	};

	return cmocka_run_group_tests(tests, find_native, NULL);
}
