"""Every method by name; a folder is a family, and says in its README who trains whom."""

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
    kd,
    lskd,
    mlkd,
    nst,
    ofd,
    paraphraser,
    pkt,
    proc_kd,
    pursuhint,
    reviewkd,
    rkd,
    simkd,
    sp,
    srrl,
    tinymim,
    vid,
)
from kdjax.methods.siamese import byol
from kdjax.methods.supervised import supervised

__all__ = [
    "ab", "at", "byol", "cakd", "cc", "crd", "dafl", "deit", "dist", "dkd", "dml", "fitnet", "fitnet_hint", "fsp", "ft", "kd",
    "lskd", "mlkd", "nst", "ofd", "paraphraser", "pkt", "proc_kd", "pursuhint", "reviewkd", "rkd", "simkd", "sp", "srrl",
    "supervised", "tinymim", "vid",
]  # fmt: skip
