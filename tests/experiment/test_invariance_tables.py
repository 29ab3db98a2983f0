"""The tables of BYOL and MoCo under one protocol."""

from itertools import product

import numpy as np

from kdjax.experiment.invariance_tables import FLOOR, Arm, tables
from kdjax.experiment.report_table import gain

RANDOM = np.random.default_rng(0)


def values():
    return RANDOM.uniform(80, 90, 3).tolist()


def measured(arms):
    found = {name: {f"test_{what}_accuracy": values() for what in ("probe", "knn", "tail_probe")} for name in (FLOOR, *arms)}
    found |= {f"{name}_tuned": {"test_accuracy": values()} for name in (FLOOR, *arms)}
    return found | {f"{name}_rescaled": {"test_accuracy": values()} for name in arms if "lars" in name}


def arms_of(*fields):
    return [Arm(*of) for of in product(*fields)]


def test_rows_hold_what_was_measured_and_gains_one_change_each():
    arms = arms_of(("moco", "moco_v2_plus", "byol"), ("sgd", "lars"), ("moderate",))
    found = measured([arm.name for arm in arms])
    found["byol_lars_moderate"]["test_kernel_length"] = [7.0, 8.0, 9.0]
    main, gains = tables(found, arms, "sgd", "tail", "rare")
    assert list(main.rows) == [FLOOR, *(arm.title("views") for arm in arms)] and arms[-1].title("views") == "BYOL, LARS"
    assert main.rows["BYOL, LARS"] == {
        "probe, %": found["byol_lars_moderate"]["test_probe_accuracy"],
        "kNN, %": found["byol_lars_moderate"]["test_knn_accuracy"],
        "rare: probe, %": found["byol_lars_moderate"]["test_tail_probe_accuracy"],
        "rare: fine-tuned, %": found["byol_lars_moderate_tuned"]["test_accuracy"],
        "rescaled and fine-tuned, %": found["byol_lars_moderate_rescaled"]["test_accuracy"],
        "length of kernels": [7.0, 8.0, 9.0],
    }
    assert main.plot.points[""]["MoCo v2, SGD"] == (
        np.mean(found["moco_sgd_moderate"]["test_probe_accuracy"]), np.mean(found["moco_sgd_moderate_tuned"]["test_accuracy"])
    )  # fmt: skip
    changes = [f"{a} over {b}: {o}" for a, b in (("MoCo v2+", "MoCo v2"), ("BYOL", "MoCo v2+")) for o in ("SGD", "LARS")]
    changes += [f"LARS over SGD: {m}" for m in ("MoCo v2", "MoCo v2+", "BYOL")]
    changes += [f"rescaled over as it is: {m}, LARS" for m in ("MoCo v2", "MoCo v2+", "BYOL")]
    assert list(gains.rows) == changes
    pairs = {"MoCo v2+ over MoCo v2: LARS": ("moco_v2_plus_lars", "moco_lars"), "LARS over SGD: BYOL": ("byol_lars", "byol_sgd")}
    for row, names in pairs.items():
        a, b = (found[f"{name}_moderate"]["test_knn_accuracy"] for name in names)
        assert gains.rows[row]["kNN"] == gain(a, b) != ""
        a, b = (found[f"{name}_moderate_tuned"]["test_accuracy"] for name in names)
        assert gains.rows[row]["rare: fine-tuned"] == gain(a, b)
    own = found["byol_lars_moderate_rescaled"]["test_accuracy"], found["byol_lars_moderate_tuned"]["test_accuracy"]
    assert gains.rows["rescaled over as it is: BYOL, LARS"] == {"rare: fine-tuned": gain(*own)}


def test_views_are_named_where_there_are_several():
    arms = arms_of(("byol",), ("sgd",), ("moderate", "strong"))
    found = measured([arm.name for arm in arms])
    main, gains = tables(found, arms, "sgd", "tail", "rare")
    assert list(main.rows) == [FLOOR, "BYOL, SGD, moderate views", "BYOL, SGD, strong views"] and "Rescaled" not in main.note
    assert list(gains.rows) == ["strong over moderate views: BYOL, SGD"]
    a, b = (found[f"byol_sgd_{views}"]["test_probe_accuracy"] for views in ("strong", "moderate"))
    assert gains.rows["strong over moderate views: BYOL, SGD"]["probe"] == gain(a, b)


def test_what_is_missing_is_left_out_of_the_tables():
    arms = arms_of(("moco", "byol"), ("sgd",), ("moderate",))
    assert tables({}, arms, "sgd", "tail", "rare") == []
    found = measured([arm.name for arm in arms])
    del found["byol_sgd_moderate"], found["moco_sgd_moderate_tuned"]
    (main,) = tables(found, arms, "sgd", "tail", "rare")
    assert list(main.rows) == [FLOOR, "MoCo v2, SGD"] and main.plot is None
    assert main.rows["MoCo v2, SGD"]["rare: fine-tuned, %"] == ()
