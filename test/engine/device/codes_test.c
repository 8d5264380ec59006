/*
 * codes_test.c
 *		Products with weights of small whole numbers: what they lose, that a
 *		row's result depends on no other, and that all instruction sets agree.
 */
#include "stored.h"

#include "device/cpu/matmul.h"
#include "device/cpu/matmul_codes.h"

#include <string.h>

#define BLOCKS 18
#define DEPTH (BLOCKS * QUANT_CODES)
#define ROWS 7

static const DType dtypes[] = {DTYPE_Q8_0, DTYPE_Q4_0, DTYPE_Q4_1, DTYPE_Q5_0,
                               DTYPE_Q5_1, DTYPE_Q4_K, DTYPE_Q5_K};

#define DTYPES (int) (sizeof(dtypes) / sizeof(dtypes[0]))

/* A matrix, and what the device has packed of it for products of 16 bits. */
static Matrix
packed_matrix(Arena *arena, DType dtype, int rows, int cols)
{
	Matrix w = {random_stored(arena, dtype, rows, cols), false, NULL, NULL};
	void *packed = arena_alloc(arena, device->packed_bytes(device, &w, false));

	device->products = DTYPE_BF16;
	device->pack(device, packed, &w, false);
	w.packed = packed;
	return w;
}

/* The product of row i of x and row j of w in double, and the sum of what
 * rounding x by half a unit of its block's largest 32767th may change. */
static double
exact(Tensor x, const float *wide, int i, int j, double *lost)
{
	const float *row = (const float *) x.data + i * x.stride;
	double sum = 0;

	*lost = 0;
	for (int first = 0; first < x.cols; first += QUANT_CODES)
	{
		double most = 0, weights = 0;

		for (int p = first; p < first + QUANT_CODES; p++)
		{
			double weight = wide[j * x.cols + p];

			sum += (double) row[p] * weight;
			most = fmax(most, fabs((double) row[p]));
			weights += fabs(weight);
			/* Roundings of fp32, some of each sum of a block. */
			*lost += 1e-6 * fabs((double) row[p] * weight);
		}
		*lost += 0.5 / INT16_MAX * most * weights;
	}
	return sum;
}

/* Every number is within what the roundings of x allow. */
static void
check_product(DType dtype, int rows, int cols, float beta, Tensor x)
{
	Arena *arena = arena_create();
	Matrix w = packed_matrix(arena, dtype, rows, cols);
	float *wide = arena_alloc(arena, sizeof(float) * (size_t) (rows * cols));
	int m = (int) x.rows;
	Tensor out = tensor_at(random_numbers(arena, m * rows, 4), m, rows);
	float *before = random_numbers(arena, m * rows, 4);

	dtype_to_f32(wide, w.tensor.data, dtype, (size_t) (rows * cols));
	device->matmul(device, out, x, &w, NULL, beta);
	for (int i = 0; i < m; i++)
		for (int j = 0; j < rows; j++)
		{
			double lost;
			double sum = exact(x, wide, i, j, &lost) +
			             (double) (beta * before[i * rows + j]);

			assert_near(((float *) out.data)[i * rows + j], sum,
			            1.01 * lost + 1e-6 * fabs(sum) + 1e-30);
		}
	arena_destroy(arena);
}

static void
what_is_lost_is_half_a_unit_of_activations(void **state)
{
	Arena *arena = arena_create();

	(void) state;
	for (int d = 0; d < DTYPES; d++)
		for (int m = 1; m <= 23; m += 11)
		{
			Tensor x = tensor_at(random_numbers(arena, m * 768, 3), m, 768);

			check_product(dtypes[d], 70, 768, 0, x);
			check_product(dtypes[d], 13, 768, 0.5f, x);
		}
	arena_destroy(arena);
}

/* Which those of many models have; and blocks of zeros. */
static void
outliers_touch_their_block_alone(void **state)
{
	Arena *arena = arena_create();
	Tensor x = tensor_at(random_numbers(arena, 5 * 512, 3), 5, 512);

	(void) state;
	for (int i = 0; i < 5; i++)
	{
		float *row = (float *) x.data + 512 * i;

		row[37 * i] = 3000;
		memset(row + 256, 0, 64 * sizeof(float));
		row[480] = i % 2 == 0 ? 1e-30f : 1e20f;
	}
	check_product(DTYPE_Q8_0, 40, 512, 0, x);
	check_product(DTYPE_Q4_1, 40, 512, 0, x);
	arena_destroy(arena);
}

/* Codes and activations as large as can be, with the same sign. */
static void
largest_sums_do_not_overflow(void **state)
{
	CodePanel panel;
	const CodeKernels *kinds[] = {&codes_portable, codes_avx512()};
	float x[QUANT_CODES];
	CodeRow row;

	(void) state;
	memset(panel.code, -128, sizeof(panel.code));
	for (int j = 0; j < CODE_COLS; j++)
		panel.scale[j] = 1;
	for (int i = 0; i < QUANT_CODES; i++)
		x[i] = -5;
	for (int kind = 0; kind < 2 && kinds[kind] != NULL; kind++)
	{
		float out[CODE_COLS];

		kinds[kind]->pack_row(&row, x, 1);
		kinds[kind]->tile(out, CODE_COLS, &row, (const uint8_t *) &panel, 1,
		                  false, 1, CODE_COLS, 0, NULL, 0);
		for (int j = 0; j < CODE_COLS; j++)
			assert_near(out[j], 5 * 128 * 32, 5 * 128 * 32 * 1e-6);
	}
}

/* So that a broken model is noticed. */
static void
numbers_that_are_not_finite_give_nan(void **state)
{
	static const float broken[] = {NAN, INFINITY, -INFINITY};
	Arena *arena = arena_create();
	Matrix w = packed_matrix(arena, DTYPE_Q4_1, 40, 256);

	(void) state;
	for (int b = 0; b < 3; b++)
	{
		Tensor x = tensor_at(random_numbers(arena, 3 * 256, 3), 3, 256);
		Tensor out = tensor_at(random_numbers(arena, 3 * 40, 3), 3, 40);

		((float *) x.data)[256 + 77] = broken[b];
		device->matmul(device, out, x, &w, NULL, 0);
		for (int i = 0; i < 3 * 40; i++)
			assert_int_equal(isnan(((float *) out.data)[i]), i / 40 == 1);
	}
	arena_destroy(arena);
}

/* One by one, by the hundred, and by more than are packed at a time. */
static void
check_company(DType dtype, int rows, int cols, int m)
{
	Arena *arena = arena_create();
	Matrix w = packed_matrix(arena, dtype, rows, cols);
	Tensor x = tensor_at(random_numbers(arena, m * cols, 3), m, cols);
	Tensor all = tensor_at(random_numbers(arena, m * rows, 4), m, rows);
	Tensor one = tensor_at(random_numbers(arena, m * rows, 4), m, rows);

	device->matmul(device, all, x, &w, NULL, 0.5f);
	for (int i = 0; i < m; i++)
		device->matmul(device, tensor_rows(one, i, 1), tensor_rows(x, i, 1), &w,
		               NULL, 0.5f);
	assert_memory_equal(all.data, one.data,
	                    sizeof(float) * (size_t) (m * rows));
	arena_destroy(arena);
}

static void
a_row_depends_on_no_other(void **state)
{
	(void) state;
	for (int d = 0; d < DTYPES; d++)
	{
		check_company(dtypes[d], 41, 256, 5);
		check_company(dtypes[d], 700, 768, 100);
	}
	check_company(DTYPE_Q8_0, 33, 512, 600);
	check_company(DTYPE_Q4_0, 16, 4096, 90);
}

/* Numbers in blocks of every size, a block of zeros, one not finite. */
static void
fill_row(float *row)
{
	for (int i = 0; i < DEPTH; i++)
		row[i] = (float) (random_normal(5, 0, (uint64_t) i) *
		                  pow(10, i / QUANT_CODES * 4 - 36));
	memset(row + 3 * QUANT_CODES, 0, QUANT_CODES * sizeof(float));
	row[7 * QUANT_CODES + 5] = NAN;
	row[8 * QUANT_CODES] = -INFINITY;
}

static void
rows_are_packed_alike(void **state)
{
	const CodeKernels *native = codes_avx512();
	float row[DEPTH];
	CodeRow ours[BLOCKS], theirs[BLOCKS];

	(void) state;
	if (native == NULL)
		skip();
	fill_row(row);
	codes_portable.pack_row(ours, row, BLOCKS);
	native->pack_row(theirs, row, BLOCKS);
	for (int b = 0; b < BLOCKS; b++)
	{
		assert_memory_equal(ours[b].pair, theirs[b].pair, sizeof(ours[b].pair));
		assert_int_equal(isnan(ours[b].scale), b == 7 || b == 8);
		assert_int_equal(isnan(theirs[b].scale), b == 7 || b == 8);
		if (b == 7 || b == 8)
			continue;
		assert_true(ours[b].scale == theirs[b].scale);
		assert_true(ours[b].sum == theirs[b].sum);
	}
}

/* Tiles of all shapes: the same numbers, and nothing beside them. */
static void
check_tiles(const CodeKernels *native, bool has_least)
{
	Arena *arena = arena_create();
	Matrix w = packed_matrix(arena, has_least ? DTYPE_Q4_1 : DTYPE_Q8_0,
	                         CODE_COLS, DEPTH);
	float *x = random_numbers(arena, ROWS * DEPTH, 3);
	float *before = random_numbers(arena, ROWS * CODE_COLS, 4);
	CodeRow rows[ROWS * BLOCKS];

	codes_portable.pack_row(rows, x, ROWS * BLOCKS);
	for (int count = 1; count <= ROWS; count++)
		for (int cols = 1; cols <= CODE_COLS; cols++)
		{
			float ours[ROWS * CODE_COLS], theirs[ROWS * CODE_COLS];
			float beta = cols % 2 == 0 ? 0 : 0.5f;

			memcpy(ours, before, sizeof(ours));
			memcpy(theirs, before, sizeof(theirs));
			codes_portable.tile(ours, CODE_COLS, rows, w.packed, BLOCKS,
			                    has_least, count, cols, beta, NULL, 0);
			native->tile(theirs, CODE_COLS, rows, w.packed, BLOCKS, has_least,
			             count, cols, beta, w.packed, 2);
			for (int i = 0; i < ROWS * CODE_COLS; i++)
				if (i / CODE_COLS < count && i % CODE_COLS < cols)
					assert_near(theirs[i], ours[i], 1e-3); /* of hundreds */
				else
					assert_memory_equal(&theirs[i], &before[i], 4);
		}
	arena_destroy(arena);
}

static void
tiles_are_summed_alike(void **state)
{
	(void) state;
	if (codes_avx512() == NULL)
		skip();
	check_tiles(codes_avx512(), false);
	check_tiles(codes_avx512(), true);
}

/* The others are rounded to 16 bits (matmul_bf16.h). */
static void
only_blocks_of_codes_are_taken(void **state)
{
	Arena *arena = arena_create();
	Matrix w = {random_stored(arena, DTYPE_Q8_0, 8, 64), false, NULL, NULL};

	(void) state;
	if (!cpu_takes_codes(&w))
		skip(); /* AMX */
	w.transposed = true;
	assert_false(cpu_takes_codes(&w));
	w.transposed = false;
	w.tensor.stride = 80;
	assert_false(cpu_takes_codes(&w));
	w.tensor.stride = 64;
	w.tensor.cols = 48;
	assert_false(cpu_takes_codes(&w));
	w.tensor = random_stored(arena, DTYPE_Q6_K, 8, 256);
	assert_false(cpu_takes_codes(&w));
	w.tensor = random_stored(arena, DTYPE_BF16, 8, 256);
	assert_false(cpu_takes_codes(&w));
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_lost_is_half_a_unit_of_activations),
		cmocka_unit_test(outliers_touch_their_block_alone),
		cmocka_unit_test(largest_sums_do_not_overflow),
		cmocka_unit_test(numbers_that_are_not_finite_give_nan),
		cmocka_unit_test(a_row_depends_on_no_other),
		cmocka_unit_test(rows_are_packed_alike),
		cmocka_unit_test(tiles_are_summed_alike),
		cmocka_unit_test(only_blocks_of_codes_are_taken),
	};

	return run_on_cpu(tests);
}
