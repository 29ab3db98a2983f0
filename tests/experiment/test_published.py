"""Published settings of methods without labels: each builds, traces, and has the numbers it is known by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import ssl
from kdjax.core import InputError
from kdjax.data import Dataset, Source
from launch.run import checks

ALL = [(setting, method) for setting, known in ssl.PUBLISHED.items() for method in known.SETTINGS]
ROWS = 6000


def black(shape):
    """So many black images of ten classes."""

    def read(rows):
        return {"image": np.zeros((len(rows), *shape), np.uint8), "label": rows % 10, "index": rows}

    source = Source(ROWS, read, lambda: np.arange(ROWS) % 10)
    return Dataset(source, None, source, 10, shape, tuple("0123456789"), "")


DATA = {"cifar10": black((32, 32, 3)), "imagenet": black((256, 256, 3))}


@pytest.mark.parametrize(("setting", "method"), ALL)
def test_every_setting_builds_and_takes_a_step_on_its_views(setting, method):
    """By shapes, through nets of the least width: what the nets are is said below."""
    config = ssl.get_config(f"method={method},setting={setting}")
    checks.check(config, "ssl.py")
    assert config.views.kind == "crop" and config.encoder_training.optimiser.name in ("sgd", "adam", "lars")
    if not config.encoder_training.net.name.startswith("vit"):
        config.encoder_training.net = ssl.get_config("encoder=resnet8").encoder_training.net
    config.precision = "float32"
    stages = ssl.build(config, dataset=DATA[setting]).stages
    stage = stages["encoder"]
    assert stage.batch == config.data.batch and stage.steps == config.encoder_training.epochs * (ROWS // stage.batch)
    one = {name: np.broadcast_to(x, (stage.batch, *x.shape[1:])) for name, x in stage.source.read(np.arange(1)).items()}
    key = jax.random.key(0)

    def step(rows):
        batch = stage.augment(jax.random.split(key, stage.batch), rows)
        return batch.get("views"), stage.method.step(stage.method.init(key, batch, {}), batch, key)

    views, (_, metrics) = jax.eval_shape(step, one)
    sides = [view.shape[1] for view in views]
    small = config.views.small
    assert sides[-small.count :] == [small.size] * small.count or not small.count
    assert set(sides[: len(sides) - small.count]) == {32 if setting == "cifar10" else 224}
    assert {"loss"} | ({"probe"} if method != "mae" else set()) <= set(metrics)


@pytest.mark.parametrize(
    ("variant", "rate", "decay", "heads", "more"),
    [
        ("method=byol,setting=cifar10", 1.0, 1e-5, (4096, 256, 0), {"tau": 0.99}),
        ("method=simsiam,setting=cifar10", 0.5, 1e-5, (2048, 2048, 512), {}),
        ("method=w_mse,setting=cifar10", 2e-3, 1e-6, (1024, 64, 0), {"size": 128}),
        ("method=vibcreg,setting=cifar10", 0.3, 1e-4, (2048, 2048, 0), {"iterative": True, "activation": "gelu"}),
        ("method=moco,setting=cifar10", 0.3, 1e-4, (2048, 256, 0), {"queue": 32768, "last_momentum": 0.999}),
        ("method=byol,setting=imagenet", 3.2, 1.5e-6, (4096, 256, 0), {"tau": 0.996}),
        ("method=swav,setting=imagenet", 4.8, 1e-6, (2048, 128, 0), {"prototypes": 3000, "queue": 0}),
        ("method=moco,setting=imagenet", 0.03, 1e-4, (2048, 128, 0), {"queue": 65536, "momentum": 0.999, "last_momentum": None}),
        ("method=dino,setting=imagenet", 2e-3, 0.04, (2048, 256, 0), {"outputs": 65536, "warmup_epochs": 30}),
    ],
)
def test_rates_decays_and_heads_of_some(variant, rate, decay, heads, more):
    config = ssl.get_config(variant)
    optimiser, head = config.encoder_training.optimiser, config.head
    assert (optimiser.learning_rate, optimiser.weight_decay) == (rate, decay)
    assert (head.hidden, head.out, head.predictor_hidden) == heads
    assert {name: config.method[name] for name in more} == more


def test_nets_images_and_budgets():
    small, large = (ssl.get_config(f"method=simsiam,setting={setting}") for setting in ssl.PUBLISHED)
    assert small.encoder_training.net.to_dict() == {"name": "resnet18", "stem": "cifar"}
    assert large.encoder_training.net.to_dict() == {"name": "resnet50", "stem": "imagenet", "zero_init_last": True}
    assert (small.data.source, small.data.batch, small.encoder_training.epochs) == ("npz:cifar10.npz", 256, 1000)
    assert (large.data.crop, large.data.batch, large.encoder_training.epochs, large.precision) == (224, 512, 100, "bfloat16")
    mae = ssl.get_config("method=mae,setting=cifar10")
    assert (mae.encoder_training.net.name, mae.encoder_training.net.patch, mae.method.decoder_depth) == ("vit_small", 4, 8)
    assert mae.encoder_training.optimiser.b2 == 0.95  # and not what transformers have by default
    other = ssl.get_config("method=simsiam,setting=cifar10,encoder=resnet50").encoder_training
    assert other.net.name == "resnet50" and other.optimiser.learning_rate == 0.5


@pytest.mark.parametrize(
    ("variant", "line"),
    [
        (
            "method=lc_loss,setting=cifar10",
            r"^setting=cifar10 has no published values of lc_loss; it has those of barlow_twins, byol, ",
        ),
        ("method=w_mse,setting=imagenet", r"^setting=imagenet has no published values of w_mse; it has those of barlow_twins"),
        ("method=byl,setting=cifar10", r"^method 'byl' is not known; accepted: byol"),
        ("method=byol,setting=cifar", r"^setting 'cifar' is not known; accepted: cifar10"),
        (
            "method=byol,setting=cifar10,views=affine",
            r"^views='affine' is not accepted: expected crop, the views of setting=cifar10",
        ),
    ],
)
def test_what_is_not_published_is_refused(variant, line):
    with pytest.raises(InputError, match=line):
        ssl.get_config(variant)


def test_without_a_setting_the_views_and_the_net_are_those_of_few_images():
    config = ssl.get_config("views=crop")
    assert config.views.crop.blur_p == (1.0, 0.1) and config.views.small.count == 0
    assert config.encoder_training.net.to_dict() == {"name": "conv_net", "widths": (32, 64, 128)}
    assert (config.data.source, config.data.batch, config.seeds, config.evaluate_epochs) == ("digits", 128, 3, 5)


def test_encoders_are_measured_on_the_middle_of_images_that_are_cut():
    config = ssl.get_config()
    config.encoder_training.net.widths, config.data.crop = (4,), 6
    stage = ssl.build(config).stages["encoder"]
    rows = stage.source.read(np.arange(3))
    np.testing.assert_allclose(stage.view(jax.tree.map(jnp.asarray, rows)), rows["image"][:, 1:7, 1:7] / 255, atol=1e-6)
