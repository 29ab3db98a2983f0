"""Losses as pure functions of arrays.

A loss of single examples returns `[B]` and is never reduced over the batch; one of logits takes any number of positions,
`[..., K]`, and returns `[...]`, so that tokens and pixels are distilled as images are. A loss whose rows see each other takes
`axis_name`, the mapped axis that holds the rest of the batch, and returns a scalar; or, where each row has a loss of its own
against all others, `[B]` of this device's rows. The student comes first; options are keyword-only, and numbers among them may
be traced. Sums run in float32 or wider. Arrays may be lists or NumPy. A bad shape or option raises `InputError` with one line.

`where` says which rows, or positions, count: what stands in the others (NaN of a padding) reaches neither value nor gradient. The
mean over those that count is `jnp.sum(loss(..., where=where)) / jnp.sum(where)`.

A name that `kdjax.methods` has too is the loss of that method, a function of arrays: `losses.byol(prediction, target)` is what
`methods.byol(...)`, which trains networks, goes down. The letters of offline methods (`kd`, `dkd`, `at`, ...) are such names too,
each a second one for a loss that is named after what it compares.

Under `jax.shard_map` the mean over devices belongs inside of what is differentiated. Parameters that every device holds get the sum
of the gradients there, and `pmean(grad(mean(row loss)))` is N times too large on N devices:

>>> import jax, jax.numpy as jnp
>>> mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
>>> x, w = jnp.ones((jax.device_count(), 2)), jnp.array([1.0, 0.0])
>>> def gradient(w, x):
...     return jax.grad(lambda w: jax.lax.pmean(jnp.mean(kl_distillation(x * w[None], 0 * x)), "data"))(w)
>>> spread = jax.shard_map(gradient, mesh=mesh, in_specs=(jax.P(), jax.P("data")), out_specs=jax.P())
>>> bool(jnp.allclose(spread(w, x), jax.grad(lambda w: jnp.mean(kl_distillation(x * w[None], 0 * x)))(w), atol=1e-6))
True
"""

from kdjax.losses.adversarial import gan_critic, gan_generator
from kdjax.losses.agreement import cosub, symmetric_divergence
from kdjax.losses.batch_norm import averaged_batch_norm_statistics, batch_norm_gaussian, batch_norm_statistics
from kdjax.losses.bootstrap import byol, simsiam
from kdjax.losses.channels import inter_channel_correlation
from kdjax.losses.chunks import in_chunks
from kdjax.losses.contrastive import info_nce, moco, nearest, nnclr, nt_xent, ressl
from kdjax.losses.crd import crd, crd_constants, crd_in_batch
from kdjax.losses.crd_bank import crd_bank, crd_contrast, crd_update
from kdjax.losses.decoupled import decoupled
from kdjax.losses.dino import dino, dino_centre
from kdjax.losses.disagreement import bounded, decision_adversarial, logit_discrepancy
from kdjax.losses.divergences import generalised_jensen_shannon, reverse_kl, skewed_kl
from kdjax.losses.features import hierarchical_context, hint, variational_information
from kdjax.losses.focal import cyclical_focal, focal
from kdjax.losses.gradient_penalties import gradient_penalty, path_length, r1
from kdjax.losses.hierarchical import hierarchical_distillation, joint_cross_entropy, joint_labels
from kdjax.losses.instance_contrast import image_contrast, supervised_contrast
from kdjax.losses.inversion import activation_norm, class_balance, image_norm, image_prior, one_hot_confidence
from kdjax.losses.local import local_contrast
from kdjax.losses.logits import cross_entropy, jensen_shannon, kl_distillation
from kdjax.losses.margins import activation_boundary, overhaul, overhaul_margin
from kdjax.losses.masked_patches import masked_patches
from kdjax.losses.mixskd import mixskd_terms, told_apart
from kdjax.losses.multi_level import batch_correlation, class_correlation, multi_level
from kdjax.losses.particles import random_walk, singular_values, view_centroid
from kdjax.losses.peers import min_logit, peer_attention
from kdjax.losses.prototypes import deepcluster, sinkhorn, swav
from kdjax.losses.reconstruction import reconstruction
from kdjax.losses.redundancy import barlow_twins, vibcreg, vicreg, w_mse, whiten
from kdjax.losses.relations import (
    correlation_congruence,
    dist,
    probabilistic_transfer,
    relational_angle,
    relational_distance,
    similarity_preserving,
)
from kdjax.losses.relic import relic_contrast, relic_invariance
from kdjax.losses.selective import uslt_global, uslt_local, uslt_mean
from kdjax.losses.self_paced import self_paced
from kdjax.losses.soft_targets import bake_targets, divergence_from
from kdjax.losses.standardisation import logit_standardised, standardise
from kdjax.losses.summaries import attention_below, attention_transfer, factor_transfer, flow_of_solution, neuron_selectivity
from kdjax.losses.teacher_free import confidence_penalty, teacher_free
from kdjax.losses.tokens import deit_hard, deit_soft, token_relation
from kdjax.losses.top_k import top_k_kl
from kdjax.losses.twist import self_label, twist, twist_teacher
from kdjax.losses.unlikelihood import unlikelihood
from kdjax.losses.watermark import keyed_labels, watermark_score
from kdjax.losses.weighted_labels import weighted_soft_labels

kd = kl_distillation
dkd = decoupled
ab = activation_boundary
at = attention_transfer
cc = correlation_congruence
fsp = flow_of_solution
ft = factor_transfer
hcl = hierarchical_context
ickd = inter_channel_correlation
nst = neuron_selectivity
ofd = overhaul
pkt = probabilistic_transfer
sp = similarity_preserving
vid = variational_information

__all__ = [
    "ab",
    "activation_boundary",
    "activation_norm",
    "at",
    "attention_below",
    "attention_transfer",
    "averaged_batch_norm_statistics",
    "bake_targets",
    "barlow_twins",
    "batch_correlation",
    "batch_norm_gaussian",
    "batch_norm_statistics",
    "bounded",
    "byol",
    "cc",
    "class_balance",
    "class_correlation",
    "confidence_penalty",
    "correlation_congruence",
    "cosub",
    "crd",
    "crd_bank",
    "crd_constants",
    "crd_contrast",
    "crd_in_batch",
    "crd_update",
    "cross_entropy",
    "cyclical_focal",
    "decision_adversarial",
    "decoupled",
    "deepcluster",
    "deit_hard",
    "deit_soft",
    "dino",
    "dino_centre",
    "dist",
    "divergence_from",
    "dkd",
    "factor_transfer",
    "flow_of_solution",
    "focal",
    "fsp",
    "ft",
    "gan_critic",
    "gan_generator",
    "generalised_jensen_shannon",
    "gradient_penalty",
    "hcl",
    "hierarchical_context",
    "hierarchical_distillation",
    "hint",
    "ickd",
    "image_contrast",
    "image_norm",
    "image_prior",
    "in_chunks",
    "info_nce",
    "inter_channel_correlation",
    "jensen_shannon",
    "joint_cross_entropy",
    "joint_labels",
    "kd",
    "keyed_labels",
    "kl_distillation",
    "local_contrast",
    "logit_discrepancy",
    "logit_standardised",
    "masked_patches",
    "min_logit",
    "mixskd_terms",
    "moco",
    "multi_level",
    "nearest",
    "neuron_selectivity",
    "nnclr",
    "nst",
    "nt_xent",
    "ofd",
    "one_hot_confidence",
    "overhaul",
    "overhaul_margin",
    "path_length",
    "peer_attention",
    "pkt",
    "probabilistic_transfer",
    "r1",
    "random_walk",
    "reconstruction",
    "relational_angle",
    "relational_distance",
    "relic_contrast",
    "relic_invariance",
    "ressl",
    "reverse_kl",
    "self_label",
    "self_paced",
    "similarity_preserving",
    "simsiam",
    "singular_values",
    "sinkhorn",
    "skewed_kl",
    "sp",
    "standardise",
    "supervised_contrast",
    "swav",
    "symmetric_divergence",
    "teacher_free",
    "token_relation",
    "told_apart",
    "top_k_kl",
    "twist",
    "twist_teacher",
    "unlikelihood",
    "uslt_global",
    "uslt_local",
    "uslt_mean",
    "variational_information",
    "vibcreg",
    "vicreg",
    "vid",
    "view_centroid",
    "w_mse",
    "watermark_score",
    "weighted_soft_labels",
    "whiten",
]
