/*
 * held_groups.c
 *		What a policy makes of pairs and lists that it is not trained on.
 *
 * The objective itself is asked, as in training; its gradient is of no use.
 */
#include "train/held_groups.h"

#include "base/poll.h"

#include <string.h>

/* Tokens of groups that are looked at together, unless one has more. */
#define TOKENS_AT_ONCE 16384

/* Some whole groups. */
typedef struct Part
{
	Arena *arena;
	const Dataset *held;
	const TrainOptions *options;
	int first; /* group */
	int groups;
	Batch batch;
	float *logp;            /* of all targets */
	float *grad;            /* which nobody wants */
	const DatasetRow **row; /* [batch.sequences] */
	GroupTables tables;     /* of one group */
} Part;

/* How many groups from first on are one part; their sequences and tokens. */
static int
measure_part(const Dataset *held, int first, int *sequences, int64_t *tokens)
{
	const Groups *groups = &held->groups;
	int count = 0;

	*sequences = 0;
	*tokens = 0;
	for (int g = first; g < groups->count; g++)
	{
		int64_t more = dataset_group_tokens(held, g);

		if (count > 0 && *tokens + more > TOKENS_AT_ONCE)
			break;
		*tokens += more;
		*sequences += groups->offset[g + 1] - groups->offset[g];
		count++;
	}
	return count;
}

/* The part's rows as one batch, and room for what they give. */
static bool
lay_out(Part *part, int sequences, int64_t tokens, Failure *failure)
{
	const Dataset *held = part->held;
	const int32_t *row = held->groups.row + held->groups.offset[part->first];
	int32_t *offset, *target, *ids;
	const ArenaTable tables[] = {
		{(void **) &offset, sequences + 1, sizeof(int32_t)},
		{(void **) &target, sequences, sizeof(int32_t)},
		{(void **) &ids, tokens, sizeof(int32_t)},
		{(void **) &part->logp, tokens, sizeof(float)},
		{(void **) &part->grad, tokens, sizeof(float)},
		{(void **) &part->row, sequences, sizeof(DatasetRow *)},
		{(void **) &part->tables.place, sequences + 1, sizeof(int32_t)},
		{(void **) &part->tables.ref_logp, tokens, sizeof(float)},
		{(void **) &part->tables.reward, sequences, sizeof(double)},
		{(void **) &part->tables.advantage, sequences, sizeof(double)},
	};

	if (!arena_try_tables(part->arena, tables,
	                      sizeof(tables) / sizeof(tables[0]), failure))
		return false;
	for (int i = 0; i < sequences; i++)
	{
		const DatasetRow *one = &held->row[row[i]];

		part->row[i] = one;
		target[i] = offset[i] + one->prompt;
		offset[i + 1] = offset[i] + one->tokens;
		memcpy(ids + offset[i], one->ids,
		       (size_t) one->tokens * sizeof(int32_t));
	}
	part->batch = (Batch){sequences, offset, target, ids, NULL};
	return true;
}

static bool
add_part(Part *part, Model *model, ObjectiveStats *stats, double *loss,
         Failure *failure)
{
	const Groups *groups = &part->held->groups;
	int sequences;
	int64_t total;
	const DatasetRow **row;
	const float *logp;

	part->groups = measure_part(part->held, part->first, &sequences, &total);
	if (!poll_check(failure) || !lay_out(part, sequences, total, failure) ||
	    !model_logprobs(model, &part->batch, part->logp, failure))
		return false;
	row = part->row;
	logp = part->logp;
	for (int g = part->first; g < part->first + part->groups; g++)
	{
		int count = groups->offset[g + 1] - groups->offset[g];
		ObjectiveGroup group =
			dataset_view_group(&part->tables, row, count, logp);

		*loss += part->options->objective->loss(
			&group, &part->options->objective_options, part->grad, stats);
		row += count;
		logp += group.offset[count];
	}
	return true;
}

static int
list_metrics(const ObjectiveStats *stats, double loss, TrainMetric *metric)
{
	double groups = (double) stats->groups;
	int count = 0;

#define ADD(name, value) metric[count++] = (TrainMetric){name, value}
	ADD("eval_loss", loss);
	ADD("eval_rewards/chosen", stats->best_score / groups);
	ADD("eval_rewards/rejected", stats->worst_score / groups);
	ADD("eval_rewards/margins",
	    (stats->best_score - stats->worst_score) / groups);
	ADD("eval_rewards/accuracies",
	    (double) stats->ordered / (double) stats->compared);
	ADD("eval_logps/chosen", stats->best_logp / groups);
	ADD("eval_logps/rejected", stats->worst_logp / groups);
#undef ADD
	return count;
}

bool
held_groups_measure(Model *model, const TrainOptions *options,
                    const Dataset *held, TrainMetric *metric, int *count,
                    double *loss, Failure *failure)
{
	ObjectiveStats stats = {0};
	double total = 0;

	for (int first = 0; first < held->groups.count;)
	{
		Part part = {.arena = arena_create(),
		             .held = held,
		             .options = options,
		             .first = first};
		bool done = add_part(&part, model, &stats, &total, failure);

		arena_destroy(part.arena);
		if (!done)
			return false;
		first += part.groups;
	}
	*loss = total / held->groups.count;
	*count = list_metrics(&stats, *loss, metric);
	return true;
}
