/* What a remote's witness says, as keys. */
#ifndef SECCOMP_DRIVE_WITNESS_H
#define SECCOMP_DRIVE_WITNESS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

uint64_t version_text_key(uint64_t seed, const char *version, size_t length);

/* That of the version which broker.remotes.nodes.version_of gives this status; 0 for times beyond 64 bits. */
uint64_t version_key(uint64_t seed, const struct stat *status);

/* Of a node, the key of a version, and a state of the remote. */
uint64_t state_key(uint64_t seed, uint64_t inode, uint64_t version, const char *state, size_t size);

#endif
