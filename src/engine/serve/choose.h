/*
 * choose.h
 *		What an engine computes on: what was asked for, of what there is.
 */
#pragma once

#include "base/arena.h"
#include "device/probe.h"
#include "wire/device_spec.h"

/* A rank each; is_gpu: number[count] of the list, else so many on the CPU. */
typedef struct DeviceChoice
{
	bool is_gpu;
	int count;
	int number[DEVICES_MAX];
} DeviceChoice;

/*
 * Chooses by the specification.  Of several GPUs that would do it takes those
 * first that no job has claimed, and of these the one with most memory free.
 * claims: a directory where this process claims what it has chosen until it
 * ends; NULL: it claims nothing.  What is not there is an error that says what
 * is, unless the choice is free (auto).
 */
extern bool device_choose(const char *text, const char *claims,
                          const DeviceList *list, DeviceChoice *choice,
                          Failure *failure);

/* "cuda:1", "cuda:0,1", "cpu", "cpu:2", in arena. */
extern char *device_choice_name(Arena *arena, const DeviceList *list,
                                const DeviceChoice *choice);
