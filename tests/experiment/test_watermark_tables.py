"""The table of a mark before and after."""

from kdjax.experiment.watermark_tables import tables


def test_what_is_left_of_a_mark_is_a_table_and_a_plot():
    values = {"accuracy": [98.0, 99.0], "clean_accuracy": [99.0, 99.0], "score": [0.9, 0.8], "clean_score": [0.1, -0.1]}
    values |= {"chance": [0.001, 0.004], "clean_chance": [0.3, 0.8], "auroc": [99.0, 98.0], "shown_at_5": [90.0, 92.0]}
    measured = {"detector": {f"test_before_{k}": v for k, v in values.items()} | {"test_pruned_50_accuracy": [90.0, 91.0]}}
    [table] = tables(measured, ("before", "pruned_50"), (0.05,))
    first = table.rows["as it was trained"]
    assert first["p, marked"] == "0.004" and first["p, clean"] == "0.300" and first["score, marked"] == [0.9, 0.8]
    assert table.rows["without 50% of its weights"]["accuracy, marked, %"] == [90.0, 91.0]
    assert table.plot.at == [5.0] and table.plot.lines["as it was trained"] == [[90.0, 92.0]]
    assert tables({}, ("before",), (0.05,)) == []
