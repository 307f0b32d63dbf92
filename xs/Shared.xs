/* The methods: one body for all four variants. A table says under which names, for which role and with how many arguments
 * each body is called; the class comes with the call. */

#include "object.h"
#include "keyword.h"

#include <fcntl.h>

#define RING ((ps_ring *)ps_handle(aTHX_ call, ST(0)))
#define SUB ((ps_sub *)ps_handle(aTHX_ call, ST(0)))

/* A body: `call` names it in errors, ST(0) is the invocant. The number of arguments was not checked yet. */
#define METHOD(name)                                                                                                 \
    static void name##_body(pTHX_ const ps_call *call, const I32 ax, const I32 items);                               \
    XS_INTERNAL(xs_##name) {                                                                                         \
        dXSARGS;                                                                                                     \
        const ps_method_call *method = (const ps_method_call *)XSANY.any_ptr;                                        \
        if (UNLIKELY(items < method->least || items > method->most)) croak_xs_usage(cv, method->usage);              \
        PERL_UNUSED_VAR(mark);                                                                                       \
        name##_body(aTHX_ &method->call, ax, items);                                                                 \
    }                                                                                                                \
    PERL_STATIC_INLINE void name##_body(pTHX_ const ps_call *call, const I32 ax, const I32 items)

#define ANY 0x7fff

/* What an XSUB knows of itself. */
typedef struct {
    ps_call call;
    I32 least, most;
    const char *usage;
} ps_method_call;

/* ---- constructors ---- */

static HV *stash_of(pTHX_ SV *class) {
    class = PS_VALUE(class);
    return SvROK(class) && SvOBJECT(SvRV(class)) ? SvSTASH(SvRV(class)) : gv_stashsv(class, GV_ADD);
}

/* A handle as a new object of the class that the caller named, or the error. */
#define RETURN_HANDLE(role, ring)                                                                                          \
    STMT_START {                                                                                                     \
        dSAVE_ERRNO;                                                                                                 \
        ps_ring *made = (ring);                                                                                      \
        if (!made) ps_fail(aTHX_ call, &error);                                                                      \
        RESTORE_ERRNO;                                                                                               \
        ST(0) = ps_object(aTHX_ &ps_classes[role][call->class->variant], stash, made);                              \
        XSRETURN(1);                                                                                                 \
    } STMT_END

#define RETURN_RING(ring) RETURN_HANDLE(PS_RING, ring)

#define MOST_CAPACITY ((UV)1 << 31)
#define MOST_MSG_SIZE (((UV)1 << 31) - 1)
#define DEFAULT_MSG_SIZE 256
#define DEFAULT_MODE 0600

static UV arg_capacity(pTHX_ const ps_call *call, SV *sv) {
    return ps_arg_uv(aTHX_ call, sv, "capacity", "an integer from 1 to 2147483648", 1, MOST_CAPACITY);
}

/* Argument `i` as a plain scalar, undef where there are not so many. */
#define ARGUMENT(i) (items > (i) ? PS_VALUE(ST(i)) : &PL_sv_undef)

/* The optional message size of a Str constructor. */
static UV arg_msg_size(pTHX_ const ps_call *call, SV *sv) {
    if (!PS_IS_STR(call->class)) return 0;
    if (!SvOK(sv)) return DEFAULT_MSG_SIZE;
    return ps_arg_uv(aTHX_ call, sv, "msg_size", "an integer from 1 to 2147483647", 1, MOST_MSG_SIZE);
}

static UV arg_mode(pTHX_ const ps_call *call, SV *sv) {
    return SvOK(sv) ? ps_arg_uv(aTHX_ call, sv, "mode", "an integer from 0 to 07777 (octal)", 0, 07777) : DEFAULT_MODE;
}

/* Bytes without a NUL among them. */
static const char *arg_name(pTHX_ const ps_call *call, SV *sv, const char *what, STRLEN *len) {
    const char *name = SvPVbyte(sv, *len);
    if (memchr(name, 0, *len)) ps_croak(aTHX_ call, "%s contains a NUL byte", what);
    return name;
}

METHOD(new) {
    HV *stash = stash_of(aTHX_ ST(0));
    const I32 next = PS_IS_STR(call->class) ? 4 : 3;
    SV *path_sv = ARGUMENT(1), *capacity_sv = ARGUMENT(2);
    const UV capacity = SvOK(capacity_sv) ? arg_capacity(aTHX_ call, capacity_sv) : 0;
    const UV msg_size = arg_msg_size(aTHX_ call, next == 4 ? ARGUMENT(3) : &PL_sv_undef);
    const UV mode = arg_mode(aTHX_ call, ARGUMENT(next));
    STRLEN len;
    const char *path;
    ps_error error;
    if (!SvOK(path_sv)) {
        if (!capacity) ps_croak(aTHX_ call, "capacity is required to create a ring");
        RETURN_RING(ps_ring_anonymous(call->class->variant, capacity, msg_size, &error));
    }
    path = arg_name(aTHX_ call, path_sv, "path", &len);
    RETURN_RING(ps_ring_open(call->class->variant, path, len, capacity, msg_size, (uint32_t)mode, &error));
}

METHOD(new_readonly) {
    HV *stash = stash_of(aTHX_ ST(0));
    SV *path_sv = ARGUMENT(1);
    STRLEN len;
    const char *path;
    ps_error error;
    if (!SvOK(path_sv)) ps_croak(aTHX_ call, "path is undefined");
    path = arg_name(aTHX_ call, path_sv, "path", &len);
    RETURN_HANDLE(PS_READER, ps_ring_open_read_only(call->class->variant, path, len, &error));
}

METHOD(new_memfd) {
    HV *stash = stash_of(aTHX_ ST(0));
    SV *name_sv = ARGUMENT(1);
    const UV capacity = arg_capacity(aTHX_ call, ARGUMENT(2));
    const UV msg_size = arg_msg_size(aTHX_ call, ARGUMENT(3));
    STRLEN len;
    const char *name = SvOK(name_sv) ? arg_name(aTHX_ call, name_sv, "name", &len) : "pubsub";
    ps_error error;
    RETURN_RING(ps_ring_memfd(call->class->variant, name, capacity, msg_size, &error));
}

METHOD(new_from_fd) {
    HV *stash = stash_of(aTHX_ ST(0));
    int fd = ps_arg_fd(aTHX_ call, ST(1), FALSE);
    ps_error error;
    PERL_UNUSED_VAR(items);
    RETURN_RING(ps_ring_from_fd(call->class->variant, fd, &error));
}

/* ---- what returns one value ---- */

#define GETTER(name, expression)                                                                                     \
    METHOD(name) {                                                                                                   \
        dXSTARG;                                                                                                     \
        PERL_UNUSED_VAR(items);                                                                                      \
        expression;                                                                                                  \
        ST(0) = TARG;                                                                                                \
        XSRETURN(1);                                                                                                 \
    }

GETTER(memfd, sv_setiv_mg(TARG, ps_memfd(RING)))
GETTER(ring_write_pos, sv_setuv_mg(TARG, ps_write_pos(RING)))
GETTER(sub_write_pos, sv_setuv_mg(TARG, ps_sub_write_pos(SUB)))
GETTER(sub_capacity, sv_setuv_mg(TARG, ps_sub_capacity(SUB)))
GETTER(lag, sv_setuv_mg(TARG, ps_lag(SUB)))
GETTER(overflow_count, sv_setuv_mg(TARG, ps_overflow_count(SUB)))
GETTER(ring_capacity, ps_stat stat; ps_stats(RING, &stat); sv_setuv_mg(TARG, stat.capacity))
GETTER(msg_size, ps_stat stat; ps_stats(RING, &stat); sv_setuv_mg(TARG, stat.msg_size))

METHOD(has_overflow) {
    PERL_UNUSED_VAR(items);
    ST(0) = boolSV(ps_has_overflow(SUB));
    XSRETURN(1);
}

METHOD(path) {
    size_t len;
    const char *path = ps_path(RING, &len);
    PERL_UNUSED_VAR(items);
    ST(0) = path ? newSVpvn_flags(path, len, SVs_TEMP) : &PL_sv_undef;
    XSRETURN(1);
}

METHOD(stats) {
    ps_stat stat;
    HV *hv;
    PERL_UNUSED_VAR(items);
    ps_stats(RING, &stat);
    hv = newHV();
    ST(0) = sv_2mortal(newRV_noinc((SV *)hv));
#define STAT(key, value) (void)hv_stores(hv, key, newSVuv(value))
    STAT("capacity", stat.capacity);
    STAT("mmap_size", stat.mmap_size);
    STAT("write_pos", stat.write_pos);
    STAT("publish_ok", stat.publish_ok);
    STAT("recoveries", stat.recoveries);
    STAT("abandoned", stat.abandoned);
    STAT("sub_waiters", stat.sub_waiters);
    if (PS_IS_STR(call->class)) {
        STAT("msg_size", stat.msg_size);
        STAT("arena_cap", stat.arena_len);
    }
    XSRETURN(1);
}

METHOD(cursor) {
    dXSTARG;
    ps_sub *sub = SUB;
    if (items > 1) {
        const ps_pin pin = ps_pinned(aTHX_ ST(0));
        UV position = ps_arg_uv(aTHX_ call, ST(1), "position", "a non-negative integer", 0, (UV)IV_MAX);
        sub = (ps_sub *)ps_repin(aTHX_ call, &pin);
        ps_seek(sub, position);
    }
    sv_setuv_mg(TARG, ps_cursor(sub));
    ST(0) = TARG;
    XSRETURN(1);
}

/* ---- what returns nothing ---- */

#define DEED(name, statement)                                                                                        \
    METHOD(name) {                                                                                                   \
        PERL_UNUSED_VAR(items);                                                                                      \
        statement;                                                                                                   \
        XSRETURN_EMPTY;                                                                                              \
    }

DEED(clear, (void)ps_clear(RING, NULL))
DEED(reset, ps_reset(SUB, FALSE))
DEED(reset_oldest, ps_reset(SUB, TRUE))
DEED(sync, ps_error error; if (!ps_sync(RING, &error)) ps_fail(aTHX_ call, &error))

/* Also called by perl for hand-blessed references and twice for one object: anything but a live object is fine. */
DEED(DESTROY, ps_destroy(aTHX_ call, ST(0)))

METHOD(unlink) {
    ps_error error;
    const char *path;
    size_t size = 0;
    STRLEN len = 0;
    if (items == 1) {
        if (!SvROK(ST(0))) ps_croak(aTHX_ call, "path is required to unlink by class");
        path = ps_path(RING, &size);
        if (!path) ps_croak(aTHX_ call, "this ring has no path");
        len = size;
    } else {
        SV *path_sv = ARGUMENT(1);
        if (!SvOK(path_sv)) ps_croak(aTHX_ call, "path is undefined");
        path = arg_name(aTHX_ call, path_sv, "path", &len);
    }
    if (!ps_unlink(path, len, &error)) ps_fail(aTHX_ call, &error);
    XSRETURN_YES;
}

/* ---- publishing ---- */

METHOD(publish) {
    PERL_UNUSED_VAR(items);
    ps_publish(aTHX_ call, ax);
    XSRETURN_YES;
}

METHOD(publish_multi) {
    dXSTARG;
    sv_setuv_mg(TARG, ps_publish_multi(aTHX_ call, ax, items - 1));
    ST(0) = TARG;
    XSRETURN(1);
}

METHOD(publish_notify) {
    PERL_UNUSED_VAR(items);
    ps_publish(aTHX_ call, ax);
    /* The message is published: a descriptor that somebody closed is no reason to say otherwise. */
    (void)ps_notifier_notify(ps_ring_notifier(RING), NULL);
    XSRETURN_YES;
}

METHOD(subscribe) {
    const ps_class *class = &ps_classes[PS_SUB][call->class->variant];
    ps_sub *sub = ps_subscribe(RING, strEQ(call->name, "subscribe_all"));
    PERL_UNUSED_VAR(items);
    ST(0) = ps_object(aTHX_ class, gv_stashpv(class->package, GV_ADD), sub);
    XSRETURN(1);
}

/* ---- polling ---- */

METHOD(poll) {
    SV *targ = PL_op->op_private & OPpENTERSUB_HASTARG ? PAD_SV(PL_op->op_targ) : NULL;
    PERL_UNUSED_VAR(items);
    ST(0) = ps_next(aTHX_ call->class, SUB, targ);
    XSRETURN(1);
}

#define CHUNK 256

/* Puts up to `most` messages that stand before the inner position `end` on the stack from ST(0) on. Returns how many. */
static SSize_t deliver(pTHX_ const ps_call *call, I32 ax, ps_sub *sub, UV most, uint64_t end) {
    SSize_t count = 0, expected;
    UV held = ps_sub_capacity(sub), lag = ps_lag(sub);
    if (most > lag) most = lag;
    if (most > held) most = held;
    expected = (SSize_t)most;
    {
        SV **sp = PL_stack_base + ax - 1;
        EXTEND(sp, expected);
        EXTEND_MORTAL(expected);
    }
#define PUSH_MORTAL(new_sv)                                                                                          \
    STMT_START {                                                                                                     \
        SV *pushed = (new_sv);                                                                                       \
        SvTEMP_on(pushed);                                                                                           \
        PL_tmps_stack[++PL_tmps_ix] = pushed;                                                                        \
        ST(count++) = pushed;                                                                                        \
    } STMT_END
    if (PS_IS_STR(call->class)) {
        SV *sv;
        while (count < expected && (sv = ps_next_str(aTHX_ sub, end))) PUSH_MORTAL(sv);
    } else {
        int64_t values[CHUNK];
        size_t want, got, i;
        do {
            want = expected - count < CHUNK ? (size_t)(expected - count) : CHUNK;
            got = ps_poll_ints(sub, values, want, end);
            for (i = 0; i < got; i++) PUSH_MORTAL(newSViv((IV)values[i]));
        } while (got == want && count < expected);
    }
    return count;
}

/* How many the caller wants: argument `i`, all where it is missing or undef. The subscriber afterwards. */
static ps_sub *count_argument(pTHX_ const ps_call *call, I32 ax, I32 items, I32 i, UV *most) {
    ps_sub *sub = SUB;
    if (items <= i) {
        *most = UV_MAX;
    } else if (PS_PLAIN_IV(ST(i)) && SvIVX(ST(i)) >= 0) {
        *most = SvUVX(ST(i));
    } else {
        const ps_pin pin = ps_pinned(aTHX_ ST(0));
        *most = ps_arg_count(aTHX_ call, ST(i));
        sub = (ps_sub *)ps_repin(aTHX_ call, &pin);
    }
    return sub;
}

METHOD(drain) {
    UV most;
    ps_sub *sub = count_argument(aTHX_ call, ax, items, 1, &most);
    XSRETURN(deliver(aTHX_ call, ax, sub, most, ps_end(sub)));
}

METHOD(drain_notify) {
    UV most;
    SSize_t count;
    uint64_t taken;
    ps_error error;
    ps_sub *sub = count_argument(aTHX_ call, ax, items, 1, &most);
    if (ps_notifier_consume(ps_sub_notifier(sub), &taken, &error) < 0) ps_fail(aTHX_ call, &error);
    count = deliver(aTHX_ call, ax, sub, most, ps_end(sub));
    /* The drain ended at a claim whose publisher has not committed. If it died, nobody rings for what stands behind. */
    if ((UV)count < most && ps_lag(sub)) (void)ps_notifier_notify(ps_sub_notifier(sub), NULL);
    XSRETURN(count);
}

/* Sleeps until there is a message or the deadline passes; signal handlers run meanwhile, and may die or destroy the
 * object. The subscriber if there is a message, otherwise NULL. */
static ps_sub *wait_for_message(pTHX_ const ps_call *call, const ps_pin *pin, uint64_t deadline) {
    for (;;) {
        ps_sub *sub = (ps_sub *)ps_repin(aTHX_ call, pin);
        dSAVE_ERRNO;
        int how = ps_wait(sub, deadline);
        RESTORE_ERRNO;
        switch (how) {
        case PS_READY:
            return sub;
        case PS_TIMED_OUT:
            return NULL;
        default:
            PERL_ASYNC_CHECK();
        }
    }
}

/* When to stop waiting: argument `i` in seconds. A plain number has no effects and is looked at by the clock only if there
 * is nothing to read at once. */
typedef struct {
    SV *plain;
    uint64_t deadline;
} timeout;

static timeout timeout_argument(pTHX_ const ps_call *call, I32 ax, I32 items, I32 i) {
    timeout wanted = { NULL, PS_NEVER };
    if (items > i) {
        SV *sv = ST(i);
        if (PS_PLAIN_IV(sv)) {
            wanted.plain = sv;
        } else {
            const ps_pin pin = (SUB, ps_pinned(aTHX_ ST(0)));
            wanted.deadline = ps_arg_deadline(aTHX_ call, sv);
            ps_repin(aTHX_ call, &pin);
        }
    }
    return wanted;
}

static uint64_t deadline_of(pTHX_ const ps_call *call, const timeout *wanted) {
    return wanted->plain ? ps_arg_deadline(aTHX_ call, wanted->plain) : wanted->deadline;
}

METHOD(poll_wait) {
    const timeout wanted = timeout_argument(aTHX_ call, ax, items, 1);
    ps_sub *sub = SUB;
    SV *message = ps_next(aTHX_ call->class, sub, NULL);
    if (message == &PL_sv_undef) {
        const ps_pin pin = ps_pinned(aTHX_ ST(0));
        const uint64_t deadline = deadline_of(aTHX_ call, &wanted);
        while (message == &PL_sv_undef && deadline && (sub = wait_for_message(aTHX_ call, &pin, deadline))) {
            message = ps_next(aTHX_ call->class, sub, NULL);
        }
    }
    ST(0) = message;
    XSRETURN(1);
}

METHOD(poll_wait_multi) {
    UV most;
    ps_sub *sub = count_argument(aTHX_ call, ax, items, 1, &most);
    const timeout wanted = timeout_argument(aTHX_ call, ax, items, 2);
    SSize_t count;
    sub = SUB;
    count = deliver(aTHX_ call, ax, sub, most, ps_end(sub));
    if (!count && most) {
        const ps_pin pin = ps_pinned(aTHX_ ST(0));
        const uint64_t deadline = deadline_of(aTHX_ call, &wanted);
        while (!count && deadline && (sub = wait_for_message(aTHX_ call, &pin, deadline))) {
            count = deliver(aTHX_ call, ax, sub, most, ps_end(sub));
        }
    }
    XSRETURN(count);
}

/* The next message before the inner position `end`, in a scalar that `holder` refers to and owns, or NULL. Integers go into
 * the last message's scalar again, unless the handler kept it or made something else of it. */
static SV *next_for_handler(pTHX_ const ps_call *call, ps_sub *sub, uint64_t end, SV *holder) {
    SV *last = SvRV(holder), *message;
    if (PS_IS_STR(call->class)) {
        message = ps_next_str(aTHX_ sub, end);
    } else {
        int64_t value;
        if (!ps_poll_ints(sub, &value, 1, end)) return NULL;
        if (SvREFCNT(last) == 1 && SvFLAGS(last) == (SVt_IV | SVf_IOK | SVp_IOK)) {
            SvIV_set(last, (IV)value);
            return last;
        }
        message = newSViv((IV)value);
    }
    if (message) {
        SvRV_set(holder, message);
        SvREFCNT_dec_NN(last);
    }
    return message;
}

METHOD(poll_cb) {
    dXSTARG;
    const ps_pin pin = (SUB, ps_pinned(aTHX_ ST(0)));
    SV *code = (SV *)ps_arg_code(aTHX_ call, ST(1));
    ps_sub *sub = (ps_sub *)ps_repin(aTHX_ call, &pin);
    const uint64_t end = ps_end(sub);
    SV *holder = sv_2mortal(newRV_noinc(newSV(0))), *message;
    UV count = 0;
    dSP;
    PERL_UNUSED_VAR(items);
    sv_2mortal(SvREFCNT_inc_simple_NN(code));
    /* On a stack of its own a handler cannot `last` or `goto` out of this call, which perl would not survive. */
    PUSHSTACKi(PERLSI_UNKNOWN);
    ENTER;
    SAVETMPS;
    while ((message = next_for_handler(aTHX_ call, sub, end, holder))) {
        PUSHMARK(SP);
        XPUSHs(message);
        PUTBACK;
        call_sv(code, G_VOID);
        SP = PL_stack_base;
        PUTBACK;
        FREETMPS;
        count++;
        sub = (ps_sub *)ps_repin(aTHX_ call, &pin);
    }
    LEAVE;
    POPSTACK;
    sv_setuv_mg(TARG, count);
    ST(0) = TARG;
    XSRETURN(1);
}

/* ---- descriptors ---- */

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

/* The descriptor that the handle stands for; -1 where it was closed. */
static int fd_of(pTHX_ SV *fh) {
    IO *io = fh ? GvIO((GV *)fh) : NULL;
    return io && IoIFP(io) ? PerlIO_fileno(IoIFP(io)) : -1;
}

/* A file handle of its own on the subscriber's descriptor, the same one each time until it is closed, or a fork. The magic
 * keeps it, and the descriptor that it was made for (a new one is never equal in its last 16 bits: the old one is open still). */
METHOD(fh) {
    ps_error error;
    ps_sub *sub = SUB;
    MAGIC *mg = ps_magic_for(call, ST(0));
    int fd = ps_watch(sub, &error);
    PERL_UNUSED_VAR(items);
    if (fd < 0) ps_fail(aTHX_ call, &error);
    if (fd_of(aTHX_ mg->mg_obj) < 0 || mg->mg_private != (U16)fd) {
        const int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        PerlIO *io = own < 0 ? NULL : PerlIO_fdopen(own, "r");
        GV *gv = (GV *)newSV(0);
        gv_init_pvn(gv, gv_stashpvs("IO::File", GV_ADD), "fh", 2, 0);
        if (!io) {
            SvREFCNT_dec(gv);
            ps_croak(aTHX_ call, "fdopen: %s", Strerror(errno));
        }
        IoIFP(GvIOn(gv)) = io;
        IoTYPE(GvIO(gv)) = IoTYPE_RDONLY;
        SvREFCNT_dec(mg->mg_obj);
        mg->mg_obj = (SV *)gv;
        mg->mg_private = (U16)fd;
        mg->mg_flags |= MGf_REFCOUNTED;
    }
    ST(0) = sv_2mortal(newRV_inc(mg->mg_obj));
    XSRETURN(1);
}

/* ---- the table ---- */

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
