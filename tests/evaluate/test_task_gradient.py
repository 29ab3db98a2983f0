import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax import models
from kdjax.core import InputError, Net
from kdjax.evaluate import pge_distance, principal_gradient

RANDOM = np.random.default_rng(0)
KEY = jax.random.key(0)
TREES = [{"conv": {"kernel": RANDOM.normal(size=(3, 2)), "bias": RANDOM.normal(size=2)}, "classifier": np.ones(n)} for n in (3, 4)]


def test_the_mean_gradient_golden(golden):
    """A given initialisation for each batch, which comes with the images."""
    g = golden("transferability/pge_gradient_mean")

    def init(key, x):
        return {"body": x["body"], "classifier": {"kernel": x["head"], "bias": jnp.zeros(3)}}, {}

    def apply(params, stats, x, *, train, key=None):
        head = params["classifier"]
        return {"logits": jnp.tanh(x["x"] @ params["body"]) @ head["kernel"] + head["bias"][None]}, stats

    batches = [
        {"image": {"x": g["x"][b], "body": g["init_body"][b], "head": g["init_head"][b]}, "label": g["labels"][b]} for b in range(3)
    ]
    found = principal_gradient(Net(init, apply), batches, KEY)
    np.testing.assert_allclose(found["body"], g["pge_body"], atol=1e-6)
    np.testing.assert_allclose(found["classifier"]["kernel"], g["pge_head"], atol=1e-6)
    np.testing.assert_allclose(found["classifier"]["bias"], g["pge_head_bias"], atol=1e-6)


def test_distance_golden(golden):
    g = golden("transferability/pge_distance")
    trees = [
        {
            "conv": {"weight": g[f"g{n}_conv_weight"]},
            "bn": {name: g[f"g{n}_bn_{name}"] for name in ("weight", "bias", "running_mean")},
            "fc": g[f"g{n}_fc_weight"],
        }
        for n in (1, 2)
    ]
    assert pge_distance(*trees, without=("fc", "running_mean")) == pytest.approx(float(g["distance"]), rel=1e-9)
    assert pge_distance(*trees, without=["fc"]) != pytest.approx(float(g["distance"]), rel=1e-3)


def test_both_forms_of_the_distance():
    a, b = (np.concatenate([tree["conv"]["kernel"].ravel(), tree["conv"]["bias"]]) for tree in TREES)
    inverted = np.linalg.norm(a / (a @ a) - b / (b @ b))
    cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert pge_distance(*TREES) == pytest.approx(inverted, rel=1e-12)
    assert pge_distance(*TREES, normalised=True) == pytest.approx(np.sqrt(2 - 2 * cosine), rel=1e-12)
    for normalised in (False, True):
        assert pge_distance(TREES[0], TREES[0], normalised=normalised) == 0
        assert pge_distance(*TREES, normalised=normalised) == pge_distance(*TREES[::-1], normalised=normalised)
    twice = [jax.tree.map(lambda x: 2 * x, tree) for tree in TREES]
    assert pge_distance(*twice) == pytest.approx(inverted / 2) and pge_distance(*twice, normalised=True) == pytest.approx(
        pge_distance(*TREES, normalised=True)
    )
    low = [jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), tree) for tree in TREES]
    assert pge_distance(*low) == pytest.approx(inverted, rel=1e-2)


def small(classes):
    return models.conv_net((4, 6), classes)


def task(sign, classes, seed, batches=6):
    """The side that is brighter, or the place of a bright row."""
    random = np.random.default_rng(seed)
    for _ in range(batches):
        label = random.integers(0, classes, 16)
        image = random.normal(size=(16, 8, 8, 1)).astype(np.float32)
        image += 2 * sign * np.eye(8)[label][:, :, None, None]
        yield {"image": image, "label": label}


def test_a_task_is_nearer_to_itself_than_to_another():
    one, other = (principal_gradient(small(3), task(1, 3, seed), KEY) for seed in (0, 1))
    far = principal_gradient(small(5), task(-1, 5, 2), KEY)  # of another number of classes
    for normalised in (False, True):
        distances = [pge_distance(one, x, normalised=normalised) for x in (other, far)]
        assert 0 < distances[0] < 0.8 * distances[1]


def test_every_batch_has_weights_of_its_own_whatever_the_classifier():
    seen = []

    def recorded(classes):
        net = small(classes)

        def init(key, x):
            params, stats = net.init(key, x)
            jax.debug.callback(lambda w: seen.append(np.asarray(w)), jax.tree.leaves(params["stage1_conv"])[0])
            return params, stats

        return Net(init, net.apply)

    for classes in (3, 5):
        principal_gradient(recorded(classes), task(1, classes, 0, batches=2), KEY)
    jax.effects_barrier()
    assert len(seen) == 4
    assert not np.array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[:2], seen[2:])


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: principal_gradient(small(3), [], KEY), "batches hold nothing: expected 1 batch or more"),
        (
            lambda: pge_distance(*TREES, without=()),
            r"gradient 'classifier' is \(3,\) in the first and \(4,\) in the second: expected",
        ),
        (lambda: pge_distance(TREES[0], {}), "gradient 'conv/bias' is .* and nothing in the second"),
        (lambda: pge_distance({}, TREES[0]), "gradient 'conv/bias' is nothing in the first"),
        (lambda: pge_distance(*TREES, without=("conv", "classifier")), r"without=\('conv', 'classifier'\) leaves nothing"),
        (lambda: pge_distance(*TREES, without="classifier"), "without='classifier' is not accepted: expected a sequence of names"),
        (lambda: pge_distance(TREES[0], jax.tree.map(lambda x: 0 * x, TREES[0])), "length of the second gradient=0.0"),
        (lambda: pge_distance(jax.tree.map(lambda x: np.nan * x, TREES[0]), TREES[0]), "length of the first gradient=nan"),
        (lambda: pge_distance(*TREES, normalised=2), "normalised=2 is not accepted: expected True or False"),
    ],
)
def test_refusals(call, line):
    with pytest.raises(InputError, match=line) as error:
        call()
    assert "\n" not in str(error.value)
