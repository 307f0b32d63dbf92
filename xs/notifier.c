/* The notifier of rings and subscribers: an eventfd for event loops. */

#include "method.h"

/* Rings and subscribers have a notifier. */
static ps_notifier *notifier(pTHX_ const ps_call *call, SV *self) {
    void *handle = ps_handle(aTHX_ call, self);
    return call->class->role == PS_SUB ? ps_sub_notifier((ps_sub *)handle) : ps_ring_notifier((ps_ring *)handle);
}

static void notifier_fileno(pTHX_ const ps_call *call, I32 ax, I32 items) {
    RETURN_IV(ps_notifier_fd(notifier(aTHX_ call, ST(0))));
}

static void notifier_eventfd(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_error error;
    int fd = ps_notifier_make(notifier(aTHX_ call, ST(0)), &error);
    if (fd < 0) ps_fail(aTHX_ call, &error);
    RETURN_IV(fd);
}

static void notifier_eventfd_set(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_error error;
    const ps_pin pin = (ps_handle(aTHX_ call, ST(0)), ps_pinned(aTHX_ ST(0)));
    int fd = ps_arg_fd(aTHX_ call, ST(1), TRUE);
    ps_repin(aTHX_ call, &pin);
    if (!ps_notifier_lend(notifier(aTHX_ call, pin.self), fd, &error)) ps_fail(aTHX_ call, &error);
    XSRETURN_EMPTY;
}

static void notifier_notify(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_error error;
    int told = ps_notifier_notify(notifier(aTHX_ call, ST(0)), &error);
    if (told < 0) ps_fail(aTHX_ call, &error);
    ST(0) = boolSV(told);
    XSRETURN(1);
}

static void notifier_eventfd_consume(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_error error;
    uint64_t count;
    int taken = ps_notifier_consume(notifier(aTHX_ call, ST(0)), &count, &error);
    if (taken < 0) ps_fail(aTHX_ call, &error);
    ST(0) = taken ? sv_2mortal(newSVuv(count)) : &PL_sv_undef;
    XSRETURN(1);
}

#define METHODS(role, variant, flags)                                                                                \
    PS_METHOD(role, variant, "fileno", notifier_fileno, flags, 1, 1, "self")                                         \
    PS_METHOD(role, variant, "eventfd_set", notifier_eventfd_set, flags, 2, 2, "self, fd")                           \
    PS_METHOD(role, variant, "notify", notifier_notify, flags, 1, 1, "self")                                         \
    PS_METHOD(role, variant, "eventfd_consume", notifier_eventfd_consume, flags, 1, 1, "self")

#define METHODS_OF_ROLES(variant)                                                                                    \
    METHODS(PS_RING, variant, PS_READS)                                                                              \
    PS_METHOD(PS_RING, variant, "eventfd", notifier_eventfd, PS_READS, 1, 1, "self")                                 \
    METHODS(PS_SUB, variant, 0)

const ps_method ps_notifier_methods[] = { PS_EACH_VARIANT(METHODS_OF_ROLES) PS_LAST_METHOD };
