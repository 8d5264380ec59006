/*
 * weights.h
 *		The weights a model has now, as files want them: from the file, or from
 *		training, with an adapter merged in.
 */
#pragma once

#include "model/layers.h"

typedef struct Weights Weights;

/* values: laid out as MODEL_WEIGHTS, or NULL for those the model has now. */
extern bool weights_open(Arena *arena, Model *model, const float *values,
                         Weights **weights, Failure *failure);

/* The dtype to write a parameter in: the one wanted, or for DTYPE_OTHER the
 * one of the file where that is plain floats, else fp32. */
extern DType weights_dtype(DType wanted, const Parameter *parameter);

/* TensorSource: fp32 numbers [first, first + count) of a parameter as it is
 * laid out in the model. */
extern void weights_read(void *weights, int index, int64_t first, int64_t count,
                         void *target);

/* The same with rows and columns exchanged. */
extern void weights_read_turned(void *weights, int index, int64_t first,
                                int64_t count, void *target);
