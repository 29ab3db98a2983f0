# Made by `python -m launch.table.methods`.
from collections.abc import Callable, Sequence
from typing import Any, Literal

import optax

from kdjax.core import ArrayLike, AxisName, Method, Net, Weight
from kdjax.methods.data_free.cgdd import cgdd as cgdd
from kdjax.methods.data_free.cmi import cmi as cmi
from kdjax.methods.data_free.cudfkd import cudfkd as cudfkd
from kdjax.methods.data_free.dafl import dafl as dafl
from kdjax.methods.data_free.deep_inversion import deep_inversion as deep_inversion
from kdjax.methods.data_free.dfad import dfad as dfad
from kdjax.methods.data_free.dfq import dfq as dfq
from kdjax.methods.data_free.fast_dfkd import fast_dfkd as fast_dfkd
from kdjax.methods.data_free.mad import mad as mad
from kdjax.methods.data_free.zskt import zskt as zskt
from kdjax.methods.labels.supervised import supervised as supervised
from kdjax.methods.mutual.cl_ilr import cl_ilr as cl_ilr
from kdjax.methods.mutual.dml import dml as dml
from kdjax.methods.mutual.ffl import ffl as ffl
from kdjax.methods.mutual.hssakd import hssakd as hssakd
from kdjax.methods.mutual.kdcl import kdcl as kdcl
from kdjax.methods.mutual.mfef import mfef as mfef
from kdjax.methods.mutual.okddip import okddip as okddip
from kdjax.methods.mutual.one import one as one
from kdjax.methods.offline.ackd import ackd as ackd
from kdjax.methods.offline.cross_architecture import cakd as cakd
from kdjax.methods.offline.deit import deit as deit
from kdjax.methods.offline.hsakd import hsakd as hsakd
from kdjax.methods.offline.hsakd import hsakd_teacher as hsakd_teacher
from kdjax.methods.offline.learning_styles import learning_styles as learning_styles
from kdjax.methods.offline.mlkd import mlkd as mlkd
from kdjax.methods.offline.paraphraser import paraphraser as paraphraser
from kdjax.methods.offline.pixel import pixel as pixel
from kdjax.methods.offline.prockd import proc_kd as proc_kd
from kdjax.methods.offline.simkd import simkd as simkd
from kdjax.methods.offline.sokd import sokd as sokd
from kdjax.methods.offline.tst import tst as tst
from kdjax.methods.recipes import Objective
from kdjax.methods.self_distil.cosub import cosub as cosub
from kdjax.methods.self_distil.mixskd import mixskd as mixskd
from kdjax.methods.self_distil.swa import swa as swa
from kdjax.methods.siamese.barlow_twins import barlow_twins as barlow_twins
from kdjax.methods.siamese.byol import byol as byol
from kdjax.methods.siamese.deepcluster_v2 import deepcluster_v2 as deepcluster_v2
from kdjax.methods.siamese.dino import dino as dino
from kdjax.methods.siamese.fast_moco import fast_moco as fast_moco
from kdjax.methods.siamese.lc_loss import lc_loss as lc_loss
from kdjax.methods.siamese.mae import mae as mae
from kdjax.methods.siamese.moco import moco as moco
from kdjax.methods.siamese.moco import moco_v2_plus as moco_v2_plus
from kdjax.methods.siamese.moco import moco_v3 as moco_v3
from kdjax.methods.siamese.msbreg import msbreg as msbreg
from kdjax.methods.siamese.nnclr import nnclr as nnclr
from kdjax.methods.siamese.relicv2 import relicv2 as relicv2
from kdjax.methods.siamese.ressl import ressl as ressl
from kdjax.methods.siamese.simclr import simclr as simclr
from kdjax.methods.siamese.simsiam import simsiam as simsiam
from kdjax.methods.siamese.swav import swav as swav
from kdjax.methods.siamese.twist import twist as twist
from kdjax.methods.siamese.twist import twist_labels as twist_labels
from kdjax.methods.siamese.uslt import uslt as uslt
from kdjax.methods.siamese.vicreg import vibcreg as vibcreg
from kdjax.methods.siamese.vicreg import vicreg as vicreg
from kdjax.methods.siamese.w_mse import w_mse as w_mse

def ab(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    weight: Weight = 0.003,
    margin: float = 1.0,
    layers: Sequence[str] = (),
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def at(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 1000.0,
    power: int = 2,
    variant: Literal["squared", "paper"] = "squared",
    layers: Sequence[str] = (),
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def bake(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 1.0,
    temperature: float = 4.0,
    omega: float = 0.5,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def byot(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    exits: Net,
    exit_weight: Weight = 0.9,
    weight: Weight = 0.1,
    feature_weight: Weight = 0.03,
    temperature: float = 3.0,
    features: Literal["squared", "mean", "norm"] = "squared",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def cc(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 0.02,
    width: int = 128,
    variant: Literal["rows", "paper"] = "rows",
    gamma: float = 0.4,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def confidence_penalty(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 0.1,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def crd(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    labels: ArrayLike,
    numbers: ArrayLike | None = None,
    weight: Weight = 0.8,
    temperature: float = 0.07,
    negatives: int = 16384,
    width: int = 128,
    momentum: float = 0.5,
    positive: Literal["exact", "relax"] = "exact",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def cs_kd(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 1.0,
    temperature: float = 4.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def cyclical(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    steps_per_epoch: int,
    epochs: int,
    weight: Weight = 1.0,
    cycle: float = 2.0,
    temperature: tuple[float, float] = (1.0, 1.0),
    focal: bool = False,
    hard: tuple[float, float] = (0.0, 1.0),
    gamma_easy: float = 3.0,
    gamma_pos: float = 2.0,
    gamma_neg: float = 2.0,
    smoothing: float = 0.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def ddgsd(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 0.5,
    weight: Weight = 1.0,
    temperature: float = 4.0,
    feature_weight: Weight = 0.0005,
    mmd: Literal["scalar", "vector"] = "scalar",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def dist(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 2.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float = 4.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def dkd(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    steps_per_epoch: int,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    warmup_epochs: int = 20,
    standardised: bool = False,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def dks(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    exits: Net,
    exit_weight: Weight = 1.0,
    weight: Weight = 1.0,
    temperature: float = 4.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def dropout(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    weight: Weight = 1.0,
    rate: float = 0.5,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def fitnet(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 100.0,
    layer: str = "stage2",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def fitnet_hint(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    weight: Weight = 100.0,
    layer: str = "stage2",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def focal(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    weight: Weight = 1.0,
    gamma: float = 2.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def frskd(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    pyramid: Net,
    teacher_weight: Weight = 1.0,
    weight: Weight = 2.0,
    feature_weight: Weight = 100.0,
    temperature: float = 4.0,
    stop_teacher: bool = True,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def fsp(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    weight: Weight = 1.0,
    layers: Sequence[str] = (),
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def ft(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 200.0,
    layer: str = "",
    p1: int = 2,
    p2: int = 1,
    channel_pool: bool = True,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def ickd(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 2.5,
    layer: str = "",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def kd(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 0.1,
    weight: Weight = 0.9,
    temperature: float = 4.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def lskd(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 0.1,
    weight: Weight = 9.0,
    temperature: float = 2.0,
    ddof: int = 1,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def nst(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 50.0,
    layers: Sequence[str] = (),
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def ofd(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 0.001,
    layers: Sequence[str] = (),
    norms: Sequence[str] = (),
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def pkt(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 30000.0,
    variant: Literal["mean", "paper"] = "mean",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def ps_kd(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    labels: ArrayLike,
    numbers: ArrayLike | None = None,
    steps_per_epoch: int,
    epochs: int,
    weight: Weight = 1.0,
    alpha: float = 0.8,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def pursuhint(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    layers: Sequence[str] = (),
    hint: str | Callable[..., Objective] = "at",
    factor: float = 1.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def reviewkd(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    steps_per_epoch: int,
    weight: Weight = 5.0,
    width: int = 0,
    warmup_epochs: int = 20,
    layers: Sequence[str] = (),
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def rkd(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    distance_weight: Weight = 25.0,
    angle_weight: Weight = 50.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def sad(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 1000.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def sd_dropout(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 1.0,
    temperature: float = 4.0,
    rate: float = 0.5,
    through: Literal["both", "first", "second"] = "both",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def sp(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 3000.0,
    layer: str = "",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def srrl(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 1.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def tf_kd(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 1.0,
    correct: float = 0.9,
    temperature: float = 20.0,
    variant: Literal["library", "official"] = "library",
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def tinymim(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    weight: Weight = 1.0,
    block: int = 0,
    query_key: Any = 1.0,
    value_value: Any = 1.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def vid(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 1.0,
    variance: float = 5.0,
    layers: Sequence[str] = (),
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def watermark(
    network: Net,
    tx: optax.GradientTransformation,
    *,
    key: ArrayLike,
    epsilon: float = 0.2,
    share: float = 0.7,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...
def wsld(
    student: Net,
    teacher: Net,
    tx: optax.GradientTransformation,
    *,
    label_weight: Weight = 1.0,
    weight: Weight = 2.5,
    temperature: float = 2.0,
    axis_name: AxisName = None,
    micro: int = 1,
) -> Method: ...

__all__ = [
    "ab",
    "ackd",
    "at",
    "bake",
    "barlow_twins",
    "byol",
    "byot",
    "cakd",
    "cc",
    "cgdd",
    "cl_ilr",
    "cmi",
    "confidence_penalty",
    "cosub",
    "crd",
    "cs_kd",
    "cudfkd",
    "cyclical",
    "dafl",
    "ddgsd",
    "deep_inversion",
    "deepcluster_v2",
    "deit",
    "dfad",
    "dfq",
    "dino",
    "dist",
    "dkd",
    "dks",
    "dml",
    "dropout",
    "fast_dfkd",
    "fast_moco",
    "ffl",
    "fitnet",
    "fitnet_hint",
    "focal",
    "frskd",
    "fsp",
    "ft",
    "hsakd",
    "hsakd_teacher",
    "hssakd",
    "ickd",
    "kd",
    "kdcl",
    "lc_loss",
    "learning_styles",
    "lskd",
    "mad",
    "mae",
    "mfef",
    "mixskd",
    "mlkd",
    "moco",
    "moco_v2_plus",
    "moco_v3",
    "msbreg",
    "nnclr",
    "nst",
    "ofd",
    "okddip",
    "one",
    "paraphraser",
    "pixel",
    "pkt",
    "proc_kd",
    "ps_kd",
    "pursuhint",
    "relicv2",
    "ressl",
    "reviewkd",
    "rkd",
    "sad",
    "sd_dropout",
    "simclr",
    "simkd",
    "simsiam",
    "sokd",
    "sp",
    "srrl",
    "supervised",
    "swa",
    "swav",
    "tf_kd",
    "tinymim",
    "tst",
    "twist",
    "twist_labels",
    "uslt",
    "vibcreg",
    "vicreg",
    "vid",
    "w_mse",
    "watermark",
    "wsld",
    "zskt",
]
