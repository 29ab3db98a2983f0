"""A run of a generator, judged by FID: trained, reported, loaded, sampled and exported like one of a classifier."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from launching import TINY, call
from PIL import Image

from kdjax import load
from launch import predict, report, sample

CONFIG = """
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from configs import quickstart
from kdjax import evaluate, models
from kdjax.core import Learner, Method, learn, new_learner
from kdjax.train import Pace, Stage

get_config = quickstart.get_config
SPECIFICATION = {"name": "generator", "size": [8, 8], "channels": 1, "features": 2, "latent": 3}


class State(NamedTuple):
    maker: Learner
    step: jax.Array


def mean_image(net, tx):
    '''A generator whose mean image becomes that of the data.'''

    def init(key, batch, given):
        return State(new_learner(key, net, tx, latents(batch)), jnp.int32(0))

    def step(state, batch, key):
        def loss(params, z, images):
            taps, stats = net.apply(params, state.maker.stats, z, train=True)
            return jnp.mean((taps["image"].mean(0) - images.mean(0)) ** 2), (stats, {})

        maker, metrics = learn(loss, state.maker, tx, latents(batch), batch["image"])
        return State(maker, state.step + 1), metrics

    def predict(state, z):
        return {"maker": net.apply(state.maker.params, state.maker.stats, z, train=False)[0]}

    return Method(init, step, predict, lambda state: {"maker": (state.maker.params, state.maker.stats)})


def latents(batch):
    return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(jax.random.key(0), i), (3,)))(batch["index"])


def fid(collect, split, final):
    outputs, columns = collect(split, "image", columns=("image",))
    real = columns["image"].reshape(len(columns["index"]), -1) / 255.0
    made = outputs["maker"]["image"]
    return {"fid": np.array([evaluate.frechet_distance(x.reshape(len(x), -1), real) for x in made])}


def build(config):
    found = quickstart.build(config)
    stage = Stage(
        method=mean_image(models.build(SPECIFICATION), optax.adam(0.02)), steps=24, batch=64, pace=Pace(4, 8, 8),
        nets={"maker": SPECIFICATION}, source=found.dataset.train, view=latents, evaluate=fid, score="fid", members=config.seeds,
    )
    return found._replace(stages={"maker": stage}, compare=())
""".replace("import optax\n", "import numpy as np\nimport optax\n")


@pytest.fixture(scope="module")
def run(launch, tmp_path_factory):
    """`(folder, answer)` of such a run, at its best step."""
    place = tmp_path_factory.mktemp("generator")
    (place / "maker.py").write_text(CONFIG)
    answer = launch(f"--config={place / 'maker.py'}", f"--workdir={place / 'run'}", *TINY, "--config.select=best")
    assert (answer.code, answer.err) == (0, "")
    return place / "run", answer


def test_report_plots_and_card_show_its_fid(run):
    folder, answer = run
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["measures"] == {"fid": {"unit": "", "better": "lower", "digits": 2}} and summary["scores"] == {"maker": "fid"}
    values = summary["results"]["maker/test_fid"]["values"]
    text = (folder / "report.md").read_text()
    assert "| test fid |" in text and f"{np.mean(values):.2f} ±" in text and "the lowest validation fid" in text
    assert (folder / "plots" / "scores.png").is_file() and (folder / "plots" / "curves.png").is_file()
    assert f"{np.mean(values):.2f} ±" in call(report, folder).out
    card = (folder / "export" / "maker" / "README.md").read_text()
    assert "pipeline_tag: unconditional-image-generation" in card and "- type: fid" in card and "launch/sample.py" in card
    assert "draw images from it" in answer.out and "classify" not in answer.out


def test_it_is_loaded_sampled_and_exported(run, tmp_path):
    folder, _ = run
    net, params, stats = load(folder)
    z = jax.random.normal(jax.random.key(0), (2, 3))
    assert net.apply(params, stats, z, train=False)[0]["image"].shape == (2, 8, 8, 1)
    out = tmp_path / "images.png"
    answer = call(sample, folder, "--count=9", f"--out={out}")
    assert (answer.code, answer.err) == (0, "") and "9 images of 8 x 8 x 1" in answer.out
    with Image.open(out) as image:
        whole = np.asarray(image)
    assert whole.shape == (510, 510) and len(np.unique(whole)) > 3
    call(sample, folder / "export" / "maker" / "seed0.safetensors", "--count=9", f"--out={tmp_path / 'file.png'}")
    assert (tmp_path / "file.png").read_bytes() == out.read_bytes()
    call(sample, folder, "--count=9", "--seed=1", f"--out={tmp_path / 'other.png'}")
    assert (tmp_path / "other.png").read_bytes() != out.read_bytes()


def test_images_stay_when_there_are_more(run):
    net, params, stats, specification = sample._from_run(run[0], None, None, 0)
    few, many = (sample.draw(net, params, stats, specification, count) for count in (2, 5))
    np.testing.assert_allclose(few, many[:2], atol=1e-6)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--seed=2",), "--seed=2 is not accepted: the run has members 0 to 1"),
        (("--network=student",), "--network=student is not accepted: expected one of maker"),
        (("--stage=student",), "stage 'student' is not in"),
        (("--count=0",), "--count='0' is not accepted"),
        (("--out=images.jpg",), "--out=images.jpg is not accepted: expected a name that ends in .png or .npz, or that of a folder"),
    ],
)
def test_what_sample_refuses(run, words, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = call(sample, run[0], *words)
    assert answer.code == 2 and line in answer.err and answer.err.count("\n") == 1 and not list(Path().iterdir())


@pytest.mark.parametrize("place", [".", "export/maker/seed0.safetensors"])
def test_it_does_not_classify(run, place, tmp_path):
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "x.png")
    answer = call(predict, run[0] / place, tmp_path / "x.png")
    assert answer.code == 2 and "holds a generator, which does not classify" in answer.err and answer.err.count("\n") == 1
