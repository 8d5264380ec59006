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

#include "batch.h"
#include "engine.h"
#include "inference.h"

/* One call: its arguments as three texts in a row. */
typedef struct CallKey
{
	WireType type;
	int model_length;
	int prompt_length;
	int response_length; /* -1: none */
	const char *texts;
} CallKey;

typedef struct Call
{
	CallKey key;
	uint32 hash;
	char status;   /* simplehash's */
	bool is_known; /* there is an answer */
	bool isnull;
	double answer;
} Call;

static inline int
texts_length(CallKey key)
{
	return key.model_length + key.prompt_length + Max(key.response_length, 0);
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

/* The functions that batch_take() serves. */
static bool
is_batchable(Oid function, void *context)
{
	char *name;

	if (get_func_namespace(function) != alol_schema())
		return false;
	name = get_func_name(function);
	return name != NULL && (strcmp(name, "alol_logprob") == 0 ||
	                        strcmp(name, "alol_value") == 0);
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

static void
append(char *to, int *length, const text *value)
{
	if (value == NULL)
		return;
	memcpy(to + *length, VARDATA_ANY(value), VARSIZE_ANY_EXHDR(value));
	*length += (int) VARSIZE_ANY_EXHDR(value);
}

/* The call with its texts side by side, palloc'd; false when too long. */
static bool
make_key(CallKey *key, WireType type, const text *model, const text *prompt,
         const text *response)
{
	int length = 0;
	char *texts;

	key->type = type;
	key->model_length = (int) VARSIZE_ANY_EXHDR(model);
	key->prompt_length = (int) VARSIZE_ANY_EXHDR(prompt);
	key->response_length =
		response == NULL ? -1 : (int) VARSIZE_ANY_EXHDR(response);
	if ((int64) key->model_length + key->prompt_length +
	        Max(key->response_length, 0) >
	    TEXTS_MAX)
		return false;
	texts = palloc(texts_length(*key) + 1);
	append(texts, &length, model);
	append(texts, &length, prompt);
	append(texts, &length, response);
	key->texts = texts;
	return true;
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
static double
stand_in(WireType type)
{
	return type == WIRE_LOGPROB ? -10.0 : 0.5;
}

bool
batch_take(WireType type, const text *model, const text *prompt,
           const text *response, double *answer, bool *isnull)
{
	Batch *batch = current;
	CallKey key;
	Call *call;

	if (batch == NULL || batch->user != GetUserId() ||
	    !make_key(&key, type, model, prompt, response))
		return false;
	if (!batch->is_answering)
	{
		collect(batch, key);
		*answer = stand_in(type);
		*isnull = false;
		return true;
	}
	call = calls_lookup(batch->calls, key);
	if (call == NULL || !call->is_known)
		return false;
	*answer = call->answer;
	*isnull = call->isnull;
	return true;
}

/* ----------------------------------------------------------------- sending */

static bool
same_request(const CallKey *a, const CallKey *b)
{
	return a->type == b->type && a->model_length == b->model_length &&
	       memcmp(a->texts, b->texts, a->model_length) == 0;
}

static void
put_part(WireBuffer *payload, const char *part, int length)
{
	inference_put_text(payload, cstring_to_text_with_len(part, length));
}

/* Asks the model of the first of these calls; all are of the same request. */
static void
send_request(Batch *batch, CallKey **keys, int count)
{
	WireType type = keys[0]->type;
	bool is_logprob = type == WIRE_LOGPROB;
	char *name = pnstrdup(keys[0]->texts, keys[0]->model_length);
	Model *model = model_get(name, GetUserId());
	WireBuffer payload;
	EngineFrame reply;

	model_check_kind(model, is_logprob ? 'l' : 'v', "model");
	payload = inference_payload(inference_head(model));
	wire_put_u32(&payload, (uint32) count);
	for (int i = 0; i < count; i++)
	{
		const char *prompt = keys[i]->texts + keys[i]->model_length;

		put_part(&payload, prompt, keys[i]->prompt_length);
		if (is_logprob)
			put_part(&payload, prompt + keys[i]->prompt_length,
			         keys[i]->response_length);
	}
	engine_ask(engine_session(), type, payload, &reply);
	if (wire_get_count(&reply.items, is_logprob ? 8 + 4 : 8) != (uint32) count)
		reply.items.broken = true;
	inference_check(&reply);
	for (int i = 0; i < count; i++)
	{
		Call *call = calls_lookup(batch->calls, *keys[i]);

		call->answer = wire_get_f64(&reply.items);
		/* No token: the functions give NULL. */
		call->isnull = is_logprob && wire_get_u32(&reply.items) == 0;
		call->is_known = true;
	}
	inference_check(&reply);
}

void
batch_send(Batch *batch)
{
	bool *is_sent = palloc0(sizeof(bool) * Max(batch->count, 1));
	CallKey **keys = palloc(sizeof(CallKey *) * Max(batch->count, 1));

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
		send_request(batch, keys, count);
	}
	pfree(is_sent);
	pfree(keys);
}
