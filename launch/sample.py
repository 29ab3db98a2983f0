"""Draws images from a trained generator, or shows those that a run without one has kept.

python launch/sample.py runs/digits_datafree --count=64 --out=images.png
python launch/sample.py runs/cgdd --class=3 --out=threes/
python launch/sample.py runs/cgdd --interpolate=9 --out=way.png
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import jax.numpy as jnp
import numpy as np

from kdjax import load, models
from kdjax.core import InputError, Net, check_memory, nearest
from kdjax.core.paths import user_path
from kdjax.models.latents import spherical
from kdjax.train.load import read_samples, specifications
from kdjax.train.teacher import read_teacher
from launch.run import cli
from launch.table.image_output import check_output, output_of, write

USAGE = """python launch/sample.py <run> [--stage=<name>] [--network=<name>] [--seed=<number>] [--count=<number>] [--class=<number>]
                        [--interpolate=<steps>] [--out=<file.png>|<file.npz>|<folder>/]

  <run>                  a folder that launch/main.py wrote, or a generator's file in its export/.
  --stage=<name>         which stage of the run; default the last. Of a stage that makes images without a generator those are
                         shown that it has kept.
  --network=<name>       which network of the stage; default its first generator.
  --seed=<number>        which of its seeds, from 0; default 0.
  --count=<number>       images, drawn with a fixed key: the first ones stay when there are more. Default 64. A generator that
                         knows classes is asked for each in turn.
  --class=<number>       the one class that such a generator is asked for, from 0.
  --interpolate=<steps>  in each row so many images on the way from one latent to another, along the sphere; --count is then
                         that of the rows, default 8, which are of a class each where the generator knows classes.
  --out=<file.png>       the images on a square grid, or with a row a class, as many as fill it; default images.png.
  --out=<file.npz>       arrays that --config.data.source=npz:<file.npz> reads. Where all classes are asked for they have labels,
                         and a fifth of them is to test.
  --out=<folder>/        a PNG an image, in folders by class where classes are asked for; written whole or not at all.
"""
BLOCK = 256  # images at a time


class Maker(NamedTuple):
    """A trained generator, and what it is made from."""

    net: Net
    params: Any
    stats: Any
    specification: dict

    @property
    def classes(self) -> int | None:
        """That it knows; None where it takes latents alone."""
        return self.specification.get("classes")


def main() -> None:
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("run", nargs="?")
    for name in ("--stage", "--network", "--seed", "--count", "--class", "--interpolate"):
        parser.add_argument(name)
    parser.add_argument("--out", default="images.png")
    parser.add_argument("--help", "-h", action="store_true")
    args = parser.parse_intermixed_args()
    if args.help:
        return print(USAGE)
    if not args.run:
        raise InputError("expected a run's folder; --help tells more")
    run, output = user_path(args.run), output_of(args.out)
    for name in ("stage", "network", "seed"):
        if run.is_file() and getattr(args, name) is not None:
            raise InputError(f"--{name} is not accepted: {args.run} holds one network")
    seed = cli.whole("--seed", args.seed or "0", 0)
    steps = None if args.interpolate is None else cli.whole("--interpolate", args.interpolate, 2)
    count = cli.whole("--count", args.count or ("64" if steps is None else "8"), 1)
    maker = _from_file(run) if run.is_file() else _from_run(run, args.stage, args.network, seed)
    if maker is None:
        images = _kept(run, args, count)
        check_output(output, len(images), images.shape[-1], None)
        return cli.tell(f"{write(output, images)}, kept by the run, written to {args.out}")
    asked = getattr(args, "class")
    if asked is not None and maker.classes is None:
        raise InputError(f"--class={asked} is not accepted: the generator knows no classes")
    one = None if asked is None else cli.whole("--class", asked, 0, (maker.classes or 1) - 1)
    total = count * (steps or 1)
    rows = np.arange(total) // (steps or 1)
    labels = None if not maker.classes else rows % maker.classes if one is None else np.full(total, one)
    *_, channels = _shape(maker)
    check_output(output, total, channels, maker.classes if one is None else None)
    images = draw(*maker, total, labels, steps)
    if output.form == "npz" and one is not None:
        labels = None  # as labels, those of one class alone would tell of others that have no images
    if steps or output.form != "png" or labels is None:
        told = write(output, images, labels, count if steps else None)
    else:
        told = write(output, *_by_class(images, labels))
    cli.tell(f"{told} written to {args.out}")


def draw(
    net: Net, params: Any, stats: Any, specification: dict, count: int, labels: np.ndarray | None = None, steps: int | None = None
) -> np.ndarray:
    """Images `[count, H, W, C]` of a generator; image i depends on i alone, and on its label.

    Args:
      net: the generator.
      params: of the net.
      stats: of the net.
      specification: that the net is made from.
      count: of the images; a multiple of `steps`.
      labels: `[count]`, of a generator that knows classes.
      steps: images on the way from one latent to the next but one; None: each has a latent of its own.
    """
    shape = _shape(Maker(net, params, stats, specification))
    check_memory(f"{count} images of {shape[0]}x{shape[1]} pixels", 8 * count * int(np.prod(shape)), "a smaller --count")
    (length,) = models.input_shape(specification, ())

    @jax.jit
    def make(rows, label):
        z = jax.vmap(lambda i: _latent(i, length))(rows)
        if steps:
            row, step = jnp.divmod(rows, steps)
            first, second = (jax.vmap(lambda i: _latent(i, length))(2 * row + end) for end in (0, 1))
            z = spherical(first, second, (step / (steps - 1))[:, None])
        asked = z if labels is None else {"latent": z, "label": label}
        return net.apply(params, stats, asked, train=False)[0]["image"]

    block, images = min(BLOCK, count), np.empty((count, *shape), np.float32)
    for start in range(0, count, block):
        rows = np.arange(start, start + block, dtype=np.int32)  # of the last block some too many: one program serves all
        label = np.zeros(block, np.int32) if labels is None else np.resize(labels[start : start + block], block)
        images[start : start + block] = np.asarray(make(rows, label.astype(np.int32)))[: count - start]
    return images


def _latent(number: Any, length: int) -> jax.Array:
    return jax.random.normal(jax.random.fold_in(jax.random.key(0), number), (length,))


def _shape(maker: Maker) -> tuple[int, ...]:
    """Of one image."""
    z = jax.ShapeDtypeStruct((1, *models.input_shape(maker.specification, ())), np.float32)
    asked = {"latent": z, "label": jax.ShapeDtypeStruct((1,), np.int32)} if maker.classes else z
    apply = lambda x: maker.net.apply(maker.params, maker.stats, x, train=False)[0]["image"]  # noqa: E731
    return jax.eval_shape(apply, asked).shape[1:]


def _by_class(images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, None, int | None]:
    """The images of a grid with a row a class, where each has as many; without labels, and how many rows there are."""
    rows = len(np.unique(labels))
    if rows == 1:
        return images, None, None
    return np.concatenate([images[labels == label][: len(images) // rows] for label in np.unique(labels)]), None, rows


def _from_file(file: Path) -> Maker:
    found = read_teacher(file, {}, (1, 1, 1))
    if not models.is_generator(found.specification):
        raise InputError(f"{file} holds no generator: {_others({'network': found.specification})}")
    return Maker(found.net, found.params, found.stats, found.specification)


def _from_run(run: Path, stage: str | None, network: str | None, seed: int) -> Maker | None:
    """A generator of a run; None where the stage has none, but has kept images."""
    nets = specifications(run, stage)
    generators = [name for name, one in nets.items() if models.is_generator(one)]
    if not generators:
        if read_samples(run, stage) is not None:
            return None
        raise InputError(f"{run} holds no generator in its {f'stage {stage!r}' if stage else 'last stage'}: {_others(nets)}")
    if network is not None and network not in generators:
        raise InputError(f"--network={network} is not accepted: expected one of {nearest(network, generators)}")
    name = network or generators[0]
    try:
        net, params, stats = load(run, stage, network=name, member_number=seed)
    except InputError as error:
        raise InputError(str(error).replace("member_number", "--seed")) from None
    return Maker(net, params, stats, nets[name])


def _kept(run: Path, args: Any, count: int) -> np.ndarray:
    """The images that a stage without a generator has kept."""
    images = np.asarray(read_samples(run, args.stage))
    for name in ("network", "class", "interpolate"):
        if (given := getattr(args, name)) is not None:
            raise InputError(f"--{name}={given} is not accepted: {run} holds no generator, only {len(images)} images that it kept")
    if args.seed not in (None, "0"):
        raise InputError(f"--seed={args.seed} is not accepted: {run} holds no generator, only images of seed 0")
    if args.count is not None and count > len(images):
        raise InputError(f"--count={count} is not accepted: {run} holds no generator, only {len(images)} images that it kept")
    return images[:count]


def _others(nets: dict[str, dict]) -> str:
    return "it holds " + (", ".join(f"{name} ({one.get('name')})" for name, one in nets.items()) or "networks of another make")


if __name__ == "__main__":
    cli.run(main)
