/*
 * attention_pairs.h
 *		Products of attention's backward pass by numbers rounded to bf16, where
 *		the processor multiplies them: twice as fast as fp32.
 *
 * Scores are computed as the forward pass did, in fp32; what is rounded are
 * probabilities and gradients.
 */
#pragma once

#include "device/cpu/attention_task.h"
#include "device/cpu/matmul_bf16.h"

/* Panels of a task, of 32 columns each: columns is the task's width in them. */
typedef struct AttentionPairs
{
	const PairKernels *kernels; /* NULL: products are to be fp32 */
	int columns;
	int depth;         /* pairs of a head's numbers, and zeros */
	int row_pairs;     /* pairs of a block's rows at most */
	uint32_t *keys;    /* [columns][length / 2][32] */
	uint32_t *values;  /* [length / KEYS][depth][32] */
	uint32_t *queries; /* [columns][row_pairs][32] */
	uint32_t *dout;    /* [columns][row_pairs][32] */
	uint32_t *rows;    /* [rows][depth] of dout */
	uint32_t *left;    /* of the factor that changes with every product */
} AttentionPairs;

/* How products of the device are to be multiplied. */
extern AttentionPairs attention_pairs(const Device *device,
                                      const AttentionTask *task);
/* Numbers of 32 bits that its panels take, and where they are. */
extern size_t pairs_size(const AttentionPairs *pairs,
                         const AttentionTask *task);
extern void pairs_place(AttentionPairs *pairs, const AttentionTask *task,
                        void *memory);

/* From keys and values, both [length][width]. */
extern void pairs_set_sequence(const AttentionPairs *pairs,
                               const AttentionTask *task, const float *keys,
                               const float *values);
/* From queries and dout, both [rows][width]. */
extern void pairs_set_block(const AttentionPairs *pairs,
                            const AttentionTask *task, const float *queries,
                            const float *dout);

/* score[rows][SCORE_STRIDE] = dout times the values [start, end), where chunks
 * see them. */
extern void pairs_multiply_values(const AttentionPairs *pairs,
                                  const AttentionTask *task, float *score,
                                  int start, int end);
/* out[rows][width] += score's keys [start, end) times keys */
extern void pairs_multiply_keys(const AttentionPairs *pairs,
                                const AttentionTask *task, float *out,
                                const float *score, int start, int end);
/* panel[keys][width] += score^T times `right`, queries or dout. */
extern void pairs_add_to_panel(const AttentionPairs *pairs,
                               const AttentionTask *task, float *panel,
                               const float *score, const uint32_t *right,
                               int start, int end);
