/* Uses the C library's file functions on the folder given; built for 64 and 32 bits, dynamic and static. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static void say(const char *what, long result)
{
    printf("%s: %ld %s\n", what, result, result < 0 ? strerror(errno) : "");
}

static void describe(const char *path)
{
    struct stat status;
    if (lstat(path, &status) < 0)
        say(path, -1);
    else
        printf("%s: %o %ld %ld.%09ld\n", path, status.st_mode, (long)status.st_size, (long)status.st_mtim.tv_sec / 2 * 2,
               (long)status.st_mtim.tv_nsec % 2);
}

int main(int count, char **arguments)
{
    char buffer[200];
    struct statfs space;
    struct timespec times[2] = {{5, 0}, {1000000000, 0}};
    say("chdir", chdir(arguments[1]));
    say("mkdir", mkdir("c", 0755));
    say("chdir", chdir("c"));
    FILE *file = fopen("file", "w+");
    fprintf(file, "content %d\n", count);
    rewind(file);
    fputs(fgets(buffer, sizeof buffer, file), stdout);
    fclose(file);
    say("utimensat", utimensat(AT_FDCWD, "file", times, 0));
    describe("file");
    say("rename", rename("file", "renamed"));
    say("link", link("renamed", "../hard"));
    say("symlink", symlink("renamed", "soft"));
    memset(buffer, 0, sizeof buffer);
    say("readlink", readlink("soft", buffer, sizeof buffer));
    puts(buffer);
    say("truncate", truncate("soft", 3));
    say("chmod", chmod("renamed", 0640));
    say("chown", chown("renamed", geteuid(), getegid()));
    say("lchown", lchown("soft", geteuid(), getegid()));
    say("access", access("renamed", W_OK));
    say("access", access("none", F_OK));
    say("faccessat", faccessat(AT_FDCWD, "soft", R_OK, AT_EACCESS | AT_SYMLINK_NOFOLLOW));
    say("setxattr", setxattr("renamed", "user.k", "value", 5, 0));
    say("getxattr", getxattr("soft", "user.k", buffer, sizeof buffer));
    say("statfs", statfs(".", &space));
    printf("%d\n", space.f_bsize > 0);
    say("realpath", realpath("../c/soft", buffer) ? 0 : -1);
    puts(buffer);
    int descriptor = open("../hard", O_RDWR | O_APPEND);
    say("write", write(descriptor, "more", 4));
    say("pread", pread(descriptor, buffer, 10, 0));
    say("ftruncate", ftruncate(descriptor, 5));
    say("fallocate", posix_fallocate(descriptor, 0, 10000));
    say("fchmod", fchmod(descriptor, 0604));
    say("futimens", futimens(descriptor, times));
    say("dup2", dup2(descriptor, 20));
    say("close", close(descriptor) + close(20));
    describe("renamed");
    DIR *folder = opendir(".");
    int entries = 0;
    while (readdir(folder))
        entries++;
    printf("%d entries\n", entries);
    closedir(folder);
    fflush(stdout);
    if (!vfork()) {
        execl("/bin/cat", "cat", "soft", (char *)0);
        _exit(1);
    }
    wait(NULL);
    say("unlink", unlink("soft"));
    say("rmdir", rmdir("."));
    say("rmdir", rmdir("../c"));
    return 0;
}
