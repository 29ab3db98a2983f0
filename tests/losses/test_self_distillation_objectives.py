"""Whole objectives of nets that learn from themselves or their equals, put together from the losses, against the authors' code."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from layers import batch_norm, conv
from oracle import same_gradient, same_value, value_and_grad

from kdjax import core, losses


def same_objective(g, total, *names):
    """`total(*arrays)` has the value and the gradients of a reference file."""
    value, gradients = value_and_grad(total, argnums=tuple(range(len(names))))(*(g[name] for name in names))
    same_value(value, g["loss"])
    for name, gradient in zip(names, gradients, strict=True):
        if f"grad_{name}" in g and g[f"grad_{name}"].any():
            same_gradient(gradient, g[f"grad_{name}"])
        else:
            assert not np.any(g.get(f"grad_{name}", 0)) and not np.any(gradient)


def imitate(g, student, teacher, **options):
    return losses.kl_distillation(student, teacher, temperature=g["hp_temperature"].item(), **options)


def others(k, count):
    return [j for j in range(count) if j != k]


@pytest.mark.parametrize("name", ["cs_kd/cs_kd", "self_kd_lib/cs_kd"])
def test_cs_kd(golden, name):
    """The second half are partners of the same class, whose predictions are targets."""
    g = golden(name)

    def total(logits):
        anchors, partners = jnp.split(logits, 2)
        hard = losses.cross_entropy(anchors, g["labels"][: len(anchors)])
        return jnp.mean(hard + g.get("hp_lamda", 1.0) * imitate(g, anchors, partners))

    same_objective(g, total, "logits")


@pytest.mark.parametrize("name", ["ps_kd/three_epochs", "self_kd_lib/ps_kd"])
def test_ps_kd(golden, name):
    """The bank has the label in the first epoch, and then what the network last said of each image."""
    g = golden(name)
    one_hot = jax.nn.one_hot(g["labels"], g["logits"].shape[-1])
    epochs = int(g.get("hp_end_epoch", g.get("hp_epochs")))

    def total(logits):
        bank, found = jnp.zeros_like(one_hot), []
        for epoch, (z, rows) in enumerate(zip(logits, g["indices"], strict=True)):
            alpha = g["hp_alpha_T"] * (epoch + 1) / epochs
            bank = bank.at[rows].set(one_hot[rows]) if epoch == 0 else bank
            found.append(jnp.mean(losses.cross_entropy(z, (1 - alpha) * one_hot[rows] + alpha * bank[rows])))
            bank = bank.at[rows].set(jax.lax.stop_gradient(jax.nn.softmax(z)))
        return sum(found)

    same_objective(g, total, "logits")


def test_tf_kd_self(golden):
    g = golden("tf_kd/self")
    alpha, factor = g["hp_alpha"].item(), g["hp_multiplier"].item() / g["logits_s"].shape[1]

    def total(student, teacher):
        hard = losses.cross_entropy(student, g["labels"])
        return jnp.mean((1 - alpha) * hard + alpha * factor * imitate(g, student, teacher, stop_teacher=False))

    same_objective(g, total, "logits_s", "logits_t")


@pytest.mark.parametrize("name", ["frskd/attention", "self_kd_lib/frskd"])
def test_frskd(golden, name):
    """The authors' teacher is stopped, the library's logits are not."""
    g = golden(name)
    library = name.startswith("self_kd_lib")
    teacher, alpha, beta = ("logits_bi", 2.0, 100.0) if library else ("logits_t", g["hp_alpha"].item(), g["hp_beta"].item())

    def total(s, t, *maps):
        hard = losses.cross_entropy(s, g["labels"]) + losses.cross_entropy(t, g["labels"]) if library else 0.0
        soft = imitate(g, s, t, stop_teacher=not library)
        alike = sum(losses.attention_transfer(f, g[f"f_t{k}"]) for k, f in enumerate(maps))
        return jnp.mean(hard + alpha * soft + beta * alike)

    same_objective(g, total, "logits_s", teacher, "f_s0", "f_s1")


def test_dks(golden):
    g = golden("self_kd_lib/dks")

    def total(logits):
        hard = sum(losses.cross_entropy(z, g["labels"]) for z in logits)
        soft = sum(imitate(g, logits[k], logits[j]) for k in range(len(logits)) for j in others(k, len(logits)))
        return jnp.mean(hard + soft)

    same_objective(g, total, "logits")


def test_ddgsd(golden):
    """Half of the mean over both views, and the distance of features is that of two grand means."""
    g = golden("self_kd_lib/ddgsd")

    def total(logits, features):
        (a, b), (f, h) = (jnp.split(x, 2) for x in (logits, features))
        hard = jnp.mean(losses.cross_entropy(a, g["labels"]) + losses.cross_entropy(b, g["labels"])) / 4
        soft = jnp.mean(losses.symmetric_divergence(a, b, temperature=g["hp_temperature"].item(), through="second"))
        return hard + soft + g["hp_feature_weight"] * (jnp.mean(f) - jnp.mean(h)) ** 2

    same_objective(g, total, "logits", "feats")


def test_byot_of_the_library(golden):
    """Exit 0 is the deepest; map 1 is its map, and map 0 counts for nothing."""
    g = golden("self_kd_lib/byot")

    def total(logits, *maps):
        hard = sum(losses.cross_entropy(z, g["labels"]) for z in logits)
        soft = sum(imitate(g, z, logits[0]) for z in logits[1:])
        return jnp.mean(hard + soft + g["hp_feature_weight"] * sum(losses.hint(f, maps[1]) for f in maps[2:]))

    same_objective(g, total, "logits", "f0", "f1", "f2", "f3")


def test_byot_of_the_journal(golden):
    """One norm over the batch, a soft cross-entropy without T^2, and no feature term next to the deepest exit."""
    g = golden("byot/train_step")
    alpha, t = g["hp_loss_coefficient"].item(), g["hp_temperature"].item()
    layers = [f"w_adapt{k}_{part}" for k in (1, 2, 3) for part in ("kernel", "bias")]

    def total(logits, f0, f1, f2, f3, *adapted):
        soft = jax.lax.stop_gradient(jax.nn.softmax(logits[0] / t))
        value = jnp.mean(losses.cross_entropy(logits[0], g["labels"]))
        for k, f in enumerate((f1, f2, f3)):
            each = alpha * losses.cross_entropy(logits[k + 1] / t, soft) + (1 - alpha) * losses.cross_entropy(
                logits[k + 1], g["labels"]
            )
            value += jnp.mean(each)
            if k:
                apart = f @ adapted[2 * k] + adapted[2 * k + 1][None] - jax.lax.stop_gradient(f0)
                value += g["hp_feature_loss_coefficient"] * jnp.linalg.norm(apart)
        return value

    same_objective(g, total, "logits", "f0", "f1", "f2", "f3", *layers)


def test_okddip(golden):
    """Nothing is stopped: the targets are how the attention learns."""
    g = golden("okddip/train_gl")
    peers = range(g["logits_peers"].shape[-1])

    def total(logits, targets, leader):
        hard = sum(losses.cross_entropy(logits[..., k], g["labels"]) for k in peers) + losses.cross_entropy(leader, g["labels"])
        group = sum(imitate(g, logits[..., k], targets[..., k], stop_teacher=False) for k in peers)
        led = imitate(g, leader, jnp.mean(logits, axis=-1), stop_teacher=False)
        return jnp.mean(hard + g["hp_alpha"] * g["hp_consistency_weight"] * (group + led))

    same_objective(g, total, "logits_peers", "targets_peers", "logits_leader")


@pytest.mark.parametrize("name", ["okddip/train_one", "okddip/train_one_avg"])
def test_one_and_cl_ilr_of_okddip(golden, name):
    """A gated ensemble, or the mean of the others, one target a branch; not stopped here."""
    g = golden(name)
    branches = range(g["logits"].shape[-1])

    def total(logits, targets):
        each = [targets if targets.ndim == 2 else targets[..., k] for k in branches]
        hard = sum(losses.cross_entropy(logits[..., k], g["labels"]) for k in branches)
        hard += losses.cross_entropy(targets, g["labels"]) if targets.ndim == 2 else 0.0
        soft = sum(imitate(g, logits[..., k], each[k], stop_teacher=False) for k in branches)
        return jnp.mean(hard + g["hp_alpha"] * g["hp_consistency_weight"] * soft)

    same_objective(g, total, "logits", "targets")


def test_one(golden):
    g = golden("one/cifar_one")
    weight = core.sigmoid_rampup(int(g["hp_epoch"]), int(g["hp_consistency_rampup"]))

    def total(logits):
        *branches, ensemble = logits
        hard = sum(losses.cross_entropy(z, g["labels"]) for z in logits)
        return jnp.mean(hard + weight * sum(imitate(g, z, ensemble) for z in branches))

    same_objective(g, total, "logits")


def test_ffl(golden):
    """The fused classifier learns from the mean of the peers, and they from it; the maps are not stopped."""
    g = golden("ffl/train")
    weight = core.sigmoid_rampup(int(g["hp_epoch"]), int(g["hp_consistency_rampup"]))
    names = [n for n in g if n.startswith("w_")]

    def total(z1, z2, f1, f2, *params):
        w = dict(zip(names, params, strict=True))
        both = jnp.concatenate([f1, f2], axis=-1)
        deep = jax.lax.conv_general_dilated(
            both,
            w["w_conv1_kernel"],
            (1, 1),
            "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=both.shape[-1],
        )
        deep = jax.nn.relu(batch_norm(deep, w["w_bn1_scale"], w["w_bn1_bias"]))
        deep = jax.nn.relu(batch_norm(conv(deep, w["w_conv1_1_kernel"]), w["w_bn1_1_scale"], w["w_bn1_1_bias"]))
        fused = jnp.mean(deep, axis=(1, 2)) @ w["w_fc_kernel"] + w["w_fc_bias"][None]
        hard = sum(losses.cross_entropy(z, g["labels"]) for z in (z1, z2, fused))
        soft = imitate(g, z1, fused) + imitate(g, z2, fused) + imitate(g, fused, (z1 + z2) / 2)
        return jnp.mean(hard + weight * soft)

    same_objective(g, total, "logits1", "logits2", "f1", "f2", *names)


def test_hssakd(golden):
    """Two nets, several branches: every row in all its rotations but for the labels of the classes."""
    g = golden("hssakd/online")
    rotations = int(g["hp_num_rotations"])

    def total(logits, joint):
        value = 0.0
        for k in (0, 1):
            ours, theirs = [*joint[k], logits[k]], [*joint[1 - k], logits[1 - k]]
            soft = losses.hierarchical_distillation(ours, theirs, temperature=g["hp_temperature"].item())
            value += jnp.mean(losses.cross_entropy(logits[k][::rotations], g["labels"]))
            value += jnp.mean(losses.joint_cross_entropy(list(joint[k]), g["labels"]) + soft)
        return value

    same_objective(g, total, "logits", "ss")


def test_sokd(golden):
    """The student learns from the bridge, the bridge from student and teacher."""
    g = golden("sokd/sokd")

    def total(student, bridge, teacher):
        labels = losses.cross_entropy(student, g["labels"]) * g["hp_lambda_ce"]
        labels += losses.cross_entropy(bridge, g["labels"]) * g["hp_auxiliary_lambda_ce"]
        soft = g["hp_lambda_kd"] * imitate(g, student, bridge)
        soft += g["hp_auxiliary_lambda_kd_t"] * imitate(g, bridge, teacher)
        return jnp.mean(labels + soft + g["hp_auxiliary_lambda_kd_s"] * imitate(g, bridge, student))

    same_objective(g, total, "logits_s", "logits_a", "logits_t")
