/*
 * cublas_v2.h
 *		Stands in for cuBLAS's header of this name: what cuda/ calls of it.
 */
#pragma once

#include "cuda_runtime.h"

typedef enum cublasStatus_t
{
	CUBLAS_STATUS_SUCCESS = 0,
	CUBLAS_STATUS_ALLOC_FAILED = 3,
	CUBLAS_STATUS_INVALID_VALUE = 7,
	CUBLAS_STATUS_EXECUTION_FAILED = 13,
	CUBLAS_STATUS_NOT_SUPPORTED = 15
} cublasStatus_t;

typedef enum cublasOperation_t
{
	CUBLAS_OP_N = 0,
	CUBLAS_OP_T = 1
} cublasOperation_t;

typedef enum cudaDataType
{
	CUDA_R_32F = 0,
	CUDA_R_16BF = 14
} cudaDataType;

typedef enum cublasComputeType_t
{
	CUBLAS_COMPUTE_32F = 68
} cublasComputeType_t;

typedef enum cublasGemmAlgo_t
{
	CUBLAS_GEMM_DEFAULT = -1
} cublasGemmAlgo_t;

typedef enum cublasMath_t
{
	CUBLAS_DEFAULT_MATH = 0,
	CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION = 16
} cublasMath_t;

typedef struct cublasContext *cublasHandle_t;
SHIM_API cublasStatus_t cublasCreate(cublasHandle_t *handle);
SHIM_API cublasStatus_t cublasDestroy(cublasHandle_t handle);
SHIM_API cublasStatus_t cublasSetStream(cublasHandle_t handle,
                                        cudaStream_t stream);
SHIM_API cublasStatus_t cublasSetWorkspace(cublasHandle_t handle, void *memory,
                                           size_t bytes);
SHIM_API cublasStatus_t cublasSetMathMode(cublasHandle_t handle,
                                          cublasMath_t mode);
SHIM_API const char *cublasGetStatusString(cublasStatus_t status);

/* C[m, n] = alpha A' B' + beta C, columns one after the other; A and B of one
 * type, C fp32, sums in fp32. */
SHIM_API cublasStatus_t
cublasGemmEx(cublasHandle_t handle, cublasOperation_t a_operation,
             cublasOperation_t b_operation, int m, int n, int k,
             const void *alpha, const void *a, cudaDataType a_type, int lda,
             const void *b, cudaDataType b_type, int ldb, const void *beta,
             void *c, cudaDataType c_type, int ldc, cublasComputeType_t compute,
             cublasGemmAlgo_t algorithm);
