/* contract DIR: what the C face does with wrong variants, handles for reading only, nothing, and too much. */
#include "pubsub.h"

#include <stdio.h>
#include <string.h>

static ps_error error;

/* Whether a call failed with PS_ARGUMENT and a text that has `part`. */
static bool refused(bool failed, const char *part) {
    const bool right = failed && error.kind == PS_ARGUMENT && strstr(error.text, part);
    if (!right) fprintf(stderr, "contract: %d, kind %d, \"%s\"; expected: %s\n", failed, error.kind, error.text, part);
    memset(&error, 0, sizeof error);
    return right;
}

#define MUST(condition)                                                                                              \
    do {                                                                                                             \
        if (!(condition)) {                                                                                          \
            fprintf(stderr, "contract: line %d: %s\n", __LINE__, #condition);                                        \
            return 1;                                                                                                \
        }                                                                                                            \
    } while (0)

int main(int argc, char **argv) {
    const ps_options sixteen = { .capacity = 16, .msg_size = 8, .mode = 0600 };
    const int64_t values[] = { 1, 2, 3, 4, 5, 6 };
    int64_t got[8], value = 77;
    const ps_bytes word = { "word", 4, false }, empty = { NULL, 0, false };
    char path[4096], copy[8];
    double number = 77, numbers[2] = { 0.5, -0.0 };
    ps_ring *ints, *strs, *nums, *looking;
    ps_sub *int_sub, *str_sub, *num_sub, *looker;
    ps_batch batch;
    ps_found found;
    const int signalled = 1;
    if (argc != 2) return 2;

    /* Nothing is fine where free(NULL) is. */
    ps_ring_free(NULL);
    ps_sub_free(NULL);

    snprintf(path, sizeof path, "%s/ring", argv[1]);
    MUST(ints = ps_ring_open(PS_INT, path, strlen(path), &sixteen, &error));
    MUST(strs = ps_ring_anonymous(PS_STR, &sixteen, &error));
    MUST(nums = ps_ring_anonymous(PS_NUM, &sixteen, &error));
    num_sub = ps_subscribe(nums, true);
    MUST(looking = ps_ring_open_read_only(PS_INT, path, strlen(path), &error));
    int_sub = ps_subscribe(ints, true);
    str_sub = ps_subscribe(strs, true);
    looker = ps_subscribe(looking, true);

    /* The other variant's functions. */
    MUST(refused(!ps_publish_int(strs, 1, &error), "carries strings"));
    MUST(refused(!ps_claim(strs, 1, &batch, &error), "carries strings"));
    ps_put(strs, &batch, values, 1, NULL);
    MUST(refused(ps_poll_int(str_sub, &value, &error) == -1, "carries strings"));
    MUST(refused(ps_poll_ints(str_sub, got, 8, UINT64_MAX, &error) == -1, "carries strings"));
    MUST(refused(!ps_publish_strs(ints, &word, 1, &error), "carries integers"));
    MUST(refused(!ps_publish_strs(ints, NULL, 0, &error), "carries integers"));
    MUST(refused(ps_find(int_sub, UINT64_MAX, &found, &error) == -1, "carries integers"));
    MUST(refused(!ps_publish_int(nums, 1, &error), "carries floating-point numbers"));
    MUST(refused(!ps_publish_num(ints, 1, &error), "carries integers"));
    MUST(refused(ps_poll_int(num_sub, &value, &error) == -1, "carries floating-point numbers"));
    MUST(refused(ps_poll_num(int_sub, &number, &error) == -1, "carries integers"));
    MUST(refused(ps_publish_packed(strs, values, 8, &error) == -1, "carries strings"));
    MUST(refused(ps_poll_packed(str_sub, got, 8, UINT64_MAX, &error) == -1, "carries strings"));
    MUST(refused(ps_publish_packed(ints, values, 7, &error) == -1, "7 bytes"));
    MUST(!ps_publish_int(strs, 1, NULL) && ps_poll_int(str_sub, &value, NULL) == -1);
    MUST(ps_write_pos(ints) == 0 && ps_write_pos(strs) == 0 && value == 77);

    /* A handle for reading only; a sleeper whom a wake-up would look for. */
    MUST(ps_wait(int_sub, ps_now() + 1, NULL) == PS_TIMED_OUT);
    MUST(refused(!ps_publish_int(looking, 1, &error), "read-only"));
    MUST(refused(!ps_claim(looking, 2, &batch, &error), "read-only"));
    ps_put(looking, &batch, values, 2, NULL);
    ps_wake(looking);
    MUST(refused(!ps_publish_strs(looking, &word, 1, &error), "read-only"));
    MUST(refused(ps_publish_packed(looking, values, 8, &error) == -1, "read-only"));
    MUST(refused(!ps_clear(looking, &error), "read-only"));
    MUST(ps_write_pos(ints) == 0 && ps_poll_int(looker, &value, &error) == 0);

    /* A signal that came before the sleep. */
    MUST(ps_wait(int_sub, PS_NEVER, &signalled) == PS_SIGNALLED && ps_wait(looker, PS_NEVER, &signalled) == PS_SIGNALLED);
    MUST(ps_wait(str_sub, ps_now(), &signalled) == PS_SIGNALLED);

    /* More than was claimed, more than any ring has, and nothing. */
    MUST(ps_claim(ints, 3, &batch, &error));
    ps_put(ints, &batch, values, 2, NULL);
    ps_put(ints, &batch, values + 2, 4, NULL);
    ps_put(ints, &batch, values, 6, NULL);
    ps_wake(ints);
    MUST(ps_write_pos(ints) == 3);
    MUST(ps_poll_ints(int_sub, got, 8, UINT64_MAX, &error) == 3 && got[0] == 1 && got[1] == 2 && got[2] == 3);
    MUST(ps_poll_int(looker, &value, &error) == 1 && value == 1);
    MUST(refused(!ps_claim(ints, (size_t)-1, &batch, &error), "count"));
    ps_put(ints, &batch, values, 6, NULL);
    MUST(ps_claim(ints, 0, &batch, &error));
    ps_put(ints, &batch, NULL, 0, NULL);
    MUST(ps_poll_ints(int_sub, NULL, 0, UINT64_MAX, &error) == 0);
    MUST(ps_write_pos(ints) == 3);

    MUST(ps_publish_strs(strs, NULL, 0, &error) && ps_write_pos(strs) == 0);
    MUST(ps_publish_strs(strs, &empty, 1, &error) && ps_publish_strs(strs, &word, 1, &error));
    MUST(ps_find(str_sub, UINT64_MAX, &found, &error) == 1 && found.len == 0 && ps_copy(str_sub, &found, copy));
    MUST(ps_find(str_sub, UINT64_MAX, &found, &error) == 1 && found.len == 4 && ps_copy(str_sub, &found, copy));
    MUST(memcmp(copy, "word", 4) == 0 && ps_find(str_sub, UINT64_MAX, &found, &error) == 0);

    /* Doubles, one by one and packed; nothing, and room for less than one. */
    MUST(ps_publish_num(nums, 1.5, &error) && ps_publish_packed(nums, numbers, sizeof numbers, &error) == 2);
    MUST(ps_publish_packed(nums, NULL, 0, &error) == 0 && ps_poll_packed(num_sub, NULL, 0, UINT64_MAX, &error) == 0);
    MUST(ps_poll_num(num_sub, &number, &error) == 1 && number == 1.5);
    MUST(ps_poll_packed(num_sub, copy, 7, UINT64_MAX, &error) == 0);
    memset(numbers, 1, sizeof numbers);
    MUST(ps_poll_packed(num_sub, numbers, sizeof numbers, UINT64_MAX, &error) == 2 && numbers[0] == 0.5);
    MUST(numbers[1] == 0 && 1 / numbers[1] < 0 && ps_poll_num(num_sub, &number, &error) == 0);

    MUST(!ps_ring_open(PS_INT, NULL, 0, &sixteen, &error) && error.kind == PS_SYSTEM);
    MUST(!ps_ring_open_read_only(PS_INT, NULL, 0, NULL) && !ps_ring_anonymous(9, &sixteen, NULL));
    MUST(ps_unlink(NULL, 0, &error) || error.kind == PS_SYSTEM);
    MUST(ps_unlink(path, strlen(path), &error));

    ps_sub_free(int_sub);
    ps_sub_free(str_sub);
    ps_sub_free(num_sub);
    ps_sub_free(looker);
    ps_ring_free(ints);
    ps_ring_free(strs);
    ps_ring_free(nums);
    ps_ring_free(looking);
    return 0;
}
