/* Perl's own cost for a call of each shape: the arguments are converted and a result of the right kind is
 * returned, but there is no ring, no object check, no atomic operation. No call of this shape can cost less,
 * so the figures of the real module are given as multiples of these.
 *
 * Built by baseline.pl in a scratch directory. */

#define PERL_NO_GET_CONTEXT
#include "EXTERN.h"
#include "perl.h"
#include "XSUB.h"
#include "XSParseKeyword.h"

#include <stdint.h>
#include <unistd.h>

#ifndef TARGi /* older perls */
#define TARGi(i, taint) sv_setiv(TARG, i)
#endif

#define TEXT "hello world 1234567890 abcdefgh"
#define TEXT_LENGTH (sizeof TEXT - 1)

/* The destination of strings and integers. */
static char bytes[1 << 16];
static volatile IV sink;

static STRLEN put(pTHX_ SV *value, STRLEN at)
{
    STRLEN length;
    const char *text = SvPV(value, length);
    if (length > sizeof bytes)
        croak("value too long");
    if (at + length > sizeof bytes)
        at = 0;
    memcpy(bytes + at, text, length);
    return at + ((length + 7) & ~(STRLEN)7);
}

/* Makes a fresh scalar mortal where the mortal stack has been extended for it. */
#define PUSH_MORTAL(sv)                       \
    STMT_START {                              \
        SV *const mortal = (sv);              \
        SvTEMP_on(mortal);                    \
        PL_tmps_stack[++PL_tmps_ix] = mortal; \
        PUSHs(mortal);                        \
    } STMT_END

/* -- minimal slots: a tag and a value -- */

#define SLOTS 65536

static union {
    uint64_t wide[SLOTS][2];
    uint64_t narrow[SLOTS];
} slots __attribute__((aligned(16)));
static uint64_t next_slot;

static void put_slots(const char *from, uint64_t count, int width)
{
    const uint64_t first = __atomic_fetch_add(&next_slot, count, __ATOMIC_RELAXED);
    uint64_t i;
    for (i = 0; i < count; i++) {
        const uint64_t at = (first + i) % SLOTS, tag = first + i;
        if (width == 8) {
            uint64_t value;
            memcpy(&value, from + i * 8, 8);
            __atomic_store_n(&slots.wide[at][1], value, __ATOMIC_RELAXED);
            __atomic_store_n(&slots.wide[at][0], tag, __ATOMIC_RELEASE);
        } else {
            uint32_t value = 0;
            memcpy(&value, from + i * width, width);
            __atomic_store_n(&slots.narrow[at], tag | (uint64_t)value << 32, __ATOMIC_RELEASE);
        }
    }
}

static void take_slots(char *to, uint64_t count, int width)
{
    const uint64_t first = next_slot;
    uint64_t i;
    next_slot += count;
    for (i = 0; i < count; i++) {
        const uint64_t at = (first + i) % SLOTS;
        uint64_t value, tag, again;
        if (width == 8) {
            tag = __atomic_load_n(&slots.wide[at][0], __ATOMIC_ACQUIRE);
            value = __atomic_load_n(&slots.wide[at][1], __ATOMIC_ACQUIRE);
            again = __atomic_load_n(&slots.wide[at][0], __ATOMIC_ACQUIRE);
            if (tag != again)
                croak("torn");
        } else {
            value = __atomic_load_n(&slots.narrow[at], __ATOMIC_ACQUIRE);
            if ((uint32_t)value == 1)
                croak("void");
            value >>= 32;
        }
        memcpy(to + i * width, &value, width);
    }
}

/* -- keywords: custom ops, without entersub -- */

static OP *pp_poll(pTHX)
{
    dSP;
    dTARGET;
    TARGi(42, 1);
    SETs(TARG);
    RETURN;
}

static OP *pp_poll_str(pTHX)
{
    dSP;
    SETs(sv_2mortal(newSVpvn(TEXT, TEXT_LENGTH)));
    RETURN;
}

static OP *pp_publish(pTHX)
{
    dSP;
    SV *value = POPs;
    sink = SvIV(value);
    SETs(&PL_sv_yes);
    RETURN;
}

static OP *pp_publish_str(pTHX)
{
    dSP;
    SV *value = POPs;
    put(aTHX_ value, 0);
    SETs(&PL_sv_yes);
    RETURN;
}

typedef OP *(*pp_function)(pTHX);

/* hookdata points at the op's function. */
static const pp_function functions[] = { pp_poll, pp_poll_str, pp_publish, pp_publish_str };

static int build_unary(pTHX_ OP **out, XSParseKeywordPiece *args[], size_t count, void *hookdata)
{
    OP *op = newUNOP(OP_CUSTOM, 0, args[0]->op);
    PERL_UNUSED_VAR(count);
    op->op_ppaddr = *(const pp_function *)hookdata;
    op->op_targ = pad_alloc(OP_CUSTOM, SVs_PADTMP);
    *out = op;
    return KEYWORD_PLUGIN_EXPR;
}

static int build_binary(pTHX_ OP **out, XSParseKeywordPiece *args[], size_t count, void *hookdata)
{
    OP *op = newBINOP(OP_CUSTOM, 0, args[0]->op, args[1]->op);
    PERL_UNUSED_VAR(count);
    op->op_ppaddr = *(const pp_function *)hookdata;
    *out = op;
    return KEYWORD_PLUGIN_EXPR;
}

static const struct XSParseKeywordPieceType one_term[] = { XPK_TERMEXPR, {0} };
static const struct XSParseKeywordPieceType two_terms[] = { XPK_TERMEXPR, XPK_COMMA, XPK_TERMEXPR, {0} };

static const struct XSParseKeywordHooks unary = {
    .flags = XPK_FLAG_EXPR,
    .permit_hintkey = "PubSubBaseline/keywords",
    .pieces = one_term,
    .build = build_unary,
};

static const struct XSParseKeywordHooks binary = {
    .flags = XPK_FLAG_EXPR,
    .permit_hintkey = "PubSubBaseline/keywords",
    .pieces = two_terms,
    .build = build_binary,
};

MODULE = PubSubBaseline  PACKAGE = PubSubBaseline

PROTOTYPES: DISABLE

BOOT:
    boot_xs_parse_keyword(0.33);
    register_xs_parse_keyword("baseline_poll", &unary, (void *)&functions[0]);
    register_xs_parse_keyword("baseline_poll_str", &unary, (void *)&functions[1]);
    register_xs_parse_keyword("baseline_publish", &binary, (void *)&functions[2]);
    register_xs_parse_keyword("baseline_publish_str", &binary, (void *)&functions[3]);

void
publish(self, value)
    SV *self
    SV *value
  PPCODE:
    PERL_UNUSED_VAR(self);
    sink = SvIV(value);
    ST(0) = &PL_sv_yes;
    XSRETURN(1);

void
publish_str(self, value)
    SV *self
    SV *value
  PPCODE:
    PERL_UNUSED_VAR(self);
    put(aTHX_ value, 0);
    ST(0) = &PL_sv_yes;
    XSRETURN(1);

# The number of the eventfd, to which publish_notify writes, is the object's own value.
void
publish_notify(self, value)
    SV *self
    SV *value
  PPCODE:
    uint64_t one = 1;
    sink = SvIV(value);
    if (write((int)SvIV(SvRV(self)), &one, sizeof one) < 0)
        croak("write: %s", Strerror(errno));
    ST(0) = &PL_sv_yes;
    XSRETURN(1);

# Both poll and lag: an integer in the op's own scalar.
void
poll(self)
    SV *self
  PPCODE:
    dXSTARG;
    PERL_UNUSED_VAR(self);
    TARGi(42, 1);
    ST(0) = TARG;
    XSRETURN(1);

void
poll_empty(self)
    SV *self
  PPCODE:
    PERL_UNUSED_VAR(self);
    ST(0) = &PL_sv_undef;
    XSRETURN(1);

void
poll_str(self)
    SV *self
  PPCODE:
    PERL_UNUSED_VAR(self);
    ST(0) = sv_2mortal(newSVpvn(TEXT, TEXT_LENGTH));
    XSRETURN(1);

void
publish_multi(self, ...)
    SV *self
  PPCODE:
    dXSTARG;
    IV i;
    PERL_UNUSED_VAR(self);
    for (i = 1; i < items; i++)
        sink = SvIV(ST(i));
    TARGi(items - 1, 1);
    ST(0) = TARG;
    XSRETURN(1);

void
publish_multi_str(self, ...)
    SV *self
  PPCODE:
    dXSTARG;
    IV i;
    STRLEN at = 0;
    PERL_UNUSED_VAR(self);
    for (i = 1; i < items; i++)
        at = put(aTHX_ ST(i), at);
    TARGi(items - 1, 1);
    ST(0) = TARG;
    XSRETURN(1);

void
drain(self, count)
    SV *self
    IV count
  PPCODE:
    IV i;
    PERL_UNUSED_VAR(self);
    EXTEND(SP, count);
    EXTEND_MORTAL(count);
    for (i = 0; i < count; i++)
        PUSH_MORTAL(newSViv(i));

void
drain_str(self, count)
    SV *self
    IV count
  PPCODE:
    IV i;
    PERL_UNUSED_VAR(self);
    EXTEND(SP, count);
    EXTEND_MORTAL(count);
    for (i = 0; i < count; i++)
        PUSH_MORTAL(newSVpvn(TEXT, TEXT_LENGTH));

# Numbers in one string: nothing for each but its slot.
void
publish_packed(self, packed, width)
    SV *self
    SV *packed
    int width
  PPCODE:
    dXSTARG;
    STRLEN length;
    const char *from = SvPV(packed, length);
    PERL_UNUSED_VAR(self);
    switch (width) { /* constants, so that the copies are instructions */
    case 8: put_slots(from, length / 8, 8); break;
    case 4: put_slots(from, length / 4, 4); break;
    default: put_slots(from, length / 2, 2);
    }
    TARGi(length / width, 1);
    ST(0) = TARG;
    XSRETURN(1);

void
drain_packed(self, count, width)
    SV *self
    IV count
    int width
  PPCODE:
    SV *to = sv_2mortal(newSV(count * width + 1));
    PERL_UNUSED_VAR(self);
    SvPOK_only(to);
    switch (width) {
    case 8: take_slots(SvPVX(to), count, 8); break;
    case 4: take_slots(SvPVX(to), count, 4); break;
    default: take_slots(SvPVX(to), count, 2);
    }
    SvCUR_set(to, count * width);
    *SvEND(to) = '\0';
    ST(0) = to;
    XSRETURN(1);

# The ordinary way to call back: one fresh scalar and one call_sv a message.
void
poll_cb(self, code, count)
    SV *self
    SV *code
    IV count
  PPCODE:
    dXSTARG;
    IV i;
    PERL_UNUSED_VAR(self);
    for (i = 0; i < count; i++) {
        dSP;
        ENTER;
        SAVETMPS;
        PUSHMARK(SP);
        mXPUSHi(i);
        PUTBACK;
        call_sv(code, G_DISCARD | G_VOID);
        FREETMPS;
        LEAVE;
    }
    TARGi(count, 1);
    ST(0) = TARG;
    XSRETURN(1);

void
poll_cb_str(self, code, count)
    SV *self
    SV *code
    IV count
  PPCODE:
    dXSTARG;
    IV i;
    PERL_UNUSED_VAR(self);
    for (i = 0; i < count; i++) {
        dSP;
        ENTER;
        SAVETMPS;
        PUSHMARK(SP);
        mXPUSHp(TEXT, TEXT_LENGTH);
        PUTBACK;
        call_sv(code, G_DISCARD | G_VOID);
        FREETMPS;
        LEAVE;
    }
    TARGi(count, 1);
    ST(0) = TARG;
    XSRETURN(1);
