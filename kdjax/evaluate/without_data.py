"""What is measured of students that learn without data: themselves, and the images they learn from."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from kdjax.evaluate.agreement import relative_accuracy, top1_agreement
from kdjax.evaluate.classifier import classification
from kdjax.evaluate.fidelity import precision_recall
from kdjax.evaluate.generation import frechet_distance, kernel_distance
from kdjax.evaluate.synthetic import class_entropy, diversity, duplicates, nearest_real

REAL = 2048  # rows of the real images that synthetic ones are held against
DOUBLE = 0.01  # how far images differ in each number, at most, to count as doubles


def without_data(
    look: Callable[[Any], dict[str, Any]], inception: Callable[[np.ndarray], np.ndarray] | None = None, *, rows: bool = True
) -> Callable:
    """Makes the measure of a stage of a student, a `"teacher"` and images that are made for them.

    At every evaluation: the student's accuracy, and of synthetic images the entropy of the classes that the teacher finds
    (`class_entropy`), the distance of their statistics at the teacher's batch-norm layers (`batch_norm_distance`), the student's
    agreement with the teacher on them (`synthetic_agreement`) and their mean distance from each other in pixels (`diversity`). At
    the end also what `classification` measures, the accuracy in percent of the teacher's (`relative_accuracy`), the share of images
    that have a double (`duplicates`), their mean distance to the nearest real image (`nearest_real`), and, in the teacher's pooled
    features against real images, FID, KID, precision and recall; FID and KID in features of Inception too, where that is given
    (`inception_fid`, `inception_kid`). FID falls with the number of images, which are far fewer here than in published tables.

    Args:
      look: `state -> {"image", "logits", "student_logits"}` of synthetic images, and where there are such, the teacher's
        `"features"` and the sum `"batch_norm"` over its layers.
      inception: images `[N, H, W, C]` in [0, 1] to features `[N, D]`, or None.
      rows: whether there are real images; without them none of the measures that need some.
    """

    def measure(collect, split, final):
        measures = classification(collect, split, final) if rows else {}
        seen = collect.state(look)
        measures["class_entropy"] = _each(class_entropy, seen["logits"])
        measures["synthetic_agreement"] = 100 * np.mean(jax.vmap(top1_agreement)(seen["student_logits"], seen["logits"]), -1)
        if "batch_norm" in seen:
            measures["batch_norm_distance"] = seen["batch_norm"]
        measures["diversity"] = _each(diversity, seen["image"])
        closest = DOUBLE * np.sqrt(seen["image"][0, 0].size)
        if final:
            measures["duplicates"] = _each(lambda x: 100 * duplicates(x, tolerance=closest), seen["image"])
        if not (final and rows):
            return measures
        outputs, columns = collect(split, "logits", "pooled", given=True, columns=("image",))
        teacher, images = outputs["teacher"], seen["image"]
        right = 100 * np.mean(np.argmax(teacher["logits"], -1) == columns["label"], -1)
        measures["relative_accuracy"] = np.asarray(relative_accuracy(measures["accuracy"], right))
        real = columns["image"][:REAL]
        real = real / 255 if real.dtype == np.uint8 else real
        if real.shape[1:] == images.shape[2:]:
            measures["nearest_real"] = _each(lambda x: nearest_real(x, real)[0].mean(), images)
        if "features" in seen:
            measures |= _of_members(_likeness(*both) for both in zip(seen["features"], teacher["pooled"][:, :REAL], strict=True))
        if inception is not None:
            reference = inception(real)
            found = _of_members(_distances(inception(one), reference) for one in images)
            measures |= {f"inception_{name}": values for name, values in found.items()}
        return measures

    return measure


def _likeness(features, reference):
    balls = precision_recall(features, reference)
    return _distances(features, reference) | {"precision": 100 * balls.precision, "recall": 100 * balls.recall}


def _distances(features, reference):
    return {"fid": frechet_distance(features, reference), "kid": kernel_distance(features, reference)}


def _of_members(found):
    found = list(found)
    return {name: np.array([one[name] for one in found]) for name in found[0]}


def _each(f: Callable, arrays: Any) -> np.ndarray:
    return np.array([float(f(x)) for x in np.asarray(arrays)])
