/*
 * cublas.c
 *		The calls of cuBLAS, by plain loops.
 */
#include "cublas_v2.h"

#include <stdlib.h>
#include <string.h>

struct cublasContext
{
	cublasMath_t mode;
};

cublasStatus_t
cublasCreate(cublasHandle_t *handle)
{
	*handle = NULL;
	if (!shim_count_call())
		return CUBLAS_STATUS_ALLOC_FAILED;
	*handle = calloc(1, sizeof(**handle));
	return *handle == NULL ? CUBLAS_STATUS_ALLOC_FAILED : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t
cublasDestroy(cublasHandle_t handle)
{
	free(handle);
	return shim_count_call() ? CUBLAS_STATUS_SUCCESS
	                         : CUBLAS_STATUS_EXECUTION_FAILED;
}

cublasStatus_t
cublasSetStream(cublasHandle_t handle, cudaStream_t stream)
{
	(void) stream;
	if (handle == NULL)
		return CUBLAS_STATUS_INVALID_VALUE;
	return shim_count_call() ? CUBLAS_STATUS_SUCCESS
	                         : CUBLAS_STATUS_EXECUTION_FAILED;
}

cublasStatus_t
cublasSetWorkspace(cublasHandle_t handle, void *memory, size_t bytes)
{
	(void) memory;
	(void) bytes;
	if (handle == NULL)
		return CUBLAS_STATUS_INVALID_VALUE;
	return shim_count_call() ? CUBLAS_STATUS_SUCCESS
	                         : CUBLAS_STATUS_EXECUTION_FAILED;
}

cublasStatus_t
cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode)
{
	if (handle == NULL)
		return CUBLAS_STATUS_INVALID_VALUE;
	handle->mode = mode;
	return shim_count_call() ? CUBLAS_STATUS_SUCCESS
	                         : CUBLAS_STATUS_EXECUTION_FAILED;
}

const char *
cublasGetStatusString(cublasStatus_t status)
{
	switch (status)
	{
		case CUBLAS_STATUS_SUCCESS:
			return "success";
		case CUBLAS_STATUS_ALLOC_FAILED:
			return "cuBLAS cannot allocate";
		case CUBLAS_STATUS_INVALID_VALUE:
			return "invalid value";
		case CUBLAS_STATUS_NOT_SUPPORTED:
			return "not supported";
		default:
			return shim_fault_text() != NULL ? shim_fault_text()
			                                 : "execution failed";
	}
}

/* Number i of an array. */
static float
number(const void *data, cudaDataType type, size_t i)
{
	uint32_t bits;
	float value;

	if (type == CUDA_R_32F)
		return ((const float *) data)[i];
	bits = (uint32_t) ((const uint16_t *) data)[i] << 16;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* packed[cols][rows] = op(x)'s numbers, which has so many rows and columns. */
static float *
pack(const void *x, cudaDataType type, bool is_transposed, size_t rows,
     size_t cols, size_t ld)
{
	float *packed = malloc((rows * cols + 1) * sizeof(float));

	if (packed == NULL)
		return NULL;
	for (size_t j = 0; j < cols; j++)
		for (size_t i = 0; i < rows; i++)
			packed[j * rows + i] =
				number(x, type, is_transposed ? i * ld + j : j * ld + i);
	return packed;
}

static void
multiply(size_t m, size_t n, size_t k, float alpha, const float *a,
         const float *b, float beta, float *c, size_t ldc)
{
	float *sums = malloc((m + 1) * sizeof(float));

	for (size_t j = 0; sums != NULL && j < n; j++)
	{
		memset(sums, 0, m * sizeof(float));
		for (size_t d = 0; d < k; d++)
			for (size_t i = 0; i < m; i++)
				sums[i] += a[d * m + i] * b[j * k + d];
		for (size_t i = 0; i < m; i++)
			c[j * ldc + i] =
				alpha * sums[i] + (beta == 0 ? 0 : beta * c[j * ldc + i]);
	}
	free(sums);
}

cublasStatus_t
cublasGemmEx(cublasHandle_t handle, cublasOperation_t a_operation,
             cublasOperation_t b_operation, int m, int n, int k,
             const void *alpha, const void *a, cudaDataType a_type, int lda,
             const void *b, cudaDataType b_type, int ldb, const void *beta,
             void *c, cudaDataType c_type, int ldc, cublasComputeType_t compute,
             cublasGemmAlgo_t algorithm)
{
	bool a_turned = a_operation == CUBLAS_OP_T;
	bool b_turned = b_operation == CUBLAS_OP_T;
	float *a_packed;
	float *b_packed;

	(void) compute;
	(void) algorithm;
	if (!shim_count_call())
		return CUBLAS_STATUS_EXECUTION_FAILED;
	if (handle == NULL || m < 0 || n < 0 || k < 0 || a_type != b_type ||
	    c_type != CUDA_R_32F || lda < (a_turned ? k : m) || lda < 1 ||
	    ldb < (b_turned ? n : k) || ldb < 1 || ldc < m || ldc < 1)
		return CUBLAS_STATUS_INVALID_VALUE;
	shim_open_memory();
	a_packed = pack(a, a_type, a_turned, (size_t) m, (size_t) k, (size_t) lda);
	b_packed = pack(b, b_type, b_turned, (size_t) k, (size_t) n, (size_t) ldb);
	if (a_packed != NULL && b_packed != NULL)
		multiply((size_t) m, (size_t) n, (size_t) k, *(const float *) alpha,
		         a_packed, b_packed, *(const float *) beta, c, (size_t) ldc);
	shim_close_memory();
	if (a_packed == NULL || b_packed == NULL)
		shim_fault("no memory for a product");
	free(a_packed);
	free(b_packed);
	return CUBLAS_STATUS_SUCCESS;
}
