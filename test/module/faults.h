/*
 * faults.h
 *		What is wrong with the devices of the test module, and the memory that
 *		all processes share there.
 *
 * Files beside the module say it: "alol_cuda.so.faults" holds a word and a
 * number a line, and "alol_cuda.so.memory" who has what.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

typedef struct Faults
{
	int devices;        /* 2 */
	int64_t memory_mib; /* of each; 1024 */
	int64_t fail_at;    /* the operation, from 1, that fails; 0: none does */
	int64_t die_at;     /* the one that ends the process */
	int at_device;      /* whose operations these are; -1: of each */
	int cannot_open;    /* a device; -1: all can be opened */
	bool no_driver;
	bool hang;         /* when it is asked for devices */
	bool crash;        /* when it is asked for devices */
	bool crash_loaded; /* when it is loaded */
	bool other_version;
	bool other_layout;
} Faults;

/* As the file says now; without a file nothing is wrong. */
extern Faults faults_read(void);

/* Bytes of the device that living processes have, this one's left out. */
extern uint64_t memory_of_others(int device);

/* This process wants to have so many bytes in all; false, and what it has
 * stays, if they are more than total leaves. */
extern bool memory_have(int device, uint64_t bytes, uint64_t total);
