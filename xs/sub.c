/* The methods of subscribers: polling, waiting, callbacks, positions. */

#include "method.h"

/* ---- polling ---- */

/* The calling op's own scalar, if it has one: cheaper than a new scalar for each integer. */
#define OWN_TARG (PL_op->op_private & OPpENTERSUB_HASTARG ? PAD_SV(PL_op->op_targ) : NULL)

static void sub_poll(pTHX_ const ps_call *call, I32 ax, I32 items) {
    bool more = FALSE;
    SV *targ = OWN_TARG, *message = ps_next(aTHX_ call->class->variant, SUB, targ, &more);
    if (UNLIKELY(message == &PL_sv_undef && more)) message = ps_next_further(aTHX_ call, ST(0), targ);
    ST(0) = message;
    XSRETURN(1);
}

#define CHUNK 256

/* Puts up to `most` messages before the internal position `end` on the stack from ST(0) on. Returns their number, and whether it
 * ended at many positions whose publishers died. */
static SSize_t deliver_piece(pTHX_ const ps_call *call, I32 ax, ps_sub *sub, UV most, uint64_t end, bool *more) {
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
        ps_found next;
        while (count < expected && (sv = ps_next_str(aTHX_ sub, end, more))) PUSH_MORTAL(sv);
        /* Let the subscriber find the ring empty, so that it updates its position in the table of readers. */
        if (count == expected && most == lag) (void)ps_find(sub, end, &next, NULL);
    } else {
        ps_number values[CHUNK];
        int64_t want, got, i;
        do {
            want = expected - count < CHUNK ? expected - count : CHUNK;
            got = ps_next_numbers(call->class, sub, values, (size_t)want, end);
            for (i = 0; i < got; i++) PUSH_MORTAL(ps_new_number(aTHX_ call->class->variant, &values[i]));
        } while (got == want && count < expected);
        *more = got == -2;
    }
    return count;
}

/* The same, but skips all positions of dead publishers before the first message. Messages after such positions in the middle are
 * left for the next call: messages that were taken must not get lost if a signal handler dies. */
static SSize_t deliver(pTHX_ const ps_call *call, I32 ax, ps_sub *sub, UV most, uint64_t end) {
    bool more = FALSE;
    SSize_t count = deliver_piece(aTHX_ call, ax, sub, most, end, &more);
    if (UNLIKELY(!count && more)) {
        const ps_pin pin = ps_pinned(aTHX_ ST(0));
        do {
            sub = ps_after_signals(aTHX_ call, &pin);
            count = deliver_piece(aTHX_ call, ax, sub, most, end, &more);
        } while (!count && more);
    }
    return count;
}

/* Sets the count from argument `i`: all if it is left out, or undef in a drain. Returns the subscriber afterwards. */
static ps_sub *count_argument(pTHX_ const ps_call *call, I32 ax, I32 items, I32 i, UV *most) {
    ps_sub *sub = SUB;
    if (items <= i) {
        *most = UV_MAX;
    } else if (PS_PLAIN_IV(ST(i)) && SvIVX(ST(i)) >= 0) {
        *most = SvUVX(ST(i));
    } else {
        const ps_pin pin = ps_pinned(aTHX_ ST(0));
        /* `poll_multi` and `poll_wait_multi` need a count. */
        *most = ps_arg_count(aTHX_ call, ST(i), !!(call->flags & PS_UNDEF_IS_ALL));
        sub = (ps_sub *)ps_repin(aTHX_ call, &pin);
    }
    return sub;
}

static void sub_drain(pTHX_ const ps_call *call, I32 ax, I32 items) {
    UV most;
    ps_sub *sub = count_argument(aTHX_ call, ax, items, 1, &most);
    XSRETURN(deliver(aTHX_ call, ax, sub, most, ps_end(sub)));
}

static void sub_drain_notify(pTHX_ const ps_call *call, I32 ax, I32 items) {
    UV most;
    SSize_t count;
    uint64_t taken;
    ps_error error;
    ps_sub *sub = count_argument(aTHX_ call, ax, items, 1, &most);
    if (ps_notifier_consume(ps_sub_notifier(sub), &taken, &error) < 0) ps_fail(aTHX_ call, &error);
    count = deliver(aTHX_ call, ax, sub, most, ps_end(sub));
    /* The drain ended at a claim whose publisher has not committed. If it died, no notification follows for the messages after
     * it. */
    if ((UV)count < most && ps_lag(sub)) (void)ps_notifier_notify(ps_sub_notifier(sub), NULL);
    XSRETURN(count);
}

/* As drain, but returns the numbers in one string, as `pack` does. */
static void sub_drain_packed(pTHX_ const ps_call *call, I32 ax, I32 items) {
    const STRLEN width = ps_width(call->class);
    UV most, lag, held;
    ps_sub *sub = count_argument(aTHX_ call, ax, items, 1, &most);
    const uint64_t end = ps_end(sub);
    SV *packed = sv_newmortal();
    int64_t got;
    sv_setpvs(packed, "");
    for (;;) {
        held = ps_sub_capacity(sub);
        lag = ps_lag(sub);
        if (most > lag) most = lag;
        if (most > held) most = held;
        SvGROW(packed, most * width + 1);
        got = ps_poll_packed(sub, SvPVX(packed), most * width, end, NULL);
        if (LIKELY(got != -2)) break;
        {
            const ps_pin pin = ps_pinned(aTHX_ ST(0));
            sub = ps_after_signals(aTHX_ call, &pin);
        }
    }
    SvCUR_set(packed, (STRLEN)got * width);
    *SvEND(packed) = '\0';
    SvTAINTED_on(packed);
    ST(0) = packed;
    XSRETURN(1);
}

/* Sleeps until there is a message or the deadline passes. Signal handlers run during the sleep, and may die or destroy the
 * object. Returns the subscriber if there is a message, otherwise NULL. `again`: there was a message, but it was overwritten
 * before it could be delivered; this may repeat while publishers are busy. */
static ps_sub *wait_for_message(pTHX_ const ps_call *call, const ps_pin *pin, uint64_t deadline, bool again) {
    if (again) {
        PERL_ASYNC_CHECK();
        if (ps_now() >= deadline) return NULL;
    }
    for (;;) {
        ps_sub *sub = (ps_sub *)ps_repin(aTHX_ call, pin);
        dSAVE_ERRNO;
        int how = ps_wait(sub, deadline, (const int *)&PL_sig_pending);
        RESTORE_ERRNO;
        switch (how) {
        case PS_READY:
            return sub;
        case PS_TIMED_OUT:
        case PS_GONE:
            return NULL;
        default:
            PERL_ASYNC_CHECK();
        }
    }
}

/* The deadline of argument `i` in seconds. For a plain number, the clock is read only if there is no message yet. */
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

static void sub_poll_wait(pTHX_ const ps_call *call, I32 ax, I32 items) {
    const bool newest = !!(call->flags & PS_NEWEST);
    timeout wanted = timeout_argument(aTHX_ call, ax, items, 1);
    ps_sub *sub = SUB;
    bool more = FALSE;
    SV *targ = OWN_TARG, *message;
    if (newest) {
        if (items == 1) wanted.deadline = 0;
        ps_skip_to_newest(sub);
    }
    message = ps_next(aTHX_ call->class->variant, sub, targ, &more);
    if (message == &PL_sv_undef) {
        const ps_pin pin = ps_pinned(aTHX_ ST(0));
        const uint64_t deadline = deadline_of(aTHX_ call, &wanted);
        /* One scalar for all tries: a large one costs as much to make as to fill. */
        SV *string = deadline && PS_IS_STR(call->class) ? sv_2mortal(newSV_type(SVt_PV)) : NULL;
        bool again = FALSE;
        if (!deadline && more) message = ps_next_further(aTHX_ call, ST(0), targ);
        while (message == &PL_sv_undef && deadline && (sub = wait_for_message(aTHX_ call, &pin, deadline, again))) {
            if (newest) ps_skip_to_newest(sub);
            if (!string) message = ps_next(aTHX_ call->class->variant, sub, targ, &more);
            else if (ps_next_str_in(aTHX_ sub, UINT64_MAX, string, &more)) message = string;
            again = TRUE;
        }
    }
    ST(0) = message;
    XSRETURN(1);
}

static void sub_poll_wait_multi(pTHX_ const ps_call *call, I32 ax, I32 items) {
    UV most;
    ps_sub *sub = count_argument(aTHX_ call, ax, items, 1, &most);
    const timeout wanted = timeout_argument(aTHX_ call, ax, items, 2);
    SSize_t count;
    bool more = FALSE;
    sub = SUB;
    count = deliver_piece(aTHX_ call, ax, sub, most, ps_end(sub), &more);
    if (!count && most) {
        const ps_pin pin = ps_pinned(aTHX_ ST(0));
        const uint64_t deadline = deadline_of(aTHX_ call, &wanted);
        bool again = FALSE;
        if (!deadline && more) count = deliver(aTHX_ call, ax, sub, most, ps_end(sub));
        while (!count && deadline && (sub = wait_for_message(aTHX_ call, &pin, deadline, again))) {
            count = deliver_piece(aTHX_ call, ax, sub, most, ps_end(sub), &more);
            again = TRUE;
        }
    }
    XSRETURN(count);
}

/* The next message before the internal position `end`, in a scalar that `holder` refers to and owns, or NULL. Numbers reuse the
 * last message's scalar, unless the handler kept or changed it. *more: there are more positions to skip. */
static SV *next_for_handler(pTHX_ const ps_call *call, ps_sub *sub, uint64_t end, SV *holder, bool *more) {
    SV *last = SvRV(holder), *message;
    if (PS_IS_STR(call->class)) {
        message = ps_next_str(aTHX_ sub, end, more);
    } else {
        ps_number value;
        const int64_t got = ps_next_numbers(call->class, sub, &value, 1, end);
        *more = got == -2;
        if (got <= 0) return NULL;
        if (SvREFCNT(last) == 1 && SvFLAGS(last) == (SVt_IV | SVf_IOK | SVp_IOK) && !PS_IS_NUM(call->class)) {
            SvIV_set(last, (IV)value.iv);
            return last;
        }
        if (SvREFCNT(last) == 1 && SvFLAGS(last) == (SVt_NV | SVf_NOK | SVp_NOK)) {
            SvNV_set(last, (NV)value.nv);
            return last;
        }
        message = ps_new_number(aTHX_ call->class->variant, &value);
    }
    if (message) {
        SvRV_set(holder, message);
        SvREFCNT_dec_NN(last);
    }
    return message;
}

static void sub_poll_cb(pTHX_ const ps_call *call, I32 ax, I32 items) {
    const ps_pin pin = (SUB, ps_pinned(aTHX_ ST(0)));
    SV *code = (SV *)ps_arg_code(aTHX_ call, ST(1));
    UV most, count = 0;
    ps_sub *sub = (sv_2mortal(SvREFCNT_inc_simple_NN(code)), ps_repin(aTHX_ call, &pin), count_argument(aTHX_ call, ax, items, 2, &most));
    const uint64_t end = ps_end(sub);
    SV *holder = sv_2mortal(newRV_noinc(newSV(0))), *message;
    bool more = FALSE;
    dSP;
    /* On a separate stack a handler cannot `last` or `goto` out of this call, which would crash perl. */
    PUSHSTACKi(PERLSI_UNKNOWN);
    ENTER;
    SAVETMPS;
    while (count < most && ((message = next_for_handler(aTHX_ call, sub, end, holder, &more)) || more)) {
        if (!message) {
            sub = ps_after_signals(aTHX_ call, &pin);
            continue;
        }
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
    RETURN_UV(count);
}

/* ---- positions ---- */

static void sub_write_pos(pTHX_ const ps_call *call, I32 ax, I32 items) {
    RETURN_UV(ps_sub_write_pos(SUB));
}

static void sub_capacity(pTHX_ const ps_call *call, I32 ax, I32 items) {
    RETURN_UV(ps_sub_capacity(SUB));
}

static void sub_lag(pTHX_ const ps_call *call, I32 ax, I32 items) {
    RETURN_UV(ps_lag(SUB));
}

static void sub_name(pTHX_ const ps_call *call, I32 ax, I32 items) {
    char name[PS_NAME_LEN];
    const size_t len = ps_sub_name(SUB, name);
    ST(0) = len ? newSVpvn_flags(name, len, SVs_TEMP) : &PL_sv_undef;
    if (len) sv_utf8_decode(ST(0));
    XSRETURN(1);
}

static void sub_release(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_sub_release(SUB);
    XSRETURN_EMPTY;
}

static void sub_overflow_count(pTHX_ const ps_call *call, I32 ax, I32 items) {
    RETURN_UV(ps_overflow_count(SUB));
}

static void sub_filtered(pTHX_ const ps_call *call, I32 ax, I32 items) {
    RETURN_UV(ps_filtered(SUB));
}

static void sub_prefix(pTHX_ const ps_call *call, I32 ax, I32 items) {
    const ps_pin pin = (SUB, ps_pinned(aTHX_ ST(0)));
    SV *sv = ARGUMENT(1);
    size_t count = 0;
    ps_bytes *prefixes = SvOK(sv) ? ps_arg_prefixes(aTHX_ call, sv, &count) : NULL;
    (void)ps_set_prefixes((ps_sub *)ps_repin(aTHX_ call, &pin), prefixes, count, NULL);
    XSRETURN_EMPTY;
}

static void sub_skipped(pTHX_ const ps_call *call, I32 ax, I32 items) {
    RETURN_UV(ps_skipped(SUB));
}

static void sub_position(pTHX_ const ps_call *call, I32 ax, I32 items) {
    uint64_t position;
    if (ps_position(SUB, &position)) RETURN_UV(position);
    XSRETURN_UNDEF;
}

/* Undef if the ring is not stamped, and before the first message. */
static void sub_time(pTHX_ const ps_call *call, I32 ax, I32 items) {
    uint64_t time_ns;
    uint32_t pid;
    if (ps_stamp(SUB, &time_ns, &pid)) RETURN_TARG(sv_setnv_mg, (NV)time_ns / 1e9);
    XSRETURN_UNDEF;
}

static void sub_time_ns(pTHX_ const ps_call *call, I32 ax, I32 items) {
    uint64_t time_ns;
    uint32_t pid;
    if (ps_stamp(SUB, &time_ns, &pid)) RETURN_UV(time_ns);
    XSRETURN_UNDEF;
}

static void sub_sender(pTHX_ const ps_call *call, I32 ax, I32 items) {
    uint64_t time_ns;
    uint32_t pid;
    if (ps_stamp(SUB, &time_ns, &pid)) RETURN_UV(pid);
    XSRETURN_UNDEF;
}

/* A separate handle, so that the ring object that made the subscriber may be destroyed. */
static void sub_ring(pTHX_ const ps_call *call, I32 ax, I32 items) {
    const U32 variant = call->class->variant;
    const ps_pin pin = (SUB, ps_pinned(aTHX_ ST(0)));
    HV *stash = ps_stash_of_made(aTHX_ call, ST(0), "ring_class", &ps_classes[PS_RING][variant]);
    ps_ring *ring = ps_sub_ring((ps_sub *)ps_repin(aTHX_ call, &pin));
    ST(0) = ps_object(aTHX_ &ps_classes[ps_ring_read_only(ring) ? PS_READER : PS_RING][variant], stash, ring);
    XSRETURN(1);
}

static void sub_has_overflow(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ST(0) = boolSV(ps_has_overflow(SUB));
    XSRETURN(1);
}

static void sub_cursor(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_sub *sub = SUB;
    if (items > 1) {
        const ps_pin pin = ps_pinned(aTHX_ ST(0));
        SV *sv = ARGUMENT(1);
        const bool seeks = SvOK(sv);
        const UV position = seeks ? ps_arg_uv(aTHX_ call, sv, "position", "a non-negative integer", 0, (UV)IV_MAX) : 0;
        sub = (ps_sub *)ps_repin(aTHX_ call, &pin);
        if (seeks) ps_seek(sub, position);
    }
    RETURN_UV(ps_cursor(sub));
}

static void sub_reset(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_reset(SUB, FALSE);
    XSRETURN_EMPTY;
}

static void sub_reset_oldest(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_reset(SUB, TRUE);
    XSRETURN_EMPTY;
}

/* ---- a handle for event loops ---- */

static void sub_fh(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_error error;
    bool first = FALSE;
    ps_sub *sub = SUB;
    MAGIC *mg = ps_magic_for(call, ST(0));
    int fd;
    ps_disown_closed(aTHX_ call->class, mg);
    fd = ps_watch(sub, &first, &error);
    if (fd < 0) ps_fail(aTHX_ call, &error);
    ST(0) = ps_fh(aTHX_ call, mg, fd, first);
    XSRETURN(1);
}

/* ---- the methods ---- */

#define METHODS(variant)                                                                                             \
    PS_METHOD(PS_SUB, variant, "poll", sub_poll, 0, 1, 1, "self")                                                    \
    PS_METHOD(PS_SUB, variant, "poll_multi", sub_drain, 0, 2, 2, "self, count")                                      \
    PS_METHOD(PS_SUB, variant, "drain", sub_drain, PS_UNDEF_IS_ALL, 1, 2, "self, max = all")                         \
    PS_METHOD(PS_SUB, variant, "drain_notify", sub_drain_notify, PS_UNDEF_IS_ALL, 1, 2, "self, max = all")           \
    PS_METHOD(PS_SUB, variant, "poll_wait", sub_poll_wait, 0, 1, 2, "self, timeout = forever")                      \
    PS_METHOD(PS_SUB, variant, "poll_wait_multi", sub_poll_wait_multi, 0, 2, 3, "self, count, timeout = forever")   \
    PS_METHOD(PS_SUB, variant, "latest", sub_poll_wait, PS_NEWEST, 1, 2, "self, timeout = 0")                        \
    PS_METHOD(PS_SUB, variant, "poll_cb", sub_poll_cb, PS_UNDEF_IS_ALL, 2, 3, "self, handler, max = all")            \
    PS_METHOD(PS_SUB, variant, "position", sub_position, 0, 1, 1, "self")                                            \
    PS_METHOD(PS_SUB, variant, "filtered", sub_filtered, 0, 1, 1, "self")                                            \
    PS_METHOD(PS_SUB, variant, "skipped", sub_skipped, 0, 1, 1, "self")                                              \
    PS_METHOD(PS_SUB, variant, "ring", sub_ring, 0, 1, 1, "self")                                                    \
    PS_METHOD(PS_SUB, variant, "fh", sub_fh, 0, 1, 1, "self")                                                        \
    PS_METHOD(PS_SUB, variant, "lag", sub_lag, 0, 1, 1, "self")                                                      \
    PS_METHOD(PS_SUB, variant, "overflow_count", sub_overflow_count, 0, 1, 1, "self")                                \
    PS_METHOD(PS_SUB, variant, "has_overflow", sub_has_overflow, 0, 1, 1, "self")                                    \
    PS_METHOD(PS_SUB, variant, "cursor", sub_cursor, 0, 1, 2, "self, position = as it is")                           \
    PS_METHOD(PS_SUB, variant, "write_pos", sub_write_pos, 0, 1, 1, "self")                                          \
    PS_METHOD(PS_SUB, variant, "name", sub_name, 0, 1, 1, "self")                                                    \
    PS_METHOD(PS_SUB, variant, "release", sub_release, 0, 1, 1, "self")                                              \
    PS_METHOD(PS_SUB, variant, "capacity", sub_capacity, 0, 1, 1, "self")                                            \
    PS_METHOD(PS_SUB, variant, "reset", sub_reset, 0, 1, 1, "self")                                                  \
    PS_METHOD(PS_SUB, variant, "reset_oldest", sub_reset_oldest, 0, 1, 1, "self")

#define STR_METHODS(variant)                                                                                         \
    PS_METHOD(PS_SUB, variant, "prefix", sub_prefix, 0, 2, 2, "self, prefix")                                        \
    PS_METHOD(PS_SUB, variant, "time", sub_time, 0, 1, 1, "self")                                                    \
    PS_METHOD(PS_SUB, variant, "time_ns", sub_time_ns, 0, 1, 1, "self")                                              \
    PS_METHOD(PS_SUB, variant, "sender", sub_sender, 0, 1, 1, "self")

#define NUMBER_METHODS(variant)                                                                                      \
    PS_METHOD(PS_SUB, variant, "drain_packed", sub_drain_packed, PS_UNDEF_IS_ALL, 1, 2, "self, max = all")

const ps_method ps_sub_methods[] = { PS_EACH_VARIANT(METHODS) PS_EACH_NUMBER(NUMBER_METHODS) STR_METHODS(PS_STR) PS_LAST_METHOD };
