/*
 * memory_test.c
 *		What a device says of the memory it has, and what it keeps for us.
 */
#include "on_cpu.h"

#define MIB ((uint64_t) 1 << 20)

static void
a_limit_leaves_what_is_not_in_use(void **state)
{
	void *block;

	(void) state;
	memory_limit_set(memory_used() + 8 * MIB);
	assert_true(device->room(device) == 8 * MIB);
	block = device->alloc(device, 3 * MIB);
	assert_non_null(block);
	assert_true(device->room(device) < 5 * MIB + 1);
	assert_true(device->room(device) > 4 * MIB);
	device->free(device, block);
	assert_true(device->room(device) == 8 * MIB);
	memory_limit_set(0);
}

static void
without_a_limit_nothing_is_known_to_be_too_much(void **state)
{
	Failure failure = {0};

	(void) state;
	memory_limit_set(0);
	assert_true(device->room(device) == UINT64_MAX);
	assert_ok(device->reserve(device, UINT64_C(1) << 60, &failure), failure);
}

static void
what_is_not_there_cannot_be_reserved(void **state)
{
	Failure failure = {0};

	(void) state;
	memory_limit_set(memory_used() + 8 * MIB);
	assert_ok(device->reserve(device, 8 * MIB, &failure), failure);
	assert_fails(device->reserve(device, 8 * MIB + 1, &failure), failure,
	             FAILURE_OUT_OF_MEMORY,
	             "needs 9 MiB more memory, alol.memory_limit leaves 8 MiB");
	memory_limit_set(0);
}

/* By all threads where it is much: what is before and behind it stays. */
static void
memory_is_cleared_to_its_ends(void **state)
{
	static const size_t sizes[] = {0,   1,       100,     MIB - 1,
	                               MIB, MIB + 1, 3 * MIB, 3 * MIB + 77};
	unsigned char *block = device->alloc(device, 4 * MIB);

	(void) state;
	assert_non_null(block);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		memset(block, 0x55, 4 * MIB);
		device->fill_zero(device, block + 3, sizes[i]);
		for (size_t j = 0; j < 4 * MIB; j++)
			if ((block[j] == 0) != (j >= 3 && j < 3 + sizes[i]))
				fail_msg("%zu bytes: number %zu is %d", sizes[i], j, block[j]);
	}
	device->free(device, block);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_limit_leaves_what_is_not_in_use),
		cmocka_unit_test(without_a_limit_nothing_is_known_to_be_too_much),
		cmocka_unit_test(what_is_not_there_cannot_be_reserved),
		cmocka_unit_test(memory_is_cleared_to_its_ends),
	};

	return run_on_cpu(tests);
}
