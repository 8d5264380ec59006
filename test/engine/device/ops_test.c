/*
 * ops_test.c
 *		Every operation of the device table against a plain definition in
 *		double, and every gradient against finite differences, over odd sizes.
 */
#include "near.h"
#include "on_cpu.h"

#include "base/random.h"

/* Central differences of fp32 values: step and tolerance balance rounding
 * (1e-7 / step) against curvature (step^2). */
#define STEP 1e-2
#define GRADIENT_TOLERANCE 4e-3

static Tensor
random_tensor(Arena *arena, int rows, int cols, uint64_t seed)
{
	float *data =
		arena_alloc(arena, sizeof(float) * (size_t) rows * (size_t) cols + 64);

	for (int i = 0; i < rows * cols; i++)
		data[i] = (float) random_normal(seed, 0, (uint64_t) i);
	return tensor_at(data, rows, cols);
}

static float *
at(Tensor x, int row, int col)
{
	return (float *) x.data + row * x.stride + col;
}

/* sum of a * b over all elements, in double */
static double
inner(Tensor a, Tensor b)
{
	double sum = 0;

	for (int i = 0; i < a.rows; i++)
		for (int j = 0; j < a.cols; j++)
			sum += (double) *at(a, i, j) * (double) *at(b, i, j);
	return sum;
}

/* Checks gradient of value() with respect to every element of x. */
static void
check_gradient(const char *what, Tensor x, Tensor gradient,
               double (*value)(void *argument), void *argument)
{
	for (int i = 0; i < x.rows; i++)
		for (int j = 0; j < x.cols; j++)
		{
			float saved = *at(x, i, j);
			double up;
			double down;
			double slope;

			*at(x, i, j) = saved + (float) STEP;
			up = value(argument);
			*at(x, i, j) = saved - (float) STEP;
			down = value(argument);
			*at(x, i, j) = saved;
			slope = (up - down) / (2 * STEP);
			if (!(fabs(*at(gradient, i, j) - slope) <=
			      GRADIENT_TOLERANCE * (1 + fabs(slope))))
				fail_msg("%s[%d, %d] is %.6g, differences say %.6g", what, i, j,
				         *at(gradient, i, j), slope);
		}
}

/* ------------------------------------------------------------- products */

static void
check_matmul(int m, int n, int k, bool transposed)
{
	Arena *arena = arena_create();
	Tensor x = random_tensor(arena, m, k, 1);
	Tensor w = random_tensor(arena, transposed ? k : n, transposed ? n : k, 2);
	Tensor bias = random_tensor(arena, 1, n, 3);
	Tensor dout = random_tensor(arena, m, n, 4);
	Tensor out = tensor_at(
		arena_alloc(arena, sizeof(float) * (size_t) m * (size_t) (n + 5)), m,
		n);
	Tensor dx = random_tensor(arena, m, k, 5);
	Tensor dw =
		tensor_at(arena_alloc(arena, sizeof(float) * (size_t) (n * k) + 4),
	              w.rows, w.cols);
	Tensor dbias =
		tensor_at(arena_alloc(arena, sizeof(float) * (size_t) n), 1, n);
	Matrix matrix = {w, transposed};
	Matrix gradient = {dw, transposed};

	out.stride = n + 5;
	device->matmul(device, out, x, &matrix, &bias, 0);
	device->matmul_input_grad(device, dx, dout, &matrix, 0);
	device->matmul_weight_grad(device, &gradient, &dbias, dout, x);
	for (int i = 0; i < m; i++)
		for (int j = 0; j < n; j++)
		{
			double sum = *at(bias, 0, j);

			for (int d = 0; d < k; d++)
				sum += (double) *at(x, i, d) *
				       *(transposed ? at(w, d, j) : at(w, j, d));
			assert_near(*at(out, i, j), sum, 1e-4);
		}
	for (int i = 0; i < m; i++)
		for (int d = 0; d < k; d++)
		{
			double sum = 0;

			for (int j = 0; j < n; j++)
				sum += (double) *at(dout, i, j) *
				       *(transposed ? at(w, d, j) : at(w, j, d));
			assert_near(*at(dx, i, d), sum, 1e-4);
		}
	for (int j = 0; j < n; j++)
	{
		double total = 0;

		for (int i = 0; i < m; i++)
			total += *at(dout, i, j);
		assert_near(*at(dbias, 0, j), total, 1e-4);
		for (int d = 0; d < k; d++)
		{
			double sum = 0;

			for (int i = 0; i < m; i++)
				sum += (double) *at(dout, i, j) * *at(x, i, d);
			assert_near(*(transposed ? at(dw, d, j) : at(dw, j, d)), sum, 1e-4);
		}
	}
	arena_destroy(arena);
}

static void
products_in_both_storage_orders(void **state)
{
	(void) state;
	check_matmul(1, 7, 5, false);
	check_matmul(1, 7, 5, true);
	check_matmul(3, 300, 17, false);
	check_matmul(3, 300, 17, true);
	check_matmul(37, 65, 33, false);
	check_matmul(37, 65, 33, true);
}

/* ----------------------------------------------------------------- norms */

typedef struct NormCase
{
	NormKind kind;
	Tensor x, weight, bias, out, stat, dout;
} NormCase;

static double
norm_value(void *argument)
{
	NormCase *c = argument;

	device->norm(device, c->kind, 1e-5f, c->out, c->x, c->weight,
	             c->kind == NORM_LAYER ? &c->bias : NULL, c->stat);
	return inner(c->out, c->dout);
}

static void
norms_differentiate(void **state)
{
	(void) state;
	for (int kind = NORM_LAYER; kind <= NORM_RMS; kind++)
	{
		Arena *arena = arena_create();
		NormCase c = {(NormKind) kind,
		              random_tensor(arena, 3, 19, 1),
		              random_tensor(arena, 1, 19, 2),
		              random_tensor(arena, 1, 19, 3),
		              random_tensor(arena, 3, 19, 4),
		              random_tensor(arena, 3, 2, 5),
		              random_tensor(arena, 3, 19, 6)};
		Tensor dx = random_tensor(arena, 3, 19, 7);
		Tensor dweight = tensor_at(arena_alloc(arena, 19 * 4), 1, 19);
		Tensor dbias = tensor_at(arena_alloc(arena, 19 * 4), 1, 19);

		norm_value(&c);
		device->norm_grad(device, c.kind, dx, 0, &dweight, &dbias, c.dout, c.x,
		                  c.weight, c.stat);
		check_gradient("dx", c.x, dx, norm_value, &c);
		check_gradient("dweight", c.weight, dweight, norm_value, &c);
		if (kind == NORM_LAYER)
			check_gradient("dbias", c.bias, dbias, norm_value, &c);
		arena_destroy(arena);
	}
}

/* ------------------------------------------------------------- attention */

typedef struct AttentionCase
{
	AttentionShape shape;
	Tensor q, k, v, out, lse, dout;
} AttentionCase;

static double
attention_value(void *argument)
{
	AttentionCase *c = argument;

	device->attention(device, &c->shape, c->out, c->q, c->k, c->v, c->lse);
	return inner(c->out, c->dout);
}

/* The definition, for one row and head of a sequence, in double. */
static void
check_attention_row(const AttentionCase *c, int first, int end, int row,
                    int head)
{
	int window = c->shape.window;
	int start = window > 0 && row - first >= window ? row + 1 - window : first;
	int last = c->shape.is_bidirectional ? end - 1 : row;
	int d_head = c->shape.head_dim;
	int q0 = head * d_head;
	int k0 = head / (c->shape.heads / c->shape.kv_heads) * d_head;
	double weight[64];
	double sum = 0;

	for (int j = start; j <= last; j++)
	{
		double score = 0;

		for (int d = 0; d < d_head; d++)
			score += (double) *at(c->q, row, q0 + d) * *at(c->k, j, k0 + d);
		weight[j - start] = exp(score * (double) c->shape.scale);
		sum += weight[j - start];
	}
	assert_near(*at(c->lse, row, head), log(sum), 1e-4);
	for (int d = 0; d < d_head; d++)
	{
		double value = 0;

		for (int j = start; j <= last; j++)
			value += weight[j - start] / sum * *at(c->v, j, k0 + d);
		assert_near(*at(c->out, row, q0 + d), value, 1e-4);
	}
}

static void
check_attention(int heads, int kv_heads, int head_dim, int window,
                bool is_bidirectional)
{
	static const int32_t offset[] = {0, 1, 6, 6, 45};
	Arena *arena = arena_create();
	AttentionCase c = {{heads, kv_heads, head_dim, 1 / sqrtf((float) head_dim),
	                    4, 39, offset, window, is_bidirectional, NULL},
	                   random_tensor(arena, 45, heads * head_dim, 1),
	                   random_tensor(arena, 45, kv_heads * head_dim, 2),
	                   random_tensor(arena, 45, kv_heads * head_dim, 3),
	                   random_tensor(arena, 45, heads * head_dim, 4),
	                   random_tensor(arena, 45, heads, 5),
	                   random_tensor(arena, 45, heads * head_dim, 6)};
	Tensor dq = random_tensor(arena, 45, heads * head_dim, 7);
	Tensor dk = random_tensor(arena, 45, kv_heads * head_dim, 8);
	Tensor dv = random_tensor(arena, 45, kv_heads * head_dim, 9);

	attention_value(&c);
	for (int s = 0; s < 4; s++)
		for (int t = offset[s]; t < offset[s + 1]; t++)
			for (int h = 0; h < heads; h++)
				check_attention_row(&c, offset[s], offset[s + 1], t, h);
	device->attention_grad(device, &c.shape, dq, dk, dv, c.dout, c.out, c.q,
	                       c.k, c.v, c.lse);
	check_gradient("dq", c.q, dq, attention_value, &c);
	check_gradient("dk", c.k, dk, attention_value, &c);
	check_gradient("dv", c.v, dv, attention_value, &c);
	arena_destroy(arena);
}

static void
attention_differentiates(void **state)
{
	(void) state;
	check_attention(1, 1, 8, 0, false);
	check_attention(4, 2, 5, 0, false);
	check_attention(3, 1, 18, 0, false);
}

static void
windowed_attention_differentiates(void **state)
{
	(void) state;
	for (int window = 1; window < 40; window += 1 + window / 2)
		check_attention(2, 1, 5, window, false);
}

static void
bidirectional_attention_differentiates(void **state)
{
	(void) state;
	check_attention(2, 2, 9, 0, true);
	check_attention(4, 2, 6, 0, true);
}

/* One token against a cache gives what the packed pass gives. */
static void
check_cached(int window)
{
	static const int32_t offset[] = {0, 9};
	static const int32_t first[] = {0};
	static const int32_t length[] = {9};
	Arena *arena = arena_create();
	AttentionShape shape = {4, 2, 6, 0.4f, 1, 9, offset, window, false, NULL};
	Tensor q = random_tensor(arena, 9, 24, 1);
	Tensor k = random_tensor(arena, 9, 12, 2);
	Tensor v = random_tensor(arena, 9, 12, 3);
	Tensor out = random_tensor(arena, 9, 24, 4);
	Tensor lse = random_tensor(arena, 9, 4, 5);
	Tensor single = random_tensor(arena, 1, 24, 6);

	device->attention(device, &shape, out, q, k, v, lse);
	device->attention_cached(device, &shape, single, tensor_rows(q, 8, 1), k, v,
	                         first, length);
	for (int d = 0; d < 24; d++)
		assert_near(*at(single, 0, d), *at(out, 8, d), 1e-5);
	arena_destroy(arena);
}

static void
cached_attention_equals_packed(void **state)
{
	(void) state;
	for (int window = 0; window < 11; window++)
		check_cached(window);
}

/* Heads of three parts each: [h0 q, h0 k, h0 v, h1 q, ...] and back. */
static void
heads_regroup_and_return(void **state)
{
	Arena *arena = arena_create();
	Tensor x = random_tensor(arena, 5, 2 * 3 * 4, 1);
	Tensor out = random_tensor(arena, 5, 2 * 3 * 4, 2);
	Tensor back = random_tensor(arena, 5, 2 * 3 * 4, 3);

	(void) state;
	device->regroup_heads(device, out, x, 2, 3, false);
	device->regroup_heads(device, back, out, 2, 3, true);
	for (int row = 0; row < 5; row++)
		for (int head = 0; head < 2; head++)
			for (int part = 0; part < 3; part++)
				for (int d = 0; d < 4; d++)
				{
					int from = (head * 3 + part) * 4 + d;

					assert_true(*at(out, row, (part * 2 + head) * 4 + d) ==
					            *at(x, row, from));
					assert_true(*at(back, row, from) == *at(x, row, from));
				}
	arena_destroy(arena);
}

/* ----------------------------------------------------------- activations */

typedef struct ActivationCase
{
	Activation kind;
	bool gated;
	Tensor gate, up, out, dout;
} ActivationCase;

static double
activation_value(void *argument)
{
	ActivationCase *c = argument;

	device->activation(device, c->kind, c->out, c->gate,
	                   c->gated ? &c->up : NULL);
	return inner(c->out, c->dout);
}

static void
activations_differentiate(void **state)
{
	/* All but ReLU, whose edge a difference may straddle. */
	static const Activation kinds[] = {ACTIVATION_GELU, ACTIVATION_GELU_TANH,
	                                   ACTIVATION_SILU, ACTIVATION_TANH};

	(void) state;
	for (size_t kind = 0; kind < sizeof(kinds) / sizeof(kinds[0]); kind++)
		for (int gated = 0; gated < 2; gated++)
		{
			Arena *arena = arena_create();
			ActivationCase c = {kinds[kind],
			                    gated != 0,
			                    random_tensor(arena, 3, 21, 1),
			                    random_tensor(arena, 3, 21, 2),
			                    random_tensor(arena, 3, 21, 3),
			                    random_tensor(arena, 3, 21, 4)};
			Tensor dgate = random_tensor(arena, 3, 21, 5);
			Tensor dup = random_tensor(arena, 3, 21, 6);

			activation_value(&c);
			device->activation_grad(device, c.kind, dgate, gated ? &dup : NULL,
			                        c.dout, c.gate, gated ? &c.up : NULL);
			check_gradient("dgate", c.gate, dgate, activation_value, &c);
			if (gated)
				check_gradient("dup", c.up, dup, activation_value, &c);
			arena_destroy(arena);
		}
}

static double
gelu_of(double x)
{
	return 0.5 * x * (1 + erf(x / sqrt(2)));
}

static double
gelu_tanh_of(double x)
{
	return 0.5 * x *
	       (1 + tanh(sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
}

static void
activations_are_exact_far_out(void **state)
{
	static float x[] = {-100, -20, -5, -1, -1e-4f, 0, 1e-4f, 1, 5, 20, 100};
	float y[11];
	Tensor in = tensor_at(x, 1, 11);
	Tensor out = tensor_at(y, 1, 11);

	(void) state;
	device->activation(device, ACTIVATION_SILU, out, in, NULL);
	for (int i = 0; i < 11; i++)
		assert_near(y[i], x[i] / (1 + exp(-(double) x[i])), 1e-6 * fabs(x[i]));
	device->activation(device, ACTIVATION_GELU, out, in, NULL);
	for (int i = 0; i < 11; i++)
		assert_near(y[i], gelu_of(x[i]), 1e-6 * fabs(x[i]));
	device->activation(device, ACTIVATION_GELU_TANH, out, in, NULL);
	for (int i = 0; i < 11; i++)
		assert_near(y[i], gelu_tanh_of(x[i]), 1e-6 * fabs(x[i]));
}

/* --------------------------------------------------------- log-probability */

typedef struct LogprobCase
{
	Tensor logits, logp, lse, weight;
	const int32_t *target;
} LogprobCase;

static double
logprob_value(void *argument)
{
	LogprobCase *c = argument;

	device->logprob(device, c->logp, c->lse, c->logits, c->target);
	return inner(c->logp, c->weight);
}

static void
logprobs_differentiate(void **state)
{
	static const int32_t target[] = {0, 258, 31};
	Arena *arena = arena_create();
	LogprobCase c = {
		random_tensor(arena, 3, 259, 1), random_tensor(arena, 1, 3, 2),
		random_tensor(arena, 1, 3, 3), random_tensor(arena, 1, 3, 4), target};
	Tensor copy = random_tensor(arena, 3, 259, 1);

	(void) state;
	logprob_value(&c);
	device->logprob_grad(device, copy, c.lse, target, c.weight);
	check_gradient("dlogits", c.logits, copy, logprob_value, &c);
	arena_destroy(arena);
}

/* Logits far from zero neither overflow nor lose the difference. */
static void
logprobs_of_large_logits(void **state)
{
	static float logits[] = {3000, 2999, -3000};
	static const int32_t target[] = {1};
	float logp;
	float lse;

	(void) state;
	device->logprob(device, tensor_at(&logp, 1, 1), tensor_at(&lse, 1, 1),
	                tensor_at(logits, 1, 3), target);
	assert_near(logp, -1 - log(1 + exp(-1)), 1e-6);
}

/* ------------------------------------------------------------------- rows */

static void
rows_move_and_add(void **state)
{
	static float table[] = {1, 2, 3, 4, 5, 6};
	static const int32_t index[] = {2, 0, 2};
	static float out[6];
	static float sums[6];

	(void) state;
	device->gather_rows(device, tensor_at(out, 3, 2), tensor_at(table, 3, 2),
	                    index, 0);
	assert_near(out[0], 5, 0);
	assert_near(out[3], 2, 0);
	device->gather_rows(device, tensor_at(out, 3, 2), tensor_at(table, 3, 2),
	                    index, 1);
	assert_near(out[4], 10, 0);
	device->scatter_add_rows(device, tensor_at(sums, 3, 2),
	                         tensor_at(out, 3, 2), index);
	assert_near(sums[4], 20, 0);
	assert_near(sums[2], 0, 0);
	assert_near(sums[0], 2, 0);
}

static void
rotation_is_undone_by_its_inverse(void **state)
{
	Arena *arena = arena_create();
	static const int32_t position[] = {0, 1};
	float angles[] = {1, 1, 0, 0, 0.6f, 0.8f, 0.8f, 0.6f};
	Tensor x = random_tensor(arena, 2, 8, 1);
	Tensor same = random_tensor(arena, 2, 8, 1);

	(void) state;
	device->rotate(device, x, 2, 4, tensor_at(angles, 2, 4), position, false);
	/* Halves: element 0 turns with element 2. */
	assert_near(*at(x, 1, 0), 0.6 * *at(same, 1, 0) - 0.8 * *at(same, 1, 2),
	            1e-6);
	assert_near(*at(x, 1, 2), 0.6 * *at(same, 1, 2) + 0.8 * *at(same, 1, 0),
	            1e-6);
	device->rotate(device, x, 2, 4, tensor_at(angles, 2, 4), position, true);
	for (int j = 0; j < 8; j++)
		assert_near(*at(x, 1, j), *at(same, 1, j), 1e-6);
	arena_destroy(arena);
}

/* -------------------------------------------------------------- optimiser */

/* Three steps by the definition in double. */
static void
adamw_follows_its_definition(void **state)
{
	float p = 0.5f, m = 0, v = 0;
	double dp = 0.5, dm = 0, dv = 0;

	(void) state;
	for (int k = 1; k <= 3; k++)
	{
		float g = 0.3f * (float) k - 0.5f;
		AdamW s = {0.01f,
		           0.9,
		           0.999,
		           1e-8f,
		           0.1f,
		           (float) (1 - pow(0.9, k)),
		           (float) (1 - pow(0.999, k)),
		           0.5f};
		double gradient = 0.5 * (double) g;

		dp *= 1 - 0.01 * 0.1;
		dm = 0.9 * dm + 0.1 * gradient;
		dv = 0.999 * dv + 0.001 * gradient * gradient;
		dp -= 0.01 * dm / (1 - pow(0.9, k)) /
		      (sqrt(dv / (1 - pow(0.999, k))) + 1e-8);
		device->adamw(device, &s, tensor_at(&p, 1, 1), tensor_at(&g, 1, 1),
		              tensor_at(&m, 1, 1), tensor_at(&v, 1, 1));
		assert_near(p, dp, 1e-6);
		/* 1 - 0.999f would be 1.3e-5 off. */
		assert_near(v, dv, 1e-6 * dv);
	}
}

static void
squares_are_summed(void **state)
{
	Arena *arena = arena_create();
	Tensor x = random_tensor(arena, 1, 100001, 3);
	double sum = 1;

	(void) state;
	device->add_squares(device, &sum, x);
	assert_near(sum, 1 + inner(x, x), 1e-6 * sum);
	arena_destroy(arena);
}

static void
dropout_is_a_mask_by_address(void **state)
{
	Arena *arena = arena_create();
	const uint64_t key[] = {5, 6, 5};
	const double probability = 0.25;
	Tensor wide = random_tensor(arena, 3, 5000, 1);
	Tensor x = tensor_columns(wide, 3, 4321);
	Tensor out = random_tensor(arena, 3, 4321, 2);
	Tensor sum = random_tensor(arena, 3, 4321, 2);
	int dropped = 0;

	(void) state;
	device->dropout(device, out, x, 0, probability, key, 9);
	device->dropout(device, sum, x, 0.5f, probability, key, 9);
	for (int i = 0; i < 3; i++)
		for (int j = 0; j < 4321; j++)
		{
			bool is_kept = (random_bits(key[i], 9, (uint64_t) j) >> 32) >=
			               (uint64_t) (probability * 0x1p32);
			double want = is_kept ? (double) *at(x, i, j) / 0.75 : 0;
			float before =
				(float) random_normal(2, 0, (uint64_t) (i * 4321 + j));

			assert_near(*at(out, i, j), want, 1e-6 * fabs(want));
			assert_near(*at(sum, i, j), 0.5 * (double) before + want, 1e-6);
			dropped += !is_kept;
			/* Rows with the same key lose the same places. */
			if (i == 2)
				assert_int_equal(is_kept, *at(out, 0, j) != 0);
		}
	/* Three standard deviations. */
	assert_near(dropped / (3.0 * 4321), probability, 3 * 0.0066);
	arena_destroy(arena);
}

static void
scaling_keeps_to_its_columns(void **state)
{
	Arena *arena = arena_create();
	Tensor wide = random_tensor(arena, 5, 40, 1);

	(void) state;
	device->scale(device, tensor_columns(wide, 7, 20), -0.5f);
	for (int i = 0; i < 5; i++)
		for (int j = 0; j < 40; j++)
		{
			float before = (float) random_normal(1, 0, (uint64_t) (i * 40 + j));

			assert_true(*at(wide, i, j) ==
			            (j >= 7 && j < 27 ? -0.5f * before : before));
		}
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(products_in_both_storage_orders),
		cmocka_unit_test(norms_differentiate),
		cmocka_unit_test(attention_differentiates),
		cmocka_unit_test(windowed_attention_differentiates),
		cmocka_unit_test(bidirectional_attention_differentiates),
		cmocka_unit_test(cached_attention_equals_packed),
		cmocka_unit_test(heads_regroup_and_return),
		cmocka_unit_test(activations_differentiate),
		cmocka_unit_test(activations_are_exact_far_out),
		cmocka_unit_test(logprobs_differentiate),
		cmocka_unit_test(logprobs_of_large_logits),
		cmocka_unit_test(rows_move_and_add),
		cmocka_unit_test(rotation_is_undone_by_its_inverse),
		cmocka_unit_test(dropout_is_a_mask_by_address),
		cmocka_unit_test(scaling_keeps_to_its_columns),
		cmocka_unit_test(adamw_follows_its_definition),
		cmocka_unit_test(squares_are_summed),
	};

	return run_on_cpu(tests);
}
