/*
 * device_spec.h
 *		How settings and options say what to compute on.
 *
 *		auto          a GPU if there is one, else the CPU
 *		cpu           the CPU
 *		cpu:N         N ranks that share the CPU
 *		cuda          one GPU, whichever has most memory free
 *		cuda:N        this one
 *		cuda:all      a rank on each
 *		cuda:0-3,6    a rank on each of these
 */
#pragma once

#include <stdbool.h>

#define DEVICE_RANKS_MAX 64

/* For messages. */
#define DEVICE_SPEC_FORMS                                                      \
	"auto, cpu, cpu:N for N ranks, cuda, cuda:N, cuda:N-M or cuda:all"

typedef enum DeviceSpecKind
{
	DEVICE_AUTO,
	DEVICE_CPU,
	DEVICE_GPU,    /* the listed ones; where none is listed, any one */
	DEVICE_GPU_ALL /* each that is there */
} DeviceSpecKind;

typedef struct DeviceSpec
{
	DeviceSpecKind kind;
	int count; /* CPU: ranks; GPU: how many are listed */
	int number[DEVICE_RANKS_MAX];
} DeviceSpec;

/* False when the text is none of the above: a number beyond 0 .. 63, one that
 * is listed twice, no rank or more than DEVICE_RANKS_MAX, too. */
extern bool device_spec_parse(const char *text, DeviceSpec *spec);
