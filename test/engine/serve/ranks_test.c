/*
 * ranks_test.c
 *		Jobs whose steps several ranks share, each an engine of its own: what
 *		they make, and how they end.
 */
#include "serve/work.h"

#include "near.h"

/* The floats of a safetensors file. */
static const float *
floats_of(const char *model, size_t size, size_t *count)
{
	uint64_t header;

	memcpy(&header, model, sizeof(header));
	assert_true(header < size - 8);
	*count = (size - 8 - header) / sizeof(float);
	return (const float *) (const void *) (model + 8 + header);
}

/* The largest difference of two models' numbers, relative to the largest. */
static double
difference(const char *one, const char *other, size_t size)
{
	size_t count;
	const float *a = floats_of(one, size, &count);
	const float *b = floats_of(other, size, &count);
	double most = 0;

	for (size_t i = 0; i < count; i++)
		most = fmax(most, fabs((double) a[i] - b[i]));
	return most;
}

/* Of runs of the same settings on both devices. */
static double
compare(const char *settings, const char *one, const char *other)
{
	Work first = plan_work(settings);
	Work second = plan_work(settings);
	size_t size, other_size;
	char *model = finish_work(&first, one, &size);
	char *other_model = finish_work(&second, other, &other_size);
	double most;

	assert_int_equal(size, other_size);
	most = difference(model, other_model, size);
	print_message("%s, %s: %g\n", one, other, most);
	forget_work(&first);
	forget_work(&second);
	return most;
}

static void
ranks_make_the_model_of_one_but_for_rounding(void **state)
{
	(void) state;
	assert_true(compare(WORK_SETTINGS, "cpu", "cpu:2") < 1e-6);
	assert_true(compare(WORK_SETTINGS, "cpu", "cpu:3") < 1e-6);
	/* More ranks than groups: some have nothing to do. */
	assert_true(compare(WORK_SETTINGS, "cpu", "cpu:6") < 1e-6);
}

/* Dropout, pairs and lists: what depends on a row's place in the step. */
static void
so_they_do_by_every_method(void **state)
{
	(void) state;
	assert_true(compare("\"method\": \"nll\", \"steps\": 4, \"batch_size\": 3, "
	                    "\"lora_rank\": 4, \"lora_dropout\": 0.3",
	                    "cpu", "cpu:2") < 1e-6);
	assert_true(
		compare("\"method\": \"dpo\", \"pairs\": \"all\", \"steps\": 3, "
	            "\"batch_size\": 4",
	            "cpu", "cpu:2") < 1e-6);
	assert_true(compare("\"method\": \"a_lol_seq\", \"steps\": 3, "
	                    "\"batch_size\": 5, \"max_response_tokens\": 4",
	                    "cpu", "cpu:2") < 1e-6);
	/* A code may be another by rounding, and with it some of a step. */
	assert_true(compare("\"method\": \"nll\", \"steps\": 4, "
	                    "\"batch_size\": 3, \"optimizer\": \"adamw8bit\"",
	                    "cpu", "cpu:2") < 1e-5);
	assert_true(compare(WORK_SETTINGS, "cuda:0", "cuda:0-1") < 1e-6);
}

static void
the_same_ranks_make_the_same_bits(void **state)
{
	Work first = plan_work(WORK_SETTINGS);
	size_t size;
	char *model = finish_work(&first, "cpu:3", &size);

	(void) state;
	for (int i = 0; i < 3; i++)
	{
		Work again = plan_work(WORK_SETTINGS);
		size_t again_size;

		finish_work(&again, "cpu:3", &again_size);
		expect_model(&again, model, size);
		forget_work(&again);
	}
	forget_work(&first);
}

static void
online_training_is_refused(void **state)
{
	Work work = plan_work("\"method\": \"ppo\", \"steps\": 2");

	(void) state;
	assert_int_equal(begin_work(&work, "cpu:2", ""), WIRE_ERROR);
	assert_string_equal(word("message"),
	                    "method \"ppo\" trains on one device, not on 2");
	assert_int_equal(end(), 0);
	forget_work(&work);
}

/* -------------------------------------------------------------- their end */

/* A job that would take a day. */
#define ENDLESS                                                                \
	"\"method\": \"a_lol\", \"steps\": 10000000, \"batch_size\": 4, "          \
	"\"max_response_tokens\": 8, \"evaluate_every\": 10000000, "               \
	"\"checkpoint_every\": 10000000"

/* The pid of the only child of a process; 0: it has none. */
static pid_t
child_of(pid_t parent)
{
	Arena *arena = arena_create();
	char *path = arena_printf(arena, "/proc/%d/task/%d/children", (int) parent,
	                          (int) parent);
	FILE *file = fopen(path, "r");
	int child = 0;

	if (file != NULL && fscanf(file, "%d", &child) != 1)
		child = 0;
	if (file != NULL)
		fclose(file);
	arena_destroy(arena);
	return child;
}

/* Gone, or dead and to be buried by init. */
static bool
is_gone(pid_t pid)
{
	Arena *arena = arena_create();
	FILE *file = fopen(arena_printf(arena, "/proc/%d/stat", (int) pid), "r");
	char line[256] = "";
	const char *state;
	bool gone;

	if (file != NULL && fgets(line, sizeof(line), file) == NULL)
		line[0] = '\0';
	if (file != NULL)
		fclose(file);
	state = strrchr(line, ')');
	gone = state == NULL || state[2] == 'Z' || state[2] == 'X';
	arena_destroy(arena);
	return gone;
}

static void
expect_end_of(pid_t pid, int wait_ms)
{
	int64_t end_ms = clock_ms() + wait_ms;

	while (!is_gone(pid))
	{
		if (clock_ms() > end_ms)
			fail_msg("process %d is left behind", (int) pid);
		usleep(10000);
	}
}

/* An endless job that has done some steps on two ranks; the other's pid. */
static pid_t
begin_endless(Work *work, const char *device, const char *faults)
{
	pid_t rank;
	int type;

	*work = plan_work(ENDLESS);
	type = begin_work(work, device, faults);
	if (type != WIRE_RESULT)
		fail_msg("%s", word("message"));
	for (int metrics = 0; metrics < 3;)
	{
		type = receive();
		assert_true(type != WIRE_ERROR && type != 0);
		metrics += type == WIRE_METRICS;
		if (type == WIRE_ASK)
		{
			WireBuffer items = {.resize = resize};

			wire_put_u32(&items, 1);
			wire_put_f64(&items, 1);
			send_frame(WIRE_ANSWER, TRAIN_ID, "{}", items.data, items.size);
			free(items.data);
		}
	}
	rank = child_of(peer.pid);
	assert_true(rank > 0);
	return rank;
}

static void
a_rank_that_is_killed_ends_the_job(void **state)
{
	Work work;
	pid_t rank = begin_endless(&work, "cpu:2", "");

	(void) state;
	kill(rank, SIGKILL);
	assert_int_equal(end_training(), WIRE_ERROR);
	assert_string_equal(word("message"), "rank 1 (cpu:1) exited on signal 9");
	assert_string_equal(word("sqlstate"), "58000");
	assert_int_equal(end(), 1);
	expect_end_of(rank, 1000);
	forget_work(&work);
}

static void
its_last_words_are_told(void **state)
{
	Work work;
	pid_t rank = begin_endless(&work, "cuda:0-1", "die_at 4000 at_device 1");

	(void) state;
	assert_int_equal(end_training(), WIRE_ERROR);
	assert_string_equal(word("message"), "rank 1 (cuda:1) exited on signal 6");
	assert_string_equal(word("detail"), "cuda:1 fell off the bus");
	assert_int_equal(end(), 1);
	expect_end_of(rank, 1000);
	forget_work(&work);
}

static void
cancelling_ends_all_ranks_within_a_second(void **state)
{
	Work work;
	pid_t rank = begin_endless(&work, "cpu:2", "");
	int64_t started = clock_ms();

	(void) state;
	send_frame(WIRE_CANCEL, TRAIN_ID, "{}", NULL, 0);
	assert_int_equal(end_training(), WIRE_ERROR);
	assert_string_equal(word("sqlstate"), "57014");
	expect_end_of(rank, 1000);
	assert_true(clock_ms() - started < 1000);
	assert_int_equal(end(), 0);
	forget_work(&work);
}

/* A rank that hangs, as in its driver, must not hold up the cancel. */
static void
nor_does_one_that_hangs_hold_it_up(void **state)
{
	Work work;
	pid_t rank = begin_endless(&work, "cpu:2", "");

	(void) state;
	kill(rank, SIGSTOP);
	send_frame(WIRE_CANCEL, TRAIN_ID, "{}", NULL, 0);
	assert_int_equal(end_training(), WIRE_ERROR);
	assert_string_equal(word("sqlstate"), "57014");
	assert_int_equal(end(), 0);
	expect_end_of(rank, 1000);
	forget_work(&work);
}

static void
ranks_die_with_their_engine(void **state)
{
	Work work;
	pid_t rank = begin_endless(&work, "cpu:2", "");

	(void) state;
	kill(peer.pid, SIGKILL);
	assert_int_equal(end(), 1000 + SIGKILL);
	expect_end_of(rank, 1000);
	forget_work(&work);
}

static void
a_closed_socket_ends_them_too(void **state)
{
	Work work;
	pid_t rank = begin_endless(&work, "cpu:2", "");

	(void) state;
	assert_int_equal(end(), 0);
	expect_end_of(rank, 1000);
	forget_work(&work);
}

static void
a_device_that_a_rank_cannot_open_is_named(void **state)
{
	(void) state;
	set_faults("cannot_open 1");
	assert_int_equal(greet_program("cuda:0-1", ", \"ranks\": true"),
	                 WIRE_ERROR);
	assert_string_equal(word("message"), "cuda:1 cannot be opened");
	assert_non_null(strstr(word("context"), "starting rank 1 (cuda:1)"));
	(void) end();
	/* Asked for one, it is content with one. */
	assert_int_equal(greet_program("cuda:0-1", ""), WIRE_RESULT);
	assert_string_equal(word("device"), "cuda:0");
	assert_int_equal(end(), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranks_make_the_model_of_one_but_for_rounding),
		cmocka_unit_test(so_they_do_by_every_method),
		cmocka_unit_test(the_same_ranks_make_the_same_bits),
		cmocka_unit_test(online_training_is_refused),
		cmocka_unit_test(a_rank_that_is_killed_ends_the_job),
		cmocka_unit_test(its_last_words_are_told),
		cmocka_unit_test(cancelling_ends_all_ranks_within_a_second),
		cmocka_unit_test(nor_does_one_that_hangs_hold_it_up),
		cmocka_unit_test(ranks_die_with_their_engine),
		cmocka_unit_test(a_closed_socket_ends_them_too),
		cmocka_unit_test(a_device_that_a_rank_cannot_open_is_named),
	};

	return cmocka_run_group_tests(tests, install_program, uninstall_program);
}
