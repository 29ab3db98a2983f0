"""From a filled config to data, networks, optimisers and stages."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from kdjax import augment, data
from kdjax.core import InputError, check_memory, check_option, pick
from kdjax.evaluate.classifier import classification
from kdjax.train import Pace, Stage, sweep
from kdjax.train.devices import AXIS
from kdjax.train.optimiser import OPTIMISERS, schedule
from kdjax.train.teacher import Teacher

Config = Any  # a filled ConfigDict, whose fields no type checker can know

# Transforms of one image; `imagenet` gives images of the side it is told, the others keep theirs.
AUGMENTATIONS: dict[str, Callable[[int], tuple[Callable, ...]]] = {
    "none": lambda side: (),
    "affine": lambda side: (augment.affine,),
    "crop_flip": lambda side: (partial(augment.pad_crop, padding=4), augment.flip),
    "imagenet": lambda side: (partial(augment.random_resized_crop, size=side, method="bilinear"), augment.flip),
}


# What a run may go on with other values of: they change where and how fast, not what is computed.
FREE = ("devices", "fsdp", "parallel", "data.dir", "data.workers", "cache.dir")


class Experiment(NamedTuple):
    """What `build(config)` returns.

    Attributes:
      stages: in the order they run.
      dataset: for evaluation and for the records.
      compare: pairs of results `stage/measure`, the second the baseline, whose paired difference over seeds is reported.
      outside: a teacher that no stage trains: its accuracy is measured before it is used.
    """

    stages: dict[str, Stage]
    dataset: data.Dataset
    compare: tuple[tuple[str, str], ...] = ()
    outside: Teacher | None = None


def axis_name(config: Config) -> str | None:
    """What methods and nets are built with: the mapped axis of `shard_map` and `pmap`."""
    return None if config.parallel == "jit" else AXIS


def load_data(config: Config, *, labels: bool = True) -> data.Dataset:
    """The data set a config names; without `labels` its images may have none."""
    section = config.data
    found = data.load(
        section.source, val_fraction=section.val_fraction, seed=section.seed, image_size=section.image_size or None,
        directory=section.dir, reader=section.reader, corrupt=section.corrupt, workers=section.workers,
        exif_orientation=section.exif_orientation,
    )  # fmt: skip
    if labels and (found.classes < 2 or not found.labelled):
        has = "no labels of training images" if found.classes > 1 else "1 class" if found.classes else "no labels"
        advice = "expected images of 2 classes or more; only methods without labels, as in configs/digits_byol.py, take these"
        raise InputError(f"--config.data.source={section.source} has {has}: {advice}")
    if (wanted := section.train_images) and not found.labelled:
        check_option("--config.data.train_images", wanted, lambda n: n <= found.train.size, f"0 to {found.train.size}")
        found = found._replace(train=data.subset(found.train, data.spread_rows(found.train.size, wanted)))
    elif wanted:
        each = wanted // max(found.classes, 1)
        check_option(
            "--config.data.train_images", wanted, lambda n: n == each * found.classes > 0, f"a multiple of {found.classes}"
        )
        try:
            found = found._replace(train=data.subset(found.train, data.few_labels(found.train.labels(), each, section.seed)))
            if found.train.size != wanted:
                raise InputError("; ".join(found.notes))  # which names the classes that have no image to give
        except InputError as error:
            raise InputError(f"--config.data.train_images={wanted} is not accepted: {error}") from None
    images = f"--config.data.batch={section.batch}: so many images of {'x'.join(map(str, found.shape))}"
    smaller_ones = "a smaller --config.data.image_size or --config.data.batch"
    check_memory(images, 4 * section.batch * math.prod(found.shape), smaller_ones)
    smaller = min(found.shape[:2])
    check_option("--config.data.crop", section.crop, lambda side: side <= smaller, f"0 to {smaller}, the side of the images")
    return found


def augmentation(section: Config, dataset: data.Dataset) -> Callable:
    """The augmentation that a data section names, with its crop."""
    return augment.per_image(*_transforms(section, dataset))


def weak_and_strong(section: Config, dataset: data.Dataset) -> Callable:
    """The augmentation that adds two views: one as `augmentation` has it, another with two random operations and a box cut out.

    The box is grey, half as high and as wide as the image; as in Sohn et al., FixMatch, NeurIPS 2020 (arXiv 2001.07685).
    """
    weak, (height, width, _) = _transforms(section, dataset), seen_shape(section, dataset)
    box = max(height // 2, 1), max(width // 2, 1)
    strong = (*weak, augment.random_operations, partial(augment.cutout, size=box, fill=0.5))
    return augment.views(augment.compose(*weak), augment.compose(*strong))


def _transforms(section: Config, dataset: data.Dataset) -> tuple[Callable, ...]:
    side = section.crop or min(dataset.shape[:2])
    transforms = pick("augmentation", section.augment, AUGMENTATIONS)(side)
    if section.crop and section.augment != "imagenet":
        transforms += (lambda key, image: augment.centre_crop(image, size=side),)
    return transforms


def seen_shape(section: Config, dataset: data.Dataset) -> tuple[int, int, int]:
    """The shape of one image as networks see it."""
    return (section.crop, section.crop, dataset.shape[-1]) if section.crop else dataset.shape


def view(crop: int) -> Callable:
    """Images as networks are evaluated on them: floats, of a side above 0 the centre."""
    if not crop:
        return augment.as_float
    return jax.vmap(lambda image: augment.centre_crop(augment.as_float(image), size=crop))


def net_specification(section: Config, dataset: data.Dataset, config: Config, **more: Any) -> dict:
    """The specification of a net for this data: classes, normalisation as the data section has it, precision."""
    normalised = given_normalisation(config.data, "data.", dataset) or _measured(dataset)
    return {"classes": dataset.classes, "dtype": config.precision, **normalised, **more, **plain(section)}


def given_normalisation(section: Config, above: str, dataset: data.Dataset) -> dict[str, list[float]]:
    """The mean and standard deviation that a section gives, a number a channel each; `{}` where it leaves them ().

    Args:
      section: with the fields `mean` and `std`.
      above: what their flags begin with, behind `--config.`: `"data."`, `"teacher_"`.
      dataset: for its channels.
    """
    channels, mean, std = dataset.shape[-1], list(section.get("mean", ())), list(section.get("std", ()))
    names, alike = f"{above}mean and in {above}std", len(mean) == len(std) in (0, channels)
    accepted = f"a number for each of the {channels} channel{'s' * (channels > 1)} in {names}, or () in both"
    check_option(f"--config.{above}mean", tuple(mean), lambda mean: alike and np.isfinite(mean).all(), accepted)
    check_option(f"--config.{above}std", tuple(std), lambda std: all(0 < x < np.inf for x in std), "numbers above 0")
    return {"mean": mean, "std": std} if mean else {}


@lru_cache(maxsize=1)
def _measured(dataset: data.Dataset) -> dict[str, list[float]]:
    """Mean and standard deviation a channel of the training images, see `data.channel_moments`."""
    mean, std = data.channel_moments(dataset.train)
    return {"mean": np.round(mean, 4).tolist(), "std": np.maximum(np.round(std, 4), 1e-3).tolist()}


def make_optimiser(section: Config, steps: int, per_epoch: int, **swept: Any):
    """The optax transformation a section describes, for a run of `steps`."""
    options = plain(section) | swept
    name, rate = options.pop("name"), options.pop("learning_rate")
    warmup = round(options.pop("warmup_epochs") * per_epoch)
    timed = schedule(options.pop("schedule"), rate, steps=steps, warmup=warmup, drops=options.pop("drops"))
    try:
        return pick("optimiser", name, OPTIMISERS)(timed, **options)
    except TypeError as error:
        raise InputError(f"optimiser {name!r}: {error}; give it its own fields") from None


def per_epoch(config: Config, dataset: data.Dataset) -> int:
    """Steps an epoch; the last partial batch is kept or dropped, as the data section has it."""
    size = dataset.train.size
    check_option("--config.data.batch", config.data.batch, lambda b: 1 <= b <= size, f"1 to {size}, the training images")
    return data.epoch_steps(size, config.data.batch, keep_last=config.data.keep_last_batch)


def sampler(config: Config, source: data.Source) -> data.Sampler:
    """Which rows of a source a step sees: epochs, each of which ends as the data section has it."""
    return data.epochs(source.size, min(config.data.batch, source.size), keep_last=config.data.keep_last_batch)


def pace(config: Config, steps_an_epoch: int) -> Pace:
    """Blocks of an epoch."""
    return Pace(steps_an_epoch, steps_an_epoch * config.evaluate_epochs, steps_an_epoch * config.save_epochs)


def classifier_stage(
    config: Config,
    dataset: data.Dataset,
    section: Config,
    make: Callable,
    *,
    nets: dict,
    members: int,
    recipe: dict,
    source: data.Source | None = None,
    grid: Mapping[str, Sequence[float]] | None = None,
    augment: Callable | None = None,
    evaluate: Callable = classification,
    **more: Any,
) -> Stage:
    """A stage that trains a classifier for a number of epochs of all training images.

    Args:
      config: the whole config.
      dataset: its data.
      section: the network's training section.
      make: `(tx, micro=, axis_name=, ...) -> Method`.
      nets: specifications of the networks it trains, by name.
      members: how many side by side.
      recipe: what the method was made from, for the fingerprint.
      source: the rows it learns from, where they are not all; the number of steps stays.
      grid: values to try by name, `learning_rate` or an option of the method; every seed with each point in one program, and
        validation images choose.
      augment: `(keys, batch) -> batch`; None: as the data section has it.
      evaluate: what is measured.
      **more: further fields of `Stage`.
    """
    each = per_epoch(config, dataset)
    steps = section.epochs * each

    def method(**swept):
        rate = {k: swept.pop(k) for k in ("learning_rate",) if k in swept}
        tx = make_optimiser(section.optimiser, steps, each, **rate)
        return make(tx, micro=section.micro, axis_name=axis_name(config), **swept)

    if grid:
        check_option("learning_rate", grid.get("learning_rate", (1,)), lambda rates: min(rates) > 0, "numbers above 0")
        swept, hyper = sweep(method, grid, members)
        more |= {"seeds": members, "hyper": hyper, "choose": True}
        members = len(next(iter(hyper.values())))
    source = source or dataset.train
    return Stage(
        method=swept if grid else method(),
        steps=steps,
        batch=min(config.data.batch, source.size),
        pace=pace(config, each),
        recipe={"training": plain(section), "data": lasting(plain(config.data), "data."), "nets": nets, **recipe},
        nets=nets,
        source=source,
        sampler=sampler(config, source),
        augment=augment or augmentation(config.data, dataset),
        view=lambda batch: view(config.data.crop)(batch["image"]),
        evaluate=evaluate,
        members=members,
        **more,
    )


def with_options(text: str, which: str) -> str:
    """What is told of a file of weights, with the options of this config in the place of the reader's.

    >>> with_options("part=ema takes the averaged ones", "teacher")
    '--config.teacher_part=ema takes the averaged ones'
    """
    options = {"part": f"{which}_part", "resize": f"{which}_resize"}
    if which == "teacher":
        options["net.stem"] = "teacher_training.net.stem"
    for name, option in options.items():
        text = re.sub(rf"(^|(?<= )){re.escape(name)}=", f"--config.{option}=", text)
    return text


def lasting(config: dict, above: str = "") -> dict:
    """A plain config without the fields of `FREE`: what results follow from."""
    kept = {k: v for k, v in config.items() if above + k not in FREE}
    return {k: lasting(v, f"{above}{k}.") if isinstance(v, dict) else v for k, v in kept.items()}


def plain(section: Any) -> Any:
    """A config section as JSON values."""
    if isinstance(section, ConfigDict):
        return {k: plain(v) for k, v in section.items()}
    return list(section) if isinstance(section, tuple) else section


def method_options(section: Config) -> tuple[str, dict]:
    """A method's name and the options of its builder."""
    options = plain(section)
    return options.pop("name"), options
