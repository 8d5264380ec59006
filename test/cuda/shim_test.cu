/*
 * shim_test.cu
 *		The software GPU finds what it is there to find.
 */
#include "cuda/launch.h"
#include "cuda/warp.h"

#include <setjmp.h>
#include <string.h>

extern "C"
{
#include <cmocka.h>
}

#define THREADS 64

/* Runs a kernel of THREADS threads in so many blocks; its last argument is
 * [count] numbers, copied there and back. */
template <typename... P>
static void
run(void (*kernel)(int *, P...), int blocks, int *data, int count, P... more)
{
	int *on_device = NULL;
	size_t bytes = (size_t) count * sizeof(int);

	shim_reset();
	cudaMalloc(&on_device, bytes);
	cudaMemcpyAsync(on_device, data, bytes, cudaMemcpyHostToDevice, NULL);
	cuda_start<int *, P...>(NULL, kernel, dim3((unsigned) blocks), THREADS, 0,
	                        on_device, more...);
	cudaMemcpyAsync(data, on_device, bytes, cudaMemcpyDeviceToHost, NULL);
	cudaFree(on_device);
}

/* The kernel must have been stopped with words that hold part. */
static void
assert_fault(const char *part)
{
	if (shim_fault_text() == NULL)
		fail_msg("no fault, \"%s\" was expected", part);
	if (strstr(shim_fault_text(), part) == NULL)
		fail_msg("the fault is \"%s\", not \"%s\"", shim_fault_text(), part);
	shim_reset();
}

static void
assert_no_fault(void)
{
	if (shim_fault_text() != NULL)
		fail_msg("%s", shim_fault_text());
}

/* ------------------------------------------------------------ what is right */

/* Every thread writes what another reads after a barrier. */
static __global__ void
reverse_kernel(int *data)
{
	SHARED(int, held, THREADS);
	int i = (int) threadIdx.x;
	int *mine = data + blockIdx.x * THREADS;

	held[i] = mine[i];
	__syncthreads();
	mine[i] = held[THREADS - 1 - i];
}

static void
threads_meet_at_barriers(void **state)
{
	int data[3 * THREADS];

	(void) state;
	for (int i = 0; i < 3 * THREADS; i++)
		data[i] = i;
	run(reverse_kernel, 3, data, 3 * THREADS);
	assert_no_fault();
	for (int i = 0; i < 3 * THREADS; i++)
		assert_int_equal(data[i],
		                 i / THREADS * THREADS + THREADS - 1 - i % THREADS);
}

static __global__ void
shuffle_kernel(int *data)
{
	int lane = warp_lane();
	int sum = warp_sum(lane);
	int turned = __shfl_sync(ALL_LANES, lane, (lane + 1) % WARP);
	int down = __shfl_down_sync(ALL_LANES, lane, 3);
	int up = __shfl_up_sync(ALL_LANES, lane, 3, 8);
	unsigned odd = __ballot_sync(ALL_LANES, lane % 2);

	/* A part of the warp, by itself. */
	if (lane < 8)
		sum += __shfl_xor_sync(0xffu, lane, 1);
	data[threadIdx.x * 5] = sum;
	data[threadIdx.x * 5 + 1] = turned;
	data[threadIdx.x * 5 + 2] = down;
	data[threadIdx.x * 5 + 3] = up;
	data[threadIdx.x * 5 + 4] = (int) odd;
}

static void
lanes_exchange_in_step(void **state)
{
	int data[THREADS * 5] = {};

	(void) state;
	run(shuffle_kernel, 1, data, THREADS * 5);
	assert_no_fault();
	for (int i = 0; i < THREADS; i++)
	{
		int lane = i % WARP;

		assert_int_equal(data[i * 5], 496 + (lane < 8 ? lane ^ 1 : 0));
		assert_int_equal(data[i * 5 + 1], (lane + 1) % WARP);
		assert_int_equal(data[i * 5 + 2], lane + 3 < WARP ? lane + 3 : lane);
		assert_int_equal(data[i * 5 + 3], lane % 8 < 3 ? lane : lane - 3);
		assert_int_equal((unsigned) data[i * 5 + 4], 0xaaaaaaaau);
	}
}

/* Lanes pass a value along in shared memory, with barriers of the warp. */
static __global__ void
warp_barrier_kernel(int *data, bool has_barriers)
{
	SHARED(int, held, THREADS);
	int i = (int) threadIdx.x;

	held[i] = i;
	if (has_barriers)
		__syncwarp();
	data[i] = held[i ^ 1];
}

static void
barriers_of_a_warp_order_its_lanes(void **state)
{
	int data[THREADS] = {};

	(void) state;
	run(warp_barrier_kernel, 1, data, THREADS, true);
	assert_no_fault();
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(data[i], i ^ 1);
	run(warp_barrier_kernel, 1, data, THREADS, false);
	assert_fault("race");
}

static __global__ void
vote_kernel(int *data)
{
	int any = __syncthreads_or(threadIdx.x == 40);
	int none = __syncthreads_or(0);
	int again = __syncthreads_or(threadIdx.x == 3);

	data[threadIdx.x] = any + 2 * none + 4 * again;
}

static void
blocks_vote(void **state)
{
	int data[THREADS] = {};

	(void) state;
	run(vote_kernel, 1, data, THREADS);
	assert_no_fault();
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(data[i], 5);
}

/* ------------------------------------------------------------ what is wrong */

static __global__ void
write_race_kernel(int *data)
{
	SHARED(int, held, 2);

	(void) data;
	held[threadIdx.x / 32] = 1;
}

static __global__ void
read_race_kernel(int *data)
{
	SHARED(int, held, THREADS);

	held[threadIdx.x] = 0;
	__syncthreads();
	data[threadIdx.x] = held[THREADS - 1 - threadIdx.x];
	/* A barrier is missing here. */
	held[threadIdx.x] = 1;
}

/* Each lane of a warp reads, then one of another warp writes. */
static __global__ void
late_write_kernel(int *data)
{
	SHARED(int, held, 1);

	if (threadIdx.x == 0)
		held[0] = 7;
	__syncthreads();
	data[threadIdx.x] = held[0];
	if (threadIdx.x == 40)
		held[0] = 8;
}

static void
races_are_found(void **state)
{
	int data[THREADS] = {};

	(void) state;
	run(write_race_kernel, 1, data, THREADS);
	assert_fault("race");
	run(read_race_kernel, 1, data, THREADS);
	assert_fault("race");
	run(late_write_kernel, 1, data, THREADS);
	assert_fault("race");
}

static __global__ void
early_return_kernel(int *data)
{
	(void) data;
	if (threadIdx.x < 3)
		return;
	__syncthreads();
}

static __global__ void
half_shuffle_kernel(int *data)
{
	if (warp_lane() < 16)
		data[threadIdx.x] = __shfl_xor_sync(ALL_LANES, 1, 1);
}

static __global__ void
other_call_kernel(int *data)
{
	if (warp_lane() < 16)
		data[threadIdx.x] = __shfl_xor_sync(ALL_LANES, 1, 1);
	else
		data[threadIdx.x] = __any_sync(ALL_LANES, 1);
}

static void
threads_that_stay_away_are_found(void **state)
{
	int data[THREADS] = {};

	(void) state;
	run(early_return_kernel, 1, data, THREADS);
	assert_fault("61 of 64 threads reach a barrier");
	run(half_shuffle_kernel, 1, data, THREADS);
	assert_fault("wait for ffffffff to shuffle by xor");
	run(other_call_kernel, 1, data, THREADS);
	assert_fault("while its warp wants to");
}

static __global__ void
far_kernel(int *data)
{
	SHARED(int, held, THREADS);

	(void) data;
	held[threadIdx.x + 1] = 1;
}

static void
indexes_out_of_bounds_are_found(void **state)
{
	int data[THREADS] = {};

	(void) state;
	run(far_kernel, 1, data, THREADS);
	assert_fault("element 64 of a shared array of 256 bytes");
}

/* ---------------------------------------------------------- delayed copies */

typedef enum CopyFault
{
	COPY_WELL,
	COPY_READ_EARLY,
	COPY_NEVER_WAIT,
	COPY_NO_BARRIER
} CopyFault;

static __global__ void
copy_kernel(int *data, CopyFault with)
{
	SHARED(int, held, 4 * THREADS);
	int i = (int) threadIdx.x;

	copy_async(held + 4 * i, data + 4 * i, i == 5 ? 4 : 16);
	copy_commit();
	if (with == COPY_READ_EARLY)
		data[i] = held[4 * i];
	if (with == COPY_NEVER_WAIT)
		return;
	copy_wait<0>();
	if (with != COPY_NO_BARRIER)
		__syncthreads();
	for (int c = 0; c < 4; c++)
		data[4 * i + c] = held[4 * THREADS - 1 - 4 * i - c];
}

static void
copies_arrive_when_waited_for(void **state)
{
	int data[4 * THREADS];

	(void) state;
	for (int i = 0; i < 4 * THREADS; i++)
		data[i] = i + 1;
	run(copy_kernel, 1, data, 4 * THREADS, COPY_WELL);
	assert_no_fault();
	for (int i = 0; i < 4 * THREADS; i++)
	{
		int from = 4 * THREADS - 1 - i;

		assert_int_equal(data[i], from > 20 && from < 24 ? 0 : from + 1);
	}
	run(copy_kernel, 1, data, 4 * THREADS, COPY_READ_EARLY);
	assert_fault("not waited for");
	run(copy_kernel, 1, data, 4 * THREADS, COPY_NEVER_WAIT);
	assert_fault("without waiting");
	run(copy_kernel, 1, data, 4 * THREADS, COPY_NO_BARRIER);
	assert_fault("");
}

/* ----------------------------------------------------------------- machine */

static void
calls_fail_from_the_chosen_one_on(void **state)
{
	int *memory = NULL;

	(void) state;
	setenv("ALOL_SHIM_FAIL_CALL", "2", 1);
	shim_reset();
	unsetenv("ALOL_SHIM_FAIL_CALL");
	assert_int_equal(cudaMalloc(&memory, 64), cudaSuccess);
	assert_int_equal(cudaMemsetAsync(memory, 0, 64, NULL), cudaErrorUnknown);
	assert_string_equal(cudaGetErrorString(cudaErrorUnknown),
	                    "the GPU is lost at call 2");
	assert_int_equal(cudaStreamSynchronize(NULL), cudaErrorUnknown);
	cudaFree(memory);
	assert_int_equal(shim_memory_in_use(), 0);
	shim_reset();
}

static void
memory_is_limited(void **state)
{
	char *memory = NULL;
	size_t unused = 0;
	size_t total = 0;

	(void) state;
	setenv("ALOL_SHIM_MEMORY", "1000", 1);
	shim_reset();
	unsetenv("ALOL_SHIM_MEMORY");
	assert_int_equal(cudaMalloc(&memory, 600), cudaSuccess);
	cudaMemGetInfo(&unused, &total);
	assert_int_equal(unused, 400);
	assert_int_equal(total, 1000);
	cudaFree(memory);
	assert_int_equal(cudaMalloc(&memory, 1001), cudaErrorMemoryAllocation);
	shim_reset();
}

static void
copies_stay_within_memory(void **state)
{
	int *memory = NULL;
	int data[5] = {};

	(void) state;
	shim_reset();
	cudaMalloc(&memory, sizeof(data) - 4);
	assert_int_equal(cudaMemcpyAsync(memory, data, sizeof(data),
	                                 cudaMemcpyHostToDevice, NULL),
	                 cudaErrorLaunchFailure);
	assert_fault("leaves device memory");
	cudaFree(memory);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(threads_meet_at_barriers),
		cmocka_unit_test(lanes_exchange_in_step),
		cmocka_unit_test(barriers_of_a_warp_order_its_lanes),
		cmocka_unit_test(blocks_vote),
		cmocka_unit_test(races_are_found),
		cmocka_unit_test(threads_that_stay_away_are_found),
		cmocka_unit_test(indexes_out_of_bounds_are_found),
		cmocka_unit_test(copies_arrive_when_waited_for),
		cmocka_unit_test(calls_fail_from_the_chosen_one_on),
		cmocka_unit_test(memory_is_limited),
		cmocka_unit_test(copies_stay_within_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
