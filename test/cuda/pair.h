/*
 * pair.h
 *		The same operation on the CPU and on the software GPU.
 *
 *	Pair x = pair_random(5, 7, 9, 1);
 *	ON_BOTH(scale, x.on[d], 2.0f);
 *	pair_assert_near(x, 1e-6);
 *
 * What is made here lives until pair_end().
 */
#pragma once

#include "near.h"
#include "shim.h"
#include "testing.h"

#include "base/quant.h"
#include "base/random.h"
#include "device/module.h"

extern const DeviceModule alol_device_module;

/* The CPU and the GPU. */
static Device *pair_device[2];

#define PAIR_PIECES 256

static void *pair_pieces[2][PAIR_PIECES];
static int pair_count;

/* Calls an operation of both devices; d is the one at work. */
#define ON_BOTH(operation, ...)                                                \
	for (int d = 0; d < 2; d++)                                                \
	pair_device[d]->operation(pair_device[d], __VA_ARGS__)

/* A tensor on each. */
typedef struct Pair
{
	Tensor on[2];
} Pair;

/* Bytes on each. */
typedef struct PairBytes
{
	void *on[2];
} PairBytes;

static inline void
pair_assert_well(void)
{
	Failure failure;

	for (int d = 0; d < 2; d++)
	{
		memset(&failure, 0, sizeof(failure));
		assert_ok(pair_device[d]->sync(pair_device[d], &failure), failure);
	}
}

/* A copy of host memory on each; a NULL source gives zeros. */
static inline PairBytes
pair_bytes(const void *source, size_t bytes)
{
	PairBytes made;

	assert_true(pair_count < PAIR_PIECES);
	for (int d = 0; d < 2; d++)
	{
		made.on[d] = pair_device[d]->alloc(pair_device[d], bytes);
		assert_non_null(made.on[d]);
		if (source != NULL)
			pair_device[d]->upload(pair_device[d], made.on[d], source, bytes);
		pair_pieces[d][pair_count] = made.on[d];
	}
	pair_count++;
	return made;
}

/* Frees what was made, and checks that nothing failed. */
static inline void
pair_end(void)
{
	pair_assert_well();
	for (int d = 0; d < 2; d++)
		for (int i = 0; i < pair_count; i++)
			pair_device[d]->free(pair_device[d], pair_pieces[d][i]);
	pair_count = 0;
}

static inline Pair
pair_tensor(const float *numbers, int64_t rows, int64_t cols, int64_t stride)
{
	PairBytes bytes =
		pair_bytes(numbers, (size_t) (rows * stride) * sizeof(float));
	Pair pair;

	for (int d = 0; d < 2; d++)
		pair.on[d] = (Tensor){bytes.on[d], DTYPE_F32, rows, cols, stride};
	return pair;
}

/* Normal numbers, also between the rows. */
static inline Pair
pair_random(int64_t rows, int64_t cols, int64_t stride, uint64_t seed)
{
	int64_t count = rows * stride;
	float *numbers = malloc((size_t) (count + 1) * sizeof(float));
	Pair pair;

	for (int64_t i = 0; i < count; i++)
		numbers[i] = (float) random_normal(seed, 0, (uint64_t) i);
	pair = pair_tensor(numbers, rows, cols, stride);
	free(numbers);
	return pair;
}

/* On the CPU the numbers to bf16 and back: what the GPU multiplies then. */
static inline void
pair_round_on_cpu(Pair pair)
{
	Device *cpu = pair_device[0];
	int64_t count = pair.on[0].rows * pair.on[0].stride;
	size_t bytes = (size_t) count * sizeof(float);
	float *numbers = malloc(bytes + 1);
	uint16_t half;

	cpu->download(cpu, numbers, pair.on[0].data, bytes);
	for (int64_t i = 0; i < count; i++)
	{
		dtype_from_f32(&half, &numbers[i], DTYPE_BF16, 1);
		dtype_to_f32(&numbers[i], &half, DTYPE_BF16, 1);
	}
	cpu->upload(cpu, pair.on[0].data, numbers, bytes);
	free(numbers);
}

/* Integers of [0, below). */
static inline PairBytes
pair_indexes(int64_t count, int below, uint64_t seed)
{
	int32_t *numbers = malloc((size_t) (count + 1) * sizeof(int32_t));
	PairBytes made;

	for (int64_t i = 0; i < count; i++)
		numbers[i] =
			(int32_t) (random_bits(seed, 1, (uint64_t) i) % (uint64_t) below);
	made = pair_bytes(numbers, (size_t) count * sizeof(int32_t));
	free(numbers);
	return made;
}

static inline float *
pair_download(Pair pair, int d)
{
	size_t bytes =
		(size_t) (pair.on[d].rows * pair.on[d].stride) * sizeof(float);
	float *numbers = malloc(bytes + 1);

	pair_device[d]->download(pair_device[d], numbers, pair.on[d].data, bytes);
	return numbers;
}

/* All numbers, also between the rows, are as near as tolerance times one and
 * the size of the number; at tolerance 0 equal. */
static inline void
pair_check_near(const char *what, Pair pair, double tolerance)
{
	float *numbers[2];
	int64_t count = pair.on[0].rows * pair.on[0].stride;

	pair_assert_well();
	for (int d = 0; d < 2; d++)
		numbers[d] = pair_download(pair, d);
	for (int64_t i = 0; i < count; i++)
	{
		double cpu = (double) numbers[0][i];
		double gpu = (double) numbers[1][i];

		if (!(fabs(cpu - gpu) <= tolerance * (1 + fabs(cpu))))
			fail_msg("%s[%lld, %lld] is %.9g on the GPU, %.9g on the CPU", what,
			         (long long) (i / pair.on[0].stride),
			         (long long) (i % pair.on[0].stride), gpu, cpu);
	}
	free(numbers[0]);
	free(numbers[1]);
}

#define pair_assert_near(pair, tolerance)                                      \
	pair_check_near(#pair, pair, tolerance)

/* Opens both, runs the tests, and sees that no memory of the GPU is left. */
static inline int
pair_run(const char *name, const struct CMUnitTest *tests, size_t count)
{
	Failure failure = {0};
	int failed;

	if (!cpu_device_open(2, &pair_device[0], &failure) ||
	    !alol_device_module.open(0, &pair_device[1], &failure))
	{
		printf("not ok 1 - %s: %s\n", name, failure.message);
		return 1;
	}
	failed = _cmocka_run_group_tests(
		name, tests, count, (CMFixtureFunction) NULL, (CMFixtureFunction) NULL);
	for (int d = 0; d < 2; d++)
		pair_device[d]->close(pair_device[d]);
	if (failed == 0 && shim_memory_in_use() != 0)
	{
		printf("not ok - %s leaves %zu bytes on the GPU\n", name,
		       shim_memory_in_use());
		failed = 1;
	}
	return failed;
}

#define run_pairs(tests)                                                       \
	pair_run(#tests, tests, sizeof(tests) / sizeof((tests)[0]))
