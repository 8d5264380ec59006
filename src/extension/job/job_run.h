/*
 * job_run.h
 *		A job at work: what the phases of its worker share.
 *
 * Order of life: job_load() reads the rows into files, then the engine is
 * started, the value fitted, rows scored, the model trained and stored.  Where
 * training finds a better reference it stops, and value, scores and training
 * come once more (job_refresh.h).  No transaction is open while the engine
 * computes.
 */
#pragma once

#include "engine/engine.h"
#include "job/job.h"
#include "job/job_method.h"
#include "job/job_rows.h"

typedef struct Critic Critic; /* critic.h */

typedef struct JobRun
{
	Job *job;
	MemoryContext context; /* of this attempt: the engine dies with it */
	Engine *engine;
	char *directory;
	Method method;
	bool is_evaluation;       /* kind "evaluate" */
	bool is_critic;           /* kind "reward": a classifier is trained */
	Critic *critic;           /* of that */
	bool has_method;          /* false for kind "value" */
	bool uses_reward;         /* the job has rewards */
	bool has_pairs;           /* its rows are pairs, without rewards */
	bool uses_value;          /* a value model gives V */
	bool can_evaluate;        /* rewards of new responses can be had */
	bool can_sample;          /* there are prompts to sample responses for */
	bool measures_validation; /* its rows are like those trained on */
	bool has_room;            /* its engine has the memory to begin with */
	JobRows *rows;            /* of the source */
	JobRows *validation;      /* the same as rows where a part is held out */
	char *policy_ref;         /* ModelRef, JSON */
	char *reference_ref;      /* of option reference, or NULL */
	char *answering_ref; /* of the policy whose responses are looked at: the
	                      * reference, or what an evaluation evaluates */
	char *value_ref;     /* NULL until there is one */
	int64 refreshed;     /* whose step the reference is; 0: the beginning */
	int64 base;          /* under what the job makes; 0: nothing */
	char *base_ref;      /* under an adapter, or NULL */
	int64 *prompts;      /* distinct validation prompts: row numbers from 0 */
	int prompt_count;
} JobRun;

/*
 * Transactions of a worker.  begin returns the memory context to give to
 * commit, which is current again after it.  In a reading one, which is
 * READ ONLY, the user's SQL runs with SPI connected and a snapshot; in a
 * writing one, ours alone.
 */
extern MemoryContext job_begin_read(void);
extern MemoryContext job_begin_write(void);
extern void job_commit(MemoryContext saved);

/* engine_payload() outside of a transaction: converting text needs one. */
extern WireBuffer job_payload(const char *head_json);

/* Reading only, with one snapshot for all its statements. */
extern MemoryContext job_begin_snapshot(void);

/* After an error that was caught: no transaction is open. */
extern void job_transaction_reset(void);

/* Takes the worker's locks again, which the user's SQL may have dropped. */
extern void job_hold_locks(void);

/* Runs all phases from where the job's files leave off; raises on failure.
 * The last transaction stores the model and says "succeeded".  engine
 * receives the job's engine when it has started, device what that computes on,
 * in TopMemoryContext. */
extern void job_run(Job *job, MemoryContext context, Engine **engine,
                    char **device);

/* engine_call() of what may show that there is not enough memory to begin
 * with, and that there is. */
extern void job_call_for_room(JobRun *run, EngineCall *call,
                              EngineFrame *result);
extern void job_found_room(JobRun *run);

/* After job_run() has raised this: other jobs have memory that this one needs,
 * and it has not begun. */
extern bool job_lacked_room(const ErrorData *error);

/* Reads source and validation into files unless they are there. */
extern void job_load(JobRun *run);

/* Fits V on the validation prompts unless that is done. */
extern void job_fit_value(JobRun *run);

/* Opens the job in the engine, and scores its rows unless that is done. */
extern void job_score(JobRun *run);

/* Generates for all rows and measures, from where the job left off. */
extern void job_measure(JobRun *run);

/* Trains; the directory of the trained model, palloc'd, or NULL where a new
 * reference has to score the rows first. */
extern char *job_train(JobRun *run);
