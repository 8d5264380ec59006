/*
 * engine_memory.c
 *		How much memory an engine may use.
 *
 * The kernel's killer is the last resort, not the plan: under systemd one
 * killed engine can stop the whole server.  What cannot be read is left out.
 */
#include "alol.h"

#include <limits.h>

#include "storage/fd.h"

#include "engine/engine_memory.h"

#define CGROUP_ROOT "/sys/fs/cgroup"

/* The first line of a file, without its end; false if there is none. */
static bool
read_line(const char *path, char *line, int size)
{
	FILE *file = AllocateFile(path, "r");
	bool is_read;

	if (file == NULL)
		return false;
	is_read = fgets(line, size, file) != NULL;
	FreeFile(file);
	if (is_read)
		line[strcspn(line, "\n")] = '\0';
	return is_read;
}

/* The number behind key in /proc/meminfo in bytes, or INT64_MAX. */
static int64
machine_memory(const char *key)
{
	FILE *file = AllocateFile("/proc/meminfo", "r");
	int64 bytes = PG_INT64_MAX;
	char line[256];
	long long kilobytes;

	if (file == NULL)
		return bytes;
	while (fgets(line, sizeof(line), file) != NULL)
	{
		if (strncmp(line, key, strlen(key)) == 0 &&
		    sscanf(line + strlen(key), ": %lld kB", &kilobytes) == 1)
			bytes = (int64) kilobytes * 1024;
	}
	FreeFile(file);
	return bytes;
}

/* What the group in this directory leaves, or (used_name NULL) has;
 * INT64_MAX without a limit. */
static int64
left_in_group(const char *directory, const char *limit_name,
              const char *used_name)
{
	char path[MAXPGPATH];
	char line[64];
	int64 limit;
	int64 used = 0;

	snprintf(path, sizeof(path), "%s/%s", directory, limit_name);
	if (!read_line(path, line, sizeof(line)) || strcmp(line, "max") == 0)
		return PG_INT64_MAX;
	limit = strtoll(line, NULL, 10);
	if (used_name == NULL)
		return limit;
	snprintf(path, sizeof(path), "%s/%s", directory, used_name);
	if (read_line(path, line, sizeof(line)))
		used = strtoll(line, NULL, 10);
	return Max(limit - used, 0);
}

/* The smallest that the groups above this process leave, or have. */
static int64
left_in_groups(bool counts_used)
{
	char line[MAXPGPATH];
	char directory[MAXPGPATH];
	int64 left = left_in_group(CGROUP_ROOT "/memory", "memory.limit_in_bytes",
	                           counts_used ? "memory.usage_in_bytes" : NULL);

	snprintf(directory, sizeof(directory), "%s", CGROUP_ROOT);
	if (read_line("/proc/self/cgroup", line, sizeof(line)) &&
	    strncmp(line, "0::/", 4) == 0)
		snprintf(directory, sizeof(directory), "%s%s", CGROUP_ROOT, line + 3);
	while (strlen(directory) >= strlen(CGROUP_ROOT))
	{
		left = Min(left, left_in_group(directory, "memory.max",
		                               counts_used ? "memory.current" : NULL));
		*strrchr(directory, '/') = '\0';
	}
	return left;
}

int64
engine_memory_limit(void)
{
	int64 left;

	if (alol_memory_limit_mb > 0)
		return (int64) alol_memory_limit_mb * 1024 * 1024;
	left = Min(machine_memory("MemAvailable"), left_in_groups(true));
	return left == PG_INT64_MAX ? 0 : left / 2;
}

int64
engine_memory_most(void)
{
	int64 most;

	if (alol_memory_limit_mb > 0)
		return 0;
	most = Min(machine_memory("MemTotal"), left_in_groups(false));
	return most == PG_INT64_MAX ? 0 : most / 2;
}
