"""The data that a config names, and its images as networks see them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contexts import ROWS, shared

from configs import quickstart
from kdjax.core import InputError
from kdjax.experiment import data


def test_a_part_of_the_images_holds_all_classes_alike():
    config = quickstart.get_config()
    config.data.train_images = 50
    found = data.load_data(config)
    assert np.bincount(found.train.labels()).tolist() == [5] * 10
    config.data.train_images = 55
    with pytest.raises(InputError, match=r"train_images=55 is not accepted: expected a multiple of 10"):
        data.load_data(config)


def test_a_crop_is_cut_from_the_centre_for_evaluation():
    images = jnp.arange(16, dtype=jnp.uint8).reshape(1, 4, 4, 1)
    assert data.view(2)(images)[0, :, :, 0].tolist() == (jnp.array([[5, 6], [9, 10]]) / 255).tolist()
    assert data.view(0)(images).shape == images.shape


def test_steps_of_an_epoch_and_its_last_batch():
    given = shared()
    config, dataset = given["config"], given["dataset"]
    config.data.batch = 8
    assert data.steps_per_epoch(config, dataset) == 3 and data.sampler(config, ROWS).rest == 0
    config.data.keep_last_batch = True
    assert data.steps_per_epoch(config, dataset) == 4 and data.sampler(config, ROWS).rest == 6


def test_weak_and_strong_views_are_of_one_size():
    given = shared()
    batch = {"image": jnp.zeros((2, 8, 8, 1), jnp.uint8)}
    views = data.weak_and_strong(given["config"].data, given["dataset"])(jax.random.split(jax.random.key(0), 2), batch)["views"]
    assert [view.shape for view in views] == [(2, 8, 8, 1)] * 2
    assert data.augmentation(given["config"].data, given["dataset"])
    assert data.seen_shape(given["config"].data, given["dataset"]) == (8, 8, 1)
