/*
 * engine_process.h
 *		The engine's process: fork, exec, last words, end.
 *
 * Order of life: process_start(), then process_words() now and then, then
 * process_end() or process_kill().  A zeroed EngineProcess is one that ended.
 */
#pragma once

#define PROCESS_WORDS 2048

typedef struct EngineProcess
{
	pid_t pid;  /* 0: none, or reaped */
	int socket; /* our end of the conversation; valid while pid is */
	int words_pipe;
	bool died;  /* it was started and is gone */
	int status; /* as waitpid() gave it; valid when died */
	int words_length;
	char words[PROCESS_WORDS]; /* the tail of what it wrote to stderr */
} EngineProcess;

/*
 * Starts the engine.  slot is a descriptor that it keeps open for as long as
 * it lives (see engine_slot.h), or -1.  Raises when it cannot be started.
 */
extern void process_start(EngineProcess *process, int slot);

/* Takes in what it has written to stderr so far; never waits. */
extern void process_words(EngineProcess *process);

/* Notes that it is gone if it is; never waits.  True when gone. */
extern bool process_is_gone(EngineProcess *process);

/* Closes the conversation, waits wait_ms for the process, then kills it. */
extern void process_end(EngineProcess *process, int wait_ms);

/* Describes how it ended: "engine exited on signal 9"; palloc'd. */
extern char *process_epitaph(const EngineProcess *process);
