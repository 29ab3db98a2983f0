"""Teachers from outside: every form gives the same network, and what does not fit is one line."""

import hashlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from safetensors.numpy import save_file
from tiny import linear, run, stage

from kdjax import models
from kdjax.core import InputError
from kdjax.models import to_pytorch, write_weights
from kdjax.train import fingerprint
from kdjax.train.teacher import Teacher, ensemble_of, measure_teacher, read_teacher, together
from tests.golden.parity.make import SMALL_DEIT

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"
SPECIFICATION = {"name": "resnet8", "classes": 5, "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.2, 0.25]}
SHAPE = (8, 8, 3)


@pytest.fixture(scope="module")
def weights():
    net = models.build(SPECIFICATION)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jax.ShapeDtypeStruct((1, *SHAPE), jnp.float32))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda s: rng.uniform(0.1, 0.3, s.shape).astype(np.float32), shapes)


def write_kdjax(place, params, stats):
    write_weights(place, params, stats, SPECIFICATION)


def write_orbax(place, params, stats):
    with ocp.StandardCheckpointer() as writer:
        writer.save(place, {"params": params, "stats": stats, "step": np.int32(3)})


def write_pytorch(place, params, stats):
    save_file({f"module.{k}": x for k, x in to_pytorch("resnet8", params, stats).items()}, place)


FORMS = {"kdjax": write_kdjax, "orbax": write_orbax, "safetensors": write_pytorch}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_network(form, weights, tmp_path):
    place = tmp_path / "teacher"
    FORMS[form](place, *weights)
    teacher = read_teacher(place, SPECIFICATION, SHAPE)
    assert teacher.format == form and teacher.specification == SPECIFICATION
    jax.tree.map(np.testing.assert_array_equal, (teacher.params, teacher.stats), weights)
    if place.is_file():
        assert teacher.sha256 == hashlib.sha256(place.read_bytes()).hexdigest()
    x = jax.random.uniform(jax.random.key(1), (2, *SHAPE))
    mean, std = (
        np.broadcast_to(np.float32(SPECIFICATION["mean"]), x.shape),
        np.broadcast_to(np.float32(SPECIFICATION["std"]), x.shape),
    )
    expected = models.resnet8(5).apply(*weights, (x - mean) / std, train=False)[0]["logits"]
    np.testing.assert_allclose(teacher.net.apply(teacher.params, teacher.stats, x, train=False)[0]["logits"], expected, rtol=1e-5)


def test_several_teachers_are_one_with_a_digest_of_all(weights, tmp_path):
    write_kdjax(tmp_path / "a", *weights)
    write_kdjax(tmp_path / "b", *jax.tree.map(lambda x: 2 * x, weights))
    each = [read_teacher(tmp_path / name, SPECIFICATION, SHAPE) for name in "ab"]

    def joined(*teachers, shares=(1.0, 3.0)):
        whole = {"name": "ensemble", "nets": [one.specification for one in teachers], "weights": list(shares)}
        return together(teachers, whole)

    one = joined(*each)
    x = jax.random.uniform(jax.random.key(1), (2, *SHAPE))
    logits = [t.net.apply(t.params, t.stats, x, train=False)[0]["logits"] for t in (*each, one)]
    np.testing.assert_allclose(logits[2], logits[0] / 4 + 3 * logits[1] / 4, rtol=1e-4)
    assert one.members == tuple(each) and one.format == "several"
    sources = {t.frozen().source for t in (one, joined(*each[::-1]), joined(*each, shares=(1.0, 1.0)), *each)}
    assert len(sources) == 5 and joined(*each).frozen().source in sources
    trained = [t.frozen() for t in each]
    assert len({ensemble_of(trained, {"weights": [w, 1.0]}).source for w in (1.0, 2.0)}) == 2


@pytest.mark.parametrize("form", ["safetensors", "pytorch"])
def test_a_transformer_with_the_names_of_timm(form, tmp_path):
    file = models.read_weights(GOLDEN / "checkpoint_deit.pth")
    place = GOLDEN / "checkpoint_deit.pth"
    if form == "safetensors":
        place = tmp_path / "model.safetensors"
        save_file(file.arrays, place)
    specification = {"name": "vit", "classes": 5, **SMALL_DEIT}
    teacher = read_teacher(place, specification, (8, 8, 3))
    assert teacher.format == form and {"cls_token", "dist_token", "head_dist.bias"} <= set(file.arrays)
    again = to_pytorch("vit", teacher.params, teacher.stats)
    assert set(again) == set(file.arrays)
    assert all(x.dtype == np.float32 and np.array_equal(x, file.arrays[k].astype(np.float32)) for k, x in again.items())
    taps, _ = teacher.net.apply(teacher.params, teacher.stats, jnp.ones((2, 8, 8, 3)), train=False)
    assert taps["logits"].shape == (2, 5)
    said = refusal(place, specification, (12, 12, 3))
    expected = "is refused: pos_embed is (1, 6, 8) in the file, vit has (1, 11, 8) (params/positions)"
    assert said == f"{expected}; resize=true fits it to these images"
    said = refusal(place, specification, (10, 8, 3))
    assert "it does not take images" in said or "images of 10x8 pixels are not filled by patches of 4x4" in said


def test_the_source_tells_weights_and_normalisation_apart(weights, tmp_path):
    write_pytorch(tmp_path / "a", *weights)
    write_pytorch(tmp_path / "b", *jax.tree.map(lambda x: 2 * x, weights))
    same, again = (read_teacher(tmp_path / "a", SPECIFICATION, SHAPE) for _ in range(2))
    others = [
        read_teacher(tmp_path / "b", SPECIFICATION, SHAPE),
        read_teacher(tmp_path / "a", SPECIFICATION | {"mean": [0.0, 0.0, 0.0]}, SHAPE),
    ]
    assert same.frozen().source == again.frozen().source and same.frozen().source.startswith(same.sha256)
    assert len({x.frozen().source for x in (same, *others)}) == 3


def test_the_digest_of_a_folder_is_that_of_its_weights(weights, tmp_path):
    write_orbax(tmp_path / "a", *weights)
    write_orbax(tmp_path / "b", *weights)
    write_orbax(tmp_path / "c", *jax.tree.map(lambda x: 2 * x, weights))
    found = [read_teacher(tmp_path / name, SPECIFICATION, SHAPE).sha256 for name in "abc"]
    assert found[0] == found[1] != found[2] and len(found[0]) == len(fingerprint.of_tree({}))


def test_files_of_kdjax_say_which_net_they_hold(weights, tmp_path):
    write_kdjax(tmp_path / "a", *weights)
    teacher = read_teacher(tmp_path / "a", {}, SHAPE)
    assert teacher.specification == SPECIFICATION
    assert read_teacher(tmp_path / "a", {"name": "wrn_16_1", "classes": 9}, SHAPE).specification == SPECIFICATION


def refusal(place, specification=SPECIFICATION, shape=SHAPE):
    with pytest.raises(InputError) as info:
        read_teacher(place, specification, shape)
    said = str(info.value)
    assert said.startswith(f"{place} ") and "\n" not in said
    return said.removeprefix(f"{place} ")


def test_another_architecture_names_the_first_layer(weights, tmp_path):
    for form, name in (("safetensors", "fc.weight"), ("orbax", "params/classifier/kernel")):
        FORMS[form](tmp_path / form, *weights)
        assert f"{name} is (" in refusal(tmp_path / form, SPECIFICATION | {"classes": 7})
    wide = SPECIFICATION | {"name": "resnet8x4"}
    expected = "is refused: conv1.weight is (16, 3, 3, 3) in the file, resnet8x4 has (32, 3, 3, 3) (params/conv/kernel)"
    assert refusal(tmp_path / "safetensors", wide) == expected
    assert refusal(tmp_path / "orbax", wide) == "is refused: params/conv/kernel is (3, 3, 3, 16) in it, resnet8x4 has (3, 3, 3, 32)"
    missing = refusal(tmp_path / "orbax", SPECIFICATION | {"name": "resnet14"})
    assert missing.startswith(
        "is refused: params/stage1_block2/conv1/kernel is not in it, resnet14 has it (3, 3, 16, 16); it holds "
    )
    assert "PyTorch names of net 'conv_net' is not known" in refusal(tmp_path / "safetensors", {"name": "conv_net"})
    write_kdjax(tmp_path / "kdjax", *weights)
    assert "is refused: it does not take images (8, 8, 1): " in refusal(tmp_path / "kdjax", shape=(8, 8, 1))
    write_weights(tmp_path / "bare", *weights, {"name": "resnet8", "classes": 5})
    assert "params/conv/kernel is (3, 3, 3, 16) in it, resnet8 has (3, 3, 1, 16)" in refusal(tmp_path / "bare", shape=(8, 8, 1))


def test_left_over_arrays_are_named(weights, tmp_path):
    params, stats = weights
    write_kdjax(tmp_path / "a", {**params, "extra": np.zeros((2, 2))}, stats)
    assert refusal(tmp_path / "a") == "is refused: 'params/extra' is (2, 2) in it, resnet8 has none"


@pytest.mark.parametrize(
    ("metadata", "line"),
    [
        ("{", "is no specification of a net: '{'"),
        ("[]", "is no specification of a net"),
        ('{"classes": 3}', "is no specification of a net"),
        ('{"name": "resnet9"}', "net 'resnet9' is not known; accepted: "),
    ],
)
def test_a_specification_that_is_none_is_refused(metadata, line, tmp_path):
    save_file({"params/x": np.zeros(2)}, tmp_path / "a", {"kdjax": metadata})
    assert line in refusal(tmp_path / "a")


def test_what_is_no_teacher(tmp_path):
    assert refusal(tmp_path / "none").startswith("is not there; accepted: a run's folder, a safetensors file, a PyTorch checkpoint")
    assert refusal(tmp_path).startswith("holds no finished run and no Orbax checkpoint; accepted: a run's folder")
    (tmp_path / "config.json").write_text(json.dumps({"stages": ["teacher"]}))
    assert refusal(tmp_path).startswith("holds no finished run")
    assert "its pickle names 'posix.system'" in refusal(GOLDEN / "payload_legacy.pth")
    assert "conv1.weight is (2, 3, 3, 3) in the file" in refusal(GOLDEN / "checkpoint_legacy.pth")
    (tmp_path / "net.bin").write_text("<html>")
    assert "it is a web page" in refusal(tmp_path / "net.bin")
    save_file({"conv1.weight": np.zeros(2)}, tmp_path / "net")
    assert refusal(tmp_path / "net", {}) == "is refused: it does not say which net it holds"


def test_a_teacher_is_measured_as_the_stage_that_learns_from_it(tmp_path):
    def evaluate(collect, split, final):
        return {"distance": collect(split, "pooled")[0]["network"]["pooled"].mean((1, 2))}

    params, stats = linear().init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))
    teacher = Teacher(linear(), params, stats, "", "", {})
    one = stage(evaluate=evaluate, view=lambda batch: batch["image"] * 0.0 + 2)
    assert measure_teacher(teacher, run(tmp_path), one) == {"test_distance": [2.0]}
    found = measure_teacher(teacher._replace(precision="int8"), run(tmp_path), one)
    assert set(found) == {"test_distance", "test_int8_agreement"} and 90 < found["test_int8_agreement"][0] <= 100
    assert teacher._replace(precision="int8").frozen().params[0].values.dtype == jnp.int8
