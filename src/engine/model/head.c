/*
 * head.c
 *		The LM head: only for positions that matter, a chunk of logits at a
 *		time.
 */
#include "model/layers.h"

#include "base/kernel.h"

#include <float.h>
#include <math.h>

/* Bytes of logits held at a time. */
#define LOGITS_BYTES ((int64_t) 64 << 20)

static int
chunk_rows(const Model *model, int rows)
{
	int64_t most =
		LOGITS_BYTES / ((int64_t) sizeof(float) * model->config.vocabulary);

	if (most < 16)
		most = 16;
	return rows < most ? rows : (int) most;
}

static void
plan_head(Plan *plan, const Model *model, int rows, bool is_training,
          Head *head)
{
	int hidden = model->config.hidden;

	head->rows = rows;
	head->chunk = chunk_rows(model, rows);
	head->target = plan_bytes(plan, (size_t) rows * sizeof(int32_t));
	head->stat = plan_tensor(plan, rows, 2);
	head->normed = plan_tensor(plan, rows, hidden);
	head->logits = plan_tensor(plan, head->chunk, model->config.vocabulary);
	head->logp = plan_tensor(plan, 1, head->chunk);
	head->lse = plan_tensor(plan, 1, head->chunk);
	if (model->has_values)
		head->value = plan_tensor(plan, rows, 1);
	if (is_training)
		head->coefficient = plan_tensor(plan, 1, head->chunk);
}

Tensor
output_norm(Model *model, Tensor output, Tensor stat, Tensor normed)
{
	if (model->final_norm.weight == NULL)
		return output;
	norm_forward(model, &model->final_norm, normed, output, stat);
	return normed;
}

void
output_norm_backward(Pass *pass, Tensor output, Tensor stat)
{
	Model *model = pass->model;
	Tensor gradient = pass_gradient(pass);

	if (model->final_norm.weight != NULL)
		norm_backward(model, &model->final_norm, gradient, 0, gradient, output,
		              stat);
}

CPU_KERNEL static bool
are_all_finite(const float *x, int64_t count)
{
	int is_other = 0;

#pragma omp simd reduction(| : is_other)
	for (int64_t i = 0; i < count; i++)
		is_other |= !(fabsf(x[i]) <= FLT_MAX);
	return is_other == 0;
}

bool
outputs_are_finite(const float *outputs, int64_t count, Failure *failure)
{
	if (are_all_finite(outputs, count))
		return true;
	fail(failure, FAILURE_BAD_FILE, "the model's outputs are not finite");
	return fail_detail(failure, "A weight is NaN or infinite, or weights are "
	                            "too large for 32-bit numbers.");
}

size_t
head_size(const Model *model, int rows, bool is_training)
{
	Plan plan = {NULL, 0};
	Head head;

	plan_head(&plan, model, rows, is_training, &head);
	return plan.used;
}

void
head_begin(Head *head, Pass *pass, Tensor output, const int32_t *target,
           bool is_training, void *memory)
{
	Model *model = pass->model;
	Device *device = model->device;
	int rows = (int) output.rows;
	Plan plan = {memory, 0};

	plan_head(&plan, model, rows, is_training, head);
	if (target != NULL)
		device->upload(device, head->target, target,
		               (size_t) rows * sizeof(int32_t));
	head->hidden = output;
	head->normed = output_norm(model, output, head->stat, head->normed);
	if (is_training)
		head->dnormed = pass_gradient(pass);
}

void
head_logits(Head *head, Model *model, int first, int count)
{
	Matrix weight = parameter_matrix(model->head);

	model->device->matmul(model->device, tensor_rows(head->logits, 0, count),
	                      tensor_rows(head->normed, first, count), &weight,
	                      NULL, 0);
}

void
head_logprobs(Head *head, Model *model, int first, int count)
{
	Device *device = model->device;

	head_logits(head, model, first, count);
	device->logprob(device, head->logp, head->lse,
	                tensor_rows(head->logits, 0, count), head->target + first);
}

void
head_backward(Head *head, Model *model, int first, int count,
              const float *dlogp)
{
	Device *device = model->device;
	Tensor logits = tensor_rows(head->logits, 0, count);
	Matrix weight = parameter_matrix(model->head);

	device->upload(device, head->coefficient.data, dlogp,
	               (size_t) count * sizeof(float));
	device->logprob_grad(device, logits, head->lse, head->target + first,
	                     head->coefficient);
	if (model->adapter == NULL)
	{
		Matrix dweight = gradient_matrix(model, model->head);

		device->matmul_weight_grad(device, &dweight, NULL, logits,
		                           tensor_rows(head->normed, first, count));
	}
	device->matmul_input_grad(device, tensor_rows(head->dnormed, first, count),
	                          logits, &weight, 0);
}

void
head_end_backward(Head *head, Pass *pass)
{
	output_norm_backward(pass, head->hidden, head->stat);
}
