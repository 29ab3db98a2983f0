"""Which settings two runs must share to stand in one column, and how a protocol is told in words."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from launch.run.checks import fields
from launch.run.workdir import PLACES
from launch.table.measures import best_step, score_of

# What a comparison may be about (the method, its optimiser, its tuning), which seeds there are, and what changes results by
# rounding at most (both readers see the same rows in the same order, and a normalisation measured by one rule). Every other field
# of a config is protocol; so is the teacher, by its weights, and the data, by their bytes.
_FREE = {
    *PLACES, "seed", "seeds", "members", "evaluate_epochs", "save_epochs", "baseline_rates", "smoothing", "sweep",
    "test_curve", "teacher", "init", "data.source", "data.reader", "data.corrupt", "data.exif_orientation",
}  # fmt: skip
TURNED = "images turned as their EXIF orientation says"
TRAINED = "trained in the run with all labels"
_FREE_SECTIONS = {"method", "methods", "optimiser"}
_COUNTS = ("train_images", "validation_images", "test_images")


def protocol_of(about: Mapping[str, Any], summary: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a run that must not differ in a column, by the names of their flags.

    Args:
      about: its config.json; `{}` where a run of an older version has none.
      summary: its summary.json.
    """
    config, told = dict(fields(about.get("config", {}))), summary.get("protocol", {})
    scored = ("evaluate_epochs", "save_epochs") if config.get("select") == "best" else ()  # the epochs to choose from
    found: dict[str, Any] = {"data": data_of(about, summary)}
    if turned(about):
        found["exif_orientation"] = True  # whether by the field of that name or when the set was packed
    if not config:
        return found | dict(told)
    if teacher := _teacher(about, config):
        found["teacher"] = teacher
    if starts := _starts(about):
        found["init"] = starts
    for path, value in config.items():
        trained_elsewhere = config.get("teacher") and path.startswith("teacher_training.")
        nothing_kept = path.startswith("cache.") and not config.get("cache.views")
        if (not _is_free(path) or path in scored) and not trained_elsewhere and not nothing_kept:
            found[path] = value
    if damaged := summary.get("damaged"):
        found["damaged images"] = len(damaged)
    return found | {name: told[name] for name in _COUNTS if name in told}


def settings_of(about: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that may differ in a column: the method, its options, its optimiser, its tuning."""
    shown = {"smoothing", "baseline_rates", "sweep"}
    return {k: v for k, v in fields(about.get("config", {})) if k in shown or _FREE_SECTIONS & set(k.split(".")[:-1])}


def data_of(about: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The data and the first digits of their sha256: a path is no protocol."""
    data = about.get("data", {})
    digest = f" (sha256 {data['digest'][:12]})" if data.get("digest") else ""
    return place_free(str(data.get("source") or summary.get("data", "unknown"))) + digest


def turned(about: Mapping[str, Any]) -> bool:
    """Whether the images of a run were turned as their EXIF orientation says."""
    return about.get("data", {}).get("exif_orientation") is True


def place_free(source: str) -> str:
    """A data source without the folders of one machine: `npz:/home/me/x.npz` is `npz:x.npz`."""
    kind, colon, place = source.partition(":")
    return kind + colon + (place if kind == "tfds" else place.rstrip("/").rpartition("/")[2])  # a set of TFDS has a name, no place


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """The fields in which two protocols differ. One that a run does not have is off in it."""
    same_data = str(a.get("data")).partition("(")[2] == str(b.get("data")).partition("(")[2] != ""  # other names, equal bytes
    for name in [*a, *(k for k in b if k not in a)]:
        if (a.get(name) or None) != (b.get(name) or None) and not (name == "data" and same_data):
            yield name, a.get(name), b.get(name)


def words(about: Mapping[str, Any], summary: Mapping[str, Any], stages: Sequence[str], *, skip: Sequence[str] = ()) -> list[str]:
    """The protocol of a run as phrases, to be joined by semicolons.

    Args:
      about: its config.json.
      summary: its summary.json.
      stages: which of its networks are spoken of.
      skip: fields that are told elsewhere.
    """
    config, told = dict(fields(about.get("config", {}))), summary.get("protocol", {})
    left = {k: v for k, v in config.items() if k not in skip}
    said = [] if "data" in skip else [f"data {data_of(about, summary)}{_kind(about)}"]
    if "test_images" in told:
        train, val, test = (told.get(name, 0) for name in _COUNTS)
        cut = f"{val} validation images cut from training with seed {config.get('data.seed', 0)}" if val else "no validation images"
        known = about.get("data", {})
        said.append(
            f"{train} training and {test} test images, {f'{val} validation images of its own' if known.get('own_val') else cut}"
        )
        said += known.get("notes", ())
    if turned(about):
        said.append(TURNED)
    if damaged := summary.get("damaged"):
        said.append(f"images that could not be decoded, where the next one stood in: {len(damaged)}")
    if missing := left_out(summary):
        said.append(missing)
    if "labels_per_class" in left:
        said.append(f"labels per class known to students: {left['labels_per_class'] or 'all'}")
    if budgets := _together({s: _budget(s, config, summary, skip) for s in stages}):
        said.append("budget " + budgets)
    if "data.batch" in left:
        said.append(
            f"batch {left['data.batch']}" + ", an epoch ends with the smaller rest" * bool(left.get("data.keep_last_batch"))
        )
    if kind := left.get("views.kind"):
        own = [f"{k.rpartition('.')[2].replace('_', ' ')} {v}" for k, v in left.items() if k.startswith(f"views.{kind}.")]
        small = left.get("views.small.count")
        said.append(f"views {kind}: " + ", ".join(own) + (f", and {small} small ones" if small else ""))
    elif "data.augment" in left:
        said.append(f"augmentation {left['data.augment']}")
    if left.get("data.mean"):
        said.append(f"images normalised by mean {shown(left['data.mean'])}, deviation {shown(left['data.std'])}")
    if networks := _together({s: network_of(s, left) for s in stages}):
        said.append("networks " + networks)
    if (teacher := _teacher(about, config)) and "teacher" not in skip:
        single = teacher == TRAINED and config.get("teachers", 1) == 1
        said.append(
            f"teacher {teacher.rstrip('/').rpartition('/')[2]}"
            + ", one network for all seeds and students" * single
            + _kernels(config, summary)
        )
    if (starts := _starts(about)) and "init" not in skip:
        said.append(f"started from weights: {starts}")
    if views := left.get("cache.views"):
        said.append(f"teacher outputs computed once, in {views} view{'s' * (views > 1)} of every image{_kept(config)}")
    if probe := [f"{k.partition('.')[2].replace('_', ' ')} {v}" for k, v in left.items() if k.startswith("probe.")]:
        said.append("probe: " + ", ".join(probe))
    if "select" not in skip:
        said.append("results at the " + step_taken(about, summary))
    if "seeds_share" in left:
        shares = {"batch": "share batches and noise and differ in their initialisation", "none": "share nothing"}
        said.append(f"seeds {shares.get(left['seeds_share'], left['seeds_share'])}")
    return [*said, *(left[name] for name in ("precision",) if name in left)]


def left_out(summary: Mapping[str, Any]) -> str:
    """Which networks are missing, in words; empty where none is."""
    names = summary.get("left_out")
    return f"left out, as they diverged or were built on what did: {', '.join(names)}" if names else ""


def step_taken(about: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """Which step of a run its results are from."""
    select = about.get("config", {}).get("select") or summary.get("protocol", {}).get("step", "last")
    scores = [score_of(summary, stage) for stage in about.get("stages", ())]
    return "last step" if select == "last" else f"step with the {best_step(scores)}"


def device_of(about: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The device a run was made on, and how many."""
    platform, spread = about.get("platform", {}), about.get("devices", {})
    count = math.prod(spread.get("mesh", {"data": platform.get("devices", 1)}).values())
    kind = str(summary.get("device") or platform.get("device", "unknown"))
    return kind if count == 1 else f"{kind} x {count} by {spread.get('parallel', 'jit')}"


def shown(value: Any) -> str:
    """A value of a config as a person writes it."""
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(shown, value)) + ")"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _is_free(path: str) -> bool:
    return path in _FREE or bool(_FREE_SECTIONS & set(path.split(".")[:-1]))


def _teacher(about: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    if "teacher" not in config:
        return ""
    if not config["teacher"]:
        return TRAINED
    sha256 = given_teacher(about).get("sha256", "")
    return f"given, sha256 {sha256[:12]}" if sha256 else str(config["teacher"])


def _kernels(config: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """How the kernels of a teacher are quantised, and what that loses and saves; empty where they are not."""
    if not (precision := config.get("teacher_precision")):
        return ""
    found = {name.removeprefix("teacher/test_"): value["mean"] for name, value in summary.get("results", {}).items()}
    told = [f"the class of float32 on {found[name]:.2f}% of test images"] if (name := f"{precision}_agreement") in found else []
    told += [f"{found[name]:.3f} of {found['megabytes']:.3f} MB"] if (name := f"{precision}_megabytes") in found else []
    return f", its kernels in {precision} while it teaches" + (f" ({', '.join(told)})" if told else "")


def _starts(about: Mapping[str, Any]) -> str:
    """Which networks started from weights of elsewhere, by the first digits of their sha256; empty where none did."""
    found = about.get("init")
    if not isinstance(found, dict):
        return ""
    heads = {name: " with a new head" * bool(start.get("fresh")) for name, start in found.items()}
    return ", ".join(f"{name} sha256 {start.get('sha256', '')[:12]}{heads[name]}" for name, start in found.items())


def given_teacher(about: Mapping[str, Any]) -> Mapping[str, Any]:
    """What config.json says of a teacher from outside; empty where there is none."""
    found = about.get("teacher")
    return found if isinstance(found, dict) else {}


def section_of(stage: str, config: Mapping[str, Any]) -> str:
    """The training section of a config that a stage obeys: `student_alone` that of `student`; empty where no name fits."""
    sections = {k.partition("_training.")[0] for k in config if "_training." in k}
    if _of_benchmark(stage, config):
        return "student"
    fits = [s for s in sections if stage == s or stage.startswith(s + "_")]
    return max(fits, key=len, default="") or (next(iter(sections)) if len(sections) == 1 else "")


def _kind(about: Mapping[str, Any]) -> str:
    data = about.get("data", {})
    shape = f", images {'x'.join(map(str, data['shape']))}" if data.get("shape") else ""
    return f", {len(data['names'])} classes{shape}" if data.get("names") else shape


def _budget(stage: str, config: Mapping[str, Any], summary: Mapping[str, Any], skip: Sequence[str]) -> str:
    epochs, steps = epochs_of(stage, config), summary.get("steps", {}).get(stage)
    found = [f"{epochs} epoch{'s' * (epochs != 1)}"] * bool(epochs) + [f"{steps} steps"] * bool(steps)
    return " = ".join(found) if f"{section_of(stage, config)}_training.epochs" not in skip else ""


def epochs_of(stage: str, config: Mapping[str, Any]) -> int:
    """The epochs of a stage by its section; 0 where that does not tell: an untrained encoder has a budget of its own."""
    section = section_of(stage, config)
    own = stage == section or stage.startswith(section + "_") or _of_benchmark(stage, config)
    return config.get(f"{section}_training.epochs", 0) if own else 0


def _of_benchmark(stage: str, config: Mapping[str, Any]) -> bool:
    """Whether a stage is named by the method that its student learns by."""
    return any(name.startswith(f"methods.{stage}.") for name in config)


def _kept(config: Mapping[str, Any]) -> str:
    """How teacher outputs are kept, where that is not whole."""
    top, dtype = config.get("cache.top"), config.get("cache.dtype", "float32")
    parts = [f"the {top} largest logits"] * bool(top) + [f"in {dtype}"] * (dtype != "float32")
    return f" ({', '.join(parts)})" if parts else ""


def _together(told: Mapping[str, str]) -> str:
    """`c y, a and b x` from what is told of each; what is told of five or more comes last, of "all others"."""
    groups: dict[str, list[str]] = {}
    for name, text in told.items():
        groups.setdefault(text, []).append(name)
    crowd = max(groups, key=lambda text: len(groups[text]), default="")
    if len(groups.get(crowd, ())) > 4:
        del groups[crowd]
        groups[crowd] = ["all others" if groups else "all networks"]
    return ", ".join(f"{' and '.join(names)} {text}" for text, names in groups.items() if text)


def network_of(stage: str, config: Mapping[str, Any]) -> str:
    """The net of a stage in words; empty where no field tells it."""
    above = f"{section_of(stage, config)}_training.net."
    options = {k.removeprefix(above): v for k, v in config.items() if k.startswith(above)}
    name = options.pop("name", "")
    return f"{name} {' '.join(f'{k} {shown(v)}' for k, v in options.items())}".strip() if name else ""
