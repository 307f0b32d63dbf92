/* What rings and subscribers have in common: the notifier, and their end. */

#include "method.h"

/* Both roles have a notifier. */
static ps_notifier *notifier(pTHX_ const ps_call *call, SV *self) {
    void *handle = ps_handle(aTHX_ call, self);
    return call->class->role == PS_SUB ? ps_sub_notifier((ps_sub *)handle) : ps_ring_notifier((ps_ring *)handle);
}

GETTER(fileno, sv_setiv_mg(TARG, ps_notifier_fd(notifier(aTHX_ call, ST(0)))))

METHOD(eventfd) {
    dXSTARG;
    ps_error error;
    int fd = ps_notifier_make(notifier(aTHX_ call, ST(0)), &error);
    PERL_UNUSED_VAR(items);
    if (fd < 0) ps_fail(aTHX_ call, &error);
    sv_setiv_mg(TARG, fd);
    ST(0) = TARG;
    XSRETURN(1);
}

METHOD(eventfd_set) {
    ps_error error;
    const ps_pin pin = (ps_handle(aTHX_ call, ST(0)), ps_pinned(aTHX_ ST(0)));
    int fd = ps_arg_fd(aTHX_ call, ST(1), TRUE);
    PERL_UNUSED_VAR(items);
    ps_repin(aTHX_ call, &pin);
    if (!ps_notifier_lend(notifier(aTHX_ call, pin.self), fd, &error)) ps_fail(aTHX_ call, &error);
    XSRETURN_EMPTY;
}

METHOD(notify) {
    ps_error error;
    int told = ps_notifier_notify(notifier(aTHX_ call, ST(0)), &error);
    PERL_UNUSED_VAR(items);
    if (told < 0) ps_fail(aTHX_ call, &error);
    ST(0) = boolSV(told);
    XSRETURN(1);
}

METHOD(eventfd_consume) {
    ps_error error;
    uint64_t count;
    int taken = ps_notifier_consume(notifier(aTHX_ call, ST(0)), &count, &error);
    PERL_UNUSED_VAR(items);
    if (taken < 0) ps_fail(aTHX_ call, &error);
    ST(0) = taken ? sv_2mortal(newSVuv(count)) : &PL_sv_undef;
    XSRETURN(1);
}

/* Also called by perl for hand-blessed references and twice for one object: anything but a live object is fine. */
DEED(DESTROY, ps_destroy(aTHX_ call, ST(0)))
