/* messages DIR: rings that are opened whatever they carry, and messages that are published and read in one call each. */
#include "pubsub.h"

#include <stdio.h>
#include <string.h>

static ps_error error;

#define MUST(condition)                                                                                              \
    do {                                                                                                             \
        if (!(condition)) {                                                                                          \
            fprintf(stderr, "messages: line %d: %s (%s)\n", __LINE__, #condition, error.text);                       \
            return 1;                                                                                                \
        }                                                                                                            \
    } while (0)

static int numbers(const char *path) {
    const ps_options eight = { .capacity = 8, .mode = 0600 };
    const int64_t values[] = { 1, -2, 3, 4, 5, 6, 7, 8, 9, 10 };
    ps_ring *made, *found, *looking;
    ps_sub *sub;
    ps_message message = { 0 };
    MUST(!ps_ring_attach(path, strlen(path), false, &error) && error.kind == PS_SYSTEM && strstr(error.text, path));
    MUST(made = ps_ring_open(PS_INT32, path, strlen(path), &eight, &error));
    MUST(found = ps_ring_attach(path, strlen(path), false, &error));
    MUST(looking = ps_ring_attach(path, strlen(path), true, &error));
    MUST(ps_ring_variant(found) == PS_INT32 && ps_ring_read_only(looking) && !ps_ring_read_only(found));
    MUST(sub = ps_subscribe(looking, true));
    MUST(ps_sub_variant(sub) == PS_INT32 && ps_sub_msg_size(sub) == 0);

    MUST(ps_read(sub, &message, &error) == 0);
    MUST(ps_publish_ints(found, values, 2, &error) && ps_publish_ints(found, NULL, 0, &error));
    MUST(ps_read(sub, &message, &error) == 1 && message.integer == 1 && message.position == 0 && message.lost == 0);
    MUST(ps_read(sub, &message, &error) == 1 && message.integer == -2 && message.position == 1 && message.lost == 0);
    /* Ten more than the reader has seen, in a ring of eight. */
    MUST(ps_publish_ints(made, values, 10, &error) && ps_write_pos(found) == 12);
    MUST(ps_read(sub, &message, &error) == 1 && message.integer == 3 && message.position == 4 && message.lost == 2);
    MUST(ps_read(sub, &message, &error) == 1 && message.integer == 4 && message.position == 5 && message.lost == 2);
    MUST(ps_clear(made, &error) && ps_publish_int(made, 5, &error));
    MUST(ps_read(sub, &message, &error) == 1 && message.integer == 5 && message.position == 0 && message.lost == 2);
    MUST(!ps_publish_ints(looking, values, 1, &error) && error.kind == PS_ARGUMENT && strstr(error.text, "read-only"));
    MUST(!ps_publish_str(made, "word", 4, false, &error) && error.kind == PS_ARGUMENT);
    ps_sub_free(sub);
    ps_ring_free(made);
    ps_ring_free(found);
    ps_ring_free(looking);
    return 0;
}

static int doubles(void) {
    const ps_options eight = { .capacity = 8 };
    ps_ring *ring;
    ps_sub *sub;
    ps_message message = { 0 };
    MUST(ring = ps_ring_anonymous(PS_NUM, &eight, &error));
    MUST(sub = ps_subscribe(ring, true));
    MUST(ps_publish_num(ring, -0.5, &error) && ps_ring_variant(ring) == PS_NUM && ps_sub_msg_size(sub) == 0);
    MUST(ps_read(sub, &message, &error) == 1 && message.num == -0.5 && message.position == 0);
    MUST(ps_read(sub, &message, &error) == 0);
    MUST(!ps_publish_ints(ring, NULL, 0, &error) && error.kind == PS_ARGUMENT);
    ps_sub_free(sub);
    ps_ring_free(ring);
    return 0;
}

static int strings(void) {
    const ps_options of_thirteen = { .capacity = 8, .msg_size = 13 };
    char to[16];
    ps_ring *made, *found;
    ps_sub *sub;
    ps_message message = { 0 };
    MUST(made = ps_ring_memfd(PS_STR, "words", &of_thirteen, &error));
    MUST(found = ps_ring_attach_fd(ps_memfd(made), &error));
    MUST(ps_ring_variant(found) == PS_STR);
    MUST(sub = ps_subscribe(found, true));
    MUST(ps_sub_msg_size(sub) == 13);
    MUST(ps_publish_str(found, "thirteen byte", 13, false, &error) && ps_publish_str(found, NULL, 0, true, &error));
    MUST(!ps_publish_str(found, "fourteen bytes", 14, false, &error) && error.kind == PS_TOO_LONG);

    /* Nothing is passed where there is too little room, and nothing is written behind the message. */
    MUST(ps_read(sub, &message, &error) == -1 && error.kind == PS_TOO_LONG && message.len == 13 && ps_lag(sub) == 2);
    message.to = to;
    message.room = 12;
    MUST(ps_read(sub, &message, &error) == -1 && message.len == 13 && ps_lag(sub) == 2);
    memset(to, '#', sizeof to);
    message.room = 13;
    MUST(ps_read(sub, &message, &error) == 1 && message.len == 13 && !message.utf8 && message.position == 0);
    MUST(memcmp(to, "thirteen byte###", 16) == 0);
    MUST(ps_read(sub, &message, &error) == 1 && message.len == 0 && message.utf8 && message.position == 1);
    MUST(ps_publish_str(made, "\xc3\xa9", 2, true, &error));
    message.room = sizeof to;
    MUST(ps_read(sub, &message, NULL) == 1 && message.len == 2 && message.utf8 && memcmp(to, "\xc3\xa9", 2) == 0);
    MUST(ps_read(sub, &message, NULL) == 0);
    MUST(!ps_publish_ints(made, NULL, 0, &error) && error.kind == PS_ARGUMENT);
    ps_sub_free(sub);
    ps_ring_free(made);
    ps_ring_free(found);
    return 0;
}

int main(int argc, char **argv) {
    char path[4096];
    if (argc != 2) return 2;
    MUST(ps_abi() == PS_ABI && strspn(ps_version(), "0123456789.") == strlen(ps_version()) && strlen(ps_version()) > 4);
    MUST(!ps_ring_attach_fd(-1, &error) && error.kind == PS_SYSTEM);
    MUST(!ps_ring_attach(argv[1], strlen(argv[1]), false, &error));
    MUST(!ps_ring_attach(NULL, 0, true, NULL));
    snprintf(path, sizeof path, "%s/numbers", argv[1]);
    return numbers(path) || doubles() || strings();
}
