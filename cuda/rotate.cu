/*
 * rotate.cu
 *		Rotary position embedding, in halves.
 */
#include "cuda/launch.h"

/* Grid: rows, pieces of the pairs of all heads. */
static __global__ void
__launch_bounds__(ELEMENT_THREADS)
	rotate_kernel(Tensor x, int heads, int pairs, Tensor table,
                  const int32_t *position, float sign)
{
	int at = (int) (blockIdx.y * ELEMENT_THREADS + threadIdx.x);
	int64_t row = blockIdx.x;
	int64_t width = x.cols / heads;
	const float *angles;
	float *pair;
	float a;
	float b;
	float s;

	if (at >= heads * pairs)
		return;
	angles = row_of(table, position[row]) + at % pairs;
	pair = row_of(x, row) + at / pairs * width + at % pairs;
	a = pair[0];
	b = pair[pairs];
	s = sign * angles[pairs];
	pair[0] = a * angles[0] - b * s;
	pair[pairs] = b * angles[0] + a * s;
}

void
cuda_rotate(Device *device, Tensor x, int heads, int rotary, Tensor table,
            const int32_t *position, bool inverse)
{
	int pairs = rotary / 2;

	cuda_wrote(device, x);
	LAUNCH(device, rotate_kernel,
	       dim3((unsigned) x.rows,
	            pieces_of((int64_t) heads * pairs, ELEMENT_THREADS)),
	       ELEMENT_THREADS, 0, x, heads, pairs, table, position,
	       inverse ? -1.0f : 1.0f);
}
