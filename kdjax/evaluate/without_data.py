"""What is measured of students that learn without data: themselves, and the images they learn from."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from kdjax.evaluate.agreement import top1_agreement
from kdjax.evaluate.classifier import classification
from kdjax.evaluate.generation import class_entropy, duplicates, frechet_distance, kernel_distance

REAL = 2048  # rows of the real images that synthetic ones are held against


def without_data(look: Callable[[Any], dict[str, Any]]) -> Callable:
    """Makes the measure of a stage of a student, a `"teacher"` and images that are made for them.

    At every evaluation: the student's accuracy, and of synthetic images the entropy of the classes that the teacher finds, in
    percent of that of equally many of each (`class_entropy`), the distance of their statistics at the teacher's batch-norm layers
    (`batch_norm_distance`) and the student's agreement with the teacher on them (`synthetic_agreement`). At the end also what
    `classification` measures, the accuracy in percent of the teacher's (`relative_accuracy`), the share of images that have a
    double (`duplicates`), and, against real images in the teacher's pooled features, FID, KID, precision and recall.

    Args:
      look: `state -> {"image", "logits", "student_logits"}` of synthetic images, and where there are such, the teacher's
        `"features"` and the sum `"batch_norm"` over its layers.
    """

    def measure(collect, split, final):
        measures = classification(collect, split, final)
        seen = collect.state(look)
        measures["class_entropy"] = _each(lambda z: 100 * class_entropy(np.argmax(z, -1), z.shape[-1]), seen["logits"])
        measures["synthetic_agreement"] = 100 * np.mean(jax.vmap(top1_agreement)(seen["student_logits"], seen["logits"]), -1)
        if "batch_norm" in seen:
            measures["batch_norm_distance"] = seen["batch_norm"]
        if not final:
            return measures
        outputs, columns = collect(split, "logits", "pooled", given=True)
        teacher = outputs["teacher"]
        right = np.mean(np.argmax(teacher["logits"], -1) == columns["label"], -1)
        measures["relative_accuracy"] = measures["accuracy"] / np.maximum(right, 1e-9)
        measures["duplicates"] = _each(lambda x: 100 * duplicates(x.reshape(len(x), -1)), seen["image"])
        if "features" in seen:
            for name, f in REALISM.items():
                both = zip(seen["features"], teacher["pooled"][:, :REAL], strict=True)
                measures[name] = np.array([f(made, real) for made, real in both])
        return measures

    return measure


REALISM = {
    "fid": frechet_distance,
    "kid": kernel_distance,
}


def _each(f: Callable, arrays: Any) -> np.ndarray:
    return np.array([f(x) for x in np.asarray(arrays)])
