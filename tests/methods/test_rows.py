import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_nets import images

from kdjax.core import InputError
from kdjax.methods.self_distil.rows import anchors_of_pairs, both_views, parted


def test_views_in_turn():
    batch = {"views": (images(), images(1)), "label": jnp.arange(16), "image": images()}
    seen = both_views(batch)
    np.testing.assert_array_equal(parted(seen["image"]), batch["views"])
    assert seen["label"].tolist() == np.arange(16).repeat(2).tolist() and "views" not in seen


@pytest.mark.parametrize("views", [(), (images(),), (images(), images()[:, :4])])
def test_other_than_two_views_of_one_size_are_refused(views):
    with pytest.raises(InputError, match=r"^a batch has as views .*: expected two of one size"):
        both_views({"views": views})


def test_pairs_are_taken_apart():
    batch = {"image": jnp.arange(6.0), "label": jnp.arange(6)}
    seen = anchors_of_pairs(batch)
    assert seen["label"].tolist() == seen["image"].tolist() == [0, 2, 4] and seen["partner"].tolist() == [1, 3, 5]
    with pytest.raises(InputError, match=r"^a batch has 5 rows: expected an even number"):
        anchors_of_pairs(jax.tree.map(lambda x: x[:5], batch))
