/*
 * engine_process.c
 *		The engine's process: fork, exec, last words, end.
 *
 * The engine reads files that strangers made, so it starts with nothing of
 * the backend's: an environment of its own, three standard descriptors, the
 * socket as descriptor 3 and its slot as 4.  Between fork and exec only
 * functions run that are safe after a fork, and nothing returns.
 */
#include "alol.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/fd.h"

#include "engine/engine_process.h"

#define CHILD_SOCKET 3
#define CHILD_SLOT 4
#define ENVIRONMENT_MAX 64

extern char **environ;

/* What the child needs, made before the fork. */
typedef struct ChildPlan
{
	const char *path;
	char *environment[ENVIRONMENT_MAX];
	int socket;
	int words;
	int slot;
	int null;
} ChildPlan;

static bool
is_passed_on(const char *variable)
{
	return strncmp(variable, "CUDA_VISIBLE_DEVICES=", 21) == 0 ||
	       strncmp(variable, "NVIDIA_", 7) == 0 ||
	       strncmp(variable, "LD_LIBRARY_PATH=", 16) == 0;
}

static void
plan_environment(ChildPlan *plan)
{
	int count = 0;

	plan->environment[count++] = "LC_ALL=C.UTF-8";
	/* A thread that waits must not burn the processor that others need: by
	 * default it spins for milliseconds, and a busy server is ten times
	 * slower. */
	plan->environment[count++] = "GOMP_SPINCOUNT=2000";
	if (alol_threads > 0)
		plan->environment[count++] =
			psprintf("OMP_NUM_THREADS=%d", alol_threads);
	for (char **variable = environ; *variable != NULL; variable++)
	{
		if (count < ENVIRONMENT_MAX - 1 && is_passed_on(*variable))
			plan->environment[count++] = *variable;
	}
	plan->environment[count] = NULL;
}

/* -------------------------------------------------- between fork and exec */

static void
close_from(int first)
{
	struct rlimit limit;
	long last = 1024;

#ifdef SYS_close_range
	if (syscall(SYS_close_range, (unsigned int) first, ~0U, 0U) == 0)
		return;
#endif
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
	    limit.rlim_cur != RLIM_INFINITY)
		last = (long) limit.rlim_cur;
	for (int descriptor = first; descriptor < last; descriptor++)
		close(descriptor);
}

/* A backend ignores SIGPIPE, which would survive exec; so reset all. */
static void
reset_signals(void)
{
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Puts each descriptor where the engine expects it; -1 when one fails. */
static int
arrange_descriptors(const ChildPlan *plan)
{
	int from[] = {plan->null, plan->null, plan->words, plan->socket,
	              plan->slot};

	/* First out of the way, so that no target is a source still needed. */
	for (int i = 0; i < 5; i++)
	{
		if (from[i] >= 0 && (from[i] = fcntl(from[i], F_DUPFD, 16)) < 0)
			return -1;
	}
	for (int i = 0; i < 5; i++)
	{
		if (from[i] >= 0 && dup2(from[i], i) < 0)
			return -1;
	}
	close_from(plan->slot >= 0 ? CHILD_SLOT + 1 : CHILD_SOCKET + 1);
	return 0;
}

static void
run_child(const ChildPlan *plan)
{
	static const char words[] = "could not execute the engine\n";
	char *const arguments[] = {"alol-engine", NULL};

	reset_signals();
	/* A query cancel is sent to the backend's whole process group. */
	(void) setsid();
	if (arrange_descriptors(plan) == 0)
		execve(plan->path, arguments, plan->environment);
	(void) !write(plan->words, words, sizeof(words) - 1);
	_exit(127);
}

/* ---------------------------------------------------------- in the parent */

static void
close_if_open(int descriptor)
{
	if (descriptor >= 0)
		close(descriptor);
}

/* Forks with all signals blocked, so that no handler of the backend's runs in
 * the child.  Returns the pid, or -1. */
static pid_t
fork_child(const ChildPlan *plan)
{
	sigset_t all;
	sigset_t saved;
	pid_t pid;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &saved);
	pid = fork();
	if (pid == 0)
		run_child(plan);
	sigprocmask(SIG_SETMASK, &saved, NULL);
	return pid;
}

static void
check_program(const char *path)
{
	if (access(path, X_OK) != 0)
		ereport(ERROR,
		        (errcode_for_file_access(),
		         errmsg("could not execute \"%s\": %m", path),
		         errhint("Install the engine that belongs to this version of "
		                 "the extension.")));
}

void
process_start(EngineProcess *process, int slot)
{
	int sockets[2] = {-1, -1};
	int words[2] = {-1, -1};
	ChildPlan plan;
	int saved_errno;

	memset(process, 0, sizeof(*process));
	plan.path = psprintf("%s/alol-engine", pkglib_path);
	check_program(plan.path);
	plan_environment(&plan);
	if (!AcquireExternalFD())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
		                errmsg("too many files are open for an engine")));
	ReserveExternalFD(); /* the socket and the pipe */

	plan.slot = slot;
	plan.null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (plan.null >= 0 &&
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0 &&
	    pipe2(words, O_CLOEXEC | O_NONBLOCK) == 0 &&
	    fcntl(sockets[0], F_SETFL, O_NONBLOCK) == 0)
	{
		plan.socket = sockets[1];
		plan.words = words[1];
		process->pid = fork_child(&plan);
	}
	else
		process->pid = -1;
	saved_errno = errno;
	close_if_open(plan.null);
	close_if_open(sockets[1]);
	close_if_open(words[1]);
	if (process->pid < 0)
	{
		process->pid = 0;
		close_if_open(sockets[0]);
		close_if_open(words[0]);
		ReleaseExternalFD();
		ReleaseExternalFD();
		errno = saved_errno;
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
		                errmsg("could not start an engine: %m")));
	}
	process->socket = sockets[0];
	process->words_pipe = words[0];
}

/* Appends to words, keeping the tail. */
static void
keep_words(EngineProcess *process, const char *more, int length)
{
	int keep;

	if (length >= PROCESS_WORDS)
	{
		more += length - PROCESS_WORDS;
		length = PROCESS_WORDS;
	}
	keep = Min(process->words_length, PROCESS_WORDS - length);
	memmove(process->words, process->words + process->words_length - keep,
	        (size_t) keep);
	memcpy(process->words + keep, more, (size_t) length);
	process->words_length = keep + length;
}

void
process_words(EngineProcess *process)
{
	char buffer[4096];
	ssize_t count;

	if (process->pid == 0)
		return;
	while ((count = read(process->words_pipe, buffer, sizeof(buffer))) > 0)
		keep_words(process, buffer, (int) count);
}

/* Closes what belongs to a process that has been reaped. */
static void
bury(EngineProcess *process, int status)
{
	process_words(process);
	process->pid = 0;
	process->died = true;
	process->status = status;
	close(process->socket);
	close(process->words_pipe);
	ReleaseExternalFD();
	ReleaseExternalFD();
}

bool
process_is_gone(EngineProcess *process)
{
	int status = 0;
	pid_t pid;

	if (process->pid == 0)
		return true;
	pid = waitpid(process->pid, &status, WNOHANG);
	/* ECHILD: somebody else reaped it; how it ended is not known. */
	if (pid == process->pid || (pid < 0 && errno == ECHILD))
		bury(process, status);
	return process->pid == 0;
}

void
process_end(EngineProcess *process, int wait_ms)
{
	int status = 0;

	if (process->pid == 0)
		return;
	(void) shutdown(process->socket, SHUT_RDWR);
	for (int waited_ms = 0; waited_ms < wait_ms; waited_ms += 5)
	{
		if (process_is_gone(process))
			return;
		pg_usleep(5000);
	}
	if (process_is_gone(process))
		return;
	(void) kill(process->pid, SIGKILL);
	while (waitpid(process->pid, &status, 0) < 0 && errno == EINTR)
		;
	bury(process, status);
}

char *
process_epitaph(const EngineProcess *process)
{
	if (WIFSIGNALED(process->status))
		return psprintf("engine exited on signal %d",
		                WTERMSIG(process->status));
	return psprintf("engine exited with status %d",
	                WEXITSTATUS(process->status));
}
