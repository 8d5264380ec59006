/*
 * warp_test.cu
 *		Tiles for tensor cores: fragments that are loaded and multiplied give
 *		the plain product.
 */
#include "cuda/launch.h"
#include "cuda/warp.h"
#include "shim.h"

#include <setjmp.h>
#include <string.h>

extern "C"
{
#include <cmocka.h>
}

/* Small whole numbers, exact in bf16, and so is every sum of products. */
static float
number_of(int i)
{
	return (float) (i * 7 % 17 - 8);
}

/* One product d[16, 8] = a[16, 16] @ b[16, 8], its inputs in shared memory:
 * a by rows; b by rows, or by columns. */
static __global__ void
product_kernel(const float *a, const float *b, float *d, bool b_by_rows)
{
	SHARED(Bf16, a_tile, 16 * 16);
	SHARED(Bf16, b_tile, 16 * 8);
	int lane = warp_lane();
	uint32_t left[4];
	uint32_t right[4];
	float sums[4] = {0, 0, 0, 0};

	for (int i = lane; i < 16 * 16; i += WARP)
		a_tile[i] = bf16_from_float(a[i]);
	for (int i = lane; i < 16 * 8; i += WARP)
		b_tile[b_by_rows ? i : i % 8 * 16 + i / 8] = bf16_from_float(b[i]);
	__syncthreads();
	/* The four quarters of a: down first, then to the right. */
	load_tiles<false>(left, a_tile + (lane % 16 * 16 + lane / 16 * 8));
	/* Lanes 16 .. 31 must name a row too; what it holds is not used. */
	if (b_by_rows)
		load_tiles<true>(right, b_tile + lane % 16 * 8);
	else
		load_tiles<false>(right, b_tile + (lane % 8 * 16 + lane / 8 % 2 * 8));
	mma_bf16(sums, left, right);
	for (int i = 0; i < 4; i++)
		d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
}

static void
check_product(bool b_by_rows)
{
	float a[16 * 16];
	float b[16 * 8];
	float d[16 * 8];
	float *on_device[3] = {};

	for (int i = 0; i < 16 * 16; i++)
		a[i] = number_of(i);
	for (int i = 0; i < 16 * 8; i++)
		b[i] = number_of(i + 5);
	shim_reset();
	cudaMalloc(&on_device[0], sizeof(a));
	cudaMalloc(&on_device[1], sizeof(b));
	cudaMalloc(&on_device[2], sizeof(d));
	cudaMemcpyAsync(on_device[0], a, sizeof(a), cudaMemcpyHostToDevice, NULL);
	cudaMemcpyAsync(on_device[1], b, sizeof(b), cudaMemcpyHostToDevice, NULL);
	cuda_start<const float *, const float *, float *, bool>(
		NULL, product_kernel, dim3(1), WARP, 0, on_device[0], on_device[1],
		on_device[2], b_by_rows);
	cudaMemcpyAsync(d, on_device[2], sizeof(d), cudaMemcpyDeviceToHost, NULL);
	for (int i = 0; i < 3; i++)
		cudaFree(on_device[i]);
	if (shim_fault_text() != NULL)
		fail_msg("%s", shim_fault_text());
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 8; j++)
		{
			float sum = 0;

			for (int k = 0; k < 16; k++)
				sum += a[i * 16 + k] * b[k * 8 + j];
			if (d[i * 8 + j] != sum)
				fail_msg("d[%d, %d] is %g, not %g", i, j, (double) d[i * 8 + j],
				         (double) sum);
		}
}

static void
tiles_multiply_as_matrices(void **state)
{
	(void) state;
	check_product(false);
	check_product(true);
}

/* Fragments filled by hand, from the manual's formulas for element i of a
 * lane: an independent reading of the layout. */
static __global__ void
fragment_kernel(float *d)
{
	int lane = warp_lane();
	int group = lane >> 2;
	int of_group = lane % 4;
	uint32_t a[4];
	uint32_t b[2];
	float sums[4] = {0, 0, 0, 0};
	float numbers[8];

	for (int i = 0; i < 8; i++)
	{
		int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
		int col = of_group * 2 + (i & 1) + (i < 4 ? 0 : 8);

		numbers[i] = (float) (row * 16 + col == 37); /* a[2, 5] = 1 */
	}
	for (int i = 0; i < 4; i++)
		a[i] = pack_bf16(numbers[2 * i], numbers[2 * i + 1]);
	for (int i = 0; i < 4; i++)
	{
		int row = of_group * 2 + (i & 1) + (i < 2 ? 0 : 8);

		numbers[i] = (float) (row * 8 + group); /* b[k, n] = 8 k + n */
	}
	for (int i = 0; i < 2; i++)
		b[i] = pack_bf16(numbers[2 * i], numbers[2 * i + 1]);
	mma_bf16(sums, a, b);
	for (int i = 0; i < 4; i++)
		d[(i < 2 ? group : group + 8) * 8 + of_group * 2 + (i & 1)] = sums[i];
}

static void
fragments_lie_as_the_manual_says(void **state)
{
	float d[16 * 8];
	float *on_device = NULL;

	(void) state;
	shim_reset();
	cudaMalloc(&on_device, sizeof(d));
	cuda_start<float *>(NULL, fragment_kernel, dim3(1), WARP, 0, on_device);
	cudaMemcpyAsync(d, on_device, sizeof(d), cudaMemcpyDeviceToHost, NULL);
	cudaFree(on_device);
	assert_null(shim_fault_text());
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 8; j++)
			assert_true(d[i * 8 + j] == (float) (i == 2 ? 5 * 8 + j : 0));
}

static __global__ void
convert_kernel(float *d)
{
	int i = (int) threadIdx.x;
	uint32_t packed = pack_bf16(1.00390625f + 0.0078125f * (float) i, -2);

	d[2 * i] = low_bf16(packed);
	d[2 * i + 1] = high_bf16(packed) + fp16_to_float(0x3c01);
}

/* Halfway between two bf16 numbers the even one is taken. */
static void
conversions_round_to_even(void **state)
{
	float d[2 * WARP];
	float *on_device = NULL;

	(void) state;
	shim_reset();
	cudaMalloc(&on_device, sizeof(d));
	cuda_start<float *>(NULL, convert_kernel, dim3(1), WARP, 0, on_device);
	cudaMemcpyAsync(d, on_device, sizeof(d), cudaMemcpyDeviceToHost, NULL);
	cudaFree(on_device);
	assert_null(shim_fault_text());
	for (int i = 0; i < WARP; i++)
	{
		assert_true(d[2 * i] == 1.0f + 0.0078125f * (float) (i + i % 2));
		assert_true(d[2 * i + 1] == -2 + 1.0009765625f);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tiles_multiply_as_matrices),
		cmocka_unit_test(fragments_lie_as_the_manual_says),
		cmocka_unit_test(conversions_round_to_even),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
