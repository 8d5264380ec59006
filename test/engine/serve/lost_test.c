/*
 * lost_test.c
 *		A device that is lost in the middle of a job: whichever operation is
 *		the one that fails, the engine ends with an error, and another engine
 *		brings the job to the same end.
 */
#include "serve/program.h"

#include <dirent.h>

/* Of the last error. */
static char last_message[FAILURE_TEXT];

/* Of a new directory, what a job in it is asked to do. */
typedef struct Work
{
	Arena *arena;
	char *directory;
	const char *head;
	WireBuffer rows;
} Work;

static Work
plan_work(void)
{
	Work work = {.arena = arena_create(), .rows = {.resize = resize}};

	work.directory = test_directory(work.arena);
	work.head = arena_printf(
		work.arena,
		"{\"model\": {\"name\": \"tiny\", \"path\": \"%s\"}, \"checkpoint\": "
		"1000, \"directory\": \"%s\", \"settings\": {\"method\": \"a_lol\", "
		"\"steps\": 3, \"batch_size\": 2, \"max_response_tokens\": 4, "
		"\"evaluate_every\": 2, \"checkpoint_every\": 1, \"generation\": "
		"{\"max_tokens\": 2}}}",
		test_golden_path(work.arena, "training/llama"), work.directory);
	wire_put_u32(&work.rows, 3);
	for (int i = 0; i < 3; i++)
	{
		WireRow row = {.row_number = i + 1,
		               .prompt = "Hello",
		               .prompt_length = 5,
		               .response = " there, you",
		               .response_length = 6 + (size_t) i,
		               .flags = WIRE_ROW_HAS_REWARD | WIRE_ROW_HAS_VALUE,
		               .reward = 1 + i,
		               .value = 0.5};

		wire_put_row(&work.rows, &row);
	}
	return work;
}

static void
remove_directory(Arena *arena, const char *path)
{
	DIR *stream = opendir(path);
	struct dirent *entry;

	if (stream == NULL)
		return;
	while ((entry = readdir(stream)) != NULL)
	{
		char *file = arena_printf(arena, "%s/%s", path, entry->d_name);

		if (entry->d_name[0] == '.')
			continue;
		if (unlink(file) != 0)
			remove_directory(arena, file);
	}
	closedir(stream);
	rmdir(path);
}

static void
forget_work(Work *work)
{
	remove_directory(work->arena, work->directory);
	free(work->rows.data);
	arena_destroy(work->arena);
}

/* JOB_TRAIN, answering with rewards; the type of what ends it. */
static int
train(void)
{
	WireBuffer items = {.resize = resize};
	int type;

	wire_put_u32(&items, 1);
	wire_put_text(&items, "Hello", 5);
	send_frame(WIRE_JOB_TRAIN, 500, "{\"evaluate\": true}", items.data,
	           items.size);
	while ((type = receive()) != WIRE_RESULT && type != WIRE_ERROR && type != 0)
	{
		if (type != WIRE_ASK)
			continue;
		items.size = 0;
		wire_put_u32(&items, 1);
		wire_put_f64(&items, 1);
		send_frame(WIRE_ANSWER, 500, "{}", items.data, items.size);
	}
	free(items.data);
	return type;
}

/* Does what is left to do of it in a new engine; the type of the answer that
 * ended it, and how the engine did. */
static int
do_work(Work *work, const char *device, const char *faults, int *status)
{
	int type;

	set_faults(faults);
	type = greet_program(device, "");
	if (type == WIRE_RESULT)
		type = ask(WIRE_JOB_OPEN, work->head, NULL);
	if (type == WIRE_RESULT &&
	    !json_is_true(json_object_get(peer.head, "rows_ready")))
		type = ask(WIRE_JOB_ROWS, "{\"last\": true}", &work->rows);
	if (type == WIRE_RESULT)
		type = train();
	if (type == WIRE_ERROR && word("message")[0] == '\0')
		fail_msg("an error without a word");
	if (type == WIRE_ERROR)
		snprintf(last_message, sizeof(last_message), "%s", word("message"));
	*status = end();
	return type;
}

static char *
read_model(Work *work, size_t *size)
{
	Failure failure = {0};
	char *bytes =
		file_read(work->arena,
	              arena_printf(work->arena, "%s/model/model.safetensors",
	                           work->directory),
	              (size_t) 1 << 28, size, &failure);

	assert_ok(bytes != NULL, failure);
	return bytes;
}

/* The model that nothing disturbed. */
static char *
undisturbed(Work *work, size_t *size)
{
	int status;

	assert_int_equal(do_work(work, "cuda:0", "", &status), WIRE_RESULT);
	assert_int_equal(status, 0);
	return read_model(work, size);
}

/*
 * Operation n fails: the job ends with an error and its engine with it; what
 * goes on from there makes the same model.  False when there were not so many
 * operations.
 */
static bool
lose_at(int n, const char *model, size_t size)
{
	Work work = plan_work();
	char faults[32];
	size_t resumed_size;
	char *resumed;
	int status;
	int type;

	snprintf(faults, sizeof(faults), "fail_at %d", n);
	type = do_work(&work, "cuda:0", faults, &status);
	if (type == WIRE_ERROR)
	{
		if (strstr(last_message, "cuda:0: unspecified launch failure") == NULL)
			fail_msg("operation %d: \"%s\"", n, last_message);
		if (status != 1)
			fail_msg("operation %d: the engine ended with %d", n, status);
		if (do_work(&work, "cuda:0", "", &status) != WIRE_RESULT)
			fail_msg("operation %d: not resumed, \"%s\"", n, last_message);
		resumed = read_model(&work, &resumed_size);
		if (resumed_size != size || memcmp(resumed, model, size) != 0)
			fail_msg("operation %d: another model came out", n);
	}
	else if (type != WIRE_RESULT)
		fail_msg("operation %d: the engine ended with %d", n, status);
	forget_work(&work);
	return type == WIRE_ERROR;
}

/* Each operation, or one of so many that it takes as long as a test may. */
static void
whatever_fails_the_job_goes_on_to_the_same_end(void **state)
{
	Work work = plan_work();
	size_t size;
	char *model = undisturbed(&work, &size);
	int stride = atoi(test_environment("ALOL_FAULT_STRIDE", "37"));
	int n = 1;

	(void) state;
	while (lose_at(n, model, size))
		n += stride;
	print_message("%d operations\n", n);
	assert_true(n > 300);
	forget_work(&work);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_fails_the_job_goes_on_to_the_same_end),
	};

	return cmocka_run_group_tests(tests, install_program, uninstall_program);
}
