#include "keyword.h"

#include "XSParseKeyword.h"

/* Each op is a function of its own, because perl finds an op's name by its function. The bodies are the same for all
 * variants; the call is a constant that they are compiled for. */

PERL_STATIC_INLINE OP *publish(pTHX_ const ps_call *call) {
    ps_publish(aTHX_ call, PL_stack_sp - 1 - PL_stack_base);
    *--PL_stack_sp = &PL_sv_yes;
    return PL_op->op_next;
}

PERL_STATIC_INLINE OP *poll(pTHX_ const ps_call *call) {
    ps_sub *sub = (ps_sub *)ps_handle(aTHX_ call, *PL_stack_sp);
    SV *message = ps_next(aTHX_ call->class, sub, PAD_SV(PL_op->op_targ));
    *PL_stack_sp = message;
    return PL_op->op_next;
}

PERL_STATIC_INLINE OP *lag(pTHX_ const ps_call *call) {
    SV *targ = PAD_SV(PL_op->op_targ);
    sv_setuv_mg(targ, ps_lag((const ps_sub *)ps_handle(aTHX_ call, *PL_stack_sp)));
    *PL_stack_sp = targ;
    return PL_op->op_next;
}

/* ---- one op for each keyword ---- */

#define KEYWORD(variant, verb, role, VARIANT)                                                                        \
    static const ps_call call_##variant##_##verb = { &ps_classes[role][VARIANT], "ps_" #variant "_" #verb, TRUE, FALSE };   \
    static OP *pp_##variant##_##verb(pTHX) { return verb(aTHX_ &call_##variant##_##verb); }

#define KEYWORDS(variant, VARIANT)                                                                                   \
    KEYWORD(variant, publish, PS_RING, VARIANT)                                                                      \
    KEYWORD(variant, poll, PS_SUB, VARIANT)                                                                          \
    KEYWORD(variant, lag, PS_SUB, VARIANT)

KEYWORDS(int, PS_INT)
KEYWORDS(int32, PS_INT32)
KEYWORDS(int16, PS_INT16)
KEYWORDS(str, PS_STR)

/* ---- how they are parsed ---- */

typedef struct {
    const char *name, *desc;
    OP *(*pp)(pTHX);
    XOP xop;
} keyword;

static int build_unary(pTHX_ OP **out, XSParseKeywordPiece *args[], size_t count, void *data) {
    OP *op = newUNOP(OP_CUSTOM, 0, args[0]->op);
    PERL_UNUSED_ARG(count);
    op->op_ppaddr = ((const keyword *)data)->pp;
    op->op_targ = pad_alloc(OP_CUSTOM, SVs_PADTMP);
    *out = op;
    return KEYWORD_PLUGIN_EXPR;
}

static int build_binary(pTHX_ OP **out, XSParseKeywordPiece *args[], size_t count, void *data) {
    OP *op = newBINOP(OP_CUSTOM, 0, args[0]->op, args[1]->op);
    PERL_UNUSED_ARG(count);
    op->op_ppaddr = ((const keyword *)data)->pp;
    *out = op;
    return KEYWORD_PLUGIN_EXPR;
}

static const struct XSParseKeywordPieceType unary[] = { XPK_ARGSCOPE(XPK_ARITHEXPR_SCALARCTX), {0} };
static const struct XSParseKeywordPieceType binary[] = {
    XPK_ARGSCOPE(XPK_TERMEXPR_SCALARCTX, XPK_COMMA, XPK_TERMEXPR_SCALARCTX), {0}
};

#define HOOKS(class, shape)                                                                                          \
    { .flags = XPK_FLAG_EXPR, .permit_hintkey = class "/keywords", .pieces = shape, .build = build_##shape }

#define VARIANT(variant, class)                                                                                      \
    {                                                                                                                \
        { HOOKS(class, binary), { "ps_" #variant "_publish", "publish to a shared ring", pp_##variant##_publish, {0} } }, \
        { HOOKS(class, unary), { "ps_" #variant "_poll", "next message of a shared ring", pp_##variant##_poll, {0} } },   \
        { HOOKS(class, unary), { "ps_" #variant "_lag", "messages not yet read", pp_##variant##_lag, {0} } },        \
    }

static struct {
    struct XSParseKeywordHooks hooks;
    keyword keyword;
} table[][3] = {
    VARIANT(int, "Data::PubSub::Shared::Int"),
    VARIANT(int32, "Data::PubSub::Shared::Int32"),
    VARIANT(int16, "Data::PubSub::Shared::Int16"),
    VARIANT(str, "Data::PubSub::Shared::Str"),
};

void ps_register_keywords(pTHX) {
    size_t i, j;
    boot_xs_parse_keyword(0.33);
    for (i = 0; i < C_ARRAY_LENGTH(table); i++) {
        for (j = 0; j < C_ARRAY_LENGTH(table[i]); j++) {
            keyword *kw = &table[i][j].keyword;
            register_xs_parse_keyword(kw->name, &table[i][j].hooks, kw);
            XopENTRY_set(&kw->xop, xop_name, kw->name);
            XopENTRY_set(&kw->xop, xop_desc, kw->desc);
            XopENTRY_set(&kw->xop, xop_class, table[i][j].hooks.build == build_binary ? OA_BINOP : OA_UNOP);
            Perl_custom_op_register(aTHX_ kw->pp, &kw->xop);
        }
    }
}
