"""Words in a method's name that change images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kdjax.core import InputError
from kdjax.experiment.words import cutout, parted


def test_words_stand_beside_a_method_or_a_sum():
    assert parted("kd") == ("kd", []) and parted("mixup") == ("", ["mixup"])
    assert parted("crd+cutout+kd+cutmix") == ("crd+kd", ["cutout", "cutmix"])


@pytest.mark.parametrize("name", ["kd+mixup+cutmix", "kd+mixup+mixup", "cutout+kd+cutout"])
def test_two_that_mix_are_refused(name):
    with pytest.raises(InputError, match=r"one of cutmix, manifold_mixup, mixup at most, and no word twice"):
        parted(name)


def test_the_box_is_a_quarter_of_the_side_or_as_large_as_is_asked():
    image, fill = jnp.ones((32, 40, 2)), jnp.array([[[0.25, 0.5]]])
    for size, side in ((0, 8), (5, 5)):
        found = np.asarray(
            jax.vmap(lambda key, size=size: cutout(key, image, size=size, fill=fill))(jax.random.split(jax.random.key(0), 40))
        )
        filled = (found == np.asarray(fill)).all(-1)
        assert filled.any(2).sum(1).max() == filled.any(1).sum(1).max() == side and (found[~filled] == 1).all()
