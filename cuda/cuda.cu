/*
 * cuda.cu
 *		The CUDA backend: devices, failures, the filled operation table, and
 *		what the module exports.
 */
#include "cuda/backend.h"

#include <stdio.h>
#include <string.h>

extern "C"
{
#include "base/dynamic8.h"
#include "base/quant.h"
}

/* What we build for, and what cuBLAS asks for at most. */
#define LEAST_MAJOR 8
#define CUBLAS_BYTES ((size_t) 32 << 20)

#define NF4_TABLES (16 + 256)

/* The device that is open, as listing resets those that are not. */
static int open_index = -1;

void
cuda_fail(Device *device, FailureCode code, const char *what, const char *why)
{
	CudaDevice *cuda = cuda_of(device);

	if (cuda->has_failed)
		return;
	if (why == NULL)
		fail(&cuda->failure, code, "%s", what);
	else
		fail(&cuda->failure, code, "%s: %s failed: %s", cuda->name, what, why);
	cuda->has_failed = true;
	/* What should have filled them may not have run. */
	cuda_forget_rounded(device);
}

static FailureCode
code_of(cudaError_t error)
{
	return error == cudaErrorMemoryAllocation ? FAILURE_OUT_OF_MEMORY
	                                          : FAILURE_DEVICE;
}

bool
cuda_check(Device *device, cudaError_t error, const char *what)
{
	if (error == cudaSuccess)
		return true;
	/* Forgotten by CUDA too, unless the device is lost. */
	(void) cudaGetLastError();
	cuda_fail(device, code_of(error), what, cudaGetErrorString(error));
	return false;
}

void *
cuda_scratch(Device *device, CudaScratch purpose, size_t bytes)
{
	CudaDevice *cuda = cuda_of(device);

	if (cuda->scratch_bytes[purpose] < bytes)
	{
		cuda_free(device, cuda->scratch[purpose]);
		cuda->scratch[purpose] = cuda_alloc(device, bytes);
		cuda->scratch_bytes[purpose] =
			cuda->scratch[purpose] == NULL ? 0 : bytes;
	}
	return cuda->scratch[purpose];
}

static bool
cuda_sync(Device *device, Failure *failure)
{
	CudaDevice *cuda = cuda_of(device);

	if (!cuda->has_failed)
		cuda_check(device, cudaStreamSynchronize(cuda->stream), "computing");
	if (!cuda->has_failed)
		return true;
	*failure = cuda->failure;
	cuda->has_failed = false;
	return false;
}

static void
cuda_close(Device *device)
{
	CudaDevice *cuda = cuda_of(device);

	for (int i = 0; i < SCRATCH_COUNT; i++)
		cuda_free(device, cuda->scratch[i]);
	cuda_free(device, cuda->nf4_tables);
	cuda_free(device, cuda->moment_levels);
	cuda_free(device, cuda->turns);
	if (cuda->cublas != NULL)
		cublasDestroy(cuda->cublas);
	cuda_free(device, cuda->cublas_memory);
	if (cuda->stream != NULL)
		cudaStreamDestroy(cuda->stream);
	cuda_drop_unused(device);
	open_index = -1;
	free(cuda);
}

/* One after the other: each fills the GPU. */
static void
cuda_run_slices(Device *device, int count,
                void (*work)(void *argument, int slice), void *argument)
{
	(void) device;
	for (int slice = 0; slice < count; slice++)
		work(argument, slice);
}

/* rounded.cu sees by itself what stays as it is. */
static void
cuda_hold(Device *device, const Tensor *x, int count)
{
	(void) device;
	(void) x;
	(void) count;
}

static void
fill_operations(Device *device)
{
	device->alloc = cuda_alloc;
	device->free = cuda_free;
	device->upload = cuda_upload;
	device->download = cuda_download;
	device->fill_zero = cuda_fill_zero;
	device->adopt = cuda_adopt;
	device->release = cuda_release;
	device->room = cuda_room;
	device->reserve = cuda_reserve;
	device->sync = cuda_sync;
	device->run_slices = cuda_run_slices;
	device->close = cuda_close;
	device->packed_bytes = cuda_packed_bytes;
	device->pack = cuda_pack;
	device->matmul = cuda_matmul;
	device->matmul_input_grad = cuda_matmul_input_grad;
	device->hold = cuda_hold;
	device->matmul_weight_grad = cuda_matmul_weight_grad;
	device->gather_rows = cuda_gather_rows;
	device->scatter_rows = cuda_scatter_rows;
	device->scatter_add_rows = cuda_scatter_add_rows;
	device->regroup_heads = cuda_regroup_heads;
	device->attention = cuda_attention;
	device->attention_grad = cuda_attention_grad;
	device->attention_cached = cuda_attention_cached;
	device->add = cuda_add;
	device->scale = cuda_scale;
	device->write_fixed = cuda_write_fixed;
	device->read_fixed = cuda_read_fixed;
	device->dropout = cuda_dropout;
	device->norm = cuda_norm;
	device->norm_grad = cuda_norm_grad;
	device->rotate = cuda_rotate;
	device->activation = cuda_activation;
	device->activation_grad = cuda_activation_grad;
	device->logprob = cuda_logprob;
	device->logprob_grad = cuda_logprob_grad;
	device->add_squares = cuda_add_squares;
	device->adamw = cuda_adamw;
	device->adamw_coded = cuda_adamw_coded;
}

/* -------------------------------------------------------------- the module */

static bool
count_devices(int *count, Failure *failure)
{
	int driver = 0;
	cudaError_t error = cudaDriverGetVersion(&driver);

	if (error == cudaSuccess && driver == 0)
		return fail(failure, FAILURE_DEVICE, "no NVIDIA driver is loaded");
	if (error == cudaSuccess)
		error = cudaGetDeviceCount(count);
	if (error != cudaSuccess)
		return fail(failure, FAILURE_DEVICE, "no GPU can be used: %s",
		            cudaGetErrorString(error));
	if (*count == 0)
		return fail(failure, FAILURE_DEVICE, "no GPU is there");
	return true;
}

static cudaError_t
describe(int index, DeviceInfo *info)
{
	cudaDeviceProp properties;
	size_t unused = 0;
	size_t total = 0;
	cudaError_t error = cudaGetDeviceProperties(&properties, index);

	if (error == cudaSuccess)
		error = cudaSetDevice(index);
	if (error == cudaSuccess)
		error = cudaMemGetInfo(&unused, &total);
	/* Asking made a context, with memory of its own. */
	if (index != open_index)
		cudaDeviceReset();
	if (error != cudaSuccess)
		return error;
	memset(info, 0, sizeof(*info));
	snprintf(info->device, sizeof(info->device), "cuda:%d", index);
	snprintf(info->name, sizeof(info->name), "%.127s", properties.name);
	snprintf(info->compute_capability, sizeof(info->compute_capability),
	         "%d.%d", properties.major, properties.minor);
	info->memory_total = total;
	info->memory_free = unused;
	return cudaSuccess;
}

static bool
list_devices(DeviceInfo *info, int *count, Failure *failure)
{
	if (!count_devices(count, failure))
		return false;
	if (*count > DEVICES_MAX)
		*count = DEVICES_MAX;
	for (int i = 0; i < *count; i++)
	{
		cudaError_t error = describe(i, &info[i]);

		if (error != cudaSuccess)
			return fail(failure, FAILURE_DEVICE, "cuda:%d does not answer: %s",
			            i, cudaGetErrorString(error));
	}
	return open_index < 0 || cudaSetDevice(open_index) == cudaSuccess ||
	       fail(failure, FAILURE_DEVICE, "cuda:%d is lost", open_index);
}

static bool
start_cublas(CudaDevice *cuda)
{
	Device *device = &cuda->device;
	cublasStatus_t status = cublasCreate(&cuda->cublas);

	cuda->cublas_memory = cuda_alloc(device, CUBLAS_BYTES);
	if (status == CUBLAS_STATUS_SUCCESS)
		status = cublasSetStream(cuda->cublas, cuda->stream);
	/* Its own workspace could differ between runs, and sums with it. */
	if (status == CUBLAS_STATUS_SUCCESS)
		status =
			cublasSetWorkspace(cuda->cublas, cuda->cublas_memory, CUBLAS_BYTES);
	if (status == CUBLAS_STATUS_SUCCESS)
		status = cublasSetMathMode(
			cuda->cublas, CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION);
	if (status != CUBLAS_STATUS_SUCCESS)
		cuda_fail(device, FAILURE_DEVICE, "starting cuBLAS",
		          cublasGetStatusString(status));
	return !cuda->has_failed;
}

static void
upload_tables(CudaDevice *cuda)
{
	Device *device = &cuda->device;
	size_t bytes = 256 * sizeof(float);

	cuda->nf4_tables = (float *) cuda_alloc(device, NF4_TABLES * sizeof(float));
	cuda_upload(device, cuda->nf4_tables, nf4_codes, 16 * sizeof(float));
	cuda_upload(device, cuda->nf4_tables + 16, dynamic8_signed.level, bytes);
	cuda->moment_levels = (float *) cuda_alloc(device, 2 * bytes);
	cuda_upload(device, cuda->moment_levels, dynamic8_signed.level, bytes);
	cuda_upload(device, cuda->moment_levels + 256, dynamic8_square.level,
	            bytes);
	cuda->turns = (int *) cuda_alloc(device, CUDA_TURNS * sizeof(int));
}

static bool
check_capability(int index, const cudaDeviceProp *properties, Failure *failure)
{
	if (properties->major >= LEAST_MAJOR)
		return true;
	return fail(failure, FAILURE_UNSUPPORTED,
	            "cuda:%d has compute capability %d.%d, at least %d.0 is needed",
	            index, properties->major, properties->minor, LEAST_MAJOR);
}

static bool
open_device(int index, Device **device, Failure *failure)
{
	cudaDeviceProp properties;
	CudaDevice *cuda;
	cudaError_t error;
	int count;

	if (!count_devices(&count, failure))
		return false;
	if (index < 0 || index >= count)
		return fail(failure, FAILURE_NOT_FOUND,
		            "there is no cuda:%d, the last one is cuda:%d", index,
		            count - 1);
	error = cudaSetDevice(index);
	if (error == cudaSuccess)
		error = cudaGetDeviceProperties(&properties, index);
	if (error != cudaSuccess)
		return fail(failure, code_of(error), "cuda:%d cannot be opened: %s",
		            index, cudaGetErrorString(cudaGetLastError()));
	if (!check_capability(index, &properties, failure))
		return false;
	cuda = (CudaDevice *) calloc(1, sizeof(CudaDevice));
	if (cuda == NULL)
		return fail(failure, FAILURE_OUT_OF_MEMORY, "cannot open cuda:%d",
		            index);
	cuda->index = index;
	cuda->processors = properties.multiProcessorCount;
	cuda->reads_pageable = properties.pageableMemoryAccess != 0;
	snprintf(cuda->name, sizeof(cuda->name), "cuda:%d", index);
	snprintf(cuda->description, sizeof(cuda->description),
	         "%.100s, compute capability %d.%d, CUDA %d.%d", properties.name,
	         properties.major, properties.minor, CUDART_VERSION / 1000,
	         CUDART_VERSION % 1000 / 10);
	cuda->device.name = cuda->name;
	cuda->device.memory = properties.totalGlobalMem;
	cuda->device.products = DTYPE_F32;
	cuda->device.has_bf16 = true;
	cuda->device.packs_once = true;
	cuda->device.description = cuda->description;
	fill_operations(&cuda->device);
	open_index = index;
	cuda_check(&cuda->device,
	           cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking),
	           "opening the GPU");
	if (!cuda->has_failed && start_cublas(cuda))
		upload_tables(cuda);
	if (!cuda_sync(&cuda->device, failure))
	{
		cuda_close(&cuda->device);
		return false;
	}
	*device = &cuda->device;
	return true;
}

extern "C" __attribute__((visibility("default")))
const DeviceModule alol_device_module = {
	ALOL_VERSION, ALOL_DEVICE_LAYOUT, "cuda",    list_devices,
	open_device,  cuda_make_id,       cuda_join,
};
