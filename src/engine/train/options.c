/*
 * options.c
 *		The settings of a job, checked.
 *
 * SQL has checked them already and filled in its defaults; those here serve
 * requests that leave a setting out.
 */
#include "train/options.h"

#include "formats/json.h"

#include <string.h>

#define STEPS_MAX ((int64_t) 1 << 40)

static bool
read_method(const json_t *settings, TrainOptions *options, Failure *failure)
{
	ObjectiveOptions *objective = &options->objective_options;
	const json_t *clip_range = json_object_get(settings, "clip_range");
	const char *method, *sampling;

	if (!json_get_string(settings, "method", "a_lol", &method, failure) ||
	    !json_get_string(settings, "sampling", "priority", &sampling,
	                     failure) ||
	    !json_get_double(settings, "clip_range", 0.9, 0, 1e9,
	                     &objective->clip_range, failure) ||
	    !json_get_double(settings, "beta", 0.1, 0, 1e9, &objective->beta,
	                     failure) ||
	    !json_get_double(settings, "gold_floor", 0.1, 0, 1,
	                     &objective->gold_floor, failure) ||
	    !json_get_double(settings, "sft_weight", 0.05, 0, 1e9,
	                     &objective->sft_weight, failure))
		return false;
	if (clip_range != NULL && json_is_null(clip_range))
		objective->clip_range = -1;
	options->critic = critic_find(method);
	options->objective = options->critic == NULL ? objective_find(method)
	                                             : &options->critic->draws;
	if (options->objective == NULL)
		return fail(failure, FAILURE_UNSUPPORTED, "method \"%s\" is not known",
		            method);
	if (strcmp(sampling, "priority") != 0 && strcmp(sampling, "uniform") != 0)
		return fail(failure, FAILURE_BAD_INPUT,
		            "sampling must be priority or uniform, not \"%s\"",
		            sampling);
	/* Without a weight there is nothing to draw by. */
	options->is_uniform = strcmp(sampling, "uniform") == 0 ||
	                      options->objective->rows == ROWS_ALL ||
	                      objective_rolls_out(options->objective) ||
	                      objective_ranks(options->objective);
	return true;
}

/* How rows become pairs or lists. */
static bool
read_groups(const json_t *settings, TrainOptions *options, Failure *failure)
{
	static const char *const kinds[] = {
		[PAIRS_BEST_WORST] = "best_worst",
		[PAIRS_ADJACENT] = "adjacent",
		[PAIRS_ALL] = "all",
	};
	GroupOptions *group = &options->group_options;
	const char *pairs;
	int64_t max_list;

	if (!json_get_string(settings, "pairs", kinds[0], &pairs, failure) ||
	    !json_get_int(settings, "max_list", 8, 2, OBJECTIVE_LIST_MAX, &max_list,
	                  failure))
		return false;
	group->makes_lists = options->objective->rows == ROWS_LISTS;
	group->max_list = (int) max_list;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
	{
		group->pairs = (PairsKind) i;
		if (strcmp(pairs, kinds[i]) == 0)
			return true;
	}
	return fail(failure, FAILURE_BAD_INPUT,
	            "pairs must be best_worst, adjacent or all, not \"%s\"", pairs);
}

static bool
read_ppo(const json_t *settings, TrainOptions *options, Failure *failure)
{
	PpoOptions *ppo = &options->ppo;
	int64_t epochs, mini_batch;

	if (!json_get_int(settings, "ppo_epochs", 4, 1, 1000, &epochs, failure) ||
	    !json_get_int(settings, "mini_batch_size", 0, 0, INT32_MAX, &mini_batch,
	                  failure) ||
	    !json_get_double(settings, "cliprange_value", 0.2, 0, 1e9,
	                     &ppo->clip_value, failure) ||
	    !json_get_double(settings, "vf_coef", 0.1, 0, 1e9, &ppo->value_weight,
	                     failure) ||
	    !json_get_double(settings, "gamma", 1, 0, 1, &ppo->gamma, failure) ||
	    !json_get_double(settings, "lam", 0.95, 0, 1, &ppo->lambda, failure) ||
	    !json_get_double(settings, "init_kl_coef", 0.2, 0, 1e9,
	                     &ppo->kl_coefficient, failure) ||
	    !json_get_double(settings, "target_kl", 6, 1e-9, 1e9, &ppo->kl_target,
	                     failure) ||
	    !json_get_double(settings, "kl_horizon", 10000, 1, 1e18,
	                     &ppo->kl_horizon, failure) ||
	    !json_get_bool(settings, "score_norm", true, &ppo->normalizes_scores,
	                   failure) ||
	    !json_get_bool(settings, "score_scaling", false, &ppo->scales_scores,
	                   failure) ||
	    !json_get_double(settings, "score_clip", 0, 0, 1e9, &ppo->score_clip,
	                     failure) ||
	    !json_get_double(settings, "early_stopping_kl", 0, 0, 1e9,
	                     &ppo->stop_kl, failure))
		return false;
	ppo->epochs = (int) epochs;
	ppo->mini_batch = (int) mini_batch;
	ppo->clip_range = options->objective_options.clip_range;
	return true;
}

/* Rows are scored anew: there must be something in their scores that depends
 * on the reference. */
static bool
read_refresh(const json_t *settings, TrainOptions *options, Failure *failure)
{
	const Objective *objective = options->objective;

	if (!json_get_double(settings, "refresh_reference", 0, 0, 1e9,
	                     &options->refresh_reference, failure))
		return false;
	if (options->refresh_reference == 0 ||
	    objective->rows == ROWS_POSITIVE_ADVANTAGE ||
	    (objective->needs_reference && !objective_rolls_out(objective)))
		return true;
	return fail(failure, FAILURE_BAD_INPUT,
	            "refresh_reference does not go with method %s",
	            objective->name);
}

static bool
read_length(const json_t *settings, TrainOptions *options, Failure *failure)
{
	const json_t *seed = json_object_get(settings, "seed");
	int64_t batch_size, prompt, response;

	if (!json_get_int(settings, "batch_size", 16, 1, 65536, &batch_size,
	                  failure) ||
	    !json_get_double(settings, "epochs", 1, 0, 1e9, &options->epochs,
	                     failure) ||
	    !json_get_int(settings, "steps", 0, 0, STEPS_MAX, &options->steps,
	                  failure) ||
	    !json_get_int(settings, "max_prompt_tokens", 640, 1, INT32_MAX, &prompt,
	                  failure) ||
	    !json_get_int(settings, "max_response_tokens", 128, 1, INT32_MAX,
	                  &response, failure))
		return false;
	/* A seed is any bigint, beyond what a double could hold. */
	if (seed != NULL && !json_is_integer(seed) && !json_is_null(seed))
		return fail(failure, FAILURE_BAD_INPUT, "seed must be an integer");
	options->seed = (uint64_t) json_integer_value(seed);
	options->batch_size = (int) batch_size;
	options->max_prompt_tokens = (int) prompt;
	options->max_response_tokens = (int) response;
	return true;
}

static bool
read_optimizer(const json_t *settings, TrainOptions *options, Failure *failure)
{
	const char *schedule, *optimizer;

	if (!json_get_double(settings, "learning_rate", 2e-5, 0, 1e3,
	                     &options->learning_rate, failure) ||
	    !json_get_string(settings, "schedule", "linear", &schedule, failure) ||
	    !json_get_int(settings, "warmup_steps", 0, 0, STEPS_MAX,
	                  &options->warmup_steps, failure) ||
	    !json_get_double(settings, "weight_decay", 0.01, 0, 1e3,
	                     &options->weight_decay, failure) ||
	    !json_get_double(settings, "max_grad_norm", 1, 0, 1e30,
	                     &options->max_grad_norm, failure) ||
	    !json_get_double(settings, "adam_beta1", 0.9, 0, 1, &options->beta1,
	                     failure) ||
	    !json_get_double(settings, "adam_beta2", 0.999, 0, 1, &options->beta2,
	                     failure) ||
	    !json_get_double(settings, "adam_eps", 1e-8, 0, 1, &options->eps,
	                     failure) ||
	    !json_get_string(settings, "optimizer", "adamw", &optimizer, failure))
		return false;
	options->codes_moments = strcmp(optimizer, "adamw8bit") == 0;
	if (!options->codes_moments && strcmp(optimizer, "adamw") != 0)
		return fail(failure, FAILURE_BAD_INPUT,
		            "optimizer must be adamw or adamw8bit, not \"%s\"",
		            optimizer);
	if (!schedule_find(schedule, &options->schedule))
		return fail(failure, FAILURE_BAD_INPUT,
		            "schedule must be constant, linear or cosine, not \"%s\"",
		            schedule);
	if (json_is_null(json_object_get(settings, "max_grad_norm")))
		options->max_grad_norm = 0;
	return true;
}

static bool
read_quantize(const json_t *settings, DType *dtype, Failure *failure)
{
	static const DType known[] = {DTYPE_Q8_0, DTYPE_NF4, DTYPE_NF4_DOUBLE};
	const char *name;

	if (!json_get_string(settings, "quantize", "none", &name, failure))
		return false;
	*dtype = DTYPE_F32;
	if (strcmp(name, "none") == 0)
		return true;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(name, dtype_name(known[i])) == 0)
		{
			*dtype = known[i];
			return true;
		}
	return fail(failure, FAILURE_BAD_INPUT,
	            "quantize must be none, q8_0, nf4 or nf4_double, not \"%s\"",
	            name);
}

/* The targets are borrowed from settings. */
static bool
read_lora(const json_t *settings, TrainOptions *options, Failure *failure)
{
	LoraOptions *lora = &options->lora;
	int64_t rank;

	if (!json_get_int(settings, "lora_rank", 0, 0, LORA_RANK_MAX, &rank,
	                  failure) ||
	    !json_get_double(settings, "lora_alpha", 16, 0, 1e9, &lora->alpha,
	                     failure) ||
	    !json_get_double(settings, "lora_dropout", 0.05, 0, 0.999999,
	                     &lora->dropout, failure))
		return false;
	if (!read_quantize(settings, &options->quantize, failure))
		return false;
	if (rank == 0 && options->quantize != DTYPE_F32)
		return fail(failure, FAILURE_BAD_INPUT,
		            "weights that are trained cannot be quantized to %s",
		            dtype_name(options->quantize));
	lora->rank = (int) rank;
	lora->targets = json_member(settings, "lora_targets");
	lora->seed = options->seed;
	return true;
}

bool
train_options_read(const json_t *settings, TrainOptions *options,
                   Failure *failure)
{
	memset(options, 0, sizeof(TrainOptions));
	return read_method(settings, options, failure) &&
	       read_refresh(settings, options, failure) &&
	       read_groups(settings, options, failure) &&
	       read_ppo(settings, options, failure) &&
	       read_length(settings, options, failure) &&
	       read_optimizer(settings, options, failure) &&
	       read_lora(settings, options, failure) &&
	       json_get_int(settings, "evaluate_every", 0, 0, STEPS_MAX,
	                    &options->evaluate_every, failure) &&
	       json_get_int(settings, "log_every", 1, 1, STEPS_MAX,
	                    &options->log_every, failure) &&
	       json_get_int(settings, "checkpoint_every", 0, 0, STEPS_MAX,
	                    &options->checkpoint_every, failure) &&
	       json_get_double(settings, "checkpoint_interval_s", 60, 0, 1e9,
	                       &options->checkpoint_interval, failure) &&
	       json_get_bool(settings, "keep_best", true, &options->keep_best,
	                     failure);
}
