/* Messages between Perl and the ring: the slow paths of the inline functions of object.h. */

#include "object.h"

/* ---- publishing ---- */

#define MAX_VALUES 8192
#define CHUNK 256

void ps_pin_arguments(pTHX_ SSize_t at, SSize_t count) {
    SSize_t i;
    EXTEND_MORTAL(count);
    for (i = 1; i <= count; i++) sv_2mortal(SvREFCNT_inc_simple_NN(PL_stack_base[at + i]));
}

/* Memory for `count` items, which perl frees when the statement ends or dies. */
#define SCRATCH(type, count) ((type *)SvPVX(sv_2mortal(newSV((count) * sizeof(type)))))

/* The message of a reference: the string of an overloaded object; otherwise the call croaks. */
static SV *string_of_reference(pTHX_ const ps_call *call, SV *sv) {
    SV *string = SvAMAGIC(sv) ? AMG_CALLunary(sv, string_amg) : NULL;
    if (!string || SvROK(string)) {
        ps_croak(aTHX_ call, "a message must be a string, not a reference (%s)", sv_reftype(SvRV(sv), TRUE));
    }
    return string;
}

/* The bytes of sv; they stay valid until more Perl code runs. */
static ps_bytes bytes_of(pTHX_ const ps_call *call, const ps_pin *pin, SV *sv) {
    ps_bytes message;
    STRLEN len;
    const MAGIC *mg = ps_magic(call->class, pin->body);
    if (mg && mg->mg_private & PS_REFUSES_REFS) {
        sv = PS_VALUE(sv);
        if (SvROK(sv)) sv = string_of_reference(aTHX_ call, sv);
    }
    message.ptr = SvPV(sv, len);
    message.len = len;
    message.utf8 = !!SvUTF8(sv);
    return message;
}

/* A private copy of the bytes. */
static ps_bytes private_copy(pTHX_ ps_bytes message) {
    message.ptr = SvPVX(newSVpvn_flags(message.ptr, message.len, SVs_TEMP));
    return message;
}

bool ps_waits_on(pTHX_ const ps_call *call, const ps_pin *pin, int how, const ps_error *error, const ps_ring **ring) {
    if (how < 0) ps_fail(aTHX_ call, error);
    if (how != PS_SIGNALLED) return FALSE;
    PERL_ASYNC_CHECK();
    *ring = (const ps_ring *)ps_repin(aTHX_ call, pin);
    return TRUE;
}

/* Waits until a lossless ring has room. Signal handlers run during the wait, and may die or destroy the object. Returns false
 * after the deadline. */
static bool wait_for_room(pTHX_ const ps_call *call, const ps_pin *pin, size_t count, uint64_t deadline, const ps_ring **ring) {
    ps_error error;
    int how;
    if (!deadline) return FALSE;
    do {
        dSAVE_ERRNO;
        how = ps_wait_for_room(*ring, count, deadline, (const int *)&PL_sig_pending, &error);
        RESTORE_ERRNO;
    } while (ps_waits_on(aTHX_ call, pin, how, &error, ring));
    return how == PS_READY;
}

/* Publishes messages that no Perl code can change, or `plain` ones, which are copied before any Perl code runs; up to `most` at
 * once. */
static bool publish_bytes(pTHX_ const ps_call *call, const ps_pin *pin, ps_bytes *messages, size_t count, size_t most, bool plain,
                          uint64_t deadline) {
    ps_error error;
    const ps_ring *ring = (const ps_ring *)ps_repin(aTHX_ call, pin);
    if (count > most && !ps_check_strs(ring, messages, count, &error)) ps_fail(aTHX_ call, &error);
    while (count) {
        const size_t piece = count < most ? count : most;
        if (LIKELY(ps_publish_strs(ring, messages, piece, &error))) {
            messages += piece;
            count -= piece;
            continue;
        }
        if (error.kind != PS_INTERRUPTED && error.kind != PS_FULL) ps_fail(aTHX_ call, &error);
        if (plain) {
            size_t i;
            for (i = 0; i < count; i++) messages[i] = private_copy(aTHX_ messages[i]);
            plain = FALSE;
        }
        if (error.kind == PS_FULL) {
            if (!wait_for_room(aTHX_ call, pin, piece, deadline, &ring)) return FALSE;
        } else {
            PERL_ASYNC_CHECK();
            ring = (const ps_ring *)ps_repin(aTHX_ call, pin);
        }
    }
    return TRUE;
}

bool ps_publish_slow(pTHX_ const ps_call *call, SSize_t at, uint64_t deadline) {
    const ps_pin pin = ps_pinned(aTHX_ PL_stack_base[at]);
    SV *value = PL_stack_base[at + 1];
    ps_pin_arguments(aTHX_ at, 1);
    if (PS_IS_STR(call->class)) {
        ps_bytes message = bytes_of(aTHX_ call, &pin, value);
        return publish_bytes(aTHX_ call, &pin, &message, 1, 1, TRUE, deadline);
    } else {
        const bool is_num = PS_IS_NUM(call->class);
        const NV nv = is_num ? SvNV(value) : 0;
        const IV iv = is_num ? 0 : SvIV(value);
        const ps_ring *ring = (const ps_ring *)ps_repin(aTHX_ call, &pin);
        while (!(is_num ? ps_publish_num(ring, (double)nv, NULL) : ps_publish_int(ring, iv, NULL))) {
            if (!wait_for_room(aTHX_ call, &pin, 1, deadline, &ring)) return FALSE;
        }
        return TRUE;
    }
}

/* Converts a number without running Perl code. */
PERL_STATIC_INLINE bool take_plain(const ps_class *class, SV *sv, ps_number *to) {
    if (PS_IS_NUM(class)) return ps_plain_num(sv, &to->nv);
    if (!PS_PLAIN_IV(sv)) return FALSE;
    to->iv = SvIVX(sv);
    return TRUE;
}

static void publish_numbers(pTHX_ const ps_call *call, SSize_t at, size_t count, size_t most) {
    const ps_ring *ring = (const ps_ring *)ps_handle(aTHX_ call, PL_stack_base[at]);
    const bool is_num = PS_IS_NUM(call->class);
    ps_number chunk[CHUNK], *values = count <= CHUNK ? chunk : SCRATCH(ps_number, count);
    SV *const *value = PL_stack_base + at + 1;
    ps_batch batch;
    ps_error error;
    size_t i = 0;
    while (i < count && take_plain(call->class, value[i], &values[i])) i++;
    if (i < count) {
        const ps_pin pin = ps_pinned(aTHX_ PL_stack_base[at]);
        ps_pin_arguments(aTHX_ at, count);
        for (; i < count; i++) {
            SV *sv = PL_stack_base[at + 1 + i];
            if (is_num) values[i].nv = (double)SvNV(sv);
            else values[i].iv = SvIV(sv);
        }
        ring = (const ps_ring *)ps_repin(aTHX_ call, &pin);
    }
    for (i = 0; i < count; i += most) {
        const size_t piece = count - i < most ? count - i : most;
        if (UNLIKELY(!ps_claim(ring, piece, &batch, &error))) {
            const ps_pin pin = ps_pinned(aTHX_ PL_stack_base[at]);
            do {
                if (error.kind != PS_FULL) ps_fail(aTHX_ call, &error);
                (void)wait_for_room(aTHX_ call, &pin, piece, PS_NEVER, &ring);
            } while (!ps_claim(ring, piece, &batch, &error));
        }
        if (UNLIKELY(!ps_put(ring, &batch, &values[i].iv, piece, &error))) ps_fail(aTHX_ call, &error);
        ps_wake(ring);
    }
}

static void publish_strs(pTHX_ const ps_call *call, SSize_t at, size_t count, size_t most) {
    const ps_pin pin = ps_pinned(aTHX_ PL_stack_base[at]);
    ps_bytes chunk[CHUNK], *messages = count <= CHUNK ? chunk : SCRATCH(ps_bytes, count);
    SV *const *value = PL_stack_base + at + 1;
    size_t i = 0;
    bool plain;
    while (i < count && PS_PLAIN_PV(value[i])) {
        messages[i].ptr = SvPVX_const(value[i]);
        messages[i].len = SvCUR(value[i]);
        messages[i].utf8 = !!SvUTF8(value[i]);
        i++;
    }
    plain = i == count;
    if (!plain) {
        ps_pin_arguments(aTHX_ at, count);
        for (i = 0; i < count; i++) messages[i] = private_copy(aTHX_ bytes_of(aTHX_ call, &pin, PL_stack_base[at + 1 + i]));
    }
    (void)publish_bytes(aTHX_ call, &pin, messages, count, most, plain, PS_NEVER);
}

/* Whether the argument is a reference to an array of messages, and not a message itself. */
static bool is_list(pTHX_ SV *sv) {
    return SvROK(sv) && SvTYPE(SvRV(sv)) == SVt_PVAV && !SvOBJECT(SvRV(sv));
}

/* Replaces the only argument, an array, by its elements. Returns their number. */
static SSize_t spread(pTHX_ const ps_call *call, SSize_t at) {
    const ps_pin pin = ps_pinned(aTHX_ PL_stack_base[at]);
    AV *list = (AV *)sv_2mortal(SvREFCNT_inc_simple_NN(SvRV(PL_stack_base[at + 1])));
    const SSize_t count = av_len(list) + 1;
    SSize_t i;
    {
        SV **sp = PL_stack_base + at;
        EXTEND(sp, count);
        for (i = 1; i <= count; i++) sp[i] = &PL_sv_undef;
        PL_stack_sp = sp + count;
    }
    /* A tied array runs Perl code, which may move the stack. */
    for (i = 0; i < count; i++) {
        SV **item = av_fetch(list, i, 0);
        if (item && *item) PL_stack_base[at + 1 + i] = *item;
    }
    ps_repin(aTHX_ call, &pin);
    return count;
}

UV ps_publish_multi(pTHX_ const ps_call *call, SSize_t at, SSize_t count) {
    const ps_ring *ring = (const ps_ring *)ps_handle(aTHX_ call, PL_stack_base[at]);
    size_t most = MAX_VALUES;
    if (count == 1 && is_list(aTHX_ PL_stack_base[at + 1])) {
        ps_stat stat;
        ps_stats(ring, &stat);
        if (stat.capacity < most) most = stat.capacity;
        count = spread(aTHX_ call, at);
    } else if (count > MAX_VALUES) ps_croak(aTHX_ call, "too many values (%" IVdf " > %d)", (IV)count, MAX_VALUES);
    if (count == 0) return 0;
    if (PS_IS_STR(call->class)) {
        publish_strs(aTHX_ call, at, count, most);
    } else {
        publish_numbers(aTHX_ call, at, count, most);
    }
    return count;
}

UV ps_publish_packed_sv(pTHX_ const ps_call *call, SSize_t at) {
    const ps_pin pin = (ps_handle(aTHX_ call, PL_stack_base[at]), ps_pinned(aTHX_ PL_stack_base[at]));
    const ps_ring *ring;
    SV *packed;
    ps_error error;
    STRLEN len;
    UV done = 0;
    size_t piece;
    ps_stat stat;
    bool ours = FALSE;
    const char *bytes;
    ps_pin_arguments(aTHX_ at, 1);
    packed = PS_VALUE(PL_stack_base[at + 1]);
    /* A reference to an array is not packed. */
    if (SvROK(packed) && !SvAMAGIC(packed)) ps_croak(aTHX_ call, "packed values must be a string of bytes, not a reference");
    bytes = SvPV(packed, len);
    if (SvUTF8(packed)) {
        packed = newSVpvn_flags(bytes, len, SVs_TEMP | SVf_UTF8);
        if (!sv_utf8_downgrade(packed, TRUE)) ps_croak(aTHX_ call, "packed values must be a string of bytes, and this one has wide characters");
        bytes = SvPV(packed, len);
    }
    ring = (const ps_ring *)ps_repin(aTHX_ call, &pin);
    for (;;) {
        const STRLEN width = ps_width(call->class);
        const int64_t count = ps_publish_packed(ring, bytes, len, &error);
        if (count < 0) ps_fail(aTHX_ call, &error);
        done += count;
        len -= count * width;
        if (!len) return done;
        /* A lossless ring is full. During the wait Perl code may run, and change the caller's string. */
        bytes += count * width;
        if (!ours) bytes = SvPVX(newSVpvn_flags(bytes, len, SVs_TEMP));
        ours = TRUE;
        ps_stats(ring, &stat);
        piece = len / width < MAX_VALUES ? len / width : MAX_VALUES;
        (void)wait_for_room(aTHX_ call, &pin, piece < stat.capacity ? piece : stat.capacity, PS_NEVER, &ring);
    }
}

/* ---- reading ---- */

static uint64_t end_by_now(const ps_sub *sub, uint64_t end) {
    const uint64_t now = ps_end(sub);
    return now < end ? now : end;
}

bool ps_next_str_in(pTHX_ ps_sub *sub, uint64_t end, SV *sv, bool *more) {
    ps_found found;
    int got;
    while ((got = ps_find(sub, end, &found, NULL)) == 1) {
        if (ps_copy_to(aTHX_ sub, &found, sv)) {
            /* The buffer may be larger than the message. */
            if (SvLEN(sv) / 2 > SvCUR(sv) + 64) SvPV_renew(sv, SvCUR(sv) + 1);
            return TRUE;
        }
        end = end_by_now(sub, end);
    }
    *more = got == PS_MORE;
    return FALSE;
}

SV *ps_next_str_again(pTHX_ ps_sub *sub, uint64_t end, SV *sv, bool *more) {
    if (ps_next_str_in(aTHX_ sub, end_by_now(sub, end), sv, more)) return sv;
    SvREFCNT_dec_NN(sv);
    return NULL;
}

SV *ps_next_further(pTHX_ const ps_call *call, SV *self, SV *targ) {
    const ps_pin pin = ps_pinned(aTHX_ self);
    SV *message;
    bool more;
    do {
        ps_sub *sub = ps_after_signals(aTHX_ call, &pin);
        more = FALSE;
        message = ps_next(aTHX_ call->class->variant, sub, targ, &more);
    } while (more);
    return message;
}
