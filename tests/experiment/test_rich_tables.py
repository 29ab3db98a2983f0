from kdjax.experiment.rich_tables import tables

SIZES = {"cat1": 10, "cat2": 20, "wide": 20, "joint": 20, "distilled": 10}


def test_tables():
    values = {"test_cat1_source_accuracy": [98.0, 99.0], "test_cat1_target_5_accuracy": [70.0, 72.0]}
    values |= {"test_cat2_source_accuracy": [98.5, 99.0], "test_cat2_target_5_accuracy": [75.0, 78.0]}
    wide = {"test_source_accuracy": [99.0, 99.0], "test_target_5_accuracy": [71.0, 71.0]}
    tuned = {"test_accuracy": [83.0, 85.0], "test_net_accuracy": [80.0, 81.0]}
    measured = {"nets": values, "wide": wide, "tuned": tuned, "two_stage": {"test_accuracy": [84.0, 86.0]}}
    features, sizes, after = tables(measured, SIZES, (5,), (1, 2))
    assert list(features.rows) == ["one net", "2 nets, side by side", "a wide net"]  # the others have not come so far
    assert features.rows["2 nets, side by side"]["over one net"] == "+5.50 [-0.85, 11.85]"
    assert features.rows["a wide net"]["2 nets over it"] == "+5.50 [-13.56, 24.56]"
    assert features.rows["one net"]["over one net"] == ""
    assert features.plot.lines["one net"] == [[70.0, 72.0]] and sizes.plot.points[""]["a wide net"] == (20, 71.0)
    assert after.rows["mean of their logits"] == {"accuracy, %": [83.0, 85.0], "2ft over it": "+1.00 [1.00, 1.00]"}
    assert after.rows["each net, fine-tuned"]["accuracy, %"] == [80.0, 81.0]
    assert tables({}, SIZES, (5,), (1, 2)) == []
