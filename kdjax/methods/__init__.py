"""Every method by name; a folder is a family, and says in its README who trains whom. What they are made of is in `recipes`."""

from kdjax.methods.data_free.cgdd import cgdd
from kdjax.methods.data_free.cmi import cmi
from kdjax.methods.data_free.cudfkd import cudfkd
from kdjax.methods.data_free.dafl import dafl
from kdjax.methods.data_free.deep_inversion import deep_inversion
from kdjax.methods.data_free.dfad import dfad
from kdjax.methods.data_free.dfq import dfq
from kdjax.methods.data_free.fast_dfkd import fast_dfkd
from kdjax.methods.data_free.mad import mad
from kdjax.methods.data_free.zskt import zskt
from kdjax.methods.labels.supervised import supervised
from kdjax.methods.labels.watermark import watermark
from kdjax.methods.mutual.cl_ilr import cl_ilr
from kdjax.methods.mutual.dml import dml
from kdjax.methods.mutual.ffl import ffl
from kdjax.methods.mutual.hssakd import hssakd
from kdjax.methods.mutual.kdcl import kdcl
from kdjax.methods.mutual.mfef import mfef
from kdjax.methods.mutual.okddip import okddip
from kdjax.methods.mutual.one import one
from kdjax.methods.offline.ab import ab
from kdjax.methods.offline.ackd import ackd
from kdjax.methods.offline.at import at
from kdjax.methods.offline.cc import cc
from kdjax.methods.offline.crd import crd
from kdjax.methods.offline.cross_architecture import cakd
from kdjax.methods.offline.deit import deit
from kdjax.methods.offline.dist import dist
from kdjax.methods.offline.dkd import dkd
from kdjax.methods.offline.fitnet import fitnet, fitnet_hint
from kdjax.methods.offline.fsp import fsp
from kdjax.methods.offline.ft import ft
from kdjax.methods.offline.hsakd import hsakd, hsakd_teacher
from kdjax.methods.offline.ickd import ickd
from kdjax.methods.offline.kd import kd
from kdjax.methods.offline.learning_styles import learning_styles
from kdjax.methods.offline.lskd import lskd
from kdjax.methods.offline.mlkd import mlkd
from kdjax.methods.offline.nst import nst
from kdjax.methods.offline.ofd import ofd
from kdjax.methods.offline.paraphraser import paraphraser
from kdjax.methods.offline.pixel import pixel
from kdjax.methods.offline.pkt import pkt
from kdjax.methods.offline.prockd import proc_kd
from kdjax.methods.offline.pursuhint import pursuhint
from kdjax.methods.offline.reviewkd import reviewkd
from kdjax.methods.offline.rkd import rkd
from kdjax.methods.offline.simkd import simkd
from kdjax.methods.offline.sokd import sokd
from kdjax.methods.offline.sp import sp
from kdjax.methods.offline.srrl import srrl
from kdjax.methods.offline.tinymim import tinymim
from kdjax.methods.offline.tst import tst
from kdjax.methods.offline.vid import vid
from kdjax.methods.offline.wsld import wsld
from kdjax.methods.self_distil.bake import bake
from kdjax.methods.self_distil.byot import byot
from kdjax.methods.self_distil.confidence_penalty import confidence_penalty
from kdjax.methods.self_distil.cosub import cosub
from kdjax.methods.self_distil.cs_kd import cs_kd
from kdjax.methods.self_distil.cyclical import cyclical
from kdjax.methods.self_distil.ddgsd import ddgsd
from kdjax.methods.self_distil.dks import dks
from kdjax.methods.self_distil.dropout import dropout
from kdjax.methods.self_distil.focal import focal
from kdjax.methods.self_distil.frskd import frskd
from kdjax.methods.self_distil.mixskd import mixskd
from kdjax.methods.self_distil.ps_kd import ps_kd
from kdjax.methods.self_distil.sad import sad
from kdjax.methods.self_distil.sd_dropout import sd_dropout
from kdjax.methods.self_distil.swa import swa
from kdjax.methods.self_distil.tf_kd import tf_kd
from kdjax.methods.siamese.barlow_twins import barlow_twins
from kdjax.methods.siamese.byol import byol
from kdjax.methods.siamese.deepcluster_v2 import deepcluster_v2
from kdjax.methods.siamese.dino import dino
from kdjax.methods.siamese.fast_moco import fast_moco
from kdjax.methods.siamese.lc_loss import lc_loss
from kdjax.methods.siamese.mae import mae
from kdjax.methods.siamese.moco import moco, moco_v2_plus, moco_v3
from kdjax.methods.siamese.msbreg import msbreg
from kdjax.methods.siamese.nnclr import nnclr
from kdjax.methods.siamese.relicv2 import relicv2
from kdjax.methods.siamese.ressl import ressl
from kdjax.methods.siamese.simclr import simclr
from kdjax.methods.siamese.simsiam import simsiam
from kdjax.methods.siamese.swav import swav
from kdjax.methods.siamese.twist import twist, twist_labels
from kdjax.methods.siamese.uslt import uslt
from kdjax.methods.siamese.vicreg import vibcreg, vicreg
from kdjax.methods.siamese.w_mse import w_mse

__all__ = [
    "ab", "ackd", "at", "bake", "barlow_twins", "byol", "byot", "cakd", "cc", "cgdd", "cl_ilr", "cmi", "confidence_penalty",
    "cosub", "crd", "cs_kd", "cudfkd", "cyclical", "dafl", "ddgsd", "deep_inversion", "deepcluster_v2", "deit", "dfad", "dfq",
    "dino", "dist", "dkd", "dks", "dml", "dropout", "fast_dfkd", "fast_moco", "ffl", "fitnet", "fitnet_hint", "focal", "frskd",
    "fsp", "ft", "hsakd", "hsakd_teacher", "hssakd", "ickd", "kd", "kdcl", "lc_loss", "learning_styles", "lskd", "mad", "mae",
    "mfef", "mixskd", "mlkd", "moco", "moco_v2_plus", "moco_v3", "msbreg", "nnclr", "nst", "ofd", "okddip", "one",
    "paraphraser", "pixel", "pkt", "proc_kd", "ps_kd", "pursuhint", "relicv2", "ressl", "reviewkd", "rkd", "sad", "sd_dropout",
    "simclr", "simkd", "simsiam", "sokd", "sp", "srrl", "supervised", "swa", "swav", "tf_kd", "tinymim", "tst", "twist",
    "twist_labels", "uslt", "vibcreg", "vicreg", "vid", "w_mse", "watermark", "wsld", "zskt",
]  # fmt: skip
