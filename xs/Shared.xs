/* The entry point from perl: installs the tables of methods; every method call passes through one function. */

#include "method.h"
#include "keyword.h"

XS_EXTERNAL(run_method) {
    dXSARGS;
    const ps_method *method = (const ps_method *)XSANY.any_ptr;
    if (UNLIKELY(items < method->least || items > method->most)) croak_xs_usage(cv, method->usage);
    PERL_UNUSED_VAR(mark);
    /* Checking the first argument may run Perl code that frees the others. */
    if (UNLIKELY(items > 2) && !(method->call.flags & PS_PINS_ITSELF)) ps_pin_arguments(aTHX_ ax, items - 1);
    method->body(aTHX_ &method->call, ax, items);
}

static void install(pTHX_ const ps_method *method) {
    for (; method->body; method++) {
        CV *cv = newXS(Perl_form(aTHX_ "%s::%s", method->call.class->package, method->call.name), run_method, __FILE__);
        CvXSUBANY(cv).any_ptr = (void *)method;
    }
}

MODULE = Data::PubSub::Shared  PACKAGE = Data::PubSub::Shared

PROTOTYPES: DISABLE

BOOT:
    install(aTHX_ ps_ring_methods);
    install(aTHX_ ps_sub_methods);
    install(aTHX_ ps_notifier_methods);
    install(aTHX_ ps_object_methods);
    install(aTHX_ ps_set_methods);
    ps_register_keywords(aTHX);

MODULE = Data::PubSub::Shared  PACKAGE = Data::PubSub::Shared::CLI::File

void
_inspect(SV *path)
PPCODE:
    XPUSHs(ps_inspected(aTHX_ path));

void
_readers(SV *path, bool waited_for)
PPCODE:
    XPUSHs(ps_inspected_readers(aTHX_ path, waited_for));

void
_check(SV *path, bool all)
PPCODE:
    XPUSHs(ps_checked(aTHX_ path, all));

void
_sizes(U32 variant, UV capacity, UV msg_size, UV publishers, UV readers, bool stamped)
PPCODE:
    XPUSHs(ps_sized(aTHX_ variant, capacity, msg_size, publishers, readers, stamped));
