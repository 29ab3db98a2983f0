import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.models import fcn, parameter_count


def test_scores_of_all_stages_are_enlarged_and_added():
    net, images = fcn((3, 4), 2), jax.random.uniform(jax.random.key(1), (2, 8, 6, 1))
    params, stats = net.init(jax.random.key(0), images)
    taps, _ = jax.jit(lambda p, s, x: net.apply(p, s, x, train=False))(params, stats, images)
    assert {name: x.shape for name, x in taps.items() if not name.startswith("norm/")} == {
        "stage1": (2, 8, 6, 3), "stage2": (2, 4, 3, 4), "pooled": (2, 4), "logits": (2, 8, 6, 2),
    }  # fmt: skip
    scores = [
        taps[f"stage{k}"] @ params[f"stage{k}_score"]["kernel"][0, 0] + params[f"stage{k}_score"]["bias"][None, None, None]
        for k in (1, 2)
    ]
    wanted = scores[0] + jax.image.resize(scores[1], scores[0].shape, "bilinear")
    np.testing.assert_allclose(taps["logits"], wanted, rtol=1e-4, atol=1e-5)
    assert parameter_count(net, (1, 8, 8, 1)) == (9 * 3 + 2 * 3) + (9 * 12 + 2 * 4) + 2 * (3 + 1) + 2 * (4 + 1)


@pytest.mark.parametrize("options", [{"widths": ()}, {"widths": (4, 0)}, {"classes": 0}])
def test_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        fcn(**options)


def test_any_size():
    net = fcn((2, 2, 2), 3)
    make = lambda key, x: net.apply(*net.init(key, x), x, train=True)[0]["logits"]  # noqa: E731
    for sides in ((1, 1), (7, 5), (12, 16)):
        assert jax.eval_shape(make, jax.random.key(0), jnp.zeros((2, *sides, 3))).shape == (2, *sides, 3)
