"""What is read out of a finished run: similarities, correlations, sharpness, calibration."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fabricated import write_run
from jax.flatten_util import ravel_pytree
from launching import call, write_npz
from PIL import Image

from kdjax import augment, data, evaluate, models
from kdjax.train.checkpoint import Checkpoints
from kdjax.train.fingerprint import of_json
from kdjax.train.identity import Identity
from launch import analyse
from launch.run import analysis, image_batches, robustness
from launch.table import analysis_plots

NET = {"name": "conv_net", "widths": [2, 3], "classes": 3, "mean": [0.3], "std": [0.4], "dtype": "float32"}
WIDE = NET | {"widths": [4, 4, 4]}
ENCODER = NET | {"classes": 0}
PLOTS = {"calibration": "reliability.png", "cka": "cka.png", "correlation": "correlation.png", "sharpness": "sharpness.png"}
MORE = {name: f"{name}.png" for name in ("landscape", "ood", "attack", "corruption")}


def ask(*words):
    return call(analyse, *words)


def weights(specification, seed):
    params, stats = models.build(specification).init(jax.random.key(seed), jnp.zeros((1, 4, 4, 1)))
    return jax.tree.map(lambda x: x + 0.1 * seed, params), jax.tree.map(lambda x: x + 0.1, stats)


def keep(run, stage, specification, *members):
    """The networks of a finished stage, as training leaves them."""
    stacked = jax.tree.map(lambda *xs: np.stack(xs), *[{"params": p, "stats": s} for p, s in members])
    shutil.rmtree(run / "models" / stage, ignore_errors=True)
    saved = Checkpoints(run / "models" / stage, Identity({"settings": {}, "inputs": {}, "programs": {}}))
    saved.save(0, {"network": stacked}, {"nets": {"network": specification}})
    saved.close()


def made(place, *, stages=("teacher", "student"), crop=0, **changed):
    """A finished run on made-up images: a teacher, and a student whose second seed has the teacher's weights."""
    place.mkdir(exist_ok=True)
    source = f"npz:{write_npz(place / 'x.npz')}"
    told = {"data__source": source, "data__val_fraction": 0.0, "data__crop": crop, **changed}
    results = {f"{stage}/test_accuracy": (50.0, 60.0) for stage in stages}
    run = write_run(place / "run", results, seeds=(7, 8), **told)
    about = json.loads((run / "config.json").read_text())
    about["data"] |= {"digest": data.load(source).digest, "crop": crop}
    (run / "config.json").write_text(json.dumps(about))
    for stage in stages:
        keep(run, stage, NET, *([weights(NET, 1)] if stage == "teacher" else [weights(NET, 2), weights(NET, 1)]))
    return run


@pytest.fixture(scope="module")
def fine(tmp_path_factory):
    return made(tmp_path_factory.mktemp("fine"))


@pytest.fixture
def copy(fine, tmp_path):
    return shutil.copytree(fine, tmp_path / "copy")


def read(run):
    return json.loads((run / "analysis/analysis.json").read_text())


def looked(run, split, crop=0):
    """All images of a split as a network sees them, with their labels."""
    source = getattr(data.load(f"npz:{run.parent / 'x.npz'}"), split)
    batch = source.read(np.arange(source.size))
    images = augment.as_float(batch["image"])
    return (jax.vmap(lambda x: augment.centre_crop(x, size=crop))(images) if crop else images), batch["label"]


@pytest.mark.parametrize("crop", [0, 2])
def test_the_numbers_are_those_of_the_measures(crop, tmp_path):
    run = made(tmp_path / "a", crop=crop)
    answer = ask(run)
    assert answer.code == 0 and answer.err == ""
    found = read(run)
    assert {k: found[k] for k in ("seed", "test_images", "train_images")} == {"seed": 7, "test_images": 16, "train_images": 64}
    assert list(found["networks"]) == ["teacher", "student"]
    images, labels = looked(run, "test", crop)
    taps = {}
    for name, seed in (("teacher", 1), ("student", 2)):
        params, stats = weights(NET, seed)
        taps[name], _ = models.build(NET).apply(params, stats, images, train=False)
        logits, ours = taps[name]["logits"], found["networks"][name]["calibration"]
        assert ours["accuracy"] == pytest.approx(float(evaluate.top_k(logits, labels).mean()) * 100)
        assert ours["nll"] == pytest.approx(float(evaluate.negative_log_likelihood(logits, labels).mean()), rel=1e-5)
        assert ours["ece"] == pytest.approx(float(evaluate.expected_calibration_error(logits, labels)) * 100, rel=1e-4)
        gaps = np.subtract(ours["bins"]["accuracy"], ours["bins"]["confidence"])
        assert ours["ece"] == pytest.approx(100 * np.dot(ours["bins"]["share"], np.abs(gaps)), abs=0.05)
        check_sharpness(found["networks"][name]["sharpness"], params, stats, *looked(run, "train", crop))
    student = found["networks"]["student"]
    assert student["cka"]["layers"] == student["cka"]["teacher_layers"] == ["stem", "stage1", "stage2", "pooled", "logits"]
    for i, row in enumerate(("stem", "stage1", "stage2", "pooled", "logits")):
        for j, column in enumerate(("stem", "stage1", "stage2", "pooled", "logits")):
            pair = evaluate.position_mean(taps["student"][row]), evaluate.position_mean(taps["teacher"][column])
            assert student["cka"]["values"][i][j] == pytest.approx(float(evaluate.linear_cka(*pair)), abs=1e-4)
    pair = taps["student"]["logits"], taps["teacher"]["logits"]
    np.testing.assert_allclose(student["correlation"]["difference"], evaluate.correlation_difference(*pair), atol=1e-4)
    assert student["correlation"]["gap"] == pytest.approx(float(evaluate.correlation_gap(*pair)), rel=1e-4)
    assert student["correlation"]["agreement"] == pytest.approx(100 * float(evaluate.top1_agreement(*pair).mean()))
    assert not {"cka", "correlation"} & set(found["networks"]["teacher"])


def check_sharpness(found, params, stats, images, labels):
    flat, unravel = ravel_pytree(params)

    def loss(p):
        logits = models.build(NET).apply(unravel(p), stats, images, train=False)[0]["logits"]
        return evaluate.negative_log_likelihood(logits, labels).mean()

    exact = np.asarray(jax.jit(jax.jacrev(jax.grad(loss)))(flat), float)
    assert found["eigenvalue"] == pytest.approx(np.linalg.eigvalsh(exact)[-1], rel=2e-3)
    assert found["eigenvalue_error"] <= 1e-3 * found["eigenvalue"]
    assert abs(found["trace"] - np.trace(exact)) < 4 * found["trace_error"] < 2 * np.trace(exact)


def test_a_student_with_the_weights_of_its_teacher_is_like_it(copy):
    answer = ask(copy, "--seed=1", "--what=cka,correlation")
    assert answer.code == 0, answer.err
    found = read(copy)
    assert found["seed"] == 8 and found["train_images"] == 0
    cka = np.array(found["networks"]["student"]["cka"]["values"])
    np.testing.assert_allclose(np.diag(cka), 1.0, atol=1e-4)
    np.testing.assert_allclose(cka, cka.T, atol=1e-4)
    assert cka.min() < 0.9
    correlation = found["networks"]["student"]["correlation"]
    assert correlation["agreement"] == 100 and correlation["gap"] < 1e-6


def test_the_table_and_the_plots_show_it(copy):
    keep(copy, "student", WIDE, weights(WIDE, 3), weights(WIDE, 4))
    answer = ask(copy, "--images=40")
    assert answer.code == 0, answer.err
    found = read(copy)["networks"]
    rows = [line.split() for line in answer.out.splitlines()]
    for words, part, name, form in (
        ("accuracy %", "calibration", "accuracy", ".2f"),
        ("nll", "calibration", "nll", ".3f"),
        ("ece %", "calibration", "ece", ".2f"),
        ("top Hessian eigenvalue", "sharpness", "eigenvalue", ".4g"),
    ):
        assert [*words.split(), *(format(found[x][part][name], form) for x in ("teacher", "student"))] in rows
    for words, value in (
        ("agreement %", f"{found['student']['correlation']['agreement']:.2f}"),
        ("gap of logit correlations", f"{found['student']['correlation']['gap']:.3f}"),
        ("CKA of pooled features", f"{found['student']['cka']['values'][4][3]:.3f}"),
    ):
        assert [*words.split(), value] in rows
    traces = [f"{x['trace']:.4g} ± {x['trace_error']:.2g}".split() for x in (y["sharpness"] for y in found.values())]
    assert ["Hessian", "trace", *traces[0], *traces[1]] in rows
    assert (
        "seed 7 on npz:" in " ".join(answer.out.split())
        and "kept in" in answer.out
        and "student: sharpness at 40 training images" in answer.out
    )
    for plot in PLOTS.values():
        with Image.open(copy / "analysis" / plot) as image:
            assert min(image.size) > 300 and len(np.unique(np.asarray(image.convert("L")))) > 10


def test_what_networks_withstand(copy, fine, monkeypatch):
    """The numbers are those of the measures, and the ways between nets end at their losses."""
    monkeypatch.setattr(robustness, "EPSILONS", (8, 64))
    grey = np.repeat(np.arange(24, dtype=np.uint8)[:, None, None, None] * 10, 6, 1).repeat(5, 2)  # of other sides
    np.savez(
        copy.parent / "far.npz", train_images=grey, train_labels=np.arange(24) % 2, test_images=grey, test_labels=np.arange(24) % 2
    )
    source = f"npz:{copy.parent / 'far.npz'}"
    answer = ask(copy, f"--what={','.join(MORE)}", "--images=40", f"--foreign={source}")
    assert answer.code == 0, answer.err
    found, (images, labels) = read(copy), looked(fine, "test")
    assert found["train_images"] == 40 and {p.name for p in (copy / "analysis").iterdir()} == {"analysis.json", *MORE.values()}
    for name, seed in (("teacher", 1), ("student", 2)):
        one, (params, stats) = found["networks"][name], weights(NET, seed)
        classify = lambda x, p=params, s=stats: models.build(NET).apply(p, s, x, train=False)[0]["logits"]  # noqa: E731
        loss = lambda x, of=classify: evaluate.negative_log_likelihood(of(x), labels)  # noqa: E731
        right = float(evaluate.top_k(classify(evaluate.fgsm(loss, images, epsilon=64 / 255)), labels).mean()) * 100
        plain = float(evaluate.top_k(classify(images), labels).mean()) * 100
        assert one["attack"]["clean"] == pytest.approx(plain) and one["attack"]["fgsm"][1] == pytest.approx(right)
        assert one["attack"]["epsilons"] == [8, 64] and len(one["attack"]["pgd"]) == 2
        assert list(one["ood"]) == [source, "uniform_noise", "normal_noise"]
        noise = image_batches.noise(data.load("none:4x4x1:3"), [{"image": images}])["uniform_noise"][0]["image"]
        scores = [evaluate.max_probability(classify(jnp.asarray(x))) for x in (images, noise)]
        told = one["ood"]["uniform_noise"]["probability"]
        assert told["auroc"] == pytest.approx(100 * evaluate.auroc(*scores), abs=0.5)
        assert told["fpr95"] == pytest.approx(100 * evaluate.false_positive_rate(*scores), abs=7)
        kinds = one["corruption"]["kinds"]
        assert {len(values) for values in kinds.values()} == {5} and len(kinds) == 5
        assert one["corruption"]["mean"] == pytest.approx(np.mean(list(kinds.values())))
        middle = one["landscape"]["line"]["loss"][10], one["landscape"]["plane"]["loss"][5][5]
        assert middle[0] == pytest.approx(middle[1]) and len(one["landscape"]["gap"]["mean"]) == 3
    way = found["networks"]["student"]["landscape"]["way"]
    ends = [found["networks"][name]["landscape"]["line"]["loss"][10] for name in ("teacher", "student")]
    assert [way["loss"][0], way["loss"][-1]] == pytest.approx(ends, rel=1e-4) and way["from"] == "teacher"
    assert "way" not in found["networks"]["teacher"]["landscape"]
    lines = " ".join(answer.out.split())
    for words in (
        "rise of the loss at 0.1 of each filter",
        "AUROC of normal noise %",
        "FGSM / PGD of 8/255 %",
        "on damaged images %",
    ):
        assert words in lines
    for plot in MORE.values():
        with Image.open(copy / "analysis" / plot) as image:
            assert min(image.size) > 300 and len(np.unique(np.asarray(image.convert("L")))) > 10


def test_foreign_images_have_the_channels_of_the_run(tmp_path):
    grey, coloured = (np.random.default_rng(0).integers(0, 256, (6, 4, 4, c)).astype(np.uint8) for c in (1, 3))
    for name, x in (("grey", grey), ("coloured", coloured)):
        np.savez(
            tmp_path / f"{name}.npz", train_images=x, train_labels=np.arange(6) % 2, test_images=x, test_labels=np.arange(6) % 2
        )
    config = data_config()
    config.data.dir = ""
    one, three = (data.load(f"npz:{tmp_path / name}.npz") for name in ("grey", "coloured"))
    found = image_batches.foreign(f"npz:{tmp_path / 'grey.npz'}", three, 6, config)[0]["image"]
    assert found.shape == (6, 4, 4, 3) and (found == found[..., :1]).all()
    found = image_batches.foreign(f"npz:{tmp_path / 'coloured.npz'}", one, 6, config)[0]["image"]
    assert found.shape == (6, 4, 4, 1) and 0 <= found.min() < found.max() <= 1


@pytest.mark.parametrize("part", PLOTS)
def test_only_what_is_asked_is_computed(part, copy):
    answer = ask(copy, f"--what={part}", "--images=20")
    assert answer.code == 0, answer.err
    networks = read(copy)["networks"]
    assert set(networks["student"]) == {part}
    assert {p.name for p in (copy / "analysis").iterdir()} == {"analysis.json", PLOTS[part]}
    assert ("Hessian" in answer.out) == ("trace" in answer.out) == (part == "sharpness")
    assert ("accuracy" in answer.out, "agreement" in answer.out) == (part == "calibration", part == "correlation")


def test_images_are_drawn_from_the_whole_set_in_batches_of_one_size(monkeypatch):
    source = data.array_source(np.zeros((1000, 2, 2, 1), np.uint8), np.arange(1000))
    config = data_config()
    found = image_batches.draw(source, 600, config)
    assert [len(batch["label"]) for batch in found] == [200, 200, 200]
    rows = np.concatenate([batch["label"] for batch in found])
    assert len(set(rows)) == 600 and rows.max() > 990 and abs(rows.mean() - 500) < 40
    assert [len(batch["label"]) for batch in image_batches.draw(source, 9999, config)] == [250] * 4
    assert [len(batch["label"]) for batch in image_batches.draw(source, 257, config)] == [128, 128]
    again = image_batches.draw(source, 600, config)
    assert all((a["label"] == b["label"]).all() for a, b in zip(found, again, strict=True))


def data_config():
    from ml_collections import ConfigDict

    return ConfigDict({"data": {"corrupt": "stop"}})


def test_several_students_and_a_teacher_from_outside(tmp_path):
    run = made(tmp_path / "a", stages=("student_alone", "student"), precision="float32", teacher=str(tmp_path / "t.safetensors"))
    models.write_weights(tmp_path / "t.safetensors", *weights(WIDE, 1), WIDE)
    about = json.loads((run / "config.json").read_text())
    about["teacher"] = {"sha256": models.read_weights(tmp_path / "t.safetensors").sha256}
    (run / "config.json").write_text(json.dumps(about))
    words = "--stage=student,student_alone", "--what=calibration,correlation"
    answer = ask(run, *words)
    assert answer.code == 0, answer.err
    found = read(run)["networks"]
    assert list(found) == ["teacher", "student", "student_alone"] and found["student"] == found["student_alone"]
    images, labels = looked(run, "test")
    taps, _ = models.build(WIDE).apply(*weights(WIDE, 1), images, train=False)
    nll = float(evaluate.negative_log_likelihood(taps["logits"], labels).mean())
    assert found["teacher"]["calibration"]["nll"] == pytest.approx(nll, rel=1e-5)
    models.write_weights(tmp_path / "t.safetensors", *weights(WIDE, 2), WIDE)
    refused(ask(run, *words), "t.safetensors has changed since")


def test_several_seeds_are_looked_into_and_compared(tmp_path):
    run = made(tmp_path / "a", stages=("student_alone", "student"), precision="float32")
    answer = ask(run, "--stage=student_alone,student", "--what=calibration", "--seed=0,1")
    assert answer.code == 0 and "2 seeds; below, the paired difference from student alone" in " ".join(answer.out.split())
    told = json.loads((run / "analysis/seeds.json").read_text())
    each = [json.loads((run / f"analysis/seed{k}/analysis.json").read_text()) for k in (0, 1)]
    assert [one["seed"] for one in each] == [7, 8] and told["seeds"] == [0, 1] and told["against"] == "student_alone"
    nll = [one["networks"]["student"]["calibration"]["nll"] for one in each]
    found = told["measures"]["nll"]
    assert found["student"]["values"] == nll and nll[0] != nll[1] and found["student"]["mean"] == pytest.approx(np.mean(nll))
    assert found["student"]["gain"] == [0, 0, 0] and "gain" not in found["student_alone"]  # of equal networks


def test_several_teachers_are_looked_at_as_the_one_they_are_together(tmp_path):
    each = [NET | {"dtype": "bfloat16"}, WIDE]
    files = [tmp_path / f"t{k}.safetensors" for k in range(2)]
    for file, net in zip(files, each, strict=True):
        models.write_weights(file, *weights(net, 1), net)
    named = {"teacher": ",".join(map(str, files)), "teachers": 1, "teacher_weights": (3.0, 1.0), "teachers_combine": "ensemble"}
    outside = made(tmp_path / "a", stages=("student",), precision="float32", **named)
    about = json.loads((outside / "config.json").read_text())
    about["teacher"] = {"sha256": of_json([[models.read_weights(file).sha256, ""] for file in files])}
    (outside / "config.json").write_text(json.dumps(about))
    inside = made(tmp_path / "b", teachers=2, teacher_weights=(3.0, 1.0))
    keep(inside, "teacher", NET, weights(NET, 1), weights(NET, 2))
    for run, members in ((outside, [(NET, 1), (WIDE, 1)]), (inside, [(NET, 1), (NET, 2)])):
        answer = ask(run, "--what=calibration,cka")
        assert answer.code == 0, answer.err
        found, (images, labels) = read(run)["networks"], looked(run, "test")
        z = [models.build(net).apply(*weights(net, seed), images, train=False)[0]["logits"] for net, seed in members]
        nll = float(evaluate.negative_log_likelihood(0.75 * z[0] + 0.25 * z[1], labels).mean())
        assert found["teacher"]["calibration"]["nll"] == pytest.approx(nll, rel=1e-4)
        assert "teacher1/stage1" in found["student"]["cka"]["teacher_layers"]


def test_a_run_without_a_teacher_has_a_sharpness_all_the_same(tmp_path):
    run = made(tmp_path / "a", stages=("student",))
    refused(ask(run), "run has no teacher, with which cka and correlation compare: --what=calibration,sharpness does without")
    refused(ask(run, "--what=cka"), "with which cka compare")
    assert not (run / "analysis").exists()
    answer = ask(run, "--what=calibration,sharpness")
    assert answer.code == 0 and list(read(run)["networks"]) == ["student"]


def test_what_a_real_run_says_of_itself(run, tmp_path):
    folder = shutil.copytree(run[0], tmp_path / "run")
    answer = ask(folder, "--stage=student,student_alone", "--seed=1", "--what=calibration,correlation,cka")
    assert answer.code == 0, answer.err
    found, results = read(folder), json.loads((folder / "summary.json").read_text())["results"]
    assert found["test_images"] == 450
    for name, one in found["networks"].items():
        for measure, told in (("accuracy", "accuracy"), ("ece", "ece"), ("nll", "nll")):
            values = results[f"{name}/test_{told}"]["values"]
            assert one["calibration"][measure] == pytest.approx(values[-1], rel=1e-4)
    agreement = results["student/test_agreement"]["values"][1]
    assert found["networks"]["student"]["correlation"]["agreement"] == pytest.approx(agreement, rel=1e-5)


def test_help(fine):
    answer = ask("--help")
    assert answer.code == 0 and all(f"    {part}  " in answer.out for part in analysis.PARTS)


def refused(answer, said):
    assert (answer.code, answer.out) == (2, "") and answer.err.count("\n") == 1, answer
    assert said in answer.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "expected the folder of one run; --help tells more"),
        ("{run} {run}", "expected the folder of one run"),
        ("{run} --waht=cka", "--waht=cka"),
        ("{run} --what=cka,hessian", "--what=hessian is not known; accepted: sharpness, attack, calibration, cka"),
        ("{run} --what=,", "--what=',' is not accepted"),
        ("{run} --foreign=digits", "--foreign=digits is not accepted without --what=ood"),
        ("{run} --what=ood --foreign=none:4x4x1:2", "it has 0 images of 1 channels, the run 1"),
        ("{run} --stage=", "--stage='' is not accepted"),
        ("{run} --images=1", "--images='1' is not accepted: expected a whole number, 2 or more"),
        ("{run} --images=all", "--images='all'"),
        ("{run} --seed=x", "--seed='x'"),
        ("{run} --seed=0,2", "--seed=2 is not accepted: the run has members 0 to 1"),
        ("{run} --seed=2", "--seed=2 is not accepted: the run has members 0 to 1"),
        ("{run} --stage=studnet", "stage 'studnet' is not in"),
        ("{run} --stage=teacher", "--stage=teacher is not accepted"),
        ("{run}/none", "none is not there"),
        ("{run}/models", "models holds no run"),
        ("{run}/..", "expected the folder of one"),
    ],
)
def test_wrong_input_is_refused_in_one_line(words, said, fine):
    before = sorted(fine.rglob("*"))
    refused(ask(*words.format(run=fine).split()), said)
    assert sorted(fine.rglob("*")) == before


def test_damaged_and_unfinished_runs_are_refused(copy, fine, tmp_path):
    about = json.loads((copy / "config.json").read_text())
    for change, said in (
        ({"data": about["data"] | {"digest": "0" * 64}}, "has changed since"),
        ({"config": about["config"] | {"data": {"source": "digits"}}}, "digits has changed since"),
        ({"config": {}}, "config.json is damaged"),
        ({"config": about["config"] | {"data": 3}}, "config.json is damaged"),
        ({"data": {}}, "config.json is damaged"),
        ({"config": about["config"] | {"data": about["config"]["data"] | {"source": "npz:/none.npz"}}}, "/none.npz"),
    ):
        (copy / "config.json").write_text(json.dumps(about | change))
        refused(ask(copy), said)
    (copy / "config.json").write_text(json.dumps(about))
    keep(copy, "student", ENCODER, weights(ENCODER, 2))
    answer = ask(copy, "--what=sharpness")
    assert "sharpness" not in answer.out
    assert answer.code == 2 and "stage 'student' holds an encoder without classes" in answer.err
    (copy / "summary.json").unlink()
    refused(ask(copy), "is not finished: it has no summary.json")
    assert not (copy / "analysis").exists()


def test_many_classes_are_drawn_without_their_numbers(tmp_path):
    correlation = {"difference": np.zeros((40, 40)).tolist(), "gap": 0.0, "agreement": 100.0}
    analysis_plots.draw(tmp_path, {"student": {"correlation": correlation}}, [str(i) for i in range(40)])
    assert [p.name for p in tmp_path.iterdir()] == ["correlation.png"]
