/* examples/peer.rs in C. */
#include <inttypes.h>
#include <pubsub.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static ps_error error;

static void check(bool fine) {
    if (!fine) {
        fprintf(stderr, "peer: %s\n", error.text);
        exit(1);
    }
}

/* One write for each line, so that no line is incomplete if this process is killed. */
static void say(const char *format, ...) {
    char line[200];
    va_list arguments;
    int len;
    va_start(arguments, format);
    len = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (write(1, line, (size_t)len) != len) exit(2);
}

/* A failed publish is repeated; in a lossless ring, once there is room. */
static void await_turn(const ps_ring *ring) {
    if (error.kind == PS_FULL) {
        check(ps_wait_for_room(ring, 1, PS_NEVER, NULL, &error) >= 0);
    } else {
        check(error.kind == PS_INTERRUPTED);
    }
}

static void publish(const ps_ring *ring, int64_t first, int64_t count) {
    static const char fill[] = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    char text[100];
    int64_t number;
    for (number = first; number < first + count; number++) {
        if (ps_ring_variant(ring) == PS_STR) {
            size_t len = (size_t)sprintf(text, "%" PRId64 " %.*s", number, (int)(number % 50), fill);
            while (!ps_publish_str(ring, text, len, true, &error)) await_turn(ring);
        } else {
            while (!ps_publish_int(ring, number, &error)) await_turn(ring);
        }
        say("%" PRId64 "\n", number);
    }
}

static void read_all(const ps_ring *ring) {
    ps_sub *sub = ps_subscribe(ring, true);
    char text[100];
    ps_message message = { .to = text, .room = sizeof text };
    uint64_t received = 0, told = 0;
    const bool is_text = ps_ring_variant(ring) == PS_STR;
    say("ready\n");
    for (;;) {
        int got = ps_read(sub, &message, &error);
        check(got >= 0);
        if (got == 0) ps_wait(sub, PS_NEVER, NULL);
        if (got != 1) continue;
        if (message.lost > told) say("L %" PRIu64 "\n", message.lost - told);
        told = message.lost;
        if (is_text ? message.len == 2 && memcmp(text, "-1", 2) == 0 : message.integer == -1) break;
        received++;
        if (is_text) {
            say("P %" PRIu64 " %.*s\n", message.position, (int)message.len, text);
        } else {
            say("P %" PRIu64 " %" PRId64 "\n", message.position, message.integer);
        }
    }
    say("A %" PRIu64 " %" PRIu64 "\n", received, ps_overflow_count(sub));
    ps_sub_free(sub);
}

int main(int argc, char **argv) {
    ps_ring *ring;
    if (argc < 3) return 2;
    check((ring = ps_ring_attach(argv[2], strlen(argv[2]), false, &error)) != NULL);
    if (strcmp(argv[1], "publish") == 0 && argc == 5) {
        publish(ring, (int64_t)strtoll(argv[3], NULL, 10) << 32, strtoll(argv[4], NULL, 10));
    } else {
        read_all(ring);
    }
    ps_ring_free(ring);
    return 0;
}
