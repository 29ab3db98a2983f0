"""ImageNet: a ResNet-50 teaches a ResNet-18 or a MobileNetV2, at 224 x 224.

    python launch/main.py --config=configs/imagenet_kd.py:student=resnet18 --workdir=runs/imagenet \\
        --config.data.dir=/data/tfds --config.teacher=resnet50.safetensors

The images: `tfds:imagenet2012`, `folder:<dir>` with `train/<class>` and `test/<class>`, or the `array_record:<dir>` that
launch/pack.py makes of either, which is read fastest. The shorter side is resized to 256 and the centre cut out on the host;
training sees random resized crops of 224 and flips, evaluation the central 224. The budget is the usual one: 100 epochs, batch
256, SGD 0.1, divided by ten at epochs 30, 60 and 90, weight decay 1e-4, results of the last epoch (torchvision's student alone:
69.76). A teacher of torchvision or timm spares its training; images are normalised for it as `teacher_mean` and `teacher_std` say.
"""

from ml_collections import ConfigDict

from configs.offline import METHODS, build
from kdjax.experiment import sections
from kdjax.experiment.entry import method_section

__all__ = ["METHODS", "build", "get_config"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PUBLISHED = {  # where the papers' ImageNet runs differ from their CIFAR-100 ones
    "kd": {"temperature": 1.0, "label_weight": 1.0, "weight": 1.0},
    "dkd": {"beta": 0.5, "temperature": 1.0, "warmup_epochs": 1},
    "dist": {"temperature": 1.0},
}


def get_config(variant: str = "") -> ConfigDict:
    chosen = sections.variant(variant, method="kd", student="resnet18", teacher="resnet50")
    sgd = sections.sgd_section(0.1, kind="steps", drops=(30 / 100, 60 / 100, 90 / 100), weight_decay=1e-4)
    data = sections.data_section(
        "tfds:imagenet2012", batch=256, val_fraction=0.0, augmentation="imagenet", image_size=256, crop=224
    )
    return ConfigDict(
        {
            **sections.run_section(seeds=1, evaluate_epochs=1, save_epochs=1),
            "precision": "bfloat16",
            "data": data,
            **sections.students_section(),
            **sections.teacher_section(MEAN, STD),
            **sections.teachers_section(),
            "cache": sections.cache_section(),
            "teacher_training": sections.training_section(chosen["teacher"], stem="imagenet", patch=16, epochs=100, optimiser=sgd),
            "student_training": sections.training_section(chosen["student"], stem="imagenet", patch=16, epochs=100, optimiser=sgd),
            "method": method_section(chosen["method"], METHODS, **PUBLISHED.get(chosen["method"], {})),
        }
    )
