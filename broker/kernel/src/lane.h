/* The lane: its queue and its threads, which receive, judge, and continue or queue. */
#ifndef SECCOMP_DRIVE_LANE_H
#define SECCOMP_DRIVE_LANE_H

#include "judge.h"

#include <pthread.h>
#include <semaphore.h>

enum { ARCHES = 2, THREADS_LIMIT = 64 };

struct item { /* a queued notification */
    struct item *next;
    struct seccomp_notif notification;
    bool own, rooted;
    struct identities others; /* `groups` are in `bytes`; NULL where nothing is known */
    int path_count;
    long lengths[2];
    const char *paths[2];
    _Alignas(unsigned) char bytes[];
};

struct counters {
    /* foreign: from outside our pid namespace */
    uint64_t received, continued, answered, handed_over, cancelled, foreign;
};

/* The first worker leads: it alone waits in RECV, because the kernel wakes all who wait there for each notification,
 * which costs a microsecond a thread. The others help while notifications queue up, or while the leader is held up. */
struct worker {
    struct lane *lane;
    pthread_t thread;
    struct counters counters; /* written by its own thread only; without `received`, which is `begun` */
    _Atomic uint64_t begun, done;
    struct trapped trapped;
};

struct lane {
    struct court court;
    struct row rows[ARCHES][ROW_LIMIT]; /* x86-64, i386 */
    int event; /* readable while the queue holds anything, and after the end */
    int wake;  /* readable when the watcher is wanted */
    int thread_count, running;
    atomic_bool stopping, ended;
    atomic_bool dozing; /* the watcher waits to be woken by the next notification */
    atomic_int idle;    /* helpers that nobody has called */
    sem_t calls;
    pthread_mutex_t mutex;
    struct item *first, **last;
    pthread_t watcher;
    bool watching;
    struct worker workers[THREADS_LIMIT];
};

/* NULL, with errno, when memory or descriptors are short. The caller fills rows and prefixes, then prepares. */
struct lane *lane_new(int listener, int threads);
int lane_prepare(struct lane *lane);

/* 0 or -errno. */
int lane_start(struct lane *lane);

/* Ends the threads and joins them; may be called again. */
void lane_stop(struct lane *lane);
void lane_free(struct lane *lane);

/* The whole queue, oldest first; the caller frees each item. */
struct item *lane_take(struct lane *lane);
void lane_handed_out(struct lane *lane);
struct counters lane_counters(const struct lane *lane);

/* What its threads need of a lane. */
void lane_notify(int event);
bool lane_queue(struct lane *lane, const struct trapped *trapped); /* false when memory is short */
void lane_mark_ended(struct lane *lane);

#endif
