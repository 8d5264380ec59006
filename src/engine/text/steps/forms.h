/*
 * forms.h
 *		Unicode's normal forms.
 */
#pragma once

#include "text/buffer.h"

typedef enum NormalForm
{
	FORM_NFC,
	FORM_NFD,
	FORM_NFKC,
	FORM_NFKD
} NormalForm;

/* Appends a text (valid UTF-8) in a normal form. */
extern bool form_append(TextBuffer *out, NormalForm form, const char *text,
                        size_t length, Failure *failure);
