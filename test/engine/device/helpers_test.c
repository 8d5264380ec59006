/*
 * helpers_test.c
 *		Work that is shared with whoever is free is done once, whole, and before
 *		its owner goes on.
 */
#include "on_cpu.h"

#include "device/cpu/cpu.h"

#include <stdatomic.h>
#include <unistd.h>

#define ITEMS 1000
#define WORKS 20000

/* How often each item was done, and by whom. */
typedef struct Done
{
	uint8_t times[ITEMS];
	int64_t count;
	int64_t grain;
	atomic_bool is_short; /* a piece, though not the last */
	atomic_int by_helpers;
} Done;

static void
count_items(void *argument, int64_t first, int64_t last)
{
	Done *done = argument;

	if (cpu_helper_number() > 0)
		atomic_fetch_add(&done->by_helpers, (int) (last - first));
	if (last < done->count && last - first < done->grain)
		atomic_store(&done->is_short, true);
	for (int64_t i = first; i < last; i++)
		done->times[i]++;
}

static void
check_work(int64_t count, int64_t grain)
{
	Done done = {.count = count, .grain = grain};

	cpu_share(device, count, grain, count_items, &done);
	for (int64_t i = 0; i < ITEMS; i++)
		assert_int_equal(done.times[i], i < count);
	assert_false(atomic_load(&done.is_short));
}

static void
every_item_is_done_once(void **state)
{
	(void) state;
	for (int64_t i = 0; i < WORKS; i++)
		check_work(i % (ITEMS + 1), 1 + i % 37);
}

static void
helpers_that_slept_come_again(void **state)
{
	int helped = 0;

	(void) state;
	for (int i = 0; i < 200 && helped == 0; i++)
	{
		Done done = {.count = ITEMS};

		/* Longer than a helper looks for work. */
		usleep(2000);
		for (int k = 0; k < 2000; k++)
		{
			memset(done.times, 0, sizeof(done.times));
			cpu_share(device, ITEMS, 10, count_items, &done);
		}
		helped = atomic_load(&done.by_helpers);
	}
	/* Not even in seconds only if there is no second processor. */
	assert_true(helped > 0);
}

static void
share_in_slice(void *argument, int slice)
{
	Done *done = argument;

	cpu_share(device, ITEMS, 10, count_items, &done[slice]);
}

static void
a_slice_does_its_work_alone(void **state)
{
	Done done[2] = {{.count = ITEMS}, {.count = ITEMS}};

	(void) state;
	device->run_slices(device, 2, share_in_slice, done);
	for (int s = 0; s < 2; s++)
	{
		for (int i = 0; i < ITEMS; i++)
			assert_int_equal(done[s].times[i], 1);
		assert_int_equal(atomic_load(&done[s].by_helpers), 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_item_is_done_once),
		cmocka_unit_test(helpers_that_slept_come_again),
		cmocka_unit_test(a_slice_does_its_work_alone),
	};

	return run_on_cpu(tests);
}
