import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import linear

from kdjax import models
from kdjax.core import InputError
from kdjax.train.teacher_cache.spec import TeacherCache, blank_taps, check_teacher_cache, decode, encode

LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(6, 9)) * 3, jnp.float32)


def softmax(x):
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_is_kept_comes_back_in_float32(dtype):
    cache = TeacherCache(linear(), taps=("logits", "pooled", "count"), dtype=dtype)
    taps = {"logits": LOGITS, "pooled": LOGITS[:, :2].astype(jnp.bfloat16), "count": jnp.arange(6), "stem": LOGITS}
    found = encode(cache, taps)
    assert {name: x.dtype.name for name, x in found.items()} == {"logits": dtype, "pooled": dtype, "count": "int32"}
    back = decode(cache, found)
    assert {name: x.dtype.name for name, x in back.items()} == {"logits": "float32", "pooled": "float32", "count": "int32"}
    np.testing.assert_array_equal(back["logits"], LOGITS.astype(dtype).astype(jnp.float32))
    assert (np.asarray(back["logits"] == LOGITS).all()) == (dtype == "float32")


@pytest.mark.parametrize("top", [1, 3, 8])
def test_the_largest_logits_keep_their_probabilities_and_the_others_share_the_rest(top):
    cache = TeacherCache(linear(), top=top, classes=9)
    logits = jnp.concatenate([LOGITS, LOGITS[:1] * 1e4, LOGITS[:1] * 0])  # also extreme ones, and equal ones
    found = encode(cache, {"logits": logits})
    assert {name: (x.shape, x.dtype.name) for name, x in found.items()} == {
        "logits/values": ((8, top), "float32"),
        "logits/classes": ((8, top), "uint16"),
        "logits/rest": ((8,), "float32"),
    }
    back = decode(cache, found)["logits"]
    p, q = (softmax(np.asarray(x, np.float64)) for x in (logits, back))
    order = np.argsort(-np.asarray(logits), axis=-1, kind="stable")
    largest, others = (np.take_along_axis(q, part, -1) for part in (order[:, :top], order[:, top:]))
    np.testing.assert_allclose(largest, np.take_along_axis(p, order[:, :top], -1), atol=1e-6)
    np.testing.assert_allclose(others, np.broadcast_to(others[:, :1], others.shape), rtol=1e-6)
    np.testing.assert_allclose(others.sum(-1), np.take_along_axis(p, order[:, top:], -1).sum(-1), atol=1e-6)
    np.testing.assert_array_equal(
        np.take_along_axis(np.asarray(back), order[:, :top], -1), np.take_along_axis(logits, order[:, :top], -1)
    )
    assert np.isfinite(back).all()


def test_above_temperature_1_the_others_get_more_than_their_due():
    cache = TeacherCache(linear(), top=2, classes=9)
    back = decode(cache, encode(cache, {"logits": LOGITS}))["logits"]
    order = np.argsort(-np.asarray(LOGITS), axis=-1)[:, :2]
    for temperature, sign in ((4.0, -1), (0.5, 1)):
        p, q = (np.take_along_axis(softmax(np.asarray(x) / temperature), order, -1).sum(-1) for x in (LOGITS, back))
        assert (sign * (q - p) > 0).all()


def test_many_classes_are_numbered_in_wider_integers():
    found = encode(TeacherCache(linear(), top=1, classes=2**16 + 1), {"logits": jnp.zeros((1, 2**16 + 1)).at[0, 2**16].set(1.0)})
    assert found["logits/classes"].dtype == jnp.int32 and found["logits/classes"].tolist() == [[2**16]]


@pytest.mark.parametrize("top", [0, 2])
def test_blank_is_shaped_as_what_comes_back(top):
    net = models.conv_net((4, 8), 3)
    cache = TeacherCache(net, taps=("logits", "stage1"), top=top, classes=3, dtype="float16")
    images = jnp.zeros((5, 8, 8, 1))
    back = decode(cache, encode(cache, net.apply(*net.init(jax.random.key(0), images), images, train=False)[0]))
    shapes = {name: (x.shape, x.dtype) for name, x in back.items()}
    assert shapes == {name: (x.shape, x.dtype) for name, x in blank_taps(cache, images).items()}
    assert set(shapes) == {"logits", "stage1"}


def test_taps_and_classes_that_the_teacher_has_not_are_refused():
    with pytest.raises(
        InputError, match=r"taps=\('logits', 'stage9'\) is not accepted: the teacher has no 'stage9', it has logits, x"
    ):
        encode(TeacherCache(linear(), taps=("logits", "stage9")), {"logits": LOGITS, "x": LOGITS, "norm/a": LOGITS})
    with pytest.raises(InputError, match="logits are of 9 classes: expected 10"):
        encode(TeacherCache(linear(), top=2, classes=10), {"logits": LOGITS})


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"views": 0}, "views=0 is not accepted: expected a whole number, 1 or more"),
        ({"views": 1.5}, r"views=1.5 is not accepted"),
        ({"views": 2, "drawn": False}, "views=2 is not accepted without augmentation: all views are the same, expected 1"),
        ({"taps": ()}, r"taps=\(\) is not accepted"),
        ({"taps": ("a", "a")}, r"taps=\('a', 'a'\) is not accepted: expected one name or more, each once"),
        ({"dtype": "float64"}, "dtype='float64' is not accepted: expected float32, bfloat16, float16"),
        ({"top": 3}, "top=3 is not accepted: expected 0 to 2, below the classes"),
        ({"top": -1}, "top=-1 is not accepted"),
        ({"top": 2, "taps": ("pooled",)}, r"top=2 is not accepted with taps=\('pooled',\): expected 'logits' among them"),
    ],
)
def test_options_that_cannot_be_are_refused(options, line):
    with pytest.raises(InputError, match=line):
        check_teacher_cache(TeacherCache(linear(), classes=3)._replace(**options))
