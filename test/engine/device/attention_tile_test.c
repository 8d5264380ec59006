/*
 * attention_tile_test.c
 *		The products inside attention, by every instruction set that this
 *		machine has, against their definition in double.
 */
#include "near.h"

#include "base/arena.h"
#include "base/random.h"
#include "device/cpu/attention_tile.h"
#include "device/cpu/cpu.h"

/* Further apart than the rows are long, so that strides matter. */
#define STRIDE 48
#define DEPTH_MAX 40
#define ROWS_MAX 21

static float *
numbers(Arena *arena, int count, uint64_t seed)
{
	float *x = arena_alloc(arena, (size_t) count * sizeof(float));

	for (int i = 0; i < count; i++)
		x[i] = (float) random_normal(seed, 0, (uint64_t) i);
	return x;
}

static void
check_product(const AttentionTiles *tiles, int rows, int cols, int depth,
              bool transposed, bool adds)
{
	Arena *arena = arena_create();
	int size = STRIDE * STRIDE;
	float *left = numbers(arena, size, 1);
	float *right = numbers(arena, size, 2);
	float *c = numbers(arena, size, 3);
	const float *before = numbers(arena, size, 3);
	TileLeft by = {left, transposed ? 1 : STRIDE, transposed ? STRIDE : 1};

	tiles->multiply(c, STRIDE, by, right, STRIDE, depth, rows, cols, adds);
	for (int i = 0; i < STRIDE; i++)
		for (int j = 0; j < STRIDE; j++)
		{
			int at = i * STRIDE + j;
			double sum = adds ? (double) before[at] : 0;

			for (int k = 0; k < depth; k++)
				sum += (double) left[i * by.stride + k * by.step] *
				       (double) right[k * STRIDE + j];
			if (i < rows && j < cols)
				assert_near(c[at], sum, 1e-4);
			else
				assert_true(c[at] == before[at]);
		}
	arena_destroy(arena);
}

static void
check_tiles(const AttentionTiles *tiles)
{
	for (int rows = 0; rows <= ROWS_MAX; rows++)
		for (int way = 0; way < 8; way++)
			check_product(tiles, rows, way & 1 ? 32 : 16,
			              way & 2 ? DEPTH_MAX : 1, (way & 4) != 0,
			              (way & 1) != 0);
}

static void
portable_tiles_multiply(void **state)
{
	(void) state;
	check_tiles(&attention_tiles_portable);
}

static void
avx2_tiles_multiply(void **state)
{
	(void) state;
#ifdef __x86_64__
	if (cpu_vectors() >= VECTORS_AVX2)
		check_tiles(&attention_tiles_avx2);
	else
#endif
		skip();
}

static void
avx512_tiles_multiply(void **state)
{
	(void) state;
#ifdef __x86_64__
	if (cpu_vectors() >= VECTORS_AVX512)
		check_tiles(&attention_tiles_avx512);
	else
#endif
		skip();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(portable_tiles_multiply),
		cmocka_unit_test(avx2_tiles_multiply),
		cmocka_unit_test(avx512_tiles_multiply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
