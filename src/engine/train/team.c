/*
 * team.c
 *		The ranks of a job, which share the work of every step.
 */
#include "train/team.h"

#include <string.h>

/* A part of a step: this, then the tables that its counts speak of. */
typedef struct PartHeader
{
	int32_t groups;
	int32_t rows;
	int64_t tokens;
	int64_t references; /* log-probabilities of the reference */
	int64_t budget;
	int64_t update;
	double scale;
} PartHeader;

/* The tables, in the message or about to be. */
typedef struct PartTables
{
	DatasetRow *row;  /* [rows], pointers only say whether there is something */
	int32_t *offset;  /* [groups + 1] the first row of each */
	int32_t *member;  /* [rows] 0, 1, 2, ... */
	int32_t *drawn;   /* [groups] 0, 1, 2, ... */
	int32_t *place;   /* [groups] among all of the step */
	int32_t *ids;     /* [tokens] */
	float *reference; /* [references] */
} PartTables;

/* ---------------------------------------------------------------- failures */

/* What one rank said of its failure, or how it ended, with its number. */
static bool
blame(Team *team, int rank, Failure *failure)
{
	if (team->channel[rank].is_closed)
		team->explain(team->argument, rank, failure);
	return fail_while(failure, "computing on rank %d of %d", rank, team->ranks);
}

/* After a collective has failed: who was it? */
static bool
blame_someone(Team *team, Failure *failure)
{
	for (int rank = 1; rank < team->ranks; rank++)
		if (team->channel[rank].is_closed)
			return blame(team, rank, failure);
	return false;
}

static bool
order_all(Team *team, TeamOrder order, const void *data, size_t size,
          Failure *failure)
{
	for (int rank = 1; rank < team->ranks; rank++)
		if (!channel_send(&team->channel[rank], order, data, size, failure))
			return blame(team, rank, failure);
	return true;
}

/* ------------------------------------------------------------ the beginning */

bool
team_open(Team *team, const char *text, Failure *failure)
{
	team->opening++;
	return order_all(team, TEAM_OPEN, text, strlen(text), failure);
}

bool
team_ready(Team *team, int32_t *budget, Failure *failure)
{
	for (; team->opening > 0; team->opening--)
		for (int rank = 1; rank < team->ranks; rank++)
		{
			int32_t own;

			if (!channel_receive(&team->channel[rank], TEAM_OPENED, &own,
			                     sizeof(own), failure))
				return blame(team, rank, failure);
			if (own < *budget)
				*budget = own;
		}
	return true;
}

/* Weights and moments of rank 0 for all. */
static bool
share_state(Collective *collective, Model *model, Failure *failure)
{
	static const ModelState states[] = {MODEL_WEIGHTS, MODEL_FIRST_MOMENT,
	                                    MODEL_SECOND_MOMENT};

	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
	{
		int64_t words = states[i] == MODEL_WEIGHTS ? model_state_size(model)
		                                           : model_moment_size(model);

		if (!collective->broadcast(collective,
		                           model_state_memory(model, states[i]),
		                           (size_t) words * sizeof(float), failure))
			return false;
	}
	return true;
}

bool
team_begin(Team *team, Model *model, Failure *failure)
{
	return order_all(team, TEAM_BEGIN, NULL, 0, failure) &&
	       (share_state(team->collective, model, failure) ||
	        blame_someone(team, failure));
}

/* ------------------------------------------------------------------- parts */

void
team_share(const int64_t *tokens, int count, int ranks, int *owner)
{
	int64_t load[COLLECTIVE_RANKS_MAX] = {0};

	for (int i = 0; i < count; i++)
		owner[i] = -1;
	for (int done = 0; done < count; done++)
	{
		int longest = -1, idlest = 0;

		for (int i = 0; i < count; i++)
			if (owner[i] < 0 && (longest < 0 || tokens[i] > tokens[longest]))
				longest = i;
		for (int rank = 1; rank < ranks; rank++)
			if (load[rank] < load[idlest])
				idlest = rank;
		owner[longest] = idlest;
		load[idlest] += tokens[longest];
	}
}

/* Rows of a group, as places in the dataset. */
static const int32_t *
members(const Dataset *dataset, int32_t group, int32_t *count)
{
	const Groups *groups = &dataset->groups;

	*count = groups->offset[group + 1] - groups->offset[group];
	return groups->row + groups->offset[group];
}

/* What the part of a rank is, without its tables. */
static PartHeader
measure_part(const StepPart *part)
{
	PartHeader header = {.groups = part->count,
	                     .budget = part->budget,
	                     .update = part->update,
	                     .scale = part->scale};

	for (int i = 0; i < part->count; i++)
	{
		int32_t count;
		const int32_t *member = members(part->dataset, part->drawn[i], &count);

		header.rows += count;
		for (int32_t j = 0; j < count; j++)
		{
			const DatasetRow *row = &part->dataset->row[member[j]];

			header.tokens += row->tokens;
			if (row->ref_logp != NULL)
				header.references += row->tokens - row->prompt;
		}
	}
	return header;
}

/* Lays the tables out behind the header (NULL: only counts), 8-aligned. */
static size_t
lay_out(const PartHeader *header, char *base, PartTables *tables)
{
	size_t rows = (size_t) header->rows, groups = (size_t) header->groups;
	const struct
	{
		void **table;
		size_t bytes;
	} all[] = {
		{(void **) &tables->row, rows * sizeof(DatasetRow)},
		{(void **) &tables->offset, (groups + 1) * sizeof(int32_t)},
		{(void **) &tables->member, rows * sizeof(int32_t)},
		{(void **) &tables->drawn, groups * sizeof(int32_t)},
		{(void **) &tables->place, groups * sizeof(int32_t)},
		{(void **) &tables->ids, (size_t) header->tokens * sizeof(int32_t)},
		{(void **) &tables->reference,
	     (size_t) header->references * sizeof(float)},
	};
	size_t used = sizeof(PartHeader);

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
	{
		*all[i].table = base == NULL ? NULL : base + used;
		used += (all[i].bytes + 7) / 8 * 8;
	}
	return used;
}

static void
fill_part(const StepPart *part, PartTables *tables)
{
	int32_t *ids = tables->ids;
	float *reference = tables->reference;
	int32_t rows = 0;

	for (int i = 0; i < part->count; i++)
	{
		int32_t count;
		const int32_t *member = members(part->dataset, part->drawn[i], &count);

		tables->offset[i] = rows;
		tables->drawn[i] = i;
		tables->place[i] = part->place[i];
		for (int32_t j = 0; j < count; j++)
		{
			const DatasetRow *row = &part->dataset->row[member[j]];
			int32_t predicted = row->tokens - row->prompt;

			memcpy(ids, row->ids, (size_t) row->tokens * sizeof(int32_t));
			ids += row->tokens;
			if (row->ref_logp != NULL)
			{
				memcpy(reference, row->ref_logp,
				       (size_t) predicted * sizeof(float));
				reference += predicted;
			}
			tables->member[rows] = rows;
			tables->row[rows++] = *row;
		}
	}
	tables->offset[part->count] = rows;
}

static bool
send_part(Team *team, Arena *arena, int rank, const StepPart *part,
          Failure *failure)
{
	PartHeader header = measure_part(part);
	PartTables tables;
	size_t size = lay_out(&header, NULL, &tables);
	char *message = arena_try(arena, size, 1, failure);

	if (message == NULL)
		return false;
	memcpy(message, &header, sizeof(header));
	lay_out(&header, message, &tables);
	fill_part(part, &tables);
	return channel_send(&team->channel[rank], TEAM_ACCUMULATE, message, size,
	                    failure) ||
	       blame(team, rank, failure);
}

/* Points the rows of a message to what came with them. */
static bool
open_part(void *message, size_t size, Dataset *dataset, StepPart *part,
          Failure *failure)
{
	const PartHeader *header = message;
	PartTables tables;
	int32_t *ids;
	float *reference;

	if (size < sizeof(PartHeader) || size != lay_out(header, message, &tables))
		return fail(failure, FAILURE_INTERNAL, "a part of a step has %zu bytes",
		            size);
	ids = tables.ids;
	reference = tables.reference;
	for (int32_t i = 0; i < header->rows; i++)
	{
		DatasetRow *row = &tables.row[i];

		row->ids = ids;
		ids += row->tokens;
		if (row->ref_logp != NULL)
		{
			row->ref_logp = reference;
			reference += row->tokens - row->prompt;
		}
	}
	*dataset = (Dataset){.selected = header->rows,
	                     .row = tables.row,
	                     .groups = {.count = header->groups,
	                                .offset = tables.offset,
	                                .row = tables.member}};
	*part = (StepPart){.dataset = dataset,
	                   .drawn = tables.drawn,
	                   .place = tables.place,
	                   .count = header->groups,
	                   .scale = header->scale,
	                   .budget = header->budget,
	                   .update = header->update};
	return true;
}

/* -------------------------------------------------------------------- steps */

/* The groups that a rank computes. */
static StepPart
part_of(Arena *arena, const StepPart *all, const int *owner, int rank)
{
	size_t bytes = (size_t) all->count * sizeof(int32_t);
	int32_t *drawn = arena_alloc(arena, bytes);
	int32_t *place = arena_alloc(arena, bytes);
	StepPart part = *all;

	part.count = 0;
	for (int i = 0; i < all->count; i++)
		if (owner[i] == rank)
		{
			drawn[part.count] = all->drawn[i];
			place[part.count++] = i;
		}
	part.drawn = drawn;
	part.place = place;
	return part;
}

static void
add_report(StepReport *sum, const StepReport *more)
{
	sum->responses += more->responses;
	sum->tokens += more->tokens;
	sum->predicted += more->predicted;
	sum->loss += more->loss;
	sum->logp += more->logp;
	sum->ref_logp += more->ref_logp;
	sum->reward += more->reward;
	sum->advantage += more->advantage;
	objective_stats_add(&sum->stats, &more->stats);
}

/* Sums the gradients of all ranks. */
static bool
reduce(Collective *collective, Model *model, Failure *failure)
{
	return collective->all_reduce(collective,
	                              model_state_memory(model, MODEL_GRADIENTS),
	                              model_state_size(model), failure);
}

static bool
accumulate(Team *team, Arena *arena, Model *model, const TrainOptions *options,
           const StepPart *all, StepReport *report, Failure *failure)
{
	size_t places = (size_t) all->count;
	int64_t *tokens = arena_alloc(arena, places * sizeof(int64_t));
	int *owner = arena_alloc(arena, places * sizeof(int));
	StepPart own;

	for (int i = 0; i < all->count; i++)
		tokens[i] = dataset_group_tokens(all->dataset, all->drawn[i]);
	team_share(tokens, all->count, team->ranks, owner);
	for (int rank = 1; rank < team->ranks; rank++)
	{
		StepPart part = part_of(arena, all, owner, rank);

		if (!send_part(team, arena, rank, &part, failure))
			return false;
	}
	own = part_of(arena, all, owner, 0);
	if (!step_accumulate(model, options, &own, report, failure))
		return false;
	for (int rank = 1; rank < team->ranks; rank++)
	{
		StepReport more;

		if (!channel_receive(&team->channel[rank], TEAM_REPORT, &more,
		                     sizeof(more), failure))
			return blame(team, rank, failure);
		add_report(report, &more);
	}
	return reduce(team->collective, model, failure) ||
	       blame_someone(team, failure);
}

bool
team_step(Team *team, Model *model, const TrainOptions *options,
          const Dataset *dataset, const int32_t *drawn, int count,
          int64_t budget, int64_t update, double rate, StepReport *report,
          Failure *failure)
{
	StepPart all = step_whole(dataset, drawn, count, budget, update);
	Arena *arena = arena_create();
	AdamW settings;
	bool done;

	done = accumulate(team, arena, model, options, &all, report, failure);
	arena_destroy(arena);
	return done &&
	       step_settings(model, options, update, rate, report->loss,
	                     &report->grad_norm, &settings, failure) &&
	       order_all(team, TEAM_UPDATE, &settings, sizeof(settings), failure) &&
	       model_update(model, &settings, failure);
}

/* --------------------------------------------------------- the other ranks */

static bool
follow_accumulate(Channel *channel, Collective *collective, Model *model,
                  const TrainOptions *options, void *data, size_t size,
                  Failure *failure)
{
	Dataset dataset;
	StepPart part;
	StepReport report;

	return open_part(data, size, &dataset, &part, failure) &&
	       step_accumulate(model, options, &part, &report, failure) &&
	       channel_send(channel, TEAM_REPORT, &report, sizeof(report),
	                    failure) &&
	       reduce(collective, model, failure);
}

bool
team_follow(Channel *channel, Collective *collective, Model *model,
            const TrainOptions *options, uint32_t order, void *data,
            size_t size, Failure *failure)
{
	switch (order)
	{
		case TEAM_BEGIN:
			return share_state(collective, model, failure);
		case TEAM_ACCUMULATE:
			return follow_accumulate(channel, collective, model, options, data,
			                         size, failure);
		case TEAM_UPDATE:
			return model_update(model, data, failure);
		default:
			return fail(failure, FAILURE_INTERNAL,
			            "a rank cannot follow order %u", order);
	}
}
