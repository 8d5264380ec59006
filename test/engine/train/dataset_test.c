/*
 * dataset_test.c
 *		Rows come back as they were written, or not at all.
 */
#include "near.h"

#include "train/dataset.h"

static const int32_t ids[] = {7, 8, 9, 10, 11};
static const float reference[] = {-1, -2, -3};

static char *directory;

/* Two rows, the second without reference and of odd length. */
static char *
write_rows(Arena *arena, const char *name)
{
	char *path = arena_printf(arena, "%s/%s", directory, name);
	const DatasetRow first = {3,   5,    2,    ids,    reference,
	                          0.5, 0.25, 0.25, {4, 5}, ROW_CHOSEN};
	const DatasetRow second = {9,   3,   1, ids + 1, NULL,
	                           NAN, NAN, 2, {0, 0},  ROW_REJECTED};
	DatasetWriter writer;
	Failure failure = {0};

	assert_ok(dataset_writer_open(&writer, path, DTYPE_BF16, &failure),
	          failure);
	dataset_add(&writer, &first);
	dataset_add(&writer, &second);
	assert_false(file_exists(path));
	assert_ok(dataset_finish(&writer, 10, &failure), failure);
	return path;
}

static void
rows_come_back(void **state)
{
	Arena *arena = arena_create();
	Failure failure = {0};
	Dataset dataset;

	(void) state;
	assert_ok(
		dataset_open(arena, write_rows(arena, "rows"), &dataset, &failure),
		failure);
	assert_int_equal(dataset.rows, 10);
	assert_int_equal(dataset.products, DTYPE_BF16);
	assert_int_equal(dataset.selected, 2);
	assert_int_equal(dataset.row[0].row_number, 3);
	assert_int_equal(dataset.row[0].tokens, 5);
	assert_int_equal(dataset.row[0].prompt, 2);
	assert_memory_equal(dataset.row[0].ids, ids, sizeof(ids));
	assert_memory_equal(dataset.row[0].ref_logp, reference, sizeof(reference));
	assert_near(dataset.row[0].reward, 0.5, 0);
	assert_near(dataset.row[0].value, 0.25, 0);
	assert_near(dataset.row[0].advantage, 0.25, 0);
	assert_true(dataset.row[0].prompt_key[1] == 5);
	assert_int_equal(dataset.row[0].role, ROW_CHOSEN);
	assert_int_equal(dataset.row[1].row_number, 9);
	assert_memory_equal(dataset.row[1].ids, ids + 1, 3 * sizeof(int32_t));
	assert_null(dataset.row[1].ref_logp);
	assert_true(isnan(dataset.row[1].reward));
	arena_destroy(arena);
}

static void
the_same_rows_have_the_same_checksum(void **state)
{
	Arena *arena = arena_create();
	Failure failure = {0};
	Dataset a, b;

	(void) state;
	assert_ok(dataset_open(arena, write_rows(arena, "a"), &a, &failure),
	          failure);
	assert_ok(dataset_open(arena, write_rows(arena, "b"), &b, &failure),
	          failure);
	assert_true(a.checksum == b.checksum);
	arena_destroy(arena);
}

/* Every single changed bit and every shorter file is noticed. */
static void
a_broken_file_is_refused(void **state)
{
	Arena *arena = arena_create();
	Failure failure = {0};
	size_t size;
	char *bytes =
		file_read(arena, write_rows(arena, "whole"), 1 << 20, &size, &failure);
	Dataset dataset;

	(void) state;
	for (size_t i = 0; i < size; i += 3)
	{
		bytes[i] ^= 16;
		assert_false(dataset_open(
			arena, test_write(arena, directory, "broken", bytes, size),
			&dataset, &failure));
		assert_int_equal(failure.code, FAILURE_BAD_FILE);
		bytes[i] ^= 16;
	}
	for (size_t cut = 0; cut < size; cut += 5)
		assert_false(dataset_open(
			arena, test_write(arena, directory, "broken", bytes, cut), &dataset,
			&failure));
	arena_destroy(arena);
}

static void
an_unfinished_file_leaves_nothing(void **state)
{
	Arena *arena = arena_create();
	char *path = arena_printf(arena, "%s/unfinished", directory);
	DatasetWriter writer = {0};
	Failure failure = {0};

	(void) state;
	dataset_writer_close(&writer);
	assert_ok(dataset_writer_open(&writer, path, DTYPE_BF16, &failure),
	          failure);
	dataset_writer_close(&writer);
	assert_false(file_exists(path));
	assert_false(file_exists(arena_printf(arena, "%s.tmp", path)));
	arena_destroy(arena);
}

/* Groups of count rows with this role and prompt, rewards rising. */
static bool
group(Arena *arena, int count, DatasetRole role, const GroupOptions *options,
      Groups *groups, Failure *failure)
{
	Dataset dataset = {.selected = count};

	dataset.row = arena_alloc(arena, (size_t) count * sizeof(DatasetRow));
	for (int i = 0; i < count; i++)
	{
		dataset.row[i] = (DatasetRow){.reward = i, .role = role};
		if (role == ROW_CHOSEN && i % 2 == 1)
			dataset.row[i].role = ROW_REJECTED;
	}
	if (!dataset_group(arena, &dataset, options, failure))
		return false;
	*groups = dataset.groups;
	return true;
}

static void
rows_are_grouped_as_the_method_wants(void **state)
{
	Arena *arena = arena_create();
	const GroupOptions pairs = {false, PAIRS_BEST_WORST, 8};
	Failure failure = {0};
	Groups groups;

	(void) state;
	assert_ok(group(arena, 5, ROW_ALONE, NULL, &groups, &failure), failure);
	assert_int_equal(groups.count, 5);
	assert_int_equal(groups.row[groups.offset[4]], 4);
	assert_ok(group(arena, 5, ROW_ALONE, &pairs, &groups, &failure), failure);
	assert_int_equal(groups.count, 1); /* by rewards */
	assert_int_equal(groups.row[0], 4);
	assert_int_equal(groups.row[1], 0);
	assert_ok(group(arena, 6, ROW_CHOSEN, &pairs, &groups, &failure), failure);
	assert_int_equal(groups.count, 3); /* as given */
	assert_int_equal(groups.row[groups.offset[2]], 4);
	arena_destroy(arena);
}

static void
half_a_pair_is_a_broken_file(void **state)
{
	Arena *arena = arena_create();
	const GroupOptions pairs = {false, PAIRS_BEST_WORST, 8};
	Failure failure;
	Groups groups;

	(void) state;
	assert_fails(group(arena, 5, ROW_CHOSEN, &pairs, &groups, &failure),
	             failure, FAILURE_BAD_FILE, "5 rows do not make pairs");
	assert_fails(group(arena, 4, ROW_REJECTED, &pairs, &groups, &failure),
	             failure, FAILURE_BAD_FILE, "row 0 is no half of a pair");
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_come_back),
		cmocka_unit_test(the_same_rows_have_the_same_checksum),
		cmocka_unit_test(a_broken_file_is_refused),
		cmocka_unit_test(an_unfinished_file_leaves_nothing),
		cmocka_unit_test(rows_are_grouped_as_the_method_wants),
		cmocka_unit_test(half_a_pair_is_a_broken_file),
	};
	Arena *arena = arena_create();
	int failed;

	directory = test_directory(arena);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	arena_destroy(arena);
	return failed;
}
