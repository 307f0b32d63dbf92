/* Sets: several subscribers as one. A set keeps its subscribers alive, in the order in which they were added. The core gets their
 * handles again for each call, because Perl code that runs in between may destroy them. */

#include "method.h"

#define SET ((ps_members *)ps_handle(aTHX_ call, ST(0)))

static ps_sub *sub_in(pTHX_ SV *body) {
    MAGIC *mg = ps_sub_magic(body);
    return mg ? (ps_sub *)mg->mg_ptr : NULL;
}

void ps_members_free(pTHX_ ps_members *members) {
    AV *list = members->list;
    /* When the interpreter ends, the subscribers may already be destroyed. */
    if (!PL_dirty) {
        SSize_t i;
        for (i = 0; i <= AvFILLp(list); i++) {
            ps_sub *sub = sub_in(aTHX_ SvRV(AvARRAY(list)[i]));
            if (sub) ps_set_remove(members->set, sub);
        }
    }
    ps_set_free(members->set);
    Safefree(members);
    /* Their destructors may be Perl code. */
    if (!PL_dirty) SvREFCNT_dec_NN(list);
}

/* All members for the core, in a buffer that is valid until the caller's FREETMPS; their keys are their bodies. Removes destroyed
 * members from the list. */
static ps_member *handles(pTHX_ const ps_members *members, size_t *count) {
    AV *list = members->list;
    SSize_t i, kept = 0;
    ps_member *all = (ps_member *)SvPVX(sv_2mortal(newSV((STRLEN)(AvFILLp(list) + 2) * sizeof(ps_member))));
    for (i = 0; i <= AvFILLp(list); i++) {
        SV *ref = AvARRAY(list)[i];
        ps_sub *sub = sub_in(aTHX_ SvRV(ref));
        if (sub) {
            all[kept].sub = sub;
            all[kept].key = PTR2UV(SvRV(ref));
            AvARRAY(list)[kept++] = ref;
        } else {
            sv_2mortal(ref);
        }
    }
    AvFILLp(list) = kept - 1;
    *count = (size_t)kept;
    return all;
}

static void croak_if_none(pTHX_ const ps_call *call, const ps_members *members) {
    if (AvFILLp(members->list) < 0) ps_croak(aTHX_ call, "the set has no subscribers");
}

/* The index of the subscriber among the members, or -1. */
static SSize_t index_of(pTHX_ const ps_members *members, const SV *body) {
    SSize_t i = AvFILLp(members->list);
    while (i >= 0 && SvRV(AvARRAY(members->list)[i]) != body) i--;
    return i;
}

/* The subscribers in the arguments from the second on; mortal. Croaks if an argument is not a subscriber; may run Perl code. */
static AV *subscribers(pTHX_ const ps_call *call, I32 ax, I32 items) {
    AV *all = (AV *)sv_2mortal((SV *)newAV());
    I32 i;
    for (i = 1; i < items; i++) {
        SV *sv = PS_VALUE(ST(i));
        MAGIC *mg = SvROK(sv) ? ps_sub_magic(SvRV(sv)) : NULL;
        if (!mg) ps_croak(aTHX_ call, "expected subscribers, argument %d is not one", (int)i);
        av_push(all, SvREFCNT_inc_simple_NN(SvRV(sv)));
    }
    for (i = 0; i <= AvFILLp(all); i++) {
        if (!sub_in(aTHX_ AvARRAY(all)[i])) ps_croak(aTHX_ call, "argument %d is a subscriber that was destroyed", (int)i + 1);
    }
    return all;
}

/* Adds all of them, or croaks and adds none. Returns how many were not members before. */
static UV add_all(pTHX_ const ps_call *call, ps_members *members, AV *all) {
    const SSize_t before = AvFILLp(members->list);
    SSize_t i;
    for (i = 0; i <= AvFILLp(all); i++) {
        SV *body = AvARRAY(all)[i];
        const ps_member member = { sub_in(aTHX_ body), PTR2UV(body) };
        ps_error error;
        if (index_of(aTHX_ members, body) >= 0) continue;
        if (!ps_set_add(members->set, &member, &error)) {
            while (AvFILLp(members->list) > before) {
                SV *added = sv_2mortal(av_pop(members->list));
                ps_set_remove(members->set, sub_in(aTHX_ SvRV(added)));
            }
            ps_fail(aTHX_ call, &error);
        }
        av_push(members->list, newRV_inc(body));
    }
    return (UV)(AvFILLp(members->list) - before);
}

static void set_new(pTHX_ const ps_call *call, I32 ax, I32 items) {
    HV *stash = ps_stash_of(aTHX_ ST(0));
    AV *all = subscribers(aTHX_ call, ax, items);
    ps_members *members;
    SV *object;
    Newx(members, 1, ps_members);
    members->set = ps_set_new();
    members->list = newAV();
    object = ps_object(aTHX_ call->class, stash, members);
    add_all(aTHX_ call, members, all);
    ST(0) = object;
    XSRETURN(1);
}

static void set_add(pTHX_ const ps_call *call, I32 ax, I32 items) {
    const ps_pin pin = (SET, ps_pinned(aTHX_ ST(0)));
    AV *all = subscribers(aTHX_ call, ax, items);
    RETURN_UV(add_all(aTHX_ call, (ps_members *)ps_repin(aTHX_ call, &pin), all));
}

static void set_remove(pTHX_ const ps_call *call, I32 ax, I32 items) {
    const ps_pin pin = (SET, ps_pinned(aTHX_ ST(0)));
    AV *all = subscribers(aTHX_ call, ax, items);
    ps_members *members = (ps_members *)ps_repin(aTHX_ call, &pin);
    UV removed = 0;
    SSize_t i, at;
    for (i = 0; i <= AvFILLp(all); i++) {
        AV *list = members->list;
        if ((at = index_of(aTHX_ members, AvARRAY(all)[i])) < 0) continue;
        ps_set_remove(members->set, sub_in(aTHX_ AvARRAY(all)[i]));
        /* `all` has another reference, so that no destructor runs here. */
        SvREFCNT_dec_NN(AvARRAY(list)[at]);
        Move(AvARRAY(list) + at + 1, AvARRAY(list) + at, AvFILLp(list) - at, SV *);
        AvFILLp(list)--;
        removed++;
    }
    RETURN_UV(removed);
}

/* Puts the members that have messages, or all, on the stack from ST(0) on. Returns their number. */
static SSize_t put(pTHX_ I32 ax, const ps_members *members, bool all) {
    AV *list = members->list;
    SSize_t count = 0, i;
    {
        SV **sp = PL_stack_base + ax - 1;
        EXTEND(sp, AvFILLp(list) + 1);
    }
    for (i = 0; i <= AvFILLp(list); i++) {
        SV *ref = AvARRAY(list)[i];
        ps_sub *sub = sub_in(aTHX_ SvRV(ref));
        if (sub && (all || ps_is_ready(sub))) ST(count++) = sv_2mortal(newRV_inc(SvRV(ref)));
    }
    return count;
}

/* The same for the members that the threads have found to have messages: the time does not depend on the number of others. */
static SSize_t put_known(pTHX_ I32 ax, const ps_members *members) {
    uintptr_t few[16], *keys = few;
    SSize_t count = 0;
    size_t i, room = C_ARRAY_LENGTH(few), known = ps_set_ready(members->set, keys, room);
    if (known > room) {
        room = (size_t)(AvFILLp(members->list) + 1);
        keys = (uintptr_t *)SvPVX(sv_2mortal(newSV(room * sizeof *keys)));
        known = ps_set_ready(members->set, keys, room);
        if (known > room) known = room;
    }
    {
        SV **sp = PL_stack_base + ax - 1;
        EXTEND(sp, (SSize_t)known);
    }
    for (i = 0; i < known; i++) {
        SV *body = INT2PTR(SV *, keys[i]);
        if (ps_is_ready(sub_in(aTHX_ body))) ST(count++) = sv_2mortal(newRV_inc(body));
    }
    return count;
}

/* A list, or in scalar context its length. */
#define RETURN_COUNTED(count)                                                                                        \
    STMT_START {                                                                                                     \
        const SSize_t counted = (count);                                                                             \
        if (GIMME_V == G_ARRAY) XSRETURN(counted);                                                                    \
        RETURN_IV(counted);                                                                                          \
    } STMT_END

static void set_subscribers(pTHX_ const ps_call *call, I32 ax, I32 items) {
    RETURN_COUNTED(put(aTHX_ ax, SET, TRUE));
}

/* The result of a sleep, and with PS_READY the members that have messages. */
typedef struct {
    int how;
    bool known; /* the threads have found them */
    SV *body;   /* this member, if not NULL, and perhaps others */
} sleep_end;

/* Sleeps once, with ps_set_wait, or if there are too many members, with ps_set_wait_watched. */
static sleep_end sleep_once(pTHX_ const ps_call *call, const ps_members *members, uint64_t deadline) {
    sleep_end end = { PS_READY, FALSE, NULL };
    ps_member *all;
    size_t count, i = 0, which = SIZE_MAX;
    ps_error error;
    dSAVE_ERRNO;
    ENTER;
    SAVETMPS;
    end.known = (size_t)(AvFILLp(members->list) + 1) > ps_set_max_direct();
    if (!end.known) {
        all = handles(aTHX_ members, &count);
        croak_if_none(aTHX_ call, members);
        end.how = ps_set_wait(members->set, all, count, deadline, (const int *)&PL_sig_pending, &which);
        if (which != SIZE_MAX) end.body = INT2PTR(SV *, all[which].key);
    } else {
        if (!ps_set_is_watched(members->set)) {
            all = handles(aTHX_ members, &count);
            if (!ps_set_watch_all(members->set, all, count, &error)) ps_fail(aTHX_ call, &error);
        }
        end.how = ps_set_wait_watched(members->set, deadline, (const int *)&PL_sig_pending);
        /* Check all members only if the sleep was not ended by a message, so that the time does not depend on their number. */
        if (end.how == PS_SIGNALLED || end.how == PS_GONE) {
            all = handles(aTHX_ members, &count);
            croak_if_none(aTHX_ call, members);
            while (i < count && ps_sub_is_gone(all[i].sub)) i++;
            end.how = i == count ? PS_GONE : PS_SIGNALLED;
        }
    }
    FREETMPS;
    LEAVE;
    RESTORE_ERRNO;
    return end;
}

static void set_wait(pTHX_ const ps_call *call, I32 ax, I32 items) {
    const ps_pin pin = (SET, ps_pinned(aTHX_ ST(0)));
    const uint64_t deadline = items > 1 ? ps_arg_deadline(aTHX_ call, ST(1)) : PS_NEVER;
    for (;;) {
        const ps_members *members = (const ps_members *)ps_repin(aTHX_ call, &pin);
        SSize_t ready = 0;
        sleep_end end = { PS_READY, FALSE, NULL };
        if (!deadline) ready = put_known(aTHX_ ax, members);
        else end = sleep_once(aTHX_ call, members, deadline);
        if (end.body) ST(ready++) = sv_2mortal(newRV_inc(end.body));
        else if (end.how == PS_READY && !ready) ready = end.known ? put_known(aTHX_ ax, members) : put(aTHX_ ax, members, FALSE);
        if (ready || !deadline || end.how == PS_TIMED_OUT || end.how == PS_GONE) {
            if (!ready) croak_if_none(aTHX_ call, members);
            RETURN_COUNTED(ready);
        }
        PERL_ASYNC_CHECK();
    }
}

static void set_fh(pTHX_ const ps_call *call, I32 ax, I32 items) {
    ps_members *members = SET;
    MAGIC *mg = ps_magic_for(call, ST(0));
    ps_error error;
    bool first = FALSE;
    size_t count;
    ps_member *all = handles(aTHX_ members, &count);
    int fd;
    ps_disown_closed(aTHX_ call->class, mg);
    fd = ps_set_watch(members->set, all, count, &first, &error);
    if (fd < 0) ps_fail(aTHX_ call, &error);
    ST(0) = ps_fh(aTHX_ call, mg, fd, first);
    XSRETURN(1);
}

#define METHOD(name, body, least, most, usage) { { &ps_set_class, name, 0 }, body, least, most, usage }

const ps_method ps_set_methods[] = {
    METHOD("new", set_new, 1, PS_ANY, "class, subscribers..."),
    METHOD("add", set_add, 1, PS_ANY, "self, subscribers..."),
    METHOD("remove", set_remove, 1, PS_ANY, "self, subscribers..."),
    METHOD("subscribers", set_subscribers, 1, 1, "self"),
    METHOD("wait", set_wait, 1, 2, "self, timeout = forever"),
    METHOD("fh", set_fh, 1, 1, "self"),
    METHOD("DESTROY", ps_destroy, 1, 1, "self"),
    PS_LAST_METHOD
};
