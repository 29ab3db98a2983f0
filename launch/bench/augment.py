"""Images a second of each augmentation and of each policy of views, on the device."""

import json
import math
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import augment
from kdjax.core.check import check_option, pick
from launch.bench.table import table
from launch.run import cli

USAGE = """python launch/benchmark.py augment [--shape=<height>,<width>,<channels>] [--batch=<images>] ...

  --shape=<numbers>      of the images; default 32,32,3. Those of 1 channel have affine views, of 3 crops and colours, others
                         those of many bands.
  --batch=<images>       images a batch; default 256.
  --policies=<names>     between commas; default all of them.
  --repeats=<number>     how often each one is measured; default 5.
  --json                 a line of JSON for each policy in place of the table.

Each number is the median over the repeats, in which the policies take turns, compiled before.
"""
Policy = Callable[[jax.Array, dict], dict]


class Speed(NamedTuple):
    """How fast a policy is.

    Attributes:
      policy: its name.
      images_per_second: of the batch, the median over the repeats.
      views_per_second: of all that it makes of them.
      parts: images a second of each repeat.
    """

    policy: str
    images_per_second: float
    views_per_second: float
    parts: list[float]


def main(words: Sequence[str]) -> None:
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--shape", default="32,32,3")
    parser.add_argument("--batch", default="256")
    parser.add_argument("--policies", default="")
    parser.add_argument("--repeats", default="5")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--help", "-h", action="store_true")
    args = parser.parse_args(words)
    if args.help:
        return print(USAGE)
    shape = tuple(cli.whole("--shape", x, 1) for x in args.shape.split(","))
    check_option("--shape", args.shape, lambda _: len(shape) == 3 and min(shape[:2]) >= 4, "height,width,channels, from 4,4,1")
    batch, repeats = cli.whole("--batch", args.batch, 1), cli.whole("--repeats", args.repeats, 1)
    found = policies(shape)
    chosen = {name: pick("policy", name, found) for name in (args.policies.split(",") if args.policies else found)}
    told = {"shape": list(shape), "batch": batch, "cores": os.cpu_count(), "device": jax.default_backend()}
    if not args.json:
        side = "x".join(map(str, shape))
        cli.tell(f"images {side}; batch {batch}; {os.cpu_count()} cores, {jax.default_backend()}")
    speeds = measure(chosen, shape, batch, repeats)
    for speed in speeds if args.json else ():
        print(json.dumps({**speed._asdict(), **told}), flush=True)
    if not args.json:
        lines = [[s.policy, f"{s.images_per_second:,.0f}", f"{s.views_per_second:,.0f}"] for s in speeds]
        print(table([["policy", "images/s", "views/s"], *lines]))


def policies(shape: tuple[int, ...]) -> dict[str, Policy]:
    """Every policy for images of a shape by its name."""
    side, small = (shape[0], shape[1]), max(min(shape[:2]) * 3 // 7, 1)
    crop_flip = augment.per_image(augment.pad_crop, augment.flip)
    if shape[-1] == 1:
        pair = augment.grey_views()
        local = augment.compose(pair[0], lambda key, image: augment.random_resized_crop(key, image, size=small, area=(0.3, 0.6)))
        weak = augment.grey_views(rotation=0.1, shear=0.1)[0]
    else:
        made = augment.byol_views if shape[-1] == 3 else augment.band_views
        pair, local = made(side), made(small, area=(0.05, 0.14))[0]
        weak = augment.crop_flip_view(side)
    return {
        "crop and flip": crop_flip,
        "one view": augment.per_image(pair[0]),
        "two views": augment.views(*pair),
        "strong and weak": augment.views(pair[0], weak),
        "multi-crop 2 + 6": augment.views(*augment.multi_crop(pair, local, 6)),
    }


def measure(chosen: dict[str, Policy], shape: tuple[int, ...], batch: int, repeats: int) -> list[Speed]:
    """Times compiled policies, one after the other in each repeat."""
    images = jnp.asarray(np.random.default_rng(0).integers(0, 256, (batch, *shape), np.uint8))
    keys = jax.random.split(jax.random.key(0), batch)
    runs: dict[str, Any] = {name: jax.jit(policy) for name, policy in chosen.items()}
    views = {name: len(jax.block_until_ready(run(keys, {"image": images})).get("views", [0])) for name, run in runs.items()}
    parts: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(repeats):
        for name, run in runs.items():
            parts[name].append(batch / _seconds(lambda run=run: run(keys, {"image": images})))
    medians = {name: statistics.median(found) for name, found in parts.items()}
    return [Speed(name, medians[name], medians[name] * views[name], parts[name]) for name in chosen]


def _seconds(call: Callable[[], Any]) -> float:
    """Of one call, the mean of as many as take a tenth of a second."""
    began = time.perf_counter()
    jax.block_until_ready(call())
    count = max(1, math.ceil(0.1 / max(time.perf_counter() - began, 1e-9)))
    began = time.perf_counter()
    for _ in range(count):
        jax.block_until_ready(call())
    return (time.perf_counter() - began) / count
