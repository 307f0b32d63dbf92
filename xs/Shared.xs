/* Which method has which body: names, roles, arguments and bodies are data. The bodies stand in ring.c, sub.c, both.c and
 * look.c, and serve all four variants. */

#include "method.h"
#include "keyword.h"

#define ANY I32_MAX

/* A method of one class. The table is a constant: interpreters of one process share it, however many boot, and whether or
 * not several do so in the same instant. */
typedef struct {
    ps_method_call method;
    XSUBADDR_t body;
} ps_entry;

/* `reads`: the ring's method is fine on a read-only handle, too. Arguments are counted with the invocant. */
#define ENTRY(role, variant, name, body, reads, least, most, usage)                                                  \
    { { { &ps_classes[role][variant], name, FALSE, reads }, least, most, usage }, xs_##body },

#define RING_METHODS(variant)                                                                                        \
    ENTRY(PS_RING, variant, "new_readonly", new_readonly, FALSE, 2, 2, "class, path")                                \
    ENTRY(PS_RING, variant, "new_from_fd", new_from_fd, FALSE, 2, 2, "class, fd")                                    \
    ENTRY(PS_RING, variant, "memfd", memfd, TRUE, 1, 1, "self")                                                      \
    ENTRY(PS_RING, variant, "publish", publish, FALSE, 2, 2, "self, value")                                          \
    ENTRY(PS_RING, variant, "publish_multi", publish_multi, FALSE, 1, ANY, "self, ...")                              \
    ENTRY(PS_RING, variant, "publish_notify", publish_notify, FALSE, 2, 2, "self, value")                            \
    ENTRY(PS_RING, variant, "subscribe", subscribe, TRUE, 1, 1, "self")                                              \
    ENTRY(PS_RING, variant, "subscribe_all", subscribe, TRUE, 1, 1, "self")                                          \
    ENTRY(PS_RING, variant, "capacity", ring_capacity, TRUE, 1, 1, "self")                                           \
    ENTRY(PS_RING, variant, "path", path, TRUE, 1, 1, "self")                                                        \
    ENTRY(PS_RING, variant, "stats", stats, TRUE, 1, 1, "self")                                                      \
    ENTRY(PS_RING, variant, "write_pos", ring_write_pos, TRUE, 1, 1, "self")                                         \
    ENTRY(PS_RING, variant, "clear", clear, FALSE, 1, 1, "self")                                                     \
    ENTRY(PS_RING, variant, "sync", sync, TRUE, 1, 1, "self")                                                        \
    ENTRY(PS_RING, variant, "unlink", unlink, FALSE, 1, 2, "self_or_class, path = self->path")                       \
    ENTRY(PS_RING, variant, "eventfd", eventfd, TRUE, 1, 1, "self")                                                  \
    ENTRY(PS_RING, variant, "_base", base, FALSE, 1, 1, "self")                                                      \
    ENTRY(PS_RING, variant, "_identity", identity, FALSE, 1, 1, "self")                                              \
    ENTRY(PS_RING, variant, "_claim_role", claim_role, FALSE, 2, 3, "self, role, stream = no matter")

#define SUB_METHODS(variant)                                                                                         \
    ENTRY(PS_SUB, variant, "poll", poll, FALSE, 1, 1, "self")                                                        \
    ENTRY(PS_SUB, variant, "poll_multi", drain, FALSE, 2, 2, "self, count")                                          \
    ENTRY(PS_SUB, variant, "drain", drain, FALSE, 1, 2, "self, max = all")                                           \
    ENTRY(PS_SUB, variant, "drain_notify", drain_notify, FALSE, 1, 2, "self, max = all")                             \
    ENTRY(PS_SUB, variant, "poll_wait", poll_wait, FALSE, 1, 2, "self, timeout = for ever")                          \
    ENTRY(PS_SUB, variant, "poll_wait_multi", poll_wait_multi, FALSE, 2, 3, "self, count, timeout = for ever")       \
    ENTRY(PS_SUB, variant, "poll_cb", poll_cb, FALSE, 2, 2, "self, handler")                                         \
    ENTRY(PS_SUB, variant, "fh", fh, FALSE, 1, 1, "self")                                                            \
    ENTRY(PS_SUB, variant, "lag", lag, FALSE, 1, 1, "self")                                                          \
    ENTRY(PS_SUB, variant, "overflow_count", overflow_count, FALSE, 1, 1, "self")                                    \
    ENTRY(PS_SUB, variant, "has_overflow", has_overflow, FALSE, 1, 1, "self")                                        \
    ENTRY(PS_SUB, variant, "cursor", cursor, FALSE, 1, 2, "self, position = as it is")                               \
    ENTRY(PS_SUB, variant, "write_pos", sub_write_pos, FALSE, 1, 1, "self")                                          \
    ENTRY(PS_SUB, variant, "capacity", sub_capacity, FALSE, 1, 1, "self")                                            \
    ENTRY(PS_SUB, variant, "reset", reset, FALSE, 1, 1, "self")                                                      \
    ENTRY(PS_SUB, variant, "reset_oldest", reset_oldest, FALSE, 1, 1, "self")

#define METHODS_OF_BOTH(role, variant)                                                                               \
    ENTRY(role, variant, "fileno", fileno, role == PS_RING, 1, 1, "self")                                            \
    ENTRY(role, variant, "eventfd_set", eventfd_set, role == PS_RING, 2, 2, "self, fd")                              \
    ENTRY(role, variant, "notify", notify, role == PS_RING, 1, 1, "self")                                            \
    ENTRY(role, variant, "eventfd_consume", eventfd_consume, role == PS_RING, 1, 1, "self")                          \
    ENTRY(role, variant, "DESTROY", DESTROY, role == PS_RING, 1, 1, "self")

#define METHODS(variant)                                                                                             \
    RING_METHODS(variant) SUB_METHODS(variant) METHODS_OF_BOTH(PS_RING, variant) METHODS_OF_BOTH(PS_SUB, variant)

#define INT_CONSTRUCTORS(variant)                                                                                    \
    ENTRY(PS_RING, variant, "new", new, FALSE, 2, ANY,                                                               \
          "class, path, capacity = that of the existing ring, mode = 0600, option => value, ...")                    \
    ENTRY(PS_RING, variant, "new_memfd", new_memfd, FALSE, 3, ANY, "class, name, capacity, option => value, ...")

static const ps_entry methods[] = {
    METHODS(PS_INT) INT_CONSTRUCTORS(PS_INT)
    METHODS(PS_INT32) INT_CONSTRUCTORS(PS_INT32)
    METHODS(PS_INT16) INT_CONSTRUCTORS(PS_INT16)
    METHODS(PS_STR)
    ENTRY(PS_RING, PS_STR, "new", new, FALSE, 2, ANY,
          "class, path, capacity = that of the existing ring, msg_size = 256, mode = 0600, option => value, ...")
    ENTRY(PS_RING, PS_STR, "new_memfd", new_memfd, FALSE, 3, ANY,
          "class, name, capacity, msg_size = 256, option => value, ...")
    ENTRY(PS_RING, PS_STR, "msg_size", msg_size, TRUE, 1, 1, "self")
};


static void install_all(pTHX) {
    size_t i;
    for (i = 0; i < C_ARRAY_LENGTH(methods); i++) {
        const ps_method_call *method = &methods[i].method;
        const char *package = method->call.class->package;
        CV *cv = newXS(Perl_form(aTHX_ "%s::%s", package, method->call.name), methods[i].body, __FILE__);
        CvXSUBANY(cv).any_ptr = (void *)method;
    }
}

MODULE = Data::PubSub::Shared  PACKAGE = Data::PubSub::Shared

PROTOTYPES: DISABLE

BOOT:
    install_all(aTHX);
    ps_register_keywords(aTHX);

MODULE = Data::PubSub::Shared  PACKAGE = Data::PubSub::Shared::CLI::File

void
_inspect(SV *path)
PPCODE:
    XPUSHs(ps_inspected(aTHX_ path));

void
_check(SV *path, bool all)
PPCODE:
    XPUSHs(ps_checked(aTHX_ path, all));

void
_sizes(U32 variant, UV capacity, UV msg_size, UV publishers)
PPCODE:
    XPUSHs(ps_sized(aTHX_ variant, capacity, msg_size, publishers));
