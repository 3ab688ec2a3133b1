#include "spin.h"

#include <sched.h>
#include <sys/epoll.h>
#include <time.h>

static uint64_t moment(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ULL + now.tv_nsec;
}

bool spin(int epoll, uint64_t nanoseconds)
{
    struct epoll_event event;
    uint64_t until = moment() + nanoseconds;
    do {
        int ready = epoll_wait(epoll, &event, 1, 0);
        if (ready)
            return ready > 0;
        sched_yield();
    } while (moment() < until);
    return false;
}
