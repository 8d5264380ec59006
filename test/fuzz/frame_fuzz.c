/*
 * frame_fuzz.c
 *		Feeds bytes to the frame reader in pieces, and reads what comes as a
 *		head and as rows.
 */
#include "fuzz.h"

#include "formats/json.h"
#include "wire/message.h"

#include <string.h>

static void *
resize(void *old, size_t size)
{
	void *new = realloc(old, size);

	if (new == NULL)
		abort();
	return new;
}

/* The head, then as many rows and results as the frame says it has. */
static void
read_payload(WireReader payload)
{
	Arena *arena = arena_create();
	Failure failure;
	WireReader again;
	size_t length;
	const char *text = wire_get_text(&payload, &length);
	json_t *head;
	volatile uint64_t sum = 0;
	uint32_t count;

	for (size_t i = 0; i < length; i++)
		sum += (uint8_t) text[i];
	json_open_text(arena, text, length, "a head", &head, &failure);
	again = payload;
	count = wire_get_count(&payload, WIRE_ROW_SIZE_MIN);
	for (uint32_t i = 0; i < count && !payload.broken; i++)
	{
		WireRow row;

		wire_get_row(&payload, &row);
		for (size_t j = 0; j < row.prompt_length; j++)
			sum += (uint8_t) row.prompt[j];
		for (size_t j = 0; j < row.response_length; j++)
			sum += (uint8_t) row.response[j];
	}
	count = wire_get_count(&again, WIRE_ROW_RESULT_SIZE);
	for (uint32_t i = 0; i < count; i++)
	{
		WireRowResult result;

		wire_get_row_result(&again, &result);
		sum += result.tokens;
	}
	/* What the count promised fits, for these have one size. */
	if (again.broken && count > 0)
		abort();
	arena_destroy(arena);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	WireInbox inbox = {.bytes.resize = resize};
	size_t piece = size > 0 ? 1 + data[0] % 64 : 1;
	WireNext next = WIRE_NEXT_NONE;

	for (size_t at = 0; at < size && next != WIRE_NEXT_BROKEN; at += piece)
	{
		size_t count = size - at < piece ? size - at : piece;
		WireHeader header;
		WireReader payload;

		memcpy(wire_inbox_space(&inbox, count), data + at, count);
		wire_inbox_filled(&inbox, count);
		while ((next = wire_inbox_next(&inbox, &header, &payload)) ==
		       WIRE_NEXT_FRAME)
			read_payload(payload);
	}
	free(inbox.bytes.data);
	return 0;
}
