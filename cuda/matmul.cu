/*
 * matmul.cu
 *		Matrix products by cuBLAS, and the forms in which it takes factors.
 *
 * fp32 products take fp32 factors where they lie, and sum in fp32 without
 * TF32.  bf16 products round what is not bf16 into scratch.  Weights stored
 * otherwise are widened there, a panel of rows at a time.  Scratch is bounded:
 * larger factors are multiplied in pieces, always the same ones for a shape.
 */
#include "cuda/matmul.h"
#include "cuda/rounded.h"

#include <limits.h>

/* Panels begin at multiples of this many rows. */
#define PANEL_GRAIN 64

/* A factor as cuBLAS takes it, rows `stride` numbers apart. */
typedef struct Factor
{
	const void *data;
	cudaDataType type;
	int64_t stride;
} Factor;

static Factor
factor_at(Factor x, int64_t row, int64_t col)
{
	size_t size = x.type == CUDA_R_16BF ? sizeof(Bf16) : sizeof(float);

	x.data = (const char *) x.data + (size_t) (row * x.stride + col) * size;
	return x;
}

/* C[m, n] = A' B' + beta C by rows; a factor that is turned is stored as its
 * transpose.  cuBLAS goes by columns, and so computes C^T = B'^T A'^T. */
static void
gemm(Device *device, int64_t m, int64_t n, int64_t k, Factor a, bool a_turned,
     Factor b, bool b_turned, float beta, Tensor c)
{
	CudaDevice *cuda = cuda_of(device);
	const float alpha = 1;
	cublasStatus_t status;

	if (cuda->has_failed || m == 0 || n == 0)
		return;
	if (m > INT_MAX || n > INT_MAX || k > INT_MAX || c.stride > INT_MAX ||
	    a.stride > INT_MAX || b.stride > INT_MAX)
	{
		cuda_fail(device, FAILURE_UNSUPPORTED,
		          "a matrix has more than 2147483647 rows or columns", NULL);
		return;
	}
	status =
		cublasGemmEx(cuda->cublas, b_turned ? CUBLAS_OP_T : CUBLAS_OP_N,
	                 a_turned ? CUBLAS_OP_T : CUBLAS_OP_N, (int) n, (int) m,
	                 (int) k, &alpha, b.data, b.type, (int) b.stride, a.data,
	                 a.type, (int) a.stride, &beta, c.data, CUDA_R_32F,
	                 (int) c.stride, CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT);
	if (status != CUBLAS_STATUS_SUCCESS)
		cuda_fail(device, FAILURE_DEVICE, "multiplying matrices",
		          cublasGetStatusString(status));
}

/* Rows of weights in scratch, as the device multiplies now. */
static Factor
read_panel(Device *device, const Tensor &stored, int64_t first, int64_t rows)
{
	bool is_bf16 = device->products == DTYPE_BF16;
	int64_t stride = rounded_stride(stored.cols);
	size_t size = is_bf16 ? sizeof(Bf16) : sizeof(float);
	void *to =
		cuda_scratch(device, SCRATCH_PANEL, (size_t) (rows * stride) * size);

	cuda_read_rows(device, to, is_bf16, stored, first, rows);
	return Factor{to, is_bf16 ? CUDA_R_16BF : CUDA_R_32F, stride};
}

/* Rows of an input in bf16, from the last product of them if there was one. */
static Factor
round_rows(Device *device, const Tensor &x, int64_t first, int64_t rows)
{
	Tensor part = tensor_rows(x, first, rows);
	RoundedCopy copy = cuda_find_rounded(device, part);

	if (copy.data == NULL)
	{
		copy = cuda_make_rounded(device, part);
		cuda_read_rows(device, copy.data, true, x, first, rows);
	}
	return Factor{copy.data, CUDA_R_16BF, copy.stride};
}

/* Can cuBLAS read the numbers where they lie? */
static bool
is_ready(Device *device, const Tensor &x)
{
	return x.dtype == device->products;
}

static Factor
as_it_lies(const Tensor &x)
{
	return Factor{x.data, x.dtype == DTYPE_BF16 ? CUDA_R_16BF : CUDA_R_32F,
	              x.stride};
}

/* How many rows of so many columns fit into scratch. */
static int64_t
rows_in_scratch(Device *device, int64_t cols)
{
	size_t size = device->products == DTYPE_BF16 ? sizeof(Bf16) : sizeof(float);
	int64_t rows = (int64_t) (CUDA_SCRATCH_MOST / size) / rounded_stride(cols);

	return rows > PANEL_GRAIN ? rows / PANEL_GRAIN * PANEL_GRAIN : PANEL_GRAIN;
}

static int64_t
smaller(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* A ready factor x[m, ...] times all of S: as multiply() below. */
static void
multiply_panels(Device *device, Tensor out, Factor x, int64_t width,
                const Tensor &stored, bool sums_rows, float beta)
{
	int64_t most = is_ready(device, stored)
	                   ? stored.rows
	                   : rows_in_scratch(device, stored.cols);

	for (int64_t first = 0; first < stored.rows; first += most)
	{
		int64_t rows = smaller(most, stored.rows - first);
		Factor panel = is_ready(device, stored)
		                   ? as_it_lies(stored)
		                   : read_panel(device, stored, first, rows);

		if (sums_rows)
			gemm(device, out.rows, out.cols, rows, factor_at(x, 0, first),
			     false, panel, false, first > 0 ? 1 : beta, out);
		else
			gemm(device, out.rows, rows, width, x, false, panel, true, beta,
			     tensor_columns(out, first, rows));
	}
}

/*
 * out = x @ S + beta out if the sum runs along the rows of S, x @ S^T +
 * beta out if it runs along its columns; S as stored.
 */
static void
multiply(Device *device, Tensor out, Tensor x, const Tensor &stored,
         bool sums_rows, float beta)
{
	int64_t most =
		is_ready(device, x) ? x.rows : rows_in_scratch(device, x.cols);

	for (int64_t first = 0; first < x.rows; first += most)
	{
		int64_t rows = smaller(most, x.rows - first);
		Factor factor = is_ready(device, x)
		                    ? as_it_lies(x)
		                    : round_rows(device, x, first, rows);

		multiply_panels(device, tensor_rows(out, first, rows), factor, x.cols,
		                stored, sums_rows, beta);
	}
}

static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	add_bias_kernel(Tensor out, const float *bias)
{
	int64_t j = column();

	if (j < out.cols)
		row_of(out, blockIdx.x)[j] += bias[j];
}

/*
 * Packed are weights of fp32 and fp16: in bf16, in the order that they have,
 * for products of either kind.  What was quantized to be small stays so, and
 * is widened on its way.
 */
size_t
cuda_packed_bytes(Device *device, const Matrix *w, bool is_for_input_grad)
{
	const Tensor &x = w->tensor;
	bool is_wide = x.dtype == DTYPE_F32 || x.dtype == DTYPE_F16;

	(void) device;
	(void) is_for_input_grad;
	return is_wide ? (size_t) (x.rows * rounded_stride(x.cols)) * sizeof(Bf16)
	               : 0;
}

void
cuda_pack(Device *device, void *target, const Matrix *w, bool is_for_input_grad)
{
	(void) is_for_input_grad;
	cuda_read_rows(device, target, true, w->tensor, 0, w->tensor.rows);
}

/* The weights where products read them best. */
static Tensor
weights_of(const Device *device, const Matrix *w)
{
	Tensor packed = {(void *) (uintptr_t) w->packed, DTYPE_BF16, w->tensor.rows,
	                 w->tensor.cols, rounded_stride(w->tensor.cols)};

	return w->packed != NULL && device->products == DTYPE_BF16 ? packed
	                                                           : w->tensor;
}

void
cuda_matmul(Device *device, Tensor out, Tensor x, const Matrix *w,
            const Tensor *bias, float beta)
{
	const float *biases = bias == NULL ? NULL : (const float *) bias->data;
	Tensor weights = weights_of(device, w);

	cuda_wrote(device, out);
	if (out.rows <= CUDA_FEW_ROWS && !w->transposed && !device->rows_alike)
	{
		cuda_multiply_few(device, out, x, weights, biases, beta);
		return;
	}
	multiply(device, out, x, weights, w->transposed, beta);
	if (biases != NULL)
		LAUNCH(device, add_bias_kernel, grid_of(out), ELEMENT_THREADS, 0, out,
		       biases);
}

void
cuda_matmul_input_grad(Device *device, Tensor dx, Tensor dout, const Matrix *w,
                       float beta)
{
	cuda_wrote(device, dx);
	multiply(device, dx, dout, weights_of(device, w), !w->transposed, beta);
}

void
cuda_matmul_weight_grad(Device *device, const Matrix *dw, const Tensor *dbias,
                        Tensor dout, Tensor x)
{
	Tensor rows = dw->transposed ? x : dout;
	Tensor cols = dw->transposed ? dout : x;
	int64_t wide = rows.cols > cols.cols ? rows.cols : cols.cols;
	bool is_direct = is_ready(device, x);
	int64_t most = is_direct ? x.rows : rows_in_scratch(device, wide);

	cuda_wrote(device, dw->tensor);
	if (dbias != NULL)
		cuda_wrote(device, *dbias);
	/* Tokens are summed a piece after the other. */
	for (int64_t first = 0; first < x.rows; first += most)
	{
		int64_t count = smaller(most, x.rows - first);
		Factor a = is_direct ? as_it_lies(rows)
		                     : round_rows(device, rows, first, count);
		Factor b = is_direct ? as_it_lies(cols)
		                     : round_rows(device, cols, first, count);

		gemm(device, rows.cols, cols.cols, count, a, true, b, false, 1,
		     dw->tensor);
	}
	if (dbias != NULL)
		add_column_sums(device, (float *) dbias->data, NumberOf{dout},
		                dout.rows, dout.cols);
}
