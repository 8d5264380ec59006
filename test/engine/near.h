/*
 * near.h
 *		Comparing numbers in double; a NaN is near nothing.
 */
#pragma once

#include "testing.h"

#include <math.h>

#define assert_near(value, expected, tolerance)                                \
	do                                                                         \
	{                                                                          \
		double near_value = (value), near_expected = (expected);               \
                                                                               \
		if (!(fabs(near_value - near_expected) <= (tolerance)))                \
			fail_msg("%s is %.9g, not %.9g", #value, near_value,               \
			         near_expected);                                           \
	} while (0)
