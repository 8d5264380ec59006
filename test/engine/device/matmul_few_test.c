/*
 * matmul_few_test.c
 *		Products of few rows: dot products that depend on their two rows alone,
 *		in every instruction set that this machine has.
 */
#include "stored.h"

#include "device/cpu/matmul_few.h"

#include <float.h>

#define ROWS 37
#define X_ROWS 11

/* The sum in double, and in *size that of the products' sizes. */
static double
exact_dot(const float *x, const float *w, int depth, double *size)
{
	double sum = 0;

	*size = 0;
	for (int d = 0; d < depth; d++)
	{
		sum += (double) x[d] * w[d];
		*size += fabs((double) x[d] * w[d]);
	}
	return sum;
}

/* The instruction sets to try, the one in use last. */
static int
list_kernels(const DotKernels *list[3])
{
	int count = 0;

	list[count++] = &dots_portable;
#ifdef __x86_64__
	if (cpu_vectors() >= VECTORS_AVX2)
		list[count++] = &dots_avx2;
	if (cpu_vectors() >= VECTORS_AVX512)
		list[count++] = &dots_avx512;
#endif
	return count;
}

/* Rows of x filled up with zeros, as the kernels want them. */
static float *
padded_numbers(Arena *arena, int rows, int depth, int stride)
{
	float *x = random_numbers(arena, rows * stride, 7);

	for (int i = 0; i < rows; i++)
		for (int d = depth; d < stride; d++)
			x[i * stride + d] = 0;
	return x;
}

static void
check_depth(const DotKernels *kernels, int depth)
{
	Arena *arena = arena_create();
	int stride = (depth + DOT_PAD - 1) / DOT_PAD * DOT_PAD;
	float *x = padded_numbers(arena, X_ROWS, depth, stride);
	float *w = random_numbers(arena, ROWS * depth, 8);
	float out[X_ROWS][ROWS + 1];

	for (int x_rows = 1; x_rows <= X_ROWS; x_rows++)
	{
		for (int i = 0; i < x_rows; i++)
			for (int j = 0; j <= ROWS; j++)
				out[i][j] = 2;
		kernels->dots(out[0], ROWS + 1, x, stride, x_rows, w, depth, ROWS,
		              depth, 0.5f);
		for (int i = 0; i < x_rows; i++)
		{
			for (int j = 0; j < ROWS; j++)
			{
				double size;
				double sum =
					exact_dot(x + i * stride, w + j * depth, depth, &size);

				/* depth / 8 roundings and a few, of half a unit each */
				assert_near(out[i][j], 1 + sum,
				            (depth / 8 + 8) * FLT_EPSILON * (size + 1));
			}
			assert_true(out[i][ROWS] == 2);
		}
	}
	arena_destroy(arena);
}

static void
sums_are_those_of_the_products(void **state)
{
	static const int depths[] = {1, 7, 8, 15, 16, 17, 31, 32, 64, 70, 509, 512};
	const DotKernels *kernels[3];
	int count = list_kernels(kernels);

	(void) state;
	for (int i = 0; i < count; i++)
		for (size_t d = 0; d < sizeof(depths) / sizeof(depths[0]); d++)
			check_depth(kernels[i], depths[d]);
}

/* Each with all others, and alone. */
static void
check_company(const DotKernels *kernels, int depth)
{
	Arena *arena = arena_create();
	int stride = (depth + DOT_PAD - 1) / DOT_PAD * DOT_PAD;
	float *x = padded_numbers(arena, X_ROWS, depth, stride);
	float *w = random_numbers(arena, ROWS * depth, 8);
	float all[X_ROWS][ROWS];
	float one;

	kernels->dots(all[0], ROWS, x, stride, X_ROWS, w, depth, ROWS, depth, 0);
	for (int i = 0; i < X_ROWS; i++)
		for (int j = 0; j < ROWS; j++)
		{
			kernels->dots(&one, 1, x + i * stride, stride, 1, w + j * depth,
			              depth, 1, depth, 0);
			assert_memory_equal(&one, &all[i][j], sizeof(float));
		}
	arena_destroy(arena);
}

static void
company_does_not_change_a_sum(void **state)
{
	const DotKernels *kernels[3];
	int count = list_kernels(kernels);

	(void) state;
	for (int i = 0; i < count; i++)
	{
		check_company(kernels[i], 70);
		check_company(kernels[i], 512);
	}
}

/* All at once, and row by row, the sum in two parts, over fewer columns. */
static void
check_columns(const DotKernels *kernels, int depth, int cols)
{
	Arena *arena = arena_create();
	float *x = random_numbers(arena, X_ROWS * depth, 7);
	float *w = random_numbers(arena, depth * cols, 8);
	float *before = random_numbers(arena, X_ROWS * cols, 9);
	float *all = random_numbers(arena, X_ROWS * cols, 9);
	float *one = random_numbers(arena, X_ROWS * cols, 9);
	float *column = arena_alloc(arena, sizeof(float) * (size_t) depth);
	int part = depth / 3;

	kernels->columns(all, cols, x, depth, X_ROWS, w, cols, depth, cols, 0.5f);
	for (int i = 0; i < X_ROWS; i++)
	{
		kernels->columns(one + i * cols, 0, x + i * depth, 0, 1, w, cols, part,
		                 cols, 0.5f);
		for (int j = 0; j < cols; j++)
		{
			double size, sum;

			kernels->columns(one + i * cols + j, 0, x + i * depth + part, 0, 1,
			                 w + part * cols + j, cols, depth - part, 1, 1);
			for (int d = 0; d < depth; d++)
				column[d] = w[d * cols + j];
			sum = exact_dot(x + i * depth, column, depth, &size) +
			      0.5 * before[i * cols + j];
			assert_near(all[i * cols + j], sum,
			            depth * FLT_EPSILON * (size + 1));
		}
	}
	assert_memory_equal(all, one, sizeof(float) * (size_t) (X_ROWS * cols));
	arena_destroy(arena);
}

static void
columns_are_summed_in_their_order(void **state)
{
	const DotKernels *kernels[3];
	int count = list_kernels(kernels);

	(void) state;
	for (int i = 0; i < count; i++)
	{
		check_columns(kernels[i], 1, 1);
		check_columns(kernels[i], 40, 16);
		check_columns(kernels[i], 33, 7);
		check_columns(kernels[i], 70, 135);
		check_columns(kernels[i], 9, 257);
	}
}

static void
check_stored(const DotKernels *kernels, DType dtype, int rows, int depth)
{
	Arena *arena = arena_create();
	float *x = padded_numbers(arena, 1, depth, depth);
	Tensor stored = random_stored(arena, dtype, rows, depth);
	float *wide = arena_alloc(arena, sizeof(float) * (size_t) (rows * depth));
	float out[2][ROWS];

	dtype_to_f32(wide, stored.data, dtype, (size_t) (rows * depth));
	if (kernels->widen[dtype] != NULL)
	{
		float *same =
			arena_alloc(arena, sizeof(float) * (size_t) (rows * depth));

		kernels->widen[dtype](same, stored.data, rows * depth);
		assert_memory_equal(same, wide,
		                    sizeof(float) * (size_t) (rows * depth));
	}
	for (int j = 0; j < rows; j++)
		out[0][j] = out[1][j] = (float) j;
	kernels->dots(out[0], ROWS, x, depth, 1, wide, depth, rows, depth, 0.25f);
	kernels->of_one[dtype](out[1], x, stored.data,
	                       (int64_t) dtype_bytes(dtype, depth), rows, depth,
	                       0.25f);
	assert_memory_equal(out[0], out[1], sizeof(float) * (size_t) rows);
	arena_destroy(arena);
}

static void
stored_weights_give_the_bits_of_widened_ones(void **state)
{
	const DotKernels *kernels[3];
	int count = list_kernels(kernels);
	int checked = 0;

	(void) state;
	for (int i = 0; i < count; i++)
		for (DType dtype = 0; dtype < DTYPE_OTHER; dtype++)
		{
			if (kernels[i]->of_one[dtype] == NULL)
				continue;
			check_stored(kernels[i], dtype, ROWS, 512);
			check_stored(kernels[i], dtype, 1, 512);
			check_stored(kernels[i], dtype, 8, 256);
			checked++;
		}
	assert_true(checked >= 7 * (count - 1));
}

/* Through the device: rows one by one, and by the hundred, in two threads. */
static void
check_products(DType dtype, int rows, int cols, bool transposed, int m)
{
	Arena *arena = arena_create();
	int depth = transposed ? rows : cols;
	int outputs = transposed ? cols : rows;
	Matrix w = {random_stored(arena, dtype, rows, cols), transposed, NULL,
	            NULL};
	Tensor x = tensor_at(random_numbers(arena, m * depth, 3), m, depth);
	Tensor all = tensor_at(random_numbers(arena, m * outputs, 4), m, outputs);
	Tensor one = tensor_at(random_numbers(arena, m * outputs, 4), m, outputs);

	device->matmul(device, all, x, &w, NULL, 0.5f);
	for (int i = 0; i < m; i++)
		device->matmul(device, tensor_rows(one, i, 1), tensor_rows(x, i, 1), &w,
		               NULL, 0.5f);
	assert_memory_equal(all.data, one.data,
	                    sizeof(float) * (size_t) (m * outputs));
	arena_destroy(arena);
}

static void
check_all_products(int m)
{
	for (int transposed = 0; transposed < 2; transposed++)
	{
		for (DType dtype = 0; dtype < DTYPE_OTHER; dtype++)
		{
			check_products(dtype, 41, 256, transposed, m);
			check_products(dtype, 700, 768, transposed, m);
		}
		check_products(DTYPE_F32, 41, 70, transposed, m);
		check_products(DTYPE_BF16, 41, 72, transposed, m);
	}
}

static void
products_of_many_rows_are_those_of_each(void **state)
{
	(void) state;
	check_all_products(100);
	device->products = DTYPE_BF16;
	check_all_products(8);
	device->products = DTYPE_F32;
}

/* Of bf16 only what is behind 8 rows is rounded. */
static void
few_rows_are_near_those_of_many_that_are_rounded(void **state)
{
	Arena *arena = arena_create();
	Tensor x = tensor_at(random_numbers(arena, 40 * 512, 3), 40, 512);
	Tensor few = tensor_at(random_numbers(arena, 40 * 96, 4), 40, 96);
	Tensor many = tensor_at(random_numbers(arena, 40 * 96, 4), 40, 96);

	(void) state;
	device->products = DTYPE_BF16;
	for (int transposed = 0; transposed < 2; transposed++)
	{
		int rows = transposed ? 512 : 96;
		Matrix w = {random_stored(arena, DTYPE_F32, rows, 512 + 96 - rows),
		            transposed, NULL, NULL};

		device->matmul(device, many, x, &w, NULL, 0);
		for (int i = 0; i < 40; i += 5)
			device->matmul(device, tensor_rows(few, i, 5), tensor_rows(x, i, 5),
			               &w, NULL, 0);
		for (int i = 0; i < 40 * 96; i++)
			assert_near(((float *) few.data)[i], ((float *) many.data)[i],
			            0.15); /* sums of 512 */
	}
	device->products = DTYPE_F32;
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_are_those_of_the_products),
		cmocka_unit_test(company_does_not_change_a_sum),
		cmocka_unit_test(columns_are_summed_in_their_order),
		cmocka_unit_test(stored_weights_give_the_bits_of_widened_ones),
		cmocka_unit_test(products_of_many_rows_are_those_of_each),
		cmocka_unit_test(few_rows_are_near_those_of_many_that_are_rounded),
	};

	return run_on_cpu(tests);
}
