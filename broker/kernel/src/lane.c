#define _GNU_SOURCE
#include "lane.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

void lane_notify(int event)
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
    sem_init(&lane->calls, 0, 0);
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
    lane->court.own = own_identity();
    return prefixes_prepare(&lane->court.prefixes) ? 0 : -ENOMEM;
}

void lane_mark_ended(struct lane *lane)
{
    pthread_mutex_lock(&lane->mutex);
    atomic_store(&lane->ended, true);
    lane_notify(lane->event);
    pthread_mutex_unlock(&lane->mutex);
}

bool lane_queue(struct lane *lane, const struct trapped *trapped)
{
    const struct identities *others = trapped->caller.others;
    size_t groups = others ? others->effective.group_count * sizeof *others->effective.groups : 0;
    size_t room = groups;
    for (int index = 0; index < trapped->path_count; index++)
        room += trapped->lengths[index] > 0 ? trapped->lengths[index] : 0;
    struct item *item = malloc(sizeof *item + room);
    if (!item)
        return false;
    item->next = NULL;
    item->notification = trapped->notification;
    item->own = trapped->caller.own;
    item->rooted = atomic_load(&lane->court.rooted);
    item->path_count = trapped->path_count;
    item->others = others ? *others : (struct identities){0};
    item->others.effective.groups = item->others.real.groups = others ? (unsigned *)item->bytes : NULL;
    if (groups)
        memcpy(item->bytes, others->effective.groups, groups);
    char *free_bytes = item->bytes + groups;
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
        lane_notify(lane->event);
    pthread_mutex_unlock(&lane->mutex);
    return true;
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
    for (int index = 0; index < lane->thread_count; index++) {
        tracee_close_kept(&lane->workers[index].trapped.kept);
        callers_close(&lane->workers[index].trapped.callers);
    }
    prefixes_free(&lane->court.prefixes);
    free(lane->court.links);
    if (lane->event >= 0)
        close(lane->event);
    if (lane->wake >= 0)
        close(lane->wake);
    pthread_mutex_destroy(&lane->mutex);
    sem_destroy(&lane->calls);
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
        sum.received += atomic_load_explicit(&lane->workers[index].begun, memory_order_relaxed);
        sum.continued += one->continued;
        sum.answered += one->answered;
        sum.handed_over += one->handed_over;
        sum.cancelled += one->cancelled;
        sum.foreign += one->foreign;
    }
    return sum;
}
