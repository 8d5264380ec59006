/*
 * engine_error.c
 *		How what goes wrong in an engine becomes an SQL error.
 *
 * Foreign text is an argument, never a format.
 */
#include "alol.h"

#include "engine/engine_error.h"
#include "base/json.h"

/* A SQLSTATE's code; an internal error for what is none. */
static int
sqlstate_of(const char *state)
{
	if (state == NULL || strlen(state) != 5)
		return ERRCODE_INTERNAL_ERROR;
	for (int i = 0; i < 5; i++)
	{
		if (!(state[i] >= '0' && state[i] <= '9') &&
		    !(state[i] >= 'A' && state[i] <= 'Z'))
			return ERRCODE_INTERNAL_ERROR;
	}
	return MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
}

static bool
is_said(const char *text)
{
	return text != NULL && text[0] != '\0';
}

void
engine_raise(Jsonb *head)
{
	char *message = json_text(head, "message");
	char *detail = json_text(head, "detail");
	char *hint = json_text(head, "hint");
	char *context = json_text(head, "context");

	ereport(ERROR,
	        (errcode(sqlstate_of(json_text(head, "sqlstate"))),
	         errmsg_internal("%s", is_said(message)
	                                   ? message
	                                   : "the engine failed without a word"),
	         is_said(detail) ? errdetail_internal("%s", detail) : 0,
	         is_said(hint) ? errhint("%s", hint) : 0,
	         is_said(context) ? (errcontext("%s", context)) : 0));
	pg_unreachable();
}

/* The last words, printable and without white space around them. */
static char *
last_words(const EngineProcess *process)
{
	int from = 0;
	int to = process->words_length;
	char *words;

	while (to > from && (unsigned char) process->words[to - 1] <= ' ')
		to--;
	while (from < to && (unsigned char) process->words[from] <= ' ')
		from++;
	words = pnstrdup(process->words + from, to - from);
	/* Not in a transaction, perhaps: so no conversion, only ASCII. */
	for (char *at = words; *at != '\0'; at++)
	{
		if (*at != '\n' && (*at < ' ' || *at > '~'))
			*at = '?';
	}
	return words;
}

void
engine_raise_death(const EngineProcess *process)
{
	char *words = last_words(process);

	ereport(ERROR, (errcode(ERRCODE_SYSTEM_ERROR),
	                errmsg_internal("%s", process_epitaph(process)),
	                is_said(words) ? errdetail_internal("%s", words) : 0));
	pg_unreachable();
}
