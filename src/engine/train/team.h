/*
 * team.h
 *		The ranks of a job, which share the work of every step.
 *
 * Rank 0 runs the job: it draws, evaluates, writes.  It gives every rank whole
 * groups of a step, with all that the objective wants to know of them; each
 * adds up the gradient of its own, the sum over ranks is everybody's, and
 * all update their weights alike.  The others know no rows and decide
 * nothing: they follow orders.
 *
 * Order of life of rank 0: team_open() when the job's model is known,
 * team_ready() when training begins, team_begin() when its weights are there,
 * team_step() any number of times.  A rank that fails, or that is gone, fails
 * what is going on, and the team is of no use after that.
 */
#pragma once

#include "device/channel.h"
#include "device/collective.h"
#include "train/step.h"

/* What rank 0 orders, and what is answered. */
typedef enum TeamOrder
{
	TEAM_OPEN = CHANNEL_FIRST, /* a JSON text, see rank.c */
	TEAM_OPENED,               /* int32_t: the token budget */
	TEAM_BEGIN,                /* nothing, then broadcasts */
	TEAM_ACCUMULATE,           /* a part of a step, see team.c */
	TEAM_REPORT,               /* StepReport, then a sum over ranks */
	TEAM_UPDATE                /* AdamW */
} TeamOrder;

/* As rank 0 has it. */
typedef struct Team
{
	int ranks;
	Channel *channel; /* [ranks], the first unused */
	Collective *collective;
	int opening; /* answers to TEAM_OPEN that each rank still owes */

	/* Says how a rank has ended whose channel is closed. */
	void (*explain)(void *argument, int rank, Failure *failure);
	void *argument;
} Team;

/* Has the others open the model of a job: text as rank_run() reads it. */
extern bool team_open(Team *team, const char *text, Failure *failure);

/* Waits until they have; budget becomes the least of theirs and its own. */
extern bool team_ready(Team *team, int32_t *budget, Failure *failure);

/* Gives them the weights and moments of the model. */
extern bool team_begin(Team *team, Model *model, Failure *failure);

/* step_run() by all ranks. */
extern bool team_step(Team *team, Model *model, const TrainOptions *options,
                      const Dataset *dataset, const int32_t *drawn, int count,
                      int64_t budget, int64_t update, double rate,
                      StepReport *report, Failure *failure);

/* Which rank computes each group of a step, owner[count]: the longest goes
 * first, always to the rank with the fewest tokens. */
extern void team_share(const int64_t *tokens, int count, int ranks, int *owner);

/* ------------------------------------------------------- the other ranks */

/* Does what was ordered, of TEAM_BEGIN and those behind it. */
extern bool team_follow(Channel *channel, Collective *collective, Model *model,
                        const TrainOptions *options, uint32_t order, void *data,
                        size_t size, Failure *failure);
