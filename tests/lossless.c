/* lossless DIR: a child publishes to a small lossless ring with stamps, and waits for room; its parent wants a part of the messages, and
 * gets all of that part, with the time and the sender of each. */
#include "pubsub.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { COUNT = 5000 };

static ps_error error;

#define MUST(condition)                                                                                              \
    do {                                                                                                             \
        if (!(condition)) {                                                                                          \
            fprintf(stderr, "lossless: line %d: %s (%s)\n", __LINE__, #condition, error.text);                       \
            return 1;                                                                                                \
        }                                                                                                            \
    } while (0)

static uint64_t wall_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Every third message is an alarm. */
static int publish(const ps_ring *ring) {
    char text[40];
    int i;
    for (i = 0; i < COUNT; i++) {
        const size_t len = (size_t)sprintf(text, "%s/%d", i % 3 ? "debug" : "alarm", i);
        while (!ps_publish_str(ring, text, len, true, &error)) {
            MUST(error.kind == PS_FULL || error.kind == PS_INTERRUPTED);
            if (error.kind == PS_FULL) MUST(ps_wait_for_room(ring, 1, PS_NEVER, NULL, &error) >= 0);
        }
    }
    MUST(ps_wait_for_readers(ring, PS_NEVER, NULL, &error) >= 0);
    return 0;
}

static int read_alarms(ps_sub *sub, pid_t child, uint64_t began) {
    const ps_bytes prefixes[] = { { "alarm/", 6, false }, { "error/", 6, false } };
    char text[40], expected[40];
    ps_message message = { .to = text, .room = sizeof text };
    uint64_t time_ns, last = began, position;
    uint32_t pid;
    int i;
    MUST(ps_set_prefixes(sub, prefixes, 2, &error));
    MUST(!ps_stamp(sub, &time_ns, &pid) && !ps_position(sub, &position));
    for (i = 0; i < COUNT; i += 3) {
        int got;
        while ((got = ps_read(sub, &message, &error)) != 1) {
            MUST(got >= 0);
            if (got == 0) ps_wait(sub, PS_NEVER, NULL);
        }
        sprintf(expected, "alarm/%d", i);
        MUST(message.len == strlen(expected) && memcmp(text, expected, message.len) == 0 && message.utf8);
        MUST(message.lost == 0 && message.position == (uint64_t)i);
        MUST(ps_position(sub, &position) && position == message.position);
        MUST(ps_stamp(sub, &time_ns, &pid) && pid == (uint32_t)child && time_ns >= last);
        last = time_ns;
    }
    MUST(last <= wall_clock());
    /* What is behind the last alarm is passed, or its publisher would wait for that. */
    while (ps_lag(sub) != 0 || ps_filtered(sub) < COUNT - (COUNT + 2) / 3) {
        MUST(ps_read(sub, &message, &error) != 1);
        ps_wait(sub, ps_now() + 1000000, NULL);
    }
    MUST(ps_filtered(sub) == COUNT - (COUNT + 2) / 3 && ps_skipped(sub) == 0 && ps_overflow_count(sub) == 0);
    return 0;
}

int main(int argc, char **argv) {
    const ps_options options = {
        .capacity = 16, .msg_size = 32, .mode = 0600, .lossless = true, .stamped = true, .keep_ms = 60000
    };
    char path[4096];
    ps_ring *ring;
    ps_sub *sub;
    ps_stat stats;
    ps_reader *readers;
    size_t count;
    pid_t child;
    int status, ended;
    const uint64_t began = wall_clock();
    if (argc != 2) return 2;
    snprintf(path, sizeof path, "%s/alarms", argv[1]);
    MUST(ring = ps_ring_open(PS_STR, path, strlen(path), &options, &error));
    ps_stats(ring, &stats);
    MUST(stats.lossless && stats.stamped && stats.capacity == 16 && stats.keep_ms == 60000);
    MUST(sub = ps_subscribe_with(ring, true, false, "alarms", 6, &error));
    MUST(!ps_subscribe_with(ring, true, false, "alarms", 6, &error) && error.kind == PS_BUSY);

    child = fork();
    if (child == 0) _exit(publish(ring));
    status = read_alarms(sub, child, began);
    if (status != 0) kill(child, SIGKILL);
    MUST(waitpid(child, &ended, 0) == child && status == 0 && WIFEXITED(ended) && WEXITSTATUS(ended) == 0);
    MUST(readers = ps_readers(ring, false, &count));
    MUST(count == 1 && strcmp(readers[0].name, "alarms") == 0 && readers[0].lost == 0);
    MUST(readers[0].delivered == (COUNT + 2) / 3 && readers[0].alive == 1);
    ps_readers_free(readers, count);

    /* The newest alone. */
    MUST(ps_set_prefixes(sub, NULL, 0, &error));
    MUST(ps_publish_str(ring, "one", 3, false, &error) && ps_publish_str(ring, "two", 3, false, &error));
    ps_skip_to_newest(sub);
    {
        char text[32];
        ps_message message = { .to = text, .room = sizeof text };
        MUST(ps_read(sub, &message, &error) == 1 && memcmp(text, "two", 3) == 0 && ps_skipped(sub) == 1);
        MUST(ps_read(sub, &message, &error) == 0);
    }
    ps_sub_free(sub);
    ps_ring_free(ring);
    return 0;
}
