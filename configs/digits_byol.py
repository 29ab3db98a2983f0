"""BYOL on handwritten digits, probed with ten labels a class.

    python launch/main.py --config=configs/digits_byol.py --workdir=runs/digits_byol

The stage `untrained` is the same encoder before training, its batch statistics taken from the images. Expect the probe on BYOL's
features (`encoder/test_probe_accuracy`) several points above it; `test_knn_accuracy` uses all labels. Images of your own need no
labels: `--config.data.source=folder:<dir>` or `npz:<path>`; the probe learns from what labels there are, or is left out.
"""

from functools import partial

from ml_collections import ConfigDict

from configs import _parts as parts
from configs import _sections as sections
from kdjax import augment, methods, models
from kdjax.core import check_option, pick
from kdjax.data import Dataset, few_labels
from kdjax.evaluate.encoder import Probed, probed_rows, representation
from kdjax.train import Stage

METHODS = {"byol": methods.byol}


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, encoder="conv_net")
    return ConfigDict(
        {
            **sections.run_section(seeds=3),
            "data": sections.data_section("digits", batch=128, val_fraction=0.0),
            "views": {"rotation": 0.35, "scale": (0.75, 1.25), "shear": 0.3, "shift": 1.0, "noise": 0.0, "blur_p": 0.0},
            "encoder_training": sections.training_section(
                chosen["encoder"], widths=(32, 64, 128), epochs=200,
                optimiser=sections.adam_section(1e-3, warmup_epochs=5.0, weight_decay=1e-4),
            ),
            "head": {"hidden": 256, "out": 64},
            "method": sections.method_section("byol", METHODS, tau=0.99),
            "probe": {"per_class": 10, "draws": 5, "neighbours": 20},
        }
    )  # fmt: skip


def build(config: parts.Config) -> parts.Experiment:
    section = config.encoder_training
    name, options = parts.method_options(config.method)
    byol = pick("method", name, METHODS)
    check_option("--config.select", config.select, lambda s: s == "last", "'last': without labels there is no validation accuracy")
    check_option("--config.encoder_training.micro", section.micro, lambda n: n == 1, "1: this method does not accumulate gradients")
    dataset = parts.load_data(config, labels=False)
    specification = parts.net_specification(section.net, dataset, config, classes=0)
    axis = parts.axis_name(config)
    encoder = models.build(specification, axis_name=axis)
    head = partial(models.mlp_head, config.head.hidden, config.head.out, dtype=models.DTYPES[config.precision], axis_name=axis)
    projector, predictor = head(), head()
    labels = dataset.train.labels()
    probed = probed_rows(labels, dataset.test.labels())
    probe = models.linear_head(dataset.classes) if probed and not probed.halved else None
    dataset = dataset._replace(notes=(*dataset.notes, *_told(probed, dataset)))

    # What the measures would refuse after training.
    if probed:
        rows = len(probed.known)
        few_labels((dataset.test.labels() if probed.halved else labels)[probed.known], config.probe.per_class, 0)
        check_option("--config.probe.neighbours", config.probe.neighbours, lambda k: k <= rows, f"1 to {rows}, the labelled images")

    def stage(epochs: int, **changed: float) -> Stage:
        each = parts.per_epoch(config, dataset)
        steps = epochs * each
        tx = parts.make_optimiser(section.optimiser, steps, each, **changed)
        return Stage(
            method=byol(encoder, projector, predictor, tx, steps=steps, probe=probe, axis_name=axis, **options),
            steps=steps,
            batch=config.data.batch,
            pace=parts.pace(config, each),
            recipe={"config": parts.lasting(parts.plain(config)), "epochs": epochs, "method": name, **changed},
            nets={"encoder": specification},
            source=dataset.train,
            sampler=parts.sampler(config, dataset.train),
            augment=augment.views(*augment.grey_views(**config.views)),
            evaluate=representation(**config.probe, images=dataset),
            score="probe_accuracy" if probed else "rank_me",
            members=config.seeds,
        )

    stages = {
        # At rate 0 its batch statistics settle and its weights stay.
        "untrained": stage(5, learning_rate=0.0, warmup_epochs=0.0),
        "encoder": stage(section.epochs),
    }
    shown = "encoder/test_probe_accuracy"
    compare = tuple((shown, floor) for floor in ("untrained/test_probe_accuracy", "encoder/test_pixels_probe_accuracy"))
    return parts.Experiment(stages, dataset, compare if probed else ())


def _told(probed: Probed | None, dataset: Dataset) -> tuple[str, ...]:
    """What is to be known of a probe whose labels are not those of all training images."""
    if probed is None:
        return ("no labels of two classes: the probe and kNN are left out, and only rank_me is measured",)
    if probed.halved:
        parted = f"probe and kNN learn from {len(probed.known)} of the test images and are scored on the other {len(probed.scored)}"
        return (f"training images have no labels: {parted}",)
    if len(probed.known) < dataset.train.size:
        return (f"{len(probed.known)} of {dataset.train.size} training images have labels: probe and kNN learn from these",)
    return ()
