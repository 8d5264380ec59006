/*
 * checkpoint.h
 *		From where a job goes on after a crash, and the best weights so far.
 *
 * "checkpoint-STEP" holds weights, moments and the state of the run; the last
 * two are kept, so that one is whole at any time.  "best-STEP" holds weights
 * alone, written when an evaluation found them best, "rows-STEP" and "held-STEP"
 * the rows as the reference of that step has them (serve/job.h); those that a
 * kept checkpoint refers to are kept.
 */
#pragma once

#include "method/ppo.h"
#include "model/model.h"

/* What a run computes with; another plan gives other roundings. */
typedef struct TrainPlan
{
	int32_t threads;
	int32_t token_budget;  /* tokens of a micro-batch */
	uint64_t pass_bytes;   /* of a pass at most; 0: no limit */
	char description[120]; /* device, dtype, instruction set, versions */
} TrainPlan;

typedef struct TrainState
{
	int64_t step;           /* updates done */
	int64_t steps;          /* of the whole run, as its first rows had it */
	int64_t tokens;         /* trained on, prompts too */
	int64_t evaluated_step; /* of the last evaluation; -1: none yet */
	int64_t best_step;      /* 0: the beginning; -1: no evaluation yet */
	double best_reward;
	double start_reward;    /* before the first step */
	uint64_t rows_checksum; /* of the rows trained on; at refreshed_step those
	                         * before */

	/* The reference is the policy as it was at this step. */
	int64_t refreshed_step; /* 0: as training began */
	double reference_reward;
	double epochs; /* done by then */

	/* Of a method that rolls out. */
	int64_t updates; /* several a step */
	double kl_coefficient;
	ScoreMoments scores;
	TrainPlan plan;
} TrainState;

/*
 * Writes the trainable model's weights and moments beside state, then removes
 * checkpoints and best weights that are not needed any more.
 */
extern bool checkpoint_write(const char *directory, Model *model,
                             const TrainState *state, Failure *failure);

/*
 * Reads only the state of a checkpoint that is whole; state->step is 0 if
 * there is none.  known is the last one that the job's row tells of: what
 * the metrics of later steps say may be lost, so those steps are done again,
 * unless nothing else is left.
 */
extern void checkpoint_find(const char *directory, int64_t known,
                            TrainState *state, Failure *failure);

/* Loads that checkpoint into the trainable model; false with a failure if it
 * does not fit the model. */
extern bool checkpoint_load(const char *directory, Model *model,
                            const TrainState *state, Failure *failure);

/* Writes the model's weights as the best, those of step. */
extern bool best_write(const char *directory, Model *model, int64_t step,
                       Failure *failure);

/* "rows" or "held" as the reference of this step has scored them; 0: the first
 * one.  In arena. */
extern char *checkpoint_name(Arena *arena, const char *kind, int64_t step);

/* The best weights of step, mapped as long as arena lives. */
extern bool best_open(Arena *arena, const char *directory, const Model *model,
                      int64_t step, const float **weights, Failure *failure);
