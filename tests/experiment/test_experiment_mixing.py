"""Methods whose name has a word that changes images."""

import jax
import numpy as np
import pytest
from contexts import BLACK, shared, teaching, weights_of
from ml_collections import ConfigDict

from configs import mutual, offline, self_distil
from kdjax import models
from kdjax.core import InputError
from kdjax.data import Source
from kdjax.experiment.distillation import student_stages
from kdjax.experiment.entry import method_section
from kdjax.experiment.mutual import peer_stages
from kdjax.experiment.self_distillation import own_stages
from kdjax.train.stage import blank_batch

LABELS = np.arange(30) % 4
ROWS = Source(30, lambda rows: {"image": BLACK[rows], "index": rows, "label": LABELS[rows]}, lambda: LABELS)
NET = {"name": "conv_net", "widths": [3, 4], "classes": 4, "dtype": "float32", "mean": [0.5], "std": [0.5]}
VIT = {**NET, "name": "vit", "patch": 4, "width": 8, "depth": 1, "heads": 2}
del VIT["widths"]
OWN = "byot confidence_penalty dks sad sd_dropout supervised sd_dropout+confidence_penalty"


def stage(name, config=self_distil, source=ROWS, net=NET, micro=1, views=0, **changed):
    """The last stage of a method of a table."""
    section, fields = ConfigDict(method_section(name, config.METHODS, **changed)), shared(net, source=source)
    fields["config"].data.batch, fields["training"]["micro"] = 8, micro
    with fields["config"].unlocked():
        fields["config"].peers = 2
    fields["config"].cache.views, fields["config"].data.augment = views, "none"
    if config is offline:
        found = student_stages("student", section, config.METHODS, teaching(models.build(NET)), fields)
    else:
        make = own_stages if config is self_distil else peer_stages
        found = make("student", section, config.METHODS, fields)
    return found["student"]


def step(stage, **more):
    """The first State and the step of a stage, traced on a batch as it is augmented."""
    batch = stage.augment(jax.random.split(jax.random.key(0), stage.batch), blank_batch(stage)) | more
    given = {name: weights_of(models.build(NET)) for name in stage.method.needs}
    state = jax.eval_shape(stage.method.init, jax.random.key(0), batch, given)
    return jax.eval_shape(stage.method.step, state, batch, jax.random.key(0))


@pytest.mark.parametrize(
    "name", [*(f"{own}+mixup" for own in OWN.split()), "supervised+manifold_mixup", "sd_dropout+manifold_mixup"]
)
def test_what_a_method_of_one_network_is_mixed_with(name):
    found = stage(name)
    step(found)
    assert found.about["method"] == name and found.about[name.split("+")[-1]]["per_row"] is False


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("dml+cutmix", mutual),
        ("independent+manifold_mixup", mutual),
        ("kd+mixup", offline),
        ("at+kd+cutmix", offline),
        ("ab+manifold_mixup", offline),
    ],
)
def test_peers_and_students_learn_from_mixed_images_too(name, config):
    step(stage(name, config))


def test_a_word_alone_changes_what_the_labels_teach():
    section = method_section("mixup", self_distil.METHODS)
    assert section == {"name": "mixup", "smoothing": 0.0, "mixup": {"alpha": 1.0, "per_row": False}}
    assert stage("mixup").about["method"] == "supervised+mixup"
    with pytest.raises(InputError, match=r"expected a method beside it, as in ab\+mixup"):
        method_section("mixup", offline.METHODS)


def test_a_box_is_cut_out_of_every_view():
    keys, batch = jax.random.split(jax.random.key(0), 4), {"image": np.zeros((4, 8, 8, 1), np.uint8)}
    for name, config in (("cutout", self_distil), ("cs_kd+cutout", self_distil), ("kd+cutout", offline)):
        image = np.asarray(stage(name, config).augment(keys, batch)["image"])
        assert set(np.unique(image)) == {0.0, 0.5} and (image == 0.5).sum((1, 2, 3)).max() <= 4, name  # the mean, 2 x 2
    for name, config in (("ddgsd+cutout", self_distil), ("kdcl+cutout", mutual), ("mlkd+cutout", offline)):
        assert all((np.asarray(view) == 0.5).any() for view in stage(name, config).augment(keys, batch)["views"]), name


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("bake+mixup", self_distil, "rows of a batch belong together"),
        ("cs_kd+cutmix", self_distil, "rows of a batch belong together"),
        ("ps_kd+mixup", self_distil, "ps_kd keeps something of each image, and these are mixed"),
        ("crd+kd+mixup", offline, "crd keeps something of each image, and these are mixed"),
        ("ddgsd+mixup", self_distil, "a batch with views is not accepted"),
        ("kdcl+mixup", mutual, "a batch with views is not accepted"),
        ("focal+mixup", self_distil, "expected class numbers"),
        ("tf_kd+mixup", self_distil, "expected class numbers"),
        ("hssakd+mixup", mutual, "is not accepted: labels has shape"),
        ("dkd+mixup", offline, "it asks for class numbers"),
        ("kd+manifold_mixup", offline, "a teacher would see the images that the network mixes inside"),
        ("one+manifold_mixup", mutual, "maps of stages, which a network that mixes inside does not give"),
        ("mixskd+mixup", self_distil, "labels has shape"),
        ("ddgsd+manifold_mixup", self_distil, "and this one sees others, both views"),
        ("byot+manifold_mixup", self_distil, "maps of stages, which a network that mixes inside does not give"),
    ],
)
def test_what_cannot_be_mixed_is_refused_in_one_line(name, config, said):
    with pytest.raises(InputError, match=said) as told:
        step(stage(name, config))
    assert str(told.value).startswith(f"method={name!r} is not accepted: ") and "\n" not in str(told.value)


def test_outputs_of_a_teacher_are_kept_of_the_same_boxes():
    found = stage("kd+cutout", offline, views=2).teacher_cache
    assert found.drawn and found.about["augmentation"] == "none cutout {'size': 0}"
    with pytest.raises(InputError, match=r"method='kd\+mixup' is not accepted: outputs of a teacher computed before"):
        step(stage("kd+mixup", offline, views=2), teacher={"logits": np.zeros((8, 4), np.float32)})


def test_images_without_a_label_are_not_mixed():
    some = Source(30, ROWS.read, lambda: np.where(np.arange(30) < 9, LABELS, -1))
    with pytest.raises(InputError, match=r"there are images without a label; --config.labels_per_class=0 knows all"):
        stage("kd+mixup", offline, some)
    stage("kd+cutout", offline, some)


def test_a_network_is_mixed_in_front_of_its_last_stage_at_the_deepest():
    with pytest.raises(InputError, match="whose batch micro=2 cuts"):
        stage("manifold_mixup", micro=2)
    with pytest.raises(InputError, match="it mixes behind the stages of a network, and this one has none"):
        stage("manifold_mixup", net=VIT)
    step(stage("manifold_mixup", net=NET | {"widths": [3]}))


def test_what_is_refused_without_a_mixture_too_is_told_as_it_is():
    found = stage("sad+mixup", net=NET | {"widths": [3]})
    with pytest.raises(InputError, match=r"^the network has 1 stage"):
        step(found)
