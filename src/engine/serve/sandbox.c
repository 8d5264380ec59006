/*
 * sandbox.c
 *		A seccomp filter: no new sockets, no programs, no other processes.
 *
 * A list of what is forbidden, not of what is allowed: memory, threads, files
 * and the clock are a library's own business and change with its version.
 */
#include "serve/sandbox.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#ifdef ARCHITECTURE

/* x86-64 numbers from here on are the x32 ones: other names of the same. */
#define X32_FIRST 0x40000000

#define LOAD(field)                                                            \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define REFUSE BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define FORBID(call)                                                           \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##call, 0, 1), REFUSE

static const struct sock_filter rules[] = {
	LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
	REFUSE,
	LOAD(nr),
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_FIRST, 0, 1),
	REFUSE,
	FORBID(socket),
	FORBID(socketpair),
	FORBID(connect),
	FORBID(bind),
	FORBID(listen),
	FORBID(execve),
	FORBID(execveat),
	FORBID(ptrace),
	FORBID(process_vm_readv),
	FORBID(process_vm_writev),
	FORBID(kill),
	FORBID(tkill),
	FORBID(bpf),
	FORBID(mount),
	FORBID(unshare),
	FORBID(setns),
	ALLOW,
};

bool
sandbox_enter(void)
{
	struct sock_fprog program = {sizeof(rules) / sizeof(rules[0]),
	                             (struct sock_filter *) rules};

	/* Without this a filter needs privileges. */
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return false;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
	               SECCOMP_FILTER_FLAG_TSYNC, &program) == 0;
}

#else

bool
sandbox_enter(void)
{
	return false;
}

#endif
