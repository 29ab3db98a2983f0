"""Sections of a config, with their defaults."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from kdjax import augment, models
from kdjax.core import InputError, check_option, pick
from kdjax.core.paths import read_number
from kdjax.experiment.entry import keyword_defaults

OPTIMISER_OPTIONS: dict[str, dict[str, Any]] = {
    "sgd": {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": False, "clip": 0.0},
    "adam": {"weight_decay": 0.0, "b1": 0.9, "b2": 0.999, "clip": 0.0},
    "lars": {
        "momentum": 0.9,
        "weight_decay": 1.5e-6,
        "eta": 1e-3,
        "variant": "byol",
        "clip_ratio": False,
        "vectors": False,
        "vector_rate": 1.0,
    },
}
VIEWS = {"affine": augment.grey_views, "crop": augment.byol_views, "bands": augment.band_views}
TIMED = ("learning_rate", "schedule", "drops", "warmup_epochs", "last_share")  # of every optimiser
# Of every optimiser too: the radius of sharpness-aware minimisation, 0 without; weight decay and clip of (min, max), from the least
# at both ends of training to the largest after a part of 1 / cycle, () for constants; whether the lengths of
# gradient and update are logged.
TRICKS: dict[str, Any] = {"ascent": 0.0, "weight_decay_range": (), "clip_range": (), "cycle": 2.0, "norms": False}


def run_section(*, seeds: int, select: str = "last", evaluate_epochs: int = 5, save_epochs: int = 10) -> dict:
    """How a run is done, the same in every config."""
    return {
        "seed": 0,  # member i starts from seed + i
        "seeds": seeds,
        "seeds_share": "batch",  # batch: same order, own initialisation; none: everything differs
        "members": "auto",  # how seeds run: map, vmap
        "parallel": "jit",  # how a batch is spread over devices: jit (global arrays), shard_map, pmap
        "devices": 0,  # 0: all there are
        "fsdp": 1,  # devices that hold one copy of the large weights together
        "precision": "float32",  # of the computation: float32, bfloat16
        "select": select,  # results at the last or the best (validation) epoch
        "init": "",  # a run or a file whose weights the last stage's network starts from; or <stage>=<run or file>,...
        "init_part": "",  # of a file with several networks, as teacher_part
        "init_resize": False,  # resize the positions of a transformer that was made for images of another side
        "test_curve": False,  # measure test images on the way too: for their accuracy at the best validation epoch
        "evaluate_epochs": evaluate_epochs,
        "save_epochs": save_epochs,
    }


def data_section(
    source: str,
    *,
    batch: int,
    val_fraction: float,
    augmentation: str = "none",
    image_size: int = 0,
    crop: int = 0,
    keep_last_batch: bool = False,
    mean: tuple[float, ...] = (),
    std: tuple[float, ...] = (),
) -> dict:
    """Where images come from."""
    return {
        "source": source,
        "dir": "",  # where prepared TFDS sets lie
        "reader": "auto",  # resident: all images live on the device; streaming: read ahead; auto: by their size
        "workers": 0,  # processes that decode images; 0: threads
        "corrupt": "stop",  # at an image that cannot be decoded; skip: take the next one
        "exif_orientation": False,  # turn images as cameras tag them; False: as they lie in the file, as torchvision's loader
        "image_size": image_size,  # shorter side resized, centre cut out; 0: as they are
        "crop": crop,  # the side networks see: cut at random by augment=imagenet, else from the centre; 0: all of it
        "train_images": 0,  # a class-balanced part of them; 0: all
        "val_fraction": val_fraction,
        "seed": 0,  # of the validation split and the order
        "batch": batch,
        "keep_last_batch": keep_last_batch,  # an epoch ends with a smaller batch of what is left; False: that is dropped
        "augment": augmentation,
        "mean": mean,  # what images are normalised with, a number a channel of images in [0, 1]; (): measured on training images
        "std": std,
    }


def teacher_section(mean: tuple[float, ...] = (), std: tuple[float, ...] = ()) -> dict:
    """Where the teacher comes from."""
    return {
        "teacher": "",  # empty: trained here; or a run's folder, a .safetensors or .pth file, an Orbax checkpoint's folder
        # What its images are normalised with; (): as those of students (data.mean, data.std). ImageNet: (0.485,0.456,0.406),
        # (0.229,0.224,0.225); RepDistiller's CIFAR-100: (0.5071,0.4867,0.4408), (0.2675,0.2565,0.2761).
        "teacher_mean": mean,
        "teacher_std": std,
        "teacher_part": "",  # of a file with several networks: a key, a prefix of names, or ema for averaged weights
        "teacher_precision": "",  # of its kernels while it teaches: bfloat16, int8 (by channel); empty: float32
        "teacher_resize": False,  # resize the positions of a transformer that was made for images of another side
    }


def teachers_section() -> dict:
    """How many teachers there are, and how they teach."""
    return {
        "teachers": 1,  # trained here, each from another seed; several from outside: their paths in `teacher`, comma-separated
        "teachers_combine": "ensemble",  # of several: ensemble (the mean of their logits), separate (the mean of a loss each)
        "teacher_weights": (),  # of several: a number each, of which shares are made; (): equal shares
    }


def cache_section() -> dict:
    """Whether the teacher's outputs are computed once."""
    return {
        "views": 0,  # 0: the teacher is asked at every step; K: once for each of K augmented views, in which every image comes back
        "taps": ("logits",),  # what is kept
        "top": 0,  # of the logits only so many, the largest; 0: all
        "dtype": "float32",  # float32, bfloat16, float16
        "dir": "",  # where; empty: in the cache of finished stages
    }


def stop_section() -> dict:
    """When a student without data is lost, and its training stops: where a measure is too low for all seeds. 0: never."""
    return {
        "after": 0.5,  # part of the epochs in which the student learns; at the last evaluation nothing stops
        "class_entropy": 0.05,  # of images that are made, as a part of that of equally many of each class
        "diversity": 0.01,  # mean difference of two of these images in each number, as a part of its range
        "accuracy": 2.0,  # of the student, in standard errors above a guess
    }


def students_section(
    *, labels_per_class: int = 0, baseline_rates: tuple[float, ...] = (), smoothing: float = 0.0, sweep: str = ""
) -> dict:
    """What students know, and what they are held against."""
    return {
        "labels_per_class": labels_per_class,  # that students know; 0: all
        "baseline_rates": baseline_rates,  # learning rates to choose from for students without a teacher; (): that of the config
        "smoothing": smoothing,  # of labels, for one more student without a teacher; 0: there is none
        "sweep": sweep,  # options of the method to choose by validation: "temperature=2,4,8 learning_rate=0.05,0.1"
    }


def views_section(kind: str, *, small: int = 0, **changed: Any) -> dict:
    """The views of an image that self-supervised methods see.

    Args:
      kind: `"affine"` for small grey images such as digits, `"crop"` for photographs, `"bands"` for any number of bands.
      small: how many small views multi-crop has.
      **changed: other defaults of this kind.
    """
    kinds = {name: keyword_defaults(policy) for name, policy in VIEWS.items()}
    pick("views", kind, kinds).update(changed)
    return {
        "kind": kind,
        **kinds,
        "small": {"count": small, "size": 0, "area": (0.3, 0.6) if kind == "affine" else (0.05, 0.14)},  # size 0: 3/7 of the large
    }


def rates_for(net: str, *rates: float) -> tuple[float, ...]:
    """Learning rates to try with SGD, or those of AdamW for a transformer."""
    return (3e-4, 1e-3, 3e-3) if _is_transformer(net) else rates


def training_section(net: str, *, epochs: int, optimiser: dict, **options: Any) -> dict:
    """One network and how it is trained; of `options`, those that it takes. A transformer, which SGD hardly moves, has AdamW.

    `average` is the decay of moving averages of the weights, with which networks are evaluated and shipped; 0: there are none.
    """
    if _is_transformer(net):
        optimiser = adam_section(1e-3, weight_decay=0.05, warmup_epochs=epochs / 20)
    takes = inspect.signature(pick("net", net, models.CLASSIFIERS)).parameters
    sizes = {"depth": 4, "width": 64, "heads": 4} if net == "vit" else {"depth": 16, "width": 2 if net == "wrn" else 1.0}
    small = {"widths": (32, 64, 128), "stem": "cifar", "patch": 4, "drop_path": 0.0, "distillation": False}
    small |= {"drop_path_rule": "linear", "drop_path_exact": False}
    small |= {"positions": "learned", "pool": "cls", "last_heads": 0}
    options = small | sizes | options
    options = {k: v for k, v in options.items() if k in takes}
    return {"net": {"name": net, **options}, "epochs": epochs, "micro": 1, "average": 0.0, "optimiser": optimiser}


def sgd_section(
    rate: float, *, kind: str = "cosine", drops: tuple[float, ...] = (), warmup_epochs: float = 0.0, **options: Any
) -> dict:
    """SGD with momentum and a schedule."""
    return _optimiser_section("sgd", rate, kind, drops, warmup_epochs, options)


def adam_section(rate: float, *, kind: str = "cosine", warmup_epochs: float = 0.0, **options: Any) -> dict:
    """Adam, or AdamW where `weight_decay` is not 0, with a schedule."""
    return _optimiser_section("adam", rate, kind, (), warmup_epochs, options)


def lars_section(rate: float, *, kind: str = "cosine", warmup_epochs: float = 10.0, **options: Any) -> dict:
    """LARS with a schedule, as self-supervised methods have it. BYOL's rate is 0.2 for every 256 images of a batch."""
    return _optimiser_section("lars", rate, kind, (), warmup_epochs, options)


def other_optimiser(section: Mapping[str, Any], name: str) -> dict:
    """A section whose optimiser is exchanged, with the defaults of that; when which rate holds stays."""
    return {"name": name} | {k: section[k] for k in (*TIMED, *TRICKS) if k in section} | OPTIMISER_OPTIONS[name]


def _is_transformer(net):
    return net.startswith(("vit", "deit"))


def _optimiser_section(name, rate, kind, drops, warmup_epochs, options):
    timed = dict(zip(TIMED, (rate, kind, drops, warmup_epochs, 0.0), strict=True))
    return {"name": name} | timed | TRICKS | OPTIMISER_OPTIONS[name] | options


def swept(text: str, options: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    """Reads `config.sweep`: `"temperature=2,4,8 learning_rate=0.05,0.1"`.

    Args:
      text: the points to try; every combination is one.
      options: of the method; its numbers can be swept, beside the learning rate.

    Raises:
      InputError: for what is no such list, for names that the method has not, and for names and numbers that come twice.
    """
    names = ["learning_rate", *(k for k, v in options.items() if isinstance(v, float))]
    found: dict[str, tuple[float, ...]] = {}
    for part in text.split():
        name, _, words = part.partition("=")
        values = tuple(number for word in words.split(",") if (number := read_number(word)) is not None)
        wanted = ""
        if name not in names or len(values) < len(words.split(",")):
            wanted = f"'<name>=<number>,<number> ...' with names among {', '.join(names)}"
        elif name in found or len(set(values)) < len(values):
            wanted = "every name once, and every number of it once"
        if wanted:
            raise InputError(f"--config.sweep={text!r} is not accepted at {part!r}: expected {wanted}")
        found[name] = values
    return found


def rates_grid(rates: Iterable[float]) -> dict[str, tuple[float, ...]] | None:
    """The sweep over `config.rates`; None where there are none, and the learning rate is that of the config.

    Raises:
      InputError: for rates that are not above 0, or come twice.
    """
    found = tuple(rates)
    good = all(rate > 0 for rate in found) and len(set(found)) == len(found)
    check_option("--config.rates", found, lambda _: good, "numbers above 0, each once, or () for none")
    return {"learning_rate": found} if found else None


def variant(text: str, **defaults: str) -> dict[str, str]:
    """Reads `a=b,c=d` behind the colon of `--config=file.py:...`; names without a default are refused."""
    chosen = dict(defaults)
    given = set()
    for part in filter(None, (text or "").split(",")):
        name, equals, value = part.partition("=")
        if name in given:
            raise InputError(f"variant {text!r} is not accepted: it names {name} twice")
        given.add(name)
        if not equals or name not in defaults:
            raise InputError(f"variant {part!r} is not known; accepted: {', '.join(f'{n}=<name>' for n in defaults) or 'none'}")
        chosen[name] = value
    if {"method", "methods"} <= given:
        raise InputError(f"variant {text!r} is not accepted: it names one method and a table of several; expected one of the two")
    return chosen
