/*
 * lexer.h
 *		The text of a template as tokens, white space taken away as
 *		trim_blocks, lstrip_blocks and the signs in tags want it.
 */
#pragma once

#include "text/jinja/value.h"

typedef enum TokenKind
{
	TOKEN_END,
	TOKEN_DATA,         /* text between tags */
	TOKEN_OUTPUT,       /* {{ */
	TOKEN_OUTPUT_CLOSE, /* }} */
	TOKEN_BLOCK,        /* {% */
	TOKEN_BLOCK_CLOSE,  /* %} */
	TOKEN_NAME,
	TOKEN_STRING,
	TOKEN_INT,
	TOKEN_FLOAT,
	TOKEN_OPERATOR
} TokenKind;

typedef struct Token
{
	TokenKind kind;
	int line;
	Value value; /* DATA, NAME, STRING, OPERATOR: a string; INT, FLOAT */
} Token;

/* Valid UTF-8 to tokens, the last of which is TOKEN_END. */
extern const Token *lexer_read(Run *run, const char *text, size_t length,
                               size_t *count);

extern bool token_is(const Token *token, TokenKind kind, const char *text);
