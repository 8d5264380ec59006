/*
 * fault_test.c
 *		Memory that ends and GPUs that are lost: an error in words, no memory
 *		left behind, and never a crash.
 */
#include "pair.h"

static const DeviceModule *module = &alol_device_module;

static void
set(const char *name, long long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", value);
	setenv(name, text, 1);
	shim_reset();
	unsetenv(name);
}

/* A small step of training: forward, backward, optimiser. */
static bool
compute(Device *device, Failure *failure)
{
	static const int32_t index[] = {1, 0, 1};
	static const uint64_t key[] = {1, 2, 3};
	float *memory = device->alloc(device, 4096 * sizeof(float));
	int32_t *where = device->alloc(device, sizeof(index));
	uint64_t *keys = device->alloc(device, sizeof(key));
	double *sum = device->alloc(device, sizeof(double));
	AdamW settings = {0.1f, 0.9, 0.99, 1e-8f, 0, 0.1f, 0.01f, 1};
	float result[9];
	bool is_good;

	if (memory == NULL || where == NULL || keys == NULL || sum == NULL)
		is_good = false;
	else
	{
		Tensor x = tensor_at(memory, 3, 16);
		Tensor y = tensor_at(memory + 64, 3, 16);
		Tensor z = tensor_at(memory + 128, 3, 9);
		Tensor stat = tensor_at(memory + 256, 3, 2);
		Tensor weight = tensor_at(memory + 320, 1, 16);
		Matrix w = {tensor_at(memory + 512, 9, 16), false, NULL, NULL};
		Tensor dw = tensor_at(memory + 1024, 9, 16);
		Matrix gradient = {dw, false, NULL, NULL};

		device->products = DTYPE_BF16;
		device->upload(device, where, index, sizeof(index));
		device->upload(device, keys, key, sizeof(key));
		device->gather_rows(device, x, y, where, 0);
		device->dropout(device, x, x, 0, 0.5, keys, 1);
		device->norm(device, NORM_RMS, 1e-5f, y, x, weight, NULL, stat);
		device->matmul(device, z, y, &w, NULL, 0);
		device->matmul_input_grad(device, y, z, &w, 0);
		device->matmul_weight_grad(device, &gradient, NULL, z, x);
		device->norm_grad(device, NORM_RMS, x, 0, &weight, NULL, y, x, weight,
		                  stat);
		device->add_squares(device, sum, tensor_at(dw.data, 1, 9 * 16));
		device->adamw(device, &settings, tensor_at(memory, 1, 64),
		              tensor_at(memory + 64, 1, 64),
		              tensor_at(memory + 128, 1, 64),
		              tensor_at(memory + 192, 1, 64));
		device->adamw_coded(device, &settings, tensor_at(memory, 1, 64),
		                    tensor_at(memory + 64, 1, 64),
		                    (Coded){(uint8_t *) (memory + 128), memory + 160},
		                    (Coded){(uint8_t *) (memory + 192), memory + 224});
		device->download(device, result, z.data, sizeof(result));
		is_good = true;
	}
	is_good = device->sync(device, failure) && is_good;
	device->free(device, memory);
	device->free(device, where);
	device->free(device, keys);
	device->free(device, sum);
	return is_good;
}

/* All of a device's life, with a reserve; false with a failure. */
static bool
live(Failure *failure)
{
	Device *device;
	bool is_good;

	if (!module->open(0, &device, failure))
		return false;
	is_good =
		device->reserve(device, 100000, failure) && compute(device, failure);
	device->close(device);
	return is_good;
}

static void
every_call_may_fail(void **state)
{
	Failure failure = {0};
	int calls;

	(void) state;
	shim_reset();
	assert_ok(live(&failure), failure);
	calls = shim_calls();
	assert_true(calls > 40);
	for (int n = 1; n <= calls; n++)
	{
		memset(&failure, 0, sizeof(failure));
		set("ALOL_SHIM_FAIL_CALL", n);
		/* The last calls close what has done its work. */
		if (!live(&failure) && strstr(failure.message, "lost") == NULL)
			fail_msg("call %d: \"%s\"", n, failure.message);
		assert_true(failure.message[0] != '\0' || n > calls - 16);
		assert_int_equal(shim_memory_in_use(), 0);
	}
	shim_reset();
}

static void
memory_ends_in_words(void **state)
{
	Failure failure = {0};
	Device *device;
	void *memory;

	(void) state;
	shim_reset();
	assert_ok(module->open(0, &device, &failure), failure);
	assert_null(device->alloc(device, (size_t) 1 << 40));
	assert_fails(device->sync(device, &failure), failure, FAILURE_OUT_OF_MEMORY,
	             "cannot allocate 1099511627776 bytes");
	assert_null(device->alloc(device, SIZE_MAX - 3));
	assert_fails(device->sync(device, &failure), failure, FAILURE_OUT_OF_MEMORY,
	             "too large");
	/* What is asked of it while it fails changes nothing. */
	assert_fails(device->reserve(device, (uint64_t) 1 << 40, &failure), failure,
	             FAILURE_OUT_OF_MEMORY,
	             "needs 1048576.0 MiB more memory on cuda:0, which has ");
	memory = device->alloc(device, 1000);
	assert_non_null(memory);
	assert_ok(device->sync(device, &failure), failure);
	device->free(device, memory);
	device->close(device);
	assert_int_equal(shim_memory_in_use(), 0);
}

/* A reserve is there whatever others take, and goes back with its last
 * piece. */
static void
reserved_memory_is_kept(void **state)
{
	Failure failure = {0};
	Device *device;
	Device *other;
	void *pieces[10];
	size_t before;

	(void) state;
	set("ALOL_SHIM_MEMORY", 100 << 20);
	assert_ok(module->open(0, &device, &failure), failure);
	assert_true(device->room(device) > 60 << 20);
	/* Twice, and more the second time: the first is not kept too. */
	assert_ok(device->reserve(device, 5 << 20, &failure), failure);
	before = shim_memory_in_use();
	assert_ok(device->reserve(device, 10 << 20, &failure), failure);
	assert_int_equal(shim_memory_in_use(), before + (5 << 20));
	assert_ok(device->reserve(device, 9 << 20, &failure), failure);
	assert_int_equal(shim_memory_in_use(), before + (5 << 20));
	assert_fails(device->reserve(device, UINT64_MAX, &failure), failure,
	             FAILURE_OUT_OF_MEMORY, "needs 17592186044416.0 MiB more");
	before = shim_memory_in_use();
	assert_ok(module->open(0, &other, &failure), failure);
	assert_fails(other->reserve(other, 60 << 20, &failure), failure,
	             FAILURE_OUT_OF_MEMORY, "needs 60.0 MiB more memory on ");
	other->close(other);
	for (int i = 0; i < 10; i++)
	{
		pieces[i] = device->alloc(device, 1 << 20);
		assert_non_null(pieces[i]);
		assert_true((uintptr_t) pieces[i] % 64 == 0);
	}
	assert_int_equal(shim_memory_in_use(), before);
	/* In any order, also used again. */
	for (int i = 0; i < 10; i += 2)
		device->free(device, pieces[i]);
	pieces[0] = device->alloc(device, 3 << 19);
	for (int i = 1; i < 10; i += 2)
		device->free(device, pieces[i]);
	device->free(device, pieces[0]);
	assert_true(shim_memory_in_use() < before);
	assert_ok(device->sync(device, &failure), failure);
	device->close(device);
	assert_int_equal(shim_memory_in_use(), 0);
	shim_reset();
}

static void
memory_begins_with_zeros(void **state)
{
	Failure failure = {0};
	Device *device;
	uint8_t data[1000];
	uint8_t *memory;

	(void) state;
	shim_reset();
	assert_ok(module->open(0, &device, &failure), failure);
	assert_ok(device->reserve(device, 4000, &failure), failure);
	for (int i = 0; i < 2; i++)
	{
		memory = device->alloc(device, sizeof(data));
		memset(data, 1, sizeof(data));
		device->download(device, data, memory, sizeof(data));
		for (size_t j = 0; j < sizeof(data); j++)
			assert_int_equal(data[j], 0);
		memset(data, 7, sizeof(data));
		device->upload(device, memory, data, sizeof(data));
		device->free(device, memory);
	}
	device->close(device);
}

/* Also where the GPU reads the host's memory by itself. */
static void
uploads_have_been_read_when_they_return(void **state)
{
	Failure failure = {0};
	Device *device;

	(void) state;
	for (int pageable = 0; pageable < 2; pageable++)
	{
		uint8_t data[100];
		void *memory;

		set("ALOL_SHIM_PAGEABLE", pageable);
		assert_ok(module->open(0, &device, &failure), failure);
		memory = device->alloc(device, sizeof(data));
		memset(data, 7, sizeof(data));
		device->upload(device, memory, data, sizeof(data));
		memset(data, 8, sizeof(data));
		device->download(device, data, memory, sizeof(data));
		for (size_t i = 0; i < sizeof(data); i++)
			assert_int_equal(data[i], 7);
		device->free(device, memory);
		device->close(device);
	}
	shim_reset();
}

static void
a_reserve_that_nobody_used_goes_back(void **state)
{
	Failure failure = {0};
	Device *device;

	(void) state;
	shim_reset();
	assert_ok(module->open(0, &device, &failure), failure);
	assert_ok(device->reserve(device, 100000, &failure), failure);
	device->close(device);
	assert_int_equal(shim_memory_in_use(), 0);
}

static void
devices_are_listed(void **state)
{
	static DeviceInfo info[DEVICES_MAX];
	Failure failure = {0};
	Device *device;
	int count;

	(void) state;
	set("ALOL_SHIM_DEVICES", 3);
	assert_ok(module->list(info, &count, &failure), failure);
	assert_int_equal(count, 3);
	assert_string_equal(info[2].device, "cuda:2");
	assert_string_equal(info[2].compute_capability, "8.0");
	assert_true(info[2].memory_free <= info[2].memory_total);
	assert_ok(module->open(2, &device, &failure), failure);
	assert_string_equal(device->name, "cuda:2");
	device->close(device);
	assert_fails(module->open(3, &device, &failure), failure, FAILURE_NOT_FOUND,
	             "there is no cuda:3, the last one is cuda:2");
	shim_reset();
}

/* A driver without a GPU, and none. */
static void
machines_without_gpus_say_so(void **state)
{
	static DeviceInfo info[DEVICES_MAX];
	Failure failure = {0};
	Device *device;
	int count;

	(void) state;
	set("ALOL_SHIM_DEVICES", 0);
	assert_fails(module->list(info, &count, &failure), failure, FAILURE_DEVICE,
	             "no GPU can be used: no CUDA-capable device is detected");
	assert_fails(module->open(0, &device, &failure), failure, FAILURE_DEVICE,
	             "no GPU can be used: no CUDA-capable device is detected");
	set("ALOL_SHIM_DRIVER", 0);
	assert_fails(module->list(info, &count, &failure), failure, FAILURE_DEVICE,
	             "no NVIDIA driver is loaded");
	assert_fails(module->open(0, &device, &failure), failure, FAILURE_DEVICE,
	             "no NVIDIA driver is loaded");
	shim_reset();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_call_may_fail),
		cmocka_unit_test(memory_ends_in_words),
		cmocka_unit_test(reserved_memory_is_kept),
		cmocka_unit_test(memory_begins_with_zeros),
		cmocka_unit_test(uploads_have_been_read_when_they_return),
		cmocka_unit_test(a_reserve_that_nobody_used_goes_back),
		cmocka_unit_test(devices_are_listed),
		cmocka_unit_test(machines_without_gpus_say_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
