/* Times system calls from inside a program: `calls stat|open|access|read ...` prints numbers on one line. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BLOCK (64 << 10)
#define SMALL (4 << 10)

static char buffer[BLOCK];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static double stat_loop(long count, int directory, const char *path)
{
    struct stat status;
    double start = now();
    for (long i = 0; i < count; i++)
        if (fstatat(directory, path, &status, 0))
            die(path);
    return (now() - start) / count * 1e6;
}

/* calls stat COUNT FOLDER NAME [FIRST]: µs a stat by absolute path, relative path and dirfd; FIRST is opened before. */
static void time_stat(long count, const char *folder, const char *name, const char *first)
{
    char path[4096];
    int directory = open(folder, O_RDONLY | O_DIRECTORY);

    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (directory < 0 || chdir(folder))
        die(folder);
    if (first && open(first, O_RDONLY | O_DIRECTORY) < 0)
        die(first);
    printf("%f", stat_loop(count, AT_FDCWD, path));
    printf(" %f", stat_loop(count, AT_FDCWD, name));
    printf(" %f\n", stat_loop(count, directory, name));
}

/* calls open COUNT PATH: µs to open, read 4 KiB and close, the first time left out. */
static void time_open(long count, const char *path)
{
    double start = 0;
    for (long i = -1; i < count; i++) {
        if (i == 0)
            start = now();
        int fd = open(path, O_RDONLY);
        if (fd < 0 || read(fd, buffer, SMALL) < 0 || close(fd))
            die(path);
    }
    printf("%f\n", (now() - start) / count * 1e6);
}

/* calls access COUNT PATH: µs to ask whether it can be read, the first time left out. */
static void time_access(long count, const char *path)
{
    double start = 0;
    for (long i = -1; i < count; i++) {
        if (i == 0)
            start = now();
        if (access(path, R_OK))
            die(path);
    }
    printf("%f\n", (now() - start) / count * 1e6);
}

static void one_read(int fd, off_t size)
{
    (void)size;
    lseek(fd, 0, SEEK_SET);
    while (read(fd, buffer, BLOCK) > 0)
        ;
}

static void one_pread(int fd, off_t size)
{
    for (off_t at = 0; at < size; at += SMALL)
        if (pread(fd, buffer, SMALL, at * 5 % size) < 0)
            die("pread");
}

static void one_mmap(int fd, off_t size)
{
    volatile uint64_t sum = 0;
    uint64_t *words = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0), part = 0;
    if (words == MAP_FAILED)
        die("mmap");
    for (off_t i = 0; i < size / 8; i++)
        part += words[i];
    sum = part;
    (void)sum;
    munmap(words, size);
}

/* calls read COUNT PATH...: COUNT lines, each a pass that takes the files in turn, of the seconds for all of each
   file by read, pread and mmap. */
static void time_read(long count, int files, char **paths)
{
    static void (*const way[])(int, off_t) = {one_read, one_pread, one_mmap};
    int *fd = calloc(files, sizeof *fd);
    double (*seconds)[3] = calloc(files, sizeof *seconds);
    struct stat status;

    for (int f = 0; f < files; f++)
        /* Written in different ways, they lie in different folios: both are read in anew. */
        if ((fd[f] = open(paths[f], O_RDONLY)) < 0 || fsync(fd[f]) || posix_fadvise(fd[f], 0, 0, POSIX_FADV_DONTNEED))
            die(paths[f]);
    for (long pass = -1; pass < count; pass++) {
        for (int f = 0; f < files; f++)
            for (int w = 0; w < 3; w++) {
                int file = pass & 1 ? files - 1 - f : f;
                if (fstat(fd[file], &status))
                    die(paths[file]);
                double start = now();
                way[w](fd[file], status.st_size);
                seconds[file][w] = now() - start;
            }
        /* The first pass brings them into the page cache. */
        for (int f = 0; pass >= 0 && f < files; f++)
            printf("%f %f %f%c", seconds[f][0], seconds[f][1], seconds[f][2], f == files - 1 ? '\n' : ' ');
    }
}

int main(int argc, char **argv)
{
    if (argc >= 5 && !strcmp(argv[1], "stat"))
        time_stat(atol(argv[2]), argv[3], argv[4], argc > 5 ? argv[5] : NULL);
    else if (argc == 4 && !strcmp(argv[1], "open"))
        time_open(atol(argv[2]), argv[3]);
    else if (argc == 4 && !strcmp(argv[1], "access"))
        time_access(atol(argv[2]), argv[3]);
    else if (argc >= 4 && !strcmp(argv[1], "read"))
        time_read(atol(argv[2]), argc - 3, argv + 3);
    else
        return 2;
    return 0;
}
