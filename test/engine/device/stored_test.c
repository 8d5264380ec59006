/*
 * stored_test.c
 *		Products with weights as they are stored give what the same weights
 *		widened to fp32 give.
 */
#include "stored.h"

static Tensor
widened(Arena *arena, Tensor stored)
{
	int64_t count = stored.rows * stored.cols;
	float *data = arena_alloc(arena, sizeof(float) * (size_t) count);

	dtype_to_f32(data, stored.data, stored.dtype, (size_t) count);
	return tensor_at(data, stored.rows, stored.cols);
}

static void
assert_same(Tensor a, Tensor b)
{
	for (int64_t i = 0; i < a.rows; i++)
		for (int64_t j = 0; j < a.cols; j++)
		{
			float x = ((float *) a.data)[i * a.stride + j];
			float y = ((float *) b.data)[i * b.stride + j];

			assert_near(x, y, 1e-4 * (1 + fabs((double) y)));
		}
}

static void
check_products(DType dtype, int m, int rows, int cols, bool transposed)
{
	Arena *arena = arena_create();
	Tensor stored = random_stored(arena, dtype, rows, cols);
	Matrix w = {stored, transposed, NULL, NULL};
	Matrix wide = {widened(arena, stored), transposed, NULL, NULL};
	int n = transposed ? cols : rows;
	int k = transposed ? rows : cols;
	Tensor x = tensor_at(random_numbers(arena, m * k, 2), m, k);
	Tensor dout = tensor_at(random_numbers(arena, m * n, 3), m, n);
	Tensor bias = tensor_at(random_numbers(arena, n, 4), 1, n);
	Tensor out[2];
	Tensor dx[2];

	for (int i = 0; i < 2; i++)
	{
		const Matrix *by = i == 0 ? &w : &wide;

		/* Both add to what is there, in rows that lie apart. */
		out[i] = tensor_at(random_numbers(arena, m * (n + 3), 5), m, n);
		out[i].stride = n + 3;
		dx[i] = tensor_at(random_numbers(arena, m * (k + 1), 6), m, k);
		dx[i].stride = k + 1;
		device->matmul(device, out[i], x, by, &bias, 0.5f);
		device->matmul_input_grad(device, dx[i], dout, by, 2);
	}
	assert_same(out[0], out[1]);
	assert_same(dx[0], dx[1]);
	arena_destroy(arena);
}

static void
products_equal_those_of_widened_weights(void **state)
{
	(void) state;
	for (DType dtype = DTYPE_F16; dtype < DTYPE_OTHER; dtype++)
		for (int transposed = 0; transposed < 2; transposed++)
		{
			check_products(dtype, 1, 5, 256, transposed);
			check_products(dtype, 3, 515, 512, transposed);
			check_products(dtype, 9, 3, 256, transposed);
		}
}

static void
weights_of_several_panels_are_multiplied_whole(void **state)
{
	(void) state;
	check_products(DTYPE_BF16, 7, 1100, 512, false);
	check_products(DTYPE_BF16, 7, 1100, 512, true);
	check_products(DTYPE_Q4_K, 7, 2050, 256, false);
	check_products(DTYPE_Q4_K, 7, 2050, 256, true);
	check_products(DTYPE_Q8_0, 5, 70, 9216, false);
	check_products(DTYPE_Q8_0, 5, 70, 9216, true);
}

static void
rows_are_gathered_from_stored_tables(void **state)
{
	static const int32_t index[] = {4, 0, 4, 2};

	(void) state;
	for (DType dtype = DTYPE_F16; dtype < DTYPE_OTHER; dtype++)
	{
		Arena *arena = arena_create();
		Tensor stored = random_stored(arena, dtype, 5, 1280);
		Tensor wide = widened(arena, stored);
		Tensor out = tensor_at(random_numbers(arena, 4 * 1280, 7), 4, 1280);
		const float *row;

		device->gather_rows(device, out, stored, index, 0);
		for (int i = 0; i < 4; i++)
			assert_memory_equal((float *) out.data + i * 1280,
			                    (float *) wide.data + index[i] * 1280,
			                    1280 * sizeof(float));
		device->gather_rows(device, out, stored, index, 3);
		row = (float *) wide.data + 2 * 1280;
		for (int j = 0; j < 1280; j++)
			assert_near(((float *) out.data)[3 * 1280 + j], 4 * row[j],
			            1e-5 * (1 + fabs((double) row[j])));
		arena_destroy(arena);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(products_equal_those_of_widened_weights),
		cmocka_unit_test(weights_of_several_panels_are_multiplied_whole),
		cmocka_unit_test(rows_are_gathered_from_stored_tables),
	};

	return run_on_cpu(tests);
}
