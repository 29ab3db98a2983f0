"""A student without its teacher's data by any data-free method, on handwritten digits.

    python launch/main.py --config=configs/data_free.py:method=dafl --workdir=runs/dafl
    python launch/main.py --config=configs/data_free.py:method=dfq,objective=dkd --workdir=runs/dfq_dkd
    python launch/main.py --config=configs/data_free.py:method=fast_dfkd --config.teacher=<file> --workdir=runs/fast

Images are made for the frozen teacher, and the student imitates the teacher on them; `plots/student_images.png` shows what it saw,
and `plots/student_frames.png` what it came from: a row at each of ten evaluations, of the same latents or of the newest in a pool.
No method reads a training image: with `--config.teacher=<file>` only the test images of `data.source` are ever looked at, by
evaluation. `objective=` takes any offline method, or a sum of some, in place of what the method asks its student for.

An epoch has `student_steps_per_epoch` steps of the student: `method.student_steps` behind each step of a generator; where a method
fills a pool, an epoch is one round of `method.synthesis_steps` and then `method.student_steps`. The defaults of the options are the
papers', but for what `FEW_PIXELS` makes smaller for digits; `setting=cifar10` takes nets, rates and epochs of published runs.
"""

from functools import partial
from typing import Any

import optax
from ml_collections import ConfigDict

from configs import offline
from configs.settings import cifar10_data_free
from kdjax import methods, models
from kdjax.core import InputError, pick
from kdjax.experiment import data_free, sections
from kdjax.experiment.entry import Entry, method_section, methods_section


def train_cgdd(c):
    """A generator that is asked for a class, which its embedding stands for."""
    make = lambda c, g: methods.cgdd(c.student, c.teacher, g, c.tx, c.image_tx, **c.options)  # noqa: E731
    return c.beside_generator(make, warm_up=c.settings["warm_up"], classes=c.classes, label="product")


def train_cmi(c):
    """A new generator in each round, and a head on what the teacher's batch norms see."""

    def make(c):
        head = models.mlp_head(256, 256, norm=False, out_bias=True)
        return methods.cmi(c.student, c.teacher, c.generator(), head, c.tx, c.image_tx, **c.options)

    return c.in_rounds(make, warm_up=c.settings["warm_up"], generator=True)


def train_deep_inversion(c, *, pixel_learning_rate=0.1):
    """Pixels in place of a generator."""

    def make(c):
        pixel_tx = c.image_tx_at(learning_rate=pixel_learning_rate, b2=0.99)
        return methods.deep_inversion(c.student, c.teacher, c.tx, pixel_tx, **c.options)

    return c.in_rounds(make)


def train_fast_dfkd(c, *, latent_learning_rate=0.01):
    """One generator for all rounds, whose rate is that of its copy times the steps of a round."""

    def make(c):
        rate = c.config.generator.optimiser.learning_rate
        latent_tx = c.image_tx_at(learning_rate=latent_learning_rate)
        meta_tx = c.image_tx_at(learning_rate=rate * c.settings["synthesis_steps"])
        return methods.fast_dfkd(c.student, c.teacher, c.generator(), c.tx, c.image_tx, latent_tx, meta_tx, **c.options)

    return c.in_rounds(make, warm_up=c.settings["warm_up"], generator=True)


def train_mad(c):
    """A generator beside its moving average; a conditional one adds the embedding of a class to the latents."""
    asked = {"classes": c.classes, "label": "sum"} if c.settings["conditional"] else {}
    make = lambda c, g: methods.mad(c.student, c.teacher, g, c.tx, c.image_tx, **c.options)  # noqa: E731
    return c.beside_generator(make, average=True, warm_up=c.settings["warm_up"], **asked)


def train_zskt(c):
    """Both gradients are clipped."""

    def make(c, g):
        clipped = [optax.chain(optax.clip_by_global_norm(5.0), tx) for tx in (c.tx, c.image_tx)]
        return methods.zskt(c.student, c.teacher, g, *clipped, **c.options)

    return c.beside_generator(make)


def train(method):
    """One generator beside one student."""
    return lambda c: c.beside_generator(lambda c, g: method(c.student, c.teacher, g, c.tx, c.image_tx, **c.options))


METHODS = {
    "abm": Entry(partial(methods.mad, replay_weight=0.0), stages=train_mad),
    "adi": Entry(partial(methods.deep_inversion, adversarial=1.0), stages=train_deep_inversion),
    "cgdd": Entry(methods.cgdd, stages=train_cgdd),
    "cmi": Entry(methods.cmi, stages=train_cmi),
    "cudfkd": Entry(methods.cudfkd, stages=train(methods.cudfkd)),
    "dafl": Entry(methods.dafl, stages=train(methods.dafl)),
    "deep_inversion": Entry(methods.deep_inversion, stages=train_deep_inversion),
    "dfad": Entry(methods.dfad, stages=train(methods.dfad)),
    "dfq": Entry(methods.dfq, stages=train(methods.dfq)),
    "fast_dfkd": Entry(methods.fast_dfkd, stages=train_fast_dfkd),
    "mad": Entry(methods.mad, stages=train_mad),
    "zskt": Entry(methods.zskt, stages=train_zskt),
}

_POOL = {"student_steps": 50, "pool": 4096, "padding": 1}
_INVERSION = {"synthesis_steps": 100, "roll": 1, "mirror": False, **_POOL}
# Of the options, what is smaller on digits than in the papers.
FEW_PIXELS = {
    "abm": {"latent": 64},
    "adi": _INVERSION,
    "cgdd": {"latent": 64},
    "cmi": {"synthesis_steps": 50, "latent": 64, "bank": 2048, "cached": 512, **_POOL},
    "cudfkd": {"latent": 64},
    "deep_inversion": _INVERSION,
    "dfad": {"latent": 64},
    "dfq": {"latent": 64},
    "fast_dfkd": {"latent": 64, "warm_up": 4, "reset": 20, **_POOL},
    "mad": {"latent": 64},
    "zskt": {"latent": 64},
}
SMALL = {
    "data": {"source": "digits"}, "batch": 128, "teacher": "conv_net", "teacher_net": {"widths": (32, 64, 128)},
    "student": "conv_net", "net": {"widths": (16, 32, 64)}, "epochs": 30, "teacher_epochs": 40, "seeds": 3,
    "optimiser": sections.sgd_section(0.1), "generator": cifar10_data_free.generator(features=32), "student_steps_per_epoch": 50,
}  # fmt: skip
PUBLISHED = {"cifar10": cifar10_data_free}


def setting_of(method: str, name: str) -> dict[str, Any]:
    """How a student is trained by a method: as published where a setting has a name."""
    if not name:
        return {**SMALL, "method": FEW_PIXELS.get(method, {})}
    known = pick("setting", name, PUBLISHED)
    if method not in known.SETTINGS:
        pick("method", method, METHODS)
        raise InputError(f"setting={name} has no published values of {method}; it has those of {', '.join(known.SETTINGS)}")
    return {**SMALL, **known.COMMON, **known.SETTINGS[method]}


def get_config(variant: str = "", *, names: tuple[str, ...] = (), **options: Any) -> ConfigDict:
    """One method, `method=`, with other defaults of its options; or where there are `names` a table of them, `methods=`."""
    kind = {"methods": "/".join(names)} if names else {"method": "dafl", "setting": ""}
    chosen = sections.variant(variant, **kind, student="", teacher="", objective="")
    wanted, name = tuple(chosen[next(iter(kind))].split("/")), chosen.get("setting", "")
    told = setting_of(wanted[0], name) if not names else setting_of("", "")
    found = methods_section(wanted, METHODS, options=FEW_PIXELS if names else {wanted[0]: {**told["method"], **options}})
    often = told["student_steps_per_epoch"]
    teacher, student = chosen["teacher"] or told["teacher"], chosen["student"] or told["student"]
    return ConfigDict(
        {
            **sections.run_section(seeds=told["seeds"]),
            "data": sections.data_section(**told["data"], batch=told["batch"], val_fraction=0.0),
            **sections.teacher_section(),
            **sections.teachers_section(),
            "inception": "",  # a file of the weights in whose features FID and KID are published: pytorch-fid's
            "teacher_training": sections.training_section(
                teacher, epochs=told["teacher_epochs"], optimiser=sections.sgd_section(0.1), **told["teacher_net"]
            ),
            "student_training": sections.training_section(
                student, epochs=told["epochs"], optimiser=told["optimiser"], **told["net"]
            ),
            "generator": told["generator"],  # widths: (), those that features gives
            # Of a method with a generator, whose steps are as many fewer; an epoch of rounds is a round of method.student_steps.
            "student_steps_per_epoch": often,
            "objective": objective_section(chosen["objective"]),
            "stop": sections.stop_section(),
            **({"methods": found} if names else {"method": next(iter(found.values()))}),
        }
    )


def objective_section(name: str) -> dict:
    """What a student is asked for: `""`, what its method asks for; or an offline method, or a sum of some, with their options."""
    return {"label_weight": 0.0, **(method_section(name, offline.METHODS, label_weight=0.0) if name else {"name": ""})}


build = partial(data_free.build, table=METHODS, objectives=offline.METHODS)
