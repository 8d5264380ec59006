/*
 * batch.c
 *		Model calls inside an expression, answered many at a time.
 */
#include "alol.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "optimizer/optimizer.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "engine/batch.h"
#include "engine/engine.h"
#include "inference/inference.h"

/* One call: its arguments as three texts in a row. */
typedef struct CallKey
{
	WireType type;
	int model_length;
	int prompt_length;   /* -1: none */
	int response_length; /* -1: none */
	const char *texts;
} CallKey;

typedef struct Call
{
	CallKey key;
	uint32 hash;
	char status;   /* simplehash's */
	bool is_known; /* there is an answer */
	BatchAnswer answer;
} Call;

static inline int
texts_length(CallKey key)
{
	return key.model_length + Max(key.prompt_length, 0) +
	       Max(key.response_length, 0);
}

static inline bool
same_call(CallKey a, CallKey b)
{
	return a.type == b.type && a.model_length == b.model_length &&
	       a.prompt_length == b.prompt_length &&
	       a.response_length == b.response_length &&
	       memcmp(a.texts, b.texts, texts_length(a)) == 0;
}

#define SH_PREFIX calls
#define SH_ELEMENT_TYPE Call
#define SH_KEY_TYPE CallKey
#define SH_KEY key
#define SH_HASH_KEY(table, key)                                                \
	hash_bytes((const unsigned char *) (key).texts, texts_length(key))
#define SH_EQUAL(table, a, b) same_call(a, b)
#define SH_STORE_HASH
#define SH_GET_HASH(table, call) (call)->hash
#define SH_SCOPE static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

/* More calls, or longer ones, are asked on their own. */
#define CALLS_MAX 4096
#define TEXTS_MAX ((int64) 64 * 1024 * 1024)

struct Batch
{
	Batch *outer; /* in use before this one */
	MemoryContext context;
	Oid user; /* whose calls these are: another one's rights differ */
	bool is_answering;
	calls_hash *calls;
	CallKey *order; /* [count] in the order they were made */
	int count;
	int64 size; /* of all texts */
};

/* The batch in use, or NULL. */
static Batch *current = NULL;

/* ------------------------------------------------------------- expressions */

/* The functions that batch_ask() serves. */
static bool
is_batchable(Oid function, void *context)
{
	static const char *const names[] = {"alol_logprob", "alol_value",
	                                    "alol_reward", "alol_logits"};
	char *name;

	if (get_func_namespace(function) != alol_schema())
		return false;
	name = get_func_name(function);
	for (int i = 0; name != NULL && i < lengthof(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

static bool
calls_model(Node *node, void *context)
{
	if (node == NULL)
		return false;
	if (check_functions_in_node(node, is_batchable, NULL))
		return true;
	if (IsA(node, Query))
		return query_tree_walker((Query *) node, calls_model, context, 0);
	return expression_tree_walker(node, calls_model, context);
}

bool
batch_is_useful(Node *expression)
{
	return calls_model(expression, NULL) &&
	       !contain_volatile_functions(expression);
}

/* -------------------------------------------------------------- collecting */

Batch *
batch_begin(void)
{
	Batch *batch = palloc0(sizeof(Batch));

	batch->context = CurrentMemoryContext;
	batch->user = GetUserId();
	batch->calls = calls_create(CurrentMemoryContext, 256, NULL);
	batch->order = palloc(sizeof(CallKey) * CALLS_MAX);
	batch->outer = current;
	current = batch;
	return batch;
}

void
batch_end(Batch *batch)
{
	current = batch->outer;
}

static int
length_of(const text *value)
{
	return value == NULL ? -1 : (int) VARSIZE_ANY_EXHDR(value);
}

static void
append(char *to, int *length, const text *value)
{
	if (value == NULL)
		return;
	memcpy(to + *length, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	*length += (int) VARSIZE_ANY_EXHDR(value);
}

/* The call with its texts side by side, palloc'd. */
static CallKey
make_key(WireType type, const text *model, const text *prompt,
         const text *response)
{
	CallKey key = {
		.type = type,
		.model_length = length_of(model),
		.prompt_length = length_of(prompt),
		.response_length = length_of(response),
	};
	int64 size = (int64) key.model_length + Max(key.prompt_length, 0) +
	             Max(key.response_length, 0);
	int length = 0;
	char *texts;

	if (size > WIRE_PAYLOAD_MAX)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
		                errmsg("a text of " INT64_FORMAT " bytes is too long "
		                       "for a model",
		                       size)));
	texts = palloc(size + 1);
	append(texts, &length, model);
	append(texts, &length, prompt);
	append(texts, &length, response);
	key.texts = texts;
	return key;
}

/* Notes a call for batch_send(), unless there are too many. */
static void
collect(Batch *batch, CallKey key)
{
	int length = texts_length(key);
	char *copy;
	bool found;
	Call *call;

	if (batch->count >= CALLS_MAX || batch->size + length > TEXTS_MAX ||
	    calls_lookup(batch->calls, key) != NULL)
		return;
	copy = MemoryContextAlloc(batch->context, length + 1);
	memcpy(copy, key.texts, length);
	key.texts = copy;
	call = calls_insert(batch->calls, key, &found);
	call->is_known = false;
	batch->order[batch->count++] = key;
	batch->size += length;
}

/* What a call that is not answered yet gives: a likely figure, so that the
 * expression goes on as it will. */
static BatchAnswer
stand_in(WireType type)
{
	static const double logprob = -10;
	static const double value = 0.5;

	return (BatchAnswer){.is_stand_in = true,
	                     .count = 1,
	                     .values = type == WIRE_LOGPROB ? &logprob : &value};
}

/* ------------------------------------------------------------------ asking */

/* The kind of model that answers. */
static char
kind_for(WireType type)
{
	switch (type)
	{
		case WIRE_VALUE:
			return 'v';
		case WIRE_LOGITS:
			return 'c';
		default:
			return 'l';
	}
}

static void
put_part(WireBuffer *payload, const char *part, int length)
{
	inference_put_text(payload, cstring_to_text_with_len(part, length));
}

static void
put_call(WireBuffer *payload, const CallKey *key)
{
	const char *prompt = key->texts + key->model_length;
	int prompt_length = Max(key->prompt_length, 0);

	if (key->type == WIRE_LOGITS)
		wire_put_u8(payload, key->prompt_length >= 0);
	put_part(payload, prompt, prompt_length);
	if (key->type != WIRE_VALUE)
		put_part(payload, prompt + prompt_length, key->response_length);
}

/* Reads one answer; its numbers go to context. */
static BatchAnswer
get_answer(WireType type, WireReader *items, MemoryContext context)
{
	BatchAnswer answer = {.count = 1};
	double *values;

	if (type == WIRE_LOGITS)
		answer.count = (int) wire_get_count(items, sizeof(double));
	values = MemoryContextAlloc(context, sizeof(double) * (answer.count + 1));
	for (int i = 0; i < answer.count; i++)
		values[i] = wire_get_f64(items);
	/* An empty prompt, and a model that has nothing to begin with. */
	if (type == WIRE_LOGPROB)
		answer.isnull = wire_get_u32(items) == 0;
	answer.values = values;
	return answer;
}

/* Asks the model of the first of these calls, which is that of all; the
 * answers go to answers[count], their numbers to context. */
static void
ask(const CallKey *const *keys, int count, MemoryContext context,
    BatchAnswer *answers)
{
	WireType type = keys[0]->type;
	char *name = pnstrdup(keys[0]->texts, keys[0]->model_length);
	Model *model = model_get(name, GetUserId());
	WireBuffer payload;
	EngineFrame reply;

	model_check_kind(model, kind_for(type), "model");
	payload = inference_payload(inference_head(model));
	wire_put_u32(&payload, (uint32) count);
	for (int i = 0; i < count; i++)
		put_call(&payload, keys[i]);
	engine_ask(engine_session(), type, payload, &reply);
	if (wire_get_count(&reply.items, sizeof(uint32)) != (uint32) count)
		reply.items.broken = true;
	for (int i = 0; i < count && !reply.items.broken; i++)
		answers[i] = get_answer(type, &reply.items, context);
	inference_check(&reply);
}

static bool
same_request(const CallKey *a, const CallKey *b)
{
	return a->type == b->type && a->model_length == b->model_length &&
	       memcmp(a->texts, b->texts, a->model_length) == 0;
}

void
batch_send(Batch *batch)
{
	int most = Max(batch->count, 1);
	bool *is_sent = palloc0(sizeof(bool) * most);
	const CallKey **keys = palloc(sizeof(CallKey *) * most);
	BatchAnswer *answers = palloc(sizeof(BatchAnswer) * most);

	batch->is_answering = true;
	for (int first = 0; first < batch->count; first++)
	{
		int count = 0;

		if (is_sent[first])
			continue;
		for (int i = first; i < batch->count; i++)
		{
			if (is_sent[i] ||
			    !same_request(&batch->order[first], &batch->order[i]))
				continue;
			is_sent[i] = true;
			keys[count++] = &batch->order[i];
		}
		ask(keys, count, batch->context, answers);
		for (int i = 0; i < count; i++)
		{
			Call *call = calls_lookup(batch->calls, *keys[i]);

			call->answer = answers[i];
			call->is_known = true;
		}
	}
	pfree(is_sent);
	pfree(keys);
	pfree(answers);
}

BatchAnswer
batch_ask(WireType type, const text *model, const text *prompt,
          const text *response)
{
	Batch *batch = current;
	CallKey key = make_key(type, model, prompt, response);
	const CallKey *keys = &key;
	BatchAnswer answer;

	if (batch != NULL && batch->user == GetUserId())
	{
		Call *call;

		if (!batch->is_answering)
		{
			collect(batch, key);
			return stand_in(type);
		}
		call = calls_lookup(batch->calls, key);
		if (call != NULL && call->is_known)
			return call->answer;
	}
	ask(&keys, 1, CurrentMemoryContext, &answer);
	return answer;
}
