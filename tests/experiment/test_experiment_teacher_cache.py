"""From the section `cache` to what a stage is told."""

import pytest
from contexts import shared

from kdjax import models
from kdjax.core import InputError
from kdjax.experiment.teacher_cache import teacher_cache

NET = {"name": "conv_net", "widths": [3], "classes": 4}


@pytest.fixture
def given():
    found = shared()
    found["config"].cache.views, found["config"].data.augment = 2, "affine"
    return found["config"], found["dataset"]


def test_what_is_kept_follows_from_the_net_and_the_images(given):
    found = teacher_cache(*given, models.build(NET), NET)
    assert (found.views, found.taps, found.drawn) == (2, ("logits",), True)
    assert found.about["net.widths"] == [3] and found.about["augmentation"] == "affine"
    given[0].data.augment = "none"
    with pytest.raises(InputError, match=r"views=2 is not accepted without augmentation"):
        teacher_cache(*given, models.build(NET), NET)
    more = teacher_cache(*given, models.build(NET), NET, also="cutout 8")
    assert more.drawn and more.about["augmentation"] == "none cutout 8"
    given[0].cache.views = 0
    assert teacher_cache(*given, models.build(NET), NET) is None


def test_seeds_that_draw_their_own_views_share_none(given):
    given[0].seeds_share = "none"
    with pytest.raises(InputError, match=r"cache.views=2 is not accepted with --config.seeds_share='none'"):
        teacher_cache(*given, models.build(NET), NET)
