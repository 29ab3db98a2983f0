"""The data set that a config names, and its images as networks see them."""

import math
from collections.abc import Callable
from functools import partial

import jax

from kdjax import augment, data
from kdjax.core import InputError, check_memory, check_option, pick
from kdjax.experiment.config import Config

# Transforms of one image; `imagenet` gives images of the side it is told, the others keep theirs.
AUGMENTATIONS: dict[str, Callable[[int], tuple[Callable, ...]]] = {
    "none": lambda side: (),
    "affine": lambda side: (augment.affine,),
    "crop_flip": lambda side: (partial(augment.pad_crop, padding=4), augment.flip),
    "imagenet": lambda side: (partial(augment.random_resized_crop, size=side, method="bilinear"), augment.flip),
}


def load_data(config: Config, *, labels: bool = True, learned: bool = True) -> data.Dataset:
    """The data set a config names.

    Args:
      config: filled.
      labels: whether its images must have some.
      learned: whether it must have training images.
    """
    section = config.data
    found = data.load(
        section.source, val_fraction=section.val_fraction, seed=section.seed, image_size=section.image_size or None,
        directory=section.dir, reader=section.reader, corrupt=section.corrupt, workers=section.workers,
        exif_orientation=section.exif_orientation,
    )  # fmt: skip
    if learned and not found.train.size:
        advice = "expected a set with some; only configs/data_free.py with --config.teacher=<file> needs none"
        raise InputError(f"--config.data.source={section.source} has no training images: {advice}")
    if not found.train.size:
        check_option("--config.data.val_fraction", section.val_fraction, lambda part: part == 0, "0: there are no training images")
    if labels and (found.classes < 2 or (found.train.size and not found.labelled)):
        has = "no labels of training images" if found.classes > 1 else "1 class" if found.classes else "no labels"
        advice = "expected images of 2 classes or more; only methods without labels, as in configs/ssl.py, take these"
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


def augmentation(section: Config, dataset: data.Dataset, *more: Callable) -> Callable:
    """The augmentation that a data section names, with its crop, and what else is done to each image."""
    return augment.per_image(*_transforms(section, dataset), *more)


def own_views(section: Config, dataset: data.Dataset, count: int, *more: Callable) -> Callable:
    """The augmentation that adds views of each image, so many draws of what `augmentation` has."""
    return augment.views(*[augment.compose(*_transforms(section, dataset), *more)] * count)


def weak_and_strong(section: Config, dataset: data.Dataset, *more: Callable) -> Callable:
    """The augmentation that adds two views: one as `augmentation` has it, another with two random operations and a box cut out.

    The box is grey, half as high and as wide as the image; as in Sohn et al., FixMatch, NeurIPS 2020 (arXiv 2001.07685).
    """
    weak, (height, width, _) = (*_transforms(section, dataset), *more), seen_shape(section, dataset)
    box = max(height // 2, 1), max(width // 2, 1)
    strong = (*weak, augment.random_operations, partial(augment.cutout, size=box, fill=0.5))
    return augment.views(augment.compose(*weak), augment.compose(*strong))


def _transforms(section: Config, dataset: data.Dataset) -> tuple[Callable, ...]:
    side = section.crop or min(dataset.shape[:2])
    transforms = pick("augmentation", section.augment, AUGMENTATIONS)(side)
    if section.crop and section.augment != "imagenet":
        transforms += (lambda key, image: augment.centre_crop(image, size=side),)
    return transforms


def seen_shape(section: Config, dataset: data.Dataset) -> tuple[int, ...]:
    """The shape of one image as networks see it."""
    return (section.crop, section.crop, dataset.shape[-1]) if section.crop else dataset.shape


def view(crop: int) -> Callable:
    """Images as networks are evaluated on them: floats, of a side above 0 the centre."""
    if not crop:
        return augment.as_float
    return jax.vmap(lambda image: augment.centre_crop(augment.as_float(image), size=crop))


def steps_per_epoch(config: Config, dataset: data.Dataset) -> int:
    """Steps an epoch; the last partial batch is kept or dropped, as the data section has it."""
    size = dataset.train.size
    check_option("--config.data.batch", config.data.batch, lambda b: 1 <= b <= size, f"1 to {size}, the training images")
    return data.epoch_steps(size, config.data.batch, keep_last=config.data.keep_last_batch)


def sampler(config: Config, source: data.Source) -> data.Sampler:
    """Which rows of a source a step sees: epochs, each of which ends as the data section has it."""
    return data.epochs(source.size, min(config.data.batch, source.size), keep_last=config.data.keep_last_batch)
