/*
 * arena_test.c
 *		Memory of all sizes is zeroed, aligned, its own, counted, and given
 *		back.
 */
#include "testing.h"

#include "base/arena.h"

#include <string.h>

static const size_t sizes[] = {
	1,       64,      65,      16000,   16384,
	20000,   65536,   1000000, 4194304, 4 * 1048576 - 128,
	4194368, 6000000, 9437184, 3};
static const int size_count = (int) (sizeof(sizes) / sizeof(sizes[0]));

static bool
is_all(const unsigned char *memory, size_t size, unsigned char byte)
{
	for (size_t i = 0; i < size; i++)
		if (memory[i] != byte)
			return false;
	return true;
}

/* A second round finds what the first one left, were it not zeroed. */
static void
memory_is_zeroed_and_nobody_elses(void **state)
{
	unsigned char *memory[14];

	(void) state;
	assert_int_equal(size_count, 14);
	for (int round = 0; round < 2; round++)
	{
		uint64_t before = memory_used();
		Arena *arena = arena_create();
		size_t all = 0;

		for (int i = 0; i < size_count; i++)
		{
			memory[i] = arena_alloc(arena, sizes[i]);
			assert_int_equal((uintptr_t) memory[i] % 64, 0);
			assert_true(is_all(memory[i], sizes[i], 0));
			memset(memory[i], i + 1, sizes[i]);
			all += sizes[i];
		}
		for (int i = 0; i < size_count; i++)
			assert_true(is_all(memory[i], sizes[i], (unsigned char) (i + 1)));
		assert_true(memory_used() - before >= all);
		assert_true(memory_used() - before <= all + size_count * 65536);
		arena_destroy(arena);
		assert_int_equal(memory_used(), before);
	}
}

static void
too_much_is_refused_and_the_rest_stays(void **state)
{
	Arena *arena = arena_create();
	char *kept = arena_alloc(arena, 5000000);
	Failure failure;

	(void) state;
	kept[4999999] = 'x';
	memory_limit_set(memory_used() + 5000000);
	assert_null(arena_try(arena, 6000000, 1, &failure));
	assert_int_equal(failure.code, FAILURE_OUT_OF_MEMORY);
	assert_non_null(arena_try(arena, 4500000, 1, &failure));
	memory_limit_set(0);
	assert_null(arena_try(arena, SIZE_MAX / 4, 8, &failure));
	assert_int_equal(failure.code, FAILURE_OUT_OF_MEMORY);
	assert_int_equal(kept[4999999], 'x');
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_is_zeroed_and_nobody_elses),
		cmocka_unit_test(too_much_is_refused_and_the_rest_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
