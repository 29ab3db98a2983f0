"""What is left of a mark in a classifier's probabilities, as a table and a plot."""

from collections.abc import Sequence

from kdjax.experiment.report_table import Cell, Lines, Measured, ReportTable

BEFORE, TUNED, HARD = "before", "fine_tuned", "hard_labels"  # of the ways that have no number


def tables(measured: Measured, names: Sequence[str], rates: Sequence[float]) -> list[ReportTable]:
    """How far the mark is found before and behind each way of getting rid of it.

    Args:
      measured: `{stage: {measure: one number a seed}}`.
      names: of the ways.
      rates: of false alarms, from 0 to 1.
    """
    found = measured.get("detector", {})

    def cell(name: str, what: str) -> list[float]:
        return list(found.get(f"test_{name}_{what}", ()))

    if not cell(BEFORE, "accuracy"):
        return []
    rows: dict[str, dict[str, Cell]] = {}
    for name in names:
        rows[_title(name)] = {
            "accuracy, marked, %": cell(name, "accuracy"), "clean, %": cell(name, "clean_accuracy"),
            "score, marked": cell(name, "score"), "score, clean": cell(name, "clean_score"),
            "p, marked": _worst(cell(name, "chance")), "p, clean": _least(cell(name, "clean_chance")),
            "AUROC of the score, %": cell(name, "auroc"), "AUROC of the detector, %": cell(name, "detector_auroc"),
            "detector right, %": cell(name, "detector_accuracy"),
        }  # fmt: skip
    note = "A marked net and a clean one that nothing was fitted to, and what came of both in the same way. Score: how far test "
    note += "images show the key, from -1 to 1. p: how often a random key is shown as far; of marked nets the largest over seeds, "
    note += "of clean ones the smallest. AUROC: how well single images of both are told apart. Detector: its share of images that "
    note += "it decides rightly, 50 by chance."
    curves = {_title(name): [cell(name, f"shown_at_{100 * r:g}") for r in rates] for name in names}
    drawn = Lines("images of the clean net above the threshold, %", "of the marked net, %", [100 * r for r in rates], curves)
    return [ReportTable("watermark", "The mark before and after", rows, 2, note, drawn)]


def _title(name: str) -> str:
    word, _, number = name.rpartition("_")
    titles = {BEFORE: "as it was trained", TUNED: "fine-tuned", HARD: "a student of its classes alone"}
    return titles.get(name) or (f"without {number}% of its weights" if word == "pruned" else f"a student at T = {number}")


def _worst(values: Sequence[float]) -> str:
    return f"{max(values):.3f}" if values else ""


def _least(values: Sequence[float]) -> str:
    return f"{min(values):.3f}" if values else ""
