/*
 * message.c
 *		What the frames between the extension and its engine mean.
 */
#include "wire/message.h"

void
wire_put_row(WireBuffer *buffer, const WireRow *row)
{
	wire_put_i64(buffer, row->row_number);
	wire_put_text(buffer, row->prompt, row->prompt_length);
	wire_put_text(buffer, row->response, row->response_length);
	wire_put_u8(buffer, row->flags);
	wire_put_f64(buffer, row->reward);
	wire_put_f64(buffer, row->value);
	wire_put_f64(buffer, row->advantage);
}

void
wire_get_row(WireReader *reader, WireRow *row)
{
	row->row_number = wire_get_i64(reader);
	row->prompt = wire_get_text(reader, &row->prompt_length);
	row->response = wire_get_text(reader, &row->response_length);
	row->flags = wire_get_u8(reader);
	row->reward = wire_get_f64(reader);
	row->value = wire_get_f64(reader);
	row->advantage = wire_get_f64(reader);
}

void
wire_put_row_result(WireBuffer *buffer, const WireRowResult *result)
{
	wire_put_u8(buffer, result->status);
	wire_put_f64(buffer, result->reward);
	wire_put_f64(buffer, result->value);
	wire_put_f64(buffer, result->advantage);
	wire_put_f64(buffer, result->ref_logprob);
	wire_put_u32(buffer, result->tokens);
	wire_put_u8(buffer, result->selected);
}

void
wire_get_row_result(WireReader *reader, WireRowResult *result)
{
	result->status = wire_get_u8(reader);
	result->reward = wire_get_f64(reader);
	result->value = wire_get_f64(reader);
	result->advantage = wire_get_f64(reader);
	result->ref_logprob = wire_get_f64(reader);
	result->tokens = wire_get_u32(reader);
	result->selected = wire_get_u8(reader);
}

const char *
wire_type_name(uint16_t type)
{
	static const char *const names[] = {
		[WIRE_HELLO] = "hello",
		[WIRE_CANCEL] = "cancel",
		[WIRE_ANSWER] = "answer",
		[WIRE_DATA] = "data",
		[WIRE_DATA_END] = "data_end",
		[WIRE_DEVICES] = "devices",
		[WIRE_MODEL_INSPECT] = "model_inspect",
		[WIRE_MODEL_CREATE] = "model_create",
		[WIRE_MODEL_EXPORT] = "model_export",
		[WIRE_TOKENIZE] = "tokenize",
		[WIRE_DETOKENIZE] = "detokenize",
		[WIRE_GENERATE] = "generate",
		[WIRE_LOGPROB] = "logprob",
		[WIRE_TOKEN_LOGPROBS] = "token_logprobs",
		[WIRE_VALUE] = "value",
		[WIRE_LOGITS] = "logits",
		[WIRE_CHAT_PROMPT] = "chat_prompt",
		[WIRE_FIT_VALUE] = "fit_value",
		[WIRE_JOB_OPEN] = "job_open",
		[WIRE_JOB_ROWS] = "job_rows",
		[WIRE_JOB_TRAIN] = "job_train",
		[WIRE_RESULT] = "result",
		[WIRE_ERROR] = "error",
		[WIRE_PROGRESS] = "progress",
		[WIRE_METRICS] = "metrics",
		[WIRE_CHECKPOINT] = "checkpoint",
		[WIRE_NOTICE] = "notice",
		[WIRE_SAMPLES] = "samples",
		[WIRE_ASK] = "ask",
	};

	if (type >= sizeof(names) / sizeof(names[0]) || names[type] == NULL)
		return "unknown";
	return names[type];
}
