/*
 * matmul_few_loops.h
 *		The loops of dot products and their table, at the end of a file that
 *		has defined its vectors and how they are read.
 *
 * Vector is one of LANES floats; TILE is how many rows of x share a pass over
 * W_ROWS rows of weights, W_ROWS * TILE == LANES.  vector_load() and
 * vector_load_part() read neighbours (part: the first n, zeros behind),
 * vector_fma(a, b, c) is a * b + c rounded once, and
 * vector_sums(out, v) writes the sums of LANES vectors, that of v[i] to
 * out[i].  vector_store() and vector_all(), a number in every lane, are what
 * they say.
 */

#define PREFETCH(at) __builtin_prefetch(at, 0, 2)

/* out[j] = beta * out[j] + sum[j] */
INLINE void
put(float *out, const float *sum, int64_t count, float beta)
{
	for (int64_t j = 0; j < count; j++)
		out[j] = beta == 0 ? sum[j] : beta * out[j] + sum[j];
}

/* The row i past the end is the last. */
INLINE int64_t
clamped(int64_t i, int64_t count)
{
	return i < count ? i : count - 1;
}

/* ---------------------------------------------- fp32 weights, many rows of x */

/* Adds the products of part of `rows` by `cols` vectors. */
INLINE void
add_products(Vector sum[LANES], int rows, int cols, const float *const *w,
             const float *const *x, int64_t at, int64_t part, int64_t ahead)
{
	Vector in[TILE];

#pragma GCC unroll 8
	for (int c = 0; c < cols; c++)
		in[c] = vector_load(x[c] + at);
#pragma GCC unroll 16
	for (int r = 0; r < rows; r++)
	{
		Vector row = part == LANES ? vector_load(w[r] + at)
		                           : vector_load_part(w[r] + at, part);

		if (ahead > 0)
			PREFETCH(w[r] + at + ahead);
#pragma GCC unroll 8
		for (int c = 0; c < cols; c++)
			sum[c * rows + r] = vector_fma(row, in[c], sum[c * rows + r]);
	}
}

/* `rows` rows of w with `cols` of x; rows * cols <= LANES, both constant. */
INLINE void
tile(float *out, int64_t out_stride, int rows, int cols, const float *w,
     int64_t w_stride, int64_t w_rows, const float *x, int64_t x_stride,
     int64_t depth, int64_t ahead, float beta)
{
	const float *from[LANES];
	const float *in[TILE];
	float total[LANES];
	Vector sum[LANES];
	int64_t at = 0;

#pragma GCC unroll 16
	for (int r = 0; r < rows; r++)
		from[r] = w + clamped(r, w_rows) * w_stride;
#pragma GCC unroll 8
	for (int c = 0; c < cols; c++)
		in[c] = x + c * x_stride;
#pragma GCC unroll 16
	for (int i = 0; i < LANES; i++)
		sum[i] = vector_zero();
	for (; at + LANES <= depth; at += LANES)
		add_products(sum, rows, cols, from, in, at, LANES, ahead);
	if (at < depth)
		add_products(sum, rows, cols, from, in, at, depth - at, 0);
	vector_sums(total, sum);
	for (int c = 0; c < cols; c++)
		put(out + c * out_stride, total + c * rows,
		    w_rows < rows ? w_rows : rows, beta);
}

/* A group of W_ROWS rows of w with all of x; the first pass over it fetches
 * the next group. */
INLINE void
group(float *out, int64_t out_stride, const float *x, int64_t x_stride,
      int64_t x_rows, const float *w, int64_t w_stride, int64_t w_rows,
      int64_t depth, float beta)
{
	int64_t ahead = W_ROWS * w_stride;

	for (int64_t i = 0; i < x_rows; i += TILE)
	{
		float *to = out + i * out_stride;
		const float *from = x + i * x_stride;

		switch (x_rows - i)
		{
			case 1:
				tile(to, out_stride, W_ROWS, 1, w, w_stride, w_rows, from,
				     x_stride, depth, 0, beta);
				break;
#if TILE > 2
			case 2:
				tile(to, out_stride, W_ROWS, 2, w, w_stride, w_rows, from,
				     x_stride, depth, 0, beta);
				break;
			case 3:
				tile(to, out_stride, W_ROWS, 3, w, w_stride, w_rows, from,
				     x_stride, depth, 0, beta);
				break;
#endif
			default:
				if (i == 0)
					tile(to, out_stride, W_ROWS, TILE, w, w_stride, w_rows,
					     from, x_stride, depth, ahead, beta);
				else
					tile(to, out_stride, W_ROWS, TILE, w, w_stride, w_rows,
					     from, x_stride, depth, 0, beta);
		}
	}
}

static void
dots(float *out, int64_t out_stride, const float *x, int64_t x_stride,
     int64_t x_rows, const float *w, int64_t w_stride, int64_t w_rows,
     int64_t depth, float beta)
{
	if (x_rows == 1)
		for (int64_t j = 0; j < w_rows; j += LANES)
			tile(out + j, 0, LANES, 1, w + j * w_stride, w_stride, w_rows - j,
			     x, 0, depth, LANES * w_stride, beta);
	else
		for (int64_t j = 0; j < w_rows; j += W_ROWS)
			group(out + j, out_stride, x, x_stride, x_rows, w + j * w_stride,
			      w_stride, w_rows - j, depth, beta);
}

/* --------------------------------------------- sums along columns of w */

/* Vectors of a row of w that are summed at once: STRIP of them for TALL rows
 * of x, twice as many for one row.  w is fetched so many rows ahead. */
#define TALL 4
#define ROWS_AHEAD 16

INLINE Vector
load_up_to(const float *at, int64_t count)
{
	return count >= LANES ? vector_load(at) : vector_load_part(at, count);
}

INLINE void
store_up_to(float *at, Vector x, int64_t count)
{
	float numbers[LANES];

	if (count >= LANES)
	{
		vector_store(at, x);
		return;
	}
	vector_store(numbers, x);
	memcpy(at, numbers, (size_t) count * sizeof(float));
}

/* `rows` rows of x with `vectors` vectors of w's columns, both constant; of
 * the last vector, `last` numbers. */
INLINE void
strip(float *out, int64_t out_stride, int rows, const float *x,
      int64_t x_stride, int vectors, const float *w, int64_t w_stride,
      int64_t depth, int64_t last, float beta)
{
	Vector sum[TALL][2 * STRIP];

#pragma GCC unroll 4
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (int v = 0; v < vectors; v++)
			sum[r][v] =
				beta == 0
					? vector_zero()
					: vector_fma(vector_all(beta),
			                     load_up_to(out + r * out_stride + v * LANES,
			                                v < vectors - 1 ? LANES : last),
			                     vector_zero());
	for (int64_t d = 0; d < depth; d++)
	{
		Vector number[2 * STRIP];

#pragma GCC unroll 8
		for (int v = 0; v < vectors; v++)
		{
			number[v] =
				load_up_to(w + v * LANES, v < vectors - 1 ? LANES : last);
			PREFETCH(w + ROWS_AHEAD * w_stride + v * LANES);
		}
		w += w_stride;
#pragma GCC unroll 4
		for (int r = 0; r < rows; r++)
		{
			Vector factor = vector_all(x[r * x_stride + d]);

#pragma GCC unroll 8
			for (int v = 0; v < vectors; v++)
				sum[r][v] = vector_fma(factor, number[v], sum[r][v]);
		}
	}
#pragma GCC unroll 4
	for (int r = 0; r < rows; r++)
#pragma GCC unroll 8
		for (int v = 0; v < vectors; v++)
			store_up_to(out + r * out_stride + v * LANES, sum[r][v],
			            v < vectors - 1 ? LANES : last);
}

/* So many rows of x with all columns. */
INLINE void
strips(float *out, int64_t out_stride, int rows, const float *x,
       int64_t x_stride, const float *w, int64_t w_stride, int64_t depth,
       int64_t cols, float beta)
{
	int64_t width = (rows == 1 ? 2 : 1) * STRIP * LANES;
	int64_t j = 0;

	for (; j + width <= cols; j += width)
		strip(out + j, out_stride, rows, x, x_stride,
		      (rows == 1 ? 2 : 1) * STRIP, w + j, w_stride, depth, LANES, beta);
	for (; j + LANES <= cols; j += LANES)
		strip(out + j, out_stride, rows, x, x_stride, 1, w + j, w_stride, depth,
		      LANES, beta);
	if (j < cols)
		strip(out + j, out_stride, rows, x, x_stride, 1, w + j, w_stride, depth,
		      cols - j, beta);
}

static void
columns(float *out, int64_t out_stride, const float *x, int64_t x_stride,
        int64_t x_rows, const float *w, int64_t w_stride, int64_t depth,
        int64_t cols, float beta)
{
	for (int64_t i = 0; i < x_rows; i += TALL)
	{
		float *to = out + i * out_stride;
		const float *from = x + i * x_stride;

		switch (x_rows - i)
		{
			case 1:
				strips(to, out_stride, 1, from, x_stride, w, w_stride, depth,
				       cols, beta);
				break;
			case 2:
				strips(to, out_stride, 2, from, x_stride, w, w_stride, depth,
				       cols, beta);
				break;
			case 3:
				strips(to, out_stride, 3, from, x_stride, w, w_stride, depth,
				       cols, beta);
				break;
			default:
				strips(to, out_stride, TALL, from, x_stride, w, w_stride, depth,
				       cols, beta);
		}
	}
}

/* --------------------------------------- weights as stored, one row of x */

/* Rows whose sums are in registers. */
#define ONE_ROWS 8

/* Reads DOT_PAD numbers. */
typedef void (*ReadBlock)(Vector number[VECTORS], const uint8_t *block);

INLINE void
dots_of_one(float *out, const float *x, const uint8_t *w, int64_t row_bytes,
            int64_t rows, int64_t depth, float beta, ReadBlock read,
            int block_bytes)
{
	for (int64_t j = 0; j < rows; j += ONE_ROWS)
	{
		const uint8_t *row[ONE_ROWS];
		float total[LANES];
		Vector sum[LANES];

#pragma GCC unroll 16
		for (int r = 0; r < ONE_ROWS; r++)
			row[r] = w + (j + clamped(r, rows - j)) * row_bytes;
#pragma GCC unroll 16
		for (int i = 0; i < LANES; i++)
			sum[i] = vector_zero();
		for (int64_t at = 0; at < depth; at += DOT_PAD)
		{
			Vector in[VECTORS];

#pragma GCC unroll 8
			for (int v = 0; v < VECTORS; v++)
				in[v] = vector_load(x + at + v * LANES);
#pragma GCC unroll 16
			for (int r = 0; r < ONE_ROWS; r++)
			{
				Vector number[VECTORS];

				read(number, row[r]);
				PREFETCH(row[r] + ONE_ROWS * row_bytes);
				row[r] += block_bytes;
#pragma GCC unroll 8
				for (int v = 0; v < VECTORS; v++)
					sum[r] = vector_fma(number[v], in[v], sum[r]);
			}
		}
		vector_sums(total, sum);
		put(out + j, total, rows - j < ONE_ROWS ? rows - j : ONE_ROWS, beta);
	}
}

#define DOTS_OF_ONE(name, read, block_bytes)                                   \
	static void name(float *out, const float *x, const void *w,                \
	                 int64_t row_bytes, int64_t rows, int64_t depth,           \
	                 float beta)                                               \
	{                                                                          \
		dots_of_one(out, x, w, row_bytes, rows, depth, beta, read,             \
		            block_bytes);                                              \
	}

/* Rows follow each other: so far ahead they are fetched. */
#define BYTES_AHEAD 8192

#define WIDEN(dtype, block_bytes)                                              \
	static void widen_##dtype(float *to, const uint8_t *blocks, int64_t count) \
	{                                                                          \
		for (int64_t i = 0; i < count; i += DOT_PAD)                           \
		{                                                                      \
			Vector number[VECTORS];                                            \
                                                                               \
			PREFETCH(blocks + BYTES_AHEAD);                                    \
			read_##dtype(number, blocks);                                      \
			for (int v = 0; v < VECTORS; v++)                                  \
				vector_store(to + i + v * LANES, number[v]);                   \
			blocks += block_bytes;                                             \
		}                                                                      \
	}

#define DOTS_OF(dtype, block_bytes)                                            \
	WIDEN(dtype, block_bytes)                                                  \
	DOTS_OF_ONE(dots_##dtype, read_##dtype, block_bytes)

DOTS_OF(f16, 64)
DOTS_OF(bf16, 64)
DOTS_OF(q8_0, 34)
DOTS_OF(q4_0, 18)
DOTS_OF(q4_1, 20)
DOTS_OF(q5_0, 22)
DOTS_OF(q5_1, 24)

const DotKernels DOT_KERNELS = {
	.dots = dots,
	.columns = columns,
	.widen =
		{
			[DTYPE_F16] = widen_f16,
			[DTYPE_BF16] = widen_bf16,
			[DTYPE_Q8_0] = widen_q8_0,
			[DTYPE_Q4_0] = widen_q4_0,
			[DTYPE_Q4_1] = widen_q4_1,
			[DTYPE_Q5_0] = widen_q5_0,
			[DTYPE_Q5_1] = widen_q5_1,
		},
	.of_one =
		{
			[DTYPE_F16] = dots_f16,
			[DTYPE_BF16] = dots_bf16,
			[DTYPE_Q8_0] = dots_q8_0,
			[DTYPE_Q4_0] = dots_q4_0,
			[DTYPE_Q4_1] = dots_q4_1,
			[DTYPE_Q5_0] = dots_q5_0,
			[DTYPE_Q5_1] = dots_q5_1,
		},
};
