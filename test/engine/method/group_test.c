/*
 * group_test.c
 *		Rows of one prompt become pairs and lists: who is compared with whom,
 *		and what is left out.
 */
#include "testing.h"

#include "method/group.h"

/* Items as (prompt, reward); the row is the place. */
typedef struct Given
{
	int prompt;
	double reward;
} Given;

static Groups
make(Arena *arena, const Given *given, int count, GroupOptions options)
{
	GroupItem *items =
		arena_alloc(arena, (size_t) count * sizeof(GroupItem) + 1);
	Failure failure = {0};
	Groups groups;

	for (int i = 0; i < count; i++)
		items[i] =
			(GroupItem){{1, (uint64_t) given[i].prompt}, given[i].reward, i};
	assert_ok(groups_make(arena, items, count, &options, &groups, &failure),
	          failure);
	return groups;
}

/* The groups are these rows: expected is -1 between two groups. */
static void
check(const Groups *groups, const int *expected, int length)
{
	int at = 0;

	for (int i = 0; i < groups->count; i++)
	{
		for (int j = groups->offset[i]; j < groups->offset[i + 1]; j++)
		{
			assert_true(at < length);
			assert_int_equal(groups->row[j], expected[at++]);
		}
		if (i < groups->count - 1)
			assert_int_equal(expected[at++], -1);
	}
	assert_int_equal(at, length);
}

#define CHECK(groups, ...)                                                     \
	check(&(groups), (const int[]){__VA_ARGS__},                               \
	      sizeof((const int[]){__VA_ARGS__}) / sizeof(int))

/* Prompt 1: rewards 1, 3, 2, 2; prompt 2: one row; prompt 3: equal; 4: two. */
static const Given rows[] = {{1, 1}, {3, 5}, {1, 3},  {2, 9}, {1, 2},
                             {3, 5}, {4, 0}, {4, -1}, {1, 2}};

static void
the_best_and_the_worst_are_a_pair(void **state)
{
	Arena *arena = arena_create();
	Groups groups =
		make(arena, rows, 9, (GroupOptions){false, PAIRS_BEST_WORST, 8});

	(void) state;
	CHECK(groups, 2, 0, -1, 6, 7);
	assert_int_equal(groups.prompts, 4);
	assert_int_equal(groups.lone, 1);
	assert_int_equal(groups.equal, 1);
	assert_int_equal(groups.equal_pairs, 0);
	arena_destroy(arena);
}

static void
neighbours_by_reward_are_pairs(void **state)
{
	Arena *arena = arena_create();
	Groups groups =
		make(arena, rows, 9, (GroupOptions){false, PAIRS_ADJACENT, 8});

	(void) state;
	CHECK(groups, 2, 4, -1, 8, 0, -1, 6, 7);
	assert_int_equal(groups.equal_pairs, 1); /* 4 and 8 */
	arena_destroy(arena);
}

static void
every_two_of_different_rewards_are_pairs(void **state)
{
	Arena *arena = arena_create();
	Groups groups = make(arena, rows, 9, (GroupOptions){false, PAIRS_ALL, 8});

	(void) state;
	CHECK(groups, 2, 4, -1, 2, 8, -1, 2, 0, -1, 4, 0, -1, 8, 0, -1, 6, 7);
	assert_int_equal(groups.equal_pairs, 1);
	arena_destroy(arena);
}

static void
a_list_falls_by_reward_ties_in_source_order(void **state)
{
	Arena *arena = arena_create();
	Groups groups =
		make(arena, rows, 9, (GroupOptions){true, PAIRS_BEST_WORST, 8});

	(void) state;
	CHECK(groups, 2, 4, 8, 0, -1, 6, 7);
	assert_int_equal(groups.lone, 1);
	assert_int_equal(groups.equal, 1);
	arena_destroy(arena);
}

static void
a_long_list_is_thinned_evenly(void **state)
{
	Arena *arena = arena_create();
	Given given[15];
	Groups groups;

	(void) state;
	for (int i = 0; i < 15; i++)
		given[i] = (Given){1, -i};
	groups = make(arena, given, 15, (GroupOptions){true, PAIRS_ALL, 8});
	CHECK(groups, 0, 2, 4, 6, 8, 10, 12, 14);
	groups = make(arena, given, 15, (GroupOptions){true, PAIRS_ALL, 2});
	CHECK(groups, 0, 14);
	groups = make(arena, given, 15, (GroupOptions){true, PAIRS_ALL, 4});
	CHECK(groups, 0, 5, 9, 14);
	groups = make(arena, given, 9, (GroupOptions){true, PAIRS_ALL, 8});
	assert_int_equal(groups.offset[1], 8);
	for (int i = 1; i < 8; i++)
		assert_true(groups.row[i] > groups.row[i - 1]);
	arena_destroy(arena);
}

static void
nothing_to_compare_is_no_group(void **state)
{
	Arena *arena = arena_create();
	const Given given[] = {{1, 1}, {2, 1}, {3, 7}, {3, 7}};
	Groups groups = make(arena, given, 4, (GroupOptions){true, PAIRS_ALL, 8});

	(void) state;
	assert_int_equal(groups.count, 0);
	assert_int_equal(groups.lone, 2);
	assert_int_equal(groups.equal, 1);
	groups = make(arena, given, 0, (GroupOptions){true, PAIRS_ALL, 8});
	assert_int_equal(groups.count, 0);
	assert_int_equal(groups.prompts, 0);
	arena_destroy(arena);
}

/* 100000 responses to one prompt make 5e9 pairs: refused at once. */
static void
too_many_pairs_are_refused(void **state)
{
	Arena *arena = arena_create();
	int count = 100000;
	GroupItem *items = arena_alloc(arena, (size_t) count * sizeof(GroupItem));
	const GroupOptions all = {false, PAIRS_ALL, 8};
	Failure failure;
	Groups groups;

	(void) state;
	for (int i = 0; i < count; i++)
		items[i] = (GroupItem){{1, 1}, i, i};
	assert_fails(groups_make(arena, items, count, &all, &groups, &failure),
	             failure, FAILURE_BAD_INPUT, "4999950000 pairs");
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_best_and_the_worst_are_a_pair),
		cmocka_unit_test(neighbours_by_reward_are_pairs),
		cmocka_unit_test(every_two_of_different_rewards_are_pairs),
		cmocka_unit_test(a_list_falls_by_reward_ties_in_source_order),
		cmocka_unit_test(a_long_list_is_thinned_evenly),
		cmocka_unit_test(nothing_to_compare_is_no_group),
		cmocka_unit_test(too_many_pairs_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
