/*
 * safetensors_test.c
 *		What is written is read back, and a hostile file is refused in words.
 */
#include "testing.h"

#include "formats/safetensors.h"

static Arena *arena;
static Failure failure;
static char *directory;

/* A file with this header and so many bytes of data (0, 1, 2, ...). */
static char *
make_file(const char *name, const char *header, size_t data_size)
{
	size_t length = strlen(header);
	uint8_t *bytes = arena_alloc(arena, 8 + length + data_size);

	for (int i = 0; i < 8; i++)
		bytes[i] = (uint8_t) ((uint64_t) length >> 8 * i);
	memcpy(bytes + 8, header, length);
	for (size_t i = 0; i < data_size; i++)
		bytes[8 + length + i] = (uint8_t) i;
	return test_write(arena, directory, name, bytes, 8 + length + data_size);
}

static void
refuse(const char *header, size_t data_size, FailureCode code, const char *part)
{
	char *path = make_file("bad.safetensors", header, data_size);
	StoredModel *model;

	assert_fails(stored_file_open(arena, path, &model, &failure), failure, code,
	             part);
}

static void
written_tensors_are_read_back(void **state)
{
	float matrix[6] = {1, 2, 3, 4, 5, 6};
	uint16_t halves[3] = {0x3c00, 0xc000, 0x7c00};
	float scalar = 7;
	float widened[3];
	TensorToStore tensors[] = {
		{"matrix", DTYPE_F32, 2, {2, 3}, matrix},
		{"halves", DTYPE_F16, 1, {3}, halves},
		{"scalar", DTYPE_F32, 0, {0}, &scalar},
		{"empty", DTYPE_BF16, 2, {0, 5}, NULL},
	};
	char *path = arena_printf(arena, "%s/model.safetensors", directory);
	StoredModel *model;
	const StoredTensor *tensor;

	(void) state;
	assert_ok(safetensors_write(path, tensors, 4, NULL, NULL, &failure),
	          failure);
	assert_ok(stored_model_open(arena, directory, &model, &failure), failure);
	assert_ok(stored_model_align(arena, model, &failure), failure);
	assert_int_equal(stored_model_count(model), 4);
	assert_int_equal(stored_model_bytes(model), 24 + 6 + 4);
	tensor = stored_model_find(model, "matrix");
	assert_int_equal(tensor->dimensions, 2);
	assert_int_equal(tensor->shape[1], 3);
	assert_memory_equal(tensor->data, matrix, sizeof(matrix));
	tensor = stored_model_find(model, "halves");
	dtype_to_f32(widened, tensor->data, tensor->dtype, 3);
	assert_true(widened[0] == 1 && widened[1] == -2 && widened[2] > 3.4e38f);
	/* The halves push the scalar off its alignment: it comes as a copy. */
	tensor = stored_model_find(model, "scalar");
	assert_int_equal(tensor->count, 1);
	assert_true((uintptr_t) tensor->data % 4 == 0);
	assert_true(*(const float *) tensor->data == 7);
	assert_int_equal(stored_model_find(model, "empty")->count, 0);
	assert_null(stored_model_find(model, "other"));
	unlink(path);
}

static void
every_half_survives_the_way_there_and_back(void **state)
{
	(void) state;
	for (uint32_t bits = 0; bits < 65536; bits++)
	{
		uint16_t half = (uint16_t) bits;
		uint16_t back;
		float value;

		for (int dtype = DTYPE_F16; dtype <= DTYPE_BF16; dtype++)
		{
			dtype_to_f32(&value, &half, (DType) dtype, 1);
			dtype_from_f32(&back, &value, (DType) dtype, 1);
			if (value == value)
				assert_int_equal(back, half);
		}
	}
}

static void
rounding_is_to_nearest_even(void **state)
{
	float values[4] = {1 + 0x1p-11f, 1 + 3 * 0x1p-11f, 65519.0f, 0x1p-25f};
	float brain[2] = {1 + 0x1p-8f, 1 + 3 * 0x1p-8f};
	uint16_t halves[4];

	(void) state;
	dtype_from_f32(halves, values, DTYPE_F16, 4);
	assert_int_equal(halves[0], 0x3c00);
	assert_int_equal(halves[1], 0x3c02);
	assert_int_equal(halves[2], 0x7bff);
	assert_int_equal(halves[3], 0);
	dtype_from_f32(halves, brain, DTYPE_BF16, 2);
	assert_int_equal(halves[0], 0x3f80);
	assert_int_equal(halves[1], 0x3f82);
}

static void
broken_headers_are_refused(void **state)
{
	char *path;
	StoredModel *model;

	(void) state;
	path = test_write(arena, directory, "bad.safetensors", "\1\0\0", 3);
	assert_fails(stored_file_open(arena, path, &model, &failure), failure,
	             FAILURE_BAD_FILE, "has 3 bytes, too few");
	path = test_write(arena, directory, "bad.safetensors",
	                  "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
	assert_fails(stored_file_open(arena, path, &model, &failure), failure,
	             FAILURE_BAD_FILE, "18446744073709551615");
	path = test_write(arena, directory, "bad.safetensors",
	                  "\x10\0\0\0\0\0\0\0{}", 10);
	assert_fails(stored_file_open(arena, path, &model, &failure), failure,
	             FAILURE_BAD_FILE, "needs 16 bytes, file has 2");
	refuse("[1]", 0, FAILURE_BAD_FILE, "is an array, not an object");
	refuse("{\"a\": ", 0, FAILURE_BAD_FILE, "not valid JSON");
	refuse("{\"a\": 1}", 0, FAILURE_BAD_FILE, "is an integer, not an object");
	refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]},"
	       "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}",
	       4, FAILURE_BAD_FILE, "duplicate");
}

static void
broken_tensors_are_refused(void **state)
{
	(void) state;
#define ENTRY(dtype, shape, offsets)                                           \
	"{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
	refuse("{\"a\":" ENTRY("F32", "[2]", "[0,8]") "}", 7, FAILURE_BAD_FILE,
	       "needs data up to byte 8");
	refuse("{\"a\":" ENTRY("F32", "[2]", "[0,12]") "}", 12, FAILURE_BAD_FILE,
	       "2 numbers of F32 in 12 bytes");
	refuse("{\"a\":" ENTRY("F32", "[2]", "[8,0]") "}", 8, FAILURE_BAD_FILE,
	       "ends at 0, before it begins at 8");
	refuse("{\"a\":" ENTRY("F32", "[-2]", "[0,8]") "}", 8, FAILURE_BAD_FILE,
	       "dimension 0");
	refuse("{\"a\":" ENTRY("F32", "[4294967296,4294967296]", "[0,0]") "}", 0,
	       FAILURE_BAD_FILE, "overflows");
	refuse("{\"a\":" ENTRY("F32", "[4611686018427387904]", "[0,0]") "}", 0,
	       FAILURE_BAD_FILE, "numbers of F32 in 0 bytes");
	refuse("{\"a\":" ENTRY("F32", "[1,1,1,1,1]", "[0,4]") "}", 4,
	       FAILURE_UNSUPPORTED, "5 dimensions");
	refuse("{\"a\":" ENTRY("F32", "[2]", "[-8,0]") "}", 8, FAILURE_BAD_FILE,
	       "no valid data_offsets");
	refuse("{\"a\":" ENTRY("F32", "[2]", "[0]") "}", 8, FAILURE_BAD_FILE,
	       "no valid data_offsets");
	refuse("{\"a\":" ENTRY("F32", "[2]", "[0,8]") ",\"b\":" ENTRY("F32", "[2]",
	                                                              "[4,12]") "}",
	       12, FAILURE_BAD_FILE, "\"a\" and \"b\" overlap");
	refuse("{\"a\":" ENTRY("F32", "[2]", "[4,12]") "}", 12, FAILURE_BAD_FILE,
	       "leaves 4 bytes unused");
	refuse("{\"a\":" ENTRY("F32", "[2]", "[0,8]") "}", 9, FAILURE_BAD_FILE,
	       "has 1 bytes after its last tensor");
}

static void
buffers_of_integers_are_kept_but_no_floats(void **state)
{
	char *path = make_file(
		"other.safetensors",
		"{\"mask\":" ENTRY("BOOL", "[1,1,2,2]", "[0,4]") ",\"new\":" ENTRY(
			"F4_X", "[8]", "[4,8]") "}",
		8);
	StoredModel *model;

	(void) state;
	assert_ok(stored_file_open(arena, path, &model, &failure), failure);
	assert_int_equal(stored_model_find(model, "mask")->dtype, DTYPE_OTHER);
	assert_string_equal(stored_model_find(model, "new")->label, "F4_X");
	unlink(path);
}

static void
shards_are_joined_and_checked(void **state)
{
	StoredModel *model;
	char *one = make_file("one.safetensors",
	                      "{\"a\":" ENTRY("F32", "[1]", "[0,4]") "}", 4);
	char *two = make_file("two.safetensors",
	                      "{\"b\":" ENTRY("F32", "[2]", "[0,8]") "}", 8);
	static const char *const bad[][2] = {
		{"{}", "no weight_map"},
		{"{\"weight_map\":{\"a\":\"../one.safetensors\"}}",
	     "not in a file of its directory"},
		{"{\"weight_map\":{\"a\":\"..\"}}", "not in a file of its directory"},
		{"{\"weight_map\":{\"a\":5}}", "not in a file of its directory"},
		{"{\"weight_map\":{\"b\":\"one.safetensors\"}}", "is not in \""},
	};
	const char *good = "{\"weight_map\":{\"a\":\"one.safetensors\","
					   "\"b\":\"two.safetensors\"}}";
	char *index = NULL;

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		index = test_write(arena, directory, "model.safetensors.index.json",
		                   bad[i][0], strlen(bad[i][0]));
		assert_fails(stored_model_open(arena, directory, &model, &failure),
		             failure, FAILURE_BAD_FILE, bad[i][1]);
	}
	test_write(arena, directory, "model.safetensors.index.json", good,
	           strlen(good));
	assert_ok(stored_model_open(arena, directory, &model, &failure), failure);
	assert_int_equal(stored_model_count(model), 2);
	assert_int_equal(stored_model_find(model, "b")->count, 2);
	make_file("two.safetensors",
	          "{\"a\":" ENTRY("F32", "[1]", "[0,4]") ",\"b\":" ENTRY(
				  "F32", "[1]", "[4,8]") "}",
	          8);
	assert_fails(stored_model_open(arena, directory, &model, &failure), failure,
	             FAILURE_BAD_FILE, "\"a\" is in more than one shard");
	unlink(two);
	assert_fails(stored_model_open(arena, directory, &model, &failure), failure,
	             FAILURE_NOT_FOUND, "two.safetensors");
	unlink(index);
	assert_fails(stored_model_open(arena, directory, &model, &failure), failure,
	             FAILURE_NOT_FOUND, "has neither model.safetensors nor");
	unlink(one);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(written_tensors_are_read_back),
		cmocka_unit_test(every_half_survives_the_way_there_and_back),
		cmocka_unit_test(rounding_is_to_nearest_even),
		cmocka_unit_test(broken_headers_are_refused),
		cmocka_unit_test(broken_tensors_are_refused),
		cmocka_unit_test(buffers_of_integers_are_kept_but_no_floats),
		cmocka_unit_test(shards_are_joined_and_checked),
	};
	int failed;

	arena = arena_create();
	directory = test_directory(arena);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(arena_printf(arena, "%s/bad.safetensors", directory));
	rmdir(directory);
	arena_destroy(arena);
	return failed;
}
