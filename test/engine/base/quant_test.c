/*
 * quant_test.c
 *		Blocks against golden values: of the gguf package for what files hold,
 *		of plain numpy for NF4; and the bounds of what quantizing changes.
 */
#include "testing.h"

#include "base/quant.h"
#include "base/random.h"

#include <math.h>

static float *
floats_of(Arena *arena, json_t *array, size_t *count)
{
	float *numbers;

	*count = json_array_size(array);
	numbers = arena_alloc(arena, *count * sizeof(float) + 4);
	for (size_t i = 0; i < *count; i++)
		numbers[i] = (float) json_number_value(json_array_get(array, i));
	return numbers;
}

static uint8_t *
bytes_of(Arena *arena, const char *hex)
{
	size_t count = strlen(hex) / 2;
	uint8_t *bytes = arena_alloc(arena, count + 1);

	for (size_t i = 0; i < count; i++)
	{
		unsigned int byte;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &byte), 1);
		bytes[i] = (uint8_t) byte;
	}
	return bytes;
}

static json_t *
golden(Arena *arena)
{
	return test_read_json(arena, test_golden_path(arena, "quant"),
	                      "golden.json");
}

static void
blocks_give_the_golden_numbers(void **state)
{
	Arena *arena = arena_create();
	json_t *blocks = json_object_get(golden(arena), "blocks");

	(void) state;
	for (DType dtype = DTYPE_Q8_0; dtype <= DTYPE_Q6_K; dtype++)
	{
		json_t *one = json_object_get(blocks, dtype_name(dtype));
		size_t count;
		float *expected =
			floats_of(arena, json_object_get(one, "numbers"), &count);
		float *got = arena_alloc(arena, count * sizeof(float));

		assert_int_equal(count, 2 * dtype_block(dtype));
		dtype_to_f32(
			got,
			bytes_of(arena, json_string_value(json_object_get(one, "bytes"))),
			dtype, count);
		assert_memory_equal(got, expected, count * sizeof(float));
	}
	arena_destroy(arena);
}

/* Every run of random blocks, whose numbers are those that are read. */
static void
codes_stand_for_the_numbers(void **state)
{
	int checked = 0;

	(void) state;
	for (DType dtype = DTYPE_Q8_0; dtype < DTYPE_OTHER; dtype++)
	{
		uint8_t bytes[4 * 256];
		float numbers[512];
		int block = dtype_block(dtype);

		if (!quant_has_codes(dtype))
			continue;
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = (uint8_t) random_bits(3, dtype, i);
		/* Scales are halves, and not NaN. */
		for (int b = 0; b < 2; b++)
			for (size_t i = 1; i < 4; i += 2)
				bytes[dtype_bytes(dtype, b * block) + i] &= 0xbf;
		dtype_to_f32(numbers, bytes, dtype, (size_t) (2 * block));
		for (int first = 0; first < 2 * block; first += QUANT_CODES)
		{
			QuantCodes codes;

			quant_read_codes(&codes, bytes, dtype, first);
			assert_true(quant_has_least(dtype) || codes.least == 0);
			for (int i = 0; i < QUANT_CODES; i++)
			{
				float product = codes.scale * (float) codes.code[i];

				assert_true(product + codes.least == numbers[first + i]);
			}
		}
		checked++;
	}
	assert_int_equal(checked, 7);
	assert_false(quant_has_codes(DTYPE_BF16) || quant_has_codes(DTYPE_OTHER));
}

static void
quantizers_give_the_golden_numbers(void **state)
{
	static const DType dtypes[] = {DTYPE_Q8_0, DTYPE_NF4, DTYPE_NF4_DOUBLE};
	Arena *arena = arena_create();
	json_t *json = json_object_get(golden(arena), "quantized");
	size_t count;
	float *values = floats_of(arena, json_object_get(json, "values"), &count);

	(void) state;
	for (int i = 0; i < 3; i++)
	{
		size_t same;
		float *expected = floats_of(
			arena, json_object_get(json, dtype_name(dtypes[i])), &same);
		float *got = arena_alloc(arena, count * sizeof(float));
		void *packed =
			arena_alloc(arena, dtype_bytes(dtypes[i], (int64_t) count));

		assert_int_equal(same, count);
		assert_true(quant_write(packed, values, dtypes[i], (int64_t) count));
		dtype_to_f32(got, packed, dtypes[i], count);
		/* The levels' last bits are numpy's powers of ten. */
		for (size_t j = 0; j < count; j++)
			if (!(fabsf(got[j] - expected[j]) <= 1e-6f * fabsf(expected[j])))
				fail_msg("%s: number %zu is %.9g, not %.9g",
				         dtype_name(dtypes[i]), j, (double) got[j],
				         (double) expected[j]);
	}
	arena_destroy(arena);
}

/* Sixteen groups of NF4_DOUBLE and a part of one. */
#define NUMBERS (64 * 256 * 2 + 64 * 7)

/* The largest error of a number over the largest of its 64, and the root of
 * the mean square over that of the numbers. */
static void
errors_of(Arena *arena, DType dtype, const float *values, double *largest,
          double *root)
{
	void *packed = arena_alloc(arena, dtype_bytes(dtype, NUMBERS));
	float *got = arena_alloc(arena, NUMBERS * sizeof(float));
	double error = 0;
	double square = 0;

	assert_true(quant_write(packed, values, dtype, NUMBERS));
	dtype_to_f32(got, packed, dtype, NUMBERS);
	*largest = 0;
	for (int first = 0; first < NUMBERS; first += 64)
	{
		double most = 0;

		for (int i = first; i < first + 64; i++)
			most = fmax(most, fabs((double) values[i]));
		for (int i = first; i < first + 64; i++)
		{
			double off = (double) got[i] - (double) values[i];

			*largest = fmax(*largest, fabs(off) / most);
			error += off * off;
			square += (double) values[i] * (double) values[i];
		}
	}
	*root = sqrt(error / square);
}

/* Half of the widest gap between two codes, and of a step of 127. */
static void
errors_stay_within_half_a_gap(void **state)
{
	Arena *arena = arena_create();
	float *values = arena_alloc(arena, NUMBERS * sizeof(float));
	double largest;
	double root;

	(void) state;
	for (int i = 0; i < NUMBERS; i++)
		values[i] = (float) (0.02 * random_normal(7, 0, (uint64_t) i) *
		                     (1 + i / 64 % 5));
	errors_of(arena, DTYPE_Q8_0, values, &largest, &root);
	/* And the scale is a half: 2^-11 of it. */
	assert_true(largest <= 0.5 / 127 + 1.0 / 2048);
	assert_true(root < 0.01);
	errors_of(arena, DTYPE_NF4, values, &largest, &root);
	assert_true(largest <= 0.5 * (1 - 0.6961928) + 1e-6);
	assert_true(root < 0.1);
	errors_of(arena, DTYPE_NF4_DOUBLE, values, &largest, &root);
	/* A maximum's level is off by up to half of the widest step, 0.9 / 64. */
	assert_true(largest <= 0.5 * (1 - 0.6961928) + 0.03);
	assert_true(root < 0.1);
	arena_destroy(arena);
}

static void
double_quantizing_takes_half_a_bit_less(void **state)
{
	(void) state;
	assert_int_equal(dtype_bytes(DTYPE_NF4, NUMBERS) * 8,
	                 NUMBERS / 64 * (4 * 64 + 32));
	assert_true(
		(double) dtype_bytes(DTYPE_NF4_DOUBLE, 1 << 24) * 8 / (1 << 24) < 4.13);
}

static void
zeros_stay_zeros(void **state)
{
	static const DType dtypes[] = {DTYPE_Q8_0, DTYPE_NF4, DTYPE_NF4_DOUBLE};
	float values[192] = {0};

	(void) state;
	for (int i = 0; i < 3; i++)
	{
		uint8_t packed[1024];
		float got[192];

		assert_true(quant_write(packed, values, dtypes[i], 192));
		dtype_to_f32(got, packed, dtypes[i], 192);
		assert_memory_equal(got, values, sizeof(values));
	}
}

static void
types_of_files_are_only_read(void **state)
{
	float values[256] = {0};
	uint8_t packed[256];

	(void) state;
	for (DType dtype = DTYPE_Q4_0; dtype <= DTYPE_Q6_K; dtype++)
		assert_false(quant_write(packed, values, dtype, 256));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_give_the_golden_numbers),
		cmocka_unit_test(codes_stand_for_the_numbers),
		cmocka_unit_test(quantizers_give_the_golden_numbers),
		cmocka_unit_test(errors_stay_within_half_a_gap),
		cmocka_unit_test(double_quantizing_takes_half_a_bit_less),
		cmocka_unit_test(zeros_stay_zeros),
		cmocka_unit_test(types_of_files_are_only_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
