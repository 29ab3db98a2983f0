"""DeiT: sizes, and what the two linear layers say in training and in evaluation. Parity: test_vit.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.models import deit_base, deit_small, deit_tiny, parameter_count, vit


def test_counts_known_to_the_last_digit():
    counts = [parameter_count(make(), (1, 224, 224, 3)) for make in (deit_tiny, deit_small, deit_base)]
    assert counts == [5_910_800, 22_436_432, 87_338_192]


def test_logits_are_the_mean_in_evaluation_and_the_class_token_s_in_training(drawn):
    net = vit(4, 16, 2, 2, 5, distillation=True)
    x = jax.random.normal(jax.random.key(1), (3, 8, 8, 3))
    params, stats = drawn(net, x)
    for train in (True, False):
        taps, _ = net.apply(params, stats, x, train=train)
        p = jax.tree.map(np.asarray, params)
        for tap, logits, layer in (("cls", "logits_class", ""), ("distillation", "logits_distillation", "_distillation")):
            head = p[f"classifier{layer}"]
            by_hand = np.asarray(taps[tap]) @ head["kernel"] + head["bias"]
            np.testing.assert_allclose(taps[logits], by_hand, rtol=1e-5, atol=1e-5)
        both = taps["logits_class"], taps["logits_distillation"]
        assert float(jnp.abs(both[0] - both[1]).max()) > 0.1
        np.testing.assert_allclose(taps["logits"], both[0] if train else (both[0] + both[1]) / 2, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("make", [deit_tiny, deit_small, deit_base])
def test_taps_of_both_tokens(make, shapes):
    params, _, taps, _ = shapes(make(7, patch=4), jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32))
    width = params["class_token"].shape[-1]
    assert {taps[k].shape for k in ("cls", "distillation", "pooled")} == {(2, width)}
    assert {taps[k].shape for k in ("logits", "logits_class", "logits_distillation")} == {(2, 7)}
    assert taps["tokens"].shape == taps["block12"].shape == (2, 66, width) and taps["patches"].shape == (2, 64, width)
    params, _, taps, _ = shapes(make(0), jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32))
    assert "distillation" in taps and not [name for name in (*params, *taps) if name.startswith(("classifier", "logits"))]
