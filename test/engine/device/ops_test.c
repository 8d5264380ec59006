/*
 * ops_test.c
 *		Every operation of the device table against a plain definition in
 *		double, and every gradient against finite differences, over odd sizes.
 */
#include "device/tensors.h"

/* ------------------------------------------------------ whole numbers */

static void
numbers_of_16_bits_are_near_by_their_block(void **state)
{
	Arena *arena = arena_create();
	Tensor x = random_tensor(arena, 5, 150, 1);
	Tensor out = random_tensor(arena, 5, 150, 2);
	Fixed fixed = {arena_alloc(arena, 5 * 150 * sizeof(int16_t)),
	               arena_alloc(arena, 5 * 3 * sizeof(float))};

	(void) state;
	/* One block of large numbers, one of zeros, one of next to nothing, and
	 * one with something else. */
	*at(x, 1, 5) = 3e30f;
	for (int j = 64; j < 128; j++)
	{
		*at(x, 2, j) = 0;
		*at(x, 3, j) *= 1e-35f;
	}
	*at(x, 4, 140) = INFINITY;
	device->write_fixed(device, fixed, x);
	device->read_fixed(device, out, fixed);
	for (int i = 0; i < 5; i++)
		for (int j = 0; j < 150; j++)
		{
			double most = 0;

			for (int b = j / 64 * 64; b < 150 && b < j / 64 * 64 + 64; b++)
				most = fmax(most, fabs((double) *at(x, i, b)));
			if (isinf(most))
				assert_false(isfinite(*at(out, i, j)) && j == 140);
			else
				assert_near(*at(out, i, j), *at(x, i, j),
				            most / 65534 * 1.01 + 1e-30);
		}
	arena_destroy(arena);
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
	Matrix matrix = {w, transposed, NULL, NULL};
	Matrix gradient = {dw, transposed, NULL, NULL};

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

/* In both storage orders: rows of large products, computed again by a few. */
static void
rows_alike_are_the_same_bits_however_many(void **state)
{
	static const int few[] = {1, 2, 3, 5, 17, 100};
	Arena *arena = arena_create();
	Tensor x = random_tensor(arena, 300, 96, 1);
	Tensor all = random_tensor(arena, 300, 80, 2);
	Tensor some = random_tensor(arena, 300, 80, 3);

	(void) state;
	device->rows_alike = true;
	for (int transposed = 0; transposed < 2; transposed++)
	{
		Matrix w = {
			random_tensor(arena, transposed ? 96 : 80, transposed ? 80 : 96, 4),
			.transposed = transposed != 0};

		device->matmul(device, all, x, &w, NULL, 0);
		for (size_t i = 0; i < sizeof(few) / sizeof(few[0]); i++)
		{
			device->matmul(device, tensor_rows(some, 0, few[i]),
			               tensor_rows(x, 150, few[i]), &w, NULL, 0);
			assert_memory_equal(some.data, tensor_rows(all, 150, 1).data,
			                    sizeof(float) * 80 * (size_t) few[i]);
		}
	}
	device->rows_alike = false;
	arena_destroy(arena);
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

/* ----------------------------------------------------------------- heads */

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
	                   c->gated ? &c->up : NULL, NULL);
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
			                        c.dout, c.gate, gated ? &c.up : NULL, NULL);
			check_gradient("dgate", c.gate, dgate, activation_value, &c);
			if (gated)
				check_gradient("dup", c.up, dup, activation_value, &c);
			arena_destroy(arena);
		}
}

/* x in fewer bits, and then what is left of it. */
static Fixed
keep(Arena *arena, Tensor x)
{
	size_t count = (size_t) (x.rows * x.cols);
	Fixed kept = {arena_alloc(arena, count * sizeof(int16_t)),
	              arena_alloc(arena, count * sizeof(float))};

	device->write_fixed(device, kept, x);
	device->read_fixed(device, x, kept);
	return kept;
}

static void
activations_read_what_is_kept(void **state)
{
	Arena *arena = arena_create();
	Tensor gate = random_tensor(arena, 3, 150, 1);
	Tensor up = random_tensor(arena, 3, 150, 2);
	Tensor out[2], dgate[2], dup[2];
	Fixed kept[] = {keep(arena, gate), keep(arena, up)};
	size_t bytes = 3 * 150 * sizeof(float);

	(void) state;
	for (int gated = 0; gated < 2; gated++)
	{
		for (int i = 0; i < 2; i++)
		{
			out[i] = random_tensor(arena, 3, 150, 3);
			dgate[i] = random_tensor(arena, 3, 150, 4);
			dup[i] = random_tensor(arena, 3, 150, 5);
			device->activation(device, ACTIVATION_SILU, out[i], gate,
			                   gated ? &up : NULL, i == 0 ? NULL : kept);
			device->activation_grad(device, ACTIVATION_SILU, dgate[i],
			                        gated ? &dup[i] : NULL, dgate[i], gate,
			                        gated ? &up : NULL, i == 0 ? NULL : kept);
		}
		assert_memory_equal(out[0].data, out[1].data, bytes);
		assert_memory_equal(dgate[0].data, dgate[1].data, bytes);
		assert_memory_equal(dup[0].data, dup[1].data, bytes);
	}
	arena_destroy(arena);
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
	device->activation(device, ACTIVATION_SILU, out, in, NULL, NULL);
	for (int i = 0; i < 11; i++)
		assert_near(y[i], x[i] / (1 + exp(-(double) x[i])), 1e-6 * fabs(x[i]));
	device->activation(device, ACTIVATION_GELU, out, in, NULL, NULL);
	for (int i = 0; i < 11; i++)
		assert_near(y[i], gelu_of(x[i]), 1e-6 * fabs(x[i]));
	device->activation(device, ACTIVATION_GELU_TANH, out, in, NULL, NULL);
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
			uint64_t bits = random_bits(key[i], 9, (uint64_t) (j / 2));
			bool is_kept = (j % 2 == 0 ? bits & UINT32_MAX : bits >> 32) >=
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
		cmocka_unit_test(numbers_of_16_bits_are_near_by_their_block),
		cmocka_unit_test(products_in_both_storage_orders),
		cmocka_unit_test(rows_alike_are_the_same_bits_however_many),
		cmocka_unit_test(norms_differentiate),
		cmocka_unit_test(heads_regroup_and_return),
		cmocka_unit_test(activations_differentiate),
		cmocka_unit_test(activations_are_exact_far_out),
		cmocka_unit_test(logprobs_differentiate),
		cmocka_unit_test(logprobs_of_large_logits),
		cmocka_unit_test(rows_move_and_add),
		cmocka_unit_test(rotation_is_undone_by_its_inverse),
		cmocka_unit_test(activations_read_what_is_kept),
		cmocka_unit_test(dropout_is_a_mask_by_address),
		cmocka_unit_test(scaling_keeps_to_its_columns),
		cmocka_unit_test(adamw_follows_its_definition),
		cmocka_unit_test(squares_are_summed),
	};

	return run_on_cpu(tests);
}
