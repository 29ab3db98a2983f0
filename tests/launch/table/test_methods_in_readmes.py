"""The tables of methods in the READMEs are those of the code."""

import pytest

from configs import benchmark, data_free, offline
from kdjax import methods
from launch.table.methods import ROOT, family_of, family_rows, readmes


@pytest.mark.parametrize("name", sorted(str(path.relative_to(ROOT)) for path in readmes()))
def test_tables_are_up_to_date(name):
    assert (ROOT / name).read_text() == readmes()[ROOT / name], "python -m launch.table.methods writes them"


def test_every_method_has_one_row():
    rows = [row for family in {family_of(name) for name in methods.__all__} for row in family_rows(family)]
    named = [row.split("`")[1] for row in rows]
    assert len(named) == len(set(named)) and set(named) == {*methods.__all__, *offline.METHODS, *data_free.METHODS}


def test_a_row_has_the_words_of_the_docstring_the_options_and_the_paper():
    crd = next(row for row in family_rows("offline") if row.startswith("| `crd` |"))
    assert "| Tells, in a bank of all training images, the same image from images of other classes. |" in crd
    assert "`temperature=0.07`" in crd and "labels" not in crd.split("|")[3].replace("label_weight", "")
    assert crd.endswith("Contrastive Representation Distillation, ICLR 2020 ([1910.10699](https://arxiv.org/abs/1910.10699)) |")


def test_the_benchmark_s_default_is_what_its_nets_can_be_taught_with():
    assert set(benchmark.NAMES) | set(benchmark.OTHERS) == {*offline.METHODS, "crd+kd"}
