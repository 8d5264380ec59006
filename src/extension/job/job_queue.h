/*
 * job_queue.h
 *		Databases whose jobs wait for a slot that another's job has.
 *
 * alol.max_jobs counts in the whole server, but a worker sees the jobs of its
 * own database only.  So one that finds no slot leaves a note, a file named by
 * its database, for whichever worker ends next.
 */
#pragma once

/* Notes that a job of this database waits; raises when it cannot. */
extern void queue_note(void);

/* Takes the notes of other databases, and starts a short worker in each that
 * looks after its queue. */
extern void queue_wake_others(void);
