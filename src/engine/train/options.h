/*
 * options.h
 *		The settings of a job, checked: what SQL's options mean to the engine.
 */
#pragma once

#include "base/failure.h"
#include "method/critic.h"
#include "method/group.h"
#include "method/ppo.h"
#include "model/lora/lora.h"
#include "train/schedule.h"

#include <jansson.h>

typedef struct TrainOptions
{
	const Objective *objective;
	const Critic *critic; /* of a classifier, whose draws are the objective;
	                       * NULL: a language model is trained */
	ObjectiveOptions objective_options;
	GroupOptions group_options; /* where the objective ranks */
	PpoOptions ppo;             /* where it rolls out */
	bool is_uniform;            /* rows are shuffled, not drawn by weight */
	int batch_size;             /* responses, pairs or lists of a step */
	double epochs;
	int64_t steps; /* 0: from the epochs */
	uint64_t seed;
	double learning_rate;
	ScheduleKind schedule;
	int64_t warmup_steps;
	double weight_decay;
	double max_grad_norm; /* 0: no limit */
	double beta1;
	double beta2;
	double eps;
	bool codes_moments; /* adamw8bit: see model_code_moments() */
	int max_prompt_tokens;
	int max_response_tokens;
	int64_t evaluate_every;     /* steps; 0: a tenth of them */
	int64_t log_every;          /* steps */
	int64_t checkpoint_every;   /* steps; 0: by time alone */
	int64_t known_checkpoint;   /* to go on from, see checkpoint_find() */
	double checkpoint_interval; /* s */
	bool keep_best;
	double refresh_reference; /* by what the best step must beat the reference
	                             * to take its place; 0: it never does */
	LoraOptions lora;         /* rank 0: all weights are trained */
	DType quantize; /* of the frozen weights; fp32: as they are stored */
} TrainOptions;

/* Reads the flat settings object of WIRE_JOB_OPEN. */
extern bool train_options_read(const json_t *settings, TrainOptions *options,
                               Failure *failure);
