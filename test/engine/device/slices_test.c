/*
 * slices_test.c
 *		Slices of a pass: all of them run, and what they add to in common is
 *		added to in their order, whoever is first.
 */
#include "device/tensors.h"

#include <string.h>

#define ROWS 70
#define INPUTS 48
#define OUTPUTS 33

/* What two slices add to: a matrix, its bias and a norm's weight. */
typedef struct Sums
{
	Tensor dout;  /* [2 ROWS, OUTPUTS] */
	Tensor x;     /* [2 ROWS, INPUTS] */
	Tensor dnorm; /* [2 ROWS, INPUTS] */
	Tensor dx;
	Tensor stat;
	Tensor ones; /* [1, INPUTS] */
	Tensor dweight;
	Tensor dbias;
	Tensor dscale;
	int slow;     /* the slice that does a lot before */
	Tensor waste; /* [512, 512] */
	Tensor busy;
} Sums;

static void
add_rows(void *argument, int slice)
{
	const Sums *sums = argument;
	int64_t first = slice * ROWS;
	Matrix dweight = {sums->dweight, false, NULL, NULL};

	if (slice == sums->slow)
		device->matmul_input_grad(device, sums->busy, sums->waste,
		                          &(Matrix){sums->waste, false, NULL, NULL}, 0);
	device->matmul_weight_grad(device, &dweight, &sums->dbias,
	                           tensor_rows(sums->dout, first, ROWS),
	                           tensor_rows(sums->x, first, ROWS));
	device->norm_grad(device, NORM_RMS, tensor_rows(sums->dx, first, ROWS), 0,
	                  &sums->dscale, NULL,
	                  tensor_rows(sums->dnorm, first, ROWS),
	                  tensor_rows(sums->x, first, ROWS), sums->ones,
	                  tensor_rows(sums->stat, first, ROWS));
}

static Sums
make_sums(Arena *arena)
{
	Sums sums = {.dout = random_tensor(arena, 2 * ROWS, OUTPUTS, 1),
	             .x = random_tensor(arena, 2 * ROWS, INPUTS, 2),
	             .dnorm = random_tensor(arena, 2 * ROWS, INPUTS, 3),
	             .dx = random_tensor(arena, 2 * ROWS, INPUTS, 4),
	             .stat = random_tensor(arena, 2 * ROWS, 2, 5),
	             .ones = random_tensor(arena, 1, INPUTS, 6),
	             .dweight = random_tensor(arena, OUTPUTS, INPUTS, 7),
	             .dbias = random_tensor(arena, 1, OUTPUTS, 8),
	             .dscale = random_tensor(arena, 1, INPUTS, 9),
	             .slow = -1,
	             .waste = random_tensor(arena, 512, 512, 10),
	             .busy = random_tensor(arena, 512, 512, 11)};

	return sums;
}

/* One slice has gradients only where the other has none. */
static void
silence(Sums *sums, int slice)
{
	size_t width = ROWS * sizeof(float);

	memset(at(sums->dout, slice * ROWS, 0), 0, OUTPUTS * width);
	memset(at(sums->dnorm, slice * ROWS, 0), 0, INPUTS * width);
}

static void
assert_same_sums(const Sums *a, const Sums *b)
{
	assert_memory_equal(a->dweight.data, b->dweight.data,
	                    OUTPUTS * INPUTS * sizeof(float));
	assert_memory_equal(a->dbias.data, b->dbias.data, OUTPUTS * sizeof(float));
	assert_memory_equal(a->dscale.data, b->dscale.data, INPUTS * sizeof(float));
}

static void
gradients_are_added_in_the_order_of_slices(void **state)
{
	Arena *arena = arena_create();
	Sums first = make_sums(arena);
	Sums second = make_sums(arena);

	(void) state;
	silence(&first, 1);
	silence(&second, 0);
	second.dweight = first.dweight;
	second.dbias = first.dbias;
	second.dscale = first.dscale;
	device->run_slices(device, 2, add_rows, &first);
	device->run_slices(device, 2, add_rows, &second);
	for (int slow = -1; slow < 2; slow++)
		for (int i = 0; i < 10; i++)
		{
			Sums both = make_sums(arena);

			both.slow = slow;
			device->run_slices(device, 2, add_rows, &both);
			assert_same_sums(&both, &second);
		}
	arena_destroy(arena);
}

static void
count_run(void *argument, int slice)
{
	((int *) argument)[slice]++;
}

static void
every_slice_runs_once(void **state)
{
	int runs[2] = {0, 0};

	(void) state;
	device->run_slices(device, 1, count_run, runs);
	assert_int_equal(runs[0], 1);
	assert_int_equal(runs[1], 0);
	device->run_slices(device, 2, count_run, runs);
	assert_int_equal(runs[0], 2);
	assert_int_equal(runs[1], 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_slice_runs_once),
		cmocka_unit_test(gradients_are_added_in_the_order_of_slices),
	};

	return run_on_cpu(tests);
}
