/*
 * int16_kernels_test.c
 *		Products of whole numbers of 16 bits lose little, whatever the factors
 *		are, and are the same by every instruction set.
 */
#include "near.h"

#include "base/random.h"
#include "device/cpu/matmul_bf16.h"

#include <string.h>

#define LONGEST 1024 /* of a block of a sum */
#define STRIDE 1027
#define COLUMN_STRIDE 37 /* across */
#define PAIRS (LONGEST + BF16_PAIRS)
#define TILE_ROWS 14

#define KINDS 3
static const PairKernels *kinds[KINDS] = {&int16_portable};
static float rows[TILE_ROWS * STRIDE];
static float columns[BF16_COLS * STRIDE];
static uint32_t packed_rows[TILE_ROWS * PAIRS];
static uint32_t panel[(LONGEST / 2 + 1) * BF16_COLS];

static int
find_native(void **state)
{
	(void) state;
	kinds[1] = int16_avx512();
	kinds[2] = int16_amx();
	return 0;
}

/* Fills both factors with normal numbers times a size. */
static void
fill(float row_size, float column_size)
{
	for (int i = 0; i < TILE_ROWS * STRIDE; i++)
		rows[i] = row_size * (float) random_normal(1, 0, (uint64_t) i);
	for (int i = 0; i < BF16_COLS * STRIDE; i++)
		columns[i] = column_size * (float) random_normal(2, 0, (uint64_t) i);
}

static int64_t
pack(const PairKernels *kernels, int depth)
{
	memset(packed_rows, 0x55, sizeof(packed_rows));
	memset(panel, 0x55, sizeof(panel));
	kernels->rows_along(packed_rows, PAIRS, rows, STRIDE, TILE_ROWS, depth);
	kernels->panel_along(panel, columns, STRIDE, BF16_COLS, depth);
	return (depth + 31) / 32 * 16;
}

/* out[TILE_ROWS][BF16_COLS] of what is packed. */
static void
multiply(const PairKernels *kernels, float *out, int64_t pairs)
{
	if (kernels->begin != NULL)
		kernels->begin(TILE_ROWS);
	kernels->tile(out, BF16_COLS, packed_rows, PAIRS, panel, pairs, TILE_ROWS,
	              BF16_COLS, 0, NULL);
	if (kernels->end != NULL)
		kernels->end();
}

static double
length(const float *vector, int depth)
{
	double squares = 0;

	for (int p = 0; p < depth; p++)
		squares += (double) vector[p] * (double) vector[p];
	return sqrt(squares);
}

static double
largest(const float *vector, int depth)
{
	double most = 0;

	for (int p = 0; p < depth; p++)
		most = fmax(most, fabs((double) vector[p]));
	return most;
}

/* What a product of a row and a column may be off by: each number is by half a
 * unit at most, and AMX leaves out products of 128 units by as many. */
static double
tolerance(const PairKernels *kernels, const float *row, const float *column,
          int depth)
{
	double lengths = length(row, depth) * length(column, depth);
	double unit = largest(row, depth) / INT16_SPLIT_LIMITS.most;
	double column_unit = largest(column, depth) / INT16_SPLIT_LIMITS.most;

	if (kernels->row_size == 1)
		return lengths * (sqrt(depth) / INT16_LENGTH + 1e-6);
	return sqrt(depth) / 2 *
	           (length(row, depth) * column_unit +
	            length(column, depth) * unit) +
	       depth * 128 * 128 * unit * column_unit + 1e-6 * lengths;
}

/* Every number of a tile, by all kernels. */
static void
check_tile(int depth)
{
	for (int kind = 0; kind < KINDS && kinds[kind] != NULL; kind++)
	{
		float out[TILE_ROWS * BF16_COLS];
		int64_t pairs = pack(kinds[kind], depth);

		multiply(kinds[kind], out, pairs);
		for (int i = 0; i < TILE_ROWS; i++)
			for (int j = 0; j < BF16_COLS; j++)
			{
				const float *row = rows + i * STRIDE;
				const float *column = columns + j * STRIDE;
				double sum = 0;

				for (int p = 0; p < depth; p++)
					sum += (double) row[p] * (double) column[p];
				assert_near(out[i * BF16_COLS + j], sum,
				            tolerance(kinds[kind], row, column, depth));
			}
	}
}

static void
what_is_lost_is_bounded_by_the_lengths(void **state)
{
	static const int depths[] = {1, 2, 31, 32, 33, 64, 100, 576, 1024};

	(void) state;
	for (size_t i = 0; i < sizeof(depths) / sizeof(depths[0]); i++)
	{
		fill(1, 1);
		check_tile(depths[i]);
		fill(3e-3f, 40);
		check_tile(depths[i]);
	}
}

/* Where Cauchy and Schwarz meet, which sums of products of the largest numbers
 * must not overflow. */
static void
parallel_vectors_do_not_overflow(void **state)
{
	(void) state;
	for (int depth = 1; depth <= LONGEST; depth += 31)
	{
		for (int i = 0; i < TILE_ROWS * STRIDE; i++)
			rows[i] = i / STRIDE % 2 == 0 ? 1 : -0.3f;
		for (int i = 0; i < BF16_COLS * STRIDE; i++)
			columns[i] = 7.1f;
		check_tile(depth);
		memcpy(rows, columns, sizeof(rows));
		rows[depth / 2] = columns[depth / 2] = 50;
		check_tile(depth);
	}
}

/* Activations have outliers that are hundreds of times as large as the rest. */
static void
outliers_lose_no_more(void **state)
{
	(void) state;
	fill(1, 1);
	for (int i = 0; i < TILE_ROWS; i++)
		rows[i * STRIDE + 7 * i] = 3000;
	for (int j = 0; j < BF16_COLS; j += 3)
		columns[j * STRIDE + j] = -500;
	check_tile(576);
}

static void
any_size_of_numbers_will_do(void **state)
{
	(void) state;
	fill(1e-20f, 1e18f);
	check_tile(200);
	fill(1e25f, 1e-25f);
	check_tile(200);
	fill(3e-30f, 1e30f);
	check_tile(200);
	fill(1e37f, 1e-10f);
	check_tile(200);
}

static void
vectors_of_zeros_give_zeros(void **state)
{
	(void) state;
	fill(1, 1);
	memset(rows, 0, sizeof(rows) / TILE_ROWS);
	memset(columns + STRIDE, 0, STRIDE * sizeof(float));
	check_tile(100);
}

/* So that a broken model is noticed. */
static void
numbers_that_are_not_finite_give_nan(void **state)
{
	static const float broken[] = {NAN, INFINITY, -INFINITY};

	(void) state;
	for (int kind = 0; kind < KINDS && kinds[kind] != NULL; kind++)
		for (int b = 0; b < 3; b++)
		{
			float out[TILE_ROWS * BF16_COLS];
			int64_t pairs;

			fill(1, 1);
			rows[2 * STRIDE + 50] = broken[b];
			columns[30 * STRIDE + 99] = broken[b];
			pairs = pack(kinds[kind], 100);
			multiply(kinds[kind], out, pairs);
			for (int i = 0; i < TILE_ROWS; i++)
				for (int j = 0; j < BF16_COLS; j++)
					assert_int_equal(isnan(out[i * BF16_COLS + j]),
					                 i == 2 || j == 30);
		}
}

/* As it was before AMX's panels split it. */
static int
whole_number_of(const PairKernels *kernels, uint32_t packed)
{
	int16_t number = (int16_t) packed;

	return kernels->row_size == 1 ? number
	                              : (int16_t) (number - ((number & 0x80) << 1));
}

/* Columns that lie across are packed as those that lie along. */
static void
storage_order_makes_no_difference(void **state)
{
	static float across[LONGEST * COLUMN_STRIDE];
	static uint32_t other[sizeof(panel) / sizeof(panel[0])];

	(void) state;
	fill(1, 1);
	memset(columns + 3 * STRIDE, 0, STRIDE * sizeof(float));
	columns[5 * STRIDE] = 1e30f;
	for (int p = 0; p < LONGEST; p++)
		for (int j = 0; j < BF16_COLS; j++)
			across[p * COLUMN_STRIDE + j] = columns[j * STRIDE + p];
	for (int kind = 0; kind < KINDS && kinds[kind] != NULL; kind++)
		for (int depth = 1; depth < 200; depth += 33)
			for (int cols = 1; cols <= BF16_COLS; cols += 5)
			{
				int pairs = (depth + 31) / 32 * 16;

				kinds[kind]->panel_along(panel, columns, STRIDE, cols, depth);
				kinds[kind]->panel_across(other, across, COLUMN_STRIDE, cols,
				                          depth);
				for (int i = 0; i < (pairs + 1) * BF16_COLS; i++)
				{
					float scale[2];

					/* Sums of squares are rounded in another order. */
					memcpy(&scale[0], &panel[i], sizeof(float));
					memcpy(&scale[1], &other[i], sizeof(float));
					if (i >= pairs * BF16_COLS)
						assert_near(scale[1], scale[0],
						            1e-6 * fabs((double) scale[0]));
					else
						for (int half = 0; half < 32; half += 16)
							assert_near(
								whole_number_of(kinds[kind], other[i] >> half),
								whole_number_of(kinds[kind], panel[i] >> half),
								1);
				}
			}
}

/* Rows, some of them unusual, are packed as each of them alone. */
static void
company_makes_no_difference(void **state)
{
	static uint32_t many[BF16_COLS * PAIRS];
	static uint32_t alone[PAIRS];

	(void) state;
	fill(1, 1);
	memset(columns + 3 * STRIDE, 0, STRIDE * sizeof(float));
	columns[5 * STRIDE] = 1e30f;
	columns[15 * STRIDE] = NAN;
	for (int p = 0; p < STRIDE; p++)
		columns[20 * STRIDE + p] *= 1e-30f;
	for (int kind = 0; kind < KINDS && kinds[kind] != NULL; kind++)
		for (int depth = 1; depth < 200; depth += 33)
			for (int count = 1; count <= BF16_COLS; count++)
			{
				int pairs = (depth + 31) / 32 * 16 * kinds[kind]->row_size;

				kinds[kind]->rows_along(many, PAIRS, columns, STRIDE, count,
				                        depth);
				for (int i = 0; i < count; i++)
				{
					const uint32_t *row = many + i * PAIRS;
					float scale;

					memcpy(&scale, row + pairs, sizeof(scale));
					kinds[kind]->rows_along(alone, PAIRS, columns + i * STRIDE,
					                        STRIDE, 1, depth);
					if (i == 15)
						assert_true(isnan(scale));
					else
						assert_memory_equal(row, alone,
						                    (size_t) (pairs + 1) * 4);
				}
			}
}

/* Sums are exact, so instruction sets differ by their last step alone. */
static void
tiles_are_summed_alike(void **state)
{
	float ours[TILE_ROWS * BF16_COLS], theirs[TILE_ROWS * BF16_COLS];

	(void) state;
	if (kinds[1] == NULL)
		skip();
	fill(1, 1);
	for (int count = 1; count <= TILE_ROWS; count++)
		for (int cols = 1; cols <= BF16_COLS; cols++)
			for (int beta = 0; beta < 2; beta++)
			{
				int64_t pairs = pack(kinds[0], 131);

				memcpy(ours, columns, sizeof(ours));
				memcpy(theirs, columns, sizeof(theirs));
				kinds[0]->tile(ours, BF16_COLS, packed_rows, PAIRS, panel,
				               pairs, count, cols, (float) beta, NULL);
				kinds[1]->tile(theirs, BF16_COLS, packed_rows, PAIRS, panel,
				               pairs, count, cols, (float) beta, NULL);
				for (int i = 0; i < TILE_ROWS * BF16_COLS; i++)
					if (i / BF16_COLS < count && i % BF16_COLS < cols)
						assert_near(theirs[i], ours[i], 1e-5);
					else
						assert_memory_equal(&theirs[i], &columns[i], 4);
			}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_lost_is_bounded_by_the_lengths),
		cmocka_unit_test(parallel_vectors_do_not_overflow),
		cmocka_unit_test(outliers_lose_no_more),
		cmocka_unit_test(any_size_of_numbers_will_do),
		cmocka_unit_test(vectors_of_zeros_give_zeros),
		cmocka_unit_test(numbers_that_are_not_finite_give_nan),
		cmocka_unit_test(storage_order_makes_no_difference),
		cmocka_unit_test(company_makes_no_difference),
		cmocka_unit_test(tiles_are_summed_alike),
	};

	return cmocka_run_group_tests(tests, find_native, NULL);
}
