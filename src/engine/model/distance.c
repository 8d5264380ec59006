/*
 * distance.c
 *		Disentangled attention (DeBERTa, arXiv 2006.03654): queries and keys
 *		also look at the distance between them.
 *
 * A table has a vector for each bucket of distances.  Its products with the
 * queries and keys of every token are two matrices, which the attention
 * operation picks from; so all of it is matrix products, both ways.
 */
#include "model/layers.h"

#include <math.h>
#include <stdlib.h>

void
distance_plan(Plan *plan, const ModelConfig *c, int64_t tokens,
              bool keeps_state, Distances *distances)
{
	RelativeScores *scores = &distances->scores;
	int64_t rows = c->distances;
	int64_t width = c->heads * rows;

	distances->row = plan_bytes(plan, (size_t) rows * sizeof(int32_t));
	distances->bucket =
		plan_bytes(plan, 2 * (size_t) c->context * sizeof(int32_t));
	distances->table = plan_tensor(plan, rows, c->hidden);
	distances->stat = plan_tensor(plan, rows, 2);
	distances->normed = c->distance_norm ? plan_tensor(plan, rows, c->hidden)
	                                     : distances->table;
	distances->mapped = plan_tensor(plan, rows, c->hidden);
	if (c->distance_query)
		scores->query = plan_tensor(plan, tokens, width);
	if (c->distance_key)
		scores->key = plan_tensor(plan, tokens, width);
	if (!keeps_state)
		return;
	distances->dnormed = plan_tensor(plan, rows, c->hidden);
	distances->dmapped = plan_tensor(plan, rows, c->hidden);
	if (c->distance_query)
		scores->dquery = plan_tensor(plan, tokens, width);
	if (c->distance_key)
		scores->dkey = plan_tensor(plan, tokens, width);
}

/* The row of the table for a distance. */
static int32_t
bucket_of(const ModelConfig *c, int distance)
{
	int span = c->distances / 2;
	int middle = c->distance_buckets / 2;
	int length = abs(distance);
	int bucket = length;

	/* In fp32, as the reference: whole numbers may hang on the rounding. */
	if (c->distance_buckets > 0 && length > middle)
		bucket = (int) ceilf(
					 logf((float) length / (float) middle) /
					 logf((float) ((double) (c->distance_limit - 1) / middle)) *
					 (float) (middle - 1)) +
		         middle;
	bucket = span + (distance < 0 ? -bucket : bucket);
	if (bucket < 0)
		return 0;
	return bucket < 2 * span ? bucket : 2 * span - 1;
}

static void
zero(Device *device, Tensor x)
{
	if (x.data != NULL)
		device->fill_zero(device, x.data,
		                  (size_t) x.rows * (size_t) x.cols * sizeof(float));
}

bool
distance_begin(Pass *pass, Failure *failure)
{
	Model *model = pass->model;
	Device *device = model->device;
	const ModelConfig *c = &model->config;
	Distances *distances = &pass->distances;
	int reach = c->context - 1;
	int count = 2 * reach + 1;
	int most = count > c->distances ? count : c->distances;
	int32_t *numbers = malloc((size_t) most * sizeof(int32_t));

	if (numbers == NULL)
		return fail(failure, FAILURE_OUT_OF_MEMORY,
		            "no memory for %d distances", most);
	for (int i = 0; i < count; i++)
		numbers[i] = bucket_of(c, i - reach);
	device->upload(device, distances->bucket, numbers,
	               (size_t) count * sizeof(int32_t));
	for (int i = 0; i < c->distances; i++)
		numbers[i] = i;
	device->upload(device, distances->row, numbers,
	               (size_t) c->distances * sizeof(int32_t));
	free(numbers);
	distances->scores.buckets = c->distances;
	distances->scores.reach = reach;
	distances->scores.bucket = distances->bucket;
	device->gather_rows(device, distances->table,
	                    parameter_matrix(model->distance_table).tensor,
	                    distances->row, 0);
	if (c->distance_norm)
		norm_forward(model, &model->distance_norm, distances->normed,
		             distances->table, distances->stat);
	zero(device, distances->dnormed);
	return true;
}

/* One side of the scores: its tokens' heads, and the map of the distances
 * that they meet. */
typedef struct Side
{
	const Linear *map;
	Tensor x;  /* [T, H D] */
	Tensor dx; /* backward */
	Tensor scores;
	Tensor dscores;
} Side;

/* Columns of head h among H of x. */
static Tensor
head_of(Tensor x, int heads, int h)
{
	int64_t width = x.cols / heads;

	return tensor_columns(x, h * width, width);
}

static void
side_forward(Pass *pass, const Side *side)
{
	Model *model = pass->model;
	Device *device = model->device;
	Distances *distances = &pass->distances;
	int heads = model->config.heads;

	if (side->scores.data == NULL)
		return;
	linear_forward(pass, side->map, distances->mapped, distances->normed);
	for (int h = 0; h < heads; h++)
	{
		const Matrix rows = {head_of(distances->mapped, heads, h), false, NULL,
		                     NULL};

		device->matmul(device, head_of(side->scores, heads, h),
		               head_of(side->x, heads, h), &rows, NULL, 0);
	}
	zero(device, side->dscores);
}

static void
side_backward(Pass *pass, const Side *side)
{
	Model *model = pass->model;
	Device *device = model->device;
	Distances *distances = &pass->distances;
	int heads = model->config.heads;

	if (side->scores.data == NULL)
		return;
	linear_forward(pass, side->map, distances->mapped, distances->normed);
	zero(device, distances->dmapped);
	for (int h = 0; h < heads; h++)
	{
		const Matrix rows = {head_of(distances->mapped, heads, h), false, NULL,
		                     NULL};
		const Matrix drows = {head_of(distances->dmapped, heads, h), false,
		                      NULL, NULL};
		Tensor dscores = head_of(side->dscores, heads, h);

		device->matmul_input_grad(device, head_of(side->dx, heads, h), dscores,
		                          &rows, 1);
		device->matmul_weight_grad(device, &drows, NULL, dscores,
		                           head_of(side->x, heads, h));
	}
	linear_backward(pass, side->map, distances->dnormed, 1, distances->dmapped,
	                distances->normed);
}

/* Queries meet the distances' keys, keys their queries. */
static void
sides_of(Pass *pass, int number, Tensor q, Tensor k, Side sides[2])
{
	const Layer *layer = &pass->model->layers[number];
	const RelativeScores *scores = &pass->distances.scores;
	bool is_shared = pass->model->config.distance_shared;

	sides[0] = (Side){.map = is_shared ? &layer->k : &layer->distance_key,
	                  .x = q,
	                  .scores = scores->query,
	                  .dscores = scores->dquery};
	sides[1] = (Side){.map = is_shared ? &layer->q : &layer->distance_query,
	                  .x = k,
	                  .scores = scores->key,
	                  .dscores = scores->dkey};
}

void
distance_forward(Pass *pass, int number, Tensor q, Tensor k)
{
	Side sides[2];

	sides_of(pass, number, q, k, sides);
	side_forward(pass, &sides[0]);
	side_forward(pass, &sides[1]);
}

void
distance_backward(Pass *pass, int number, Tensor q, Tensor k, Tensor dq,
                  Tensor dk)
{
	Side sides[2];

	sides_of(pass, number, q, k, sides);
	sides[0].dx = dq;
	sides[1].dx = dk;
	side_backward(pass, &sides[0]);
	side_backward(pass, &sides[1]);
}

void
distance_end_backward(Pass *pass)
{
	Model *model = pass->model;
	Device *device = model->device;
	Distances *distances = &pass->distances;

	if (model->config.distance_norm)
		norm_backward(model, &model->distance_norm, distances->dnormed, 0,
		              distances->dnormed, distances->table, distances->stat);
	device->scatter_add_rows(
		device, gradient_matrix(model, model->distance_table).tensor,
		distances->dnormed, distances->row);
}
