/* File handles on descriptors of subscribers and sets, for event loops. A handle is in the magic of its object. */

#include "method.h"

#include <fcntl.h>
#include <perliol.h>

static int number_of(pTHX_ SV *fh) {
    IO *io = fh ? GvIO((GV *)fh) : NULL;
    return io && IoIFP(io) ? PerlIO_fileno(IoIFP(io)) : -1;
}

static bool is_its(const ps_class *class, const void *handle, int fd) {
    return class->role == PS_SET ? ps_set_is_watched_by(((const ps_members *)handle)->set, fd)
                                 : ps_is_watched_by((const ps_sub *)handle, fd);
}

void ps_disown_closed(pTHX_ const ps_class *class, const MAGIC *mg) {
    const int fd = number_of(aTHX_ mg->mg_obj);
    PerlIO *stream;
    if (fd < 0 || is_its(class, mg->mg_ptr, fd)) return;
    stream = IoIFP(GvIO((GV *)mg->mg_obj));
    IoIFP(GvIO((GV *)mg->mg_obj)) = NULL;
    /* Perl closes a descriptor with the last of its streams, so this call keeps another one. */
    PerlIOUnix_refcnt_inc(fd);
    PerlIO_close(stream);
    PerlIOUnix_refcnt_dec(fd);
}

SV *ps_fh(pTHX_ const ps_call *call, MAGIC *mg, int fd, bool first) {
    if (first || number_of(aTHX_ mg->mg_obj) < 0) {
        const int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        PerlIO *io;
        GV *gv;
        /* Drop the handle from before a fork even if there will be no new one; at the end of this call, because Perl code may
         * run. */
        sv_2mortal(mg->mg_obj);
        mg->mg_obj = NULL;
        if (own < 0) ps_croak(aTHX_ call, "fcntl(F_DUPFD_CLOEXEC): %s", Strerror(errno));
        /* Raw, regardless of the layers of the caller's `use open`. */
        io = PerlIO_openn(aTHX_ ":raw", "r", own, 0, 0, NULL, 0, NULL);
        if (!io) {
            const int code = errno;
            close(own);
            ps_croak(aTHX_ call, "fdopen: %s", Strerror(code));
        }
        gv = (GV *)newSV(0);
        gv_init_pvn(gv, gv_stashpvs("IO::File", GV_ADD), "fh", 2, 0);
        IoIFP(GvIOn(gv)) = io;
        IoTYPE(GvIO(gv)) = IoTYPE_RDONLY;
        mg->mg_obj = (SV *)gv;
        mg->mg_flags |= MGf_REFCOUNTED;
    }
    return sv_2mortal(newRV_inc(mg->mg_obj));
}
