/*
 * job_submit.c
 *		From a checked call to a job's row: what cannot work fails here.
 */
#include "alol.h"

#include <math.h>

#include "common/shortest_dec.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/fmgrprotos.h"

#include "job/critic.h"
#include "job/job_refresh.h"
#include "job/job_source.h"
#include "job/job_start.h"
#include "job/job_submit.h"
#include "base/json.h"
#include "model/model.h"
#include "options.h"
#include "base/statement.h"
#include "wire/device_spec.h"

/* Defaults of training all weights, and of training an adapter. */
#define LEARNING_RATE 2e-5
#define LORA_LEARNING_RATE 2e-4

/* Larger models are trained by an adapter of this rank. */
#define LORA_PARAMETERS INT64CONST(500000000)
#define LORA_RANK 64

/* What the names in a call stand for. */
typedef struct JobModels
{
	Model *policy;
	Model *value;     /* NULL: none is named */
	Model *reference; /* NULL: the policy */
} JobModels;

/* What options_check() calls a kind of job. */
static const char *
option_kind(const char *kind)
{
	if (strcmp(kind, "value") == 0)
		return "train_value";
	return strcmp(kind, "reward") == 0 ? "train_reward" : kind;
}

/* An adapter goes on as it is: its rank, alpha and targets are its own. */
static int
rank_of_adapter(const JobCall *call, const Model *adapter)
{
	char *why = psprintf("Training goes on with adapter \"%s\" as it is.",
	                     adapter->name);

	if (call->lora_rank != LORA_DEFAULT && call->lora_rank != adapter->rank)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("lora_rank must be %d, that of adapter \"%s\", not %d",
		                adapter->rank, adapter->name, call->lora_rank),
		         errdetail("%s", why),
		         errhint("Leave lora_rank out. To train something else, merge "
		                 "the adapter with alol_model_export() first.")));
	options_refuse(call->options, "lora_alpha", why);
	options_refuse(call->options, "lora_targets", why);
	return adapter->rank;
}

/* 0: all weights are trained. */
static int
resolve_rank(const JobCall *call, const Model *policy)
{
	if (policy->kind == 'a')
		return rank_of_adapter(call, policy);
	if (call->lora_rank != LORA_DEFAULT)
		return call->lora_rank;
	return policy->parameters > LORA_PARAMETERS ? LORA_RANK : 0;
}

static void
check_quantize(Jsonb *options, int rank)
{
	char *quantize = json_text(options, "quantize");

	if (rank == 0 && strcmp(quantize, "none") != 0)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("quantize \"%s\" needs an adapter to train", quantize),
		         errhint("Set lora_rank to 1 or more: quantized weights stay "
		                 "as they are.")));
}

static void
add_training(StringInfo json, const JobCall *call, int rank)
{
	double learning_rate = call->learning_rate;

	if (isnan(learning_rate))
		learning_rate = rank > 0 ? LORA_LEARNING_RATE : LEARNING_RATE;
	json_add_text(json, "method", call->method);
	json_add_int(json, "batch_size", call->batch_size);
	json_add_json(json, "epochs", double_to_shortest_decimal(call->epochs));
	json_add_json(json, "learning_rate",
	              double_to_shortest_decimal(learning_rate));
	json_add_int(json, "lora_rank", rank);
	if (call->steps > 0)
		json_add_int(json, "steps", call->steps);
	json_add_int(json, "checkpoint_interval_s", alol_checkpoint_interval_s);
}

/* options with their defaults, and the main parameters beside them. */
static Jsonb *
resolve_settings(const JobCall *call, const Model *policy, const Method *method)
{
	int rank = call->method == NULL ? 0 : resolve_rank(call, policy);
	const OptionContext context = {
		.is_uniform = method != NULL && method_is_uniform(method),
		.has_lora = rank > 0,
		.rolls_out = method != NULL && method_rolls_out(method)};
	Jsonb *options =
		options_check(option_kind(call->kind), &context, call->options);
	StringInfoData json;
	Datum merged;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	if (call->method != NULL)
	{
		check_quantize(options, rank);
		if (call->label != NULL)
			json_add_text(&json, "label", call->label);
		add_training(&json, call, rank);
	}
	json_add_int(&json, "seed", call->seed);
	appendStringInfoChar(&json, '}');
	merged = DirectFunctionCall2(
		jsonb_concat, JsonbPGetDatum(options),
		DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
	return DatumGetJsonbP(merged);
}

/* Raises where there is no such GPU now. */
static void
check_gpu(const char *device)
{
	Engine *engine = engine_start_to_look(CurrentMemoryContext);
	StringInfoData json;
	EngineFrame reply;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_text(&json, "device", device);
	appendStringInfoChar(&json, '}');
	engine_ask(engine, WIRE_DEVICES, engine_payload(json.data), &reply);
	engine_stop(engine);
}

static void
check_device(const JobCall *call, const Method *method, Jsonb *settings)
{
	const char *device = engine_device(json_text(settings, "device"));
	DeviceSpec spec;

	if (!device_spec_parse(device, &spec))
		return;
	if (spec.kind == DEVICE_GPU || spec.kind == DEVICE_GPU_ALL)
		check_gpu(device);
	/* Rollouts need all of the model at one place. */
	if (method != NULL && method_rolls_out(method) && spec.count > 1)
		ereport(ERROR,
		        (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
		         errmsg("method \"%s\" trains on one device, not on \"%s\"",
		                call->method, device)));
}

/* The others that the call names. */
static void
find_models(const JobCall *call, Jsonb *settings, JobModels *models)
{
	char *reference = json_text(settings, "reference");

	if (reference != NULL)
	{
		models->reference = model_get(reference, GetUserId());
		model_check_kind(models->reference, 'l', "reference");
	}
	if (call->value == NULL)
		return;
	models->value = model_get(call->value, GetUserId());
	model_check_kind(models->value, 'v', "value");
	if (models->value->base != models->policy->id &&
	    (models->reference == NULL ||
	     models->value->base != models->reference->id))
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("value model \"%s\" is of model \"%s\", not of \"%s\"",
		                call->value, model_get_by_id(models->value->base)->name,
		                call->model),
		         errhint("Fit one with alol_train_value().")));
}

/*
 * Holds the job's models until its row is there for alol_model_drop() to see.
 * Within the owner's scope.
 */
static void
lock_models(const JobCall *call, const JobModels *models)
{
	Statement statement = {0};
	int64 policy = models->policy->id;
	int64 value = models->value == NULL ? policy : models->value->id;
	int64 reference =
		models->reference == NULL ? policy : models->reference->id;
	uint64 count = 1 + (value != policy) + (reference != policy);

	statement_int(&statement, policy);
	statement_int(&statement, value);
	statement_int(&statement, reference);
	if (statement_write(&statement, "SELECT FROM @schema@.alol_model WHERE id "
	                                "IN ($1, $2, $3) FOR KEY SHARE") != count)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
		                errmsg("a model of the job was dropped meanwhile"),
		                errdetail("The job was to work with model \"%s\".",
		                          call->model)));
}

static int64
insert_row(const JobCall *call, const JobModels *models, Jsonb *settings)
{
	Statement statement = {0};
	Oid owner = GetUserId();
	Jsonb *session = session_record(settings);
	OwnerScope scope;
	int64 id;

	owner_begin(&scope);
	lock_models(call, models);
	statement_oid(&statement, owner);
	statement_text(&statement, call->kind);
	statement_text(&statement, call->source);
	statement_text(&statement, call->model);
	statement_text(&statement, call->output);
	statement_text(&statement, call->method);
	statement_text(&statement, call->reward);
	statement_text(&statement, call->value);
	statement_text(&statement, call->validation);
	statement_id(&statement, models->policy->id);
	statement_id(&statement, models->value == NULL ? 0 : models->value->id);
	statement_id(&statement,
	             models->reference == NULL ? 0 : models->reference->id);
	statement_jsonb(&statement, call->options);
	statement_jsonb(&statement, settings);
	statement_jsonb(&statement, session);
	statement_write(&statement,
	                "INSERT INTO @schema@.alol_job (owner, kind, source, "
	                "model, output, method, reward, value, validation, "
	                "model_id, value_id, reference_id, options, settings, "
	                "session) VALUES ($1::regrole, $2, $3, $4, $5, $6, $7, $8, "
	                "$9, $10, $11, $12, $13, $14, $15) RETURNING id");
	id = result_int(0, 1);
	owner_end(&scope);
	return id;
}

/* Any but a value model can become a classifier. */
static void
check_body(const Model *model)
{
	if (model->kind == 'v')
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("model \"%s\" is %s, of which no classifier can be "
		                "made",
		                model->name, model_kind_name(model->kind))));
}

/* What the call wants done, as the engine has it; NULL for kind "value". */
static const Method *
find_method(JobCall *call, const Model *policy, Method *method)
{
	if (call->label != NULL)
	{
		check_body(policy);
		call->method = critic_objective(call->method, call->source, call->label,
		                                call->options);
		objective_get(engine_session(), call->method, method);
		return method;
	}
	model_check_kind(policy, 'l', "model");
	if (strcmp(call->kind, "evaluate") == 0)
		return &method_evaluate;
	if (call->method == NULL)
		return NULL;
	method_get(engine_session(), call->method, method);
	return method;
}

int64
job_submit(JobCall *call)
{
	Jsonb *settings;
	JobModels models;
	JobSources sources;
	const Method *used;
	Method method;
	int64 id;

	job_call_check(call);
	memset(&models, 0, sizeof(models));
	models.policy = model_get(call->model, GetUserId());
	used = find_method(call, models.policy, &method);
	settings = resolve_settings(call, models.policy, used);
	check_device(call, used, settings);
	find_models(call, settings, &models);
	if (call->output != NULL)
		model_check_new_name(call->output);
	if (call->label != NULL)
		critic_sources_open(call->source, call->validation, settings, &sources);
	else
	{
		job_sources_open(call->source, call->validation, call->reward, used,
		                 settings, &sources);
		refresh_check(call->method, used, settings, &sources);
	}
	job_check_owner(GetUserId());
	id = insert_row(call, &models, settings);
	job_start_at_commit(id, GetUserId());
	/* Whoever starts a job also gives the waiting ones a chance. */
	(void) job_restart_interrupted();
	return id;
}
