"""Runs an experiment: teacher, students, numbers, plots.

    python launch/main.py --config=configs/quickstart.py --workdir=runs/quickstart --config.seeds=3

The same command again resumes; a finished run prints its summary.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kdjax.core.paths import user_path
from launch.run import cli, distributed
from launch.run.caches import use_caches

USAGE = """python launch/main.py [--config=<file.py>[:<variant>]] [--workdir=<dir>] [--config.<field>=<value> ...]

  --config=<file.py>[:<variant>]  the experiment; default configs/quickstart.py. A variant
                                  picks code, such as quickstart.py:student=resnet8,teacher=resnet20.
  --workdir=<dir>                 where the run is kept; default runs/<config name>. The same command resumes.
  --config.<field>=<value>        overrides one field; --help shows all fields of the chosen config.
  --distributed                   this is one of several processes started by SLURM, Open MPI, Kubernetes or on a TPU pod.
  --coordinator=<host:port> --processes=<n> --process=<i>
                                  the same, told by hand: process 0 listens at host:port. All share the workdir.
  --list                          methods, nets, data sources, optimisers, augmentations, configs.
  --help                          this text.

Finished stages and compiled programs are kept for other runs in $KDJAX_CACHE, or ~/.cache/kdjax."""


def main() -> None:
    parser = cli.Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", default=str(cli.ROOT / "configs" / "quickstart.py"))
    parser.add_argument("--workdir")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--help", "-h", action="store_true")
    distributed.add_flags(parser)
    args, overrides = parser.parse_known_args()
    if args.list:
        return print(_listed())
    path, variant = cli.config_place(args.config)
    module, config = cli.read_config(args.config, overrides)
    if args.help:
        return print("\n\n".join([USAGE, (module.__doc__ or "").strip(), f"Fields of {Path(path).name}:\n{_fields(config)}"]))
    if args.workdir == "":
        raise cli.InputError("--workdir='' is not accepted: expected a folder, which is made if it is not there")
    use_caches()
    with distributed.joined(args):
        from launch.run.experiment import run

        name = Path(path).stem
        default = f"runs/{name}" + (f"-{variant.replace(',', '-')}" if variant else "")
        source = {"file": name + ".py", "variant": variant}
        run(module.build, config, user_path(args.workdir or default), path=path, source=source)


def _fields(config) -> str:
    from launch.run.checks import accepted, fields

    rows = [(f"  --config.{path}={value}", accepted(path)) for path, value in fields(config)]
    width = max(len(shown) for shown, _ in rows)
    return "\n".join(f"{shown.ljust(width)}  {takes}".rstrip() for shown, takes in rows)


def _listed() -> str:
    from configs import data_free, mutual, offline, self_distil, ssl
    from kdjax import methods, models
    from kdjax.data.load import FORMS
    from kdjax.experiment.data import AUGMENTATIONS
    from kdjax.experiment.words import WORDS
    from kdjax.train.optimiser import OPTIMISERS

    configs = sorted((cli.ROOT / "configs").glob("[!_]*.py"))
    rows = {
        "methods": methods.__all__,
        "methods of teacher and student, `method=`": offline.METHODS,
        "methods of one network, `method=` of configs/self_distil.py": self_distil.METHODS,
        "methods of peers, `method=` of configs/mutual.py": mutual.METHODS,
        "words beside any of these three, `method=kd+cutmix`": WORDS,
        "methods without labels, `method=` of configs/ssl.py": ssl.METHODS,
        "methods without data, `method=` of configs/data_free.py": data_free.METHODS,
        "nets": models.NETS,
        "data sources": FORMS,
        "optimisers": OPTIMISERS,
        "augmentations": AUGMENTATIONS,
        "configs": [f"configs/{p.name}" for p in configs],
    }
    return "\n".join(f"{title}: {', '.join(names)}" for title, names in rows.items())


if __name__ == "__main__":
    cli.run(main)
