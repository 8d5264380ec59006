/*
 * peer.h
 *		The other side of the conversation, for tests that hold one with a real
 *		engine process over a socket.
 */
#pragma once

#include "near.h"

#include "serve/serve.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

typedef struct Peer
{
	pid_t pid;
	Connection connection;
	uint32_t last_id;
	bool withholds; /* the answers to checkpoints */
	Frame *frame;   /* the last that came */
	json_t *head;   /* its head */
	Arena *arena;
} Peer;

static Peer peer;

/* The leak checker looks at a process by ptrace(), which an engine may not
 * use; and an engine ends in the middle of things. */
static bool is_engine;

extern int __lsan_is_turned_off(void);

int
__lsan_is_turned_off(void)
{
	return is_engine;
}

static inline void
send_frame(uint16_t type, uint32_t id, const char *head, const void *items,
           size_t size)
{
	WireBuffer *outbox = &peer.connection.outbox;
	size_t begin = wire_frame_begin(outbox, type, id);

	wire_put_text(outbox, head, strlen(head));
	wire_put_bytes(outbox, items, size);
	wire_frame_end(outbox, begin);
	connection_flush(&peer.connection);
}

/* The next frame's type, or 0 when the engine has gone.  That there is a
 * checkpoint is taken note of. */
static inline int
receive(void)
{
	Failure failure = {0};

	if (peer.frame != NULL)
		frame_free(peer.frame);
	peer.frame = NULL;
	while (peer.connection.first == NULL)
	{
		if (peer.connection.closed)
			return 0;
		connection_pump(&peer.connection, -1);
	}
	peer.frame = connection_take(&peer.connection, &peer.connection.first);
	assert_ok(
		frame_head(peer.arena, &peer.frame->payload, &peer.head, &failure),
		failure);
	if (peer.frame->header.type == WIRE_CHECKPOINT && !peer.withholds)
		send_frame(WIRE_ANSWER, peer.frame->header.request, "{}", NULL, 0);
	return peer.frame->header.type;
}

static inline int
ask(uint16_t type, const char *head, const WireBuffer *items)
{
	int answer;

	send_frame(type, ++peer.last_id, head, items == NULL ? NULL : items->data,
	           items == NULL ? 0 : items->size);
	do
		answer = receive();
	while (answer == WIRE_PROGRESS);
	return answer;
}

static inline const char *
word(const char *key)
{
	const char *text = json_string_value(json_object_get(peer.head, key));

	return text == NULL ? "" : text;
}

/* What a new engine does with its socket. */
static inline void
start_peer(void (*run)(int socket))
{
	int sockets[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	memset(&peer, 0, sizeof(peer));
	peer.pid = fork();
	assert_true(peer.pid >= 0);
	if (peer.pid == 0)
	{
		is_engine = true;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(sockets[0]);
		/* What the engine says last is not for the tests' output. */
		if (freopen("/dev/null", "w", stderr) == NULL)
			_exit(2);
		run(sockets[1]);
		_exit(2);
	}
	close(sockets[1]);
	peer.arena = arena_create();
	connection_open(&peer.connection, sockets[0]);
}

static inline void
start_engine(void)
{
	start_peer(serve_run);
}

static inline void
greet(void)
{
	start_engine();
	assert_int_equal(
		ask(WIRE_HELLO,
	        arena_printf(peer.arena,
	                     "{\"version\": %d, \"parent\": %d, \"threads\": 1}",
	                     WIRE_VERSION, (int) getpid()),
	        NULL),
		WIRE_RESULT);
}

/* Closes the socket if it is open, and gives the exit status. */
static inline int
end(void)
{
	int status = 0;

	close(peer.connection.socket);
	waitpid(peer.pid, &status, 0);
	if (peer.frame != NULL)
		frame_free(peer.frame);
	while (peer.connection.first != NULL)
		frame_free(connection_take(&peer.connection, &peer.connection.first));
	free(peer.connection.inbox.bytes.data);
	free(peer.connection.outbox.data);
	arena_destroy(peer.arena);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* A buffer in the peer's outbox style. */
static inline void *
resize(void *old, size_t size)
{
	void *memory = realloc(old, size);

	assert_non_null(memory);
	return memory;
}

static inline const char *
model_path(void)
{
	char *own = test_golden_path(peer.arena, "training/llama");

	return file_exists(own)
	           ? own
	           : test_shared_path(peer.arena, "golden/training/llama");
}

/* {"model": ...} with more members behind it, or NULL where there is none. */
static inline const char *
model_head(const char *more)
{
	const char *path = model_path();

	if (path == NULL)
		return NULL;
	return arena_printf(peer.arena,
	                    "{\"model\": {\"name\": \"tiny\", \"path\": \"%s\"}%s}",
	                    path, more);
}
