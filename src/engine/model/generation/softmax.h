/*
 * softmax.h
 *		From the logits of a whole vocabulary to weights of tokens.
 */
#pragma once

/* Where the largest of count numbers is, the first of equals; count >= 1, and
 * none is a NaN. */
extern int softmax_largest(const float *logits, int count);

/* weight[i] = e^((logits[i] - largest) / temperature), within a few units in
 * the last place; none of the logits is larger.  Returns their sum. */
extern double softmax_weights(double *weight, const float *logits, int count,
                              double largest, double temperature);

/* The sum of e^(logits[i] - largest). */
extern double softmax_sum(const float *logits, int count, double largest);
