/*
 * cpu.c
 *		The CPU backend: memory, failures, and the filled operation table.
 */
#include "device/cpu/cpu.h"

#include "base/arena.h"
#include "device/cpu/matmul_bf16.h"

#include <omp.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

void
cpu_fail(Device *device, FailureCode code, const char *what)
{
	CpuDevice *cpu = (CpuDevice *) device;

#pragma omp critical(cpu_failure)
	if (!cpu->has_failed)
	{
		fail(&cpu->failure, code, "%s", what);
		cpu->has_failed = true;
	}
}

float *
cpu_grow(Device *device, float **scratch, size_t *size, size_t count)
{
	if (*size < count)
	{
		free(*scratch);
		*scratch = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
		*size = *scratch == NULL ? 0 : count;
	}
	if (*scratch == NULL)
		cpu_fail(device, FAILURE_OUT_OF_MEMORY,
		         "cannot allocate scratch memory");
	return *scratch;
}

int
cpu_thread(void)
{
	/* A loop in a slice makes a team of its own, of one thread. */
	return omp_get_level() > 0 ? omp_get_ancestor_thread_num(1)
	                           : cpu_helper_number();
}

float *
cpu_scratch(Device *device, size_t count)
{
	CpuDevice *cpu = (CpuDevice *) device;
	int thread = cpu_thread();

	return cpu_grow(device, &cpu->scratch[thread], &cpu->scratch_size[thread],
	                count);
}

float *
cpu_shared_scratch(Device *device, size_t count)
{
	CpuDevice *cpu = (CpuDevice *) device;

	return cpu_grow(device, &cpu->shared, &cpu->shared_size, count);
}

/* Blocks carry their size in front, for the account of memory in use. */
static void *
cpu_alloc(Device *device, size_t bytes)
{
	Failure failure;
	Arena *arena;
	char *block;

	if (bytes > SIZE_MAX / 2)
	{
		cpu_fail(device, FAILURE_OUT_OF_MEMORY, "a tensor is too large");
		return NULL;
	}
	arena = arena_create();
	block = arena_try(arena, 1, bytes + 64, &failure);
	if (block == NULL)
	{
		arena_destroy(arena);
		cpu_fail(device, failure.code, failure.message);
		return NULL;
	}
	*(Arena **) (void *) block = arena;
	return block + 64;
}

static void
cpu_free(Device *device, void *memory)
{
	(void) device;
	if (memory != NULL)
		arena_destroy(*(Arena **) (void *) ((char *) memory - 64));
}

static void
cpu_copy(Device *device, void *target, const void *source, size_t bytes)
{
	(void) device;
	if (bytes > 0)
		memcpy(target, source, bytes);
}

/* Bytes of much memory that a thread clears at a time. */
#define CLEAR_BYTES ((size_t) 1 << 20)

static void
cpu_fill_zero(Device *device, void *target, size_t bytes)
{
	int64_t pieces = (int64_t) ((bytes + CLEAR_BYTES - 1) / CLEAR_BYTES);

	CPU_EACH(i, pieces, 1, pieces > 1 && cpu_threads(device) > 1,
	         memset((char *) target + (size_t) i * CLEAR_BYTES, 0,
	                i + 1 < pieces ? CLEAR_BYTES
	                               : bytes - (size_t) i * CLEAR_BYTES));
}

static const void *
cpu_adopt(Device *device, const void *mapped, size_t bytes)
{
	(void) device;
	(void) bytes;
	return mapped;
}

static void
cpu_release(Device *device, const void *adopted)
{
	(void) device;
	(void) adopted;
}

static uint64_t
cpu_room(Device *device)
{
	(void) device;
	return memory_left();
}

/* Nobody else takes from this process's limit. */
static bool
cpu_reserve(Device *device, uint64_t bytes, Failure *failure)
{
	(void) device;
	return memory_check(bytes, failure);
}

static bool
cpu_sync(Device *device, Failure *failure)
{
	CpuDevice *cpu = (CpuDevice *) device;

	if (!cpu->has_failed)
		return true;
	*failure = cpu->failure;
	cpu->has_failed = false;
	return false;
}

static void
cpu_close(Device *device)
{
	CpuDevice *cpu = (CpuDevice *) device;

	for (int i = 0; i < device->threads; i++)
		free(cpu->scratch[i]);
	free(cpu->scratch);
	free(cpu->scratch_size);
	free(cpu->shared);
	cpu_held_close(cpu->held, device->threads);
	cpu_turns_close(cpu->turns);
	cpu_helpers_close(cpu->helpers);
	free(cpu);
}

static const Device operations = {
	.name = "cpu",
	.alloc = cpu_alloc,
	.free = cpu_free,
	.upload = cpu_copy,
	.download = cpu_copy,
	.fill_zero = cpu_fill_zero,
	.adopt = cpu_adopt,
	.release = cpu_release,
	.room = cpu_room,
	.reserve = cpu_reserve,
	.sync = cpu_sync,
	.run_slices = cpu_run_slices,
	.close = cpu_close,
	.matmul = cpu_matmul,
	.matmul_input_grad = cpu_matmul_input_grad,
	.hold = cpu_hold,
	.matmul_weight_grad = cpu_matmul_weight_grad,
	.packed_bytes = cpu_packed_bytes,
	.pack = cpu_pack,
	.gather_rows = cpu_gather_rows,
	.scatter_rows = cpu_scatter_rows,
	.scatter_add_rows = cpu_scatter_add_rows,
	.regroup_heads = cpu_regroup_heads,
	.add = cpu_add,
	.scale = cpu_scale,
	.write_fixed = cpu_write_fixed,
	.read_fixed = cpu_read_fixed,
	.dropout = cpu_dropout,
	.norm = cpu_norm,
	.norm_grad = cpu_norm_grad,
	.rotate = cpu_rotate,
	.attention = cpu_attention,
	.attention_grad = cpu_attention_grad,
	.attention_cached = cpu_attention_cached,
	.activation = cpu_activation,
	.activation_grad = cpu_activation_grad,
	.logprob = cpu_logprob,
	.logprob_grad = cpu_logprob_grad,
	.add_squares = cpu_add_squares,
	.adamw = cpu_adamw,
	.adamw_coded = cpu_adamw_coded,
};

CpuVectors
cpu_vectors(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx512f") &&
	    __builtin_cpu_supports("avx512bw") &&
	    __builtin_cpu_supports("avx512dq") &&
	    __builtin_cpu_supports("avx512vl"))
		return VECTORS_AVX512;
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return VECTORS_AVX2;
#endif
	return VECTORS_PORTABLE;
}

const char *
cpu_isa(void)
{
	switch (cpu_vectors())
	{
		case VECTORS_AVX512:
			return bf16_amx() != NULL      ? "amx_bf16"
			       : bf16_avx512() != NULL ? "avx512_bf16"
			                               : "avx512";
		case VECTORS_AVX2:
			return "avx2";
		default:
			return "generic";
	}
}

/*
 * Products of tiny probabilities and gradients would otherwise take a hundred
 * times as long and change nothing that a sum in fp32 can show.
 */
void
cpu_flush_denormals(void)
{
#ifdef __x86_64__
	_mm_setcsr(_mm_getcsr() | _MM_FLUSH_ZERO_ON | 0x0040 /* inputs too */);
#endif
}

bool
cpu_device_open(int threads, Device **device, Failure *failure)
{
	CpuDevice *cpu = calloc(1, sizeof(CpuDevice));
	const dnnl_version_t *library;

	if (threads <= 0)
		threads = omp_get_num_procs();
	omp_set_num_threads(threads);
#pragma omp parallel
	cpu_flush_denormals();
	if (cpu != NULL)
	{
		cpu->scratch = calloc((size_t) threads, sizeof(float *));
		cpu->scratch_size = calloc((size_t) threads, sizeof(size_t));
		cpu->held = cpu_held_open(threads);
		cpu->turns = cpu_turns_open(threads);
		cpu->helpers = cpu_helpers_open(threads);
	}
	if (cpu == NULL || cpu->scratch == NULL || cpu->scratch_size == NULL ||
	    cpu->held == NULL || cpu->turns == NULL || cpu->helpers == NULL)
		return fail(failure, FAILURE_OUT_OF_MEMORY, "cannot open the CPU");
	library = dnnl_version();
	snprintf(cpu->description, sizeof(cpu->description), "%s, oneDNN %d.%d.%d",
	         cpu_isa(), library->major, library->minor, library->patch);
	cpu->device = operations;
	cpu->device.description = cpu->description;
	snprintf(cpu->packing, sizeof(cpu->packing), "packing %d, %s", BF16_PACKING,
	         cpu->description);
	cpu->device.packing = cpu->packing;
	cpu->device.threads = threads;
	cpu->device.keeps_fixed = true;
	cpu->device.has_bf16 = bf16_native() != NULL;
	*device = &cpu->device;
	return true;
}
