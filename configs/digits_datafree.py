"""Data-free distillation on handwritten digits: the student never sees a real image.

    python launch/main.py --config=configs/digits_datafree.py --workdir=runs/digits_datafree

A generator makes images for the frozen teacher (DAFL's terms and DeepInversion's batch-norm term), and the student imitates the
teacher on them; `plots/student_images.png` shows what it saw. Expect the student within a point or two of its teacher.
"""

from functools import partial

from ml_collections import ConfigDict

from configs import _distillation as distillation
from configs import _parts as parts
from configs import _sections as sections
from kdjax import methods, models
from kdjax.core import check_option, pick
from kdjax.evaluate.classifier import classification
from kdjax.train import Stage

METHODS = {"dafl": methods.dafl}


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, student="conv_net", teacher="conv_net")
    return ConfigDict(
        {
            **sections.run_section(seeds=3),
            "data": sections.data_section("digits", batch=128, val_fraction=0.0),
            **sections.teacher_section(),
            "teacher_mean": (),  # what its images are normalised with; (): as the training images
            "teacher_std": (),
            "teacher_training": sections.training_section(
                chosen["teacher"], widths=(32, 64, 128), epochs=40, optimiser=sections.sgd_section(0.1)
            ),
            "student_training": sections.training_section(
                chosen["student"], widths=(16, 32, 64), epochs=30, optimiser=sections.sgd_section(0.1)
            ),
            "generator": {"features": 32, "optimiser": sections.adam_section(1e-3, kind="constant", b1=0.5)},
            "steps_per_epoch": 10,  # generator steps; each is followed by method.student_steps student steps
            "method": sections.method_section(
                "dafl", METHODS, one_hot=1.0, balance=5.0, activation=0.1, batch_norm=1.0, adversarial=1.0,
                temperature=4.0, latent=64,
            ),
        }
    )  # fmt: skip


def build(config: parts.Config) -> parts.Experiment:
    section = config.student_training
    name, options = parts.method_options(config.method)
    method = pick("method", name, METHODS)
    check_option("--config.student_training.micro", section.micro, lambda n: n == 1, "1: this method does not accumulate gradients")
    dataset = parts.load_data(config)
    teaching = distillation.teacher_stage(config, dataset)
    stages = dict(teaching.stages)
    specification = parts.net_specification(section.net, dataset, config)
    axis = parts.axis_name(config)
    student = models.build(specification, axis_name=axis)
    height, width, channels = dataset.shape
    generator = partial(
        models.generator, (height, width), channels=channels, features=config.generator.features,
        dtype=models.DTYPES[config.precision],
    )  # fmt: skip
    maker = generator(axis_name=axis)
    each = config.steps_per_epoch
    steps = section.epochs * each
    student_steps = options["student_steps"]
    tx = parts.make_optimiser(section.optimiser, steps * student_steps, each * student_steps)
    maker_tx = parts.make_optimiser(config.generator.optimiser, steps, each)

    def samples(state, key):
        import jax

        z = jax.random.normal(key, (64, options["latent"]))
        return generator().apply(state.generator.params, state.generator.stats, z, train=True)[0]["image"]

    stages["student"] = Stage(
        method=method(student, teaching.net, maker, tx, maker_tx, axis_name=axis, **options),
        steps=steps,
        batch=config.data.batch,
        pace=parts.pace(config, each),
        recipe={"config": parts.lasting(parts.plain(config)), "method": name},
        nets={"student": specification},
        source=None,
        evaluate=classification,
        given=teaching.given,
        members=config.seeds,
        samples=samples,
    )
    return parts.Experiment(stages, dataset, outside=teaching.outside)
