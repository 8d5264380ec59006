/*
 * products.h
 *		What the matrix products of a pass take when they are all there is: the
 *		limit that a pass is measured against.
 *
 * Every product of the pass is done alone, in its own shape, and counts with
 * the best of several tries: divided by itself among the threads, or in slices
 * of rows; few rows by the kernels for few, and by those for many.
 */
#pragma once

#include "bench.h"

#include "base/arena.h"
#include "base/quant.h"
#include "device/device.h"
#include "model/files/config.h"
#include "model/model.h"

#include <math.h>

#define PRODUCT_TRIES 5
#define PRODUCTS_MOST 512

/* Up to so many rows the CPU has other kernels. */
#define FEW_ROWS 128

/* Seconds by the clock, and of all threads on a processor. */
typedef struct Times
{
	double clock;
	double processor;
} Times;

static inline double
processor_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double) now.tv_sec + 1e-9 * (double) now.tv_nsec;
}

static inline void
add_times(Times *sum, double factor, Times more)
{
	sum->clock += factor * more.clock;
	sum->processor += factor * more.processor;
}

typedef enum ProductKind
{
	PRODUCT_FORWARD,     /* out[m, n] = x[m, k] W[n, k]^T */
	PRODUCT_INPUT_GRAD,  /* x = out W */
	PRODUCT_WEIGHT_GRAD, /* W += out^T x */
} ProductKind;

typedef struct Product
{
	Device *device;
	ProductKind kind;
	int slices;
	bool rows_alike;
	Tensor x;
	Tensor w;
	void *packed; /* of w; NULL: none */
	void *packed_grad;
	Tensor out;
	Times best;
} Product;

static void
multiply_slice(void *argument, int slice)
{
	const Product *p = argument;
	int64_t first = p->x.rows * slice / p->slices;
	int64_t rows = p->x.rows * (slice + 1) / p->slices - first;
	Tensor x = tensor_rows(p->x, first, rows);
	Tensor out = tensor_rows(p->out, first, rows);
	Matrix w = {p->w, false, p->packed, p->packed_grad};

	if (p->kind == PRODUCT_FORWARD)
		p->device->matmul(p->device, out, x, &w, NULL, 0);
	else if (p->kind == PRODUCT_INPUT_GRAD)
		p->device->matmul_input_grad(p->device, x, out, &w, 0);
	else
		p->device->matmul_weight_grad(p->device, &w, NULL, out, x);
}

/* Waits for what was asked. */
static void
finish(Device *device)
{
	Failure failure;

	check(device->sync(device, &failure), &failure);
}

/* One product, the best of several times half a millisecond or more. */
static void
time_product(Product *p)
{
	double work =
		2.0 * (double) p->x.rows * (double) p->w.rows * (double) p->w.cols;
	/* GPUs take a hundredth of the time. */
	int times = 1 + (int) ((p->device->threads == 0 ? 1e11 : 1e8) / work);

	p->device->rows_alike = p->rows_alike;
	for (int i = 0; i < PRODUCT_TRIES; i++)
	{
		double start = seconds();
		double used = processor_seconds();

		for (int j = 0; j < times; j++)
			p->device->run_slices(p->device, p->slices, multiply_slice, p);
		finish(p->device);
		p->best.clock = fmin(p->best.clock, (seconds() - start) / times);
		p->best.processor =
			fmin(p->best.processor, (processor_seconds() - used) / times);
	}
	p->device->rows_alike = false;
}

static void
time_ways(Product *p)
{
	int threads = p->device->threads;

	for (int alike = 0; alike < (p->x.rows <= FEW_ROWS ? 2 : 1); alike++)
	{
		p->rows_alike = alike == 1;
		p->slices = 1;
		time_product(p);
		p->slices = threads;
		if (threads > 1 && p->x.rows >= 16 * threads)
			time_product(p);
	}
}

/* Products that have been timed, and the memory they share. */
typedef struct Products
{
	Device *device;
	DType weights; /* as they are stored */
	Product known[PRODUCTS_MOST];
	int count;
} Products;

/* Of both signs: zeros are not packed as other numbers are. */
static Tensor
numbers(Device *device, DType dtype, int64_t rows, int64_t cols)
{
	int64_t count = rows * cols;
	size_t bytes = dtype_bytes(dtype, count);
	/* malloc keeps what it is given back, and peaks of memory would show it. */
	Arena *arena = arena_create();
	float *data = arena_alloc(arena, sizeof(float) * (size_t) count);
	void *stored = arena_alloc(arena, bytes);
	void *on_device = device->alloc(device, bytes);

	for (int64_t i = 0; i < count; i++)
		data[i] = (float) (i * 7919 % 1009) / 1009 - 0.5f;
	if (dtype_block(dtype) == 1)
		dtype_from_f32(stored, data, dtype, (size_t) count);
	else
		quant_write(stored, data, dtype, count);
	device->upload(device, on_device, stored, bytes);
	finish(device);
	arena_destroy(arena);
	return (Tensor){on_device, dtype, rows, cols, cols};
}

/* As models have their weights. */
static void *
packed(Device *device, Tensor w, bool is_for_input_grad)
{
	Matrix matrix = {w, false, NULL, NULL};
	size_t bytes = device->packed_bytes(device, &matrix, is_for_input_grad);
	void *target = bytes == 0 ? NULL : device->alloc(device, bytes);

	if (target != NULL)
		device->pack(device, target, &matrix, is_for_input_grad);
	return target;
}

static Times
time_of(Products *products, ProductKind kind, int64_t m, int64_t n, int64_t k)
{
	Device *device = products->device;
	Product product = {.device = device, .kind = kind, .best = {1e9, 1e9}};

	for (int i = 0; i < products->count; i++)
	{
		const Product *p = &products->known[i];

		if (p->kind == kind && p->x.rows == m && p->w.rows == n &&
		    p->w.cols == k)
			return p->best;
	}
	product.x = numbers(device, DTYPE_F32, m, k);
	product.w = numbers(device, products->weights, n, k);
	product.out = numbers(device, DTYPE_F32, m, n);
	if (device->products == DTYPE_BF16)
	{
		product.packed = packed(device, product.w, false);
		product.packed_grad = packed(device, product.w, true);
	}
	time_ways(&product);
	device->free(device, product.x.data);
	device->free(device, product.w.data);
	device->free(device, product.packed);
	device->free(device, product.packed_grad);
	device->free(device, product.out.data);
	if (products->count < PRODUCTS_MOST)
		products->known[products->count++] = product;
	return product.best;
}

/* What is done with a batch. */
typedef enum WorkKind
{
	WORK_SCORE,
	WORK_TRAIN,  /* all weights */
	WORK_ADAPTER /* of some rank on every map */
} WorkKind;

typedef struct PassWork
{
	WorkKind kind;
	int rank;
	int64_t tokens;
	int64_t rows; /* that go behind the last attention and to the head */
} PassWork;

/* A linear map of m rows; the lowest with an adapter gives its input no
 * gradient. */
static void
add_map(Products *products, Times *sum, WorkKind work, double count, int64_t m,
        int64_t n, int64_t k, bool is_lowest)
{
	add_times(sum, count, time_of(products, PRODUCT_FORWARD, m, n, k));
	if (work != WORK_SCORE && !is_lowest)
		add_times(sum, count, time_of(products, PRODUCT_INPUT_GRAD, m, n, k));
	if (work == WORK_TRAIN)
		add_times(sum, count, time_of(products, PRODUCT_WEIGHT_GRAD, m, n, k));
}

/* The same with an adapter of some rank: A [rank, k] and B [n, rank]. */
static void
add_adapted(Products *products, Times *sum, const PassWork *work, double count,
            int64_t m, int64_t n, int64_t k, bool is_lowest)
{
	add_map(products, sum, work->kind, count, m, n, k, is_lowest);
	if (work->kind != WORK_ADAPTER)
		return;
	add_map(products, sum, WORK_TRAIN, count, m, work->rank, k, is_lowest);
	add_map(products, sum, WORK_TRAIN, count, m, n, work->rank, false);
}

/* The maps of some layers to queries, keys and values, then the others. */
static void
add_first_maps(Products *products, Times *sum, const ModelConfig *c,
               const PassWork *work, double layers, bool is_lowest)
{
	int64_t m = work->tokens;
	int64_t queries = (int64_t) c->heads * c->head_dim;
	int64_t keys = (int64_t) c->kv_heads * c->head_dim;

	if (c->qkv != QKV_APART)
	{
		add_adapted(products, sum, work, layers, m, queries + 2 * keys,
		            c->hidden, is_lowest);
		return;
	}
	add_adapted(products, sum, work, layers, m, queries, c->hidden, is_lowest);
	add_adapted(products, sum, work, 2 * layers, m, keys, c->hidden, is_lowest);
}

static void
add_other_maps(Products *products, Times *sum, const ModelConfig *c,
               const PassWork *work, double layers, int64_t m)
{
	int64_t queries = (int64_t) c->heads * c->head_dim;

	add_adapted(products, sum, work, layers, m, c->hidden, queries, false);
	add_adapted(products, sum, work, c->gated ? 2 * layers : layers, m,
	            c->feed_forward, c->hidden, false);
	add_adapted(products, sum, work, layers, m, c->hidden, c->feed_forward,
	            false);
}

/* The products of a pass. */
static Times
pass_limit(Products *products, const ModelConfig *c, const PassWork *work)
{
	Times sum = {0, 0};

	add_map(products, &sum, work->kind, 1, work->rows, c->vocabulary, c->hidden,
	        false);
	add_first_maps(products, &sum, c, work, 1, work->kind == WORK_ADAPTER);
	add_first_maps(products, &sum, c, work, c->layers - 1, false);
	add_other_maps(products, &sum, c, work, c->layers - 1, work->tokens);
	add_other_maps(products, &sum, c, work, 1, work->rows);
	return sum;
}
