/*
 * faults.c
 *		What is wrong with the devices of the test module, and the memory that
 *		all processes share there.
 */
#include "faults.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS 64

typedef struct Slot
{
	int pid; /* 0: free */
	int device;
	uint64_t bytes;
} Slot;

static void
path_beside(const char *ending, char *path, size_t size)
{
	Dl_info module;

	path[0] = '\0';
	if (dladdr((void *) (uintptr_t) &faults_read, &module) != 0)
		snprintf(path, size, "%s.%s", module.dli_fname, ending);
}

Faults
faults_read(void)
{
	Faults faults = {
		.devices = 2, .memory_mib = 1024, .at_device = -1, .cannot_open = -1};
	char path[4096], word[32];
	long long number;
	FILE *file;

	path_beside("faults", path, sizeof(path));
	file = fopen(path, "re");
	while (file != NULL && fscanf(file, "%31s %lld", word, &number) == 2)
	{
		if (strcmp(word, "devices") == 0)
			faults.devices = (int) number;
		else if (strcmp(word, "memory") == 0)
			faults.memory_mib = number;
		else if (strcmp(word, "fail_at") == 0)
			faults.fail_at = number;
		else if (strcmp(word, "die_at") == 0)
			faults.die_at = number;
		else if (strcmp(word, "at_device") == 0)
			faults.at_device = (int) number;
		else if (strcmp(word, "cannot_open") == 0)
			faults.cannot_open = (int) number;
		else if (strcmp(word, "no_driver") == 0)
			faults.no_driver = number != 0;
		else if (strcmp(word, "hang") == 0)
			faults.hang = number != 0;
		else if (strcmp(word, "crash") == 0)
			faults.crash = number != 0;
		else if (strcmp(word, "crash_loaded") == 0)
			faults.crash_loaded = number != 0;
		else if (strcmp(word, "other_version") == 0)
			faults.other_version = number != 0;
		else if (strcmp(word, "other_layout") == 0)
			faults.other_layout = number != 0;
	}
	if (file != NULL)
		fclose(file);
	return faults;
}

/* ----------------------------------------------------------------- memory */

static void
unlock(int file)
{
	if (file < 0)
		return;
	/* The map holds the file open, and so the lock. */
	flock(file, LOCK_UN);
	close(file);
}

/* The table, locked; NULL if there is none.  Call unlock(). */
static Slot *
lock_slots(int *file)
{
	static Slot *slots = NULL;
	char path[4096];

	path_beside("memory", path, sizeof(path));
	*file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (*file < 0)
		return NULL;
	if (flock(*file, LOCK_EX) != 0 ||
	    ftruncate(*file, SLOTS * sizeof(Slot)) != 0)
		return NULL;
	if (slots == NULL)
	{
		void *map = mmap(NULL, SLOTS * sizeof(Slot), PROT_READ | PROT_WRITE,
		                 MAP_SHARED, *file, 0);

		slots = map == MAP_FAILED ? NULL : map;
	}
	return slots;
}

/* Not even a zombie: that has given back its memory. */
static bool
is_alive(int pid)
{
	char path[64], line[256];
	const char *state;
	FILE *file;
	bool is_read;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return false;
	is_read = fgets(line, sizeof(line), file) != NULL;
	fclose(file);
	state = is_read ? strrchr(line, ')') : NULL;
	return state != NULL && state[1] != '\0' && state[2] != 'Z';
}

static uint64_t
sum_of_others(Slot *slots, int device)
{
	uint64_t sum = 0;

	for (int i = 0; i < SLOTS; i++)
	{
		if (slots[i].pid == 0 || slots[i].pid == (int) getpid())
			continue;
		if (!is_alive(slots[i].pid))
			slots[i].pid = 0;
		else if (slots[i].device == device)
			sum += slots[i].bytes;
	}
	return sum;
}

uint64_t
memory_of_others(int device)
{
	int file;
	Slot *slots = lock_slots(&file);
	uint64_t sum = slots == NULL ? 0 : sum_of_others(slots, device);

	unlock(file);
	return sum;
}

/* This process's slot, or a free one; NULL: none is. */
static Slot *
own_slot(Slot *slots, int device)
{
	for (int i = 0; i < SLOTS; i++)
		if (slots[i].pid == (int) getpid() && slots[i].device == device)
			return &slots[i];
	for (int i = 0; i < SLOTS; i++)
		if (slots[i].pid == 0)
			return &slots[i];
	return NULL;
}

bool
memory_have(int device, uint64_t bytes, uint64_t total)
{
	int file;
	Slot *slots = lock_slots(&file);
	uint64_t others = slots == NULL ? total : sum_of_others(slots, device);
	Slot *own = slots == NULL ? NULL : own_slot(slots, device);
	bool fits = own != NULL && others <= total && bytes <= total - others;

	if (fits)
		*own = (Slot){(int) getpid(), device, bytes};
	unlock(file);
	return fits;
}
