/*
 * gguf_test.c
 *		GGUF files, whole and broken: every kind of value is read, and what a
 *		file claims is believed only where it can be true.
 */
#include "testing.h"

#include "formats/gguf_config.h"
#include "formats/gguf_write.h"

#include <math.h>

/* A file in the making. */
typedef struct Bytes
{
	uint8_t data[8192];
	size_t size;
} Bytes;

static void
put(Bytes *bytes, uint64_t value, int count)
{
	for (int i = 0; i < count; i++)
		bytes->data[bytes->size++] = (uint8_t) (value >> 8 * i);
}

static void
put_text(Bytes *bytes, const char *text)
{
	put(bytes, strlen(text), 8);
	memcpy(bytes->data + bytes->size, text, strlen(text));
	bytes->size += strlen(text);
}

static void
put_start(Bytes *bytes, uint64_t tensors, uint64_t keys)
{
	bytes->size = 0;
	put(bytes, 0x46554747, 4); /* "GGUF" */
	put(bytes, 3, 4);
	put(bytes, tensors, 8);
	put(bytes, keys, 8);
}

static void
put_key(Bytes *bytes, const char *key, GgufType type)
{
	put_text(bytes, key);
	put(bytes, type, 4);
}

static void
put_tensor(Bytes *bytes, const char *name, uint64_t cols, uint64_t rows,
           uint32_t type, uint64_t offset)
{
	put_text(bytes, name);
	put(bytes, 2, 4);
	put(bytes, cols, 8);
	put(bytes, rows, 8);
	put(bytes, type, 4);
	put(bytes, offset, 8);
}

/* So many bytes of data after the header. */
static void
put_data(Bytes *bytes, size_t count)
{
	bytes->size = (bytes->size + 31) / 32 * 32;
	bytes->size += count;
}

static bool
open_bytes(Arena *arena, const Bytes *bytes, GgufFile **file, Failure *failure)
{
	char *directory = test_directory(arena);
	char *path =
		test_write(arena, directory, "x.gguf", bytes->data, bytes->size);
	bool done = gguf_open(arena, path, file, failure);

	unlink(path);
	rmdir(directory);
	return done;
}

static void
assert_refused(const Bytes *bytes, FailureCode code, const char *part)
{
	Arena *arena = arena_create();
	GgufFile *file;
	Failure failure;

	assert_fails(open_bytes(arena, bytes, &file, &failure), failure, code,
	             part);
	arena_destroy(arena);
}

static void
assert_bad(const Bytes *bytes, const char *part)
{
	assert_refused(bytes, FAILURE_BAD_FILE, part);
}

/* ---------------------------------------------------------- whole files */

/* One key of every type. */
static Bytes
all_types(void)
{
	static const struct
	{
		const char *key;
		GgufType type;
		uint64_t bits;
		int bytes;
	} values[] = {
		{"u8", GGUF_U8, 200, 1},
		{"i8", GGUF_I8, 0x85, 1},
		{"u16", GGUF_U16, 60000, 2},
		{"i16", GGUF_I16, 0x8001, 2},
		{"u32", GGUF_U32, 4000000000u, 4},
		{"i32", GGUF_I32, 0xffffffff, 4},
		{"f32", GGUF_F32, 0x3fc00000, 4},
		{"bool", GGUF_BOOL, 1, 1},
		{"u64", GGUF_U64, 1ull << 40, 8},
		{"i64", GGUF_I64, (uint64_t) -7, 8},
		{"f64", GGUF_F64, 0x4004000000000000, 8},
	};
	Bytes bytes;

	put_start(&bytes, 0, sizeof(values) / sizeof(values[0]) + 4);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
	{
		put_key(&bytes, values[i].key, values[i].type);
		put(&bytes, values[i].bits, values[i].bytes);
	}
	put_key(&bytes, "text", GGUF_STRING);
	put_text(&bytes, "some text");
	put_key(&bytes, "texts", GGUF_ARRAY);
	put(&bytes, GGUF_STRING, 4);
	put(&bytes, 2, 8);
	put_text(&bytes, "one");
	put_text(&bytes, "");
	put_key(&bytes, "numbers", GGUF_ARRAY);
	put(&bytes, GGUF_I16, 4);
	put(&bytes, 2, 8);
	put(&bytes, 0xfffe, 2);
	put(&bytes, 300, 2);
	put_key(&bytes, "nested", GGUF_ARRAY);
	put(&bytes, GGUF_ARRAY, 4);
	put(&bytes, 1, 8);
	put(&bytes, GGUF_U8, 4);
	put(&bytes, 3, 8);
	put(&bytes, 0x030201, 3);
	return bytes;
}

static void
values_of_all_types_are_read(void **state)
{
	static const struct
	{
		const char *key;
		double value;
	} numbers[] = {{"u8", 200},        {"i8", -123}, {"u16", 60000},
	               {"i16", -32767},    {"i32", -1},  {"u32", 4000000000u},
	               {"u64", 1ll << 40}, {"i64", -7},  {"f32", 1.5},
	               {"f64", 2.5},       {"none", 77}};
	Arena *arena = arena_create();
	Bytes bytes = all_types();
	Failure failure;
	GgufFile *file;
	const char *text;
	GgufText *texts;
	double *array;
	size_t count;
	bool truth;

	(void) state;
	assert_ok(open_bytes(arena, &bytes, &file, &failure), failure);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
	{
		double value;

		assert_ok(gguf_get_double(file, numbers[i].key, 77, -1e99, 1e99, &value,
		                          &failure),
		          failure);
		assert_true(value == numbers[i].value);
	}
	assert_ok(gguf_get_bool(file, "bool", false, &truth, &failure), failure);
	assert_true(truth);
	assert_ok(gguf_get_text(file, "text", NULL, &text, &failure), failure);
	assert_string_equal(text, "some text");
	assert_ok(gguf_get_texts(arena, file, "texts", &texts, &count, &failure),
	          failure);
	assert_int_equal(count, 2);
	assert_memory_equal(texts[0].text, "one", 3);
	assert_int_equal(texts[1].length, 0);
	assert_ok(
		gguf_get_doubles(arena, file, "numbers", &array, &count, &failure),
		failure);
	assert_int_equal(count, 2);
	assert_true(array[0] == -2 && array[1] == 300);
	assert_true(gguf_has(file, "nested"));
	arena_destroy(arena);
}

static void
values_of_wrong_types_are_named(void **state)
{
	Arena *arena = arena_create();
	Bytes bytes = all_types();
	Failure failure;
	GgufFile *file;
	const char *text;
	GgufText *texts;
	double *numbers;
	int64_t integer;
	size_t count;
	bool truth;

	(void) state;
	assert_ok(open_bytes(arena, &bytes, &file, &failure), failure);
	assert_fails(gguf_get_int(file, "text", 0, 0, 9, &integer, &failure),
	             failure, FAILURE_BAD_FILE, "\"text\" in");
	assert_fails(gguf_get_int(file, "f32", 0, 0, 9, &integer, &failure),
	             failure, FAILURE_BAD_FILE, "not an integer");
	assert_fails(gguf_get_int(file, "u8", 0, 0, 9, &integer, &failure), failure,
	             FAILURE_BAD_FILE, "is 200, not between 0 and 9");
	assert_fails(gguf_get_bool(file, "u8", false, &truth, &failure), failure,
	             FAILURE_BAD_FILE, "not true or false");
	assert_fails(gguf_get_text(file, "texts", NULL, &text, &failure), failure,
	             FAILURE_BAD_FILE, "is an array");
	assert_fails(
		gguf_get_texts(arena, file, "numbers", &texts, &count, &failure),
		failure, FAILURE_BAD_FILE, "not an array of texts");
	assert_fails(
		gguf_get_doubles(arena, file, "texts", &numbers, &count, &failure),
		failure, FAILURE_BAD_FILE, "not an array of numbers");
	arena_destroy(arena);
}

/* Two tensors of 2 x 32 and an alignment of 64. */
static Bytes
two_tensors(void)
{
	Bytes bytes;

	put_start(&bytes, 2, 1);
	put_key(&bytes, "general.alignment", GGUF_U32);
	put(&bytes, 64, 4);
	put_tensor(&bytes, "a", 32, 2, 8, 0);
	put_tensor(&bytes, "b", 32, 2, 0, 128);
	bytes.size = (bytes.size + 63) / 64 * 64;
	memset(bytes.data + bytes.size, 1, 128 + 256);
	bytes.size += 128 + 256;
	return bytes;
}

static void
tensors_lie_where_the_file_says(void **state)
{
	Arena *arena = arena_create();
	Bytes bytes = two_tensors();
	const StoredTensor *a, *b;
	Failure failure;
	GgufFile *file;

	(void) state;
	assert_ok(open_bytes(arena, &bytes, &file, &failure), failure);
	assert_int_equal(gguf_tensor_count(file), 2);
	a = gguf_tensor_find(file, "a");
	b = gguf_tensor_find(file, "b");
	assert_ptr_equal(a, gguf_tensor(file, 0));
	assert_null(gguf_tensor_find(file, "c"));
	assert_int_equal(a->dtype, DTYPE_Q8_0);
	assert_int_equal(a->shape[0], 2);
	assert_int_equal(a->shape[1], 32);
	assert_int_equal(a->bytes, 68);
	assert_int_equal((const char *) b->data - (const char *) a->data, 128);
	arena_destroy(arena);
}

static void
give_row(void *argument, int index, int64_t row, float *target)
{
	(void) argument;
	for (int i = 0; i < 32; i++)
		target[i] = (float) (index * 1000 + row * 100 + i);
}

static void
what_is_written_is_read_back(void **state)
{
	Arena *arena = arena_create();
	GgufWriter *writer = gguf_writer_create(arena);
	char *directory = test_directory(arena);
	char *path = arena_printf(arena, "%s/x.gguf", directory);
	const GgufText texts[] = {{"a\0b", 3}, {"", 0}};
	const int64_t shape[2] = {3, 32};
	const int32_t numbers[] = {-5, 7};
	const float halves[] = {0.5f, -1.5f};
	Failure failure;
	GgufFile *file;
	GgufText *got;
	float row[96];
	size_t count;
	double value;

	(void) state;
	gguf_put_u32(writer, "u", 17);
	gguf_put_f32(writer, "f", 0.25f);
	gguf_put_bool(writer, "b", true);
	gguf_put_text(writer, "t", "text", 4);
	gguf_put_texts(writer, "ts", texts, 2);
	gguf_put_i32s(writer, "is", numbers, 2);
	gguf_put_f32s(writer, "fs", halves, 2);
	gguf_add_tensor(writer, "first", DTYPE_F16, 2, shape);
	gguf_add_tensor(writer, "second", DTYPE_Q8_0, 2, shape);
	gguf_add_tensor(writer, "third", DTYPE_F32, 1, shape + 1);
	assert_ok(gguf_write(writer, path, give_row, NULL, &failure), failure);
	assert_ok(gguf_open(arena, path, &file, &failure), failure);
	assert_ok(gguf_get_double(file, "f", 0, 0, 1, &value, &failure), failure);
	assert_true(value == 0.25);
	assert_ok(gguf_get_texts(arena, file, "ts", &got, &count, &failure),
	          failure);
	assert_memory_equal(got[0].text, "a\0b", 3);
	for (int i = 0; i < 3; i++)
	{
		const StoredTensor *tensor = gguf_tensor(file, i);

		dtype_to_f32(row, tensor->data, tensor->dtype, (size_t) tensor->count);
		for (int64_t j = 0; j < tensor->count; j++)
			assert_true(
				fabs((double) row[j] - (i * 1000 + (double) (j / 32) * 100 +
			                            (double) (j % 32))) <= 10);
	}
	unlink(path);
	rmdir(directory);
	arena_destroy(arena);
}

/* ---------------------------------------------------------- broken files */

static void
files_of_other_kinds_are_refused(void **state)
{
	Bytes bytes = two_tensors();

	(void) state;
	bytes.data[0] = 'g';
	assert_bad(&bytes, "is not a GGUF file");
	bytes = two_tensors();
	bytes.data[4] = 1;
	assert_refused(&bytes, FAILURE_UNSUPPORTED, "GGUF version 1, not 2 or 3");
	bytes.data[4] = 0;
	bytes.data[7] = 3;
	assert_refused(&bytes, FAILURE_UNSUPPORTED, "big-endian");
}

static void
files_cut_anywhere_are_refused(void **state)
{
	Bytes whole[] = {two_tensors(), all_types()};

	(void) state;
	for (int i = 0; i < 2; i++)
		for (size_t size = 0; size < whole[i].size; size++)
		{
			Arena *arena = arena_create();
			Bytes cut = whole[i];
			GgufFile *file;
			Failure failure;

			cut.size = size;
			if (open_bytes(arena, &cut, &file, &failure))
				fail_msg("%zu of %zu bytes were opened", size, whole[i].size);
			arena_destroy(arena);
		}
}

/* Whatever byte is wrong: an error, or tensors within the file. */
static void
any_byte_may_be_wrong(void **state)
{
	static const uint8_t masks[] = {0xff, 0x80, 0x01};
	Bytes whole[] = {two_tensors(), all_types()};

	(void) state;
	for (int i = 0; i < 2; i++)
		for (size_t at = 0; at < whole[i].size * 3; at++)
		{
			Arena *arena = arena_create();
			Bytes wrong = whole[i];
			volatile uint8_t sum = 0;
			GgufFile *file;
			Failure failure;

			wrong.data[at / 3] ^= masks[at % 3];
			if (open_bytes(arena, &wrong, &file, &failure))
				for (int j = 0; j < gguf_tensor_count(file); j++)
					for (int64_t k = 0; k < gguf_tensor(file, j)->bytes; k++)
						sum +=
							((const uint8_t *) gguf_tensor(file, j)->data)[k];
			arena_destroy(arena);
		}
}

static void
counts_beyond_the_file_are_refused(void **state)
{
	Bytes bytes;

	(void) state;
	put_start(&bytes, 1ull << 60, 0);
	put_data(&bytes, 64);
	assert_bad(&bytes, "more than fit");
	put_start(&bytes, 0, 1ull << 63);
	put_data(&bytes, 64);
	assert_bad(&bytes, "more than fit");
	put_start(&bytes, 0, 1);
	put(&bytes, UINT64_MAX, 8); /* the key's length */
	put_data(&bytes, 64);
	assert_bad(&bytes, "ends within a key");
	put_start(&bytes, 0, 1);
	put_key(&bytes, "list", GGUF_ARRAY);
	put(&bytes, GGUF_U64, 4);
	put(&bytes, UINT64_MAX / 8, 8);
	put_data(&bytes, 64);
	assert_bad(&bytes, "\"list\" in");
	put_start(&bytes, 0, 1);
	put_key(&bytes, "text", GGUF_STRING);
	put(&bytes, UINT64_MAX - 7, 8);
	put_data(&bytes, 64);
	assert_bad(&bytes, "ends within text");
}

static void
values_without_sense_are_refused(void **state)
{
	Bytes bytes;

	(void) state;
	put_start(&bytes, 0, 1);
	put_key(&bytes, "odd", GGUF_TYPES);
	put_data(&bytes, 64);
	assert_bad(&bytes, "\"odd\" in");
	put_start(&bytes, 0, 2);
	for (int i = 0; i < 2; i++)
	{
		put_key(&bytes, "twice", GGUF_U8);
		put(&bytes, 1, 1);
	}
	put_data(&bytes, 64);
	assert_bad(&bytes, "key \"twice\" appears twice");
	put_start(&bytes, 0, 1);
	put_key(&bytes, "deep", GGUF_ARRAY);
	for (int i = 0; i < 10; i++)
	{
		put(&bytes, GGUF_ARRAY, 4);
		put(&bytes, 1, 8);
	}
	put_data(&bytes, 64);
	assert_bad(&bytes, "more than 4 deep");
	put_start(&bytes, 0, 1);
	put(&bytes, 3, 8);
	put(&bytes, 0x620061, 3); /* "a\0b" */
	put(&bytes, GGUF_U8, 4);
	put_data(&bytes, 64);
	assert_bad(&bytes, "a zero byte");
}

static void
tensors_without_sense_are_refused(void **state)
{
	static const struct
	{
		uint64_t cols, rows;
		uint32_t type;
		uint64_t offset;
		const char *message;
	} cases[] = {
		{32, 0, 0, 0, "are 0 or overflow"},
		{1ull << 62, 1ull << 62, 0, 0, "are 0 or overflow"},
		{1ull << 63, 1, 0, 0, "are 0 or overflow"},
		{33, 2, 8, 0, "have 33 numbers, not a multiple of the 32"},
		{32, 2, 0, 16, "begins at 16, not a multiple of 32"},
		{32, 1000, 0, 0, "needs 128000 bytes at 0"},
		{32, 2, 0, 1ull << 40, "needs 256 bytes at 1099511627776"},
		{32, 2, 0, UINT64_MAX - 31, "needs 256 bytes at 18446744073709551584"},
		{1ull << 60, 4, 0, 0, "is too large"},
	};
	Bytes bytes;

	(void) state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		put_start(&bytes, 1, 0);
		put_tensor(&bytes, "x", cases[i].cols, cases[i].rows, cases[i].type,
		           cases[i].offset);
		put_data(&bytes, 512);
		assert_bad(&bytes, cases[i].message);
	}
	put_start(&bytes, 1, 0);
	put_tensor(&bytes, "x", 32, 2, 999, 0);
	put_data(&bytes, 512);
	assert_refused(&bytes, FAILURE_UNSUPPORTED, "the unknown type 999");
	put_start(&bytes, 1, 0);
	put_text(&bytes, "x");
	put(&bytes, 5, 4);
	put_data(&bytes, 512);
	assert_bad(&bytes, "has 5 dimensions, not 1 to 4");
}

static void
tensors_that_share_bytes_or_names_are_refused(void **state)
{
	Bytes bytes;

	(void) state;
	put_start(&bytes, 2, 0);
	put_tensor(&bytes, "a", 32, 2, 0, 0);
	put_tensor(&bytes, "b", 32, 2, 0, 224);
	put_data(&bytes, 512);
	assert_bad(&bytes, "tensors \"a\" and \"b\" overlap");
	put_start(&bytes, 2, 0);
	put_tensor(&bytes, "a", 32, 2, 0, 0);
	put_tensor(&bytes, "a", 32, 2, 0, 256);
	put_data(&bytes, 512);
	assert_bad(&bytes, "tensor \"a\" appears twice");
}

static void
alignments_without_sense_are_refused(void **state)
{
	static const uint32_t values[] = {0, 48, 1u << 30};

	(void) state;
	for (int i = 0; i < 3; i++)
	{
		Bytes bytes;

		put_start(&bytes, 0, 1);
		put_key(&bytes, "general.alignment", GGUF_U32);
		put(&bytes, values[i], 4);
		put_data(&bytes, 64);
		assert_bad(&bytes, i == 1 ? "no power of two" : "general.alignment");
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_of_all_types_are_read),
		cmocka_unit_test(values_of_wrong_types_are_named),
		cmocka_unit_test(tensors_lie_where_the_file_says),
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(files_of_other_kinds_are_refused),
		cmocka_unit_test(files_cut_anywhere_are_refused),
		cmocka_unit_test(any_byte_may_be_wrong),
		cmocka_unit_test(counts_beyond_the_file_are_refused),
		cmocka_unit_test(values_without_sense_are_refused),
		cmocka_unit_test(tensors_without_sense_are_refused),
		cmocka_unit_test(tensors_that_share_bytes_or_names_are_refused),
		cmocka_unit_test(alignments_without_sense_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
