/*
 * products_test.c
 *		Matrix products on the GPU follow those of the CPU: fp32 and bf16,
 *		weights as they are stored, many rows and few.
 *
 * Where the GPU rounds factors to bf16, the CPU has fp32 numbers that are
 * rounded so: its own products of bf16 may be nearer.  Sums of up to 515
 * products in another order differ by some 1e-5 of their size.
 */
#include "pair.h"

#define TOLERANCE 1e-4

static void
multiply_as(DType products)
{
	pair_device[1]->products = products;
}

/* Numbers as they are multiplied. */
static void
shorten(Pair x)
{
	if (pair_device[1]->products == DTYPE_BF16)
		pair_round_on_cpu(x);
}

/* Stored weights likewise: on the CPU in fp32 where they are rounded. */
static void
shorten_weights(Pair *w)
{
	int64_t count = w->on[0].rows * w->on[0].cols;
	size_t bytes = dtype_bytes(w->on[0].dtype, count);
	void *stored = malloc(bytes);
	float *numbers = malloc((size_t) count * sizeof(float));

	pair_device[0]->download(pair_device[0], stored, w->on[0].data, bytes);
	dtype_to_f32(numbers, stored, w->on[0].dtype, (size_t) count);
	w->on[0] =
		pair_tensor(numbers, w->on[0].rows, w->on[0].cols, w->on[0].cols).on[0];
	shorten(*w);
	free(stored);
	free(numbers);
}

/* rows x cols random numbers of the dtype; cols is a multiple of its block. */
static Pair
pair_stored(DType dtype, int rows, int cols)
{
	int64_t count = (int64_t) rows * cols;
	size_t bytes = dtype_bytes(dtype, count);
	size_t block = dtype_bytes(dtype, dtype_block(dtype));
	float *numbers = malloc((size_t) count * sizeof(float));
	uint8_t *data = malloc(bytes);
	PairBytes made;
	Pair pair;

	for (int64_t i = 0; i < count; i++)
		numbers[i] = (float) random_normal(1, 0, (uint64_t) i);
	if (dtype_block(dtype) == 1)
		dtype_from_f32(data, numbers, dtype, (size_t) count);
	else if (!quant_write(data, numbers, dtype, count))
		for (size_t i = 0; i < bytes; i++)
		{
			size_t at = i % block;

			data[i] = (uint8_t) random_bits(1, 2, i);
			/* Halves of about 2^-8 at either end: numbers of about 1. */
			if (at == 1 || at == 3 || at == block - 1)
				data[i] = (uint8_t) ((data[i] & 0x83) | 0x1c);
		}
	made = pair_bytes(data, bytes);
	for (int d = 0; d < 2; d++)
		pair.on[d] = (Tensor){made.on[d], dtype, rows, cols, cols};
	free(numbers);
	free(data);
	return pair;
}

/* out, dx and dw of m rows; W is stored rows x cols. */
static void
check_products(DType dtype, int m, int rows, int cols, bool transposed)
{
	Pair w = pair_stored(dtype, rows, cols);
	int n = transposed ? cols : rows;
	int k = transposed ? rows : cols;
	Pair x = pair_random(m, k, k + 3, 2);
	Pair dout = pair_random(m, n, n + 1, 3);
	Pair bias = pair_random(1, n, n, 4);
	Pair out = pair_random(m, n, n + 2, 5);
	Pair plain = pair_random(m, n, n, 6);
	Pair dx = pair_random(m, k, k + 1, 7);
	Matrix matrix[2];

	if (pair_device[1]->products == DTYPE_BF16)
		shorten_weights(&w);
	shorten(x);
	shorten(dout);
	for (int d = 0; d < 2; d++)
		matrix[d] = (Matrix){w.on[d], transposed, NULL, NULL};
	ON_BOTH(matmul, out.on[d], x.on[d], &matrix[d], &bias.on[d], 0.5f);
	pair_assert_near(out, TOLERANCE);
	ON_BOTH(matmul, plain.on[d], x.on[d], &matrix[d], NULL, 0);
	pair_assert_near(plain, TOLERANCE);
	ON_BOTH(matmul_input_grad, dx.on[d], dout.on[d], &matrix[d], 2);
	pair_assert_near(dx, TOLERANCE);
	pair_end();
}

static void
check_weight_grad(int m, int rows, int cols, bool transposed)
{
	Pair dw = pair_random(rows, cols, cols, 1);
	int n = transposed ? cols : rows;
	int k = transposed ? rows : cols;
	Pair x = pair_random(m, k, k + 3, 2);
	Pair dout = pair_random(m, n, n + 1, 3);
	Pair dbias = pair_random(1, n, n, 4);
	Pair more = pair_random(rows, cols, cols, 5);
	Matrix matrix[2] = {{dw.on[0], transposed, NULL, NULL},
	                    {dw.on[1], transposed, NULL, NULL}};
	Matrix beside[2] = {{more.on[0], transposed, NULL, NULL},
	                    {more.on[1], transposed, NULL, NULL}};

	/* Biases are sums of numbers that nobody rounds. */
	ON_BOTH(matmul_weight_grad, &beside[d], &dbias.on[d], dout.on[d], x.on[d]);
	pair_assert_near(dbias, TOLERANCE);
	shorten(dout);
	shorten(x);
	for (int i = 0; i < 2; i++)
	{
		ON_BOTH(matmul_weight_grad, &matrix[d], NULL, dout.on[d], x.on[d]);
		pair_assert_near(dw, TOLERANCE);
	}
	pair_assert_near(dbias, TOLERANCE);
	pair_end();
}

static void
check_all(DType products)
{
	static const int rows_of_x[] = {0, 1, 2, 8, 9, 70};

	multiply_as(products);
	for (size_t i = 0; i < sizeof(rows_of_x) / sizeof(rows_of_x[0]); i++)
		for (int transposed = 0; transposed < 2; transposed++)
		{
			check_products(DTYPE_F32, rows_of_x[i], 65, 33, transposed != 0);
			check_products(DTYPE_BF16, rows_of_x[i], 7, 515, transposed != 0);
			check_weight_grad(rows_of_x[i], 65, 33, transposed != 0);
		}
	check_weight_grad(600, 3, 5, false);
	multiply_as(DTYPE_F32);
}

static void
fp32_products_agree(void **state)
{
	(void) state;
	check_all(DTYPE_F32);
}

static void
bf16_products_agree(void **state)
{
	(void) state;
	check_all(DTYPE_BF16);
}

static void
stored_weights_multiply_as_on_the_cpu(void **state)
{
	static const DType products[] = {DTYPE_F32, DTYPE_BF16};

	(void) state;
	for (int p = 0; p < 2; p++)
	{
		multiply_as(products[p]);
		for (DType dtype = DTYPE_F16; dtype < DTYPE_OTHER; dtype++)
			for (int transposed = 0; transposed < 2; transposed++)
			{
				check_products(dtype, 1, 5, 256, transposed != 0);
				check_products(dtype, 9, 3, 512, transposed != 0);
			}
		/* Rows that begin within a block, and in the second group. */
		check_products(DTYPE_NF4, 9, 4, 96, false);
		check_products(DTYPE_NF4_DOUBLE, 9, 4, 96, false);
		check_products(DTYPE_NF4_DOUBLE, 9, 150, 128, false);
	}
	multiply_as(DTYPE_F32);
}

/* Few rows that are read 16 bytes at a time, together and one by one. */
static void
check_few(DType dtype, int m, int n, int k)
{
	Pair w = pair_stored(dtype, n, k);
	Pair x = pair_random(m, k, k + 4, 2);
	Pair out = pair_random(m, n, n, 3);
	Pair alone = pair_random(m, n, n, 3);
	Pair bias = pair_random(1, n, n, 4);
	Device *gpu = pair_device[1];
	Matrix matrix[2];
	float *numbers[2];

	if (gpu->products == DTYPE_BF16)
		shorten_weights(&w);
	shorten(x);
	for (int d = 0; d < 2; d++)
		matrix[d] = (Matrix){w.on[d], false, NULL, NULL};
	ON_BOTH(matmul, out.on[d], x.on[d], &matrix[d], &bias.on[d], 0.5f);
	pair_assert_near(out, TOLERANCE);
	for (int i = 0; i < m; i++)
		gpu->matmul(gpu, tensor_rows(alone.on[1], i, 1),
		            tensor_rows(x.on[1], i, 1), &matrix[1], &bias.on[1], 0.5f);
	numbers[0] = pair_download(out, 1);
	numbers[1] = pair_download(alone, 1);
	assert_memory_equal(numbers[0], numbers[1], (size_t) (m * n) * 4);
	free(numbers[0]);
	free(numbers[1]);
	pair_end();
}

/* One step and several of 256 numbers, by one warp, two and four. */
static void
a_row_gives_the_same_bits_in_any_company(void **state)
{
	static const DType products[] = {DTYPE_F32, DTYPE_BF16};
	static const int shapes[][3] = {
		{8, 5, 8}, {3, 66, 264}, {2, 7, 512}, {8, 9, 1304}, {5, 3, 515}};

	(void) state;
	for (int p = 0; p < 2; p++)
	{
		multiply_as(products[p]);
		for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++)
			for (DType dtype = DTYPE_F32; dtype <= DTYPE_BF16; dtype++)
				check_few(dtype, shapes[i][0], shapes[i][1], shapes[i][2]);
		for (DType dtype = DTYPE_Q8_0; dtype < DTYPE_OTHER; dtype++)
			check_few(dtype, 3, 66, 512);
		/* Rows that begin within a block. */
		check_few(DTYPE_NF4_DOUBLE, 2, 6, 96);
	}
	check_few(DTYPE_BF16, 1, 16390, 272);
	multiply_as(DTYPE_F32);
}

/* Widening gives the same bits: rows that are gathered show them. */
static void
stored_numbers_are_read_exactly(void **state)
{
	static const int32_t rows[] = {70, 0, 3, 69};

	(void) state;
	for (DType dtype = DTYPE_F32; dtype < DTYPE_OTHER; dtype++)
	{
		Pair table = pair_stored(dtype, 71, 256);
		Pair out = pair_random(4, 256, 256, 2);
		PairBytes index = pair_bytes(rows, sizeof(rows));

		ON_BOTH(gather_rows, out.on[d], table.on[d], index.on[d], 0);
		pair_assert_near(out, 0);
		pair_end();
	}
}

/* More weights than one scratch holds are multiplied a panel at a time, and
 * more tokens a piece at a time: here it holds few (cuda.mk). */
static void
large_factors_are_multiplied_in_pieces(void **state)
{
	static const DType products[] = {DTYPE_F32, DTYPE_BF16};

	(void) state;
	for (int p = 0; p < 2; p++)
		for (int transposed = 0; transposed < 2; transposed++)
		{
			multiply_as(products[p]);
			check_products(DTYPE_F16, 9, 201, 512, transposed != 0);
			check_products(DTYPE_F32, 150, 31, 530, transposed != 0);
			check_weight_grad(150, 31, 530, transposed != 0);
		}
	multiply_as(DTYPE_F32);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fp32_products_agree),
		cmocka_unit_test(bf16_products_agree),
		cmocka_unit_test(stored_weights_multiply_as_on_the_cpu),
		cmocka_unit_test(a_row_gives_the_same_bits_in_any_company),
		cmocka_unit_test(stored_numbers_are_read_exactly),
		cmocka_unit_test(large_factors_are_multiplied_in_pieces),
	};

	return run_pairs(tests);
}
