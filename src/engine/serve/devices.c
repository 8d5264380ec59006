/*
 * devices.c
 *		What this machine offers: WIRE_DEVICES.
 *
 * Memory is what a job could really get: the smaller of the machine's and of
 * what the control group leaves.
 */
#include "formats/json.h"
#include "serve/requests.h"

#include <stdio.h>
#include <string.h>

/* The number behind "key" in a file of "key: number" lines; 0 if absent. */
static int64_t
number_of_line(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	char line[256];
	long long number = 0;

	if (file == NULL)
		return 0;
	while (fgets(line, sizeof(line), file) != NULL)
		if (strncmp(line, key, strlen(key)) == 0)
		{
			sscanf(line + strlen(key), "%lld", &number);
			break;
		}
	fclose(file);
	return number;
}

/* The number a file holds; -1 if there is none ("max"). */
static int64_t
number_of_file(const char *path)
{
	FILE *file = fopen(path, "re");
	long long number = -1;

	if (file == NULL)
		return -1;
	if (fscanf(file, "%lld", &number) != 1)
		number = -1;
	fclose(file);
	return number;
}

static void
processor_name(char *name, size_t size)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char line[256];

	snprintf(name, size, "CPU");
	if (file == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL)
	{
		char *value = strchr(line, ':');

		if (strncmp(line, "model name", 10) != 0 || value == NULL)
			continue;
		value[strcspn(value, "\n")] = '\0';
		snprintf(name, size, "%s", value + (value[1] == ' ' ? 2 : 1));
		break;
	}
	fclose(file);
}

/* Of a GPU, as it was when the engine started. */
static json_t *
describe_gpu(const DeviceInfo *info)
{
	const char *capability =
		info->compute_capability[0] == '\0' ? NULL : info->compute_capability;

	return json_pack("{s:s, s:s, s:I, s:I, s:s?, s:n}", "device", info->device,
	                 "name", info->name, "memory_total",
	                 (json_int_t) info->memory_total, "memory_free",
	                 (json_int_t) info->memory_free, "compute_capability",
	                 capability, "isa");
}

static json_t *
describe_cpu(void)
{
	int64_t total = number_of_line("/proc/meminfo", "MemTotal:") * 1024;
	int64_t available = number_of_line("/proc/meminfo", "MemAvailable:") * 1024;
	int64_t group = number_of_file("/sys/fs/cgroup/memory.max");
	int64_t used = number_of_file("/sys/fs/cgroup/memory.current");
	char name[256];

	if (group >= 0 && group < total)
		total = group;
	if (group >= 0 && used >= 0 && group - used < available)
		available = group > used ? group - used : 0;
	processor_name(name, sizeof(name));
	return json_pack("{s:s, s:s, s:I, s:I, s:n, s:s}", "device", "cpu", "name",
	                 name, "memory_total", (json_int_t) total, "memory_free",
	                 (json_int_t) available, "compute_capability", "isa",
	                 cpu_isa());
}

bool
handle_devices(Request *request, Failure *failure)
{
	const DeviceList *list = &request->serve->devices;
	DeviceChoice choice;
	const char *wanted;
	json_t *devices;

	if (!json_get_string(request->head, "device", NULL, &wanted, failure) ||
	    (wanted != NULL &&
	     !device_choose(wanted, NULL, list, &choice, failure)))
		return false;
	devices = json_array();
	for (int i = 0; i < list->count; i++)
		json_array_append_new(devices, describe_gpu(&list->info[i]));
	json_array_append_new(devices, describe_cpu());
	return reply_send(request, WIRE_RESULT,
	                  json_pack("{s:o, s:s?}", "devices", devices, "fault",
	                            list->is_fault ? list->reason : NULL),
	                  failure);
}
