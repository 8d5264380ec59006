/*
 * collective_test.c
 *		What ranks do together: alone, and as processes over sockets.
 */
#include "on_cpu.h"

#include "device/channel.h"
#include "device/collective.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#define RANKS 3

/* More than two pieces, and no whole number of them. */
#define COUNT 150001

static void
one_rank_is_its_own_sum(void **state)
{
	float data[] = {1, -2, 3.5f};
	Collective *collective;
	Failure failure = {0};

	(void) state;
	assert_ok(collective_open_single(device, &collective, &failure), failure);
	assert_int_equal(collective->rank, 0);
	assert_int_equal(collective->ranks, 1);
	assert_ok(collective->all_reduce(collective, data, 3, &failure), failure);
	assert_ok(collective->broadcast(collective, data, sizeof(data), &failure),
	          failure);
	assert_ok(collective->barrier(collective, &failure), failure);
	assert_true(data[0] == 1 && data[1] == -2 && data[2] == 3.5f);
	collective->close(collective);
}

/* ---------------------------------------------------------------- sockets */

static Channel channels[RANKS];
static pid_t children[RANKS];

/* Runs body as ranks 1 and 2, in processes; 0 is a success there. */
static Collective *
start_ranks(int (*body)(Collective *collective))
{
	Collective *collective;
	Failure failure = {0};

	for (int rank = 1; rank < RANKS; rank++)
	{
		int ends[2];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
		children[rank] = fork();
		assert_true(children[rank] >= 0);
		if (children[rank] == 0)
		{
			Channel channel = {.socket = ends[1]};

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(ends[0]);
			for (int other = 1; other < rank; other++)
				close(channels[other].socket);
			if (!collective_open_sockets(device, rank, RANKS, &channel,
			                             &collective, &failure))
				_exit(99);
			_exit(body(collective));
		}
		close(ends[1]);
		channels[rank] = (Channel){.socket = ends[0]};
	}
	assert_ok(collective_open_sockets(device, 0, RANKS, channels, &collective,
	                                  &failure),
	          failure);
	return collective;
}

/* Closes rank 0's ends; each of the others must end with this. */
static void
end_ranks(Collective *collective, int expected)
{
	collective->close(collective);
	for (int rank = 1; rank < RANKS; rank++)
	{
		int status;

		close(channels[rank].socket);
		assert_int_equal(waitpid(children[rank], &status, 0), children[rank]);
		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), expected);
	}
}

/* A number of each rank whose sum depends on its order. */
static float
number(int rank, int i)
{
	static const float scale[RANKS] = {1, 1e7f, -1e7f};

	return scale[rank] * (1 + (float) (i % 1000) / 1000) + (float) i * 1e-3f;
}

static float
sum_in_order(int i)
{
	float sum = number(0, i);

	for (int rank = 1; rank < RANKS; rank++)
		sum += number(rank, i);
	return sum;
}

/* 0 if all is as it must be. */
static int
add_up(Collective *collective)
{
	float *data = malloc(COUNT * sizeof(float));
	Failure failure;
	int wrong = 0;

	for (int i = 0; i < COUNT; i++)
		data[i] = number(collective->rank, i);
	if (!collective->all_reduce(collective, data, COUNT, &failure))
		return 1;
	for (int i = 0; i < COUNT; i++)
		wrong += data[i] != sum_in_order(i);
	free(data);
	return wrong == 0 ? 0 : 2;
}

static void
sums_are_those_of_the_order_of_ranks_on_each(void **state)
{
	Collective *collective = start_ranks(add_up);

	(void) state;
	assert_int_equal(add_up(collective), 0);
	end_ranks(collective, 0);
}

static int
take_what_0_has(Collective *collective)
{
	size_t bytes = 300007;
	char *data = malloc(bytes);
	Failure failure;
	int wrong = 0;

	for (size_t i = 0; i < bytes; i++)
		data[i] = collective->rank == 0 ? (char) (i % 251) : 0;
	if (!collective->broadcast(collective, data, bytes, &failure))
		return 1;
	for (size_t i = 0; i < bytes; i++)
		wrong += data[i] != (char) (i % 251);
	free(data);
	return wrong == 0 ? 0 : 2;
}

static void
a_broadcast_brings_what_rank_0_has(void **state)
{
	Collective *collective = start_ranks(take_what_0_has);

	(void) state;
	assert_int_equal(take_what_0_has(collective), 0);
	end_ranks(collective, 0);
}

static int64_t
now_ms(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (int64_t) time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* Rank 2 is late. */
static int
meet(Collective *collective)
{
	Failure failure;

	if (collective->rank == 2)
		usleep(100000);
	return collective->barrier(collective, &failure) ? 0 : 1;
}

static void
nobody_passes_a_barrier_alone(void **state)
{
	int64_t started = now_ms();
	Collective *collective = start_ranks(meet);

	(void) state;
	assert_int_equal(meet(collective), 0);
	assert_true(now_ms() - started >= 100);
	end_ranks(collective, 0);
}

static int
end_at_once(Collective *collective)
{
	(void) collective;
	return 7;
}

static void
a_rank_that_is_gone_ends_the_wait(void **state)
{
	Collective *collective = start_ranks(end_at_once);
	Failure failure = {0};
	float data[4] = {0};

	(void) state;
	assert_fails(collective->all_reduce(collective, data, 4, &failure), failure,
	             FAILURE_DEVICE, "another rank of the job has ended");
	assert_true(channels[1].is_closed);
	end_ranks(collective, 7);
}

/* ---------------------------------------------------------------- channels */

static void
a_failure_travels_in_place_of_what_is_due(void **state)
{
	Channel one, two;
	Failure sent, failure = {0};
	char data[8];
	int ends[2];

	(void) state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	one = (Channel){.socket = ends[0]};
	two = (Channel){.socket = ends[1]};
	assert_ok(channel_is_well(&one, &failure), failure);
	memset(&sent, 0, sizeof(sent));
	(fail)(&sent, FAILURE_OUT_OF_MEMORY, "no memory for %d things", 3);
	fail_while(&sent, "on rank 2");
	assert_ok(
		channel_send(&two, CHANNEL_FAILURE, &sent, sizeof(sent), &failure),
		failure);
	assert_fails(channel_receive(&one, CHANNEL_DATA, data, 8, &failure),
	             failure, FAILURE_OUT_OF_MEMORY, "no memory for 3 things");
	assert_string_equal(failure.context, "on rank 2");
	/* Nor is it lost where nothing is due. */
	assert_ok(
		channel_send(&two, CHANNEL_FAILURE, &sent, sizeof(sent), &failure),
		failure);
	assert_fails(channel_is_well(&one, &failure), failure,
	             FAILURE_OUT_OF_MEMORY, "no memory for 3 things");
	/* What comes early is no failure. */
	assert_ok(channel_send(&two, CHANNEL_DATA, data, 8, &failure), failure);
	assert_ok(channel_is_well(&one, &failure), failure);
	assert_fails(channel_receive(&one, CHANNEL_DATA, data, 4, &failure),
	             failure, FAILURE_INTERNAL, "8 bytes of kind 1 in place of 4");
	close(ends[0]);
	close(ends[1]);
}

/* What stops rank 0 in the middle of a wait. */
static bool
stop(void *argument, Failure *failure)
{
	int *asked = argument;

	return ++*asked < 2 || (fail) (failure, FAILURE_CANCELLED, "stopped");
}

static int
sleep_long(Collective *collective)
{
	Failure failure;
	float data[4];

	/* Until rank 0 is gone. */
	return collective->broadcast(collective, data, sizeof(data), &failure) ? 1
	                                                                       : 3;
}

static void
who_waits_can_be_stopped(void **state)
{
	Collective *collective = start_ranks(sleep_long);
	Failure failure = {0};
	float data[4] = {0};
	int asked = 0;

	(void) state;
	channels[1].check = stop;
	channels[1].argument = &asked;
	assert_fails(collective->all_reduce(collective, data, 4, &failure), failure,
	             FAILURE_CANCELLED, "stopped");
	end_ranks(collective, 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_rank_is_its_own_sum),
		cmocka_unit_test(sums_are_those_of_the_order_of_ranks_on_each),
		cmocka_unit_test(a_broadcast_brings_what_rank_0_has),
		cmocka_unit_test(nobody_passes_a_barrier_alone),
		cmocka_unit_test(a_rank_that_is_gone_ends_the_wait),
		cmocka_unit_test(a_failure_travels_in_place_of_what_is_due),
		cmocka_unit_test(who_waits_can_be_stopped),
	};

	return run_on_cpu(tests);
}
