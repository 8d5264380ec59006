/*
 * tokenizer_parts.h
 *		What a tokenizer consists of: shared by tokenizer.c, which runs it, and
 *		tokenizer_open.c, which reads it.
 */
#pragma once

#include "text/chat.h"
#include "text/models/text_model.h"
#include "text/steps/added.h"
#include "text/steps/decoder.h"
#include "text/steps/template.h"

struct Tokenizer
{
	int size; /* of the arrays below: the highest id + 1 */
	int eos;  /* or -1 */
	int bos;  /* or -1 */
	AddedTokens *added;
	Normalizer *normalizer;
	Pretokenizer *pretokenizer;
	TextModel model;
	Template *template;
	Decoder *decoder;
	TokenText *texts; /* as the vocabulary has them */
	TokenText *bytes; /* as parts of a continuation */
	bool *is_special;
	bool gives_types; /* to models */
	Chat *chat;       /* the template of chats, perhaps without one */
};
