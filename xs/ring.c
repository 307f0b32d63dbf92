/* The methods of rings: constructors, publishing, looking in. */

#include "method.h"

/* ---- constructors ---- */

/* A handle as a new mortal object of the class that the caller named. */
static SV *new_object(pTHX_ const ps_call *call, ps_ring *ring, HV *stash) {
    return ps_object(aTHX_ &ps_classes[ps_ring_read_only(ring) ? PS_READER : PS_RING][call->class->variant], stash, ring);
}

/* Sets `ring` to what the expression makes, which leaves $! alone, or dies of `error`. */
#define MAKE(ring, expression)                                                                                       \
    STMT_START {                                                                                                     \
        dSAVE_ERRNO;                                                                                                 \
        ring = (expression);                                                                                         \
        if (!ring) ps_fail(aTHX_ call, &error);                                                                      \
        RESTORE_ERRNO;                                                                                               \
    } STMT_END

#define RETURN_RING(expression)                                                                                      \
    STMT_START {                                                                                                     \
        ps_ring *made;                                                                                               \
        MAKE(made, expression);                                                                                      \
        ST(0) = new_object(aTHX_ call, made, stash);                                                                 \
        XSRETURN(1);                                                                                                 \
    } STMT_END

#define MAX_CAPACITY ((UV)1 << 31)
#define MAX_MSG_SIZE (((UV)1 << 31) - 1)
#define MAX_PUBLISHERS 65536
#define DEFAULT_MSG_SIZE 256
#define DEFAULT_MODE 0600

/* Slots; 0, where that is allowed, for those of a ring that exists. */
static UV arg_capacity(pTHX_ const ps_call *call, SV *sv, UV least) {
    return ps_arg_uv(aTHX_ call, sv, "capacity", "an integer from 1 to 2147483648", least, MAX_CAPACITY);
}

/* The optional message size of a Str constructor; 0 is the default, too. */
static UV arg_msg_size(pTHX_ const ps_call *call, SV *sv) {
    UV size;
    if (!PS_IS_STR(call->class)) return 0;
    size = SvOK(sv) ? ps_arg_uv(aTHX_ call, sv, "msg_size", "an integer from 1 to 2147483647", 0, MAX_MSG_SIZE) : 0;
    return size ? size : DEFAULT_MSG_SIZE;
}

/* Permission bits, also as `stat` returns them, beside the file's type. Without its owner's right to read and write a ring
 * could not be opened again; a mode without it is another argument, or octal digits that were taken for decimal ones. */
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

/* The bytes that perl's own functions take for a file's name, none of them a NUL. */
static const char *arg_name(pTHX_ const ps_call *call, SV *sv, const char *what, STRLEN *len) {
    const char *name = SvPV(sv, *len);
    if (memchr(name, 0, *len)) ps_croak(aTHX_ call, "%s contains a NUL byte", what);
    return name;
}

/* The name of a file that will be written or removed: not from outside under -T, as for perl's own functions. */
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

/* Opens or makes the ring at a path, and runs signal handlers while that takes long. */
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

/* A constructor's arguments behind the name: positional ones, then pairs of names and values. */
typedef struct {
    SV *capacity, *msg_size, *publishers, *mode, *strict;
} arguments;

typedef struct {
    ps_options options;
    bool msg_size_given, strict;
} request;

/* What may be named, for integers and strings: by `new`, and where there is no file. */
static const char *const option_names[2][2] = { { "mode, strict", "mode, msg_size, publishers, strict" }, { "none", "msg_size, publishers" } };

/* The argument with that name, or NULL. */
static SV **named(const ps_call *call, arguments *all, const char *name) {
    const bool is_str = PS_IS_STR(call->class), is_file = call->flags & PS_TAKES_MODE;
    if (is_file && strEQ(name, "mode")) return &all->mode;
    if (is_file && strEQ(name, "strict")) return &all->strict;
    if (is_str && strEQ(name, "msg_size")) return &all->msg_size;
    if (is_str && strEQ(name, "publishers")) return &all->publishers;
    return NULL;
}

static request read_request(pTHX_ const ps_call *call, I32 ax, I32 items, UV least_capacity) {
    arguments all = { &PL_sv_undef, &PL_sv_undef, &PL_sv_undef, &PL_sv_undef, &PL_sv_undef };
    const bool is_str = PS_IS_STR(call->class), is_file = call->flags & PS_TAKES_MODE;
    SV **places[3], **place;
    request wanted;
    I32 i = 2, most = 0;
    places[most++] = &all.capacity;
    if (is_str) places[most++] = &all.msg_size;
    if (is_file) places[most++] = &all.mode;
    for (; i < items; i++) {
        SV *sv = PS_VALUE(ST(i));
        /* A name comes after the capacity, is a word, and a value follows. */
        if (i > 2 && (items - i) % 2 == 0 && SvPOK(sv) && isIDFIRST_A(*SvPVX(sv))) {
            if (!(place = named(call, &all, SvPVX(sv)))) {
                ps_croak(aTHX_ call, "unknown option \"%" SVf "\"; known: %s", SVfARG(sv), option_names[!is_file][is_str]);
            }
            i++;
            *place = PS_VALUE(ST(i));
        } else if (i - 2 < most) {
            *places[i - 2] = sv;
        } else {
            Perl_croak(aTHX_ "Usage: %s::%s(%s)", call->class->package, call->name, ((const ps_method *)call)->usage);
        }
    }
    wanted.options.capacity = SvOK(all.capacity) || least_capacity ? arg_capacity(aTHX_ call, all.capacity, least_capacity) : 0;
    wanted.options.msg_size = arg_msg_size(aTHX_ call, all.msg_size);
    wanted.options.publishers =
        SvOK(all.publishers) ? ps_arg_uv(aTHX_ call, all.publishers, "publishers", "an integer from 1 to 65536", 1, MAX_PUBLISHERS) : 0;
    wanted.options.mode = (uint32_t)arg_mode(aTHX_ call, all.mode);
    wanted.msg_size_given = SvOK(all.msg_size) && SvTRUE_nomg_NN(all.msg_size);
    wanted.strict = SvTRUE(all.strict);
    return wanted;
}

/* A ring that exists keeps its own sizes; whoever asked for others is told, or refused. The warning may be fatal: the caller has
 * put the ring into an object. */
static void compare_sizes(pTHX_ const ps_call *call, const ps_ring *ring, const request *wanted) {
    const ps_options *options = &wanted->options;
    ps_stat has, asked;
    SV *text;
    ps_stats(ring, &has);
    if (options->capacity && ps_sizes(call->class->variant, options, &asked, NULL) && asked.capacity != has.capacity) {
        text = newSVpvf("capacity %" UVuf " was asked for, the ring has %" UVuf, (UV)options->capacity, (UV)has.capacity);
    } else if (wanted->msg_size_given && options->msg_size != has.msg_size) {
        text = newSVpvf("msg_size %" UVuf " was asked for, the ring has %" UVuf, (UV)options->msg_size, (UV)has.msg_size);
    } else if (options->publishers && options->publishers != has.publishers) {
        text = newSVpvf("publishers %" UVuf " was asked for, the ring has %" UVuf, (UV)options->publishers, (UV)has.publishers);
    } else {
        return;
    }
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
    STRLEN len;
    const char *path;
    ps_error error;
    ps_ring *ring;
    SV *object;
    if (!SvOK(path_sv)) {
        if (!wanted.options.capacity) ps_croak(aTHX_ call, "capacity is required to create a ring");
        RETURN_RING(ps_ring_anonymous(call->class->variant, &wanted.options, &error));
    }
    path = arg_path(aTHX_ call, path_sv, &len);
    MAKE(ring, open_path(aTHX_ call, path, len, &wanted.options, &error));
    object = new_object(aTHX_ call, ring, stash);
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
    RETURN_RING(ps_ring_open_read_only(call->class->variant, path, len, &error));
}

static void ring_new_memfd(pTHX_ const ps_call *call, I32 ax, I32 items) {
    HV *stash = ps_stash_of(aTHX_ ST(0));
    SV *name_sv = ARGUMENT(1);
    const request wanted = read_request(aTHX_ call, ax, items, 1);
    STRLEN len;
    const char *name = SvOK(name_sv) ? arg_name(aTHX_ call, name_sv, "name", &len) : "pubsub";
    ps_error error;
    RETURN_RING(ps_ring_memfd(call->class->variant, name, &wanted.options, &error));
}

static void ring_new_from_fd(pTHX_ const ps_call *call, I32 ax, I32 items) {
    HV *stash = ps_stash_of(aTHX_ ST(0));
    int fd = ps_arg_fd(aTHX_ call, ST(1), FALSE);
    ps_error error;
    RETURN_RING(ps_ring_from_fd(call->class->variant, fd, &error));
}

/* ---- publishing ---- */

static void ring_publish(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_publish(aTHX_ call, ax);
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
    ps_publish(aTHX_ call, ax);
    /* The message is published: a descriptor that the program closed is no reason to say otherwise. */
    (void)ps_notifier_notify(ps_ring_notifier(RING), NULL);
    XSRETURN_YES;
}

static void ring_subscribe(pTHX_ const ps_call *call, I32 ax, I32 items) {
    const ps_class *class = &ps_classes[PS_SUB][call->class->variant];
    ps_sub *sub = ps_subscribe(RING, !!(call->flags & PS_FROM_OLDEST));
    ST(0) = ps_object(aTHX_ class, gv_stashpv(class->package, GV_ADD), sub);
    XSRETURN(1);
}

/* ---- looking in and looking after ---- */

static void ring_memfd(pTHX_ const ps_call *call, I32 ax, I32 items) {
    RETURN_IV(ps_memfd(RING));
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
    /* `new_readonly` takes names from outside. */
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
    PS_METHOD(PS_RING, variant, "publish_multi", ring_publish_multi, 0, 1, PS_ANY, "self, ...")                      \
    PS_METHOD(PS_RING, variant, "publish_notify", ring_publish_notify, 0, 2, 2, "self, value")                       \
    PS_METHOD(PS_RING, variant, "subscribe", ring_subscribe, PS_READS, 1, 1, "self")                                 \
    PS_METHOD(PS_RING, variant, "subscribe_all", ring_subscribe, PS_READS | PS_FROM_OLDEST, 1, 1, "self")            \
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
