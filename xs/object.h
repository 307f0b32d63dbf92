/* Perl objects with a native handle, and the first steps of every call: recognise the object, convert the arguments.
 *
 * An object is a blessed reference to a scalar with extension magic. The address of the magic's table identifies the class
 * of handle, regardless of the package of the reference. mg_ptr is the handle, NULL once it was destroyed.
 *
 * Perl code may run inside a call: get-magic, overloading, warning handlers, signal handlers, callbacks. It may destroy, replace
 * or re-enter the object, or free the arguments. A call that may run Perl code takes a ps_pin first and gets the handle from
 * ps_repin afterwards.
 */
#ifndef PS_OBJECT_H
#define PS_OBJECT_H

#define PERL_NO_GET_CONTEXT
#include "EXTERN.h"
#include "perl.h"
#include "XSUB.h"

#include "pubsub.h"

#ifndef TARGi /* before 5.24 */
#define TARGi(i, do_taint) sv_setiv_mg(targ, i)
#define TARGn(n, do_taint) sv_setnv_mg(targ, n)
#endif

/* For functions called with a constant variant: inlined, they have no branches for other variants. */
#define PS_INLINE static inline __attribute__((always_inline))

/* For Perl a read-only handle is a ring; for calls that write it is a separate role. */
enum ps_role { PS_RING, PS_READER, PS_SUB, PS_SET };

/* A class of objects: one for each role and variant, and one for sets. */
typedef struct {
    const char *package;
    MGVTBL vtbl; /* its address identifies the class */
    U32 variant;
    enum ps_role role;
} ps_class;

extern const ps_class ps_classes[3][PS_NUM + 1], ps_set_class;

#define PS_IS_STR(class) ((class)->variant == PS_STR)
#define PS_IS_NUM(class) ((class)->variant == PS_NUM)

/* The name of a call in errors: class and method, or a keyword. */
typedef struct {
    const ps_class *class;
    const char *name;
    U8 flags;
} ps_call;

enum {
    PS_KEYWORD = 1,
    PS_READS = 2,         /* allowed on a read-only handle */
    PS_TAKES_MODE = 4,    /* a constructor of files */
    PS_FROM_OLDEST = 8,   /* subscribes from the oldest message on */
    PS_UNDEF_IS_ALL = 16, /* a count may be undef */
    PS_WAITED_FOR = 32,   /* only the readers that publishers wait for */
    PS_NEWEST = 64,       /* skips all but the newest message */
    PS_PINS_ITSELF = 128  /* keeps its many arguments alive itself, if necessary */
};

/* Croaks with the call and the cause. */
void ps_croak(pTHX_ const ps_call *call, const char *format, ...) __attribute__noreturn__ __attribute__format__(__printf__, pTHX_2, pTHX_3);
void ps_fail(pTHX_ const ps_call *call, const ps_error *error) __attribute__noreturn__;

/* The package of a constructor's object. */
HV *ps_stash_of(pTHX_ SV *class);

/* Makes an object of the class, blessed into stash; returns a mortal reference. */
SV *ps_object(pTHX_ const ps_class *class, HV *stash, void *handle);

/* The package of objects made by an object: the class's own, or the result of the hook, a method of subclasses. May run Perl
 * code. */
HV *ps_stash_of_made(pTHX_ const ps_call *call, SV *self, const char *hook, const ps_class *made);

/* In mg_private of a ring's magic: rejects references as messages. */
#define PS_REFUSES_REFS 1

/* The cold path of ps_handle: runs get-magic for the object, and croaks if there is none. */
void *ps_handle_slow(pTHX_ const ps_call *call, SV *self);

PERL_STATIC_INLINE MAGIC *ps_magic(const ps_class *class, SV *body) {
    MAGIC *mg = NULL;
    if (SvTYPE(body) >= SVt_PVMG) {
        for (mg = SvMAGIC(body); mg && mg->mg_virtual != &class->vtbl; mg = mg->mg_moremagic) {}
    }
    return mg;
}

/* The magic of an object that the call may use, or NULL. */
PERL_STATIC_INLINE MAGIC *ps_magic_for(const ps_call *call, SV *self) {
    MAGIC *mg = SvROK(self) ? ps_magic(call->class, SvRV(self)) : NULL;
    if (!mg && (call->flags & PS_READS) && SvROK(self)) mg = ps_magic(&ps_classes[PS_READER][call->class->variant], SvRV(self));
    return mg;
}

/* The native handle of the invocant. Croaks if it is not a live object of the call's class; otherwise runs no Perl code. */
PS_INLINE void *ps_handle(pTHX_ const ps_call *call, SV *self) {
    if (LIKELY((SvFLAGS(self) & (SVf_ROK | SVs_GMG)) == SVf_ROK)) {
        MAGIC *mg = ps_magic(call->class, SvRV(self));
        if (LIKELY(mg && mg->mg_ptr)) return mg->mg_ptr;
    }
    return ps_handle_slow(aTHX_ call, self);
}

/* An invocant that Perl code cannot free during the call, and the object that it held at the beginning. */
typedef struct {
    SV *self, *body;
} ps_pin;

/* Valid until the caller's FREETMPS. ps_handle must have accepted the invocant. */
ps_pin ps_pinned(pTHX_ SV *self);

/* Keeps the invocant's `count` arguments alive until the caller's FREETMPS, even if Perl code releases them. */
void ps_pin_arguments(pTHX_ SSize_t at, SSize_t count);

/* The content of a set's object: the core's set, and references to its subscribers. */
typedef struct {
    ps_set *set;
    AV *list;
} ps_members;

void ps_members_free(pTHX_ ps_members *members);

/* The magic of a subscriber of any variant, destroyed or not, or NULL. */
PERL_STATIC_INLINE MAGIC *ps_sub_magic(SV *body) {
    MAGIC *mg = NULL;
    U32 variant;
    for (variant = PS_INT; variant <= PS_NUM && !mg; variant++) mg = ps_magic(&ps_classes[PS_SUB][variant], body);
    return mg;
}

/* A file handle for an object's descriptor, the same one each time until it is closed, or a fork; mortal. */
SV *ps_fh(pTHX_ const ps_call *call, MAGIC *mg, int fd, bool first);

/* Closes an object's file handle, but not its descriptor if the number is no longer the object's. */
void ps_disown_closed(pTHX_ const ps_class *class, const MAGIC *mg);

/* Returns the handle again after Perl code ran. Croaks if the object was destroyed, or is no longer in the caller's variable. */
void *ps_repin(pTHX_ const ps_call *call, const ps_pin *pin);

/* ---- arguments ---- */

/* Whether converting sv to an integer, or to bytes, certainly runs no Perl code, not even a warning's handler. */
#define PS_PLAIN_IV(sv) ((SvFLAGS(sv) & (SVf_IOK | SVs_GMG | SVf_ROK)) == SVf_IOK)
#define PS_PLAIN_PV(sv) ((SvFLAGS(sv) & (SVf_POK | SVs_GMG | SVf_ROK)) == SVf_POK)

/* The floating-point number of sv, if converting it certainly runs no Perl code. */
PS_INLINE bool ps_plain_num(SV *sv, double *to) {
    const U32 flags = SvFLAGS(sv) & (SVf_NOK | SVf_IOK | SVf_IVisUV | SVs_GMG | SVf_ROK);
    if (LIKELY((flags & (SVf_NOK | SVs_GMG | SVf_ROK)) == SVf_NOK)) *to = (double)SvNVX(sv);
    else if (flags == SVf_IOK) *to = (double)SvIVX(sv);
    else return FALSE;
    return TRUE;
}

/* The value of an argument without magic, so that it is fetched only once. */
#define PS_VALUE(sv) (SvGMAGICAL(sv) ? sv_mortalcopy(sv) : (sv))

/* These may run Perl code. Each croaks with `what` and the value if the value is out of range. */
UV ps_arg_uv(pTHX_ const ps_call *call, SV *sv, const char *what, const char *range, UV least, UV most);
/* Drops a fraction. Returns UV_MAX, which means all, for a negative number, and with `or_all` for undef. */
UV ps_arg_count(pTHX_ const ps_call *call, SV *sv, bool or_all);
int ps_arg_fd(pTHX_ const ps_call *call, SV *sv, bool or_none);
/* The deadline on the monotonic clock of a timeout in seconds; 0 means: do not wait. */
uint64_t ps_arg_deadline(pTHX_ const ps_call *call, SV *sv);
/* Prefixes, a string or a list of strings; the bytes stay valid until the caller's FREETMPS. */
ps_bytes *ps_arg_prefixes(pTHX_ const ps_call *call, SV *sv, size_t *count);
/* A handler's code. */
CV *ps_arg_code(pTHX_ const ps_call *call, SV *sv);

/* ---- messages ---- */

/* Publish the arguments after the invocant, which is PL_stack_base[at]: an index, because Perl code may move the stack. In a
 * lossless ring they wait for room, and return false after the deadline. */
bool ps_publish_slow(pTHX_ const ps_call *call, SSize_t at, uint64_t deadline);
UV ps_publish_multi(pTHX_ const ps_call *call, SSize_t at, SSize_t count);
UV ps_publish_packed_sv(pTHX_ const ps_call *call, SSize_t at);

PS_INLINE void ps_publish(pTHX_ const ps_call *call, U32 variant, SSize_t at) {
    SV *value = PL_stack_base[at + 1];
    const ps_ring *ring = (const ps_ring *)ps_handle(aTHX_ call, PL_stack_base[at]);
    if (variant == PS_NUM) {
        double number;
        if (LIKELY(ps_plain_num(value, &number) && ps_publish_num(ring, number, NULL))) return;
    } else if (variant != PS_STR) {
        if (LIKELY(PS_PLAIN_IV(value) && ps_publish_int(ring, SvIVX(value), NULL))) return;
    } else if (LIKELY(PS_PLAIN_PV(value))) {
        const ps_bytes message = { SvPVX_const(value), SvCUR(value), !!SvUTF8(value) };
        if (LIKELY(ps_publish_strs(ring, &message, 1, NULL))) return;
    }
    (void)ps_publish_slow(aTHX_ call, at, PS_NEVER);
}

/* The size of a packed number in bytes. */
PERL_STATIC_INLINE STRLEN ps_width(const ps_class *class) {
    static const U8 widths[] = { 0, 8, 4, 2, 0, 8 };
    return widths[class->variant];
}

/* A message that is a number, for a class of integers or doubles. */
typedef union {
    int64_t iv;
    double nv;
} ps_number;

/* Messages are tainted under -T, like data read by shmread. */
PERL_STATIC_INLINE SV *ps_new_number(pTHX_ U32 variant, const ps_number *value) {
    SV *sv = variant == PS_NUM ? newSVnv((NV)value->nv) : newSViv((IV)value->iv);
    SvTAINTED_on(sv);
    return sv;
}

/* Reads up to `count` numbers before the internal position `end`, as ps_poll_ints. */
PERL_STATIC_INLINE int64_t ps_next_numbers(const ps_class *class, ps_sub *sub, ps_number *to, size_t count, uint64_t end) {
    if (PS_IS_NUM(class)) return ps_poll_packed(sub, to, count * sizeof *to, end, NULL);
    return ps_poll_ints(sub, &to->iv, count, end, NULL);
}
/* Called after `how` of ps_wait_for_room or ps_wait_for_readers: runs signal handlers, and sets *ring to the handle afterwards.
 * Returns false if the wait is over. */
bool ps_waits_on(pTHX_ const ps_call *call, const ps_pin *pin, int how, const ps_error *error, const ps_ring **ring);

/* Runs handlers of pending signals, which may die or destroy the object. Returns the subscriber afterwards. */
PERL_STATIC_INLINE ps_sub *ps_after_signals(pTHX_ const ps_call *call, const ps_pin *pin) {
    PERL_ASYNC_CHECK();
    return (ps_sub *)ps_repin(aTHX_ call, pin);
}

/* Returns the next message, or undef, after ps_next has set *more. Runs signal handlers. */
SV *ps_next_further(pTHX_ const ps_call *call, SV *self, SV *targ);

/* Copies the string that was found to our scalar, which is undef. Returns false if the string was overwritten in the meantime. */
PERL_STATIC_INLINE bool ps_copy_to(pTHX_ ps_sub *sub, const ps_found *found, SV *sv) {
    char *to = SvGROW(sv, ((STRLEN)found->len + 8) & ~(STRLEN)7);
    if (UNLIKELY(!ps_copy(sub, found, to))) return FALSE;
    to[found->len] = '\0';
    SvCUR_set(sv, found->len);
    SvPOK_only(sv);
    /* The flag was set by another process, and perl reads and writes out of bounds if it is wrong. Perl's own test accepts more
     * characters than Unicode has, and takes more time. */
    if (found->utf8 && (LIKELY(ps_is_utf8(to, found->len)) || is_utf8_string((const U8 *)to, found->len))) SvUTF8_on(sv);
    SvTAINTED_on(sv);
    return TRUE;
}

/* The next string before the internal position `end` in our scalar, which is undef. If strings are overwritten during the copy,
 * it tries no more messages than were in the ring after the first failure. */
bool ps_next_str_in(pTHX_ ps_sub *sub, uint64_t end, SV *sv, bool *more);

/* The same, after a string was overwritten during the copy to sv. Returns sv, or frees it and returns NULL. */
SV *ps_next_str_again(pTHX_ ps_sub *sub, uint64_t end, SV *sv, bool *more);

/* The next string before the internal position `end` as a new scalar with one reference, or NULL. */
PERL_STATIC_INLINE SV *ps_next_str(pTHX_ ps_sub *sub, uint64_t end, bool *more) {
    ps_found found;
    const int got = ps_find(sub, end, &found, NULL);
    if (LIKELY(got == 1)) {
        SV *sv = newSV_type(SVt_PV);
        return LIKELY(ps_copy_to(aTHX_ sub, &found, sv)) ? sv : ps_next_str_again(aTHX_ sub, end, sv, more);
    }
    *more = got == PS_MORE;
    return NULL;
}

/* The next message, or undef: a number in targ (a new mortal if that is NULL), a string in a new mortal. Sets *more if it returns
 * undef before it has reached the end: then call ps_next_further. */
PS_INLINE SV *ps_next(pTHX_ U32 variant, ps_sub *sub, SV *targ, bool *more) {
    if (variant == PS_STR) {
        SV *sv = ps_next_str(aTHX_ sub, UINT64_MAX, more);
        return sv ? sv_2mortal(sv) : &PL_sv_undef;
    } else {
        ps_number value;
        const bool is_num = variant == PS_NUM;
        const int got = is_num ? ps_poll_num(sub, &value.nv, NULL) : ps_poll_int(sub, &value.iv, NULL);
        *more = got == PS_MORE;
        if (got != 1) return &PL_sv_undef;
        if (!targ) return sv_2mortal(ps_new_number(aTHX_ variant, &value));
        if (is_num) TARGn((NV)value.nv, 1);
        else TARGi((IV)value.iv, 1);
        SvTAINTED_on(targ);
        return targ;
    }
}

#endif
