/*
 * main.c
 *		alol-engine: the process that computes.
 *
 * PostgreSQL starts it with one socket as descriptor 3 and an empty
 * environment.  It must not outlive its parent, cannot gain privileges, and
 * offers itself first when memory runs out.  The other ranks of a job are the
 * same program, started by its engine with --rank.
 */
#include "serve/rank.h"
#include "serve/serve.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SERVE_SOCKET 3

/* Of 0 .. 1000: among the first to go, after what volunteers more. */
#define OOM_SCORE "500"

static void
volunteer_to_oom_killer(void)
{
	FILE *file = fopen("/proc/self/oom_score_adj", "we");

	if (file == NULL)
		return;
	fputs(OOM_SCORE, file);
	fclose(file);
}

/* Dispositions and masks survive exec; we want none of the parent's. */
static void
reset_signals(void)
{
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		if (number != SIGKILL && number != SIGSTOP)
			signal(number, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

int
main(int count, char **arguments)
{
	struct stat status;

	if (count == 2 && strcmp(arguments[1], "--version") == 0)
	{
		printf("alol-engine %s\n", ALOL_VERSION);
		return 0;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	reset_signals();
	volunteer_to_oom_killer();
	umask(077);
	if (fstat(SERVE_SOCKET, &status) != 0 || !S_ISSOCK(status.st_mode))
	{
		fprintf(stderr,
		        "alol-engine is started by PostgreSQL, "
		        "with a socket as descriptor %d\n",
		        SERVE_SOCKET);
		return 1;
	}
	if (count == 2 && strcmp(arguments[1], "--rank") == 0)
		rank_run(SERVE_SOCKET);
	serve_run(SERVE_SOCKET);
}
