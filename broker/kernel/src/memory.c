#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "memory.h"

#include <malloc.h>
#include <unistd.h>

/* Larger requests fail with MemoryError. It is the size of pymalloc's arenas, which has another way if it gets none. */
enum { LARGE = 1 << 20, ARENAS = 2 };

static const char MESSAGE[] = "seccomp-drive: out of memory; raise its limit (ulimit -v) or give the machine more\n";

static int status;
static PyMemAllocatorEx raw;
static PyObjectArenaAllocator arenas;

static void *insist(void *got, size_t size)
{
    if (!got && size < LARGE) {
        ssize_t ignored = write(2, MESSAGE, sizeof MESSAGE - 1);
        (void)ignored;
        _exit(status);
    }
    return got;
}

static void *get(void *context, size_t size)
{
    return insist(raw.malloc(raw.ctx, size), size);
}

static void *get_zeros(void *context, size_t count, size_t each)
{
    return insist(raw.calloc(raw.ctx, count, each), each && count > SIZE_MAX / each ? SIZE_MAX : count * each);
}

static void *resize(void *context, void *before, size_t size)
{
    return insist(raw.realloc(raw.ctx, before, size), size);
}

static void give_back(void *context, void *pointer)
{
    raw.free(raw.ctx, pointer);
}

static void *get_pages(void *context, size_t size)
{
    return insist(arenas.alloc(arenas.ctx, size), size);
}

static void give_back_pages(void *context, void *pointer, size_t size)
{
    arenas.free(arenas.ctx, pointer, size);
}

/* The interpreter's other allocators turn to these two when they have nothing left. */
void memory_insist(int at_the_end)
{
    status = at_the_end;
    if (raw.malloc)
        return;
#ifdef M_ARENA_MAX
    mallopt(M_ARENA_MAX, ARENAS); /* each thread's own would take 64 MiB of an address space that may be limited */
#endif
    PyMem_GetAllocator(PYMEM_DOMAIN_RAW, &raw);
    PyObject_GetArenaAllocator(&arenas);
    PyMemAllocatorEx ours = {NULL, get, get_zeros, resize, give_back};
    PyObjectArenaAllocator our_arenas = {NULL, get_pages, give_back_pages};
    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &ours);
    PyObject_SetArenaAllocator(&our_arenas);
}
