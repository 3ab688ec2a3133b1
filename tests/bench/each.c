/* `each COUNT CMD...` runs CMD again and again and prints the seconds that each run took, one line each. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
    posix_spawn_file_actions_t quiet;

    if (argc < 3)
        return 2;
    posix_spawn_file_actions_init(&quiet);
    posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    for (long i = atol(argv[1]); i > 0; i--) {
        pid_t child;
        int status;
        double start = now();
        if (posix_spawnp(&child, argv[2], &quiet, NULL, argv + 2, environ) || waitpid(child, &status, 0) != child ||
            status)
            return 1;
        printf("%f\n", now() - start);
    }
    return 0;
}
