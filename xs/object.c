/* Objects with a native handle: how they are made, recognised and freed; and errors that name the call. */

#include "method.h"

static int free_magic(pTHX_ SV *sv, MAGIC *mg);

#ifdef USE_ITHREADS
/* A handle belongs to one interpreter. CLONE_SKIP prevents cloning; this also prevents it if a subclass overrides CLONE_SKIP. */
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
        CLASS("Data::PubSub::Shared::Str" suffix, PS_STR, role),                                                     \
        CLASS("Data::PubSub::Shared::Num" suffix, PS_NUM, role)                                                      \
    }

const ps_class ps_classes[3][PS_NUM + 1] = { CLASSES(PS_RING, ""), CLASSES(PS_READER, ""), CLASSES(PS_SUB, "::Sub") };
const ps_class ps_set_class = CLASS("Data::PubSub::Shared::Set", 0, PS_SET);

/* ---- errors ---- */

void ps_croak(pTHX_ const ps_call *call, const char *format, ...) {
    SV *text = sv_newmortal();
    va_list args;
    if (call->flags & PS_KEYWORD) {
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

/* ---- objects ---- */

static int free_magic(pTHX_ SV *sv, MAGIC *mg) {
    const ps_class *class = (const ps_class *)((const char *)mg->mg_virtual - offsetof(ps_class, vtbl));
    void *handle = mg->mg_ptr;
    PERL_UNUSED_ARG(sv);
    if (!handle) return 0;
    if (!PL_dirty && mg->mg_obj) ps_disown_closed(aTHX_ class, mg);
    mg->mg_ptr = NULL;
    if (class->role == PS_SUB) ps_sub_free((ps_sub *)handle);
    else if (class->role == PS_SET) ps_members_free(aTHX_ (ps_members *)handle);
    else ps_ring_free((ps_ring *)handle);
    return 0;
}

/* Perl also calls this for hand-blessed references, and twice for one object: ignore all but live objects. */
void ps_destroy(pTHX_ const ps_call *call, I32 ax, I32 items) {
    MAGIC *mg = ps_magic_for(call, ST(0));
    if (mg) free_magic(aTHX_ SvRV(ST(0)), mg);
    XSRETURN_EMPTY;
}

HV *ps_stash_of(pTHX_ SV *class) {
    class = PS_VALUE(class);
    return SvROK(class) && SvOBJECT(SvRV(class)) ? SvSTASH(SvRV(class)) : gv_stashsv(class, GV_ADD);
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
    if (!mg && (call->flags & PS_READS)) mg = ps_magic(&ps_classes[PS_READER][call->class->variant], pin->body);
    if (!mg || !mg->mg_ptr) ps_croak(aTHX_ call, "%s object destroyed during the call", call->class->package);
    if (!SvROK(pin->self) || SvRV(pin->self) != pin->body) {
        ps_croak(aTHX_ call, "%s object was replaced during the call", call->class->package);
    }
    return mg->mg_ptr;
}

HV *ps_stash_of_made(pTHX_ const ps_call *call, SV *self, const char *hook, const ps_class *made) {
    HV *stash = SvSTASH(SvRV(self));
    SV *name;
    dSP;
    if (LIKELY(stash == gv_stashpv(call->class->package, 0))) return gv_stashpv(made->package, GV_ADD);
    PUSHMARK(SP);
    XPUSHs(self);
    PUTBACK;
    call_method(hook, G_SCALAR);
    SPAGAIN;
    name = POPs;
    PUTBACK;
    if (!SvOK(name) || SvROK(name) || !sv_derived_from(name, made->package)) {
        ps_croak(aTHX_ call, "%s of %s must name a class derived from %s, not %" SVf, hook, HvNAME(stash), made->package,
                 SVfARG(SvOK(name) ? name : newSVpvs_flags("undef", SVs_TEMP)));
    }
    return gv_stashsv(name, GV_ADD);
}

static void object_is_gone(pTHX_ const ps_call *call, I32 ax, I32 items) {
    void *handle = ps_handle(aTHX_ call, ST(0));
    ST(0) = boolSV(call->class->role == PS_SUB ? ps_sub_is_gone((ps_sub *)handle) : ps_ring_is_gone((ps_ring *)handle));
    XSRETURN(1);
}

static void object_reopen(pTHX_ const ps_call *call, I32 ax, I32 items) {
    void *handle = ps_handle(aTHX_ call, ST(0));
    MAGIC *mg = ps_magic_for(call, ST(0));
    const bool is_sub = call->class->role == PS_SUB;
    ps_error error;
    if (is_sub) ps_disown_closed(aTHX_ call->class, mg);
    if (!(is_sub ? ps_sub_reopen((ps_sub *)handle, &error) : ps_ring_reopen((ps_ring *)handle, &error))) ps_fail(aTHX_ call, &error);
    /* The subscriber's file handle was for the old ring. Drop it at the end of this call, because Perl code may run. */
    sv_2mortal(mg->mg_obj);
    mg->mg_obj = NULL;
    XSRETURN_YES;
}

#define METHODS_OF_ROLE(role, variant, flags)                                                                        \
    PS_METHOD(role, variant, "is_gone", object_is_gone, flags, 1, 1, "self")                                         \
    PS_METHOD(role, variant, "reopen", object_reopen, flags, 1, 1, "self")                                           \
    PS_METHOD(role, variant, "DESTROY", ps_destroy, flags, 1, 1, "self")

#define METHODS(variant)                                                                                             \
    METHODS_OF_ROLE(PS_RING, variant, PS_READS)                                                                      \
    METHODS_OF_ROLE(PS_SUB, variant, 0)

const ps_method ps_object_methods[] = { PS_EACH_VARIANT(METHODS) PS_LAST_METHOD };
