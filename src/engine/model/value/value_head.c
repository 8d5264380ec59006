/*
 * value_head.c
 *		The value head: attention pooling, forward and backward by hand.
 */
#include "model/value/value_head.h"

#include <math.h>
#include <string.h>

/* Multiplications of a head from which on threads are used. */
#define THREADS_WORTH 200000

bool
value_head_allocate(Arena *arena, int hidden, int heads, double low,
                    double high, ValueHead **head, Failure *failure)
{
	size_t c = (size_t) hidden;
	const size_t size[VALUE_TENSORS] = {
		[VALUE_QUERY] = c,       [VALUE_IN_WEIGHT] = 3 * c * c,
		[VALUE_IN_BIAS] = 3 * c, [VALUE_OUT_WEIGHT] = c * c,
		[VALUE_OUT_BIAS] = c,    [VALUE_WEIGHT] = c,
		[VALUE_BIAS] = 1};
	ValueHead *new = arena_alloc(arena, sizeof(ValueHead));

	new->hidden = hidden;
	new->heads = heads;
	new->low = low;
	new->high = high;
	for (int i = 0; i < VALUE_TENSORS; i++)
		new->offset[i + 1] = new->offset[i] + size[i];
	new->weights =
		arena_try(arena, new->offset[VALUE_TENSORS], sizeof(float), failure);
	*head = new;
	return new->weights != NULL;
}

static const float *
tensor(const ValueHead *head, ValueTensor which)
{
	return head->weights + head->offset[which];
}

static float
dot(const float *x, const float *y, int count)
{
	float sum = 0;

#pragma omp simd reduction(+ : sum)
	for (int i = 0; i < count; i++)
		sum += x[i] * y[i];
	return sum;
}

/* y += a * x */
static void
add_scaled(float *y, float a, const float *x, int count)
{
#pragma omp simd
	for (int i = 0; i < count; i++)
		y[i] += a * x[i];
}

/* out[rows] = w[rows, cols] @ x[cols] + bias[rows] */
static void
affine(float *out, const float *w, const float *x, const float *bias, int rows,
       int cols)
{
	for (int i = 0; i < rows; i++)
		out[i] = dot(w + (size_t) i * (size_t) cols, x, cols) + bias[i];
}

/* out[cols] += x[rows] @ w[rows, cols] */
static void
add_transposed(float *out, const float *w, const float *x, int rows, int cols)
{
	for (int i = 0; i < rows; i++)
		add_scaled(out, x[i], w + (size_t) i * (size_t) cols, cols);
}

/* dw[rows, cols] += y[rows] x[cols]^T */
static void
add_outer(float *dw, const float *y, const float *x, int rows, int cols)
{
	for (int i = 0; i < rows; i++)
		add_scaled(dw + (size_t) i * (size_t) cols, y[i], x, cols);
}

ValuePass *
value_pass_create(Arena *arena, const ValueHead *head)
{
	ValuePass *pass = arena_alloc(arena, sizeof(ValuePass));
	size_t row = (size_t) head->hidden * sizeof(float);
	size_t heads = (size_t) head->heads;

	pass->head = head;
	pass->q = arena_alloc(arena, row);
	pass->u = arena_alloc(arena, heads * row);
	pass->du = arena_alloc(arena, heads * row);
	pass->pooled = arena_alloc(arena, heads * row);
	pass->attended = arena_alloc(arena, row);
	pass->projected = arena_alloc(arena, row);
	pass->scratch = arena_alloc(arena, (heads + 4) * row);
	return pass;
}

void
value_pass_begin(ValuePass *pass)
{
	const ValueHead *head = pass->head;
	int c = head->hidden;
	int width = c / head->heads;
	size_t square = (size_t) c * (size_t) c;
	const float *in = tensor(head, VALUE_IN_WEIGHT);
	float scale = 1.0f / sqrtf((float) width);

	affine(pass->q, in, tensor(head, VALUE_QUERY), tensor(head, VALUE_IN_BIAS),
	       c, c);
	for (int i = 0; i < c; i++)
		pass->q[i] *= scale;
	memset(pass->u, 0, (size_t) head->heads * (size_t) c * sizeof(float));
	memset(pass->du, 0, (size_t) head->heads * (size_t) c * sizeof(float));
	for (int h = 0; h < head->heads; h++)
		add_transposed(pass->u + h * c,
		               in + square + (size_t) h * (size_t) width * (size_t) c,
		               pass->q + h * width, width, c);
}

static void
softmax(float *x, int count)
{
	float largest = x[0];
	double sum = 0;

	for (int i = 1; i < count; i++)
		largest = fmaxf(largest, x[i]);
	for (int i = 0; i < count; i++)
	{
		x[i] = expf(x[i] - largest);
		sum += x[i];
	}
	for (int i = 0; i < count; i++)
		x[i] = (float) (x[i] / sum);
}

/* Threads cost some 10 us to start and to meet again. */
static bool
is_worth_threads(const ValueHead *head, int tokens)
{
	return (int64_t) head->hidden * (tokens + head->hidden / head->heads) >
	       THREADS_WORTH;
}

/* The key's bias adds the same to every score of a head, which softmax does
 * not see: it is neither read nor has it a gradient. */
double
value_forward(ValuePass *pass, const float *x, int tokens, const float *keep,
              float *attention)
{
	const ValueHead *head = pass->head;
	int c = head->hidden;
	int width = c / head->heads;
	size_t square = (size_t) c * (size_t) c;
	const float *values = tensor(head, VALUE_IN_WEIGHT) + 2 * square;
	const float *bias = tensor(head, VALUE_IN_BIAS) + 2 * c;

#pragma omp parallel for schedule(static) if (is_worth_threads(head, tokens))
	for (int h = 0; h < head->heads; h++)
	{
		float *p = attention + (size_t) h * (size_t) tokens;
		float *pooled = pass->pooled + h * c;

		for (int t = 0; t < tokens; t++)
			p[t] = dot(pass->u + h * c, x + (size_t) t * (size_t) c, c);
		softmax(p, tokens);
		memset(pooled, 0, (size_t) c * sizeof(float));
		for (int t = 0; t < tokens; t++)
			add_scaled(pooled, p[t], x + (size_t) t * (size_t) c, c);
		affine(pass->attended + h * width,
		       values + (size_t) h * (size_t) width * (size_t) c, pooled,
		       bias + h * width, width, c);
	}
	affine(pass->projected, tensor(head, VALUE_OUT_WEIGHT), pass->attended,
	       tensor(head, VALUE_OUT_BIAS), c, c);
	for (int i = 0; keep != NULL && i < c; i++)
		pass->projected[i] *= keep[i];
	return (double) dot(tensor(head, VALUE_WEIGHT), pass->projected, c) +
	       tensor(head, VALUE_BIAS)[0];
}

/* From the gradient of a head's attended part to its values' weights and to
 * du, the gradient of its scores' vector. */
static void
head_backward(ValuePass *pass, int h, const float *x, int tokens,
              const float *attention, const float *dattended, float *grad)
{
	const ValueHead *head = pass->head;
	int c = head->hidden;
	int width = c / head->heads;
	size_t part = (2 * (size_t) c + (size_t) h * (size_t) width) * (size_t) c;
	const float *p = attention + (size_t) h * (size_t) tokens;
	float *dpooled = pass->scratch + (4 + h) * c;
	double mean = 0;

	add_outer(grad + head->offset[VALUE_IN_WEIGHT] + part, dattended,
	          pass->pooled + h * c, width, c);
	add_scaled(grad + head->offset[VALUE_IN_BIAS] + 2 * c + h * width, 1,
	           dattended, width);
	memset(dpooled, 0, (size_t) c * sizeof(float));
	add_transposed(dpooled, tensor(head, VALUE_IN_WEIGHT) + part, dattended,
	               width, c);
	/* dscore_t = p_t * (dp_t - sum_s p_s dp_s), dp_t = dpooled . x_t; the sum
	 * is dpooled . pooled. */
	mean = dot(dpooled, pass->pooled + h * c, c);
	for (int t = 0; t < tokens; t++)
	{
		const float *row = x + (size_t) t * (size_t) c;
		double dscore = p[t] * (dot(dpooled, row, c) - mean);

		add_scaled(pass->du + h * c, (float) dscore, row, c);
	}
}

void
value_backward(ValuePass *pass, const float *x, int tokens, const float *keep,
               const float *attention, double dz, float *grad)
{
	const ValueHead *head = pass->head;
	int c = head->hidden;
	int width = c / head->heads;
	float *dprojected = pass->scratch;
	float *dattended = pass->scratch + c;

	add_scaled(grad + head->offset[VALUE_WEIGHT], (float) dz, pass->projected,
	           c);
	grad[head->offset[VALUE_BIAS]] += (float) dz;
	for (int i = 0; i < c; i++)
		dprojected[i] = (float) dz * tensor(head, VALUE_WEIGHT)[i] *
		                (keep == NULL ? 1 : keep[i]);
	add_outer(grad + head->offset[VALUE_OUT_WEIGHT], dprojected, pass->attended,
	          c, c);
	add_scaled(grad + head->offset[VALUE_OUT_BIAS], 1, dprojected, c);
	memset(dattended, 0, (size_t) c * sizeof(float));
	add_transposed(dattended, tensor(head, VALUE_OUT_WEIGHT), dprojected, c, c);
#pragma omp parallel for schedule(static) if (is_worth_threads(head, tokens))
	for (int h = 0; h < head->heads; h++)
		head_backward(pass, h, x, tokens, attention, dattended + h * width,
		              grad);
}

/* u_h = W_k,h^T q_h and q = scale * (W_q query + b_q), backwards. */
void
value_pass_end(ValuePass *pass, float *grad)
{
	const ValueHead *head = pass->head;
	int c = head->hidden;
	int width = c / head->heads;
	float scale = 1.0f / sqrtf((float) width);
	float *dq = pass->scratch;
	size_t keys = (size_t) c * (size_t) c;
	float *din = grad + head->offset[VALUE_IN_WEIGHT];

	for (int i = 0; i < c; i++)
	{
		const float *du = pass->du + i / width * c;
		size_t row = keys + (size_t) i * (size_t) c;

		add_scaled(din + row, pass->q[i], du, c);
		dq[i] = scale * dot(tensor(head, VALUE_IN_WEIGHT) + row, du, c);
	}
	add_outer(din, dq, tensor(head, VALUE_QUERY), c, c);
	add_scaled(grad + head->offset[VALUE_IN_BIAS], 1, dq, c);
	add_transposed(grad + head->offset[VALUE_QUERY],
	               tensor(head, VALUE_IN_WEIGHT), dq, c, c);
}

double
value_of(const ValueHead *head, double z)
{
	return head->low + (head->high - head->low) / (1 + exp(-z));
}
