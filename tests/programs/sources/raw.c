/* Without a C library: makes, writes and reads files with open, openat and creat themselves, old forms and new. */
#include <asm/unistd.h>
#include <fcntl.h>

static long call(long number, long a, long b, long c, long d)
{
    long result;
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                     : "rcx", "r11", "memory");
    return result;
}

static void say(const char *text)
{
    long length = 0;
    while (text[length])
        length++;
    call(__NR_write, 1, (long)text, length, 0);
}

static void number(const char *what, long value)
{
    char digits[24];
    int at = sizeof digits - 1;
    unsigned long rest = value < 0 ? -value : value;
    digits[at] = 0;
    digits[--at] = '\n';
    do
        digits[--at] = '0' + rest % 10;
    while (rest /= 10);
    if (value < 0)
        digits[--at] = '-';
    say(what);
    say(digits + at);
}

static void use(const char *what, long descriptor)
{
    char buffer[64];
    number(what, descriptor < 0 ? descriptor : 0);
    if (descriptor < 0)
        return;
    number("write ", call(__NR_write, descriptor, (long)"content", 7, 0));
    number("lseek ", call(__NR_lseek, descriptor, 0, 0, 0));
    number("read ", call(__NR_read, descriptor, (long)buffer, sizeof buffer, 0));
    number("close ", call(__NR_close, descriptor, 0, 0, 0));
}

static void run(char **arguments)
{
    long folder = call(__NR_open, (long)arguments[1], O_RDONLY | O_DIRECTORY, 0, 0);
    number("folder ", folder < 0 ? folder : 0);
    use("open ", call(__NR_open, (long)arguments[2], O_RDWR | O_CREAT, 0644, 0));
    use("openat ", call(__NR_openat, folder, (long)"openat", O_RDWR | O_CREAT, 0600));
    use("creat ", call(__NR_creat, (long)arguments[3], 0640, 0, 0));
    use("again ", call(__NR_open, (long)arguments[2], O_RDWR | O_TRUNC, 0, 0));
    use("exclusive ", call(__NR_open, (long)arguments[2], O_RDWR | O_CREAT | O_EXCL, 0644, 0));
    use("missing ", call(__NR_openat, folder, (long)"missing", O_RDWR, 0));
    number("fchdir ", call(__NR_fchdir, folder, 0, 0, 0));
    use("relative ", call(__NR_open, (long)"relative", O_RDWR | O_CREAT, 0644, 0));
    number("mkdir ", call(__NR_mkdir, (long)"made", 0755, 0, 0));
    number("chdir ", call(__NR_chdir, (long)"made", 0, 0, 0));
    use("above ", call(__NR_open, (long)"../above", O_RDWR | O_CREAT, 0644, 0));
    number("unlink ", call(__NR_unlink, (long)"../relative", 0, 0, 0));
    number("rmdir ", call(__NR_rmdir, (long)"../made", 0, 0, 0));
}

__attribute__((used)) void begin(long *stack)
{
    run((char **)(stack + 1));
    call(__NR_exit_group, 0, 0, 0, 0);
}

__asm__(".globl _start\n_start:\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
