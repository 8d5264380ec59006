/*
 * requests.c
 *		The table of the requests the engine answers.
 */
#include "serve/requests.h"

static const RequestHandler handlers[] = {
	[WIRE_HELLO] = handle_hello,
	[WIRE_DEVICES] = handle_devices,
};

RequestHandler
request_handler(WireType type)
{
	if ((size_t) type >= sizeof(handlers) / sizeof(handlers[0]))
		return NULL;
	return handlers[type];
}
