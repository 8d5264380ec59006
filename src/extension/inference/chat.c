/*
 * chat.c
 *		alol_chat_prompt(): a chat as the text that a model sees.
 */
#include "alol.h"

#include "engine/engine.h"
#include "inference/inference.h"
#include "base/json.h"
#include "inference/prompt.h"

ALOL_FUNCTION(alol_chat_prompt);
Datum
alol_chat_prompt(PG_FUNCTION_ARGS)
{
	Jsonb *messages = PG_GETARG_JSONB_P(1);
	Model *model;
	StringInfo head;
	WireBuffer payload;
	EngineFrame reply;
	const char *prompt;
	size_t length;

	prompt_check_messages(messages);
	model = inference_model(fcinfo, 0, 'l', "model");
	head = inference_head(model);
	json_add_bool(head, "add_generation_prompt", PG_GETARG_BOOL(2));
	payload = inference_payload(head);
	wire_put_u32(&payload, 1);
	/* All of this frame's texts are messages: none is marked. */
	prompt_put(&payload,
	           JsonbToCString(NULL, &messages->root, VARSIZE(messages)), false);
	engine_ask(engine_session(), WIRE_CHAT_PROMPT, payload, &reply);
	(void) wire_get_count(&reply.items, 4);
	prompt = wire_get_text(&reply.items, &length);
	inference_check(&reply);
	PG_RETURN_TEXT_P(text_from_utf8(prompt, length));
}
