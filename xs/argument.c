/* Arguments: numbers, counts, descriptors, timeouts and handlers, converted as perl's own functions convert them. */

#include "object.h"

/* A value as shown in an error. */
static SV *shown(pTHX_ SV *sv) {
    if (!SvOK(sv)) return newSVpvs_flags("undef", SVs_TEMP);
    /* Before perl 5.36 a number that was printed is also a string; so is `$!`, whose string is not a number. */
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

/* A value for conversion to a number: without magic, and for an object that overloads numbers, the number that it returns, which
 * keeps all digits of a large integer. If it returns no number, the value stays a reference, which is not a number. */
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
    /* The value of a false condition: !$blocking && 5. */
    if (SvPOK(sv) && !SvCUR(sv)) return 0;
    if (!is_number(aTHX_ sv)) {
        ps_croak(aTHX_ call, "timeout must be a number of seconds, not %" SVf, SVfARG(shown(aTHX_ sv)));
    }
    seconds = SvNV_nomg(sv);
    if (seconds != seconds) ps_croak(aTHX_ call, "timeout must be a number of seconds, not NaN");
    if (seconds == 0) return 0;
    /* Timeouts of hundreds of years mean forever. */
    if (seconds < 0 || seconds > 9e9) return PS_NEVER;
    return ps_now() + (uint64_t)(seconds * 1e9);
}

ps_bytes *ps_arg_prefixes(pTHX_ const ps_call *call, SV *sv, size_t *count) {
    AV *list = SvROK(sv) && SvTYPE(SvRV(sv)) == SVt_PVAV && !SvAMAGIC(sv) ? (AV *)SvRV(sv) : NULL;
    const SSize_t most = list ? av_len(list) + 1 : 1;
    ps_bytes *prefixes = (ps_bytes *)SvPVX(sv_2mortal(newSV((most + 1) * sizeof(ps_bytes))));
    SSize_t i;
    /* An overloaded object runs Perl code, which may free the list. */
    if (list) sv_2mortal(SvREFCNT_inc_simple_NN((SV *)list));
    if (most == 0) ps_croak(aTHX_ call, "prefix must be a string or a list of strings, not an empty list");
    for (i = 0; i < most; i++) {
        SV **item = list ? av_fetch(list, i, 0) : &sv;
        SV *copy = item ? sv_mortalcopy(*item) : &PL_sv_undef;
        STRLEN len;
        if (!SvOK(copy) || (SvROK(copy) && !SvAMAGIC(copy))) {
            ps_croak(aTHX_ call, "prefix must be a string or a list of strings, not %s", SvROK(copy) ? "a reference" : "undef");
        }
        prefixes[i].ptr = SvPV(copy, len);
        prefixes[i].len = len;
        prefixes[i].utf8 = !!SvUTF8(copy);
        /* The string of an object belongs to the object. */
        if (SvROK(copy)) prefixes[i].ptr = SvPVX(newSVpvn_flags(prefixes[i].ptr, len, SVs_TEMP));
    }
    *count = (size_t)most;
    return prefixes;
}

CV *ps_arg_code(pTHX_ const ps_call *call, SV *sv) {
    CV *cv = NULL;
    sv = PS_VALUE(sv);
    if (SvROK(sv)) {
        SV *code = SvAMAGIC(sv) ? amagic_deref_call(sv, to_cv_amg) : sv;
        if (SvROK(code) && SvTYPE(SvRV(code)) == SVt_PVCV) cv = (CV *)SvRV(code);
    } else if (SvOK(sv)) {
        /* As in perl's `sort`: without a package, the name belongs to the caller's. */
        STRLEN len;
        const char *name = SvPV_nomg(sv, len);
        cv = get_cvn_flags(name, len, SvUTF8(sv));
    }
    if (!cv) {
        ps_croak(aTHX_ call, "handler must be a code reference or the name of a subroutine, not %" SVf, SVfARG(shown(aTHX_ sv)));
    }
    return cv;
}
