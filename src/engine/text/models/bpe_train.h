/*
 * bpe_train.h
 *		Learning a byte-level BPE from texts, as GPT-2's tokenizer was.
 *
 * Texts are cut into words by GPT-2's pattern, words are bytes, and the most
 * frequent pair of neighbours becomes one token, again and again.  Of equally
 * frequent pairs the one with the smaller ids wins, so the result depends on
 * the texts alone, not on their order.
 */
#pragma once

#include "base/arena.h"

#define BPE_END_OF_TEXT "<|endoftext|>"
#define BPE_SMALLEST 257 /* the bytes and the end of text */

typedef struct BpeTrainer BpeTrainer;

extern BpeTrainer *bpe_trainer_create(Arena *arena);

/* Counts the words of one document. */
extern bool bpe_trainer_add(BpeTrainer *trainer, const char *text,
                            size_t length, Failure *failure);

/*
 * Learns and writes directory/tokenizer.json and tokenizer_config.json, which
 * `transformers` opens too.  Ids 0 to 255 are the bytes, then come the merges,
 * and the last is <|endoftext|>, which begins and ends texts.  *entries gets
 * the number of ids: vocab_size, or fewer where no pair occurs twice any more.
 * Without any text it is the 257 of a tokenizer of bytes.
 */
extern bool bpe_trainer_write(BpeTrainer *trainer, int vocab_size,
                              const char *directory, int *entries,
                              Failure *failure);
