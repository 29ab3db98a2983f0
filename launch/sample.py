"""Draws images from a trained generator.

python launch/sample.py runs/digits_datafree --count=64 --out=images.png
"""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import jax
import numpy as np

from kdjax import load, models
from kdjax.core import InputError, Net, check_memory, nearest
from kdjax.core.paths import user_path
from kdjax.train.load import specifications
from kdjax.train.teacher import read_teacher
from launch.run import cli
from launch.table.images import grid

USAGE = """python launch/sample.py <run> [--stage=<name>] [--network=<name>] [--seed=<number>] [--count=<number>] [--out=<file.png>]

  <run>             a folder that launch/main.py wrote, or a generator's file in its export/.
  --stage=<name>    which stage of the run; default the last.
  --network=<name>  which network of the stage; default its first generator.
  --seed=<number>   which of its seeds, from 0; default 0.
  --count=<number>  images, drawn with a fixed key: the first ones stay when there are more. Default 64.
  --out=<file.png>  the images on a square grid, as many as fill it; default images.png.
"""


def main() -> None:
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--stage")
    parser.add_argument("--network")
    parser.add_argument("--seed")
    parser.add_argument("--count", default="64")
    parser.add_argument("--out", default="images.png")
    parser.add_argument("--help", "-h", action="store_true")
    args = parser.parse_intermixed_args()
    if args.help:
        return print(USAGE)
    if not args.run:
        raise InputError("expected a run's folder; --help tells more")
    run, out = user_path(args.run), cli.file_to_write("--out", args.out)
    if out is None or out.suffix != ".png":
        raise InputError(f"--out={args.out} is not accepted: expected the name of a file that ends in .png")
    for name in ("stage", "network", "seed"):
        if run.is_file() and getattr(args, name) is not None:
            raise InputError(f"--{name} is not accepted: {args.run} holds one network")
    seed, count = cli.whole("--seed", args.seed or "0", 0), cli.whole("--count", args.count, 1)
    if run.is_file():
        found = read_teacher(run, {}, (1, 1, 1))
        net, params, stats, specification = found.net, found.params, found.stats, found.specification
        _check(specification, run)
    else:
        net, params, stats, specification = _from_run(run, args.stage, args.network, seed)
    images = draw(net, params, stats, specification, count)
    grid(out, images)
    cli.tell(f"{int(np.sqrt(count)) ** 2} images of {' x '.join(map(str, images.shape[1:]))} written to {args.out}")


def draw(net: Net, params: Any, stats: Any, specification: dict, count: int) -> np.ndarray:
    """Images `[count, H, W, C]` in [0, 1] of a generator; image i depends on i alone."""
    (latent,) = models.input_shape(specification, ())
    make = jax.jit(lambda z: net.apply(params, stats, z, train=False)[0]["image"])
    shape = jax.eval_shape(make, jax.ShapeDtypeStruct((count, latent), np.float32)).shape
    check_memory(f"{count} images of {shape[1]}x{shape[2]} pixels", 8 * int(np.prod(shape)), "a smaller --count")
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(0), i))(np.arange(count))
    return np.asarray(make(jax.vmap(lambda key: jax.random.normal(key, (latent,)))(keys)))


def _from_run(run: Path, stage: str | None, network: str | None, seed: int) -> tuple[Net, Any, Any, dict]:
    """A generator of a run, and what it is made from."""
    nets = specifications(run, stage)
    generators = [name for name, one in nets.items() if models.generates(one)]
    if not generators:
        raise InputError(f"{run} holds no generator in its {f'stage {stage!r}' if stage else 'last stage'}: {_others(nets)}")
    if network is not None and network not in generators:
        raise InputError(f"--network={network} is not accepted: expected one of {nearest(network, generators)}")
    name = network or generators[0]
    try:
        return *load(run, stage, network=name, member_number=seed), nets[name]
    except InputError as error:
        raise InputError(str(error).replace("member_number", "--seed")) from None


def _check(specification: dict, run: Path) -> None:
    if not models.generates(specification):
        raise InputError(f"{run} holds no generator: {_others({'network': specification})}")


def _others(nets: dict[str, dict]) -> str:
    return "it holds " + (", ".join(f"{name} ({one.get('name')})" for name, one in nets.items()) or "networks of another make")


if __name__ == "__main__":
    cli.run(main)
