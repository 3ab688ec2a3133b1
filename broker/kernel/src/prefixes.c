#define _GNU_SOURCE
#include "prefixes.h"

#include <stdlib.h>
#include <string.h>

static bool same(struct text text, const char *bytes, size_t length)
{
    return text.length == length && !memcmp(text.bytes, bytes, length);
}

static size_t count_components(const struct texts *texts)
{
    size_t count = 0;
    for (size_t index = 0; index < texts->count; index++)
        for (size_t at = 0; at < texts->items[index].length; at++)
            count += texts->items[index].bytes[at] == '/';
    return count;
}

static void add_components(struct prefixes *prefixes, const struct texts *texts)
{
    for (size_t index = 0; index < texts->count; index++) {
        const char *next = texts->items[index].bytes, *end = next + texts->items[index].length;
        while (next < end) {
            const char *slash = memchr(next, '/', end - next);
            size_t length = (slash ? slash : end) - next;
            if (length) {
                prefixes->components.items[prefixes->components.count++] = (struct text){next, length};
                prefixes->initials |= 1ULL << (*next & 63);
            }
            next += length + 1;
        }
    }
}

bool prefixes_prepare(struct prefixes *prefixes)
{
    size_t room = count_components(&prefixes->folders) + count_components(&prefixes->parents);
    prefixes->components = (struct texts){calloc(room + 1, sizeof(struct text)), 0};
    if (!prefixes->components.items)
        return false;
    add_components(prefixes, &prefixes->folders);
    add_components(prefixes, &prefixes->parents);
    return true;
}

void prefixes_free(struct prefixes *prefixes)
{
    struct texts *owners[] = {&prefixes->folders, &prefixes->schemes, &prefixes->mirrors, &prefixes->parents};
    for (int index = 0; index < 4; index++) {
        for (size_t item = 0; owners[index]->items && item < owners[index]->count; item++)
            free((char *)owners[index]->items[item].bytes);
        free(owners[index]->items);
    }
    free(prefixes->components.items);
}

bool within(const struct texts *folders, const char *path, size_t length)
{
    for (size_t index = 0; index < folders->count; index++) {
        struct text folder = folders->items[index];
        if (length >= folder.length && !memcmp(path, folder.bytes, folder.length) &&
            (length == folder.length || path[folder.length] == '/'))
            return true;
    }
    return false;
}

bool equals_one(const struct texts *texts, const char *path, size_t length)
{
    for (size_t index = 0; index < texts->count; index++)
        if (same(texts->items[index], path, length))
            return true;
    return false;
}

bool names_scheme(const struct prefixes *prefixes, const char *path, size_t length)
{
    if (!prefixes->schemes.count || !memchr(path, ':', length))
        return false;
    for (size_t index = 0; index < prefixes->schemes.count; index++) {
        struct text scheme = prefixes->schemes.items[index];
        if (length >= scheme.length && !memcmp(path, scheme.bytes, scheme.length))
            return true;
    }
    for (const char *next = path, *end = path + length; next < end;) {
        const char *slash = memchr(next, '/', end - next);
        size_t component = (slash ? slash : end) - next;
        if (equals_one(&prefixes->schemes, next, component))
            return true;
        next += component + 1;
    }
    return false;
}

static bool is_dot(const char *component, size_t length)
{
    return length == 1 && component[0] == '.';
}

static bool is_dot_dot(const char *component, size_t length)
{
    return length == 2 && component[0] == '.' && component[1] == '.';
}

bool needs_base(const struct prefixes *prefixes, const char *path)
{
    bool first = true;
    for (const char *next = path; *next;) {
        size_t length = strchrnul(next, '/') - next;
        if (is_dot_dot(next, length))
            return true;
        if (length && !is_dot(next, length) && first) {
            first = false;
            if (prefixes->initials & 1ULL << (*next & 63) && equals_one(&prefixes->components, next, length))
                return true;
        }
        next += length + (next[length] == '/');
    }
    return first;
}

static size_t without_last(const char *path, size_t length)
{
    while (length && path[--length] != '/')
        ;
    return length;
}

void normalise(const struct prefixes *prefixes, const char *path, struct normal *normal)
{
    normal->climbs = normal->touches = false;
    size_t length = 0;
    for (const char *next = path; *next;) {
        size_t component = strchrnul(next, '/') - next;
        if (is_dot_dot(next, component)) {
            normal->climbs = true;
            /* What is above a link in /proc is not what stands before it. */
            normal->touches |= length > 5 && !memcmp(normal->path, "/proc/", 6);
            length = without_last(normal->path, length);
        } else if (component && !is_dot(next, component)) {
            normal->path[length++] = '/';
            memcpy(normal->path + length, next, component);
            length += component;
            normal->touches |= equals_one(&prefixes->folders, normal->path, length);
        }
        next += component + (next[component] == '/');
    }
    if (!length)
        normal->path[length++] = '/';
    normal->path[length] = 0;
    normal->length = length;
}

enum magic magic_link(const char *path)
{
    if (strncmp(path, "/proc/", 6))
        return NO_MAGIC;
    for (const char *next = strchrnul(path + 6, '/'); *next;) {
        const char *component = next + 1;
        next = strchrnul(component, '/');
        size_t length = next - component;
        bool link = (length == 3 && !memcmp(component, "cwd", 3)) || (length == 3 && !memcmp(component, "exe", 3)) ||
                    (length == 4 && !memcmp(component, "root", 4));
        bool folder = (length == 2 && !memcmp(component, "fd", 2)) || (length == 9 && !memcmp(component, "map_files", 9));
        if (folder && *next) {
            next = strchrnul(next + 1, '/');
            link = true;
        }
        if (link)
            return *next ? PASSES_MAGIC : ENDS_IN_MAGIC;
    }
    return NO_MAGIC;
}

/* The multiplier is secret, so that nobody can construct two texts with one key. */
static uint64_t mixed(uint64_t hash, uint64_t secret)
{
    unsigned __int128 product = (unsigned __int128)hash * (secret | 1);
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t text_key(uint64_t seed, const char *text, size_t length, uint64_t kind)
{
    const uint64_t odd = 0x9e3779b97f4a7c15ULL;
    uint64_t hash = seed ^ kind * odd ^ length;
    while (length) {
        uint64_t word = 0;
        size_t piece = length < 8 ? length : 8;
        memcpy(&word, text, piece);
        text += piece;
        length -= piece;
        hash = mixed(hash ^ word, seed);
    }
    return mixed(hash ^ odd, seed);
}
