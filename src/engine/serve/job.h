/*
 * job.h
 *		The one job an engine may hold, from JOB_OPEN to the end of the process.
 */
#pragma once

#include "model/generation/generate.h"
#include "serve/models.h"
#include "train/held.h"
#include "train/trainer.h"

struct Job
{
	Arena *arena; /* of the job, its model too */
	json_t *settings;
	TrainOptions options;
	const char *directory;
	Model *model;          /* a copy of its own, to be trained */
	Model *frozen;         /* of methods that roll out: the reference */
	const char *reference; /* JSON text of the reference's ModelRef, or NULL */
	DatasetWriter writer;
	bool is_writing;   /* rows are coming */
	bool is_ready;     /* they are complete: dataset is open, and grouped */
	bool is_recorded;  /* the other side has written down what it was told */
	bool has_trained;  /* or tried to: the model is no longer as it was */
	int64_t refreshed; /* whose step the reference is; 0: the beginning */
	int64_t steps;     /* of the run, where that has begun; or 0 */
	bool gives_pairs;  /* the rows are chosen and rejected ones */
	int64_t rows;      /* that came */
	Dataset dataset;

	/* Rows that are measured: of classifiers, and of methods that rank. */
	DatasetWriter held_writer;
	Held held;
	bool has_held;

	/* Of a classifier. */
	ClassifierPlan plan;
	int64_t empty; /* rows without any token */
};

/* Opens only what a rank other than 0 computes with: the job's model, made
 * trainable.  The request has the head of its WIRE_JOB_OPEN. */
extern bool job_open_policy(Request *request, Failure *failure);

/* The job that is open; NULL and a failure if none is. */
extern Job *job_of(Request *request, Failure *failure);

/*
 * The rows file has its last name only when training begins: what the other
 * side records of the rows is then complete, and a job that ends before is
 * scored again.  Those that a new reference has scored have a name of their
 * own, checkpoint_name().
 */
#define JOB_ROWS "rows"
#define JOB_ROWS_SCORED "rows.scored"
#define JOB_HELD "held"

/* Where the new reference is while its rows are scored. */
#define JOB_REFERENCE "reference"

/* The last name of the job's rows, in its arena. */
extern const char *job_rows_path(const Job *job);

/* Steps that the job has or, when its rows are complete, will have. */
extern int64_t job_steps(const Job *job);

/* The policy of a checkpoint, loaded into the job's model, is the reference
 * from here on: it is also written where other requests find it. */
extern bool job_refresh(Job *job, const TrainState *state, Failure *failure);

/* Writes the job's model, with these weights (NULL: as it is), into a
 * directory that is made or emptied. */
extern bool job_save_model(Job *job, const float *weights, const char *path,
                           Failure *failure);

/* Opens the rows file at path that scoring has finished; is_ready, unless
 * there is no group to train on. */
extern bool job_open_rows(Job *job, const char *path, Failure *failure);

/* Path of a file in the job's directory, in its arena. */
extern const char *job_path(const Job *job, const char *name);

/* ---------- rows that are measured, not trained on (job_held.c) */

/* New rows come: those held out have a file of their own. */
extern bool job_held_begin(Job *job, Failure *failure);

/* They are all there: before the others, which tell that all are. */
extern bool job_held_finish(Job *job, Failure *failure);

/* Opens and groups them, if there are any: has_held, and held. */
extern bool job_held_open(Job *job, Failure *failure);

/* -------------------------- rewards of new responses (job_rollout.c) */

/*
 * Has the other side, to which number[count] names their prompts, say what the
 * responses are worth, reward[count]: NaN where that is null.  kind: "reward",
 * of evaluation prompts, or "rollout", of rows.
 */
extern bool job_ask_rewards(Request *request, const char *kind, int64_t step,
                            int count, const uint32_t *number,
                            const Generation *responses, double *reward,
                            Failure *failure);

/* How responses are generated: at this temperature, unless option "generation"
 * says otherwise. */
extern bool job_read_generation(const Job *job, Arena *arena,
                                double temperature, GenerateOptions *options,
                                Failure *failure);

/* n x (u32 number, text response) at the end of a frame. */
extern void put_responses(WireBuffer *frame, int count, const uint32_t *number,
                          const Generation *responses);

/* RolloutFunction of a job that is training; argument is the request of it. */
extern bool job_roll_out(void *argument, Arena *arena, int64_t step, int count,
                         Rollout *rollouts, Failure *failure);

/* ------------------------------------ jobs of classifiers (job_critic.c) */

/* What the request wants the model to become, into job->plan. */
extern bool critic_read_plan(Request *request, Job *job, Failure *failure);

/* WIRE_JOB_ROWS. */
extern bool critic_take_rows(Request *request, Job *job, Failure *failure);
