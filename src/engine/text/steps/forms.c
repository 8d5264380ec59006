/*
 * forms.c
 *		Normal forms by utf8proc, one stretch of a text after the other.
 *
 * No ASCII character joins what lies before it, so a text falls into ASCII,
 * which stays, and stretches of a character with others after it.
 */
#include "text/steps/forms.h"

#include "text/unicode.h"
#include "text/unicode_versions.h"

#include <utf8proc.h>

#define FEW_CODES 256

static const utf8proc_option_t options[] = {
	[FORM_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
	[FORM_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
	[FORM_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
	[FORM_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
};

/*
 * Whether NFC changes nothing, as far as one can tell from one character at a
 * time: nothing here composes with anything, or decomposes.
 */
static bool
is_surely_composed(const char *text, size_t length)
{
	for (size_t i = 0; i < length;)
	{
		uint32_t code = unicode_next(text, &i);
		const utf8proc_property_t *property;

		if (code < 0x300)
			continue;
		property = utf8proc_get_property((utf8proc_int32_t) code);
		if (property->combining_class != 0 ||
		    property->decomp_seqindex != UINT16_MAX ||
		    property->comb_index != UINT16_MAX ||
		    (code >= 0x1100 && code <= 0x11ff))
			return false;
	}
	return true;
}

static bool
append_normalized(TextBuffer *out, NormalForm form, const char *text,
                  size_t length, Failure *failure)
{
	const utf8proc_uint8_t *bytes = (const utf8proc_uint8_t *) text;
	utf8proc_int32_t few[FEW_CODES];
	utf8proc_int32_t *codes = few;
	utf8proc_ssize_t count = utf8proc_decompose(
		bytes, (utf8proc_ssize_t) length, few, FEW_CODES, options[form]);

	if (count < 0)
		return fail(failure, FAILURE_BAD_INPUT, "cannot normalize a text: %s",
		            utf8proc_errmsg(count));
	if (count > FEW_CODES)
	{
		codes =
			arena_try(out->arena, (size_t) count + 1, sizeof(*codes), failure);
		if (codes == NULL)
			return false;
		utf8proc_decompose(bytes, (utf8proc_ssize_t) length, codes, count,
		                   options[form]);
	}
	count = utf8proc_normalize_utf32(codes, count, options[form]);
	for (utf8proc_ssize_t i = 0; i < count; i++)
		buffer_append_code(out, (uint32_t) codes[i]);
	return true;
}

/* What the library does not know to be composed of others stays. */
static bool
append_stretch(TextBuffer *out, NormalForm form, const char *text,
               size_t length, Failure *failure)
{
	size_t done = 0;

	if (form == FORM_NFC && is_surely_composed(text, length))
	{
		buffer_append(out, text, length);
		return true;
	}
	for (size_t i = 0; i < length;)
	{
		size_t start = i;

		if (!unicode_is_exception(UNDECOMPOSED, unicode_next(text, &i)))
			continue;
		if (!append_normalized(out, form, text + done, start - done, failure))
			return false;
		buffer_append(out, text + start, i - start);
		done = i;
	}
	return append_normalized(out, form, text + done, length - done, failure);
}

bool
form_append(TextBuffer *out, NormalForm form, const char *text, size_t length,
            Failure *failure)
{
	size_t end;

	for (size_t start = 0; start < length; start = end)
	{
		size_t ascii = start;

		while (ascii < length && (uint8_t) text[ascii] < 0x80)
			ascii++;
		end = ascii;
		while (end < length && (uint8_t) text[end] >= 0x80)
			end++;
		if (ascii > start && end > ascii)
			ascii--; /* others may join the last one */
		buffer_append(out, text + start, ascii - start);
		if (end > ascii &&
		    !append_stretch(out, form, text + ascii, end - ascii, failure))
			return false;
	}
	return true;
}
