/* Broadcast publish/subscribe over shared memory: the C interface of the core.
 *
 * A ring is stored in a file, a memfd or inherited memory, and is shared by every process that maps it. A ps_ring is a
 * process's handle for it: it publishes and creates subscribers. A ps_sub reads at its own pace; it counts messages that were
 * overwritten before it read them. Messages are not consumed: every subscriber gets all of them.
 *
 * Structures are passed by address, never by value. If a count is 0, the pointer to the first element may be NULL. A handle
 * must only be used by one thread at a time. A forked child may use inherited handles; its subscribers are independent copies
 * from the fork on. Positions count messages since the last ps_clear, except the internal positions of ps_end.
 *
 * A program may close the descriptors of a handle, as daemons do. The library then no longer uses or closes their numbers,
 * even if other files have got them. The ring itself needs no descriptor.
 *
 * `make install-c` installs it as libpubsub-shared: `cc program.c $(pkg-config --cflags --libs pubsub-shared)`. The library of
 * cargo's own build is libdata_pubsub_shared.a; link it with -lpthread -ldl -lm. Linux, 64 bits.
 *
 *     ps_error error;
 *     ps_options options = { .capacity = 1024, .mode = 0600 };
 *     ps_ring *ring = ps_ring_open(PS_INT, "/dev/shm/ticks.ring", 19, &options, &error);
 *     ps_sub *sub = ps_subscribe(ring, false);
 *     ps_message message = { 0 };
 *     ps_publish_int(ring, 42, &error);
 *     while (ps_wait(sub, PS_NEVER, NULL) != PS_READY) {}
 *     if (ps_read(sub, &message, &error) == 1) printf("%" PRId64 "\n", message.integer);
 */
#ifndef PUBSUB_H
#define PUBSUB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ps_ring ps_ring;
typedef struct ps_sub ps_sub;
typedef struct ps_set ps_set;
typedef struct ps_notifier ps_notifier;

/* The number in the library's name (libpubsub-shared.so.1). It changes when a program that was compiled against another header
 * must be compiled again. */
#define PS_ABI 1

/* The PS_ABI of the library that the program runs with, and its version, such as "1.0.0". */
uint32_t ps_abi(void);
const char *ps_version(void);

/* The sizes of the structures are part of the ABI: compilation fails if the compiler lays them out differently (32 bits,
 * packed). */
#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define PS_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has another size than in the library")
#elif defined(__cplusplus) && __cplusplus >= 201103L
#define PS_SIZE(type, size) static_assert(sizeof(type) == (size), #type " has another size than in the library")
#else
#define PS_SIZE(type, size) struct type##_has_the_size_of_the_library { char size_of[sizeof(type) == (size) ? 1 : -1]; }
#endif

/* The type of a ring's messages; a file of one variant cannot be opened as another. */
enum ps_variant {
    PS_INT = 1,   /* 64-bit integers, 16 bytes a slot */
    PS_INT32 = 2, /* 32-bit integers, 8 bytes a slot */
    PS_INT16 = 3, /* 16-bit integers, 8 bytes a slot */
    PS_STR = 4,   /* byte strings */
    PS_NUM = 5    /* doubles, 16 bytes a slot */
};

/* Why a call failed. */
enum ps_error_kind {
    PS_OK = 0,
    PS_SYSTEM = 1,       /* a system call failed; os_code is its errno */
    PS_ARGUMENT = 2,     /* an argument is out of range */
    PS_INCOMPATIBLE = 3, /* not a ring of this variant and version, or damaged */
    PS_TOO_LONG = 4,     /* a message is longer than the ring's msg_size; nothing was published */
    PS_INTERRUPTED = 5,  /* a signal arrived, or may have, or all spare blocks are in use; nothing was published, call again */
    PS_FULL = 6,         /* a lossless ring is full; nothing was published: see ps_wait_for_room */
    PS_DEADLOCK = 7,     /* the call would wait for a subscriber that only the calling thread can read */
    PS_BUSY = 8          /* a live process has this name, or the table of readers is full */
};

/* Filled in by a call that fails; a successful call does not change it. Pass NULL if the reason does not matter. */
typedef struct {
    int kind;
    int os_code;
    char text[1024];
} ps_error;

/* ---- rings ---- */

/* The options of a new ring. */
typedef struct {
    uint64_t capacity;   /* slots, 1 .. 2^31, rounded up to a power of two, at least 2 */
    uint64_t msg_size;   /* PS_STR: the maximum length of a message in bytes, 1 .. 2^31 - 1; ignored otherwise */
    uint64_t publishers; /* PS_STR: how many can be in the middle of a publish at once, 1 .. 65536; 0: as many as fit into
                          * 4 MiB, 16 .. 64; ignored otherwise */
    uint64_t readers;    /* entries of the table of readers, 1 .. 65535; 0: 64; PS_NO_READERS: no table */
    uint32_t mode;       /* the permission bits of a file, regardless of the umask; the owner must be able to
                          * read and write */
    uint32_t keep_ms;    /* lossless: how many milliseconds publishers wait for a named reader that is away */
    bool lossless;       /* publishers wait for readers, instead of overwriting unread messages */
    bool prefault;       /* maps every page for this process now, instead of at its first use: Linux 5.14 */
    bool stamped;        /* PS_STR: each message has its publisher's time and pid: see ps_stamp */
} ps_options;
#define PS_NO_READERS UINT64_MAX

/* Opens the ring at the path (path_len bytes without a NUL), or makes it. An existing ring keeps its own sizes; with capacity
 * 0, only an existing ring is opened. Creation is atomic, and the file's blocks are reserved. Returns NULL on failure:
 * PS_ARGUMENT, PS_INCOMPATIBLE, PS_SYSTEM. */
ps_ring *ps_ring_open(uint32_t variant, const char *path, size_t path_len, const ps_options *options, ps_error *error);

/* The same, for callers that handle signals: the creation of a large ring takes seconds, and this function returns NULL with
 * PS_INTERRUPTED from time to time. To continue, call it again with the same arguments and the same draft. ps_draft_free ends
 * the creation, and removes an unfinished file. */
typedef struct ps_draft ps_draft;
ps_draft *ps_draft_new(void);
void ps_draft_free(ps_draft *draft);
ps_ring *ps_ring_open_some(uint32_t variant, const char *path, size_t path_len, const ps_options *options, ps_draft *draft,
                           ps_error *error);

/* Opens the ring at the path for reading only. Needs no write permission, and writes nothing. Publishers do not wake its
 * subscribers; these poll at least every 5 ms. Calls that would change the ring fail with PS_ARGUMENT. Returns NULL on failure,
 * also if there is no ring. */
ps_ring *ps_ring_open_read_only(uint32_t variant, const char *path, size_t path_len, ps_error *error);

/* Makes a ring without a name, for this process and its children. Returns NULL on failure. */
ps_ring *ps_ring_anonymous(uint32_t variant, const ps_options *options, ps_error *error);

/* Makes a ring in a memfd called name (at most 249 bytes), close-on-exec, with a sealed size. Returns NULL on failure. */
ps_ring *ps_ring_memfd(uint32_t variant, const char *name, const ps_options *options, ps_error *error);

/* Opens the ring that fd refers to. fd is duplicated, and still belongs to the caller. If fd is open for reading only, so is
 * the ring (see ps_ring_open_read_only). Returns NULL on failure. */
ps_ring *ps_ring_from_fd(uint32_t variant, int fd, ps_error *error);

/* Opens the ring of any variant at the path, or that fd refers to; read_only: as ps_ring_open_read_only does. Returns NULL on
 * failure: PS_SYSTEM, also if there is no file; PS_INCOMPATIBLE. */
ps_ring *ps_ring_attach(const char *path, size_t path_len, bool read_only, ps_error *error);
ps_ring *ps_ring_attach_fd(int fd, ps_error *error);

/* The variant of a ring: one of enum ps_variant. */
uint32_t ps_ring_variant(const ps_ring *ring);
uint32_t ps_sub_variant(const ps_sub *sub);

/* Whether the ring was opened for reading only. */
bool ps_ring_read_only(const ps_ring *ring);

/* Ends the handle; the ring stays mapped while subscribers of the handle exist. NULL is allowed, here and in ps_sub_free. */
void ps_ring_free(ps_ring *ring);

/* Removes only the ring's own file. A missing file is not an error. Returns false on failure: PS_INCOMPATIBLE if its path now
 * leads to another file, PS_ARGUMENT if it has no path, PS_SYSTEM. */
bool ps_ring_unlink(const ps_ring *ring, ps_error *error);

/* Whether the ring's file was removed, or another file took its path. Never true for rings in memory. */
bool ps_ring_is_gone(const ps_ring *ring);
bool ps_sub_is_gone(const ps_sub *sub);

/* Switches to the ring that is at the path now; a subscriber starts at its oldest message. Subscribers of a handle keep their
 * ring. Returns false without any change if it fails: as ps_ring_open with capacity 0, or PS_ARGUMENT if there is no path. */
bool ps_ring_reopen(ps_ring *ring, ps_error *error);
bool ps_sub_reopen(ps_sub *sub, ps_error *error);

/* Removes the file at the path. A missing file is not an error. Returns false on failure: PS_SYSTEM. */
bool ps_unlink(const char *path, size_t path_len, ps_error *error);

/* Discards, in one step, all messages published before; positions start at 0 again, for every process. Returns false for a
 * read-only handle: PS_ARGUMENT. */
bool ps_clear(const ps_ring *ring, ps_error *error);

/* Calls msync(2) for the whole ring. Returns false on failure: PS_SYSTEM. */
bool ps_sync(const ps_ring *ring, ps_error *error);

/* The state of a ring. Sizes are in bytes; counts are since the last clear unless another start is given. */
typedef struct {
    uint64_t capacity;    /* slots */
    uint64_t msg_size;    /* 0 for integers */
    uint64_t arena_len;   /* 0 for integers */
    uint64_t mmap_size;
    uint64_t write_pos;   /* positions claimed */
    uint64_t publish_ok;  /* messages published */
    uint64_t recoveries;  /* spare blocks taken over from dead publishers, since the ring was made */
    uint64_t abandoned;   /* positions claimed and never filled, since the ring was made */
    uint64_t sub_waiters; /* sleeping subscribers; killed ones may be included */
    uint64_t publishers;  /* PS_STR: how many can be in the middle of a publish at once; 0 for others */
    uint64_t leaked;      /* spare blocks that are missing */
    uint64_t readers;     /* entries of the table of readers */
    uint64_t unlisted;    /* subscribers that found that table full, since the ring was made */
    uint32_t keep_ms;     /* as in ps_options */
    bool lossless;
    bool stamped;
} ps_stat;
void ps_stats(const ps_ring *ring, ps_stat *stats);

/* Positions claimed since the last clear. */
uint64_t ps_write_pos(const ps_ring *ring);

/* The path as it was given, *len bytes without a NUL at the end; NULL for rings in memory. Valid as long as the handle. */
const char *ps_path(const ps_ring *ring, size_t *len);

/* The descriptor of a ring made by ps_ring_memfd or ps_ring_from_fd; -1 for other rings, and if the program has closed it. It
 * belongs to the handle. */
int ps_memfd(const ps_ring *ring);

/* Computes the stats of a new ring with these options. Returns false on failure: PS_ARGUMENT. */
bool ps_sizes(uint32_t variant, const ps_options *options, ps_stat *stats, ps_error *error);

/* The internal position of the last clear; internal positions are never set back. */
uint64_t ps_base(const ps_ring *ring);

/* ---- rings' files from outside ---- */

#define PS_IDENTITY_LEN 96

/* A file that is or may be a ring. If variant is 0, it cannot be opened; reason says why, and only the fields about the file
 * are valid. */
typedef struct {
    ps_stat stats;      /* as stored in the ring */
    uint64_t end, base; /* internal write position, and that of the last clear; they are never set back */
    uint64_t used;      /* the number of messages in the ring, at most */
    uint64_t size, allocated, device, inode; /* of the file; bytes, and bytes with disk space */
    uint32_t variant, mode, uid;
    bool unregistered;  /* a process has published strings without a lock that shows whether it is alive */
    bool has_magic;     /* the file begins as a ring's does */
    bool likely;        /* it has the sizes of a ring, with any content at its beginning */
    bool by_descriptor; /* the path names a descriptor or a mapping of a process */
    char identity[PS_IDENTITY_LEN]; /* a text that is unique to this file */
    char reason[160];
} ps_header;

/* Inspects the file at the path by reading it; writes nothing. Returns false on failure: PS_SYSTEM, PS_INCOMPATIBLE (not a
 * regular file). */
bool ps_inspect(const char *path, size_t path_len, ps_header *header, ps_error *error);

/* Inspects the file and checks the ring for damage: a sample of its slots, or all of them; *checked is their number. The ring
 * may be in use. Returns NULL on failure; otherwise *header is written. */
typedef struct ps_report ps_report;
ps_report *ps_check(const char *path, size_t path_len, bool all, ps_header *header, uint64_t *checked, ps_error *error);
void ps_report_free(ps_report *report);

/* Problem and note number i, from 0 on; NULL after the last one. */
const char *ps_report_problem(const ps_report *report, size_t i);
const char *ps_report_note(const ps_report *report, size_t i);

/* The identity of the ring's file, PS_IDENTITY_LEN bytes; empty if it is not known. */
void ps_identity(const ps_ring *ring, char *identity);

/* ---- publishing ---- */

/* Publishes one integer, cut to the variant's width like a C cast, and wakes waiters. Returns false on failure: PS_ARGUMENT for
 * PS_STR, PS_NUM and a read-only handle; PS_FULL for a lossless ring. */
bool ps_publish_int(const ps_ring *ring, int64_t value, ps_error *error);

/* Publishes count integers, in order, and wakes waiters. They are adjacent, unless readers or later publishers could not wait for
 * this one, or another publisher was stopped or killed in the middle of a batch and withholds slots. Returns false on failure, and then nothing was published:
 * as ps_publish_int, or if count is above 2^31, or above the capacity of a lossless ring. */
bool ps_publish_ints(const ps_ring *ring, const int64_t *values, size_t count, ps_error *error);

/* Publishes one double with exactly its bits, and wakes waiters. Returns false on failure: PS_ARGUMENT for all variants but
 * PS_NUM and for a read-only handle; PS_FULL for a lossless ring. */
bool ps_publish_num(const ps_ring *ring, double value, ps_error *error);

/* Publishes the numbers in len bytes, which need no alignment: int64_t for PS_INT, int32_t, int16_t, double for PS_NUM. They
 * are adjacent in the ring in pieces of 8192, or as many as it has slots. Wakes waiters. Returns how many were published: all,
 * or as many as a lossless ring had room for; -1: PS_ARGUMENT if len is not a multiple of the number's size, for PS_STR and a
 * read-only handle. */
int64_t ps_publish_packed(const ps_ring *ring, const void *bytes, size_t len, ps_error *error);

/* Positions that are claimed and not filled yet, and how many are still to be claimed. */
typedef struct {
    uint64_t next, end, owed;
} ps_batch;

/* ps_publish_ints in steps. A batch of integers, or of doubles as int64_t with their bits, is adjacent as there: call
 * ps_claim once, ps_put until count values are put (in any number of calls, but without delay: readers abandon a claim after 2
 * ms, and the batch then moves to the end), then ps_wake. ps_claim fails as ps_publish_int does, and if count is above 2^31, or
 * above the capacity of a lossless ring; the batch is then empty. ps_put ignores values beyond the claimed count. If a lossless
 * ring has no room at the end, it waits; it returns false with PS_DEADLOCK, and then a part of the batch is in the ring. */
bool ps_claim(const ps_ring *ring, size_t count, ps_batch *batch, ps_error *error);
bool ps_put(const ps_ring *ring, ps_batch *batch, const int64_t *values, size_t count, ps_error *error);
void ps_wake(const ps_ring *ring);

/* A string message: len bytes, of any values, and perl's UTF-8 flag. */
typedef struct {
    const char *ptr;
    size_t len;
    bool utf8;
} ps_bytes;

/* Publishes count messages, adjacent and in order, and wakes waiters. Returns false on failure, and then no message was
 * published: PS_TOO_LONG, PS_INTERRUPTED, PS_FULL; PS_ARGUMENT if the ring is not PS_STR, or the handle is read-only. */
bool ps_publish_strs(const ps_ring *ring, const ps_bytes *messages, size_t count, ps_error *error);

/* The same with one message. */
bool ps_publish_str(const ps_ring *ring, const char *ptr, size_t len, bool utf8, ps_error *error);

/* Checks the messages as ps_publish_strs would: for callers that publish many messages in several calls. */
bool ps_check_strs(const ps_ring *ring, const ps_bytes *messages, size_t count, ps_error *error);

/* ps_wait_for_room sleeps until a lossless ring has room for count messages. ps_wait_for_readers sleeps until every reader in
 * the table that publishers wait for (in a ring that is not lossless: every reader) has read the messages published so far.
 * Both also end when the monotonic clock reaches the deadline, or a signal was handled. Deadline, signalled and result are as
 * for ps_wait. PS_READY: there is room, unless another publisher takes it. Readers whose process has died are not waited for.
 * Returns -1 on failure: PS_DEADLOCK, PS_ARGUMENT (count is above the capacity, or the handle is read-only). */
int ps_wait_for_room(const ps_ring *ring, size_t count, uint64_t deadline, const int *signalled, ps_error *error);
int ps_wait_for_readers(const ps_ring *ring, uint64_t deadline, const int *signalled, ps_error *error);

/* ---- subscribing ---- */

/* Makes a subscriber of the messages published from now on, or with all, from the oldest message in the ring on. It is listed
 * in the table of readers, unless the table is full or the handle is read-only. Publishers of a lossless ring only wait for
 * listed readers. */
ps_sub *ps_subscribe(const ps_ring *ring, bool all);
void ps_sub_free(ps_sub *sub);

/* The same with options. Publishers of a lossless ring do not wait for a lossy reader. With a name (len bytes of UTF-8, 1 ..
 * 47; NULL: no name) the subscriber resumes where the last reader of this name stopped. Returns NULL on failure: PS_BUSY if a
 * live process has this name, or if the reader needs an entry and the table is full; PS_ARGUMENT for an invalid name;
 * PS_INCOMPATIBLE if the system cannot detect the death of this reader of a lossless ring. */
ps_sub *ps_subscribe_with(const ps_ring *ring, bool all, bool lossy, const char *name, size_t len, ps_error *error);

/* Removes the subscriber from the table of readers; it can still read. The position of a named reader is kept for the next
 * reader of this name. */
void ps_sub_release(ps_sub *sub);

#define PS_NAME_LEN 48

/* The subscriber's name, padded with zeros; empty if it has none. Returns the length in bytes. */
size_t ps_sub_name(const ps_sub *sub, char name[PS_NAME_LEN]);

/* An entry of the table of readers. */
typedef struct {
    char name[PS_NAME_LEN]; /* UTF-8, ends in NUL; empty: it has no name */
    uint64_t position;      /* of the next message to read, as last written by the reader: when it found the ring empty, before it
                             * slept, and after an eighth of the capacity; with each call if it is named, or the ring lossless */
    uint64_t lag;           /* messages published and not yet read, according to that position */
    uint64_t lost, delivered;
    uint64_t since;         /* when it subscribed, in nanoseconds since 1970 */
    uint32_t pid;           /* as numbered in its own pid namespace */
    int alive;              /* 1; 0: it is away, or dead; -1: not known */
    bool waits;             /* it sleeps until a message arrives */
    bool lossy;
} ps_reader;

/* The readers in the table, *count of them, in no order; waited_for: only those that publishers of a lossless ring wait for
 * now. Free them with ps_readers_free and the same count. */
ps_reader *ps_readers(const ps_ring *ring, bool waited_for, size_t *count);
void ps_readers_free(ps_reader *readers, size_t count);

/* The same for the ring in the file at the path, which is only read. Returns NULL on failure: PS_SYSTEM, PS_INCOMPATIBLE. */
ps_reader *ps_inspect_readers(const char *path, size_t path_len, bool waited_for, size_t *count, ps_error *error);

/* Removes the reader of this name from the table. Returns 1 if it was removed, 0 if there is no such reader, and -1 on failure:
 * PS_BUSY if it is alive, PS_ARGUMENT. */
int ps_forget(const ps_ring *ring, const char *name, size_t len, ps_error *error);

/* The result of a reading call that has skipped very many abandoned positions, and has not finished. Check signals and
 * deadlines, and call again. */
enum { PS_MORE = 2 };

/* A message of any variant. The caller sets the first two fields: the buffer for a string, and its size in bytes. */
typedef struct {
    char *to;          /* may be NULL if room is 0 */
    size_t room;       /* ps_sub_msg_size is always enough */
    size_t len;        /* PS_STR: bytes; no NUL is added */
    int64_t integer;   /* PS_INT, PS_INT32, PS_INT16 */
    double num;        /* PS_NUM */
    uint64_t position; /* its position, counted from the last clear */
    uint64_t lost;     /* ps_overflow_count when it was read; the increase since the last message was lost between them */
    bool utf8;         /* as in ps_found */
} ps_message;

/* Reads the next message. Returns 1 if there was one, 0 if there is none now, PS_MORE, or -1: PS_TOO_LONG if it is longer than
 * room; then len is its length, and it is still the next message. */
int ps_read(ps_sub *sub, ps_message *message, ps_error *error);

/* The maximum length of a message in bytes; 0 for numbers. */
uint64_t ps_sub_msg_size(const ps_sub *sub);

/* Reads the next integer. Returns 1 if there was one, 0 if there is none now, PS_MORE, or -1: PS_ARGUMENT for PS_STR and PS_NUM. */
int ps_poll_int(ps_sub *sub, int64_t *value, ps_error *error);

/* Reads the next double. Returns as ps_poll_int; -1: PS_ARGUMENT for all variants but PS_NUM. */
int ps_poll_num(ps_sub *sub, double *value, ps_error *error);

/* Reads up to count integers, in order, but not more than there are positions from the next one to the internal position end
 * (see ps_end; UINT64_MAX: no end). A reader that is lapped in the meantime gets as many, but later ones. Returns how many it
 * read; -2: none, with the meaning of PS_MORE; -1: PS_ARGUMENT for PS_STR and PS_NUM. */
int64_t ps_poll_ints(ps_sub *sub, int64_t *values, size_t count, uint64_t end, ps_error *error);

/* The same for len bytes at values, which need no alignment, in the types of ps_publish_packed; -1: PS_ARGUMENT for PS_STR. */
int64_t ps_poll_packed(ps_sub *sub, void *values, size_t len, uint64_t end, ps_error *error);

/* A string message that was found: len bytes, and perl's UTF-8 flag as set by the publisher. The flag is not verified: check
 * the bytes with ps_is_utf8 before using them as UTF-8. The first two fields are internal. */
typedef struct {
    uint64_t position, block;
    uint32_t len;
    bool utf8;
} ps_found;

/* Finds the next string message before the internal position end, and its length. Returns 1 if there is one, 0 if there is none
 * now, -1: PS_ARGUMENT if the ring is not PS_STR. */
int ps_find(ps_sub *sub, uint64_t end, ps_found *found, ps_error *error);

/* Copies the message of the last ps_find to a buffer with room for its length rounded up to 8 bytes. Returns false if it was
 * overwritten in the meantime: the copy is then invalid; call ps_find again. */
bool ps_copy(ps_sub *sub, const ps_found *found, char *to);

/* Whether the len bytes are UTF-8 as defined by Unicode: no surrogates, no character beyond U+10FFFF. */
bool ps_is_utf8(const char *bytes, size_t len);

/* The current write position as an internal position: the end of a drain that begins now. */
uint64_t ps_end(const ps_sub *sub);

/* The monotonic clock in nanoseconds, and a deadline that never comes. */
uint64_t ps_now(void);
#define PS_NEVER UINT64_MAX

/* Sleeps until there is a message, until the monotonic clock reaches the deadline, or until a signal was handled (or may have
 * been: then check for it and wait again). signalled is NULL or points to a variable that the program's signal handlers set to
 * a value other than 0. It is read just before each sleep, so that a signal that arrived after the caller's last check also
 * ends the wait; without it, this may take a second. */
enum ps_wait_result {
    PS_TIMED_OUT = 0,
    PS_READY = 1,
    PS_SIGNALLED = 2,
    PS_GONE = 3 /* no message is left, and ps_sub_is_gone */
};
int ps_wait(ps_sub *sub, uint64_t deadline, const int *signalled);

/* How many messages are published and not yet read; how many were overwritten unread so far; whether the next message has been
 * overwritten. */
uint64_t ps_lag(const ps_sub *sub);
uint64_t ps_overflow_count(const ps_sub *sub);
bool ps_has_overflow(const ps_sub *sub);

/* PS_STR: from now on only messages that begin with one of the prefixes are delivered. Prefixes are compared as characters: a
 * byte without the flag is the character of that number. With count 0 all messages are delivered. The others are skipped
 * without being copied; they wake no waiter and make no descriptor readable. Returns false on failure: PS_ARGUMENT for all
 * variants but PS_STR. ps_filtered returns how many messages were skipped. */
bool ps_set_prefixes(ps_sub *sub, const ps_bytes *prefixes, size_t count, ps_error *error);
uint64_t ps_filtered(const ps_sub *sub);

/* Moves to the newest message (with a prefix), if there is one that was not read; it is read next. ps_skipped returns how many
 * positions were skipped; they do not count as overwritten. */
void ps_skip_to_newest(ps_sub *sub);
uint64_t ps_skipped(const ps_sub *sub);

/* The position of the message that was delivered last. Returns false if there was none, or a clear has happened since. */
bool ps_position(const ps_sub *sub, uint64_t *position);

/* For a stamped ring: when the message that was delivered last was published, in nanoseconds of the wall clock since 1970, and
 * by which process, as numbered in its own pid namespace. Returns false if there was no message, or the ring is not stamped. */
bool ps_stamp(const ps_sub *sub, uint64_t *time_ns, uint32_t *pid);

/* Another handle for the subscriber's ring, with the subscriber's notifier; free it with ps_ring_free. */
ps_ring *ps_sub_ring(const ps_sub *sub);

/* ps_cursor returns the next position to read; ps_seek sets it (at most 2^63 - 1). Beyond the write position, the subscriber
 * waits for that message. */
uint64_t ps_cursor(const ps_sub *sub);
void ps_seek(ps_sub *sub, uint64_t position);

/* Moves to the write position, or with oldest, to the oldest message in the ring. */
void ps_reset(ps_sub *sub, bool oldest);

/* As ps_write_pos; and the number of the ring's slots. */
uint64_t ps_sub_write_pos(const ps_sub *sub);
uint64_t ps_sub_capacity(const ps_sub *sub);

/* ---- descriptors for event loops ---- */

/* A descriptor of this subscriber that is readable while it has messages to read, published by any process. The first call
 * makes it and sets *first (which may be NULL). So does the first call in a forked child, or after the program closed the
 * descriptor; the new descriptor may have the same number. It belongs to the subscriber: wait for it, but do not read or close
 * it. A thread updates it, one for all watched subscribers of a process; before Linux 6.15, and if io_uring is forbidden, one
 * for each 127 subscribers; without futex_waitv (before 5.16), one for each subscriber. Returns -1 on failure: PS_SYSTEM. */
int ps_watch(ps_sub *sub, bool *first, ps_error *error);

/* Whether fd is the descriptor that ps_watch last returned, or a duplicate of it, and not another file that got its number
 * later. */
bool ps_is_watched_by(const ps_sub *sub, int fd);

/* ---- sets: several subscribers as one ---- */

/* A set waits for the first message of any of its members, which are subscribers of rings of any variant. It does not own them:
 * pass its members to the calls, `count` live handles, each once. A subscriber may be in several sets. */
ps_set *ps_set_new(void);

/* Call this when the set has no members left, or they will not be used again. NULL is allowed. */
void ps_set_free(ps_set *set);

/* A member, and a number chosen by the caller, unique in the set and always the same for the member. */
typedef struct {
    ps_sub *sub;
    uintptr_t key;
} ps_member;

/* Adds the subscriber to the set; removes it. ps_sub_free removes it, too. Returns false if it could not be added: PS_SYSTEM. */
bool ps_set_add(ps_set *set, const ps_member *member, ps_error *error);
void ps_set_remove(ps_set *set, ps_sub *sub);

/* The maximum number of members for ps_set_wait: 8 if the system has io_uring (Linux 6.15), otherwise 128, or 1 before Linux
 * 5.16 (futex_waitv). It does not change during the life of the process. */
size_t ps_set_max_direct(void);

/* Sleeps until a member has a message: PS_READY; ps_is_ready then tells which members have one. *which is the index of the
 * member whose message ended the sleep, so that the others need not be checked, or SIZE_MAX. Otherwise as ps_wait; PS_GONE if
 * that holds for all members, and if there are none. */
int ps_set_wait(ps_set *set, ps_member *members, size_t count, uint64_t deadline, const int *signalled, size_t *which);

/* For more members: has the members watched, including those that are added later, by the thread that calls
 * ps_set_wait_watched, or by other threads. Returns false on failure: PS_SYSTEM. In a forked child, and in another thread if no
 * thread watches, ps_set_is_watched is false: call ps_set_watch_all again. */
bool ps_set_watch_all(ps_set *set, ps_member *members, size_t count, ps_error *error);
bool ps_set_is_watched(ps_set *set);

/* As ps_set_wait, for any number of watched members. It also returns PS_SIGNALLED when a second has passed, so that the caller
 * can check whether the rings still exist; PS_GONE if no member is watched. The time that it takes does not depend on the
 * number of members. */
int ps_set_wait_watched(ps_set *set, uint64_t deadline, const int *signalled);

/* The number of watched members that were found to have messages, and the keys of up to room of them. Check each with
 * ps_is_ready, because its message may have been cleared. */
size_t ps_set_ready(ps_set *set, uintptr_t *keys, size_t room);

/* Whether there is a message to read. Also false while a publisher is in the middle of the next message. */
bool ps_is_ready(ps_sub *sub);

/* A descriptor that is readable while any member has messages to read; otherwise as ps_watch and ps_is_watched_by. */
int ps_set_watch(ps_set *set, ps_member *members, size_t count, bool *first, ps_error *error);
bool ps_set_is_watched_by(const ps_set *set, int fd);

/* Each handle and each subscriber has a notifier, which is valid as long as they are. A subscriber uses the descriptor that the
 * handle has at the time of ps_subscribe. */
ps_notifier *ps_ring_notifier(ps_ring *ring);
ps_notifier *ps_sub_notifier(ps_sub *sub);

/* The notifier's descriptor, an eventfd, non-blocking and close-on-exec. It is made by the first call, and again if the program
 * has closed it. Returns -1 on failure: PS_SYSTEM. */
int ps_notifier_make(ps_notifier *notifier, ps_error *error);

/* Uses the caller's descriptor, which the caller closes; a negative number detaches it. Returns false if it is not open. */
bool ps_notifier_lend(ps_notifier *notifier, int fd, ps_error *error);

/* The notifier's descriptor, or -1 if it has none or the program has closed it. */
int ps_notifier_fd(const ps_notifier *notifier);

/* Adds one to the count; reads the count and resets it. They never block. Both return 1 on success, 0 if there is no descriptor
 * or the count is 0, and -1 on failure: PS_SYSTEM. */
int ps_notifier_notify(const ps_notifier *notifier, ps_error *error);
int ps_notifier_consume(const ps_notifier *notifier, uint64_t *count, ps_error *error);

PS_SIZE(ps_error, 1032);
PS_SIZE(ps_options, 48);
PS_SIZE(ps_stat, 112);
PS_SIZE(ps_header, 440);
PS_SIZE(ps_batch, 24);
PS_SIZE(ps_bytes, 24);
PS_SIZE(ps_message, 64);
PS_SIZE(ps_found, 24);
PS_SIZE(ps_reader, 104);
PS_SIZE(ps_member, 16);
#undef PS_SIZE

#ifdef __cplusplus
}
#endif

#endif
