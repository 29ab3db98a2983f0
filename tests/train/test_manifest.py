"""Manifests that are whole and say what cannot be: each is one line, and asks for no memory."""

import json

import jax
import numpy as np
import pytest
from tiny import named

from kdjax import models
from kdjax.core import InputError
from kdjax.train import fingerprint, load
from kdjax.train.checkpoint import Checkpoints

SPECIFICATION = {"name": "conv_net", "widths": [4], "classes": 3, "mean": [0.5], "std": [0.25]}
VIT = {"name": "vit", "patch": 4, "width": 4, "depth": 2**11, "heads": 1, "classes": 3}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run's folder with one finished stage, made without training."""
    folder = tmp_path_factory.mktemp("run")
    params, stats = models.build(SPECIFICATION).init(jax.random.key(0), np.zeros((1, 4, 4, 1), np.float32))
    saved = Checkpoints(folder / "models" / "teacher", named("teacher"))
    weights = jax.tree.map(lambda x: np.asarray(x)[None], {"network": {"params": params, "stats": stats}})
    saved.save(0, weights, {"nets": {"network": SPECIFICATION}})
    saved.close()
    (folder / "config.json").write_text(json.dumps({"stages": ["teacher"], "data": {"shape": [4, 4, 1], "crop": 0}}))
    return folder


@pytest.fixture
def forge(whole):
    """Rewrites the manifest, with the right sha256."""
    file = whole / "models" / "teacher" / "0" / "manifest" / "metadata"
    before = file.read_text()

    def forged(change):
        content = json.loads(before)["content"]
        content = change(content) or content
        file.write_text(json.dumps({"content": content, "sha256": fingerprint.of_json(content)}))
        return whole

    yield forged
    file.write_text(before)


def test_the_whole_one_is_read(whole):
    assert jax.tree.leaves(load(whole)[1])[0].shape == (3,)


def net(**changed):
    return lambda content: content["notes"].update(nets={"network": SPECIFICATION | changed})


def leaf(**changed):
    return lambda content: content["leaves"][0].update(changed)


FORGED = {
    "no leaves": (lambda content: content.update(leaves=[]), "it lacks arrays"),
    "no notes": (lambda content: content.update(notes=None), "it lacks arrays, notes"),
    "no stage": (lambda content: {k: content[k] for k in ("step", "leaves", "notes")}, "it lacks arrays, notes"),
    "a list": (lambda content: [1], "its manifest does not match its sha256"),
    "leaves of another kind": (lambda content: content.update(leaves=[3]), "none of kdjax's: '3' is no array"),
    "dtype": (leaf(dtype="zz"), "is no array"),
    "objects": (leaf(dtype="object"), "is no array"),
    "shape": (leaf(shape=[-1]), "is no array"),
    "a path twice": (lambda content: content["leaves"].append(content["leaves"][0]), "names an array twice"),
    "a path in a path": (leaf(path="network"), "names an array twice"),
    "absurd sizes": (leaf(shape=[10**6, 10**6]), "its manifest claims 3.6 TiB of arrays, and there are "),
    "another size": (leaf(shape=[1, 7]), "its arrays are not those that its manifest names"),
    "another path": (leaf(path="network/other/x"), "is not made of params and stats"),
    "another net": (net(widths=[8]), "network 'network': params/stage1_conv/kernel is (3, 3, 1, 4) in it, conv_net has"),
    "another name": (lambda content: content["notes"].update(nets={"network": {"name": "resnet8"}}), "conv/kernel is not in it"),
    "no net": (lambda content: content["notes"].update(nets={"network": [1]}), "a specification of a net is a mapping"),
    "no nets": (lambda content: content["notes"].update(nets=3), "is not one of kdjax's own"),
    "no name": (lambda content: content["notes"].update(nets={"network": {"widths": [4]}}), "does not say which net it holds"),
    "a deep net": (
        lambda content: content["notes"].update(nets={"network": VIT}),
        "vit of such a size has more layers than the 7 arrays in it can fill",
    ),
    "a deeper net": (net(depth=10**10), "depth=10000000000 is not accepted in a net: expected a number of at most 2048"),
}  # fmt: skip


@pytest.mark.parametrize("case", FORGED)
def test_forged_manifests_are_one_line(case, forge):
    change, line = FORGED[case]
    with pytest.raises(InputError) as info:
        load(forge(change))
    assert line in str(info.value) and "\n" not in str(info.value), info.value


@pytest.mark.parametrize("stages", ["[", '{"a": 1}', "[3]", "null"])
def test_records_of_other_stages_are_one_line(stages, whole):
    file = whole / "config.json"
    before = file.read_text()
    file.write_text(f'{{"stages": {stages}}}')
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        load(whole)
    file.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"config\.json is damaged"):
        load(whole)
    file.write_text(before)


def test_records_of_absurd_images_are_one_line(whole, forge):
    sincos = {"name": "vit", "patch": 1, "width": 4, "depth": 1, "heads": 1, "classes": 3, "positions": "sincos"}
    forge(lambda content: content["notes"].update(nets={"network": sincos}))
    file = whole / "config.json"
    before = file.read_text()
    absurd = ([2**20, 2**20, 1], "an image of 1048576x1048576x1 would take 4.0 TiB"), ([2**17, 2**14, 1], "positions of ")
    for shape, line in absurd:
        file.write_text(json.dumps({"stages": ["teacher"], "data": {"shape": shape}}))
        with pytest.raises(InputError, match=line):
            load(whole)
    file.write_text(before)


@pytest.mark.parametrize("name", ["../models/teacher", "[" * 1000, "a\0b", ""])
def test_names_of_stages_that_are_no_folders_are_not_followed(name, whole):
    file = whole / "config.json"
    before = file.read_text()
    file.write_text(json.dumps({"stages": [name]}))
    with pytest.raises(InputError, match="holds no finished run"):
        load(whole)
    file.write_text(before)
