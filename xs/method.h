/* What a method is: one C body for all four variants, called under many names. */
#ifndef PS_METHOD_H
#define PS_METHOD_H

#include "object.h"

#define RING ((ps_ring *)ps_handle(aTHX_ call, ST(0)))
#define SUB ((ps_sub *)ps_handle(aTHX_ call, ST(0)))

/* A body: `call` names it in errors, ST(0) is the invocant. The number of arguments was not checked yet. */
#define METHOD(name)                                                                                                 \
    static void name##_body(pTHX_ const ps_call *call, const I32 ax, const I32 items);                               \
    XS_EXTERNAL(xs_##name) {                                                                                         \
        dXSARGS;                                                                                                     \
        const ps_method_call *method = (const ps_method_call *)XSANY.any_ptr;                                        \
        if (UNLIKELY(items < method->least || items > method->most)) croak_xs_usage(cv, method->usage);              \
        PERL_UNUSED_VAR(mark);                                                                                       \
        name##_body(aTHX_ &method->call, ax, items);                                                                 \
    }                                                                                                                \
    PERL_STATIC_INLINE void name##_body(pTHX_ const ps_call *call, const I32 ax, const I32 items)

/* What an XSUB knows of itself. */
typedef struct {
    ps_call call;
    I32 least, most;
    const char *usage;
} ps_method_call;

/* Argument `i` as a plain scalar, undef where there are not so many. */
#define ARGUMENT(i) (items > (i) ? PS_VALUE(ST(i)) : &PL_sv_undef)

/* A body that returns what `expression` puts into TARG. */
#define GETTER(name, expression)                                                                                     \
    METHOD(name) {                                                                                                   \
        dXSTARG;                                                                                                     \
        PERL_UNUSED_VAR(items);                                                                                      \
        expression;                                                                                                  \
        ST(0) = TARG;                                                                                                \
        XSRETURN(1);                                                                                                 \
    }

/* A body that returns nothing. */
#define DEED(name, statement)                                                                                        \
    METHOD(name) {                                                                                                   \
        PERL_UNUSED_VAR(items);                                                                                      \
        statement;                                                                                                   \
        XSRETURN_EMPTY;                                                                                              \
    }

/* The bodies, by the file that they stand in. */
#define PS_BODY(name) XS_EXTERNAL(xs_##name)

/* ring.c */
PS_BODY(new);
PS_BODY(new_readonly);
PS_BODY(new_memfd);
PS_BODY(new_from_fd);
PS_BODY(publish);
PS_BODY(publish_multi);
PS_BODY(publish_notify);
PS_BODY(subscribe);
PS_BODY(memfd);
PS_BODY(ring_write_pos);
PS_BODY(ring_capacity);
PS_BODY(msg_size);
PS_BODY(path);
PS_BODY(stats);
PS_BODY(clear);
PS_BODY(sync);
PS_BODY(unlink);

/* sub.c */
PS_BODY(poll);
PS_BODY(drain);
PS_BODY(drain_notify);
PS_BODY(poll_wait);
PS_BODY(poll_wait_multi);
PS_BODY(poll_cb);
PS_BODY(sub_write_pos);
PS_BODY(sub_capacity);
PS_BODY(lag);
PS_BODY(overflow_count);
PS_BODY(has_overflow);
PS_BODY(cursor);
PS_BODY(reset);
PS_BODY(reset_oldest);
PS_BODY(fh);

/* look.c: private to the distribution */
PS_BODY(base);
PS_BODY(identity);
PS_BODY(claim_role);
SV *ps_inspected(pTHX_ SV *path);
SV *ps_checked(pTHX_ SV *path, bool all);
SV *ps_sized(pTHX_ U32 variant, UV capacity, UV msg_size, UV publishers);

/* both.c */
PS_BODY(fileno);
PS_BODY(eventfd);
PS_BODY(eventfd_set);
PS_BODY(notify);
PS_BODY(eventfd_consume);
PS_BODY(DESTROY);

#endif
