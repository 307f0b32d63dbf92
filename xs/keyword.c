#include "keyword.h"

#include <pthread.h>

#include "XSParseKeyword.h"

/* Each op has a function of its own, because perl finds an op's name by its function. The bodies are the same for all variants,
 * compiled with the call as a constant. */

PS_INLINE OP *publish(pTHX_ const ps_call *call, U32 variant) {
    ps_publish(aTHX_ call, variant, PL_stack_sp - 1 - PL_stack_base);
    *--PL_stack_sp = &PL_sv_yes;
    return PL_op->op_next;
}

PS_INLINE OP *poll(pTHX_ const ps_call *call, U32 variant) {
    ps_sub *sub = (ps_sub *)ps_handle(aTHX_ call, *PL_stack_sp);
    bool more = FALSE;
    SV *targ = PAD_SV(PL_op->op_targ), *message = ps_next(aTHX_ variant, sub, targ, &more);
    if (UNLIKELY(message == &PL_sv_undef && more)) message = ps_next_further(aTHX_ call, *PL_stack_sp, targ);
    *PL_stack_sp = message;
    return PL_op->op_next;
}

PS_INLINE OP *lag(pTHX_ const ps_call *call, U32 variant) {
    PERL_UNUSED_ARG(variant);
    SV *targ = PAD_SV(PL_op->op_targ);
    sv_setuv_mg(targ, ps_lag((const ps_sub *)ps_handle(aTHX_ call, *PL_stack_sp)));
    *PL_stack_sp = targ;
    return PL_op->op_next;
}

/* ---- one op for each keyword ---- */

#define KEYWORD(variant, verb, role, VARIANT)                                                                        \
    static const ps_call call_##variant##_##verb = { &ps_classes[role][VARIANT], "ps_" #variant "_" #verb, PS_KEYWORD };\
    static OP *pp_##variant##_##verb(pTHX) { return verb(aTHX_ &call_##variant##_##verb, VARIANT); }

#define KEYWORDS(variant, VARIANT)                                                                                   \
    KEYWORD(variant, publish, PS_RING, VARIANT)                                                                      \
    KEYWORD(variant, poll, PS_SUB, VARIANT)                                                                          \
    KEYWORD(variant, lag, PS_SUB, VARIANT)

KEYWORDS(int, PS_INT)
KEYWORDS(int32, PS_INT32)
KEYWORDS(int16, PS_INT16)
KEYWORDS(str, PS_STR)
KEYWORDS(num, PS_NUM)

/* ---- parsing ---- */

/* The description of a keyword: constants, which the interpreters of a process share. */
typedef struct {
    const char *name;
    OP *(*pp)(pTHX);
    int arguments;
    XOP xop;
    struct XSParseKeywordHooks hooks;
} keyword;

/* Perl's name for an op that returns a list, of which a scalar would be the count or the last item; or NULL. */
static const char *list_of(pTHX_ const OP *op) {
    switch (op->op_type) {
    case OP_NULL: /* a range of numbers would be a flip-flop */
        return op->op_flags & OPf_KIDS && cUNOPx(op)->op_first->op_type == OP_FLOP ? "range" : NULL;
    case OP_LSLICE: { /* of one item: (stat $file)[7] */
        const OP *index = OpSIBLING(cUNOPx(cBINOPx(op)->op_first)->op_first);
        return index && !OpHAS_SIBLING(index) && !list_of(aTHX_ index) ? NULL : OP_DESC(op);
    }
    case OP_RV2AV: case OP_PADAV: case OP_RV2HV: case OP_PADHV:
    case OP_ASLICE: case OP_HSLICE: case OP_KVASLICE: case OP_KVHSLICE:
    case OP_LIST: case OP_STUB:
        return OP_DESC(op);
    }
    return NULL;
}

/* The parsed argument `i`, in scalar context. */
static OP *scalar_argument(pTHX_ const keyword *kw, int i, OP *op) {
    const char *list;
    if (!op) {
        /* A syntax error was reported already. */
        if (PL_parser->error_count) return newOP(OP_NULL, 0);
        croak("Not enough arguments for %s", kw->name);
    }
    if (op->op_type == OP_LIST && !(op->op_flags & OPf_PARENS)) croak("Too many arguments for %s", kw->name);
    if ((list = list_of(aTHX_ op))) {
        croak("Type of arg %d to %s must be scalar (not %s)%s", i, kw->name, list,
              i == 2 ? "; publish_multi takes lists" : "");
    }
    return op_contextualize(op, G_SCALAR);
}

static I32 next_char(pTHX) {
    lex_read_space(0);
    return lex_peek_unichar(0);
}

/* Skips one or more commas, as perl does. Returns false if there is none. */
static bool pass_comma(pTHX) {
    bool passed = FALSE;
    for (;;) {
        const I32 c = next_char(aTHX);
        const char *at = PL_parser->bufptr;
        if (c != ',' && !(c == '=' && at[1] == '>')) return passed;
        lex_read_to((char *)at + (c == ',' ? 1 : 2));
        passed = TRUE;
    }
}

/* Parses like a call of a function with the prototype ($), a named unary operator, or ($$): parentheses after the word enclose
 * all arguments. But without parentheses the value of ($$) ends at a comma. */
static int parse(pTHX_ OP **out, void *data) {
    const keyword *kw = (const keyword *)data;
    const bool parens = next_char(aTHX) == '(';
    OP *op;
    if (parens) lex_read_unichar(0);
    if (kw->arguments == 1) {
        op = parens ? parse_fullexpr(PARSE_OPTIONAL) : parse_arithexpr(PARSE_OPTIONAL);
        op = newUNOP(OP_CUSTOM, 0, scalar_argument(aTHX_ kw, 1, op));
        op->op_targ = pad_alloc(OP_CUSTOM, SVs_PADTMP);
    } else {
        OP *first = scalar_argument(aTHX_ kw, 1, parse_termexpr(PARSE_OPTIONAL)), *value;
        value = pass_comma(aTHX) ? parse_termexpr(PARSE_OPTIONAL) : NULL;
        op = newBINOP(OP_CUSTOM, 0, first, scalar_argument(aTHX_ kw, 2, value));
        if (parens && pass_comma(aTHX) && lex_peek_unichar(0) != ')') croak("Too many arguments for %s", kw->name);
    }
    op->op_ppaddr = kw->pp;
    if (parens) {
        if (next_char(aTHX) != ')' && !PL_parser->error_count) {
            croak("syntax error: expected ) after the arguments of %s", kw->name);
        }
        lex_read_unichar(0);
    }
    *out = op;
    return KEYWORD_PLUGIN_EXPR;
}

#define UNARY(variant, verb, class, desc) OPERATOR(variant, verb, class, desc, 1, OA_UNOP)
#define BINARY(variant, verb, class, desc) OPERATOR(variant, verb, class, desc, 2, OA_BINOP)
#define OPERATOR(variant, verb, class, desc, arguments, shape)                                                       \
    {                                                                                                                \
        "ps_" #variant "_" #verb, pp_##variant##_##verb, arguments,                                                  \
        { .xop_flags = XOPf_xop_name | XOPf_xop_desc | XOPf_xop_class,                                               \
          .xop_name = "ps_" #variant "_" #verb, .xop_desc = desc, .xop_class = shape },                              \
        { .flags = XPK_FLAG_EXPR, .permit_hintkey = "Data::PubSub::Shared::" class "/keywords", .parse = parse },    \
    },

#define VARIANT(variant, class)                                                                                      \
    BINARY(variant, publish, class, "publish to a shared ring")                                                      \
    UNARY(variant, poll, class, "next message of a shared ring")                                                     \
    UNARY(variant, lag, class, "messages not yet read")

static const keyword keywords[] = {
    VARIANT(int, "Int") VARIANT(int32, "Int32") VARIANT(int16, "Int16") VARIANT(str, "Str")
    VARIANT(num, "Num")
};

/* XS::Parse::Keyword has one list for all interpreters, which only grows, and does not lock it. */
static void register_for_all(void) {
    dTHX;
    size_t i;
    for (i = 0; i < C_ARRAY_LENGTH(keywords); i++) {
        register_xs_parse_keyword(keywords[i].name, &keywords[i].hooks, (void *)&keywords[i]);
    }
}

void ps_register_keywords(pTHX) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    size_t i;
    boot_xs_parse_keyword(0.33);
    pthread_once(&once, register_for_all);
    for (i = 0; i < C_ARRAY_LENGTH(keywords); i++) Perl_custom_op_register(aTHX_ keywords[i].pp, &keywords[i].xop);
}
