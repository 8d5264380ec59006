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
	int locks; /* of those that tell who computes on what */
	int lock[DEVICES_MAX];
} DeviceChoice;

/* What a device's file of users is called, behind the device's name. */
#define DEVICE_USERS ".users"

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

/* This process computes on them until it ends: it has a shared lock on a file
 * of each. */
extern void device_use(const char *claims, const DeviceList *list,
                       DeviceChoice *choice);

/*
 * Of a job that has not begun: memory that it lacks is FAILURE_NO_ROOM_NOW
 * where others compute on the same devices, and it would do if they did not.
 * host_most: bytes that the host could give then.  Returns false.
 */
extern bool device_judge(const DeviceList *list, const DeviceChoice *choice,
                         uint64_t host_most, Failure *failure);

/* "cuda:1", "cuda:0,1", "cpu", "cpu:2", in arena. */
extern char *device_choice_name(Arena *arena, const DeviceList *list,
                                const DeviceChoice *choice);
