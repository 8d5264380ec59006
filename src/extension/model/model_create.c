/*
 * model_create.c
 *		alol_model_create(): a model with random weights, and a tokenizer
 *		trained on the user's texts.
 */
#include "alol.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/memutils.h"

#include "base/json.h"
#include "model/model.h"
#include "source/source.h"
#include "source/source_read.h"

#define FRAME_SIZE ((size_t) 1024 * 1024)

/* Documents on their way to the engine, about a frame at a time. */
typedef struct Corpus
{
	Engine *engine;
	WireBuffer documents; /* n times text */
	uint32 count;
} Corpus;

static void
send_documents(Corpus *corpus)
{
	WireBuffer payload = engine_payload("{}");

	wire_put_u32(&payload, corpus->count);
	wire_put_bytes(&payload, corpus->documents.data, corpus->documents.size);
	engine_send_data(corpus->engine, &payload);
	pfree(payload.data);
	corpus->documents.size = 0;
	corpus->count = 0;
}

/* Takes the first column of a row. */
static void
add_document(HeapTuple row, TupleDesc columns, void *argument)
{
	Corpus *corpus = argument;
	char *document = SPI_getvalue(row, columns, 1);
	size_t length;
	char *utf8;

	if (document == NULL)
		return;
	utf8 = text_to_utf8(document, strlen(document), &length);
	wire_put_text(&corpus->documents, utf8, length);
	corpus->count++;
	if (corpus->documents.size >= FRAME_SIZE)
		send_documents(corpus);
	if (utf8 != document)
		pfree(utf8);
	pfree(document);
}

/* Sends the first column of all rows, as the user and read-only. */
static void
send_corpus(Engine *engine, const char *query)
{
	Corpus corpus = {.engine = engine, .documents = engine_payload("{}")};

	corpus.documents.size = 0;
	source_visit(query, add_document, &corpus);
	if (corpus.count > 0)
		send_documents(&corpus);
}

/* Lets the engine write the model into a directory; what it says of it. */
static Jsonb *
create(Engine *engine, const char *config, int64 seed, const char *directory,
       const char *query)
{
	EngineCall call = {.type = WIRE_MODEL_CREATE, .streams = true};
	StringInfoData json;
	EngineFrame reply;

	initStringInfo(&json);
	appendStringInfoChar(&json, '{');
	json_add_json(&json, "config", config);
	json_add_int(&json, "seed", seed);
	json_add_text(&json, "directory", directory);
	appendStringInfoChar(&json, '}');
	call.payload = engine_payload(json.data);
	engine_call_begin(engine, &call);
	PG_TRY();
	{
		if (query != NULL)
			send_corpus(engine, query);
	}
	PG_CATCH();
	{
		engine_abandon(engine);
		PG_RE_THROW();
	}
	PG_END_TRY();
	engine_call_end(engine, &reply);
	return reply.head;
}

/* The corpus as one read-only SELECT whose first column becomes text. */
static char *
corpus_query(const char *corpus)
{
	Source *source = source_open_session(corpus, "corpus", NULL);

	if (source->columns->natts == 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("corpus has no column")));
	return source->query;
}

ALOL_FUNCTION(alol_model_create);
Datum
alol_model_create(PG_FUNCTION_ARGS)
{
	char *query = NULL;
	char *name;
	char *directory;
	char *config;
	Jsonb *json;
	int64 seed = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);

	PreventCommandIfReadOnly("alol_model_create()");
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
		                errmsg("name and config of a model must not be null")));
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	json = PG_GETARG_JSONB_P(1);
	if (!JB_ROOT_IS_OBJECT(json))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
		                errmsg("config must be a JSON object")));
	model_check_new_name(name);
	if (!PG_ARGISNULL(3))
		query = corpus_query(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	config = JsonbToCString(NULL, &json->root, VARSIZE(json));
	directory = directory_temporary();
	PG_TRY();
	{
		Jsonb *description =
			create(engine_session(), config, seed, directory, query);

		model_store(name, GetUserId(), directory, description, 0, 0);
	}
	PG_FINALLY();
	{
		directory_remove(directory);
	}
	PG_END_TRY();
	PG_RETURN_TEXT_P(cstring_to_text(name));
}
