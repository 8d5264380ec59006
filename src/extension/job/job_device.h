/*
 * job_device.h
 *		Memory of devices that several jobs want: who waits for it, and when it
 *		is worth looking again.
 *
 * Each device has a file in the data directory, on which the engine of every
 * job that computes there holds a shared lock, and whose time is that of the
 * last job that ended.  So nothing is to be believed that a crash could leave,
 * and jobs of other databases count.
 */
#pragma once

/* A job that had this device (as alol_jobs.device tells it) has ended, and
 * its engine with it.  Never raises. */
extern void device_was_freed(const char *device);

/*
 * May a job that found too little memory at this time, in microseconds since
 * 1970, on what this specification stands for find more now?  Where a job has
 * ended there since, or none is left.
 */
extern bool device_may_have_room(const char *spec, int64 looked_at);

/* Such a time: now. */
extern int64 device_clock(void);
