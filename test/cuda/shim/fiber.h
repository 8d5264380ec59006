/*
 * fiber.h
 *		Threads that take turns: each has a stack of its own and runs until it
 *		gives way.
 */
#pragma once

#include <stddef.h>

#ifndef __x86_64__
#include <ucontext.h>
#endif

typedef struct Fiber
{
	char *stack;      /* mapped when first started; the program's own: NULL */
	void *fake_stack; /* AddressSanitizer's part of a fiber that waits */
#ifdef __x86_64__
	void *top; /* of the stack of one that waits */
#else
	ucontext_t context;
#endif
} Fiber;

/* Prepares a fiber to call run(), which must not return: it gives way for
 * the last time by fiber_end.  What it did before is forgotten. */
extern void fiber_start(Fiber *fiber, void (*run)(void));

/* Leaves one and goes on with another.  The program itself is a Fiber of
 * zeros, filled in when it is left. */
extern void fiber_switch(Fiber *from, Fiber *to);

/* Leaves a fiber that never goes on. */
extern void fiber_end(Fiber *from, Fiber *to);

/* To be called first thing by what fiber_start names. */
extern void fiber_entered(void);
