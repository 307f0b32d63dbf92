/* Which method has which body: names, roles, arguments and bodies are data. The bodies stand in ring.c, sub.c and both.c, and
 * serve all four variants. */

#include "method.h"
#include "keyword.h"

#define ANY I32_MAX

/* Where a name is installed; READS: the ring's method is fine on a read-only handle, too. */
enum { ON_RING = 1, ON_SUB = 2, ON_STR_RING = 4, READS = 8 };

typedef struct {
    const char *name;
    XSUBADDR_t body;
    int on;
    I32 least, most; /* arguments, the invocant included */
    const char *usage;
} ps_method;

static const ps_method methods[] = {
    { "new_readonly", xs_new_readonly, ON_RING, 2, 2, "class, path" },
    { "new_from_fd", xs_new_from_fd, ON_RING, 2, 2, "class, fd" },
    { "memfd", xs_memfd, ON_RING | READS, 1, 1, "self" },
    { "publish", xs_publish, ON_RING, 2, 2, "self, value" },
    { "publish_multi", xs_publish_multi, ON_RING, 1, ANY, "self, ..." },
    { "publish_notify", xs_publish_notify, ON_RING, 2, 2, "self, value" },
    { "subscribe", xs_subscribe, ON_RING | READS, 1, 1, "self" },
    { "subscribe_all", xs_subscribe, ON_RING | READS, 1, 1, "self" },
    { "capacity", xs_ring_capacity, ON_RING | READS, 1, 1, "self" },
    { "msg_size", xs_msg_size, ON_STR_RING | READS, 1, 1, "self" },
    { "path", xs_path, ON_RING | READS, 1, 1, "self" },
    { "stats", xs_stats, ON_RING | READS, 1, 1, "self" },
    { "write_pos", xs_ring_write_pos, ON_RING | READS, 1, 1, "self" },
    { "clear", xs_clear, ON_RING, 1, 1, "self" },
    { "sync", xs_sync, ON_RING | READS, 1, 1, "self" },
    { "unlink", xs_unlink, ON_RING, 1, 2, "self_or_class, path = self->path" },
    { "eventfd", xs_eventfd, ON_RING | READS, 1, 1, "self" },
    { "fileno", xs_fileno, ON_RING | ON_SUB | READS, 1, 1, "self" },
    { "eventfd_set", xs_eventfd_set, ON_RING | ON_SUB | READS, 2, 2, "self, fd" },
    { "notify", xs_notify, ON_RING | ON_SUB | READS, 1, 1, "self" },
    { "eventfd_consume", xs_eventfd_consume, ON_RING | ON_SUB | READS, 1, 1, "self" },
    { "DESTROY", xs_DESTROY, ON_RING | ON_SUB | READS, 1, 1, "self" },
    { "poll", xs_poll, ON_SUB, 1, 1, "self" },
    { "poll_multi", xs_drain, ON_SUB, 2, 2, "self, count" },
    { "drain", xs_drain, ON_SUB, 1, 2, "self, max = all" },
    { "drain_notify", xs_drain_notify, ON_SUB, 1, 2, "self, max = all" },
    { "poll_wait", xs_poll_wait, ON_SUB, 1, 2, "self, timeout = for ever" },
    { "poll_wait_multi", xs_poll_wait_multi, ON_SUB, 2, 3, "self, count, timeout = for ever" },
    { "poll_cb", xs_poll_cb, ON_SUB, 2, 2, "self, handler" },
    { "fh", xs_fh, ON_SUB, 1, 1, "self" },
    { "lag", xs_lag, ON_SUB, 1, 1, "self" },
    { "overflow_count", xs_overflow_count, ON_SUB, 1, 1, "self" },
    { "has_overflow", xs_has_overflow, ON_SUB, 1, 1, "self" },
    { "cursor", xs_cursor, ON_SUB, 1, 2, "self, position = as it is" },
    { "write_pos", xs_sub_write_pos, ON_SUB, 1, 1, "self" },
    { "capacity", xs_sub_capacity, ON_SUB, 1, 1, "self" },
    { "reset", xs_reset, ON_SUB, 1, 1, "self" },
    { "reset_oldest", xs_reset_oldest, ON_SUB, 1, 1, "self" },
};

/* The constructors take another argument for strings. */
static const ps_method constructors[2][2] = {
    {
        { "new", xs_new, ON_RING, 2, 4, "class, path, capacity = that of the existing ring, mode = 0600" },
        { "new_memfd", xs_new_memfd, ON_RING, 3, 3, "class, name, capacity" },
    },
    {
        { "new", xs_new, ON_RING, 2, 5, "class, path, capacity = that of the existing ring, msg_size = 256, mode = 0600" },
        { "new_memfd", xs_new_memfd, ON_RING, 3, 4, "class, name, capacity, msg_size = 256" },
    },
};

static void install(pTHX_ const ps_method *method, const ps_class *class) {
    static ps_method_call calls[2 * PS_STR * (C_ARRAY_LENGTH(methods) + 2)];
    static size_t used = 0;
    ps_method_call *own = &calls[used++];
    const ps_method_call filled = { { class, method->name, FALSE, class->role == PS_RING && method->on & READS }, method->least, method->most, method->usage };
    CV *cv = newXS(Perl_form(aTHX_ "%s::%s", class->package, method->name), method->body, __FILE__);
    *own = filled;
    CvXSUBANY(cv).any_ptr = own;
}

static void install_all(pTHX) {
    U32 variant;
    size_t i;
    for (variant = PS_INT; variant <= PS_STR; variant++) {
        const ps_class *ring = &ps_classes[PS_RING][variant], *sub = &ps_classes[PS_SUB][variant];
        for (i = 0; i < 2; i++) install(aTHX_ &constructors[PS_IS_STR(ring)][i], ring);
        for (i = 0; i < C_ARRAY_LENGTH(methods); i++) {
            if (methods[i].on & ON_RING || (methods[i].on & ON_STR_RING && PS_IS_STR(ring))) install(aTHX_ &methods[i], ring);
            if (methods[i].on & ON_SUB) install(aTHX_ &methods[i], sub);
        }
    }
}

MODULE = Data::PubSub::Shared  PACKAGE = Data::PubSub::Shared

PROTOTYPES: DISABLE

BOOT:
    install_all(aTHX);
    ps_register_keywords(aTHX);
