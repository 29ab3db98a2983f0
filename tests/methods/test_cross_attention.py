import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import defaults, look
from tiny_nets import images, staged

from kdjax.core import InputError
from kdjax.methods.offline.cross_attention import cakd_objective, patches_of
from kdjax.models import vit

NAMES = ("query", "key", "value", "feature")


def seen(side=8, patch=4):
    """A student of maps 8x8 and 4x4 before a teacher of 2x2 patches."""
    x = jax.image.resize(images(), (16, side, side, 1), "nearest")
    nets = staged(), vit(patch, 8, 2, 2, 4, distillation=True)
    taps = [net.apply(*net.init(jax.random.key(k), x), x, train=False)[0] for k, net in enumerate(nets)]
    return look(*taps).replace(batch={"image": x, "index": jnp.arange(16)})


def adapted(objective, seen):
    return objective.adapter.apply(*objective.adapter.init(jax.random.key(3), seen), seen, train=False)[0]


def test_terms_are_the_paper_s():
    batch = seen()
    ours = adapted(cakd_objective(), batch)
    feature, wanted = (jax.tree.map(np.float64, part) for part in patches_of(batch, 0))
    assert feature.shape == (16, 4, 8) and wanted[0].shape == (16, 2, 4, 4)  # without both tokens in front
    q, k, v, f = (np.float64(ours[name]) for name in NAMES)

    def attend(q, k, v):
        e = np.exp(q @ k.swapaxes(-1, -2) / 2)
        return e / e.sum(-1, keepdims=True) @ v

    terms = cakd_objective(replaced=0.0).terms(batch, ours)
    squares = {
        "attention": attend(q, k, v) - attend(*wanted),
        "value": (v @ v.swapaxes(-1, -2) - wanted[2] @ wanted[2].swapaxes(-1, -2)) / 2,
        "feature": f - feature,
    }
    for name, apart in squares.items():
        np.testing.assert_allclose(terms[name], (apart**2).reshape(16, -1).mean(-1), rtol=1e-4)
    square = cakd_objective(value_term="square").terms(batch, ours)["value"]
    np.testing.assert_allclose(square, (((v * v - wanted[2] ** 2) / 2) ** 2).reshape(16, -1).mean(-1), rtol=1e-4)


def test_the_teacher_s_own_entries_cost_nothing():
    batch = seen()
    feature, wanted = patches_of(batch, 0)
    terms = cakd_objective().terms(batch, dict(zip(NAMES, (*wanted, feature), strict=True)))
    assert not any(jnp.any(term) for term in terms.values())
    ours = adapted(cakd_objective(), batch)
    alone = cakd_objective(replaced=1.0)
    assert not jnp.any(alone.terms(batch, ours)["attention"]) and jnp.all(alone.terms(batch, ours)["feature"] > 0)


def test_each_term_has_its_weight_and_reaches_its_projector():
    objective, batch = cakd_objective(attention=2.0, value=3.0, feature=4.0, replaced=0.0), seen()
    assert objective.weights == {"attention": 2.0, "value": 3.0, "feature": 4.0}
    reached = {"attention": {"query", "key", "value"}, "value": {"value"}, "feature": {"feature"}}

    def sums(ours, taps):
        return {name: jnp.sum(term) for name, term in objective.terms(batch.replace(teacher=taps), ours).items()}

    by_both = jax.jit(jax.jacrev(sums, (0, 1)))(adapted(objective, batch), batch.teacher)
    for term, (ours, theirs) in by_both.items():
        assert {name for name in NAMES if jnp.any(ours[name])} == reached[term]
        assert not any(jnp.any(x) for x in jax.tree.leaves(theirs))


def test_an_earlier_block_has_other_features_and_heads():
    batch = seen()
    feature, wanted = patches_of(batch, 1)
    np.testing.assert_array_equal(feature, batch.teacher["block1"][:, 2:])
    np.testing.assert_array_equal(wanted[0], batch.teacher["block1_query"][:, :, 2:])


def test_dropped_entries_are_made_up_for():
    batch, adapter = seen(), cakd_objective(dropout=0.25).adapter
    params, stats = adapter.init(jax.random.key(3), batch)
    whole, kept = (adapter.apply(params, stats, batch, train=train)[0]["feature"] for train in (False, True))
    assert 0.65 < np.mean(kept != 0) < 0.85
    np.testing.assert_allclose(kept, np.where(kept != 0, whole / 0.75, 0), rtol=1e-5)


def test_half_of_the_entries_are_replaced_anew_each_step():
    batch = seen()
    ours = adapted(cakd_objective(), batch)
    terms = [cakd_objective().terms(batch.replace(key=jax.random.key(k)), ours)["attention"] for k in (0, 0, 1)]
    assert jnp.array_equal(terms[0], terms[1]) and not jnp.array_equal(terms[0], terms[2])
    whole = cakd_objective(replaced=0.0).terms(batch, ours)["attention"]
    assert 0 < jnp.mean(terms[0]) < jnp.mean(whole)


def test_places_four_apart_share_a_linear_layer():
    """Of 6x6 patches, as many as the map has places."""
    batch = seen(side=12, patch=2)
    adapter = cakd_objective(layer="stage2").adapter
    params, _ = adapter.init(jax.random.key(3), batch)
    found = adapter.apply(params, {}, batch, train=False)[0]["feature"].reshape(16, 6, 6, 8)
    kernel, bias = np.float64(params["feature"]["kernel"]), np.float64(params["feature"]["bias"])
    assert np.abs(kernel).max() <= 1 / np.sqrt(kernel.shape[2]) and kernel.shape[:2] == (4, 4)
    for row, column in ((0, 0), (1, 5), (5, 1), (4, 4)):
        by_hand = np.float64(batch.student["stage2"][:, row, column]) @ kernel[row % 4, column % 4]
        np.testing.assert_allclose(found[:, row, column], by_hand + bias[row % 4, column % 4], atol=1e-5)


def test_the_defaults_and_refusals():
    assert defaults(cakd_objective) == {
        "attention": 1.0, "value": 1.0, "feature": 1.0, "replaced": 0.5, "value_term": "relation", "dropout": 0.1, "layer": "",
        "block": 0,
    }  # fmt: skip
    for options in ({"replaced": 2.0}, {"value_term": "cube"}, {"dropout": 1.0}):
        with pytest.raises(InputError, match=rf"^{next(iter(options))}="):
            cakd_objective(**options)
    batch = seen()
    with pytest.raises(InputError, match="tap 'patches' is not one of the teacher's"):
        cakd_objective().adapter.init(jax.random.key(0), batch.replace(teacher=batch.student))
