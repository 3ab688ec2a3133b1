/* Two hundred threads at once, each making, writing, reading, renaming and removing files of the folder given. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREADS = 200, ROUNDS = 5 };
static const char *top;
static int failures;

static void check(int right)
{
    if (!right)
        __atomic_add_fetch(&failures, 1, __ATOMIC_RELAXED);
}

static void *work(void *argument)
{
    long number = (long)argument;
    char path[200], other[220], content[50], found[50];
    struct stat status;
    for (int round = 0; round < ROUNDS; round++) {
        snprintf(path, sizeof path, "%s/thread-%ld", top, number);
        snprintf(other, sizeof other, "%s.new", path);
        int length = snprintf(content, sizeof content, "thread %ld round %d", number, round);
        int file = open(path, O_CREAT | O_TRUNC | O_RDWR, 0644);
        check(file >= 0 && write(file, content, length) == length && !close(file));
        file = open(path, O_RDONLY);
        check(file >= 0 && read(file, found, sizeof found) == length && !memcmp(found, content, length) && !close(file));
        check(!rename(path, other) && access(path, F_OK) && !stat(other, &status) && status.st_size == length);
        check(round == ROUNDS - 1 || !unlink(other));
    }
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t threads[THREADS];
    top = arguments[1];
    for (long number = 0; number < THREADS; number++)
        if (pthread_create(&threads[number], NULL, work, (void *)number))
            exit(2);
    for (int number = 0; number < THREADS; number++)
        pthread_join(threads[number], NULL);
    printf("%d failures\n", failures);
    return failures != 0;
}
