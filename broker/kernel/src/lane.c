#define _GNU_SOURCE
#include "lane.h"

#include "notification.h"

#include <errno.h>
#include <linux/audit.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { PAUSE_NS = 200000 };

/* Interrupts a blocked RECV; nobody else uses it, and it is blocked in all other threads by nobody's doing. */
static int end_signal(void)
{
    return SIGRTMIN + 7;
}

static void ignore(int signal)
{
    (void)signal;
}

static void notify(int event)
{
    uint64_t one = 1;
    while (write(event, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

struct lane *lane_new(int listener, int threads)
{
    struct lane *lane = calloc(1, sizeof *lane);
    if (!lane)
        return NULL;
    lane->court.listener = listener;
    lane->thread_count = threads;
    lane->last = &lane->first;
    pthread_mutex_init(&lane->mutex, NULL);
    lane->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    lane->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    lane->court.links = links_new(&lane->court.prefixes, &lane->court.handed_out);
    if (lane->event < 0 || lane->wake < 0 || !lane->court.links) {
        int error = errno;
        lane_free(lane);
        errno = error;
        return NULL;
    }
    return lane;
}

int lane_prepare(struct lane *lane)
{
    lane->court.root = own_root();
    return prefixes_prepare(&lane->court.prefixes) ? 0 : -ENOMEM;
}

static void mark_ended(struct lane *lane)
{
    pthread_mutex_lock(&lane->mutex);
    atomic_store(&lane->ended, true);
    notify(lane->event);
    pthread_mutex_unlock(&lane->mutex);
}

static bool queue(struct lane *lane, const struct trapped *trapped)
{
    size_t room = 0;
    for (int index = 0; index < trapped->path_count; index++)
        room += trapped->lengths[index] > 0 ? trapped->lengths[index] : 0;
    struct item *item = malloc(sizeof *item + room);
    if (!item)
        return false;
    item->next = NULL;
    item->notification = trapped->notification;
    item->path_count = trapped->path_count;
    char *free_bytes = item->bytes;
    for (int index = 0; index < trapped->path_count; index++) {
        size_t length = trapped->lengths[index] > 0 ? trapped->lengths[index] : 0;
        item->lengths[index] = trapped->lengths[index];
        item->paths[index] = memcpy(free_bytes, trapped->paths[index], length);
        free_bytes += length;
    }
    pthread_mutex_lock(&lane->mutex);
    bool was_empty = !lane->first;
    *lane->last = item;
    lane->last = &item->next;
    if (was_empty)
        notify(lane->event);
    pthread_mutex_unlock(&lane->mutex);
    return true;
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
    worker->counters.received++;
    if (!trapped->notification.pid) { /* outside our pid namespace: nothing can be learned of it */
        worker->counters.foreign++;
        answer(worker, -ENOSYS, 0);
        return;
    }
    trapped->row = row_of(worker->lane, &trapped->notification.data);
    if (!may_concern_a_drive(&worker->lane->court, trapped)) {
        worker->counters.continued++;
        answer(worker, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
        return;
    }
    worker->counters.handed_over++;
    if (!queue(worker->lane, trapped))
        answer(worker, -ENOMEM, 0);
}

static bool hung_up(int listener)
{
    struct pollfd poller = {.fd = listener};
    return poll(&poller, 1, 0) > 0 && poller.revents & (POLLHUP | POLLERR | POLLNVAL);
}

static void *serve(void *argument)
{
    struct worker *worker = argument;
    struct lane *lane = worker->lane;
    struct seccomp_notif *notification = &worker->trapped.notification;
    while (!atomic_load_explicit(&lane->stopping, memory_order_relaxed)) {
        memset(notification, 0, sizeof *notification); /* RECV insists */
        if (ioctl(lane->court.listener, SECCOMP_IOCTL_NOTIF_RECV, notification) == 0)
            treat(worker);
        else if (errno != EINTR && (errno != ENOENT || hung_up(lane->court.listener)))
            break; /* ENOENT alone: the target died before it was received */
    }
    return NULL;
}

/* Before 6.11 a blocked RECV does not end with the last tracee, but poll does. Asking for no event but the hang-up
 * costs the fast path nothing. */
static void *watch(void *argument)
{
    struct lane *lane = argument;
    struct pollfd pollers[] = {{.fd = lane->court.listener}, {.fd = lane->wake, .events = POLLIN}};
    while (!atomic_load(&lane->stopping)) {
        if (poll(pollers, 2, -1) < 0)
            continue;
        if (pollers[0].revents) {
            mark_ended(lane);
            break;
        }
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
        error = pthread_create(&worker->thread, NULL, serve, worker);
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
    notify(lane->wake);
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

struct item *lane_take(struct lane *lane)
{
    uint64_t count;
    pthread_mutex_lock(&lane->mutex);
    struct item *items = lane->first;
    lane->first = NULL;
    lane->last = &lane->first;
    if (!atomic_load(&lane->ended) && read(lane->event, &count, sizeof count) < 0)
        count = 0;
    pthread_mutex_unlock(&lane->mutex);
    return items;
}

void lane_free(struct lane *lane)
{
    lane_stop(lane);
    for (struct item *item = lane->first, *next; item; item = next) {
        next = item->next;
        free(item);
    }
    prefixes_free(&lane->court.prefixes);
    free(lane->court.links);
    if (lane->event >= 0)
        close(lane->event);
    if (lane->wake >= 0)
        close(lane->wake);
    pthread_mutex_destroy(&lane->mutex);
    free(lane);
}

void lane_handed_out(struct lane *lane)
{
    if (!atomic_exchange(&lane->court.handed_out, true))
        links_forget(lane->court.links);
}

struct counters lane_counters(const struct lane *lane)
{
    struct counters sum = {0};
    for (int index = 0; index < lane->thread_count; index++) {
        const struct counters *one = &lane->workers[index].counters;
        sum.received += one->received;
        sum.continued += one->continued;
        sum.handed_over += one->handed_over;
        sum.cancelled += one->cancelled;
        sum.foreign += one->foreign;
    }
    return sum;
}
