"""A frozen teacher, one student."""

from kdjax.methods.offline.ab import ab, ab_objective
from kdjax.methods.offline.at import at, at_objective
from kdjax.methods.offline.cc import cc, cc_objective
from kdjax.methods.offline.crd import crd, crd_objective
from kdjax.methods.offline.cross_architecture import CrossArchitecture, cakd, moved
from kdjax.methods.offline.cross_attention import cakd_objective
from kdjax.methods.offline.deit import deit, deit_objective
from kdjax.methods.offline.dist import dist, dist_objective
from kdjax.methods.offline.dkd import dkd, dkd_objective
from kdjax.methods.offline.fitnet import fitnet, fitnet_hint, fitnet_objective
from kdjax.methods.offline.fsp import fsp, fsp_objective
from kdjax.methods.offline.ft import ft, ft_objective
from kdjax.methods.offline.hsakd import hsakd, hsakd_teacher
from kdjax.methods.offline.ickd import ickd, ickd_objective
from kdjax.methods.offline.kd import kd, kd_objective
from kdjax.methods.offline.lskd import lskd, lskd_objective
from kdjax.methods.offline.mlkd import mlkd
from kdjax.methods.offline.nst import nst, nst_objective
from kdjax.methods.offline.ofd import norm_in_front, ofd, ofd_objective
from kdjax.methods.offline.paraphraser import paraphraser
from kdjax.methods.offline.pixel import pixel
from kdjax.methods.offline.pkt import pkt, pkt_objective
from kdjax.methods.offline.prockd import proc_kd
from kdjax.methods.offline.pursuhint import pursuhint, pursuhint_objective
from kdjax.methods.offline.reviewkd import reviewkd, reviewkd_objective
from kdjax.methods.offline.rkd import rkd, rkd_objective
from kdjax.methods.offline.simkd import simkd
from kdjax.methods.offline.sp import sp, sp_objective
from kdjax.methods.offline.srrl import srrl, srrl_objective
from kdjax.methods.offline.tinymim import tinymim, tinymim_objective
from kdjax.methods.offline.tst import augmenter_epochs, tst
from kdjax.methods.offline.vid import vid, vid_objective
from kdjax.methods.offline.wsld import wsld, wsld_objective

__all__ = [
    "CrossArchitecture", "ab", "ab_objective", "at", "at_objective", "augmenter_epochs", "cakd", "cakd_objective", "cc",
    "cc_objective", "crd", "crd_objective", "deit", "deit_objective", "dist", "dist_objective", "dkd", "dkd_objective",
    "fitnet", "fitnet_hint", "fitnet_objective", "fsp", "fsp_objective", "ft", "ft_objective", "hsakd",
    "hsakd_teacher", "ickd", "ickd_objective", "kd", "kd_objective", "lskd", "lskd_objective", "mlkd", "moved", "norm_in_front",
    "nst", "nst_objective", "ofd", "ofd_objective", "paraphraser", "pixel", "pkt", "pkt_objective", "proc_kd", "pursuhint",
    "pursuhint_objective", "reviewkd", "reviewkd_objective", "rkd", "rkd_objective", "simkd", "sp", "sp_objective", "srrl",
    "srrl_objective", "tinymim", "tinymim_objective", "tst", "vid", "vid_objective", "wsld", "wsld_objective",
]  # fmt: skip
