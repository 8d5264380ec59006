/*
 * pairs_fetch.h
 *		How tiles of a product fetch what comes behind them, a line with every
 *		few pairs.
 */
#pragma once

#include "device/cpu/matmul_bf16.h"

#include <immintrin.h>

/* What a tile has still to fetch. */
typedef struct Fetching
{
	const char *line;
	int64_t step;
	int64_t skip; /* more, to the next BF16_PAIRS lines */
	int64_t pairs;
	int64_t until_line;
	int64_t until_skip;
} Fetching;

static inline __attribute__((always_inline)) Fetching
begin_fetching(const PairsAhead *ahead, int64_t pairs)
{
	if (ahead == NULL)
		return (Fetching){.until_line = pairs + 1};
	return (Fetching){
		ahead->at,    ahead->step,  ahead->jump - BF16_PAIRS * ahead->step,
		ahead->pairs, ahead->pairs, BF16_PAIRS};
}

/* With each pair that is multiplied. */
static inline __attribute__((always_inline)) void
fetch_ahead(Fetching *fetching)
{
	if (--fetching->until_line != 0)
		return;
	_mm_prefetch(fetching->line, _MM_HINT_T1);
	fetching->line += fetching->step;
	fetching->until_line = fetching->pairs;
	if (--fetching->until_skip == 0)
	{
		fetching->line += fetching->skip;
		fetching->until_skip = BF16_PAIRS;
	}
}
