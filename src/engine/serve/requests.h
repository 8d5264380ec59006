/*
 * requests.h
 *		The requests the engine answers.
 */
#pragma once

#include "serve/serve.h"

/* The handler of a type, or NULL if that is no request. */
extern RequestHandler request_handler(WireType type);

/* One a request, each beside its relatives; message.h tells what they do. */
extern bool handle_hello(Request *request, Failure *failure);
extern bool handle_devices(Request *request, Failure *failure);
extern bool handle_model_inspect(Request *request, Failure *failure);
extern bool handle_model_create(Request *request, Failure *failure);
extern bool handle_model_export(Request *request, Failure *failure);
extern bool handle_tokenize(Request *request, Failure *failure);
extern bool handle_detokenize(Request *request, Failure *failure);
extern bool handle_generate(Request *request, Failure *failure);
extern bool handle_logprob(Request *request, Failure *failure);
extern bool handle_token_logprobs(Request *request, Failure *failure);
extern bool handle_logits(Request *request, Failure *failure);
extern bool handle_value(Request *request, Failure *failure);
extern bool handle_chat_prompt(Request *request, Failure *failure);
extern bool handle_fit_value(Request *request, Failure *failure);
extern bool handle_job_open(Request *request, Failure *failure);
extern bool handle_job_rows(Request *request, Failure *failure);
extern bool handle_job_train(Request *request, Failure *failure);
