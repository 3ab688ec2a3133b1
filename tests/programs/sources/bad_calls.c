/* Makes system calls with arguments that cannot be, on the folder given, and prints the errno of each. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SAY(what, call)                                                                                                \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        long result_ = (long)(call);                                                                                   \
        printf("%s: %s\n", what, result_ < 0 ? strerrorname_np(errno) : "ok");                                         \
        fflush(stdout);                                                                                                \
    } while (0)

static char *const BAD = (char *)16;
static char *top, at[5000], edge_path[5000];
static struct stat status;

static char *below(const char *name)
{
    static char path[5000];
    snprintf(path, sizeof path, "%s/%s", top, name);
    return path;
}

/* A path of exactly `length` bytes that names the folder given, or what is in it. */
static char *long_path(int length, const char *last)
{
    int end = snprintf(at, sizeof at, "%s/", top);
    while (end + (int)strlen(last) < length)
        at[end++] = '/';
    strcpy(at + end, last);
    return at;
}

/* A path that ends right at the end of a page behind which nothing is mapped, with or without its NUL. */
static char *at_the_edge(const char *path, int with_nul)
{
    long page = sysconf(_SC_PAGESIZE);
    char *pages = mmap(0, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(pages + page, page);
    int length = strlen(path) + with_nul;
    return memcpy(pages + page - length, path, length);
}

static void pointers(int folder)
{
    SAY("open bad pointer", syscall(SYS_open, BAD, O_RDONLY));
    SAY("openat bad pointer", syscall(SYS_openat, folder, BAD, O_RDONLY));
    SAY("open NULL", syscall(SYS_open, NULL, O_RDONLY));
    SAY("chdir bad pointer", syscall(SYS_chdir, BAD));
    SAY("execve bad pointer", syscall(SYS_execve, BAD, NULL, NULL));
    SAY("rename bad pointer", syscall(SYS_rename, below("hello.txt"), BAD));
    SAY("symlink bad target", syscall(SYS_symlink, BAD, below("s")));
    SAY("fstatat bad buffer", syscall(SYS_statx, folder, "hello.txt", 0, STATX_ALL, BAD));
    SAY("readlink bad buffer", syscall(SYS_readlink, below("sub/link"), BAD, 10));
    SAY("readlink size 0", syscall(SYS_readlink, below("sub/link"), at, 0));
    SAY("getcwd bad buffer", syscall(SYS_getcwd, BAD, 4096));
    SAY("getcwd small", syscall(SYS_getcwd, at, 1));
    SAY("utimensat bad times", syscall(SYS_utimensat, folder, "hello.txt", BAD, 0));
    SAY("setxattr bad value", syscall(SYS_setxattr, below("hello.txt"), "user.a", BAD, 10, 0));
    SAY("setxattr bad name", syscall(SYS_setxattr, below("hello.txt"), BAD, "v", 1, 0));
    SAY("listxattr bad buffer", syscall(SYS_listxattr, below("hello.txt"), BAD, 10));
    SAY("openat2 bad how", syscall(SYS_openat2, folder, "hello.txt", BAD, sizeof(struct open_how)));
    SAY("statfs bad buffer", syscall(SYS_statfs, top, BAD));
    snprintf(edge_path, sizeof edge_path, "%s/hello.txt", top);
    SAY("path up to the edge", syscall(SYS_open, at_the_edge(edge_path, 1), O_RDONLY));
    SAY("path over the edge", syscall(SYS_open, at_the_edge(edge_path, 0), O_RDONLY));
    SAY("stat at the edge", stat(at_the_edge(edge_path, 1), &status));
}

static void paths(int folder)
{
    char name[300], *big = malloc(10000);
    SAY("4095 bytes", open(long_path(4095, "hello.txt"), O_RDONLY));
    SAY("4096 bytes", open(long_path(4096, "hello.txt"), O_RDONLY));
    SAY("stat 4095", stat(long_path(4095, "sub"), &status));
    SAY("stat 4096", stat(long_path(4096, "sub"), &status));
    SAY("mkdir 4096", mkdir(long_path(4096, "new"), 0755));
    SAY("chdir 4096", chdir(long_path(4096, "sub")));
    SAY("exec 4096", execl(long_path(4096, "sub"), "x", NULL));
    SAY("symlink target 4096", symlink(long_path(4096, "sub"), below("s1")));
    SAY("symlink target 4095", symlink(long_path(4095, "sub"), below("s2")));
    SAY("through it", access(below("s2/one"), R_OK));
    memset(big, 'a', 9999), big[9999] = 0, big[0] = '/';
    SAY("10000 bytes", open(big, O_RDONLY));
    SAY("empty", open("", O_RDONLY));
    SAY("openat empty", openat(folder, "", O_RDONLY));
    SAY("openat empty with O_CREAT", openat(folder, "", O_RDWR | O_CREAT, 0644));
    SAY("stat empty", stat("", &status));
    SAY("fstatat empty path", fstatat(folder, "", &status, AT_EMPTY_PATH));
    SAY("fstatat empty", fstatat(folder, "", &status, 0));
    SAY("mkdir empty", mkdir("", 0755));
    SAY("rename empty", rename("", below("x")));
    SAY("rename to empty", rename(below("hello.txt"), ""));
    SAY("unlink empty", unlink(""));
    SAY("symlink to empty", symlink("", below("s3")));
    SAY("chdir empty", chdir(""));
    SAY("exec empty", execl("", "x", NULL));
    memset(name, 'n', 256), name[255] = 0;
    SAY("255 bytes in a name", open(below(name), O_RDWR | O_CREAT, 0644));
    name[255] = 'n', name[256] = 0;
    SAY("256 bytes in a name", open(below(name), O_RDWR | O_CREAT, 0644));
    SAY("mkdir 256", mkdir(below(name), 0755));
    SAY("stat 256", stat(below(name), &status));
    SAY("rename to 256", rename(below("hello.txt"), below(name)));
    SAY("symlink at 256", symlink("a", below(name)));
    SAY("link at 256", link(below("hello.txt"), below(name)));
    strcat(name, "/../hello.txt");
    SAY("256 in the middle", open(below(name), O_RDONLY));
    SAY("missing in the middle", open(below("missing/../hello.txt"), O_RDONLY));
    SAY("file in the middle", open(below("hello.txt/../hello.txt"), O_RDONLY));
    SAY("file and dot", open(below("hello.txt/."), O_RDONLY));
    SAY("loop in the middle", open(below("loop/x"), O_RDONLY));
}

static void flags(int folder, int file)
{
    struct open_how how = {.flags = O_RDONLY, .resolve = 0x4000};
    SAY("O_PATH|O_CREAT", open(below("hello.txt"), O_PATH | O_CREAT, 0644));
    SAY("O_PATH|O_CREAT new", open(below("path-new"), O_PATH | O_CREAT, 0644));
    SAY("O_PATH|O_RDWR|O_TRUNC", open(below("hello.txt"), O_PATH | O_RDWR | O_TRUNC));
    SAY("O_DIRECTORY on a file", open(below("hello.txt"), O_DIRECTORY));
    SAY("O_DIRECTORY|O_CREAT", open(below("new"), O_DIRECTORY | O_CREAT, 0755));
    SAY("O_WRONLY on a folder", open(below("sub"), O_WRONLY));
    SAY("O_CREAT on a folder", open(below("sub"), O_CREAT, 0644));
    SAY("O_CREAT with a slash", open(below("new/"), O_RDWR | O_CREAT, 0644));
    SAY("O_EXCL on a dangling link", open(below("dangling"), O_RDWR | O_CREAT | O_EXCL, 0644));
    SAY("O_NOFOLLOW on a link", open(below("sub/link"), O_RDONLY | O_NOFOLLOW));
    SAY("O_NOFOLLOW|O_PATH", open(below("sub/link"), O_PATH | O_NOFOLLOW));
    SAY("access mode 3", open(below("hello.txt"), 3));
    SAY("unknown flag", open(below("hello.txt"), O_RDONLY | 0x20000000));
    SAY("openat2 unknown resolve", syscall(SYS_openat2, folder, "hello.txt", &how, sizeof how));
    how.resolve = 0, how.flags = 1ULL << 40;
    SAY("openat2 unknown flag", syscall(SYS_openat2, folder, "hello.txt", &how, sizeof how));
    how.flags = O_RDONLY, how.mode = 0644;
    SAY("openat2 mode without O_CREAT", syscall(SYS_openat2, folder, "hello.txt", &how, sizeof how));
    how.mode = 0;
    SAY("openat2 small", syscall(SYS_openat2, folder, "hello.txt", &how, 8));
    SAY("openat2", syscall(SYS_openat2, folder, "hello.txt", &how, sizeof how));
    how.resolve = RESOLVE_BENEATH;
    SAY("beneath", syscall(SYS_openat2, folder, "sub/up", &how, sizeof how));
    SAY("not beneath", syscall(SYS_openat2, folder, "../x", &how, sizeof how));
    SAY("absolute beneath", syscall(SYS_openat2, folder, top, &how, sizeof how));
    how.resolve = RESOLVE_IN_ROOT;
    SAY("in root", syscall(SYS_openat2, folder, "/../hello.txt", &how, sizeof how));
    how.resolve = RESOLVE_NO_SYMLINKS;
    SAY("no symlinks", syscall(SYS_openat2, folder, "sub/link", &how, sizeof how));
    SAY("fstatat bad flags", fstatat(folder, "hello.txt", &status, 0x40000000));
    SAY("unlinkat bad flags", unlinkat(folder, "hello.txt", 0x40000000));
    SAY("linkat bad flags", linkat(folder, "hello.txt", folder, "h", 0x40000000));
    SAY("renameat2 bad flags", syscall(SYS_renameat2, folder, "hello.txt", folder, "h", 0x80));
    SAY("renameat2 both flags", syscall(SYS_renameat2, folder, "hello.txt", folder, "h", 3));
    SAY("faccessat bad mode", syscall(SYS_faccessat, folder, "hello.txt", 8));
    SAY("utimensat bad nanoseconds",
        utimensat(folder, "hello.txt", (struct timespec[]){{0, 2000000000}, {0, 0}}, 0));
    SAY("mknod bad type", mknod(below("node"), 0170000, 0));
    SAY("mknod folder", mknod(below("node"), S_IFDIR, 0));
    SAY("truncate negative", truncate(below("hello.txt"), -1));
    SAY("fallocate zero", fallocate(file, 0, 0, 0));
    SAY("fallocate bad mode", fallocate(file, 0x4000, 0, 10));
    SAY("rename . ", rename(below("."), below("x")));
    SAY("rename ..", rename(below("sub/.."), below("x")));
    SAY("rename into itself", rename(below("sub"), below("sub/deep/x")));
    SAY("rename file to folder", rename(below("hello.txt"), strdup(below("sub"))));
    SAY("rmdir .", rmdir(below("sub/.")));
    SAY("rmdir ..", rmdir(below("sub/deep/..")));
    SAY("unlink folder", unlink(below("sub")));
    SAY("unlink with a slash", unlink(below("hello.txt/")));
    SAY("mkdir with a slash", mkdir(below("made/"), 0755));
    SAY("mkdir link with a slash", mkdir(below("dangling/"), 0755));
    SAY("link to folder", link(below("sub"), strdup(below("l"))));
}

static void descriptors(int folder, int file)
{
    struct rlimit limit = {20, 20};
    int path = open(below("hello.txt"), O_PATH), pipes[2], read_only = open(below("hello.txt"), O_RDONLY);
    SAY("openat file", openat(file, "x", O_RDONLY));
    SAY("openat closed", openat(100, "x", O_RDONLY));
    SAY("openat negative", openat(-7, "x", O_RDONLY));
    SAY("openat closed, absolute", openat(100, below("hello.txt"), O_RDONLY));
    SAY("openat file, absolute", openat(file, below("hello.txt"), O_RDONLY));
    SAY("mkdirat file", mkdirat(file, "x", 0755));
    SAY("fstatat file", fstatat(file, "x", &status, 0));
    SAY("fstatat file, empty", fstatat(file, "", &status, AT_EMPTY_PATH));
    SAY("pipe", pipe(pipes));
    SAY("openat pipe", openat(pipes[0], "x", O_RDONLY));
    SAY("renameat file", renameat(folder, "hello.txt", file, "x"));
    SAY("fchdir file", fchdir(file));
    SAY("fchdir closed", fchdir(100));
    SAY("fchmod O_PATH", fchmod(path, 0644));
    SAY("fchown O_PATH", fchown(path, -1, -1));
    SAY("fsync O_PATH", fsync(path));
    SAY("fsync closed", fsync(100));
    SAY("fsync folder", fsync(folder));
    SAY("fsync pipe", fsync(pipes[1]));
    SAY("ftruncate folder", ftruncate(folder, 0));
    SAY("ftruncate read-only", ftruncate(read_only, 0));
    SAY("ftruncate negative", ftruncate(file, -1));
    SAY("fallocate read-only", fallocate(read_only, 0, 0, 10));
    SAY("write read-only", write(read_only, "x", 1));
    SAY("read folder", read(folder, at, 10));
    SAY("write O_PATH", write(path, "x", 1));
    SAY("close closed", close(100));
    SAY("close -1", close(-1));
    SAY("close twice", (close(path), close(path)));
    SAY("dup closed", dup(100));
    SAY("dup2 to -1", dup2(file, -1));
    SAY("dup2 to itself", dup2(file, file));
    SAY("dup3 to itself", dup3(file, file, 0));
    SAY("dup2 too high", dup2(file, 1 << 20));
    SAY("close 900", close(900));
    SAY("dup 900", dup(900));
    SAY("exec folder", execl(below("sub"), "x", NULL));
    SAY("exec not executable", execl(below("hello.txt"), "x", NULL));
    SAY("exec missing", execl(below("missing"), "x", NULL));
    SAY("exec through a file", execl(below("hello.txt/x"), "x", NULL));
    SAY("setrlimit", setrlimit(RLIMIT_NOFILE, &limit));
    while (dup(1) >= 0)
        continue;
    SAY("EMFILE open", open(below("hello.txt"), O_RDONLY));
    SAY("EMFILE open for writing", open(below("hello.txt"), O_RDWR));
    SAY("EMFILE open folder", openat(folder, "sub", O_RDONLY));
    SAY("EMFILE O_PATH", open(below("hello.txt"), O_PATH));
    SAY("EMFILE O_CREAT", open(below("by-emfile"), O_RDWR | O_CREAT, 0644));
    SAY("EMFILE dup", dup(file));
    SAY("EMFILE stat", stat(below("hello.txt"), &status));
    SAY("EMFILE after one closed", (close(read_only), open(below("hello.txt"), O_RDONLY)));
}

int main(int count, char **arguments)
{
    top = arguments[1];
    int folder = open(top, O_RDONLY | O_DIRECTORY), file = open(below("lines.txt"), O_RDWR);
    SAY("folder", folder);
    SAY("file", file);
    pointers(folder);
    paths(folder);
    flags(folder, file);
    descriptors(folder, file);
    return 0;
}
