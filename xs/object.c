#include "object.h"

#include <perliol.h>

static int free_magic(pTHX_ SV *sv, MAGIC *mg);

#ifdef USE_ITHREADS
/* A handle belongs to one interpreter; CLONE_SKIP keeps objects from being cloned, this a subclass that overrides it. */
static int dup_magic(pTHX_ MAGIC *mg, CLONE_PARAMS *params) {
    PERL_UNUSED_ARG(params);
    mg->mg_ptr = NULL;
    return 0;
}
#define DUP_MAGIC dup_magic
#else
#define DUP_MAGIC NULL
#endif

#define CLASS(package, variant, role) { package, { NULL, NULL, NULL, NULL, free_magic, NULL, DUP_MAGIC, NULL }, variant, role }

#define CLASSES(role, suffix)                                                                                        \
    {                                                                                                                \
        { NULL }, CLASS("Data::PubSub::Shared::Int" suffix, PS_INT, role),                                           \
        CLASS("Data::PubSub::Shared::Int32" suffix, PS_INT32, role),                                                 \
        CLASS("Data::PubSub::Shared::Int16" suffix, PS_INT16, role),                                                 \
        CLASS("Data::PubSub::Shared::Str" suffix, PS_STR, role)                                                      \
    }

const ps_class ps_classes[3][PS_STR + 1] = { CLASSES(PS_RING, ""), CLASSES(PS_READER, ""), CLASSES(PS_SUB, "::Sub") };

/* ---- errors ---- */

void ps_croak(pTHX_ const ps_call *call, const char *format, ...) {
    SV *text = sv_newmortal();
    va_list args;
    if (call->keyword) {
        sv_setpvf(text, "%s: ", call->name);
    } else {
        sv_setpvf(text, "%s->%s: ", call->class->package, call->name);
    }
    va_start(args, format);
    sv_vcatpvf(text, format, &args);
    va_end(args);
    croak("%" SVf, SVfARG(text));
}

void ps_fail(pTHX_ const ps_call *call, const ps_error *error) {
    ps_croak(aTHX_ call, "%s", error->text);
}

/* A value as a message should name it. */
static SV *shown(pTHX_ SV *sv) {
    if (!SvOK(sv)) return newSVpvs_flags("undef", SVs_TEMP);
    /* A number that was printed is a string as well, before perl 5.36; so is `$!`, which reads as none. */
    if (SvNIOK(sv) && (!SvPOK(sv) || looks_like_number(sv))) return sv;
    if (SvROK(sv)) return newSVpvs_flags("a reference", SVs_TEMP);
    {
        SV *to = sv_newmortal();
        STRLEN len;
        const char *pv = SvPV(sv, len);
        pv_pretty(to, pv, len, 60, NULL, NULL, PERL_PV_PRETTY_QUOTE | PERL_PV_PRETTY_ELLIPSES | (SvUTF8(sv) ? PERL_PV_ESCAPE_UNI : 0));
        return to;
    }
}

/* ---- objects ---- */

int ps_fileno(pTHX_ SV *fh) {
    IO *io = fh ? GvIO((GV *)fh) : NULL;
    return io && IoIFP(io) ? PerlIO_fileno(IoIFP(io)) : -1;
}

void ps_disown_closed(pTHX_ SV *fh, const ps_sub *sub) {
    const int fd = ps_fileno(aTHX_ fh);
    PerlIO *stream;
    if (fd < 0 || ps_is_watched_by(sub, fd)) return;
    stream = IoIFP(GvIO((GV *)fh));
    IoIFP(GvIO((GV *)fh)) = NULL;
    /* Perl closes a number with the last of its streams: so another one, for as long as this takes. */
    PerlIOUnix_refcnt_inc(fd);
    PerlIO_close(stream);
    PerlIOUnix_refcnt_dec(fd);
}

static int free_magic(pTHX_ SV *sv, MAGIC *mg) {
    const ps_class *class = (const ps_class *)((const char *)mg->mg_virtual - offsetof(ps_class, vtbl));
    void *handle = mg->mg_ptr;
    PERL_UNUSED_ARG(sv);
    mg->mg_ptr = NULL;
    if (!handle) return 0;
    if (class->role == PS_SUB) {
        if (!PL_dirty) ps_disown_closed(aTHX_ mg->mg_obj, (const ps_sub *)handle);
        ps_sub_free((ps_sub *)handle);
    } else {
        ps_ring_free((ps_ring *)handle);
    }
    return 0;
}

void ps_destroy(pTHX_ const ps_call *call, SV *self) {
    MAGIC *mg = ps_magic_for(call, self);
    if (mg) free_magic(aTHX_ SvRV(self), mg);
}

SV *ps_object(pTHX_ const ps_class *class, HV *stash, void *handle) {
    SV *body = newSV_type(SVt_PVMG);
    SV *self = sv_2mortal(newRV_noinc(body));
    MAGIC *mg = sv_magicext(body, NULL, PERL_MAGIC_ext, &class->vtbl, (const char *)handle, 0);
#ifdef USE_ITHREADS
    mg->mg_flags |= MGf_DUP;
#else
    PERL_UNUSED_VAR(mg);
#endif
    return sv_bless(self, stash);
}

void *ps_handle_slow(pTHX_ const ps_call *call, SV *self) {
    const U32 variant = call->class->variant;
    MAGIC *mg;
    SvGETMAGIC(self);
    mg = ps_magic_for(call, self);
    if (mg && mg->mg_ptr) return mg->mg_ptr;
    if (mg) ps_croak(aTHX_ call, "Attempted to use a destroyed %s object", call->class->package);
    if (call->class->role == PS_RING && SvROK(self) && ps_magic(&ps_classes[PS_READER][variant], SvRV(self))) {
        ps_croak(aTHX_ call, "this ring is read-only");
    }
    ps_croak(aTHX_ call, "Expected a %s object", call->class->package);
}

ps_pin ps_pinned(pTHX_ SV *self) {
    ps_pin pin;
    pin.self = sv_2mortal(SvREFCNT_inc_simple_NN(self));
    pin.body = sv_2mortal(SvREFCNT_inc_simple_NN(SvRV(self)));
    return pin;
}

void *ps_repin(pTHX_ const ps_call *call, const ps_pin *pin) {
    MAGIC *mg = ps_magic(call->class, pin->body);
    if (!mg && call->reads) mg = ps_magic(&ps_classes[PS_READER][call->class->variant], pin->body);
    if (!mg || !mg->mg_ptr) ps_croak(aTHX_ call, "%s object destroyed during the call", call->class->package);
    if (!SvROK(pin->self) || SvRV(pin->self) != pin->body) {
        ps_croak(aTHX_ call, "%s object was replaced during the call", call->class->package);
    }
    return mg->mg_ptr;
}

/* ---- arguments ---- */

/* A value as numbers are taken from it: without magic, and an object that overloads numbers as the number it gives, which
 * keeps all digits of a large integer. Where it gives none, the reference stays one, and no number. */
static SV *numeric(pTHX_ SV *sv) {
    sv = PS_VALUE(sv);
    if (SvROK(sv) && SvAMAGIC(sv)) {
        SV *number = AMG_CALLunary(sv, numer_amg);
        if (number) return PS_VALUE(number);
    }
    return sv;
}

static bool is_number(pTHX_ SV *sv) {
    return !SvROK(sv) && (SvNIOK(sv) || looks_like_number(sv));
}

/* A number without its fraction, at most UV_MAX away from 0. */
typedef struct {
    UV size;
    bool negative, exact;
} integer;

static bool as_integer(pTHX_ SV *sv, integer *to) {
    NV nv, whole;
    if (!is_number(aTHX_ sv)) return FALSE;
    if (SvIOK(sv) || (SvPOK(sv) && !SvNOK(sv) && SvIV_please_nomg(sv))) {
        to->negative = !SvIsUV(sv) && SvIVX(sv) < 0;
        to->size = to->negative ? -(UV)SvIVX(sv) : SvUVX(sv);
        to->exact = TRUE;
        return TRUE;
    }
    nv = SvNV_nomg(sv);
    if (nv != nv) return FALSE;
    to->negative = nv < 0;
    if (nv < 0) nv = -nv;
    whole = Perl_floor(nv);
    to->exact = whole == nv && whole < 18446744073709551616.0;
    to->size = whole < 18446744073709551616.0 ? (UV)whole : UV_MAX;
    return TRUE;
}

UV ps_arg_uv(pTHX_ const ps_call *call, SV *sv, const char *what, const char *range, UV least, UV most) {
    integer value;
    sv = numeric(aTHX_ sv);
    if (!as_integer(aTHX_ sv, &value) || !value.exact || (value.negative && value.size) || value.size < least || value.size > most) {
        ps_croak(aTHX_ call, "%s must be %s, not %" SVf, what, range, SVfARG(shown(aTHX_ sv)));
    }
    return value.size;
}

UV ps_arg_count(pTHX_ const ps_call *call, SV *sv, bool or_all) {
    integer value;
    sv = numeric(aTHX_ sv);
    if (or_all && !SvOK(sv)) return UV_MAX;
    if (!as_integer(aTHX_ sv, &value)) ps_croak(aTHX_ call, "count must be a number, not %" SVf, SVfARG(shown(aTHX_ sv)));
    return value.negative && value.size ? UV_MAX : value.size;
}

int ps_arg_fd(pTHX_ const ps_call *call, SV *sv, bool or_none) {
    integer value;
    sv = numeric(aTHX_ sv);
    if (or_none && as_integer(aTHX_ sv, &value) && value.exact && value.negative && value.size == 1) return -1;
    return (int)ps_arg_uv(aTHX_ call, sv, "file descriptor", "a non-negative integer", 0, 0x7fffffff);
}

uint64_t ps_arg_deadline(pTHX_ const ps_call *call, SV *sv) {
    NV seconds;
    sv = numeric(aTHX_ sv);
    if (!SvOK(sv)) return PS_NEVER;
    /* What a false condition leaves: !$blocking && 5. */
    if (SvPOK(sv) && !SvCUR(sv)) return 0;
    if (!is_number(aTHX_ sv)) {
        ps_croak(aTHX_ call, "timeout must be a number of seconds, not %" SVf, SVfARG(shown(aTHX_ sv)));
    }
    seconds = SvNV_nomg(sv);
    if (seconds != seconds) ps_croak(aTHX_ call, "timeout must be a number of seconds, not NaN");
    if (seconds == 0) return 0;
    /* Some hundred years are for ever. */
    if (seconds < 0 || seconds > 9e9) return PS_NEVER;
    return ps_now() + (uint64_t)(seconds * 1e9);
}

CV *ps_arg_code(pTHX_ const ps_call *call, SV *sv) {
    CV *cv = NULL;
    sv = PS_VALUE(sv);
    if (SvROK(sv)) {
        SV *code = SvAMAGIC(sv) ? amagic_deref_call(sv, to_cv_amg) : sv;
        if (SvROK(code) && SvTYPE(SvRV(code)) == SVt_PVCV) cv = (CV *)SvRV(code);
    } else if (SvOK(sv)) {
        /* As perl's `sort` takes it: in the caller's package, where it names none. */
        STRLEN len;
        const char *name = SvPV_nomg(sv, len);
        cv = get_cvn_flags(name, len, SvUTF8(sv));
    }
    if (!cv) {
        ps_croak(aTHX_ call, "handler must be a code reference or the name of a subroutine, not %" SVf, SVfARG(shown(aTHX_ sv)));
    }
    return cv;
}

/* ---- publishing ---- */

#define MOST_VALUES 8192
#define CHUNK 256

/* Keeps the invocant's `count` arguments alive until the caller's FREETMPS, whatever Perl code does to them. */
static void pin_arguments(pTHX_ SSize_t at, SSize_t count) {
    SSize_t i;
    EXTEND_MORTAL(count);
    for (i = 1; i <= count; i++) sv_2mortal(SvREFCNT_inc_simple_NN(PL_stack_base[at + i]));
}

/* Memory for `count` items that perl frees when the statement ends, or dies. */
#define SCRATCH(type, count) ((type *)SvPVX(sv_2mortal(newSV((count) * sizeof(type)))))

/* The bytes that sv stands for now; they stay where they are until more Perl code runs. */
static ps_bytes bytes_of(pTHX_ SV *sv) {
    ps_bytes message;
    STRLEN len;
    message.ptr = SvPV(sv, len);
    message.len = len;
    message.utf8 = !!SvUTF8(sv);
    return message;
}

/* The same bytes in memory that nobody else can change. */
static ps_bytes private_copy(pTHX_ ps_bytes message) {
    message.ptr = SvPVX(newSVpvn_flags(message.ptr, message.len, SVs_TEMP));
    return message;
}

/* Publishes messages that no Perl code can change, or `plain` ones, of which private copies are made before any runs. */
static void publish_bytes(pTHX_ const ps_call *call, const ps_pin *pin, ps_bytes *messages, size_t count, bool plain) {
    ps_error error;
    const ps_ring *ring = (const ps_ring *)ps_repin(aTHX_ call, pin);
    while (!ps_publish_strs(ring, messages, count, &error)) {
        if (error.kind != PS_INTERRUPTED) ps_fail(aTHX_ call, &error);
        if (plain) {
            size_t i;
            for (i = 0; i < count; i++) messages[i] = private_copy(aTHX_ messages[i]);
            plain = FALSE;
        }
        PERL_ASYNC_CHECK();
        ring = (const ps_ring *)ps_repin(aTHX_ call, pin);
    }
}

void ps_publish_slow(pTHX_ const ps_call *call, SSize_t at) {
    const ps_pin pin = ps_pinned(aTHX_ PL_stack_base[at]);
    SV *value = PL_stack_base[at + 1];
    pin_arguments(aTHX_ at, 1);
    if (PS_IS_STR(call->class)) {
        ps_bytes message = bytes_of(aTHX_ value);
        publish_bytes(aTHX_ call, &pin, &message, 1, TRUE);
    } else {
        IV iv = SvIV(value);
        (void)ps_publish_int((const ps_ring *)ps_repin(aTHX_ call, &pin), iv, NULL);
    }
}

static uint64_t end_by_now(const ps_sub *sub, uint64_t end) {
    const uint64_t now = ps_end(sub);
    return now < end ? now : end;
}

bool ps_next_str_in(pTHX_ ps_sub *sub, uint64_t end, SV *sv, bool *more) {
    ps_found found;
    int got;
    while ((got = ps_find(sub, end, &found, NULL)) == 1) {
        if (ps_copy_to(aTHX_ sub, &found, sv)) {
            /* The room may be that for a longer one. */
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
        message = ps_next(aTHX_ call->class, sub, targ, &more);
    } while (more);
    return message;
}

/* The flags that all arguments have, and those that any has. */
static void survey(pTHX_ SSize_t at, SSize_t count, U32 *all, U32 *any) {
    SV *const *value = PL_stack_base + at + 1;
    SSize_t i;
    *all = ~(U32)0;
    *any = 0;
    for (i = 0; i < count; i++) {
        U32 flags = SvFLAGS(value[i]);
        *all &= flags;
        *any |= flags;
    }
}

static void publish_ints(pTHX_ const ps_call *call, SSize_t at, size_t count, bool plain) {
    const ps_ring *ring;
    int64_t chunk[CHUNK], *values = chunk;
    size_t done, n, i;
    ps_batch batch;
    if (!plain) {
        const ps_pin pin = ps_pinned(aTHX_ PL_stack_base[at]);
        pin_arguments(aTHX_ at, count);
        values = SCRATCH(int64_t, count);
        for (i = 0; i < count; i++) values[i] = SvIV(PL_stack_base[at + 1 + i]);
        ring = (const ps_ring *)ps_repin(aTHX_ call, &pin);
        (void)ps_claim(ring, count, &batch, NULL);
        ps_put(ring, &batch, values, count);
    } else {
        SV *const *value = PL_stack_base + at + 1;
        ring = (const ps_ring *)ps_handle(aTHX_ call, PL_stack_base[at]);
        (void)ps_claim(ring, count, &batch, NULL);
        for (done = 0; done < count; done += n) {
            n = count - done < CHUNK ? count - done : CHUNK;
            for (i = 0; i < n; i++) chunk[i] = SvIVX(value[done + i]);
            ps_put(ring, &batch, chunk, n);
        }
    }
    ps_wake(ring);
}

static void publish_strs(pTHX_ const ps_call *call, SSize_t at, size_t count, bool plain) {
    const ps_pin pin = ps_pinned(aTHX_ PL_stack_base[at]);
    ps_bytes chunk[CHUNK], *messages = count <= CHUNK ? chunk : SCRATCH(ps_bytes, count);
    size_t i;
    if (plain) {
        SV *const *value = PL_stack_base + at + 1;
        for (i = 0; i < count; i++) {
            messages[i].ptr = SvPVX_const(value[i]);
            messages[i].len = SvCUR(value[i]);
            messages[i].utf8 = !!SvUTF8(value[i]);
        }
    } else {
        pin_arguments(aTHX_ at, count);
        for (i = 0; i < count; i++) messages[i] = private_copy(aTHX_ bytes_of(aTHX_ PL_stack_base[at + 1 + i]));
    }
    publish_bytes(aTHX_ call, &pin, messages, count, plain);
}

UV ps_publish_multi(pTHX_ const ps_call *call, SSize_t at, SSize_t count) {
    U32 all, any;
    ps_handle(aTHX_ call, PL_stack_base[at]);
    if (count > MOST_VALUES) ps_croak(aTHX_ call, "too many values (%" IVdf " > %d)", (IV)count, MOST_VALUES);
    if (count == 0) return 0;
    survey(aTHX_ at, count, &all, &any);
    if (PS_IS_STR(call->class)) {
        publish_strs(aTHX_ call, at, count, (all & SVf_POK) && !(any & (SVs_GMG | SVf_ROK)));
    } else {
        publish_ints(aTHX_ call, at, count, (all & SVf_IOK) && !(any & (SVs_GMG | SVf_ROK)));
    }
    return count;
}
