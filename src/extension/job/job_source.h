/*
 * job_source.h
 *		The sources of a job as its caller gave them, opened and checked.
 */
#pragma once

#include "reward/reward.h"
#include "source/source.h"

#include "job/job.h"
#include "job/job_method.h"

typedef struct JobSources
{
	Source *source;
	Source *validation; /* NULL: a part of the source */
	Reward *reward;     /* over the source; NULL: the job has no rewards */
	bool needs_value;   /* a value model, of the user's or fitted */
} JobSources;

/*
 * Opens what a job reads, as the current user, and raises for all that
 * cannot work.  method is NULL for kind "value", method_evaluate for
 * kind "evaluate".
 */
extern void job_sources_open(const char *source, const char *validation,
                             const char *reward, const Method *method,
                             Jsonb *settings, JobSources *sources);

/* The source's own pairs are trained on, rather than rows by reward. */
extern bool job_takes_pairs(const Method *method, const Source *source);

/*
 * The rows of the validation can be measured as the source's are trained on:
 * a method that ranks finds pairs or lists among them, too.  reward is that of
 * the source, or NULL.
 */
extern bool job_measures_validation(const Method *method, const Source *source,
                                    const Source *validation,
                                    const Reward *reward);

/* What a job does about rewards and values, given the columns it has.  Where
 * it takes pairs a reward is for new responses only. */
extern bool job_uses_reward(const char *reward, const Method *method,
                            const Source *source);
extern bool job_uses_value(const Method *method, bool has_advantage,
                           bool has_value);
