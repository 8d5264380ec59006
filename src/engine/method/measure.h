/*
 * measure.h
 *		How good predictions are: ranking, calibration, correlation.
 */
#pragma once

#include "base/arena.h"

#include <stdbool.h>

/*
 * The chance that a positive one of count scores is above a negative one,
 * ties half: the area under the ROC curve (Hanley and McNeil, 1982).  NaN
 * where all are of one kind.
 */
extern double measure_auc(Arena *arena, const double *score,
                          const bool *is_positive, int count);

/*
 * Expected calibration error (Guo et al., arXiv 1706.04599): predictions fall
 * into bins of equal width by confidence in [0, 1]; the mean over predictions
 * of how far a bin's mean confidence is from its share of hits.
 */
#define MEASURE_BINS 10
extern double measure_calibration(const double *confidence, const bool *is_hit,
                                  int count);

/* Of numbers, and of their ranks (equal ones share their mean rank); NaN where
 * one of the two is constant. */
extern double measure_pearson(const double *a, const double *b, int count);
extern double measure_spearman(Arena *arena, const double *a, const double *b,
                               int count);

/* Mean, and mean squared distance from center. */
extern double measure_mean(const double *number, int count);
extern double measure_spread(const double *number, double center, int count);
