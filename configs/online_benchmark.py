"""The table of online distillation: peers by each method, beside as many that learn alone, their ensemble, and one network.

    python launch/main.py --config=configs/online_benchmark.py --workdir=runs/online --config.data.dir=~/tensorflow_datasets
    python launch/main.py --config=configs/online_benchmark.py:methods=independent/dml/one --config.peers=4 --workdir=runs/four

`methods=` takes names between slashes; by default all of `configs/mutual.py`. All have `--config.peers` peers, the same images and
steps, and choose their learning rate by validation images, as the network alone does (`sweep`, `baseline_rates`). The first peer is
the one that is shipped, and is held against the network alone; the mean over peers and their ensemble against those of peers that
do not imitate (`independent`), which cost as much. Branches share what lies in front of the last stage, and so cost less; a step of
`hssakd` sees each image in four rotations.

The default is for two cores: 2,000 images of Fashion-MNIST at half their side, which a net of these widths comes to know by heart.
"""

from ml_collections import ConfigDict

from configs import mutual
from configs.mutual import EPOCHS, METHODS, build
from kdjax.experiment import sections

__all__ = ["METHODS", "build", "get_config"]


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, methods="/".join(METHODS), student="conv_net")
    config = mutual.get_config(f"methods={chosen['methods']},student={chosen['student']}")
    data = sections.data_section("tfds:fashion_mnist", batch=64, val_fraction=0.1, image_size=14)
    config.data = ConfigDict({**data, "train_images": 2000})
    config.peers = 3
    config.sweep = "learning_rate=" + ",".join(map(str, sections.rates_for(chosen["student"], 0.05, 0.2, 0.8)))
    config.student_training = ConfigDict(
        sections.training_section(chosen["student"], widths=(16, 32, 64), epochs=EPOCHS, optimiser=sections.sgd_section(0.2))
    )
    return config
