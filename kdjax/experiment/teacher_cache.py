"""From the section `cache` to what a stage is told: whose outputs are computed once, for which images."""

from kdjax import data
from kdjax.core import InputError, Net
from kdjax.core.files import check_folder
from kdjax.core.paths import user_path
from kdjax.experiment.config import Config
from kdjax.train.teacher_cache.spec import TeacherCache, check_teacher_cache


def teacher_cache(
    config: Config, dataset: data.Dataset, teacher: Net, specification: dict, *, also: str = ""
) -> TeacherCache | None:
    """What is kept of a teacher's outputs; None where the section is missing or its views are 0.

    Args:
      config: the whole config.
      dataset: its data.
      teacher: the net.
      specification: what it is built from, normalisation and precision included.
      also: what is drawn for each image beside the augmentation of the data section, in words.
    """
    section, images = config.get("cache"), config.data
    if not section or not section.views:
        return None
    if section.dir:
        try:
            check_folder(user_path(section.dir))
        except OSError as error:
            raise InputError(
                f"--config.cache.dir={section.dir} cannot be written ({error.strerror}): expected a folder, or a place for one"
            ) from None
    drawn = images.augment != "none" or bool(also)
    if drawn and config.seeds_share == "none" and config.seeds > 1:
        what = "every seed draws its own augmentation, so that none could use the teacher's outputs of another"
        raise InputError(
            f"--config.cache.views={section.views} is not accepted with --config.seeds_share='none': {what}; expected 'batch', or "
            "--config.data.augment='none'"
        )
    about = {
        "image_size": images.image_size, "crop": images.crop, "train_images": images.train_images,
        **({"exif_orientation": True} if dataset.exif_orientation else {}),
        "augmentation": " ".join(filter(None, (images.augment, also))), "val_fraction": images.val_fraction,
        "split_seed": images.seed if images.val_fraction else 0, **{f"net.{name}": value for name, value in specification.items()},
    }  # fmt: skip
    found = TeacherCache(
        teacher, section.views, tuple(section.taps), section.top, dataset.classes, section.dtype, section.dir, drawn, about
    )
    try:
        check_teacher_cache(found)
    except InputError as error:
        raise InputError(f"--config.cache.{error}") from None
    return found
