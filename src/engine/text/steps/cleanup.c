/*
 * cleanup.c
 *		Replacing, and the replacements of English.
 */
#include "text/steps/cleanup.h"

#include <string.h>

void
append_replaced(TextBuffer *out, TokenText text, const char *what,
                const char *by)
{
	size_t length = strlen(what);
	size_t done = 0;

	while (length > 0 && done < text.length)
	{
		const char *found =
			memmem(text.text + done, text.length - done, what, length);

		if (found == NULL)
			break;
		buffer_append(out, text.text + done,
		              (size_t) (found - text.text) - done);
		buffer_append(out, by, strlen(by));
		done = (size_t) (found - text.text) + length;
	}
	buffer_append(out, text.text + done, text.length - done);
}

/* What English writes without the space that lies between tokens; one after
 * the other. */
static const char *const cleanups[][2] = {
	{" .", "."},   {" ?", "?"},     {" !", "!"},     {" ,", ","},
	{" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},   {" do not", " don't"},
	{" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
};

TokenText
clean_up(Arena *arena, TokenText text, Failure *failure)
{
	for (size_t i = 0; i < sizeof(cleanups) / sizeof(cleanups[0]); i++)
	{
		TextBuffer buffer;

		if (memmem(text.text, text.length, cleanups[i][0],
		           strlen(cleanups[i][0])) == NULL)
			continue;
		buffer_start(&buffer, arena, failure);
		append_replaced(&buffer, text, cleanups[i][0], cleanups[i][1]);
		if (buffer.failed)
			break;
		text = (TokenText){buffer.data, buffer.length};
	}
	return text;
}
