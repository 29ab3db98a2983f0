"""Every method by name; a folder is a family, and says in its README who trains whom. What they are made of is in `recipes`."""

from kdjax.methods.data_free import dafl
from kdjax.methods.mutual import dml
from kdjax.methods.offline import (
    ab,
    at,
    cakd,
    cc,
    crd,
    deit,
    dist,
    dkd,
    fitnet,
    fitnet_hint,
    fsp,
    ft,
    hsakd,
    hsakd_teacher,
    ickd,
    kd,
    lskd,
    mlkd,
    nst,
    ofd,
    paraphraser,
    pixel,
    pkt,
    proc_kd,
    pursuhint,
    reviewkd,
    rkd,
    simkd,
    sp,
    srrl,
    tinymim,
    tst,
    vid,
    wsld,
)
from kdjax.methods.siamese import byol
from kdjax.methods.supervised import supervised

__all__ = [
    "ab", "at", "byol", "cakd", "cc", "crd", "dafl", "deit", "dist", "dkd", "dml", "fitnet", "fitnet_hint", "fsp", "ft",
    "hsakd", "hsakd_teacher", "ickd", "kd", "lskd", "mlkd", "nst", "ofd", "paraphraser", "pixel", "pkt", "proc_kd", "pursuhint",
    "reviewkd", "rkd", "simkd", "sp", "srrl", "supervised", "tinymim", "tst", "vid", "wsld",
]  # fmt: skip
