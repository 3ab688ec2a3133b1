/* execveat(2) with all its flags, of a program, a script, links to them and descriptors, in the folder of argv[1]. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void try(const char *what, int folder, const char *path, int flags)
{
    fflush(stdout);
    if (!fork()) {
        char *argv[] = {"program", "ran", 0}, *envp[] = {0};
        long result = syscall(SYS_execveat, folder, path, argv, envp, flags);
        printf("%s %#x: %ld %s\n", what, flags, result, result ? strerror(errno) : "");
        fflush(stdout);
        _exit(7);
    }
    int status;
    wait(&status);
    printf("%s %#x: ended with %x\n", what, flags, status);
}

int main(int count, char **words)
{
    if (count < 2 || chdir(words[1]))
        return 1;
    int program = open("program", O_RDONLY), folder = open(".", O_RDONLY), link = open("link", O_PATH | O_NOFOLLOW);
    int path = open("program", O_PATH), script = open("script", O_RDONLY), replaced = open("replaced", O_RDONLY);
    int removed = open("removed", O_RDONLY);
    if (rename("other", "replaced") || unlink("removed"))
        return 1;
    int flags[] = {0, 0x10000, 0x100, 0x1, 0x1000, 0x10100, 0x11000, 0x200};
    const char *names[] = {"program", "link", "script", "to script", "closed", ".", "missing", "dangling", "loop", ""};
    for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
        for (unsigned j = 0; j < sizeof names / sizeof *names; j++)
            try(names[j], AT_FDCWD, names[j], flags[i]);
        try("from a folder", folder, "program", flags[i]);
        try("descriptor", program, "", flags[i]);
        try("path descriptor", path, "", flags[i]);
        try("link's descriptor", link, "", flags[i]);
        try("folder's descriptor", folder, "", flags[i]);
        try("script's descriptor", script, "", flags[i]);
        try("replaced", replaced, "", flags[i]);
        try("removed", removed, "", flags[i]);
        try("no descriptor", 99, "", flags[i]);
        try("no folder", program, "x", flags[i]);
    }
}
