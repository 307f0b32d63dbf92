/* The methods of rings: constructors, publishing, inspection. */

#include "method.h"

/* ---- constructors ---- */

static void usage(pTHX_ const ps_call *call) __attribute__noreturn__;
static void usage(pTHX_ const ps_call *call) {
    Perl_croak(aTHX_ "Usage: %s::%s(%s)", call->class->package, call->name, ((const ps_method *)call)->usage);
}

/* Wraps a handle into a new mortal object of the caller's class. */
static SV *new_object(pTHX_ const ps_call *call, ps_ring *ring, HV *stash, U16 flags) {
    const ps_class *class = &ps_classes[ps_ring_read_only(ring) ? PS_READER : PS_RING][call->class->variant];
    SV *object = ps_object(aTHX_ class, stash, ring);
    ps_magic(class, SvRV(object))->mg_private = flags;
    return object;
}

/* Sets `ring` to the result of the expression, without changing $!, or croaks with `error`. */
#define MAKE(ring, expression)                                                                                       \
    STMT_START {                                                                                                     \
        dSAVE_ERRNO;                                                                                                 \
        ring = (expression);                                                                                         \
        if (!ring) ps_fail(aTHX_ call, &error);                                                                      \
        RESTORE_ERRNO;                                                                                               \
    } STMT_END

#define RETURN_RING(expression, flags)                                                                               \
    STMT_START {                                                                                                     \
        ps_ring *made;                                                                                               \
        MAKE(made, expression);                                                                                      \
        ST(0) = new_object(aTHX_ call, made, stash, flags);                                                                 \
        XSRETURN(1);                                                                                                 \
    } STMT_END

#define MAX_CAPACITY ((UV)1 << 31)
#define MAX_MSG_SIZE (((UV)1 << 31) - 1)
#define MAX_PUBLISHERS 65536
#define MAX_READERS 65535
#define DEFAULT_MSG_SIZE 256
#define DEFAULT_MODE 0600

/* The capacity in slots; 0, if allowed, means that of an existing ring. */
static UV arg_capacity(pTHX_ const ps_call *call, SV *sv, UV least) {
    return ps_arg_uv(aTHX_ call, sv, "capacity", "an integer from 1 to 2147483648", least, MAX_CAPACITY);
}

/* The optional message size of a Str constructor; 0 also means the default. */
static UV arg_msg_size(pTHX_ const ps_call *call, SV *sv) {
    UV size;
    if (!PS_IS_STR(call->class)) return 0;
    size = SvOK(sv) ? ps_arg_uv(aTHX_ call, sv, "msg_size", "an integer from 1 to 2147483647", 0, MAX_MSG_SIZE) : 0;
    return size ? size : DEFAULT_MSG_SIZE;
}

/* Permission bits, also as returned by `stat` with the file's type. Without read and write permission for its owner a ring could
 * not be opened again. Such a mode is usually another argument, or octal digits read as decimal. */
static UV arg_mode(pTHX_ const ps_call *call, SV *sv) {
    UV mode;
    if (!SvOK(sv)) return DEFAULT_MODE;
    mode = ps_arg_uv(aTHX_ call, sv, "mode", "a non-negative integer", 0, UV_MAX);
    if ((mode & 0600) != 0600) {
        ps_croak(aTHX_ call, "mode %" UVuf " (octal 0%" UVof ") must let the owner read and write: write 0644 or oct('0644'), not '0644'%s",
                 mode, mode, PS_IS_STR(call->class) ? "" : ", and give no msg_size");
    }
    return mode & 07777;
}

static void croak_if_reference(pTHX_ const ps_call *call, SV *sv, const char *what) {
    if (SvROK(sv) && !SvAMAGIC(sv)) ps_croak(aTHX_ call, "%s must be a string, not a reference", what);
}

/* The bytes that perl's own functions use as a file's name, without a NUL. */
static const char *arg_name(pTHX_ const ps_call *call, SV *sv, const char *what, STRLEN *len) {
    const char *name;
    croak_if_reference(aTHX_ call, sv, what);
    name = SvPV(sv, *len);
    if (memchr(name, 0, *len)) ps_croak(aTHX_ call, "%s contains a NUL byte", what);
    return name;
}

/* The name of a file that will be written or removed: under -T it must not be tainted, as for perl's own functions. */
static const char *arg_path(pTHX_ const ps_call *call, SV *sv, STRLEN *len) {
    if (SvTAINTED(sv)) {
        const char *name = SvPVX(sv_2mortal(newSVpvf("%s->%s", call->class->package, call->name)));
        TAINT;
        TAINT_PROPER(name);
    }
    return arg_name(aTHX_ call, sv, "path", len);
}

static void free_draft(pTHX_ void *draft) {
    PERL_UNUSED_CONTEXT;
    ps_draft_free((ps_draft *)draft);
}

/* Opens or makes the ring at a path, and runs signal handlers in between. */
static ps_ring *open_path(pTHX_ const ps_call *call, const char *path, STRLEN len, const ps_options *options, ps_error *error) {
    ps_draft *draft = ps_draft_new();
    bool ours = FALSE;
    ps_ring *ring;
    ENTER;
    SAVEDESTRUCTOR_X(free_draft, draft);
    while (!(ring = ps_ring_open_some(call->class->variant, path, len, options, draft, error))) {
        if (error->kind != PS_INTERRUPTED) break;
        /* A handler may change the caller's variable. */
        if (!ours) path = SvPVX(newSVpvn_flags(path, len, SVs_TEMP));
        ours = TRUE;
        PERL_ASYNC_CHECK();
    }
    LEAVE;
    return ring;
}

/* A constructor's arguments after the name: positional ones, then pairs of names and values. */
enum { CAPACITY, KEEP, LOSSLESS, MODE, MSG_SIZE, PREFAULT, PUBLISHERS, READERS, REFS, STAMPED, STRICT, ARGUMENTS };

/* The named options, and where they apply: all rings, strings, constructors of files. */
static const struct {
    const char *name;
    bool of_strings, of_files;
} options[ARGUMENTS] = {
    { "capacity", FALSE, FALSE }, { "keep", FALSE, FALSE }, { "lossless", FALSE, FALSE }, { "mode", FALSE, TRUE },
    { "msg_size", TRUE, FALSE }, { "prefault", FALSE, FALSE }, { "publishers", TRUE, FALSE }, { "readers", FALSE, FALSE },
    { "refs", TRUE, FALSE }, { "stamped", TRUE, FALSE }, { "strict", FALSE, TRUE },
};

typedef struct {
    ps_options options;
    bool msg_size_given, readers_given, keep_given, strict;
    U16 flags; /* of the handle */
} request;

static bool is_option(const ps_call *call, int i) {
    return i != CAPACITY && (!options[i].of_strings || PS_IS_STR(call->class)) && (!options[i].of_files || call->flags & PS_TAKES_MODE);
}

/* The option of that name; croaks if there is none. */
static int named(pTHX_ const ps_call *call, SV *name) {
    SV *known = sv_2mortal(newSVpvs(""));
    int i;
    for (i = 0; i < ARGUMENTS; i++) {
        if (!is_option(call, i)) continue;
        if (strEQ(SvPVX(name), options[i].name)) return i;
        sv_catpvf(known, "%s%s", SvCUR(known) ? ", " : "", options[i].name);
    }
    ps_croak(aTHX_ call, "unknown option \"%" SVf "\"; known: %" SVf, SVfARG(name), SVfARG(known));
}

/* Milliseconds of a number of seconds. */
static uint32_t arg_keep(pTHX_ const ps_call *call, SV *sv) {
    const NV seconds = SvNV(sv);
    if (!(seconds >= 0 && seconds <= 4294967)) ps_croak(aTHX_ call, "keep must be a number of seconds from 0 to 4294967, not %" SVf, SVfARG(sv));
    /* A short time must not become 0. */
    return seconds > 0 && seconds < 0.001 ? 1 : (uint32_t)(seconds * 1000 + 0.5);
}

/* Whether the handle rejects references. */
static bool arg_refs(pTHX_ const ps_call *call, SV *sv) {
    const char *word = SvOK(sv) ? SvPV_nolen(sv) : "stringify";
    if (strEQ(word, "stringify")) return FALSE;
    if (strNE(word, "croak")) ps_croak(aTHX_ call, "refs must be \"croak\" or \"stringify\", not \"%" SVf "\"", SVfARG(sv));
    return TRUE;
}

static request read_request(pTHX_ const ps_call *call, I32 ax, I32 items, UV least_capacity) {
    const bool is_str = PS_IS_STR(call->class), is_file = call->flags & PS_TAKES_MODE;
    SV *given[ARGUMENTS];
    int places[3];
    request wanted;
    I32 i, most = 0;
    for (i = 0; i < ARGUMENTS; i++) given[i] = &PL_sv_undef;
    places[most++] = CAPACITY;
    if (is_str) places[most++] = MSG_SIZE;
    if (is_file) places[most++] = MODE;
    for (i = 2; i < items; i++) {
        SV *sv = PS_VALUE(ST(i));
        /* A name is a word after the capacity, followed by a value. */
        if (i > 2 && (items - i) % 2 == 0 && SvPOK(sv) && isIDFIRST_A(*SvPVX(sv))) {
            const int place = named(aTHX_ call, sv);
            i++;
            given[place] = PS_VALUE(ST(i));
        } else if (i - 2 < most) {
            given[places[i - 2]] = sv;
        } else {
            usage(aTHX_ call);
        }
    }
#define GIVEN(i) SvOK(given[i])
    wanted.options.capacity = GIVEN(CAPACITY) || least_capacity ? arg_capacity(aTHX_ call, given[CAPACITY], least_capacity) : 0;
    wanted.options.msg_size = arg_msg_size(aTHX_ call, given[MSG_SIZE]);
    wanted.options.publishers =
        GIVEN(PUBLISHERS) ? ps_arg_uv(aTHX_ call, given[PUBLISHERS], "publishers", "an integer from 1 to 65536", 1, MAX_PUBLISHERS) : 0;
    wanted.options.readers = GIVEN(READERS) ? ps_arg_uv(aTHX_ call, given[READERS], "readers", "an integer from 0 to 65535", 0, MAX_READERS) : 0;
    if (GIVEN(READERS) && !wanted.options.readers) wanted.options.readers = PS_NO_READERS;
    wanted.options.keep_ms = GIVEN(KEEP) ? arg_keep(aTHX_ call, given[KEEP]) : 0;
    wanted.options.lossless = SvTRUE(given[LOSSLESS]);
    wanted.options.stamped = SvTRUE(given[STAMPED]);
    wanted.options.prefault = SvTRUE(given[PREFAULT]);
    wanted.options.mode = (uint32_t)arg_mode(aTHX_ call, given[MODE]);
    wanted.msg_size_given = GIVEN(MSG_SIZE) && SvTRUE_nomg_NN(given[MSG_SIZE]);
    wanted.readers_given = GIVEN(READERS);
    wanted.keep_given = GIVEN(KEEP);
    wanted.strict = SvTRUE(given[STRICT]);
    wanted.flags = arg_refs(aTHX_ call, given[REFS]) ? PS_REFUSES_REFS : 0;
#undef GIVEN
    return wanted;
}

/* An existing ring keeps its own sizes. Warns, or croaks, if other sizes were requested. The warning may be fatal, so the caller
 * has already put the ring into an object. */
static void compare_sizes(pTHX_ const ps_call *call, const ps_ring *ring, const request *wanted) {
    ps_options options = wanted->options;
    ps_stat has, asked;
    SV *text = NULL;
    ps_stats(ring, &has);
    if (!options.capacity) options.capacity = has.capacity;
    if (!ps_sizes(call->class->variant, &options, &asked, NULL)) return;
#define COMPARE(given, what, of)                                                                                     \
    if (!text && (given) && asked.of != has.of) {                                                                    \
        text = newSVpvf(what " %" UVuf " was asked for, the ring has %" UVuf, (UV)options.of, (UV)has.of);          \
    }
    COMPARE(TRUE, "capacity", capacity)
    COMPARE(wanted->msg_size_given, "msg_size", msg_size)
    COMPARE(options.publishers, "publishers", publishers)
    if (!text && options.lossless && !has.lossless) text = newSVpvs("lossless was asked for, the ring is not");
    if (!text && options.stamped && !has.stamped) text = newSVpvs("stamped was asked for, the ring is not");
    if (!text && wanted->readers_given && asked.readers != has.readers) {
        text = newSVpvf("readers %" UVuf " was asked for, the ring has %" UVuf, (UV)asked.readers, (UV)has.readers);
    }
    if (!text && wanted->keep_given && asked.keep_ms != has.keep_ms) {
        text = newSVpvf("keep %" NVgf " was asked for, the ring has %" NVgf, (NV)asked.keep_ms / 1000, (NV)has.keep_ms / 1000);
    }
#undef COMPARE
    if (!text) return;
    sv_2mortal(text);
    if (wanted->strict) ps_croak(aTHX_ call, "%" SVf, SVfARG(text));
    {
        dSP;
        ENTER;
        PUSHMARK(SP);
        mXPUSHs(newSVpvf("%s->%s: %" SVf, call->class->package, call->name, SVfARG(text)));
        PUTBACK;
        call_pv("Data::PubSub::Shared::_warn", G_VOID | G_DISCARD);
        LEAVE;
    }
}

static void ring_new(pTHX_ const ps_call *call, I32 ax, I32 items) {
    HV *stash = ps_stash_of(aTHX_ ST(0));
    SV *path_sv = ARGUMENT(1);
    const request wanted = read_request(aTHX_ call, ax, items, 0);
    const U16 flags = wanted.flags;
    STRLEN len;
    const char *path;
    ps_error error;
    ps_ring *ring;
    SV *object;
    if (!SvOK(path_sv)) {
        if (!wanted.options.capacity) ps_croak(aTHX_ call, "capacity is required to create a ring");
        RETURN_RING(ps_ring_anonymous(call->class->variant, &wanted.options, &error), flags);
    }
    path = arg_path(aTHX_ call, path_sv, &len);
    MAKE(ring, open_path(aTHX_ call, path, len, &wanted.options, &error));
    object = new_object(aTHX_ call, ring, stash, flags);
    compare_sizes(aTHX_ call, ring, &wanted);
    ST(0) = object;
    XSRETURN(1);
}

static void ring_new_readonly(pTHX_ const ps_call *call, I32 ax, I32 items) {
    HV *stash = ps_stash_of(aTHX_ ST(0));
    SV *path_sv = ARGUMENT(1);
    STRLEN len;
    const char *path;
    ps_error error;
    if (!SvOK(path_sv)) ps_croak(aTHX_ call, "path is undefined");
    path = arg_name(aTHX_ call, path_sv, "path", &len);
    RETURN_RING(ps_ring_open_read_only(call->class->variant, path, len, &error), 0);
}

static void ring_new_memfd(pTHX_ const ps_call *call, I32 ax, I32 items) {
    HV *stash = ps_stash_of(aTHX_ ST(0));
    SV *name_sv = ARGUMENT(1);
    const request wanted = read_request(aTHX_ call, ax, items, 1);
    STRLEN len;
    const char *name = SvOK(name_sv) ? arg_name(aTHX_ call, name_sv, "name", &len) : "pubsub";
    ps_error error;
    RETURN_RING(ps_ring_memfd(call->class->variant, name, &wanted.options, &error), wanted.flags);
}

static void ring_new_from_fd(pTHX_ const ps_call *call, I32 ax, I32 items) {
    HV *stash = ps_stash_of(aTHX_ ST(0));
    int fd = ps_arg_fd(aTHX_ call, ST(1), FALSE);
    ps_error error;
    RETURN_RING(ps_ring_from_fd(call->class->variant, fd, &error), 0);
}

/* ---- publishing ---- */

static void ring_publish(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_publish(aTHX_ call, call->class->variant, ax);
    XSRETURN_YES;
}

static void ring_publish_multi(pTHX_ const ps_call *call, I32 ax, I32 items) {
    RETURN_UV(ps_publish_multi(aTHX_ call, ax, items - 1));
}

static void ring_publish_packed(pTHX_ const ps_call *call, I32 ax, I32 items) {
    const UV count = ps_publish_packed_sv(aTHX_ call, ax);
    RETURN_UV(count);
}

static void ring_publish_notify(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_publish(aTHX_ call, call->class->variant, ax);
    /* The message is published; a descriptor closed by the program is not an error. */
    (void)ps_notifier_notify(ps_ring_notifier(RING), NULL);
    XSRETURN_YES;
}

/* `publish_wait` waits until the timeout, or without limit. */
static void ring_publish_wait(pTHX_ const ps_call *call, I32 ax, I32 items) {
    uint64_t deadline = PS_NEVER;
    (void)RING;
    if (items > 2) deadline = ps_arg_deadline(aTHX_ call, PS_VALUE(ST(2)));
    /* Look up the handle again, because the timeout may have run Perl code. */
    (void)RING;
    ST(0) = boolSV(ps_publish_slow(aTHX_ call, ax, deadline));
    XSRETURN(1);
}

static void ring_try_publish(pTHX_ const ps_call *call, I32 ax, I32 items) {
    (void)RING;
    ST(0) = boolSV(ps_publish_slow(aTHX_ call, ax, 0));
    XSRETURN(1);
}

/* ---- readers ---- */

/* A reader's name in UTF-8, regardless of the encoding of the caller's variable. */
static const char *arg_reader(pTHX_ const ps_call *call, SV *sv, STRLEN *len) {
    SV *copy = sv_mortalcopy(sv);
    croak_if_reference(aTHX_ call, copy, "name");
    return SvPVutf8(copy, *len);
}

static void ring_subscribe(pTHX_ const ps_call *call, I32 ax, I32 items) {
    const ps_class *class = &ps_classes[PS_SUB][call->class->variant];
    const ps_pin pin = (RING, ps_pinned(aTHX_ ST(0)));
    const char *name = NULL;
    STRLEN len = 0;
    bool lossy = FALSE;
    ps_bytes *prefixes = NULL;
    size_t count = 0;
    ps_error error;
    HV *stash;
    ps_sub *sub;
    I32 i;
    if (items % 2 == 0) usage(aTHX_ call);
    for (i = 1; i < items; i += 2) {
        SV *value = PS_VALUE(ST(i + 1));
        const char *option = SvPV_nolen(PS_VALUE(ST(i)));
        if (strEQ(option, "lossy")) {
            lossy = SvTRUE(value);
        } else if (strEQ(option, "name")) {
            if (SvOK(value)) name = arg_reader(aTHX_ call, value, &len);
        } else if (PS_IS_STR(call->class) && strEQ(option, "prefix")) {
            prefixes = ps_arg_prefixes(aTHX_ call, value, &count);
        } else {
            ps_croak(aTHX_ call, "unknown option \"%s\"; known: lossy, name%s", option, PS_IS_STR(call->class) ? ", prefix" : "");
        }
    }
    stash = ps_stash_of_made(aTHX_ call, ST(0), "sub_class", class);
    /* After the arguments, because they may run Perl code. */
    sub = ps_subscribe_with((ps_ring *)ps_repin(aTHX_ call, &pin), !!(call->flags & PS_FROM_OLDEST), lossy, name, len, &error);
    if (!sub) ps_fail(aTHX_ call, &error);
    if (prefixes) (void)ps_set_prefixes(sub, prefixes, count, NULL);
    ST(0) = ps_object(aTHX_ class, stash, sub);
    XSRETURN(1);
}

/* A list of hashes: of all readers, or of those that publishers wait for. */
static void ring_readers(pTHX_ const ps_call *call, I32 ax, I32 items) {
    size_t count, i;
    ps_reader *readers = ps_readers(RING, !!(call->flags & PS_WAITED_FOR), &count);
    SV **sp = PL_stack_base + ax - 1;
    EXTEND(sp, (SSize_t)count);
    for (i = 0; i < count; i++) ST(i) = sv_2mortal(ps_reader_hash(aTHX_ &readers[i]));
    ps_readers_free(readers, count);
    XSRETURN((I32)count);
}

static void ring_forget(pTHX_ const ps_call *call, I32 ax, I32 items) {
    SV *name_sv = ARGUMENT(1);
    STRLEN len;
    const char *name;
    ps_error error;
    int done;
    (void)RING;
    if (!SvOK(name_sv)) ps_croak(aTHX_ call, "name is undefined");
    name = arg_reader(aTHX_ call, name_sv, &len);
    done = ps_forget(RING, name, len, &error);
    if (done < 0) ps_fail(aTHX_ call, &error);
    ST(0) = boolSV(done);
    XSRETURN(1);
}

static void ring_wait_for_readers(pTHX_ const ps_call *call, I32 ax, I32 items) {
    const ps_pin pin = (RING, ps_pinned(aTHX_ ST(0)));
    const uint64_t deadline = items > 1 ? ps_arg_deadline(aTHX_ call, PS_VALUE(ST(1))) : PS_NEVER;
    const ps_ring *ring = (const ps_ring *)ps_repin(aTHX_ call, &pin);
    ps_error error;
    int how;
    do {
        dSAVE_ERRNO;
        how = ps_wait_for_readers(ring, deadline, (const int *)&PL_sig_pending, &error);
        RESTORE_ERRNO;
    } while (ps_waits_on(aTHX_ call, &pin, how, &error, &ring));
    ST(0) = boolSV(how == PS_READY);
    XSRETURN(1);
}

/* ---- inspection and maintenance ---- */

static void ring_memfd(pTHX_ const ps_call *call, I32 ax, I32 items) {
    RETURN_IV(ps_memfd(RING));
}

static void ring_readonly(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ST(0) = boolSV(ps_ring_read_only(RING));
    XSRETURN(1);
}

static void ring_generation(pTHX_ const ps_call *call, I32 ax, I32 items) {
    const ps_ring *ring = RING;
    char identity[PS_IDENTITY_LEN];
    ps_identity(ring, identity);
    ST(0) = sv_2mortal(newSVpvf("%s/%" UVuf, identity, (UV)ps_base(ring)));
    XSRETURN(1);
}

static void ring_write_pos(pTHX_ const ps_call *call, I32 ax, I32 items) {
    RETURN_UV(ps_write_pos(RING));
}

static void ring_capacity(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_stat stat;
    ps_stats(RING, &stat);
    RETURN_UV(stat.capacity);
}

static void ring_msg_size(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_stat stat;
    ps_stats(RING, &stat);
    RETURN_UV(stat.msg_size);
}

static void ring_path(pTHX_ const ps_call *call, I32 ax, I32 items) {
    size_t len;
    const char *path = ps_path(RING, &len);
    const bool read_only = !ps_magic(call->class, SvRV(ST(0)));
    ST(0) = path ? newSVpvn_flags(path, len, SVs_TEMP) : &PL_sv_undef;
    /* `new_readonly` accepts tainted names. */
    if (path && read_only) SvTAINTED_on(ST(0));
    XSRETURN(1);
}

static void ring_stats(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_stat stat;
    HV *hv;
    ps_stats(RING, &stat);
    hv = newHV();
    ST(0) = sv_2mortal(newRV_noinc((SV *)hv));
    ps_put_stats(aTHX_ hv, &stat, PS_IS_STR(call->class));
    PS_PUT(hv, "sub_waiters", newSVuv(stat.sub_waiters));
    XSRETURN(1);
}

static void ring_clear(pTHX_ const ps_call *call, I32 ax, I32 items) {
    (void)ps_clear(RING, NULL);
    XSRETURN_EMPTY;
}

static void ring_sync(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_error error;
    if (!ps_sync(RING, &error)) ps_fail(aTHX_ call, &error);
    XSRETURN_EMPTY;
}

static void ring_unlink(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_error error;
    if (SvROK(ST(0))) {
        ps_ring *ring = RING;
        if (items > 1) {
            ps_croak(aTHX_ call, "a ring unlinks its own file and takes no path; Usage: $ring->unlink, or %s->unlink($path)",
                     call->class->package);
        }
        if (!ps_ring_unlink(ring, &error)) ps_fail(aTHX_ call, &error);
    } else {
        SV *path_sv = ARGUMENT(1);
        const char *path;
        STRLEN len;
        if (items == 1) ps_croak(aTHX_ call, "path is required to unlink by class");
        if (!SvOK(path_sv)) ps_croak(aTHX_ call, "path is undefined");
        path = arg_path(aTHX_ call, path_sv, &len);
        if (!ps_unlink(path, len, &error)) ps_fail(aTHX_ call, &error);
    }
    XSRETURN_YES;
}

/* ---- the methods ---- */

#define METHODS(variant)                                                                                             \
    PS_METHOD(PS_RING, variant, "new_readonly", ring_new_readonly, 0, 2, 2, "class, path")                           \
    PS_METHOD(PS_RING, variant, "new_from_fd", ring_new_from_fd, 0, 2, 2, "class, fd")                               \
    PS_METHOD(PS_RING, variant, "memfd", ring_memfd, PS_READS, 1, 1, "self")                                         \
    PS_METHOD(PS_RING, variant, "publish", ring_publish, 0, 2, 2, "self, value")                                     \
    PS_METHOD(PS_RING, variant, "publish_multi", ring_publish_multi, PS_PINS_ITSELF, 1, PS_ANY, "self, ...")         \
    PS_METHOD(PS_RING, variant, "publish_notify", ring_publish_notify, 0, 2, 2, "self, value")                       \
    PS_METHOD(PS_RING, variant, "subscribe", ring_subscribe, PS_READS, 1, PS_ANY, "self, option => value, ...")      \
    PS_METHOD(PS_RING, variant, "subscribe_all", ring_subscribe, PS_READS | PS_FROM_OLDEST, 1, PS_ANY,               \
              "self, option => value, ...")                                                                          \
    PS_METHOD(PS_RING, variant, "publish_wait", ring_publish_wait, 0, 2, 3, "self, value, timeout = none")           \
    PS_METHOD(PS_RING, variant, "try_publish", ring_try_publish, 0, 2, 2, "self, value")                             \
    PS_METHOD(PS_RING, variant, "readers", ring_readers, PS_READS, 1, 1, "self")                                     \
    PS_METHOD(PS_RING, variant, "waiting_for", ring_readers, PS_READS | PS_WAITED_FOR, 1, 1, "self")                 \
    PS_METHOD(PS_RING, variant, "forget", ring_forget, 0, 2, 2, "self, name")                                        \
    PS_METHOD(PS_RING, variant, "wait_for_readers", ring_wait_for_readers, 0, 1, 2, "self, timeout = none")          \
    PS_METHOD(PS_RING, variant, "readonly", ring_readonly, PS_READS, 1, 1, "self")                                   \
    PS_METHOD(PS_RING, variant, "generation", ring_generation, PS_READS, 1, 1, "self")                               \
    PS_METHOD(PS_RING, variant, "capacity", ring_capacity, PS_READS, 1, 1, "self")                                   \
    PS_METHOD(PS_RING, variant, "path", ring_path, PS_READS, 1, 1, "self")                                           \
    PS_METHOD(PS_RING, variant, "stats", ring_stats, PS_READS, 1, 1, "self")                                         \
    PS_METHOD(PS_RING, variant, "write_pos", ring_write_pos, PS_READS, 1, 1, "self")                                 \
    PS_METHOD(PS_RING, variant, "clear", ring_clear, 0, 1, 1, "self")                                                \
    PS_METHOD(PS_RING, variant, "sync", ring_sync, PS_READS, 1, 1, "self")                                           \
    PS_METHOD(PS_RING, variant, "unlink", ring_unlink, 0, 1, 2, "self_or_class, path = self->path")

#define NUMBER_METHODS(variant)                                                                                      \
    PS_METHOD(PS_RING, variant, "publish_packed", ring_publish_packed, 0, 2, 2, "self, bytes")                       \
    PS_METHOD(PS_RING, variant, "new", ring_new, PS_TAKES_MODE, 2, PS_ANY,                                           \
              "class, path, capacity = that of the existing ring, mode = 0600, option => value, ...")                \
    PS_METHOD(PS_RING, variant, "new_memfd", ring_new_memfd, 0, 3, PS_ANY, "class, name, capacity, option => value, ...")

const ps_method ps_ring_methods[] = {
    PS_EACH_VARIANT(METHODS) PS_EACH_NUMBER(NUMBER_METHODS)
    PS_METHOD(PS_RING, PS_STR, "new", ring_new, PS_TAKES_MODE, 2, PS_ANY,
              "class, path, capacity = that of the existing ring, msg_size = 256, mode = 0600, option => value, ...")
    PS_METHOD(PS_RING, PS_STR, "new_memfd", ring_new_memfd, 0, 3, PS_ANY,
              "class, name, capacity, msg_size = 256, option => value, ...")
    PS_METHOD(PS_RING, PS_STR, "msg_size", ring_msg_size, PS_READS, 1, 1, "self")
    PS_LAST_METHOD
};
