/*
 * engine_slot.h
 *		The slots that bound the engines of sessions in the whole server.
 *
 * A slot is a locked file.  Its descriptor is handed to the engine, so that
 * the slot is taken exactly as long as the engine lives: an engine that ends
 * for idleness frees it though its session sleeps on.
 */
#pragma once

/* Takes a slot, waiting (interruptibly) while all are taken.  Returns its
 * descriptor, which the caller closes once the engine has it. */
extern int engine_slot_take(void);

/* True when a session waits for a slot.  Never raises. */
extern bool engine_slot_is_wanted(void);
