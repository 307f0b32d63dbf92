/* Methods: one C body for all variants, called under many names. Each file has the table of its methods. */
#ifndef PS_METHOD_H
#define PS_METHOD_H

#include "object.h"

/* A body: `call` names it in errors, ST(0) is the invocant. There are as many arguments as its table says. */
typedef void ps_body(pTHX_ const ps_call *call, I32 ax, I32 items);

/* Tables are constants: all interpreters of a process share them, even if several boot at the same instant. */
typedef struct {
    ps_call call;
    ps_body *body;
    I32 least, most; /* arguments, including the invocant */
    const char *usage;
} ps_method;

#define PS_METHOD(role, variant, name, body, flags, least, most, usage)                                              \
    { { &ps_classes[role][variant], name, flags }, body, least, most, usage },
/* The expansion of a macro for each variant. */
#define PS_EACH_NUMBER(macro) macro(PS_INT) macro(PS_INT32) macro(PS_INT16) macro(PS_NUM)
#define PS_EACH_VARIANT(macro) PS_EACH_NUMBER(macro) macro(PS_STR)
#define PS_LAST_METHOD { { NULL, NULL, 0 }, NULL, 0, 0, NULL }
#define PS_ANY I32_MAX

extern const ps_method ps_ring_methods[], ps_sub_methods[], ps_notifier_methods[], ps_object_methods[], ps_set_methods[];

/* DESTROY of all objects. */
ps_body ps_destroy;

/* ---- in a body ---- */

#define RING ((ps_ring *)ps_handle(aTHX_ call, ST(0)))
#define SUB ((ps_sub *)ps_handle(aTHX_ call, ST(0)))

/* Argument `i` as a plain scalar, undef if there are fewer arguments. */
#define ARGUMENT(i) (items > (i) ? PS_VALUE(ST(i)) : &PL_sv_undef)

/* Returns a value in the calling op's own scalar, if it has one. */
#define RETURN_TARG(set, value)                                                                                      \
    STMT_START {                                                                                                     \
        dXSTARG;                                                                                                     \
        set(TARG, value);                                                                                            \
        ST(0) = TARG;                                                                                                \
        XSRETURN(1);                                                                                                 \
    } STMT_END
#define RETURN_UV(value) RETURN_TARG(sv_setuv_mg, value)
#define RETURN_IV(value) RETURN_TARG(sv_setiv_mg, value)
#define RETURN_PV(value) RETURN_TARG(sv_setpv_mg, value)

/* ---- look.c ---- */

#define PS_PUT(hv, key, value) (void)hv_stores(hv, key, value)

/* The fields that rings and their files have in common; the waiters have another name in each. */
void ps_put_stats(pTHX_ HV *hv, const ps_stat *stats, bool is_str);

/* ---- also look.c: private to the distribution, called by name and not on objects ---- */

SV *ps_inspected(pTHX_ SV *path);
SV *ps_checked(pTHX_ SV *path, bool all);
SV *ps_inspected_readers(pTHX_ SV *path, bool waited_for);
SV *ps_reader_hash(pTHX_ const ps_reader *reader);
SV *ps_sized(pTHX_ U32 variant, UV capacity, UV msg_size, UV publishers, UV readers, bool stamped);

#endif
