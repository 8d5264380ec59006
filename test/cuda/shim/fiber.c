/*
 * fiber.c
 *		Switching stacks, and telling AddressSanitizer of it.
 *
 * On x86-64 a switch saves the six registers that a call preserves: glibc's
 * swapcontext also asks the kernel for the signal mask each time, which is
 * most of the time that a kernel full of shuffles would take.
 */
#include "fiber.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define STACK_BYTES (256 << 10)
#define GUARD_BYTES (64 << 10)

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

/* Where the program's own stack lies: known once it is left. */
static bool left_own;
static const void *own_stack;
static size_t own_bytes;

static void
announce_switch(void **save, const Fiber *from, const Fiber *to)
{
	left_own = from->stack == NULL;
	__sanitizer_start_switch_fiber(save, to->stack ? to->stack : own_stack,
	                               to->stack ? STACK_BYTES : own_bytes);
}

static void
announce_arrival(void *fake_stack)
{
	const void *stack;
	size_t bytes;

	__sanitizer_finish_switch_fiber(fake_stack, &stack, &bytes);
	if (left_own)
	{
		own_stack = stack;
		own_bytes = bytes;
	}
}

void
fiber_entered(void)
{
	announce_arrival(NULL);
}

static void
forget_frames(const Fiber *fiber)
{
	__asan_unpoison_memory_region(fiber->stack, STACK_BYTES);
}
#else
static void
announce_switch(void **save, const Fiber *from, const Fiber *to)
{
	(void) save;
	(void) from;
	(void) to;
}

static void
announce_arrival(void *fake_stack)
{
	(void) fake_stack;
}

void
fiber_entered(void)
{
}

static void
forget_frames(const Fiber *fiber)
{
	(void) fiber;
}
#endif

/* A stack with a hole below that stops what grows over it. */
static char *
map_stack(void)
{
	char *memory = mmap(NULL, GUARD_BYTES + STACK_BYTES, PROT_NONE,
	                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED ||
	    mprotect(memory + GUARD_BYTES, STACK_BYTES, PROT_READ | PROT_WRITE))
	{
		perror("shim: cannot map a fiber's stack");
		exit(1);
	}
	return memory + GUARD_BYTES;
}

#ifdef __x86_64__
extern void shim_swap_stacks(void **from, void *to);

__asm__(".text\n"
        ".type shim_swap_stacks, @function\n"
        "shim_swap_stacks:\n"
        "	pushq %rbp\n"
        "	pushq %rbx\n"
        "	pushq %r12\n"
        "	pushq %r13\n"
        "	pushq %r14\n"
        "	pushq %r15\n"
        "	movq %rsp, (%rdi)\n"
        "	movq %rsi, %rsp\n"
        "	popq %r15\n"
        "	popq %r14\n"
        "	popq %r13\n"
        "	popq %r12\n"
        "	popq %rbx\n"
        "	popq %rbp\n"
        "	ret\n"
        ".size shim_swap_stacks, . - shim_swap_stacks\n");

static void
prepare(Fiber *fiber, void (*run)(void))
{
	uintptr_t *at = (uintptr_t *) (void *) (fiber->stack + STACK_BYTES);

	/* What swap_stacks pops: six registers and where to return to, after
	 * which the stack is aligned as a call leaves it. */
	*--at = 0;
	*--at = (uintptr_t) run;
	for (int i = 0; i < 6; i++)
		*--at = 0;
	fiber->top = at;
}

static void
swap(Fiber *from, Fiber *to)
{
	shim_swap_stacks(&from->top, to->top);
}
#else
static void
prepare(Fiber *fiber, void (*run)(void))
{
	getcontext(&fiber->context);
	fiber->context.uc_stack.ss_sp = fiber->stack;
	fiber->context.uc_stack.ss_size = STACK_BYTES;
	fiber->context.uc_link = NULL;
	makecontext(&fiber->context, run, 0);
}

static void
swap(Fiber *from, Fiber *to)
{
	swapcontext(&from->context, &to->context);
}
#endif

void
fiber_start(Fiber *fiber, void (*run)(void))
{
	if (fiber->stack == NULL)
		fiber->stack = map_stack();
	forget_frames(fiber);
	prepare(fiber, run);
}

void
fiber_switch(Fiber *from, Fiber *to)
{
	announce_switch(&from->fake_stack, from, to);
	swap(from, to);
	announce_arrival(from->fake_stack);
}

void
fiber_end(Fiber *from, Fiber *to)
{
	announce_switch(NULL, from, to);
	swap(from, to);
	abort();
}
