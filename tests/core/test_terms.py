import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import core, losses

A, B = jnp.array([1.0, 3.0, 5.0, 7.0]), jnp.array([2.0, 2.0, 4.0, 4.0])


def test_weighted_means_are_added_and_the_log_is_unweighted():
    value, means = core.weighted_sum({"a": A, "b": B, "c": jnp.float32(0.5)}, {"a": 0.1, "b": 2.0})
    np.testing.assert_allclose(value, 0.1 * 4 + 2 * 3 + 0.5, rtol=1e-6)
    assert {k: float(v) for k, v in means.items()} == {"a": 4.0, "b": 3.0, "c": 0.5}


def test_no_terms_are_zero():
    value, means = core.weighted_sum({}, {})
    assert value == 0 and value.dtype == jnp.float32 and means == {}


def test_weights_may_be_traced():
    swept = jax.vmap(lambda w: core.weighted_sum({"a": A}, {"a": w})[0])(jnp.array([0.0, 2.0]))
    assert swept.tolist() == [0.0, 8.0]


def test_micro_refuses_a_term_whose_rows_see_each_other():
    core.weighted_sum({"a": A, "b": B}, {}, micro=2)
    core.weighted_sum({"c": jnp.float32(1.0)}, {}, micro=1)
    with pytest.raises(core.InputError, match=r"^micro=2 .* the term 'c' couples the rows of a batch, so micro must be 1$"):
        core.weighted_sum({"a": A, "c": jnp.float32(1.0)}, {}, micro=2)


LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)


def test_unlabelled_rows_do_not_count():
    labels = jnp.array([2, -1, 0, -1])

    @jax.jit
    @jax.value_and_grad
    def loss(logits, labels):
        return core.weighted_sum(
            {"ce": core.masked_loss(losses.cross_entropy, logits, core.with_label_weights({"label": labels}))}, {}
        )[0]

    value, gradient = loss(LOGITS, labels)
    expected = jax.jit(jax.value_and_grad(lambda z: jnp.mean(losses.cross_entropy(z, labels[::2]))))(LOGITS[::2])
    np.testing.assert_allclose(value, expected[0], rtol=1e-6)
    np.testing.assert_allclose(gradient[::2], expected[1], rtol=1e-5)
    assert not np.any(gradient[1::2])
    for extreme in (LOGITS.at[1].set(jnp.array([1e4, -1e4, 0.0])), LOGITS.at[1].set(-1e38)):
        value, gradient = loss(extreme, labels)
        assert np.isfinite(value) and np.all(np.isfinite(gradient)) and not np.any(gradient[1])
    value, gradient = loss(LOGITS, jnp.full(4, -1))
    assert value == 0 and not np.any(gradient)


def test_no_row_is_undefined_where_labels_are_missing():
    """Not even for a loss that is not defined on a negative label, or a batch without any label."""
    assert core.with_label_weights({"label": jnp.full(4, -1)})["label_weight"].tolist() == [0, 0, 0, 0]
    batch = core.with_label_weights({"label": jnp.array([4, -1, 9, -1])})

    def loss(z):
        return jnp.sum(core.masked_loss(lambda z, y: z[:, 0] * jnp.sqrt(y.astype(jnp.float32)), z, batch))

    assert jax.grad(loss)(LOGITS)[:, 0].tolist() == [4, 0, 6, 0]


def test_distributions_are_told_by_their_type():
    for shape in ((4, 3), (2, 5, 3)):
        assert core.with_label_weights({"label": jnp.full(shape, 1 / 3)})["label_weight"].shape == shape[:-1]
        assert core.with_label_weights({"label": jnp.ones(shape, jnp.int8)})["label_weight"].shape == shape


def test_distributions_count_in_every_row_and_options_are_passed():
    batch = core.with_label_weights({"label": jax.nn.softmax(LOGITS[::-1])})
    rows = core.masked_loss(losses.cross_entropy, LOGITS, batch, smoothing=0.1)
    np.testing.assert_allclose(rows, losses.cross_entropy(LOGITS, batch["label"], smoothing=0.1))
    rows = core.masked_loss(
        losses.cross_entropy, LOGITS, core.with_label_weights({"label": jnp.array([0, 1, -1, 2])}), smoothing=0.1
    )
    np.testing.assert_allclose(rows[:2], 4 / 3 * losses.cross_entropy(LOGITS[:2], jnp.array([0, 1]), smoothing=0.1), rtol=1e-6)
    assert rows[2] == 0


def test_the_mean_over_labelled_rows_is_global_over_devices_and_slices():
    """One label in the one half, three in the other: a mean of the halves' means would be another number."""
    x, labels = jnp.arange(8.0), jnp.array([0, -1, -1, -1, 0, 0, 0, -1])

    def loss(p, batch):
        return core.weighted_sum({"a": core.masked_loss(lambda z, _: p * z, batch["x"], batch)}, {}, micro=2)[0], None

    def step(x, labels, axis_name=None, micro=1):
        batch = core.with_label_weights({"x": x, "label": labels}, axis_name)
        (value, _), gradient = core.mean_grad(loss, jnp.float32(2.0), batch, axis_name=axis_name, micro=micro)
        return value, gradient

    halves = jax.jit(jax.vmap(lambda x, y: step(x, y, "data"), axis_name="data"))(x.reshape(2, 4), labels.reshape(2, 4))
    whole = jax.jit(step, static_argnames="micro")
    for value, gradient in (whole(x, labels), whole(x, labels, micro=4), halves):
        np.testing.assert_allclose(value, 2 * (0 + 4 + 5 + 6) / 4, rtol=1e-6)
        np.testing.assert_allclose(gradient, (0 + 4 + 5 + 6) / 4, rtol=1e-6)


def test_labels_of_positions_and_padding():
    """The mean over counted positions of the global batch; what fills up counts in no term, and its labels are none."""
    labels = jnp.array([[0, -1, 2], [1, 2, -1]])
    where = jnp.array([[True, True, True], [True, False, False]])
    z = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 3)), jnp.float32)
    plain = losses.cross_entropy(z, jnp.maximum(labels, 0))

    @jax.jit
    def both(batch, z, other):
        terms = {"ce": core.masked_loss(losses.cross_entropy, z, batch), "other": other, "rows": jnp.ones(len(z))}
        return core.weighted_sum(terms, {}, where_weight=batch.get("where_weight"))[1]

    other = jnp.arange(6.0).reshape(2, 3).at[1, 1].set(jnp.nan)
    found = both(core.with_label_weights({"label": labels}), z, other[:1])
    np.testing.assert_allclose(found["ce"], jnp.mean(plain[labels >= 0]), rtol=1e-6)
    found = both(core.with_label_weights({"label": labels, "where": where}), z, other)
    np.testing.assert_allclose(found["ce"], jnp.mean(plain[(labels >= 0) & where]), rtol=1e-6)
    assert found["other"] == (0 + 1 + 2 + 3) / 4 and found["rows"] == 1

    def half(labels, where, z, other):
        batch = core.with_label_weights({"label": labels, "where": where}, "data")
        return core.pmean(both(batch, z, other), "data")

    halves = jax.jit(jax.vmap(half, axis_name="data"))(*(x[:, None] for x in (labels, where, z, other)))
    for name, value in found.items():
        np.testing.assert_allclose(halves[name], [value] * 2, rtol=1e-6)


def test_a_batch_without_labels_stays_as_it_is():
    assert core.with_label_weights({"index": A}).keys() == {"index"}


@pytest.mark.parametrize("weights", [{"a": -0.1}, {"a": float("nan")}, {"b": float("inf")}, {"a": jnp.float32(-1)}])
def test_a_weight_below_0_or_not_finite_is_refused(weights):
    with pytest.raises(core.InputError, match=r"the weight of '[ab]'=.* is not accepted: expected a number, 0 or more"):
        core.weighted_sum({"a": jnp.ones(2), "b": jnp.ones(2)}, weights)


def test_weights_that_are_all_0_are_refused_as_far_as_they_are_known():
    terms = {"a": jnp.ones(2), "b": jnp.ones(2)}
    with pytest.raises(core.InputError, match="the weights of a, b are all 0"):
        core.weighted_sum(terms, {"a": 0.0, "b": jnp.float32(0)})
    assert core.weighted_sum(terms, {"a": 0.0})[0] == 1
    assert jax.jit(lambda w: core.weighted_sum(terms, {"a": w, "b": 0.0})[0])(0.0) == 0
