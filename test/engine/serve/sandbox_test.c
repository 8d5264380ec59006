/*
 * sandbox_test.c
 *		What is refused in the sandbox, and what is not.
 */
#include "testing.h"

#include "serve/sandbox.h"

#include <errno.h>
#include <omp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

/* In a process of its own: 0 if fine, else the number of what was not. */
static int
try_all(void)
{
	char *const arguments[] = {"/bin/true", NULL};
	int threads = 0;

	if (!sandbox_enter())
		return 77; /* no seccomp here */
	if (socket(AF_UNIX, SOCK_STREAM, 0) != -1 || errno != EPERM)
		return 1;
	if (execv("/bin/true", arguments) != -1 || errno != EPERM)
		return 2;
	if (kill(getppid(), 0) != -1 || errno != EPERM)
		return 3;
	if (fopen("/proc/self/status", "r") == NULL)
		return 4;
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
	         -1, 0) == MAP_FAILED)
		return 5;
#pragma omp parallel num_threads(2) reduction(+ : threads)
	threads += socket(AF_UNIX, SOCK_STREAM, 0) == -1;
	return threads == 2 ? 0 : 6;
}

static void
sockets_programs_and_processes_are_out_of_reach(void **state)
{
	pid_t pid = fork();
	int status;

	(void) state;
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(try_all());
	waitpid(pid, &status, 0);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		printf("skipped: no seccomp\n");
	else
		assert_int_equal(WEXITSTATUS(status), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sockets_programs_and_processes_are_out_of_reach),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
