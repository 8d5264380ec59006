/*
 * pair.h
 *		A prompt and a response as the tokens a model sees.
 *
 * ids = encode(prompt, with the tokenizer's template) ++ continue(response) ++
 * [EOS].  A prompt that encodes to nothing is [BOS].  Scoring, training and
 * generation all come through here, so that they agree on every token.
 *
 * A prompt that begins with a zero byte, which no text has, is a chat: behind
 * it are messages as JSON.  The model's template makes a text of them, which
 * brings its own special tokens and is encoded without the tokenizer's.
 */
#pragma once

#include "model/model.h"

/* How long prompts and responses may be, in tokens. */
typedef struct PairLimits
{
	bool cuts;    /* false: what is beyond the context is refused */
	int prompt;   /* keeps its last so many, BOS stays and counts */
	int response; /* keeps its first so many, EOS counted */
} PairLimits;

typedef enum PairStatus
{
	PAIR_WHOLE,
	PAIR_EMPTY_PROMPT,  /* no token, and the model has no BOS: no ids */
	PAIR_EMPTY_RESPONSE /* no token but EOS; the ids are usable */
} PairStatus;

typedef struct Pair
{
	PairStatus status;
	const int32_t *ids; /* [tokens] */
	int tokens;
	int prompt; /* tokens of the prompt */
} Pair;

/* Limits that cut nothing but refuse what the context cannot hold. */
extern PairLimits pair_no_limits(void);

/*
 * These limits, fitted to the model's context: a response keeps at least what
 * it was allowed, or half of the context; the prompt has the rest.
 */
extern PairLimits pair_limits(const Model *model, int max_prompt_tokens,
                              int max_response_tokens);

/*
 * The tokens of a pair, in arena.  FAILURE_TOO_LONG, with both numbers, where
 * nothing is cut.  A response that was cut has no EOS.
 */
extern bool pair_encode(const Model *model, Arena *arena,
                        const PairLimits *limits, const char *prompt,
                        size_t prompt_length, const char *response,
                        size_t response_length, Pair *pair, Failure *failure);

/*
 * The tokens of a prompt alone, of at most `limit`; cuts: keep its last ones,
 * otherwise refuse.  list->count is 0 where there is no token and no BOS.
 */
extern bool prompt_encode(const Model *model, Arena *arena, int limit,
                          bool cuts, const char *text, size_t length,
                          TokenList *list, Failure *failure);

/*
 * Log-probabilities of the response tokens of pairs[count]: logp[i], in arena,
 * holds those of pair i; NULL where it has no response tokens.
 */
extern bool pair_logprobs(Model *model, Arena *arena, int count,
                          const Pair *pairs, float **logp, Failure *failure);

/* Values of prompts, as a value model over a policy has them. */
typedef struct PairValues
{
	Model *policy;
	const ValueHead *head;
	const bool *wanted; /* [count]; NULL: all */
	double *value;      /* [count]; NaN where there is none */
} PairValues;

/* Values alone: responses are not looked at. */
extern bool pair_values(Arena *arena, int count, const Pair *pairs,
                        const PairValues *values, Failure *failure);

/*
 * pair_logprobs() and, unless values is NULL, pair_values(): in one pass where
 * the model and the policy are alike.
 */
extern bool pair_score(Model *model, Arena *arena, int count, const Pair *pairs,
                       const PairValues *values, float **logp,
                       Failure *failure);

/*
 * Hidden states of the prompts of count token runs, one after the other:
 * hidden[sum of tokens, C], and offset[count + 1], both in arena.
 */
extern bool prompt_hidden(Model *model, Arena *arena, int count,
                          const int32_t *const *ids, const int32_t *tokens,
                          float **hidden, int32_t **offset, Failure *failure);
