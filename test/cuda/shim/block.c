/*
 * block.c
 *		Runs the blocks of a kernel: threads as fibers, barriers, and what a
 *		warp does together.
 */
#include "cuda_runtime.h"

#include "fiber.h"
#include "shim.h"

#include <stdio.h>
#include <string.h>

uint3 threadIdx;
uint3 blockIdx;
dim3 blockDim;
dim3 gridDim;

typedef enum ThreadState
{
	NEW, /* without a fiber */
	READY,
	AT_BARRIER,
	AT_EXCHANGE,
	DONE
} ThreadState;

/* What the lanes of a warp show each other.  Two sets of values: who is slow
 * to read the last ones need not fear who is early with the next. */
typedef struct Warp
{
	const char *what; /* they do; NULL: nothing yet */
	unsigned mask;    /* of those who take part */
	unsigned arrived;
	int set;
	uint64_t barriers;
	ShimValue values[2][SHIM_WARP];
} Warp;

static const char synchronise[] = "synchronise";

static struct
{
	const ShimGrid *grid; /* NULL: no kernel runs */
	int threads;
	int left; /* threads that are not done */
	int waiting;
	int current; /* -1: the program runs */
	bool has_stopped;
	uint64_t barriers;
	bool votes[2]; /* at a barrier of an even or odd number */
	ThreadState state[SHIM_MAX_THREADS];
	uint16_t order[SHIM_MAX_THREADS];
	Warp warps[SHIM_MAX_WARPS];
	int cursor;     /* of run_round, in order */
	int free_count; /* fibers that run no thread */
	uint16_t free_fibers[SHIM_MAX_THREADS];
	uint16_t fiber_of[SHIM_MAX_THREADS]; /* threads that are not NEW */
	Fiber fibers[SHIM_MAX_THREADS];
	Fiber program;
} block;

int
shim_thread(void)
{
	return block.current;
}

int
shim_lane(void)
{
	return block.current % SHIM_WARP;
}

uint64_t
shim_barriers(void)
{
	return block.barriers;
}

uint64_t
shim_warp_barriers(int warp)
{
	return block.warps[warp].barriers;
}

const char *
shim_place(void)
{
	static char text[256];

	if (block.grid == NULL)
		return "no kernel";
	snprintf(text, sizeof(text), "block (%u, %u, %u) of %s", blockIdx.x,
	         blockIdx.y, blockIdx.z, block.grid->name);
	return text;
}

static Fiber *
current_fiber(void)
{
	return &block.fibers[block.fiber_of[block.current]];
}

/* Gives way; a thread comes back when it is ready again. */
static void
give_way(void)
{
	fiber_switch(current_fiber(), &block.program);
}

void
shim_stop_thread(void)
{
	if (block.current < 0)
		return;
	block.has_stopped = true;
	fiber_end(current_fiber(), &block.program);
}

static void
place_thread(int thread)
{
	unsigned x = block.grid->threads[0];
	unsigned y = block.grid->threads[1];

	threadIdx.x = (unsigned) thread % x;
	threadIdx.y = (unsigned) thread / x % y;
	threadIdx.z = (unsigned) thread / (x * y);
	block.current = thread;
}

/* Runs a thread to its end, and without a switch those whose turn is next as
 * long as they are new. */
static void
run_threads(void)
{
	int fiber = block.fiber_of[block.current];
	int next;

	fiber_entered();
	for (;;)
	{
		block.grid->call(block.grid->of);
		block.state[block.current] = DONE;
		block.left--;
		if (block.cursor + 1 == block.threads)
			break;
		next = block.order[block.cursor + 1];
		if (block.state[next] != NEW)
			break;
		block.cursor++;
		block.state[next] = READY;
		block.fiber_of[next] = (uint16_t) fiber;
		place_thread(next);
	}
	block.free_fibers[block.free_count++] = (uint16_t) fiber;
	fiber_end(&block.fibers[fiber], &block.program);
}

void
shim_barrier(void)
{
	block.state[block.current] = AT_BARRIER;
	block.waiting++;
	give_way();
}

bool
shim_barrier_or(bool is_true)
{
	uint64_t interval = block.barriers;

	/* Two votes in turn: who is slow to read one need not fear the next. */
	block.votes[interval % 2] |= is_true;
	shim_barrier();
	return block.votes[interval % 2];
}

/* Everyone has arrived: all go on. */
static void
release_warp(int number, Warp *warp)
{
	int first = number * SHIM_WARP;

	if (warp->what == synchronise && warp->mask == 0xffffffff)
		warp->barriers++;
	for (int lane = 0; lane < SHIM_WARP; lane++)
		if (warp->mask >> lane & 1)
			block.state[first + lane] = READY;
	warp->what = NULL;
	warp->arrived = 0;
	warp->set = !warp->set;
}

const ShimValue *
shim_exchange(const char *what, unsigned mask, const void *value, size_t bytes)
{
	int lane = shim_lane();
	int number = block.current / SHIM_WARP;
	Warp *warp = &block.warps[number];
	int set = warp->set;

	if (!(mask >> lane & 1))
		shim_fault("thread %d is not of those that %s, in %s", block.current,
		           what, shim_place());
	if (warp->what == NULL)
	{
		warp->what = what;
		warp->mask = mask;
	}
	else if (warp->mask != mask ||
	         (warp->what != what && strcmp(warp->what, what) != 0))
		shim_fault("thread %d wants to %s (lanes %08x) while its warp wants to "
		           "%s (lanes %08x), in %s",
		           block.current, what, mask, warp->what, warp->mask,
		           shim_place());
	memcpy(warp->values[set][lane].bytes, value, bytes);
	warp->arrived |= 1u << lane;
	if (warp->arrived == warp->mask)
		release_warp(number, warp);
	else
	{
		block.state[block.current] = AT_EXCHANGE;
		give_way();
	}
	return warp->values[set];
}

void
shim_warp_barrier(unsigned mask)
{
	shim_exchange(synchronise, mask, "", 1);
}

/* In a new order, by a linear congruential generator: this runs often. */
static void
shuffle(uint16_t *order, int count)
{
	uint64_t draw = shim_draw();

	for (int i = count - 1; i > 0; i--)
	{
		uint16_t saved = order[i];
		uint64_t j;

		draw = draw * 6364136223846793005u + 1442695040888963407u;
		j = (draw >> 32) * (uint64_t) (i + 1) >> 32;
		order[i] = order[j];
		order[j] = saved;
	}
}

static void
start_thread(int thread)
{
	int fiber = block.free_fibers[--block.free_count];

	block.fiber_of[thread] = (uint16_t) fiber;
	block.state[thread] = READY;
	fiber_start(&block.fibers[fiber], run_threads);
}

/* Lets every thread that can go on do so; false: none could. */
static bool
run_round(void)
{
	bool has_run = false;

	for (block.cursor = 0; block.cursor < block.threads && !block.has_stopped;
	     block.cursor++)
	{
		int thread = block.order[block.cursor];

		if (block.state[thread] == NEW)
			start_thread(thread);
		if (block.state[thread] != READY)
			continue;
		has_run = true;
		place_thread(thread);
		fiber_switch(&block.program, current_fiber());
	}
	block.current = -1;
	return has_run;
}

static void
pass_barrier(void)
{
	for (int i = 0; i < block.threads; i++)
		if (block.state[i] == AT_BARRIER)
			block.state[i] = READY;
	block.waiting = 0;
	block.barriers++;
	block.votes[block.barriers % 2] = false;
	shuffle(block.order, block.threads);
}

/* Nobody can go on: at a barrier that all reached, or for ever. */
static void
describe_standstill(void)
{
	for (int i = 0; i < block.threads; i++)
		if (block.state[i] == AT_EXCHANGE)
		{
			const Warp *warp = &block.warps[i / SHIM_WARP];

			shim_fault("lanes %08x of warp %d wait for %08x to %s, in %s",
			           warp->arrived, i / SHIM_WARP, warp->mask, warp->what,
			           shim_place());
			return;
		}
	shim_fault("%d of %d threads reach a barrier, in %s", block.waiting,
	           block.threads, shim_place());
}

static void
begin_block(void)
{
	block.left = block.threads;
	block.free_count = block.threads;
	block.waiting = 0;
	block.has_stopped = false;
	block.barriers++;
	block.votes[block.barriers % 2] = false;
	for (int i = 0; i < block.threads; i++)
	{
		block.state[i] = NEW;
		block.free_fibers[i] = (uint16_t) (block.threads - 1 - i);
	}
	for (int i = 0; i < block.threads / SHIM_WARP; i++)
	{
		block.warps[i].what = NULL;
		block.warps[i].arrived = 0;
	}
	shuffle(block.order, block.threads);
	shim_shared_begin(block.grid->dynamic_bytes);
}

static bool
run_block(void)
{
	begin_block();
	while (block.left > 0 && !block.has_stopped)
	{
		if (run_round())
			continue;
		if (block.waiting != block.threads)
		{
			describe_standstill();
			return false;
		}
		pass_barrier();
	}
	return !block.has_stopped && shim_shared_end();
}

/* Block i of a walk through all in steps of a number that has no common
 * divisor with theirs. */
static uint64_t
coprime_step(uint64_t count)
{
	for (;;)
	{
		uint64_t step = 1 + shim_draw() % count;
		uint64_t a = count;
		uint64_t b = step;

		while (b != 0)
		{
			uint64_t rest = a % b;

			a = b;
			b = rest;
		}
		if (a == 1)
			return step;
	}
}

bool
shim_run(const ShimGrid *grid)
{
	uint64_t count =
		(uint64_t) grid->blocks[0] * grid->blocks[1] * grid->blocks[2];
	uint64_t step = coprime_step(count);
	uint64_t at = shim_draw() % count;
	bool is_good = true;

	block.grid = grid;
	block.threads =
		(int) (grid->threads[0] * grid->threads[1] * grid->threads[2]);
	block.current = -1;
	for (int i = 0; i < block.threads; i++)
		block.order[i] = (uint16_t) i;
	gridDim = (dim3){grid->blocks[0], grid->blocks[1], grid->blocks[2]};
	blockDim = (dim3){grid->threads[0], grid->threads[1], grid->threads[2]};
	shim_open_memory();
	for (uint64_t i = 0; i < count && is_good; i++, at = (at + step) % count)
	{
		blockIdx.x = (unsigned) (at % gridDim.x);
		blockIdx.y = (unsigned) (at / gridDim.x % gridDim.y);
		blockIdx.z = (unsigned) (at / gridDim.x / gridDim.y);
		is_good = run_block();
	}
	shim_close_memory();
	block.grid = NULL;
	return is_good;
}
