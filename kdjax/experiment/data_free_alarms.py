"""What is told of a student without data that is lost, and when its training stops."""

import math

from kdjax.data import Dataset
from kdjax.evaluate.measure import Alarm
from kdjax.experiment.config import Config

COLLAPSE = 0.5  # of the entropy of equally many images of each class


def data_free_alarms(stop: Config, dataset: Dataset, *, begin: int, steps: int) -> tuple[Alarm, ...]:
    """The alarms of a stage: images of few classes, with which it goes on, and what `config.stop` stops it for.

    It stops for images of one class, for images that are all the same, and for a student whose accuracy is not
    `stop.accuracy` standard errors above that of a guess, `1 / classes`: `sqrt(guess (1 - guess) / test images)`.

    Args:
      stop: the section, as `sections.stop_section` has it.
      dataset: whose classes, shape and number of test images count.
      begin: the step from which on the student learns.
      steps: of the stage.
    """
    most, guess = math.log(dataset.classes), 1 / dataset.classes
    tests, pixels = dataset.test.size, math.prod(dataset.shape)
    error = math.sqrt(guess * (1 - guess) / tests) if tests else 0.0  # then no accuracy is measured
    images = "lower --config.generator.optimiser.learning_rate or weigh the method's terms otherwise"
    ends = {
        "class_entropy": (stop.class_entropy * most, f"the images made are of one class; {images}"),
        "diversity": (stop.diversity * math.sqrt(pixels), f"the images made are all the same; {images}"),
        "accuracy": (100 * (guess + stop.accuracy * error), "the student guesses; try another learning rate"),
    }
    after = begin + round(stop.after * (steps - begin))
    found = [Alarm("class_entropy", COLLAPSE * most, "the images made are of few classes")]
    for name, (least, meaning) in ends.items():
        if stop[name]:
            found.append(Alarm(name, least, f"{meaning}, or go on with --config.stop.{name}=0", after))
    return tuple(found)
