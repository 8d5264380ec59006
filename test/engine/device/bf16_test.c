/*
 * bf16_test.c
 *		Products of 16 bits are those of the rounded factors, for every size,
 *		storage order and dtype of weights.
 */
#include "stored.h"

#include "device/cpu/matmul_bf16.h"

#include <math.h>
#include <string.h>

/* Sums of products of rounded numbers differ from those in double by fp32's
 * rounding: 2^-24 of a sum of about sqrt(k) numbers, each up to k times. */
#define TOLERANCE 2e-4

/* Rows lie apart by more than their length. */
#define GAP 3

static Tensor
random_tensor(Arena *arena, int rows, int cols, uint64_t seed)
{
	int stride = cols + GAP;
	float *data = arena_alloc(arena, sizeof(float) * (size_t) (rows * stride));

	for (int i = 0; i < rows * stride; i++)
		data[i] = (float) random_normal(seed, 0, (uint64_t) i);
	return (Tensor){data, DTYPE_F32, rows, cols, stride};
}

static float *
at(Tensor x, int64_t row, int64_t col)
{
	return (float *) x.data + row * x.stride + col;
}

/* Weights as a file has them. */
static double
stored_weight(const Matrix *w, int64_t output, int64_t input)
{
	const Tensor *stored = &w->tensor;
	int64_t row = w->transposed ? input : output;
	int64_t col = w->transposed ? output : input;
	float number;

	dtype_read(&number, stored->data, stored->dtype, row * stored->stride + col,
	           1);
	return number;
}

static double
rounded_number(double exact)
{
	float number = (float) exact;
	uint16_t bits;

	dtype_from_f32(&bits, &number, DTYPE_BF16, 1);
	dtype_to_f32(&number, &bits, DTYPE_BF16, 1);
	return number;
}

/* Rounded to bf16 where they are fp32. */
static double
weight(const Matrix *w, int64_t output, int64_t input)
{
	return rounded_number(stored_weight(w, output, input));
}

static double
rounded(Tensor x, int64_t row, int64_t col)
{
	return rounded_number(*at(x, row, col));
}

/* x[i] @ W[j]; and in *tolerance what it may be off by. */
static double
expected_output(Tensor x, const Matrix *w, int i, int j, double *tolerance)
{
	double sum = 0, row = 0, column = 0;

	for (int d = 0; d < x.cols; d++)
	{
		double a = (double) *at(x, i, d);
		double b = stored_weight(w, j, d);

		sum += a * b;
		row += a * a;
		column += b * b;
	}
	/* int16_kernels_test.c; of a long sum's blocks none has all of it. */
	*tolerance =
		TOLERANCE + sqrt(row * column * (double) x.cols) / INT16_LENGTH;
	return sum;
}

/* 0.5 of what was there is kept. */
static void
check_output(int m, const Matrix *w, Tensor x, Tensor bias)
{
	Arena *arena = arena_create();
	int n = (int) (w->transposed ? w->tensor.cols : w->tensor.rows);
	Tensor before = random_tensor(arena, m, n, 4);
	Tensor out = random_tensor(arena, m, n, 4);

	device->matmul(device, out, x, w, &bias, 0.5f);
	for (int i = 0; i < m; i++)
	{
		for (int j = 0; j < n; j++)
		{
			double tolerance;
			double sum = expected_output(x, w, i, j, &tolerance);

			assert_near(*at(out, i, j),
			            sum + 0.5 * *at(before, i, j) + *at(bias, 0, j),
			            tolerance);
		}
		assert_memory_equal(at(out, i, n), at(before, i, n),
		                    GAP * sizeof(float));
	}
	arena_destroy(arena);
}

static void
check_input_grad(const Matrix *w, Tensor dout, int k)
{
	Arena *arena = arena_create();
	Tensor dx = random_tensor(arena, (int) dout.rows, k, 5);

	device->matmul_input_grad(device, dx, dout, w, 0);
	for (int i = 0; i < dout.rows; i++)
		for (int d = 0; d < k; d++)
		{
			double sum = 0;

			for (int j = 0; j < dout.cols; j++)
				sum += rounded(dout, i, j) * weight(w, j, d);
			assert_near(*at(dx, i, d), sum, TOLERANCE);
		}
	arena_destroy(arena);
}

/* What is there is kept. */
static void
check_weight_grad(Tensor dout, Tensor x, bool transposed)
{
	Arena *arena = arena_create();
	int n = (int) dout.cols;
	int k = (int) x.cols;
	Tensor dw = random_tensor(arena, transposed ? k : n, transposed ? n : k, 6);
	Tensor before =
		random_tensor(arena, transposed ? k : n, transposed ? n : k, 6);
	Tensor dbias = random_tensor(arena, 1, n, 7);
	Matrix gradient = {dw, transposed, NULL, NULL};

	device->matmul_weight_grad(device, &gradient, &dbias, dout, x);
	for (int j = 0; j < n; j++)
		for (int d = 0; d < k; d++)
		{
			int row = transposed ? d : j;
			int col = transposed ? j : d;
			double sum = *at(before, row, col);

			for (int i = 0; i < x.rows; i++)
				sum += rounded(dout, i, j) * rounded(x, i, d);
			assert_near(*at(dw, row, col), sum, TOLERANCE);
		}
	arena_destroy(arena);
}

static void
check_products(int m, int n, int k, bool transposed)
{
	Arena *arena = arena_create();
	Tensor x = random_tensor(arena, m, k, 1);
	Tensor dout = random_tensor(arena, m, n, 2);
	Matrix w = {random_tensor(arena, transposed ? k : n, transposed ? n : k, 3),
	            transposed, NULL, NULL};

	check_output(m, &w, x, random_tensor(arena, 1, n, 8));
	check_input_grad(&w, dout, k);
	check_weight_grad(dout, x, transposed);
	arena_destroy(arena);
}

/* What the way forward loses, beside what rounding to bf16 does. */
static void
outputs_lose_less_than_a_fourth_of_what_bf16_does(void **state)
{
	Arena *arena = arena_create();
	Tensor x = random_tensor(arena, 20, 576, 1);
	Matrix w = {random_tensor(arena, 40, 576, 2), false, NULL, NULL};
	Tensor out = random_tensor(arena, 20, 40, 3);
	double ours = 0, theirs = 0;

	(void) state;
	device->matmul(device, out, x, &w, NULL, 0);
	for (int i = 0; i < 20; i++)
		for (int j = 0; j < 40; j++)
		{
			double sum = 0, of_rounded = 0;

			for (int d = 0; d < 576; d++)
			{
				sum += (double) *at(x, i, d) * stored_weight(&w, j, d);
				of_rounded += rounded(x, i, d) * weight(&w, j, d);
			}
			ours += pow(*at(out, i, j) - sum, 2);
			theirs += pow(of_rounded - sum, 2);
		}
	assert_true(sqrt(ours) < 0.25 * sqrt(theirs));
	arena_destroy(arena);
}

static void
products_are_those_of_rounded_factors(void **state)
{
	static const int sizes[] = {1, 3, 17, 65};

	(void) state;
	for (int i = 0; i < 64; i++)
	{
		check_products(sizes[i / 16], sizes[i / 4 % 4], sizes[i % 4], false);
		check_products(sizes[i / 16], sizes[i / 4 % 4], sizes[i % 4], true);
	}
}

/* Sums longer than a block, and more rows than one. */
static void
products_of_many_blocks_are_whole(void **state)
{
	(void) state;
	check_products(600, 33, 70, false);
	check_products(33, 600, 70, true);
	check_products(15, 20, 2100, false);
	check_products(15, 20, 2100, true);
	check_products(2100, 20, 15, false);
	/* So many that panels are packed before the rows. */
	check_products(1100, 40, 1000, false);
	check_products(1100, 40, 1000, true);
}

static void
stored_weights_are_rounded_likewise(void **state)
{
	(void) state;
	for (DType dtype = DTYPE_F16; dtype <= DTYPE_Q8_0; dtype++)
		for (int transposed = 0; transposed < 2; transposed++)
		{
			Arena *arena = arena_create();
			Tensor wide = random_tensor(arena, 45, 64 - GAP, 1);
			uint8_t *data =
				arena_alloc(arena, dtype_bytes(dtype, (int64_t) 45 * 64));
			Matrix w = {{data, dtype, 45, 64, 64}, transposed, NULL, NULL};
			int n = transposed ? 64 : 45;
			int k = transposed ? 45 : 64;

			if (dtype == DTYPE_Q8_0)
				for (int block = 0; block < 90; block++)
				{
					memcpy(data + 34 * block, (uint8_t[]){0, 0x20}, 2);
					for (int i = 0; i < 32; i++)
						data[34 * block + 2 + i] =
							(uint8_t) random_bits(1, 1, (uint64_t) i);
				}
			else
				dtype_from_f32(data, wide.data, dtype, (size_t) 45 * 64);
			check_output(19, &w, random_tensor(arena, 19, k, 2),
			             random_tensor(arena, 1, n, 3));
			check_input_grad(&w, random_tensor(arena, 19, n, 4), k);
			arena_destroy(arena);
		}
}

/* Of both products, by weights as they are stored and packed. */
static void
check_packed(DType dtype, int rows, int cols, bool transposed)
{
	Arena *arena = arena_create();
	Tensor wide = random_tensor(arena, rows, cols, 1);
	void *data = arena_alloc(
		arena, dtype_bytes(dtype, (int64_t) rows * (cols + GAP)) + 64);
	Matrix w = {{data, dtype, rows, cols, cols + GAP}, transposed, NULL, NULL};
	int n = transposed ? cols : rows;
	int k = transposed ? rows : cols;
	void *packed =
		device->alloc(device, device->packed_bytes(device, &w, false));
	void *packed_grad =
		device->alloc(device, device->packed_bytes(device, &w, true));

	if (dtype == DTYPE_F32)
		w.tensor = wide;
	else
		dtype_from_f32(data, wide.data, dtype, (size_t) (rows * (cols + GAP)));
	device->pack(device, packed, &w, false);
	device->pack(device, packed_grad, &w, true);
	for (int m = 9; m < 40; m += 15)
	{
		Tensor x = random_tensor(arena, m, k, 2);
		Tensor dout = random_tensor(arena, m, n, 3);
		Tensor out[2], dx[2];

		for (int i = 0; i < 2; i++)
		{
			out[i] = random_tensor(arena, m, n, 4);
			dx[i] = random_tensor(arena, m, k, 5);
			w.packed = i == 0 ? NULL : packed;
			w.packed_grad = i == 0 ? NULL : packed_grad;
			device->matmul(device, out[i], x, &w, NULL, 1);
			device->matmul_input_grad(device, dx[i], dout, &w, 0);
		}
		assert_memory_equal(out[0].data, out[1].data,
		                    (size_t) (m * (n + GAP)) * sizeof(float));
		assert_memory_equal(dx[0].data, dx[1].data,
		                    (size_t) (m * (k + GAP)) * sizeof(float));
	}
	device->free(device, packed);
	device->free(device, packed_grad);
	arena_destroy(arena);
}

/* FNV-1a of what is packed of weights that are always the same. */
static uint32_t
sum_of_packed(DType dtype, bool transposed, bool is_for_input_grad)
{
	Arena *arena = arena_create();
	Tensor weights = dtype == DTYPE_F32 ? random_tensor(arena, 70, 1100, 1)
	                                    : random_stored(arena, dtype, 70, 256);
	Matrix w = {weights, transposed, NULL, NULL};
	size_t bytes = device->packed_bytes(device, &w, is_for_input_grad);
	uint8_t *packed = arena_alloc(arena, bytes);
	uint32_t sum = 2166136261u;

	device->pack(device, packed, &w, is_for_input_grad);
	for (size_t i = 0; i < bytes; i++)
		sum = (sum ^ packed[i]) * 16777619u;
	arena_destroy(arena);
	return sum;
}

/* Files of packed weights are believed by this number: raise BF16_PACKING with
 * every change of these, by AVX-512 and for AMX. */
static void
what_is_packed_is_what_its_number_says(void **state)
{
	static const uint32_t whole[2][2] = {{0xc1a32bd, 0x8b73bc57},
	                                     {0x4cb0595f, 0x130fcfaf}};
	int is_split = int16_amx() != NULL;

	(void) state;
	/* Portable kernels may round scales otherwise. */
	if (device->packing == NULL || bf16_avx512() == NULL ||
	    int16_avx512() == NULL)
		skip();
	assert_int_equal(BF16_PACKING, 5);
	for (int i = 0; i < 2; i++)
		assert_int_equal(sum_of_packed(DTYPE_F32, i == 1, false),
		                 whole[is_split][i]);
	assert_int_equal(sum_of_packed(DTYPE_F32, false, true), 0xac056984);
	assert_int_equal(sum_of_packed(DTYPE_F32, true, true), 0xb46868c8);
	assert_int_equal(sum_of_packed(DTYPE_Q8_0, false, false), 0x2b054681);
	assert_int_equal(sum_of_packed(DTYPE_Q4_1, false, false), 0x28e916d6);
}

static void
packed_weights_give_the_same_bits(void **state)
{
	(void) state;
	for (int transposed = 0; transposed < 2; transposed++)
	{
		check_packed(DTYPE_F32, 1, 3, transposed);
		check_packed(DTYPE_F32, 70, 2100, transposed);
		check_packed(DTYPE_BF16, 2100, 65, transposed);
		check_packed(DTYPE_F16, 600, 600, transposed);
	}
}

/* A gradient by weights packed for the way forward beside that by the weights
 * themselves. */
static void
check_turned(int m, int rows, int cols, bool transposed)
{
	Arena *arena = arena_create();
	Matrix w = {random_tensor(arena, rows, cols, 1), transposed, NULL, NULL};
	int n = transposed ? cols : rows;
	int k = transposed ? rows : cols;
	void *packed =
		device->alloc(device, device->packed_bytes(device, &w, false));
	Tensor dout = random_tensor(arena, m, n, 2);
	Tensor dx[2];
	double all = 0;
	double apart = 0;

	for (int i = 0; i < 2; i++)
		dx[i] = random_tensor(arena, m, k, 3);
	device->matmul_input_grad(device, dx[0], dout, &w, 0);
	device->pack(device, packed, &w, false);
	w.packed = packed;
	assert_int_equal(device->packed_bytes(device, &w, true), 0);
	/* Nobody reads what is stored any more. */
	w.tensor.data = NULL;
	device->matmul_input_grad(device, dx[1], dout, &w, 0);
	for (int i = 0; i < m; i++)
		for (int j = 0; j < k; j++)
		{
			double exact = *at(dx[0], i, j);

			all += exact * exact;
			apart += pow(*at(dx[1], i, j) - exact, 2);
		}
	/* A tenth of the weights is rounded the other way, each by 2^-8. */
	assert_true(apart <= 1e-6 * all);
	device->free(device, packed);
	arena_destroy(arena);
}

static void
a_gradient_reads_what_is_packed_for_the_way_forward(void **state)
{
	(void) state;
	if (device->packs_once)
		skip();
	for (int transposed = 0; transposed < 2; transposed++)
	{
		check_turned(24, 1, 3, transposed);
		check_turned(24, 70, 2100, transposed);
		check_turned(24, 2100, 65, transposed);
		check_turned(24, 600, 1030, transposed);
		check_turned(1100, 600, 1030, transposed);
	}
}

/* The same row among others and on another place. */
static void
check_rows(const Matrix *w, int fewest)
{
	Arena *arena = arena_create();
	Tensor x = random_tensor(arena, 300, 577, 1);
	Tensor all = random_tensor(arena, 300, 70, 3);
	Tensor part = random_tensor(arena, 300, 70, 4);

	device->matmul(device, all, x, w, NULL, 0);
	for (int first = 0; first < 300; first += 37)
		for (int count = fewest; count <= 25 && first + count <= 300; count++)
		{
			device->matmul(device, tensor_rows(part, 0, count),
			               tensor_rows(x, first, count), w, NULL, 0);
			for (int i = 0; i < count; i++)
				assert_memory_equal(at(part, i, 0), at(all, first + i, 0),
				                    70 * sizeof(float));
		}
	arena_destroy(arena);
}

/* Of weights that are not packed, up to 8 rows have sums of another order:
 * matmul_few_test.c. */
static void
a_row_depends_on_no_other(void **state)
{
	Arena *arena = arena_create();
	Matrix w = {random_tensor(arena, 70, 577, 2), false, NULL, NULL};
	void *packed =
		device->alloc(device, device->packed_bytes(device, &w, false));

	(void) state;
	check_rows(&w, 9);
	device->pack(device, packed, &w, false);
	w.packed = packed;
	check_rows(&w, 1);
	device->free(device, packed);
	arena_destroy(arena);
}

/* Two products of the same x, and one of another, whose numbers change when
 * nobody holds them any more. */
typedef struct Held
{
	Tensor x[2];
	Matrix w[3];
	Tensor out[5];
	bool holds;
} Held;

static void
multiply_held(void *argument, int slice)
{
	Held *held = (Held *) argument + slice;

	if (held->holds)
		device->hold(device, held->x, 2);
	for (int i = 0; i < 3; i++)
		device->matmul(device, held->out[i], held->x[i / 2], &held->w[i], NULL,
		               0);
	/* Of other kernels. */
	device->matmul_input_grad(device, held->out[3], held->x[0], &held->w[2], 0);
	device->hold(device, NULL, 0);
	*at(held->x[0], 1, 1) += 3;
	device->matmul(device, held->out[4], held->x[0], &held->w[0], NULL, 0);
}

static Held
make_held(Arena *arena, int m, int k, bool holds)
{
	Held held = {.holds = holds};

	for (int i = 0; i < 2; i++)
		held.x[i] = random_tensor(arena, m, k, (uint64_t) (10 + i));
	for (int i = 0; i < 3; i++)
		held.w[i] = (Matrix){random_tensor(arena, i == 2 ? k : 40 + 30 * i, k,
		                                   (uint64_t) (20 + i)),
		                     i == 1, NULL, NULL};
	held.w[1].tensor = random_tensor(arena, k, 70, 21);
	for (int i = 0; i < 5; i++)
		held.out[i] = random_tensor(arena, m,
		                            i == 0 || i == 4 ? 40
		                            : i == 1         ? 70
		                                             : k,
		                            30);
	return held;
}

/* With panels that are packed in turn and before the rows, and long sums. */
static void
rows_that_are_held_give_the_same_bits(void **state)
{
	static const int sizes[][2] = {{29, 70}, {600, 300}, {40, 1500}};

	(void) state;
	for (int s = 0; s < 3; s++)
	{
		Arena *arena = arena_create();
		int m = sizes[s][0];
		Held slice[] = {make_held(arena, m, sizes[s][1], true),
		                make_held(arena, m, sizes[s][1], false)};

		device->run_slices(device, 2, multiply_held, slice);
		for (int i = 0; i < 5; i++)
			assert_memory_equal(slice[0].out[i].data, slice[1].out[i].data,
			                    (size_t) (m * slice[0].out[i].stride) *
			                        sizeof(float));
		arena_destroy(arena);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(outputs_lose_less_than_a_fourth_of_what_bf16_does),
		cmocka_unit_test(products_are_those_of_rounded_factors),
		cmocka_unit_test(products_of_many_blocks_are_whole),
		cmocka_unit_test(stored_weights_are_rounded_likewise),
		cmocka_unit_test(rows_that_are_held_give_the_same_bits),
		cmocka_unit_test(what_is_packed_is_what_its_number_says),
		cmocka_unit_test(packed_weights_give_the_same_bits),
		cmocka_unit_test(a_gradient_reads_what_is_packed_for_the_way_forward),
		cmocka_unit_test(a_row_depends_on_no_other),
	};
	Failure failure;
	int failed;

	if (!cpu_device_open(2, &device, &failure))
		return 1;
	device->products = DTYPE_BF16;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	device->close(device);
	return failed;
}
