/*
 * settings.c
 *		The settings alol.*: none needs a preload, each has a safe default.
 *
 * What touches all sessions or the server's files is for the configuration
 * file (PGC_SIGHUP), what touches the machine for superusers (PGC_SUSET).
 */
#include "alol.h"

#include <limits.h>

#include "utils/guc.h"

#include "base/settings.h"
#include "wire/device_spec.h"

int alol_max_jobs = 1;
int alol_max_session_engines = 4;
char *alol_data_directory = NULL;
int alol_memory_limit_mb = 0;
char *alol_device = NULL;
int alol_threads = 0;
int alol_checkpoint_interval_s = 300;
int alol_engine_idle_timeout_s = 60;

static bool
check_data_directory(char **value, void **extra, GucSource source)
{
	if (**value == '\0' || is_absolute_path(*value))
		return true;
	GUC_check_errdetail("\"%s\" is not an absolute path.", *value);
	return false;
}

static bool
check_device(char **value, void **extra, GucSource source)
{
	DeviceSpec spec;

	if (device_spec_parse(*value, &spec))
		return true;
	GUC_check_errdetail("The device is %s.", DEVICE_SPEC_FORMS);
	return false;
}

static void
define_limits(void)
{
	DefineCustomIntVariable("alol.max_jobs",
	                        "Jobs that run at the same time in this server.",
	                        "Further jobs wait in the queue.", &alol_max_jobs,
	                        1, 1, 64, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"alol.max_session_engines",
		"Engines that sessions run at the same time in this server.",
		"A session that needs one more waits. The engines of jobs do not "
		"count.",
		&alol_max_session_engines, 4, 1, 1024, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"alol.memory_limit", "Memory that one engine may use.",
		"0 is half of what the machine or the control group leaves.",
		&alol_memory_limit_mb, 0, 0, INT_MAX, PGC_SIGHUP, GUC_UNIT_MB, NULL,
		NULL, NULL);
	DefineCustomIntVariable("alol.threads", "Threads of one engine.",
	                        "0 is one a processor.", &alol_threads, 0, 0, 1024,
	                        PGC_SUSET, 0, NULL, NULL, NULL);
}

static void
define_times(void)
{
	DefineCustomIntVariable("alol.checkpoint_interval",
	                        "Time between checkpoints of a job.", NULL,
	                        &alol_checkpoint_interval_s, 300, 1, 86400,
	                        PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("alol.engine_idle_timeout",
	                        "Time after which a session's idle engine ends.",
	                        "It is started anew at the next call.",
	                        &alol_engine_idle_timeout_s, 60, 1, 3600,
	                        PGC_USERSET, GUC_UNIT_S, NULL, NULL, NULL);
}

static void
define_places(void)
{
	DefineCustomStringVariable(
		"alol.data_directory", "Where the cache and the files of jobs lie.",
		"Empty is a folder in the server's data directory.",
		&alol_data_directory, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
		check_data_directory, NULL, NULL);
	DefineCustomStringVariable("alol.device", "What engines compute on.",
	                           "auto is a GPU where there is one.",
	                           &alol_device, "auto", PGC_SUSET, 0, check_device,
	                           NULL, NULL);
}

void
settings_define(void)
{
	define_limits();
	define_times();
	define_places();
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved("alol");
#else
	EmitWarningsOnPlaceholders("alol");
#endif
}
