/*
 * probe.c
 *		Finding a module of devices, and asking it what there is without
 *		risking the process that asks.
 */
#include "device/probe.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MODULE_NAME "alol_cuda.so"

/* A killed process may hang in its driver for ever. */
#define KILL_WAIT_MS 1000

/* What the child tells, followed by the devices. */
typedef struct Report
{
	int count;
	bool is_fault;
	char reason[FAILURE_TEXT];
} Report;

bool
device_module_path(char *path, size_t size)
{
	ssize_t length = readlink("/proc/self/exe", path, size - 1);
	char *end;

	if (length <= 0 || (size_t) length >= size - 1)
		return false;
	path[length] = '\0';
	end = strrchr(path, '/');
	if (end == NULL)
		return false;
	end++;
	if (strlen(MODULE_NAME) >= size - (size_t) (end - path))
		return false;
	strcpy(end, MODULE_NAME);
	return true;
}

static bool
is_text(const char *text, const char *expected)
{
	return text != NULL && strcmp(text, expected) == 0;
}

const DeviceModule *
device_module_load(const char *path, Failure *failure)
{
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const DeviceModule *module;

	if (library == NULL)
	{
		fail(failure, FAILURE_DEVICE, "%s", dlerror());
		return NULL;
	}
	module = dlsym(library, DEVICE_MODULE_SYMBOL);
	if (module == NULL)
		fail(failure, FAILURE_DEVICE, "\"%s\" is no module of devices", path);
	else if (!is_text(module->version, ALOL_VERSION))
		fail(failure, FAILURE_DEVICE,
		     "\"%s\" is of version %s, the engine of version %s", path,
		     module->version == NULL ? "none" : module->version, ALOL_VERSION);
	else if (!is_text(module->layout, ALOL_DEVICE_LAYOUT))
		fail(failure, FAILURE_DEVICE,
		     "\"%s\" is of another build of version %s than the engine", path,
		     ALOL_VERSION);
	else
		return module;
	return NULL;
}

bool
device_open_gpu(int number, const DeviceModule **module, Device **device,
                Failure *failure)
{
	char path[4096];

	if (*module == NULL && device_module_path(path, sizeof(path)))
		*module = device_module_load(path, failure);
	return *module != NULL && (*module)->open(number, device, failure);
}

/* ---------------------------------------------------------- in the child */

static void
put(int pipe, const void *data, size_t size)
{
	const char *at = data;

	while (size > 0)
	{
		ssize_t written = write(pipe, at, size);

		if (written <= 0)
			_exit(1);
		at += written;
		size -= (size_t) written;
	}
}

static void
run_child(const char *path, int pipe)
{
	static DeviceInfo info[DEVICES_MAX];
	const DeviceModule *module;
	Failure failure = {0};
	Report report = {0};

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A child that cannot be killed must not hold what others wait for. */
	for (int descriptor = 3; descriptor < 64; descriptor++)
		if (descriptor != pipe)
			close(descriptor);
	module = device_module_load(path, &failure);
	report.is_fault = module == NULL;
	if (module == NULL || !module->list(info, &report.count, &failure))
	{
		report.count = 0;
		memcpy(report.reason, failure.message, sizeof(report.reason));
	}
	put(pipe, &report, sizeof(report));
	if (report.count > 0 && report.count <= DEVICES_MAX)
		put(pipe, info, (size_t) report.count * sizeof(DeviceInfo));
	/* Libraries that clean up at exit may hang there. */
	_exit(0);
}

/* --------------------------------------------------------- in the parent */

static int64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Reads until the size is there, the other end is closed or time is up. */
static size_t
take(int pipe, void *data, size_t size, int64_t end_ms)
{
	size_t got = 0;

	while (got < size)
	{
		struct pollfd event = {.fd = pipe, .events = POLLIN};
		int64_t left = end_ms - now_ms();
		ssize_t count;

		if (left <= 0 || poll(&event, 1, (int) left) == 0)
			break;
		count = read(pipe, (char *) data + got, size - got);
		if (count < 0 && errno == EINTR)
			continue;
		if (count <= 0)
			break;
		got += (size_t) count;
	}
	return got;
}

/* Ends the child if it has not ended; how, if that could be seen. */
static bool
reap(pid_t child, int *status)
{
	for (int waited_ms = 0; waited_ms < KILL_WAIT_MS; waited_ms++)
	{
		pid_t gone = waitpid(child, status, WNOHANG);

		if (gone != 0)
			return gone == child;
		/* It has said what it had to say, or its time is up. */
		if (waited_ms == 20)
			kill(child, SIGKILL);
		usleep(1000);
	}
	return false;
}

static void
set_fault(DeviceList *list, const char *reason)
{
	list->is_fault = true;
	snprintf(list->reason, sizeof(list->reason), "%s", reason);
}

/* Takes over what the child told, if all of it came and can be believed. */
static bool
read_report(int pipe, int64_t end_ms, DeviceList *list)
{
	Report report;
	size_t bytes;

	if (take(pipe, &report, sizeof(report), end_ms) < sizeof(report) ||
	    report.count < 0 || report.count > DEVICES_MAX)
		return false;
	bytes = (size_t) report.count * sizeof(DeviceInfo);
	if (take(pipe, list->info, bytes, end_ms) < bytes)
		return false;
	for (int i = 0; i < report.count; i++)
	{
		DeviceInfo *info = &list->info[i];

		info->device[sizeof(info->device) - 1] = '\0';
		info->name[sizeof(info->name) - 1] = '\0';
		info->compute_capability[sizeof(info->compute_capability) - 1] = '\0';
	}
	list->count = report.count;
	list->is_fault = report.is_fault;
	memcpy(list->reason, report.reason, sizeof(list->reason));
	list->reason[sizeof(list->reason) - 1] = '\0';
	if (report.count == 0 && list->reason[0] == '\0')
		snprintf(list->reason, sizeof(list->reason), "the driver has none");
	return true;
}

static void
describe_silence(DeviceList *list, bool is_late, bool is_reaped, int status,
                 int limit_ms)
{
	char reason[128];

	if (is_late)
		snprintf(reason, sizeof(reason),
		         "the driver did not answer within %g s", limit_ms / 1000.0);
	else if (is_reaped && WIFSIGNALED(status))
		snprintf(reason, sizeof(reason),
		         "the driver crashed with signal %d when it was asked",
		         WTERMSIG(status));
	else
		snprintf(reason, sizeof(reason),
		         "the driver ended the process that asked it");
	list->count = 0;
	set_fault(list, reason);
}

void
device_probe(const char *path, int limit_ms, DeviceList *list)
{
	int64_t end_ms = now_ms() + limit_ms;
	int ends[2], status = 0;
	pid_t child;
	bool is_told, is_late, is_reaped;

	memset(list, 0, sizeof(DeviceList));
	if (access(path, F_OK) != 0)
	{
		snprintf(list->reason, sizeof(list->reason), "%s is not installed",
		         MODULE_NAME);
		return;
	}
	if (pipe(ends) != 0)
	{
		set_fault(list, "there is no pipe to ask the driver through");
		return;
	}
	child = fork();
	if (child == 0)
		run_child(path, ends[1]);
	close(ends[1]);
	if (child < 0)
	{
		close(ends[0]);
		set_fault(list, "there is no process to ask the driver");
		return;
	}
	is_told = read_report(ends[0], end_ms, list);
	is_late = !is_told && now_ms() >= end_ms;
	close(ends[0]);
	is_reaped = reap(child, &status);
	if (!is_told)
		describe_silence(list, is_late, is_reaped, status, limit_ms);
}
