/*
 * adamw_test.c
 *		AdamW with moments as bytes: golden steps in double (make_optimizer.py),
 *		and what must not matter.
 */
#include "near.h"
#include "on_cpu.h"

#include "base/dynamic8.h"
#include "base/random.h"

#define COUNT 100003

/* A parameter's numbers, on the host. */
typedef struct Numbers
{
	int64_t count;
	float *p;
	float *g;
	Coded m;
	Coded v;
} Numbers;

static int64_t
blocks_of(int64_t count)
{
	return (count + DYNAMIC8_BLOCK - 1) / DYNAMIC8_BLOCK;
}

static Coded
zeros(Arena *arena, int64_t count)
{
	return (Coded){
		arena_alloc(arena, (size_t) count),
		arena_alloc(arena, (size_t) blocks_of(count) * sizeof(float))};
}

/* Some of them, with moments of 0. */
static Numbers
numbers_of(Arena *arena, int64_t count)
{
	size_t bytes = (size_t) count * sizeof(float);
	Numbers x = {count, arena_alloc(arena, bytes), arena_alloc(arena, bytes),
	             zeros(arena, count), zeros(arena, count)};

	for (int64_t i = 0; i < count; i++)
		x.p[i] = (float) random_normal(3, 0, (uint64_t) i);
	return x;
}

/* Gradients of four orders of magnitude, the largest of about this size. */
static void
draw_gradient(Numbers *x, int number, float size)
{
	uint64_t seed = (uint64_t) number;

	for (int64_t i = 0; i < x->count; i++)
	{
		double spread = pow(10, -4 * random_uniform(seed, 1, (uint64_t) i));

		x->g[i] =
			(float) (spread * random_normal(seed, 0, (uint64_t) i)) * size;
	}
}

static void *
uploaded(Device *on, const void *source, size_t bytes)
{
	void *memory = on->alloc(on, bytes);

	assert_non_null(memory);
	on->upload(on, memory, source, bytes);
	return memory;
}

static void
fetch(Device *on, void *target, void *memory, size_t bytes)
{
	on->download(on, target, memory, bytes);
	on->free(on, memory);
}

/* A step on a device; x is what comes out of it. */
static void
step(Device *on, const AdamW *settings, Numbers *x)
{
	size_t count = (size_t) x->count;
	size_t bytes = count * sizeof(float);
	size_t scales = (size_t) blocks_of(x->count) * sizeof(float);
	float *p = uploaded(on, x->p, bytes);
	float *g = uploaded(on, x->g, bytes);
	Coded m = {uploaded(on, x->m.code, count),
	           uploaded(on, x->m.scale, scales)};
	Coded v = {uploaded(on, x->v.code, count),
	           uploaded(on, x->v.scale, scales)};
	Failure failure = {0};

	on->adamw_coded(on, settings, tensor_at(p, 1, x->count),
	                tensor_at(g, 1, x->count), m, v);
	assert_ok(on->sync(on, &failure), failure);
	fetch(on, x->p, p, bytes);
	on->free(on, g);
	fetch(on, x->m.code, m.code, count);
	fetch(on, x->m.scale, m.scale, scales);
	fetch(on, x->v.code, v.code, count);
	fetch(on, x->v.scale, v.scale, scales);
}

static AdamW
settings_of(double rate, double decay, double beta1, double beta2, double eps,
            double scale, int number)
{
	return (AdamW){(float) rate,
	               beta1,
	               beta2,
	               (float) eps,
	               (float) decay,
	               (float) (1 - pow(beta1, number)),
	               (float) (1 - pow(beta2, number)),
	               (float) scale};
}

static AdamW
plain(int number)
{
	return settings_of(0.001, 0.01, 0.9, 0.999, 1e-8, 1, number);
}

/* ------------------------------------------------------------ golden steps */

static double
number_of(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

static void
read_floats(const json_t *array, float *number, int64_t count)
{
	assert_int_equal(json_array_size(array), count);
	for (int64_t i = 0; i < count; i++)
		number[i] =
			(float) json_number_value(json_array_get(array, (size_t) i));
}

static void
check_codes(const Coded *x, int64_t count, const json_t *golden,
            const char *codes, const char *scales)
{
	const char *hex = json_string_value(json_object_get(golden, codes));
	const json_t *scale = json_object_get(golden, scales);

	assert_int_equal(strlen(hex), 2 * count);
	for (int64_t i = 0; i < count; i++)
	{
		unsigned int expected;

		assert_int_equal(sscanf(hex + 2 * i, "%2x", &expected), 1);
		/* What a scale of 0 makes 0 has no code of its own. */
		if (x->scale[i / DYNAMIC8_BLOCK] > 0)
			assert_int_equal(x->code[i], expected);
	}
	for (int64_t i = 0; i < blocks_of(count); i++)
	{
		double expected = json_number_value(json_array_get(scale, (size_t) i));

		assert_near(x->scale[i], expected, 1e-6 * expected);
	}
}

static void
check_case(Arena *arena, const json_t *golden)
{
	const json_t *before = json_object_get(golden, "before");
	const json_t *after = json_object_get(golden, "after");
	const json_t *settings = json_object_get(golden, "settings");
	Numbers x = numbers_of(arena, (int64_t) json_array_size(before));
	const json_t *one;
	size_t index;

	read_floats(before, x.p, x.count);
	json_array_foreach(json_object_get(golden, "steps"), index, one)
	{
		AdamW s = settings_of(
			number_of(settings, "learning_rate"),
			number_of(settings, "weight_decay"), number_of(settings, "beta1"),
			number_of(settings, "beta2"), number_of(settings, "eps"),
			number_of(settings, "gradient_scale"), (int) index + 1);

		read_floats(json_object_get(one, "gradient"), x.g, x.count);
		step(device, &s, &x);
		check_codes(&x.m, x.count, one, "m", "m_scale");
		check_codes(&x.v, x.count, one, "v", "v_scale");
	}
	for (int64_t i = 0; i < x.count; i++)
		assert_near(x.p[i],
		            json_number_value(json_array_get(after, (size_t) i)), 1e-6);
}

static void
steps_are_the_golden_ones(void **state)
{
	Arena *arena = arena_create();
	json_t *golden = test_read_json(arena, test_golden_path(arena, "optimizer"),
	                                "steps.json");
	const json_t *one;
	size_t index;

	(void) state;
	assert_true(json_array_size(json_object_get(golden, "cases")) > 2);
	json_array_foreach(json_object_get(golden, "cases"), index, one)
		check_case(arena, one);
	arena_destroy(arena);
}

/* ------------------------------------------------------ what must not matter */

static void
assert_same(const Numbers *a, const Numbers *b)
{
	size_t count = (size_t) a->count;
	size_t scales = (size_t) blocks_of(a->count) * sizeof(float);

	assert_memory_equal(a->p, b->p, count * sizeof(float));
	assert_memory_equal(a->m.code, b->m.code, count);
	assert_memory_equal(a->v.code, b->v.code, count);
	assert_memory_equal(a->m.scale, b->m.scale, scales);
	assert_memory_equal(a->v.scale, b->v.scale, scales);
}

static Numbers
after_steps(Arena *arena, Device *on, int64_t count)
{
	Numbers x = numbers_of(arena, count);

	for (int k = 1; k <= 4; k++)
	{
		AdamW s = plain(k);

		draw_gradient(&x, k, 1);
		step(on, &s, &x);
	}
	return x;
}

static void
steps_do_not_depend_on_threads(void **state)
{
	Arena *arena = arena_create();
	Numbers two = after_steps(arena, device, COUNT);

	(void) state;
	for (int threads = 1; threads <= 3; threads += 2)
	{
		Failure failure = {0};
		Device *other;
		Numbers x;

		assert_ok(cpu_device_open(threads, &other, &failure), failure);
		x = after_steps(arena, other, COUNT);
		assert_same(&two, &x);
		other->close(other);
	}
	arena_destroy(arena);
}

/* A run that ends within a block is the begin of a longer one. */
static void
blocks_do_not_meet(void **state)
{
	Arena *arena = arena_create();
	Numbers all = after_steps(arena, device, 1000);
	Numbers some = after_steps(arena, device, 768);

	(void) state;
	all.count = some.count;
	assert_same(&some, &all);
	arena_destroy(arena);
}

/* Bytes of 0 are moments of 0: the first step is that of exact moments. */
static void
the_first_step_is_exact(void **state)
{
	Arena *arena = arena_create();
	Numbers x = numbers_of(arena, COUNT);
	size_t bytes = COUNT * sizeof(float);
	float *expected = arena_alloc(arena, bytes);
	float *p, *g, *m, *v;
	AdamW s = plain(1);

	(void) state;
	draw_gradient(&x, 1, 1);
	p = uploaded(device, x.p, bytes);
	g = uploaded(device, x.g, bytes);
	m = device->alloc(device, bytes);
	v = device->alloc(device, bytes);
	device->adamw(device, &s, tensor_at(p, 1, COUNT), tensor_at(g, 1, COUNT),
	              tensor_at(m, 1, COUNT), tensor_at(v, 1, COUNT));
	fetch(device, expected, p, bytes);
	device->free(device, g);
	device->free(device, m);
	device->free(device, v);
	step(device, &s, &x);
	assert_memory_equal(x.p, expected, bytes);
	arena_destroy(arena);
}

/* Of what is far below its block's largest, and has a gradient now and then. */
static void
steps_stay_short_where_gradients_are_rare(void **state)
{
	Arena *arena = arena_create();
	Numbers x = numbers_of(arena, 5120);
	float *before = arena_alloc(arena, 5120 * sizeof(float));

	(void) state;
	for (int k = 1; k <= 60; k++)
	{
		AdamW s = settings_of(0.001, 0, 0.9, 0.999, 1e-8, 1, k);

		for (int i = 0; i < 5120; i++)
		{
			uint64_t at = (uint64_t) i;
			double size = pow(10, -5 * random_uniform(1, 1, at));

			before[i] = x.p[i];
			x.g[i] = random_uniform((uint64_t) k, 2, at) < 0.3
			             ? 0
			             : (float) (size * random_normal((uint64_t) k, 3, at));
		}
		step(device, &s, &x);
		for (int i = 0; i < 5120; i++)
			assert_near(x.p[i], before[i], 0.005);
	}
	arena_destroy(arena);
}

/* Gradients whose squares underflow or overflow leave numbers. */
static void
extreme_gradients_leave_numbers(void **state)
{
	static const float sizes[] = {0, 1e-38f, 1e-25f, 1e-18f, 1e18f, 1e30f};
	Arena *arena = arena_create();

	(void) state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		Numbers x = numbers_of(arena, 700);

		for (int k = 1; k <= 3; k++)
		{
			AdamW s = plain(k);

			draw_gradient(&x, k, sizes[i]);
			step(device, &s, &x);
			for (int j = 0; j < 700; j++)
				assert_true(isfinite(x.p[j]));
			for (int j = 0; j < 3; j++)
				assert_true(isfinite(x.m.scale[j]) && isfinite(x.v.scale[j]));
		}
	}
	arena_destroy(arena);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(steps_are_the_golden_ones),
		cmocka_unit_test(steps_do_not_depend_on_threads),
		cmocka_unit_test(blocks_do_not_meet),
		cmocka_unit_test(the_first_step_is_exact),
		cmocka_unit_test(steps_stay_short_where_gradients_are_rare),
		cmocka_unit_test(extreme_gradients_leave_numbers),
	};

	return run_on_cpu(tests);
}
