from kdjax.experiment.report_table import ReportTable


def test_columns_come_in_the_order_in_which_rows_bring_them():
    table = ReportTable("a", "A", {"byol": {"digits": 1.0}, "swav": {"noisy": 2.0, "digits": 1.0}})
    assert table.columns == ["digits", "noisy"]
