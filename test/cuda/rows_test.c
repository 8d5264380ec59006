/*
 * rows_test.c
 *		Rows moved and added on the GPU are those of the CPU, bit for bit.
 */
#include "pair.h"

/* Rows, columns and distance of rows: nothing, one, and across the borders of
 * blocks. */
static const int64_t sizes[][3] = {
	{0, 5, 5}, {1, 1, 1}, {3, 7, 9}, {40, 257, 260}, {5, 1030, 1030}};

static void
rows_are_gathered(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (int beta = 0; beta < 2; beta++)
		{
			Pair table = pair_random(11, sizes[i][1], sizes[i][1], 1);
			Pair out = pair_random(sizes[i][0], sizes[i][1], sizes[i][2], 2);
			PairBytes index = pair_indexes(sizes[i][0], 11, 3);

			ON_BOTH(gather_rows, out.on[d], table.on[d], index.on[d],
			        (float) beta);
			pair_assert_near(out, 0);
			pair_end();
		}
}

static void
rows_are_scattered(void **state)
{
	static const int32_t places[] = {7, 0, 3, 12, 5};

	(void) state;
	for (int64_t rows = 0; rows <= 5; rows++)
	{
		Pair target = pair_random(13, 301, 303, 1);
		Pair source = pair_random(rows, 301, 301, 2);
		PairBytes index = pair_bytes(places, sizeof(places));

		ON_BOTH(scatter_rows, target.on[d], source.on[d], index.on[d]);
		pair_assert_near(target, 0);
		pair_end();
	}
}

/* Indexes that repeat often and seldom, over several pieces of 256. */
static void
repeated_rows_are_added_in_order(void **state)
{
	static const int64_t rows[] = {0, 1, 5, 255, 257, 700};

	(void) state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (int below = 1; below < 200; below = below * 13)
		{
			Pair table = pair_random(200, 37, 40, 1);
			Pair source = pair_random(rows[i], 37, 37, 2);
			PairBytes index = pair_indexes(rows[i], below, 3);

			ON_BOTH(scatter_add_rows, table.on[d], source.on[d], index.on[d]);
			pair_assert_near(table, 0);
			pair_end();
		}
}

static void
wide_rows_are_added(void **state)
{
	Pair table = pair_random(4, 2100, 2100, 1);
	Pair source = pair_random(9, 2100, 2101, 2);
	PairBytes index = pair_indexes(9, 4, 3);

	(void) state;
	ON_BOTH(scatter_add_rows, table.on[d], source.on[d], index.on[d]);
	pair_assert_near(table, 0);
	pair_end();
}

static void
heads_are_regrouped(void **state)
{
	static const int shapes[][3] = {
		{1, 1, 1}, {4, 3, 8}, {4, 3, 8}, {7, 2, 25}};

	(void) state;
	for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
		for (int inverse = 0; inverse < 2; inverse++)
		{
			int heads = shapes[i][0];
			int parts = shapes[i][1];
			int64_t cols = heads * parts * shapes[i][2];
			int64_t rows = i == 1 ? 0 : 6;
			Pair x = pair_random(rows, cols, cols + 2, 1);
			Pair out = pair_random(rows, cols, cols, 2);

			ON_BOTH(regroup_heads, out.on[d], x.on[d], heads, parts,
			        inverse != 0);
			pair_assert_near(out, 0);
			pair_end();
		}
}

static void
rows_are_added_and_scaled(void **state)
{
	(void) state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		Pair a = pair_random(sizes[i][0], sizes[i][1], sizes[i][2], 1);
		Pair b = pair_random(sizes[i][0], sizes[i][1], sizes[i][1], 2);

		/* In place, as residuals are. */
		ON_BOTH(add, a.on[d], a.on[d], b.on[d]);
		pair_assert_near(a, 0);
		ON_BOTH(scale, a.on[d], -0.3f);
		pair_assert_near(a, 0);
		pair_end();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_gathered),
		cmocka_unit_test(rows_are_scattered),
		cmocka_unit_test(repeated_rows_are_added_in_order),
		cmocka_unit_test(wide_rows_are_added),
		cmocka_unit_test(heads_are_regrouped),
		cmocka_unit_test(rows_are_added_and_scaled),
	};

	return run_pairs(tests);
}
