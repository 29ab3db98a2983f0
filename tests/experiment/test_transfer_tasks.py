"""The experiment of encoders that are taken to many tasks."""

import numpy as np
import pytest

from configs.studies import transfer
from kdjax.core import InputError
from kdjax.evaluate import accuracy_logit, correlation_coefficient
from kdjax.experiment.transfer_tasks import mean_ranks, tables

TITLES = {"original": "original", "noisy": "noisy", "my_set": "my set"}


@pytest.fixture
def config():
    found = transfer.get_config("methods=byol/supervised")
    found.encoder_training.net.widths, found.seeds = (4,), 1
    found.transfer.update(tasks=("noisy", "0-4"), episodes=3, per_class=2, shots=2, queries=3)
    found.probe.update(per_class=1, draws=1)
    return found


def test_every_encoder_is_taken_to_every_task(config):
    found = transfer.build(config)
    assert list(found.stages) == ["untrained", "byol", "supervised"]
    parts = {f"{name}/{part}" for name in ("original", "noisy", "classes_0_4") for part in ("train", "test")}
    assert set(found.splits) == parts and found.splits["original/train"] is found.dataset.train
    asked = []

    def collect(split, *taps, given=False):
        asked.append(split)
        return {"encoder": {"pooled": np.eye(10, dtype=np.float32)[np.arange(100) % 10][None]}}, {"label": np.arange(100) % 10}

    for stage in found.stages.values():
        assert "rank_me" in stage.evaluate(collect, "test", False) and not parts & set(asked)
    measured = stage.evaluate(collect, "test", True)
    own = {f"{name}_{what}_accuracy" for name in ("original", "noisy", "classes_0_4") for what in ("probe", "knn", "few_shot")}
    assert own | {"probe_accuracy", "knn_accuracy", "rank_me"} <= set(measured) and parts <= set(asked)


def test_a_handful_of_methods_is_the_default():
    assert set(transfer.get_config().methods) == set(transfer.CHOSEN)
    assert set(transfer.get_config("encoder=resnet8").methods) == set(transfer.CHOSEN)
    assert transfer.get_config("encoder=resnet8").encoder_training.net.name == "resnet8"


def test_a_set_by_the_name_of_a_measure_is_refused(config, tmp_path):
    images, labels = np.zeros((20, 8, 8, 1), np.uint8), np.arange(20) % 2
    arrays = {f"{part}_{name}": x for part in ("train", "test") for name, x in (("images", images), ("labels", labels))}
    np.savez(tmp_path / "online.npz", **arrays)
    config.transfer.tasks = (f"npz:{tmp_path / 'online.npz'}",)
    with pytest.raises(InputError, match=r"^--config.transfer.tasks=.* is not accepted: expected no set named online or pixels"):
        transfer.build(config)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"tasks": ()}, r"--config.transfer.tasks=\(\) is not accepted"),
        ({"tasks": ("noise",)}, "--config.transfer.tasks: task='noise' is not accepted"),
        ({"tasks": ("original",)}, "--config.transfer.tasks=.* each once"),
        ({"shots": 0}, "--config.transfer: task 'original': shots=0"),
    ],
)
def test_what_does_not_fit_is_refused(config, changed, line):
    config.transfer.update(changed)
    with pytest.raises(InputError, match=f"^{line}"):
        transfer.build(config)


def measured(**values):
    """`what=[accuracy by task, seed]` of one encoder."""
    return {f"test_{name}_{what}_accuracy": seeds for what, own in values.items() for name, seeds in zip(TITLES, own, strict=True)}


PROBES = {
    "untrained": [[50.0, 52.0], [40.0, 41.0], [30.0, 31.0]],
    "byol": [[90.0, 91.0], [60.0, 61.0], [70.0, 70.0]],
    "simclr": [[92.0, 90.0], [70.0, 71.0], [60.0, 61.0]],
    "vicreg": [[85.0, 95.0], [55.0, 75.0], [60.0, 75.0]],
}


def test_tables_of_accuracies_with_ranks():
    probe, correlation = tables({name: measured(probe=own) for name, own in PROBES.items()}, TITLES, 450)
    assert list(probe.rows["byol"]) == ["original, %", "noisy, %", "my set, %", "mean rank"]
    assert probe.rows["simclr"]["my set, %"] == [60.0, 61.0]
    # On noisy 2nd, 1st, 3rd; on the other set 1st and twice 2.5. With the second seed 3rd, 2nd, 1st, and 2nd, 3rd, 1st.
    ranks = {name: row["mean rank"] for name, row in probe.rows.items()}
    assert ranks == {"untrained": [4, 4], "byol": [1.5, 2.5], "simclr": [1.75, 2.5], "vicreg": [2.75, 1]}
    assert probe.plot.points[""]["byol"] == (90.5, 65.25)
    assert set(correlation.plot.points) == {"noisy", "my set"} and "untrained" not in correlation.plot.points["noisy"]
    assert correlation.plot.points["noisy"]["simclr"] == (91.0, 70.5)


def test_correlations_are_of_logits_over_trained_encoders_seed_by_seed():
    knn = {name: (np.array(own) - 5).tolist() for name, own in PROBES.items()}
    found = tables({name: measured(probe=own, knn=knn[name]) for name, own in PROBES.items()}, TITLES, 450)
    assert [one.name for one in found] == ["transfer_probe", "transfer_knn", "transfer_correlation"]
    rows = found[-1].rows
    x = np.array([PROBES[name] for name in ("byol", "simclr", "vicreg")])  # [encoder, task, seed]
    scaled = {"linear probe": accuracy_logit(x, rows=450), "kNN": accuracy_logit(x - 5, rows=450)}
    for task, title in enumerate(TITLES.values()):
        for what, z in scaled.items():
            if (task, what) != (0, "linear probe"):
                by_hand = [correlation_coefficient(scaled["linear probe"][:, 0, k], z[:, task, k]) for k in range(2)]
                assert rows[title][what] == pytest.approx(by_hand)
    assert rows["original"]["linear probe"] == "" and list(rows["original"]) == ["linear probe", "kNN"]
    mean = np.mean([rows["noisy"]["kNN"], rows["my set"]["kNN"]], axis=0)
    assert rows["mean over the other tasks"]["kNN"] == pytest.approx(mean.tolist())


def test_correlations_are_told_without_the_encoder_that_learnt_from_labels_too():
    best = {"supervised": measured(probe=[[99.0, 99.0], [20.0, 21.0], [30.0, 31.0]])}
    plain = {name: measured(probe=own) for name, own in PROBES.items()}
    *_, alone = tables(plain, TITLES, 450, "supervised")
    *_, both = tables(plain | best, TITLES, 450, "supervised")
    assert list(alone.rows["noisy"]) == ["linear probe"]
    assert list(both.rows["noisy"]) == ["linear probe", "linear probe, without supervised"]
    for title in ("noisy", "my set", "mean over the other tasks"):
        assert both.rows[title]["linear probe, without supervised"] == alone.rows[title]["linear probe"]
    assert max(both.rows["noisy"]["linear probe"]) < -0.8


def test_what_is_missing_is_left_out_of_the_tables():
    assert tables({"untrained": {"test_probe_accuracy": [1.0]}}, TITLES, 450) == []
    few = {name: measured(probe=PROBES[name]) for name in ("untrained", "byol", "simclr")}
    assert [one.name for one in tables(few | {"odd": {"test_loss": [1.0]}}, TITLES, 450)] == ["transfer_probe"]


def test_equal_encoders_share_their_rank():
    each = {name: {"x": [1.0, 5.0]} for name in "abc"} | {"d": {"x": [0.0, 6.0]}}
    assert mean_ranks(each, ["x"]) == {"a": [2, 3], "b": [2, 3], "c": [2, 3], "d": [4, 1]}
