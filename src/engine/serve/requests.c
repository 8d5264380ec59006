/*
 * requests.c
 *		The table of the requests the engine answers.
 */
#include "serve/requests.h"

static const RequestHandler handlers[] = {
	[WIRE_HELLO] = handle_hello,
	[WIRE_DEVICES] = handle_devices,
	[WIRE_MODEL_INSPECT] = handle_model_inspect,
	[WIRE_MODEL_CREATE] = handle_model_create,
	[WIRE_MODEL_EXPORT] = handle_model_export,
	[WIRE_TOKENIZE] = handle_tokenize,
	[WIRE_DETOKENIZE] = handle_detokenize,
	[WIRE_GENERATE] = handle_generate,
	[WIRE_LOGPROB] = handle_logprob,
	[WIRE_TOKEN_LOGPROBS] = handle_token_logprobs,
	[WIRE_VALUE] = handle_value,
	[WIRE_LOGITS] = handle_logits,
	[WIRE_CHAT_PROMPT] = handle_chat_prompt,
	[WIRE_FIT_VALUE] = handle_fit_value,
	[WIRE_JOB_OPEN] = handle_job_open,
	[WIRE_JOB_ROWS] = handle_job_rows,
	[WIRE_JOB_TRAIN] = handle_job_train,
};

RequestHandler
request_handler(WireType type)
{
	if ((size_t) type >= sizeof(handlers) / sizeof(handlers[0]))
		return NULL;
	return handlers[type];
}
