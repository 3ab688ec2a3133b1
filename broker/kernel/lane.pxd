"""What `lane` takes from the C sources and the kernel's headers."""

from libc.stdint cimport int8_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "<linux/seccomp.h>":
    struct seccomp_data:
        int nr
        uint32_t arch
        uint64_t args[6]
    struct seccomp_notif:
        uint64_t id
        uint32_t pid
        seccomp_data data

cdef extern from "src/rows.h":
    enum:
        ROW_LIMIT
        ABSENT
    struct row_path:
        int8_t dirfd
        int8_t path
    struct row:
        bint known
        uint8_t trap
        int8_t fd
        uint8_t path_count
        row_path paths[2]
        bint opens
        bint socket
        bint packed
        bint relinks
        bint mounts
        uint8_t follows
        uint8_t flags_argument
        uint32_t flags
        uint8_t shows
        uint8_t output
        uint8_t sets

cdef extern from "src/prefixes.h":
    struct text:
        const char *bytes
        size_t length
    struct texts:
        text *items
        size_t count
    struct prefixes:
        texts folders
        texts schemes
        texts mirrors
        texts parents

cdef extern from "src/links.h":
    struct links:
        pass
    void links_forget(links *known) nogil

cdef extern from "src/warm.h":
    enum:
        MOUNTS_LIMIT
    struct drive:
        text prefix
        text root
        bint scheme
        int root_fd
        const char *shared
        const char *seen
        size_t shared_size
        int folder
        const char *state
        size_t state_size
    struct warm:
        uint64_t seed
        drive drives[64]
    struct shown:
        bint has_nlink
        bint has_blocks
        bint dirty
        uint16_t set_id
        uint32_t nlink
        uint64_t blocks
    warm *warm_new(size_t count)
    void warm_free(warm *owner)
    void warm_close(warm *owner)
    void warm_name(warm *owner, size_t number, const char *path, size_t length, uint64_t until)
    void warm_listing(warm *owner, size_t number, const char *path, size_t length, uint64_t until)
    void warm_forget_names(warm *owner, size_t number)
    void warm_node(warm *owner, size_t number, uint64_t inode, const shown *node)
    void warm_forget_nodes(warm *owner, size_t number)
    void warm_witnessed(
        warm *owner, size_t number, const char *path, size_t length, uint64_t inode, uint64_t version, const char *state
    )
    void warm_complete(warm *owner, size_t number, uint64_t inode, uint64_t version, uint64_t until)

cdef extern from "src/witness.h":
    uint64_t version_text_key(uint64_t seed, const char *version, size_t length)

cdef extern from "src/judge.h":
    struct court:
        prefixes prefixes
        links *links
        warm *warm

cdef extern from "src/perform.h":
    struct identity:
        unsigned fsuid
        unsigned fsgid
        const unsigned *groups
        size_t group_count
        uint64_t capabilities

cdef extern from "src/caller.h":
    struct identities:
        identity effective
        identity real

cdef extern from "src/lane.h":
    enum:
        THREADS_LIMIT
    struct item:
        item *next
        seccomp_notif notification
        bint own
        bint rooted
        identities others
        int path_count
        long lengths[2]
        const char *paths[2]
    struct counters_t "counters":
        uint64_t received
        uint64_t continued
        uint64_t answered
        uint64_t handed_over
        uint64_t cancelled
        uint64_t foreign
    struct lane:
        court court
        row rows[2][512]
        int event
        bint ended
    lane *lane_new(int listener, int threads)
    int lane_prepare(lane *owner)
    int lane_start(lane *owner)
    void lane_stop(lane *owner) nogil
    void lane_free(lane *owner) nogil
    item *lane_take(lane *owner) nogil
    void lane_handed_out(lane *owner) nogil
    counters_t lane_counters(const lane *owner)
