#define _GNU_SOURCE
#include "perform.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Raw calls throughout: libc's wrappers of these change every thread of the process. */

enum { GROUPS_MAX = 65536 };

static struct __user_cap_header_struct header(void)
{
    return (struct __user_cap_header_struct){_LINUX_CAPABILITY_VERSION_3, 0};
}

static int set_capabilities(const struct __user_cap_data_struct data[2])
{
    struct __user_cap_header_struct head = header();
    return syscall(SYS_capset, &head, data);
}

static unsigned fs_id(long number)
{
    return syscall(number, -1); /* an impossible id changes nothing and answers with the present one */
}

static int remember(struct before *before)
{
    memset(before, 0, sizeof *before);
    struct __user_cap_header_struct head = header();
    if (syscall(SYS_capget, &head, before->capabilities))
        return -errno;
    before->fsuid = fs_id(SYS_setfsuid);
    before->fsgid = fs_id(SYS_setfsgid);
    long count = syscall(SYS_getgroups, 0, NULL);
    if (count < 0)
        return -errno;
    before->groups = malloc((count ? count : 1) * sizeof *before->groups);
    if (!before->groups)
        return -ENOMEM;
    before->group_count = count;
    return syscall(SYS_getgroups, count, before->groups) == count ? 0 : -EAGAIN;
}

static void insist(bool done)
{
    if (!done)
        abort(); /* going on as somebody else would be worse */
}

void resume(struct before *before)
{
    /* The capabilities first, because the rest may need them; and last, because fsuid 0 raises some. */
    if (before->capabilities_taken)
        insist(set_capabilities(before->capabilities) == 0);
    if (before->fsuid_taken) {
        syscall(SYS_setfsuid, before->fsuid);
        insist(fs_id(SYS_setfsuid) == before->fsuid);
    }
    if (before->fsgid_taken) {
        syscall(SYS_setfsgid, before->fsgid);
        insist(fs_id(SYS_setfsgid) == before->fsgid);
    }
    if (before->groups_taken)
        insist(syscall(SYS_setgroups, before->group_count, before->groups) == 0);
    if (before->capabilities_taken)
        insist(set_capabilities(before->capabilities) == 0);
    free(before->groups);
}

static bool same_groups(const struct before *before, const struct identity *identity)
{
    return before->group_count == identity->group_count &&
           !memcmp(before->groups, identity->groups, before->group_count * sizeof *before->groups);
}

static int take(struct before *before, const struct identity *identity)
{
    struct __user_cap_data_struct wanted[2];
    memcpy(wanted, before->capabilities, sizeof wanted);
    for (int half = 0; half < 2; half++)
        wanted[half].effective = (uint32_t)(identity->capabilities >> (32 * half)) & wanted[half].permitted;
    if (!same_groups(before, identity)) {
        if (syscall(SYS_setgroups, identity->group_count, identity->groups))
            return -errno;
        before->groups_taken = true;
    }
    if (before->fsgid != identity->fsgid) {
        before->fsgid_taken = before->capabilities_taken = true;
        syscall(SYS_setfsgid, identity->fsgid);
        if (fs_id(SYS_setfsgid) != identity->fsgid)
            return -EPERM;
    }
    if (before->fsuid != identity->fsuid) {
        before->fsuid_taken = before->capabilities_taken = true;
        syscall(SYS_setfsuid, identity->fsuid);
        if (fs_id(SYS_setfsuid) != identity->fsuid)
            return -EPERM;
    }
    if (before->capabilities_taken || memcmp(wanted, before->capabilities, sizeof wanted)) {
        before->capabilities_taken = true;
        if (set_capabilities(wanted))
            return -errno;
    }
    return 0;
}

int assume(const struct identity *identity, struct before *before)
{
    if (identity->group_count > GROUPS_MAX)
        return -EINVAL;
    int error = remember(before);
    if (error) {
        free(before->groups);
        return error;
    }
    error = take(before, identity);
    if (error)
        resume(before);
    return error;
}

static long enter_i386(long number, const uint32_t args[6])
{
    /* ebp may be the frame pointer and cannot be an operand; r12-r15 live through the 32-bit entry, r8-r11 may not. */
    long result;
    __asm__ volatile("movq %[args], %%r12\n\t"
                     "movq %%rbp, %%r13\n\t"
                     "movl 0(%%r12), %%ebx\n\t"
                     "movl 4(%%r12), %%ecx\n\t"
                     "movl 8(%%r12), %%edx\n\t"
                     "movl 12(%%r12), %%esi\n\t"
                     "movl 16(%%r12), %%edi\n\t"
                     "movl 20(%%r12), %%ebp\n\t"
                     "int $0x80\n\t"
                     "movq %%r13, %%rbp\n\t"
                     : "=a"(result)
                     : "0"(number), [args] "r"(args)
                     : "memory", "cc", "rbx", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13");
    return (int32_t)result;
}

static size_t aligned(size_t length)
{
    return (length + 1 + 15) & ~(size_t)15; /* one byte more: a string's NUL stands behind it */
}

static int call_i386(long number, const struct argument arguments[6], long *result)
{
    uint32_t args[6];
    size_t total = 0, used = 0;
    for (int index = 0; index < 6; index++)
        total += arguments[index].buffer ? aligned(arguments[index].length) : 0;
    char *low = NULL;
    if (total) {
        low = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
        if (low == MAP_FAILED)
            return -errno;
    }
    char *place[6];
    for (int index = 0; index < 6; index++) {
        args[index] = arguments[index].value;
        if (!arguments[index].buffer)
            continue;
        place[index] = low + used;
        memcpy(place[index], arguments[index].buffer, arguments[index].length);
        args[index] = (uint32_t)(uintptr_t)place[index];
        used += aligned(arguments[index].length);
    }
    *result = enter_i386(number, args);
    for (int index = 0; index < 6; index++)
        if (arguments[index].buffer && arguments[index].writable)
            memcpy(arguments[index].buffer, place[index], arguments[index].length);
    if (low)
        munmap(low, total);
    return 0;
}

static long call_x86_64(long number, const struct argument arguments[6])
{
    uint64_t args[6];
    for (int index = 0; index < 6; index++)
        args[index] = arguments[index].buffer ? (uint64_t)(uintptr_t)arguments[index].buffer : arguments[index].value;
    long result = syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
    return result == -1 ? -errno : result;
}

int perform(uint32_t arch, long number, const struct argument arguments[6], const struct identity *identity,
            long *result)
{
    if (arch != AUDIT_ARCH_X86_64 && arch != AUDIT_ARCH_I386)
        return -EINVAL;
    struct before before;
    int error = identity ? assume(identity, &before) : 0;
    if (error)
        return error;
    if (arch == AUDIT_ARCH_I386)
        error = call_i386(number, arguments, result);
    else
        *result = call_x86_64(number, arguments);
    if (identity)
        resume(&before);
    return error;
}
