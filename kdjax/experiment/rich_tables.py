"""The tables of nets whose features are put together: what these are worth, by their size, and after fine-tuning."""

from collections.abc import Mapping, Sequence

import numpy as np

from kdjax.experiment.report_table import Cell, Lines, Measured, Points, ReportTable, gain

TUNED = {
    "tuned": "each net, fine-tuned",
    "together": "mean of their logits",
    "two_stage": "2ft: side by side, then the head",
    "cat_tuned": "side by side, new head, fine-tuned",
    "wide_tuned": "wide net, fine-tuned",
}


def tables(measured: Measured, sizes: Mapping[str, int], per_class: Sequence[int], numbers: Sequence[int]) -> list[ReportTable]:
    """What the features are worth, the same by the number of parameters, and what is left of it by fine-tuning.

    Args:
      measured: `{stage: {measure: one number a seed}}`.
      sizes: parameters by the name of a row: `cat1`, ..., `wide`, `joint`, `distilled`.
      per_class: labels a class of the other task.
      numbers: how many nets are put together, ascending from 1; the last one is a whole group.
    """
    return [*_features(measured, sizes, per_class, numbers), *_tuned(measured)]


def _features(measured, sizes, per_class, numbers) -> list[ReportTable]:
    count, most = numbers[-1], f"target_{per_class[-1]}"
    named = {f"cat{n}": f"{n} nets, side by side" if n > 1 else "one net" for n in numbers}
    named |= {"wide": "a wide net", "joint": f"{count} nets, trained as one", "distilled": f"one net, distilled from {count}"}

    def values(row: str, what: str) -> list[float]:
        stage, prefix = ("nets", f"{row}_") if row.startswith("cat") else (row, "")
        return list(measured.get(stage, {}).get(f"test_{prefix}{what}_accuracy", ()))

    rows: dict[str, dict[str, Cell]] = {}
    points, lines = {}, {}
    for row, name in named.items():
        if not values(row, "source"):
            continue
        found: dict[str, Cell] = {"parameters": f"{sizes[row]:,}", "source task": values(row, "source")}
        found |= {f"{n} a class": values(row, f"target_{n}") for n in per_class}
        found["over one net"] = gain(values(row, most), values("cat1", most)) if row != "cat1" else ""
        found[f"{count} nets over it"] = gain(values(f"cat{count}", most), values(row, most)) if row != f"cat{count}" else ""
        rows[name], points[name] = found, (sizes[row], float(np.mean(values(row, most))))
        lines[name] = [values(row, f"target_{n}") for n in per_class]
    if not rows:
        return []
    note = "Accuracy in percent of linear probes on frozen features: on all images of the classes that were learnt (source task), "
    note += "and on so many labels a class of the others. Differences: points by the most labels, with their 95% interval, paired."
    sized: dict[str, dict[str, Cell]] = {name: {"parameters": f"{x:,}", "accuracy, %": y} for name, (x, y) in points.items()}
    plot = Points("parameters", f"target accuracy, %, {per_class[-1]} labels a class", {"": points})
    drawn = Lines("labels a class", "target accuracy, %", per_class, lines)
    return [
        ReportTable("features", "What the features are worth", rows, 2, note, drawn),
        ReportTable("sizes", f"By the number of parameters, {per_class[-1]} labels a class", sized, 2, plot=plot),
    ]


def _tuned(measured) -> list[ReportTable]:
    own = {row: list(measured.get(row, {}).get("test_accuracy", ())) for row in TUNED}
    own["together"], own["tuned"] = own["tuned"], list(measured.get("tuned", {}).get("test_net_accuracy", ()))
    rows: dict[str, dict[str, Cell]] = {}
    for row, found in own.items():
        over = {} if row == "two_stage" else {"2ft over it": gain(own["two_stage"], found)}
        rows |= {TUNED[row]: {"accuracy, %": found, **over}} if found else {}
    note = "Accuracy on the classes that were not learnt, after fine-tuning on a few labels of them; differences as above."
    return [ReportTable("tuned", "After fine-tuning", rows, 2, note)] if rows else []
