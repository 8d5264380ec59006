/*
 * pack_test.c
 *		Micro-batches: everything once, no more than the budget, few and about
 *		equally full.
 */
#include "testing.h"

#include "train/pack.h"

/* Packs items that share nothing. */
static int
pack_lengths(const int32_t *length, int count, int64_t budget, int32_t *order,
             int32_t *begin)
{
	PackItem item[64] = {{0}};

	for (int i = 0; i < count; i++)
		item[i].tokens = length[i];
	return pack_items(item, count, budget, order, begin);
}

static void
batches_are_few_and_even(void **state)
{
	const int32_t length[] = {3, 8, 5, 8, 2};
	const int32_t longer[] = {7, 6, 5, 4, 3, 3, 2};
	int32_t order[7], begin[8];
	const int32_t expected[] = {1, 4, 3, 2, 0};
	const int32_t even[] = {0, 5, 1, 4, 6, 2, 3};

	(void) state;
	assert_int_equal(pack_lengths(length, 5, 10, order, begin), 3);
	assert_memory_equal(order, expected, sizeof(expected));
	assert_int_equal(begin[0], 0); /* 8 + 2 */
	assert_int_equal(begin[1], 2); /* 8 */
	assert_int_equal(begin[2], 3); /* 5 + 3 */
	assert_int_equal(begin[3], 5);
	/* 7 + 3 | 6 + 3 + 2 | 5 + 4 */
	assert_int_equal(pack_lengths(longer, 7, 12, order, begin), 3);
	assert_memory_equal(order, even, sizeof(even));
	assert_int_equal(begin[1], 2);
	assert_int_equal(begin[2], 5);
	assert_int_equal(begin[3], 7);
}

/* 6 + 6 | 4 + 4 + 4, though the emptiest of two would be 6 + 4 | 6 + 4. */
static void
fewer_batches_go_before_even_ones(void **state)
{
	const int32_t length[] = {6, 6, 4, 4, 4};
	int32_t order[5], begin[6];

	(void) state;
	assert_int_equal(pack_lengths(length, 5, 12, order, begin), 2);
	assert_int_equal(begin[1], 2);
}

static void
a_row_beyond_the_budget_goes_alone(void **state)
{
	const int32_t length[] = {4, 100, 4};
	int32_t order[3], begin[4];

	(void) state;
	assert_int_equal(pack_lengths(length, 3, 10, order, begin), 2);
	assert_int_equal(order[0], 1);
	assert_int_equal(begin[1], 1);
}

static void
one_batch_if_it_fits(void **state)
{
	const int32_t length[] = {4, 4, 4};
	int32_t order[3], begin[4];

	(void) state;
	assert_int_equal(pack_lengths(length, 3, 12, order, begin), 1);
	assert_int_equal(begin[1], 3);
}

static void
no_rows_are_no_batches(void **state)
{
	int32_t begin[1] = {-1};

	(void) state;
	assert_int_equal(pack_lengths(NULL, 0, 12, NULL, begin), 0);
	assert_int_equal(begin[0], 0);
}

static void
nothing_is_lost_whatever_the_budget(void **state)
{
	int32_t length[64], order[64], begin[65];

	(void) state;
	for (int i = 0; i < 64; i++)
		length[i] = 1 + i * 37 % 50;
	for (int budget = 1; budget < 2000; budget += 17)
	{
		int batches = pack_lengths(length, 64, budget, order, begin);
		bool seen[64] = {false};

		for (int b = 0; b < batches; b++)
		{
			int tokens = 0;

			for (int i = begin[b]; i < begin[b + 1]; i++)
			{
				tokens += length[order[i]];
				seen[order[i]] = true;
			}
			assert_true(tokens <= budget || begin[b + 1] - begin[b] == 1);
		}
		for (int i = 0; i < 64; i++)
			assert_true(seen[i]);
	}
}

static void
equal_prompts_meet_and_count_once(void **state)
{
	static const uint64_t a[2] = {1, 2}, b[2] = {1, 3};
	const PackItem item[] = {{10, 6, a}, {20, 6, b},    {30, 6, a},
	                         {10, 6, b}, {12, 0, NULL}, {15, 6, a}};
	const int32_t together[] = {2, 5, 0, 1, 3, 4};
	const int32_t apart[] = {2, 5, 1, 3, 0, 4};
	int32_t order[6], begin[7];

	(void) state;
	/* 30 + 9 + 4 | 20 + 4 + 12 */
	assert_int_equal(pack_items(item, 6, 43, order, begin), 2);
	assert_memory_equal(order, together, sizeof(together));
	assert_int_equal(begin[1], 3);
	/* 30 + 9 | 20 + 4, 10, which has its prompt anew, but no room for | 12 */
	assert_int_equal(pack_items(item, 6, 42, order, begin), 3);
	assert_memory_equal(order, apart, 4 * sizeof(int32_t));
	assert_int_equal(begin[1], 2);
	assert_int_equal(begin[2], 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batches_are_few_and_even),
		cmocka_unit_test(fewer_batches_go_before_even_ones),
		cmocka_unit_test(a_row_beyond_the_budget_goes_alone),
		cmocka_unit_test(one_batch_if_it_fits),
		cmocka_unit_test(equal_prompts_meet_and_count_once),
		cmocka_unit_test(no_rows_are_no_batches),
		cmocka_unit_test(nothing_is_lost_whatever_the_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
