/*
 * device_spec.c
 *		How settings and options say what to compute on.
 */
#include "wire/device_spec.h"

#include <stddef.h>
#include <string.h>

/* One or two digits; false, and text where it was, if there are others. */
static bool
read_number(const char **text, int *number)
{
	const char *at = *text;
	int value = 0;

	while (*at >= '0' && *at <= '9' && at - *text < 3)
		value = 10 * value + *at++ - '0';
	if (at == *text || at - *text > 2)
		return false;
	*number = value;
	*text = at;
	return true;
}

static bool
add_number(DeviceSpec *spec, int number)
{
	if (number >= DEVICE_RANKS_MAX)
		return false;
	for (int i = 0; i < spec->count; i++)
		if (spec->number[i] == number)
			return false;
	spec->number[spec->count++] = number;
	return true;
}

/* "0-3,6": at most all of the numbers once, so they fit. */
static bool
read_list(const char *text, DeviceSpec *spec)
{
	for (;;)
	{
		int first, last;

		if (!read_number(&text, &first))
			return false;
		last = first;
		if (*text == '-')
		{
			text++;
			if (!read_number(&text, &last) || last < first)
				return false;
		}
		for (int number = first; number <= last; number++)
			if (!add_number(spec, number))
				return false;
		if (*text == '\0')
			return true;
		if (*text++ != ',')
			return false;
	}
}

bool
device_spec_parse(const char *text, DeviceSpec *spec)
{
	memset(spec, 0, sizeof(DeviceSpec));
	if (strcmp(text, "auto") == 0)
		return true;
	if (strncmp(text, "cpu", 3) == 0)
	{
		spec->kind = DEVICE_CPU;
		spec->count = 1;
		text += 3;
		if (*text == '\0')
			return true;
		return *text++ == ':' && read_number(&text, &spec->count) &&
		       *text == '\0' && spec->count >= 1 &&
		       spec->count <= DEVICE_RANKS_MAX;
	}
	if (strncmp(text, "cuda", 4) != 0)
		return false;
	spec->kind = DEVICE_GPU;
	text += 4;
	if (*text == '\0')
		return true;
	if (strcmp(text, ":all") == 0)
	{
		spec->kind = DEVICE_GPU_ALL;
		return true;
	}
	return *text == ':' && read_list(text + 1, spec);
}
