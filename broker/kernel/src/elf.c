#define _GNU_SOURCE
#include "elf.h"

#include <elf.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

enum { HEADERS = 65536 / sizeof(Elf32_Phdr) }; /* the kernel takes no table that is larger than that */

struct span {
    uint64_t offset, length;
};

static bool read_all(int file, void *buffer, size_t length, uint64_t offset)
{
    return offset <= INT64_MAX && pread(file, buffer, length, offset) == (ssize_t)length;
}

#define FIND(bits)                                                                                                     \
    static bool find_##bits(int file, struct span *found)                                                              \
    {                                                                                                                  \
        Elf##bits##_Ehdr head;                                                                                         \
        Elf##bits##_Phdr part;                                                                                         \
        if (!read_all(file, &head, sizeof head, 0) || head.e_phentsize != sizeof part || head.e_phnum > HEADERS)       \
            return false;                                                                                              \
        for (unsigned index = 0; index < head.e_phnum; index++) {                                                      \
            if (!read_all(file, &part, sizeof part, head.e_phoff + (uint64_t)index * sizeof part))                     \
                return false;                                                                                          \
            if (part.p_type == PT_INTERP) {                                                                            \
                *found = (struct span){part.p_offset, part.p_filesz};                                                  \
                return true;                                                                                           \
            }                                                                                                          \
        }                                                                                                              \
        return false;                                                                                                  \
    }

FIND(32)
FIND(64)

long elf_interpreter(int file, char path[PATH_LIMIT])
{
    unsigned char ident[EI_NIDENT];
    struct span found;
    if (!read_all(file, ident, sizeof ident, 0) || memcmp(ident, ELFMAG, SELFMAG))
        return 0;
    if (!(ident[EI_CLASS] == ELFCLASS64 ? find_64 : find_32)(file, &found))
        return 0;
    if (found.length < 2 || found.length > PATH_LIMIT || !read_all(file, path, found.length, found.offset))
        return 0;
    return path[found.length - 1] ? 0 : (long)strlen(path);
}
