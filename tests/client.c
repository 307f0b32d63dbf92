/* client NUMBERS WORDS: answers each number of one ring with a word on the other, until it is sent a 0. */
#include "pubsub.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static ps_error error;

static void check(bool ok) {
    if (!ok) {
        fprintf(stderr, "client: %s\n", error.text);
        exit(1);
    }
}

static void say(const ps_ring *words, const char *text, bool utf8) {
    const ps_bytes message = { text, strlen(text), utf8 };
    check(ps_publish_strs(words, &message, 1, &error));
}

int main(int argc, char **argv) {
    ps_ring *numbers, *words;
    ps_sub *sub;
    ps_stat stats;
    const ps_options existing = { .capacity = 0 }, eight = { .capacity = 8, .mode = 0600 };
    int64_t number = 1;
    if (argc != 3) return 2;

    /* Errors have a kind and a text. */
    if (ps_ring_open(PS_INT, "/nowhere/at all", 15, &eight, &error) || error.kind != PS_SYSTEM) return 3;
    if (ps_ring_anonymous(PS_INT, &existing, &error) || error.kind != PS_ARGUMENT) return 4;
    if (ps_ring_open(PS_INT32, argv[1], strlen(argv[1]), &eight, &error) || error.kind != PS_INCOMPATIBLE) return 5;

    check((numbers = ps_ring_open(PS_INT, argv[1], strlen(argv[1]), &existing, &error)) != NULL);
    check((words = ps_ring_open(PS_STR, argv[2], strlen(argv[2]), &existing, &error)) != NULL);
    ps_stats(words, &stats);
    if (stats.capacity != 64 || stats.msg_size != 100) return 6;
    sub = ps_subscribe(numbers, false);
    ps_ring_free(numbers); /* the subscriber keeps the ring */
    say(words, "ready", false);
    while (number) {
        while (ps_wait(sub, PS_NEVER, NULL) != PS_READY) {}
        while (number && ps_poll_int(sub, &number, &error) > 0) {
            char text[40];
            sprintf(text, "%lld seen", (long long)number);
            if (number) say(words, text, true);
        }
    }
    if (ps_lag(sub) || ps_overflow_count(sub)) return 7;
    ps_sub_free(sub);
    ps_ring_free(words);
    return 0;
}
