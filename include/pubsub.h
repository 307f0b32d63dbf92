/* Broadcast publish/subscribe over shared memory: the C face of the core.
 *
 * A ring lives in a file, a memfd or inherited memory, and is shared by every process that maps it. A ps_ring is this
 * process's handle on it: it publishes and hands out subscribers. A ps_sub reads at its own pace; messages that were
 * overwritten before it read them are counted. Messages are not consumed: every subscriber gets all of them.
 *
 * No structure is passed or returned by value, only by address; where there are 0 of something, the pointer to the first may
 * be NULL. Handles are used by one thread at a time. A forked child may use those that it inherited; its subscribers go
 * their own way from the fork on. Positions count messages since the last ps_clear, except the inner ones of ps_end.
 *
 * A program may close descriptors of a handle's, as a daemon closes all. They are then not used or closed any more,
 * whatever got their numbers. The ring itself needs none.
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

/* That of the library that the program runs with, and its version, as "1.0.0". */
uint32_t ps_abi(void);
const char *ps_version(void);

/* The sizes of the structures are part of the ABI: a compiler that lays them out otherwise (32 bits, packed) is told so. */
#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define PS_SIZE(type, size) _Static_assert(sizeof(type) == (size), #type " has another size than in the library")
#elif defined(__cplusplus) && __cplusplus >= 201103L
#define PS_SIZE(type, size) static_assert(sizeof(type) == (size), #type " has another size than in the library")
#else
#define PS_SIZE(type, size) struct type##_has_the_size_of_the_library { char size_of[sizeof(type) == (size) ? 1 : -1]; }
#endif

/* What a ring carries; a file of one variant is refused by the others. */
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
    PS_SYSTEM = 1,       /* the system refused; os_code is its errno */
    PS_ARGUMENT = 2,     /* an argument is out of range */
    PS_INCOMPATIBLE = 3, /* not a ring of this variant and version, or damaged */
    PS_TOO_LONG = 4,     /* a message is longer than the ring's msg_size; nothing was published */
    PS_INTERRUPTED = 5,  /* a signal arrived, or may have, or all spare blocks are in use; nothing was published, call again */
    PS_FULL = 6,         /* a lossless ring has no room; nothing was published: see ps_wait_for_room */
    PS_DEADLOCK = 7,     /* it would wait for a subscriber that only the calling thread can read */
    PS_BUSY = 8          /* a reader of this name lives, or the table of readers is full */
};

/* Filled in by a call that fails and takes one; others leave it alone. May be NULL where the reason does not matter. */
typedef struct {
    int kind;
    int os_code;
    char text[1024];
} ps_error;

/* ---- rings ---- */

/* What a new ring is like. */
typedef struct {
    uint64_t capacity;   /* slots, 1 .. 2^31, rounded up to a power of two, at least 2 */
    uint64_t msg_size;   /* PS_STR: the longest message in bytes, 1 .. 2^31 - 1; ignored otherwise */
    uint64_t publishers; /* PS_STR: how many can be in the middle of a publish at once, 1 .. 65536; 0: as many as fit into
                          * 4 MiB, 16 .. 64; ignored otherwise */
    uint64_t readers;    /* how many subscribers the table of readers has room for, 1 .. 65535; 0: 64; PS_NO_READERS: no table */
    uint32_t mode;       /* of a file: its permission bits, whatever the umask; the owner must be able to read and
                          * write */
    uint32_t keep_ms;    /* lossless: how many milliseconds publishers wait for a named reader that is away */
    bool lossless;       /* publishers wait for readers, instead of overwriting what one of them has not read */
    bool prefault;       /* maps every page for this process now, instead of at its first use: Linux 5.14 */
    bool stamped;        /* PS_STR: each message has its publisher's time and pid: see ps_stamp */
} ps_options;
#define PS_NO_READERS UINT64_MAX

/* Opens the ring at the path (path_len bytes, no NUL among them), or makes it. A ring that exists keeps its own sizes; with
 * capacity 0 only such a one is opened. Creation is atomic, and the file's blocks are reserved. NULL on failure:
 * PS_ARGUMENT, PS_INCOMPATIBLE, PS_SYSTEM. */
ps_ring *ps_ring_open(uint32_t variant, const char *path, size_t path_len, const ps_options *options, ps_error *error);

/* The same, for callers that look after signals: the creation of a large ring takes seconds, and this returns NULL with
 * PS_INTERRUPTED now and then during it. Call again with the same arguments and the same draft to go on; ps_draft_free ends
 * it, and removes what was not finished. */
typedef struct ps_draft ps_draft;
ps_draft *ps_draft_new(void);
void ps_draft_free(ps_draft *draft);
ps_ring *ps_ring_open_some(uint32_t variant, const char *path, size_t path_len, const ps_options *options, ps_draft *draft,
                           ps_error *error);

/* Opens the ring at the path for reading only: subscribers and looking in. Needs no permission to write and writes nothing.
 * Its subscribers are not woken by publishers; they look every 5 ms at least. What would change the ring fails with
 * PS_ARGUMENT. NULL on failure, also where there is no ring. */
ps_ring *ps_ring_open_read_only(uint32_t variant, const char *path, size_t path_len, ps_error *error);

/* A new ring without a name, for this process and those that it forks. NULL on failure. */
ps_ring *ps_ring_anonymous(uint32_t variant, const ps_options *options, ps_error *error);

/* A new ring in a memfd called name (at most 249 bytes), close-on-exec, sealed in its size. NULL on failure. */
ps_ring *ps_ring_memfd(uint32_t variant, const char *name, const ps_options *options, ps_error *error);

/* Opens the ring behind fd, which is duplicated and stays the caller's; for reading only (see ps_ring_open_read_only) where
 * fd is open for that alone. NULL on failure. */
ps_ring *ps_ring_from_fd(uint32_t variant, int fd, ps_error *error);

/* Opens the ring at the path, or behind fd, whatever it carries; read_only as ps_ring_open_read_only does. NULL on failure:
 * PS_SYSTEM, also where there is no file; PS_INCOMPATIBLE. */
ps_ring *ps_ring_attach(const char *path, size_t path_len, bool read_only, ps_error *error);
ps_ring *ps_ring_attach_fd(int fd, ps_error *error);

/* What a ring carries: one of enum ps_variant. */
uint32_t ps_ring_variant(const ps_ring *ring);
uint32_t ps_sub_variant(const ps_sub *sub);

/* Whether the ring was opened for reading only. */
bool ps_ring_read_only(const ps_ring *ring);

/* Ends the handle; the ring stays mapped while subscribers of the handle live. NULL is fine, here and in ps_sub_free. */
void ps_ring_free(ps_ring *ring);

/* Removes the ring's file, and no other: PS_INCOMPATIBLE where its path leads to another file by now, PS_ARGUMENT where it has
 * no path. Gone already is fine. False on any failure. */
bool ps_ring_unlink(const ps_ring *ring, ps_error *error);

/* Whether the ring's file was removed, or another one took its path. Never true for rings in memory. */
bool ps_ring_is_gone(const ps_ring *ring);
bool ps_sub_is_gone(const ps_sub *sub);

/* Goes on with the ring that the path leads to now; a subscriber at its oldest message. Subscribers of a handle stay with the
 * ring that they had. False, and nothing has changed: as ps_ring_open with capacity 0, or PS_ARGUMENT where there is no path. */
bool ps_ring_reopen(ps_ring *ring, ps_error *error);
bool ps_sub_reopen(ps_sub *sub, ps_error *error);

/* Removes the file at the path; gone already is fine. False on any other failure: PS_SYSTEM. */
bool ps_unlink(const char *path, size_t path_len, ps_error *error);

/* Discards, in one step, all that was published before; positions start at 0 again, for every process. False on a read-only
 * handle: PS_ARGUMENT. */
bool ps_clear(const ps_ring *ring, ps_error *error);

/* msync(2) of the whole ring. False: PS_SYSTEM. */
bool ps_sync(const ps_ring *ring, ps_error *error);

/* What can be known without touching messages; sizes in bytes, counts since the last clear unless said otherwise. */
typedef struct {
    uint64_t capacity;    /* slots */
    uint64_t msg_size;    /* 0 for integers */
    uint64_t arena_len;   /* 0 for integers */
    uint64_t mmap_size;
    uint64_t write_pos;   /* positions claimed */
    uint64_t publish_ok;  /* messages published */
    uint64_t recoveries;  /* spare blocks taken over from the dead, since the ring was made */
    uint64_t abandoned;   /* positions claimed and never filled, since the ring was made */
    uint64_t sub_waiters; /* subscribers asleep, as far as is known */
    uint64_t publishers;  /* of strings, in the middle of a publish at once; 0 for integers */
    uint64_t leaked;      /* spare blocks that are missing */
    uint64_t readers;     /* entries of the table of readers */
    uint64_t unlisted;    /* subscribers for which that table had no room, since the ring was made */
    uint32_t keep_ms;     /* as in ps_options */
    bool lossless;
    bool stamped;
} ps_stat;
void ps_stats(const ps_ring *ring, ps_stat *stats);

/* Positions claimed since the last clear. */
uint64_t ps_write_pos(const ps_ring *ring);

/* The path as it was given, *len bytes without a NUL at the end; NULL for rings in memory. Lives as long as the handle. */
const char *ps_path(const ps_ring *ring, size_t *len);

/* The descriptor of a ring made by ps_ring_memfd or ps_ring_from_fd; -1 for others, and where the program has closed it. It
 * stays the handle's. */
int ps_memfd(const ps_ring *ring);

/* What a new ring of these options will say of itself. False: PS_ARGUMENT. */
bool ps_sizes(uint32_t variant, const ps_options *options, ps_stat *stats, ps_error *error);

/* The position of the last clear, as those count that are never set back. */
uint64_t ps_base(const ps_ring *ring);

/* ---- rings' files from outside ---- */

#define PS_IDENTITY_LEN 96

/* A file that is or may be a ring's. Where variant is 0 it is none that can be opened, reason says why, and of the other fields
 * only those of the file mean anything. */
typedef struct {
    ps_stat stats;      /* as the ring itself says */
    uint64_t end, base; /* write position, and the position of the last clear, as those count that are never set back */
    uint64_t used;      /* messages that the ring holds at most */
    uint64_t size, allocated, device, inode; /* of the file; bytes, and those that have space on the disk */
    uint32_t variant, mode, uid;
    bool unregistered;  /* a process has published strings without a lock that says whether it lives */
    bool has_magic;     /* the file begins as a ring's does */
    bool likely;        /* it has the sizes of a ring, whatever it begins with */
    bool by_descriptor; /* the path names a descriptor or a mapping of a process */
    char identity[PS_IDENTITY_LEN]; /* a text that no other file has */
    char reason[160];
} ps_header;

/* Looks at the file at the path, by reading it; writes nothing. False: PS_SYSTEM, PS_INCOMPATIBLE (no regular file). */
bool ps_inspect(const char *path, size_t path_len, ps_header *header, ps_error *error);

/* The same, and whether the ring is sound: *checked of its slots, a part of them unless all says otherwise. The ring may be
 * in use. NULL on failure; *header is written otherwise. */
typedef struct ps_report ps_report;
ps_report *ps_check(const char *path, size_t path_len, bool all, ps_header *header, uint64_t *checked, ps_error *error);
void ps_report_free(ps_report *report);

/* The problem, and the note, with this number from 0 on; NULL after the last one. */
const char *ps_report_problem(const ps_report *report, size_t i);
const char *ps_report_note(const ps_report *report, size_t i);

/* The identity of the ring's file, PS_IDENTITY_LEN bytes; empty where it is not known. */
void ps_identity(const ps_ring *ring, char *identity);

/* ---- publishing ---- */

/* Publishes one integer, cut to the variant's width as a C cast does, and wakes sleepers. False: PS_ARGUMENT, on PS_STR,
 * PS_NUM and on a read-only handle; PS_FULL, on a lossless ring. */
bool ps_publish_int(const ps_ring *ring, int64_t value, ps_error *error);

/* Publishes count integers next to each other, in order, and wakes sleepers. False: as ps_publish_int, or count above 2^31, or
 * above the capacity of a lossless ring; nothing was published. */
bool ps_publish_ints(const ps_ring *ring, const int64_t *values, size_t count, ps_error *error);

/* Publishes one double, bit by bit as it is, and wakes sleepers. False: PS_ARGUMENT, on all but PS_NUM and on a read-only
 * handle; PS_FULL, on a lossless ring. */
bool ps_publish_num(const ps_ring *ring, double value, ps_error *error);

/* Publishes the numbers in len bytes, which need no alignment: int64_t for PS_INT, int32_t, int16_t, double for PS_NUM. They are
 * adjacent in the ring in pieces of 8192, or as many as it has slots. Wakes sleepers. Returns how many: all, or as many as a
 * lossless ring had room for; -1: PS_ARGUMENT, where len is no multiple of that width, on PS_STR and on a read-only handle. */
int64_t ps_publish_packed(const ps_ring *ring, const void *bytes, size_t len, ps_error *error);

/* Positions that were claimed and are not filled yet. */
typedef struct {
    uint64_t next, end;
} ps_batch;

/* ps_publish_ints in steps. A batch of integers, or of doubles as int64_t with their bits, is adjacent in the ring: ps_claim
 * once, ps_put until count values are put (in any number of calls, and without delay: readers give up a claim after 2 ms and
 * the batch then moves to the end), ps_wake. ps_claim fails as ps_publish_int does, and for a count above 2^31, or the capacity
 * of a lossless ring; the batch is then empty. ps_put leaves out what is more than was claimed. Where a lossless ring has no
 * room at the end, it waits for that; false: PS_DEADLOCK, and a part of the batch is in the ring. */
bool ps_claim(const ps_ring *ring, size_t count, ps_batch *batch, ps_error *error);
bool ps_put(const ps_ring *ring, ps_batch *batch, const int64_t *values, size_t count, ps_error *error);
void ps_wake(const ps_ring *ring);

/* A string message: len bytes, of any values, and perl's UTF-8 flag. */
typedef struct {
    const char *ptr;
    size_t len;
    bool utf8;
} ps_bytes;

/* Publishes count messages next to each other, in order, and wakes sleepers: all of them or, where it returns false, none:
 * PS_TOO_LONG, PS_INTERRUPTED, PS_FULL; PS_ARGUMENT where the ring is not PS_STR, or the handle read-only. */
bool ps_publish_strs(const ps_ring *ring, const ps_bytes *messages, size_t count, ps_error *error);

/* The same with one message. */
bool ps_publish_str(const ps_ring *ring, const char *ptr, size_t len, bool utf8, ps_error *error);

/* Whether ps_publish_strs would find fault with them: for callers that publish more in several calls. */
bool ps_check_strs(const ps_ring *ring, const ps_bytes *messages, size_t count, ps_error *error);

/* Sleeps until a lossless ring has room for count messages, or every reader of the ring's table that must not be skipped has
 * read what is published now (of a ring that is not lossless: every reader); until the monotonic clock reaches the deadline, or
 * a signal was handled. Deadline, signalled and result as for ps_wait; PS_READY: there is room, unless another publisher takes
 * it. Readers whose processes have died are not waited for. -1: PS_DEADLOCK, PS_ARGUMENT (count is above the capacity; the
 * handle is read-only). */
int ps_wait_for_room(const ps_ring *ring, size_t count, uint64_t deadline, const int *signalled, ps_error *error);
int ps_wait_for_readers(const ps_ring *ring, uint64_t deadline, const int *signalled, ps_error *error);

/* ---- subscribing ---- */

/* A reader of what is published from now on; all: from the oldest message still held. It is listed in the table of readers,
 * unless that is full or the handle read-only; publishers of a lossless ring do not wait for one that is not. */
ps_sub *ps_subscribe(const ps_ring *ring, bool all);
void ps_sub_free(ps_sub *sub);

/* The same with a wish. Publishers of a lossless ring do not wait for a lossy reader. With a name (len bytes of UTF-8, 1 .. 47;
 * NULL: none) it goes on where the last reader of this name stopped. NULL: PS_BUSY where a reader of this name lives, or the
 * table is full and that matters; PS_ARGUMENT for a name that is none; PS_INCOMPATIBLE where the system could not tell whether this
 * reader of a lossless ring lives. */
ps_sub *ps_subscribe_with(const ps_ring *ring, bool all, bool lossy, const char *name, size_t len, ps_error *error);

/* Leaves the table of readers, and reads on without being known there. A named one keeps its place for the next of this name. */
void ps_sub_release(ps_sub *sub);

#define PS_NAME_LEN 48

/* Its name, with zeros behind it; empty where it has none. Returns the length in bytes. */
size_t ps_sub_name(const ps_sub *sub, char name[PS_NAME_LEN]);

/* A reader, as the table knows it. */
typedef struct {
    char name[PS_NAME_LEN]; /* UTF-8, ends in NUL; empty: it has none */
    uint64_t position;      /* the next one that it will read, as far as it has said: when it found the ring empty, before it
                             * slept, and after an eighth of the capacity; with each call where it is named, or the ring lossless */
    uint64_t lag;           /* messages published and not yet read, by that position */
    uint64_t lost, delivered;
    uint64_t since;         /* when it subscribed, in nanoseconds since 1970 */
    uint32_t pid;           /* as its own pid namespace numbers it */
    int alive;              /* 1; 0: it is away, or dead; -1: not known */
    bool waits;             /* it sleeps until a message comes */
    bool lossy;
} ps_reader;

/* The readers in the table, *count of them, in no order; waited_for: those that publishers of a lossless ring wait for now. To be
 * freed, with the count. */
ps_reader *ps_readers(const ps_ring *ring, bool waited_for, size_t *count);
void ps_readers_free(ps_reader *readers, size_t count);

/* The same of the ring in the file at the path, which is only read. NULL on failure: PS_SYSTEM, PS_INCOMPATIBLE. */
ps_reader *ps_inspect_readers(const char *path, size_t path_len, bool waited_for, size_t *count, ps_error *error);

/* Removes the reader of this name from the table. 1: done. 0: there is none. -1: PS_BUSY where it lives, PS_ARGUMENT. */
int ps_forget(const ps_ring *ring, const char *name, size_t len, ps_error *error);

/* From a look behind very many positions whose publishers died, or were stopped: there may be a message, or none. Call again,
 * after looking at signals and deadlines. */
enum { PS_MORE = 2 };

/* A message, of any variant. The first two are the caller's: where a string goes, and how many bytes there are. */
typedef struct {
    char *to;          /* may be NULL where room is 0 */
    size_t room;       /* ps_sub_msg_size is always enough */
    size_t len;        /* PS_STR: bytes; none is written behind them */
    int64_t integer;   /* PS_INT, PS_INT32, PS_INT16 */
    double num;        /* PS_NUM */
    uint64_t position; /* where it stood, counted from the last clear */
    uint64_t lost;     /* ps_overflow_count when it was read; what it grew by since the message before was lost between them */
    bool utf8;         /* as in ps_found */
} ps_message;

/* The next message. 1: here it is. 0: there is none now. PS_MORE. -1: PS_TOO_LONG, where it is longer than the room: len says
 * how long, and it is still the next one. */
int ps_read(ps_sub *sub, ps_message *message, ps_error *error);

/* The longest message in bytes; 0 for numbers. */
uint64_t ps_sub_msg_size(const ps_sub *sub);

/* The next integer. 1: here it is. 0: there is none now. PS_MORE. -1: PS_ARGUMENT, on PS_STR and PS_NUM. */
int ps_poll_int(ps_sub *sub, int64_t *value, ps_error *error);

/* The next double. As ps_poll_int; -1: PS_ARGUMENT, on all but PS_NUM. */
int ps_poll_num(ps_sub *sub, double *value, ps_error *error);

/* Up to count integers, in order, and no more than there are positions from the next one to the inner position end (see
 * ps_end; UINT64_MAX: no end): a reader that is lapped meanwhile gets as many, but later ones. Returns how many; -2: none,
 * and as PS_MORE; -1: PS_ARGUMENT, on PS_STR and PS_NUM. */
int64_t ps_poll_ints(ps_sub *sub, int64_t *values, size_t count, uint64_t end, ps_error *error);

/* The same for len bytes at values, which need no alignment, in the types of ps_publish_packed; -1: PS_ARGUMENT, on PS_STR. */
int64_t ps_poll_packed(ps_sub *sub, void *values, size_t len, uint64_t end, ps_error *error);

/* A string message that was found: len bytes, and perl's UTF-8 flag as the publisher gave it. Nothing makes the publisher
 * keep its word: look at the bytes (see ps_is_utf8) before they are taken for UTF-8. The first two are the core's own. */
typedef struct {
    uint64_t position, block;
    uint32_t len;
    bool utf8;
} ps_found;

/* The next string message before the inner position end: how long it is. 1: there is one. 0: there is none now. -1:
 * PS_ARGUMENT, where the ring is not PS_STR. */
int ps_find(ps_sub *sub, uint64_t end, ps_found *found, ps_error *error);

/* Copies what the last ps_find found to a buffer with room for its length rounded up to 8 bytes. False: it was overwritten
 * in the meantime and what was copied is worthless; find again. */
bool ps_copy(ps_sub *sub, const ps_found *found, char *to);

/* Whether the len bytes are UTF-8 as Unicode has it: no surrogates, nothing beyond U+10FFFF. */
bool ps_is_utf8(const char *bytes, size_t len);

/* The write position now, as an inner position: where a drain that begins now ends. */
uint64_t ps_end(const ps_sub *sub);

/* The monotonic clock in nanoseconds, and a deadline that never comes. */
uint64_t ps_now(void);
#define PS_NEVER UINT64_MAX

/* Sleeps until there is a message, until the monotonic clock reaches the deadline, or until a signal was handled (or may
 * have been: then look after it and wait again). signalled is NULL or what the program's signal handlers set to something
 * else than 0: looked at just before each sleep, so that a signal that came since the caller last looked ends the wait, too;
 * without it, a second may pass. */
enum ps_wait_result {
    PS_TIMED_OUT = 0,
    PS_READY = 1,
    PS_SIGNALLED = 2,
    PS_GONE = 3 /* nothing is left to read, and ps_sub_is_gone */
};
int ps_wait(ps_sub *sub, uint64_t deadline, const int *signalled);

/* Messages published and not yet read; those overwritten unread so far; whether messages are being overwritten unread. */
uint64_t ps_lag(const ps_sub *sub);
uint64_t ps_overflow_count(const ps_sub *sub);
bool ps_has_overflow(const ps_sub *sub);

/* PS_STR: from now on only messages are delivered that begin with one of the prefixes, as characters: a byte without the flag is the
 * character of its number. With count 0 all are. The others are passed without being copied; nothing wakes or is readable
 * for them. False: PS_ARGUMENT, on all but PS_STR. How many messages were passed so. */
bool ps_set_prefixes(ps_sub *sub, const ps_bytes *prefixes, size_t count, ps_error *error);
uint64_t ps_filtered(const ps_sub *sub);

/* Goes to the newest message (that begins with a prefix), if there is one that was not read: it is what is read next. How many
 * positions were passed so, which do not count as overwritten. */
void ps_skip_to_newest(ps_sub *sub);
uint64_t ps_skipped(const ps_sub *sub);

/* The position of the message that was delivered last. False: none was, or a clear came since. */
bool ps_position(const ps_sub *sub, uint64_t *position);

/* Of a stamped ring: when the message that was delivered last was published, in nanoseconds of the wall clock since 1970, and by which
 * process, as its own pid namespace numbers it. False: none was, or the ring is not stamped. */
bool ps_stamp(const ps_sub *sub, uint64_t *time_ns, uint32_t *pid);

/* Another handle on the subscriber's ring, with the subscriber's notifier; to be freed like any. */
ps_ring *ps_sub_ring(const ps_sub *sub);

/* The next position to read, and going to one (at most 2^63 - 1; beyond the write position: waiting for that message). */
uint64_t ps_cursor(const ps_sub *sub);
void ps_seek(ps_sub *sub, uint64_t position);

/* Goes to the write position; oldest: to the oldest message still held. */
void ps_reset(ps_sub *sub, bool oldest);

/* As ps_write_pos, and the ring's slots. */
uint64_t ps_sub_write_pos(const ps_sub *sub);
uint64_t ps_sub_capacity(const ps_sub *sub);

/* ---- descriptors for event loops ---- */

/* A descriptor of this subscriber's own that is readable while it has messages to read, whoever publishes them. The first
 * call makes it and says so in *first (which may be NULL); the first in a forked child, too, or after the program closed it,
 * where it is another descriptor, perhaps of the same number. It stays the subscriber's: to be waited for, not to be read or
 * closed. A thread keeps it so, one for all watched subscribers of a process; before Linux 6.15, and where io_uring is forbidden, one
 * for each 127; where there is no futex_waitv either (before 5.16), one for each. -1: PS_SYSTEM. */
int ps_watch(ps_sub *sub, bool *first, ps_error *error);

/* Whether fd is what ps_watch last returned, or a duplicate of it; and not a file that got its number later. */
bool ps_is_watched_by(const ps_sub *sub, int fd);

/* ---- sets: several subscribers as one ---- */

/* A set waits for the first message of any of its members, subscribers of rings of any variant. It does not own them: calls take
 * those that belong to it, `count` live handles, each once. A subscriber may be in several sets. */
ps_set *ps_set_new(void);

/* To be called when no member of it is left, or will be used again. NULL is fine. */
void ps_set_free(ps_set *set);

/* A member, and a number of the caller's that no other member of the set has: always the same. */
typedef struct {
    ps_sub *sub;
    uintptr_t key;
} ps_member;

/* Makes the subscriber a member, and ends that. ps_sub_free ends it, too. False: PS_SYSTEM, and it is none. */
bool ps_set_add(ps_set *set, const ps_member *member, ps_error *error);
void ps_set_remove(ps_set *set, ps_sub *sub);

/* For how many members ps_set_wait is: 8 where the system has io_uring (Linux 6.15), otherwise 128, or 1 before Linux 5.16
 * (futex_waitv). The same for the whole life of the process. */
size_t ps_set_max_direct(void);

/* Sleeps until a member has a message: PS_READY, and ps_is_ready says which have one; *which is the index of the one whose message
 * ended the sleep, so that no other need be asked, or SIZE_MAX. Otherwise as ps_wait; PS_GONE where that is so for all
 * members, and where there are none. */
int ps_set_wait(ps_set *set, ps_member *members, size_t count, uint64_t deadline, const int *signalled, size_t *which);

/* Where there are more: has the members watched, those that are added later, too, by whoever calls ps_set_wait_watched itself, or by
 * threads. False: PS_SYSTEM. In a forked child, and in another thread where none watches, ps_set_is_watched is false: to be
 * called again. */
bool ps_set_watch_all(ps_set *set, ps_member *members, size_t count, ps_error *error);
bool ps_set_is_watched(ps_set *set);

/* As ps_set_wait, for any number of members that are watched; PS_SIGNALLED, too, when a second has passed: worth a look whether
 * their rings are still there; PS_GONE where no member is watched. It takes the same time however many they are. */
int ps_set_wait_watched(ps_set *set, uint64_t deadline, const int *signalled);

/* How many members that are watched were found to have messages, and the keys of as many as there is room for. ps_is_ready says
 * whether that is still so, and must be asked: a message may have been cleared away. */
size_t ps_set_ready(ps_set *set, uintptr_t *keys, size_t room);

/* Whether there is a message to read. False, too, while a publisher is in the middle of the next one. */
bool ps_is_ready(ps_sub *sub);

/* A descriptor that is readable while a member has messages to read: it watches them all; otherwise as ps_watch and
 * ps_is_watched_by. */
int ps_set_watch(ps_set *set, ps_member *members, size_t count, bool *first, ps_error *error);
bool ps_set_is_watched_by(const ps_set *set, int fd);

/* Handle and subscriber have a notifier each; it lives as long as they do. A subscriber takes over the handle's
 * descriptor as it is when it subscribes. */
ps_notifier *ps_ring_notifier(ps_ring *ring);
ps_notifier *ps_sub_notifier(ps_sub *sub);

/* Its descriptor, made by the first call, or again where the program has closed it (an eventfd, non-blocking,
 * close-on-exec); -1: PS_SYSTEM. */
int ps_notifier_make(ps_notifier *notifier, ps_error *error);

/* Uses the caller's descriptor, which stays the caller's to close; negative: none any more. False: it is not open. */
bool ps_notifier_lend(ps_notifier *notifier, int fd, ps_error *error);

/* Its descriptor, or -1, also where the program has closed it. */
int ps_notifier_fd(const ps_notifier *notifier);

/* Adds one, takes the count; neither ever blocks. 1: done. 0: there is no descriptor, or nothing to take. -1: PS_SYSTEM. */
int ps_notifier_notify(const ps_notifier *notifier, ps_error *error);
int ps_notifier_consume(const ps_notifier *notifier, uint64_t *count, ps_error *error);

PS_SIZE(ps_error, 1032);
PS_SIZE(ps_options, 48);
PS_SIZE(ps_stat, 112);
PS_SIZE(ps_header, 440);
PS_SIZE(ps_batch, 16);
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
