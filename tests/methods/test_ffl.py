import jax
import numpy as np
from cases import CASES, start
from own_lessons import same_as_golden
from peer_lessons import KEY, handed_over, total

from kdjax import methods
from kdjax.methods.mutual import ffl as file


def test_golden(golden, monkeypatch):
    """The fusion with the authors' weights, in training mode; the gradient of its labels reaches the peers' maps."""
    g = golden("ffl/train")
    options = {"temperature": g["hp_temperature"].item(), "warmup_epochs": int(g["hp_consistency_rampup"])}
    objective, given = handed_over(monkeypatch, file, methods.ffl, 2, **options)
    weights = [name for name in g if name.startswith("w_")]
    taps = lambda *pairs: [{"logits": z, "head": f} for z, f in pairs]  # noqa: E731
    _, stats = given["adapter"].init(KEY, taps((g["logits1"], g["f1"]), (g["logits2"], g["f2"])))

    def loss(z1, z2, f1, f2, *arrays):
        w = dict(zip(weights, arrays, strict=True))
        params = {
            "depthwise_conv": {"kernel": w["w_conv1_kernel"]},
            "depthwise_bn": {"scale": w["w_bn1_scale"], "bias": w["w_bn1_bias"]},
            "pointwise_conv": {"kernel": w["w_conv1_1_kernel"]},
            "pointwise_bn": {"scale": w["w_bn1_1_scale"], "bias": w["w_bn1_1_bias"]},
            "classifier": {"kernel": w["w_fc_kernel"], "bias": w["w_fc_bias"]},
        }
        peers = taps((z1, f1), (z2, f2))
        adapted, _ = given["adapter"].apply(params, stats, peers, train=True)
        return total(objective, given, peers, g["labels"], adapted, int(g["hp_epoch"]))

    same_as_golden(g, loss, "logits1", "logits2", "f1", "f2", *weights)


def test_what_the_fused_classifier_says_is_shown_beside_the_first_peer():
    case = CASES["ffl"]()
    state = start(case)
    shown = jax.jit(case.method.predict)(state, case.batch["image"])
    assert shown["peer0"]["together"].shape == shown["peer0"]["logits"].shape and "together" not in shown["peer1"]
    assert not np.allclose(shown["peer0"]["together"], shown["peer0"]["logits"])
