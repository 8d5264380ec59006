/*
 * shim.h
 *		A GPU in software, for tests: what runs a kernel that g++ compiled.
 *
 * The threads of a block are fibers.  Blocks run one after the other, threads
 * until they wait for one another, both in an order that the seed and the
 * number of the launch decide, so that what depends on it shows.  A fault (a
 * race, a barrier that some threads miss, memory that is not there) stops the
 * kernel and fails every later call, as a GPU's does; its words are what
 * cudaGetErrorString says.
 *
 * The environment, read at each shim_reset():
 *	ALOL_SHIM_DEVICES    GPUs of this machine (1)
 *	ALOL_SHIM_DRIVER     version of its driver, 0: none (13000)
 *	ALOL_SHIM_MEMORY     bytes of each (1 GiB)
 *	ALOL_SHIM_PAGEABLE   they read the host's memory by themselves, as late as
 *	                     they may (0)
 *	ALOL_SHIM_SEED       of the order of blocks and threads (0)
 *	ALOL_SHIM_FAIL_CALL  the number of the first call that fails, from 1, as
 *	                     all after it: a device that is lost (none)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define SHIM_API extern "C"
#else
#define SHIM_API extern
#endif

#define SHIM_WARP 32
#define SHIM_MAX_THREADS 1024
#define SHIM_MAX_WARPS (SHIM_MAX_THREADS / SHIM_WARP)

/* Shared memory of a block: what every GPU gives, and the most that those we
 * build for all give to a kernel that asks. */
#define SHIM_SHARED_PLAIN (48 << 10)
#define SHIM_SHARED_MOST (99 << 10)

/* The longest value that a thread shows to its warp. */
#define SHIM_VALUE_BYTES 64

typedef struct ShimGrid
{
	const char *name; /* of the kernel */
	unsigned blocks[3];
	unsigned threads[3];
	size_t dynamic_bytes;         /* of shared memory */
	void (*call)(const void *of); /* the kernel with its arguments */
	const void *of;
} ShimGrid;

/* Runs a kernel; false after a fault. */
SHIM_API bool shim_run(const ShimGrid *grid);

/* What the kernel that starts next is called in what is found; static. */
SHIM_API void shim_name_kernel(const char *name);

/* Makes the machine new: no fault, calls counted from 0, the environment read
 * again.  Memory stays as it is. */
SHIM_API void shim_reset(void);

/* Calls of the runtime and of cuBLAS since then. */
SHIM_API int shim_calls(void);

/* Bytes allocated on all devices, to see that none is left. */
SHIM_API size_t shim_memory_in_use(void);

/* Work of others on the stream: it is busy until is_busy(argument), which is
 * asked whenever the stream is, says no; NULL: no more. */
SHIM_API void shim_keep_busy(bool (*is_busy)(void *argument), void *argument);

/* The fault's words, or NULL. */
SHIM_API const char *shim_fault_text(void);

/* Stops the kernel, or outside of one fails what follows.  The first is kept.
 * Returns outside of a kernel only. */
SHIM_API void shim_fault(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/* ------------------------------------------------- for threads of a kernel */

/* This thread's number in its block, and in its warp. */
SHIM_API int shim_thread(void);
SHIM_API int shim_lane(void);

/* Waits for all threads of the block. */
SHIM_API void shim_barrier(void);

/* The same; true if it is_true for any of them. */
SHIM_API bool shim_barrier_or(bool is_true);

/*
 * Shows bytes of value to the lanes of mask, and waits for theirs, which must
 * do the same thing.  Returns [SHIM_WARP] values, valid until this thread's
 * next call.
 */
typedef struct ShimValue
{
	unsigned char bytes[SHIM_VALUE_BYTES] __attribute__((aligned(16)));
} ShimValue;
SHIM_API const ShimValue *shim_exchange(const char *what, unsigned mask,
                                        const void *value, size_t bytes);

/* shim_exchange without a value: what a warp wrote to shared memory before is
 * there for all of it. */
SHIM_API void shim_warp_barrier(unsigned mask);

/* Shared memory is a space of its own, from 0.  Variables are known by where
 * in the source they stand; each thread asks, the first makes room. */
SHIM_API size_t shim_shared_variable(const char *key, size_t bytes);
/* Where the dynamic part lies; *bytes of it. */
SHIM_API size_t shim_shared_dynamic(size_t *bytes);
SHIM_API void shim_shared_read(size_t at, void *value, size_t bytes);
SHIM_API void shim_shared_write(size_t at, const void *value, size_t bytes);

/* A copy that comes when this thread waits: before, nobody may look.  zeros
 * bytes after those of source. */
SHIM_API void shim_copy_async(size_t at, const void *source, size_t bytes,
                              size_t zeros);
/* Closes a group of copies; waits for all but the last so many groups. */
SHIM_API void shim_copy_commit(void);
SHIM_API void shim_copy_wait(int groups_left);

/* ------------------------------------------------------ for those of shim/ */

/* A block begins, shared memory is undefined; and ends, false after the fault
 * of a copy into it that nobody waited for. */
SHIM_API void shim_shared_begin(size_t dynamic_bytes);
SHIM_API bool shim_shared_end(void);

/* Leaves the kernel, if one runs. */
SHIM_API void shim_stop_thread(void);

/* Time within a block, never reset: barriers passed by the block, and by the
 * warp of a thread. */
SHIM_API uint64_t shim_barriers(void);
SHIM_API uint64_t shim_warp_barriers(int warp);

/* "block (1, 0, 0) of softmax_kernel" */
SHIM_API const char *shim_place(void);

/* While a kernel or a copy runs, and only then, may device memory be
 * touched. */
SHIM_API void shim_open_memory(void);
SHIM_API void shim_close_memory(void);

/* Counts a call; false: it has to fail. */
SHIM_API bool shim_count_call(void);

/* A number that depends on the seed and how often it was asked for. */
SHIM_API uint64_t shim_draw(void);
