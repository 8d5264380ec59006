/*
 * rotation.c
 *		Rotary positions: their scaling in config.json, their frequencies, and
 *		the table of angles.
 */
#include "model/layers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TWO_PI 6.283185307179586

/* rope_parameters (transformers 5) or rope_scaling (4, which wins where a file
 * has both); NULL: neither. */
static bool
find_rope(const json_t *json, json_t **rope, Failure *failure)
{
	if (!json_get_object(json, "rope_scaling", rope, failure))
		return false;
	if (json_object_size(*rope) > 0)
		return true;
	return json_get_object(json, "rope_parameters", rope, failure);
}

static bool
read_llama3(const json_t *rope, ModelConfig *config, Failure *failure)
{
	config->rope_scaling = ROPE_LLAMA3;
	if (!config_float(rope, "low_freq_factor", 1, 1e-6, 1e6, &config->rope_low,
	                  failure) ||
	    !config_float(rope, "high_freq_factor", 4, 1e-6, 1e6,
	                  &config->rope_high, failure))
		return false;
	if (config->rope_high <= config->rope_low)
		return fail(failure, FAILURE_BAD_FILE,
		            "high_freq_factor %g is not above low_freq_factor %g",
		            config->rope_high, config->rope_low);
	return true;
}

/* The amplitude that goes with a factor (arXiv 2309.00071, section 3.4). */
static double
yarn_amplitude(double factor, double scale)
{
	return factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1;
}

static bool
read_yarn(const json_t *rope, ModelConfig *config, Failure *failure)
{
	double scale, scale_all, factor;

	config->rope_scaling = ROPE_YARN;
	if (!config_float(rope, "beta_slow", 1, 1e-6, 1e6, &config->rope_low,
	                  failure) ||
	    !config_float(rope, "beta_fast", 32, 1e-6, 1e6, &config->rope_high,
	                  failure) ||
	    !config_float(rope, "mscale", 0, 0, 1e6, &scale, failure) ||
	    !config_float(rope, "mscale_all_dim", 0, 0, 1e6, &scale_all, failure) ||
	    !config_bool(rope, "truncate", true, &config->rope_truncate, failure))
		return false;
	if (config->rope_theta == 1)
		return fail(failure, FAILURE_BAD_FILE,
		            "rope_theta must be above 1 for yarn");
	if (json_member(rope, "factor") == NULL)
		config->rope_factor = config->context / config->rope_original;
	factor = config->rope_factor;
	return config_float(rope, "attention_factor",
	                    scale > 0 && scale_all > 0
	                        ? yarn_amplitude(factor, scale) /
	                              yarn_amplitude(factor, scale_all)
	                        : yarn_amplitude(factor, 1),
	                    1e-6, 1e6, &config->rope_amplitude, failure);
}

/*
 * "longrope" has divisors for short texts and for long ones.  Only the same
 * for both are possible: the angles of a position are one table.
 */
static bool
read_divisors(const json_t *rope, ModelConfig *config, Failure *failure)
{
	json_t *divisors, *others;

	config->rope_scaling = ROPE_DIVISORS;
	if (!json_get_array(rope, "short_factor", &divisors, failure) ||
	    !json_get_array(rope, "long_factor", &others, failure) ||
	    !config_float(rope, "attention_factor", 1, 1e-6, 1e6,
	                  &config->rope_amplitude, failure))
		return false;
	if (!json_equal(divisors, others) ||
	    json_member(rope, "attention_factor") == NULL)
		return fail(
			failure, FAILURE_UNSUPPORTED,
			"rope scaling \"longrope\" is supported only with one list of "
			"factors for short and long texts, and an attention_factor");
	if (json_array_size(divisors) != (size_t) config->rotary / 2)
		return fail(failure, FAILURE_BAD_FILE,
		            "short_factor has %zu numbers, not %d",
		            json_array_size(divisors), config->rotary / 2);
	for (size_t i = 0; i < json_array_size(divisors); i++)
		if (!(json_number_value(json_array_get(divisors, i)) > 0))
			return fail(failure, FAILURE_BAD_FILE,
			            "number %zu of short_factor is not above 0", i);
	config->rope_divisors = divisors;
	return true;
}

static bool
read_scaling(const json_t *rope, ModelConfig *config, Failure *failure)
{
	const char *type;
	const char *old_type;

	if (!json_get_string(rope, "type", "default", &old_type, failure) ||
	    !json_get_string(rope, "rope_type", old_type, &type, failure))
		return false;
	/* "dynamic" stretches only what is beyond max_position_embeddings, which
	 * nothing here is. */
	if (strcmp(type, "default") == 0 || strcmp(type, "dynamic") == 0)
		return true;
	if (!config_float(rope, "factor", 1, 1e-3, 1e6, &config->rope_factor,
	                  failure) ||
	    !config_float(rope, "original_max_position_embeddings", config->context,
	                  1, 1e9, &config->rope_original, failure))
		return false;
	if (strcmp(type, "llama3") == 0)
		return read_llama3(rope, config, failure);
	if (strcmp(type, "yarn") == 0)
		return read_yarn(rope, config, failure);
	if (strcmp(type, "longrope") == 0)
		return read_divisors(rope, config, failure);
	if (strcmp(type, "linear") == 0)
	{
		config->rope_scaling = ROPE_LINEAR;
		return true;
	}
	fail(failure, FAILURE_UNSUPPORTED,
	     "rope scaling \"%s\" of config.json is not supported", type);
	return fail_hint(failure, "Supported are default, linear, dynamic, llama3, "
	                          "yarn and longrope.");
}

/* How many elements of each head rotate. */
static bool
read_width(const json_t *json, const json_t *rope, bool is_partial,
           ModelConfig *config, Failure *failure)
{
	double share = 1;

	if (is_partial &&
	    (!config_float(json, "rotary_pct", 0.25, 0, 1, &share, failure) ||
	     !config_float(json, "partial_rotary_factor", share, 0, 1, &share,
	                   failure) ||
	     !config_float(rope, "partial_rotary_factor", share, 0, 1, &share,
	                   failure)))
		return false;
	config->rotary = (int) (config->head_dim * share);
	if (config->rotary < 2)
		return fail(failure, FAILURE_BAD_FILE,
		            "%d of the %d elements of a head rotate, which is no pair",
		            config->rotary, config->head_dim);
	if (config->rotary % 2 != 0 && !is_partial)
		return fail(failure, FAILURE_BAD_FILE, "head_dim %d is odd",
		            config->head_dim);
	if (config->rotary % 2 != 0)
		return fail(failure, FAILURE_BAD_FILE,
		            "%d rotated elements of each head are an odd number",
		            config->rotary);
	return true;
}

bool
config_rotation(const json_t *json, bool is_partial, ModelConfig *config,
                Failure *failure)
{
	double theta = 10000;
	json_t *rope;

	config->position = POSITION_ROTARY;
	config->rope_amplitude = 1;
	if (!find_rope(json, &rope, failure))
		return false;
	if (json_is_object(json_member(rope, "full_attention")) ||
	    json_is_object(json_member(rope, "sliding_attention")))
		return fail(failure, FAILURE_UNSUPPORTED,
		            "rope parameters by the kind of layer are not supported");
	return config_float(json, "rope_theta", theta, 1, 1e12, &theta, failure) &&
	       config_float(json, "rotary_emb_base", theta, 1, 1e12, &theta,
	                    failure) &&
	       config_float(rope, "rope_theta", theta, 1, 1e12, &config->rope_theta,
	                    failure) &&
	       read_width(json, rope, is_partial, config, failure) &&
	       read_scaling(rope, config, failure);
}

/* Where in the frequencies a wave makes so many turns in the old context. */
static double
yarn_place(const ModelConfig *c, double turns)
{
	return c->rotary * log(c->rope_original / (turns * TWO_PI)) /
	       (2 * log(c->rope_theta));
}

/* How much of frequency i is slowed by yarn's factor, 0 to 1. */
static double
yarn_ramp(const ModelConfig *c, int i)
{
	double low = yarn_place(c, c->rope_high);
	double high = yarn_place(c, c->rope_low);

	if (c->rope_truncate)
	{
		low = floor(low);
		high = ceil(high);
	}
	low = fmax(low, 0);
	high = fmin(high, c->rotary - 1);
	if (low == high)
		high += 0.001;
	return fmin(fmax((i - low) / (high - low), 0), 1);
}

/* Frequencies of the rotation, with the scaling of the configuration. */
static double
frequency(const ModelConfig *c, int i)
{
	double f = pow(c->rope_theta, -2.0 * i / c->rotary);
	double wavelength = TWO_PI / f;
	double slow;

	switch (c->rope_scaling)
	{
		case ROPE_LINEAR:
			return f / c->rope_factor;
		case ROPE_YARN:
			slow = yarn_ramp(c, i);
			return slow * f / c->rope_factor + (1 - slow) * f;
		case ROPE_LLAMA3:
			/* Long waves are slowed, short ones kept, a blend between. */
			if (wavelength < c->rope_original / c->rope_high)
				return f;
			if (wavelength > c->rope_original / c->rope_low)
				return f / c->rope_factor;
			slow = (c->rope_high - c->rope_original / wavelength) /
			       (c->rope_high - c->rope_low);
			return slow * f / c->rope_factor + (1 - slow) * f;
		case ROPE_DIVISORS:
			return f / json_number_value(
						   json_array_get(c->rope_divisors, (size_t) i));
		default:
			return f;
	}
}

void
rotation_divisors(const ModelConfig *c, float *divisors)
{
	for (int i = 0; i < c->rotary / 2; i++)
		divisors[i] = (float) (pow(c->rope_theta, -2.0 * i / c->rotary) /
		                       frequency(c, i));
}

bool
model_reach_angles(Model *model, int rows, Failure *failure)
{
	const ModelConfig *c = &model->config;
	Device *device = model->device;
	int half = c->rotary / 2;
	int size = 256;
	float *table;
	float *copy;

	if (c->position != POSITION_ROTARY || rows <= model->angle_rows)
		return true;
	while (size < rows)
		size *= 2;
	table = malloc((size_t) size * (size_t) c->rotary * sizeof(float));
	copy = device->alloc(device,
	                     (size_t) size * (size_t) c->rotary * sizeof(float));
	if (table == NULL || copy == NULL)
	{
		free(table);
		device->free(device, copy);
		return device->sync(device, failure) &&
		       fail(failure, FAILURE_OUT_OF_MEMORY,
		            "no memory for the angles of %d positions", size);
	}
	for (int i = 0; i < half; i++)
	{
		/* As the reference implementation: the angle is a float product. */
		float f = (float) frequency(c, i);

		for (int position = 0; position < size; position++)
		{
			float *row = table + (size_t) position * (size_t) c->rotary;
			float angle = (float) position * f;

			row[i] = (float) (c->rope_amplitude * cos((double) angle));
			row[half + i] = (float) (c->rope_amplitude * sin((double) angle));
		}
	}
	device->upload(device, copy, table,
	               (size_t) size * (size_t) c->rotary * sizeof(float));
	device->free(device, model->angles);
	free(table);
	model->angles = copy;
	model->angle_rows = size;
	return true;
}
