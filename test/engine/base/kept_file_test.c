/*
 * kept_file_test.c
 *		A file that can be made again is made once, by one process, and again
 *		where anything about it is not as it was written.
 */
#include "testing.h"

#include "base/kept_file.h"
#include "base/poll.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define HEAD "what it depends on\n"
#define PARTS 40
#define PART 1000
#define SIZE (sizeof(HEAD) + PARTS * PART)

static int made;

static bool
write_parts(void *argument, KeptWriter *writer, Failure *failure)
{
	char part[PART];

	(void) failure;
	(*(int *) argument)++;
	for (int i = 0; i < PARTS; i++)
	{
		memset(part, 'a' + i % 26, sizeof(part));
		kept_write(writer, part, sizeof(part));
	}
	return true;
}

static KeptFile
file_at(const char *path)
{
	return (KeptFile){path, HEAD, sizeof(HEAD), SIZE, write_parts, &made};
}

/* Making it fails so. */
static void
assert_fails_so(const KeptFile *kept, FailureCode code, const char *words)
{
	Arena *arena = arena_create();
	MappedFile mapped;
	Failure failure;

	assert_fails(kept_file_map(arena, kept, &mapped, &failure), failure, code,
	             words);
	arena_destroy(arena);
}

static void
assert_is_whole(const MappedFile *mapped)
{
	assert_int_equal(mapped->size, SIZE);
	assert_memory_equal(mapped->data, HEAD, sizeof(HEAD));
	for (size_t i = 0; i < PARTS * PART; i++)
		assert_int_equal(mapped->data[sizeof(HEAD) + i],
		                 'a' + (int) (i / PART % 26));
}

/* Maps it, whole, and returns how often it was made for that. */
static int
map(Arena *arena, const char *path)
{
	KeptFile kept = file_at(path);
	MappedFile mapped;
	Failure failure = {0};

	made = 0;
	assert_ok(kept_file_map(arena, &kept, &mapped, &failure), failure);
	assert_is_whole(&mapped);
	assert_false(file_exists(arena_printf(arena, "%s.tmp", path)));
	return made;
}

static char *
new_path(Arena *arena)
{
	return arena_printf(arena, "%s/kept", test_directory(arena));
}

static void
it_is_made_once_and_then_mapped(void **state)
{
	Arena *arena = arena_create();
	char *path = new_path(arena);

	(void) state;
	assert_int_equal(map(arena, path), 1);
	assert_int_equal(map(arena, path), 0);
	arena_destroy(arena);
}

static void
it_is_made_again_wherever_it_was_cut(void **state)
{
	static const off_t sizes[] = {
		0,    1,        sizeof(HEAD) - 1, sizeof(HEAD),
		4096, SIZE / 2, SIZE - 1,         SIZE + 1};
	Arena *arena = arena_create();
	char *path = new_path(arena);

	(void) state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		map(arena, path);
		assert_int_equal(truncate(path, sizes[i]), 0);
		assert_int_equal(map(arena, path), 1);
	}
	arena_destroy(arena);
}

/* Changes a byte, and puts back the time where the head has to tell. */
static void
flip(const char *path, off_t at, bool keeps_time)
{
	int file = open(path, O_RDWR | O_CLOEXEC);
	struct stat status;
	char byte;

	assert_int_equal(fstat(file, &status), 0);
	assert_int_equal(pread(file, &byte, 1, at), 1);
	byte ^= 4;
	assert_int_equal(pwrite(file, &byte, 1, at), 1);
	if (keeps_time)
		assert_int_equal(
			futimens(file, (struct timespec[]){status.st_mtim, status.st_mtim}),
			0);
	close(file);
}

static void
it_is_made_again_when_a_byte_of_its_head_differs(void **state)
{
	Arena *arena = arena_create();
	char *path = new_path(arena);

	(void) state;
	for (size_t i = 0; i < sizeof(HEAD); i++)
	{
		map(arena, path);
		flip(path, (off_t) i, true);
		assert_int_equal(map(arena, path), 1);
	}
	arena_destroy(arena);
}

static void
it_is_made_again_when_anything_was_written_to_it(void **state)
{
	Arena *arena = arena_create();
	char *path = new_path(arena);

	(void) state;
	map(arena, path);
	flip(path, SIZE / 2, false);
	assert_int_equal(map(arena, path), 1);
	arena_destroy(arena);
}

static void
what_was_mapped_stays_when_it_is_removed_or_replaced(void **state)
{
	Arena *arena = arena_create();
	char *path = new_path(arena);
	KeptFile kept = file_at(path);
	MappedFile mapped;
	Failure failure = {0};

	(void) state;
	assert_ok(kept_file_map(arena, &kept, &mapped, &failure), failure);
	assert_int_equal(unlink(path), 0);
	assert_is_whole(&mapped);
	assert_int_equal(map(arena, path), 1);
	assert_is_whole(&mapped);
	arena_destroy(arena);
}

/* Waits for a child, which must have ended so. */
static void
assert_ends(pid_t child, int expected)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, expected);
}

static void
of_several_processes_one_makes_it_for_all(void **state)
{
	Arena *arena = arena_create();
	char *path = new_path(arena);
	int *shared = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE,
	                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child[6];

	(void) state;
	*shared = 0;
	for (int i = 0; i < 6; i++)
	{
		child[i] = fork();
		if (child[i] == 0)
		{
			KeptFile kept = file_at(path);
			MappedFile mapped;
			Failure failure;

			kept.argument = shared;
			_exit(kept_file_map(arena, &kept, &mapped, &failure) &&
			              mapped.size == SIZE
			          ? 0
			          : 1);
		}
	}
	for (int i = 0; i < 6; i++)
		assert_ends(child[i], 0);
	assert_int_equal(*shared, 1);
	assert_int_equal(map(arena, path), 0);
	munmap(shared, sizeof(int));
	arena_destroy(arena);
}

static bool
write_half_and_die(void *argument, KeptWriter *writer, Failure *failure)
{
	char part[PART] = {0};

	(void) argument;
	(void) failure;
	kept_write(writer, part, sizeof(part));
	return kill(getpid(), SIGKILL) == 0;
}

static void
what_a_killed_maker_leaves_is_made_anew(void **state)
{
	Arena *arena = arena_create();
	char *path = new_path(arena);
	pid_t child = fork();

	(void) state;
	if (child == 0)
	{
		KeptFile kept = file_at(path);
		MappedFile mapped;
		Failure failure;

		kept.write = write_half_and_die;
		(void) kept_file_map(arena, &kept, &mapped, &failure);
		_exit(0);
	}
	assert_ends(child, SIGKILL);
	assert_true(file_exists(arena_printf(arena, "%s.tmp", path)));
	assert_int_equal(map(arena, path), 1);
	arena_destroy(arena);
}

static bool
is_cancelled(void *argument, Failure *failure)
{
	(void) argument;
	*failure = (Failure){.code = FAILURE_CANCELLED, .message = "cancelled"};
	return false;
}

static void
who_waits_for_the_maker_can_be_cancelled(void **state)
{
	Arena *arena = arena_create();
	char *path = new_path(arena);
	KeptFile kept = file_at(path);
	int file = open(arena_printf(arena, "%s.tmp", path),
	                O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	(void) state;
	assert_int_equal(flock(file, LOCK_EX), 0);
	poll_install(is_cancelled, NULL);
	assert_fails_so(&kept, FAILURE_CANCELLED, "cancelled");
	poll_install(NULL, NULL);
	close(file);
	assert_int_equal(map(arena, path), 1);
	arena_destroy(arena);
}

/* Nothing is at the path, nor beside it. */
static void
assert_left_nothing(Arena *arena, const char *path)
{
	assert_false(file_exists(path));
	assert_false(file_exists(arena_printf(arena, "%s.tmp", path)));
}

static void
a_full_disk_is_a_failure_that_leaves_nothing(void **state)
{
	Arena *arena = arena_create();
	char *path = new_path(arena);
	KeptFile kept = file_at(path);
	struct rlimit limit, before;

	(void) state;
	getrlimit(RLIMIT_FSIZE, &before);
	limit = before;
	limit.rlim_cur = SIZE / 2;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &limit);
	assert_fails_so(&kept, FAILURE_IO, "cannot write");
	setrlimit(RLIMIT_FSIZE, &before);
	assert_left_nothing(arena, path);
	assert_int_equal(map(arena, path), 1);
	arena_destroy(arena);
}

static void
most_of_a_disk_is_never_taken(void **state)
{
	Arena *arena = arena_create();
	char *path = new_path(arena);
	KeptFile kept = file_at(path);

	(void) state;
	kept.size = UINT64_C(1) << 60;
	assert_fails_so(&kept, FAILURE_DISK_FULL, "more than a quarter");
	assert_left_nothing(arena, path);
	arena_destroy(arena);
}

static void
a_directory_that_is_not_there_is_a_failure(void **state)
{
	Arena *arena = arena_create();
	char *directory = test_directory(arena);
	char *file = test_write(arena, directory, "file", "", 0);
	KeptFile kept = file_at(arena_printf(arena, "%s/none/kept", directory));

	(void) state;
	assert_fails_so(&kept, FAILURE_NOT_FOUND, "cannot create");
	kept.path = arena_printf(arena, "%s/kept", file);
	assert_fails_so(&kept, FAILURE_NOT_FOUND, "cannot create");
	arena_destroy(arena);
}

static void
what_is_no_file_is_not_opened(void **state)
{
	Arena *arena = arena_create();
	char *path = new_path(arena);
	KeptFile kept = file_at(path);

	(void) state;
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(map(arena, path), 1);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_fails_so(&kept, FAILURE_IO, "cannot write");
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_made_once_and_then_mapped),
		cmocka_unit_test(it_is_made_again_wherever_it_was_cut),
		cmocka_unit_test(it_is_made_again_when_a_byte_of_its_head_differs),
		cmocka_unit_test(it_is_made_again_when_anything_was_written_to_it),
		cmocka_unit_test(what_was_mapped_stays_when_it_is_removed_or_replaced),
		cmocka_unit_test(of_several_processes_one_makes_it_for_all),
		cmocka_unit_test(what_a_killed_maker_leaves_is_made_anew),
		cmocka_unit_test(who_waits_for_the_maker_can_be_cancelled),
		cmocka_unit_test(a_full_disk_is_a_failure_that_leaves_nothing),
		cmocka_unit_test(most_of_a_disk_is_never_taken),
		cmocka_unit_test(a_directory_that_is_not_there_is_a_failure),
		cmocka_unit_test(what_is_no_file_is_not_opened),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
