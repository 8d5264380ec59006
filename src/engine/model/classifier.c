/*
 * classifier.c
 *		Classification of whole texts: the head on one token of each, and the
 *		passes that end in it.
 *
 * A decoder has one map without bias (`score`); an encoder has a first map and
 * an activation before it (BERT's pooler, RoBERTa's dense, DistilBERT's
 * pre_classifier).
 */
#include "base/poll.h"
#include "model/lora/lora_layers.h"

static void
plan_classifier(Plan *plan, const Model *model, int rows, bool is_training,
                ClassifierHead *head)
{
	int hidden = model->config.hidden;
	int labels = model->config.labels;

	head->rows = rows;
	head->stat = plan_tensor(plan, rows, 2);
	head->normed = plan_tensor(plan, rows, hidden);
	head->dense = plan_tensor(plan, rows, hidden);
	head->pooled = plan_tensor(plan, rows, hidden);
	head->logits = plan_tensor(plan, rows, labels);
	if (!is_training)
		return;
	head->dlogits = plan_tensor(plan, rows, labels);
	head->dpooled = plan_tensor(plan, rows, hidden);
}

size_t
classifier_size(const Model *model, int rows, bool is_training)
{
	Plan plan = {NULL, 0};
	ClassifierHead head;

	plan_classifier(&plan, model, rows, is_training, &head);
	return plan.used;
}

void
classifier_rows(const Model *model, const Batch *batch, int32_t *row)
{
	const ModelConfig *c = &model->config;

	for (int s = 0; s < batch->sequences; s++)
	{
		int first = batch->offset[s];
		int last = batch->offset[s + 1] - 1;

		/* As the reference: a text of nothing but padding counts by its
		 * first token. */
		while (!c->is_bidirectional && last > first &&
		       batch->ids[last] == c->pad)
			last--;
		row[s] = c->is_bidirectional ? first : last;
	}
}

void
classifier_forward(ClassifierHead *head, Pass *pass, Tensor output,
                   bool is_training, void *memory)
{
	Model *model = pass->model;
	Device *device = model->device;
	bool has_dense = model->pooler.weight != NULL;
	Plan plan = {memory, 0};

	plan_classifier(&plan, model, (int) output.rows, is_training, head);
	head->hidden = output;
	head->normed = output_norm(model, output, head->stat, head->normed);
	if (is_training)
		head->dnormed = pass_gradient(pass);
	if (has_dense)
	{
		linear_forward(pass, &model->pooler, head->dense, head->normed);
		device->activation(device, model->config.pooler, head->pooled,
		                   head->dense, NULL, NULL);
	}
	linear_forward(pass, &model->classifier, head->logits,
	               has_dense ? head->pooled : head->normed);
}

void
classifier_backward(ClassifierHead *head, Pass *pass)
{
	Model *model = pass->model;
	Device *device = model->device;

	if (model->pooler.weight != NULL)
	{
		linear_backward(pass, &model->classifier, head->dpooled, 0,
		                head->dlogits, head->pooled);
		device->activation_grad(device, model->config.pooler, head->dpooled,
		                        NULL, head->dpooled, head->dense, NULL, NULL);
		linear_backward(pass, &model->pooler, head->dnormed, 0, head->dpooled,
		                head->normed);
	}
	else
		linear_backward(pass, &model->classifier, head->dnormed, 0,
		                head->dlogits, head->normed);
	output_norm_backward(pass, head->hidden, head->stat);
}

/* One pass up to the logits, and these to the host. */
static bool
classify(Model *model, Arena *arena, const Batch *batch, bool is_training,
         const DropoutKeys *keys, Pass *pass, ClassifierHead *head,
         float *logits, Failure *failure)
{
	Device *device = model->device;
	int rows = batch->sequences;
	int32_t *row = arena_alloc(arena, (size_t) rows * sizeof(int32_t));
	const SharedBatch alone = batch_alone(batch);
	void *memory;

	classifier_rows(model, batch, row);
	if (!pass_begin(pass, model, &alone, rows, row, is_training,
	                classifier_size(model, rows, is_training), &memory,
	                failure) ||
	    !lora_set_keys(pass, batch, &alone, keys, failure))
		return false;
	classifier_forward(head, pass, pass_forward(pass), is_training, memory);
	device->download(device, logits, head->logits.data,
	                 (size_t) rows * (size_t) model->config.labels *
	                     sizeof(float));
	return device->sync(device, failure);
}

static bool
classify_part(Model *model, Arena *arena, const Batch *batch, float **out,
              Failure *failure)
{
	Pass pass;
	ClassifierHead head;

	if (!classify(model, arena, batch, false, NULL, &pass, &head, *out,
	              failure) ||
	    !outputs_are_finite(
			*out, (int64_t) batch->sequences * model->config.labels, failure))
		return false;
	*out += (int64_t) batch->sequences * model->config.labels;
	return true;
}

bool
model_classify(Model *model, const Batch *batch, float *logits,
               Failure *failure)
{
	return model_require(model, MODEL_CLASSIFIER, failure) &&
	       batch_run_parts(model, batch, classify_part, logits, failure);
}

/* Forward, and with dlogits backward, of sequences [first, first + count). */
static bool
run_part(Model *model, const Batch *batch, const DropoutKeys *keys, int first,
         int count, float *logits, const float *dlogits, Failure *failure)
{
	Device *device = model->device;
	Arena *arena = arena_create();
	Batch part = batch_range(arena, batch, first, count);
	int64_t at = (int64_t) first * model->config.labels;
	DropoutKeys own = {0};
	ClassifierHead head;
	Pass pass;
	bool done;

	if (keys != NULL)
		own = (DropoutKeys){keys->prompts, keys->row + first};
	done = poll_check(failure) &&
	       classify(model, arena, &part, true, keys == NULL ? NULL : &own,
	                &pass, &head, logits + at, failure);
	if (done && dlogits != NULL)
	{
		device->upload(device, head.dlogits.data, dlogits + at,
		               (size_t) count * (size_t) model->config.labels *
		                   sizeof(float));
		classifier_backward(&head, &pass);
		pass_backward(&pass);
		done = device->sync(device, failure);
	}
	arena_destroy(arena);
	return done;
}

/* All sequences, as many at a time as there is room for. */
static bool
run_parts(Model *model, const Batch *batch, const DropoutKeys *keys,
          float *logits, const float *dlogits, Failure *failure)
{
	int count;

	for (int s = 0; s < batch->sequences; s += count)
		if (!sequences_that_fit(model, batch, s, batch->sequences, &count,
		                        failure) ||
		    !run_part(model, batch, keys, s, count, logits, dlogits, failure))
			return false;
	return true;
}

/* All of them in one pass. */
static bool
run_together(Model *model, Arena *arena, const Batch *batch,
             const DropoutKeys *keys, LogitGradient gradient, void *argument,
             float *logits, float *dlogits, Failure *failure)
{
	Device *device = model->device;
	ClassifierHead head;
	Pass pass;

	if (!classify(model, arena, batch, true, keys, &pass, &head, logits,
	              failure) ||
	    !gradient(argument, batch->sequences, logits, dlogits, failure))
		return false;
	device->upload(device, head.dlogits.data, dlogits,
	               (size_t) batch->sequences * (size_t) model->config.labels *
	                   sizeof(float));
	classifier_backward(&head, &pass);
	pass_backward(&pass);
	return device->sync(device, failure);
}

bool
model_classify_accumulate(Model *model, const Batch *batch,
                          const DropoutKeys *keys, LogitGradient gradient,
                          void *argument, Failure *failure)
{
	Arena *arena = arena_create();
	size_t count = (size_t) batch->sequences * (size_t) model->config.labels;
	float *logits = arena_alloc(arena, count * sizeof(float));
	float *dlogits = arena_alloc(arena, count * sizeof(float));
	bool done = model_require(model, MODEL_CLASSIFIER, failure);

	if (done && sequences_fit(model, batch, 0, batch->sequences))
		done = run_together(model, arena, batch, keys, gradient, argument,
		                    logits, dlogits, failure);
	else if (done)
		done = run_parts(model, batch, keys, logits, NULL, failure) &&
		       gradient(argument, batch->sequences, logits, dlogits, failure) &&
		       run_parts(model, batch, keys, logits, dlogits, failure);
	arena_destroy(arena);
	return done;
}
