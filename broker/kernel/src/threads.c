#define _GNU_SOURCE
#include "lane.h"

#include "answers.h"
#include "notification.h"
#include "spared.h"

#include <errno.h>
#include <linux/audit.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum {
    PAUSE_NS = 200000, /* between attempts to end a thread */
    TICK = 2,          /* ms, after which a leader that is held up gets help */
    SAMPLE = 16,       /* notifications after which the leader looks whether more are waiting */
};

/* Interrupts a blocked RECV; nobody else uses it, and it is blocked in all other threads by nobody's doing. */
static int end_signal(void)
{
    return SIGRTMIN + 7;
}

static void ignore(int signal)
{
    (void)signal;
}

static const struct row *row_of(const struct lane *lane, const struct seccomp_data *data)
{
    static const struct row unknown;
    if (data->nr < 0 || data->nr >= ROW_LIMIT)
        return &unknown;
    return &lane->rows[data->arch == AUDIT_ARCH_I386][data->nr];
}

static void answer(struct worker *worker, int error, unsigned flags)
{
    if (notification_send(worker->lane->court.listener, worker->trapped.notification.id, 0, error, flags) == -ENOENT)
        worker->counters.cancelled++;
}

static void treat(struct worker *worker)
{
    struct trapped *trapped = &worker->trapped;
    if (!trapped->notification.pid) { /* outside our pid namespace: nothing can be learned of it */
        worker->counters.foreign++;
        answer(worker, -ENOSYS, 0);
        return;
    }
    trapped->row = row_of(worker->lane, &trapped->notification.data);
    if (!may_concern_a_drive(&worker->lane->court, trapped) || kernel_suffices(&worker->lane->court, trapped)) {
        worker->counters.continued++;
        answer(worker, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
        return;
    }
    trapped->caller = caller_of(&worker->lane->court, trapped);
    if (answer_warm(&worker->lane->court, trapped)) {
        worker->counters.answered++;
        return;
    }
    worker->counters.handed_over++;
    if (!lane_queue(worker->lane, trapped))
        answer(worker, -ENOMEM, 0);
}

static short polled(int listener, short events)
{
    struct pollfd poller = {.fd = listener, .events = events};
    return poll(&poller, 1, 0) > 0 ? poller.revents : 0;
}

static void call_helper(struct lane *lane)
{
    int idle = atomic_load(&lane->idle);
    while (idle > 0)
        if (atomic_compare_exchange_weak(&lane->idle, &idle, idle - 1)) {
            sem_post(&lane->calls);
            return;
        }
}

/* Receives and treats one notification; false when there will be no more. */
static bool serve_one(struct worker *worker)
{
    struct lane *lane = worker->lane;
    struct seccomp_notif *notification = &worker->trapped.notification;
    memset(notification, 0, sizeof *notification); /* RECV insists */
    if (ioctl(lane->court.listener, SECCOMP_IOCTL_NOTIF_RECV, notification)) {
        /* ENOENT: the target died before it was received; with a hang-up, it was the last one. */
        bool over = errno != EINTR && (errno != ENOENT || polled(lane->court.listener, 0));
        return !over && !atomic_load(&lane->stopping);
    }
    uint64_t begun = atomic_fetch_add(&worker->begun, 1);
    if (atomic_load(&lane->dozing) && atomic_exchange(&lane->dozing, false))
        lane_notify(lane->wake);
    treat(worker);
    atomic_fetch_add_explicit(&worker->done, 1, memory_order_release);
    if (begun % SAMPLE == 0 && polled(lane->court.listener, POLLIN) & POLLIN)
        call_helper(lane);
    return !atomic_load_explicit(&lane->stopping, memory_order_relaxed);
}

static void *lead(void *argument)
{
    while (serve_one(argument))
        ;
    return NULL;
}

static void *help(void *argument)
{
    struct worker *worker = argument;
    struct lane *lane = worker->lane;
    for (;;) {
        atomic_fetch_add(&lane->idle, 1);
        while (sem_wait(&lane->calls) && !atomic_load(&lane->stopping))
            ;
        if (atomic_load(&lane->stopping))
            return NULL;
        do {
            if (!serve_one(worker))
                return NULL;
        } while (polled(lane->court.listener, POLLIN) & POLLIN);
    }
}

static uint64_t begun_by_all(const struct lane *lane, bool *busy)
{
    uint64_t begun = 0, done = 0;
    for (int index = 0; index < lane->thread_count; index++) {
        done += atomic_load(&lane->workers[index].done);
        begun += atomic_load(&lane->workers[index].begun);
    }
    *busy = begun != done;
    return begun;
}

/* Sleep until the next notification if nothing has happened; whether that is safe to do. */
static bool doze(struct lane *lane, uint64_t *seen)
{
    bool busy;
    uint64_t before = *seen;
    *seen = begun_by_all(lane, &busy);
    if (busy || *seen != before)
        return false;
    atomic_store(&lane->dozing, true);
    if (begun_by_all(lane, &busy) == *seen && !busy)
        return true;
    atomic_store(&lane->dozing, false);
    return false;
}

/* Tells of the end: before 6.11 a blocked RECV does not end with the last tracee, but poll does, and to ask it for
 * no event but the hang-up costs the leader nothing. And, every TICK while anything happens, sends help. */
static void *watch(void *argument)
{
    struct lane *lane = argument;
    struct pollfd pollers[] = {{.fd = lane->court.listener}, {.fd = lane->wake, .events = POLLIN}};
    uint64_t seen = 0, ignored;
    int timeout = TICK;
    while (!atomic_load(&lane->stopping)) {
        int ready = poll(pollers, 2, timeout);
        if (ready > 0 && pollers[0].revents) {
            lane_mark_ended(lane);
            break;
        }
        if (ready > 0 && read(lane->wake, &ignored, sizeof ignored) > 0)
            timeout = TICK;
        else if (polled(lane->court.listener, POLLIN) & POLLIN)
            call_helper(lane);
        else if (doze(lane, &seen))
            timeout = -1;
    }
    return NULL;
}

int lane_start(struct lane *lane)
{
    struct sigaction action = {.sa_handler = ignore};
    sigset_t but_one, all, before;
    sigaction(end_signal(), &action, NULL);
    sigfillset(&all);
    sigfillset(&but_one);
    sigdelset(&but_one, end_signal());
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&lane->watcher, NULL, watch, lane);
    lane->watching = !error;
    pthread_sigmask(SIG_SETMASK, &but_one, NULL);
    for (int index = 0; index < lane->thread_count && !error; index++) {
        struct worker *worker = &lane->workers[index];
        worker->lane = lane;
        error = pthread_create(&worker->thread, NULL, index ? help : lead, worker);
        lane->running += !error;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        lane_stop(lane);
    return -error;
}

void lane_stop(struct lane *lane)
{
    atomic_store(&lane->stopping, true);
    lane_notify(lane->wake);
    for (; lane->running; lane->running--) {
        pthread_t thread = lane->workers[lane->running - 1].thread;
        struct timespec pause = {0, PAUSE_NS};
        while (pthread_tryjoin_np(thread, NULL)) { /* the signal may come just before the thread blocks: repeat it */
            pthread_kill(thread, end_signal());
            nanosleep(&pause, NULL);
        }
    }
    if (lane->watching)
        pthread_join(lane->watcher, NULL);
    lane->watching = false;
}
