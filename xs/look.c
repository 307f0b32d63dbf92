/* Inspection of a ring's file for the commands, returned as hashes. */

#include "method.h"

static void die_of(pTHX_ SV *path, const ps_error *error) __attribute__noreturn__;
static void die_of(pTHX_ SV *path, const ps_error *error) {
    croak_sv(sv_2mortal(newSVpvf("%" SVf ": %s\n", SVfARG(path), error->text)));
}

void ps_put_stats(pTHX_ HV *hv, const ps_stat *stats, bool is_str) {
    PS_PUT(hv, "capacity", newSVuv(stats->capacity));
    PS_PUT(hv, "mmap_size", newSVuv(stats->mmap_size));
    PS_PUT(hv, "write_pos", newSVuv(stats->write_pos));
    PS_PUT(hv, "publish_ok", newSVuv(stats->publish_ok));
    PS_PUT(hv, "recoveries", newSVuv(stats->recoveries));
    PS_PUT(hv, "abandoned", newSVuv(stats->abandoned));
    PS_PUT(hv, "readers", newSVuv(stats->readers));
    PS_PUT(hv, "unlisted", newSVuv(stats->unlisted));
    PS_PUT(hv, "lossless", newSViv(stats->lossless));
    if (is_str) PS_PUT(hv, "stamped", newSViv(stats->stamped));
    if (stats->lossless) PS_PUT(hv, "keep", newSVnv((NV)stats->keep_ms / 1000));
    if (is_str) {
        PS_PUT(hv, "msg_size", newSVuv(stats->msg_size));
        PS_PUT(hv, "arena_cap", newSVuv(stats->arena_len));
        PS_PUT(hv, "publishers", newSVuv(stats->publishers));
        PS_PUT(hv, "leaked", newSVuv(stats->leaked));
    }
}

SV *ps_reader_hash(pTHX_ const ps_reader *reader) {
    HV *hv = newHV();
    SV *name = &PL_sv_undef;
    if (*reader->name) {
        name = newSVpv(reader->name, 0);
        sv_utf8_decode(name);
    }
    PS_PUT(hv, "name", name);
    PS_PUT(hv, "pid", newSVuv(reader->pid));
    PS_PUT(hv, "position", newSVuv(reader->position));
    PS_PUT(hv, "lag", newSVuv(reader->lag));
    PS_PUT(hv, "lost", newSVuv(reader->lost));
    PS_PUT(hv, "delivered", newSVuv(reader->delivered));
    PS_PUT(hv, "waits", newSViv(reader->waits));
    PS_PUT(hv, "lossy", newSViv(reader->lossy));
    PS_PUT(hv, "alive", reader->alive < 0 ? newSV(0) : newSViv(reader->alive));
    PS_PUT(hv, "since", newSVnv((NV)reader->since / 1e9));
    return newRV_noinc((SV *)hv);
}

/* The names are those of a ring's `stats`, except `waiters`, which is the commands' name. */
static SV *as_hash(pTHX_ const ps_header *header) {
    const ps_stat *stats = &header->stats;
    HV *hv = newHV();
    SV *self = sv_2mortal(newRV_noinc((SV *)hv));
    PS_PUT(hv, "size", newSVuv(header->size));
    PS_PUT(hv, "allocated", newSVuv(header->allocated));
    PS_PUT(hv, "mode", newSVuv(header->mode));
    PS_PUT(hv, "uid", newSVuv(header->uid));
    PS_PUT(hv, "id", newSVpvf("%" UVuf ":%" UVuf, (UV)header->device, (UV)header->inode));
    PS_PUT(hv, "identity", newSVpv(header->identity, 0));
    PS_PUT(hv, "by_descriptor", newSViv(header->by_descriptor));
    PS_PUT(hv, "has_magic", newSViv(header->has_magic));
    PS_PUT(hv, "likely", newSViv(header->likely));
    if (!header->variant) {
        PS_PUT(hv, "reason", newSVpv(header->reason, 0));
        return self;
    }
    PS_PUT(hv, "number", newSVuv(header->variant));
    PS_PUT(hv, "raw_pos", newSVuv(header->end));
    PS_PUT(hv, "base", newSVuv(header->base));
    PS_PUT(hv, "used", newSVuv(header->used));
    PS_PUT(hv, "unregistered", newSViv(header->unregistered));
    ps_put_stats(aTHX_ hv, stats, header->variant == PS_STR);
    PS_PUT(hv, "waiters", newSVuv(stats->sub_waiters));
    return self;
}

/* Each of these functions takes and returns mortals, and dies with "PATH: cause\n". */

SV *ps_inspected(pTHX_ SV *path) {
    ps_header header;
    ps_error error;
    STRLEN len;
    const char *bytes = SvPV(path, len);
    if (!ps_inspect(bytes, len, &header, &error)) die_of(aTHX_ path, &error);
    return as_hash(aTHX_ &header);
}

/* An array of hashes, like the readers of a ring object. */
SV *ps_inspected_readers(pTHX_ SV *path, bool waited_for) {
    size_t count, i;
    ps_error error;
    STRLEN len;
    const char *bytes = SvPV(path, len);
    ps_reader *readers = ps_inspect_readers(bytes, len, waited_for, &count, &error);
    AV *av;
    if (!readers) die_of(aTHX_ path, &error);
    av = newAV();
    for (i = 0; i < count; i++) av_push(av, ps_reader_hash(aTHX_ &readers[i]));
    ps_readers_free(readers, count);
    return sv_2mortal(newRV_noinc((SV *)av));
}

typedef const char *(*text_of)(const ps_report *, size_t);

static SV *as_array(pTHX_ const ps_report *report, text_of text) {
    AV *av = newAV();
    const char *next;
    size_t i;
    for (i = 0; (next = text(report, i)); i++) av_push(av, newSVpv(next, 0));
    return newRV_noinc((SV *)av);
}

SV *ps_checked(pTHX_ SV *path, bool all) {
    ps_header header;
    ps_error error;
    ps_report *report;
    uint64_t checked;
    STRLEN len;
    const char *bytes = SvPV(path, len);
    SV *self;
    HV *hv;
    if (!(report = ps_check(bytes, len, all, &header, &checked, &error))) die_of(aTHX_ path, &error);
    self = as_hash(aTHX_ &header);
    hv = (HV *)SvRV(self);
    PS_PUT(hv, "problems", as_array(aTHX_ report, ps_report_problem));
    PS_PUT(hv, "notes", as_array(aTHX_ report, ps_report_note));
    if (checked) PS_PUT(hv, "checked", newSVuv(checked));
    ps_report_free(report);
    return self;
}

SV *ps_sized(pTHX_ U32 variant, UV capacity, UV msg_size, UV publishers, UV readers, bool stamped) {
    ps_options options = { 0 };
    ps_stat stats;
    ps_error error;
    HV *hv;
    options.capacity = capacity;
    options.msg_size = msg_size;
    options.publishers = publishers;
    options.readers = readers ? readers : PS_NO_READERS;
    options.stamped = stamped;
    if (!ps_sizes(variant, &options, &stats, &error)) croak("%s", error.text);
    hv = newHV();
    PS_PUT(hv, "capacity", newSVuv(stats.capacity));
    PS_PUT(hv, "mmap_size", newSVuv(stats.mmap_size));
    return sv_2mortal(newRV_noinc((SV *)hv));
}
