/*
 * collective_test.c
 *		What ranks do together.
 */
#include "on_cpu.h"

#include "device/collective.h"

static void
one_rank_is_its_own_sum(void **state)
{
	float data[] = {1, -2, 3.5f};
	Collective *collective;
	Failure failure = {0};

	(void) state;
	assert_ok(collective_open_single(device, &collective, &failure), failure);
	assert_int_equal(collective->rank, 0);
	assert_int_equal(collective->ranks, 1);
	assert_ok(collective->all_reduce(collective, data, 3, &failure), failure);
	assert_ok(collective->broadcast(collective, data, sizeof(data), &failure),
	          failure);
	assert_ok(collective->barrier(collective, &failure), failure);
	assert_true(data[0] == 1 && data[1] == -2 && data[2] == 3.5f);
	collective->close(collective);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_rank_is_its_own_sum),
	};

	return run_on_cpu(tests);
}
