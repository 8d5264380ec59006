/*
 * rounded_test.c
 *		Inputs are rounded once for all their products, and anew when they have
 *		changed, whichever operation did that.
 */
#include "pair.h"

/* Rows and columns of what is multiplied and changed. */
#define ROWS 12
#define COLS 24

/* Another order of sums of 24 products. */
#define TOLERANCE 1e-5

/* What is changed, and what the changes are made of. */
typedef struct Scene
{
	Pair x;
	Pair other;
	Pair small; /* [ROWS, 2] */
	Pair row;   /* [1, COLS] */
	Pair table; /* [COLS, COLS] */
	Pair lse;   /* [1, ROWS] */
	PairBytes index;
	PairBytes key;
} Scene;

static Scene
make_scene(void)
{
	static const int32_t index[ROWS] = {3, 1, 2, 0, 7, 5, 4, 6, 11, 9, 8, 10};
	static const uint64_t key[ROWS] = {1, 2, 3};

	return (Scene){.x = pair_random(ROWS, COLS, COLS, 1),
	               .other = pair_random(ROWS, COLS, COLS, 2),
	               .small = pair_random(ROWS, 2, 2, 3),
	               .row = pair_random(1, COLS, COLS, 4),
	               .table = pair_random(COLS, COLS, COLS, 5),
	               .lse = pair_random(1, ROWS, ROWS, 6),
	               .index = pair_bytes(index, sizeof(index)),
	               .key = pair_bytes(key, sizeof(key))};
}

static void
multiply(const Scene *s, Pair out)
{
	Matrix w[2] = {{.tensor = s->table.on[0]}, {.tensor = s->table.on[1]}};

	ON_BOTH(matmul, out.on[d], s->x.on[d], &w[d], NULL, 0);
}

static void
attend(const Scene *s)
{
	static const int32_t offsets[] = {0, 5, ROWS};
	PairBytes offset = pair_bytes(offsets, sizeof(offsets));
	Pair lse = pair_random(ROWS, 3, 3, 8);

	for (int d = 0; d < 2; d++)
	{
		AttentionShape shape = {.heads = 3,
		                        .kv_heads = 3,
		                        .head_dim = 8,
		                        .scale = 0.3f,
		                        .sequences = 2,
		                        .max_length = 7,
		                        .offset = offset.on[d]};

		pair_device[d]->attention(pair_device[d], &shape, s->x.on[d],
		                          s->other.on[d], s->other.on[d],
		                          s->other.on[d], lse.on[d]);
	}
}

/* Operation `which` of those that move numbers writes x; false: there are no
 * more. */
static bool
move(const Scene *s, int which)
{
	static float numbers[ROWS * COLS];

	switch (which)
	{
		case 0:
			numbers[5] = 3;
			ON_BOTH(upload, s->x.on[d].data, numbers, sizeof(numbers));
			return true;
		case 1:
			ON_BOTH(fill_zero, s->x.on[d].data, 64);
			return true;
		case 2:
			ON_BOTH(add, s->x.on[d], s->x.on[d], s->other.on[d]);
			return true;
		case 3:
			ON_BOTH(scale, s->x.on[d], 3);
			return true;
		case 4:
			ON_BOTH(gather_rows, s->x.on[d], s->table.on[d], s->index.on[d], 1);
			return true;
		case 5:
			ON_BOTH(scatter_rows, s->x.on[d], s->other.on[d], s->index.on[d]);
			return true;
		case 6:
			ON_BOTH(scatter_add_rows, s->x.on[d], s->other.on[d],
			        s->index.on[d]);
			return true;
		case 7:
			ON_BOTH(regroup_heads, s->x.on[d], s->other.on[d], 2, 3, false);
			return true;
		case 8:
			ON_BOTH(rotate, s->x.on[d], 2, 12, s->table.on[d], s->index.on[d],
			        false);
			return true;
		default:
			return false;
	}
}

/* The same of those of layers. */
static bool
compute(const Scene *s, int which)
{
	Matrix w[2] = {{.tensor = s->table.on[0]}, {.tensor = s->table.on[1]}};
	Matrix dw[2] = {{.tensor = s->x.on[0]}, {.tensor = s->x.on[1]}};

	switch (which)
	{
		case 0:
			ON_BOTH(dropout, s->x.on[d], s->other.on[d], 1, 0.4, s->key.on[d],
			        7);
			return true;
		case 1:
			ON_BOTH(norm, NORM_RMS, 1e-5f, s->x.on[d], s->other.on[d],
			        s->row.on[d], NULL, s->small.on[d]);
			return true;
		case 2:
			ON_BOTH(norm_grad, NORM_RMS, s->x.on[d], 1, NULL, NULL,
			        s->other.on[d], s->other.on[d], s->row.on[d],
			        s->small.on[d]);
			return true;
		case 3:
			ON_BOTH(activation, ACTIVATION_SILU, s->x.on[d], s->other.on[d],
			        &s->other.on[d], NULL);
			return true;
		case 4:
			ON_BOTH(activation_grad, ACTIVATION_SILU, s->x.on[d], NULL,
			        s->other.on[d], s->other.on[d], NULL, NULL);
			return true;
		case 5:
			ON_BOTH(matmul, s->x.on[d], s->other.on[d], &w[d], NULL, 1);
			return true;
		case 6:
			ON_BOTH(matmul_input_grad, s->x.on[d], s->other.on[d], &w[d], 0);
			return true;
		case 7:
			ON_BOTH(matmul_weight_grad, &dw[d], NULL,
			        tensor_at(s->other.on[d].data, 5, ROWS), s->table.on[d]);
			return true;
		case 8:
			ON_BOTH(logprob_grad, s->x.on[d], s->lse.on[d], s->index.on[d],
			        s->lse.on[d]);
			return true;
		case 9:
			attend(s);
			return true;
		default:
			return false;
	}
}

static void
multiply_as(DType products)
{
	pair_device[1]->products = products;
}

/* The CPU has the GPU's numbers. */
static void
take_numbers(Pair pair)
{
	size_t bytes =
		(size_t) (pair.on[0].rows * pair.on[0].stride) * sizeof(float);
	float *numbers = pair_download(pair, 1);

	pair_device[0]->upload(pair_device[0], pair.on[0].data, numbers, bytes);
	free(numbers);
}

static void
check_changes(bool (*change)(const Scene *s, int which), DType products)
{
	bool is_left = true;

	for (int which = 0; is_left; which++)
	{
		Scene scene = make_scene();
		Pair out = pair_random(ROWS, COLS, COLS, 9);

		multiply_as(DTYPE_BF16);
		multiply(&scene, out);
		multiply_as(products);
		is_left = change(&scene, which);
		multiply_as(DTYPE_BF16);
		take_numbers(scene.x);
		pair_round_on_cpu(scene.x);
		pair_round_on_cpu(scene.table);
		multiply(&scene, out);
		pair_assert_near(out, TOLERANCE);
		pair_end();
	}
	multiply_as(DTYPE_F32);
}

static void
what_changed_is_rounded_anew(void **state)
{
	(void) state;
	check_changes(move, DTYPE_BF16);
	check_changes(compute, DTYPE_F32);
	check_changes(compute, DTYPE_BF16);
}

#ifndef SHIM_IS_A_GPU

/* Calls that a product of x takes. */
static int
calls_of(const Scene *s, Pair out)
{
	int before = shim_calls();

	multiply(s, out);
	return shim_calls() - before;
}

static void
an_input_is_rounded_once(void **state)
{
	Scene scene = make_scene();
	Pair out = pair_random(ROWS, COLS, COLS, 9);
	int first, second;

	(void) state;
	multiply_as(DTYPE_BF16);
	first = calls_of(&scene, out); /* scratch is made, too */
	ON_BOTH(scale, scene.x.on[d], 2);
	first = calls_of(&scene, out);
	second = calls_of(&scene, out);
	assert_int_equal(second, first - 1);
	/* Its producer has done it already. */
	ON_BOTH(activation, ACTIVATION_SILU, scene.x.on[d], scene.other.on[d], NULL,
	        NULL);
	assert_int_equal(calls_of(&scene, out), second);
	multiply_as(DTYPE_F32);
	pair_end();
}

#endif

/* Weights that were packed give the same bits as those that were not. */
static void
packed_weights_multiply_alike(void **state)
{
	static const int rows_of_x[] = {1, 8, 9, 40};

	(void) state;
	multiply_as(DTYPE_BF16);
	for (int transposed = 0; transposed < 2; transposed++)
		for (size_t i = 0; i < sizeof(rows_of_x) / sizeof(rows_of_x[0]); i++)
		{
			Device *gpu = pair_device[1];
			Pair w = pair_random(45, 45, 45, 1);
			Pair x = pair_random(rows_of_x[i], 45, 47, 2);
			Pair out = pair_random(rows_of_x[i], 45, 45, 3);
			Pair dx = pair_random(rows_of_x[i], 45, 45, 4);
			Matrix plain = {w.on[1], transposed != 0, NULL, NULL};
			Matrix packed = plain;
			size_t bytes = gpu->packed_bytes(gpu, &plain, false);

			assert_true(bytes >= 45 * 45 * 2);
			packed.packed = pair_bytes(NULL, bytes).on[1];
			gpu->pack(gpu, (void *) (uintptr_t) packed.packed, &plain, false);
			gpu->matmul(gpu, out.on[1], x.on[1], &plain, NULL, 0);
			gpu->matmul_input_grad(gpu, dx.on[1], x.on[1], &plain, 0);
			take_numbers(out);
			take_numbers(dx);
			gpu->matmul(gpu, out.on[1], x.on[1], &packed, NULL, 0);
			gpu->matmul_input_grad(gpu, dx.on[1], x.on[1], &packed, 0);
			pair_assert_near(out, 0);
			pair_assert_near(dx, 0);
			pair_end();
		}
	multiply_as(DTYPE_F32);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_changed_is_rounded_anew),
#ifndef SHIM_IS_A_GPU
		cmocka_unit_test(an_input_is_rounded_once),
#endif
		cmocka_unit_test(packed_weights_multiply_alike),
	};

	return run_pairs(tests);
}
