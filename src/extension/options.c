/*
 * options.c
 *		The options jsonb of our functions: keys, types, ranges, defaults.
 */
#include "alol.h"

#include <math.h>

#include "utils/json.h"

#include "base/json.h"
#include "base/nearest.h"
#include "options.h"
#include "wire/device_spec.h"

/* The functions that know an option. */
#define TRAIN 1
#define VALUE 2
#define SCORE 4
#define GENERATE 8 /* the members of option "generation" */
#define EVALUATE 16
#define REWARD 32

typedef enum OptionType
{
	OPTION_INT,
	OPTION_FLOAT,
	OPTION_BOOL,
	OPTION_TEXT,
	OPTION_CHOICE,
	OPTION_TEXTS,   /* an array of text */
	OPTION_TARGETS, /* the same, not empty, or a text */
	OPTION_DEVICE,  /* see device_spec.h */
	OPTION_OBJECT   /* of GENERATE's options */
} OptionType;

typedef enum OptionBounds
{
	CLOSED,
	LOW_OPEN, /* greater than low */
	HIGH_OPEN /* less than high */
} OptionBounds;

typedef struct Option
{
	const char *key;
	int kinds;
	OptionType type;
	const char *fallback; /* JSON; "null": null is a value, and the default */
	double low;
	double high;
	OptionBounds bounds;
	bool is_nullable;    /* null is a value other than the default */
	const char *choices; /* between commas: ,a,b, */
} Option;

#define TEXT_OPTION(key, kinds, fallback)                                      \
	{                                                                          \
		key, kinds, OPTION_TEXT, fallback                                      \
	}
#define INT_OPTION(key, kinds, fallback, low)                                  \
	{                                                                          \
		key, kinds, OPTION_INT, fallback, low, INT32_MAX                       \
	}
#define FLOAT_OPTION(key, kinds, fallback, low, high, bounds)                  \
	{                                                                          \
		key, kinds, OPTION_FLOAT, fallback, low, high, bounds                  \
	}
#define NULLABLE_FLOAT_OPTION(key, kinds, fallback, low, high)                 \
	{                                                                          \
		key, kinds, OPTION_FLOAT, fallback, low, high, CLOSED, true            \
	}
#define BOOL_OPTION(key, kinds, fallback)                                      \
	{                                                                          \
		key, kinds, OPTION_BOOL, fallback                                      \
	}
#define CHOICE_OPTION(key, kinds, fallback, choices)                           \
	{                                                                          \
		key, kinds, OPTION_CHOICE, fallback, 0, 0, CLOSED, false, choices      \
	}

/* clang-format off */
static const Option known_options[] = {
	TEXT_OPTION("prompt_column", TRAIN | VALUE | SCORE | EVALUATE | REWARD, "\"prompt\""),
	TEXT_OPTION("response_column", TRAIN | VALUE | SCORE | EVALUATE | REWARD, "\"response\""),
	TEXT_OPTION("key_column", TRAIN | VALUE | SCORE | EVALUATE | REWARD, "null"),
	TEXT_OPTION("chosen_column", TRAIN | REWARD, "null"),
	TEXT_OPTION("rejected_column", TRAIN | REWARD, "null"),
	INT_OPTION("max_prompt_tokens", TRAIN | VALUE | EVALUATE, "640", 1),
	INT_OPTION("max_response_tokens", TRAIN | VALUE | EVALUATE, "128", 1),
	/* What is only measured is not cut unless one asks for it. */
	INT_OPTION("max_prompt_tokens", SCORE, "null", 1),
	INT_OPTION("max_response_tokens", SCORE, "null", 1),
	TEXT_OPTION("reference", TRAIN, "null"),

	/* Methods. */
	NULLABLE_FLOAT_OPTION("clip_range", TRAIN, "0.9", 0, 1e6),
	FLOAT_OPTION("beta", TRAIN, "0.1", 0, 1e6, CLOSED),
	FLOAT_OPTION("gold_floor", TRAIN, "0.1", 0, 1, CLOSED),
	FLOAT_OPTION("sft_weight", TRAIN, "0.05", 0, 1e6, CLOSED),
	CHOICE_OPTION("sampling", TRAIN, "\"priority\"", ",priority,uniform,"),
	CHOICE_OPTION("pairs", TRAIN | REWARD, "\"best_worst\"", ",best_worst,adjacent,all,"),
	{"max_list", TRAIN, OPTION_INT, "8", 2, 1024},
	{"ppo_epochs", TRAIN, OPTION_INT, "4", 1, 1000},
	INT_OPTION("mini_batch_size", TRAIN, "null", 1),
	FLOAT_OPTION("cliprange_value", TRAIN, "0.2", 0, 1e6, CLOSED),
	FLOAT_OPTION("vf_coef", TRAIN, "0.1", 0, 1e6, CLOSED),
	FLOAT_OPTION("gamma", TRAIN, "1", 0, 1, CLOSED),
	FLOAT_OPTION("lam", TRAIN, "0.95", 0, 1, CLOSED),
	FLOAT_OPTION("init_kl_coef", TRAIN, "0.2", 0, 1e6, CLOSED),
	FLOAT_OPTION("target_kl", TRAIN, "6", 1e-6, 1e6, CLOSED),
	FLOAT_OPTION("kl_horizon", TRAIN, "10000", 1, 1e12, CLOSED),
	BOOL_OPTION("score_norm", TRAIN, "true"),
	BOOL_OPTION("score_scaling", TRAIN, "false"),
	FLOAT_OPTION("score_clip", TRAIN, "null", 0, 1e6, LOW_OPEN),
	FLOAT_OPTION("early_stopping_kl", TRAIN, "null", 0, 1e6, LOW_OPEN),

	/* Optimiser; for adapters see lora_defaults. */
	INT_OPTION("warmup_steps", TRAIN | REWARD, "0", 0),
	CHOICE_OPTION("schedule", TRAIN | REWARD, "\"linear\"", ",constant,linear,cosine,"),
	FLOAT_OPTION("weight_decay", TRAIN | REWARD, "0.01", 0, 1e3, CLOSED),
	NULLABLE_FLOAT_OPTION("max_grad_norm", TRAIN | REWARD, "1.0", 0, 1e30),
	FLOAT_OPTION("adam_beta1", TRAIN | REWARD, "0.9", 0, 1, HIGH_OPEN),
	FLOAT_OPTION("adam_beta2", TRAIN | REWARD, "0.999", 0, 1, HIGH_OPEN),
	FLOAT_OPTION("adam_eps", TRAIN | REWARD, "1e-8", 0, 1, LOW_OPEN),
	CHOICE_OPTION("optimizer", TRAIN | REWARD, "\"adamw\"", ",adamw,adamw8bit,"),

	/* Adapters: without effect while all weights are trained. */
	FLOAT_OPTION("lora_alpha", TRAIN | REWARD, "16", 0, 1e6, LOW_OPEN),
	FLOAT_OPTION("lora_dropout", TRAIN | REWARD, "0.05", 0, 1, HIGH_OPEN),
	{"lora_targets", TRAIN | REWARD, OPTION_TARGETS, "\"all-linear\""},
	CHOICE_OPTION("quantize", TRAIN | REWARD, "\"none\"", ",none,q8_0,nf4,nf4_double,"),

	/* The machine. */
	CHOICE_OPTION("dtype", TRAIN | VALUE | EVALUATE | REWARD, "\"auto\"", ",auto,fp32,bf16,"),
	{"device", TRAIN | VALUE | EVALUATE | REWARD, OPTION_DEVICE, "\"auto\""},

	/* The course of the job. */
	INT_OPTION("evaluate_every", TRAIN | REWARD, "null", 1),
	INT_OPTION("evaluation_prompts", TRAIN, "256", 0),
	INT_OPTION("sample_prompts", TRAIN, "8", 0),
	INT_OPTION("checkpoint_every", TRAIN | REWARD, "null", 1),
	INT_OPTION("log_every", TRAIN | REWARD, "1", 1),
	BOOL_OPTION("keep_best", TRAIN | REWARD, "true"),
	{"settings", TRAIN | VALUE | EVALUATE | REWARD, OPTION_TEXTS, "null"},
	FLOAT_OPTION("refresh_reference", TRAIN, "null", 0, 1e6, LOW_OPEN),

	/* The value of the reference policy. */
	INT_OPTION("value_epochs", TRAIN | VALUE, "50", 1),
	FLOAT_OPTION("value_learning_rate", TRAIN | VALUE, "1e-3", 0, 10, LOW_OPEN),
	{"value_samples", TRAIN | VALUE, OPTION_INT, "1", 1, 1024},
	{"generation", TRAIN | VALUE | EVALUATE, OPTION_OBJECT, "{}"},
	INT_OPTION("max_tokens", GENERATE, "null", 1),
	FLOAT_OPTION("temperature", GENERATE, "null", 0, 100, CLOSED),
	FLOAT_OPTION("top_p", GENERATE, "null", 0, 1, LOW_OPEN),
	INT_OPTION("top_k", GENERATE, "null", 0),
	FLOAT_OPTION("repetition_penalty", GENERATE, "null", 0, 100, LOW_OPEN),
	{"num_beams", GENERATE, OPTION_INT, "null", 1, 128},
	{"stop", GENERATE, OPTION_TEXTS, "null"},

	{"batch_size", SCORE, OPTION_INT, "64", 1, 4096},
};
/* clang-format on */

typedef struct OptionDefault
{
	const char *key;
	const char *fallback;
} OptionDefault;

/* Where an adapter is trained (QLoRA, arXiv 2305.14314). */
static const OptionDefault lora_defaults[] = {
	{"schedule", "\"constant\""},
	{"weight_decay", "0"},
	{"max_grad_norm", "0.3"},
	{"adam_eps", "1e-6"},
};

/* Where responses are the policy's own: its ratio is of tokens, and what
 * dropout does to it would be taken for a change of the policy. */
static const OptionDefault rollout_defaults[] = {
	{"clip_range", "0.2"},
	{"lora_dropout", "0"},
};

#define NEAREST_MAX 3

/* ---------------------------------------------------------------- lookup */

static const Option *
find_option(int kind, const char *key)
{
	for (int i = 0; i < (int) lengthof(known_options); i++)
		if ((known_options[i].kinds & kind) != 0 &&
		    strcmp(known_options[i].key, key) == 0)
			return &known_options[i];
	return NULL;
}

/* "a", "b" or "c": up to three known keys that are near; NULL for none. */
static char *
nearest_keys(int kind, const char *key)
{
	const char *names[lengthof(known_options)];
	const char *nearest[NEAREST_MAX];
	int count = 0;
	int found = 0;
	StringInfoData list;

	for (int i = 0; i < (int) lengthof(known_options); i++)
		if ((known_options[i].kinds & kind) != 0)
			names[count++] = known_options[i].key;
	while (found < NEAREST_MAX)
	{
		const char *name = nearest_name(key, names, count);
		int kept = 0;

		if (name == NULL)
			break;
		nearest[found++] = name;
		for (int i = 0; i < count; i++)
			if (names[i] != name)
				names[kept++] = names[i];
		count = kept;
	}
	if (found == 0)
		return NULL;
	initStringInfo(&list);
	for (int i = 0; i < found; i++)
		appendStringInfo(&list, "%s\"%s\"",
		                 i == 0           ? ""
		                 : i == found - 1 ? " or "
		                                  : ", ",
		                 nearest[i]);
	return list.data;
}

static char *
all_keys(int kind)
{
	StringInfoData list;

	initStringInfo(&list);
	for (int i = 0; i < (int) lengthof(known_options); i++)
		if ((known_options[i].kinds & kind) != 0)
			appendStringInfo(&list, "%s%s", list.len == 0 ? "" : ", ",
			                 known_options[i].key);
	return list.data;
}

static void
unknown_option(int kind, const char *prefix, const char *key)
{
	char *nearest = nearest_keys(kind, key);

	ereport(ERROR,
	        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	         errmsg("unknown option \"%s%s\"", prefix, key),
	         nearest != NULL ? errhint("Perhaps you mean %s.", nearest)
	                         : errhint("The options are %s.", all_keys(kind))));
}

/* ----------------------------------------------------------- one value */

/* A value as JSON text. */
static char *
value_text(JsonbValue *value)
{
	Jsonb *json = JsonbValueToJsonb(value);

	return JsonbToCString(NULL, &json->root, VARSIZE(json));
}

static void
wrong_type(const char *name, const char *wanted, JsonbValue *value)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
	                errmsg("option \"%s\" must be %s, not %s", name, wanted,
	                       text_clip(value_text(value)))));
}

/* "at least 0 and less than 1" */
static char *
range_text(const Option *option)
{
	const char *low = option->bounds == LOW_OPEN ? "greater than" : "at least";
	const char *high = option->bounds == HIGH_OPEN ? "less than" : "at most";

	return psprintf("%s %.15g and %s %.15g", low, option->low, high,
	                option->high);
}

static void
check_number(const Option *option, const char *name, JsonbValue *value)
{
	bool is_int = option->type == OPTION_INT;
	const char *wanted = is_int ? "an integer" : "a number";
	double number;
	bool fits;

	if (value->type != jbvNumeric)
		wrong_type(name, wanted, value);
	/* Beyond a double it becomes an infinity, and is out of range. */
	number = DatumGetFloat8(DirectFunctionCall1(
		numeric_float8_no_overflow, NumericGetDatum(value->val.numeric)));
	if (is_int && isfinite(number) && number != rint(number))
		wrong_type(name, wanted, value);
	fits = number >= option->low && number <= option->high &&
	       (option->bounds != LOW_OPEN || number > option->low) &&
	       (option->bounds != HIGH_OPEN || number < option->high);
	if (!fits)
		wrong_type(name, range_text(option), value);
}

/* A list of choices for a message: a, b or c */
static char *
choices_text(const char *choices)
{
	StringInfoData list;
	int count = 0;

	initStringInfo(&list);
	for (const char *at = choices + 1; *at != '\0';)
	{
		int length = (int) strcspn(at, ",");
		bool is_last = at[length + 1] == '\0';

		appendStringInfo(&list, "%s%.*s",
		                 count++ == 0 ? "" : (is_last ? " or " : ", "), length,
		                 at);
		at += length + 1;
	}
	return list.data;
}

static bool
is_choice(const char *choices, const char *name)
{
	return name[0] != '\0' && strchr(name, ',') == NULL &&
	       strstr(choices, psprintf(",%s,", name)) != NULL;
}

static void
check_choice(const Option *option, const char *name, JsonbValue *value)
{
	char *chosen = NULL;

	if (value->type == jbvString)
		chosen = pnstrdup(value->val.string.val, value->val.string.len);
	if (chosen == NULL || !is_choice(option->choices, chosen))
		wrong_type(name, choices_text(option->choices), value);
}

static void
check_texts(const char *name, const char *wanted, JsonbValue *value)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue element;

	if (value->type != jbvBinary ||
	    !JsonContainerIsArray(value->val.binary.data))
		wrong_type(name, wanted, value);
	iterator = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&iterator, &element, true)) != WJB_DONE)
		if (token == WJB_ELEM && element.type != jbvString)
			wrong_type(name, wanted, value);
}

static void
check_targets(const char *name, JsonbValue *value)
{
	const char *wanted = "\"all-linear\", an expression or an array of names";

	if (value->type == jbvString && value->val.string.len > 0)
		return;
	check_texts(name, wanted, value);
	if (JsonContainerSize(value->val.binary.data) == 0)
		wrong_type(name, wanted, value);
}

static void
check_device(const char *name, JsonbValue *value)
{
	DeviceSpec spec;

	if (value->type != jbvString ||
	    !device_spec_parse(
			pnstrdup(value->val.string.val, value->val.string.len), &spec))
		wrong_type(name, DEVICE_SPEC_FORMS, value);
}

/* Raises unless the value fits the option; name is what messages call it. */
static void
check_value(const Option *option, const char *name, JsonbValue *value)
{
	if (value->type == jbvNull)
		return;
	switch (option->type)
	{
		case OPTION_INT:
		case OPTION_FLOAT:
			check_number(option, name, value);
			break;
		case OPTION_BOOL:
			if (value->type != jbvBool)
				wrong_type(name, "true or false", value);
			break;
		case OPTION_TEXT:
			if (value->type != jbvString || value->val.string.len == 0)
				wrong_type(name, "a string that is not empty", value);
			break;
		case OPTION_CHOICE:
			check_choice(option, name, value);
			break;
		case OPTION_TEXTS:
			check_texts(name, "an array of strings", value);
			break;
		case OPTION_TARGETS:
			check_targets(name, value);
			break;
		case OPTION_DEVICE:
			check_device(name, value);
			break;
		case OPTION_OBJECT:
			if (value->type != jbvBinary ||
			    !JsonContainerIsObject(value->val.binary.data))
				wrong_type(name, "an object", value);
			break;
	}
}

/* Checks a whole object; prefix is what it hangs on ("generation."). */
static void
check_members(int kind, const char *prefix, JsonbContainer *container)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue key;

	while ((token = JsonbIteratorNext(&iterator, &key, true)) != WJB_DONE)
	{
		JsonbValue value;
		const Option *option;
		char *name;

		if (token != WJB_KEY)
			continue;
		name = pnstrdup(key.val.string.val, key.val.string.len);
		(void) JsonbIteratorNext(&iterator, &value, true);
		option = find_option(kind, name);
		if (option == NULL)
			unknown_option(kind, prefix, name);
		name = psprintf("%s%s", prefix, name);
		check_value(option, name, &value);
		if (option->type == OPTION_OBJECT && value.type == jbvBinary)
			check_members(GENERATE, psprintf("%s.", name),
			              value.val.binary.data);
	}
}

/* ------------------------------------------------------------- all of them */

static int
kind_of(const char *name)
{
	if (strcmp(name, "train") == 0)
		return TRAIN;
	if (strcmp(name, "train_value") == 0)
		return VALUE;
	if (strcmp(name, "score") == 0)
		return SCORE;
	if (strcmp(name, "evaluate") == 0)
		return EVALUATE;
	if (strcmp(name, "train_reward") == 0)
		return REWARD;
	elog(ERROR, "there are no options of kind \"%s\"", name);
	return 0; /* for the compiler */
}

/* The member of options, or NULL. */
static JsonbValue *
given_value(Jsonb *options, const char *name)
{
	JsonbValue key = {.type = jbvString};

	if (options == NULL)
		return NULL;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = (int) strlen(name);
	return findJsonbValueFromContainer(&options->root, JB_FOBJECT, &key);
}

/* What one option alone does not show: a beam search draws nothing. */
static void
check_generation(Jsonb *options, const OptionContext *context)
{
	Jsonb *generation = json_member(options, "generation");
	int64 samples = json_int(options, "value_samples", 1);
	int64 beams;

	if (generation == NULL)
		return;
	beams = json_int(generation, "num_beams", 1);
	if (beams > 1 && json_float(generation, "temperature", 0) > 0)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("option \"generation.num_beams\" does not go with a "
		                "temperature above 0")));
	if (context->rolls_out &&
	    (beams > 1 || json_float(generation, "temperature", 1) == 0))
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("option \"generation.%s\" does not go with a method "
		                "that draws its own responses",
		                beams > 1 ? "num_beams" : "temperature"),
		         errdetail("A response that is not drawn by its probability "
		                   "says nothing of others.")));
	if (beams > 1 && samples > 1)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("option \"generation.num_beams\" does not go with "
		                "value_samples above 1"),
		         errdetail("All samples of a prompt would be the same.")));
}

/* What the list says of the option, or NULL. */
static const char *
find_default(const OptionDefault *list, int count, const Option *option)
{
	for (int i = 0; i < count; i++)
		if (strcmp(option->key, list[i].key) == 0)
			return list[i].fallback;
	return NULL;
}

/* What the option is where it is not given. */
static const char *
fallback_of(const Option *option, const OptionContext *context)
{
	const char *special = NULL;

	if (context->rolls_out)
		special =
			find_default(rollout_defaults, lengthof(rollout_defaults), option);
	if (special == NULL && context->has_lora)
		special = find_default(lora_defaults, lengthof(lora_defaults), option);
	if (special != NULL)
		return special;
	if (context->is_uniform && strcmp(option->key, "sampling") == 0)
		return "\"uniform\"";
	return option->fallback;
}

/* The value given, or else the default, as JSON text. */
static const char *
final_value(const Option *option, Jsonb *options, const OptionContext *context)
{
	JsonbValue *value = given_value(options, option->key);

	if (value == NULL || (value->type == jbvNull && !option->is_nullable))
		return fallback_of(option, context);
	/* 2.0 and 2e3 are integers, too: write them as such. */
	if (option->type == OPTION_INT)
		return psprintf(
			INT64_FORMAT,
			DatumGetInt64(DirectFunctionCall1(
				numeric_int8, NumericGetDatum(value->val.numeric))));
	return value_text(value);
}

void
options_refuse(Jsonb *options, const char *key, const char *why)
{
	JsonbValue *value = given_value(options, key);

	if (value != NULL && value->type != jbvNull)
		ereport(ERROR,
		        (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		         errmsg("option \"%s\" cannot be %s", key, value_text(value)),
		         errdetail("%s", why)));
}

Jsonb *
options_check(const char *kind, const OptionContext *context, Jsonb *options)
{
	int kind_bit = kind_of(kind);
	StringInfoData json;

	if (options != NULL && !JB_ROOT_IS_OBJECT(options))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("options must be a JSON object")));
	if (options != NULL)
	{
		check_members(kind_bit, "", &options->root);
		check_generation(options, context);
	}
	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	for (int i = 0; i < (int) lengthof(known_options); i++)
		if ((known_options[i].kinds & kind_bit) != 0)
			json_add_json(&json, known_options[i].key,
			              final_value(&known_options[i], options, context));
	appendStringInfoChar(&json, '}');
	return DatumGetJsonbP(
		DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data)));
}
