/*
 * chat.c
 *		Chats as the text that a model sees: WIRE_CHAT_PROMPT.
 */
#include "formats/json.h"
#include "serve/models.h"
#include "serve/requests.h"

#define TEXT_SIZE_MIN 4 /* of a text in a frame */

/* One chat of the items, its text into the reply. */
static bool
render(Request *request, const Chat *chat, bool add_generation_prompt,
       WireBuffer *reply, Failure *failure)
{
	Arena *scratch = arena_create();
	size_t size, length;
	const char *messages = wire_get_text(&request->items, &size);
	char *text;
	bool done = request->items.broken ? fail_items(request, failure)
	                                  : chat_render(chat, scratch, messages,
	                                                size, add_generation_prompt,
	                                                &text, &length, failure);

	if (done)
		wire_put_text(reply, text, length);
	arena_destroy(scratch);
	return done;
}

bool
handle_chat_prompt(Request *request, Failure *failure)
{
	const Chat *chat;
	ModelRef ref;
	Model *model;
	bool add_generation_prompt;
	WireBuffer *reply;
	uint32_t count;

	if (!model_ref_of(request, "model", &ref, failure) ||
	    !model_use(request, &ref, &model, failure) ||
	    !json_get_bool(request->head, "add_generation_prompt", true,
	                   &add_generation_prompt, failure))
		return false;
	chat = tokenizer_chat(model_tokenizer(model));
	count = wire_get_count(&request->items, TEXT_SIZE_MIN);
	if (request->items.broken)
		return fail_items(request, failure);
	reply = reply_begin(request, WIRE_RESULT, NULL);
	wire_put_u32(reply, count);
	for (uint32_t i = 0; i < count; i++)
		if (!render(request, chat, add_generation_prompt, reply, failure))
		{
			reply_drop(request);
			return false;
		}
	return reply_end(request, failure);
}
